"""Do NOTIFY messages reach secondaries, each about each zone, again until they are answered?"""

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable

import dns.message
import dns.opcode
import pytest
from msgspec.structs import replace

from mooring.dns import notify
from mooring.dns.notify import Secondary
from mooring.dns.zone import Zone, ZoneOptions
from mooring.edges.dns.notify import Notifier
from mooring.testing.ports import free_port

PATIENCE = 60.0
OPTIONS = ZoneOptions(reverse=("10.96.0.0/16",), external="example.net")
ZONES = ["96.10.in-addr.arpa.", "cluster.local.", "example.net."]
Heard = tuple[str, int]
"""A zone, and the serial that it has."""


class Listener(asyncio.DatagramProtocol):
    """A secondary that only listens, and answers when it likes to.

    `heard` has each message once, `times` how often it came: one may come again before its answer is heard, as this process may
    stand still for longer than a pause lasts here.
    """

    def __init__(self) -> None:
        self.answers = True
        self.heard: list[Heard] = []
        self.times: Counter[tuple[Heard, int]] = Counter()
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = dns.message.from_wire(data)
        assert message.opcode() == dns.opcode.NOTIFY
        heard = (str(message.question[0].name), message.answer[0][0].serial)
        if (heard, message.id) not in self.times:
            self.heard.append(heard)
        self.times[heard, message.id] += 1
        if self.answers and self.transport is not None:
            self.transport.sendto(dns.message.make_response(message).to_wire(), addr)


class Held:
    """A zone that changes under a running Notifier."""

    def __init__(self, *ports: int, synced: bool = True, options: ZoneOptions = OPTIONS) -> None:
        self.zone = Zone(options, {}, set(), 1, synced)
        self.notifier = Notifier(lambda: self.zone, [Secondary("127.0.0.1", port) for port in ports], "127.0.0.1")

    def change(self, **fields: object) -> None:
        self.zone = replace(self.zone, **fields)
        self.notifier.changed()


@contextlib.asynccontextmanager
async def listening(port: int = 0) -> AsyncIterator[tuple[Listener, int]]:
    transport, listener = await asyncio.get_running_loop().create_datagram_endpoint(Listener, local_addr=("127.0.0.1", port))
    try:
        yield listener, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def telling(held: Held) -> AsyncIterator[None]:
    task = asyncio.create_task(held.notifier.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are shorter here; what they are is decided, and tested, apart from time."""
    monkeypatch.setattr(notify, "INTERVAL", 0.05)


async def test_every_secondary_hears_of_every_zone_once() -> None:
    async with listening() as (one, port), listening() as (other, other_port):
        held = Held(port, other_port)
        async with telling(held):
            await until(lambda: len(one.heard) == len(other.heard) == 3)
            held.change(serial=2)
            await until(lambda: len(one.heard) == len(other.heard) == 6)
        for heard in (one.heard, other.heard):
            assert sorted(heard) == sorted((zone, serial) for zone in ZONES for serial in (1, 2))


async def test_nobody_hears_of_a_zone_that_is_not_yet_whole() -> None:
    async with listening() as (listener, port):
        held = Held(port, synced=False)
        async with telling(held):
            held.change(serial=2)
            await asyncio.sleep(0)
            held.change(serial=3, synced=True)
            await until(lambda: len(listener.heard) == 3)
        assert {serial for _, serial in listener.heard} == {3}


async def test_who_does_not_answer_is_told_again_in_the_same_words() -> None:
    async with listening() as (listener, port):
        listener.answers = False
        held = Held(port, options=ZoneOptions())
        async with telling(held):
            await until(lambda: listener.times.total() >= 3)
            listener.answers = True
            (notice,) = held.notifier._notices
            await until(lambda: held.notifier._notices[notice].at == math.inf)  # answered, so never again
            held.change(serial=2)
            await until(lambda: ("cluster.local.", 2) in listener.heard)
        assert listener.heard == [("cluster.local.", 1), ("cluster.local.", 2)]


async def test_one_that_is_down_hears_when_it_is_up() -> None:
    port = free_port()
    held = Held(port, options=ZoneOptions())
    async with telling(held):
        await until(lambda: any(notice.tries > 1 for notice in held.notifier._notices.values()))
        async with listening(port) as (listener, _):
            await until(lambda: listener.heard == [("cluster.local.", 1)])


async def test_one_that_is_down_does_not_keep_others_waiting() -> None:
    async with listening() as (listener, port):
        held = Held(free_port(), port, options=ZoneOptions())
        async with telling(held):
            for serial in range(2, 6):
                held.change(serial=serial)
                await until(lambda expected=serial: ("cluster.local.", expected) in listener.heard)  # type: ignore[misc]


async def test_a_burst_of_changes_is_told_as_its_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "INTERVAL", 1.5)
    async with listening() as (listener, port):
        held = Held(port, options=ZoneOptions())
        async with telling(held):
            await until(lambda: len(listener.heard) == 1)
            for serial in range(2, 50):
                held.change(serial=serial)
                await asyncio.sleep(0)
            await until(lambda: len(listener.heard) == 2)
        assert listener.heard == [("cluster.local.", 1), ("cluster.local.", 49)]


async def test_a_secondary_of_another_family_than_the_source_does_not_end_it() -> None:
    async with listening() as (listener, port):
        zone = Zone(OPTIONS, {}, set(), 1, True)
        notifier = Notifier(lambda: zone, [Secondary("::1", port), Secondary("127.0.0.1", port)], "127.0.0.1")
        running = asyncio.create_task(notifier.run())
        try:
            async with asyncio.timeout(PATIENCE):
                while not running.done() and len(listener.heard) < len(ZONES):
                    await asyncio.sleep(0.005)
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.wait({running})
