"""Does the state read, at every remembered revision, as it was then? Against a model that keeps a copy of everything."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.store.records import Committed, Compacted, Compare, Conflict, Delete, Event, Put, Record, Txn
from mooring.store.snapshot import Snapshot
from mooring.store.state import State

KEYS = [f"/{folder}/{name}" for folder in "ab" for name in ("x", "xy", "z")]
OPERATIONS = [operation for key in KEYS for operation in (Delete(key), *(Put(key, value) for value in (b"", b"1", b"22")))]
COMPARES = [(), (), *((Compare(key, revision),) for key in KEYS for revision in range(5))]
TXNS = st.builds(  # from few ready parts: what is drawn is most of what these tests cost
    Txn,
    st.sampled_from(COMPARES),
    st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=4, unique_by=lambda operation: operation.key).map(tuple),
)


@pytest.fixture(autouse=True, scope="module")
def short_segments() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mooring.store.history.SEGMENT_EVENTS", 3)
        yield


class Model:
    """Every revision's records, whole."""

    def __init__(self) -> None:
        self.at: list[dict[str, Record]] = [{}]

    def apply(self, txn: Txn) -> None:
        now = self.at[-1]
        have = {key: record.mod_revision for key, record in now.items()}
        if any(have.get(compare.key, 0) != compare.mod_revision for compare in txn.compares):
            return
        revision, after = len(self.at), dict(now)
        for operation in txn.operations:
            before = after.pop(operation.key, None)
            if isinstance(operation, Put):
                created = before.create_revision if before else revision
                after[operation.key] = Record(operation.key, operation.value, created, revision)
        if after != now:
            self.at.append(after)


@given(st.lists(TXNS, max_size=25))
def test_every_revision_reads_as_it_was(txns: list[Txn]) -> None:
    state, model = State(), Model()
    for txn in txns:
        state.apply(txn)
        model.apply(txn)
    assert state.revision == len(model.at) - 1
    for revision, records in enumerate(model.at[1:], 1):
        assert list(state.scan("", revision=revision)) == [records[key] for key in sorted(records)]
        assert (
            list(state.scan("/a/", after="/a/x", limit=2, revision=revision))
            == [records[key] for key in sorted(records) if key.startswith("/a/") and key > "/a/x"][:2]
        )
        assert [state.get(key, revision) for key in KEYS] == [records.get(key) for key in KEYS]
        pages, after = [], ""
        while page := list(state.scan("", after, 2, revision)):
            pages += page
            after = page[-1].key
        assert pages == [records[key] for key in sorted(records)]
    assert state.count("/b/") == sum(key.startswith("/b/") for key in model.at[-1])


@given(st.lists(TXNS, max_size=25), st.integers(0, 25))
def test_replaying_the_events_since_any_revision_gives_the_state_of_now(txns: list[Txn], start: int) -> None:
    state, model = State(), Model()
    for txn in txns:
        state.apply(txn)
        model.apply(txn)
    start = min(start, state.revision)
    replayed = dict(model.at[start])
    for event in state.since("", start):
        assert replayed.get(event.key) == event.previous
        if event.record:
            replayed[event.key] = event.record
        else:
            del replayed[event.key]
    assert replayed == model.at[-1]


@given(st.lists(TXNS, max_size=20))
def test_deciding_many_at_once_is_deciding_one_after_another(txns: list[Txn]) -> None:
    together, single = State(), State()
    outcomes = together.decide(txns)
    assert together.revision == 0
    assert outcomes == [single.apply(txn) for txn in txns]
    together.publish(outcomes)
    assert list(together.scan("")) == list(single.scan(""))
    assert together.since("", 0) == single.since("", 0)


@given(st.lists(TXNS, min_size=1, max_size=25), st.data())
def test_compaction_changes_nothing_that_can_still_be_read(txns: list[Txn], data: st.DataObject) -> None:
    compacted, whole = State(), State()
    for txn in txns:
        compacted.apply(txn)
        whole.apply(txn)
    oldest = data.draw(st.integers(0, whole.revision))
    forgotten = compacted.compact(oldest)
    assert [event.revision for event in forgotten] == [
        event.revision for event in whole.since("", 0) if event.revision <= oldest
    ]
    for revision in range(max(oldest, 1), whole.revision + 1):
        assert list(compacted.scan("", revision=revision)) == list(whole.scan("", revision=revision))
        assert compacted.since("", revision) == whole.since("", revision)
    if oldest > 1:
        with pytest.raises(Compacted):
            compacted.scan("", revision=oldest - 1)
    again = data.draw(st.integers(0, whole.revision))
    assert [event.revision for event in compacted.compact(again)] == [
        event.revision for event in whole.since("", 0) if oldest < event.revision <= again
    ]
    assert compacted.since("/b/x", max(oldest, again)) == whole.since("/b/x", max(oldest, again))


def test_what_was_decided_is_not_seen_before_it_is_published() -> None:
    state = State()
    outcomes = state.decide([Txn((), (Put("/a", b"1"),)), Txn((Compare("/a", 1),), (Put("/a", b"2"),))])
    assert state.get("/a") is None
    assert state.publish(outcomes) == [event for outcome in outcomes for event in outcome.events]  # type: ignore[union-attr]
    assert state.get("/a") == Record("/a", b"2", 1, 2)


def test_a_conflict_inside_a_batch_tells_the_revision_that_won() -> None:
    first, second = State().decide([Txn((Compare("/a", 0),), (Put("/a", value),)) for value in (b"1", b"2")])
    assert first == Committed(1, (Event(1, "/a", Record("/a", b"1", 1, 1), None),))
    assert second == Conflict((Compare("/a", 1),))


def test_a_state_may_start_from_records_without_history() -> None:
    state = State([Record("/a", b"1", 3, 7)], 9)
    assert (state.revision, state.oldest, state.get("/a", 9)) == (9, 9, Record("/a", b"1", 3, 7))
    assert state.apply(Txn((), (Delete("/a"),))) == Committed(10, (Event(10, "/a", None, Record("/a", b"1", 3, 7)),))


@given(st.lists(TXNS, max_size=25), st.integers(0, 25), st.integers(0, 25))
def test_a_state_read_from_a_log_is_the_one_that_wrote_it(txns: list[Txn], oldest: int, start: int) -> None:
    state = State()
    for txn in txns:
        state.apply(txn)
    oldest = min(oldest, state.revision)
    state.compact(oldest)
    read = State(state.scan(""), oldest, state.since("", oldest))
    start = max(oldest, min(start, state.revision))
    assert (read.revision, read.oldest) == (state.revision, state.oldest)
    assert list(read.scan("")) == list(state.scan(""))
    assert [read.since(prefix, start) for prefix in ("", "/a/", "/b/x")] == [
        state.since(prefix, start) for prefix in ("", "/a/", "/b/x")
    ]


def keys_under_a(snapshot: Snapshot) -> list[str]:
    return [record.key for record in snapshot.scan("/a/")]


def test_a_derived_value_is_computed_again_when_a_record_under_its_prefix_has_changed_and_only_then() -> None:
    state = State([Record("/a/x", b"", 1, 1)], 1)
    first = state.derived(keys_under_a, "/a/")
    state.apply(Txn((), (Put("/b/x", b""),)))
    assert state.derived(keys_under_a, "/a/") is first
    state.apply(Txn((), (Put("/a/y", b""),)))
    assert state.derived(keys_under_a, "/a/") == ["/a/x", "/a/y"]
    state.apply(Txn((), (Delete("/a/x"),)))
    assert state.derived(keys_under_a, "/a/") == ["/a/y"]
