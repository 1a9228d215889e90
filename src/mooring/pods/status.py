"""Which status does a pod show? Phase, conditions and container statuses, as the kubelet writes them (kubelet_pods.go)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from mooring.model.pod import Container, Pod
from mooring.pods.observed import PodSeen, Run
from mooring.pods.probing import Health
from mooring.pods.qos import qos_class
from mooring.pods.resizing import shown
from mooring.pods.restart import restarts

Document = dict[str, Any]
Marks = tuple[tuple[str, ...], Document]
"""The node's addresses, and the status as last written: it keeps what does not change (startTime, transition times)."""
OWNED = (
    "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled", "PodResizePending",
    "PodResizeInProgress",
)  # fmt: skip
"""The condition types that the kubelet writes; all others belong to others."""


class Waiting(Struct, frozen=True):
    reason: str
    message: str = ""


class Ending(Struct, frozen=True):
    """The pod stops as a whole: why, and with how many seconds of grace. `failed`: whatever the exit codes say."""

    reason: str
    message: str
    grace: float
    failed: bool = False


def moment(when: datetime) -> str:
    """metav1.Time: whole seconds, UTC."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def status(
    pod: Pod,
    seen: PodSeen | None,
    health: Mapping[str, Health],
    waiting: Mapping[str, Waiting],
    marks: Marks,
    ending: Ending | None,
    now: datetime,
) -> Document:
    """The whole status but for conditions that others own."""
    node_ips, before = marks
    if before.get("phase") in ("Succeeded", "Failed") and not (seen and seen.runs):
        return before  # It ended, and nothing is left of it here to say more.
    inits = [_container(pod, one, seen, health, waiting, init=True) for one in pod.spec.init_containers or ()]
    mains = [_container(pod, one, seen, health, waiting, init=False) for one in pod.spec.containers]
    phase = _phase(pod, seen, inits, mains, ending, before)
    document: Document = {"phase": phase, "observedGeneration": pod.metadata.generation or 1}
    for key in ("reason", "message"):
        value = getattr(ending, key, "") or ""
        if value:
            document[key] = value
    document["startTime"] = before.get("startTime") or moment(now)
    if node_ips:
        document |= {"hostIP": node_ips[0], "hostIPs": [{"ip": ip} for ip in node_ips]}
    if ips := (seen.ips if seen and seen.ips else tuple(entry["ip"] for entry in before.get("podIPs") or ())):
        document |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    document["qosClass"] = before.get("qosClass") or qos_class(pod)
    document["conditions"] = _conditions(pod, seen, phase, inits, mains, before, now)
    document["containerStatuses"] = mains
    if inits:
        document["initContainerStatuses"] = inits
    if ephemeral := [_told(pod, one, seen, waiting) for one in pod.ephemeral_containers]:
        document["ephemeralContainerStatuses"] = ephemeral
    return document


# Containers


def _container(
    pod: Pod,
    container: Container,
    seen: PodSeen | None,
    health: Mapping[str, Health],
    waiting: Mapping[str, Waiting],
    *,
    init: bool,
) -> Document:
    document, run = _told(pod, container, seen, waiting), seen.latest(container.name) if seen else None
    mine, running = health.get(container.name, Health()), "running" in document["state"]
    if init and not container.sidecar:
        document["ready"] = run is not None and not run.running and run.exit_code == 0
        document["started"] = running
    else:
        document["ready"] = running and mine.ready
        document["started"] = running and mine.started
    return document | (shown(container, run) if run else {})


def _told(pod: Pod, container: Container, seen: PodSeen | None, waiting: Mapping[str, Waiting]) -> Document:
    """What is told of every container; `ready` stays false of those that nobody asks, ephemeral ones."""
    run = seen.latest(container.name) if seen else None
    previous = seen.previous(container.name) if seen else None
    shows_waiting = waiting.get(container.name)
    document: Document = {"name": container.name, "image": container.image, "imageID": run.image_id if run else ""}
    document["restartCount"] = run.attempt if run else 0
    document["lastState"] = {}
    if run is None:
        state: Document = {"waiting": _waiting(shows_waiting or _not_yet(pod, seen))}
    elif run.running:
        state = {"running": {"startedAt": moment(run.started_at)}}
    elif shows_waiting:
        state = {"waiting": _waiting(shows_waiting)}
    else:
        state = {"terminated": terminated(run)}
    last = run if shows_waiting and run and not run.running else previous
    if last:
        document["lastState"] = {"terminated": terminated(last)}
    document |= {"state": state, "ready": False}
    if run:
        document["containerID"] = run.id
    return document


def _not_yet(pod: Pod, seen: PodSeen | None) -> Waiting:
    return Waiting("PodInitializing" if pod.spec.init_containers else "ContainerCreating")


def _waiting(waiting: Waiting) -> Document:
    return {"reason": waiting.reason, **({"message": waiting.message} if waiting.message else {})}


def terminated(run: Run) -> Document:
    document: Document = {
        "exitCode": run.exit_code,
        "reason": run.reason,
        "startedAt": moment(run.started_at),
        "finishedAt": moment(run.finished_at or run.started_at),
        "containerID": run.id,
    }
    if run.signal:
        document["signal"] = run.signal
    if run.message:
        document["message"] = run.message
    return document


# Phase


def ended_phase(pod: Pod, seen: PodSeen | None) -> str:
    """Of a pod that was stopped: Succeeded when every container ended with 0."""
    runs = [seen.latest(container.name) if seen else None for container in pod.spec.containers]
    return "Succeeded" if all(run is not None and not run.running and run.exit_code == 0 for run in runs) else "Failed"


def _phase(
    pod: Pod, seen: PodSeen | None, inits: list[Document], mains: list[Document], ending: Ending | None, before: Document
) -> str:
    """getPhase of pkg/kubelet/kubelet_pods.go. A phase that has ended does not change again."""
    if before.get("phase") in ("Succeeded", "Failed"):
        return str(before["phase"])
    if ending and ending.failed:
        return "Failed"
    if ending and not (seen and any(seen.running)):
        return ended_phase(pod, seen)
    initialized, init_failed = _initialization(pod, seen, inits)
    if init_failed:
        return "Failed"
    states = [document["state"] for document in mains]
    waits = [document for document in mains if "waiting" in document["state"]]
    has_run = any("waiting" not in state for state in states) or any(document["lastState"] for document in mains)
    if not (initialized or has_run) or any(not document["lastState"] for document in waits):
        return "Pending"
    if waits or any("running" in document["state"] for document in (*mains, *inits)):
        return "Running"  # What waits here has run, and starts again.
    runs = [seen.latest(container.name) if seen else None for container in pod.spec.containers]
    if pod.spec.restart_policy == "Always" or any(
        run is not None and restarts(pod, container, run, init=False)
        for container, run in zip(pod.spec.containers, runs, strict=True)
    ):
        return "Running"
    return "Succeeded" if all(run is not None and run.exit_code == 0 for run in runs) else "Failed"


def _initialization(pod: Pod, seen: PodSeen | None, inits: list[Document]) -> tuple[bool, bool]:
    """Whether all init containers have done their part, and whether one has failed for good."""
    done, failed = True, False
    for container, document in zip(pod.spec.init_containers or (), inits, strict=True):
        run = seen.latest(container.name) if seen else None
        done = done and (document["started"] if container.sidecar else document["ready"])
        if run is not None and not run.running and run.exit_code != 0 and not restarts(pod, container, run, init=True):
            failed = True
    return done, failed


# Conditions


def _conditions(
    pod: Pod, seen: PodSeen | None, phase: str, inits: list[Document], mains: list[Document], before: Document, now: datetime
) -> list[Document]:
    """In upstream's order. A transition time changes only with the status."""
    past = any("running" in one["state"] or "terminated" in one["state"] or one["lastState"] for one in mains)
    undone = [
        document["name"]
        for container, document in zip(pod.spec.init_containers or (), inits, strict=True)
        if not (document["started"] if container.sidecar else document["ready"])
    ]
    unready = [document["name"] for document in mains if not document["ready"]]
    unready += [
        document["name"]
        for container, document in zip(pod.spec.init_containers or (), inits, strict=True)
        if container.sidecar and not document["ready"]
    ]
    wanted: dict[str, tuple[bool, str, str]] = {"PodReadyToStartContainers": (bool(seen and seen.alive), "", "")}
    if phase == "Succeeded":
        wanted["Initialized"] = (True, "PodCompleted", "")
        completed = (False, "PodCompleted", "")
        wanted |= {"Ready": completed, "ContainersReady": completed}
    else:
        text = f"containers with incomplete status: [{' '.join(undone)}]"
        wanted["Initialized"] = (True, "", "") if past or not undone else (False, "ContainersNotInitialized", text)
        if phase == "Failed":
            ready = (False, "PodFailed", "")
        elif unready:
            ready = (False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
        else:
            ready = (True, "", "")
        wanted |= {"Ready": _gated(pod, ready), "ContainersReady": ready}
    wanted["PodScheduled"] = (True, "", "")
    return [condition(kind, *wanted[kind], pod, before, now) for kind in wanted]


def _gated(pod: Pod, ready: tuple[bool, str, str]) -> tuple[bool, str, str]:
    """Readiness gates are conditions that others write (KEP-580)."""
    if not ready[0]:
        return ready
    given = {condition.get("type"): condition.get("status") for condition in pod.status.get("conditions") or ()}
    texts = []
    for gate in pod.spec.readiness_gates or ():
        if gate.condition_type not in given:
            texts.append(f'corresponding condition of pod readiness gate "{gate.condition_type}" does not exist.')
        elif given[gate.condition_type] != "True":
            texts.append(
                f'the status of pod readiness gate "{gate.condition_type}" is not "True", but {given[gate.condition_type]}'
            )
    return (False, "ReadinessGatesNotReady", ", ".join(texts)) if texts else ready


def condition(kind: str, true: bool, reason: str, message: str, pod: Pod, before: Document, now: datetime) -> Document:
    known = {
        condition.get("type"): condition
        for condition in (*(pod.status.get("conditions") or ()), *(before.get("conditions") or ()))
    }
    value = "True" if true else "False"
    old = known.get(kind)
    since = old["lastTransitionTime"] if old and old.get("status") == value and old.get("lastTransitionTime") else moment(now)
    document: Document = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": since}
    if reason:
        document["reason"] = reason
    if message:
        document["message"] = message
    return document
