"""Which statuses of a Job are refused? (validateJobStatus and ValidateJobStatusUpdate in pkg/apis/batch/validation)

A Job that has ended stays ended, and what has been counted is not taken back: other controllers build on it.
"""

from collections.abc import Iterable
from typing import Any

from mooring.apiserver.kinds.problems import duplicate, invalid, required
from mooring.apiserver.kinds.workloads import NOT_NEGATIVE
from mooring.apiserver.strategy import Document, FieldError

_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
_EXCLUSIVE = (
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
    ("SuccessCriteriaMet", "Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
    ("SuccessCriteriaMet", "FailureTarget", "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
)


def holds(conditions: Iterable[Document], type: str) -> bool:
    return any((each.get("type"), each.get("status")) == (type, "True") for each in conditions)


def check_status(document: Document, old: Document) -> list[FieldError]:
    status, before = document.get("status") or {}, old.get("status") or {}
    found = [invalid(f"status.{name}", status[name], NOT_NEGATIVE) for name in _COUNTS if status.get(name, 0) < 0]
    found += _check_uncounted(status)
    now, had = _true(status), _true(before)
    found += [_conditions(words) for one, other, words in _EXCLUSIVE if {one, other} <= now]
    for type in ("Failed", "Complete", "FailureTarget"):
        if type in had - now:
            found.append(_conditions(f"cannot disable the terminal {type}=True condition"))
    if "SuccessCriteriaMet" in had - now:
        found.append(_conditions("cannot disable the SuccessCriteriaMet=True condition"))
    found += _check_counters(document, status, before)
    ended = {"Complete", "Failed"}
    if now & ended and not had & ended:
        found += _check_end(status, "Complete" in now)
    return found


def _true(status: Document) -> set[str]:
    return {each.get("type", "") for each in status.get("conditions") or () if each.get("status") == "True"}


def _conditions(words: str) -> FieldError:
    return FieldError("FieldValueInvalid", "status.conditions", f"Invalid value: {words}")


def _check_uncounted(status: Document) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for name in ("succeeded", "failed"):
        for place, uid in enumerate((status.get("uncountedTerminatedPods") or {}).get(name) or ()):
            field = f"status.uncountedTerminatedPods.{name}[{place}]"
            if not uid:
                found.append(invalid(field, uid, "must not be empty"))
            elif uid in seen:
                found.append(duplicate(field, uid))
            seen.add(uid)
    return found


def _check_counters(document: Document, status: Document, before: Document) -> list[FieldError]:
    spec, found = document.get("spec") or {}, list[FieldError]()
    elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    for name in ("failed",) if elastic else ("failed", "succeeded"):
        if status.get(name, 0) < before.get(name, 0):
            found.append(invalid(f"status.{name}", status.get(name, 0), f"cannot decrease the {name} counter"))
    ended: Any = status.get("completionTime")
    if ended and before.get("completionTime") and ended != before["completionTime"]:
        found.append(invalid("status.completionTime", ended, "completionTime cannot be mutated"))
    return found


def _check_end(status: Document, complete: bool) -> list[FieldError]:
    """Of a Job that ends now."""
    found: list[FieldError] = []
    if status.get("active", 0) > 0:
        found.append(invalid("status.active", status["active"], "active>0 is invalid for finished job"))
    if not status.get("startTime"):
        found.append(required("status.startTime", "startTime is required for finished job"))
    waiting = status.get("uncountedTerminatedPods") or {}
    if waiting.get("succeeded") or waiting.get("failed"):
        words = "uncountedTerminatedPods needs to be empty for finished job"
        found.append(invalid("status.uncountedTerminatedPods", waiting, words))
    if complete and not status.get("completionTime"):
        found.append(required("status.completionTime", "completionTime is required for Complete jobs"))
    return found
