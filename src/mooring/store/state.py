"""What is true now, and what was true at each revision still remembered?

Every edge keeps one `State`, decides transactions with it and reads through it, so that semantics cannot differ between the
edges. It is used in two steps, because a fact may be seen only once it is durable: `decide` says what transactions would do
and changes nothing; `publish` makes decided outcomes visible. An edge makes them durable in between.

History is the list of events. An older revision is read by undoing the events after it, newest first.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from operator import attrgetter

from sortedcontainers import SortedDict

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

Outcome = Committed | Conflict

_LAST = "\U0010ffff"  # sorts after every key with the same prefix
_by_key = attrgetter("key")
_by_revision = attrgetter("revision")


def check(txn: Txn) -> None:
    """Raises ValueError when a transaction writes a key twice, or an empty one: it would be two facts at one revision."""
    keys = {operation.key for operation in txn.operations}
    if len(keys) < len(txn.operations) or "" in keys:
        raise ValueError("a transaction may write a key only once, and no empty key")


class State:
    """The committed records and the events that led to them: a `Snapshot` that its edge moves forward."""

    def __init__(self, records: Iterable[Record] = (), revision: int = 0) -> None:
        """Starts from `records`, the live ones at `revision`, with no history before it."""
        self._records: SortedDict[str, Record] = SortedDict((record.key, record) for record in records)
        self._history: list[Event] = []
        self._revision = self._oldest = revision

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def oldest(self) -> int:
        """The oldest revision that can be read, and from which events can be had."""
        return self._oldest

    # Reading

    def get(self, key: str, revision: int = 0) -> Record | None:
        if revision:
            for event in islice(self._history, self._position(revision), None):
                if event.key == key:
                    return event.previous
        record: Record | None = self._records.get(key)
        return record

    def scan(self, prefix: str, after: str = "", limit: int = 0, revision: int = 0) -> Iterable[Record]:
        past = {event.key: event.previous for event in reversed(self._after(prefix, revision))} if revision else {}
        low = max(prefix, after)
        keys = self._records.irange(low, prefix + _LAST, inclusive=(low != after, True))
        live: Iterator[Record] = map(self._records.__getitem__, keys)
        if past:
            undone = sorted((record for record in past.values() if record and record.key > after), key=_by_key)
            live = merge((record for record in live if record.key not in past), undone, key=_by_key)
        return list(islice(live, limit or None))

    def count(self, prefix: str) -> int:
        return int(self._records.bisect_right(prefix + _LAST) - self._records.bisect_left(prefix))

    def since(self, prefix: str, revision: int) -> Sequence[Event]:
        return self._after(prefix, revision)

    def _after(self, prefix: str, revision: int) -> list[Event]:
        return [event for event in islice(self._history, self._position(revision), None) if event.key.startswith(prefix)]

    def _position(self, revision: int) -> int:
        """Where in the history the events after `revision` begin. Raises Compacted or FutureRevision."""
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision < self._oldest:
            raise Compacted(revision, self._oldest)
        return bisect_right(self._history, revision, key=_by_revision)

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
                ahead.update((event.key, event.record) for event in outcome.events)
            outcomes.append(outcome)
        return outcomes

    def _decide(self, txn: Txn, ahead: dict[str, Record | None], revision: int) -> Outcome:
        def current(key: str) -> Record | None:
            return ahead[key] if key in ahead else self._records.get(key)

        actual = [
            Compare(compare.key, found.mod_revision if (found := current(compare.key)) else 0) for compare in txn.compares
        ]
        wrong = tuple(have for have, want in zip(actual, txn.compares, strict=True) if have.mod_revision != want.mod_revision)
        if wrong:
            return Conflict(wrong)
        events = tuple(
            _event(operation, previous, revision + 1)
            for operation in txn.operations
            if (previous := current(operation.key)) or isinstance(operation, Put)
        )
        return Committed(revision + 1 if events else revision, events)

    def publish(self, outcomes: Iterable[Outcome]) -> list[Event]:
        """Makes outcomes of the last `decide` visible. Returns their events, in revision order."""
        events = [event for outcome in outcomes if isinstance(outcome, Committed) for event in outcome.events]
        for event in events:
            if event.record:
                self._records[event.key] = event.record
            else:
                del self._records[event.key]
        self._history += events
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
        position = self._position(revision)
        forgotten = self._history[:position]
        del self._history[:position]
        self._oldest = revision
        return forgotten


def _event(operation: Put | Delete, previous: Record | None, revision: int) -> Event:
    if isinstance(operation, Delete):
        return Event(revision, operation.key, None, previous)
    created = previous.create_revision if previous else revision
    return Event(revision, operation.key, Record(operation.key, operation.value, created, revision), previous)
