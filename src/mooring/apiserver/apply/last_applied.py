"""How does an object of client-side apply come under server-side apply? By its annotation with the last applied manifest.

As apimachinery/pkg/util/managedfields/internal/lastapplied{manager,updater}.go: only for the manager `kubectl`.
"""

from typing import Any

import msgspec

from mooring.apiserver.apply.sets import FieldSet, difference
from mooring.apiserver.apply.typed import faults
from mooring.apiserver.apply.types import MergeType
from mooring.apiserver.apply.walk import BadItem, compare, fields_of

Document = dict[str, Any]

MANAGER = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_ANNOTATIONS_LIMIT = 256 * 1024


def _annotation(document: Document) -> str:
    return (document["metadata"].get("annotations") or {}).get(LAST_APPLIED) or ""


def allowed(kind: MergeType, live: Document, version: str) -> FieldSet:
    """The fields that client-side apply set last and nobody has changed since: to take these is no conflict."""
    text = _annotation(live)
    try:
        last = msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        return {}
    if not isinstance(last, dict) or last.get("apiVersion") != version or faults(kind, last):
        return {}
    try:
        changed, removed = compare(kind, last, live)
    except BadItem:
        return {}
    return difference(difference(fields_of(kind, last), changed), removed)


def renew(document: Document, applied: Document) -> None:
    """Keeps the annotation, where there is one, as client-side apply would write it now."""
    if not _annotation(document):
        return
    meta = applied.get("metadata") or {}
    annotations = {name: value for name, value in (meta.get("annotations") or {}).items() if name != LAST_APPLIED}
    shown = {**applied, "metadata": {**meta, "annotations": annotations}}
    if not annotations:
        del shown["metadata"]["annotations"]
    # As Go's encoder writes it: keys in order, and a line's end.
    text = msgspec.json.encode(shown, order="sorted").decode() + "\n"
    kept = {**document["metadata"]["annotations"], LAST_APPLIED: text}
    if sum(len(name.encode()) + len(str(value).encode()) for name, value in kept.items()) > _ANNOTATIONS_LIMIT:
        del kept[LAST_APPLIED]
    document["metadata"]["annotations"] = kept
