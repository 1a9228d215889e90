"""Is all there when the file is opened again, does compaction keep file and memory small, is each failure told clearly?"""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mooring.edges.sqlite.log import Batch
from mooring.edges.sqlite.store import SqliteStore
from mooring.store.errors import StorageError, StorageFailed, StorageFull, StorageLocked
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


def size_of(path: Path) -> int:
    return path.stat().st_size


async def tidied(store: SqliteStore) -> None:
    async with asyncio.timeout(60):
        while store.tidying or store._writing:
            await asyncio.sleep(0.002)


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
        await asyncio.gather(*(store.commit(put(f"/{number % 10}")) for number in range(1000)))
        await store.commit(Txn((), (Delete("/3"),)))
        await store.compact(1001)
        await tidied(store)
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
        await tidied(store)
    assert rows(path) == []


async def test_writers_go_on_while_much_is_compacted(path: Path) -> None:
    async with opened(path) as store:
        await asyncio.gather(*(store.commit(put(f"/{number % 7}")) for number in range(10_000)))
        await store.compact(10_000)
        left = []
        while store.tidying:
            await store.commit(put("/during"))
            left.append(len(store._dead) + len(store._forgotten))
    assert len(left) > 20
    assert left == sorted(left, reverse=True)


async def test_history_is_forgotten_by_itself_when_it_takes_too_much_memory(path: Path) -> None:
    size = 8 * 1024 * 1024
    store = await SqliteStore.open(path, history_size=size)
    try:
        for number in range(40):
            await asyncio.gather(*(store.commit(put(f"/{key}", b"%d" % number * 50_000)) for key in range(20)))
            assert store._state.history_size <= size + 20 * 101_000
        oldest = store._state.oldest
        assert 800 - 8 * 21 - 40 < oldest < 800
        with pytest.raises(Compacted):
            store.snapshot.since("", oldest - 1)
        assert [event.revision for event in store.snapshot.since("", oldest)] == list(range(oldest + 1, 801))
        await tidied(store)
    finally:
        await store.close()
    assert rows(path)[0][0] > oldest - 20
    assert size_of(path) < 40_000_000  # 80 MB were written
    reopened = await SqliteStore.open(path, history_size=size // 4)  # less than the file has
    try:
        assert reopened._state.oldest > oldest
        assert len(list(reopened.snapshot.scan(""))) == 20
    finally:
        await reopened.close()


async def test_the_write_ahead_log_shrinks_again_after_a_burst(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mooring.edges.sqlite.log.WAL_LIMIT", 1_000_000)
    wal = path.with_name("state.db-wal")
    async with opened(path) as store:
        await store.commit(Txn((), tuple(Put(f"/{number}", b"v" * 100_000) for number in range(100))))
        assert size_of(wal) > 10_000_000
        await store.commit(put("/a"))
        await store.commit(put("/a"))
        assert size_of(wal) <= 1_000_000


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
