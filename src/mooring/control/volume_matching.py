"""Which volume may serve which claim, and what does a Pod that claims volumes need of a node? (core/v1 PersistentVolume)

Asked by the reconciler that binds (reconcilers/persistent_volumes.py) and by the scheduler, for claims that wait for their
first consumer (KEP-490). Upstream: pkg/controller/volume/persistentvolume and its scheduling binder.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from mooring.control.reconciler import Document, World
from mooring.control.scheduling.resources import quantity
from mooring.control.selectors import labels_of, matches_term, selects
from mooring.model.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS

PROVISIONER = "mooring.dev/host-path"
"""Ours: a directory on the node where the first consumer runs."""
NO_PROVISIONER = "kubernetes.io/no-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
ONE_POD = "ReadWriteOncePod"


def annotations_of(document: Document) -> Mapping[str, str]:
    return document["metadata"].get("annotations") or {}


def class_of(document: Document) -> str:
    """Of a claim or a volume; '' for none. Older manifests say it in an annotation."""
    beta = annotations_of(document).get("volume.beta.kubernetes.io/storage-class")
    return str(beta if beta is not None else (document.get("spec") or {}).get("storageClassName") or "")


def storage_class(claim: Document, world: World) -> Document | None:
    name = class_of(claim)
    return world.get(STORAGE_CLASS, "", name) if name else None


def waits(storage: Document | None) -> bool:
    """volumeBindingMode WaitForFirstConsumer."""
    return storage is not None and storage.get("volumeBindingMode") == "WaitForFirstConsumer"


def bound(claim: Document) -> bool:
    return bool((claim.get("spec") or {}).get("volumeName")) and BIND_COMPLETED in annotations_of(claim)


def reference_to(claim: Document) -> Document:
    """The claimRef that binds a volume to this very claim."""
    metadata = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resourceVersion": metadata.get("resourceVersion", ""),
    }


def claimed_by(volume: Document, claim: Document) -> Document:
    """The volume bound to this very claim; an annotation tells one chosen here from one that people kept for the claim."""
    reference = volume["spec"].get("claimRef")
    if reference and reference.get("uid"):
        return volume
    claimed = {**volume, "spec": {**volume["spec"], "claimRef": reference_to(claim)}}
    return claimed if reference else annotated(claimed, BOUND_BY_CONTROLLER, "yes")


def annotated(document: Document, name: str, value: str) -> Document:
    """A copy with one annotation more."""
    annotations = {**annotations_of(document), name: value}
    return {**document, "metadata": {**document["metadata"], "annotations": annotations}}


def refers_to(volume: Document, claim: Document) -> bool:
    """Whether the volume is claimed by, or kept for, this claim."""
    reference, metadata = volume["spec"].get("claimRef"), claim["metadata"]
    if not reference or (reference.get("namespace"), reference.get("name")) != (metadata["namespace"], metadata["name"]):
        return False
    return not reference.get("uid") or bool(reference["uid"] == metadata["uid"])


# Matching ---------------------------------------------------------------------------------------------------------------


def size_of(volume: Document) -> str:
    return str((volume["spec"].get("capacity") or {}).get("storage", "0"))


def asked_size(claim: Document) -> str:
    return str(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0"))


def mismatch(volume: Document, claim: Document) -> str:
    """Why the volume cannot serve the claim that names it, '' when it can."""
    if quantity(size_of(volume)) < quantity(asked_size(claim)):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if _mode(volume) != _mode(claim):
        return "incompatible volumeMode"
    if not set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ()):
        return "incompatible accessMode"
    return ""


def _mode(document: Document) -> str:
    return str(document["spec"].get("volumeMode") or "Filesystem")


def best_match(
    claim: Document, volumes: Iterable[Document], node: Document | None = None, taken: Iterable[str] = ()
) -> Document | None:
    """The volume kept for the claim, else the smallest free one that serves it; with a node, only one usable there."""
    selector, excluded, free = claim["spec"].get("selector"), set(taken), []
    for volume in volumes:
        if volume["metadata"].get("deletionTimestamp") or volume["metadata"]["name"] in excluded:
            continue
        if refers_to(volume, claim):
            if not mismatch(volume, claim):
                return volume
            continue
        if volume["spec"].get("claimRef") or (volume.get("status") or {}).get("phase") != "Available":
            continue
        if selector is not None and not selects(selector, labels_of(volume)):
            continue
        if not mismatch(volume, claim) and (node is None or reachable(volume, node)):
            free.append(volume)
    return min(free, key=lambda each: (quantity(size_of(each)), each["metadata"]["name"]), default=None)


def reachable(volume: Document, node: Document) -> bool:
    """Whether the volume can be used on the node (spec.nodeAffinity)."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return required is None or any(matches_term(node, term) for term in required.get("nodeSelectorTerms") or ())


