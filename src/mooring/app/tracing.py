"""What becomes of a packet between two places of the cluster? The journey, and the endpoints as people know them."""

from collections.abc import Iterator

from msgspec import Struct

from mooring.app.objects import Objects
from mooring.app.places import Destination, Origin, PlaceError, is_loopback, pod_of
from mooring.dataplane.journey import follow
from mooring.dataplane.sighting import Seen
from mooring.dataplane.trace import Choice, Outcome, Packet, Trace
from mooring.edges.pods.network import link_name
from mooring.endpoints.addresses import canonical, is_ipv6, readable
from mooring.model.discovery import SliceEndpoint
from mooring.services.view import NodeView, ServicePortName

DNS_SERVICE = ("kube-system", "kube-dns")
"""Whose addresses every node of ours holds itself."""


class Hop(Struct, frozen=True):
    """What one node's tables decide."""

    node: str
    trace: Trace


class Reached(Struct, frozen=True):
    """An endpoint that the packet may reach, as people know it. `sees` is the address it takes for the client's."""

    address: str
    port: int
    probability: float
    pod: str
    """namespace/name, '' when it is none."""
    node: str
    zone: str
    sees: str
    masqueraded: bool


class Told(Struct, frozen=True):
    """The whole answer. `hops` are the nodes whose tables the packet meets; `differences` what the kernel did otherwise."""

    origin: Origin
    destination: Destination
    outcome: Outcome
    hops: tuple[Hop, ...]
    endpoints: tuple[Reached, ...]
    live: Seen | None = None
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def foresee(objects: Objects, origin: Origin, to: Destination, *, own_links: bool = False) -> Told:
    """What the nodes' tables decide. `own_links`: the pods' links are made, and named, by us.

    Raises PlaceError where no node ever sees the packet, BadOptions.
    """
    if origin.kind != "node" and is_loopback(to.address):
        raise PlaceError(f"{to.address} is {origin.title}'s own: the packet never leaves it, and no node sees it")
    first = objects.view(origin.node)
    packet = Packet(origin.address, to.address, to.protocol, to.port, _interface(first, origin, own_links))
    dns = tuple(
        canonical(address)
        for each in objects.services
        if (each.metadata.namespace, each.metadata.name) == DNS_SERVICE
        for address in each.spec.cluster_ips or ()
    )
    hops = tuple(Hop(node, each) for node, each in follow(objects.view, origin.node, packet, to.owner, dns))
    return Told(origin, to, hops[-1].trace.outcome, hops, tuple(_endpoints(objects, hops[-1])))


def _interface(view: NodeView, origin: Origin, own_links: bool) -> str:
    """Where a pod's packet comes in: where others make the links, as the node's options take it to be."""
    if not origin.uid or not view.pod_interfaces:
        return ""
    return link_name(origin.uid) if own_links else view.pod_interfaces[0].removesuffix("*")


def _endpoints(objects: Objects, hop: Hop) -> Iterator[Reached]:
    known = _slice_endpoints(objects, hop.trace.service) if hop.trace.service else {}
    for choice in hop.trace.choices:
        address, port, node = choice.endpoint.address, choice.endpoint.port, choice.endpoint.node
        found = known.get(address)
        target = found.target_ref if found else None
        pod = f"{target.namespace}/{target.name}" if target and target.kind == "Pod" else pod_of(objects, address)
        there = objects.node(node)
        zone = there.zone if there else (found.zone or "") if found else ""
        yield Reached(address, port, choice.probability, pod, node, zone, _seen(objects, hop, choice), choice.masqueraded)


def _seen(objects: Objects, hop: Hop, choice: Choice) -> str:
    """As whom the endpoint sees the sender."""
    if not choice.masqueraded:
        return hop.trace.packet.source
    node = objects.node(hop.node)
    ipv6 = is_ipv6(hop.trace.packet.source)
    return next((each for each in node.internal_ips if is_ipv6(each) is ipv6), hop.node) if node else hop.node


def _slice_endpoints(objects: Objects, service: ServicePortName) -> dict[str, SliceEndpoint]:
    found: dict[str, SliceEndpoint] = {}
    for each in objects.slices:
        if each.service == (service.namespace, service.service):
            for endpoint in each.endpoints or ():
                for address in readable(endpoint.addresses[:1]):
                    found.setdefault(address, endpoint)
    return found
