"""Which claim has which volume? Binding, phases, and finalizers that keep what is in use.

Upstream: pkg/controller/volume/persistentvolume (pv_controller.go), pvc_protection and pv_protection. Keys with a namespace are
claims, those without are volumes. Serial, since no volume may be given to two claims. A claim whose class waits for its first
consumer is left alone until the scheduler has chosen a node. Volumes are made and removed by the nodes
(control/kubelet_volumes.py), whom an annotation on the claim asks; here they are only asked for.
"""

from collections.abc import Iterable

from msgspec import Struct

from mooring.control.amend import amend, verify_absent, verify_unchanged
from mooring.control.conditions import true
from mooring.control.pod_state import node_of
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Report, World
from mooring.control.volume_matching import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    DEFAULT_CLASS,
    NO_PROVISIONER,
    PROVISIONED_BY,
    PROVISIONER,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
    annotations_of,
    best_match,
    claimed_by,
    class_of,
    mismatch,
    provisionable,
    refers_to,
    storage_class,
    waits,
)
from mooring.model.kinds import NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS

CLAIM_FINALIZER, VOLUME_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
RETRY = 15.0
"""Seconds until a claim that found nothing is looked at again, without any change."""
NO_CLASS = "no persistent volumes available for this claim and no storage class is set"
NO_DELETER = 'error getting deleter volume plugin for volume "{}": no deletable volume plugin matched'
EXTERNAL = (
    "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system administrator. "
    "If volume creation is delayed, please verify that the provisioner is running and correctly registered."
)


class PersistentVolumes:
    name = "persistentvolume-binder"
    watches = (PERSISTENT_VOLUME_CLAIM, PERSISTENT_VOLUME, STORAGE_CLASS, POD, NODE)
    serial = True

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        versions = [each for each in (change.before, change.after) if each]
        if change.kind == PERSISTENT_VOLUME_CLAIM:
            return {key for each in versions for key in _about_claim(each, world)}
        if change.kind == PERSISTENT_VOLUME:
            return {key for each in versions for key in _about_volume(each, world)}
        if change.kind == STORAGE_CLASS or (change.kind == NODE and len(versions) == 1):
            return {_key(each) for each in world.indexed(PERSISTENT_VOLUME_CLAIM, "volume", "")}
        if change.kind == POD and (len(versions) == 1 or node_of(versions[0]) != node_of(versions[1])):
            return {key for each in versions for key in _claims(each)}
        return ()

    def plan(self, key: Key, world: World) -> Plan:
        if key[0]:
            claim = world.get(PERSISTENT_VOLUME_CLAIM, *key)
            return NOTHING if claim is None else _plan_claim(claim, world)
        volume = world.get(PERSISTENT_VOLUME, *key)
        return NOTHING if volume is None else _plan_volume(volume, world)


def _key(document: Document) -> Key:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]


def _claims(pod: Document) -> Iterable[Key]:
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield pod["metadata"]["namespace"], volume["persistentVolumeClaim"].get("claimName", "")


def _about_claim(claim: Document, world: World) -> Iterable[Key]:
    yield _key(claim)
    if name := (claim.get("spec") or {}).get("volumeName"):
        yield "", name
    for volume in world.list(PERSISTENT_VOLUME):
        reference = volume["spec"].get("claimRef") or {}
        if (reference.get("namespace"), reference.get("name")) == _key(claim):
            yield _key(volume)


def _about_volume(volume: Document, world: World) -> Iterable[Key]:
    """The volume, the claims that name it or are named by it, and, while it is free, all that look for one."""
    yield _key(volume)
    reference = volume["spec"].get("claimRef")
    if reference and reference.get("namespace") and reference.get("name"):
        yield reference["namespace"], reference["name"]
    names = [volume["metadata"]["name"], *([] if reference else [""])]
    for name in names:
        yield from (_key(each) for each in world.indexed(PERSISTENT_VOLUME_CLAIM, "volume", name))


