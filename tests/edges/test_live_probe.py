"""Does a probe see what the kernel does, and does it leave nothing behind? Asked of a node made of namespaces."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from msgspec import structs

from mooring.app.probe import Plan, Stop, observe
from mooring.dataplane.sighting import Flow, Met, Seen, differences, outcome
from mooring.dataplane.trace import Outcome, Packet, trace
from mooring.edges.live.probe import Probe, ProbeError
from mooring.edges.nft.watch import PREFIX, PacketWatch
from mooring.services.view import Answering, Entry, Pool, Protocol
from mooring.testing.netlab import Lab, bare_namespace
from mooring.testing.node_views import (
    FOUR,
    NODE_ADDRESSES,
    SIX,
    Door,
    external_port,
    here,
    node_view,
    port_with,
    service_port,
    there,
)

pytestmark = pytest.mark.root

TCP, UDP, SCTP = Protocol.TCP, Protocol.UDP, Protocol.SCTP
VIEW = node_view(
    {
        "web": [service_port("web", "10.96.0.1", FOUR), service_port("web", "fd00:96::1", SIX)],
        "dns": [service_port("dns", "10.96.0.2", FOUR[3:], 53, UDP), service_port("dns", "fd00:96::2", SIX[1:], 53, UDP)],
        "sctp": [service_port("sctp", "10.96.0.4", FOUR[:1], protocol=SCTP)],
        "self": [service_port("self", "10.96.0.5", [here("10.244.1.2")])],
        "none": [service_port("none", "10.96.0.3", []), service_port("none", "fd00:96::3", [])],
        "away": [service_port("away", "10.96.0.6", [there("10.244.2.2")], policy=Pool.LOCAL)],
        "ext": [
            external_port("ext", "203.0.113.1", FOUR, Pool.LOCAL),
            external_port("all", "203.0.113.1", FOUR, Pool.CLUSTER, 81),
        ],
    }
)
PLACES = {
    "10.244.1.250": "client",
    "fd00:244:1::fa": "client",
    "10.244.1.2": "pod1",
    "172.30.0.11": "node",
    "fd00:30::11": "node",
    "127.0.0.1": "node",
}
OUTSIDE = "172.30.0.250"


def place(lab: Lab, address: str) -> str:
    return f"/run/netns/mrg-{lab.name}-{PLACES.get(address, 'outside')}"


async def probe(lab: Lab, source: str, destination: str, port: int, protocol: Protocol) -> Seen:
    plan = Plan(place(lab, source), source, (destination, port), protocol, (Stop("a", lab.node, NODE_ADDRESSES),))
    return await asyncio.to_thread(observe, plan)


@pytest.mark.parametrize(
    ("source", "destination", "port", "protocol", "became", "met"),
    [
        pytest.param("10.244.1.250", "10.96.0.1", 80, TCP, Outcome.FORWARD, Met.ANSWERED, id="a pod's connection"),
        pytest.param("172.30.0.11", "10.96.0.1", 80, TCP, Outcome.FORWARD, Met.ANSWERED, id="the node's connection"),
        pytest.param(OUTSIDE, "10.96.0.1", 80, TCP, Outcome.FORWARD, Met.ANSWERED, id="an outsider's connection"),
        pytest.param(
            "10.244.1.250", "203.0.113.1", 81, TCP, Outcome.FORWARD, Met.ANSWERED, id="an external address, masqueraded"
        ),
        pytest.param(OUTSIDE, "203.0.113.1", 80, TCP, Outcome.FORWARD, Met.ANSWERED, id="an external address, local only"),
        pytest.param("fd00:244:1::fa", "fd00:96::1", 80, TCP, Outcome.FORWARD, Met.ANSWERED, id="IPv6"),
        pytest.param("fd00:30::11", "fd00:96::1", 80, TCP, Outcome.FORWARD, Met.ANSWERED, id="the node over IPv6"),
        pytest.param("10.244.1.2", "10.96.0.5", 80, TCP, Outcome.FORWARD, Met.ANSWERED, id="a pod reaches itself"),
        pytest.param("10.244.1.250", "10.96.0.2", 53, UDP, Outcome.FORWARD, Met.ANSWERED, id="a datagram"),
        pytest.param("fd00:30::11", "fd00:96::2", 53, UDP, Outcome.FORWARD, Met.ANSWERED, id="the node's datagram over IPv6"),
        pytest.param("10.244.1.250", "10.96.0.4", 80, SCTP, Outcome.FORWARD, None, id="an SCTP INIT that nobody may answer"),
        pytest.param("10.244.1.250", "10.96.0.3", 80, TCP, Outcome.REJECT, Met.REFUSED, id="no endpoint"),
        pytest.param("172.30.0.11", "10.96.0.3", 80, TCP, Outcome.REJECT, Met.REFUSED, id="no endpoint, from the node"),
        pytest.param("fd00:244:1::fa", "fd00:96::3", 80, TCP, Outcome.REJECT, Met.REFUSED, id="no endpoint, over IPv6"),
        pytest.param("10.244.1.250", "10.96.0.1", 53, UDP, Outcome.REJECT, Met.REFUSED, id="a datagram to no such port"),
        pytest.param(
            "172.30.0.11", "10.96.0.1", 53, UDP, Outcome.REJECT, Met.REFUSED, id="the node's datagram to no such port"
        ),
        pytest.param("10.244.1.250", "10.96.0.1", 81, SCTP, Outcome.REJECT, Met.REFUSED, id="an SCTP INIT to no such port"),
        pytest.param("10.244.1.250", "10.96.0.77", 80, TCP, Outcome.DROP, Met.SILENCE, id="nobody's address"),
        pytest.param("172.30.0.11", "10.96.0.6", 80, TCP, Outcome.DROP, Met.SILENCE, id="no local endpoint, from the node"),
        pytest.param("172.30.0.11", "10.96.0.77", 80, UDP, Outcome.DROP, Met.SILENCE, id="the node's datagram to nobody"),
        pytest.param("10.244.1.250", "10.244.2.2", 8080, TCP, Outcome.PASS, Met.ANSWERED, id="straight to a pod"),
    ],
)
async def test_the_kernel_does_what_is_foreseen(
    source: str, destination: str, port: int, protocol: Protocol, became: Outcome, met: Met | None
) -> None:
    async with Lab(VIEW) as lab:
        await lab.load(VIEW)
        foreseen = trace(VIEW, Packet(source, destination, protocol, port))
        seen = await probe(lab, source, destination, port, protocol)
        [sighting] = seen.sightings
        assert (foreseen.outcome, outcome(sighting, seen.met)) == (became, became)
        assert () == differences([foreseen], seen)
        assert seen.met is met or met is None
        hook = "output" if PLACES.get(source) == "node" else "prerouting"
        assert sighting.lines[0].chain == f"raw-{hook}"
        assert sighting.lines[-1].verdict == ("drop" if became in (Outcome.REJECT, Outcome.DROP) else "accept")
        assert PREFIX not in await lab.run("nft", "list", "tables")


@pytest.mark.parametrize(("answers", "met"), [(True, Met.ANSWERED), (False, Met.REFUSED)], ids=["it answers", "it is away"])
@pytest.mark.parametrize("source", ["10.244.1.250", "172.30.0.11", OUTSIDE], ids=["a pod", "the node", "outside"])
@pytest.mark.parametrize("protocol", [TCP, UDP])
async def test_what_the_node_answers_itself_passes_though_nothing_is_tracked(
    protocol: Protocol, source: str, answers: bool, met: Met
) -> None:
    view = structs.replace(VIEW, answered_here=(Answering("10.96.0.10", 53, protocol),))
    async with Lab(view) as lab:
        await lab.load(view)
        if answers:
            await lab.listen("10.96.0.10", 53, protocol)
        seen = await probe(lab, source, "10.96.0.10", 53, protocol)
        [sighting] = seen.sightings
        foreseen = trace(view, Packet(source, "10.96.0.10", protocol, 53))
        assert (foreseen.outcome, outcome(sighting, seen.met), seen.met) == (Outcome.PASS, Outcome.PASS, met)
        assert () == differences([foreseen], seen)
        assert (sighting.tracked, sighting.untracked) == (None, True)
        assert "this node answers itself" in sighting.lines[0].rule


async def test_a_node_port_at_localhost_is_probed_from_the_node_itself() -> None:
    loopback = Door(Entry.NODE_PORT, "127.0.0.1", 30080, allowed=("127.0.0.0/8",))
    view = node_view({"local": [port_with("local", [loopback], FOUR)]})
    async with Lab(view) as lab:
        await lab.load(view)
        await lab.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
        seen = await probe(lab, "127.0.0.1", "127.0.0.1", 30080, TCP)
        assert () == differences([trace(view, Packet("127.0.0.1", "127.0.0.1", TCP, 30080))], seen)
        assert seen.met is Met.ANSWERED
        assert seen.sightings[0].tracked and seen.sightings[0].tracked.client[0] == NODE_ADDRESSES[0]


async def test_steps_are_told_with_the_words_of_the_rules() -> None:
    async with Lab(VIEW) as lab:
        await lab.load(VIEW)
        seen = await probe(lab, "10.244.1.250", "10.96.0.1", 81, TCP)
        told = [(line.table, line.chain, line.verdict) for line in seen.sightings[0].lines]
        assert [
            ("ip mooring", "prerouting-again", "jump unserved"),
            ("ip mooring", "unserved", "goto refuse"),
            ("ip mooring", "refuse", "drop"),
        ] == told[-3:]
        assert '"a Service, but not this port"' in seen.sightings[0].lines[-2].rule
        assert "ip daddr @cluster-ips goto refuse" in seen.sightings[0].lines[-2].rule


@pytest.mark.parametrize(
    ("damage", "difference"),
    [
        pytest.param(
            "add element ip mooring endpoints { 0x00002000 . 0x00000000 : 10.244.2.3 . 8080 }",
            "a: the kernel chose 10.244.2.3:8080, which is not foreseen: 10.244.1.2:8080",
            id="another endpoint",
        ),
        pytest.param(
            "delete element ip mooring frontends { 10.96.0.5 . tcp . 80 }",
            "a: foreseen forward, but the kernel did reject",
            id="no frontend",
        ),
        pytest.param(
            "insert rule ip mooring services counter drop",
            "a: foreseen forward, but the kernel did drop",
            id="a rule of others",
        ),
        pytest.param(
            "add rule ip mooring postrouting masquerade",
            "a: foreseen that the endpoint sees 10.244.1.250, but it sees",
            id="a source that is hidden",
        ),
        pytest.param(
            "flush ruleset", "a: foreseen forward, but the kernel did pass", id="no tables, yet something that tracks"
        ),
    ],
)
async def test_what_the_kernel_does_otherwise_is_seen(damage: str, difference: str) -> None:
    view = node_view({"self": [service_port("self", "10.96.0.5", [here("10.244.1.2")])]})
    async with Lab(view, clients=["10.244.2.3"]) as lab:
        await lab.load(view)
        if "add element" in damage:
            await lab.run("nft", "delete", "element", "ip", "mooring", "endpoints", "{ 0x00002000 . 0x00000000 }")
        await lab.run("nft", damage)
        if "flush" in damage:
            await lab.run("nft", "add table ip t; add chain ip t c { type filter hook prerouting priority 0; }")
            await lab.run("nft", "add rule ip t c ct state new accept")
        foreseen = trace(view, Packet("10.244.1.250", "10.96.0.5", TCP, 80))
        [told] = differences([foreseen], await probe(lab, "10.244.1.250", "10.96.0.5", 80, TCP))
        assert told.startswith(difference)


def test_a_killed_watcher_leaves_no_table_behind() -> None:
    with bare_namespace("watch") as namespace:
        source = f"""
