"""Node views and packets at random: everything a view can say, and what is sent to it, with near misses.

Drawn from a Random, so that Hypothesis (`st.randoms(use_true_random=False)`) and a soak with a seed draw from the same.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

import msgspec
from hypothesis import strategies as st

from mooring.dataplane.trace import Packet
from mooring.services.view import (
    Answering,
    Entry,
    Family,
    NodeView,
    Pool,
    Protocol,
    ServiceName,
    ServicePort,
    ServicePortName,
)
from mooring.testing.node_views import POD_CIDRS as POD_CIDRS
from mooring.testing.node_views import SERVICE_CIDRS, Door, Manners, here, port_with, there

NAMES = ("a", "b", "c", "d")
NODE = ("172.30.0.11", "172.30.0.12", "fd00:30::11")
"""The node's addresses: two of one family."""
PODS = {Family.IPV4: "10.244.1.77", Family.IPV6: "fd00:244:1::77"}
OUTSIDE = {Family.IPV4: "172.30.0.250", Family.IPV6: "fd00:30::fa"}
REMOTE = {Family.IPV4: "10.244.2.77", Family.IPV6: "fd00:244:2::77"}
"""A pod of another node."""
ENDPOINTS = {
    Family.IPV4: (
        here("10.244.1.2"),
        here("10.244.1.3"),
        here("10.244.1.2", 9090),
        there("10.244.2.2"),
        there("10.244.2.3"),
        here(NODE[0]),
    ),
    Family.IPV6: (here("fd00:244:1::2"), there("fd00:244:2::2"), there("fd00:244:2::3"), here(NODE[2])),
}
CLUSTER_IPS = {Family.IPV4: "10.96.0.{}", Family.IPV6: "fd00:96::{}"}
UNALLOCATED = {Family.IPV4: "10.96.0.99", Family.IPV6: "fd00:96::99"}
BALANCERS = {Family.IPV4: "203.0.113.{}", Family.IPV6: "2001:db8::{}"}
NODE_PORTS = {Family.IPV4: (NODE[0], NODE[1], "127.0.0.1"), Family.IPV6: (NODE[2],)}
RANGES = {
    Family.IPV4: ("10.244.1.0/24", "10.244.2.77/32", "172.30.0.0/24", "10.0.0.0/8", "192.0.2.0/24"),
    Family.IPV6: ("fd00:244:1::/64", "fd00:30::/64", "fd00::/16", "2001:db8:1::/48"),
}
LOOPBACK_RANGE = ("127.0.0.0/8", f"{NODE[0]}/32", f"{NODE[1]}/32")
PORTS, NODE_PORT_NUMBERS, WRONG_PORT = (80, 443), (30080, 30081), 81

KNOWN_BY: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (POD_CIDRS, ()),
    (("10.244.0.0/16", "fd00:244::/32"), ()),
    ((), ("v*",)),
    ((), ("v0", "v1", "v2", "v3")),
    (POD_CIDRS[:1], ()),
    ((), ()),
)
"""How a node may know its pods: by their addresses or all pods', by the lab's interfaces, of one family or not at all."""

_T = TypeVar("_T")


def _some(rng: Random, among: Sequence[_T], least: int = 0) -> list[_T]:
    return rng.sample(among, rng.randint(least, len(among)))


def _doors(rng: Random, family: Family) -> list[Door]:
    """Where one port of a Service is entered, as types nest; LoadBalancers without node ports too."""
    number, port = rng.randint(1, 5), rng.choice(PORTS)
    internal, external = (rng.choice(list(Pool)) for _ in range(2))
    doors = [Door(Entry.CLUSTER_IP, CLUSTER_IPS[family].format(number), port, internal)]
    if rng.random() < 0.4:
        node_port = rng.choice(NODE_PORT_NUMBERS)
        for address in _some(rng, NODE_PORTS[family], 1):
            allowed = LOOPBACK_RANGE if address == "127.0.0.1" else None
            doors.append(Door(Entry.NODE_PORT, address, node_port, external, allowed))
    if rng.random() < 0.4:
        allowed = tuple(_some(rng, RANGES[family])) if rng.random() < 0.6 else None
        doors.append(Door(Entry.LOAD_BALANCER, BALANCERS[family].format(rng.randint(1, 3)), port, external, allowed))
    if rng.random() < 0.35:
        # Now and then an address that is another Service's cluster IP: legal, and somebody must win.
        address = (CLUSTER_IPS if rng.random() < 0.5 else BALANCERS)[family].format(rng.randint(1, 4))
        doors.append(Door(Entry.EXTERNAL_IP, address, port, external))
    return doors


def service_ports_of(rng: Random, service: str, manners: dict[Family, Manners]) -> tuple[ServicePort, ...]:
    """A Service's ports. Services claim the same frontends now and then, as they must not, and endpoints, as they may."""
    ports: dict[ServicePortName, ServicePort] = {}
    affinity = rng.choice((0, 0, 60, 10800))
    for _ in range(rng.randint(0, 3)):
        family = rng.choice(list(Family))
        protocol = rng.choice((Protocol.TCP, Protocol.TCP, Protocol.UDP))
        endpoints = _some(rng, ENDPOINTS[family]) if rng.random() < 0.9 else []
        port = port_with(service, _doors(rng, family), endpoints, protocol, affinity, manners[family])
        ports[port.name] = port
    return tuple(ports.values())


