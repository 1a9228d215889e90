"""What must each kind say for itself, so that everything else is written once?

The generic core (handle.py and its neighbours) decodes, patches, checks preconditions, stores and answers. A kind's Strategy
(apiserver/kinds/<kind>.py) answers only what differs. Documents given to a strategy are private copies: it may change them.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from mooring.apiserver.contract import Env
from mooring.model.kinds import Kind
from mooring.store.records import Compare, Delete, Put
from mooring.store.snapshot import Snapshot

Document = dict[str, Any]


class FieldError(Struct, frozen=True):
    """One broken rule, as upstream's field.Error: `type` is the cause's reason (FieldValueRequired, FieldValueInvalid,
    FieldValueNotSupported, FieldValueForbidden, FieldValueDuplicate, FieldValueTooLong, FieldValueTooMany, FieldValueNotFound,
    FieldValueTypeInvalid, InternalError); `message` is the whole sentence after the path,
    e.g. 'Invalid value: 0: must be ...'.
    """

    type: str
    field: str
    message: str


_LONG = 4096


def below(path: str, name: str) -> str:
    """Where a field is, as far as anybody would read it: a name may be as long as a request, and have as many fields."""
    if len(path) > _LONG:
        return path
    return f"{path}.{name[:_LONG]}" if path else name[:_LONG]


class Claim(Struct, frozen=True):
    """What else must be true and written in the same transaction: IPAddress objects, node-port keys.

    `errors` non-empty refuses the request (422). `unavailable` refuses with an InternalError sentence as upstream does when
    a range is full. The document may have been changed in place (clusterIP filled in).
    """

    compares: tuple[Compare, ...] = ()
    operations: tuple[Put | Delete, ...] = ()
    errors: tuple[FieldError, ...] = ()
    unavailable: str = ""


class Column(Struct, frozen=True):
    """One column of the server-side Table. Priority 0 is shown always, 1 only with -o wide."""

    name: str
    type: str = "string"
    description: str = ""
    priority: int = 0
    format: str = ""


class Strategy(Protocol):
    kind: Kind
    columns: tuple[Column, ...]
    generation: bool
    """True when metadata.generation counts changes of the spec."""

    def default(self, document: Document) -> None:
        """Fills in upstream's defaults; runs on every create, update and patch, before validation."""

    def prepare_create(self, document: Document, env: Env) -> None:
        """Wipes what a client may not set on create (status), sets what the server sets (phase Pending)."""

    def prepare_update(self, document: Document, old: Document, subresource: str, env: Env) -> None:
        """Restores what this request may not change: status on a spec update, spec on a status update; fields a type wipes."""

    def validate(self, document: Document, old: Document | None, subresource: str) -> Sequence[FieldError]:
        """Every broken rule, in document order. `old` is None on create."""

    def warnings(self, document: Document, old: Document | None) -> Sequence[str]:
        """Texts for Warning headers."""

    def claim(self, document: Document | None, old: Document | None, snapshot: Snapshot, env: Env) -> Claim:
        """Allocations to make (document), change (both) or release (document None), decided inside the write transaction."""

    def delete_at_once(self, document: Document) -> bool:
        """False when a deletion with a grace period only marks the object (a running Pod on a node)."""

    def fields(self, document: Document) -> dict[str, str]:
        """The field-selector labels beyond metadata.name and metadata.namespace, e.g. {'spec.nodeName': 'a'}."""

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        """The Table row's cells, one per column."""
