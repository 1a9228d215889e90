"""What is there to say of one Service? What it is, its names, its endpoints, who reaches what, and what is wrong: one value.

Pure: a Case in, an Explanation out. `mooring explain` prints it, as a page or as data.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct, structs

from mooring.dataplane.reach import Reach, Way, reach, shadowed
from mooring.dataplane.trace import Outcome, Source
from mooring.endpoints.addresses import is_ipv6
from mooring.endpoints.select import Endpoint
from mooring.model.discovery import EndpointSlice
from mooring.model.node import Node, node
from mooring.model.service import ServicePortSpec
from mooring.services import load_balancer, session_affinity, source_ranges
from mooring.services.build import build_view
from mooring.services.headless import is_headless
from mooring.services.health_check import health_check
from mooring.services.locality import locality, options_of
from mooring.services.names import published, told
from mooring.services.problems import Case, Problem, problems
from mooring.services.problems.listed import Listed, listed
from mooring.services.problems.pods import Standing, standings
from mooring.services.problems.ranges import service_ranges
from mooring.services.problems.words import labels, listing
from mooring.services.proxied import is_proxied
from mooring.services.traffic_policy import LOCAL
from mooring.services.view import Entry, NodeView, Protocol, ServiceName

Document = dict[str, Any]
EVERY_NODE = ""
"""The address of a door that is at each node's own."""


class Record(Struct, frozen=True):
    """A name, and what DNS answers for it."""

    name: str
    type: str
    values: tuple[str, ...]


class EndpointRow(Struct, frozen=True):
    """An endpoint of the slices, or a pod that is in none of them. `why` says why it gets no traffic."""

    address: str
    ports: tuple[str, ...]
    state: str
    node: str = ""
    zone: str = ""
    target: str = ""
    hints: str = ""
    slice: str = ""
    why: str = ""


class Reached(Struct, frozen=True):
    """An endpoint that a way may end at; `masqueraded` when it sees the node's address in place of the client's."""

    address: str
    port: int
    node: str
    masqueraded: bool
    probability: float


class Passage(Struct, frozen=True):
    """What these sources on these nodes meet at a door, all alike."""

    sources: tuple[str, ...]
    nodes: tuple[str, ...]
    outcome: str
    reason: str
    endpoints: tuple[Reached, ...] = ()
    allowed: tuple[str, ...] | None = None


class Door(Struct, frozen=True):
    """An address and port of the Service. `address` is '' for a node port: each node's own. `taken_by` another Service."""

    entry: str
    address: str
    port: int
    protocol: str
    name: str
    passages: tuple[Passage, ...] = ()
    taken_by: str = ""


class Explanation(Struct, frozen=True):
    namespace: str
    name: str
    kind: str
    """Proxied; headless, alias or elsewhere: no node touches its packets."""
    facts: Mapping[str, str]
    """What it is, in words, by title."""
    names: tuple[Record, ...]
    endpoints: tuple[EndpointRow, ...]
    doors: tuple[Door, ...]
    nodes: tuple[str, ...]
    """Those asked."""
    unread: tuple[str, ...]
    """Nodes of which it cannot be said what they do, and why not."""
    problems: tuple[Problem, ...]


def explain(case: Case) -> Explanation:
    views, unread = _views(case)
    return Explanation(
        namespace=case.namespace,
        name=case.service.metadata.name,
        kind=_kind(case),
        facts=dict(_facts(case)),
        names=tuple(_records(case)),
        endpoints=tuple(_endpoints(case)),
        doors=tuple(_doors(case, views)),
        nodes=tuple(view.node for view in views),
        unread=tuple(unread),
        problems=problems(case),
    )


# What it is -----------------------------------------------------------------------------------------------------------------

PROXIED, HEADLESS, ALIAS, ELSEWHERE = "proxied", "headless", "alias", "elsewhere"
TYPES = {
    "ClusterIP": "an address inside the cluster",
    "NodePort": "an address inside the cluster, and a port at each node",
    "LoadBalancer": "an address inside the cluster, a balancer's outside of it",
    "ExternalName": "an alias in DNS, and nothing else",
}
POLICIES = {"Cluster": "any endpoint", LOCAL: "only endpoints of the node that the packet comes to"}


def _kind(case: Case) -> str:
    if case.service.spec.type == "ExternalName":
        return ALIAS
    if is_headless(case.service):
        return HEADLESS
    return PROXIED if is_proxied(case.service) else ELSEWHERE


