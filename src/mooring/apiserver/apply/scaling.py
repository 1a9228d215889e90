"""Who manages the replicas of an object, seen as its Scale? apimachinery/pkg/util/managedfields/scalehandler.go.

Those of the object's managers that own its replicas are the managers of the Scale; after an apply of it they are brought back.
"""

from typing import Any

from msgspec import structs

from mooring.apiserver.apply import applying, built_in
from mooring.apiserver.apply import managers as entries
from mooring.apiserver.apply.managers import APPLY, Entry, Identity, Managers
from mooring.apiserver.apply.sets import LEAF, FieldSet, Path, difference, has, of_path
from mooring.apiserver.apply.types import MergeType
from mooring.apiserver.apply.updating import Updater
from mooring.apiserver.call import Call
from mooring.apiserver.metadata import timestamp
from mooring.model.kinds import Kind

Document = dict[str, Any]

REPLICAS: Path = ("f:spec", "f:replicas")


def applied(
    call: Call, kind: Kind, live: Document, stored: list[Document], where: tuple[str, ...]
) -> tuple[Document, list[Document], tuple[str, ...]]:
    """The Scale `live` with the request's apply, the object's managedFields after it, and warnings.

    `stored` are the object's managedFields, `where` it has its replicas. Raises StatusError 400, 409, 422.
    """
    path = tuple("f:" + name for name in where)
    scale = built_in.merge_type(kind)
    config, complaints = applying.sent(call, kind, scale)
    parents = entries.kept(stored)
    seen = _of_scale(parents, kind, path)
    me = Entry(call.field_manager, APPLY, kind.api_version, LEAF, timestamp(call.env.now), call.target.subresource)
    work = Updater(_Alone(kind.api_version, scale), kind.api_version, _spec_only, settled=True)
    merged, found = applying.merged(work, live, config, seen, me, call.flag("force"))
    before = seen.get(me.identity)
    if merged == live and before is not None and found.get(me.identity, before).fields == before.fields:
        return merged, stored, complaints
    return merged, entries.written(_of_parent(parents, found, call.kind.api_version, path).values()), complaints


class _Alone:
    """A document that exists in one version."""

    def __init__(self, version: str, kind: MergeType) -> None:
        self.version, self.kind = version, kind

    def type(self, version: str) -> MergeType | None:
        return self.kind if version == self.version else None

    def convert(self, document: Any, source: str, target: str) -> Any:
        return document


def _spec_only(fields: FieldSet) -> FieldSet:
    return {"f:spec": fields["f:spec"]} if "f:spec" in fields else {}


def _scale_identity(entry: Entry, kind: Kind) -> Identity:
    return structs.replace(entry, api_version=kind.api_version).identity


def _of_scale(parents: Managers, kind: Kind, path: Path) -> Managers:
    fields = of_path(REPLICAS)
    owners = (entry for entry in parents.values() if has(entry.fields, path))
    return {
        _scale_identity(entry, kind): structs.replace(entry, api_version=kind.api_version, fields=fields) for entry in owners
    }


def _of_parent(parents: Managers, scale: Managers, version: str, path: Path) -> Managers:
    result: Managers = {}
    left = dict(scale)
    for identity, entry in parents.items():
        seen = next((each for each in left if each[:2] == identity[:2] and each[3] == identity[3]), None)
        if not has(entry.fields, path):
            result[identity] = entry
        elif seen is not None:
            result[identity] = structs.replace(entry, time=left.pop(seen).time)
        elif fields := difference(entry.fields, of_path(path)):
            result[identity] = structs.replace(entry, fields=fields)
    for entry in left.values():
        if has(entry.fields, REPLICAS):
            back = structs.replace(entry, api_version=version, fields=of_path(path))
            result[back.identity] = back
    return result
