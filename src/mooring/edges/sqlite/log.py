"""How is the store's history laid down in a file?

The file is a log: one row for every put and delete, in the order they happened, as in etcd and kine
(https://github.com/k3s-io/kine). The newest row of a key is its live record, older ones are its history. A write is one
append; compaction deletes rows that a newer row of the same key, itself compacted, has replaced.

A row's id is `revision * 2**16 + position in the transaction`, so rows lie in commit order and writes touch the last page.
SQLite checks what it reads for structure only; each row's checksum tells when a document itself is not what was written.
"""

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from mooring.store.errors import StorageCorrupt, StorageError, StorageFailed, StorageFull, StorageLocked
from mooring.store.records import Event, Record
from mooring.store.state import State

APPLICATION = 0x4D4F4F52  # 'MOOR' in the file's header
FORMAT = 2
POSITION_BITS = 16
MAX_OPERATIONS = 1 << POSITION_BITS

PAGE = 16384
"""Bytes: a pod is several kB. SQLite's 4096 take half as long again when all is read, and save nothing in writing."""
CHECKPOINT = 4 * 1024 * 1024
"""Bytes in `state.db-wal` that are written back to `state.db`: the commit that does it waits for so much."""
CACHE = 1024
"""KiB of pages in memory: the log grows at its end, and is read but once. SQLite's 500 pages would be 8 MB of this size."""
WAL_LIMIT = 64 * 1024 * 1024
"""Bytes of `state.db-wal` that stay allocated after a burst."""

_SCHEMA = f"""
CREATE TABLE log (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, create_revision INTEGER NOT NULL, checksum INTEGER
) STRICT;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('revision', 0), ('compacted', 0);
PRAGMA user_version = {FORMAT};
PRAGMA application_id = {APPLICATION};
"""

_UPGRADES = {0: _SCHEMA, 1: "ALTER TABLE log ADD COLUMN checksum INTEGER; PRAGMA user_version = 2;"}
"""From an empty file, and from format 1: rows of that time have no checksum."""

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
        """Reads and checks the whole file. Returns the state, and the rows that an interrupted compaction left behind.

        Raises StorageCorrupt.
        """
        with self._explained():
            (first, *_) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if first != "ok":
                raise self._damaged(" ".join(first.split()))
            counters = dict(self._db.execute("SELECT name, value FROM counters"))
            rows = self._rows(self._db.execute("SELECT id, key, value, create_revision, checksum FROM log ORDER BY id"))
            state, dead = _replay(rows, counters["compacted"])
        if state.revision != counters["revision"]:
            raise self._damaged(f"the log ends at revision {state.revision}, not at {counters['revision']}")
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
            _sync(self._path.parent)
        except FileExistsError:
            pass
        db = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")  # no second process; the index of the WAL stays in memory
            self._recognise(db)
            db.execute(f"PRAGMA page_size = {PAGE}")  # of a new file
            db.execute(f"PRAGMA cache_size = -{CACHE}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT // PAGE}")
            db.execute("BEGIN IMMEDIATE")  # takes the lock, and keeps it
            (version,) = db.execute("PRAGMA user_version").fetchone()
            db.execute("COMMIT")
            if version < FORMAT:
                db.executescript(f"BEGIN; {_UPGRADES[version]} COMMIT")
            self._settle(db)
        except BaseException:
            db.close()
            raise
        return db

    def _recognise(self, db: sqlite3.Connection) -> None:
        """Refuses what is not ours, and has written nothing to it."""
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION:
            raise StorageCorrupt(f"{self._path} is the database of another program")
        if version not in (1, FORMAT):
            raise StorageCorrupt(f"{self._path} has format {version}; this version of mooring reads format {FORMAT}")

    def _settle(self, db: sqlite3.Connection) -> None:
        """Has on the disk what a process before this one has written: it may have been killed before its fsync, and what
        SQLite finds in the kernel's memory would be shown, and after a power cut be gone."""
        _sync(self._path.with_name(f"{self._path.name}-wal"))
        _sync(self._path.parent)
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # writes anew what a failed fsync may have left unwritten
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
                raise

    def _append(self, batch: Batch) -> None:
        execute = self._db.execute
        execute("BEGIN IMMEDIATE")
        if batch.events:
            self._db.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", _numbered(batch.events))
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
                raise self._damaged(str(error)) from error
            raise StorageError(f"cannot use {self._path}: {error}") from error

    def _rows(self, rows: Iterable[tuple[int, str, bytes | None, int, int | None]]) -> Iterator[Row]:
        for identity, key, value, created, written in rows:
            revision = identity >> POSITION_BITS
            if written is not None and written != _checksum(identity, key, value, created):
                raise self._damaged(f"{key} at revision {revision} is not what was written")
            yield revision, key, None if value is None else Record(key, value, created, revision)

    def _damaged(self, what: str) -> StorageCorrupt:
        return StorageCorrupt(f"{self._path} is damaged ({what}); restore it from a copy or move it away")


def _replay(rows: Iterable[Row], compacted: int) -> tuple[State, list[DeadRow]]:
    live: dict[str, Record] = {}
    history: list[Event] = []
    dead: list[DeadRow] = []
    for at, key, record in rows:
        replaced = live.pop(key, None)
        if at > compacted:
            history.append(Event(at, key, record, replaced))
        else:
            if replaced:
                dead.append(dead_row(key, replaced.mod_revision))
            if not record:
                dead.append(dead_row(key, at))
        if record:
            live[key] = record
    return State(live.values(), compacted, history), dead


def dead_row(key: str, revision: int) -> DeadRow:
    """Names the row that `key` got at `revision`, for deletion."""
    return revision << POSITION_BITS, (revision + 1 << POSITION_BITS) - 1, key


def dead_rows(event: Event) -> Iterator[DeadRow]:
    """The rows that nobody needs once `event` is compacted, in the order in which they may go."""
    if event.previous:
        yield dead_row(event.key, event.previous.mod_revision)
    if not event.record:
        yield dead_row(event.key, event.revision)


def _numbered(events: Iterable[Event]) -> Iterator[tuple[int, str, bytes | None, int, int]]:
    revision = position = 0
    for event in events:
        position = position + 1 if event.revision == revision else 0
        revision = event.revision
        record = event.record
        identity = revision << POSITION_BITS | position
        value, created = (record.value, record.create_revision) if record else (None, 0)
        yield identity, event.key, value, created, _checksum(identity, event.key, value, created)


def _checksum(identity: int, key: str, value: bytes | None, created: int) -> int:
    kind = "deleted" if value is None else "put"
    return zlib.crc32(value or b"", zlib.crc32(f"{identity} {created} {kind} {key}".encode()))


def _sync(path: Path) -> None:
    """A file, or a directory's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