def _facts(case: Case) -> Iterator[tuple[str, str]]:
    """One line for each thing that there is."""
    spec, document = case.service.spec, case.document.get("spec") or {}
    headless = is_headless(case.service)
    yield ("Type", f"{spec.type}: {'headless, names only' if headless else TYPES.get(spec.type, 'unknown here')}")
    if spec.type == "ExternalName":
        yield ("Alias of", spec.external_name)
        return
    if not headless:
        addresses = ", ".join(spec.cluster_ips or (spec.cluster_ip,))
        yield ("Cluster IP", f"{addresses} ({', '.join(filter(None, (spec.ip_family_policy, *(spec.ip_families or ()))))})")
    if spec.external_ips:
        yield ("External IPs", ", ".join(spec.external_ips))
    if spec.type == "LoadBalancer":
        yield ("Balancer", _ingress(case) + (f" (class {spec.load_balancer_class})" if spec.load_balancer_class else ""))
    yield ("Ports", "; ".join(map(_port, spec.ports or ())) or "none")
    chosen = (
        f"{labels(spec.selector)} ({len(case.pods)} found)"
        if spec.selector
        else "none: its EndpointSlices are somebody's to write"
    )
    yield ("Selector", chosen)
    if headless:
        return
    yield ("Inside", f"{POLICIES.get(spec.internal_traffic_policy or 'Cluster', '')} (internalTrafficPolicy)")
    if spec.external_traffic_policy:
        yield ("Outside", f"{POLICIES.get(spec.external_traffic_policy, '')} (externalTrafficPolicy)")
    yield ("Affinity", _affinity(session_affinity.seconds(case.service)))
    if ranges := source_ranges.written(case.service)[0]:
        yield ("Sources", f"only {', '.join(ranges)}, at the balancer's address")
    if spec.traffic_distribution:
        yield ("Prefers", spec.traffic_distribution)
    if document.get("publishNotReadyAddresses"):
        yield ("Publishes", "pods that are not ready too")
    if spec.health_check_node_port:
        yield ("Health check", f"each node answers on port {spec.health_check_node_port}: {_health(case)}")


def _ingress(case: Case) -> str:
    found = []
    for each in case.service.status.load_balancer.ingress or ():
        mode = f" ({each.ip_mode})" if each.ip_mode and each.ip_mode != load_balancer.VIP else ""
        found.append((each.ip or each.hostname) + mode)
    return ", ".join(found) or "pending"


def _port(port: ServicePortSpec) -> str:
    name = f"{port.name}: " if port.name else ""
    node_port = f", node port {port.node_port}" if port.node_port else ""
    return f"{name}{port.port}/{port.protocol} to {port.target_port or port.port}{node_port}"


def _affinity(seconds: int) -> str:
    if not seconds:
        return "none: each connection picks at random"
    size, unit = next(each for each in ((3600, "h"), (60, "min"), (1, "s")) if seconds % each[0] == 0)
    return f"a client stays with its endpoint for {seconds // size} {unit} after its last connection, on each node by itself"


def _health(case: Case) -> str:
    counts = {}
    for each in map(node, case.nodes):
        try:
            found = health_check(case.service, case.slices, locality(each, options_of(each)))
        except ValueError:
            continue
        counts[each.metadata.name] = found.local_endpoints if found else 0
    healthy = [name for name, count in counts.items() if count]
    return f"{listing(healthy)} with 200, the others with 503" if healthy else "all of them with 503"


# Its names ------------------------------------------------------------------------------------------------------------------


def _records(case: Case) -> Iterator[Record]:
    name = f"{case.service.metadata.name}.{case.namespace}.svc.{case.domain}"
    if case.service.spec.type == "ExternalName":
        yield Record(name, "CNAME", (case.service.spec.external_name,))
    for host, addresses in told(published(case.service, case.slices)).items():
        full = f"{host}.{name}" if host else name
        for kind, ipv6 in (("A", False), ("AAAA", True)):
            values = tuple(address for address in addresses if is_ipv6(address) is ipv6)
            if values:
                yield Record(full, kind, values)


# Its endpoints --------------------------------------------------------------------------------------------------------------


def _endpoints(case: Case) -> Iterator[EndpointRow]:
    """What the slices list, then the chosen pods that none of them does."""
    pods = {each.facts.name: each for each in standings(case)}
    slices = {each.metadata.name: each for each in case.slices}
    seen = set()
    for entry in sorted(listed(case.slices), key=lambda each: (each.family, each.address)):
        target = entry.target.name if entry.target else ""
        seen.add(target)
        yield _row(entry, _ports(slices[entry.slice]), pods.get(target), bool(case.service.spec.ports))
    for name, each in pods.items():
        if name not in seen:
            address, why = next(iter(each.facts.addresses), ""), each.cause.text if each.cause else ""
            yield EndpointRow(address, (), "in no slice", each.facts.node, target=f"pod/{name}", why=why)


