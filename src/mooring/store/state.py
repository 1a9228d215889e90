"""What is true now, and what was true at each revision still remembered?

Every edge keeps one `State`, decides transactions with it and reads through it, so that semantics cannot differ between the
edges. It is used in two steps, because a fact may be seen only once it is durable: `decide` says what transactions would do
and changes nothing; `publish` makes decided outcomes visible. An edge makes them durable in between.

An older revision is read by undoing the events after it, newest first (store/history.py has them).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any

from sortedcontainers import SortedDict

from mooring.store.history import History
from mooring.store.records import (
    Committed,
    Compacted,
    Compare,
    Conflict,
    Delete,
    Event,
    FutureRevision,
    Put,
    Record,
    Txn,
)
from mooring.store.snapshot import Derived, Snapshot

Outcome = Committed | Conflict
_Compute = Callable[[Any], Any]

_LAST = "\U0010ffff"  # sorts after every key with the same prefix
_by_key = attrgetter("key")


def check(txn: Txn) -> None:
    """Raises ValueError when a transaction writes a key twice, or an empty one: it would be two facts at one revision."""
    keys = {operation.key for operation in txn.operations}
    if len(keys) < len(txn.operations) or "" in keys:
        raise ValueError("a transaction may write a key only once, and no empty key")


class State:
    """The committed records and the events that led to them: a `Snapshot` that its edge moves forward."""

    def __init__(self, records: Iterable[Record] = (), revision: int = 0, history: Sequence[Event] = ()) -> None:
        """Starts from `records`, the live ones now, and `history`, the events since `revision` that led to them."""
        self._records: SortedDict[str, Record] = SortedDict((record.key, record) for record in records)
        self._derived: dict[_Compute, tuple[Any, tuple[str, ...]]] = {}
        self._rested_on: tuple[str, ...] = ()
        """Every prefix of `_derived`."""
        self._history = History()
        self._history.append(history)
        self._oldest = revision
        self._revision = history[-1].revision if history else revision

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def oldest(self) -> int:
        """The oldest revision that can be read, and from which events can be had."""
        return self._oldest

    @property
    def history_size(self) -> int:
        """Bytes of memory that the events take, about: with the documents they have replaced."""
        return self._history.size

    # Reading

    def get(self, key: str, revision: int = 0) -> Record | None:
        record: Record | None = self._records.get(key)
        if revision:
            self._check(revision)
            if record is None or record.mod_revision > revision:
                later = self._history.after(revision, key)
                return next((event.previous for event in later if event.key == key), record)
        return record

    def scan(self, prefix: str, after: str = "", limit: int = 0, revision: int = 0) -> Iterable[Record]:
        if revision:
            return self._scan_past(prefix, after, limit, revision)
        return list(islice(self._live(prefix, after), limit or None))

    def _scan_past(self, prefix: str, after: str, limit: int, revision: int) -> list[Record]:
        events = self.since(prefix, revision)
        if not events:
            return list(islice(self._live(prefix, after), limit or None))
        # Records that have been there all the while fill the page at the latest where the last of them lies: undo up to there.
        lasting = (record.key for record in self._live(prefix, after) if record.create_revision <= revision)
        end = next(islice(lasting, limit - 1, None), prefix + _LAST) if limit else prefix + _LAST
        past = {event.key: event.previous for event in reversed(events) if after < event.key <= end}
        undone = sorted((record for record in past.values() if record), key=_by_key)
        lived = (record for record in self._live(prefix, after) if record.key not in past)
        return list(islice(merge(lived, undone, key=_by_key), limit or None))

    def _live(self, prefix: str, after: str) -> Iterator[Record]:
        low = max(prefix, after)
        keys = self._records.irange(low, prefix + _LAST, inclusive=(low != after, True))
        return map(self._records.__getitem__, keys)

    def count(self, prefix: str) -> int:
        return int(self._records.bisect_right(prefix + _LAST) - self._records.bisect_left(prefix))

    def since(self, prefix: str, revision: int) -> Sequence[Event]:
        self._check(revision)
        return self._history.after(revision, prefix)

    def _check(self, revision: int) -> None:
        """Raises Compacted or FutureRevision when it cannot be read."""
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision < self._oldest:
            raise Compacted(revision, self._oldest)

    def derived(self, compute: Callable[[Snapshot], Derived], *prefixes: str) -> Derived:
        kept = self._derived.get(compute)
        if kept is not None:
            found: Derived = kept[0]
            return found
        found = compute(self)
        self._derived[compute] = found, prefixes
        self._rested_on += prefixes
        return found

    def _forget_derived(self, key: str) -> None:
        for compute in [each for each, (_, prefixes) in self._derived.items() if key.startswith(prefixes)]:
            del self._derived[compute]
        self._rested_on = tuple(prefix for _, prefixes in self._derived.values() for prefix in prefixes)

    # Writing

    def decide(self, txns: Sequence[Txn]) -> list[Outcome]:
        """What each transaction does when they are applied one after another; nothing changes yet."""
        ahead: dict[str, Record | None] = {}
        revision = self._revision
        outcomes: list[Outcome] = []
        for txn in txns:
            outcome = self._decide(txn, ahead, revision)
            if isinstance(outcome, Committed):
                revision = outcome.revision
                for event in outcome.events:
                    ahead[event.key] = event.record
            outcomes.append(outcome)
        return outcomes

    def _decide(self, txn: Txn, ahead: dict[str, Record | None], revision: int) -> Outcome:
        records = self._records
        wrong: list[Compare] = []
        for compare in txn.compares:
            key = compare.key
            found = ahead[key] if key in ahead else records.get(key)
            have = found.mod_revision if found is not None else 0
            if have != compare.mod_revision:
                wrong.append(Compare(key, have))
        if wrong:
            return Conflict(tuple(wrong))
        events: list[Event] = []
        for operation in txn.operations:
            key = operation.key
            previous: Record | None = ahead[key] if key in ahead else records.get(key)
            if previous is not None or operation.__class__ is Put:
                events.append(_event(operation, previous, revision + 1))
        return Committed(revision + 1 if events else revision, tuple(events))

    def publish(self, outcomes: Iterable[Outcome]) -> list[Event]:
        """Makes outcomes of the last `decide` visible. Returns their events, in revision order."""
        events = [event for outcome in outcomes if isinstance(outcome, Committed) for event in outcome.events]
        for event in events:
            if event.record:
                self._records[event.key] = event.record
            else:
                del self._records[event.key]
            if event.key.startswith(self._rested_on):
                self._forget_derived(event.key)
        self._history.append(events)
        if events:
            self._revision = events[-1].revision
        return events

    def apply(self, txn: Txn) -> Outcome:
        """Decides and publishes one transaction."""
        check(txn)
        (outcome,) = self.decide((txn,))
        self.publish((outcome,))
        return outcome

    def compact(self, revision: int) -> Sequence[Event]:
        """Forgets the events up to and including `revision`, and returns them. Older than already compacted: nothing.

        Raises FutureRevision.
        """
        if revision <= self._oldest:
            return ()
        self._check(revision)
        forgotten = self._history.forget(self._oldest, revision)
        self._oldest = revision
        return forgotten

    def beyond(self, size: int) -> int:
        """The revision to compact to so that `history_size` is at most `size`, about; 0 when it is."""
        return self._history.last_beyond(size) if self._history.size > size else 0


def _event(operation: Put | Delete, previous: Record | None, revision: int) -> Event:
    if isinstance(operation, Delete):
        return Event(revision, operation.key, None, previous)
    created = previous.create_revision if previous else revision
    return Event(revision, operation.key, Record(operation.key, operation.value, created, revision), previous)
