"""Do the Service's EndpointSlices fit it? Those written by hand above all, and those that nobody keeps any more."""

from collections.abc import Callable, Iterator

from mooring.endpoints.addresses import contains
from mooring.endpoints.desired import families
from mooring.endpoints.legacy import OVER_CAPACITY_ANNOTATION
from mooring.endpoints.mirror import SKIP_LABEL, should_mirror
from mooring.endpoints.pods import PodFacts, pod_facts
from mooring.model.discovery import SERVICE_NAME_LABEL, EndpointSlice
from mooring.model.service import ServicePortSpec
from mooring.services.headless import is_headless
from mooring.services.problems.listed import CONTROLLER, Listed, by_hand, listed, readable, usable, writer
from mooring.services.problems.problem import Case, Problem, Severity
from mooring.services.problems.ranges import pod_ranges, service_ranges
from mooring.services.problems.words import are, have, listing, verb
from mooring.services.proxied import is_proxied, is_read


def written_by_hand(case: Case) -> Iterator[Problem]:
    """A Service without selector: are there slices, of its families, with its ports, with somebody ready?"""
    if case.selects or not (is_proxied(case.service) or is_headless(case.service)):
        return
    wanted = families(case.document)
    read = [each for each in case.slices if is_headless(case.service) or is_read(each)]
    fitting = [each for each in read if each.address_type in wanted]
    if not case.slices:
        yield _none_written(case)
    elif not fitting and read:
        yield _wrong_family(case, read, Severity.BROKEN)
    elif not usable(listed(fitting)):
        yield _nobody_ready(case, fitting)
    else:
        if others := [each for each in read if each.address_type not in wanted]:
            yield _wrong_family(case, others, Severity.WARNING)
        if is_proxied(case.service):
            for place, port in enumerate(case.service.spec.ports or ()):
                yield from _wrong_port(case, place, port, fitting)


def _none_written(case: Case) -> Problem:
    label = f"{SERVICE_NAME_LABEL}={case.service.metadata.name}"
    sentence = f"it has no selector, so its EndpointSlices are somebody's to write, and there is none with the label {label}"
    fix = f"write an EndpointSlice with the label {label}, or give the Service a selector"
    alike = [each.metadata.name for each in case.strays if each.metadata.name.startswith(case.service.metadata.name)]
    subsets = (case.endpoints or {}).get("subsets")
    if alike:
        sentence += f"; endpointslice/{alike[0]} has it not"
        fix = f"`kubectl label endpointslice {alike[0]} -n {case.namespace} {label}`"
    elif subsets and not should_mirror(case.endpoints, case.document):
        sentence += f"; its Endpoints object is not mirrored, for it is a leader's lock or is labelled {SKIP_LABEL}"
        fix = f"remove the label {SKIP_LABEL} from the Endpoints object, or write an EndpointSlice"
    elif subsets:
        sentence += "; its Endpoints object has not been mirrored yet"
        fix = "wait a moment; if it lasts, see whether the EndpointSlice mirroring controller runs"
    return case.problem("NoEndpointSlices", Severity.BROKEN, "spec.selector", sentence, fix)


def _wrong_family(case: Case, found: list[EndpointSlice], severity: Severity) -> Problem:
    wanted = listing(families(case.document))
    types = sorted({each.address_type for each in found})
    sentence = (
        f"{_names(found)} {have(found)} addressType {listing(types)}, and the Service is of {wanted}: "
        f"{verb(found, 'it is', 'they are')} not used"
    )
    fix = f"write slices of addressType {wanted} (the type of a slice cannot be changed), or add the family to spec.ipFamilies"
    return Problem("EndpointSliceFamilyMismatch", severity, _one(found), "addressType", sentence, fix)


def _nobody_ready(case: Case, found: list[EndpointSlice]) -> Problem:
    endpoints = list(listed(found))
    if not endpoints:
        names = _names(found) if found else "the EndpointSlices that are read"
        sentence, fix = f"{names} {verb(found, 'lists', 'list')} no endpoint", "write the addresses into endpoints[].addresses"
    elif unread := [each.address for each in endpoints if not readable(each)]:
        sentence, fix = f"{listing(unread)} cannot be read as an address", "correct endpoints[].addresses"
    else:
        sentence = f"none of {listing(each.address for each in endpoints)} is marked ready"
        fix = "set endpoints[].conditions.ready to true where something answers, or remove it: absent means ready"
    return Problem("NoReadyEndpoints", Severity.BROKEN, _one(found) if found else case.name, "endpoints", sentence, fix)


def _wrong_port(case: Case, place: int, port: ServicePortSpec, fitting: list[EndpointSlice]) -> Iterator[Problem]:
    """Slice ports are found by name and protocol; a port without number means all, and proxies ignore it."""
    entries = {((each.name or ""), each.protocol or "TCP", each.port): None for found in fitting for each in found.ports or ()}
    if any((name, protocol) == (port.name, port.protocol) and number for name, protocol, number in entries):
        return
    what = f"named {port.name}" if port.name else "without a name"
    known = [f"{name or 'unnamed'} ({number or 'any number'}/{protocol})" for name, protocol, number in entries]
    theirs = f"they have {listing(known)}" if known else "they have none"
    sentence = f"no EndpointSlice has a {port.protocol} port {what} and with a number; {theirs}"
    fix = f"set ports[].name to {port.name or repr('')} and protocol to {port.protocol} in the slice, as in spec.ports[{place}]"
    yield case.problem("EndpointSlicePortMismatch", Severity.BROKEN, f"spec.ports[{place}].name", sentence, fix)


