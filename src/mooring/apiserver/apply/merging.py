"""What comes of a live value and an applied one? And what is left of a value without some fields?

As structured-merge-diff/typed/{merge,remove}.go: the applied value wins leaf by leaf, nothing goes; items that both have take
the applied one's order, what only the live one has stays in its place. Arguments are not changed; results share what is equal.
"""

from typing import Any

from mooring.apiserver.apply.sets import FieldSet, is_member, step_text
from mooring.apiserver.apply.types import ListType, MapType, MergeType
from mooring.apiserver.apply.walk import ABSENT, BadItem, item_step


class MergeFailed(Exception):
    """The message has the path, as upstream words it."""


def merge(kind: MergeType, live: Any, applied: Any) -> Any:
    """Raises MergeFailed."""
    result = _merge(kind, live, applied)
    return {} if result is ABSENT else result


def _merge(kind: MergeType, live: Any, applied: Any) -> Any:
    if applied is ABSENT:
        return live
    if isinstance(applied, dict) and kind.map is not None:
        before = live if isinstance(live, dict) else {}
        if kind.map.atomic or not (applied or before):
            return applied
        return _merge_fields(kind.map, before, applied)
    if isinstance(applied, list) and kind.list is not None:
        items = live if isinstance(live, list) else []
        if kind.list.topology == "atomic" or not (applied or items):
            return applied
        return _merge_items(kind.list, items, applied)
    if applied is None and not kind.leaf and (live and isinstance(live, dict | list)):
        # null takes the form of the live value, and has no fields to change in it.
        return live
    return applied


def _merge_fields(mapped: MapType, live: dict[str, Any], applied: dict[str, Any]) -> Any:
    out = dict(live)
    for name, value in applied.items():
        field = mapped.fields.get(name)
        inner = field.type if field is not None else mapped.element
        if inner is None:
            raise MergeFailed(f".{name}: field not declared in schema")
        try:
            merged = _merge(inner, live.get(name, ABSENT), value)
        except MergeFailed as error:
            raise MergeFailed(f".{name}{error}") from None
        if merged is not ABSENT:
            out[name] = merged
    return out or ABSENT


def _steps(listed: ListType, items: list[Any], side: str) -> list[str]:
    steps: list[str] = []
    for index, item in enumerate(items):
        try:
            step = item_step(listed, item)
        except BadItem as error:
            raise MergeFailed(f": {side}element {index}: {error}") from None
        steps.append(step)
    return steps


def _merge_items(listed: ListType, live: list[Any], applied: list[Any]) -> Any:
    """Long because it walks two orders at once, as upstream's visitListItems does."""
    live_steps, applied_steps = _steps(listed, live, ""), _steps(listed, applied, "")
    theirs: dict[str, Any] = {}
    for step, item in zip(applied_steps, applied, strict=True):
        if step in theirs:
            raise MergeFailed(f": duplicate entries for key {step_text(step)}")
        theirs[step] = item
    ours: dict[str, Any] = {}
    for step, item in zip(live_steps, live, strict=True):
        # What occurs twice is replaced, not merged.
        ours[step] = None if step in ours else item
    shared = [step for step in applied_steps if step in ours]
    at_shared = 0
    done: set[str] = set()
    out: list[Any] = []
    left = right = 0

    def take(step: str, was: Any, now: Any) -> None:
        try:
            merged = _merge(listed.element, was, now)
        except MergeFailed as error:
            raise MergeFailed(f"{step_text(step)}{error}") from None
        if merged is not ABSENT:
            out.append(merged)

    while left < len(live_steps) or right < len(applied_steps):
        next_shared = shared[at_shared] if at_shared < len(shared) else None
        if left < len(live_steps) and right < len(applied_steps):
            step = live_steps[left]
            if step == applied_steps[right]:
                done.add(step)
                take(step, ours.get(step, ABSENT), theirs[step])
                left, right, at_shared = left + 1, right + 1, at_shared + 1
                continue
            if step in theirs and next_shared is not None and next_shared != step:
                left += 1  # shared, but not the one wanted now
                continue
        if left < len(live_steps):
            step = live_steps[left]
            if step not in theirs:
                take(step, live[left], ABSENT)
                left += 1
                continue
            if step in done:
                left += 1
        if right < len(applied_steps):
            step = applied_steps[right]
            done.add(step)
            take(step, ours.get(step, ABSENT), theirs[step])
            right += 1
            if next_shared == step:
                at_shared += 1
    return out or ABSENT


# Removal ----------------------------------------------------------------------------------------------------------------


def without(kind: MergeType, value: Any, fields: FieldSet) -> Any:
    """The value without the members of the set. A container from which something within was taken stays, if empty."""
    if not fields:
        return value
    if isinstance(value, dict) and kind.map is not None:
        return _without_fields(kind.map, value, fields)
    if isinstance(value, list) and kind.list is not None:
        return _without_items(kind.list, value, fields)
    return value


def _without_fields(mapped: MapType, value: dict[str, Any], fields: FieldSet) -> Any:
    if not value or mapped.atomic:
        return None
    out: dict[str, Any] = {}
    for name, item in value.items():
        node = fields.get("f:" + name)
        if node is None:
            out[name] = item
        elif not is_member(node):
            field = mapped.fields.get(name)
            inner = field.type if field is not None else mapped.element
            out[name] = _emptied(item, without(inner, item, node) if inner is not None else item)
    return out


def _without_items(listed: ListType, items: list[Any], fields: FieldSet) -> Any:
    if not items or listed.topology == "atomic":
        return None
    out: list[Any] = []
    for item in items:
        try:
            node = fields.get(item_step(listed, item))
        except BadItem:
            node = None
        if node is None:
            out.append(item)
        elif not is_member(node):
            out.append(_emptied(item, without(listed.element, item, node)))
    return out


def _emptied(before: Any, after: Any) -> Any:
    """A container that something was taken out of is empty rather than null."""
    if after is None and isinstance(before, dict | list):
        return type(before)()
    return after
