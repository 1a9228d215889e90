"""How does an acknowledged write survive kill -9 and power loss, at thousands a second?

Group commit: transactions that arrive while a batch is being written wait and form the next batch, which costs one fsync
however many they are. The loop's thread decides (store/state.py), one writer thread makes the decision durable, and only then
does the loop's thread publish it, tell the listeners and answer: nobody reads what could still be lost.

Reads and watches have the state in memory and never meet the file. What its history takes is bounded here, since large
documents that change often would fill the memory sooner than anyone calls `compact`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NoReturn

from mooring.edges.listeners import Listeners
from mooring.edges.sqlite.log import MAX_OPERATIONS, Batch, DeadRow, Log, dead_rows
from mooring.ports.store import Listener
from mooring.store.errors import StorageError, StorageFailed
from mooring.store.records import Committed, Conflict, Event, Txn
from mooring.store.snapshot import Snapshot
from mooring.store.state import Outcome, State, check

HISTORY_SIZE = 256 * 1024 * 1024
"""Bytes of memory for history: watches resume, and pages go on, from a revision so far back."""
DEAD_ROWS_A_BATCH = 256
"""Compaction rides along with the writers' batches, at least so many rows each: a millisecond that no writer notices."""

_Waiting = tuple[Txn, "asyncio.Future[Outcome]"]


class SqliteStore:
    """ports.store.Store in one SQLite file, held by one process."""

    def __init__(
        self, log: Log, state: State, dead: list[DeadRow], writer: ThreadPoolExecutor, history_size: int = HISTORY_SIZE
    ) -> None:
        """Use `open`."""
        self._loop = asyncio.get_running_loop()
        self._log, self._state, self._writer, self._history_size = log, state, writer, history_size
        self._listeners = Listeners()
        self._waiting: list[_Waiting] = []
        self._compacted = 0
        self._dead = deque(dead)
        self._forgotten: deque[Event] = deque()
        self._writing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._failure: asyncio.Future[StorageFailed] = self._loop.create_future()
        self._closed = False
        self._bound_history()
        self._wake()

    @classmethod
    async def open(cls, path: Path, history_size: int = HISTORY_SIZE) -> "SqliteStore":
        """Opens or creates the file. Raises StorageLocked, StorageCorrupt, StorageError."""
        writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        loop = asyncio.get_running_loop()
        try:
            log = await loop.run_in_executor(writer, Log, path)
            try:
                state, dead = await loop.run_in_executor(writer, log.load)
            except BaseException:
                await loop.run_in_executor(writer, log.close)
                raise
        except BaseException:
            writer.shutdown(wait=False)
            raise
        return cls(log, state, dead, writer, history_size)

    @property
    def snapshot(self) -> Snapshot:
        return self._state

    async def failed(self) -> NoReturn:
        """Waits until the store can take no more writes, then raises why."""
        raise await asyncio.shield(self._failure)

    async def commit(self, txn: Txn) -> Committed | Conflict:
        """See ports.store.Store. Raises StorageFull (nothing written), StorageFailed (outcome unknown, store is over)."""
        if self._failure.done():
            raise self._failure.result()
        if self._closed:
            raise StorageFailed("the store is closed")
        if len(txn.operations) > MAX_OPERATIONS:
            raise ValueError(f"a transaction may hold {MAX_OPERATIONS} operations, not {len(txn.operations)}")
        check(txn)
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting.append((txn, answer))
        self._wake()
        return await answer

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        return self._listeners.add(listener)

    async def compact(self, revision: int) -> None:
        """See ports.store.Store. The history is gone at once; its rows leave the file in the background."""
        self._compact(revision)
        self._wake()

    async def close(self) -> None:
        """Finishes what is being written, then lets go of the file."""
        if self._closed:
            return
        self._closed = True
        await self._idle.wait()
        self._listeners.clear()
        await self._loop.run_in_executor(self._writer, self._log.close)
        self._writer.shutdown()

    @property
    def tidying(self) -> bool:
        """Rows that compaction has made useless are still in the file."""
        return bool(self._compacted or self._dead or self._forgotten)

    def _compact(self, revision: int) -> None:
        if revision > self._state.oldest:
            self._forgotten += self._state.compact(revision)
            self._compacted = self._state.oldest

    def _bound_history(self) -> None:
        self._compact(self._state.beyond(self._history_size))

    # One batch at a time

    def _wake(self) -> None:
        if not self._writing and not self._failure.done() and self._has_work():
            self._writing = True
            self._idle.clear()
            self._loop.call_soon(self._begin)  # not at once: whoever else is ready in this turn of the loop joins the batch

    def _has_work(self) -> bool:
        return bool(self._waiting or self._compacted or (self.tidying and not self._closed))

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, []
        outcomes = self._state.decide([txn for txn, _ in waiting])
        events = [event for outcome in outcomes if isinstance(outcome, Committed) for event in outcome.events]
        # Rows may go only after the file knows that they are compacted: a crash in between must not find gaps.
        # Twice as many as come: a heavy writer never has the file grow.
        dead = [] if self._compacted else self._take_dead(max(DEAD_ROWS_A_BATCH, 2 * len(events)))
        batch = Batch(events, self._compacted, dead)
        self._compacted = 0
        if not (batch.events or batch.compacted or batch.dead):
            self._end(waiting, outcomes, None)
            return
        writing = self._writer.submit(self._log.append, batch)
        writing.add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(partial(self._written, waiting, outcomes, batch, done.exception()))
        )

    def _take_dead(self, most: int) -> list[DeadRow]:
        while self._forgotten and len(self._dead) < most:
            self._dead += dead_rows(self._forgotten.popleft())
        return [self._dead.popleft() for _ in range(min(most, len(self._dead)))]

    def _written(self, waiting: list[_Waiting], outcomes: list[Outcome], batch: Batch, error: BaseException | None) -> None:
        if error is not None:
            self._dead.extendleft(reversed(batch.dead))
            self._compacted = self._compacted or batch.compacted
        self._end(waiting, outcomes, error)

    def _end(self, waiting: list[_Waiting], outcomes: list[Outcome], error: BaseException | None) -> None:
        if error is None:
            self._listeners.tell(self._state.publish(outcomes))
            self._bound_history()
            for (_, answer), outcome in zip(waiting, outcomes, strict=True):
                if not answer.done():
                    answer.set_result(outcome)
        else:
            self._fail(waiting, error)
        self._writing = False
        # After a failure only a new transaction tries again: compaction alone would spin on a full disk.
        if error is None or self._waiting:
            self._wake()
        if not self._writing:
            self._idle.set()

    def _fail(self, waiting: list[_Waiting], error: BaseException) -> None:
        if not isinstance(error, StorageError):
            error = StorageFailed(f"writing failed: {error!r}")
        if isinstance(error, StorageFailed):
            self._failure.set_result(error)
            waiting, self._waiting = waiting + self._waiting, []
        for _, answer in waiting:
            if not answer.done():
                answer.set_exception(error)
