"""Can the Pod have its volumes on a node? (upstream: the plugins VolumeBinding and VolumeRestrictions)"""

from mooring.control.reconciler import Document
from mooring.control.scheduling.situation import Situation, Verdict
from mooring.control.volume_matching import choices, claims_of, reachable

ELSEWHERE = "node(s) had volume node affinity conflict"
NOTHING_TO_BIND = "node(s) didn't find available persistent volumes to bind"
GONE = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
TAKEN = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


def volumes(pod: Document, situation: Situation) -> Verdict:
    """The filter."""
    wanted = situation.volumes
    taken = bool(wanted.exclusive) and any(
        (other["metadata"]["namespace"], name) in wanted.exclusive
        for _, residents in situation.placed()
        for other in residents
        for name in claims_of(other)
    )

    def verdict(node: Document) -> list[str]:
        if wanted.missing:
            return [GONE]
        if taken:
            return [TAKEN]
        if not all(reachable(volume, node) for volume in wanted.bound):
            return [ELSEWHERE]
        return [NOTHING_TO_BIND] if choices(wanted, node) is None else []

    return verdict
