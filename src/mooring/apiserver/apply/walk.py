"""Which fields does a value have, and in which do two differ? Values of one merge type; results are field sets.

As structured-merge-diff/typed/{tofieldset,compare}.go. Written for speed: every create and update comes through here, so equal
parts are passed over at once and sets are built in place.
"""

from functools import lru_cache
from typing import Any

from mooring.apiserver.apply.sets import LEAF, SELF, FieldSet, key_step, member, value_step
from mooring.apiserver.apply.types import FieldType, ListType, MapType, MergeType
from mooring.model import codec

ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "ABSENT"})()


class BadItem(Exception):
    """An item of an associative list that cannot be told apart from others."""


def item_step(listed: ListType, item: Any) -> str:
    """The path element of an item. Raises BadItem."""
    if listed.topology == "map":
        return _keyed_step(listed, item)
    if isinstance(item, dict):
        raise BadItem("associative list without keys has an element that's a map type")
    if isinstance(item, list):
        raise BadItem("not supported: associative list with lists as elements")
    if item is None:
        raise BadItem("associative list without keys has an element that's an explicit null")
    return value_step(item)


def _keyed_step(listed: ListType, item: Any) -> str:
    if item is None:
        raise BadItem("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise BadItem("associative list with keys may not have non-map elements")
    found: list[Any] = []
    short = True
    for key in listed.keys:
        value = item.get(key, ABSENT)
        if value is ABSENT:
            fields = listed.element.map.fields if listed.element.map else {}
            value = fields[key].default if key in fields else None
            if value is None:
                raise BadItem(
                    f'associative list with keys has an element that omits key field "{key}" (and doesn\'t have default value)'
                )
        found.append(value)
        short = short and value.__class__ in _PLAIN and (value.__class__ is not str or len(value) <= _SHORT)
    return _known_step(listed.keys, *found) if short else _step(listed.keys, *found)


_PLAIN = frozenset({str, int, bool, float, type(None)})
_SHORT = 256


def _step(keys: tuple[str, ...], *values: Any) -> str:
    return key_step(dict(zip(keys, values, strict=True)))


_known_step = lru_cache(maxsize=8192, typed=True)(_step)
"""Items of many lists have the same keys: names of ports, types of conditions."""


# The fields of one value ------------------------------------------------------------------------------------------------


def fields_of(kind: MergeType, value: Any) -> FieldSet:
    """Every leaf and item that a document names: what an applier owns."""
    node = _named(kind, value)
    return {key: below for key, below in node.items() if key != SELF} if node else {}


def _named(kind: MergeType, value: Any) -> FieldSet | None:
    if isinstance(value, list) and kind.list is not None:
        return LEAF if kind.list.topology == "atomic" else _named_items(kind.list, value)
    if kind.map is not None and (isinstance(value, dict) or (kind.list is None and not kind.scalar)):
        if kind.map.atomic:
            return LEAF
        return _named_fields(kind.map, value) if isinstance(value, dict) else None
    if value is None and kind.map is not None:
        return LEAF if kind.map.atomic else None
    if kind.scalar:
        return LEAF
    return LEAF if kind.list is not None and kind.list.topology == "atomic" else None


def _named_fields(mapped: MapType, value: dict[str, Any]) -> FieldSet | None:
    node: FieldSet = {}
    for name, item in value.items():
        field = mapped.fields.get(name)
        kind = field.type if field is not None else mapped.element
        below = _named(kind, item) if kind is not None else LEAF
        if field is None or item is None or item == {}:
            below = member(below)
        if below is not None:
            node["f:" + name] = below
    return node or None


def _named_items(listed: ListType, items: list[Any]) -> FieldSet | None:
    node: FieldSet = {}
    for item in items:
        try:
            step = item_step(listed, item)
        except BadItem:
            continue
        # Items that occur twice are owned as one.
        node[step] = LEAF if step in node else member(_named(listed.element, item))
    return node or None


def everything(kind: MergeType, value: Any) -> FieldSet:
    """The node of a value that was not there before, or is not any more: all of its fields, structs and items."""
    if isinstance(value, dict):
        mapped = kind.map
        if mapped is None or mapped.atomic or not value:
            return LEAF
        node: FieldSet = {SELF: LEAF}
        fields, element = mapped.fields, mapped.element
        for name, item in value.items():
            if item.__class__ in _PLAIN:
                node["f:" + name] = LEAF
                continue
            field = fields.get(name)
            inner = field.type if field is not None else element
            node["f:" + name] = LEAF if inner is None else everything(inner, item)
        return node
    if isinstance(value, list) and value:
        listed = kind.list
        if listed is None or listed.topology == "atomic":
            return LEAF
        node = {SELF: LEAF}
        for item in value:
            step = item_step(listed, item)
            node[step] = LEAF if step in node else everything(listed.element, item)
        return node
    return LEAF


# Two values -------------------------------------------------------------------------------------------------------------

Nodes = tuple[FieldSet | None, FieldSet | None]
_NOTHING: Nodes = (None, None)
_CHANGED: Nodes = (LEAF, None)


def compare(kind: MergeType, old: Any, new: Any) -> tuple[FieldSet, FieldSet]:
    """(what was added or changed, what was removed) between two documents. Raises BadItem."""
    changed, removed = _compare(kind, old, new)
    return changed or {}, removed or {}


def _compare(kind: MergeType, old: Any, new: Any) -> Nodes:
    """Of values that are both there."""
    if old == new and (not kind.loose or _alike(old, new)):
        return _NOTHING
    mapped, listed = kind.map, kind.list
    if isinstance(old, dict) and isinstance(new, dict) and mapped is not None:
        return _CHANGED if mapped.atomic else _compare_fields(mapped, old, new)
    if isinstance(old, list) and isinstance(new, list) and listed is not None:
        return _CHANGED if listed.topology == "atomic" else _compare_items(listed, old, new)
    return _compare_unlike(kind, old, new)


def same(kind: MergeType, old: Any, new: Any) -> bool:
    """Whether there is nothing to compare."""
    return bool(old == new) and (not kind.loose or _alike(old, new))


def _alike(one: Any, other: Any) -> bool:
    """Whether values that Python holds equal are so: True is not 1, though 1.0 is."""
    return codec.same(one, other) or _truths_alike(one, other)


def _truths_alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(_truths_alike(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return all(map(_truths_alike, one, other))
    return isinstance(one, bool) == isinstance(other, bool)


def _compare_unlike(kind: MergeType, old: Any, new: Any) -> Nodes:
    """A value that became null or another sort of value: what it had is gone, what it has is new."""
    mapped, listed = kind.map, kind.list
    for one, other, gone in ((old, new, True), (new, old, False)):
        if not one:
            continue
        if isinstance(one, dict) and mapped is not None and not mapped.atomic:
            nodes = _compare_fields(mapped, one, {}) if gone else _compare_fields(mapped, {}, one)
        elif isinstance(one, list) and listed is not None and listed.topology != "atomic":
            nodes = _compare_items(listed, one, []) if gone else _compare_items(listed, [], one)
        else:
            continue
        # null takes the form of its neighbour; anything else is another form, and a change of its own.
        other_is_leaf = other is not None and not isinstance(other, dict if isinstance(one, dict) else list)
        return (member(nodes[0]), nodes[1]) if other_is_leaf else nodes
    return _CHANGED


def _compare_fields(mapped: MapType, old: dict[str, Any], new: dict[str, Any]) -> Nodes:
    changed: FieldSet = {}
    removed: FieldSet = {}
    fields, element = mapped.fields, mapped.element
    for name, value in new.items():
        before = old.get(name, ABSENT)
        if before is value:
            continue
        field = fields.get(name)
        if field is not None:
            inner: MergeType | None = field.type
            if before is ABSENT and field.present:
                before = [] if isinstance(value, list) else {}
        else:
            inner = element
        if inner is None:
            continue
        if before is ABSENT:
            changed["f:" + name] = everything(inner, value)
        elif before == value and (not inner.loose or _alike(before, value)):
            continue
        elif inner.map is None and inner.list is None:
            changed["f:" + name] = LEAF
        else:
            _put("f:" + name, _compare(inner, before, value), changed, removed)
    for name, before in old.items():
        if name in new:
            continue
        field = fields.get(name)
        inner = field.type if field is not None else element
        if inner is None:
            continue
        if field is not None and field.present:
            _put("f:" + name, _compare(inner, before, [] if isinstance(before, list) else {}), changed, removed)
        else:
            removed["f:" + name] = everything(inner, before)
    return changed or None, removed or None


def added_field(field: FieldType | None, kind: MergeType | None, value: Any) -> FieldSet | None:
    """The node of a field of a struct that has it now and did not before."""
    if kind is None:
        return None
    if field is None or not field.present:
        return everything(kind, value)
    mapped = kind.map
    if mapped is None or mapped.atomic or not value or not isinstance(value, dict):
        return _compare(kind, [] if isinstance(value, list) else {}, value)[0]
    node: FieldSet = {}
    fields, element = mapped.fields, mapped.element
    for name, item in value.items():
        inner = fields.get(name)
        if inner is not None and inner.present:
            if (below := added_field(inner, inner.type, item)) is not None:
                node["f:" + name] = below
        elif (type_ := element if inner is None else inner.type) is not None:
            node["f:" + name] = LEAF if item.__class__ in _PLAIN else everything(type_, item)
    return node or None


def _put(step: str, nodes: Nodes, changed: FieldSet, removed: FieldSet) -> None:
    if nodes[0] is not None:
        changed[step] = nodes[0]
    if nodes[1] is not None:
        removed[step] = nodes[1]


def _grouped(listed: ListType, items: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(item_step(listed, item), []).append(item)
    return found


def _compare_items(listed: ListType, old: list[Any], new: list[Any]) -> Nodes:
    """Items that occur twice are one field, whatever they hold."""
    changed: FieldSet = {}
    removed: FieldSet = {}
    before, after = _grouped(listed, old), _grouped(listed, new)
    for step in {**before, **after}:
        was, now = before.get(step, []), after.get(step, [])
        if len(was) <= 1 and len(now) <= 1:
            if not was:
                changed[step] = everything(listed.element, now[0])
            elif not now:
                removed[step] = everything(listed.element, was[0])
            else:
                _put(step, _compare(listed.element, was[0], now[0]), changed, removed)
        elif len(was) > 1 and len(now) > 1:
            if was != now or (listed.element.loose and not _alike(was, now)):
                changed[step] = LEAF
        elif len(was) > 1:
            removed[step] = LEAF
            if now:
                changed[step] = everything(listed.element, now[0])
        else:
            changed[step] = LEAF
            if was:
                removed[step] = everything(listed.element, was[0])
    return changed or None, removed or None


# Structs as members -----------------------------------------------------------------------------------------------------


def with_structs(kind: MergeType | None, fields: FieldSet) -> FieldSet:
    """The set with every struct on the way to its members: upstream's EnsureNamedFieldsAreMembers."""
    mapped = kind.map if kind is not None else None
    listed = kind.list if kind is not None else None
    result: FieldSet = {}
    for step, below in fields.items():
        if not below:
            result[step] = below
            continue
        inner: MergeType | None = None
        named = False
        if step.startswith("f:") and mapped is not None:
            field = mapped.fields.get(step[2:])
            named = field is not None
            inner = field.type if field is not None else mapped.element
        elif step.startswith("k:") and listed is not None:
            inner = listed.element
        found = with_structs(inner, below)
        result[step] = member(found) if named else found
    return result
