"""What do the reconcilers see? Every informer's cache as one World, and how to wait until it has seen a write."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from random import Random

from mooring.control.informer import Informer
from mooring.control.reconciler import Apply, Document, Key
from mooring.model.kinds import Kind


class InformerWorld:
    """The World over informers of whole documents. Raises KeyError for a kind that nobody declared to watch."""

    def __init__(self, informers: Mapping[Kind, Informer[Document]], rng: Random | None = None) -> None:
        self.informers = dict(informers)
        self._added: dict[Kind, Informer[Document]] = {}
        self.rng = rng or Random()

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def add(self, kind: Kind, informer: Informer[Document]) -> None:
        """A kind that a definition has added."""
        self.informers[kind] = self._added[kind] = informer

    def forget(self, kind: Kind) -> None:
        self.informers.pop(kind, None)
        self._added.pop(kind, None)

    @property
    def customs(self) -> tuple[Kind, ...]:
        return tuple(kind for kind, informer in self._added.items() if informer.synced.is_set())

    @property
    def complete(self) -> bool:
        return all(informer.synced.is_set() for informer in self._added.values())

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        return self.informers[kind].cache.get(namespace, name)

    def list(self, kind: Kind, namespace: str = "") -> Iterable[Document]:
        return self.informers[kind].cache.list(namespace)

    def indexed(self, kind: Kind, index: str, value: str) -> Iterable[Document]:
        return self.informers[kind].cache.indexed(index, value)

    async def wait_synced(self) -> None:
        """Returns once every informer has its first list."""
        for informer in list(self.informers.values()):
            await informer.synced.wait()

    async def wait_for(self, write: Apply, answer: Document) -> None:
        """Returns once the informers have seen this write of ours; at once for a kind that nobody watches.

        `answer` is the server's: the object as written, or a Status after a deletion that was immediate.
        """
        informer = self.informers.get(write.kind)
        if informer is None:
            return
        if write.subresource == "binding":  # answered with a Status that tells no revision
            await informer.wait_true((write.namespace, write.name), partial(bound_or_gone, write.body["metadata"]["uid"]))
            return
        if answer.get("kind") == "Status":
            details = answer.get("details") or {}
            await informer.wait_gone((write.namespace, write.name), details.get("uid", ""))
            return
        metadata = answer.get("metadata") or {}
        key: Key = (metadata.get("namespace", write.namespace), metadata.get("name", write.name))
        if metadata.get("resourceVersion"):
            await informer.wait_seen(key, int(metadata["resourceVersion"]))


def bound_or_gone(uid: str, pod: Document | None) -> bool:
    """What the binding of the Pod of this uid has brought about; a namesake made since says that it has gone."""
    return pod is None or pod["metadata"]["uid"] != uid or bool((pod.get("spec") or {}).get("nodeName"))
