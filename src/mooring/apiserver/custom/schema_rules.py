"""May a definition have this schema? Structural, and with nothing that the API machinery cannot honour.

Upstream: pkg/apiserver/schema/validation.go (structure), pkg/apis/apiextensions/validation/validation.go (all else); the
messages are theirs. What expressions say is checked when all else is right (rule_checks.py).

Long because the two sets of rules look at the same fields of the same document.
"""

import re
from typing import Any

from msgspec import Struct

from mooring.apiserver import patterns
from mooring.apiserver.custom.rule_paths import field_path
from mooring.apiserver.custom.structural import Raw, structural
from mooring.apiserver.kinds.problems import forbidden, invalid, required
from mooring.apiserver.strategy import FieldError

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_SCALAR_LISTS = ("atomic", "set", "map")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_ROOT_FIELDS = (
    "Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum", "MaxLength",
    "MinLength", "Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items", "Properties",
    "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations",
)  # fmt: skip
_GO_NAMES = {"x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields", "x-kubernetes-validations": "XValidations"}
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_META = frozenset({"metadata", "kind", "apiVersion"})
_UNSTRUCTURED = {
    "type": "must be empty", "default": "must be undefined", "title": "must be empty", "description": "must be empty",
    "nullable": "must be false", "externalDocs": "must be undefined", "x-kubernetes-preserve-unknown-fields": "must be false",
    "x-kubernetes-embedded-resource": "must be false", "x-kubernetes-int-or-string": "must be false",
    "x-kubernetes-list-map-keys": "must be empty", "x-kubernetes-list-type": "must be undefined",
    "x-kubernetes-map-type": "must be undefined", "x-kubernetes-validations": "must be empty",
}  # fmt: skip
"""What has no place under a junctor."""


def not_supported(field: str, value: Any, known: tuple[str, ...]) -> FieldError:
    """In the order given, as upstream lists these."""
    listed = ", ".join(f'"{one}"' for one in known)
    return FieldError("FieldValueNotSupported", field, f'Unsupported value: "{value}": supported values: {listed}')


# Structure --------------------------------------------------------------------------------------------------------------


def check_structural(raw: Raw, path: str) -> list[FieldError]:
    """What keeps a schema from being structural, sorted as upstream sorts it."""
    found = _invariants(raw, "root", path) + _completeness(raw, raw, path)
    return sorted(found, key=lambda error: (error.field, error.message))


def _schemas(raw: Raw) -> list[tuple[str, str, Raw]]:
    """(level, path below, schema) of the structure's children."""
    found: list[tuple[str, str, Raw]] = []
    if isinstance(raw.get("items"), dict):
        found.append(("item", ".items", raw["items"]))
    found += [("field", f".properties[{name}]", each) for name, each in (raw.get("properties") or {}).items()]
    if isinstance(raw.get("additionalProperties"), dict):
        found.append(("field", ".additionalProperties", raw["additionalProperties"]))
    return found


def _invariants(raw: Raw, level: str, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    type, embedded = raw.get("type") or "", bool(raw.get("x-kubernetes-embedded-resource"))
    int_or_string, preserve = bool(raw.get("x-kubernetes-int-or-string")), bool(raw.get("x-kubernetes-preserve-unknown-fields"))
    if type == "array" and raw.get("items") is None:
        found.append(required(f"{path}.items", "must be specified"))
    for inner, below, each in _schemas(raw):
        found += _invariants(each, inner, path + below)
    if raw.get("additionalProperties") is not None and level == "root":
        found.append(forbidden(f"{path}.additionalProperties", "must not be used at the root"))
    if int_or_string and preserve:
        why = "must be false if x-kubernetes-int-or-string is true"
        found.append(invalid(f"{path}.x-kubernetes-preserve-unknown-fields", True, why))
    if int_or_string and embedded:
        found.append(
            invalid(f"{path}.x-kubernetes-embedded-resource", True, "must be false if x-kubernetes-int-or-string is true")
        )
    found += _checks(raw, path, level)
    found += _type_rules(raw, level, path, type, embedded, int_or_string or preserve)
    metadata = (raw.get("properties") or {}).get("metadata")
    if metadata is not None and (level == "root" or embedded):
        found += _metadata(metadata, level, f"{path}.properties[metadata]")
    if embedded and not preserve and not raw.get("properties"):
        why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        found.append(required(f"{path}.properties", why))
    return found


def _type_rules(raw: Raw, level: str, path: str, type: str, embedded: bool, untyped: bool) -> list[FieldError]:
    found: list[FieldError] = []
    if embedded and type != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        found.append(invalid(f"{path}.type", type, why) if type else required(f"{path}.type", why))
    elif not type and not untyped:
        where = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}
        found.append(required(f"{path}.type", f"must not be empty {where[level]}"))
    if embedded and raw.get("additionalProperties") is not None:
        why = "must not be used if x-kubernetes-embedded-resource is set"
        found.append(forbidden(f"{path}.additionalProperties", why))
    if level == "root" and type and type != "object":
        found.append(invalid(f"{path}.type", type, "must be object at the root"))
    if level == "root" or embedded:
        for name in ("kind", "apiVersion"):
            own = (raw.get("properties") or {}).get(name)
            if own is not None and own.get("type") != "string":
                found.append(invalid(f"{path}.properties[{name}].type", own.get("type") or "", "must be string"))
    return found


