"""Which node does each waiting Pod get? (upstream: pkg/scheduler; of its filters and scores those of scheduling/)

Serial, so that every choice sees the ones before it, whose bindings need not be through: until one is, or has failed, its Pod
is assumed to be on its node (assumed.py). A Pod that fits nowhere is looked at again when something that its filters ask about
has changed, and every five minutes in any case. A Pod whose claims wait for their first consumer is nominated for a
node, which then counts it as its own; it is bound to the node when its claims are bound to volumes there.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mooring.control.amend import amend
from mooring.control.conditions import with_condition
from mooring.control.owners import controller_of
from mooring.control.pod_state import active, node_of, terminal, terminating
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Refusal, Report, World
from mooring.control.scheduling.filters import taints_of
from mooring.control.scheduling.resources import requested
from mooring.control.scheduling.scores import best
from mooring.control.scheduling.situation import Situation
from mooring.control.scheduling.together import refusals
from mooring.control.selectors import labels_of
from mooring.control.volume_matching import SELECTED_NODE, annotated, choices, claimed_by, claims_of, pod_volumes
from mooring.model.kinds import NAMESPACE, NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, SERVICE, STORAGE_CLASS

SCHEDULER_NAME = "default-scheduler"
RETRY = 300.0
_STORAGE = (PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS)


class Scheduler:
    name = "scheduler"
    watches = (POD, NODE, SERVICE, NAMESPACE, *_STORAGE)
    serial = True
    assumes = True

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        if change.kind == SERVICE:
            return ()
        if change.kind == NODE:
            return _all_waiting(world) if _offers_more(change) else ()
        if change.kind == NAMESPACE:
            return _minding_others(world) if _relabelled(change) else ()
        if change.kind in _STORAGE:
            return [_key(pod) for pod in _waiting_pods(world) if claims_of(pod)]
        if change.after and _waiting(change.after):
            return [_key(change.after)]
        freed = change.before and node_of(change.before) and not terminal(change.before)
        if freed and (change.after is None or terminal(change.after) or _shrunk(change)):
            return _all_waiting(world)
        return _minding_others(world) if _moved(change) else ()

    def plan(self, key: Key, world: World) -> Plan:
        pod = world.get(POD, *key)
        if pod is None or not _waiting(pod):
            return NOTHING
        situation = _situation(pod, world)
        if situation.nodes and situation.volumes.problem:
            return _failed(pod, f"0/{len(situation.nodes)} nodes are available: {situation.volumes.problem}.", world)
        refused = refusals(pod, situation)
        fit = [node for node in situation.nodes if not refused[_name(node)]]
        if not fit:
            return _failed(pod, _why(refused), world)
        chosen = world.rng.choice(sorted(best(pod, fit, list(_company(pod, world)), situation)))
        if situation.volumes.waiting:
            return _nominated(pod, next(node for node in fit if _name(node) == chosen), situation)
        return _bound(pod, chosen)

    def refused(self, key: Key, refusals: Sequence[Refusal], world: World) -> Plan:
        """The binding: the Pod waits, and is told why."""
        pod, refusal = world.get(POD, *key), refusals[0]
        if pod is None or refusal.write.subresource != "binding":
            return NOTHING
        message = f'running Bind plugin "DefaultBinder": {refusal.error.message}'
        return Plan(_unscheduled(pod, "SchedulerError", message, world), (Report(pod, "Warning", "FailedScheduling", message),))


def _shrunk(change: Change) -> bool:
    """Whether a Pod gave something back while it goes on running (KEP-1287)."""
    before, after = change.before, change.after
    if before is None or after is None or _allotments(before) == _allotments(after):
        return False
    asked = requested(after)
    return any(asked.get(name, 0) < amount for name, amount in requested(before).items())


def _allotments(pod: Document) -> list[tuple[Any, Any]]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return [(one.get("allocatedResources"), one.get("resources")) for one in statuses]


def _situation(pod: Document, world: World) -> Situation:
    nodes = [each for each in world.list(NODE) if not each["metadata"].get("deletionTimestamp")]
    residents = {_name(node): _residents(_name(node), world) for node in nodes}
    for other in _waiting_pods(world):
        nominated = (other.get("status") or {}).get("nominatedNodeName")
        if nominated in residents and _key(other) != _key(pod):
            residents[nominated].append(other)
    namespaces = {_name(each): labels_of(each) for each in world.list(NAMESPACE)}
    return Situation(nodes, residents, namespaces, pod_volumes(pod, world))


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def _key(pod: Document) -> Key:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def _waiting(pod: Document) -> bool:
    """For this scheduler, not placed, not held back (KEP-3521), not ending."""
    spec = pod["spec"]
    ours = (spec.get("schedulerName") or SCHEDULER_NAME) == SCHEDULER_NAME
    return ours and not node_of(pod) and not spec.get("schedulingGates") and active(pod)


def _waiting_pods(world: World) -> Iterable[Document]:
    return (pod for pod in world.indexed(POD, "node", "") if _waiting(pod))


def _all_waiting(world: World) -> Iterable[Key]:
    return [_key(pod) for pod in _waiting_pods(world)]


def _minding_others(world: World) -> Iterable[Key]:
    """Waiting Pods that look at where others are."""
    return [_key(pod) for pod in _waiting_pods(world) if _minds_others(pod["spec"])]


def _minds_others(spec: Document) -> bool:
    affinity = spec.get("affinity") or {}
    return bool(spec.get("topologySpreadConstraints") or affinity.get("podAffinity") or affinity.get("podAntiAffinity"))


def _relabelled(change: Change) -> bool:
    return not (change.before and change.after) or labels_of(change.before) != labels_of(change.after)


def _moved(change: Change) -> bool:
    """A Pod got a node, other labels, or began to go."""
    before, after = change.before, change.after
    if after is None or not node_of(after):
        return False
    return (
        before is None
        or node_of(before) != node_of(after)
        or labels_of(before) != labels_of(after)
        or terminating(before) != terminating(after)
    )


def _offers_more(change: Change) -> bool:
    """A node came, or what the filters look at has changed; heartbeats do not count."""
    if change.after is None:
        return False
    return change.before is None or _offer(change.before) != _offer(change.after)


def _offer(node: Document) -> tuple[object, ...]:
    unschedulable = (node.get("spec") or {}).get("unschedulable")
    return labels_of(node), taints_of(node), unschedulable, (node.get("status") or {}).get("allocatable")


def _residents(node: str, world: World) -> list[Document]:
    return [pod for pod in world.indexed(POD, "node", node) if not terminal(pod)]


def _company(pod: Document, world: World) -> Iterable[Document]:
    """The placed Pods it should be spread against: of its own controller, else of the Services that select it."""
    controller = controller_of(pod)
    if controller is not None:
        together: Iterable[Document] = world.indexed(POD, "owner", controller["uid"])
    else:
        namespace, labels = pod["metadata"]["namespace"], labels_of(pod)
        pairs = [pair for pair in _selectors(namespace, labels, world) if pair]
        together = [each for each in world.list(POD, namespace) if any(_has(each, pair) for pair in pairs)] if pairs else ()
    return (each for each in together if node_of(each) and not terminal(each) and not terminating(each))


def _selectors(namespace: str, labels: dict[str, str], world: World) -> Iterable[dict[str, str]]:
    for key, value in labels.items():
        for service in world.indexed(SERVICE, "selector", f"{namespace}/{key}={value}"):
            pairs = service["spec"]["selector"]
            if pairs.items() <= labels.items():
                yield pairs


def _has(pod: Document, pairs: dict[str, str]) -> bool:
    return pairs.items() <= labels_of(pod).items()


def _bound(pod: Document, node: str) -> Plan:
    metadata = pod["metadata"]
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    write = Apply("create", POD, metadata["namespace"], metadata["name"], binding, "binding")
    message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {node}"
    return Plan((write,), (Report(pod, "Normal", "Scheduled", message),), assumed_node=node)


def _nominated(pod: Document, node: Document, situation: Situation) -> Plan:
    """The node is the Pod's as far as other Pods are concerned; its claims are told to be bound there."""
    name = _name(node)
    writes = list(amend(POD, pod, {**pod, "status": {**(pod.get("status") or {}), "nominatedNodeName": name}}))
    for waiting, volume in choices(situation.volumes, node) or ():
        if volume is None:
            writes += amend(PERSISTENT_VOLUME_CLAIM, waiting.claim, annotated(waiting.claim, SELECTED_NODE, name))
        else:
            writes += amend(PERSISTENT_VOLUME, volume, claimed_by(volume, waiting.claim))
    return Plan(tuple(writes))


def _why(refused: Mapping[str, list[str]]) -> str:
    if not refused:
        return "no nodes available to schedule pods"
    reasons = Counter(reason for each in refused.values() for reason in each)
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{len(refused)} nodes are available: {listed}."


def _failed(pod: Document, message: str, world: World) -> Plan:
    """Said once for as long as the reasons stay the same."""
    writes = _unscheduled(pod, "Unschedulable", message, world)
    reports = (Report(pod, "Warning", "FailedScheduling", message),) if writes else ()
    return Plan(writes, reports, RETRY)


def _unscheduled(pod: Document, reason: str, message: str, world: World) -> tuple[Apply, ...]:
    wanted = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    status = pod.get("status") or {}
    conditions = with_condition(status.get("conditions") or (), wanted, world.now)
    return amend(POD, pod, {**pod, "status": {**status, "conditions": conditions, "nominatedNodeName": None}})
