"""Which types can an expression's variables have, and how large can their values get?

A declared type serves three readers: the type checker (types.py), the cost estimate (cost.py: `max_size` is the greatest number
of elements, `min_json` the least number of bytes a value takes in a request), and the conversion of values (values.py).
Sizes and names as apiserver/pkg/cel/types.go and apiserver/pkg/cel/common/schemas.go.
"""

import re

from msgspec import Struct

MAX_REQUEST = 3 * 1024 * 1024
"""Bytes of the largest request: what bounds values of which the schema bounds nothing."""
UNBOUNDED = 1 << 63


class Declared(Struct, frozen=True, eq=False):
    """`form` is dyn, bool, int, double, string, bytes, timestamp, duration, list, map, object, or the name of an opaque type.

    Compared by identity: the checker makes one message type for each object type it meets.
    """

    form: str
    element: "Declared | None" = None
    """A list's items or a map's values."""
    fields: "dict[str, Property]" = {}
    """An object's, by the name that expressions use (escaped)."""
    max_size: int = 1
    min_json: int = 1

    @property
    def scalar(self) -> bool:
        """Of a size that is always the same."""
        return self.form in ("bool", "int", "double", "timestamp", "duration")


class Property(Struct, frozen=True, eq=False):
    """One field of an object type; `name` is as documents write it."""

    name: str
    type: Declared


DYN = Declared("dyn", max_size=MAX_REQUEST - 2)
BOOL, INT, DOUBLE = Declared("bool", min_json=4), Declared("int"), Declared("double")
TIMESTAMP, DURATION = Declared("timestamp", min_json=12), Declared("duration", min_json=4)


def string(max_length: int | None = None, least: int = 2) -> Declared:
    """`max_length` in characters, each of up to four bytes; `least` is the number of bytes of the shortest value."""
    return Declared("string", max_size=MAX_REQUEST - 2 if max_length is None else max(max_length, 0) * 4, min_json=least)


STRING = string()


def octets(max_length: int | None = None) -> Declared:
    return Declared("bytes", max_size=MAX_REQUEST - 2 if max_length is None else max(max_length, 0), min_json=2)


def list_of(element: Declared, most: int | None = None) -> Declared:
    """Unbounded lists have as many items as fit into a request."""
    size = (MAX_REQUEST - 2) // (element.min_json + 1) if most is None else max(most, 0)
    return Declared("list", element, max_size=size, min_json=2)


def map_of(element: Declared, most: int | None = None) -> Declared:
    """Keys are strings: a key, a colon and a comma take at least five bytes."""
    size = (MAX_REQUEST - 2) // (element.min_json + 5) if most is None else max(most, 0)
    return Declared("map", element, max_size=size, min_json=2)


def object_of(fields: dict[str, Declared], required: frozenset[str] = frozenset()) -> Declared:
    """`fields` by their names in documents; those whose names no expression can write are left out."""
    named = {written: Property(name, type) for name, type in fields.items() if (written := escape(name)) is not None}
    least = 2 + sum(len(name) + type.min_json + 4 for name, type in fields.items() if name in required)
    return Declared("object", fields=named, max_size=len(named), min_json=least)


_NAME = re.compile(r"[A-Za-z_./-][A-Za-z0-9_./-]*")
_PARTS = re.compile(r"__|[./-]")
_WORDS = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_RESERVED = frozenset({
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop",
    "package", "namespace", "return", "var", "void", "while",
})  # fmt: skip


def escape(name: str) -> str | None:
    """A property's name as expressions write it; None for a name that they cannot."""
    if name in _RESERVED:
        return f"__{name}__"
    if not _NAME.fullmatch(name):
        return None
    return _PARTS.sub(lambda found: _WORDS[found[0]], name)
