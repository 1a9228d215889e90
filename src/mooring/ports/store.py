"""What the API server needs of a store: etcd-shaped, so that etcd can stand behind it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from mooring.store.records import Committed, Conflict, Event, Txn
from mooring.store.snapshot import Snapshot

Listener = Callable[[Sequence[Event]], None]


class Store(Protocol):
    @property
    def snapshot(self) -> Snapshot: ...

    async def commit(self, txn: Txn) -> Committed | Conflict:
        """Returns when the outcome is durable and visible in `snapshot`; listeners have been called by then."""

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` in the loop's thread with each batch of committed events, in revision order. Returns the undo."""

    async def compact(self, revision: int) -> None:
        """Forgets history up to and including `revision`; live keys stay. Never blocks writers."""

    async def close(self) -> None: ...
