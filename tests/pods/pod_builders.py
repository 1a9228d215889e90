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


def debugged(*targets: str, **spec: Any) -> Pod:
    """A pod with ephemeral containers, debug-0 and so on; a target of '' is none."""
    added = [container(f"debug-{place}", targetContainerName=target) for place, target in enumerate(targets)]
    return a_pod(ephemeralContainers=added, **spec)


def deleted(when: float = 0, grace: int = 30) -> dict[str, Any]:
    """metadata of a pod deleted at T0 + when."""
    return {"deletionTimestamp": at(when + grace), "deletionGracePeriodSeconds": grace}


def running(name: str = "main", attempt: int = 0, start: float = 1, **more: Any) -> Run:
    return Run(name, attempt, f"mooring://{name}{attempt}", "busybox", "busybox@sha256:0", at(start), **more)


def ended(name: str = "main", code: int = 0, attempt: int = 0, start: float = 1, end: float = 5, **more: Any) -> Run:
    reason = "Completed" if code == 0 else "Error"
    marks = f"mooring://{name}{attempt}", "busybox", "busybox@sha256:0"
    return Run(name, attempt, *marks, at(start), at(end), code, 0, reason, **more)


def sized(cpu: str, memory: str = "1Gi", **fields: Any) -> dict[str, Any]:
    """A container that asks for no more than it may have."""
    return container(resources={"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}, **fields)


def given(cpu: str, memory: str = "1Gi") -> dict[str, Any]:
    """What a run has that was started as `sized` says, where the kernel holds the limit of memory."""
    return {"resources": a_pod(sized(cpu, memory)).spec.containers[0].resources, "held": ("memory",)}


def seen(*runs: Run, alive: bool = True, created: float = 0) -> PodSeen:
    """Runs of one container in order."""
    by_name: dict[str, tuple[Run, ...]] = {}
    for run in runs:
        by_name[run.container] = (*by_name.get(run.container, ()), run)
    return PodSeen("u1", "default", "web", alive, ("10.244.0.5",), at(created), by_name)
