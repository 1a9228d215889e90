"""Which node does each waiting Pod get? (upstream: pkg/scheduler; of its filters and scores those of scheduling/)

Serial, so that every choice sees the ones before it. A Pod that fits nowhere is looked at again when a node changes or a placed
Pod ends, and every five minutes in any case.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from mooring.control.amend import amend
from mooring.control.conditions import condition, with_condition
from mooring.control.owners import controller_of
from mooring.control.pod_state import active, node_of, terminal, terminating
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Report, World
from mooring.control.scheduling.filters import taints_of, unfit
from mooring.control.scheduling.scores import best
from mooring.control.selectors import labels_of
from mooring.model.kinds import NODE, POD, SERVICE

SCHEDULER_NAME = "default-scheduler"
RETRY = 300.0


class Scheduler:
    name = "scheduler"
    watches = (POD, NODE, SERVICE)
    serial = True

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        if change.kind == SERVICE:
            return ()
        if change.kind == NODE:
            return _all_waiting(world) if _offers_more(change) else ()
        if change.after and _waiting(change.after):
            return [_key(change.after)]
        freed = change.before and node_of(change.before) and not terminal(change.before)
        return _all_waiting(world) if freed and (change.after is None or terminal(change.after)) else ()

    def plan(self, key: Key, world: World) -> Plan:
        pod = world.get(POD, *key)
        if pod is None or not _waiting(pod):
            return NOTHING
        nodes = [each for each in world.list(NODE) if not each["metadata"].get("deletionTimestamp")]
        residents = {_name(node): _residents(_name(node), world) for node in nodes}
        refusals = {_name(node): unfit(pod, node, residents[_name(node)]) for node in nodes}
        fit = [node for node in nodes if not refusals[_name(node)]]
        if not fit:
            return _failed(pod, _why(refusals), world)
        counts = {name: len(each) for name, each in residents.items()}
        chosen = world.rng.choice(sorted(best(pod, fit, list(_company(pod, world)), counts)))
        return _bound(pod, chosen)


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def _key(pod: Document) -> Key:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def _waiting(pod: Document) -> bool:
    """For this scheduler, not placed, not held back (KEP-3521), not ending."""
    spec = pod["spec"]
    ours = (spec.get("schedulerName") or SCHEDULER_NAME) == SCHEDULER_NAME
    return ours and not node_of(pod) and not spec.get("schedulingGates") and active(pod)


def _all_waiting(world: World) -> Iterable[Key]:
    return [_key(pod) for pod in world.indexed(POD, "node", "") if _waiting(pod)]


def _offers_more(change: Change) -> bool:
    """A node came, or what the filters look at has changed; heartbeats do not count."""
    if change.after is None:
        return False
    return change.before is None or _offer(change.before) != _offer(change.after)


def _offer(node: Document) -> tuple[object, ...]:
    unschedulable = (node.get("spec") or {}).get("unschedulable")
    return labels_of(node), taints_of(node), unschedulable, (node.get("status") or {}).get("allocatable")


def _residents(node: str, world: World) -> Sequence[Document]:
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
    return Plan((write,), (Report(pod, "Normal", "Scheduled", message),))


def _why(refusals: dict[str, list[str]]) -> str:
    if not refusals:
        return "no nodes available to schedule pods"
    reasons = Counter(reason for each in refusals.values() for reason in each)
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{len(refusals)} nodes are available: {listed}."


def _failed(pod: Document, message: str, world: World) -> Plan:
    """Said once for as long as the reasons stay the same."""
    wanted = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    held = condition(pod, "PodScheduled")
    if held and {**held, **wanted} == held:
        return Plan(again_after=RETRY)
    status = pod.get("status") or {}
    conditions = with_condition(status.get("conditions") or (), wanted, world.now)
    writes = amend(POD, pod, {**pod, "status": {**status, "conditions": conditions}})
    return Plan(writes, (Report(pod, "Warning", "FailedScheduling", message),), RETRY)
