"""Is only that looked at which was asked for, and does the history know what it takes?"""

from mooring.store.history import OVERHEAD, SEGMENT_EVENTS, SEGMENT_SIZE, History
from mooring.store.records import Event, Record


class Key(str):
    """A key that counts how often it is looked at."""

    looks = 0

    def startswith(self, *arguments: object) -> bool:  # type: ignore[override]
        Key.looks += 1
        return super().startswith(*arguments)  # type: ignore[arg-type]


def event(revision: int, key: str, replaced: bytes | None = None) -> Event:
    previous = None if replaced is None else Record(key, replaced, 1, 1)
    return Event(revision, key, Record(key, b"", 1, revision), previous)


def history(*events: Event) -> History:
    made = History()
    made.append(events)
    return made


def revisions(events: list[Event]) -> list[int]:
    return [each.revision for each in events]


def test_events_of_other_directories_are_not_looked_at() -> None:
    made = history(*(event(number, Key(f"/core/pods/ns{number % 7}/p")) for number in range(1, 5000)))
    made.append([event(5000, Key("/core/services/ns1/a")), event(5001, Key("/core/services/ns1/b"))])
    Key.looks = 0
    assert revisions(made.after(10, "/core/services/")) == [5000, 5001]
    assert revisions(made.after(4000, "/core/pods/ns3/"))[:2] == [4001 + (3 - 4001) % 7, 4008 + (3 - 4008) % 7]
    assert revisions(made.after(4998, "/core/")) == [4999, 5000, 5001]
    assert revisions(made.after(4998)) == [4999, 5000, 5001]
    assert Key.looks == 0


def test_of_a_directory_only_the_segments_after_the_revision_are_looked_at_for_one_name() -> None:
    made = history(*(event(number, Key(f"/pods/{number % 100}")) for number in range(1, 10 * SEGMENT_EVENTS)))
    Key.looks = 0
    assert revisions(made.after(10 * SEGMENT_EVENTS - 150, "/pods/7")) == [10_107, 10_170, *range(10_171, 10_180), 10_207]
    assert Key.looks <= SEGMENT_EVENTS


def test_a_transaction_is_never_cut_by_a_segments_end() -> None:
    made = history(*(event(1 + number // 100, f"/{number}") for number in range(20 * 100)))
    whole = made.last_beyond(0)
    assert 0 < whole < 20
    assert revisions(made.forget(0, whole)) == [1 + number // 100 for number in range(whole * 100)]
    assert len(made.after(whole)) == (20 - whole) * 100


def test_the_size_is_what_the_replaced_documents_take() -> None:
    made = history(event(1, "/a"), event(2, "/a", bytes(1000)))
    assert made.size == 2 * OVERHEAD + 1000
    assert made.last_beyond(0) == 0, "the newest segment always stays"


def test_large_documents_fill_a_segment_sooner() -> None:
    size = SEGMENT_SIZE // 2
    made = history(*(event(number, "/a", bytes(size)) for number in range(1, 11)))
    assert made.last_beyond(5 * size) == 6
    assert revisions(made.forget(0, 6)) == [1, 2, 3, 4, 5, 6]
    assert made.size == 4 * (size + OVERHEAD)
