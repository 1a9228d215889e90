"""Which managers has an object after a create, an update or a patch? The seam of every write: metadata.managedFields.

As apimachinery/pkg/util/managedfields/internal/{fieldmanager,skipnonapplied,managedfieldsupdater,stripmeta}.go. What is sent is
compared with what was stored, defaults filled in, before anything else is prepared: what the server sets itself (cluster IPs,
an initial status) is nobody's.
"""

from typing import Any

from msgspec import structs

from mooring.apiserver.apply import managers as entries
from mooring.apiserver.apply.built_in import METADATA
from mooring.apiserver.apply.managers import UPDATE, BadEntries, Entry, Managers
from mooring.apiserver.apply.sets import LEAF, SELF, FieldSet, difference, union
from mooring.apiserver.apply.types import DEDUCED, MergeType
from mooring.apiserver.apply.updating import Comparison, Filter, Updater
from mooring.apiserver.apply.walk import BadItem, added_field, compare, everything
from mooring.apiserver.call import Call
from mooring.apiserver.metadata import timestamp
from mooring.apiserver.registry import registry
from mooring.apiserver.resources import Resource
from mooring.model.kinds import KINDS

Document = dict[str, Any]

FIELD = "managedFields"
_BUILT_IN = frozenset(KINDS)
_UNKNOWN = "unknown"
_NOBODYS_METADATA = frozenset({
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
    "resourceVersion",
})  # fmt: skip
_RESIZED = ("f:resources", "f:resizePolicy")
_NOBODYS: FieldSet = {
    "f:apiVersion": LEAF,
    "f:kind": LEAF,
    "f:metadata": {SELF: LEAF, **{"f:" + name: LEAF for name in sorted(_NOBODYS_METADATA)}},
}


def nobodys_removed(fields: FieldSet) -> FieldSet:
    """Without what has no manager: names, what the server sets."""
    return difference(fields, _NOBODYS)


def merge_type(resource: Resource) -> MergeType:
    found = resource.shape.merge_type
    return DEDUCED if found is None else found()


