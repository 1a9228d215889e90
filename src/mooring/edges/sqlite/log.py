"""How is the store's history laid down in a file?

The file is a log: one row for every put and delete, in the order they happened, as in etcd and kine
(https://github.com/k3s-io/kine). The newest row of a key is its live record, older ones are its history. A write is one
append; compaction deletes rows that a newer row of the same key, itself compacted, has replaced.

A row's id is `revision * 2**16 + position in the transaction`, so rows lie in commit order and writes touch the last page.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from msgspec import Struct

from mooring.store.errors import StorageCorrupt, StorageError, StorageFailed, StorageFull, StorageLocked
from mooring.store.records import Committed, Event, Record
from mooring.store.state import State

APPLICATION = 0x4D4F4F52  # 'MOOR' in the file's header
FORMAT = 1
POSITION_BITS = 16
MAX_OPERATIONS = 1 << POSITION_BITS

_SCHEMA = f"""
CREATE TABLE log (id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, create_revision INTEGER NOT NULL) STRICT;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('revision', 0), ('compacted', 0);
PRAGMA user_version = {FORMAT};
PRAGMA application_id = {APPLICATION};
"""

Row = tuple[int, str, Record | None]
"""Revision, key and what was put; None for a delete."""

DeadRow = tuple[int, int, str]
"""The first and the last id a row may have (those of its revision), and its key."""


class Batch(Struct, frozen=True):
    """What one durable step writes: events, the new compacted revision when it moved, and some rows no longer needed."""

    events: Sequence[Event] = ()
    compacted: int = 0
    dead: Sequence[DeadRow] = ()


class Log:
    """One open file. Used by one thread at a time; `load` first, then `append` as often as there is something to keep."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file and takes it for this process. Raises StorageLocked, StorageCorrupt, StorageError."""
        self._path = path
        with self._explained():
            self._db = self._open()

    def load(self) -> tuple[State, list[DeadRow]]:
        """Reads the whole log. Returns the state, and the rows that an interrupted compaction left behind."""
        with self._explained():
            counters = dict(self._db.execute("SELECT name, value FROM counters"))
            rows = _rows(self._db.execute("SELECT id, key, value, create_revision FROM log ORDER BY id"))
            state, dead = _replay(rows, counters["compacted"])
        if state.revision != counters["revision"]:
            raise StorageCorrupt(f"{self._path}: the log ends at revision {state.revision}, not at {counters['revision']}")
        return state, dead

    def append(self, batch: Batch) -> None:
        """Makes a batch durable (synchronous=FULL: fsync before return), whole or not at all.

        Raises StorageFull when nothing was written, StorageFailed when that cannot be known.
        """
        try:
            self._append(batch)
        except sqlite3.Error as error:
            unknown = StorageFailed(f"{self._path}: {error}; restart to recover what is durable")
            try:
                self._db.rollback()
            except sqlite3.Error:
                raise unknown from error
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
                raise StorageFull(f"{self._path}: no space left; nothing of this was written") from error
            raise unknown from error

    def close(self) -> None:
        self._db.close()

    def _open(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            _sync_directory(self._path.parent)
        except FileExistsError:
            pass
        db = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")  # no second process; the index of the WAL stays in memory
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")  # takes the lock, and keeps it
            empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            db.execute("COMMIT")
            if empty:
                db.executescript(f"BEGIN; {_SCHEMA} COMMIT")
            self._recognise(db)
        except BaseException:
            db.close()
            raise
        return db

    def _recognise(self, db: sqlite3.Connection) -> None:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION:
            raise StorageCorrupt(f"{self._path} is the database of another program")
        if version != FORMAT:
            raise StorageCorrupt(f"{self._path} has format {version}; this version of mooring reads format {FORMAT}")

    def _append(self, batch: Batch) -> None:
        execute = self._db.execute
        execute("BEGIN IMMEDIATE")
        if batch.events:
            self._db.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", _numbered(batch.events))
            execute("UPDATE counters SET value = ? WHERE name = 'revision'", (batch.events[-1].revision,))
        if batch.compacted:
            execute("UPDATE counters SET value = ? WHERE name = 'compacted'", (batch.compacted,))
        if batch.dead:
            self._db.executemany("DELETE FROM log WHERE id BETWEEN ? AND ? AND key = ?", batch.dead)
        execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"cannot open {self._path}: {error.strerror}") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StorageLocked(f"{self._path} is in use by another process; is another API server running?") from error
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
                raise StorageCorrupt(f"{self._path} is damaged ({error}); restore it from a copy or move it away") from error
            raise StorageError(f"cannot use {self._path}: {error}") from error


def _replay(rows: Iterator[Row], compacted: int) -> tuple[State, list[DeadRow]]:
    live: dict[str, Record] = {}
    dead: list[DeadRow] = []
    later: Iterator[Row] = iter(())
    for row in rows:
        at, key, record = row
        if at > compacted:
            later = chain((row,), rows)
            break
        if replaced := live.pop(key, None):
            dead.append(dead_row(key, replaced.mod_revision))
        if record:
            live[key] = record
        else:
            dead.append(dead_row(key, at))
    state = State(live.values(), compacted)
    for at, key, record in later:
        state.publish((Committed(at, (Event(at, key, record, state.get(key)),)),))
    return state, dead


def dead_row(key: str, revision: int) -> DeadRow:
    """Names the row that `key` got at `revision`, for deletion."""
    return revision << POSITION_BITS, (revision + 1 << POSITION_BITS) - 1, key


def _numbered(events: Iterable[Event]) -> Iterator[tuple[int, str, bytes | None, int]]:
    revision = position = 0
    for event in events:
        position = position + 1 if event.revision == revision else 0
        revision = event.revision
        record = event.record
        yield (
            revision << POSITION_BITS | position,
            event.key,
            record.value if record else None,
            record.create_revision if record else 0,
        )


def _rows(rows: Iterable[tuple[int, str, bytes | None, int]]) -> Iterator[Row]:
    for identity, key, value, created in rows:
        revision = identity >> POSITION_BITS
        yield revision, key, None if value is None else Record(key, value, created, revision)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
