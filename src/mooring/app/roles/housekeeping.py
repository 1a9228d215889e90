"""What does the API server tidy up by itself? Old history and old Events."""

import asyncio
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import structlog
from msgspec import Struct, field

from mooring.model.kinds import CORE_EVENT
from mooring.ports.store import Store
from mooring.store.errors import StorageError
from mooring.store.records import Compare, Delete, Txn
from mooring.store.snapshot import Snapshot

log = structlog.get_logger(__name__)

COMPACT_EVERY = timedelta(minutes=5)
HISTORY = 100_000
"""Revisions kept at most, whatever their age: history lives in memory. A watcher that is further behind lists again."""
HISTORY_CHECK = timedelta(seconds=5)
EVENT_LIFE = timedelta(hours=1)
"""Upstream's --event-ttl."""
EVENT_CHECK = timedelta(minutes=1)
_DELETIONS = 500


async def keep_history_short(store: Store) -> None:
    """Every five minutes forgets what was five minutes old at the time before, as upstream; sooner when there is very much."""
    passed: deque[tuple[float, int]] = deque()
    loop = asyncio.get_running_loop()
    while True:
        revision = store.snapshot.revision
        if not passed or loop.time() - passed[-1][0] >= COMPACT_EVERY.total_seconds():
            passed.append((loop.time(), revision))
            if len(passed) > 2:
                passed.popleft()
        target = max(passed[0][1] if len(passed) == 2 else 0, revision - HISTORY)
        if target > 0:
            await store.compact(target)
        await asyncio.sleep(HISTORY_CHECK.total_seconds())


async def delete_old_events(store: Store) -> None:
    """Deletes Event objects an hour after they were last written."""
    while True:
        expired = list(expired_events(store.snapshot, datetime.now(UTC)))
        for start in range(0, len(expired), _DELETIONS):
            # Each for itself: one that was written meanwhile stays, and hinders no other.
            txns = [Txn((compare,), (Delete(compare.key),)) for compare in expired[start : start + _DELETIONS]]
            outcomes = await asyncio.gather(*map(store.commit, txns), return_exceptions=True)
            if failures := [outcome for outcome in outcomes if isinstance(outcome, StorageError)]:
                log.warning("old events were not deleted", count=len(failures), why=str(failures[0]))
                break
        await asyncio.sleep(EVENT_CHECK.total_seconds())


class _Metadata(Struct, frozen=True):
    created: datetime | None = field(name="creationTimestamp", default=None)


class _Series(Struct, frozen=True):
    seen: datetime | None = field(name="lastObservedTime", default=None)


class _Event(Struct, frozen=True):
    metadata: _Metadata
    last: datetime | None = field(name="lastTimestamp", default=None)
    at: datetime | None = field(name="eventTime", default=None)
    series: _Series | None = None


_event = msgspec.json.Decoder(_Event)


def expired_events(snapshot: Snapshot, now: datetime) -> Iterator[Compare]:
    """The Events that nobody has written for EVENT_LIFE, as they are in the snapshot. Both groups' are stored as core's."""
    since = now - EVENT_LIFE
    for record in snapshot.scan(CORE_EVENT.prefix):
        event = _event.decode(record.value)
        seen = event.series.seen if event.series else None
        times = [time for time in (event.metadata.created, event.last, event.at, seen) if time]
        if times and max(times) < since:
            yield Compare(record.key, record.mod_revision)
