"""Which endpoints should a Service have? Its pods, grouped by the ports they resolve to, for one address family.

An endpoint is kept as the document that the slice will hold; a change of any field of it is a change of the slice.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct, field

from mooring.endpoints.pods import Document, PodFacts, address_of, resolved_ports
from mooring.model.node import ZONE_LABEL

EndpointKey = tuple[str, str, str]
"""(address, target's namespace, target's name): what makes two endpoints of a slice the same one."""
PortsKey = frozenset[tuple[str | None, str, int | None, str]]
"""The ports of a slice, in no order: (name, protocol, port, appProtocol)."""


class Group(Struct):
    """Endpoints that resolve to the same ports."""

    ports: tuple[Document, ...]
    endpoints: dict[EndpointKey, Document] = field(default_factory=dict)


class Desired(Struct):
    """All endpoints of one Service in one family."""

    groups: dict[PortsKey, Group] = field(default_factory=dict)
    since: dict[EndpointKey, str] = field(default_factory=dict)
    """When each endpoint's readiness last changed, RFC 3339."""
    nodeless: list[tuple[str, str]] = field(default_factory=list)
    """(pod, node): pods left out because their Node is not known."""


def families(service: Document) -> tuple[str, ...]:
    """The address types a Service's slices have: spec.ipFamilies, else by its cluster IP, else both."""
    spec = service["spec"]
    if spec.get("ipFamilies"):
        return tuple(spec["ipFamilies"])
    address = spec.get("clusterIP") or "None"
    if address != "None":
        return ("IPv6",) if ":" in address else ("IPv4",)
    return "IPv4", "IPv6"


def desired_endpoints(
    service: Document,
    pods: Iterable[tuple[Document, PodFacts]],
    family: str,
    node: Callable[[str], Document | None],
    distribution: str | None,
) -> Desired:
    """`node(name)` gives a Node; `distribution` is the trafficDistribution to give hints for, None for no hints."""
    desired = Desired()
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    named = any(isinstance(port.get("targetPort"), str) for port in service["spec"].get("ports") or ())
    service_name = service["metadata"]["name"]
    zones: dict[str, str | None] = {}
    shared: tuple[tuple[Document, ...], PortsKey] | None = None
    for pod, facts in pods:
        if facts.terminal or not facts.addresses:
            continue
        if shared is None or named:
            ports = resolved_ports(service, pod)
            shared = ports, ports_key(ports)
        if facts.node not in zones:
            zones[facts.node] = zone_of(node(facts.node))
        zone = zones[facts.node]
        if zone is None and not publish:
            desired.nodeless.append((facts.name, facts.node))
            continue
        address = address_of(facts, family)
        if not address:
            continue
        group = desired.groups.get(shared[1])
        if group is None:
            group = desired.groups[shared[1]] = Group(shared[0])
        key = address, facts.namespace, facts.name
        group.endpoints[key] = endpoint(facts, address, zone or "", publish, service_name, distribution)
        desired.since[key] = facts.since
    return desired


def endpoint(facts: PodFacts, address: str, zone: str, publish: bool, service_name: str, distribution: str | None) -> Document:
    """One discovery/v1 Endpoint. Conditions as in reference EndpointConditions: ready is never true while terminating,
    unless not-ready addresses are to be published."""
    ready = publish or (facts.ready and not facts.terminating)
    document: Document = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": facts.ready, "terminating": facts.terminating},
        "targetRef": {"kind": "Pod", "namespace": facts.namespace, "name": facts.name, "uid": facts.uid},
    }
    if facts.hostname and facts.subdomain == service_name:
        document["hostname"] = facts.hostname
    if facts.node:
        document["nodeName"] = facts.node
    if zone:
        document["zone"] = zone
    if distribution and ready:
        hints = distribution_hints(distribution, zone, facts.node)
        if hints:
            document["hints"] = hints
    return document


def distribution_hints(distribution: str, zone: str, node: str) -> Document:
    """KEP-2433 and KEP-3015: every ready endpoint is for its own zone, and for its own node where that is preferred."""
    hints: Document = {}
    if zone:
        hints["forZones"] = [{"name": zone}]
    if distribution == "PreferSameNode" and node:
        hints["forNodes"] = [{"name": node}]
    return hints


def zone_of(node: Document | None) -> str | None:
    """A Node's zone, '' when it has none; None when there is no such Node."""
    return None if node is None else (node["metadata"].get("labels") or {}).get(ZONE_LABEL, "")


def ports_key(ports: Iterable[Document] | None) -> PortsKey:
    return frozenset(
        (port.get("name"), port.get("protocol") or "TCP", port.get("port"), port.get("appProtocol") or "")
        for port in ports or ()
    )


def endpoint_key(document: Document) -> EndpointKey:
    target = document.get("targetRef") or {}
    return document["addresses"][0], target.get("namespace", ""), target.get("name", "")
