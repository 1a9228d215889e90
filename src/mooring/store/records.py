"""What is a stored record, a transaction and a change?

The shapes follow etcd's KV and watch API (https://etcd.io/docs/v3.5/learning/api/): one revision counter for the whole
store, compare-and-set transactions, and watches that resume from a revision. SQLite and etcd stand behind the same port.
"""

from msgspec import Struct


class Record(Struct, frozen=True, gc=False):
    """A live key. `value` is the document as canonical JSON without resourceVersion; revisions start at 1."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int


class Compare(Struct, frozen=True, gc=False):
    """The key must have exactly this mod_revision; 0 means the key must be absent."""

    key: str
    mod_revision: int


class Put(Struct, frozen=True, gc=False):
    key: str
    value: bytes


class Delete(Struct, frozen=True, gc=False):
    """Removes a key; removing an absent key is a no-op and makes no event."""

    key: str


class Txn(Struct, frozen=True, gc=False):
    """All compares hold, then all operations apply under one new revision; otherwise nothing applies."""

    compares: tuple[Compare, ...]
    operations: tuple[Put | Delete, ...]


class Event(Struct, frozen=True, gc=False):
    """One key changed at `revision`. `record` is None after a delete; `previous` is None before a create."""

    revision: int
    key: str
    record: Record | None
    previous: Record | None


class Committed(Struct, frozen=True):
    """The transaction is durable. `events` are those of this transaction, in operation order."""

    revision: int
    events: tuple[Event, ...]


class Conflict(Struct, frozen=True):
    """Nothing was written: these keys did not have the compared revision. `actual` holds their mod_revision, 0 if absent."""

    actual: tuple[Compare, ...]


class Compacted(Exception):
    """The asked revision is older than the history kept. `oldest` is the first revision that can still be read."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"revision {asked} has been compacted; the oldest available is {oldest}")
        self.asked, self.oldest = asked, oldest


class FutureRevision(Exception):
    """The asked revision has not happened yet. `current` is the store's revision."""

    def __init__(self, asked: int, current: int) -> None:
        super().__init__(f"revision {asked} is in the future; the current is {current}")
        self.asked, self.current = asked, current
