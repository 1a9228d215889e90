"""Which EndpointSlices has each Service with a selector? (reference: the endpointslice controller)

Names, labels and wording are upstream's, so that whoever reads slices of a real cluster reads ours.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from mooring.control.endpoint_slice_metrics import SyncFigures
from mooring.control.loop import Observer
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Refusal, Report, World
from mooring.control.service_pods import pods_of, services_of
from mooring.endpoints.desired import desired_endpoints, families, zone_of
from mooring.endpoints.pods import PodFacts, pod_facts
from mooring.endpoints.slices import DEFAULT_LIMIT, Parent, SliceWrites, is_headless, owned_by, plan_family, slice_labels
from mooring.endpoints.topology import Disabled, give_hints, lent, node_facts, wants_auto, zone_cpu
from mooring.model.discovery import MANAGED_BY_LABEL, SERVICE_NAME_LABEL
from mooring.model.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE

MANAGED_BY = "endpointslice-controller.k8s.io"
NODE_RETRY = 5.0
"""Seconds until pods whose Node is missing are looked at again; the Node's appearance is heard of at once anyway."""


class EndpointSlices:
    name = "endpointslice"
    watches = (SERVICE, POD, NODE, ENDPOINT_SLICE)
    serial = False

    def __init__(self, limit: int = DEFAULT_LIMIT, observer: Observer | None = None) -> None:
        """`limit` endpoints in a slice at most (upstream: --max-endpoints-per-slice)."""
        self.limit, self.observer = limit, observer

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        if change.kind == POD:
            return pod_keys(change, world)
        if change.kind == NODE:
            return node_keys(change, world)
        document = change.after or change.before
        assert document is not None
        metadata = document["metadata"]
        if change.kind == SERVICE:
            return ((metadata["namespace"], metadata["name"]),)
        labels = metadata.get("labels") or {}
        before = ((change.before or document)["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL)
        if MANAGED_BY not in (labels.get(MANAGED_BY_LABEL), before) or not labels.get(SERVICE_NAME_LABEL):
            return ()
        return ((metadata["namespace"], labels[SERVICE_NAME_LABEL]),)

    def plan(self, key: Key, world: World) -> Plan:
        service = world.get(SERVICE, *key)
        if service is None or service["spec"].get("type") == "ExternalName" or not service["spec"].get("selector"):
            # Slices of a Service that is gone are the garbage collector's. Without a selector they are the user's to keep:
            # upstream leaves what it once wrote, and so do we.
            return NOTHING
        pods = [(pod, pod_facts(pod)) for pod in pods_of(service, world)]
        existing = [slice_ for slice_ in world.indexed(ENDPOINT_SLICE, "service", "/".join(key)) if is_ours(slice_)]
        supported = families(service)
        parts = [
            plan_of_family(
                service, pods, [each for each in existing if each["addressType"] == family], family, self.limit, world
            )
            for family in supported
        ]
        writes = [part.writes for part in parts]
        stale = [slice_ for slice_ in existing if slice_["addressType"] not in supported]
        changes = (*applies(writes), *map(deletion, stale))
        nodeless = sorted({pair for part in parts for pair in part.nodeless})
        reports = [report for part in parts for report in part.reports]
        if changes:
            reports += [nodeless_report(service, pod, node) for pod, node in nodeless]
        figures = SyncFigures.of(service, writes, len(stale), wants_auto(service))
        return Plan(changes, tuple(reports), NODE_RETRY if nodeless else None, figures)

    def refused(self, key: Key, refusals: Sequence[Refusal], world: World) -> Plan:
        """Upstream's event about a sync that failed."""
        service = world.get(SERVICE, *key)
        if service is None:
            return NOTHING
        failed = (f"failed to {doing(each.write, key)}: {each.error.message}" for each in refusals)
        return Plan(reports=tuple(failure(service, each) for each in failed))


class FamilyPlan(Struct, frozen=True):
    writes: SliceWrites
    reports: tuple[Report, ...]
    nodeless: tuple[tuple[str, str], ...]


def plan_of_family(
    service: Document,
    pods: Sequence[tuple[Document, PodFacts]],
    existing: Sequence[Document],
    family: str,
    limit: int,
    world: World,
) -> FamilyPlan:
    """What one address family of a Service needs, with its topology hints."""
    metadata = service["metadata"]
    auto = wants_auto(service)
    distribution = None if auto else service["spec"].get("trafficDistribution")
    desired = desired_endpoints(service, pods, family, lambda name: world.get(NODE, "", name), distribution)
    hinted = bool(lent(slice_ for slice_ in existing if owned_by(slice_, metadata["uid"])))
    disabled = give_hints(desired, existing, zone_cpu(world.list(NODE))) if auto else None
    parent = Parent(service, slice_labels(metadata.get("labels"), metadata["name"], MANAGED_BY, is_headless(service)))
    since = "" if existing else metadata.get("creationTimestamp") or ""
    writes = plan_family(parent, existing, desired, family, limit, placeholder=True, since=since)
    reports: Iterable[Report] = ()
    if auto and (writes.create or writes.update):
        reports = hint_reports(service, family, hinted, disabled)
    elif hinted and not auto and not distribution:
        reports = hint_reports(service, family, hinted, disabled, removed=True)
    return FamilyPlan(writes, tuple(reports), tuple(desired.nodeless))


def pod_keys(change: Change, world: World) -> Iterable[Key]:
    """The Services that chose the pod or choose it now, if anything changed that endpoints are made of."""
    before, after = change.before, change.after
    if before is not None and after is not None and endpoint_facts(before) == endpoint_facts(after):
        return ()
    return {*services_of(before, world), *services_of(after, world)}


def endpoint_facts(pod: Document) -> tuple[object, ...]:
    return pod_facts(pod), pod["metadata"].get("labels")


def node_keys(change: Change, world: World) -> Iterable[Key]:
    """The Services of the Node's pods when its zone changed or it came; those with topology hints when its CPU did."""
    document = change.after or change.before
    assert document is not None
    keys: set[Key] = set()
    if zone_of(change.before) != zone_of(change.after):
        for pod in world.indexed(POD, "node", document["metadata"]["name"]):
            keys.update(services_of(pod, world))
    if node_facts(change.before) != node_facts(change.after):
        keys.update((s["metadata"]["namespace"], s["metadata"]["name"]) for s in world.list(SERVICE) if wants_auto(s))
    return keys


def is_ours(slice_: Document) -> bool:
    metadata = slice_["metadata"]
    return metadata["labels"].get(MANAGED_BY_LABEL) == MANAGED_BY and not metadata.get("deletionTimestamp")


def applies(writes: Iterable[SliceWrites]) -> Iterable[Apply]:
    """Creates before updates before deletes: an endpoint that moves is never missing in between."""
    writes = list(writes)
    for each in writes:
        for created in each.create:
            yield Apply("create", ENDPOINT_SLICE, created["metadata"]["namespace"], "", created)
    for each in writes:
        for updated in each.update:
            metadata = updated["metadata"]
            yield Apply("update", ENDPOINT_SLICE, metadata["namespace"], metadata["name"], updated)
    for each in writes:
        yield from map(deletion, each.delete)


def deletion(slice_: Document) -> Apply:
    metadata = slice_["metadata"]
    options = {"preconditions": {"uid": metadata["uid"]}}
    return Apply("delete", ENDPOINT_SLICE, metadata["namespace"], metadata["name"], options, ignore=("NotFound",))


def hint_reports(
    service: Document, family: str, hinted: bool, disabled: Disabled | None, removed: bool = False
) -> Iterable[Report]:
    """Upstream's events about topology aware hints: when they begin, when they end, and why there are none."""
    if removed:
        message = "Topology Aware Hints has been disabled"
        yield Report(service, "Warning", "TopologyAwareHintsDisabled", f"{message}, addressType: {family}")
    elif disabled is not None:
        yield Report(service, "Warning", "TopologyAwareHintsDisabled", f"{disabled.value}, addressType: {family}")
    elif not hinted:
        message = "Topology Aware Hints has been enabled"
        yield Report(service, "Normal", "TopologyAwareHintsEnabled", f"{message}, addressType: {family}")


def doing(write: Apply, key: Key) -> str:
    service = "/".join(key)
    if write.verb == "create":
        return f"create EndpointSlice for Service {service}"
    return f"{write.verb} {write.name} EndpointSlice for Service {service}"


def nodeless_report(service: Document, pod: str, node: str) -> Report:
    name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
    return failure(service, f"skipping Pod {pod} for Service {name}: Node {node} Not Found")


def failure(service: Document, why: str) -> Report:
    name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
    message = f"Error updating Endpoint Slices for Service {name}: {why}"
    return Report(service, "Warning", "FailedToUpdateEndpointSlices", message)
