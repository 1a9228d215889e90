"""How does one Event record look through its two APIs, core/v1 and events.k8s.io/v1? Only names of fields differ.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/ (deprecated* fields keep core's values).
"""

from typing import Any

from mooring.model.kinds import CORE_EVENT, EVENT

Document = dict[str, Any]

_TO_CORE = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
_FROM_CORE = {core: new for new, core in _TO_CORE.items()}


def to_core(document: Document) -> Document:
    """events.k8s.io/v1 to core/v1, the stored form; a core/v1 document stays as it is."""
    return _renamed(document, _TO_CORE) | {"kind": CORE_EVENT.kind, "apiVersion": CORE_EVENT.api_version}


def from_core(document: Document) -> Document:
    """core/v1 to events.k8s.io/v1."""
    return _renamed(document, _FROM_CORE) | {"kind": EVENT.kind, "apiVersion": EVENT.api_version}


def _renamed(document: Document, names: dict[str, str]) -> Document:
    return {names.get(name, name): value for name, value in document.items()}
