"""Does a node still answer, and what becomes of its Pods when it does not?

Upstream: pkg/controller/nodelifecycle and tainteviction. A node renews its Lease; one that stops becomes Unknown, conditions
become taints, Pods there become not ready, and those that do not bear the NoExecute taints (long enough) are deleted.
"""

from collections.abc import Iterable
from datetime import datetime

from mooring.control.amend import amend, apart, delete, verify_unchanged
from mooring.control.conditions import condition, find, true, with_condition
from mooring.control.pod_state import node_of, ready, terminal, terminating
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Report, World
from mooring.control.scheduling.tolerations import NOT_READY, UNREACHABLE, UNSCHEDULABLE, bearable_for
from mooring.control.times import moment, seconds_since, stamp
from mooring.model.kinds import LEASE, NODE, POD

LEASES = "kube-node-lease"
GRACE = 40.0
"""Seconds without a renewed Lease (--node-monitor-grace-period)."""
CONFIRMATION = 5.0
"""Seconds for which a node must have been Unknown before its Pods pay for it. When the API server was away, or the machine
slept, no node could renew its Lease: each learns from its own Node that it is missed, and answers. Upstream looks every 5 s."""
WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
PRESSURES = (
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
)
OURS = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *(key for _, key in PRESSURES)})


class NodeLifecycle:
    name = "node-lifecycle"
    watches = (NODE, LEASE, POD)
    serial = False

    def __init__(self, grace: float = GRACE) -> None:
        """`grace` in seconds."""
        self._grace = grace

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        either = change.after or change.before
        assert either is not None
        metadata = either["metadata"]
        if change.kind == LEASE:
            return [("", metadata["name"])] if metadata["namespace"] == LEASES else ()
        if change.kind == NODE:
            return [("", metadata["name"])]
        # A Pod concerns its node's fate only where the node is in trouble: the healthy ones are not asked per Pod.
        node = world.get(NODE, "", node_of(either)) if change.after and node_of(either) else None
        return [("", node_of(either))] if node is not None and _troubled(node) else ()

    def plan(self, key: Key, world: World) -> Plan:
        node = world.get(NODE, *key)
        if node is None or node["metadata"].get("deletionTimestamp"):
            return NOTHING
        lease = world.get(LEASE, LEASES, key[1])
        left = self._grace - seconds_since(_heartbeat(node, lease), world.now)
        judged = node if left > 0 else _unknown(node, world.now)
        judged = _tainted(judged, world.now)
        writes = list(amend(NODE, node, judged))
        reports = [_not_ready(judged)] if _down(judged) and not _down_taints(node) else []
        again = [left] if left > 0 else []
        unsure = _unsure(judged, left, world.now)
        if unsure > 0:
            again.append(unsure)
        elif _troubled(judged):
            pods = [pod for pod in world.indexed(POD, "node", key[1]) if not terminal(pod)]
            for pod in pods:
                patience = None if terminating(pod) else _patience(pod, judged, world.now)
                evicted = patience is not None and patience <= 0
                writes += _pod_writes(pod, _down(judged), evicted, world.now)
                reports += [_eviction(pod)] if evicted else []
                again += [patience] if patience is not None and patience > 0 else []
        if writes and left <= 0 and lease is not None:
            writes.insert(0, verify_unchanged(LEASE, lease))  # It may have been renewed, and we are behind.
        return Plan(tuple(writes), tuple(reports), min(again, default=None))


def _heartbeat(node: Document, lease: Document | None) -> str:
    """When the node was last heard of: the renewed Lease, else what its Ready condition says, else its creation."""
    renewed = ((lease or {}).get("spec") or {}).get("renewTime")
    beat = (condition(node, "Ready") or {}).get("lastHeartbeatTime")
    heard = [each for each in (renewed, beat) if each]
    created: str = node["metadata"]["creationTimestamp"]
    return max(heard, key=moment) if heard else created


