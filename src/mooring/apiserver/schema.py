"""Which fields does each kind have, of which types, and how do patches merge them?

The table (schema_types.json) holds names and types only, as facts of the published OpenAPI document and the Go types; one line
a type, `{package: {type: {field: 'type[!][ patch][ =list]'}}}`: `!` marks a required field, patch is `strategies[:mergeKey]`,
list is `set`, `map:keys` or `atomic` (scripts/api_types.py makes the table).
Structure is checked the way upstream's decoder (sigs.k8s.io/json) does: the first type error in its words, unknown fields by
path, null as absent.
"""

import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pkgutil import get_data
from typing import Any

import msgspec
from msgspec import Struct

from mooring.model.kinds import Kind

GROUP_PACKAGES = {
    "": "core",
    "admissionregistration.k8s.io": "admissionregistration",
    "apiextensions.k8s.io": "apiextensions",
    "apps": "apps",
    "authentication.k8s.io": "authentication",
    "authorization.k8s.io": "authorization",
    "autoscaling": "autoscaling",
    "batch": "batch",
    "coordination.k8s.io": "coordination",
    "discovery.k8s.io": "discovery",
    "events.k8s.io": "events",
    "meta.k8s.io": "meta",
    "networking.k8s.io": "networking",
    "policy": "policy",
    "rbac.authorization.k8s.io": "rbac",
    "storage.k8s.io": "storage",
}


class StructureResult(Struct, frozen=True):
    """`type_errors`: texts as Go's decoder words them (at most one: it stops at the first).

    `unknown_fields`: paths such as 'spec.ports[0].foo'.
    """

    type_errors: tuple[str, ...] = ()
    unknown_fields: tuple[str, ...] = ()


class PatchMeta(Struct, frozen=True):
    """Of one field: patch strategies ('merge', 'replace', 'retainKeys') and the merge key; both empty means replace whole."""

    strategy: tuple[str, ...] = ()
    merge_key: str = ""


class Field(Struct, frozen=True):
    """One field of a type. `wrappers` are '[]' and 'map[string]' from the outside in;

    `base` is a scalar or a type's full name, e.g. 'core.v1.PodSpec'.
    """

    base: str
    wrappers: tuple[str, ...] = ()
    required: bool = False
    patch: PatchMeta = PatchMeta()
    topology: str = ""
    """How server-side apply merges it: a list is 'set', 'map' (of `keys`) or '' (atomic), a map '' (by key) or 'atomic'."""
    keys: tuple[str, ...] = ()


Fields = Mapping[str, Field]
SCALARS = frozenset({"string", "bool", "int32", "int64", "time", "micro-time", "quantity", "bytes", "int-or-string", "any"})
_FIELD = re.compile(
    r"(?P<wrappers>(?:\[\]|map\[string\])*)(?P<base>[^! ]+)(?P<required>!?)"
    r"(?: (?P<strategy>[^:= ]+)(?::(?P<key>\w+))?)?(?: =(?P<topology>\w+)(?::(?P<keys>[\w,]+))?)?"
)


def _field(text: str, package: str) -> Field:
    parsed = _FIELD.fullmatch(text)
    if parsed is None:
        raise ValueError(f"schema_types.json: {text!r} is no field type")
    base = parsed["base"]
    if base not in SCALARS and "." not in base:
        base = f"{package}.{base}"
    strategy = tuple(parsed["strategy"].split(",")) if parsed["strategy"] else ()
    wrappers = tuple(re.findall(r"\[\]|map\[string\]", parsed["wrappers"]))
    patch = PatchMeta(strategy, parsed["key"] or "")
    keys = tuple(parsed["keys"].split(",")) if parsed["keys"] else ()
    return Field(base, wrappers, bool(parsed["required"]), patch, parsed["topology"] or "", keys)


def _table() -> dict[str, dict[str, dict[str, str]]]:
    table: dict[str, dict[str, dict[str, str]]] = msgspec.json.decode(get_data(__package__, "schema_types.json") or b"")
    return table


@cache
def types() -> Mapping[str, Fields]:
    """Every type by its full name, e.g. 'core.v1.ServicePort'. Fields of one type are one: most are like others."""
    made: dict[str, Mapping[str, Field]] = {}
    for package, found in _table().items():
        texts = {text for fields in found.values() for name, text in fields.items() if name}
        known = {text: _field(text, package) for text in texts}
        for name, fields in found.items():
            made[f"{package}.{name}"] = {field: known[text] for field, text in fields.items() if field}
    return made


@cache
def atomic_types() -> frozenset[str]:
    """The types whose objects server-side apply merges as one (x-kubernetes-map-type: atomic), e.g. 'meta.v1.LabelSelector'."""
    return frozenset(
        f"{package}.{name}" for package, found in _table().items() for name, fields in found.items() if "" in fields
    )