# Claims -----------------------------------------------------------------------------------------------------------------


class _Step(Struct, frozen=True):
    """What a claim should be, what must be written of its volume before, what is said, and when to look again."""

    claim: Document
    writes: tuple[Apply, ...] = ()
    reports: tuple[Report, ...] = ()
    again: float | None = None


def _plan_claim(claim: Document, world: World) -> Plan:
    finalizers = claim["metadata"].get("finalizers") or []
    if claim["metadata"].get("deletionTimestamp"):
        if CLAIM_FINALIZER not in finalizers or _used(claim, world):
            return NOTHING
        freed = amend(PERSISTENT_VOLUME_CLAIM, claim, _with(claim, finalizers=_without(finalizers, CLAIM_FINALIZER)))
        return Plan((*_still_unplaced(claim, world), *freed))
    protected = claim if CLAIM_FINALIZER in finalizers else _with(claim, finalizers=[*finalizers, CLAIM_FINALIZER])
    step = _step(protected, world)
    return Plan((*step.writes, *amend(PERSISTENT_VOLUME_CLAIM, claim, step.claim)), step.reports, step.again)


def _step(claim: Document, world: World) -> _Step:
    if BIND_COMPLETED in annotations_of(claim):
        return _kept(claim, world)
    if name := claim["spec"].get("volumeName"):
        return _directed(claim, name, world)
    if "storageClassName" not in claim["spec"] and not class_of(claim) and (name := _default_class(world)):
        claim = {**claim, "spec": {**claim["spec"], "storageClassName": name}}
    storage = storage_class(claim, world)
    undecided = waits(storage) and SELECTED_NODE not in annotations_of(claim)
    volumes = list(world.list(PERSISTENT_VOLUME))
    volume = best_match(claim, [each for each in volumes if refers_to(each, claim)] if undecided else volumes)
    if volume is not None:
        return _bound(volume, claim)
    if undecided:
        return _pending(claim, _waiting(claim, world))
    if not class_of(claim):
        return _pending(claim, Report(claim, "Normal", "FailedBinding", NO_CLASS))
    return _provided(claim, storage, world)


def _with(document: Document, **metadata: object) -> Document:
    return {**document, "metadata": {**document["metadata"], **metadata}}


def _without(finalizers: Iterable[str], one: str) -> list[str]:
    return [each for each in finalizers if each != one]


def _pending(claim: Document, *reports: Report) -> _Step:
    held = claim.get("status") or {}
    pending = claim if held.get("phase") == "Pending" else {**claim, "status": {"phase": "Pending"}}
    return _Step(pending, (), reports, RETRY)


def _used(claim: Document, world: World) -> bool:
    """By a Pod that has a node: one without will not be let start with a claim that goes."""
    return any(node_of(pod) for pod in world.indexed(POD, "claim", "/".join(_key(claim))))


def _still_unplaced(claim: Document, world: World) -> Iterable[Apply]:
    """Asks the server itself whether a Pod that uses the claim has got a node that we have not seen yet."""
    return (verify_unchanged(POD, pod) for pod in world.indexed(POD, "claim", "/".join(_key(claim))))


def _default_class(world: World) -> str:
    found = [each["metadata"] for each in world.list(STORAGE_CLASS) if annotations_of(each).get(DEFAULT_CLASS) == "true"]
    newest = max((each.get("creationTimestamp", "") for each in found), default="")
    return min((each["name"] for each in found if each.get("creationTimestamp", "") == newest), default="")


def _waiting(claim: Document, world: World) -> Report:
    pods = sorted(pod["metadata"]["name"] for pod in world.indexed(POD, "claim", "/".join(_key(claim))) if not node_of(pod))
    if not pods:
        words = "waiting for first consumer to be created before binding"
        return Report(claim, "Normal", "WaitForFirstConsumer", words)
    several = f"waiting for at least one of the pods [{','.join(pods)}] to be scheduled"
    words = several if len(pods) > 1 else f"waiting for pod {pods[0]} to be scheduled"
    return Report(claim, "Normal", "WaitForPodScheduled", words)


