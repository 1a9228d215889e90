"""How do status conditions change? By type; lastTransitionTime moves only when the status does."""

from collections.abc import Iterable
from datetime import datetime

from mooring.control.reconciler import Document
from mooring.control.times import stamp


def condition(document: Document, type: str) -> Document | None:
    """status.conditions[type] of an object."""
    return find((document.get("status") or {}).get("conditions") or (), type)


def find(conditions: Iterable[Document], type: str) -> Document | None:
    """One that says no status counts as none: the API takes conditions that say nothing at all."""
    return next((each for each in conditions if each.get("type") == type and "status" in each), None)


def true(document: Document, type: str) -> bool:
    held = condition(document, type)
    return held is not None and held["status"] == "True"


def with_condition(conditions: Iterable[Document], wanted: Document, now: datetime) -> list[Document]:
    """The conditions with `wanted` in place of its namesake. What the namesake says besides (probe times) is kept."""
    conditions = list(conditions)
    held = find(conditions, wanted["type"])
    if held is None:
        return [*without_condition(conditions, wanted["type"]), {**wanted, "lastTransitionTime": stamp(now)}]
    since = held.get("lastTransitionTime") if held["status"] == wanted["status"] else None
    replaced = {**held, **wanted, "lastTransitionTime": since or stamp(now)}
    return [replaced if each is held else each for each in conditions]


def without_condition(conditions: Iterable[Document], type: str) -> list[Document]:
    return [each for each in conditions if each.get("type") != type]
