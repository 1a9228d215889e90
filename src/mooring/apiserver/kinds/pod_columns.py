"""What does a pod's row say? Above all STATUS, in one word for people (printPod in k8s.io/kubernetes/pkg/printers)."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import printing
from mooring.apiserver.kinds.plain import AGE, NAME
from mooring.apiserver.strategy import Column, Document

COLUMNS = (
    NAME,
    Column("Ready"),
    Column("Status"),
    Column("Restarts"),
    AGE,
    Column("IP", priority=1),
    Column("Node", priority=1),
    Column("Nominated Node", priority=1),
    Column("Readiness Gates", priority=1),
)

Status = dict[str, Any]


class _Summary(Struct):
    reason: str
    ready: int = 0
    restarts: int = 0
    last_restart: str = ""

    def count_restarts(self, container: Status) -> None:
        self.restarts += container.get("restartCount", 0)
        ended = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.last_restart = max(self.last_restart, ended)


def pod_cells(document: Document, env: Env) -> Sequence[Any]:
    spec, status = document.get("spec") or {}, document.get("status") or {}
    sidecars = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    summary = _summary(document, spec, status, sidecars)
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts += f" ({printing.since(summary.last_restart, env.now)} ago)"
    addresses = [item.get("ip", "") for item in status.get("podIPs") or ()] or [status.get("podIP", "")]
    return [
        document["metadata"].get("name", ""),
        f"{summary.ready}/{len(spec.get('containers') or ()) + len(sidecars)}",
        summary.reason,
        restarts,
        printing.age(document, env),
        addresses[0] or printing.NONE,
        spec.get("nodeName") or printing.NONE,
        status.get("nominatedNodeName") or printing.NONE,
        _gates(spec, status),
    ]


def _summary(document: Document, spec: Document, status: Status, sidecars: set[str]) -> _Summary:
    phase = status.get("phase", "")
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    summary = _Summary(status.get("reason") or phase)
    if conditions.get("PodScheduled", {}).get("reason") == "SchedulingGated":
        summary.reason = "SchedulingGated"
    before = _Summary("")
    initializing = _summarize_init(spec, status, sidecars, summary, before)
    if not initializing or conditions.get("Initialized", {}).get("status") == "True":
        summary.restarts, summary.last_restart = before.restarts, before.last_restart
        _summarize_containers(status, conditions.get("Ready", {}).get("status") == "True", summary)
    if document["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            summary.reason = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            summary.reason = "Terminating"
    return summary


def _summarize_init(spec: Document, status: Status, sidecars: set[str], summary: _Summary, of_sidecars: _Summary) -> bool:
    """Goes up to the first init container that is not done; True when there is one."""
    for place, container in enumerate(status.get("initContainerStatuses") or ()):
        summary.count_restarts(container)
        sidecar = container.get("name") in sidecars
        if sidecar:
            of_sidecars.count_restarts(container)
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if sidecar and container.get("started"):
            summary.ready += bool(container.get("ready"))
            continue
        if ended is not None:
            summary.reason = "Init:" + _ended_because(ended)
        elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
            summary.reason = "Init:" + waiting["reason"]
        else:
            summary.reason = f"Init:{place}/{len(spec.get('initContainers') or ())}"
        return True
    return False


def _summarize_containers(status: Status, pod_ready: bool, summary: _Summary) -> None:
    running = False
    for container in reversed(status.get("containerStatuses") or ()):
        summary.count_restarts(container)
        state = container.get("state") or {}
        if reason := (state.get("waiting") or {}).get("reason"):
            summary.reason = reason
        elif (ended := state.get("terminated")) is not None:
            summary.reason = _ended_because(ended)
        elif container.get("ready") and state.get("running") is not None:
            running = True
            summary.ready += 1
    if summary.reason == "Completed" and running:
        summary.reason = "Running" if pod_ready else "NotReady"


def _ended_because(ended: Status) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _gates(spec: Document, status: Status) -> str:
    gates = [gate.get("conditionType") for gate in spec.get("readinessGates") or ()]
    if not gates:
        return printing.NONE
    passed = [c for c in status.get("conditions") or () if c.get("type") in gates and c.get("status") == "True"]
    return f"{len(passed)}/{len(gates)}"
