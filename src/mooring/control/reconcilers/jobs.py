"""Which Pods must a Job make or delete, which of those that ended has it still to count, and how does it stand?

Upstream: pkg/controller/job and pkg/controller/ttlafterfinished. Every Pod is counted once: its uid is written into the Job's
status first, then its finalizer is taken off, then the uid becomes a number; all in one plan, in that order.

Keys: (namespace, name) of a Job, and (namespace, 'pod/NAME') of a Pod whose finalizer nobody else will take off.
"""

from collections.abc import Iterable, Sequence

from mooring.control.amend import delete, verify_absent
from mooring.control.conditions import find
from mooring.control.job_pods import tracked, untrack
from mooring.control.job_status import FINISHED, finish_of
from mooring.control.job_sync import Sync
from mooring.control.owners import controller_of, controlling
from mooring.control.pod_reports import failure_reports, pod_failures
from mooring.control.reconciler import NOTHING, Change, Document, Key, Plan, Refusal, World
from mooring.control.selectors import labels_of, selects
from mooring.control.times import seconds_since
from mooring.model.kinds import JOB, NAMESPACE, POD

OURS = "kubernetes.io/job-controller"
_POD = "pod/"


class Jobs:
    name = "job"
    watches = (JOB, POD, NAMESPACE)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        versions = [each for each in (change.before, change.after) if each]
        if change.kind == JOB:
            keys = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in versions}
            if change.after is None or finish_of(change.after):
                pods = world.indexed(POD, "owner", versions[0]["metadata"]["uid"])
                keys.update(_key(pod) for pod in pods if tracked(pod))
            return keys
        if change.kind == NAMESPACE:
            return ()
        keys = {key for each in versions if (key := controlling(each, JOB))}
        if change.after and tracked(change.after) and _left_alone(change.after, world):
            keys.add(_key(change.after))
        if change.after and controller_of(change.after) is None:
            keys.update(_would_adopt(change.after, world))
        return keys

    def plan(self, key: Key, world: World) -> Plan:
        if key[1].startswith(_POD):
            return _release(key[0], key[1].removeprefix(_POD), world)
        job = world.get(JOB, *key)
        if job is None or not _mine(job):
            return NOTHING
        return _expiry(job, world) if finish_of(job) else Sync(job, world).plan()

    def refused(self, key: Key, refusals: Sequence[Refusal], world: World) -> Plan:
        """FailedCreate and FailedDelete: Events, and the status of what there is."""
        job, failures = world.get(JOB, *key), pod_failures(refusals)
        if job is None or not failures:
            return NOTHING
        without = Sync(job, world, acting=False).plan().writes if _mine(job) and not finish_of(job) else ()
        return Plan(without, failure_reports(job, failures))


def _key(pod: Document) -> Key:
    return pod["metadata"]["namespace"], _POD + pod["metadata"]["name"]


def _mine(job: Document) -> bool:
    return (job["spec"].get("managedBy") or OURS) == OURS


def _owner(pod: Document, world: World) -> Document | None:
    """The Job that controls the Pod, when it is there."""
    key, reference = controlling(pod, JOB), controller_of(pod)
    job = world.get(JOB, *key) if key else None
    return job if job and reference and job["metadata"]["uid"] == reference["uid"] else None


def _left_alone(pod: Document, world: World) -> bool:
    """Nobody counts it: it has no controller, or a Job that is finished or no longer there."""
    if controller_of(pod) is None:
        return True
    if controlling(pod, JOB) is None:
        return False
    job = _owner(pod, world)
    return job is None or (_mine(job) and bool(finish_of(job)))


def _would_adopt(orphan: Document, world: World) -> Iterable[Key]:
    labels, namespace = labels_of(orphan), orphan["metadata"]["namespace"]
    for each in world.list(JOB, namespace) if labels else ():
        if selects(each["spec"]["selector"], labels):
            yield namespace, each["metadata"]["name"]


def _release(namespace: str, name: str, world: World) -> Plan:
    """Takes the finalizer off, once the server itself has said that there is no such Job."""
    pod = world.get(POD, namespace, name)
    if pod is None or not tracked(pod) or not _left_alone(pod, world):
        return NOTHING
    owner = controlling(pod, JOB)
    sure = (verify_absent(JOB, *owner, world.get(JOB, *owner)),) if owner and _owner(pod, world) is None else ()
    return Plan((*sure, *untrack(pod)))


def _expiry(job: Document, world: World) -> Plan:
    """The end of a finished Job: ttlSecondsAfterFinished after it finished."""
    seconds = job["spec"].get("ttlSecondsAfterFinished")
    if seconds is None or job["metadata"].get("deletionTimestamp"):
        return NOTHING
    ended = next(held for type in FINISHED if (held := find(job["status"]["conditions"], type)) and held["status"] == "True")
    left = seconds - seconds_since(ended["lastTransitionTime"], world.now)
    return Plan(again_after=left) if left > 0 else Plan((delete(JOB, job, policy="Foreground", exactly=True),))
