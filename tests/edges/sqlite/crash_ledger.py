"""What must a store hold after a crash, given what it had acknowledged and shown before?

A transaction is known by its token, 'life.writer.number': the token tells its operations, so whoever finds a token in the store
knows every key and byte that must be there with it. Each writer waits for its answer before it writes again.
"""

from random import Random

import pytest

from mooring.store.records import Compacted, Delete, Event, Put, Record
from mooring.store.state import State

WRITERS = 12
_SLOTS = 7
_SIZES = (10, 300, 3000, 9000)


def operations(token: str) -> tuple[Put | Delete, ...]:
    """Two keys that are put or deleted together, and the token under the writer's name."""
    _, writer, number = map(int, token.split("."))
    left, right = (f"/{side}/{writer}/{number % _SLOTS}" for side in ("left", "right"))
    told = Put(f"/last/{writer}", token.encode())
    if number % 5 == 4:
        return Delete(left), Delete(right), told
    rng = Random(token)
    value = rng.randbytes(rng.choice(_SIZES))
    return Put(left, value), Put(right, value[::-1]), told


class Ledger:
    """All that has happened for sure, in order, and what it has led to."""

    def __init__(self) -> None:
        self.revision = self.oldest = self.acknowledged = self._asked = 0
        self.records: dict[str, Record] = {}
        self._tokens: dict[int, str] = {}
        self._events: dict[int, list[Event]] = {}
        self._last = ["-1.0.0"] * WRITERS

    def told(self, journal: bytes) -> None:
        """Takes what one life has told, a line each: its last one may have been cut."""
        for line in journal.split(b"\n")[:-1]:
            word, number, *token = line.decode().split()
            revision = int(number)
            if word == "seen" and revision > self.revision:
                self._happened(revision, *token)
            elif word == "seen":
                assert [self._tokens[revision]] == token, "a revision was used again"
            elif word == "acknowledged":
                assert [self._tokens[revision]] == token
                self.acknowledged += 1
            elif word == "opened":
                assert revision == self.revision, "it was at another revision than what it had shown"
            else:
                assert word == "compacting"
                self._asked = max(self._asked, revision)

    def check(self, state: State, rng: Random) -> None:
        """Compares with a store that was opened after a crash. What was durable and told to nobody is learned from it."""
        assert state.revision >= self.revision, "revisions that were seen would be used again"
        for event in state.since("/last/", self.revision):
            assert event.record
            self._happened(event.revision, event.record.value.decode())
        assert state.revision == self.revision
        assert list(state.scan("")) == [self.records[key] for key in sorted(self.records)]
        assert self.oldest <= state.oldest <= self._asked
        self.oldest = state.oldest
        self._events = {revision: events for revision, events in self._events.items() if revision > self.oldest}
        for start in {self.oldest, *(rng.randint(self.oldest, self.revision) for _ in range(5)), self.revision}:
            for prefix in ("", "/left/", f"/right/{rng.randrange(WRITERS)}/"):
                assert list(state.since(prefix, start)) == self._after(start, prefix)
        if self.oldest:
            with pytest.raises(Compacted):
                state.since("", self.oldest - 1)

    def copy(self) -> "Ledger":
        copied = Ledger()
        vars(copied).update({name: value.copy() if hasattr(value, "copy") else value for name, value in vars(self).items()})
        return copied

    def _after(self, start: int, prefix: str) -> list[Event]:
        happened = range(start + 1, self.revision + 1)
        return [event for revision in happened for event in self._events[revision] if event.key.startswith(prefix)]

    def _happened(self, revision: int, token: str) -> None:
        assert revision == self.revision + 1, "a revision was left out or used again"
        life, writer, number = map(int, token.split("."))
        before, _, last = map(int, self._last[writer].split("."))
        assert number == (last + 1 if life == before else 0), "a writer's transactions are not in its order"
        events = []
        for operation in operations(token):
            previous = self.records.pop(operation.key, None)
            record = None
            if isinstance(operation, Put):
                created = previous.create_revision if previous else revision
                record = self.records[operation.key] = Record(operation.key, operation.value, created, revision)
            if record or previous:
                events.append(Event(revision, operation.key, record, previous))
        self.revision, self._last[writer] = revision, token
        self._tokens[revision], self._events[revision] = token, events


class Watcher:
    """A client that follows a prefix through every crash, from the revision that it has seen last."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._seen: dict[str, Record] = {}
        self._revision = 0
        self.resumed = self.listed_again = 0

    def resume(self, state: State) -> None:
        try:
            events = state.since(self._prefix, self._revision)
            self.resumed += 1
            for event in events:
                assert event.previous == self._seen.pop(event.key, None)
                if event.record:
                    self._seen[event.key] = event.record
        except Compacted:
            self._seen = {record.key: record for record in state.scan(self._prefix)}
            self.listed_again += 1
        self._revision = state.revision
        assert self._seen == {record.key: record for record in state.scan(self._prefix)}
