"""What does a failed Pod mean to its Job, and how long does the next one wait?

Upstream: pod_failure_policy.go, success_policy.go and backoff_utils.go of pkg/controller/job. Their back-off is kept in memory;
here it follows from the Pods that are there.
"""

from collections.abc import Iterable

from msgspec import Struct

from mooring.control.job_indexes import Indexes, parse
from mooring.control.reconciler import Document

BACK_OFF = 10.0
LONGEST_BACK_OFF = 600.0
"""Seconds (upstream: ten minutes)."""


class Verdict(Struct, frozen=True):
    """`action` of the first rule that fits, '' for none; `message` says why the whole Job fails, '' when it does not."""

    counts: bool = True
    action: str = ""
    message: str = ""


def verdict(job: Document, pod: Document) -> Verdict:
    """What spec.podFailurePolicy makes of a failed Pod."""
    for place, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        why = _fits(rule, pod)
        if why:
            action = rule.get("action", "")
            message = f"{why} matching {action} rule at index {place}" if action == "FailJob" else ""
            return Verdict(action != "Ignore", action, message)
    return Verdict()


def _fits(rule: Document, pod: Document) -> str:
    """Why the rule fits, '' when it does not."""
    pod_name = f"{pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"
    status = pod.get("status") or {}
    wanted = rule.get("onExitCodes")
    if wanted is not None:
        for each in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
            name, code = each.get("name", ""), ((each.get("state") or {}).get("terminated") or {}).get("exitCode", 0)
            if code and wanted.get("containerName", name) == name and _meant(code, wanted):
                return f"Container {name} for pod {pod_name} failed with exit code {code}"
        return ""
    patterns = rule.get("onPodConditions") or ()
    for held in status.get("conditions") or ():
        if any((held.get("type"), held.get("status")) == (each.get("type"), each.get("status", "True")) for each in patterns):
            return f"Pod {pod_name} has condition {held['type']}"
    return ""


def _meant(code: int, wanted: Document) -> bool:
    values = wanted.get("values") or ()
    return {"In": code in values, "NotIn": code not in values}.get(wanted.get("operator", ""), False)


def success(job: Document, succeeded: Indexes) -> str:
    """Which rule of spec.successPolicy is met, in upstream's words; '' for none."""
    end = int(job["spec"].get("completions") or 0)
    for place, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        listed = parse(rule["succeededIndexes"], end) if rule.get("succeededIndexes") else None
        got = succeeded.total if listed is None else succeeded.common(listed)
        needed = rule.get("succeededCount", 0 if listed is None else listed.total)
        if (listed is not None or needed) and got >= needed:
            return f"Matched rules at index {place}"
    return ""


def back_off(failures: int, since_last: float) -> float:
    """Seconds still to wait after so many failures in a row: 10, 20, 40 ... 600 after the last of them."""
    if not failures:
        return 0.0
    return max(0.0, min(LONGEST_BACK_OFF, BACK_OFF * 2.0 ** min(failures - 1, 10)) - since_last)


def restarts(pods: Iterable[Document]) -> int:
    """Restarts of containers in Pods that have not ended; the back-off limit of Jobs that restart in place."""
    total = 0
    for pod in pods:
        status = pod.get("status") or {}
        if status.get("phase") in ("Running", "Pending"):
            every = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
            total += sum(each.get("restartCount", 0) for each in every)
    return total
