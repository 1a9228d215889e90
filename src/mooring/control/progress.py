"""Is a Deployment available, is it getting on, is it done? Its counts and conditions.

Upstream: pkg/controller/deployment/progress.go and calculateStatus in sync.go; reasons and messages are theirs, since
`kubectl rollout status` and people read them.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from mooring.control.conditions import condition, find, with_condition, without_condition
from mooring.control.reconciler import Document
from mooring.control.rollout import Budget
from mooring.control.times import seconds_since, stamp

NO_DEADLINE = 2**31 - 1
COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")


def deadline(deployment: Document) -> int | None:
    """progressDeadlineSeconds, None when there is none."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds in (None, NO_DEADLINE) else int(seconds)


def counts(sets: Sequence[Document], new: Document | None) -> dict[str, int]:
    """The numbers of the status, zeros included, from the ReplicaSets as they are to be."""

    def total(field: str) -> int:
        return sum((each.get("status") or {}).get(field, 0) for each in sets)

    available = total("availableReplicas")
    wished = sum(each["spec"].get("replicas", 1) for each in sets)
    updated = (new.get("status") or {}).get("replicas", 0) if new else 0
    numbers = (total("replicas"), updated, total("readyReplicas"), available, max(0, wished - available))
    return dict(zip(COUNTS, numbers, strict=True))


def complete(deployment: Document, numbers: dict[str, int]) -> bool:
    """All Pods there are, are of the new template, wanted, and available."""
    wished = int(deployment["spec"].get("replicas", 1))
    return numbers["updatedReplicas"] == numbers["replicas"] == numbers["availableReplicas"] == wished


def paused_or_resumed(deployment: Document, conditions: list[Document], now: datetime) -> list[Document]:
    """Marks the pause, so that time spent paused never counts as lack of progress."""
    held = find(conditions, "Progressing")
    paused, reason = bool(deployment["spec"].get("paused")), held["reason"] if held else ""
    if deadline(deployment) is None or reason == "ProgressDeadlineExceeded" or paused == (reason == "DeploymentPaused"):
        return conditions
    word = "paused" if paused else "resumed"
    return _set(conditions, "Progressing", "Unknown", f"Deployment{word.title()}", f"Deployment is {word}", now)


def begun(
    deployment: Document, conditions: list[Document], name: str, created: bool, error: str, now: datetime
) -> list[Document]:
    """Marks that the new ReplicaSet was created, found, or (`error` not '') refused by the API server."""
    if deadline(deployment) is None:
        return conditions
    if error:
        message = f'Failed to create new replica set "{name}": {error}'
        return _set(conditions, "Progressing", "False", "ReplicaSetCreateError", message, now)
    if created:
        message = f'Created new replica set "{name}"'
        return _set(conditions, "Progressing", "True", "NewReplicaSetCreated", message, now)
    if find(conditions, "Progressing") is None:
        return _set(conditions, "Progressing", "True", "FoundNewReplicaSet", f'Found new replica set "{name}"', now)
    return conditions


def advanced(
    deployment: Document, conditions: list[Document], numbers: dict[str, int], new: str, now: datetime
) -> list[Document]:
    """Progressing after this look at the rollout: complete, going on, or out of time. `new` names the new ReplicaSet."""
    limit = deadline(deployment)
    if limit is None:
        return without_condition(conditions, "Progressing")
    held = find(conditions, "Progressing")
    reason = held["reason"] if held else ""
    settled = reason == "NewReplicaSetAvailable"
    if settled and numbers["replicas"] == numbers["updatedReplicas"]:
        return conditions  # a change of size after the rollout is not a new one
    what = f'ReplicaSet "{new}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
    if complete(deployment, numbers):
        message = f"{what} has successfully progressed."
        return _set(conditions, "Progressing", "True", "NewReplicaSetAvailable", message, now)
    if _going_on(deployment.get("status") or {}, numbers):
        message = f"{what} is progressing."
        return _set(conditions, "Progressing", "True", "ReplicaSetUpdated", message, now, always=True)
    if held and not settled and reason != "ProgressDeadlineExceeded" and seconds_since(held["lastUpdateTime"], now) > limit:
        message = f"{what} has timed out progressing."
        return _set(conditions, "Progressing", "False", "ProgressDeadlineExceeded", message, now)
    return conditions


def _going_on(before: dict[str, int], numbers: dict[str, int]) -> bool:
    """More new Pods, fewer old ones, or more ready or available ones than the status last said."""
    old = {name: before.get(name, 0) for name in COUNTS}
    return (
        numbers["updatedReplicas"] > old["updatedReplicas"]
        or numbers["replicas"] - numbers["updatedReplicas"] < old["replicas"] - old["updatedReplicas"]
        or numbers["readyReplicas"] > old["readyReplicas"]
        or numbers["availableReplicas"] > old["availableReplicas"]
    )


def availability(conditions: list[Document], numbers: dict[str, int], limits: Budget, now: datetime) -> list[Document]:
    if numbers["availableReplicas"] >= limits.fewest:
        message = "Deployment has minimum availability."
        return _set(conditions, "Available", "True", "MinimumReplicasAvailable", message, now)
    message = "Deployment does not have minimum availability."
    return _set(conditions, "Available", "False", "MinimumReplicasUnavailable", message, now)


def failures(conditions: list[Document], sets: Iterable[Document], now: datetime) -> list[Document]:
    """The ReplicaFailure of a ReplicaSet (the first of `sets` that has one) is the Deployment's."""
    failure = next(filter(None, (condition(each, "ReplicaFailure") for each in sets)), None)
    if failure is None:
        return without_condition(conditions, "ReplicaFailure")
    return _set(conditions, "ReplicaFailure", failure["status"], failure["reason"], failure["message"], now)


def again_after(deployment: Document, conditions: list[Document], numbers: dict[str, int], now: datetime) -> float | None:
    """When the deadline will have passed, if nothing happens until then; a second later, against rounding."""
    held, limit = find(conditions, "Progressing"), deadline(deployment)
    over = held is None or held["reason"] in ("ProgressDeadlineExceeded", "NewReplicaSetAvailable", "DeploymentPaused")
    if held is None or limit is None or over or complete(deployment, numbers):
        return None
    return max(1.0, limit - seconds_since(held["lastUpdateTime"], now) + 1)


def _set(
    conditions: list[Document], type: str, status: str, reason: str, message: str, now: datetime, always: bool = False
) -> list[Document]:
    """A condition that says the same already stays as it is, times and message, unless `always`."""
    held = find(conditions, type)
    if held and not always and (held["status"], held["reason"]) == (status, reason):
        return conditions
    wanted = {"type": type, "status": status, "reason": reason, "message": message, "lastUpdateTime": stamp(now)}
    return with_condition(conditions, wanted, now)
