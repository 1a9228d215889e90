"""Does a document hold to its schema? Every broken rule, in the words of upstream's validator (kube-openapi/pkg/validation).

What an update leaves as it was is not judged again (KEP-4008): a definition that became stricter must not keep objects from
being changed elsewhere. `old` is ABSENT where there is nothing that an old value could be told to be the same as.

Long because one value meets all of JSON Schema's rules, and apart they would be read no better.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from mooring.apiserver import patterns
from mooring.apiserver.custom import list_types
from mooring.apiserver.custom.string_formats import FORMATS
from mooring.apiserver.custom.structural import Checks, Nested, Schema
from mooring.apiserver.kinds.problems import invalid, required, shown, too_many
from mooring.apiserver.strategy import FieldError, below
from mooring.model import codec

ABSENT: Any = object()
MOST_ERRORS = 100
"""A document with more wrong than this is not read to its end: the answer would be larger than what was sent."""


def check(value: Any, schema: Schema, old: Any = ABSENT, path: str = "", *, root: bool = True) -> list[FieldError]:
    """What is wrong with a value, of a resource as a whole when `root`."""
    found: list[FieldError] = []
    with suppress(_TooMany):
        _Check(found).value(value, schema, old, path, root)
    return found


class _TooMany(Exception):
    pass


class _Check:
    def __init__(self, found: list[FieldError]) -> None:
        self._found = found

    def _add(self, errors: Sequence[FieldError]) -> None:
        self._found += errors
        if len(self._found) >= MOST_ERRORS:
            raise _TooMany

    def value(self, value: Any, schema: Schema, old: Any, path: str, root: bool) -> None:
        if old is not ABSENT and _equal(value, old):
            return
        trouble = _type_trouble(value, schema.type, schema.nullable, schema.int_or_string, path)
        if trouble is not None:
            self._add([trouble])
            return
        if value is None:
            return
        self._add(check_value(value, schema.checks, path, schema.type))
        if isinstance(value, dict):
            self._object(value, schema, old, path, root)
        elif isinstance(value, list):
            self._list(value, schema, old, path)

    def _object(self, value: dict[str, Any], schema: Schema, old: Any, path: str, root: bool) -> None:
        before = old if isinstance(old, dict) and schema.map_type != "atomic" else {}
        of = schema.additional if isinstance(schema.additional, Schema) else None
        for name, item in value.items():
            known = schema.properties.get(name, of)
            if known is None or ((root or schema.embedded) and name == "metadata"):
                continue
            self.value(item, known, before.get(name, ABSENT), below(path, name), False)

    def _list(self, value: list[Any], schema: Schema, old: Any, path: str) -> None:
        if schema.list_type in ("set", "map"):
            self._add(list_types.check(value, schema, path, MOST_ERRORS))
        if schema.items is None:
            return
        same: dict[Any, Any] = {}
        if schema.correlates and isinstance(old, list):
            same = {list_types.keys_of(item, schema): item for item in old}
        for place, item in enumerate(value):
            before = same.get(list_types.keys_of(item, schema), ABSENT) if same else ABSENT
            self.value(item, schema.items, before, f"{path}[{place}]", False)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (int, float)):
        return _same_number(one, other)
    return codec.same(one, other) if isinstance(one, (dict, list)) else bool(one == other)


def _same_number(one: Any, other: Any) -> bool:
    """Python holds True for 1."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


# Types ------------------------------------------------------------------------------------------------------------------


def type_word(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


_BEYOND = 1 << 1024
"""No float64 is as large. Go reads no larger number, and expressions can do nothing with one."""

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: (isinstance(value, int) and not isinstance(value, bool)) or _whole(value),
    "number": lambda value: isinstance(value, float) or (type(value) is int and abs(value) < _BEYOND),
}


