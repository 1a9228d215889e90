"""Does the API server keep its history and its Events short by itself?"""

import asyncio
import json
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mooring.app.roles import housekeeping
from mooring.edges.memory.store import MemoryStore
from mooring.store.records import Put, Txn
from mooring.store.state import State


def state(store: MemoryStore) -> State:
    assert isinstance(store.snapshot, State)
    return store.snapshot


async def until_oldest(store: MemoryStore, chore: Coroutine[Any, Any, None], revision: int) -> None:
    task = asyncio.create_task(chore)
    try:
        async with asyncio.timeout(30):
            while state(store).oldest < revision:
                await asyncio.sleep(0.001)
    finally:
        task.cancel()


@pytest.fixture
async def store() -> MemoryStore:
    filled = MemoryStore()
    for number in range(50):
        await filled.commit(Txn((), (Put("/a", b"%d" % number),)))
    return filled


async def test_history_is_kept_for_a_while_and_then_forgotten(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "COMPACT_EVERY", timedelta(milliseconds=5))
    monkeypatch.setattr(housekeeping, "HISTORY_CHECK", timedelta(milliseconds=1))
    await until_oldest(store, housekeeping.keep_history_short(store), 50)
    assert state(store).oldest == 50


async def test_very_much_history_is_forgotten_sooner(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "HISTORY", 20)
    await until_oldest(store, housekeeping.keep_history_short(store), 30)
    assert state(store).oldest == 30


async def test_old_events_are_deleted_and_young_ones_are_not(store: MemoryStore) -> None:
    now = datetime.now(UTC)
    ages = {"old": now - timedelta(hours=2), "young": now - timedelta(minutes=2), "zealous": datetime.max.replace(tzinfo=UTC)}
    for name, last in ages.items():
        document = {"metadata": {"name": name}, "lastTimestamp": last.isoformat()}
        await store.commit(Txn((), (Put(f"/core/events/default/{name}", json.dumps(document).encode()),)))
    task = asyncio.create_task(housekeeping.delete_old_events(store))
    async with asyncio.timeout(30):
        while store.snapshot.get("/core/events/default/old"):
            await asyncio.sleep(0.001)
    task.cancel()
    left = [record.key.rpartition("/")[2] for record in store.snapshot.scan("/core/events/")]
    assert left == ["young", "zealous"]
