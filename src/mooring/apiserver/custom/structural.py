"""What does a schema of a definition say, as a tree that requests are pruned, defaulted and validated by?

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
A node's structure (types, properties, items) stands apart from what is only checked of values (`Checks`, where allOf, anyOf,
oneOf and not may nest); upstream keeps them apart the same way (pkg/apiserver/schema/structural.go).
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

Raw = dict[str, Any]
"""A JSONSchemaProps document."""


class Checks(Struct, frozen=True, eq=False):
    """What is asked of a value whose type is right. The nested ones reach into properties and items too."""

    format: str = ""
    pattern: str = ""
    enum: tuple[Any, ...] | None = None
    texts: frozenset[str] = frozenset()
    """Of the enum: a document may have as many values as an enum has words."""
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    min_properties: int | None = None
    max_properties: int | None = None
    required: tuple[str, ...] = ()
    all_of: "tuple[Nested, ...]" = ()
    any_of: "tuple[Nested, ...]" = ()
    one_of: "tuple[Nested, ...]" = ()
    not_: "Nested | None" = None


NO_CHECKS = Checks()


class Nested(Struct, frozen=True, eq=False):
    """One alternative of a junctor. `types` are those that it names, which only the int-or-string pattern may."""

    checks: Checks
    type: str = ""
    properties: "dict[str, Nested]" = {}
    items: "Nested | None" = None
    additional: "Nested | None" = None


class Rule(Struct, frozen=True, eq=False):
    """One of x-kubernetes-validations."""

    rule: str
    message: str = ""
    message_expression: str = ""
    reason: str = ""
    field_path: str = ""
    optional_old_self: bool | None = None


class Schema(Struct, frozen=True, eq=False):
    """A node of the structure. `additional` is what a map's values are, True when anything is."""

    type: str = ""
    title: str = ""
    nullable: bool = False
    default: Any | UnsetType = UNSET
    properties: "dict[str, Schema]" = {}
    items: "Schema | None" = None
    additional: "Schema | bool | None" = None
    preserve_unknown: bool = False
    embedded: bool = False
    int_or_string: bool = False
    list_type: str = ""
    map_keys: tuple[str, ...] = ()
    map_type: str = ""
    rules: tuple[Rule, ...] = ()
    checks: Checks = NO_CHECKS
    fills: bool = False
    """Whether there is a default at this node or below."""

    @property
    def correlates(self) -> bool:
        """Whether an item of the old list can be told to be the same as one of the new."""
        return self.list_type == "map"


def structural(raw: Raw) -> Schema:
    """The tree of a schema that has been validated (schema_rules.py), or that is to be."""
    additional = raw.get("additionalProperties")
    properties = {name: structural(each) for name, each in (raw.get("properties") or {}).items()}
    items = structural(raw["items"]) if isinstance(raw.get("items"), dict) else None
    values = structural(additional) if isinstance(additional, dict) else additional
    below = [each for each in (*properties.values(), items, values) if isinstance(each, Schema)]
    return Schema(
        raw.get("type") or "",
        raw.get("title") or "",
        bool(raw.get("nullable")),
        UNSET if raw.get("default") is None else raw["default"],
        properties,
        items,
        values,
        bool(raw.get("x-kubernetes-preserve-unknown-fields")),
        bool(raw.get("x-kubernetes-embedded-resource")),
        bool(raw.get("x-kubernetes-int-or-string")),
        raw.get("x-kubernetes-list-type") or "",
        tuple(raw.get("x-kubernetes-list-map-keys") or ()),
        raw.get("x-kubernetes-map-type") or "",
        tuple(map(_rule, raw.get("x-kubernetes-validations") or ())),
        checks(raw),
        raw.get("default") is not None or any(each.fills for each in below),
    )


_CHECKED = {
    "format": "format", "pattern": "pattern", "minimum": "minimum", "maximum": "maximum",
    "exclusiveMinimum": "exclusive_minimum", "exclusiveMaximum": "exclusive_maximum", "multipleOf": "multiple_of",
    "minLength": "min_length", "maxLength": "max_length", "minItems": "min_items", "maxItems": "max_items",
    "minProperties": "min_properties", "maxProperties": "max_properties",
}  # fmt: skip


def checks(raw: Raw) -> Checks:
    found: dict[str, Any] = {field: raw[name] for name, field in _CHECKED.items() if raw.get(name) is not None}
    if raw.get("enum") is not None:
        found["enum"] = tuple(raw["enum"])
        found["texts"] = frozenset(one for one in raw["enum"] if isinstance(one, str))
    if raw.get("required"):
        found["required"] = tuple(raw["required"])
    for name, field in (("allOf", "all_of"), ("anyOf", "any_of"), ("oneOf", "one_of")):
        if raw.get(name):
            found[field] = tuple(map(nested, raw[name]))
    if raw.get("not") is not None:
        found["not_"] = nested(raw["not"])
    return Checks(**found) if found else NO_CHECKS


def nested(raw: Raw) -> Nested:
    additional = raw.get("additionalProperties")
    return Nested(
        checks(raw),
        raw.get("type") or "",
        {name: nested(each) for name, each in (raw.get("properties") or {}).items()},
        nested(raw["items"]) if isinstance(raw.get("items"), dict) else None,
        nested(additional) if isinstance(additional, dict) else None,
    )


def _rule(raw: Raw) -> Rule:
    return Rule(
        raw.get("rule") or "", raw.get("message") or "", raw.get("messageExpression") or "", raw.get("reason") or "",
        raw.get("fieldPath") or "", raw.get("optionalOldSelf"),
    )  # fmt: skip