def _whole(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value == int(value)


def _type_trouble(value: Any, type: str, nullable: bool, int_or_string: bool, path: str) -> FieldError | None:
    if value is None and (nullable or not (type or int_or_string)):
        return None
    if int_or_string:
        if isinstance(value, str) or _TYPES["integer"](value):
            return None
        wanted = "integer,string"
    elif not type or _TYPES[type](value):
        return None
    else:
        wanted = type
    word = type_word(value)
    return FieldError(
        "FieldValueTypeInvalid", path, f"Invalid value: {shown(word)}: {_in(path)} must be of type {wanted}: {shown(word)}"
    )


def _in(path: str) -> str:
    return f"{path} in body"


# Values -----------------------------------------------------------------------------------------------------------------


def check_value(value: Any, checks: Checks, path: str, type: str = "") -> list[FieldError]:
    """What is asked of this value, nested junctors among it, but not what its own properties' schemas ask."""
    found: list[FieldError] = []
    if checks.enum is not None and not _among(value, checks.enum, checks.texts):
        known = ", ".join(shown(one if isinstance(one, str) else _plain(one)) for one in checks.enum)
        found.append(
            FieldError("FieldValueNotSupported", path, f"Unsupported value: {shown(value)}: supported values: {known}")
        )
    if isinstance(value, str):
        found += _check_string(value, checks, path)
    elif isinstance(value, list):
        found += _check_list(value, checks, path)
    elif isinstance(value, dict):
        found += _check_object(value, checks, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        found += _check_number(value, checks, path, type)
    if checks.all_of or checks.any_of or checks.one_of or checks.not_:
        found += _check_junctors(value, checks, path)
    return found


def _among(value: Any, enum: Sequence[Any], texts: frozenset[str]) -> bool:
    if isinstance(value, str):
        return value in texts
    return any(_equal(value, one) or _numbers(value, one) for one in enum)


def _numbers(value: Any, one: Any) -> bool:
    return type_word(value) in ("integer", "number") and type_word(one) in ("integer", "number") and bool(value == one)


def _plain(value: Any) -> str:
    return shown(value)


def _check_string(value: str, checks: Checks, path: str) -> list[FieldError]:
    found = []
    if checks.max_length is not None and len(value) > checks.max_length:
        found.append(FieldError("FieldValueTooLong", path, f"Too long: may not be more than {checks.max_length} bytes"))
    if checks.min_length is not None and len(value) < checks.min_length:
        found.append(invalid(path, value, f"{_in(path)} should be at least {checks.min_length} chars long"))
    if checks.pattern and not _matches(checks.pattern, value):
        found.append(invalid(path, value, f"{_in(path)} should match '{checks.pattern}'"))
    name = checks.format.replace("datetime", "date-time") if checks.format == "datetime" else checks.format
    if name in FORMATS and not FORMATS[name](value):
        found.append(
            FieldError(
                "FieldValueTypeInvalid",
                path,
                f"Invalid value: {shown(value)}: {_in(path)} must be of type {name}: {shown(value)}",
            )
        )
    return found


def _matches(pattern: str, value: str) -> bool:
    return patterns.compiled(pattern).search(value) is not None


def _check_list(value: list[Any], checks: Checks, path: str) -> list[FieldError]:
    found = []
    if checks.max_items is not None and len(value) > checks.max_items:
        found.append(too_many(path, len(value), checks.max_items))
    if checks.min_items is not None and len(value) < checks.min_items:
        found.append(invalid(path, len(value), f"{_in(path)} should have at least {checks.min_items} items"))
    return found


def _check_object(value: dict[str, Any], checks: Checks, path: str) -> list[FieldError]:
    found = []
    if checks.max_properties is not None and len(value) > checks.max_properties:
        found.append(too_many(path, len(value), checks.max_properties))
    if checks.min_properties is not None and len(value) < checks.min_properties:
        found.append(invalid(path, len(value), f"{_in(path)} should have at least {checks.min_properties} properties"))
    found += [required(f"{path}.{name}" if path else name) for name in checks.required if name not in value]
    return found


_RANGES = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}


def _check_number(value: float, checks: Checks, path: str, type: str) -> list[FieldError]:
    found = []
    limits = _RANGES.get(checks.format) or (_RANGES["int64"] if type == "integer" else None)
    if limits and not limits[0] <= value <= limits[1]:
        found.append(
            invalid(
                path,
                value,
                f"Checked value must be of type {type or 'integer'} with format {checks.format or 'int64'} in {path}",
            )
        )
    if checks.maximum is not None and (value > checks.maximum or (checks.exclusive_maximum and value == checks.maximum)):
        word = "less than" if checks.exclusive_maximum else "less than or equal to"
        found.append(invalid(path, value, f"{_in(path)} should be {word} {_number(checks.maximum)}"))
    if checks.minimum is not None and (value < checks.minimum or (checks.exclusive_minimum and value == checks.minimum)):
        word = "greater than" if checks.exclusive_minimum else "greater than or equal to"
        found.append(invalid(path, value, f"{_in(path)} should be {word} {_number(checks.minimum)}"))
    if checks.multiple_of:
        share = value / checks.multiple_of if abs(value) < 1e300 else 0.0
        if not (math.isfinite(share) and share == int(share)):
            found.append(invalid(path, value, f"{_in(path)} should be a multiple of {_number(checks.multiple_of)}"))
    return found


def _number(value: float) -> str:
    """As Go's %v writes a float."""
    return str(int(value)) if value == int(value) and abs(value) < 1e21 else repr(value)


# Junctors ---------------------------------------------------------------------------------------------------------------


def _check_junctors(value: Any, checks: Checks, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    if checks.not_ is not None and not check_nested(value, checks.not_, path):
        found.append(_junctor(path, "must not validate the schema (not)"))
    if checks.any_of:
        failures = [check_nested(value, one, path) for one in checks.any_of]
        if all(failures):
            found += [_junctor(path, "must validate at least one schema (anyOf)"), *_mildest(failures)]
    if checks.one_of:
        failures = [check_nested(value, one, path) for one in checks.one_of]
        good = sum(not failure for failure in failures)
        if good != 1:
            many = f"Found {good} valid alternatives" if good else "Found none valid"
            found.append(_junctor(path, f"must validate one and only one schema (oneOf). {many}"))
            found += [] if good else _mildest(failures)
    if checks.all_of:
        failures = [check_nested(value, one, path) for one in checks.all_of]
        if any(failures):
            none = "" if not all(failures) else ". None validated"
            found += [
                *(error for failure in failures for error in failure),
                _junctor(path, f"must validate all the schemas (allOf){none}"),
            ]
    return found


def _mildest(failures: list[list[FieldError]]) -> list[FieldError]:
    """The alternative that was nearest to being right."""
    return min(failures, key=lambda failure: len(failure))


def _junctor(path: str, why: str) -> FieldError:
    return invalid(path or "<nil>", "", f"{shown(path)} {why}")


def check_nested(value: Any, nested: Nested, path: str) -> list[FieldError]:
    """What one alternative says against a value."""
    if nested.type and (trouble := _type_trouble(value, nested.type, False, False, path)):
        return [trouble]
    if value is None:
        return []
    found = check_value(value, nested.checks, path)
    if isinstance(value, dict) and (nested.properties or nested.additional):
        for name, item in value.items():
            known = nested.properties.get(name, nested.additional)
            if known is not None:
                found += check_nested(item, known, below(path, name))
    elif isinstance(value, list) and nested.items is not None:
        for place, item in enumerate(value):
            found += check_nested(item, nested.items, f"{path}[{place}]")
    return found
