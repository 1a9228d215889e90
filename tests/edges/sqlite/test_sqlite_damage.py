"""Is every file that cannot be used refused by name, before anything is written to it? And what of a disk without room?"""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mooring.edges.sqlite.log import FORMAT
from mooring.edges.sqlite.store import SqliteStore
from mooring.store.errors import StorageCorrupt
from mooring.store.records import Put, Record, Txn


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


async def compacted(path: Path) -> None:
    async with opened(path) as store:
        await asyncio.gather(*(store.commit(put("/a", b"v" * 9000)) for _ in range(200)))
        await store.compact(200)
        async with asyncio.timeout(60):
            while store.tidying or store._writing:
                await asyncio.sleep(0.002)


async def filled(path: Path, value: bytes = b"v" * 500) -> None:
    async with opened(path) as store:
        await asyncio.gather(*(store.commit(put(f"/{number}", value)) for number in range(2000)))


def test_damage_in_the_middle_is_found_when_opening(path: Path) -> None:
    asyncio.run(filled(path))
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 20_000] = os.urandom(20_000)
    path.write_bytes(whole)
    with pytest.raises(StorageCorrupt):
        asyncio.run(SqliteStore.open(path))


def test_one_flipped_bit_of_a_document_is_found_and_the_document_named(path: Path) -> None:
    asyncio.run(filled(path, b"a perfectly valid document"))
    whole = bytearray(path.read_bytes())
    at = whole.index(b"valid", len(whole) // 2)
    whole[at] ^= 1
    path.write_bytes(whole)
    with pytest.raises(
        StorageCorrupt, match=r"is damaged \(/\d+ at revision \d+ is not what was written\); restore it from a copy"
    ):
        asyncio.run(SqliteStore.open(path))


def test_a_file_that_was_cut_off_is_refused(path: Path) -> None:
    asyncio.run(filled(path))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StorageCorrupt, match="is damaged"):
        asyncio.run(SqliteStore.open(path))


def test_damage_where_no_document_lies_is_found_too_before_anything_is_written_there(path: Path) -> None:
    asyncio.run(compacted(path))
    whole = bytearray(path.read_bytes())
    page, trunk = (
        int.from_bytes(whole[16:18], "big"),
        int.from_bytes(whole[32:36], "big"),
    )  # SQLite's header
    whole[(trunk - 1) * page : trunk * page] = b"\xee" * page
    path.write_bytes(whole)
    with pytest.raises(StorageCorrupt, match="is damaged"):
        asyncio.run(SqliteStore.open(path))


def test_the_newest_rows_cannot_go_missing_unnoticed(path: Path) -> None:
    asyncio.run(filled(path))
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM log WHERE id = (SELECT max(id) FROM log)")
    with pytest.raises(StorageCorrupt, match="the log ends at revision 1999, not at 2000"):
        asyncio.run(SqliteStore.open(path))


def test_another_programs_database_is_refused_and_left_as_it_is(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(StorageCorrupt, match="another program"):
        asyncio.run(SqliteStore.open(path))
    assert path.read_bytes() == before


async def test_a_newer_format_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(StorageCorrupt, match=f"format {FORMAT + 1}"):
        await SqliteStore.open(path)


async def test_a_file_of_format_1_which_had_no_checksums_goes_on(path: Path) -> None:
    async with opened(path) as store:
        await store.commit(put("/a", b"1"))
        await store.commit(put("/b"))
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE log DROP COLUMN checksum")
        db.execute("PRAGMA user_version = 1")
    async with opened(path) as store:
        assert [event.revision for event in store.snapshot.since("", 0)] == [1, 2]
        await store.commit(put("/a", b"2"))
    async with opened(path) as store:
        assert list(store.snapshot.scan("")) == [Record("/a", b"2", 1, 3), Record("/b", b"x", 2, 2)]


FILL = """
import asyncio, pathlib, sys
from mooring.edges.sqlite.store import SqliteStore
from mooring.store.errors import StorageFull
from mooring.store.records import Put, Txn

async def main(place):
    store, kept = await SqliteStore.open(place / "state.db"), {}
    (place / "ballast").write_bytes(bytes(1_000_000))
    try:
        for number in range(10_000):
            key = f"/{number}"
            await store.commit(Txn((), (Put(key, key.encode() * 2000), Put(f"/also{key}", b""))))
            kept[key] = number
    except StorageFull as error:
        print(error)
    assert 50 < len(kept) < 10_000
    for _ in range(3):
        try:
            await store.commit(Txn((), (Put("/large", bytes(500_000)),)))
        except StorageFull:
            pass
        else:
            raise AssertionError("not full")
    expected = sorted([*kept, *(f"/also{key}" for key in kept)])
    await store.close()
    store = await SqliteStore.open(place / "state.db")  # without room it is read all the same
    assert [record.key for record in store.snapshot.scan("")] == expected
    (place / "ballast").unlink()
    await store.commit(Txn((), (Put("/after", b""),)))
    expected = sorted([*expected, "/after"])
    assert [record.key for record in store.snapshot.scan("")] == expected
    await store.close()
    store = await SqliteStore.open(place / "state.db")
    assert [record.key for record in store.snapshot.scan("")] == expected
    assert store.snapshot.revision == len(kept) + 1
    await store.close()

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


@pytest.mark.root
def test_a_disk_that_is_really_full_takes_no_half_transaction_and_is_used_again_when_it_has_room(tmp_path: Path) -> None:
    mounted = 'mount -t tmpfs -o size=6m mrg-full "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "sh", "-ec", mounted, "sh", str(tmp_path), sys.executable, FILL]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/state.db: no space left; nothing of this was written\n"
