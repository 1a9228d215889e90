"""Which fields may a custom resource have, and how do two documents of it merge?"""

from typing import Any

from msgspec import UNSET

from mooring.apiserver import schema as table
from mooring.apiserver.apply.built_in import METADATA
from mooring.apiserver.apply.types import (
    ATOMIC,
    BOOLEAN,
    DEDUCED,
    NUMERIC,
    STRING,
    FieldType,
    MergeType,
    associative,
    map_of,
    set_of,
    struct,
    whole_list,
)
from mooring.apiserver.custom.pruning import prune
from mooring.apiserver.custom.structural import Schema
from mooring.apiserver.schema import StructureResult
from mooring.apiserver.shape import Shape

Document = dict[str, Any]

_METADATA = "meta.v1.ObjectMeta"
_SCALARS = {"string": STRING, "boolean": BOOLEAN, "integer": NUMERIC, "number": NUMERIC}


def shape_of(schema: Schema) -> Shape:
    """Strategic merge patches are refused, as upstream refuses them of custom resources."""

    def check(document: Document) -> StructureResult:
        found = _check_metadata(document)
        return StructureResult(found.type_errors, (*found.unknown_fields, *prune(document, schema, root=True, drop=False)))

    def drop_unknown(document: Document) -> None:
        if isinstance(document.get("metadata"), dict):
            table.drop_unknown_of(_METADATA, document["metadata"])
        prune(document, schema, root=True)

    merged = merge_type(schema, root=True)
    return Shape(check, drop_unknown, None, lambda: merged)


def _check_metadata(document: Document) -> StructureResult:
    metadata = document.get("metadata")
    if metadata is None:
        document.pop("metadata", None)
        return StructureResult()
    if not isinstance(metadata, dict):
        word = {str: "string", bool: "bool", list: "array"}.get(type(metadata), "number")
        return StructureResult((f"json: cannot unmarshal {word} into Go struct field .metadata of type v1.ObjectMeta",))
    return table.check_type(_METADATA, metadata, "metadata")


def merge_type(schema: Schema, root: bool = False) -> MergeType:
    """As apiextensions' openapi builder has structured-merge-diff see a schema."""
    if schema.int_or_string:
        return MergeType("untyped")
    match schema.type:
        case "object":
            return _object(schema, root or schema.embedded)
        case "array":
            element = merge_type(schema.items) if schema.items else ATOMIC
            if schema.list_type == "map":
                return associative(element, schema.map_keys)
            return set_of(element) if schema.list_type == "set" else whole_list(element)
    return _SCALARS.get(schema.type, DEDUCED if schema.preserve_unknown else ATOMIC)


def _object(schema: Schema, resource: bool) -> MergeType:
    whole = schema.map_type == "atomic"
    if isinstance(schema.additional, Schema):
        return map_of(merge_type(schema.additional), atomic=whole)
    fields = {
        name: FieldType(merge_type(each), None if each.default is UNSET else each.default)
        for name, each in schema.properties.items()
    }
    if resource:
        fields |= {"apiVersion": FieldType(STRING), "kind": FieldType(STRING), "metadata": FieldType(METADATA)}
    if schema.preserve_unknown or schema.additional is True:
        return struct(fields, element=DEDUCED, atomic=whole)
    return struct(fields, atomic=whole)
