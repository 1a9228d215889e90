"""Who manages an object? metadata.managedFields as entries: read, put in order, limited in number, written.

As apimachinery/pkg/util/managedfields/internal/{managedfields,capmanagers}.go. An entry's identity is its manager, operation,
subresource and, of an update, apiVersion.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from mooring.apiserver.apply.sets import BadFields, FieldSet, received, union
from mooring.apiserver.remembered import remembered
from mooring.apiserver.strategy import FieldError

Document = dict[str, Any]
Identity = tuple[str, str, str, str]

APPLY, UPDATE = "Apply", "Update"
MAX_NAME = 128
MAX_UPDATERS = 10
MAX_APPLIERS = 100
"""Upstream has no limit; every one may own every field, and all are read at every write."""
OLDEST = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"
_MAX_SUBRESOURCE = 256


class Entry(Struct, frozen=True, gc=False):
    manager: str
    operation: str
    api_version: str
    fields: FieldSet
    time: str = ""
    subresource: str = ""

    @property
    def identity(self) -> Identity:
        version = "" if self.operation == APPLY else self.api_version
        return self.manager, self.operation, version, self.subresource

    @property
    def applied(self) -> bool:
        return self.operation == APPLY


Managers = dict[Identity, Entry]


@remembered(1024, 256)
def name_of_agent(user_agent: str) -> str:
    """The manager that a User-Agent header names: what is before its first '/', printable, at most 128 bytes."""
    name = ""
    size = 0
    for letter in user_agent.partition("/")[0]:
        if not letter.isprintable():
            continue
        size += len(letter.encode())
        if size > MAX_NAME:
            break
        name += letter
    return name


def name_faults(name: str, field: str) -> list[FieldError]:
    """What is wrong with a manager's name, in upstream's words."""
    found = []
    if len(name.encode()) > MAX_NAME:
        found.append(FieldError("FieldValueTooLong", field, f"Too long: may not be more than {MAX_NAME} bytes"))
    if not name.isprintable():
        place = 0
        for letter in name:
            if not letter.isprintable():
                why = f"invalid character U+{ord(letter):04X} (at position {place})"
                found.append(FieldError("FieldValueInvalid", field, f"Invalid value: {_quoted(name)}: {why}"))
            place += len(letter.encode())
    return found


def _quoted(text: str) -> str:
    """As Go's %q."""
    shown = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(shown.get(x) or (x if x.isprintable() else f"\\u{ord(x):04x}") for x in text) + '"'


def _sound(entries: Sequence[Document]) -> bool:
    """As nearly all are, and every write asks."""
    for entry in entries:
        manager = entry.get("manager") or ""
        if len(manager) > MAX_NAME // 4 or not manager.isprintable() or len(entry.get("subresource") or "") > _MAX_SUBRESOURCE:
            return False
    return len(entries) <= MAX_APPLIERS


def entry_faults(entries: Sequence[Document], field: str) -> list[FieldError]:
    """What is wrong with managedFields that are to be stored."""
    found: list[FieldError] = []
    if _sound(entries):
        return found
    for index, entry in enumerate(entries):
        manager, subresource = entry.get("manager") or "", entry.get("subresource") or ""
        found += name_faults(manager, f"{field}[{index}].manager")
        if len(subresource) > _MAX_SUBRESOURCE:
            why = f"Too long: may not be more than {_MAX_SUBRESOURCE} bytes"
            found.append(FieldError("FieldValueTooLong", f"{field}[{index}].subresource", why))
    if sum(entry.get("operation") == APPLY for entry in entries) > MAX_APPLIERS:
        why = f"Too many: must have at most {MAX_APPLIERS} entries of operation Apply"
        found.append(FieldError("FieldValueTooMany", field, why))
    return found


# Reading and writing ----------------------------------------------------------------------------------------------------


class BadEntries(Exception):
    """managedFields that cannot be understood; upstream ignores them."""


def kept(stored: Sequence[Document]) -> Managers:
    """What was stored by this server."""
    found: Managers = {}
    for one in stored:
        entry = Entry(
            one.get("manager", ""), one["operation"], one["apiVersion"], one["fieldsV1"],
            one.get("time", ""), one.get("subresource", ""),
        )  # fmt: skip
        found[entry.identity] = entry
    return found


def sent(entries: Any) -> Managers:
    """What a client wants stored. Raises BadEntries."""
    found: Managers = {}
    for index, one in enumerate(entries):
        if one.get("operation") not in (APPLY, UPDATE):
            raise BadEntries("operation must be `Apply` or `Update`")
        if not one.get("apiVersion"):
            raise BadEntries("apiVersion must not be empty")
        if one.get("fieldsType") != "FieldsV1":
            raise BadEntries(f"invalid fieldsType {one.get('fieldsType', '')!r} in managed fields entry {index}")
        try:
            fields = received({} if one.get("fieldsV1") is None else one["fieldsV1"])
        except (BadFields, RecursionError) as error:
            raise BadEntries(f"error decoding set: {error}") from None
        entry = Entry(
            one.get("manager") or "", one["operation"], one["apiVersion"], fields,
            one.get("time") or "", one.get("subresource") or "",
        )  # fmt: skip
        found[entry.identity] = entry
    return found


def is_reset(entries: Any) -> bool:
    """Whether a client asks to forget all: an empty list, or one empty entry."""
    return entries is not None and (not entries or (len(entries) == 1 and not any((entries[0] or {}).values())))


def written(managers: Iterable[Entry]) -> list[Document]:
    """As stored: appliers first, then by time, manager, version and subresource; who owns nothing is no manager."""
    return [as_document(entry) for entry in sorted(managers, key=_order) if entry.fields]


def _order(entry: Entry) -> tuple[str, str, str, str, str]:
    return entry.operation, entry.time, entry.manager, entry.api_version, entry.subresource


def as_document(entry: Entry) -> Document:
    shown: Document = {
        "manager": entry.manager,
        "operation": entry.operation,
        "apiVersion": entry.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields,
    }
    if not entry.time:
        del shown["time"]
    if entry.subresource:
        shown["subresource"] = entry.subresource
    return shown


def capped(managers: Managers) -> Managers:
    """At most MAX_UPDATERS updaters: the oldest of each version become one."""
    updaters = [entry for entry in managers.values() if not entry.applied]
    excess = len(updaters) - MAX_UPDATERS
    if excess <= 0:
        return managers
    result = dict(managers)
    first: dict[str, Identity] = {}
    for entry in sorted(updaters, key=_order):
        if excess <= 0:
            break
        version = entry.api_version
        bucket: Identity = (OLDEST, UPDATE, version, "")
        if version not in first:
            first[version] = entry.identity
            continue
        if bucket not in result:
            result[bucket] = _as_oldest(result.pop(first[version]), entry.time)
        if entry.identity != bucket:
            merged = union(result[bucket].fields, entry.fields)
            result[bucket] = Entry(OLDEST, UPDATE, version, merged, entry.time)
            del result[entry.identity]
            excess -= 1
    return result


def _as_oldest(entry: Entry, time: str) -> Entry:
    return Entry(OLDEST, UPDATE, entry.api_version, entry.fields, time)
