"""How is a store kept when nothing has to outlive the process?"""

import asyncio
from collections.abc import Callable

from mooring.edges.listeners import Listeners
from mooring.ports.store import Listener
from mooring.store.records import Committed, Conflict, Txn
from mooring.store.snapshot import Snapshot
from mooring.store.state import State, check


class MemoryStore:
    """ports.store.Store without durability: for tests and clusters that are thrown away."""

    def __init__(self) -> None:
        self._state = State()
        self._listeners = Listeners()

    @property
    def snapshot(self) -> Snapshot:
        return self._state

    async def commit(self, txn: Txn) -> Committed | Conflict:
        check(txn)
        await asyncio.sleep(0)  # as a durable store: others have their turn before the answer
        (outcome,) = self._state.decide((txn,))
        self._listeners.tell(self._state.publish((outcome,)))
        return outcome

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        return self._listeners.add(listener)

    async def compact(self, revision: int) -> None:
        self._state.compact(revision)

    async def close(self) -> None:
        self._listeners.clear()
