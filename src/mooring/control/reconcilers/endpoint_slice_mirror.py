"""Which EndpointSlices mirror hand-written Endpoints? (reference: the endpointslicemirroring controller)"""

from collections.abc import Iterable

from mooring.control.reconciler import Change, Document, Key, Plan, Report, World
from mooring.control.reconcilers.endpoint_slices import applies, deletion
from mooring.endpoints.desired import Desired
from mooring.endpoints.mirror import MANAGED_BY, mirror_parent, mirrored_endpoints, should_mirror
from mooring.endpoints.slices import MOST, plan_family
from mooring.model.discovery import MANAGED_BY_LABEL, SERVICE_NAME_LABEL
from mooring.model.kinds import ENDPOINT_SLICE, ENDPOINTS, SERVICE


class EndpointSliceMirror:
    name = "endpointslicemirroring"
    watches = (SERVICE, ENDPOINTS, ENDPOINT_SLICE)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        document = change.after or change.before
        assert document is not None
        metadata = document["metadata"]
        if change.kind != ENDPOINT_SLICE:
            return ((metadata["namespace"], metadata["name"]),)
        labels = metadata.get("labels") or {}
        ours = labels.get(MANAGED_BY_LABEL) == MANAGED_BY and labels.get(SERVICE_NAME_LABEL)
        return ((metadata["namespace"], labels[SERVICE_NAME_LABEL]),) if ours else ()

    def plan(self, key: Key, world: World) -> Plan:
        endpoints, service = world.get(ENDPOINTS, *key), world.get(SERVICE, *key)
        existing = [slice_ for slice_ in world.indexed(ENDPOINT_SLICE, "service", "/".join(key)) if is_mirror(slice_)]
        if endpoints is None or not should_mirror(endpoints, service):
            return Plan(tuple(map(deletion, existing)))
        parent, mirrored = mirror_parent(endpoints), mirrored_endpoints(endpoints)
        writes = []
        for family in sorted({*mirrored.families, *(slice_["addressType"] for slice_ in existing)}):
            of_family = [slice_ for slice_ in existing if slice_["addressType"] == family]
            desired = mirrored.families.get(family, Desired())
            writes.append(plan_family(parent, of_family, desired, family, MOST, placeholder=False))
        changes = tuple(applies(writes))
        return Plan(changes, tuple(reports(endpoints, mirrored.invalid, mirrored.skipped)) if changes else ())


def is_mirror(slice_: Document) -> bool:
    metadata = slice_["metadata"]
    return metadata["labels"].get(MANAGED_BY_LABEL) == MANAGED_BY and not metadata.get("deletionTimestamp")


def reports(endpoints: Document, invalid: int, skipped: int) -> Iterable[Report]:
    if invalid:
        message = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
        yield Report(endpoints, "Warning", "InvalidIPAddress", message)
    if skipped:
        message = f"A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints subset. "
        yield Report(endpoints, "Warning", "TooManyAddressesToMirror", f"{message}{skipped + invalid} addresses were skipped")
