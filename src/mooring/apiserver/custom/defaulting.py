"""What does the schema fill in? Defaults of absent fields, and of nulls that the field may not have.

As pkg/apiserver/schema/defaulting: a default that is put in is defaulted itself, an absent object is never made for its fields.
"""

from typing import Any

import msgspec
from msgspec import UNSET

from mooring.apiserver.custom.structural import Schema
from mooring.apiserver.errors import too_large

MAX_FILLED = 3 * 1024 * 1024
"""Octets that defaults may add, as JSON without their names: a default in a list comes again with each of its items."""


def default(value: Any, schema: Schema) -> None:
    """Fills `value` in place. Raises StatusError 413."""
    _Filling().fill(value, schema)


class _Filling:
    def __init__(self) -> None:
        self._left = MAX_FILLED

    def fill(self, value: Any, schema: Schema) -> None:
        if isinstance(value, dict):
            self._object(value, schema)
        elif isinstance(value, list) and schema.items is not None and schema.items.fills:
            items = schema.items
            for place, item in enumerate(value):
                if item is None and items.default is not UNSET and not items.nullable:
                    value[place] = self._copied(items.default)
                self._below(value[place], items)

    def _object(self, value: dict[str, Any], schema: Schema) -> None:
        for name, known in schema.properties.items():
            if known.default is not UNSET and (name not in value or (value[name] is None and not known.nullable)):
                value[name] = self._copied(known.default)
        if isinstance(schema.additional, Schema) and schema.additional.fills:
            of = schema.additional
            if of.default is not UNSET and not of.nullable:
                for name in [name for name, item in value.items() if item is None]:
                    value[name] = self._copied(of.default)
            for item in value.values():
                self._below(item, of)
        for name, known in schema.properties.items():
            if name in value:
                self._below(value[name], known)

    def _below(self, value: Any, schema: Schema) -> None:
        if schema.fills and isinstance(value, (dict, list)):
            self.fill(value, schema)

    def _copied(self, value: Any) -> Any:
        encoded = msgspec.json.encode(value)
        self._left -= len(encoded)
        if self._left < 0:
            raise too_large(f"defaults add more than {MAX_FILLED} bytes")
        return msgspec.json.decode(encoded) if isinstance(value, (dict, list)) else value
