"""What becomes of a packet? The simulator walks a NodeView as the kernel walks the tables, and gives each decision's reason.

It is the product (`mooring trace packet`) and the tests' main instrument: the compiled ruleset and the real kernel must agree
with it.
"""

from collections.abc import Iterator
from enum import Enum
from ipaddress import ip_address, ip_network

from msgspec import Struct

from mooring.endpoints.select import Endpoint
from mooring.services.view import (
    Arm,
    Entry,
    Frontend,
    Masquerade,
    NodeView,
    Pool,
    Protocol,
    ServicePort,
    ServicePortName,
    Verdict,
)


class Source(Enum):
    """Where a packet comes from, as this node sees it. The value completes 'from ...'."""

    POD = "a pod on this node"
    NODE = "the node itself"
    OUTSIDE = "outside the node"


class Outcome(Enum):
    FORWARD = "forward"
    REJECT = "reject"
    DROP = "drop"
    PASS = "pass"
    """No Service's packet: routed on as it is."""


class Packet(Struct, frozen=True):
    """The first packet of a connection, entering `node` of the view. Addresses in canonical text form."""

    source: str
    destination: str
    protocol: Protocol
    port: int


class Step(Struct, frozen=True):
    """One decision. `because` names the object and field that caused it."""

    decision: str
    because: str


class Choice(Struct, frozen=True):
    """An endpoint the packet may reach, with which probability, and whether it will see the node's address."""

    endpoint: Endpoint
    probability: float
    masqueraded: bool


class Trace(Struct, frozen=True):
    packet: Packet
    source: Source
    outcome: Outcome
    choices: tuple[Choice, ...]
    steps: tuple[Step, ...]
    service: ServicePortName | None = None


def trace(view: NodeView, packet: Packet, local_addresses: tuple[str, ...] = ()) -> Trace:
    """Follows `packet` through the node. `local_addresses` are the node's own beside its node addresses (cluster DNS)."""
    source = classify(view, packet.source)
    steps = [Step(f"{packet.source} is {source.value}", _source_cause(view, packet.source, source))]
    match = _frontend(view, packet)
    if match is None:
        return _unmatched(view, packet, source, steps, local_addresses)
    port, frontend = match
    arm = {Source.POD: frontend.pod, Source.NODE: frontend.node, Source.OUTSIDE: frontend.outside}[source]
    where = f"{packet.destination}:{packet.port}/{packet.protocol.value}"
    steps.append(Step(f"{where} is the {frontend.entry.value} of {_title(port.name)}", _frontend_cause(port.name, frontend)))
    steps.append(Step(f"{arm.verdict.value}: {arm.reason.value}", _arm_cause(port, arm)))
    if arm.verdict is not Verdict.FORWARD:
        return Trace(packet, source, Outcome(arm.verdict.value), (), tuple(steps), port.name)
    pool = port.cluster if arm.pool is Pool.CLUSTER else port.local
    choices = tuple(
        Choice(
            endpoint,
            1 / len(pool),
            masqueraded=_masqueraded(view, packet.source, source, arm, endpoint),
        )
        for endpoint in pool
    )
    if arm.masquerade is Masquerade.ALWAYS:
        steps.append(
            Step("the endpoint sees this node's address", f"the source is {source.value}, so answers must come back here")
        )
    elif any(choice.masqueraded for choice in choices):
        steps.append(Step("the pod sees this node's address when it reaches itself", "a hairpin is always masqueraded"))
    return Trace(packet, source, Outcome.FORWARD, choices, tuple(steps), port.name)


def _masqueraded(view: NodeView, address: str, source: Source, arm: Arm, endpoint: Endpoint) -> bool:
    """A packet delivered on this very node (to an endpoint in its own network) goes out nowhere, so it keeps its source."""
    if endpoint.address in view.node_addresses and source is not Source.NODE:
        return False
    return arm.masquerade is Masquerade.ALWAYS or (endpoint.local and endpoint.address == address)


def classify(view: NodeView, source: str) -> Source:
    if source in view.node_addresses:
        return Source.NODE
    if any(_contains(cidr, source) for cidr in view.pod_cidrs):
        return Source.POD
    return Source.OUTSIDE


def _unmatched(view: NodeView, packet: Packet, source: Source, steps: list[Step], local: tuple[str, ...]) -> Trace:
    owner = next((port for port in _ports(view) if _owns(port, packet.destination)), None)
    if owner is not None:
        title = f"{owner.name.namespace}/{owner.name.service}"
        cause = (
            f"service/{owner.name.service} in {owner.name.namespace}: spec.ports has no {packet.port}/{packet.protocol.value}"
        )
        steps.append(Step(f"reject: {packet.destination} belongs to {title}, which has no such port", cause))
        return Trace(packet, source, Outcome.REJECT, (), tuple(steps))
    if packet.destination in local or packet.destination in view.node_addresses:
        steps.append(Step("pass: the address is this node's own", f"node/{view.node}"))
        return Trace(packet, source, Outcome.PASS, (), tuple(steps))
    cidr = next((cidr for cidr in view.service_cidrs if _contains(cidr, packet.destination)), None)
    if cidr is not None:
        steps.append(Step(f"drop: no Service owns {packet.destination}", f"the service range {cidr} contains it"))
        return Trace(packet, source, Outcome.DROP, (), tuple(steps))
    steps.append(Step("pass: not a Service's address", "no frontend and no service range contains it"))
    return Trace(packet, source, Outcome.PASS, (), tuple(steps))


def _frontend(view: NodeView, packet: Packet) -> tuple[ServicePort, Frontend] | None:
    for port in _ports(view):
        if port.name.protocol is not packet.protocol:
            continue
        for frontend in port.frontends:
            if frontend.port == packet.port and frontend.address == packet.destination:
                return port, frontend
    return None


def _ports(view: NodeView) -> Iterator[ServicePort]:
    for ports in view.services.values():
        yield from ports


def _owns(port: ServicePort, address: str) -> bool:
    return any(frontend.entry is Entry.CLUSTER_IP and frontend.address == address for frontend in port.frontends)


def _contains(cidr: str, address: str) -> bool:
    network, parsed = ip_network(cidr), ip_address(address)
    return network.version == parsed.version and parsed in network


def _title(name: ServicePortName) -> str:
    return f"{name.namespace}/{name.service}" + (f" port {name.port}" if name.port else "")


def _source_cause(view: NodeView, address: str, source: Source) -> str:
    if source is Source.POD:
        return f"node/{view.node}: spec.podCIDRs {', '.join(view.pod_cidrs)}"
    if source is Source.NODE:
        return f"node/{view.node}: status.addresses"
    return f"neither in node/{view.node} spec.podCIDRs nor in status.addresses"


def _frontend_cause(name: ServicePortName, frontend: Frontend) -> str:
    return f"service/{name.service} in {name.namespace}: spec.clusterIPs, spec.ports {frontend.port}/{name.protocol.value}"


def _arm_cause(port: ServicePort, arm: Arm) -> str:
    pool = port.cluster if arm.pool is Pool.CLUSTER else port.local
    policy = "spec.internalTrafficPolicy " + ("Local" if arm.pool is Pool.LOCAL else "Cluster")
    return f"{policy}; {len(pool)} usable endpoint{'' if len(pool) == 1 else 's'} in the Service's EndpointSlices"
