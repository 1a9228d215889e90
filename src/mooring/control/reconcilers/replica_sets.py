"""Which Pods must a ReplicaSet make or delete, and what does its status say?

Upstream: pkg/controller/replicaset. Two rules replace its expectations. The loop plans a key only from a world that has seen
the key's last writes; and names follow from what is known (naming.py), so that a create of unknown outcome, repeated from a
stale view, is refused with AlreadyExists. Duplicates cannot arise; were one to, the next plan would delete it.

What is refused keeps no other Pod from being made or deleted; the status then counts what there is.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from mooring.control.amend import amend, apart, create, delete
from mooring.control.conditions import condition, with_condition, without_condition
from mooring.control.deletion_order import deletion_order
from mooring.control.naming import next_names
from mooring.control.owners import Claim, claim, controller_of, controller_reference, controlling, with_owner, without_owners
from mooring.control.pod_reports import Failure, created, deleted, failure_reports, pod_failures
from mooring.control.pod_state import active, available, ready, ready_for
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Refusal, World
from mooring.control.selectors import labels_of, selected, selects
from mooring.model.kinds import NAMESPACE, POD, REPLICA_SET

BURST = 500
"""Creates or deletes in one plan, as upstream; the rest follows when these are seen."""


class ReplicaSets:
    name = "replicaset"
    watches = (REPLICA_SET, POD, NAMESPACE)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        versions = [each for each in (change.before, change.after) if each]
        if change.kind == REPLICA_SET:
            return {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in versions}
        if change.kind == NAMESPACE:
            return ()
        keys = {key for each in versions if (key := controlling(each, REPLICA_SET))}
        if change.after and controller_of(change.after) is None:
            keys.update(_would_adopt(change.after, world))
        return keys

    def plan(self, key: Key, world: World) -> Plan:
        owner = world.get(REPLICA_SET, *key)
        if owner is None:
            return NOTHING
        owned = list(world.indexed(POD, "owner", owner["metadata"]["uid"]))
        claimed = _claimed(owner, owned, world)
        pods = [*claimed.held, *claimed.adopted]
        missing = _missing(owner, len(pods), world)
        made = _new_pods(owner, min(missing, BURST), [pod["metadata"]["name"] for pod in owned]) if missing > 0 else []
        surplus = deletion_order(pods, _related(owner, world), world.now)[: min(-missing, BURST)] if missing < 0 else []
        doomed = {pod["metadata"]["uid"] for pod in surplus}
        left = [*(pod for pod in pods if pod["metadata"]["uid"] not in doomed), *made]
        writes = [
            *_ownership(owner, claimed),
            *apart(create(POD, pod) for pod in made),
            *apart(delete(POD, pod) for pod in surplus),
            *_status_writes(owner, left, None, world),
        ]
        reports = (*(created(owner, pod) for pod in made), *(deleted(owner, pod) for pod in surplus))
        return Plan(tuple(writes), reports, _again_after(owner, left, world.now))

    def refused(self, key: Key, refusals: Sequence[Refusal], world: World) -> Plan:
        """FailedCreate and FailedDelete: Events, and the condition ReplicaFailure until a plan is carried out again."""
        owner, failures = world.get(REPLICA_SET, *key), pod_failures(refusals)
        if owner is None or not failures:
            return NOTHING
        claimed = _claimed(owner, world.indexed(POD, "owner", owner["metadata"]["uid"]), world)
        return Plan(_status_writes(owner, claimed.held, failures[0], world), failure_reports(owner, failures))


def _would_adopt(pod: Document, world: World) -> Iterable[Key]:
    labels, namespace = labels_of(pod), pod["metadata"]["namespace"]
    for each in world.list(REPLICA_SET, namespace) if labels else ():
        if selects(each["spec"]["selector"], labels):
            yield namespace, each["metadata"]["name"]


def _claimed(owner: Document, owned: Iterable[Document], world: World) -> Claim:
    selector = owner["spec"]["selector"]
    candidates = (pod for pod in selected(world, POD, owner["metadata"]["namespace"], selector) if active(pod))
    return claim(owner, selector, filter(active, owned), candidates)


def _missing(owner: Document, present: int, world: World) -> int:
    """How many Pods to make, or below 0 to delete. A namespace on its way out would refuse new ones."""
    if owner["metadata"].get("deletionTimestamp"):
        return 0
    missing = int(owner["spec"].get("replicas", 1)) - present
    namespace = world.get(NAMESPACE, "", owner["metadata"]["namespace"])
    return min(missing, 0) if namespace and namespace["metadata"].get("deletionTimestamp") else missing


def _ownership(owner: Document, claimed: Claim) -> Iterable[Apply]:
    reference = controller_reference(REPLICA_SET, owner)
    for pod in claimed.released:
        yield from amend(POD, pod, without_owners(pod, [owner["metadata"]["uid"]]))
    for pod in claimed.adopted:
        yield from amend(POD, pod, with_owner(pod, reference))


def _new_pods(owner: Document, count: int, taken: Sequence[str]) -> list[Document]:
    metadata, template = owner["metadata"], owner["spec"]["template"]
    base = metadata["name"] + "-"
    inherited = template.get("metadata") or {}
    copied = {field: inherited[field] for field in ("labels", "annotations", "finalizers") if inherited.get(field)}
    reference = controller_reference(REPLICA_SET, owner)
    version = (metadata["uid"], metadata.get("resourceVersion", ""))
    return [
        {
            "metadata": {
                "name": name,
                "generateName": base,
                "namespace": metadata["namespace"],
                **copied,
                "ownerReferences": [reference],
            },
            "spec": template["spec"],
        }
        for name in next_names(base, version, taken, count)
    ]


def _related(owner: Document, world: World) -> Iterable[Document]:
    """Pods of all ReplicaSets of the same controller, whose company on a node makes a Pod the better one to delete."""
    controller = controller_of(owner)
    siblings = world.indexed(REPLICA_SET, "owner", controller["uid"]) if controller else [owner]
    for sibling in siblings:
        yield from world.indexed(POD, "owner", sibling["metadata"]["uid"])


def _status_writes(owner: Document, pods: Sequence[Document], failure: Failure | None, world: World) -> tuple[Apply, ...]:
    status = _status(owner, pods, failure, world.now)
    return amend(REPLICA_SET, owner, {**owner, "status": status}, blind_status=True)


def _status(owner: Document, pods: Sequence[Document], failure: Failure | None, now: datetime) -> Document:
    """`pods` are those that are left when the plan is carried out."""
    minimum = owner["spec"].get("minReadySeconds", 0)
    template = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    counts = {
        "fullyLabeledReplicas": sum(template.items() <= labels_of(pod).items() for pod in pods),
        "readyReplicas": sum(map(ready, pods)),
        "availableReplicas": sum(available(pod, minimum, now) for pod in pods),
    }
    conditions = (owner.get("status") or {}).get("conditions") or ()
    if failure:
        said = {"type": "ReplicaFailure", "status": "True", "reason": failure.reason, "message": failure.message}
        conditions = with_condition(conditions, said, now)
    elif condition(owner, "ReplicaFailure"):
        conditions = without_condition(conditions, "ReplicaFailure")
    status: Document = {"replicas": len(pods), **{name: count or None for name, count in counts.items()}}
    status["observedGeneration"] = owner["metadata"].get("generation", 0)
    if conditions:
        status["conditions"] = conditions
    return status


def _again_after(owner: Document, pods: Iterable[Document], now: datetime) -> float | None:
    """When the next ready Pod will have been so for minReadySeconds."""
    minimum = owner["spec"].get("minReadySeconds", 0)
    lasting = [minimum - lasted for pod in pods if (lasted := ready_for(pod, now)) is not None and lasted < minimum]
    return min(lasting, default=None)
