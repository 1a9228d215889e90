"""Does what was acknowledged outlive everything, and is every broken file named clearly?"""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mooring.edges.sqlite.log import FORMAT, Batch
from mooring.edges.sqlite.store import SqliteStore
from mooring.store.errors import StorageCorrupt, StorageError, StorageFailed, StorageFull, StorageLocked
from mooring.store.records import Committed, Compacted, Delete, Event, Put, Record, Txn


def put(key: str, value: bytes = b"x") -> Txn:
    return Txn((), (Put(key, value),))


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def rows(path: Path) -> list[tuple[int, str]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return [(identity >> 16, key) for identity, key in db.execute("SELECT id, key FROM log ORDER BY id")]


async def test_everything_is_there_after_opening_again(path: Path) -> None:
    async with opened(path) as store:
        for txn in (put("/a", b"1"), put("/b"), put("/a", b"2"), Txn((), (Delete("/b"), Put("/c", b"\x00\xff")))):
            await store.commit(txn)
        before = (list(store.snapshot.scan("")), store.snapshot.since("", 0), store.snapshot.revision)
    async with opened(path) as store:
        assert (list(store.snapshot.scan("")), store.snapshot.since("", 0), store.snapshot.revision) == before


async def test_watches_resume_across_a_restart_down_to_what_was_compacted(path: Path) -> None:
    async with opened(path) as store:
        for number in range(4):
            await store.commit(put("/a", b"%d" % number))
        await store.compact(2)
    async with opened(path) as store:
        second, third = Record("/a", b"1", 1, 2), Record("/a", b"2", 1, 3)
        assert store.snapshot.since("/", 2)[0] == Event(3, "/a", third, second)
        assert store.snapshot.get("/a", 2) == second
        with pytest.raises(Compacted):
            store.snapshot.since("/", 1)


async def test_revisions_are_not_used_again_after_the_newest_key_was_deleted_and_compacted(path: Path) -> None:
    async with opened(path) as store:
        await store.commit(put("/a"))
        await store.commit(Txn((), (Delete("/a"),)))
        await store.compact(2)
    async with opened(path) as store:
        assert store.snapshot.revision == 2
        assert await store.commit(put("/b")) == Committed(3, (Event(3, "/b", Record("/b", b"x", 3, 3), None),))


async def test_compaction_takes_superseded_rows_out_of_the_file_in_the_background(path: Path) -> None:
    async with opened(path) as store:
        for number in range(1000):
            await store.commit(put(f"/{number % 10}"))
        await store.commit(Txn((), (Delete("/3"),)))
        await store.compact(1001)
        async with asyncio.timeout(10):
            while store._dead or store._writing:
                await asyncio.sleep(0.002)
    assert rows(path) == [(991 + number, f"/{number}") for number in range(10) if number != 3]


async def test_a_compaction_that_was_interrupted_is_finished_after_the_restart(path: Path) -> None:
    async with opened(path) as store:
        for _ in range(5):
            await store.commit(put("/a"))
        await store.commit(Txn((), (Delete("/a"),)))
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE counters SET value = 6 WHERE name = 'compacted'")
    async with opened(path) as store:
        assert list(store.snapshot.scan("")) == []
        async with asyncio.timeout(10):
            while store._dead or store._writing:
                await asyncio.sleep(0.002)
    assert rows(path) == []


async def test_writers_go_on_while_much_is_compacted(path: Path) -> None:
    async with opened(path) as store:
        await asyncio.gather(*(store.commit(put(f"/{number % 7}")) for number in range(20_000)))
        await store.compact(20_000)
        left = []
        while store._dead:
            await store.commit(put("/during"))
            left.append(len(store._dead))
    assert len(left) > 20
    assert left == sorted(left, reverse=True)


async def test_the_file_is_for_its_owner_only(path: Path) -> None:
    async with opened(path) as store:
        await store.commit(put("/secret"))
        assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {
            "state.db": "0o600",
            "state.db-wal": "0o600",
        }


async def test_a_second_process_on_the_file_is_told_so(path: Path) -> None:
    attempt = (
        "import asyncio, sys, pathlib\n"
        "from mooring.edges.sqlite.store import SqliteStore\n"
        "asyncio.run(SqliteStore.open(pathlib.Path(sys.argv[1])))"
    )
    async with opened(path) as store:
        await store.commit(put("/a"))
        second = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", attempt, str(path)], capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert f"StorageLocked: {path} is in use by another process" in second.stderr
        with pytest.raises(StorageLocked):
            await SqliteStore.open(path)
        await store.commit(put("/b"))


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"not a database at all" * 100, "is damaged"), (b"SQLite format 3\x00" + os.urandom(8000), "is damaged")],
    ids=["another file", "a damaged header"],
)
def test_a_damaged_file_is_refused_by_name(path: Path, content: bytes, told: str) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageCorrupt, match=told) as refused:
        asyncio.run(SqliteStore.open(path))
    assert str(path) in str(refused.value)


