"""Which field does a path such as '.spec.ports' or ".spec['a.b']" point to? (ValidFieldPath of pkg/apiserver/schema/cel)"""

import re

from mooring.apiserver.custom.structural import Schema

_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\['(?P<quoted>(?:[^'\\]|\\.)*)'\]")
_ENDS = re.compile(r"[.\[\]]")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


def field_path(text: str, schema: Schema, *, arrays: bool = True) -> tuple[tuple[str, ...], Schema]:
    """The names on the way, and the schema at its end. Raises ValueError, in upstream's words."""
    names: list[str] = []
    place = 0
    while place < len(text):
        step = _STEP.match(text, place)
        if step is None:
            if text[place] not in ".[":
                raise ValueError(f"expected [ or . but got: {_ENDS.split(text[place:])[0]}")
            if place + 1 == len(text):
                raise ValueError("unexpected end of JSON path")
            raise ValueError(f"expected single quoted string but got {text[place + 1 :]}")
        if step["name"] is None and not arrays:
            raise ValueError("array notation is not allowed")
        name = step["name"] if step["name"] is not None else _unescaped(step["quoted"])
        if name in schema.properties:
            schema = schema.properties[name]
        elif not schema.properties and isinstance(schema.additional, Schema):
            schema = schema.additional
        else:
            raise ValueError("does not refer to a valid field")
        names.append(name)
        place = step.end()
    return tuple(names), schema


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPES:
            raise ValueError(f"invalid string literal: invalid escape char {found[0]}")
        return _ESCAPES[found[1]]

    return re.sub(r"\\(.)", one, text)
