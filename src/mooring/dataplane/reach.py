"""What may every source reach on one node? All ways through all Services that a NodeView holds, each with its end.

The simulator (trace.py) follows one packet; this follows them all, so that two states of a cluster can be compared
(`mooring plan`) and one can be read (`mooring explain`).
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from msgspec import Struct

from mooring.dataplane.trace import Choice, Outcome, Source
from mooring.endpoints.select import Endpoint
from mooring.services.view import (
    Arm,
    Entry,
    Frontend,
    Masquerade,
    NodeView,
    Pool,
    Protocol,
    Reason,
    ServiceName,
    ServicePort,
    Verdict,
)


class Way(Struct, frozen=True):
    """From one kind of source on one node through one frontend. `service` is who owns the frontend: (namespace, name)."""

    node: str
    source: Source
    service: ServiceName
    entry: Entry
    address: str
    port: int
    protocol: Protocol


class Reach(Struct, frozen=True):
    """Where a way ends. A hairpin's masquerade is not counted: a `Choice` is masqueraded when every source of the way is.

    `allowed` are those of the way's sources that may come in at all: None for all of them, () for none (the outcome is DROP,
    and `reason` says what they would have met). `affinity` is for how many seconds a client stays with its endpoint.
    """

    outcome: Outcome
    reason: Reason
    choices: tuple[Choice, ...] = ()
    allowed: tuple[str, ...] | None = None
    affinity: int = 0


Network = IPv4Network | IPv6Network


def reach(view: NodeView) -> dict[Way, Reach]:
    """Every way on the view's node. Of several Services that claim one frontend, only the first by (namespace, name) has it."""
    found: dict[Way, Reach] = {}
    for service, port, frontend in claimed(view):
        for source in Source:
            way = Way(view.node, source, service, frontend.entry, frontend.address, frontend.port, port.name.protocol)
            found[way] = _reach(view, source, port, frontend)
    return found


def shadowed(view: NodeView) -> dict[tuple[ServiceName, str, int, Protocol], ServiceName]:
    """Which frontends a Service claims in vain, by (Service, address, port, protocol), and who has each instead."""
    owners = {(each.address, each.port, port.name.protocol): service for service, port, each in claimed(view)}
    claims = (
        (service, each.address, each.port, port.name.protocol)
        for service, ports in view.services.items()
        for port in ports
        for each in port.frontends
    )
    return {claim: owners[claim[1:]] for claim in claims if owners.get(claim[1:], claim[0]) != claim[0]}


def claimed(view: NodeView) -> Iterator[tuple[ServiceName, ServicePort, Frontend]]:
    """Every frontend once, with the service port that has it: the first by (namespace, name); not what the node answers."""
    taken: set[tuple[str, int, Protocol]] = {(each.address, each.port, each.protocol) for each in view.answered_here}
    for service in sorted(view.services):
        for port in view.services[service]:
            for frontend in port.frontends:
                key = (frontend.address, frontend.port, port.name.protocol)
                if key not in taken:
                    taken.add(key)
                    yield service, port, frontend


def _reach(view: NodeView, source: Source, port: ServicePort, frontend: Frontend) -> Reach:
    arm = _arm(view, source, port, frontend)
    allowed = _allowed(view, source, frontend)
    if allowed == ():
        return Reach(Outcome.DROP, arm.reason, allowed=allowed)
    if arm.verdict is not Verdict.FORWARD:
        return Reach(Outcome(arm.verdict.value), arm.reason, allowed=allowed)
    pool = port.cluster if arm.pool is Pool.CLUSTER else port.local
    choices = tuple(Choice(endpoint, 1 / len(pool), _masqueraded(view, source, arm, endpoint)) for endpoint in pool)
    return Reach(Outcome.FORWARD, arm.reason, choices, allowed, port.affinity)


def _arm(view: NodeView, source: Source, port: ServicePort, frontend: Frontend) -> Arm:
    """A pod that cannot be told from the outside is outside."""
    if source is Source.NODE:
        return frontend.node
    return frontend.pod if source is Source.POD and view.detects_pods(port.name.family) else frontend.outside


def _masqueraded(view: NodeView, source: Source, arm: Arm, endpoint: Endpoint) -> bool:
    """A packet delivered on this very node (to an endpoint in its own network) goes out nowhere, so it keeps its source."""
    if endpoint.address in view.node_addresses and source is not Source.NODE:
        return False
    return arm.masquerade is Masquerade.ALWAYS


def _allowed(view: NodeView, source: Source, frontend: Frontend) -> tuple[str, ...] | None:
    """What the frontend's ranges leave of the source's own addresses; of the outside, all that is not this node's."""
    if frontend.allowed is None:
        return None
    version = 6 if ":" in frontend.address else 4
    ranges = list(_networks(frontend.allowed, version))
    pods, own = list(_networks(view.pod_cidrs, version)), list(_networks(view.node_addresses, version))
    if source is Source.OUTSIDE:
        left = [each for each in ranges if not each.is_loopback and not _within(each, [*pods, *own])]
    else:
        mine = pods if source is Source.POD else own
        if source is Source.POD and not mine:
            return tuple(map(str, ranges))
        if all(_within(each, ranges) for each in mine):
            return None
        left = [*(each for each in mine if _within(each, ranges)), *(each for each in ranges if _within(each, mine))]
    return tuple(dict.fromkeys(map(str, left)))


def _networks(texts: Iterable[str], version: int) -> Iterator[Network]:
    return (network for network in map(ip_network, texts) if network.version == version)


def _within(inner: Network, outer: Iterable[Network]) -> bool:
    return any(inner.subnet_of(each) for each in outer)  # type: ignore[arg-type]
