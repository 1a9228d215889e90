"""Of which type is a node of a schema for the expressions at it? (apiserver/pkg/cel/common/schemas.go)"""

from msgspec import UNSET

from mooring.apiserver.cel.declared import (
    BOOL,
    DOUBLE,
    DYN,
    INT,
    Declared,
    list_of,
    map_of,
    object_of,
    octets,
    string,
)
from mooring.apiserver.custom.structural import Schema
from mooring.model import codec

_META = object_of({"name": string(), "generateName": string()})
_TIMES = {"duration": ("duration", 4), "date": ("timestamp", 12), "date-time": ("timestamp", 22)}
"""The type, and the least number of bytes of a value in JSON."""


def declared_type(schema: Schema, root: bool = False) -> Declared | None:
    """None when nothing is known of its values, so that expressions cannot reach them. `root` of a resource."""
    if schema.int_or_string:
        return DYN
    checks = schema.checks
    match schema.type:
        case "array" if schema.items is not None:
            element = declared_type(schema.items, schema.items.embedded)
            return list_of(element, checks.max_items) if element else None
        case "object" if isinstance(schema.additional, Schema):
            element = declared_type(schema.additional, schema.additional.embedded)
            return map_of(element, checks.max_properties) if element else None
        case "object":
            return _object(schema, root)
        case "string":
            return _string(schema)
        case "boolean":
            return BOOL
        case "number":
            return DOUBLE
        case "integer":
            return INT
    return None


def _object(schema: Schema, root: bool) -> Declared:
    fields = {}
    for name, each in schema.properties.items():
        if (type := declared_type(each, each.embedded)) is not None:
            fields[name] = type
    if root:
        fields |= {"apiVersion": string(), "kind": string(), "metadata": _META}
    undefaulted = {name for name in schema.checks.required if name in fields and not _defaulted(schema, name)}
    return object_of(fields, frozenset(undefaulted))


def _defaulted(schema: Schema, name: str) -> bool:
    return name in schema.properties and schema.properties[name].default is not UNSET


def _string(schema: Schema) -> Declared:
    checks = schema.checks
    if checks.format == "byte":
        return octets(checks.max_length)
    if checks.format in _TIMES:
        form, least = _TIMES[checks.format]
        return Declared(form, min_json=least)
    if checks.max_length is None and checks.enum:
        longest = max(len(codec.encode(each)) for each in checks.enum)
        return Declared("string", max_size=longest, min_json=2)
    return string(checks.max_length)
