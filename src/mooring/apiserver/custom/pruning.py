"""Which fields does the schema not know, and what becomes of them? They are named, and dropped.

As pkg/apiserver/schema/pruning/algorithm.go: below x-kubernetes-preserve-unknown-fields everything stays, except what a known
property says of itself; a resource inside a resource keeps its apiVersion, kind and metadata.
"""

from typing import Any

from mooring.apiserver.custom.structural import Schema
from mooring.apiserver.strategy import below

TYPE_META = frozenset({"apiVersion", "kind", "metadata"})
_NAMED = 1000
"""More than clients are told of."""


def prune(value: Any, schema: Schema, *, root: bool = False, drop: bool = True) -> list[str]:
    """The paths of unknown fields, of very many the first; all are removed from `value` unless `drop` is False."""
    found: list[str] = []
    _prune(value, schema, "", root, schema.preserve_unknown, drop, found)
    return found


def _prune(value: Any, schema: Schema | None, path: str, resource: bool, keep: bool, drop: bool, found: list[str]) -> None:
    if isinstance(value, list):
        items = schema.items if schema else None
        if items is not None:
            for place, item in enumerate(value):
                _prune(item, items, f"{path}[{place}]", items.embedded, items.preserve_unknown, drop, found)
        elif not keep:
            for place, item in enumerate(value):
                _prune(item, None, f"{path}[{place}]", False, False, drop, found)
    elif isinstance(value, dict):
        _prune_object(value, schema, path, resource, keep, drop, found)


def _prune_object(
    value: dict[str, Any], schema: Schema | None, path: str, resource: bool, keep: bool, drop: bool, found: list[str]
) -> None:
    if schema is not None and isinstance(schema.additional, Schema):
        of = schema.additional
        for name, item in value.items():
            if isinstance(item, (dict, list)):
                _prune(item, of, below(path, name), of.embedded, of.preserve_unknown, drop, found)
        return
    if schema is not None and schema.additional is True:
        return
    properties = schema.properties if schema is not None else {}
    unknown = []
    for name, item in value.items():
        known = properties.get(name)
        if resource and name in TYPE_META:
            continue
        if known is None:
            if not keep:
                unknown.append(name)
        elif isinstance(item, (dict, list)):
            _prune(item, known, below(path, name), known.embedded, known.preserve_unknown, drop, found)
    found += [below(path, name) for name in unknown[: max(_NAMED - len(found), 0)]]
    if drop:
        for name in unknown:
            del value[name]
