"""How does a reconciler behave, without a server? A world in memory, and the loop in its simplest form.

    world = MemoryWorld([deployment("web", replicas=3)])
    settled = settle(Deployments(), world)
    assert 3 == len(list(world.list(REPLICA_SET)))
    assert not settle(Deployments(), world).writes   # planning again gives nothing

It keeps the API server's rules in short: generateName, uid, resourceVersion, generation, conflicts, subresources, finalizers,
graceful deletion. It neither defaults nor validates: tests that need that run on edges/memory/api.py.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

from msgspec import Struct

from mooring.control import settle as settling
from mooring.control.cache import Cache
from mooring.control.reconciler import Apply, Change, Document, Key, Reconciler, Report
from mooring.model.kinds import BY_KIND, NAMESPACE, POD, STORED, Kind
from mooring.ports.api import ApiError

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class MemoryWorld:
    """Whole documents by kind, as informers that miss nothing would have them. `now` may be moved by the test."""

    def __init__(
        self,
        documents: Iterable[Document] = (),
        now: datetime = EPOCH,
        rng: Random | None = None,
        customs: tuple[Kind, ...] = (),
    ) -> None:
        """`customs` are kinds as definitions add them."""
        self.now, self.rng, self.customs, self.complete = now, rng or Random(0), customs, True
        self.revision = 0
        self.changes: list[Change] = []
        """What happened since `settle` (or the test) last took it."""
        self._caches = {kind: Cache[Document](kind, lambda document: document) for kind in (*STORED, *customs)}
        self._kinds = BY_KIND | {(kind.api_version, kind.kind): kind for kind in customs}
        for document in documents:
            self.add(document)

    # What a reconciler reads.

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        return self._caches[kind].get(namespace, name)

    def list(self, kind: Kind, namespace: str = "") -> Iterator[Document]:
        return self._caches[kind].list(namespace)

    def indexed(self, kind: Kind, index: str, value: str) -> Iterable[Document]:
        return self._caches[kind].indexed(index, value)

    # What a test does.

    def add(self, document: Document) -> Document:
        """Stores a document as given (status and uid too), creating or replacing it; returns what is now stored."""
        kind = self._kinds[(document["apiVersion"], document["kind"])]
        return self._store(kind, self._completed(kind, copy.deepcopy(document)))

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Removes an object at once, whatever its finalizers."""
        self._drop(kind, self._found(kind, namespace, name))

    def write(self, write: Apply) -> Document:
        """Carries one write out. Raises ApiError as a server would, for AlreadyExists, NotFound and Conflict."""
        if write.verb == "create" and write.subresource == "binding":
            return self._bind(write)
        if write.verb == "create":
            return self._create(write.kind, write.namespace, copy.deepcopy(write.body))
        held = self._found(write.kind, write.namespace, write.name)
        if write.verb == "delete":
            return self._delete(write.kind, held, write.body or {})
        if write.verb == "patch":
            return self._update(write.kind, held, patched(held, write.body, write.patch_type), write.subresource)
        return self._update(write.kind, held, copy.deepcopy(write.body), write.subresource)

    def _found(self, kind: Kind, namespace: str, name: str) -> Document:
        held = self.get(kind, namespace, name)
        if held is None:
            raise ApiError(404, "NotFound", f'{kind.group_resource} "{name}" not found')
        return held

    def _create(self, kind: Kind, namespace: str, document: Document) -> Document:
        metadata = document.setdefault("metadata", {})
        if kind.namespaced:
            metadata.setdefault("namespace", namespace)
        if not metadata.get("name"):
            metadata["name"] = metadata["generateName"] + "".join(self.rng.choice(ALPHABET) for _ in range(5))
        if self.get(kind, metadata.get("namespace", ""), metadata["name"]) is not None:
            raise ApiError(409, "AlreadyExists", f'{kind.group_resource} "{metadata["name"]}" already exists')
        document.setdefault("kind", kind.kind)
        document.setdefault("apiVersion", kind.api_version)
        metadata.pop("uid", None)
        return self._store(kind, self._completed(kind, document))

    def _update(self, kind: Kind, held: Document, document: Document, subresource: str) -> Document:
        asked = document["metadata"].get("resourceVersion")
        if asked and asked != held["metadata"]["resourceVersion"]:
            raise ApiError(
                409, "Conflict", f'Operation cannot be fulfilled on {kind.group_resource} "{held["metadata"]["name"]}"'
            )
        document = written(kind, held, document, subresource)
        for field in ("uid", "creationTimestamp", "deletionTimestamp", "generation", "resourceVersion"):
            if field in held["metadata"]:
                document["metadata"][field] = held["metadata"][field]
        if document == held:
            return held
        if document.get("spec") != held.get("spec"):
            document["metadata"]["generation"] = held["metadata"].get("generation", 0) + 1
        metadata = document["metadata"]
        ending = metadata.get("deletionTimestamp") and not metadata.get("deletionGracePeriodSeconds")
        if ending and not finalizers(kind, document):
            return self._drop(kind, document)
        return self._store(kind, document)

    def _bind(self, write: Apply) -> Document:
        pod = copy.deepcopy(self._found(POD, write.namespace, write.name))
        if pod.setdefault("spec", {}).get("nodeName"):
            raise ApiError(409, "Conflict", f"pod {write.name} is already assigned to node {pod['spec']['nodeName']!r}")
        pod["spec"]["nodeName"] = write.body["target"]["name"]
        conditions = pod.setdefault("status", {}).setdefault("conditions", [])
        conditions[:] = [condition for condition in conditions if condition["type"] != "PodScheduled"]
        conditions.append({"type": "PodScheduled", "status": "True"})
        return self._store(POD, pod)

    def _delete(self, kind: Kind, held: Document, options: Document) -> Document:
        for field, value in (options.get("preconditions") or {}).items():
            if held["metadata"].get(field) != value:
                raise ApiError(409, "Conflict", f"Precondition failed: {field}")
        document = copy.deepcopy(held)
        metadata = document["metadata"]
        extra = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.get("propagationPolicy", ""))
        if extra:
            metadata["finalizers"] = sorted({*(metadata.get("finalizers") or ()), extra})
        grace = options.get("gracePeriodSeconds", (document.get("spec") or {}).get("terminationGracePeriodSeconds", 30))
        lingers = kind == POD and bool((document.get("spec") or {}).get("nodeName")) and grace != 0
        if not finalizers(kind, document) and not lingers:
            return self._drop(kind, held)
        if metadata.get("deletionTimestamp"):
            return held
        metadata["deletionTimestamp"] = timestamp(self.now)
        metadata["deletionGracePeriodSeconds"] = grace if lingers else 0
        if kind == NAMESPACE:
            document.setdefault("status", {})["phase"] = "Terminating"
        return self._store(kind, document)

    def _completed(self, kind: Kind, document: Document) -> Document:
        metadata = document["metadata"]
        if not metadata.get("uid"):
            metadata["uid"] = f"{kind.singular}-{self.revision + 1}"
        metadata.setdefault("creationTimestamp", timestamp(self.now))
        if "spec" in document:
            metadata.setdefault("generation", 1)
        return document

    def _store(self, kind: Kind, document: Document) -> Document:
        self.revision += 1
        document["metadata"]["resourceVersion"] = str(self.revision)
        step = self._caches[kind].put(document)
        assert step is not None
        self.changes.append(Change(kind, *step))
        return document

    def _drop(self, kind: Kind, document: Document) -> Document:
        self.revision += 1
        gone = {**document, "metadata": {**document["metadata"], "resourceVersion": str(self.revision)}}
        step = self._caches[kind].remove(gone)
        assert step is not None
        self.changes.append(Change(kind, *step))
        return gone


