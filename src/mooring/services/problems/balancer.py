"""Has the load balancer that the Service asks for come, and does it let in whom it should?"""

from collections.abc import Callable, Iterable, Iterator

from mooring.endpoints.addresses import canonical_range, contains, is_ipv6, readable
from mooring.services import cluster_ip, load_balancer, source_ranges
from mooring.services.problems.problem import Case, Document, Problem, Severity
from mooring.services.problems.ranges import pod_ranges
from mooring.services.problems.why_not import brief, events_of, last_seen
from mooring.services.problems.words import are, have, listing, verb
from mooring.services.traffic_policy import LOCAL
from mooring.services.view import Family

UNRELATED = frozenset(
    {
        "service-problems-controller",
        "endpoint-slice-controller",
        "endpoint-slice-mirroring-controller",
        "endpoint-controller",
        "ipallocator-repair-controller",
    }
)
"""Whose Events are about something else than the balancer, or repeat what is found here."""
PORTS_ERROR = "LoadBalancerPortsError"
SYNCED = "mooring.dev/LoadBalancerSynced"
"""The condition of the built-in provider (control/reconcilers/load_balancers.py)."""


def pending(case: Case) -> Iterator[Problem]:
    """No address yet, or not of every family, and what the provider last said about it."""
    spec, status = case.service.spec, case.service.status
    if spec.type != "LoadBalancer":
        return
    assigned = any(each.ip or each.hostname for each in status.load_balancer.ingress or ())
    field, said = "status.loadBalancer.ingress", _last_word(case, assigned)
    if said:
        sentence = f"{'not every' if assigned else 'no'} load balancer address has been assigned: {said}"
        severity = Severity.WARNING if assigned else Severity.BROKEN
        fix = "do what the message asks for: another address, a larger pool, or other families"
        yield case.problem("SyncLoadBalancerFailed", severity, field, sentence, fix)
    elif not assigned and spec.load_balancer_class:
        name = spec.load_balancer_class
        sentence = f"no load balancer address has been assigned, and nobody has said why: is there a provider of class {name}?"
        fix = "install that provider, or make the Service anew without spec.loadBalancerClass, which cannot be changed"
        yield case.problem("LoadBalancerPending", Severity.BROKEN, "spec.loadBalancerClass", sentence, fix)
    elif not assigned:
        sentence = "no load balancer address has been assigned, and nobody has said why: is there a provider of load balancers?"
        fix = f"give the built-in provider addresses (--load-balancer-pool), install another, or use {_doors(case)} meanwhile"
        yield case.problem("LoadBalancerPending", Severity.BROKEN, field, sentence, fix)


def _doors(case: Case) -> str:
    numbers = [str(port.node_port) for port in case.service.spec.ports or () if port.node_port]
    return f"node {verb(numbers, 'port', 'ports')} {listing(numbers)}" if numbers else "the cluster IP"


def _last_word(case: Case, assigned: bool) -> str:
    """The built-in provider's condition; before there is an address also any other that is not as wished, or a warning."""
    for each in (case.document.get("status") or {}).get("conditions") or ():
        ours = each.get("type") == SYNCED
        if each.get("status") == "False" and each.get("message") and (ours or not assigned):
            return f"{each.get('reason') or each.get('type')}: {brief(each['message'])}"
    warnings = [each for each in events_of("Service", case.document, case.events) if each.get("type") == "Warning"]
    others = [] if assigned else [each for each in warnings if component(each) not in UNRELATED]
    if not others:
        return ""
    newest = max(others, key=last_seen)
    return f"{newest.get('reason')}: {brief(newest['message'])}"


def component(event: Document) -> str:
    return str((event.get("source") or {}).get("component") or event.get("reportingComponent") or "")


def left_to_the_balancer(case: Case) -> Iterator[Problem]:
    """What of the ingress list the nodes do not answer for."""
    if case.service.spec.type != "LoadBalancer":
        return
    ingress = case.service.status.load_balancer.ingress or ()
    field = "status.loadBalancer.ingress"
    names = [each.hostname for each in ingress if each.hostname and not each.ip]
    if names:
        sentence = (
            f"the balancer is known by name only ({listing(names)}): nodes and pods go out to it too, and no node takes its "
            "packets by address"
        )
        fix = "nothing, if the provider means it so"
        yield case.problem("LoadBalancerHostnameOnly", Severity.NOTE, field, sentence, fix)
    proxies = [each.ip for each in ingress if each.ip and (each.ip_mode or load_balancer.VIP) != load_balancer.VIP]
    if proxies:
        sentence = (
            f"{listing(proxies)} {have(proxies)} ipMode Proxy: nodes leave it alone, so pods go out to the balancer, "
            "and source ranges are the balancer's to keep"
        )
        fix = "nothing, if the provider means it so"
        yield case.problem("LoadBalancerIsProxy", Severity.NOTE, field, sentence, fix)
    strange = [each.ip for each in ingress if each.ip and each.ip not in proxies and not _answered(case, each.ip)]
    if strange:
        sentence = f"{listing(strange)} {are(strange)} not of the Service's families ({_families(case)}): no node answers"
        fix = "let the provider assign addresses of these families, or add the other to spec.ipFamilies"
        yield case.problem("LoadBalancerFamilyMismatch", Severity.WARNING, field, sentence, fix)


def _answered(case: Case, address: str) -> bool:
    known = readable([address])
    return any(known[0] in load_balancer.addresses(case.service, each) for each in _of_service(case)) if known else False


def _of_service(case: Case) -> Iterable[Family]:
    return (family for family in Family if cluster_ip.addresses(case.service, family))


def _families(case: Case) -> str:
    return listing(family.value for family in _of_service(case))