def provisionable(storage: Document | None, node: Document) -> bool:
    """Whether a volume of the class can be made for the node: its provisioner, its allowedTopologies."""
    if storage is None or storage.get("provisioner") in (None, "", NO_PROVISIONER):
        return False
    topologies, labels = storage.get("allowedTopologies") or (), labels_of(node)
    if not topologies:
        return True
    return any(
        all(labels.get(each["key"]) in each["values"] for each in term.get("matchLabelExpressions") or ())
        for term in topologies
    )


# A Pod's claims ---------------------------------------------------------------------------------------------------------


class Waiting(Struct, frozen=True):
    """A claim that is bound when its Pod has a node."""

    claim: Document
    storage: Document


class PodVolumes(Struct, frozen=True):
    """What a Pod's claims ask of a node. `problem`: why there is nothing to look at yet; `missing`: a bound volume is gone;
    `exclusive`: the claims that one Pod alone may use."""

    problem: str = ""
    missing: bool = False
    bound: tuple[Document, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    volumes: tuple[Document, ...] = ()
    """All there are, when any claim waits."""
    exclusive: frozenset[tuple[str, str]] = frozenset()


def claims_of(pod: Document) -> list[str]:
    """The names of the claims that the Pod's volumes mount."""
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    return [each["persistentVolumeClaim"].get("claimName", "") for each in volumes if each.get("persistentVolumeClaim")]


def pod_volumes(pod: Document, world: World) -> PodVolumes:
    namespace, names = pod["metadata"]["namespace"], claims_of(pod)
    if not names:
        return PodVolumes()
    ready: list[Document] = []
    waiting: list[Waiting] = []
    exclusive = set()
    for name in dict.fromkeys(names):
        claim = world.get(PERSISTENT_VOLUME_CLAIM, namespace, name)
        if claim is None:
            return PodVolumes(f'persistentvolumeclaim "{name}" not found')
        if claim["metadata"].get("deletionTimestamp"):
            return PodVolumes(f'persistentvolumeclaim "{name}" is being deleted')
        if (claim.get("status") or {}).get("phase") == "Lost":
            missing = claim["spec"].get("volumeName", "")
            return PodVolumes(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{missing}"')
        if ONE_POD in (claim["spec"].get("accessModes") or ()):
            exclusive.add((namespace, name))
        if bound(claim):
            volume = world.get(PERSISTENT_VOLUME, "", claim["spec"]["volumeName"])
            if volume is None:
                return PodVolumes(missing=True)
            ready.append(volume)
            continue
        storage = storage_class(claim, world)
        if storage is None or not waits(storage) or claim["spec"].get("volumeName"):
            return PodVolumes("pod has unbound immediate PersistentVolumeClaims")
        waiting.append(Waiting(claim, storage))
    every = tuple(world.list(PERSISTENT_VOLUME)) if waiting else ()
    return PodVolumes("", False, tuple(ready), tuple(waiting), every, frozenset(exclusive))


def choices(volumes: PodVolumes, node: Document) -> Sequence[tuple[Waiting, Document | None]] | None:
    """For each waiting claim the volume it gets on the node, None for one to be made there; None when it gets neither.

    A claim whose node has been chosen already is bound there or nowhere.
    """
    found: list[tuple[Waiting, Document | None]] = []
    taken: list[str] = []
    for each in sorted(volumes.waiting, key=lambda each: quantity(asked_size(each.claim))):
        chosen = annotations_of(each.claim).get(SELECTED_NODE)
        if chosen is not None and chosen != node["metadata"]["name"]:
            return None
        volume = None if chosen else best_match(each.claim, volumes.volumes, node, taken)
        if volume is None and not provisionable(each.storage, node):
            return None
        if volume is not None:
            if not reachable(volume, node):
                return None
            taken.append(volume["metadata"]["name"])
        found.append((each, volume))
    return found
