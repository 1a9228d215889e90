"""What does a server-side apply write? The object merged with what was sent, on the same path as a create or an update.

As apiserver/pkg/endpoints/handlers/patch.go (applyPatcher) and apimachinery's field managers.
"""

from typing import Any

from msgspec import structs

from mooring.apiserver import body, errors, write
from mooring.apiserver.apply import last_applied, ownership
from mooring.apiserver.apply import managers as entries
from mooring.apiserver.apply.managers import APPLY, BEFORE_FIRST_APPLY, UPDATE, Entry, Identity, Managers
from mooring.apiserver.apply.merging import MergeFailed
from mooring.apiserver.apply.ownership import FIELD, merge_type, nobodys_removed
from mooring.apiserver.apply.sets import FieldSet, Path, has, of_path, text, union
from mooring.apiserver.apply.sets import difference as without_members
from mooring.apiserver.apply.typed import faults, told
from mooring.apiserver.apply.types import MergeType
from mooring.apiserver.apply.updating import Comparison, Conflicts, Updater
from mooring.apiserver.apply.walk import BadItem, same
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Outcome
from mooring.apiserver.errors import StatusError, bad_request
from mooring.apiserver.metadata import timestamp
from mooring.apiserver.negotiate import JSON, YAML
from mooring.apiserver.strategy import FieldError
from mooring.model.kinds import Kind
from mooring.store.records import Record

Document = dict[str, Any]


def apply(call: Call) -> Outcome:
    """PATCH with application/apply-patch+yaml."""
    config, complaints = sent(call, call.kind, merge_type(call.resource))
    record = call.snapshot.get(call.resource.key(call.namespace, call.name))
    if record is None:
        return _create(call, config, complaints)
    live = call.resource.load(record.value)
    stored = live["metadata"].pop(FIELD, None) or []
    live["metadata"]["resourceVersion"] = str(record.mod_revision)
    before_apply = entries.kept(stored)
    document, found = _merged(call, live, config, before_apply)
    managers = entries.written(_timed(call, found, before_apply, same(merge_type(call.resource), live, document)))
    return _change(call, record, document, managers, complaints)


def _timed(call: Call, found: Managers, stored: Managers, unchanged: bool) -> list[Entry]:
    """The applier's time is now, unless neither the object nor its fields are different."""
    me = ownership.of_request(call, APPLY).identity
    before, mine = stored.get(me), found.get(me)
    if unchanged and before is not None and mine is not None and before.fields == mine.fields:
        found = {**found, me: structs.replace(mine, time=before.time)}
    return list(found.values())


def _create(call: Call, config: Document, complaints: tuple[str, ...]) -> Outcome:
    if call.target.subresource:
        raise errors.not_found(call.kind, call.name)
    write.check_name(config["metadata"].get("name"), call.name)
    if uid := config["metadata"].get("uid"):
        why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise errors.conflict(call.kind, call.name, why)
    document, found = _merged(call, {}, config, {})
    _checked(call, document)
    if managers := entries.written(found.values()):
        document["metadata"][FIELD] = managers
    call.managers_decided = True
    return write.create_document(call, document, complaints)


def _change(call: Call, record: Record, document: Document, managers: list[Document], complaints: tuple[str, ...]) -> Outcome:
    _checked(call, document)
    meta = document["metadata"]
    if meta.get("resourceVersion") == str(record.mod_revision):
        meta.pop("resourceVersion")
    if managers:
        meta[FIELD] = managers
    call.managers_decided = True
    return write.change(call, record, document, complaints)


def _checked(call: Call, document: Document) -> None:
    """Takes nulls out and refuses what the type cannot hold, such as an int32 out of range."""
    body.checked(document, call.kind, call.resource.shape, "Ignore", (), lambda why: bad_request(body.mismatch(call.kind, why)))


# What was sent ----------------------------------------------------------------------------------------------------------


def sent(call: Call, kind: Kind, wanted: MergeType) -> tuple[Document, tuple[str, ...]]:
    """The applied document and complaints about it. Raises StatusError 400, 422."""
    if not call.query("fieldManager"):
        why = "Required value: is required for apply patch"
        raise call.bad_options([FieldError("FieldValueRequired", "fieldManager", why)])
    call.field_manager  # noqa: B018
    document, duplicates = _parsed(call, kind)
    if not isinstance(document, dict):
        word = body.json_word(document)
        raise bad_request(f"error decoding YAML: json: cannot unmarshal {word} into Go value of type map[string]interface {{}}")
    shown = (document.get("apiVersion"), document.get("kind"))
    if shown != (kind.api_version, kind.kind):
        group, _, version = str(shown[0] or "").rpartition("/")
        raise bad_request(f"invalid object type: {group}/{version}, Kind={shown[1] or ''}")
    metadata = document.setdefault("metadata", {})
    if metadata is None:
        metadata = document["metadata"] = {}
    if isinstance(metadata, dict) and metadata.get(FIELD) is not None:
        raise bad_request("metadata.managedFields must be nil")
    if found := faults(wanted, document):
        where = f"{call.namespace}/{call.name}; {kind.group}/{kind.version}, Kind={kind.kind}"
        raise bad_request(f"failed to create typed patch object ({where}): {told(found)}")
    if duplicates and call.validation == "Strict":
        raise bad_request(f"error strict decoding YAML: error converting YAML to JSON: {body.yaml_errors(duplicates)}")
    call.complaints = duplicates if call.validation == "Warn" else ()
    return document, call.complaints


