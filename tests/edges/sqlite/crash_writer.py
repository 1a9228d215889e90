"""What is a store doing when it is killed? Twelve writers, a compactor, and an orderly end and a new start now and then.

Run as a program it imports once and forks a process for each life it is asked for by a line of JSON: a life costs
milliseconds. It answers with the process's id, then with its wait status. With a trace, power_cuts.c must be preloaded.
"""

import asyncio
import ctypes
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from crash_ledger import WRITERS, operations
from msgspec import Struct

from mooring.edges.sqlite.store import SqliteStore
from mooring.store.errors import StorageError
from mooring.store.records import Committed, Event, Txn

ALARM = 60


class Orders(Struct):
    """`rounds` times the store is opened, written to and closed, but for the last. `stop`, `fail`: see power_cuts.c."""

    directory: str
    life: int
    rounds: int
    steps: int
    trace: str = ""
    stop: int = 0
    fail: int = 0
    kept: tuple[int, ...] = (50, 300, 3000)
    """One of these many revisions of history are kept."""
    checkpoint: tuple[int, ...] = (256, 50, 10)
    """After one of these many pages SQLite writes back its WAL."""


class Life:
    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._rng = random.Random(orders.life)
        self._journal = os.open(f"{orders.directory}/journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._numbers = [0] * WRITERS

    async def run(self) -> None:
        rng = self._rng
        for left in reversed(range(self._orders.rounds)):
            store = await SqliteStore.open(Path(self._orders.directory) / "state.db")
            store._log._db.execute(f"PRAGMA wal_autocheckpoint = {rng.choice(self._orders.checkpoint)}")
            newest = store.snapshot.revision
            self._heard(store.snapshot.since("/last/", max(store._state.oldest, newest - 50)))  # as whoever lists, or watches
            self._tell("opened", newest)
            store.subscribe(self._heard)
            compacting = asyncio.create_task(self._compact(store))
            steps = [rng.randint(1, self._orders.steps) for _ in range(WRITERS)]
            await asyncio.gather(*(self._write(store, writer, count) for writer, count in enumerate(steps)))
            compacting.cancel()
            if left:
                await store.close()

    async def _write(self, store: SqliteStore, writer: int, count: int) -> None:
        for _ in range(count):
            token = f"{self._orders.life}.{writer}.{self._numbers[writer]}"
            outcome = await store.commit(Txn((), operations(token)))
            assert isinstance(outcome, Committed)
            self._tell("acknowledged", outcome.revision, token)
            self._numbers[writer] += 1

    async def _compact(self, store: SqliteStore) -> None:
        kept = self._rng.choice(self._orders.kept)
        while True:
            await asyncio.sleep(0.002)
            revision = store.snapshot.revision - kept
            if revision > 0:
                self._tell("compacting", revision)
                await store.compact(revision)

    def _heard(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.record and event.key.startswith("/last/"):
                self._tell("seen", event.revision, event.record.value.decode())

    def _tell(self, word: str, revision: int, token: str = "") -> None:
        os.write(self._journal, f"{word} {revision} {token}\n".encode())


def main() -> None:
    for line in sys.stdin:
        orders = Orders(**json.loads(line))
        pid = os.fork()
        if not pid:
            _live(orders)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


def _live(orders: Orders) -> None:
    signal.alarm(ALARM)  # should nobody be left to kill it
    try:
        if orders.trace:
            numbers = ctypes.c_long(orders.stop), ctypes.c_long(orders.fail)
            ctypes.CDLL(None).record_start(orders.directory.encode(), orders.trace.encode(), *numbers)
        asyncio.run(Life(orders).run())
    except StorageError:
        if not orders.fail:
            traceback.print_exc()
            os._exit(1)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