def _kept(claim: Document, world: World) -> _Step:
    """A claim that has been bound keeps its volume, or has lost it for ever."""
    name = claim["spec"].get("volumeName")
    if not name:
        return _lost(claim, "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
    volume = world.get(PERSISTENT_VOLUME, "", name)
    if volume is None:
        return _lost(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
    if not volume["spec"].get("claimRef") or refers_to(volume, claim):
        return _bound(volume, claim)
    return _lost(claim, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")


def _lost(claim: Document, reason: str, words: str) -> _Step:
    if (claim.get("status") or {}).get("phase") == "Lost":
        return _Step(claim)
    return _Step({**claim, "status": {"phase": "Lost"}}, (), (Report(claim, "Warning", reason, words),))


def _directed(claim: Document, name: str, world: World) -> _Step:
    """A claim that asks for one volume by name gets that or none."""
    volume = world.get(PERSISTENT_VOLUME, "", name)
    if volume is None:
        return _pending(claim)
    reference = volume["spec"].get("claimRef")
    if reference and not refers_to(volume, claim):
        words = f'volume "{name}" already bound to a different claim.'
        return _pending(claim, Report(claim, "Warning", "FailedBinding", words))
    if why := mismatch(volume, claim):
        words = f'Cannot bind to requested volume "{name}": {why}'
        return _pending(claim, Report(claim, "Warning", "VolumeMismatch", words))
    return _bound(volume, claim)


def _provided(claim: Document, storage: Document | None, world: World) -> _Step:
    """Asks the class's provisioner for a volume; ours is told on which node."""
    name = class_of(claim)
    if storage is None:
        words = f'storageclass.storage.k8s.io "{name}" not found'
        return _pending(claim, Report(claim, "Warning", "ProvisioningFailed", words))
    provisioner = storage.get("provisioner", "")
    if provisioner == NO_PROVISIONER:
        return _pending(claim, Report(claim, "Normal", "FailedBinding", NO_CLASS))
    wanted = {**annotations_of(claim), STORAGE_PROVISIONER: provisioner}
    if provisioner == PROVISIONER:
        if world.get(NODE, "", wanted.get(SELECTED_NODE, "")) is None:
            wanted.pop(SELECTED_NODE, None)
        if SELECTED_NODE not in wanted and not waits(storage):
            able = [each["metadata"]["name"] for each in world.list(NODE) if _able(each) and provisionable(storage, each)]
            if not able:
                words = f'failed to provision volume with StorageClass "{name}": no node is available for it'
                return _pending(claim, Report(claim, "Warning", "ProvisioningFailed", words))
            wanted[SELECTED_NODE] = world.rng.choice(sorted(able))
    report = Report(claim, "Normal", "ExternalProvisioning", EXTERNAL.format(provisioner))
    return _pending(_with(claim, annotations=wanted), report)


def _able(node: Document) -> bool:
    return true(node, "Ready") and not (node.get("spec") or {}).get("unschedulable")


def _bound(volume: Document, claim: Document) -> _Step:
    """Both sides name each other, the volume first: a claim that names a volume has it for good."""
    annotations = {**annotations_of(claim), BIND_COMPLETED: "yes"}
    if not claim["spec"].get("volumeName"):
        annotations[BOUND_BY_CONTROLLER] = "yes"
    status = {
        **(claim.get("status") or {}),
        "phase": "Bound",
        "accessModes": volume["spec"].get("accessModes"),
        "capacity": volume["spec"].get("capacity"),
    }
    spec = {**claim["spec"], "volumeName": volume["metadata"]["name"]}
    writes = amend(PERSISTENT_VOLUME, volume, {**claimed_by(volume, claim), "status": _phase(volume, "Bound")})
    return _Step({**_with(claim, annotations=annotations), "spec": spec, "status": status}, writes)


# Volumes ----------------------------------------------------------------------------------------------------------------


def _plan_volume(volume: Document, world: World) -> Plan:
    claim = _claim_of(volume, world)
    finalizers = volume["metadata"].get("finalizers") or []
    wanted = volume
    if volume["metadata"].get("deletionTimestamp"):
        if claim is None or (volume.get("status") or {}).get("phase") != "Bound":
            wanted = _with(volume, finalizers=_without(finalizers, VOLUME_FINALIZER) or None)
    elif VOLUME_FINALIZER not in finalizers:
        wanted = _with(volume, finalizers=[*finalizers, VOLUME_FINALIZER])
    reference = volume["spec"].get("claimRef") or {}
    if not reference.get("uid"):
        return Plan(amend(PERSISTENT_VOLUME, volume, {**wanted, "status": _phase(volume, "Available")}))
    if claim is None:
        return _released(volume, wanted, world)
    named = claim["spec"].get("volumeName")
    if named == volume["metadata"]["name"]:
        return Plan(amend(PERSISTENT_VOLUME, volume, {**wanted, "status": _phase(volume, "Bound")}))
    if not named:  # its claim's turn
        return Plan(amend(PERSISTENT_VOLUME, volume, wanted))
    if PROVISIONED_BY in annotations_of(volume) and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
        return _released(volume, wanted, world)
    return Plan(amend(PERSISTENT_VOLUME, volume, _unbound(wanted)))


def _claim_of(volume: Document, world: World) -> Document | None:
    """The very claim that the volume is bound to, while it is there."""
    reference = volume["spec"].get("claimRef") or {}
    claim = world.get(PERSISTENT_VOLUME_CLAIM, reference.get("namespace", ""), reference.get("name", ""))
    return claim if claim is not None and claim["metadata"]["uid"] == reference.get("uid") else None


def _released(volume: Document, wanted: Document, world: World) -> Plan:
    """Its claim has gone, as the server itself must say. To be deleted by who made it; what nobody can delete has failed."""
    policy, held = volume["spec"].get("persistentVolumeReclaimPolicy"), (volume.get("status") or {}).get("phase")
    if held in ("Released", "Failed"):
        return Plan(amend(PERSISTENT_VOLUME, volume, wanted))
    reference = volume["spec"]["claimRef"]
    key = reference.get("namespace", ""), reference.get("name", "")
    gone = verify_absent(PERSISTENT_VOLUME_CLAIM, *key, world.get(PERSISTENT_VOLUME_CLAIM, *key))
    if policy == "Retain" or PROVISIONED_BY in annotations_of(volume):
        return Plan((gone, *amend(PERSISTENT_VOLUME, volume, {**wanted, "status": _phase(volume, "Released")})))
    words = NO_DELETER.format(volume["metadata"]["name"])
    status = _phase(volume, "Failed", reason="VolumeFailedDelete", message=words)
    report = Report(volume, "Warning", "VolumeFailedDelete", words)
    return Plan((gone, *amend(PERSISTENT_VOLUME, volume, {**wanted, "status": status})), (report,))


def _unbound(volume: Document) -> Document:
    """Its claim took another: free again, or kept for its claim's name where people said so."""
    annotations = dict(annotations_of(volume))
    kept = annotations.pop(BOUND_BY_CONTROLLER, None) is None
    reference = {**volume["spec"]["claimRef"], "uid": None, "resourceVersion": None} if kept else None
    spec = {**volume["spec"], "claimRef": reference}
    return {**_with(volume, annotations=annotations or None), "spec": spec, "status": _phase(volume, "Available")}


def _phase(volume: Document, phase: str, **more: str) -> Document:
    held = volume.get("status") or {}
    return held if held.get("phase") == phase else {**held, "phase": phase, "reason": None, "message": None, **more}
