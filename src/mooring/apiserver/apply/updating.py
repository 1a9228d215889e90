"""What does a change make of the managers? And what does an apply make of the object?

The algorithm of structured-merge-diff/merge/update.go. An object may have managers that wrote it in other versions of the
API: a `Versions` gives the object, and its type, as each of them sees it.
"""

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct, structs

from mooring.apiserver.apply import sets
from mooring.apiserver.apply.managers import Entry, Identity, Managers
from mooring.apiserver.apply.merging import merge, without
from mooring.apiserver.apply.reconcile import reconcile
from mooring.apiserver.apply.sets import FieldSet, Path, difference, intersection, union
from mooring.apiserver.apply.types import MergeType
from mooring.apiserver.apply.walk import compare, fields_of, with_structs

Document = dict[str, Any]
Filter = Callable[[FieldSet], FieldSet]
"""Leaves out the fields that a request cannot change, such as status in an update of the spec."""


class Versions(Protocol):
    def type(self, version: str) -> MergeType | None:
        """How documents of a version merge; None when it is not served (any more)."""

    def convert(self, document: Any, source: str, target: str) -> Any:
        """A document of a served version in another served one."""


class Conflicts(Exception):
    """The fields that others own and an apply would change, by their managers."""

    def __init__(self, found: dict[Identity, FieldSet]) -> None:
        super().__init__("conflicts")
        self.found = found

    def listed(self) -> list[tuple[Identity, Path]]:
        return [(identity, path) for identity in sorted(self.found) for path in sets.paths(self.found[identity])]


class Comparison(Struct, frozen=True, gc=False):
    changed: FieldSet
    """Added or modified."""
    removed: FieldSet


class Updater:
    """One change of one object, sent in `version`. `settled`: its types never change, so no set means anything else than it did
    (an owner of an empty map would else be taken for one of an atomic map)."""

    def __init__(self, versions: Versions, version: str, ignored: Filter, *, settled: bool = False) -> None:
        self.versions, self.version, self.ignored, self.settled = versions, version, ignored, settled
        self._types: dict[str, MergeType | None] = {}

    def _type(self, version: str) -> MergeType | None:
        if version not in self._types:
            self._types[version] = self.versions.type(version)
        return self._types[version]

    def compare(self, old: Any, new: Any, version: str) -> Comparison | None:
        """As `version` sees it; None when it is not served. Raises BadItem."""
        kind = self._type(version)
        if kind is None:
            return None
        if version != self.version:
            old = self.versions.convert(old, self.version, version)
            new = self.versions.convert(new, self.version, version)
        changed, removed = compare(kind, old, new)
        return Comparison(self.ignored(changed), self.ignored(removed))

    def reconciled(self, managers: Managers, live: Any) -> Managers:
        """Every set as the types of today read it; managers of versions that are not served any more are gone."""
        result: Managers = {}
        for identity, entry in managers.items():
            kind = self._type(entry.api_version)
            if kind is None:
                continue
            if self.settled:
                result[identity] = entry
                continue
            seen = live if entry.api_version == self.version else self.versions.convert(live, self.version, entry.api_version)
            fields = reconcile(entry.fields, kind, seen)
            result[identity] = entry if fields is entry.fields else structs.replace(entry, fields=fields)
        return result

    def taken(self, managers: Managers, old: Any, new: Any, mine: Comparison, me: Identity | None, force: bool) -> Managers:
        """The managers without what this change takes from them. Raises Conflicts unless `force`."""
        known: dict[str, Comparison | None] = {self.version: mine}
        result = dict(managers)
        conflicts: dict[Identity, FieldSet] = {}
        for identity, entry in managers.items():
            if identity == me:
                continue
            if entry.api_version not in known:
                known[entry.api_version] = self.compare(old, new, entry.api_version)
            seen = known[entry.api_version]
            if seen is None:
                del result[identity]
                continue
            fields = entry.fields
            if not force and (both := intersection(fields, seen.changed)):
                conflicts[identity] = both
            fields = difference(difference(fields, seen.changed), seen.removed)
            if not fields:
                del result[identity]
            elif fields is not entry.fields:
                result[identity] = structs.replace(entry, fields=fields)
        if conflicts:
            raise Conflicts(conflicts)
        return result

    # Apply ----------------------------------------------------------------------------------------------------------

    def apply(self, live: Document, config: Document, managers: Managers, me: Entry, force: bool) -> tuple[Document, Managers]:
        """The object as `me` (its fields still empty) wants it, and the managers. Raises Conflicts, MergeFailed, BadItem."""
        kind = self._type(self.version)
        assert kind is not None
        managers = self.reconciled(managers, live)
        merged = merge(kind, live, config)
        last = managers.get(me.identity)
        managers[me.identity] = structs.replace(me, fields=self.ignored(fields_of(kind, config)))
        if last is not None and last.fields:
            merged = self._pruned(merged, managers, last)
        seen = compare(kind, live, merged)
        mine = Comparison(self.ignored(seen[0]), self.ignored(seen[1]))
        managers = self.taken(managers, live, merged, mine, me.identity, force)
        return merged, {identity: entry for identity, entry in managers.items() if entry.fields}

    def _pruned(self, merged: Any, managers: Managers, last: Entry) -> Any:
        """Without what this manager applied last, does not apply now, and nobody else owns."""
        version = last.api_version
        kind = self._type(version)
        if kind is None:
            return merged
        seen = self._convert(merged, self.version, version)
        pruned = without(kind, seen, with_structs(kind, last.fields))
        pruned = self._owned_added_back(seen, pruned, version, managers)
        merged_set = with_structs(kind, fields_of(kind, seen))
        pruned_set = with_structs(kind, fields_of(kind, pruned))
        gone = intersection(difference(merged_set, pruned_set), with_structs(kind, last.fields))
        return self._convert(without(kind, seen, gone), version, self.version)

    def _owned_added_back(self, merged: Any, pruned: Any, version: str, managers: Managers) -> Any:
        owned: dict[str, FieldSet] = {version: {}}
        for entry in managers.values():
            owned[entry.api_version] = union(owned.get(entry.api_version, {}), entry.fields)
        at = version
        for other, fields in owned.items():
            kind = self._type(other)
            if kind is None or (not fields and other == version):
                continue
            merged, pruned, at = self._convert(merged, at, other), self._convert(pruned, at, other), other
            kept = union(with_structs(kind, fields_of(kind, pruned)), with_structs(kind, fields))
            pruned = without(kind, merged, difference(with_structs(kind, fields_of(kind, merged)), kept))
        return self._convert(pruned, at, version)

    def _convert(self, document: Any, source: str, target: str) -> Any:
        return document if source == target else self.versions.convert(document, source, target)
