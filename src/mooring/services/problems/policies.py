"""What do traffic policies and topology do that their author may not have foreseen?"""

from collections import Counter
from collections.abc import Callable, Iterator

from mooring.endpoints.desired import families
from mooring.endpoints.topology import HINTS_ANNOTATION, MODE_ANNOTATION, Disabled, shares, wants_auto, zone_cpu
from mooring.model.node import ZONE_LABEL
from mooring.services.problems.listed import Listed, by_hand, listed, usable
from mooring.services.problems.problem import Case, Document, Problem, Severity
from mooring.services.problems.why_not import condition
from mooring.services.problems.words import have, listing, verb
from mooring.services.proxied import is_proxied, is_read
from mooring.services.traffic_policy import LOCAL

NEAR_NODE = "PreferSameNode"


def endpoints(case: Case) -> tuple[Listed, ...]:
    """What a policy chooses from: the usable endpoints of all families, each address once."""
    found = listed((each for each in case.slices if is_read(each)), families(case.document))
    return usable(found)


# Policy Local ---------------------------------------------------------------------------------------------------------------


def local_policies(case: Case) -> Iterator[Problem]:
    """Nodes on which policy Local drops packets, although the Service has endpoints elsewhere."""
    found = endpoints(case)
    if not is_proxied(case.service) or not found or not case.nodes:
        return
    here = {each.node for each in found}
    without = sorted(name for each in case.nodes if (name := each["metadata"]["name"]) not in here and _is_ready(each))
    if case.service.spec.internal_traffic_policy == LOCAL and without:
        yield _no_local(case, "spec.internalTrafficPolicy", without, Severity.WARNING, "pods and the node itself are dropped")
    if case.service.spec.external_traffic_policy == LOCAL and without and _open_to_outside(case):
        yield _external(case, without)


def _external(case: Case, without: list[str]) -> Problem:
    field = "spec.externalTrafficPolicy"
    entrances = _entrances(case)
    if lost := sorted(node for node in without if node in entrances):
        ways = listing(f"{entrances[node]} leads to node/{node}" for node in lost)
        return _no_local(case, field, lost, Severity.BROKEN, f"what comes from outside is dropped, and {ways}")
    if number := case.service.spec.health_check_node_port:
        what = f"what comes from outside is dropped; the health check on {number} tells the balancer so, and keeps it away"
        return _no_local(case, field, without, Severity.NOTE, what)
    return _no_local(case, field, without, Severity.WARNING, "what comes from outside is dropped")


def _no_local(case: Case, field: str, without: list[str], severity: Severity, what: str) -> Problem:
    nodes = [each["metadata"]["name"] for each in case.nodes]
    known = any(each.node in nodes for each in endpoints(case))
    fix = (
        f"run a pod on each node that traffic comes to (as a DaemonSet does), send it to the others, or set {field} to Cluster"
    )
    if known:
        names = listing(f"node/{each}" for each in without)
        sentence = f"on {names} {what}: the policy is Local, and no endpoint is there"
    else:
        severity, sentence = Severity.BROKEN, f"on every node {what}: the policy is Local, and no endpoint names a node"
        fix = f"write endpoints[].nodeName in the EndpointSlices, or set {field} to Cluster"
    return case.problem("NoLocalEndpoints", severity, field, sentence, fix)


def _open_to_outside(case: Case) -> bool:
    return case.service.spec.type in ("NodePort", "LoadBalancer") or bool(case.service.spec.external_ips)


def _entrances(case: Case) -> dict[str, str]:
    """Nodes that an external address of the Service leads to, because it is their own."""
    ingress = case.service.status.load_balancer.ingress or ()
    wanted = {*(case.service.spec.external_ips or ()), *(each.ip for each in ingress)}
    return {
        node["metadata"]["name"]: each["address"]
        for node in case.nodes
        for each in (node.get("status") or {}).get("addresses") or ()
        if each.get("address") in wanted
    }


def _is_ready(node: Document) -> bool:
    return bool(condition(node, "Ready").get("status", "True") == "True")


# Topology -------------------------------------------------------------------------------------------------------------------


def annotation(case: Case) -> Iterator[Problem]:
    """The annotation rules where both are given, and asks for more."""
    annotations = case.service.metadata.annotations or {}
    name = HINTS_ANNOTATION if HINTS_ANNOTATION in annotations else MODE_ANNOTATION
    field = f"metadata.annotations[{name}]"
    if not wants_auto(case.document):
        return
    if case.service.spec.traffic_distribution:
        sentence = f"annotation {name} takes precedence over spec.trafficDistribution; remove one of them"
        fix = "remove the annotation: spec.trafficDistribution is what replaces it"
        yield case.problem("TopologyAnnotationOverrides", Severity.WARNING, field, sentence, fix)
    ready = [each for each in endpoints(case) if each.ready]
    if not ready or not case.nodes or any(each.zones for each in ready):
        return
    if why := _disabled(case, ready):
        sentence = f"there are no topology hints, so every zone uses all endpoints: {why.value}"
        fix = (
            "give every node a zone and the Service an endpoint or more for each zone, or set spec.trafficDistribution instead"
        )
        yield case.problem("TopologyAwareHintsDisabled", Severity.WARNING, field, sentence, fix)


