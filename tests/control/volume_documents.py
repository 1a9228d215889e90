"""Claims, volumes and classes as the API server would hold them."""

from typing import Any

from workloads import document

from mooring.control.reconciler import Document
from mooring.control.volume_matching import BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER
from mooring.model.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS
from mooring.testing.world import MemoryWorld

PVC_FINALIZER, PV_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
HOST = "kubernetes.io/hostname"


def storage_class(name: str, provisioner: str = PROVISIONER, mode: str = "WaitForFirstConsumer", **rest: Any) -> Document:
    return document(STORAGE_CLASS, name, provisioner=provisioner, volumeBindingMode=mode, reclaimPolicy="Delete", **rest)


STANDARD = storage_class("standard")
LOCAL = storage_class("local", "kubernetes.io/no-provisioner")


def claim(
    name: str,
    storage: str | None = "standard",
    size: str = "1Gi",
    modes: list[str] | None = None,
    bound: str = "",
    phase: str = "",
    metadata: Document | None = None,
    **spec: Any,
) -> Document:
    """`bound`: the volume it has been bound to."""
    body: Document = {
        "accessModes": modes or ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
        "volumeMode": "Filesystem",
        **({} if storage is None else {"storageClassName": storage}),
        **spec,
    }
    meta = {"finalizers": [PVC_FINALIZER], "uid": f"uid-{name}", **(metadata or {})}
    if bound:
        body["volumeName"] = bound
        meta["annotations"] = {BIND_COMPLETED: "yes", BOUND_BY_CONTROLLER: "yes"}
    status = {"phase": phase or ("Bound" if bound else "Pending")}
    return document(PERSISTENT_VOLUME_CLAIM, name, metadata=meta, spec=body, status=status)


def volume(
    name: str,
    node: str = "",
    claim: str = "",
    size: str = "1Gi",
    storage: str = "standard",
    phase: str = "",
    metadata: Document | None = None,
    **spec: Any,
) -> Document:
    """`node`: on which it is, '' for all. `claim`: the claim (of `claim()`'s uid) that it is bound to."""
    body: Document = {
        "accessModes": ["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"],
        "capacity": {"storage": size},
        "volumeMode": "Filesystem",
        "storageClassName": storage,
        "persistentVolumeReclaimPolicy": "Retain",
        "local": {"path": f"/srv/{name}"},
        **spec,
    }
    if node:
        rule = {"key": HOST, "operator": "In", "values": [node]}
        body["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}
    if claim:
        body["claimRef"] = {"namespace": "default", "name": claim, "uid": f"uid-{claim}"}
    meta = {"finalizers": [PV_FINALIZER], **(metadata or {})}
    status = {"phase": phase or ("Bound" if claim else "Available")}
    return document(PERSISTENT_VOLUME, name, metadata=meta, spec=body, status=status)


def using(*claims: str) -> Document:
    return {"volumes": [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]}


def node_of(world: MemoryWorld, name: str) -> str:
    held = world.get(POD, "default", name)
    assert held is not None
    return str(held["spec"].get("nodeName", ""))
