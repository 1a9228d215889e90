"""How is a version of a definition served? Its records may be of any version, written before the schema had its defaults."""

from collections.abc import Iterable, Sequence

from mooring.apiserver.contract import Env
from mooring.apiserver.custom import conversion
from mooring.apiserver.custom.defaulting import default
from mooring.apiserver.custom.definition import Definition, ScalePaths, Version
from mooring.apiserver.custom.openapi import Published
from mooring.apiserver.custom.pruning import prune
from mooring.apiserver.custom.shapes import shape_of
from mooring.apiserver.custom.strategy import Custom
from mooring.apiserver.custom.structural import structural
from mooring.apiserver.remembered import remembered
from mooring.apiserver.resources import Resource
from mooring.apiserver.strategy import Document
from mooring.model import codec
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION
from mooring.store.records import Record
from mooring.store.snapshot import Snapshot

_REMEMBERED = 20_000
"""Records whose served form is kept, by the stored bytes: so it can never be wrong."""
_LARGE = 16 * 1024
"""Bytes of those whose form is not: there may be very many versions of a large object."""


class Served:
    """A version with what follows from its schema, made once for each change of the definition."""

    def __init__(self, definition: Definition, version: Version) -> None:
        self.definition, self.version = definition, version
        self.kind = definition.kind(version)
        self.schema = structural(version.schema)
        self.stored_as = f"{definition.group}/{definition.storage.name}"
        self.head = _head(self.kind.kind, self.kind.api_version)
        self.stored_head = _head(self.kind.kind, self.stored_as)
        self.changed = definition.changed
        self.published = Published(self.kind, version.schema)
        self.form = remembered(_REMEMBERED, _LARGE)(self._form)
        """A stored document in the served form, where no webhook is needed for it."""

    def _form(self, value: bytes) -> bytes:
        found = codec.canonical(self.filled(codec.decode(value)))
        return value if found == value else found

    def filled(self, document: Document) -> Document:
        """What another version or another schema has written, as it would be written now."""
        if document.get("apiVersion") != self.kind.api_version:
            document = conversion.renamed(document, self.kind.api_version)
        prune(document, self.schema, root=True)
        if self.schema.fills:
            default(document, self.schema)
        return document


class CustomResource(Resource, frozen=True, eq=False, kw_only=True):
    """Equal for one and the same version of a definition, whichever request it is bound to."""

    served_version: Served
    env: Env | None = None
    snapshot: Snapshot | None = None
    converted: dict[bytes, Document] = {}
    """What a webhook has answered within this request, by the stored bytes."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CustomResource) and other.served_version is self.served_version

    def __hash__(self) -> int:
        return hash(id(self.served_version))

    @property
    def converts(self) -> bool:
        return self.served_version.changed or len(self.served_version.definition.versions) > 1

    @property
    def deprecation(self) -> str:
        return self.served_version.version.deprecation

    @property
    def rests_on(self) -> str:
        return CUSTOM_RESOURCE_DEFINITION.key("", f"{self.kind.plural}.{self.kind.group}")

    @property
    def needs_version(self) -> bool:
        return True

    @property
    def scale(self) -> ScalePaths | None:
        return self.served_version.version.scale

    def within(self, env: Env, snapshot: Snapshot) -> Resource:
        if not conversion.by_webhook(self.served_version.definition):
            return self
        return CustomResource(
            self.kind, self.stored, self.strategy, self.shape, served_version=self.served_version, env=env, snapshot=snapshot,
            converted={},
        )  # fmt: skip

    def current(self, value: bytes) -> bool:
        return value.startswith(self.served_version.stored_head)

    def gathered(self, records: Iterable[Record]) -> Iterable[Record]:
        """Has a webhook asked once for all that need it."""
        if not self._asks:
            return records
        found = list(records)
        foreign = [record.value for record in found if self._foreign(record.value)]
        if foreign:
            documents = self._ask([codec.decode(value) for value in foreign], self.kind.api_version)
            self.converted.update(zip(foreign, documents, strict=True))
        return found

    def load(self, value: bytes) -> Document:
        if not self.served_version.changed and not self._foreign(value):
            document: Document = codec.decode(value)
            return document
        if self._asks and self._foreign(value):
            known = self.converted.get(value)
            document = _copy(known) if known is not None else self._ask([codec.decode(value)], self.kind.api_version)[0]
            return self.served_version.filled(document)
        return self.served_version.filled(codec.decode(value))

    def served(self, value: bytes) -> bytes:
        own = not self._foreign(value)
        if own and not self.served_version.changed:
            return value
        if not own and self._asks:
            return codec.canonical(self.load(value))
        return self.served_version.form(value)

    def store(self, document: Document) -> bytes:
        wanted = self.served_version.stored_as
        if document.get("apiVersion") != wanted:
            if not self._asks:
                return codec.canonical(conversion.renamed(document, wanted))
            value = codec.canonical(self._ask([document], wanted)[0])
            self.converted[value] = document  # the answer shows what was sent, without asking the way back
            return value
        return codec.canonical(document)

    @property
    def _asks(self) -> bool:
        return self.env is not None

    def _foreign(self, value: bytes) -> bool:
        return not value.startswith(self.served_version.head)

    def _ask(self, documents: Sequence[Document], api_version: str) -> list[Document]:
        assert self.env is not None and self.snapshot is not None
        return conversion.asked(documents, api_version, self.served_version.definition, self.env, self.snapshot)


def _head(kind: str, api_version: str) -> bytes:
    """How a stored document of a version begins (codec.canonical)."""
    return codec.encode({"kind": kind, "apiVersion": api_version})[:-1] + b","


def _copy(document: Document) -> Document:
    copied: Document = codec.decode(codec.encode(document))
    return copied


def resource_of(definition: Definition, version: Version) -> CustomResource:
    served = Served(definition, version)
    strategy = Custom(definition, version, served.kind, served.schema)
    return CustomResource(served.kind, served.kind, strategy, shape_of(served.schema), served_version=served)
