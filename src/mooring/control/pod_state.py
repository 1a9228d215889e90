"""What state is a Pod in, for those who count and place Pods?"""

from datetime import datetime

from mooring.control.conditions import condition
from mooring.control.reconciler import Document
from mooring.control.times import seconds_since


def phase(pod: Document) -> str:
    """status.phase, '' while nobody has set it."""
    return str((pod.get("status") or {}).get("phase", ""))


def terminal(pod: Document) -> bool:
    """It will never run again."""
    return phase(pod) in ("Succeeded", "Failed")


def terminating(pod: Document) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def active(pod: Document) -> bool:
    return not terminal(pod) and not terminating(pod)


def goes_at_once(pod: Document) -> bool:
    """Whether a deletion leaves nothing to wait for: not placed, ended, or without grace; and nobody holds it."""
    grace = (pod.get("spec") or {}).get("terminationGracePeriodSeconds")
    return (not node_of(pod) or terminal(pod) or grace == 0) and not pod["metadata"].get("finalizers")


def node_of(pod: Document) -> str:
    """spec.nodeName, '' while it has none."""
    return str((pod.get("spec") or {}).get("nodeName") or "")


def ready(pod: Document) -> bool:
    held = condition(pod, "Ready")
    return held is not None and held["status"] == "True"


def ready_for(pod: Document, now: datetime) -> float | None:
    """Seconds it has been ready, None when it is not."""
    held = condition(pod, "Ready")
    if held is None or held["status"] != "True":
        return None
    since = held.get("lastTransitionTime")
    return seconds_since(since, now) if since else 0.0


def available(pod: Document, minimum: float, now: datetime) -> bool:
    """Ready for at least `minimum` seconds (minReadySeconds)."""
    lasted = ready_for(pod, now)
    return lasted is not None and (minimum == 0 or lasted >= minimum)
