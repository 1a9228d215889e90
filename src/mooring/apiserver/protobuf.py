"""What does a Kubernetes protobuf body say? client-go's typed clients, kubectl's since 1.32, send one and do not fall back.

A body is the four bytes 'k8s\\0' and a runtime.Unknown: the type's name and the object's own bytes. Answers stay JSON, which
these clients accept. Field numbers (wire_numbers.json, facts of the published generated.proto files) name fields; '*Type'
marks an embedded Go struct, whose fields are the outer type's in JSON. Types come from schema.py.

Go's encoder writes zero values of fields that are no pointers, so a zero is left out unless the field is a pointer, where it
means something. Sources: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding,
https://protobuf.dev/programming-guides/encoding/.
"""

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pkgutil import get_data
from typing import Any

import msgspec

from mooring.apiserver.errors import too_large
from mooring.apiserver.schema import Field, types

MAGIC = b"k8s\x00"
MAX_DEPTH = 64
MAX_FIELDS = 100_000
"""Of a body, those of messages within it counted too. An EndpointSlice of 1,000 endpoints has some 20,000."""

# fmt: off
POINTERS = frozenset((
    "activeDeadlineSeconds", "allocateLoadBalancerNodePorts", "allowPrivilegeEscalation", "appProtocol",
    "automountServiceAccountToken", "backoffLimit", "backoffLimitPerIndex", "blockOwnerDeletion", "collisionCount",
    "completions", "controller", "defaultMode", "deletionGracePeriodSeconds", "enableServiceLinks", "expirationSeconds",
    "fsGroup", "gracePeriodSeconds", "hostUsers", "immutable", "ingressClassName", "leaseDurationSeconds",
    "leaseTransitions", "manualSelector", "maxFailedIndexes", "maxSurge", "maxUnavailable", "minAvailable", "mode",
    "optional", "orphanDependents", "parallelism", "partition", "priority", "privileged", "procMount",
    "progressDeadlineSeconds", "readOnlyRootFilesystem", "ready", "replicas", "revisionHistoryLimit", "runAsGroup",
    "runAsNonRoot", "runAsUser", "serving", "setHostnameAsFQDN", "shareProcessNamespace", "started", "storageClassName",
    "succeededCount", "suspend", "terminating", "terminationGracePeriodSeconds", "tolerationSeconds", "ttlSecondsAfterFinished",
))
# fmt: on
"""Fields that are pointers in Go, for which false, 0 or '' was really said."""


class WireError(ValueError):
    """The bytes are no protobuf of the type; the text says where."""


def document(body: bytes) -> dict[str, Any]:
    """The object as the JSON document it stands for. Raises WireError, and StatusError 413."""
    if not body.startswith(MAGIC):
        raise WireError("the body does not begin with the Kubernetes protobuf prefix")
    reading = _Reading()
    version, kind, raw = "", "", b""
    for number, value in reading.fields(body[len(MAGIC) :]):
        if number == 1 and isinstance(value, bytes):
            names = {each: _text(found) for each, found in reading.fields(value)}
            version, kind = names.get(1, ""), names.get(2, "")
        elif number == 2 and isinstance(value, bytes):
            raw = value
    if not kind:
        raise WireError("the body names no kind")
    group, _, last = version.rpartition("/")
    package = f"{group.split('.', 1)[0] or 'core'}.{last}"
    name = next((full for full in (f"{package}.{kind}", f"meta.v1.{kind}") if full in _numbers()), None)
    if name is None:
        raise WireError(f"no kind {kind!r} is registered for version {version!r}")
    return {"kind": kind, "apiVersion": version, **reading.message(name, name, raw, 0)}


@cache
def _numbers() -> Mapping[str, Mapping[int, str]]:
    """By full type name: field number to JSON name."""
    table: dict[str, dict[str, dict[str, int]]] = msgspec.json.decode(get_data(__package__, "wire_numbers.json") or b"")
    return {
        f"{package}.{name}": {number: field for field, number in fields.items()}
        for package, found in table.items()
        for name, fields in found.items()
    }


