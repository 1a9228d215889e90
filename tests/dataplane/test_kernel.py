"""Does the real kernel do with packets what the view says? One node, its pods and its neighbours as namespaces."""

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from agent_world import World, endpoint_slice, service

from mooring.dataplane.conntrack import Flow, Serving
from mooring.dataplane.installed import Installed
from mooring.dataplane.trace import Outcome as Fate
from mooring.dataplane.trace import Packet, trace
from mooring.edges.nft.firewall import NftFirewall
from mooring.model.kinds import ENDPOINT_SLICE, SERVICE
from mooring.services.view import Endpoint, NodeView, Pool, Protocol, ServicePort
from mooring.testing.netlab import Lab, Outcome, Source
from mooring.testing.node_views import NODE_ADDRESSES, SIX, external_port, here, node_view, service_port, there

pytestmark = pytest.mark.root

UDP = Protocol.UDP
PODS = [here("10.244.1.2"), here("10.244.1.3"), there("10.244.2.2")]
PODS6 = [here("fd00:244:1::2"), there("fd00:244:2::2")]
VIEW = node_view(
    {
        "web": [
            service_port("web", "10.96.0.1", PODS),
            service_port("web", "10.96.0.1", PODS, protocol=UDP),
            service_port("web", "fd00:96::1", PODS6),
            service_port("web", "fd00:96::1", PODS6, protocol=UDP),
        ],
        "none": [
            service_port("none", "10.96.0.2", []),
            service_port("none", "10.96.0.2", [], protocol=UDP),
            service_port("none", "fd00:96::2", []),
        ],
        "away": [service_port("away", "10.96.0.3", PODS[2:], policy=Pool.LOCAL)],
        "near": [service_port("near", "10.96.0.4", PODS, policy=Pool.LOCAL)],
        "host": [service_port("host", "10.96.0.5", [here(NODE_ADDRESSES[0])])],
        "ext": [
            external_port("ext", "203.0.113.1", PODS, Pool.LOCAL),
            external_port("ext", "203.0.113.2", PODS, Pool.CLUSTER, 81),
        ],
    }
)
SPARE = [there("10.244.2.3"), there("10.244.2.4")]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    services = {name[1]: ports for name, ports in VIEW.services.items()}
    with_spare = node_view({**services, "spare": [service_port("spare", "10.96.9.9", SPARE)]})
    async with Lab(with_spare, clients=["10.244.1.77", "fd00:244:1::77", "10.244.2.77"]) as built:
        await built.serve(node_view({"spare": [service_port("s", "10.96.9.9", SPARE, protocol=UDP)]}))
        await built.load(VIEW)
        yield built


CLIENTS = {
    "10.244.1.77": "10.244.1.77",
    "10.244.1.2": "10.244.1.2",
    "node": NODE_ADDRESSES[0],
    "outside": "172.30.0.250",
    "10.244.2.77": "10.244.2.77",
}
CLIENTS6 = {
    "fd00:244:1::77": "fd00:244:1::77",
    "fd00:244:1::2": "fd00:244:1::2",
    "node": NODE_ADDRESSES[1],
    "outside": "fd00:30::fa",
}
TARGETS = [
    ("10.96.0.1", 80, Protocol.TCP),
    ("10.96.0.1", 80, UDP),
    ("10.96.0.1", 81, Protocol.TCP),
    ("10.96.0.1", 81, UDP),
    ("10.96.0.2", 80, Protocol.TCP),
    ("10.96.0.2", 80, UDP),
    ("10.96.0.3", 80, Protocol.TCP),
    ("10.96.0.4", 80, Protocol.TCP),
    ("10.96.0.5", 80, Protocol.TCP),
    ("10.96.0.99", 80, Protocol.TCP),
    ("10.96.0.99", 80, UDP),
    ("203.0.113.1", 80, Protocol.TCP),
    ("203.0.113.2", 81, Protocol.TCP),
]
TARGETS6 = [
    ("fd00:96::1", 80, Protocol.TCP),
    ("fd00:96::1", 80, UDP),
    ("fd00:96::1", 81, Protocol.TCP),
    ("fd00:96::2", 80, Protocol.TCP),
    ("fd00:96::99", 80, Protocol.TCP),
]