def empty_view_of(rng: Random) -> NodeView:
    """How a node knows its pods, and nothing else."""
    cidrs, interfaces = rng.choice(KNOWN_BY)
    return NodeView("a", {}, SERVICE_CIDRS, cidrs, NODE, interfaces)


def manners_of(view: NodeView, masquerade_all: bool) -> dict[Family, Manners]:
    return {family: Manners(view.detects_pods(family), masquerade_all) for family in Family}


def node_view_of(rng: Random) -> NodeView:
    view = empty_view_of(rng)
    manners = manners_of(view, rng.random() < 0.2)
    services: dict[ServiceName, tuple[ServicePort, ...]] = {}
    for name in _some(rng, NAMES, 1):
        ports = service_ports_of(rng, name, manners)
        if ports:
            services[("default", name)] = ports
    return msgspec.structs.replace(view, services=services)


def sources(family: Family) -> dict[str, str]:
    """Every kind of client by address: where it comes in at the lab's node, '' for the node itself."""
    pods = {each.address for each in ENDPOINTS[family] if each.local and each.address not in NODE} | {PODS[family]}
    found = dict.fromkeys(sorted(pods), "v0")
    return found | {OUTSIDE[family]: "eth0", REMOTE[family]: "eth0", _own(family): ""}


def _own(family: Family) -> str:
    return next(each for each in NODE if (":" in each) is (family is Family.IPV6))


def packets_of(rng: Random, view: NodeView, count: int) -> list[Packet]:
    """Hits on the view's frontends and near misses: a wrong port, a wrong protocol, nobody's address."""
    frontends = [
        (port.name.family, port.name.protocol, each.address, each.port)
        for ports in view.services.values()
        for port in ports
        for each in port.frontends
    ]
    return [_packet(rng, frontends) for _ in range(count)]


def _packet(rng: Random, frontends: Sequence[tuple[Family, Protocol, str, int]]) -> Packet:
    family, protocol, address, port = (
        rng.choice(frontends) if frontends else (Family.IPV4, Protocol.TCP, UNALLOCATED[Family.IPV4], 80)
    )
    miss = rng.random()
    if miss < 0.1:
        port = WRONG_PORT
    elif miss < 0.2:
        protocol = Protocol.UDP if protocol is Protocol.TCP else Protocol.TCP
    elif miss < 0.25:
        address = UNALLOCATED[family]
    if address == "127.0.0.1":
        return Packet(address, address, protocol, port)
    source = rng.choice(sorted(sources(family)))
    if source in NODE and address in NODE:
        # What the node sends to an address of its own bears that very address.
        source = address
    return Packet(source, address, protocol, port, sources(family).get(source, ""))


@st.composite
def node_views(draw: st.DrawFn) -> NodeView:
    rng = draw(st.randoms(use_true_random=False))
    return answering(rng, node_view_of(rng))


def answering(rng: Random, view: NodeView) -> NodeView:
    """The same node, which now and then answers itself what a Service claims, or nobody."""
    claimed = {
        Answering(each.address, each.port, port.name.protocol)
        for ports in view.services.values()
        for port in ports
        for each in port.frontends
    }
    nobodys = {Answering(UNALLOCATED[family], 80, protocol) for family in Family for protocol in (Protocol.TCP, Protocol.UDP)}
    among = sorted(claimed | nobodys, key=repr)
    return msgspec.structs.replace(view, answered_here=tuple(rng.sample(among, rng.choice((0, 0, 1, 2)))))


@st.composite
def service_ports(draw: st.DrawFn, service: str) -> tuple[ServicePort, ...]:
    """On a node that knows its pods by their addresses."""
    manners = dict.fromkeys(Family, Manners(masquerade_all=draw(st.booleans())))
    return service_ports_of(draw(st.randoms(use_true_random=False)), service, manners)


@st.composite
def usual_node_views(draw: st.DrawFn) -> NodeView:
    """Of a node that knows its pods by their addresses."""
    services = {name: draw(service_ports(name)) for name in draw(st.sets(st.sampled_from(NAMES)))}
    ports = {("default", name): ports for name, ports in services.items() if ports}
    return NodeView("a", ports, SERVICE_CIDRS, POD_CIDRS, NODE)


@st.composite
def apart_node_views(draw: st.DrawFn) -> NodeView:
    """No two service ports claim the same frontend."""
    view = draw(node_views())
    seen: set[tuple[str, int, Protocol]] = set()
    kept: dict[ServiceName, tuple[ServicePort, ...]] = {}
    for name, ports in view.services.items():
        good = []
        for port in ports:
            where = {(each.address, each.port, port.name.protocol) for each in port.frontends}
            if not where & seen:
                seen |= where
                good.append(port)
        if good:
            kept[name] = tuple(good)
    return msgspec.structs.replace(view, services=kept)