class _Reading:
    """Of one body, whose messages together have no more fields than MAX_FIELDS."""

    def __init__(self) -> None:
        self._left = MAX_FIELDS

    def message(self, wire_type: str, json_type: str, data: bytes, depth: int) -> dict[str, Any]:
        """Fields numbered as in `wire_type`, typed as in `json_type` (another one inside an embedded struct)."""
        if depth > MAX_DEPTH:
            raise WireError("exceeded max depth")
        numbers, fields = _numbers().get(wire_type, {}), types()[json_type]
        made: dict[str, Any] = {}
        for number, value in self.fields(data):
            name = numbers.get(number)
            if name is None:
                continue
            if name.startswith("*"):
                inner = name[1:] if "." in name else f"{wire_type.rpartition('.')[0]}.{name[1:]}"
                made.update(self.message(inner, json_type, _bytes(value), depth + 1))
                continue
            field = fields[name]
            if field.wrappers[:1] == ("[]",):
                made.setdefault(name, []).append(self._value(field, value, depth))
            elif field.wrappers[:1] == ("map[string]",):
                entry = self._parts(value)
                made.setdefault(name, {})[_text(entry.get(1, b""))] = self._value(field, entry.get(2, b""), depth)
            else:
                found = self._value(field, value, depth)
                if found is not None and (found or isinstance(found, dict | list) or name in POINTERS):
                    made[name] = found
        return made

    def _value(self, field: Field, value: int | bytes, depth: int) -> Any:
        match field.base:
            case "string":
                return _text(value)
            case "bool":
                return bool(value)
            case "int32" | "int64":
                return _signed(value)
            case "bytes":
                return base64.b64encode(_bytes(value)).decode()
            case "time" | "micro-time":
                return _time(self._parts(value), micro=field.base == "micro-time")
            case "quantity":
                return _text(self._parts(value).get(1, b""))
            case "int-or-string":
                parts = self._parts(value)
                return _text(parts.get(3, b"")) if parts.get(1) else _signed(parts.get(2, 0))
            case "any":
                return _raw(_bytes(self._parts(value).get(1, b"")))
        return self.message(field.base, field.base, _bytes(value), depth + 1)

    def _parts(self, value: int | bytes) -> dict[int, int | bytes]:
        return dict(self.fields(_bytes(value)))

    def fields(self, data: bytes) -> Iterator[tuple[int, int | bytes]]:
        """(field number, varint or bytes) in order. Raises WireError on truncation and unknown wire types."""
        at, end = 0, len(data)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise too_large(f"limit of protobuf is {MAX_FIELDS} fields, use JSON")
            tag, at = _varint(data, at)
            number, wire = tag >> 3, tag & 7
            if wire == 0:
                value, at = _varint(data, at)
                yield number, value
                continue
            if wire == 2:
                size, at = _varint(data, at)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise WireError(f"wire type {wire} of field {number} is unknown")
            if at + size > end:
                raise WireError(f"field {number} is cut off")
            yield number, data[at : at + size]
            at += size


def _raw(data: bytes) -> Any:
    """RawExtension and FieldsV1: JSON in a field of its own."""
    try:
        return msgspec.json.decode(data) if data else None
    except (msgspec.DecodeError, RecursionError) as error:
        raise WireError(f"raw JSON: {error}") from None


def _time(parts: Mapping[int, int | bytes], *, micro: bool) -> str | None:
    """google.protobuf.Timestamp as RFC 3339; an empty one is Go's zero time, which JSON writes as null."""
    if not parts:
        return None
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=_signed(parts.get(1, 0)))
    except OverflowError as error:
        raise WireError(f"a time out of range: {error}") from None
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{_signed(parts.get(2, 0)) // 1000:06d}Z" if micro else text + "Z"


def _varint(data: bytes, at: int) -> tuple[int, int]:
    if at < len(data) and data[at] < 0x80:
        return data[at], at + 1
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise WireError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise WireError("a number is longer than 64 bits")


def _signed(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise WireError("bytes where a number belongs")
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise WireError("a number where bytes belong")
    return value


def _text(value: int | bytes) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise WireError(f"a string is no UTF-8: {error}") from error
