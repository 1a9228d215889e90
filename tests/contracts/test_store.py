"""What must every store do? One class of tests, run on each edge."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mooring.edges.memory.store import MemoryStore
from mooring.edges.sqlite.store import SqliteStore
from mooring.ports.store import Store
from mooring.store.records import Committed, Compacted, Compare, Conflict, Delete, Event, FutureRevision, Put, Record, Txn


def put(key: str, value: str = "x", *, expect: int | None = None) -> Txn:
    compares = () if expect is None else (Compare(key, expect),)
    return Txn(compares, (Put(key, value.encode()),))


def delete(key: str) -> Txn:
    return Txn((), (Delete(key),))


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "state.db")
    yield opened
    await opened.close()


class TestStore:
    async def test_an_empty_store_is_at_revision_0(self, store: Store) -> None:
        assert store.snapshot.revision == 0
        assert list(store.snapshot.scan("")) == []

    async def test_a_put_is_visible_when_commit_returns(self, store: Store) -> None:
        record = Record("/a", b"x", 1, 1)
        assert await store.commit(put("/a")) == Committed(1, (Event(1, "/a", record, None),))
        assert store.snapshot.get("/a") == record
        assert store.snapshot.revision == 1

    async def test_an_update_keeps_the_create_revision(self, store: Store) -> None:
        await store.commit(put("/a", "1"))
        await store.commit(put("/a", "2"))
        assert store.snapshot.get("/a") == Record("/a", b"2", 1, 2)

    async def test_a_key_created_again_gets_a_new_create_revision(self, store: Store) -> None:
        for txn in (put("/a"), delete("/a"), put("/a")):
            await store.commit(txn)
        assert store.snapshot.get("/a") == Record("/a", b"x", 3, 3)

    async def test_deleting_an_absent_key_makes_no_event_and_no_revision(self, store: Store) -> None:
        assert await store.commit(delete("/a")) == Committed(0, ())

    async def test_a_compare_that_fails_writes_nothing_and_tells_the_actual_revision(self, store: Store) -> None:
        await store.commit(put("/a"))
        txn = Txn((Compare("/a", 0), Compare("/b", 7)), (Put("/c", b"x"),))
        assert await store.commit(txn) == Conflict((Compare("/a", 1), Compare("/b", 0)))
        assert store.snapshot.get("/c") is None
        assert store.snapshot.revision == 1

    async def test_all_operations_of_a_transaction_share_one_revision_in_their_order(self, store: Store) -> None:
        await store.commit(put("/b"))
        outcome = await store.commit(Txn((), (Put("/c", b"1"), Delete("/b"), Put("/a", b"2"))))
        assert isinstance(outcome, Committed)
        assert [(event.revision, event.key) for event in outcome.events] == [(2, "/c"), (2, "/b"), (2, "/a")]

    async def test_a_transaction_that_writes_a_key_twice_is_refused(self, store: Store) -> None:
        with pytest.raises(ValueError, match="only once"):
            await store.commit(Txn((), (Put("/a", b"1"), Delete("/a"))))
        assert store.snapshot.revision == 0

    async def test_of_many_claims_to_one_key_at_once_exactly_one_wins(self, store: Store) -> None:
        outcomes = await asyncio.gather(*(store.commit(put("/a", str(n), expect=0)) for n in range(50)))
        (winner,) = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
        losers = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        assert winner.revision == 1
        assert losers == [Conflict((Compare("/a", 1),))] * 49

    async def test_concurrent_commits_get_distinct_rising_revisions(self, store: Store) -> None:
        outcomes = await asyncio.gather(*(store.commit(put(f"/{n}")) for n in range(200)))
        assert [outcome.revision for outcome in outcomes if isinstance(outcome, Committed)] == list(range(1, 201))

    async def test_listeners_hear_every_event_once_in_revision_order_before_commit_returns(self, store: Store) -> None:
        heard: list[int] = []
        store.subscribe(lambda events: heard.extend(event.revision for event in events))

        async def commit(n: int) -> None:
            outcome = await store.commit(put(f"/{n}"))
            assert isinstance(outcome, Committed)
            assert outcome.revision in heard

        await asyncio.gather(*(commit(n) for n in range(100)))
        assert heard == list(range(1, 101))

    async def test_a_listener_sees_its_events_in_the_snapshot(self, store: Store) -> None:
        seen: list[bool] = []
        store.subscribe(lambda events: seen.append(store.snapshot.revision >= events[-1].revision))
        await asyncio.gather(*(store.commit(put(f"/{n}")) for n in range(20)))
        assert all(seen)
        assert seen

    async def test_a_listener_that_left_hears_nothing_more(self, store: Store) -> None:
        heard: list[Event] = []
        leave = store.subscribe(heard.extend)
        await store.commit(put("/a"))
        leave()
        leave()
        await store.commit(put("/b"))
        assert [event.key for event in heard] == ["/a"]

    async def test_a_listener_that_raises_disturbs_nobody(self, store: Store) -> None:
        heard: list[Event] = []

        def broken(events: object) -> None:
            raise RuntimeError

        store.subscribe(broken)
        store.subscribe(heard.extend)
        assert isinstance(await store.commit(put("/a")), Committed)
        assert [event.key for event in heard] == ["/a"]

    async def test_scan_gives_a_prefix_in_key_order_after_a_key_up_to_a_limit(self, store: Store) -> None:
        for key in ("/s/c", "/s/a", "/t/a", "/s/b", "/r/z"):
            await store.commit(put(key))

        def keys(*args: object, **named: object) -> list[str]:
            return [record.key for record in store.snapshot.scan(*args, **named)]  # type: ignore[arg-type]

        assert keys("/s/") == ["/s/a", "/s/b", "/s/c"]
        assert keys("/s/", limit=2) == ["/s/a", "/s/b"]
        assert keys("/s/", after="/s/a") == ["/s/b", "/s/c"]
        assert keys("/s/", after="/s/aa", limit=1) == ["/s/b"]
        assert keys("/s/", after="/s/c") == []
        assert keys("/s/", after="/z") == []
        assert store.snapshot.count("/s/") == 3

    async def test_an_older_revision_reads_as_it_was(self, store: Store) -> None:
        for txn in (put("/a", "1"), put("/b", "1"), put("/a", "2"), delete("/b"), put("/c", "1")):
            await store.commit(txn)

        def at(revision: int) -> dict[str, bytes]:
            return {record.key: record.value for record in store.snapshot.scan("/", revision=revision)}

        assert [at(revision) for revision in range(1, 6)] == [
            {"/a": b"1"},
            {"/a": b"1", "/b": b"1"},
            {"/a": b"2", "/b": b"1"},
            {"/a": b"2"},
            {"/a": b"2", "/c": b"1"},
        ]
        assert store.snapshot.get("/a", 2) == Record("/a", b"1", 1, 1)
        assert store.snapshot.get("/b", 3) == Record("/b", b"1", 2, 2)
        assert store.snapshot.get("/c", 4) is None

    async def test_pages_of_an_older_revision_fit_together(self, store: Store) -> None:
        for n in range(6):
            await store.commit(put(f"/{n}", "old"))
        for txn in (delete("/1"), put("/4", "new"), put("/35"), delete("/5")):
            await store.commit(txn)
        first = list(store.snapshot.scan("/", limit=3, revision=6))
        rest = list(store.snapshot.scan("/", after=first[-1].key, revision=6))
        assert [(record.key, record.value) for record in first + rest] == [(f"/{n}", b"old") for n in range(6)]

    async def test_since_gives_the_events_after_a_revision_under_a_prefix(self, store: Store) -> None:
        for txn in (put("/a/1"), put("/b/1"), put("/a/1", "2"), delete("/a/1")):
            await store.commit(txn)
        first, second = Record("/a/1", b"x", 1, 1), Record("/a/1", b"2", 1, 3)
        assert list(store.snapshot.since("/a/", 1)) == [Event(3, "/a/1", second, first), Event(4, "/a/1", None, second)]
        assert list(store.snapshot.since("/a/", 4)) == []

    async def test_a_future_revision_is_refused(self, store: Store) -> None:
        await store.commit(put("/a"))
        for read in (
            lambda: store.snapshot.get("/a", 2),
            lambda: store.snapshot.scan("/", revision=2),
            lambda: store.snapshot.since("/", 2),
        ):
            with pytest.raises(FutureRevision) as refused:
                read()
            assert (refused.value.asked, refused.value.current) == (2, 1)

    async def test_compaction_forgets_history_and_keeps_live_keys(self, store: Store) -> None:
        for txn in (put("/a", "1"), put("/a", "2"), put("/b"), put("/a", "3")):
            await store.commit(txn)
        await store.compact(3)
        assert store.snapshot.get("/a") == Record("/a", b"3", 1, 4)
        assert store.snapshot.get("/a", 3) == Record("/a", b"2", 1, 2)
        assert [event.revision for event in store.snapshot.since("/", 3)] == [4]
        for read in (
            lambda: store.snapshot.get("/a", 2),
            lambda: store.snapshot.scan("/", revision=2),
            lambda: store.snapshot.since("/", 2),
        ):
            with pytest.raises(Compacted) as refused:
                read()
            assert (refused.value.asked, refused.value.oldest) == (2, 3)

    async def test_compacting_again_or_less_changes_nothing(self, store: Store) -> None:
        for n in range(4):
            await store.commit(put("/a", str(n)))
        for revision in (3, 3, 1):
            await store.compact(revision)
        assert [event.revision for event in store.snapshot.since("/", 3)] == [4]

    async def test_compacting_the_future_is_refused(self, store: Store) -> None:
        with pytest.raises(FutureRevision):
            await store.compact(1)