def port_errors(case: Case) -> Iterator[Problem]:
    """What the provider says of single ports, in its words."""
    document = case.document.get("status") or {}
    errors = [
        f"{port.get('port')}/{port.get('protocol')}: {port['error']}"
        for each in (document.get("loadBalancer") or {}).get("ingress") or ()
        for port in each.get("ports") or ()
        if port.get("error")
    ]
    said = [
        brief(each.get("message")) or each.get("reason", "")
        for each in document.get("conditions") or ()
        if each.get("type") == PORTS_ERROR and each.get("status") == "True"
    ]
    if errors or said:
        sentence = f"the provider does not serve every port: {'; '.join(dict.fromkeys((*said, *errors)))}"
        fix = "split the Service by protocol, or ask the provider for what it does not serve"
        yield case.problem(PORTS_ERROR, Severity.BROKEN, "status.conditions", sentence, fix)


def ranges(case: Case) -> Iterator[Problem]:
    """Source ranges: whom they shut out though nobody meant it, and which doors they do not guard."""
    spec = case.service.spec
    written, field = source_ranges.written(case.service)
    if spec.type != "LoadBalancer" or not written:
        return
    readable_ranges, unreadable = [], []
    for each in written:
        try:
            readable_ranges.append(canonical_range(each))
        except ValueError:
            unreadable.append(each)
    if unreadable:
        sentence = f"{listing(unreadable)} {verb(unreadable, 'is no range', 'are no ranges')} of addresses, and lets nobody in"
        yield case.problem("SourceRangeUnreadable", Severity.WARNING, field, sentence, "write ADDRESS/BITS, as 192.0.2.0/24")
    for family in _of_service(case):
        ours = load_balancer.addresses(case.service, family)
        if ours and not any(is_ipv6(each) is (family is Family.IPV6) for each in readable_ranges):
            sentence = f"no range is of {family.value}, so nobody reaches {listing(ours)}"
            yield case.problem(
                "SourceRangesExcludeEveryone", Severity.BROKEN, field, sentence, f"add a range of {family.value}"
            )
    shut_out = [each for each in pod_ranges(case.nodes) if _shut_out(each, readable_ranges) and _has(case, each)]
    if shut_out:
        sentence = (
            f"the cluster's own pods ({listing(shut_out)}) are not in the ranges: they are dropped at the balancer's address, "
            "and reach the Service by its cluster IP"
        )
        fix = "add the pod ranges if pods should use the balancer's address"
        yield case.problem("SourceRangesExcludePods", Severity.NOTE, field, sentence, fix)
    numbers = [port.node_port for port in spec.ports or () if port.node_port]
    if numbers:
        sentence = (
            f"the ranges guard the balancer's address only: node {verb(numbers, 'port', 'ports')} {listing(map(str, numbers))} "
            f"{are(numbers)} open to everybody who reaches a node"
        )
        fix = "set allocateLoadBalancerNodePorts to false and remove the nodePort of each port, if the provider does without"
        yield case.problem("SourceRangesBypassed", Severity.NOTE, field, sentence, fix)


def _shut_out(pods: str, allowed: Iterable[str]) -> bool:
    """No range holds the first address of the pods' (a part of a pod range is told nobody about)."""
    return not any(contains(cidr, pods.partition("/")[0]) for cidr in allowed)


def _has(case: Case, pods: str) -> bool:
    family = Family.IPV6 if is_ipv6(pods) else Family.IPV4
    return bool(load_balancer.addresses(case.service, family))


def both_ranges(case: Case) -> Iterator[Problem]:
    annotations = case.service.metadata.annotations or {}
    if case.service.spec.load_balancer_source_ranges and annotations.get(source_ranges.ANNOTATION):
        sentence = f"the annotation {source_ranges.ANNOTATION} has no effect beside spec.loadBalancerSourceRanges"
        fix, field = "remove the annotation", f"metadata.annotations[{source_ranges.ANNOTATION}]"
        yield case.problem("SourceRangesTwice", Severity.NOTE, field, sentence, fix)


def kept_node_ports(case: Case) -> Iterator[Problem]:
    """allocateLoadBalancerNodePorts false gives no port back that is there."""
    spec = case.service.spec
    numbers = [str(port.node_port) for port in spec.ports or () if port.node_port]
    if (case.document.get("spec") or {}).get("allocateLoadBalancerNodePorts") is False and numbers:
        sentence = (
            f"allocateLoadBalancerNodePorts is false, and {verb(numbers, 'node port', 'node ports')} {listing(numbers)} "
            f"{are(numbers)} there all the same: the field gives none back that was allocated or asked for"
        )
        fix = "remove nodePort from each port, if it is not wanted"
        yield case.problem("NodePortsKept", Severity.NOTE, "spec.allocateLoadBalancerNodePorts", sentence, fix)


def health_check(case: Case) -> Iterator[Problem]:
    """What a node says that could not listen for the balancer's question."""
    for each in events_of("Service", case.document, case.events):
        if each.get("reason") == "FailedToStartServiceHealthcheck" and case.service.spec.external_traffic_policy == LOCAL:
            sentence = f"a node cannot answer the balancer's health check: {brief(each['message'])}"
            fix = "free the port on that node, or recreate the Service to get another healthCheckNodePort"
            field = "spec.healthCheckNodePort"
            yield case.problem("FailedToStartServiceHealthcheck", Severity.WARNING, field, sentence, fix)
            return


CHECKS: tuple[Callable[[Case], Iterator[Problem]], ...] = (
    pending,
    left_to_the_balancer,
    port_errors,
    ranges,
    both_ranges,
    kept_node_ports,
    health_check,
)
