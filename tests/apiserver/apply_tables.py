"""Plays tables of applies and updates: who does what, what comes of the object, who owns which fields.

Paths are written as people read them, e.g. `.list[name="a"].value`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import yaml
from msgspec import Struct

from mooring.apiserver.apply import sets
from mooring.apiserver.apply.managers import APPLY, UPDATE, Entry, Managers
from mooring.apiserver.apply.sets import FieldSet
from mooring.apiserver.apply.typed import faults
from mooring.apiserver.apply.types import MergeType
from mooring.apiserver.apply.updating import Conflicts, Updater


class Op(Struct, frozen=True):
    kind: str
    """apply, force or update."""
    manager: str
    object: str
    conflicts: tuple[tuple[str, str], ...] | None = None
    """(manager, path) of each; None: there are none."""
    version: str = "v1"


def apply(manager: str, text: str, *conflicts: tuple[str, str], version: str = "v1") -> Op:
    return Op("apply", manager, text, conflicts or None, version)


def force(manager: str, text: str, version: str = "v1") -> Op:
    return Op("force", manager, text, None, version)


def update(manager: str, text: str, version: str = "v1") -> Op:
    return Op("update", manager, text, None, version)


class SameVersions:
    """Every version has the same type."""

    def __init__(self, kind: MergeType) -> None:
        self.kind = kind

    def type(self, version: str) -> MergeType | None:
        return self.kind

    def convert(self, document: Any, source: str, target: str) -> Any:
        return document


class State:
    """An object and its managers. `convert` brings a document from one version to another."""

    def __init__(self, versions: Any) -> None:
        self.versions = versions
        self.live: Any = {}
        self.at = ""
        self.managers: Managers = {}

    def seen(self, version: str) -> Any:
        return self.live if self.at in ("", version) else self.versions.convert(self.live, self.at, version)

    def play(self, op: Op) -> None:
        document = yaml.safe_load(op.object) or {}
        kind = self.versions.type(op.version)
        work = Updater(self.versions, op.version, lambda fields: fields)
        live = self.seen(op.version)
        if op.kind == "update":
            self._update(work, live, document, op)
            return
        assert not faults(kind, document), faults(kind, document)
        me = Entry(op.manager, APPLY, op.version, {})
        try:
            merged, managers = work.apply(live, document, self.managers, me, op.kind == "force")
        except Conflicts as found:
            told = {(identity[0], sets.text(path)) for identity, path in found.listed()}
            assert told == set(op.conflicts or ()), told
            return
        assert op.conflicts is None, f"no conflict, where {op.conflicts} were wanted"
        self.live, self.managers, self.at = merged, managers, op.version

    def _update(self, work: Updater, live: Any, document: Any, op: Op) -> None:
        owners = work.reconciled(self.managers, live)
        mine = work.compare(live, document, op.version)
        me = Entry(op.manager, UPDATE, op.version, {})
        result = work.taken(owners, live, document, mine, None, True)
        left = result.get(me.identity)
        fields = sets.union(left.fields if left else {}, mine.changed)
        if fields:
            result[me.identity] = Entry(op.manager, UPDATE, op.version, fields)
        self.live, self.managers, self.at = document, result, op.version

    def owned(self) -> dict[str, set[str]]:
        return {entry.manager: {sets.text(path) for path in sets.paths(entry.fields)} for entry in self.managers.values()}


def play(versions: Any, ops: tuple[Op | Callable[[], Any], ...]) -> State:
    """A callable among the ops gives the versions from there on: a changed schema."""
    state = State(versions)
    for op in ops:
        if isinstance(op, Op):
            state.play(op)
        else:
            state.versions = op()
    return state


def check(versions: Any, ops: Any, wanted: str | None, owned: Mapping[str, str] | None, version: str = "v1") -> None:
    """`owned`: by manager, the paths of its set, apart by blanks."""
    state = play(versions, ops)
    if wanted is not None:
        assert state.seen(version) == (yaml.safe_load(wanted) or {})
    if owned is not None:
        assert state.owned() == {manager: set(paths.split()) for manager, paths in owned.items()}


def of(*paths: tuple[str, ...]) -> FieldSet:
    found: FieldSet = {}
    for path in paths:
        found = sets.union(found, sets.of_path(path))
    return found