def _row(entry: Listed, ports: tuple[str, ...], pod: Standing | None, asked: bool) -> EndpointRow:
    """`asked`: the Service has ports, so an endpoint without any serves nobody."""
    target = f"{entry.target.kind.lower()}/{entry.target.name}" if entry.target else ""
    hints = [f"zone {zone}" for zone in entry.zones] + [f"node {name}" for name in entry.nodes]
    why = pod.cause.text if pod and pod.cause and not entry.ready else ""
    if asked and not ports and not why:
        why = "has none of the ports that the Service asks for"
    return EndpointRow(entry.address, ports, entry.state, entry.node, entry.zone, target, ", ".join(hints), entry.slice, why)


def _ports(found: EndpointSlice) -> tuple[str, ...]:
    return tuple(
        (f"{each.name}:" if each.name else "") + (str(each.port) if each.port is not None else "all")
        for each in found.ports or ()
    )


# Who reaches what -----------------------------------------------------------------------------------------------------------

Place = tuple[Entry, str, int, Protocol]


def _views(case: Case) -> tuple[list[NodeView], list[str]]:
    """This Service and its rivals on each node."""
    views, unread = [], []
    ranges = service_ranges(case.service_cidrs)
    for document in case.nodes:
        try:
            each: Node = node(document)
            views.append(build_view(each, (case.service, *case.rivals), case.slices, ranges))
        except ValueError as error:
            unread.append(f"node/{document['metadata']['name']}: {error}")
    return views, unread


def _doors(case: Case, views: Iterable[NodeView]) -> Iterator[Door]:
    """Frontends in the order of the Service's own; what is the same on several nodes is told once."""
    ways: dict[Place, dict[tuple[str, Reach], list[str]]] = {}
    taken: dict[Place, str] = {}
    for view in views:
        for way, end in reach(view).items():
            if way.service == case.key:
                ends = ways.setdefault(_place(way), {})
                ends.setdefault((way.source.name.lower(), _anywhere(end)), []).append(view.node)
        taken.update(_lost(view, case.key))
    names = {(port.port, port.protocol): port.name for port in case.service.spec.ports or ()}
    names |= {(port.node_port, port.protocol): port.name for port in case.service.spec.ports or ()}
    for place, ends in ways.items():
        entry, address, port, protocol = place
        name = names.get((port, protocol.value), "")
        yield Door(entry.value, address, port, protocol.value, name, tuple(_passages(ends)), taken.pop(place, ""))
    for (entry, address, port, protocol), owner in taken.items():
        yield Door(entry.value, address, port, protocol.value, names.get((port, protocol.value), ""), taken_by=owner)


def _place(way: Way) -> Place:
    return way.entry, EVERY_NODE if way.entry is Entry.NODE_PORT else way.address, way.port, way.protocol


def _lost(view: NodeView, key: ServiceName) -> dict[Place, str]:
    """Doors that another Service has on this node."""
    owners = {claim[1:]: owner for claim, owner in shadowed(view).items() if claim[0] == key}
    return {
        (frontend.entry, frontend.address, frontend.port, port.name.protocol): f"service/{owner[1]} in {owner[0]}"
        for port in view.services.get(key, ())
        for frontend in port.frontends
        if (owner := owners.get((frontend.address, frontend.port, port.name.protocol)))
    }


def _anywhere(end: Reach) -> Reach:
    """As seen from no particular node, so that the same end on two nodes is equal."""
    choices = tuple(
        structs.replace(each, endpoint=Endpoint(each.endpoint.address, each.endpoint.port, each.endpoint.node))
        for each in end.choices
    )
    return structs.replace(end, choices=choices)


def _passages(ends: dict[tuple[str, Reach], list[str]]) -> Iterator[Passage]:
    """Sources with the same end on the same nodes go together."""
    merged: dict[tuple[Reach, tuple[str, ...]], list[str]] = {}
    for (source, end), nodes in ends.items():
        merged.setdefault((end, tuple(nodes)), []).append(source)
    order = [source.name.lower() for source in Source]
    for (end, nodes), sources in sorted(merged.items(), key=lambda each: order.index(each[1][0])):
        endpoints = tuple(
            Reached(each.endpoint.address, each.endpoint.port, each.endpoint.node, each.masqueraded, each.probability)
            for each in end.choices
        )
        reason = end.reason.value
        if end.outcome is Outcome.DROP and end.allowed == ():
            reason = "none of them is in the ranges that may come in"
        yield Passage(tuple(sources), nodes, end.outcome.value, reason, endpoints, end.allowed)