def wished(view: NodeView, source: str, destination: str, port: int, protocol: Protocol) -> set[Outcome]:
    """What the simulator says a client may meet."""
    traced = trace(view, Packet(source, destination, protocol, port))
    if traced.outcome is not Fate.FORWARD:
        return {Outcome(traced.outcome.value)}  # type: ignore[arg-type]
    node = NODE_ADDRESSES[":" in destination]
    # What is delivered to the node itself passes no postrouting: a host-network endpoint sees the client as it is.
    own = {each.endpoint for each in traced.choices if each.endpoint.address in NODE_ADDRESSES and source != node}
    return {
        Outcome("forward", text(each.endpoint), node if each.masqueraded and each.endpoint not in own else source)
        for each in traced.choices
    }


def text(endpoint: Endpoint) -> str:
    return f"[{endpoint.address}]:{endpoint.port}" if ":" in endpoint.address else f"{endpoint.address}:{endpoint.port}"


async def test_every_client_meets_at_every_address_what_the_simulator_says(lab: Lab) -> None:
    few = asyncio.Semaphore(8)

    async def met(client: Source, target: tuple[str, int, Protocol]) -> set[Outcome]:
        async with few:
            return set(await asyncio.gather(*(lab.connect(client, *target) for _ in range(12))))

    asked = [(c, a, t) for c, a in CLIENTS.items() for t in TARGETS] + [
        (c, a, t) for c, a in CLIENTS6.items() for t in TARGETS6
    ]
    answers = await asyncio.gather(*(met(client, target) for client, _, target in asked))
    wrong = {}
    for (client, address, target), outcomes in zip(asked, answers, strict=True):
        expected = wished(VIEW, address, *target)
        # Some tries may miss one of three endpoints; that all are reached is asked below.
        if not outcomes <= expected or (len(expected) == 1 and outcomes != expected):
            wrong[(client, *target)] = (outcomes, expected)
    assert wrong == {}


async def test_connections_spread_over_all_endpoints(lab: Lab) -> None:
    outcomes = await asyncio.gather(*(lab.connect("pod", "10.96.0.1", 80) for _ in range(90)))
    counts = Counter(outcome.endpoint for outcome in outcomes)
    assert {text(each) for each in PODS} == set(counts)
    assert min(counts.values()) >= 10, "30 expected of each, with a standard deviation of 4.5"


async def test_a_pod_that_reaches_itself_sees_the_node_as_the_client(lab: Lab) -> None:
    outcomes = await asyncio.gather(*(lab.connect("10.244.1.2", "10.96.0.1", 80) for _ in range(60)))
    assert {NODE_ADDRESSES[0]} == {each.seen_source for each in outcomes if each.endpoint == "10.244.1.2:8080"}
    assert {"10.244.1.2"} == {each.seen_source for each in outcomes if each.endpoint != "10.244.1.2:8080"}