import time
from mooring.dataplane.sighting import Flow
from mooring.edges.nft.watch import PacketWatch
from mooring.services.view import Protocol
with PacketWatch({namespace!r}, Flow(("127.0.0.1", 4000), ("127.0.0.1", 5000), Protocol.TCP)):
    print("watching", flush=True)
    time.sleep(60)
"""
        watcher = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
        try:
            assert watcher.stdout and watcher.stdout.readline() == "watching\n"
            assert PREFIX in _tables(namespace)
            watcher.kill()
            watcher.wait()
            until(lambda: PREFIX not in _tables(namespace))
        finally:
            watcher.kill()
            watcher.communicate()


def test_only_the_packets_of_the_flow_are_watched() -> None:
    with bare_namespace("watch") as namespace:
        flow = Flow(("127.0.0.1", 4000), ("127.0.0.1", 5000), UDP)
        with (
            PacketWatch(namespace, flow) as watch,
            Probe(f"/run/netns/{namespace}", "127.0.0.1", ("127.0.0.1", 5000), UDP) as other,
        ):
            other.send()
            assert other.met(60.0) is Met.REFUSED
            assert watch.events() == []


def test_a_source_that_the_place_does_not_have_is_an_error() -> None:
    with bare_namespace("watch") as namespace, pytest.raises(ProbeError, match="no TCP socket at 192"):
        Probe(f"/run/netns/{namespace}", "192.0.2.1", ("192.0.2.2", 80), TCP)


def test_a_place_without_a_route_is_told_from_a_drop() -> None:
    with bare_namespace("watch") as namespace, Probe(f"/run/netns/{namespace}", "127.0.0.1", ("192.0.2.2", 80), UDP) as sent:
        sent.send()
        assert sent.met(60.0) is Met.NO_ROUTE


def _tables(namespace: str) -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, "nft", "list", "tables"], capture_output=True, text=True, check=True
    )
    return done.stdout


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
