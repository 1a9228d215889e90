"""What does the schema fill in? Defaults of absent fields, and of nulls that the field may not have.

As pkg/apiserver/schema/defaulting: a default that is put in is defaulted itself, an absent object is never made for its fields.
"""

from typing import Any

import msgspec
from msgspec import UNSET

from mooring.apiserver.custom.structural import Schema


def default(value: Any, schema: Schema) -> None:
    """Fills `value` in place."""
    if isinstance(value, dict):
        for name, known in schema.properties.items():
            if known.default is not UNSET and (name not in value or (value[name] is None and not known.nullable)):
                value[name] = _copied(known.default)
        if isinstance(schema.additional, Schema) and schema.additional.fills:
            of = schema.additional
            if of.default is not UNSET and not of.nullable:
                for name in [name for name, item in value.items() if item is None]:
                    value[name] = _copied(of.default)
            for item in value.values():
                _below(item, of)
        for name, known in schema.properties.items():
            if name in value:
                _below(value[name], known)
    elif isinstance(value, list) and schema.items is not None and schema.items.fills:
        items = schema.items
        for place, item in enumerate(value):
            if item is None and items.default is not UNSET and not items.nullable:
                value[place] = _copied(items.default)
            _below(value[place], items)


def _below(value: Any, schema: Schema) -> None:
    if schema.fills and isinstance(value, (dict, list)):
        default(value, schema)


def _copied(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value)) if isinstance(value, (dict, list)) else value