class Settled(Struct, frozen=True):
    """All that was written and reported until nothing was left, and the keys that asked to be looked at again."""

    writes: tuple[Apply, ...]
    reports: tuple[Report, ...]
    again: dict[Key, float]


def settle(reconciler: Reconciler | Sequence[Reconciler], world: MemoryWorld) -> Settled:
    """Plans every key, carries the plans out in `world`, feeds the changes back, until no key is left.

    Conflict and NotFound have the key planned again, as the real loop does. `again_after` is returned, not waited for.
    Raises settling.Restless when a key is planned without end, ApiError for any refusal that the plan does not ignore.
    """
    world.changes = [Change(kind, None, each) for kind in (*STORED, *world.customs) for each in world.list(kind)]
    found = settling.settle(reconciler if isinstance(reconciler, Sequence) else (reconciler,), world)
    if found.refusals:
        raise found.refusals[0].refusal.error
    return Settled(found.writes, found.reports, {key: seconds for (_, key), seconds in found.again.items()})


def finalizers(kind: Kind, document: Document) -> bool:
    """True while something must happen before the object may go."""
    spec = document.get("spec") or {}
    return bool(document["metadata"].get("finalizers") or (kind == NAMESPACE and spec.get("finalizers")))


def written(kind: Kind, held: Document, document: Document, subresource: str) -> Document:
    """What a request may change: /status the status, /finalize the finalizers, /scale the replicas, others all but status."""
    if subresource == "scale":
        return {**copy.deepcopy(held), "spec": {**held["spec"], "replicas": document["spec"]["replicas"]}}
    if subresource == "finalize":
        return {**copy.deepcopy(held), "spec": {**(held.get("spec") or {}), **(document.get("spec") or {})}}
    if subresource == "status":
        return {**copy.deepcopy(held), "metadata": document["metadata"], "status": document.get("status", {})}
    if "status" in kind.subresources:
        document.pop("status", None)
        if "status" in held:
            document["status"] = held["status"]
    return document


def patched(held: Document, patch: Any, patch_type: str) -> Document:
    """The document after a merge patch (RFC 7386) or a JSON patch (RFC 6902: add, remove, replace, test)."""
    if patch_type == "application/merge-patch+json":
        return dict(merged(copy.deepcopy(held), copy.deepcopy(patch)))
    if patch_type != "application/json-patch+json":
        raise ValueError(f"MemoryWorld knows merge and JSON patches only, not {patch_type}")
    document = copy.deepcopy(held)
    for operation in patch:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place: Any = document
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        json_operation(place, last, operation)
    return document


def json_operation(place: Any, last: str, operation: Document) -> None:
    """One RFC 6902 operation at `place[last]`."""
    index: Any = (len(place) if last == "-" else int(last)) if isinstance(place, list) else last
    match operation["op"]:
        case "add" if isinstance(place, list):
            place.insert(index, copy.deepcopy(operation["value"]))
        case "add" | "replace":
            place[index] = copy.deepcopy(operation["value"])
        case "remove":
            del place[index]
        case "test":
            if place[index] != operation["value"]:
                raise ApiError(422, "Invalid", f"the server rejected our request: test of {operation['path']} failed")


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = target if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def timestamp(moment: datetime) -> str:
    """As metav1.Time is written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
