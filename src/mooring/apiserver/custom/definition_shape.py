"""Which fields may a definition have? The table of types ends where schemas are one of several things: those are read here."""

from collections.abc import Iterator
from typing import Any

from mooring.apiserver import schema as table
from mooring.apiserver.schema import StructureResult
from mooring.apiserver.shape import Shape, built_in
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION

Document = dict[str, Any]

_TYPE = "apiextensions.v1.JSONSchemaProps"
_NUMBERS = ("maximum", "minimum", "multipleOf")
_MAPS, _LISTS = ("properties", "patternProperties", "definitions"), ("allOf", "anyOf", "oneOf")
Steps = tuple[str | int, ...]


def definition_shape() -> Shape:
    whole = built_in(CUSTOM_RESOURCE_DEFINITION)

    def check(document: Document) -> StructureResult:
        found = whole.check(document)
        types, unknown = list(found.type_errors), list(found.unknown_fields)
        if not types:
            for path, schema in _roots(document):
                _check(schema, path, types, unknown)
        return StructureResult(tuple(types[:1]), tuple(unknown))

    def drop_unknown(document: Document) -> None:
        whole.drop_unknown(document)
        for _, schema in _roots(document):
            for _, open_schema in _open(schema, ()):
                table.drop_unknown_of(_TYPE, open_schema)

    return Shape(check, drop_unknown, whole.patch_meta, whole.merge_type)


def _roots(document: Document) -> Iterator[tuple[Steps, Document]]:
    for place, version in enumerate((document.get("spec") or {}).get("versions") or ()):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None:
            yield ("spec", "versions", place, "schema", "openAPIV3Schema"), schema


def _check(schema: Document, path: Steps, types: list[str], unknown: list[str]) -> None:
    """`schema` and what the table has checked of it: its numbers, and the schemas that the table has not looked into."""
    for name in _NUMBERS:
        value = schema.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            word = {str: "string", bool: "bool", list: "array", dict: "object"}[type(value)]
            types.append(f"json: cannot unmarshal {word} into Go struct field JSONSchemaProps.{name} of type float64")
        elif value is None:
            schema.pop(name, None)
    additional, items = schema.get("additionalProperties"), schema.get("items")
    if additional is not None and not isinstance(additional, (bool, dict)):
        types.append("boolean or JSON schema expected")
    if items is not None and not isinstance(items, (dict, list)):
        types.append("JSON schema or array of JSON schemas expected")
    for steps, inner in _open_here(schema, path):
        found = table.check_type(_TYPE, inner, *steps)
        types += found.type_errors
        unknown += found.unknown_fields
    if not types:
        for steps, inner in _below(schema, path):
            _check(inner, steps, types, unknown)


def _open_here(schema: Document, path: Steps) -> Iterator[tuple[Steps, Document]]:
    """Schemas that the table does not look into."""
    for name in ("items", "additionalProperties", "additionalItems"):
        if isinstance(schema.get(name), dict):
            yield (*path, name), schema[name]
    if isinstance(schema.get("items"), list):
        for place, item in enumerate(schema["items"]):
            if isinstance(item, dict):
                yield (*path, "items", place), item


def _below(schema: Document, path: Steps) -> Iterator[tuple[Steps, Document]]:
    yield from _open_here(schema, path)
    for name in _MAPS:
        for key, item in (schema.get(name) or {}).items():
            yield (*path, name, key), item
    for name in _LISTS:
        for place, item in enumerate(schema.get(name) or ()):
            yield (*path, name, place), item
    if schema.get("not") is not None:
        yield (*path, "not"), schema["not"]


def _open(schema: Document, path: Steps) -> Iterator[tuple[Steps, Document]]:
    """All of them, from the outside in."""
    for steps, inner in _below(schema, path):
        if steps[-1] in ("items", "additionalProperties", "additionalItems") or steps[-2:-1] == ("items",):
            yield steps, inner
        yield from _open(inner, steps)
