"""What has been seen of one kind? The objects, their indexes, and how far in the server's history this knowledge reaches.

Revisions. Kubernetes calls resourceVersion opaque, and since v1.35 comparable (KEP-5504); the servers meant here (our own and
any on etcd) number all writes of the store in one sequence, and a deletion's event carries the revision of the deletion. So
an integer comparison tells which of two versions of an object is newer, and nothing here ever goes back in time.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from mooring.control.ingress_class import class_of
from mooring.control.reconciler import Document, Key
from mooring.model.discovery import SERVICE_NAME_LABEL
from mooring.model.kinds import (
    CONTROLLER_REVISION,
    ENDPOINT_SLICE,
    INGRESS,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    SERVICE,
    Kind,
)

T = TypeVar("T")
Step = tuple[T | None, T | None]
"""(before, after): an object appeared (before None), changed, or went (after None)."""

TOMBSTONES = 10_000


def owner(document: Document) -> Iterable[str]:
    """The controller's uid."""
    for reference in document["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            yield reference.get("uid", "")


def co_owner(document: Document) -> Iterable[str]:
    """The uids of owners that are not the controller: with 'owner', all that the garbage collector must know."""
    for reference in document["metadata"].get("ownerReferences") or ():
        if not reference.get("controller"):
            yield reference.get("uid", "")


def node(pod: Document) -> Iterable[str]:
    """spec.nodeName, '' for a Pod that no node has yet."""
    return ((pod.get("spec") or {}).get("nodeName") or "",)


def service(labelled: Document) -> Iterable[str]:
    """'namespace/name' of the Service that a slice serves, by its label."""
    metadata = labelled["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL)
    return (f"{metadata.get('namespace', '')}/{name}",) if name else ()


def label(document: Document) -> Iterable[str]:
    """'namespace/key=value' of each label."""
    metadata = document["metadata"]
    namespace = metadata.get("namespace", "")
    return [f"{namespace}/{key}={value}" for key, value in (metadata.get("labels") or {}).items()]


def selector(document: Document) -> Iterable[str]:
    """'namespace/key=value' of the first pair, in key order, of a Service's selector.

    One pair is enough to find every Service that may select a pod: look up each of the pod's labels.
    """
    pairs = (document.get("spec") or {}).get("selector")
    if not pairs:
        return ()
    key = min(pairs)
    return (f"{document['metadata'].get('namespace', '')}/{key}={pairs[key]}",)


def address(service: Document) -> Iterable[str]:
    """Each external IP and load balancer address of a Service, as it is written: those that others may claim too."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    external = (service.get("spec") or {}).get("externalIPs") or ()
    return dict.fromkeys((*external, *(each["ip"] for each in ingress if each.get("ip"))))


def ingress_class(ingress: Document) -> Iterable[str]:
    """The class that an Ingress names, '' for none."""
    return (class_of(ingress),)


def claim(pod: Document) -> Iterable[str]:
    """'namespace/name' of each PersistentVolumeClaim that the Pod mounts."""
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    names = [each["persistentVolumeClaim"].get("claimName", "") for each in volumes if each.get("persistentVolumeClaim")]
    return dict.fromkeys(f"{pod['metadata'].get('namespace', '')}/{name}" for name in names)


def volume(claim: Document) -> Iterable[str]:
    """The name of the PersistentVolume that a claim asks for or has, '' while it has none."""
    return ((claim.get("spec") or {}).get("volumeName") or "",)


INDEXES: Mapping[str, Callable[[Document], Iterable[str]]] = {
    "owner": owner,
    "co_owner": co_owner,
    "node": node,
    "service": service,
    "label": label,
    "selector": selector,
    "address": address,
    "ingress_class": ingress_class,
    "claim": claim,
    "volume": volume,
}
"""Every index there is, by the name that World.indexed takes."""

BY_KIND: Mapping[Kind, tuple[str, ...]] = {
    POD: ("owner", "co_owner", "node", "label", "claim"),
    SERVICE: ("owner", "co_owner", "selector", "address"),
    ENDPOINT_SLICE: ("owner", "co_owner", "service"),
    REPLICA_SET: ("owner", "co_owner", "label"),
    CONTROLLER_REVISION: ("owner", "co_owner", "label"),
    INGRESS: ("owner", "co_owner", "ingress_class"),
    PERSISTENT_VOLUME_CLAIM: ("owner", "co_owner", "volume"),
}
"""Which indexes a kind has; any other kind has the two of owners alone."""


def key_of(document: Document) -> Key:
    """(namespace, name) of a document; namespace is '' for cluster-scoped objects."""
    metadata = document["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def revision_of(document: Document) -> int:
    """metadata.resourceVersion as a number, 0 when there is none."""
    return int(document["metadata"].get("resourceVersion") or 0)


class Cache(Generic[T]):
    """Objects of one kind, each kept as `view(document)` makes it; indexes are computed from the document itself.

    A document that its view refuses counts as absent, and `rejected(document, error)` hears of it.
    """

    def __init__(
        self, kind: Kind, view: Callable[[Document], T], rejected: Callable[[Document, Exception], None] = lambda *_: None
    ) -> None:
        self.kind = kind
        self.floor = 0
        """Every event up to this revision has been seen: that of the last list or bookmark."""
        self._view, self._rejected = view, rejected
        self._extract = tuple((name, INDEXES[name]) for name in BY_KIND.get(kind, ("owner", "co_owner")))
        self._objects: dict[str, dict[str, T]] = {}
        self._revisions: dict[Key, int] = {}
        self._uids: dict[Key, str] = {}
        self._values: dict[Key, tuple[tuple[str, str], ...]] = {}
        self._indexes: dict[tuple[str, str], dict[Key, T]] = {}
        self._tombstones: OrderedDict[Key, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._revisions)

    def get(self, namespace: str, name: str) -> T | None:
        return self._objects.get(namespace, {}).get(name)

    def list(self, namespace: str = "") -> Iterator[T]:
        """All objects, in one namespace unless ''."""
        spaces = list(self._objects.values()) if not namespace else [self._objects.get(namespace, {})]
        for space in spaces:
            yield from list(space.values())

    def indexed(self, index: str, value: str) -> Iterable[T]:
        """Objects by an index of this kind. Raises KeyError when the kind has no such index."""
        if not any(name == index for name, _ in self._extract):
            raise KeyError(f"{self.kind.plural} have no index {index!r}")
        return list(self._indexes.get((index, value), {}).values())

    def count(self, index: str, value: str) -> int:
        """How many objects `indexed` would give."""
        return len(self._indexes.get((index, value), ()))

    def put(self, document: Document) -> Step[T] | None:
        """An ADDED or MODIFIED event. None when it tells nothing new."""
        key, revision = key_of(document), revision_of(document)
        if revision <= self.revision(key):
            return None
        return self._set(key, document, revision)

    def remove(self, document: Document) -> Step[T] | None:
        """A DELETED event. None when it tells nothing new. An equal revision counts: some servers send the last version."""
        key, revision = key_of(document), revision_of(document)
        if revision < self.revision(key):
            return None
        before = self._unset(key)
        self._bury(key, revision)
        return None if before is None else (before, None)

    def replace(self, documents: Iterable[Document], revision: int) -> Iterator[Step[T]]:
        """A complete list at `revision`: yields what changed since, so that deletions in a gap of the watch are seen too.

        A list is a consistent read, never older than what was true when it was asked for, so it is believed even where its
        revision is lower: then the server's store itself was put back, and the world did go back in time.
        """
        restored = revision < self.floor
        listed = {key_of(document): document for document in documents}
        for key in [key for key in self._revisions if key not in listed]:
            if restored or self._revisions[key] <= revision:
                before = self._unset(key)
                if before is not None:
                    yield before, None
        for key, document in listed.items():
            held, listed_revision = self._revisions.get(key, 0), revision_of(document)
            if held < listed_revision or (restored and held != listed_revision):
                step = self._set(key, document, listed_revision)
                if step is not None:
                    yield step
        self._tombstones.clear()
        self.floor = revision

    def bookmark(self, revision: int) -> None:
        """All events up to `revision` have been delivered."""
        self.floor = max(self.floor, revision)

    def revision(self, key: Key) -> int:
        """How far this object's history is known: what happened to it up to here is in the cache."""
        return max(self.floor, self._revisions.get(key, 0), self._tombstones.get(key, 0))

    def holds(self, key: Key, uid: str) -> bool:
        """True while the object of this uid is here (any object of the name when `uid` is '')."""
        held = self._uids.get(key)
        return held is not None and (not uid or held == uid)

    def _set(self, key: Key, document: Document, revision: int) -> Step[T] | None:
        before = self._unset(key)
        try:
            after = self._view(document)
        except Exception as error:
            self._rejected(document, error)
            self._bury(key, revision)
            return None if before is None else (before, None)
        self._tombstones.pop(key, None)
        self._objects.setdefault(key[0], {})[key[1]] = after
        self._revisions[key] = revision
        self._uids[key] = document["metadata"].get("uid", "")
        values = tuple((name, value) for name, extract in self._extract for value in extract(document))
        if values:
            self._values[key] = values
            for entry in values:
                self._indexes.setdefault(entry, {})[key] = after
        return before, after

    def _unset(self, key: Key) -> T | None:
        if self._revisions.pop(key, None) is None:
            return None
        del self._uids[key]
        for entry in self._values.pop(key, ()):
            members = self._indexes[entry]
            members.pop(key, None)
            if not members:
                del self._indexes[entry]
        space = self._objects[key[0]]
        before = space.pop(key[1])
        if not space:
            del self._objects[key[0]]
        return before

    def _bury(self, key: Key, revision: int) -> None:
        """Remembers a deletion, so that an older event about the object cannot bring it back."""
        self._tombstones[key] = revision
        self._tombstones.move_to_end(key)
        while len(self._tombstones) > TOMBSTONES:
            self._tombstones.popitem(last=False)
