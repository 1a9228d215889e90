"""What becomes of a packet? The simulator walks a NodeView as the kernel walks the tables, and gives each decision's reason.

It is the product (`mooring trace packet`) and the tests' main instrument: the compiled ruleset and the real kernel must agree
with it.
"""

from collections.abc import Iterator
from enum import Enum
from ipaddress import ip_address

from msgspec import Struct

from mooring.dataplane import trace_words as words
from mooring.dataplane.trace_words import Step as Step
from mooring.endpoints.addresses import contains
from mooring.endpoints.select import Endpoint
from mooring.services.view import (
    Answering,
    Arm,
    Entry,
    Frontend,
    Masquerade,
    NodeView,
    Pool,
    Protocol,
    Reason,
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
    """The first packet of a connection, entering `node` of the view. Addresses in canonical text form.

    `interface` is where it comes in; it matters only where pods are known by their interface.
    """

    source: str
    destination: str
    protocol: Protocol
    port: int
    interface: str = ""


class Choice(Struct, frozen=True):
    """An endpoint the packet may reach, with which probability, and whether it will see the node's address."""

    endpoint: Endpoint
    probability: float
    masqueraded: bool


class Trace(Struct, frozen=True):
    """`affinity`: for so many seconds after each connection the client comes back to the endpoint it got; 0 for no such bond.
    The probabilities are those of a client that has none yet."""

    packet: Packet
    source: Source
    outcome: Outcome
    choices: tuple[Choice, ...]
    steps: tuple[Step, ...]
    service: ServicePortName | None = None
    affinity: int = 0


def trace(view: NodeView, packet: Packet, local_addresses: tuple[str, ...] = ()) -> Trace:
    """Follows `packet` through the node. `local_addresses` are the node's own beside its node addresses (cluster DNS)."""
    source = classify(view, packet.source, packet.interface)
    steps = [Step(f"{packet.source} is {source.value}", _source_cause(view, packet, source))]
    if Answering(packet.destination, packet.port, packet.protocol) in view.answered_here:
        return Trace(packet, source, Outcome.PASS, (), (*steps, words.answered_here(view, packet.destination)))
    match = _frontend(view, packet)
    if match is None:
        outcome, step = _unmatched(view, packet, local_addresses)
        return Trace(packet, source, outcome, (), (*steps, step))
    port, frontend = match
    steps.append(words.reached(view, port.name, frontend))
    if frontend.allowed is not None:
        among = next((cidr for cidr in frontend.allowed if contains(cidr, packet.source)), None)
        steps.append(words.guarded(view, port.name, frontend, packet.source, among))
        if among is None:
            return Trace(packet, source, Outcome.DROP, (), tuple(steps), port.name)
    arm = {Source.POD: frontend.pod, Source.NODE: frontend.node, Source.OUTSIDE: frontend.outside}[source]
    steps.append(words.decided(port, frontend, arm))
    if arm.verdict is not Verdict.FORWARD:
        return Trace(packet, source, Outcome(arm.verdict.value), (), tuple(steps), port.name)
    if arm.reason in (Reason.SAME_NODE, Reason.SAME_ZONE):
        steps.append(words.hinted(view, port.name, arm.reason))
    if port.affinity:
        steps.append(words.remembered(port))
    pool = port.cluster if arm.pool is Pool.CLUSTER else port.local
    choices = tuple(Choice(each, 1 / len(pool), _masqueraded(view, packet.source, source, arm, each)) for each in pool)
    if any(choice.masqueraded for choice in choices):
        steps.append(words.masqueraded(view, port.name, frontend, arm, source.value))
    return Trace(packet, source, Outcome.FORWARD, choices, tuple(steps), port.name, port.affinity)


def classify(view: NodeView, source: str, interface: str = "") -> Source:
    if source in view.node_addresses or ip_address(source).is_loopback:
        return Source.NODE
    if any(contains(cidr, source) for cidr in view.pod_cidrs) or _is_pods(view, interface):
        return Source.POD
    return Source.OUTSIDE


def _is_pods(view: NodeView, interface: str) -> bool:
    return any(
        interface.startswith(each.removesuffix("*")) if each.endswith("*") else interface == each
        for each in view.pod_interfaces
    )


def _masqueraded(view: NodeView, address: str, source: Source, arm: Arm, endpoint: Endpoint) -> bool:
    """A packet delivered on this very node (to an endpoint in its own network) goes out nowhere, so it keeps its source."""
    if endpoint.address in view.node_addresses and source is not Source.NODE:
        return False
    return arm.masquerade is Masquerade.ALWAYS or (endpoint.local and endpoint.address == address)


def _unmatched(view: NodeView, packet: Packet, local: tuple[str, ...]) -> tuple[Outcome, Step]:
    """A packet to no frontend. Only at cluster IPs is that a Service's business."""
    near = [(port, each) for port in _ports(view) for each in port.frontends if each.address == packet.destination]
    owner = next((port for port, each in near if each.entry is Entry.CLUSTER_IP), None)
    if owner is not None:
        return Outcome.REJECT, words.no_such_port(owner.name, packet.destination, packet.port, packet.protocol)
    if packet.destination in local or packet.destination in view.node_addresses or ip_address(packet.destination).is_loopback:
        elsewhere = next(
            (
                (port.name, each)
                for port in _ports(view)
                for each in port.frontends
                if each.entry is Entry.NODE_PORT and (each.port, port.name.protocol) == (packet.port, packet.protocol)
            ),
            None,
        )
        return Outcome.PASS, words.own_address(view, packet.destination, packet.port, packet.protocol, elsewhere)
    cidr = next((cidr for cidr in view.service_cidrs if contains(cidr, packet.destination)), None)
    if cidr is not None:
        return Outcome.DROP, Step(f"drop: no Service owns {packet.destination}", f"the service range {cidr} contains it")
    if near:
        return Outcome.PASS, words.left_alone(near[0][0].name, near[0][1], packet.port, packet.protocol)
    return Outcome.PASS, Step("pass: not a Service's address", "no frontend and no service range contains it")


def _frontend(view: NodeView, packet: Packet) -> tuple[ServicePort, Frontend] | None:
    """Of several Services that claim it, the first by namespace and name has it, with all that it says of it."""
    for port in _ports(view):
        if port.name.protocol is not packet.protocol:
            continue
        for frontend in port.frontends:
            if frontend.port == packet.port and frontend.address == packet.destination:
                return port, frontend
    return None


def _ports(view: NodeView) -> Iterator[ServicePort]:
    for name in sorted(view.services):
        yield from view.services[name]


def _source_cause(view: NodeView, packet: Packet, source: Source) -> str:
    match source:
        case Source.NODE if packet.source in view.node_addresses:
            return f"node/{view.node}: status.addresses"
        case Source.NODE:
            return "a loopback address never leaves its machine"
        case Source.POD if view.pod_interfaces:
            return f"node/{view.node}: {view.pods_by} {', '.join(view.pod_interfaces)}; it comes in at {packet.interface}"
        case Source.POD:
            return f"node/{view.node}: {view.pods_by} {', '.join(view.pod_cidrs)}"
    if not view.pods_by:
        return f"node/{view.node}: not in status.addresses, and detect-local is None: pods count as outside"
    return f"neither in node/{view.node} {view.pods_by} nor in status.addresses"
