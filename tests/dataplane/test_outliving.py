"""What outlives whom? Connections and remembered clients beside an endpoint that drains, one that dies, an agent that is
killed, and tables that are made anew, in a real kernel.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from transition_documents import FOUR, FULL, TCP, UDP, draining, endpoints, serve, serve_by, service, slice_of
from transition_stage import (
    FAR,
    FAR_TOO,
    LONG,
    NEAR,
    NEAR_TOO,
    OTHER_NODE_PORT,
    QUIET,
    CountingFirewall,
    Held,
    Stage,
    ask,
    doors,
    set_up,
    sources,
    text,
)

from mooring.model.kinds import ENDPOINT_SLICE, SERVICE
from mooring.services.view import NodeView, Protocol
from mooring.testing.netlab import Probe, Source

pytestmark = pytest.mark.root

PAIR = endpoints(NEAR, FAR)
STICKY = {**FULL, "sessionAffinity": "ClientIP"}
DYING = (NEAR_TOO, 9000)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with set_up() as made:
        yield made


@asynccontextmanager
async def open_everywhere(stage: Stage, view: NodeView) -> AsyncIterator[list[Held]]:
    held = await stage.hold(view)
    try:
        yield held
    finally:
        for each in held:
            each.client.close()


async def newcomers(stage: Stage, view: NodeView) -> set[str]:
    """Who serves new connections of IPv4, whoever makes them, at whichever door; 'drop', 'reject' for nobody."""
    ways = [(source, door) for door in doors(view) if "." in door.address for source in sources(door)]
    probes = [Probe(source, door.address, door.port, Protocol(door.protocol)) for source, door in ways]
    found = await stage.lab.probe_many(probes * 4)
    return {each.endpoint.partition(":")[0] or each.verdict for each in found}


async def test_a_draining_endpoint_ends_its_work_and_gets_new_only_while_none_is_ready(stage: Stage) -> None:
    turns = [
        (endpoints(NEAR, FAR), {NEAR, FAR}),
        (endpoints(draining(NEAR), FAR), {FAR}),
        (endpoints(draining(NEAR), draining(FAR)), {NEAR, FAR}),
        (endpoints(draining(NEAR)), {NEAR}),
        (endpoints(draining(NEAR), FAR_TOO), {FAR_TOO}),
        (endpoints(FAR_TOO), {FAR_TOO}),
        (endpoints(), {"reject"}),
    ]
    async with stage.agent() as stage.dataplane:
        view = await serve(stage, FULL, PAIR)
        async with open_everywhere(stage, view) as held:
            assert {FAR, NEAR} == {each.endpoint.partition(":")[0] for each in held}
            for four, serving in turns:
                assert await stage.broken(held, meanwhile=serve_by(stage, four)) == []
                assert await newcomers(stage, view) == serving


class DyingServer:
    """Answers as the lab's servers do, until it ends without a word, or with a reset on each of its connections."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._writers = stage, list[asyncio.StreamWriter]()

    async def begin(self) -> None:
        listener = self._stage.lab.open(DYING[0], DYING[0], source_port=DYING[1])
        self._server = await asyncio.start_server(self._answer, sock=listener)
        await self._stage.lab.listen(*DYING, Protocol.UDP)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(asyncio.CancelledError):  # at the end of the loop
            while await reader.read(256):
                writer.write(f"{text(*DYING)} {writer.get_extra_info('peername')[0]}".encode())

    async def resets(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def falls_silent(self) -> None:
        await self._stage.lab.run("ip", "link", "set", "eth0", "down", namespace=self._stage.lab.place(DYING[0]).namespace)
        self._server.close()


async def answers(held: Iterable[Held], patience: float) -> set[str]:
    return set(await asyncio.gather(*(ask(each.client, patience) for each in held)))


@pytest.mark.parametrize(
    ("death", "met"),
    [
        pytest.param(DyingServer.resets, "reject", id="it resets its connections"),
        pytest.param(DyingServer.falls_silent, "drop", id="nothing is heard of it"),
    ],
)
async def test_an_endpoint_that_dies_takes_its_own_connections_with_it_and_no_others(
    stage: Stage, death: Callable[[DyingServer], Awaitable[None]], met: str
) -> None:
    server = DyingServer(stage)
    await server.begin()
    dying = slice_of("web", "IPv4", endpoints(DYING[0], port=DYING[1]))
    dying["metadata"]["name"] = "web-dying"
    await stage.create(ENDPOINT_SLICE, dying)
    async with stage.agent() as stage.dataplane:
        view = await serve(stage, FULL, PAIR)
        async with open_everywhere(stage, view) as held:
            lost = [each for each in held if each.endpoint == text(*DYING) and each.door.protocol == "TCP"]
            others = [each for each in held if each not in lost]
            assert len(lost) >= len([door for door in doors(view) if door.protocol == "TCP"])
            await death(server)
            assert await answers(lost, QUIET if met == "drop" else LONG) == {met}
            assert await stage.broken(others) == []
            await stage.delete(ENDPOINT_SLICE, "web-dying")
            after = await stage.settled()
            assert await stage.broken(others) == []
            assert await newcomers(stage, after) == {NEAR, FAR}
            async with asyncio.timeout(LONG):
                while await stage.astray(held, after, wait=QUIET):  # an answer on its way may be lost with the old flow
                    await asyncio.sleep(0.01)


async def faithful(stage: Stage, view: NodeView) -> dict[Source, str]:
    """The endpoint that each remembered client gets, at all TCP doors of IPv4."""
    found: dict[Source, str] = {}
    for door in doors(view):
        if door.protocol == "TCP" and "." in door.address:
            for source in sources(door):
                met = (await stage.lab.connect(source, door.address, door.port, patience=LONG)).endpoint
                assert found.setdefault(source, met) == met, f"{source} at {door}"
    return found


async def test_connections_and_remembered_clients_outlive_an_agent_that_is_killed(stage: Stage) -> None:
    """What changed meanwhile is all that its successor changes."""
    async with AsyncExitStack() as left:
        async with stage.agent() as stage.dataplane:
            await stage.create(SERVICE, service("first"))
            await stage.settled()
            view = await serve(stage, STICKY, PAIR)
            held = await left.enter_async_context(open_everywhere(stage, view))
            had = await faithful(stage, view)
        stage.firewall.close()
        assert await stage.broken(held) == []
        assert await faithful(stage, view) == had, "the tables work without anybody"
        await stage.delete(SERVICE, "first")
        await stage.patch(ENDPOINT_SLICE, FOUR, endpoints(NEAR, FAR, FAR_TOO))
        moved = [{**TCP, "nodePort": OTHER_NODE_PORT}, UDP]
        await stage.patch(SERVICE, "web", {"spec": {"ports": moved}})
        stage.firewall = CountingFirewall(stage.lab.node)
        async with stage.agent() as stage.dataplane:
            after = await stage.settled()
            assert (stage.firewall.replacements, stage.firewall.transactions) == (0, 1)
            assert await stage.broken(held) == []
            assert await faithful(stage, after) == had
            assert await stage.surprises(after, {*doors(view), *doors(after)}) == []


async def test_connections_outlive_tables_that_are_made_anew_after_the_kernel_refused_a_transaction(stage: Stage) -> None:
    """Somebody took away what the transaction deletes."""
    async with stage.agent() as stage.dataplane:
        view = await serve(stage, FULL, PAIR)
        async with open_everywhere(stage, view) as held:
            await stage.lab.run("nft", "flush", "map", "ip", "mooring", "endpoints")
            assert await stage.broken(held, meanwhile=serve_by(stage, endpoints(FAR, FAR_TOO))) == []
            assert stage.firewall.replacements == 2, "the first load, and the one after the refusal"
            after = await stage.settled()
            assert await stage.surprises(after, doors(after)) == []
            assert await stage.broken(held) == []


async def test_connections_outlive_tables_that_a_starting_agent_makes_anew(stage: Stage) -> None:
    """It finds rules that are not its own, as after a change of version. Whom these tables remembered is forgotten."""
    async with AsyncExitStack() as left:
        async with stage.agent() as stage.dataplane:
            view = await serve(stage, STICKY, PAIR)
            held = await left.enter_async_context(open_everywhere(stage, view))
        await stage.lab.run("nft", "add", "rule", "ip", "mooring", "services", "counter")
        assert "elements" in await remembered(stage)

        async def start() -> None:
            stage.dataplane = await left.enter_async_context(stage.agent())
            await stage.settled()

        assert await stage.broken(held, meanwhile=start()) == []
        assert stage.firewall.replacements == 2
        assert "elements" not in await remembered(stage)
        assert await stage.surprises(view, doors(view)) == []
        assert await stage.broken(held) == []


async def remembered(stage: Stage) -> str:
    return await stage.lab.run("nft", "list", "map", "ip", "mooring", "affinity")
