"""How does a value merge? As a whole, field by field, or item by item.

A type is any combination of scalar, list and map (upstream's Atom); which of them a value is shows when there is one. Types of
built-in kinds come from the table of published types (built_in.py), those of custom resources from their structural schemas.
"""

from typing import Any

from msgspec import Struct


class MergeType(Struct, eq=False, gc=False):
    """`scalar` is '', 'untyped', 'string', 'numeric' or 'boolean'. Compared by identity: types may be recursive.

    `loose`: a value of a custom resource's that may hold what no schema describes, so a truth where there was a number.
    """

    scalar: str = ""
    list: "ListType | None" = None
    map: "MapType | None" = None
    loose: bool = False

    @property
    def leaf(self) -> bool:
        """Whether a value of it is one field whatever it holds."""
        if self.list is not None and self.list.topology != "atomic":
            return False
        return self.map is None or self.map.atomic


class ListType(Struct, eq=False, gc=False):
    """`topology` is 'atomic', 'set' (of scalars) or 'map' (items are told apart by `keys`)."""

    element: MergeType
    topology: str = "atomic"
    keys: tuple[str, ...] = ()


class FieldType(Struct, eq=False, gc=False):
    """`default` stands for an absent key of an associative list. `present`: upstream's Go type always writes this struct
    or list out, so an object without it counts as one in which it is empty."""

    type: MergeType
    default: Any = None
    present: bool = False


class MapType(Struct, eq=False, gc=False):
    """A struct (`fields`), a map (`element`), or both. `fields` may be filled later, for types that contain themselves."""

    fields: dict[str, FieldType] = {}
    element: MergeType | None = None
    atomic: bool = False


SCALAR = MergeType("untyped")
STRING = MergeType("string")
NUMERIC = MergeType("numeric")
BOOLEAN = MergeType("boolean")


def _atomic() -> MergeType:
    whole = MergeType("untyped", loose=True)
    whole.list = ListType(whole)
    whole.map = MapType(element=whole, atomic=True)
    return whole


ATOMIC = _atomic()
"""Anything, merged as one."""


def _deduced() -> MergeType:
    deduced = MergeType("untyped", ListType(ATOMIC), loose=True)
    deduced.map = MapType(element=deduced)
    return deduced


DEDUCED = _deduced()
"""Anything, by what it is: maps field by field, lists whole. For fields that no schema describes."""


def associative(element: MergeType, keys: tuple[str, ...]) -> MergeType:
    """A list whose items are told apart by `keys`."""
    return MergeType(list=ListType(element, "map", tuple(sorted(keys))), loose=element.loose)


def set_of(element: MergeType) -> MergeType:
    return MergeType(list=ListType(element, "set"), loose=element.loose)


def whole_list(element: MergeType = ATOMIC) -> MergeType:
    return MergeType(list=ListType(element), loose=element.loose)


def map_of(element: MergeType, *, atomic: bool = False) -> MergeType:
    return MergeType(map=MapType(element=element, atomic=atomic), loose=element.loose)


def struct(fields: dict[str, FieldType], *, element: MergeType | None = None, atomic: bool = False) -> MergeType:
    loose = any(field.type.loose for field in fields.values()) or (element is not None and element.loose)
    return MergeType(map=MapType(fields, element, atomic), loose=loose)
