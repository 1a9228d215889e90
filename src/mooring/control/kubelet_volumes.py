"""How do claims come to directories of a node, and what mounts where? The node's side of PersistentVolumes.

A claim that its controller has marked for the provisioner `mooring.dev/host-path` and for this node gets a directory here, and
a volume that names it; a volume of ours that is to go takes its directory with it: the files are gone before the object is.
Upstream: external-provisioner, run on each node (--node-deployment); for mounts pkg/kubelet/volumemanager.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from msgspec import Struct

from mooring.control.kubelet_watch import Follower
from mooring.control.reconciler import Report
from mooring.control.recorder import Recorder
from mooring.control.volume_matching import (
    PROVISIONED_BY,
    PROVISIONER,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
    annotations_of,
    asked_size,
    bound,
    class_of,
    reachable,
    reference_to,
)
from mooring.model.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS
from mooring.model.pod import Pod
from mooring.pods.sources import Missing
from mooring.ports.api import Api, ApiError, ApiUnavailable
from mooring.ports.pods import Directories, RuntimeFailure

Document = dict[str, Any]
log = structlog.get_logger("volumes")

FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
"""On our volumes: the files go before the object."""
IN_USE = "kubernetes.io/pv-protection"
HOSTNAME = "kubernetes.io/hostname"
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0


# What is to be done -----------------------------------------------------------------------------------------------------


def awaited(claim: Document, node: str) -> bool:
    """Whether the claim waits for a directory of this node."""
    said = annotations_of(claim)
    ours = said.get(STORAGE_PROVISIONER) == PROVISIONER and said.get(SELECTED_NODE) == node
    return ours and not claim["spec"].get("volumeName") and not claim["metadata"].get("deletionTimestamp")


def unfit(claim: Document) -> str:
    """Why no directory can be what the claim asks for."""
    spec = claim["spec"]
    if spec.get("selector"):
        return "claim Selector is not supported"
    if spec.get("dataSource") or spec.get("dataSourceRef"):
        return "claim DataSource is not supported"
    return "raw block volumes are not supported" if spec.get("volumeMode") == "Block" else ""


def volume_name(claim: Document) -> str:
    return f"pvc-{claim['metadata']['uid']}"


def provisioned(claim: Document, storage: Document, node: str, path: str) -> Document:
    """The volume for a claim: a directory that is on one node alone."""
    here = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [node]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name(claim),
            "annotations": {PROVISIONED_BY: PROVISIONER},
            "finalizers": [FINALIZER],
        },
        "spec": {
            "capacity": {"storage": asked_size(claim)},
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": storage.get("reclaimPolicy") or "Delete",
            "storageClassName": class_of(claim),
            "volumeMode": "Filesystem",
            "claimRef": reference_to(claim),
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [here]}},
        },
    }


def at_home(volume: Document, node: str) -> bool:
    """Whether the volume is one of our directories, on this node."""
    if annotations_of(volume).get(PROVISIONED_BY) != PROVISIONER or not volume["spec"].get("local"):
        return False
    terms = ((volume["spec"].get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    rules = [rule for term in terms for rule in term.get("matchExpressions") or ()]
    return [(rule.get("key"), rule.get("operator"), rule.get("values")) for rule in rules] == [(HOSTNAME, "In", [node])]


def reclaimed(volume: Document) -> bool:
    """Its claim has gone, and it is to go with it."""
    released = (volume.get("status") or {}).get("phase") == "Released"
    to_go = volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
    return released and to_go and not volume["metadata"].get("deletionTimestamp")


def ending(volume: Document) -> bool:
    """It is being deleted, and nobody uses it: only its files hold it."""
    finalizers = volume["metadata"].get("finalizers") or ()
    return bool(volume["metadata"].get("deletionTimestamp")) and FINALIZER in finalizers and IN_USE not in finalizers


# Doing it ---------------------------------------------------------------------------------------------------------------


class VolumeKeeper:
    """Makes and removes the directories of one node, one at a time."""

    def __init__(self, api: Api, node: str, directories: Directories, recorder: Recorder) -> None:
        self.api, self.node, self.directories, self.recorder = api, node, directories, recorder
        self.claims = Follower(api, PERSISTENT_VOLUME_CLAIM, self._claim_changed)
        self.volumes = Follower(api, PERSISTENT_VOLUME, self._volume_changed)
        self._due: dict[str, tuple[bool, Document]] = {}
        self._waits: dict[str, float] = {}
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.claims.run(), name="follow claims")
            tasks.create_task(self.volumes.run(), name="follow volumes")
            tasks.create_task(self.recorder.run(), name="events of volumes")
            while True:
                await self._news.wait()
                self._news.clear()
                while self._due:
                    uid, (is_claim, document) = self._due.popitem()
                    if not await self._try(is_claim, document):
                        wait = self._waits[uid] = min(self._waits.get(uid, _FIRST_WAIT / 2) * 2, _LONGEST_WAIT)
                        asyncio.get_running_loop().call_later(wait, self._again, uid, is_claim)
                    else:
                        self._waits.pop(uid, None)

    def _again(self, uid: str, is_claim: bool) -> None:
        held = (self.claims if is_claim else self.volumes).objects.get(uid)
        (self._claim_changed if is_claim else self._volume_changed)(uid, held)

    def _claim_changed(self, uid: str, claim: Document | None) -> None:
        if claim is not None and awaited(claim, self.node):
            self._due[uid] = True, claim
            self._news.set()
        elif claim is None:
            self._waits.pop(uid, None)

    def _volume_changed(self, uid: str, volume: Document | None) -> None:
        if volume is not None and at_home(volume, self.node) and (reclaimed(volume) or ending(volume)):
            self._due[uid] = False, volume
            self._news.set()
        elif volume is None:
            self._waits.pop(uid, None)

    async def _try(self, is_claim: bool, document: Document) -> bool:
        try:
            await (self._provision(document) if is_claim else self._remove(document))
        except ApiUnavailable as error:
            log.debug("api server unavailable", error=str(error))
            return False
        except (ApiError, RuntimeFailure) as error:
            if isinstance(error, ApiError) and error.reason in ("NotFound", "Conflict", "AlreadyExists"):
                return error.reason != "Conflict"
            self._tell_failure(is_claim, document, str(error))
            return False
        except Exception:
            # A defect about one object; it must not take the node down.
            log.exception("volume", name=document["metadata"]["name"])
            return False
        return True

    def _tell_failure(self, is_claim: bool, document: Document, why: str) -> None:
        reason, words = "VolumeFailedDelete", why
        if is_claim:
            reason, words = "ProvisioningFailed", f'failed to provision volume with StorageClass "{class_of(document)}": {why}'
        log.warning("volume", reason=reason, name=document["metadata"]["name"], error=why)
        self.recorder.record(Report(document, "Warning", reason, words))

    async def _provision(self, claim: Document) -> None:
        if why := unfit(claim):
            raise RuntimeFailure("ProvisioningFailed", why)
        metadata, name = claim["metadata"], volume_name(claim)
        words = f'External provisioner is provisioning volume for claim "{metadata["namespace"]}/{metadata["name"]}"'
        self.recorder.record(Report(claim, "Normal", "Provisioning", words))
        try:
            storage = await self.api.get(STORAGE_CLASS, "", class_of(claim))
        except ApiError as error:
            raise RuntimeFailure("ProvisioningFailed", error.message) from error
        path = await self.directories.make(name)
        await self.api.write("create", PERSISTENT_VOLUME, "", name, provisioned(claim, storage, self.node, path))
        self.recorder.record(Report(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}"))

    async def _remove(self, volume: Document) -> None:
        """First the deletion of the object, which its finalizer holds up; then the files; then the finalizer."""
        metadata = volume["metadata"]
        name, uid = metadata["name"], metadata["uid"]
        if not metadata.get("deletionTimestamp"):
            options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
            await self.api.write("delete", PERSISTENT_VOLUME, "", name, options)
            return
        if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            await self.directories.remove(name, volume["spec"]["local"]["path"])
        left = [one for one in metadata["finalizers"] if one != FINALIZER]
        patch = {"metadata": {"uid": uid, "resourceVersion": metadata["resourceVersion"], "finalizers": left or None}}
        await self.api.write("patch", PERSISTENT_VOLUME, "", name, patch)


# Mounts -----------------------------------------------------------------------------------------------------------------


class Host(Struct, frozen=True):
    """The node, as far as volumes ask: its name and labels."""

    name: str
    labels: Mapping[str, str]


async def volumes_of(api: Api, pod: Pod, host: Host) -> dict[str, Document]:
    """By the pod's own name of the volume: the PersistentVolume that its claim is bound to. Raises Missing, ApiUnavailable."""
    found: dict[str, Document] = {}
    for volume in pod.spec.volumes or ():
        if source := volume.get("persistentVolumeClaim"):
            name = source.get("claimName", "")
            try:
                found[volume["name"]] = await _volume_of(api, pod.metadata.namespace, name, host)
            except Missing as error:
                where = (
                    f"unmounted volumes=[{volume['name']}], unattached volumes=[], failed to process volumes=[{volume['name']}]"
                )
                why = f"error processing PVC {pod.metadata.namespace}/{name}: {error}"
                raise Missing(f"Unable to attach or mount volumes: {where}: {why}") from error
    return found


async def _volume_of(api: Api, namespace: str, name: str, host: Host) -> Document:
    try:
        claim = await api.get(PERSISTENT_VOLUME_CLAIM, namespace, name)
    except ApiError as error:
        raise Missing(f"failed to fetch PVC from API server: {error.message}") from error
    if claim["metadata"].get("deletionTimestamp"):
        raise Missing("PVC is being deleted")
    if not bound(claim) or (claim.get("status") or {}).get("phase") != "Bound":
        raise Missing("PVC is not bound")
    try:
        volume = await api.get(PERSISTENT_VOLUME, "", claim["spec"]["volumeName"])
    except ApiError as error:
        raise Missing(f"failed to fetch PV {claim['spec']['volumeName']} from API server: {error.message}") from error
    if (volume["spec"].get("claimRef") or {}).get("uid") != claim["metadata"]["uid"]:
        raise Missing(f"PV {volume['metadata']['name']} is not bound to the PVC")
    if not reachable(volume, {"metadata": {"name": host.name, "labels": dict(host.labels)}}):
        raise Missing(f'MountVolume.NodeAffinity check failed for volume "{volume["metadata"]["name"]}"')
    return volume
