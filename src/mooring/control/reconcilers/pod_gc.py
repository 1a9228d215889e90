"""Which Pods will nobody ever end or remove? (upstream: pkg/controller/podgc)

Those bound to a node that is no more, those deleted before they had one, those on a node declared out of service, and the
eldest of too many that have ended. Keys: ('', 'node/NAME'), (namespace, name) of a Pod, and TERMINATED.
"""

from collections.abc import Iterable
from datetime import datetime

from mooring.control.amend import amend, apart, delete, verify_absent
from mooring.control.conditions import with_condition
from mooring.control.pod_state import node_of, phase, terminal, terminating
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, World
from mooring.model.kinds import NODE, POD

THRESHOLD = 12500
"""Ended Pods that may stay (--terminated-pod-gc-threshold); 0 for any number."""
PERIOD = 20.0
"""Seconds between two counts of the ended Pods: one pass over all Pods, which is why no change asks for it."""
TERMINATED: Key = ("", "terminated")
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


class PodGc:
    name = "pod-garbage-collector"
    watches = (POD, NODE)
    serial = False
    initial: tuple[Key, ...] = (TERMINATED,)

    def __init__(self, threshold: int = THRESHOLD) -> None:
        self._threshold = threshold

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        if change.kind == NODE:
            either = change.after or change.before
            assert either is not None
            gone_or_out = change.after is None or _out_of_service(change.after)
            return [("", f"node/{either['metadata']['name']}")] if gone_or_out else ()
        pod = change.after
        if pod is None:
            return ()
        if not node_of(pod):
            return [(pod["metadata"]["namespace"], pod["metadata"]["name"])] if terminating(pod) else ()
        node = world.get(NODE, "", node_of(pod))
        return [("", f"node/{node_of(pod)}")] if node is None or _out_of_service(node) else ()

    def plan(self, key: Key, world: World) -> Plan:
        if key == TERMINATED:
            return self._terminated(world)
        if not key[0]:
            return _of_node(key[1].removeprefix("node/"), world)
        pod = world.get(POD, *key)
        if pod is None or node_of(pod) or not terminating(pod):
            return NOTHING
        return Plan(_forced(pod, "", world.now))

    def _terminated(self, world: World) -> Plan:
        """The evicted first, then the eldest."""
        if not self._threshold:
            return NOTHING
        ended = [pod for pod in world.list(POD) if terminal(pod) and not terminating(pod)]
        ended.sort(key=lambda pod: (not _evicted(pod), pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
        surplus = ended[: max(0, len(ended) - self._threshold)]
        return Plan(apart(delete(POD, pod, grace=0) for pod in surplus), again_after=PERIOD)


def _evicted(pod: Document) -> bool:
    return phase(pod) == "Failed" and (pod.get("status") or {}).get("reason") == "Evicted"


def _out_of_service(node: Document) -> bool:
    return any(each["key"] == OUT_OF_SERVICE for each in (node.get("spec") or {}).get("taints") or ())


def _of_node(name: str, world: World) -> Plan:
    node, pods = world.get(NODE, "", name), list(world.indexed(POD, "node", name))
    if not pods:
        return NOTHING
    if node is None:
        writes = [write for pod in pods for write in _forced(pod, "PodGC: node no longer exists", world.now)]
        return Plan((verify_absent(NODE, "", name, None), *apart(writes)))
    if not _out_of_service(node):
        return NOTHING
    message = "PodGC: the node is out of service"
    return Plan(apart(write for pod in pods if terminating(pod) for write in _forced(pod, message, world.now)))


def _forced(pod: Document, message: str, now: datetime) -> tuple[Apply, ...]:
    """Ended at once: nobody is there to end it. One that had not ended is Failed first, so that its owner counts it right."""
    status = pod.get("status") or {}
    if terminal(pod) or not message:
        return (delete(POD, pod, grace=0),)
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": message}
    conditions = with_condition(status.get("conditions") or (), disrupted, now)
    failed = {**pod, "status": {**status, "phase": "Failed", "conditions": conditions}}
    return (*amend(POD, pod, failed, blind_status=True), delete(POD, pod, grace=0))