def type_of(kind: Kind) -> str:
    """The full type name of a kind, e.g. 'networking.v1.Ingress'."""
    return f"{GROUP_PACKAGES[kind.group]}.{kind.version}.{kind.kind}"


@cache
def _patch_meta(root: str, path: tuple[str, ...]) -> PatchMeta:
    current, meta = root, PatchMeta()
    depth = 0
    while depth < len(path):
        found = types().get(current, {}).get(path[depth])
        if found is None:
            return PatchMeta()
        depth += 1
        if "map[string]" in found.wrappers:
            depth += found.wrappers.count("map[string]")
            meta = found.patch if depth - 1 == len(path) else PatchMeta()
        else:
            meta = found.patch
        current = found.base
    return meta


def patch_meta(kind: Kind, path: Sequence[str]) -> PatchMeta:
    """How a strategic merge patch treats the field at `path`: field names from the root, list indices left out.

    patch_meta(SERVICE, ('spec', 'ports')) == PatchMeta(('merge',), 'port'). An unknown path merges plainly.
    """
    return _patch_meta(type_of(kind), tuple(path))


# Structure --------------------------------------------------------------------------------------------------------------

Path = tuple[Any, ...]
"""A chain from the leaf up, (parent chain, step), so that it costs nothing until an error names it."""

_SINGLE_ERROR = 1


class _MapKey(Struct, frozen=True, gc=False):
    key: str


class _Found(Struct):
    type_errors: list[str] = msgspec.field(default_factory=list)
    unknown_fields: list[str] = msgspec.field(default_factory=list)

    def type_error(self, text: str) -> None:
        if len(self.type_errors) < _SINGLE_ERROR:
            self.type_errors.append(text)


def _steps(path: Path) -> list[Any]:
    steps = []
    while path:
        path, step = path
        steps.append(step)
    return steps[::-1]


def _dotted(path: Path) -> str:
    text = ""
    for step in _steps(path):
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += "." + (step.key if isinstance(step, _MapKey) else step)
    return text[1:]


def _json_kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int():
            return "number"
        case float():
            return f"number {value!r}"
        case list():
            return "array"
    return "object"


def _mismatch(value: Any, path: Path, owner: str, go_type: str) -> str:
    fields = ".".join(step for step in _steps(path) if isinstance(step, str))
    word = _json_kind(value)
    if word == "number" and go_type in ("int32", "int64"):
        word = f"number {value}"
    where = f"Go struct field {owner.rpartition('.')[2]}.{fields}" if fields else "Go value"
    return f"json: cannot unmarshal {word} into {where} of type {go_type}"


def _go_type(field: Field, depth: int = 0) -> str:
    bases = {"time": "v1.Time", "micro-time": "v1.MicroTime", "quantity": "resource.Quantity", "bytes": "[]uint8"}
    base = field.base
    base = bases.get(base, base if base in SCALARS else "v1." + base.rpartition(".")[2])
    return "".join(field.wrappers[depth:]) + base


