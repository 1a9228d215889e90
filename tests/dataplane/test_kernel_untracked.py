"""Does conntrack never hear of a question to a name server of the node's own, nor of its answer?"""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from mooring.dataplane.sighting import Flow, Tracked
from mooring.edges.live.tracked import FlowWatch
from mooring.edges.nft.netlink import inside
from mooring.services.view import Answering, Protocol
from mooring.testing.netlab import Lab, Outcome
from mooring.testing.node_views import NODE_ADDRESSES, here, node_view, service_port
from mooring.testing.tracking import entries

pytestmark = pytest.mark.root

ADDRESSES = ("10.96.0.10", "fd00:96::a")
PROTOCOLS = (Protocol.UDP, Protocol.TCP)
CLAIMED = node_view(
    {"dns": [service_port("dns", ADDRESSES[0], [here("10.244.1.2", 5353)], 53, protocol) for protocol in PROTOCOLS]}
)
"""The address is a Service's too, as where pods stand behind kube-dns: the node's own server comes first."""
ANSWERED = structs.replace(
    CLAIMED, answered_here=tuple(Answering(address, 53, protocol) for address in ADDRESSES for protocol in PROTOCOLS)
)
CLIENTS = {
    "a pod": ("10.244.1.77", "fd00:244:1::77"),
    "the node": NODE_ADDRESSES,
    "the node, whose kernel chose the address": ADDRESSES,
    "outside": ("172.30.0.250", "fd00:30::fa"),
}
PORT = 40123


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """Nobody answers at the node's own addresses yet."""
    async with Lab(ANSWERED, [each for pair in CLIENTS.values() for each in pair]) as built:
        await built.load(ANSWERED)
        yield built


async def answer(lab: Lab) -> None:
    for each in ANSWERED.answered_here:
        await lab.listen(each.address, each.port, each.protocol)


async def asked(lab: Lab, source: str, destination: str, protocol: Protocol) -> tuple[Outcome, Tracked | None]:
    """What one question met, and what conntrack made of it, if only for a moment."""
    with FlowWatch(lab.node, Flow((source, PORT), (destination, 53), protocol)) as watch:
        return await lab.connect(source, destination, 53, protocol, source_port=PORT), watch.look()


@pytest.mark.parametrize("client", CLIENTS)
async def test_questions_are_answered_and_never_tracked(lab: Lab, client: str) -> None:
    await answer(lab)
    for source, destination in zip(CLIENTS[client], ADDRESSES, strict=True):
        where = f"[{destination}]:53" if ":" in destination else f"{destination}:53"
        for protocol in PROTOCOLS:
            assert (Outcome("forward", where, source), None) == await asked(lab, source, destination, protocol)
    assert set() == entries(lab.node), "answers are nobody's first packets either"


async def test_a_client_is_refused_where_the_server_is_away(lab: Lab) -> None:
    """Nothing else answers in its place, and nobody waits."""
    for source, destination in zip(CLIENTS["a pod"], ADDRESSES, strict=True):
        for protocol in PROTOCOLS:
            assert (Outcome("reject"), None) == await asked(lab, source, destination, protocol)


async def test_other_ports_of_the_address_and_clients_at_the_servers_port_are_tracked_as_ever(lab: Lab) -> None:
    port = service_port("web", "10.96.0.1", [here("10.244.1.2", 5353)])
    both = structs.replace(ANSWERED, services={**ANSWERED.services, ("default", "web"): (port,)})
    await lab.load(both)
    assert Outcome("reject") == await lab.connect("pod", ADDRESSES[0], 80)
    assert (await lab.connect("pod", "10.96.0.1", 80, source_port=53)).endpoint == "10.244.1.2:5353"


async def test_a_question_with_a_loopback_source_does_not_come_in_though_no_connection_is_told_of(lab: Lab) -> None:
    """The guard of type nat never sees it; the filter does."""
    outside = lab.place("outside").namespace
    for namespace in (outside, lab.node):
        await lab.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet", namespace=namespace)
    honest_source = CLIENTS["outside"][0]
    with (
        opened(lab.node, (ADDRESSES[0], 53)) as server,
        opened(outside, ("127.0.0.77", 0)) as forger,
        opened(outside, (honest_source, 0)) as honest,
    ):
        assert [honest_source] == await heard(server, forger, honest)
        await lab.run("nft", "flush", "chain", "ip", "mooring", "loopback")
        assert ["127.0.0.77", honest_source] == await heard(server, forger, honest)


def opened(namespace: str, where: tuple[str, int]) -> socket.socket:
    with inside(namespace):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind(where)
    return made


async def heard(server: socket.socket, *clients: socket.socket) -> list[str]:
    """From whom the server hears when these ask one after the other, the last of them for certain."""
    for each in clients:
        each.sendto(b"?", (ADDRESSES[0], 53))
    found: list[str] = []
    async with asyncio.timeout(60):
        while clients[-1].getsockname()[0] not in found:
            _, (source, _) = await asyncio.get_running_loop().sock_recvfrom(server, 64)
            found.append(source)
    return found


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_without_the_word_that_the_node_answers_conntrack_hears_of_it(lab: Lab, protocol: Protocol) -> None:
    """So the tests above can fail; and the change from one to the other needs no new tables."""
    await answer(lab)
    source, installed = CLIENTS["a pod"], await lab.load(CLAIMED)
    met, tracked = await asked(lab, source[0], ADDRESSES[0], protocol)
    assert (met.endpoint, tracked and tracked.redirected) == ("10.244.1.2:5353", True)
    met, tracked = await asked(lab, source[1], ADDRESSES[1], protocol)
    assert (met.endpoint, tracked and tracked.redirected) == ("[fd00:96::a]:53", False)
    await lab.firewall.apply(installed.set_ranges(ANSWERED))
    met, _ = await asked(lab, source[0], ADDRESSES[0], protocol)
    assert met.endpoint == "10.96.0.10:53"