def _metadata(raw: Raw, level: str, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    if raw.get("type") != "object":
        found.append(invalid(f"{path}.type", raw.get("type") or "", "must be object"))
    beyond = {name for name, value in raw.items() if value not in (None, "", [], {}, False)} - {"type", "properties", "default"}
    names = set(raw.get("properties") or {})
    checks = {"description"} & beyond
    nested = _CHECK_FIELDS & beyond
    if level == "root" and (names - {"name", "generateName"} or beyond - nested or checks):
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        found.append(forbidden(path, why))
    return found


_CHECK_FIELDS = frozenset({
    "format", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems",
    "minItems", "uniqueItems", "multipleOf", "enum", "maxProperties", "minProperties", "required", "allOf", "oneOf", "anyOf",
    "not",
})  # fmt: skip


def _checks(raw: Raw, path: str, level: str, skip_any_of: bool = False) -> list[FieldError]:
    found: list[FieldError] = []
    any_of, all_of = raw.get("anyOf") or [], raw.get("allOf") or []
    skip_any_of = skip_any_of or any_of == _INT_OR_STRING
    skip_first = bool(all_of) and all_of[0].get("anyOf") == _INT_OR_STRING
    if not skip_any_of:
        found += [error for place, one in enumerate(any_of) for error in _nested(one, f"{path}.anyOf[{place}]")]
    for place, one in enumerate(all_of):
        found += _nested(one, f"{path}.allOf[{place}]", skip_first and not place)
    found += [error for place, one in enumerate(raw.get("oneOf") or ()) for error in _nested(one, f"{path}.oneOf[{place}]")]
    if raw.get("not") is not None:
        found += _nested(raw["not"], f"{path}.not")
    if pattern := raw.get("pattern"):
        try:
            patterns.compiled(pattern)
        except ValueError as error:
            found.append(
                invalid(
                    f"{path}.pattern", pattern, f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
                )
            )
    return found


def _nested(raw: Raw, path: str, skip_any_of: bool = False) -> list[FieldError]:
    found = _checks(raw, path, "", skip_any_of)
    if isinstance(raw.get("items"), dict):
        found += _nested(raw["items"], f"{path}.items")
    properties = raw.get("properties") or {}
    for name, each in properties.items():
        found += _nested(each, f"{path}.properties[{name}]")
    for name, why in _UNSTRUCTURED.items():
        if raw.get(name) not in (None, "", [], {}, False):
            found.append(forbidden(f"{path}.{name}", f"{why} to be structural"))
    if raw.get("additionalProperties") is not None:
        found.append(forbidden(f"{path}.additionalProperties", "must be undefined to be structural"))
    if "metadata" in properties:
        found.append(forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context"))
    return found


def _completeness(raw: Raw, spine: Raw | None, path: str) -> list[FieldError]:
    """Whatever junctors speak of must be specified outside of them too."""
    found: list[FieldError] = []
    for name in ("allOf", "anyOf", "oneOf"):
        for place, one in enumerate(raw.get(name) or ()):
            found += _specified(one, spine, f"{path}.{name}[{place}]", path)
    if raw.get("not") is not None:
        found += _specified(raw["not"], spine, f"{path}.not", path)
    for _, below, each in _schemas(raw):
        found += _completeness(each, each, path + below)
    return found


def _specified(raw: Raw, spine: Raw | None, path: str, spine_path: str) -> list[FieldError]:
    found: list[FieldError] = []
    if isinstance(raw.get("items"), dict):
        items = spine.get("items") if spine else None
        if not isinstance(items, dict):
            found.append(required(f"{spine_path}.items", f"because it is defined in {path}.items"))
        else:
            found += _specified(raw["items"], items, f"{path}.items", f"{spine_path}.items")
    for name, each in (raw.get("properties") or {}).items():
        known = (spine.get("properties") or {}).get(name) if spine else None
        if known is None and spine and isinstance(spine.get("additionalProperties"), dict):
            continue
        if known is None:
            found.append(required(f"{spine_path}.properties[{name}]", f"because it is defined in {path}.properties[{name}]"))
        else:
            found += _specified(each, known, f"{path}.properties[{name}]", f"{spine_path}.properties[{name}]")
    for junctor in ("allOf", "anyOf", "oneOf"):
        for place, one in enumerate(raw.get(junctor) or ()):
            found += _specified(one, spine, f"{path}.{junctor}[{place}]", spine_path)
    if raw.get("not") is not None:
        found += _specified(raw["not"], spine, f"{path}.not", spine_path)
    return found


# Everything else --------------------------------------------------------------------------------------------------------


class _Place(Struct, frozen=True):
    """What holds of where a schema stands."""

    no_defaults: str = ""
    """Why defaults may not be set here."""
    in_meta: bool = False


def check_schema(raw: Raw, path: str, has_status: bool) -> list[FieldError]:
    """What is wrong with a schema's fields, at `path` ('spec.validation.openAPIV3Schema')."""
    found: list[FieldError] = []
    if has_status:
        found += _check_root(raw, path)
    if raw.get("nullable"):
        found.append(forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    return found + _check(raw, path, _Place(), True)


def _check_root(raw: Raw, path: str) -> list[FieldError]:
    """With a status subresource the status' schema is used apart, so nothing beside properties may reach into it."""
    if raw.get("type") and raw["type"] != "object":
        why = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        return [invalid(f"{path}.type", raw["type"], why)]
    for name, value in raw.items():
        own = _GO_NAMES.get(name, name[:1].upper() + name[1:])
        if value not in (None, "", [], {}, False) and own not in _ROOT_FIELDS:
            listed = " ".join(_ROOT_FIELDS)
            why = f"only [{listed}] fields are allowed at the root of the schema if the status subresource is enabled"
            return [invalid(path, name, why)]
    return []


def _check(raw: Raw, path: str, place: _Place, root: bool) -> list[FieldError]:
    found = _check_fields(raw, path, place)
    additional, properties = raw.get("additionalProperties"), raw.get("properties") or {}
    if additional is not None:
        if properties and additional is not True:
            why = "additionalProperties and properties are mutual exclusive"
            found.append(forbidden(f"{path}.additionalProperties", why))
        if isinstance(additional, dict):
            why = "inside additionalProperties applying to object metadata"
            inner = _Place(why, True) if place.in_meta else place
            found += _check(additional, f"{path}.additionalProperties", inner, False)
    for name, each in properties.items():
        inner = place
        if (root or raw.get("x-kubernetes-embedded-resource")) and name in _META:
            inner = _Place(f"in top-level {name}" if root else place.no_defaults, True)
        found += _check(each, f"{path}.properties[{name}]", inner, False)
    for name in ("allOf", "anyOf", "oneOf"):
        for number, one in enumerate(raw.get(name) or ()):
            found += _check(one, f"{path}.{name}[{number}]", place, False)
    if raw.get("not") is not None:
        found += _check(raw["not"], f"{path}.not", place, False)
    if isinstance(raw.get("items"), dict):
        found += _check(raw["items"], f"{path}.items", place, False)
    return found + _check_extensions(raw, path) + _check_rules(raw, path)


def _check_fields(raw: Raw, path: str, place: _Place) -> list[FieldError]:
    found: list[FieldError] = []
    type = raw.get("type") or ""
    if type == "null":
        found.append(forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative"))
    elif type and type not in _TYPES:
        found.append(not_supported(f"{path}.type", type, _TYPES))
    if raw.get("default") is not None and place.no_defaults:
        found.append(forbidden(f"{path}.default", f"must not be set {place.no_defaults}"))
    for name in _UNSUPPORTED:
        if raw.get(name) not in (None, "", {}):
            found.append(forbidden(f"{path}.{name}", f"{name} is not supported"))
    if isinstance(raw.get("items"), list):
        found.append(forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if place.in_meta and raw.get("x-kubernetes-embedded-resource"):
        found.append(forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta"))
    if raw.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        found.append(forbidden(f"{path}.uniqueItems", why))
    return found


def _check_extensions(raw: Raw, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    type, lists, maps = raw.get("type") or "", raw.get("x-kubernetes-list-type"), raw.get("x-kubernetes-map-type")
    if raw.get("x-kubernetes-preserve-unknown-fields") is False:
        found.append(invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined"))
    if maps is not None:
        if type != "object":
            why = "must be object if x-kubernetes-map-type is specified"
            found.append(invalid(f"{path}.type", type, why) if type else required(f"{path}.type", why))
        if maps not in ("atomic", "granular"):
            found.append(not_supported(f"{path}.x-kubernetes-map-type", maps, ("atomic", "granular")))
    items = raw.get("items") if isinstance(raw.get("items"), dict) else None
    if lists is not None:
        if type != "array":
            why = "must be array if x-kubernetes-list-type is specified"
            found.append(invalid(f"{path}.type", type, why) if type else required(f"{path}.type", why))
        elif lists == "set" and items is not None:
            found += _check_set(items, f"{path}.items")
        if lists not in _SCALAR_LISTS:
            found.append(not_supported(f"{path}.x-kubernetes-list-type", lists, _SCALAR_LISTS))
    if raw.get("x-kubernetes-list-map-keys") and lists != "map":
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        field = f"{path}.x-kubernetes-list-type"
        found.append(required(field, why) if lists is None else invalid(field, lists, why))
    if lists == "map":
        found += _check_map(raw, items, path)
    if lists in ("set", "map") and items is not None and items.get("nullable"):
        found.append(forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {lists}"))
    return found


def _check_set(items: Raw, path: str) -> list[FieldError]:
    why = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "array" and items.get("x-kubernetes-list-type") not in (None, "atomic"):
        return [invalid(f"{path}.x-kubernetes-list-type", items["x-kubernetes-list-type"], why)]
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        return [invalid(f"{path}.x-kubernetes-map-type", items.get("x-kubernetes-map-type"), why)]
    return []


def _check_map(raw: Raw, items: Raw | None, path: str) -> list[FieldError]:
    keys = raw.get("x-kubernetes-list-map-keys") or []
    found: list[FieldError] = []
    if not keys:
        found.append(required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map"))
    if items is None:
        return [*found, required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")]
    if items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        return [*found, invalid(f"{path}.items.type", items.get("type") or "", why)]
    # Each shows all keys: made once, however many keys there are.
    strangers = [invalid(f"{path}.x-kubernetes-list-map-keys", keys, "entries must all be names of item properties")]
    repeated = [invalid(f"{path}.x-kubernetes-list-map-keys", keys, "must not contain duplicate entries")]
    seen: set[str] = set()
    for key in keys:
        own = (items.get("properties") or {}).get(key)
        field = f"{path}.items.properties[{key}]"
        if own is None:
            found += strangers
        elif own.get("type") in ("array", "object"):
            why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            found.append(invalid(f"{field}.type", items.get("type"), why))
        if key in seen:
            found += repeated
        seen.add(key)
        if own is not None and key not in (items.get("required") or ()) and own.get("default") is None:
            why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            found.append(required(f"{field}.default", why))
        if own is not None and own.get("nullable"):
            why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            found.append(forbidden(f"{field}.nullable", why))
    return found


_LINES = re.compile(r"[\n\r]")


def _check_rules(raw: Raw, path: str) -> list[FieldError]:
    """The texts around the expressions."""
    found: list[FieldError] = []
    for place, rule in enumerate(raw.get("x-kubernetes-validations") or ()):
        field = f"{path}.x-kubernetes-validations[{place}]"
        text, message, path_given = rule.get("rule") or "", rule.get("message") or "", rule.get("fieldPath") or ""
        if not text.strip():
            found.append(required(f"{field}.rule", "rule is not specified"))
        elif message and not message.strip():
            found.append(invalid(f"{field}.message", message, "message must be non-empty if specified"))
        elif _LINES.search(message.strip()):
            found.append(invalid(f"{field}.message", message, "message must not contain line breaks"))
        elif _LINES.search(text.strip()) and not message.strip():
            found.append(required(f"{field}.message", "message must be specified if rule contains line breaks"))
        if rule.get("messageExpression") and not rule["messageExpression"].strip():
            found.append(required(f"{field}.messageExpression", "messageExpression must be non-empty if specified"))
        if rule.get("reason") is not None and rule["reason"] not in _REASONS:
            found.append(not_supported(f"{field}.reason", rule["reason"], _REASONS))
        if path_given and not path_given.strip():
            found.append(invalid(f"{field}.fieldPath", path_given, "fieldPath must be non-empty if specified"))
        if _LINES.search(path_given):
            found.append(invalid(f"{field}.fieldPath", path_given, "fieldPath must not contain line breaks"))
        if path_given:
            try:
                field_path(path_given, structural(raw))
            except ValueError:
                found.append(invalid(f"{field}.fieldPath", path_given, "fieldPath must be a valid path"))
    return found
