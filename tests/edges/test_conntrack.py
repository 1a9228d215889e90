"""Are UDP flows listed and forgotten, in memory as in the kernel, and are the right ones chosen?"""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest
from msgspec import structs

from mooring.dataplane.conntrack import Flow, Serving, frontends_in
from mooring.dataplane.installed import compile_view
from mooring.edges.memory.conntrack import MemoryConntrack
from mooring.edges.netlink.conntrack import KernelConntrack
from mooring.edges.nft.netlink import inside
from mooring.ports.conntrack import Conntrack
from mooring.services.view import Endpoint, Entry, Protocol, ServicePort
from mooring.testing.netlab import bare_namespace
from mooring.testing.node_views import here, node_view, service_port, there

ONE, TWO = there("10.244.2.2"), there("10.244.2.3")
VIP = ("10.96.0.1", 80)


NAME = ("default", "dns")
Ports = tuple[ServicePort, ...]


def udp(*endpoints: Endpoint, at: str = VIP[0], retained: tuple[Endpoint, ...] = ()) -> Ports:
    made = service_port("dns", at, endpoints, protocol=Protocol.UDP)
    return (structs.replace(made, retained=retained),)


def unready(*endpoints: Endpoint) -> Ports:
    """A policy or topology leaves endpoints that serve without new flows from here."""
    return udp(retained=endpoints)


def doors(*endpoints: Endpoint, addresses: tuple[str, ...]) -> Ports:
    """One port behind a cluster IP and further frontends of the same port number."""
    (made,) = udp(*endpoints)
    (frontend,) = made.frontends
    more = tuple(structs.replace(frontend, entry=Entry.NODE_PORT, address=address, port=30053) for address in addresses)
    return (structs.replace(made, frontends=(frontend, *more)),)


def flow(destination: tuple[str, int], server: tuple[str, int]) -> Flow:
    return Flow(("10.244.1.9", 5000), destination, server)


def at(endpoint: Endpoint) -> tuple[str, int]:
    return endpoint.address, endpoint.port


NODE, SECOND = "172.30.0.11", "192.0.2.11"


@pytest.mark.parametrize(
    ("before", "after", "to", "server", "is_stale"),
    [
        pytest.param(udp(ONE, TWO), udp(TWO), VIP, at(ONE), True, id="its endpoint went"),
        pytest.param(udp(ONE, TWO), udp(TWO), VIP, at(TWO), False, id="another endpoint went"),
        pytest.param(udp(ONE), udp(ONE, TWO), VIP, at(ONE), False, id="an endpoint came"),
        pytest.param(udp(), udp(ONE), VIP, VIP, True, id="begun before the first endpoint was ready"),
        pytest.param((), udp(ONE), VIP, VIP, True, id="begun before the Service came"),
        pytest.param(udp(ONE), (), VIP, at(ONE), True, id="the Service went"),
        pytest.param(udp(ONE), udp(), VIP, at(ONE), True, id="the last endpoint went"),
        pytest.param(udp(ONE), udp(there(ONE.address, 9)), VIP, at(ONE), True, id="the endpoint's port changed"),
        pytest.param(udp(ONE), udp(here(ONE.address)), VIP, at(ONE), False, id="another pod serves at the same address"),
        pytest.param(udp(ONE), udp(TWO, retained=(ONE,)), VIP, at(ONE), False, id="its endpoint drains"),
        pytest.param(udp(TWO, retained=(ONE,)), udp(TWO), VIP, at(ONE), True, id="the drained endpoint is gone"),
        pytest.param(udp(ONE), unready(ONE), VIP, at(ONE), False, id="a policy sends new flows elsewhere"),
        pytest.param(
            doors(ONE, addresses=(NODE,)), udp(ONE), (NODE, 30053), at(ONE), True, id="the node port was taken away"
        ),
        pytest.param(
            doors(ONE, addresses=(NODE,)), doors(TWO, addresses=(NODE,)), (NODE, 30053), at(ONE), True,
            id="the endpoint behind the node port went",
        ),
        pytest.param(
            doors(ONE, addresses=(NODE, SECOND)), doors(TWO, addresses=(NODE, SECOND)), (SECOND, 30053), at(ONE), True,
            id="and at every address of the node",
        ),
        pytest.param(doors(ONE, addresses=(NODE,)), udp(ONE), VIP, at(ONE), False, id="another frontend was taken away"),
        pytest.param(
            udp(ONE), doors(ONE, addresses=(NODE,)), (NODE, 30053), (NODE, 30053), True, id="begun before the node port"
        ),
        pytest.param(udp(ONE), udp(TWO), ("192.0.2.1", 53), ("192.0.2.1", 53), False, id="to somewhere else"),
    ],
)  # fmt: skip
def test_stale_flows(before: Ports, after: Ports, to: tuple[str, int], server: tuple[str, int], is_stale: bool) -> None:
    serving, found = Serving(), flow(to, server)
    serving.change(NAME, before)
    assert ([found] if is_stale else []) == serving.stale([found], serving.change(NAME, after))


def test_a_growing_service_makes_nobody_suspicious() -> None:
    serving = Serving()
    serving.change(NAME, udp(ONE))
    assert serving.change(NAME, udp(ONE, TWO)) == frozenset()


def test_tcp_is_left_alone() -> None:
    serving = Serving()
    serving.change(NAME, (service_port("web", VIP[0], [ONE]),))
    assert serving.change(NAME, ()) == serving.frontends() == frozenset()


def test_an_agent_that_begins_suspects_every_udp_frontend_it_has_or_finds_in_the_tables() -> None:
    serving = Serving()
    serving.change(NAME, udp(ONE))
    assert serving.frontends() == {VIP}
    web = service_port("web", "10.96.0.9", [ONE])
    left = compile_view(node_view({"old": [*udp(ONE, at="10.96.0.7"), *udp(ONE, at="fd00:96::7"), web]}))
    assert set(frontends_in(left.elements)) == {("10.96.0.7", 80), ("fd00:96::7", 80)}


def test_of_two_services_that_claim_a_frontend_only_the_first_ones_endpoints_serve() -> None:
    """A change of the second one must not end the flows of the first, and its flows begin when the first lets go."""
    serving, flows = Serving(), [flow(VIP, at(ONE)), flow(VIP, at(TWO))]
    serving.change(("default", "b"), udp(TWO))
    assert serving.stale(flows, serving.change(("default", "a"), udp(ONE))) == [flow(VIP, at(TWO))]
    assert serving.change(("default", "b"), udp(there("10.244.2.4"))) == frozenset()
    assert serving.stale(flows, serving.change(("default", "a"), ())) == flows


def test_who_serves_when_the_flows_are_listed_counts() -> None:
    """The list is taken some time after the change; an endpoint that came meanwhile keeps its flows."""
    serving = Serving()
    serving.change(NAME, udp(ONE))
    among = serving.change(NAME, udp(TWO))
    serving.change(NAME, udp(ONE, TWO))
    assert serving.stale([flow(VIP, at(ONE))], among) == []


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


async def test_who_asks_after_a_cancelled_one_gets_answers(conntrack: tuple[Conntrack, list[Flow]]) -> None:
    """A thread that talks to the kernel cannot be stopped: the next one must not take its answers, nor it the next one's."""
    tracked, expected = conntrack
    for _ in range(20):
        asking = asyncio.create_task(tracked.udp_flows())
        await asyncio.sleep(0)
        asking.cancel()
        async with asyncio.timeout(60):
            assert len(expected) == len(await tracked.udp_flows())
