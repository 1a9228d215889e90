"""Services that are names only: what an ExternalName points to, and what a headless Service cannot do."""

from collections.abc import Callable, Iterator, Mapping

from mooring.endpoints.addresses import readable
from mooring.endpoints.pods import target_number
from mooring.model.service import Service, ServicePortSpec
from mooring.services.headless import is_headless
from mooring.services.problems.problem import Case, Problem, Severity
from mooring.services.problems.words import are, listing, verb
from mooring.services.traffic_policy import LOCAL
from mooring.services.view import ServiceName

# ExternalName ---------------------------------------------------------------------------------------------------------------


def target(service: Service, domain: str) -> ServiceName | None:
    """The Service of this cluster that an ExternalName names, None when it leads elsewhere."""
    labels = service.spec.external_name.rstrip(".").lower().split(".")
    inside = ["svc", *domain.rstrip(".").lower().split(".")]
    return (labels[1], labels[0]) if len(labels) > 2 and labels[2:] == inside else None


def external_name(case: Case) -> Iterator[Problem]:
    """DNS answers with an alias, and that is all: so the name must be one that resolves."""
    spec, field = case.service.spec, "spec.externalName"
    if spec.type != "ExternalName":
        return
    name, pointed = spec.external_name, target(case.service, case.domain)
    if readable([name]):
        sentence = f"{name} looks like an address, but is served as the name {name}, which does not exist"
        fix = "make a Service without selector, and an EndpointSlice that holds the address"
        yield case.problem("ExternalNameIsAddress", Severity.BROKEN, field, sentence, fix)
    elif pointed == case.key:
        sentence = "it names itself: a resolver goes round and finds nothing"
        yield case.problem("ExternalNameLoop", Severity.BROKEN, field, sentence, "name what is meant")
    elif pointed and case.services is not None and pointed not in case.services:
        sentence = f"there is no Service {pointed[1]} in namespace {pointed[0]}, to which {name} leads"
        yield case.problem(
            "ExternalNameTargetMissing", Severity.BROKEN, field, sentence, "correct the name, or make that Service"
        )
    elif "." not in name.rstrip(".") or name.rstrip(".").endswith(".svc"):
        sentence = f"{name} is taken as it is, with no search list: outside the cluster's domain it is no full name"
        fix = f"write it in full, as NAME.NAMESPACE.svc.{case.domain}"
        yield case.problem("ExternalNameNotQualified", Severity.BROKEN, field, sentence, fix)


def alias_only(case: Case) -> Iterator[Problem]:
    """What an ExternalName Service can hold and nobody reads."""
    spec = case.service.spec
    if spec.type != "ExternalName":
        return
    unread = {
        "spec.selector": spec.selector,
        "spec.ports": spec.ports,
        "spec.externalIPs": spec.external_ips,
        "spec.sessionAffinity": spec.session_affinity == "ClientIP",
    }
    yield from _ignored(case, unread, "a Service of type ExternalName: it is an alias in DNS, whatever port the client uses")


# Headless -------------------------------------------------------------------------------------------------------------------


def headless_ports(case: Case) -> Iterator[Problem]:
    """Nothing translates the port: the client speaks to the pod itself."""
    if not is_headless(case.service):
        return
    for place, port in enumerate(case.service.spec.ports or ()):
        others = sorted(_targets(case, port) - {port.port})
        if others:
            wanted = listing(map(str, others))
            sentence = (
                f"a client that uses port {port.port} reaches port {port.port} of the pod, not {wanted}: a headless "
                "Service is names only, and no packet is touched"
            )
            fix = (
                f"let clients use {wanted} (SRV records tell it), set port and targetPort to the same number, or "
                "make the Service anew with a cluster IP"
            )
            yield case.problem("HeadlessPortNotTranslated", Severity.WARNING, f"spec.ports[{place}].targetPort", sentence, fix)


def _targets(case: Case, port: ServicePortSpec) -> set[int]:
    """The numbers that the target port has; a name has those of the pods."""
    if isinstance(port.target_port, str):
        spec = {"port": port.port, "targetPort": port.target_port, "protocol": port.protocol}
        return {number for pod in case.pods if (number := target_number(spec, pod))}
    return {port.target_port or port.port}


def headless_fields(case: Case) -> Iterator[Problem]:
    """Upstream warns of some of these when the Service is written."""
    if not is_headless(case.service):
        return
    spec, document = case.service.spec, case.document.get("spec") or {}
    unread = {
        "spec.loadBalancerIP": document.get("loadBalancerIP"),
        "spec.externalIPs": spec.external_ips,
        "spec.sessionAffinity": spec.session_affinity == "ClientIP",
        "spec.internalTrafficPolicy": spec.internal_traffic_policy == LOCAL,
        "spec.externalTrafficPolicy": spec.external_traffic_policy == LOCAL,
        "spec.trafficDistribution": spec.traffic_distribution,
        "spec.loadBalancerSourceRanges": spec.load_balancer_source_ranges,
        "spec.loadBalancerClass": spec.load_balancer_class,
        "spec.ports[].nodePort": any(port.node_port for port in spec.ports or ()),
    }
    yield from _ignored(case, unread, "a headless Service: it has no address of its own that a packet could come to")


def _ignored(case: Case, unread: Mapping[str, object], where: str) -> Iterator[Problem]:
    fields = [name for name, value in unread.items() if value]
    if fields:
        sentence = f"{listing(fields, 9)} {are(fields)} ignored for {where}"
        yield case.problem("FieldsIgnored", Severity.NOTE, fields[0], sentence, f"remove {verb(fields, 'it', 'them')}")


CHECKS: tuple[Callable[[Case], Iterator[Problem]], ...] = (external_name, alias_only, headless_ports, headless_fields)