_QUANTITY = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3})?", re.A)
_LONGEST_QUANTITY = 1000
"""Characters. Upstream takes any, and cuts them to 64 bits; who reckons with them exactly would never be done."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.A)
"""RFC 3339. Go takes a comma for the point, too; those who read our records do not."""
_NO_FLOAT = 1 << 1024
_BASE64_BYTE = re.compile(r"[A-Za-z0-9+/]")
_INT_BITS = {"int32": 31, "int64": 63}


def check_time(value: Any) -> str:
    if not isinstance(value, str):
        return f"json: cannot unmarshal {_json_kind(value)} into Go value of type string"
    try:
        if _TIME.fullmatch(value):
            datetime.fromisoformat(value)
            return ""
    except ValueError:
        pass
    shown = msgspec.json.encode(value).decode()
    return f'parsing time {shown} as "2006-01-02T15:04:05Z07:00": cannot parse {shown} as "2006"'


def check_quantity(value: Any) -> str:
    if type(value) in (int, float):
        value = str(value) if abs(value) < _NO_FLOAT else ""
    if isinstance(value, str) and len(value) < _LONGEST_QUANTITY and _QUANTITY.fullmatch(value):
        return ""
    return "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def check_bytes(value: str) -> str:
    unbroken = value.replace("\n", "").replace("\r", "") if "\n" in value or "\r" in value else value
    try:
        binascii.a2b_base64(unbroken, strict_mode=True)
    except (binascii.Error, ValueError):
        bad = next((place for place, letter in enumerate(value) if not _BASE64_BYTE.match(letter)), len(value))
        return f"illegal base64 data at input byte {bad}"
    return ""


def _check_int_or_string(value: Any) -> str:
    if isinstance(value, str) or (type(value) is int and -(1 << 31) <= value < 1 << 31):
        return ""
    word = _json_kind(value) if type(value) is not int else f"number {value}"
    return f"json: cannot unmarshal {word} into Go value of type int32"


_OWN_WORDS: dict[str, Callable[[Any], str]] = {
    "time": check_time,
    "micro-time": check_time,
    "quantity": check_quantity,
    "int-or-string": _check_int_or_string,
}
_ZERO: dict[str, Any] = {"string": "", "bytes": "", "bool": False, "int32": 0, "int64": 0, "quantity": "0", "int-or-string": 0}


def _check_scalar(field: Field, value: Any, path: Path, owner: str, found: _Found) -> None:
    base = field.base
    if base == "string":
        good = isinstance(value, str)
    elif base == "bool":
        good = isinstance(value, bool)
    elif base in _INT_BITS:
        bits = _INT_BITS[base]
        good = type(value) is int and -(1 << bits) <= value < 1 << bits
    elif base == "bytes":
        good = isinstance(value, str)
        if good and (trouble := check_bytes(value)):
            found.type_error(trouble)
    elif base in _OWN_WORDS:
        good = True
        if trouble := _OWN_WORDS[base](value):
            found.type_error(trouble)
    else:
        good = True
    if not good:
        found.type_error(_mismatch(value, path, owner, "string" if base == "bytes" else base))


def _check_value(field: Field, depth: int, value: Any, path: Path, owner: str, found: _Found) -> None:
    if depth < len(field.wrappers):
        listed = field.wrappers[depth] == "[]"
        if not isinstance(value, list if listed else dict):
            found.type_error(_mismatch(value, path, owner, _go_type(field, depth)))
            return
        innermost = depth + 1 == len(field.wrappers)
        texts = innermost and field.base == "string"
        pairs: Iterable[tuple[Any, Any]] = enumerate(value) if isinstance(value, list) else value.items()
        for key, item in pairs:
            if texts and item.__class__ is str:
                continue
            if item is None:
                value[key] = (_ZERO.get(field.base, {}) if innermost else []) if field.base != "any" else None
            else:
                _check_value(field, depth + 1, item, (path, key if listed else _MapKey(key)), owner, found)
    elif field.base in SCALARS:
        _check_scalar(field, value, path, owner, found)
    elif isinstance(value, dict):
        _check_struct(field.base, value, path, found)
    else:
        found.type_error(_mismatch(value, path, owner, _go_type(field, depth)))


@cache
def _fields(type_name: str) -> tuple[Fields, Mapping[str, type]]:
    """The fields of a type, and those of which a value's class says all, which are most by far."""
    fields = types()[type_name]
    plain = {"string": str, "bool": bool}
    return fields, {name: plain[f.base] for name, f in fields.items() if f.base in plain and not f.wrappers}


def _check_struct(type_name: str, value: dict[str, Any], path: Path, found: _Found) -> None:
    fields, exact = _fields(type_name)
    nulls = []
    for name, item in value.items():
        if item.__class__ is exact.get(name):
            continue
        field = fields.get(name)
        if field is None:
            found.unknown_fields.append(_dotted((path, name)))
        elif item is None:
            nulls.append(name)
        else:
            _check_value(field, 0, item, (path, name), type_name, found)
    for name in nulls:
        del value[name]


def check_structure(kind: Kind, document: dict[str, Any]) -> StructureResult:
    """Type errors and unknown fields of a decoded body. Null fields are removed from `document`, null items become zero values.

    Unknown fields are only reported; `drop_unknown` removes them, as upstream's decoder does.
    """
    found = _Found()
    _check_struct(type_of(kind), document, (), found)
    return StructureResult(tuple(found.type_errors), tuple(found.unknown_fields))


def drop_unknown(kind: Kind, document: dict[str, Any]) -> None:
    """Removes every field the kind does not have, as decoding into a Go type loses it. Expects a document of right types."""
    _drop(type_of(kind), document)


def _drop(type_name: str, value: dict[str, Any]) -> None:
    fields = types()[type_name]
    for name in [name for name in value if name not in fields]:
        del value[name]
    for name, item in value.items():
        field = fields[name]
        if field.base not in SCALARS:
            _drop_inside(field, 0, item)


def _drop_inside(field: Field, depth: int, value: Any) -> None:
    if depth == len(field.wrappers):
        if isinstance(value, dict):
            _drop(field.base, value)
    elif isinstance(value, (list, dict)):
        for item in value if isinstance(value, list) else value.values():
            _drop_inside(field, depth + 1, item)


def check_type(type_name: str, value: dict[str, Any], *path: str | int) -> StructureResult:
    """As check_structure, of an object that is of a type by itself and lies at `path`."""
    chain: Path = ()
    for step in path:
        chain = (chain, step)
    found = _Found()
    _check_struct(type_name, value, chain, found)
    return StructureResult(tuple(found.type_errors), tuple(found.unknown_fields))


def drop_unknown_of(type_name: str, value: dict[str, Any]) -> None:
    """As drop_unknown, of an object that is of a type by itself."""
    _drop(type_name, value)