class Seen:
    """An object's versions, as this server serves them now."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def _resource(self, version: str) -> Resource | None:
        mine = self.call.resource
        if version == mine.kind.api_version:
            return mine
        other = registry(self.call.snapshot).find_kind(version, mine.kind.kind)
        if other is None or other.stored.prefix != mine.stored.prefix:
            return None
        return other.within(self.call.env, self.call.snapshot)

    def type(self, version: str) -> MergeType | None:
        resource = self._resource(version)
        return None if resource is None else merge_type(resource)

    def convert(self, document: Any, source: str, target: str) -> Any:
        """Parts of documents convert too: what is missing to convert one is lent to it."""
        given, wanted = self._resource(source), self._resource(target)
        if given is None or wanted is None or not isinstance(document, dict):
            return document
        lent = {"kind": given.kind.kind, "apiVersion": source, "metadata": {}}
        whole = {**{name: value for name, value in lent.items() if name not in document}, **document}
        seen = wanted.load(given.store(whole))
        if version := whole["metadata"].get("resourceVersion"):
            seen["metadata"]["resourceVersion"] = version
        for name in lent:
            if name not in document:
                seen.pop(name, None)
        return seen


def ignored(call: Call) -> Filter:
    """What this request cannot change, and so does not own: status, or all but what its subresource is for. Upstream's
    reset fields."""
    if call.target.subresource == "status":
        return _only_status
    if call.target.subresource == "ephemeralcontainers":
        return _only_ephemeral_containers
    if call.target.subresource == "resize":
        return _only_resources
    return _no_status if "status" in call.kind.subresources else _as_is


def _as_is(fields: FieldSet) -> FieldSet:
    return fields


def _no_status(fields: FieldSet) -> FieldSet:
    return {step: node for step, node in fields.items() if step != "f:status"} if "f:status" in fields else fields


def _only_status(fields: FieldSet) -> FieldSet:
    return {step: node for step, node in fields.items() if step in ("f:status", "f:metadata")}


def _only_ephemeral_containers(fields: FieldSet) -> FieldSet:
    added = {step: node for step, node in fields.get("f:spec", LEAF).items() if step == "f:ephemeralContainers"}
    return {"f:spec": added} if added else {}


def _only_resources(fields: FieldSet) -> FieldSet:
    """Of containers, by their names."""
    found: FieldSet = {}
    for group, containers in fields.get("f:spec", LEAF).items():
        if group in ("f:containers", "f:initContainers"):
            resized = {name: {step: node for step, node in one.items() if step in _RESIZED} for name, one in containers.items()}
            if kept := {name: one for name, one in resized.items() if one}:
                found[group] = kept
    return {"f:spec": found} if found else {}


def updater(call: Call) -> Updater:
    return Updater(Seen(call), call.kind.api_version, ignored(call), settled=call.kind in _BUILT_IN)


def of_request(call: Call, operation: str = UPDATE) -> Entry:
    """The entry of who asks, owning nothing yet."""
    return Entry(
        call.field_manager or _UNKNOWN, operation, call.kind.api_version, LEAF, timestamp(call.env.now), call.target.subresource
    )


# Writes -----------------------------------------------------------------------------------------------------------------


def created(call: Call, document: Document) -> None:
    """Puts the managers of a new object into its metadata."""
    meta = document["metadata"]
    manager = call.field_manager
    if call.managers_decided:
        return
    given = meta.pop(FIELD, None)
    try:
        if given and not entries.is_reset(given):
            if found := entries.written(_updated(call, _sent(given), {}, document).values()):
                meta[FIELD] = found
        elif fields := of_new(merge_type(call.resource), document, "status" in call.kind.subresources):
            me: Document = {"manager": manager or _UNKNOWN, "operation": UPDATE, "apiVersion": call.kind.api_version}
            me["time"], me["fieldsType"], me["fieldsV1"] = meta["creationTimestamp"], "FieldsV1", fields
            meta[FIELD] = [me]
    except BadItem:
        pass


def _sent(given: Any) -> Managers:
    try:
        return entries.sent(given)
    except BadEntries:
        return {}


def of_new(kind: MergeType, document: Document, without_status: bool) -> FieldSet:
    """What the creator of a document owns: nobodys_removed(compare({}, document)), in one pass. Raises BadItem."""
    mapped = kind.map
    assert mapped is not None
    result: FieldSet = {}
    for name, value in document.items():
        if name == "metadata":
            if _NOBODYS_METADATA.issuperset(value):
                continue
            fields = (METADATA.map or mapped).fields
            inner = {
                "f:" + each: everything(fields[each].type, item) if each in fields else LEAF
                for each, item in value.items()
                if each not in _NOBODYS_METADATA
            }
            if inner:
                result["f:metadata"] = inner
        elif name != "apiVersion" and name != "kind" and not (without_status and name == "status"):
            field = mapped.fields.get(name)
            node = added_field(field, field.type if field is not None else mapped.element, value)
            if node is not None:
                result["f:" + name] = node
    return result


def changed(call: Call, old: Document, document: Document) -> None:
    """Puts the managers of a changed object into its metadata. Objects that have none stay so until they are applied."""
    meta, stored = document["metadata"], old["metadata"].get(FIELD)
    manager = call.field_manager
    if call.managers_decided:
        return
    given = meta.pop(FIELD, None)
    owners: Managers = {}
    if given is not None and given != stored and not call.target.subresource:
        if entries.is_reset(given):
            return
        owners = _sent(given)
    if not owners and not stored:
        return
    try:
        if not owners and stored and (found := _quickly(call, manager or _UNKNOWN, stored, old, document)) is not None:
            meta[FIELD] = found
            return
        before = owners or entries.kept(stored or ())
        after = _updated(call, before, old, document)
        if after is before and not owners:
            meta[FIELD] = stored
        elif written := entries.written(after.values()):
            meta[FIELD] = written
    except BadItem:
        if stored:
            meta[FIELD] = stored


def _quickly(call: Call, manager: str, stored: list[Document], old: Document, new: Document) -> list[Document] | None:
    """The managers after an update, when all wrote in this version of a built-in kind, as nearly always: what `_updated` does,
    on the entries as they are stored. None when it is not so simple."""
    version = call.kind.api_version
    if len(stored) > entries.MAX_UPDATERS or call.kind not in _BUILT_IN:
        return None
    for entry in stored:
        if entry["apiVersion"] != version:
            return None
    changed, removed = _differences(call, old, new)
    if not changed and not removed:
        return stored
    subresource = call.target.subresource
    result: list[Document] = []
    mine: Document = {}
    for entry in stored:
        fields = entry["fieldsV1"]
        kept = difference(fields, removed) if removed else fields
        if entry["operation"] == UPDATE and entry.get("manager") == manager and entry.get("subresource", "") == subresource:
            mine = {**entry, "fieldsV1": kept}  # what has changed is its own again below
            continue
        kept = difference(kept, changed)
        if kept is fields:
            result.append(entry)
        elif kept:
            result.append({**entry, "fieldsV1": kept})
    if changed:
        mine = mine or {"manager": manager, "operation": UPDATE, "apiVersion": version, "time": "", "fieldsType": "FieldsV1"}
        if subresource:
            mine.setdefault("subresource", subresource)
        mine["time"], mine["fieldsV1"] = timestamp(call.env.now), union(mine.get("fieldsV1", LEAF), changed)
    if mine and mine["fieldsV1"]:
        result.append(mine)
        if len(result) > entries.MAX_UPDATERS:
            return None
    if len(result) > 1:
        result.sort(key=_stored_order)
    return result


def _differences(call: Call, old: Document, new: Document) -> tuple[FieldSet, FieldSet]:
    """What was changed and what removed of what a request can change and somebody may own. Raises BadItem."""
    kind, left_out = merge_type(call.resource), ignored(call)
    if left_out is _no_status or left_out is _as_is:
        before, after = old["metadata"], new["metadata"]
        owned = (before.keys() | after.keys()) - _NOBODYS_METADATA
        changed, removed = compare(kind, _ownable(old, owned), _ownable(new, owned))
        return left_out(changed), left_out(removed)
    changed, removed = compare(kind, old, new)
    return nobodys_removed(left_out(changed)), nobodys_removed(left_out(removed))


_UNOWNED: Document = {"apiVersion": "", "kind": "", "metadata": {}}


def _ownable(document: Document, names: set[str]) -> Document:
    """Without what has no manager: of metadata, `names` alone."""
    if not names:
        return document | _UNOWNED
    meta = document["metadata"]
    return document | _UNOWNED | {"metadata": {name: meta[name] for name in meta if name in names}}


def _stored_order(entry: Document) -> tuple[str, str, str, str, str]:
    get = entry.get
    return entry["operation"], get("time", ""), get("manager", ""), entry["apiVersion"], get("subresource", "")


def _updated(call: Call, owners: Managers, old: Document, new: Document) -> Managers:
    """The managers after an update; the same object when it changes nothing of them. Raises BadItem."""
    work = updater(call)
    mine = work.compare(old, new, call.kind.api_version)
    assert mine is not None
    mine = Comparison(nobodys_removed(mine.changed), nobodys_removed(mine.removed))
    if not mine.changed and not mine.removed:
        return owners
    if owners:
        owners = work.reconciled(owners, old)
    me = of_request(call)
    result = work.taken(owners, old, new, mine, None, True) if owners else {}
    if mine.changed:
        left = result.get(me.identity)
        fields = union(left.fields, mine.changed) if left is not None else mine.changed
        result[me.identity] = structs.replace(me, fields=fields)
        result = entries.capped(result)
    return result