def _unknown(node: Document, now: datetime) -> Document:
    """What nobody has told for too long is unknown."""
    conditions = (node.get("status") or {}).get("conditions") or []
    for type in WATCHED:
        held = find(conditions, type)
        if held is None:
            wanted = {"type": type, "reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status."}
        else:
            wanted = {"type": type, "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
        if held is None or held["status"] != "Unknown":
            conditions = with_condition(conditions, {**wanted, "status": "Unknown"}, now)
    return {**node, "status": {**(node.get("status") or {}), "conditions": conditions}}


def _tainted(node: Document, now: datetime) -> Document:
    """The taints that the conditions mean, with those of other people; the others of ours go."""
    spec = node.get("spec") or {}
    held = spec.get("taints") or []
    wanted = list(_wanted_taints(node))
    kept = [each for each in held if each["key"] not in OURS or (each["key"], each["effect"]) in wanted]
    present = {(each["key"], each["effect"]) for each in kept}
    added = [
        # NoExecute taints say since when: tolerationSeconds count from there.
        {"key": key, "effect": effect, **({"timeAdded": stamp(now)} if effect == "NoExecute" else {})}
        for key, effect in wanted
        if (key, effect) not in present
    ]
    return {**node, "spec": {**spec, "taints": [*kept, *added] or None}}


def _wanted_taints(node: Document) -> Iterable[tuple[str, str]]:
    status = (condition(node, "Ready") or {"status": "False"})["status"]
    if status != "True":
        key = UNREACHABLE if status == "Unknown" else NOT_READY
        yield from ((key, "NoSchedule"), (key, "NoExecute"))
    for type, key in PRESSURES:
        if (condition(node, type) or {}).get("status") == "True":
            yield key, "NoSchedule"
    if (node.get("spec") or {}).get("unschedulable"):
        yield UNSCHEDULABLE, "NoSchedule"


def _no_execute(node: Document) -> list[Document]:
    return [each for each in (node.get("spec") or {}).get("taints") or () if each["effect"] == "NoExecute"]


def _down(node: Document) -> bool:
    return not true(node, "Ready")


def _unsure(node: Document, left: float, now: datetime) -> float:
    """Seconds until one that is Unknown can be said to be down: not while its Lease lasts, whatever it still has to write."""
    held = condition(node, "Ready")
    if held is None or held["status"] != "Unknown":
        return 0.0
    since = held.get("lastTransitionTime")
    return max(left, CONFIRMATION - seconds_since(since, now) if since else 0.0)


def _down_taints(node: Document) -> bool:
    return any(each["key"] in (NOT_READY, UNREACHABLE) for each in _no_execute(node))


def _troubled(node: Document) -> bool:
    return _down(node) or bool(_no_execute(node))


def _not_ready(node: Document) -> Report:
    name = node["metadata"]["name"]
    return Report(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")


def _patience(pod: Document, node: Document, now: datetime) -> float | None:
    """Seconds for which the Pod still bears the node's NoExecute taints, None for ever."""
    ends = []
    for taint in _no_execute(node):
        seconds = bearable_for(pod, taint)
        if seconds is not None:
            since = taint.get("timeAdded")
            ends.append(seconds - (seconds_since(since, now) if since else 0.0))
    return min(ends, default=None)


def _pod_writes(pod: Document, down: bool, evicted: bool, now: datetime) -> Iterable[Apply]:
    """On a node that is down no Pod is ready, so that no Service sends traffic there; the evicted are deleted. One Pod whose
    writes are refused keeps no other there."""
    status = pod.get("status") or {}
    conditions = status.get("conditions") or []
    if down and ready(pod):
        conditions = with_condition(conditions, {"type": "Ready", "status": "False"}, now)
    if evicted:
        message = "Taint manager: deleting due to NoExecute taint"
        said = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": message}
        conditions = with_condition(conditions, said, now)
    writes = amend(POD, pod, {**pod, "status": {**status, "conditions": conditions or None}})
    return apart((*writes, delete(POD, pod)) if evicted else writes)


def _eviction(pod: Document) -> Report:
    message = f"Marking for deletion Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    return Report(pod, "Normal", "TaintManagerEviction", message)