def test_damage_in_the_middle_is_found_when_opening(path: Path) -> None:
    async def fill() -> None:
        async with opened(path) as store:
            await asyncio.gather(*(store.commit(put(f"/{number}", b"v" * 500)) for number in range(2000)))

    asyncio.run(fill())
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 20_000] = os.urandom(20_000)
    path.write_bytes(whole)
    with pytest.raises(StorageCorrupt):
        asyncio.run(SqliteStore.open(path))


async def test_another_programs_database_is_refused(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StorageCorrupt, match="another program"):
        await SqliteStore.open(path)


async def test_a_newer_format_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(StorageCorrupt, match=f"format {FORMAT + 1}"):
        await SqliteStore.open(path)


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file or directory"):
        await SqliteStore.open(tmp_path / "nowhere" / "state.db")


async def test_when_the_disk_is_full_nothing_is_written_and_the_store_goes_on_when_it_is_not(path: Path) -> None:
    async with opened(path) as store:
        await store.commit(put("/a"))
        pages = store._log._db.execute("PRAGMA page_count").fetchone()[0]
        store._log._db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own SQLITE_FULL, as the kernel's ENOSPC
        with pytest.raises(StorageFull, match="no space left"):
            await store.commit(put("/b", b"v" * 100_000))
        assert [record.key for record in store.snapshot.scan("")] == ["/a"]
        store._log._db.execute("PRAGMA max_page_count = 1000000")
        assert await store.commit(put("/b")) == Committed(2, (Event(2, "/b", Record("/b", b"x", 2, 2), None),))


async def test_after_a_write_of_unknown_outcome_the_store_takes_no_more(path: Path) -> None:
    async with opened(path) as store:
        await store.commit(put("/a"))

        def broken(batch: Batch) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        store._log._append = broken  # type: ignore[method-assign]
        first, second = await asyncio.gather(store.commit(put("/b")), store.commit(put("/c")), return_exceptions=True)
        assert isinstance(first, StorageFailed)
        assert isinstance(second, StorageFailed)
        with pytest.raises(StorageFailed):
            await store.commit(put("/d"))
        with pytest.raises(StorageFailed):
            await store.failed()
        assert store.snapshot.revision == 1


WRITER = """
import asyncio, os, pathlib, sys
from mooring.edges.sqlite.store import SqliteStore
from mooring.store.records import Delete, Put, Txn

async def write(store, worker, life):
    number = 0
    while True:
        key = f"/{life}/{worker}/{number % 50}"
        change = Delete(key) if number % 7 == 6 else Put(key, str(number).encode())
        outcome = await store.commit(Txn((), (change, Put(f"/last/{worker}", key.encode()))))
        os.write(1, f"{outcome.revision} {key} {number}\\n".encode())
        number += 1

async def compact(store):
    while True:
        await asyncio.sleep(0.01)
        await store.compact(max(0, store.snapshot.revision - 300))

async def main():
    store = await SqliteStore.open(pathlib.Path(sys.argv[1]))
    os.write(1, f"{store.snapshot.revision} open 0\\n".encode())
    await asyncio.gather(compact(store), *(write(store, worker, sys.argv[2]) for worker in range(16)))

asyncio.run(main())
"""


def written(number: int) -> bytes | None:
    """What WRITER makes of a key in its step `number`."""
    return None if number % 7 == 6 else str(number).encode()


def test_no_acknowledged_write_is_lost_when_the_process_is_killed_again_and_again(path: Path, tmp_path: Path) -> None:
    """Sixteen writers and a compactor are killed with SIGKILL in full swing, at a different moment each time.

    A key then holds what was acknowledged last, or what its writer wrote next, 50 steps later, and was not yet told.
    """
    acknowledged: dict[str, int] = {}
    newest = 0
    for life in range(12):
        told = killed_in_full_swing(path, str(life), tmp_path / f"told-{life}", after_bytes=20_000 + 7919 * life)
        (opened_at, _, _), *commits = told
        revisions = [revision for revision, _, _ in commits]
        assert opened_at >= newest, "an acknowledged revision would be used again"
        assert min(revisions) > opened_at
        assert len(set(revisions)) == len(revisions)
        newest = max(revisions)
        acknowledged |= {key: number for _, key, number in commits}
        records, revision = asyncio.run(content(path))
        assert revision >= newest
        lost = {key for key, number in acknowledged.items() if records.get(key) not in (written(number), written(number + 50))}
        assert lost == set()


def killed_in_full_swing(path: Path, life: str, log: Path, after_bytes: int) -> list[tuple[int, str, int]]:
    """Runs WRITER until it has told that much, kills it, and returns what it told: revision, key, number."""
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), life], stdout=out)
    try:
        deadline = time.monotonic() + 60
        while log.stat().st_size < after_bytes:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    lines = (line.split() for line in log.read_text().splitlines(keepends=True) if line.endswith("\n"))
    return [(int(revision), key, int(number)) for revision, key, number in lines]


async def content(path: Path) -> tuple[dict[str, bytes], int]:
    async with opened(path) as store:
        revisions = [event.revision for event in store.snapshot.since("", store.snapshot.oldest)]  # type: ignore[attr-defined]
        assert revisions == sorted(revisions)
        return {record.key: record.value for record in store.snapshot.scan("")}, store.snapshot.revision
