"""Documents as the API server would hold them, for the tests of the workload and cluster reconcilers."""

from datetime import datetime, timedelta
from typing import Any

from mooring.control.pod_state import active
from mooring.control.reconciler import Document
from mooring.control.times import stamp
from mooring.model.kinds import (
    DAEMON_SET,
    DEPLOYMENT,
    JOB,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    SERVICE,
    STATEFUL_SET,
    Kind,
)
from mooring.testing.world import EPOCH, MemoryWorld

LABELS = {"app": "web"}


def document(kind: Kind, name: str, namespace: str = "default", **rest: Any) -> Document:
    """`metadata` in `rest` is merged; cluster-scoped kinds lose the namespace."""
    metadata = {"name": name, **({"namespace": namespace} if kind.namespaced else {}), **rest.pop("metadata", {})}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **rest}


def template(image: str = "echo:1", labels: dict[str, str] = LABELS) -> Document:
    return {"metadata": {"labels": dict(labels)}, "spec": {"containers": [{"name": "main", "image": image}]}}


def deployment(name: str = "web", replicas: int = 3, image: str = "echo:1", **spec: Any) -> Document:
    body = {
        "replicas": replicas,
        "selector": {"matchLabels": dict(LABELS)},
        "template": template(image),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        **spec,
    }
    return document(DEPLOYMENT, name, spec=body)


def replica_set(name: str = "web", replicas: int = 3, **spec: Any) -> Document:
    body = {"replicas": replicas, "selector": {"matchLabels": dict(LABELS)}, "template": template(), **spec}
    return document(REPLICA_SET, name, spec=body)


def stateful_set(name: str = "web", replicas: int = 3, image: str = "echo:1", **spec: Any) -> Document:
    body = {
        "replicas": replicas,
        "serviceName": name,
        "selector": {"matchLabels": dict(LABELS)},
        "template": template(image),
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "revisionHistoryLimit": 10,
        **spec,
    }
    return document(STATEFUL_SET, name, spec=body)


def daemon_set(name: str = "web", image: str = "echo:1", **spec: Any) -> Document:
    body = {
        "selector": {"matchLabels": dict(LABELS)},
        "template": template(image),
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        "revisionHistoryLimit": 10,
        **spec,
    }
    return document(DAEMON_SET, name, spec=body)


def job(name: str = "sum", labels: dict[str, str] | None = None, **spec: Any) -> Document:
    """With the labels, the selector and the defaults that the server would give it."""
    own = labels or {"batch.kubernetes.io/controller-uid": f"uid-of-{name}"}
    made = template(labels=own)
    made["spec"]["restartPolicy"] = "Never"
    body = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
        "selector": {"matchLabels": own},
        "template": made,
        **spec,
    }
    return document(JOB, name, metadata={"uid": f"uid-of-{name}"}, spec={k: v for k, v in body.items() if v is not None})


def pod(name: str, *, node: str = "", phase: str = "Pending", ready: datetime | None = None, **rest: Any) -> Document:
    """`ready` since when, None for not ready."""
    status: Document = {"phase": phase}
    if ready:
        status["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": stamp(ready)}]
    spec: Document = {"containers": [{"name": "main", "image": "echo:1"}], **rest.pop("spec", {})}
    if node:
        spec["nodeName"] = node
    metadata = {"labels": dict(LABELS), **rest.pop("metadata", {})}
    return document(POD, name, metadata=metadata, spec=spec, status={**status, **rest.pop("status", {})}, **rest)


def node(name: str, ready: str = "True", **rest: Any) -> Document:
    conditions = [{"type": "Ready", "status": ready, "lastHeartbeatTime": stamp(EPOCH), "lastTransitionTime": stamp(EPOCH)}]
    status = {"conditions": conditions, **rest.pop("status", {})}
    return document(NODE, name, spec=rest.pop("spec", {}), status=status, **rest)


def namespace(name: str = "default", **rest: Any) -> Document:
    rest.setdefault("spec", {"finalizers": ["kubernetes"]})
    return document(NAMESPACE, name, status={"phase": "Active"}, **rest)


def service(name: str, cluster_ips: list[str] | None = None, **spec: Any) -> Document:
    addresses = {"clusterIP": cluster_ips[0], "clusterIPs": cluster_ips} if cluster_ips else {}
    return document(SERVICE, name, spec={"selector": dict(LABELS), "ports": [{"port": 80}], **addresses, **spec})


def change(world: MemoryWorld, kind: Kind, name: str, namespace: str = "default", **fields: Any) -> Document:
    """Replaces top-level fields of an object (spec and status are merged one level deep), as its owner would."""
    held = world.get(kind, "" if not kind.namespaced else namespace, name)
    assert held is not None
    merged = {**held, **{field: {**held.get(field, {}), **value} for field, value in fields.items()}}
    if held.get("spec") != merged.get("spec"):
        merged["metadata"] = {**merged["metadata"], "generation": held["metadata"].get("generation", 0) + 1}
    return world.add(merged)


def become_ready(world: MemoryWorld, held: Document, since: datetime | None = None, ready: bool = True) -> None:
    """As a kubelet would say it."""
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": stamp(since or world.now)}
    world.add({**held, "status": {**held.get("status", {}), "phase": "Running", "conditions": [condition]}})


def all_ready(world: MemoryWorld) -> None:
    for each in list(world.list(POD)):
        if active(each):
            become_ready(world, each)


def later(world: MemoryWorld, seconds: float) -> None:
    world.now += timedelta(seconds=seconds)


def applied(reconciler: Any, world: MemoryWorld, key: tuple[str, str]) -> Any:
    """Plans one key and carries the plan out; the plan."""
    plan = reconciler.plan(key, world)
    for write in plan.writes:
        world.write(write)
    return plan


def said(reports: Any) -> list[str]:
    """'Type Reason message' of each report."""
    return [f"{report.type} {report.reason} {report.message}" for report in reports]


def as_kubelet(world: MemoryWorld, ready: bool = True, node: str = "n") -> None:
    """Places what waits on one node, runs what is placed, and ends what is being deleted."""
    for each in list(world.list(POD)):
        metadata = each["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            world.remove(POD, metadata["namespace"], metadata["name"])
        elif active(each):
            placed = {**each, "spec": {**each["spec"], "nodeName": each["spec"].get("nodeName") or node}}
            condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": stamp(world.now)}
            held = (each.get("status") or {}).get("conditions") or []
            if not any(one["type"] == "Ready" and one["status"] == condition["status"] for one in held):
                world.add({**placed, "status": {"phase": "Running", "conditions": [condition]}})


def ended(world: MemoryWorld, name: str, phase: str, code: int = 0, container: str = "main") -> Document:
    """The Pod's only container has ended, now."""
    held = world.get(POD, "default", name)
    assert held is not None
    terminated = {"exitCode": code, "finishedAt": stamp(world.now)}
    status = {"phase": phase, "containerStatuses": [{"name": container, "state": {"terminated": terminated}}]}
    return world.add({**held, "spec": {**held["spec"], "nodeName": held["spec"].get("nodeName") or "n"}, "status": status})
