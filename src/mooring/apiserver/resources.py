"""How does a served kind map onto what is stored? One to one, except Events: two APIs serve one set of records."""

from collections.abc import Callable, Iterable
from functools import cache

import msgspec
from msgspec import Struct

from mooring.apiserver.contract import Env
from mooring.apiserver.custom.definition import ScalePaths
from mooring.apiserver.custom.definition_shape import definition_shape
from mooring.apiserver.event_forms import from_core, to_core
from mooring.apiserver.kinds import STRATEGIES
from mooring.apiserver.shape import Shape, built_in
from mooring.apiserver.strategy import Document, Strategy
from mooring.model import codec
from mooring.model.kinds import CORE_EVENT, CUSTOM_RESOURCE_DEFINITION, EVENT, LEASE, Kind
from mooring.store.records import Record
from mooring.store.snapshot import Snapshot

REPLICAS = ScalePaths(("spec", "replicas"), ("status", "replicas"))


def _same(document: Document) -> Document:
    return document


class Resource(Struct, frozen=True, cache_hash=True):
    """A served kind: where its records live, and how documents turn into the served form and back."""

    kind: Kind
    stored: Kind
    strategy: Strategy
    shape: Shape
    to_stored: Callable[[Document], Document] = _same
    from_stored: Callable[[Document], Document] = _same

    @property
    def converts(self) -> bool:
        return self.kind is not self.stored

    @property
    def deprecation(self) -> str:
        """What to warn everybody of who uses this version; '' for most."""
        return ""

    @property
    def rests_on(self) -> str:
        """The key of the record that says what this kind is; '' for kinds that nothing can change."""
        return ""

    @property
    def needs_version(self) -> bool:
        """Whether an update must name the version that it replaces (upstream's AllowUnconditionalUpdate is false)."""
        return self.kind == LEASE

    @property
    def scale(self) -> ScalePaths | None:
        """Where a Scale's numbers are; of built-in kinds that can be scaled all in the same place."""
        return REPLICAS if "scale" in self.kind.subresources else None

    def within(self, env: Env, snapshot: Snapshot) -> "Resource":
        """The same for one request, which may ask webhooks."""
        return self

    def gathered(self, records: Iterable[Record]) -> Iterable[Record]:
        """The same records, all that is needed to load them asked for at once."""
        return records

    def current(self, value: bytes) -> bool:
        """Whether a record is stored as it would be stored today; otherwise an update that changes nothing is written too."""
        return True

    def key(self, namespace: str, name: str) -> str:
        return self.stored.key(namespace, name)

    def prefix(self, namespace: str) -> str:
        """The store prefix of a collection; all namespaces when ''."""
        return f"{self.stored.prefix}{namespace}/" if namespace else self.stored.prefix

    def load(self, value: bytes) -> Document:
        """A private document in the served form, without resourceVersion."""
        document: Document = codec.decode(value)
        return self.from_stored(document)

    def store(self, document: Document) -> bytes:
        """The bytes to store for a document in the served form."""
        return codec.canonical(self.to_stored(document))

    def served(self, value: bytes) -> bytes:
        """Stored bytes in the served form, canonical."""
        return codec.canonical(self.from_stored(codec.decode(value))) if self.converts else value


@cache
def resource_of(kind: Kind) -> Resource:
    """Of a kind in the table of kinds; registry.py knows those that definitions have added."""
    if kind == EVENT:
        return Resource(EVENT, CORE_EVENT, STRATEGIES[EVENT], built_in(EVENT), to_core, from_core)
    shape = definition_shape() if kind == CUSTOM_RESOURCE_DEFINITION else built_in(kind)
    return Resource(kind, kind, STRATEGIES[kind], shape)


class _Head(Struct, gc=False):
    metadata: msgspec.Raw


_head = msgspec.json.Decoder(_Head)


def raw_metadata(value: bytes, revision: int) -> bytes:
    """The metadata object of a stored document as JSON, with its resourceVersion unless `revision` is 0."""
    raw = bytes(_head.decode(value).metadata)
    return b'{"resourceVersion":"%d",' % revision + raw[1:] if revision else raw