def _disabled(case: Case, ready: list[Listed]) -> Disabled | None:
    cpu = zone_cpu(case.nodes)
    if isinstance(cpu, Disabled):
        return cpu
    split = shares(cpu, len(ready))
    if isinstance(split, Disabled):
        return split
    return None if all(each.zone for each in ready) else Disabled.NO_ZONE


def distribution(case: Case) -> Iterator[Problem]:
    """spec.trafficDistribution works by hints in the slices, and these by the zones of nodes."""
    wish, field = case.service.spec.traffic_distribution, "spec.trafficDistribution"
    if not wish or wants_auto(case.document) or not is_proxied(case.service):
        return
    if wish == "PreferClose":
        sentence = 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'
        yield case.problem(
            "PreferCloseDeprecated", Severity.NOTE, field, sentence, "write PreferSameZone, which means the same"
        )
    local = [name for name, value in _policies(case) if value == LOCAL]
    if local:
        sentence = f"{wish} has no effect where {listing(local)} is Local: that takes endpoints of the same node only"
        yield case.problem("TrafficDistributionUnused", Severity.NOTE, field, sentence, "remove one of the two")
    ready = [each for each in endpoints(case) if each.ready]
    if ready and len(local) < len(_policies(case)):
        yield from _hints(case, wish, ready)


def _policies(case: Case) -> list[tuple[str, str]]:
    spec = case.service.spec
    found = [("spec.internalTrafficPolicy", spec.internal_traffic_policy or "Cluster")]
    if _open_to_outside(case):
        found.append(("spec.externalTrafficPolicy", spec.external_traffic_policy or "Cluster"))
    return found


def _hints(case: Case, wish: str, ready: list[Listed]) -> Iterator[Problem]:
    field = "spec.trafficDistribution"
    lacking = [each for each in ready if not (each.nodes if wish == NEAR_NODE else each.zones)]
    if lacking:
        yield _hints_missing(case, wish, lacking)
        return
    zones = {str((node["metadata"].get("labels") or {}).get(ZONE_LABEL, "")) for node in case.nodes} - {""}
    served = Counter(zone for each in ready for zone in each.zones)
    empty = sorted(zones - set(served))
    if empty and wish != NEAR_NODE:
        sentence = (
            f"{verb(empty, 'zone', 'zones')} {listing(empty)} {have(empty)} no endpoint: clients there use those of all zones"
        )
        fix = "run a pod in every zone (topologySpreadConstraints do)"
        yield case.problem("ZonesWithoutEndpoints", Severity.NOTE, field, sentence, fix)
    homeless = sorted(n["metadata"]["name"] for n in case.nodes if ZONE_LABEL not in (n["metadata"].get("labels") or {}))
    if homeless and wish != NEAR_NODE:
        sentence = (
            f"{listing(f'node/{each}' for each in homeless)} {have(homeless)} no zone, so clients there use "
            "endpoints of all zones"
        )
        fix = f"label the nodes with {ZONE_LABEL}"
        yield case.problem("NodesWithoutZone", Severity.NOTE, field, sentence, fix)


def _hints_missing(case: Case, wish: str, lacking: list[Listed]) -> Problem:
    where = f"{listing(each.address for each in lacking)} {have(lacking)} no hint"
    hand = {each.metadata.name for each in case.slices if by_hand(each)}
    nodes = sorted({each.node for each in lacking if each.node})
    if all(each.slice in hand for each in lacking):
        why, fix = "the slices are written by hand, and hints with them", "write endpoints[].hints in the slices"
    elif wish != NEAR_NODE and nodes and all(not each.zone for each in lacking):
        why = f"{listing(f'node/{each}' for each in nodes)} {have(nodes)} no label {ZONE_LABEL}"
        fix = "label the nodes with their zones"
    else:
        why = "the EndpointSlice controller has not written it"
        fix = "wait a moment; if it lasts, see whether the controller knows trafficDistribution"
    sentence = f"{wish} has no effect, every client uses all endpoints: {where}, for {why}"
    return case.problem("TopologyHintsMissing", Severity.WARNING, "spec.trafficDistribution", sentence, fix)


CHECKS: tuple[Callable[[Case], Iterator[Problem]], ...] = (local_policies, annotation, distribution)
