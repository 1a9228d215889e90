"""Which Endpoints object has each Service with a selector? (reference: the endpoints controller; deprecated by KEP-4974)"""

from collections.abc import Iterable, Sequence

from mooring.control.reconciler import NOTHING, Apply, Change, Key, Plan, Refusal, Report, World
from mooring.control.reconcilers.endpoint_slices import pod_keys
from mooring.control.service_pods import pods_of
from mooring.endpoints.legacy import LEADER_ANNOTATION, MANAGED_BY, MANAGED_BY_LABEL, desired_object
from mooring.endpoints.pods import pod_facts
from mooring.model.kinds import ENDPOINTS, POD, SERVICE


class Endpoints:
    name = "endpoint"
    watches = (SERVICE, POD, ENDPOINTS)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        if change.kind == POD:
            return pod_keys(change, world)
        document = change.after or change.before
        assert document is not None
        metadata = document["metadata"]
        # Endpoints that nobody of us wrote may stand without a Service: only our own are looked after.
        if change.kind == ENDPOINTS and (metadata.get("labels") or {}).get(MANAGED_BY_LABEL) != MANAGED_BY:
            return ()
        return ((metadata["namespace"], metadata["name"]),)

    def plan(self, key: Key, world: World) -> Plan:
        service, existing = world.get(SERVICE, *key), world.get(ENDPOINTS, *key)
        if service is None:
            if existing is None or LEADER_ANNOTATION in (existing["metadata"].get("annotations") or {}):
                return NOTHING
            options = {"preconditions": {"uid": existing["metadata"]["uid"]}}
            return Plan((Apply("delete", ENDPOINTS, *key, options, ignore=("NotFound",)),))
        if service["spec"].get("type") == "ExternalName" or not service["spec"].get("selector"):
            return NOTHING
        wanted = desired_object(service, ((pod, pod_facts(pod)) for pod in pods_of(service, world)), existing)
        if wanted is existing or (existing is None and service["metadata"].get("deletionTimestamp")):
            return NOTHING
        return Plan((Apply("create" if existing is None else "update", ENDPOINTS, *key, wanted),))

    def refused(self, key: Key, refusals: Sequence[Refusal], world: World) -> Plan:
        """Upstream's events about a write that failed."""
        service, name = world.get(SERVICE, *key), "/".join(key)
        write, error = refusals[0].write, refusals[0].error
        if service is None or write.verb not in ("create", "update"):
            return NOTHING
        if write.verb == "create":
            reason, message = "FailedToCreateEndpoint", f"Failed to create endpoint for service {name}: {error.message}"
        else:
            reason, message = "FailedToUpdateEndpoint", f"Failed to update endpoint {name}: {error.message}"
        return Plan(reports=(Report(service, "Warning", reason, message),))
