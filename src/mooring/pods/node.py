"""What does a node say of itself? The Node object, its conditions and its lease."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from mooring.model.node import ZONE_LABEL
from mooring.pods.status import moment

Document = dict[str, Any]
LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
"""leaseDurationSeconds; renewed every quarter of it."""


class HostFacts(Struct, frozen=True):
    """What the machine is. `cpus` whole, `memory` and `storage` in bytes."""

    cpus: int
    memory: int
    storage: int
    architecture: str
    kernel_version: str
    os_image: str
    machine_id: str
    boot_id: str


class NodeIdentity(Struct, frozen=True):
    """What the node is called and where it is. `addresses`: InternalIPs, the primary first."""

    name: str
    addresses: tuple[str, ...]
    zone: str = ""
    labels: Mapping[str, str] = {}
    kubelet_version: str = "v1.33.0"
    runtime_version: str = "mooring://0"
    kubelet_port: int = 10250
    max_pods: int = 110


def labels(identity: NodeIdentity, facts: HostFacts) -> dict[str, str]:
    found = {
        "beta.kubernetes.io/arch": facts.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": facts.architecture,
        "kubernetes.io/hostname": identity.name,
        "kubernetes.io/os": "linux",
    }
    if identity.zone:
        found |= {ZONE_LABEL: identity.zone}
    return found | dict(identity.labels)


def room(identity: NodeIdentity, facts: HostFacts) -> dict[str, str]:
    """All that pods may ask for."""
    return {
        "cpu": str(facts.cpus),
        "ephemeral-storage": str(facts.storage),
        "memory": f"{facts.memory // 1024}Ki",
        "pods": str(identity.max_pods),
    }


def node_status(
    identity: NodeIdentity,
    facts: HostFacts,
    images: list[tuple[str, str]],
    ready: tuple[bool, str],
    before: Document,
    now: datetime,
) -> Document:
    """The whole status. `images`: (name, id); `ready`: whether pods can run here, else why not; `before`: the status so far."""
    capacity = room(identity, facts)
    return {
        "addresses": [{"type": "InternalIP", "address": address} for address in identity.addresses]
        + [{"type": "Hostname", "address": identity.name}],
        "allocatable": capacity,
        "capacity": capacity,
        "conditions": _conditions(ready, before, now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": identity.kubelet_port}},
        "images": [{"names": [name, image_id], "sizeBytes": 0} for name, image_id in images],
        "nodeInfo": {
            "architecture": facts.architecture,
            "bootID": facts.boot_id,
            "containerRuntimeVersion": identity.runtime_version,
            "kernelVersion": facts.kernel_version,
            "kubeProxyVersion": "",
            "kubeletVersion": identity.kubelet_version,
            "machineID": facts.machine_id,
            "operatingSystem": "linux",
            "osImage": facts.os_image,
            "systemUUID": facts.machine_id,
        },
    }


def _conditions(ready: tuple[bool, str], before: Document, now: datetime) -> list[Document]:
    known = {condition.get("type"): condition for condition in before.get("conditions") or ()}
    can_run, why = ready
    wanted = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
        if can_run
        else ("Ready", "False", "KubeletNotReady", why),
    )
    stamp, found = moment(now), []
    for kind, value, reason, message in wanted:
        old = known.get(kind)
        since = (old.get("lastTransitionTime") if old and old.get("status") == value else None) or stamp
        found.append(
            {
                "type": kind,
                "status": value,
                "lastHeartbeatTime": stamp,
                "lastTransitionTime": since,
                "reason": reason,
                "message": message,
            }
        )
    return found


def differs(before: Document, after: Document) -> bool:
    """Whether more than heartbeats has changed."""

    def still(document: Document) -> Document:
        conditions = [{k: v for k, v in one.items() if k != "lastHeartbeatTime"} for one in document.get("conditions") or ()]
        return {**document, "conditions": conditions}

    return any(still(before).get(key) != value for key, value in still(after).items())


def lease(name: str, node_uid: str, now: datetime) -> Document:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": LEASE_NAMESPACE,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}],
        },
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }
