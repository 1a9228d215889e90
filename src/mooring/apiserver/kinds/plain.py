"""What does a kind answer that is nothing special? The Strategy that real ones start from."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, metadata
from mooring.apiserver.kinds.printing import age
from mooring.apiserver.strategy import Claim, Column, Document, FieldError
from mooring.model.kinds import Kind
from mooring.store.snapshot import Snapshot

NAME = Column("Name", "string", format="name")
AGE = Column("Age", "string")
NOTHING = Claim()


class Plain:
    """No defaults, no allocation, spec and status apart when `has_status`; kinds override what differs."""

    kind: Kind
    columns: tuple[Column, ...] = (NAME, AGE)
    generation: bool = False
    has_status: bool = False

    def name_rule(self, name: str) -> list[str]:
        """What is wrong with a name, in upstream's sentences."""
        return formats.subdomain(name)

    def default(self, document: Document) -> None:
        pass

    def prepare_create(self, document: Document, env: Env) -> None:
        if self.has_status:
            document.pop("status", None)

    def prepare_update(self, document: Document, old: Document, subresource: str, env: Env) -> None:
        """A status update takes status and metadata's labels, annotations and finalizers; any other keeps the old status."""
        if not self.has_status:
            return
        if subresource == "status":
            status = document.get("status")
            for name in document.keys() | old.keys():
                if name != "metadata":
                    restore(document, old, name)
            document.pop("status", None)
            if status is not None:
                document["status"] = status
        else:
            restore(document, old, "status")

    def validate(self, document: Document, old: Document | None, subresource: str) -> Sequence[FieldError]:
        found = metadata.check_metadata(document, old, self.kind.namespaced, self.name_rule)
        found += self.check(document, old, subresource)
        return found

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        """The kind's own rules, after metadata's."""
        return []

    def warnings(self, document: Document, old: Document | None) -> Sequence[str]:
        return ()

    def claim(self, document: Document | None, old: Document | None, snapshot: Snapshot, env: Env) -> Claim:
        return NOTHING

    def delete_at_once(self, document: Document) -> bool:
        return True

    def fields(self, document: Document) -> dict[str, str]:
        return {}

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        return [document["metadata"].get("name", ""), age(document, env)]


class Ordinary(Plain):
    """A kind about which there is nothing more to say than its row in the table of kinds."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.has_status = "status" in kind.subresources


def restore(document: Document, old: Document, name: str) -> None:
    """Puts the old value of a field back, or its absence."""
    if name in old:
        document[name] = old[name]
    else:
        document.pop(name, None)