def _parsed(call: Call, kind: Kind) -> tuple[Any, tuple[str, ...]]:
    data = call.request.body
    looking = call.validation != "Ignore"
    if data.lstrip()[:1] == b"{":
        try:
            found, duplicates = body.parse(data, JSON, kind.kind, find_duplicates=looking)
            if not duplicates:
                return found, ()
        except StatusError:
            pass  # YAML may begin so as well, and tells the lines of repeated keys
    try:
        return body.parse(data, YAML, kind.kind, find_duplicates=looking)
    except StatusError as error:
        raise bad_request(f"error decoding YAML: {error.message}") from None


# Merging ----------------------------------------------------------------------------------------------------------------


def _merged(call: Call, live: Document, config: Document, managers: Managers) -> tuple[Document, Managers]:
    """Raises StatusError 400, 409."""
    if not managers and live:
        managers = _before_first_apply(call, live)
    result, found = merged(
        ownership.updater(call), live, config, managers, ownership.of_request(call, APPLY), call.flag("force")
    )
    if call.field_manager == last_applied.MANAGER:
        last_applied.renew(result, config)
    return result, found


def merged(
    work: Updater, live: Document, config: Document, managers: Managers, me: Entry, force: bool
) -> tuple[Document, Managers]:
    """The object as `me` wants it, and its managers. Raises StatusError 400, 409."""
    kind = work.versions.type(work.version)
    assert kind is not None
    try:
        try:
            result, found = work.apply(live, config, managers, me, force)
        except Conflicts as conflicts:
            refused = _left(kind, live, me, conflicts)
            if refused:
                raise _conflict(refused, managers) from None
            result, found = work.apply(live, config, managers, me, True)
    except (MergeFailed, BadItem) as error:
        raise bad_request(f"failed to merge config: {str(error).removeprefix(': ')}") from None
    if mine := found.get(me.identity):
        if fields := nobodys_removed(mine.fields):
            found[me.identity] = structs.replace(mine, fields=fields)
        else:
            del found[me.identity]
    return result, found


def _before_first_apply(call: Call, live: Document) -> Managers:
    """One manager for all that an object without managers has."""
    seen = ownership.updater(call).compare({}, live, call.kind.api_version)
    fields = nobodys_removed(seen.changed) if isinstance(seen, Comparison) else {}
    entry = Entry(
        BEFORE_FIRST_APPLY, UPDATE, call.kind.api_version, fields, timestamp(call.env.now), call.target.subresource
    )  # fmt: skip
    return {entry.identity: entry} if fields else {}


def _left(kind: MergeType, live: Document, me: Entry, conflicts: Conflicts) -> list[tuple[Identity, Path]]:
    """The conflicts, without those that are none for kubectl: fields that its client-side apply set."""
    listed = conflicts.listed()
    if me.manager != last_applied.MANAGER:
        return listed
    theirs = last_applied.allowed(kind, live, me.api_version)
    every: FieldSet = {}
    for _, path in listed:
        every = union(every, of_path(path))
    if not without_members(every, theirs):
        return []
    return [(identity, path) for identity, path in listed if not has(theirs, path)]


def conflict_message(listed: list[tuple[Identity, Path]], managers: Managers) -> tuple[str, list[dict[str, str]]]:
    """What an apply that meets conflicts says, and its causes, as many as there is room for."""
    named: list[tuple[str, str]] = []
    left = errors.MOST_TOLD
    for identity, path in listed:
        if left <= 0:
            break
        named.append((printed(managers[identity]), text(path)))
        left -= len(named[-1][1])
    causes = [{"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": where} for who, where in named]
    if len(listed) == 1:
        return f"Apply failed with 1 conflict: conflict with {named[0][0]}: {named[0][1]}", causes
    by_manager: dict[str, list[str]] = {}
    for who, where in named:
        by_manager.setdefault(who, []).append(where)
    lines = [line for who, found in by_manager.items() for line in (f"conflicts with {who}:", *(f"- {one}" for one in found))]
    return f"Apply failed with {len(listed)} conflicts: " + "\n".join(lines), causes


def _conflict(listed: list[tuple[Identity, Path]], managers: Managers) -> StatusError:
    message, causes = conflict_message(listed, managers)
    return StatusError(409, "Conflict", message, {"causes": causes})


def printed(entry: Entry) -> str:
    """A manager for people, e.g. '"kubectl-client-side-apply" using apps/v1'."""
    name = errors.quote(entry.manager)
    if entry.subresource:
        name += f" with subresource {errors.quote(entry.subresource)}"
    return name if entry.applied else f"{name} using {entry.api_version}"
