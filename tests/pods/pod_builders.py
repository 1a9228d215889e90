"""Pods and what was seen of them, in few words."""

from datetime import UTC, datetime, timedelta
from typing import Any

from mooring.model.pod import Pod, pod
from mooring.pods.observed import PodSeen, Run

T0 = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def container(name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", **fields}


def a_pod(
    *containers: dict[str, Any], meta: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **spec: Any
) -> Pod:
    base = {"name": "web", "namespace": "default", "uid": "u1", **(meta or {})}
    document = {"metadata": base, "spec": {"containers": list(containers) or [container()], **spec}, "status": status or {}}
    return pod(document)


def deleted(when: float = 0, grace: int = 30) -> dict[str, Any]:
    """metadata of a pod deleted at T0 + when."""
    return {"deletionTimestamp": at(when + grace), "deletionGracePeriodSeconds": grace}


def running(name: str = "main", attempt: int = 0, start: float = 1) -> Run:
    return Run(name, attempt, f"mooring://{name}{attempt}", "busybox", "busybox@sha256:0", at(start))


def ended(name: str = "main", code: int = 0, attempt: int = 0, start: float = 1, end: float = 5) -> Run:
    reason = "Completed" if code == 0 else "Error"
    return Run(name, attempt, f"mooring://{name}{attempt}", "busybox", "busybox@sha256:0", at(start), at(end), code, 0, reason)


def seen(*runs: Run, alive: bool = True, created: float = 0) -> PodSeen:
    """Runs of one container in order."""
    by_name: dict[str, tuple[Run, ...]] = {}
    for run in runs:
        by_name[run.container] = (*by_name.get(run.container, ()), run)
    return PodSeen("u1", "default", "web", alive, ("10.244.0.5",), at(created), by_name)
