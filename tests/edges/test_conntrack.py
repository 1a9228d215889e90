"""Are UDP flows listed and forgotten, in memory as in the kernel, and are the right ones chosen?"""

import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest

from mooring.dataplane.conntrack import Flow, all_suspects, stale, suspects
from mooring.edges.memory.conntrack import MemoryConntrack
from mooring.edges.netlink.conntrack import KernelConntrack
from mooring.edges.nft.netlink import inside
from mooring.ports.conntrack import Conntrack
from mooring.services.view import Protocol, ServicePort
from mooring.testing.netlab import bare_namespace
from mooring.testing.node_views import service_port, there

ONE, TWO = there("10.244.2.2"), there("10.244.2.3")
VIP = ("10.96.0.1", 80)


def udp(*endpoints: object) -> tuple[ServicePort, ...]:
    return (service_port("dns", VIP[0], endpoints, protocol=Protocol.UDP),)  # type: ignore[arg-type]


def flow(destination: tuple[str, int], server: tuple[str, int]) -> Flow:
    return Flow(("10.244.1.9", 5000), destination, server)


@pytest.mark.parametrize(
    ("before", "after", "server", "is_stale"),
    [
        pytest.param(udp(ONE, TWO), udp(TWO), ONE, True, id="its endpoint went"),
        pytest.param(udp(ONE, TWO), udp(TWO), TWO, False, id="another endpoint went"),
        pytest.param(udp(ONE), udp(ONE, TWO), ONE, False, id="an endpoint came"),
        pytest.param(udp(), udp(ONE), there(*VIP), True, id="begun before the first endpoint came"),
        pytest.param((), udp(ONE), there(*VIP), True, id="begun before the Service came"),
        pytest.param(udp(ONE), (), ONE, True, id="the Service went"),
        pytest.param(udp(ONE), udp(), ONE, True, id="the last endpoint went"),
        pytest.param(udp(ONE), udp(there("10.244.2.2", 9)), ONE, True, id="the endpoint's port changed"),
    ],
)
def test_stale_flows(before: tuple[ServicePort, ...], after: tuple[ServicePort, ...], server: object, is_stale: bool) -> None:
    found = flow(VIP, (server.address, server.port))  # type: ignore[attr-defined]
    assert ([found] if is_stale else []) == stale([found], suspects(before, after))


def test_a_growing_service_makes_nobody_suspicious() -> None:
    assert suspects(udp(ONE), udp(ONE, TWO)) == {}


def test_tcp_is_left_alone() -> None:
    assert suspects((service_port("web", VIP[0], [ONE]),), ()) == {}


def test_an_agent_that_begins_suspects_every_udp_frontend() -> None:
    assert {VIP: frozenset({("10.244.2.2", 8080)})} == all_suspects([udp(ONE)])


@pytest.fixture
def tracking_namespace() -> Iterator[str]:
    """A namespace whose lo is tracked: the kernel tracks connections only where some rule asks for it."""
    with bare_namespace("conntrack") as name:
        hook = "{ type filter hook output priority 0; }"
        for rule in ("add table inet t", f"add chain inet t c {hook}", "add rule inet t c ct state new accept"):
            subprocess.run(["ip", "netns", "exec", name, "nft", rule], check=True)
        yield name


@pytest.fixture(params=["memory", pytest.param("kernel", marks=pytest.mark.root)])
async def conntrack(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Conntrack, list[Flow]]]:
    """Connection tracking with one UDP flow of each family in it, and those flows."""
    if request.param == "memory":
        memory = MemoryConntrack()
        memory.flows = {Flow((a, 4000), (a, 53), (a, 53)) for a in ("127.0.0.1", "::1")}
        yield memory, sorted(memory.flows, key=lambda each: each.source)
        return
    namespace = request.getfixturevalue("tracking_namespace")
    flows = [_send(namespace, socket.AF_INET, "127.0.0.1"), _send(namespace, socket.AF_INET6, "::1")]
    with inside(namespace):
        server, client = socket.socket(), socket.socket()
    with server, client, closing(KernelConntrack(namespace)) as opened:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        yield opened, flows


def _send(namespace: str, family: socket.AddressFamily, address: str) -> Flow:
    """Sends a datagram; the flow it makes."""
    with inside(namespace):
        sender, receiver = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.bind((address, 0))
        sender.bind((address, 0))
        place = receiver.getsockname()[:2]
        sender.sendto(b"?", place)
        return Flow(sender.getsockname()[:2], place, place)


async def test_udp_flows_of_both_families_are_listed_and_no_others(conntrack: tuple[Conntrack, list[Flow]]) -> None:
    tracked, expected = conntrack
    assert sorted(expected, key=lambda each: each.source) == sorted(await tracked.udp_flows(), key=lambda each: each.source)


async def test_only_the_named_flow_is_forgotten_and_only_once(conntrack: tuple[Conntrack, list[Flow]]) -> None:
    tracked, expected = conntrack
    assert await tracked.delete(expected[:1]) == 1
    assert await tracked.delete(expected[:1]) == 0
    assert expected[1:] == list(await tracked.udp_flows())


async def test_forgetting_nothing_is_no_error(conntrack: tuple[Conntrack, list[Flow]]) -> None:
    assert await conntrack[0].delete([]) == 0
