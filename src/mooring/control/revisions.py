"""Which ReplicaSet is which version of a Deployment? Template hash, revision numbers, the annotations that carry them.

Upstream: pkg/controller/deployment/util. The hash is our own (any stable one will do: it is compared with nothing else);
the annotations are what `kubectl rollout history` and `undo` read.
"""

from collections.abc import Iterable
from typing import Any

from mooring.control.naming import digest
from mooring.control.owners import controller_reference
from mooring.control.reconciler import Document
from mooring.control.rollout import Budget
from mooring.control.selectors import TEMPLATE_HASH
from mooring.model.kinds import DEPLOYMENT

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        HISTORY,
        DESIRED,
        MOST,
    }
)
LONGEST_HISTORY = 2000


def annotations_of(document: Document) -> dict[str, str]:
    return document["metadata"].get("annotations") or {}


def number(document: Document, annotation: str) -> int | None:
    """An annotation's number, None when it is missing or none."""
    try:
        return int(annotations_of(document)[annotation])
    except (KeyError, ValueError):
        return None


def bare(template: Document) -> Any:
    """The Pod template as it is compared: without the hash label and without empty mentions (null, no labels at all)."""
    plain = _without_nulls(template)
    metadata = dict(plain.get("metadata") or {})
    metadata["labels"] = {key: value for key, value in (metadata.get("labels") or {}).items() if key != TEMPLATE_HASH}
    return {**plain, "metadata": {name: value for name, value in metadata.items() if value}}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def template_hash(template: Document, collisions: int) -> str:
    """The value of the label pod-template-hash. `collisions` (status.collisionCount) makes another one."""
    return digest([bare(template), collisions], 10)


def split(deployment: Document, sets: Iterable[Document]) -> tuple[Document | None, list[Document]]:
    """(new, old): the eldest ReplicaSet with the Deployment's own template, and all the others, eldest first."""
    ordered = sorted(sets, key=lambda each: (each["metadata"].get("creationTimestamp", ""), each["metadata"]["name"]))
    wanted = bare(deployment["spec"]["template"])
    new = next((each for each in ordered if bare(each["spec"]["template"]) == wanted), None)
    return new, [each for each in ordered if each is not new]


def next_revision(old: Iterable[Document]) -> int:
    return max((number(each, REVISION) or 0 for each in old), default=0) + 1


def new_annotations(deployment: Document, held: dict[str, str], revision: int) -> dict[str, str]:
    """Those of the new ReplicaSet: the Deployment's own (kubernetes.io/change-cause among them), and its revision.

    A ReplicaSet that becomes the new one again (a rollback) gets the next revision; the one it had goes into its history.
    """
    copied = {name: value for name, value in annotations_of(deployment).items() if name not in NOT_COPIED}
    annotations = {**held, **copied}
    before = held.get(REVISION, "")
    if int(before if before.isdecimal() else 0) >= revision:
        return annotations
    annotations[REVISION] = str(revision)
    if before:
        history = [*filter(None, held.get(HISTORY, "").split(",")), before]
        while len(",".join(history)) > LONGEST_HISTORY:
            del history[0]
        annotations[HISTORY] = ",".join(history)
    return annotations


def size_annotations(limits: Budget) -> dict[str, str]:
    """What the proportional scaling after the next change of size will start from."""
    return {DESIRED: str(limits.replicas), MOST: str(limits.most)}


def replica_set(deployment: Document, hash: str, replicas: int, annotations: dict[str, str]) -> Document:
    """The ReplicaSet of the Deployment's own template."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    template, selector = spec["template"], spec["selector"]
    labels = {**((template.get("metadata") or {}).get("labels") or {}), TEMPLATE_HASH: hash}
    body: Document = {
        "replicas": replicas,
        "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), TEMPLATE_HASH: hash}},
        "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
    }
    if spec.get("minReadySeconds"):
        body["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "metadata": {
            "name": f"{metadata['name']}-{hash}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [controller_reference(DEPLOYMENT, deployment)],
        },
        "spec": body,
    }