def left_over(case: Case) -> Iterator[Problem]:
    """Upstream issue 118376: the controller leaves its slices behind when a selector is removed, and keeps them no longer."""
    if case.selects:
        return
    stale = [each for each in case.slices if writer(each) == CONTROLLER]
    facts = [pod_facts(pod) for pod in (*case.pods, *case.others)]
    pods = {(each.namespace, each.name): each for each in facts if not each.terminal}
    endpoints = [each for each in listed(stale) if each.target]
    if not endpoints:
        return
    gone = [each.address for each in endpoints if case.every_pod and not _alive(each, pods)]
    sentence = (
        f"{_names(stale)} {verb(stale, 'was', 'were')} written for a selector that the Service no longer has, and nobody keeps "
        f"{verb(stale, 'it', 'them')} up to date"
    )
    if gone:
        sentence += f"; {listing(gone)} {are(gone)} no living pod's address, and gets traffic all the same"
    fix = f"`kubectl delete endpointslice -n {case.namespace} {' '.join(each.metadata.name for each in stale)}`"
    severity = Severity.BROKEN if gone and is_proxied(case.service) else Severity.WARNING
    yield Problem("StaleEndpointSlices", severity, _one(stale), "metadata.labels", sentence, fix)


def _alive(each: Listed, pods: dict[tuple[str, str], PodFacts]) -> bool:
    facts = pods.get((each.target.namespace, each.target.name)) if each.target else None
    return facts is not None and each.address in facts.addresses


def strange_addresses(case: Case) -> Iterator[Problem]:
    """Hand-written addresses that nobody can have: cluster IPs, and pod addresses without a pod."""
    hand = [each for each in case.slices if by_hand(each)]
    found = [each for each in listed(hand) if each.ready and readable(each)]
    virtual = [each for each in found if any(contains(cidr, each.address) for cidr in service_ranges(case.service_cidrs))]
    if virtual:
        sentence = (
            f"{_addresses(virtual)} {are(virtual)} in the service range: a packet is translated once only, so no endpoint can "
            "be another Service's cluster IP"
        )
        fix = "write the addresses of the pods behind it, or an ExternalName Service that names the other"
        yield Problem("EndpointIsClusterIP", Severity.BROKEN, f"endpointslice/{virtual[0].slice}", "endpoints", sentence, fix)
    if not case.every_pod:
        return
    known = {address for pod in (*case.pods, *case.others) for address in pod_facts(pod).addresses}
    empty = [
        each for each in found if each.address not in known and any(contains(c, each.address) for c in pod_ranges(case.nodes))
    ]
    if empty:
        severity = Severity.BROKEN if len(empty) == len(found) else Severity.WARNING
        sentence = f"{_addresses(empty)} {are(empty)} in a node's pod range, and no pod has {verb(empty, 'it', 'them')}"
        fix = "correct the address, or let a selector find the pods, whose addresses change"
        yield Problem("EndpointWithoutPod", severity, f"endpointslice/{empty[0].slice}", "endpoints", sentence, fix)


def beside_the_selector(case: Case) -> Iterator[Problem]:
    """Slices that somebody wrote for a Service whose selector finds endpoints already."""
    extra = [each for each in case.slices if by_hand(each) and each.endpoints]
    if case.selects and extra:
        sentence = f"{_names(extra)} {verb(extra, 'adds', 'add')} endpoints that the selector did not choose: both are used"
        fix = "delete what is not wanted, or remove spec.selector and keep all slices by hand"
        yield Problem("ForeignEndpointSlices", Severity.NOTE, _one(extra), "metadata.labels", sentence, fix)


def not_read(case: Case) -> Iterator[Problem]:
    """Two labels, whatever their value, make proxies look away from a slice."""
    ignored = [each for each in case.slices if not is_read(each)]
    if ignored and is_proxied(case.service):
        sentence = (
            f"{_names(ignored)} {verb(ignored, 'carries', 'carry')} a label that makes proxies look away: "
            "service.kubernetes.io/headless or service.kubernetes.io/service-proxy-name"
        )
        fix = "remove the label from the slice"
        yield Problem("EndpointSlicesIgnored", Severity.WARNING, _one(ignored), "metadata.labels", sentence, fix)


def truncated(case: Case) -> Iterator[Problem]:
    annotations = (case.endpoints or {"metadata": {}})["metadata"].get("annotations") or {}
    if OVER_CAPACITY_ANNOTATION in annotations:
        sentence = (
            "the old Endpoints object lists 1,000 addresses at most and leaves some out; the EndpointSlices have them all"
        )
        fix = "let whoever reads Endpoints read EndpointSlices"
        name, field = f"endpoints/{case.service.metadata.name}", f"metadata.annotations[{OVER_CAPACITY_ANNOTATION}]"
        yield Problem("EndpointsTruncated", Severity.NOTE, name, field, sentence, fix)


def _names(found: list[EndpointSlice]) -> str:
    return listing(f"endpointslice/{each.metadata.name}" for each in found)


def _one(found: list[EndpointSlice]) -> str:
    return f"endpointslice/{found[0].metadata.name}"


def _addresses(found: list[Listed]) -> str:
    return listing(each.address for each in found)


CHECKS: tuple[Callable[[Case], Iterator[Problem]], ...] = (
    written_by_hand,
    left_over,
    strange_addresses,
    beside_the_selector,
    not_read,
    truncated,
)