async def test_without_bridge_netfilter_and_with_strict_reverse_path_filtering_all_still_works(lab: Lab) -> None:
    await lab.run("sh", "-c", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done")
    for client in ("pod", "10.244.1.2", "node", "outside"):
        outcomes = await asyncio.gather(*(lab.connect(client, "10.96.0.1", 80) for _ in range(12)))
        assert {"forward"} == {each.verdict for each in outcomes}, client


async def test_an_established_connection_outlives_its_endpoint_and_a_replacement_of_the_tables(lab: Lab) -> None:
    installed = await lab.load(VIEW)
    loop = asyncio.get_running_loop()
    with lab.open("pod", "10.96.0.1") as client:
        await loop.sock_connect(client, ("10.96.0.1", 80))
        assert b"8080" in await _ask(client)
        await lab.firewall.apply(installed.change(("default", "web"), (service_port("web", "10.96.0.1", SPARE),)))
        assert b"8080" in await _ask(client)
        assert {text(each) for each in SPARE} >= {(await lab.connect("pod", "10.96.0.1", 80)).endpoint}
        await lab.firewall.replace(installed.ruleset())
        assert b"8080" in await _ask(client)


async def test_an_agents_death_leaves_traffic_and_its_successor_changes_nothing(lab: Lab) -> None:
    lab.firewall.close()
    assert (await lab.connect("pod", "10.96.0.1", 80)).verdict == "forward"
    successor = NftFirewall(lab.node)
    try:
        installed, transaction = Installed.adopt(VIEW, await successor.read())
        assert len(transaction) == 0
        await successor.apply(installed.change(("default", "none"), (service_port("none", "10.96.0.2", SPARE),)))
        assert (await lab.connect("pod", "10.96.0.2", 80)).verdict == "forward"
    finally:
        successor.close()


async def test_no_connection_fails_while_tables_are_replaced_and_endpoints_change(lab: Lab) -> None:
    """What a commit overtakes between two look-ups is decided on in the chain behind."""
    installed = await lab.load(VIEW)
    done = threading.Event()

    def hammer() -> Counter[str]:
        met: Counter[str] = Counter()
        while not done.is_set():
            with lab.open("pod", "10.96.0.1") as client:
                client.settimeout(10)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                try:
                    client.connect(("10.96.0.1", 80))
                except OSError as error:
                    met[repr(error)] += 1
                else:
                    met["connected"] += 1
        return met

    met = asyncio.create_task(asyncio.to_thread(hammer))
    try:
        for turn in range(1_200):
            ports = (service_port("web", "10.96.0.1", [*PODS[turn % 3 :], *SPARE[: turn % 2]]),)
            await lab.firewall.apply(installed.change(("default", "web"), ports))
            if turn % 3 == 0:
                await lab.firewall.replace(installed.ruleset())
    finally:
        done.set()
    assert {"connected"} == set(await met)


async def test_a_udp_flow_to_a_gone_endpoint_is_found_and_forgotten(lab: Lab) -> None:
    before = (service_port("web", "10.96.0.1", SPARE[:1], protocol=UDP),)
    after = (service_port("web", "10.96.0.1", SPARE[1:], protocol=UDP),)
    installed = await lab.load(node_view({"web": before}))
    other = lab.open("pod", "10.96.0.1", UDP, 40002)
    with lab.open("pod", "10.96.0.1", UDP, 40001) as client, other:
        await asyncio.get_running_loop().sock_connect(client, ("10.96.0.1", 80))
        assert b"10.244.2.3:8080" in await _ask(client)
        await lab.firewall.apply(installed.change(("default", "web"), after))
        assert b"10.244.2.3:8080" in await _ask(client), "conntrack still remembers the endpoint that went"
        found = left_behind(await lab.conntrack.udp_flows(), before, after)
        assert [flow.source for flow in found] == [("10.244.1.250", 40001)]
        assert await lab.conntrack.delete(found) == 1
        assert b"10.244.2.4:8080" in await _ask(client)


async def test_a_refused_datagram_leaves_no_flow_that_goes_stale_when_the_first_endpoint_comes(lab: Lab) -> None:
    installed = await lab.load(node_view({"web": [service_port("web", "10.96.0.1", [], protocol=UDP)]}))
    loop = asyncio.get_running_loop()
    with lab.open("pod", "10.96.0.1", UDP, 40003) as client:
        await loop.sock_connect(client, ("10.96.0.1", 80))
        with pytest.raises(ConnectionRefusedError):
            await _ask(client)
        ports = (service_port("web", "10.96.0.1", SPARE, protocol=UDP),)
        await lab.firewall.apply(installed.change(("default", "web"), ports))
        assert b"8080" in await _ask(client)


async def test_flows_of_ipv6_are_found_and_forgotten_too(lab: Lab) -> None:
    port = service_port("web", "fd00:96::1", SIX[:1], protocol=UDP)
    await lab.load(node_view({"web": [port]}))
    assert (await lab.connect("pod", "fd00:96::1", 80, UDP)).verdict == "forward"
    found = left_behind(await lab.conntrack.udp_flows(), (port,), ())
    assert [flow.server for flow in found] == [("fd00:244:1::2", 8080)]
    assert await lab.conntrack.delete(found) == 1
    assert await lab.conntrack.delete(found) == 0, "already gone is no error"


async def test_a_packets_own_mark_survives(lab: Lab) -> None:
    """Others route and filter by marks; ours is put back within the rule that used it."""
    await lab.run("nft", "add table ip probe; add counter ip probe seen")
    await lab.run("nft", "add chain ip probe forwarded { type filter hook forward priority 0; }")
    await lab.run("nft", "add chain ip probe pre { type filter hook prerouting priority -250; }")
    await lab.run(
        "nft", "add rule ip probe pre meta mark set 0xbeef; add rule ip probe forwarded meta mark 0xbeef counter name seen"
    )
    await lab.run("nft", "add counter ip probe lost; add rule ip probe forwarded meta mark != 0xbeef counter name lost")
    assert (await lab.connect("pod", "10.96.0.1", 80)).verdict == "forward"
    assert "packets 0 " in await lab.run("nft", "list", "counter", "ip", "probe", "lost")
    assert "packets 0 " not in await lab.run("nft", "list", "counter", "ip", "probe", "seen")


async def test_no_icmp_redirect_tempts_a_hairpinning_pod(lab: Lab) -> None:
    """The packet leaves by the link it came in by; a redirect would name the pod itself as the better way."""
    await lab.run("nft", "add table ip probe; add counter ip probe redirects")
    await lab.run("nft", "add chain ip probe out { type filter hook output priority 0; }")
    await lab.run("nft", "add rule ip probe out icmp type redirect counter name redirects")
    outcomes = await asyncio.gather(*(lab.connect("10.244.1.2", "10.96.0.1", 80) for _ in range(20)))
    assert {"forward"} == {each.verdict for each in outcomes}
    counted = await lab.run("nft", "list", "counter", "ip", "probe", "redirects")
    assert "packets 0 " in counted


def left_behind(flows: Sequence[Flow], before: Sequence[ServicePort], after: Sequence[ServicePort]) -> list[Flow]:
    """The flows that a Service's change made stale."""
    serving = Serving()
    serving.change(("default", "web"), before)
    return serving.stale(flows, serving.change(("default", "web"), after))


async def _ask(client: socket.socket) -> bytes:
    """One question on a connected socket; with a deadline for its answer."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, b"who?")
    async with asyncio.timeout(60):
        return await loop.sock_recv(client, 256)


async def test_a_service_created_through_the_api_answers_and_an_agent_restarts_unnoticed(lab: Lab) -> None:
    await lab.firewall.remove()
    world = World(lab.firewall, lab.conntrack)
    await world.begin()
    async with world.agent():
        await world.create(SERVICE, service("hello", "10.96.0.50"))
        await world.create(ENDPOINT_SLICE, endpoint_slice("hello", "10.244.1.2", "10.244.2.2"))
        await until_async(lambda: lab.connect("pod", "10.96.0.50", 80), "forward")
    assert (await lab.connect("pod", "10.96.0.50", 80)).verdict == "forward"
    async with world.agent():
        await world.update(ENDPOINT_SLICE, endpoint_slice("hello"))
        await until_async(lambda: lab.connect("pod", "10.96.0.50", 80), "reject")


async def until_async(connect: Callable[[], Awaitable[Outcome]], verdict: str) -> None:
    """Connects until it meets a verdict, within a deadline."""
    async with asyncio.timeout(60):
        while (await connect()).verdict != verdict:
            await asyncio.sleep(0.01)
