"""Does a zone's memory lead from every version it remembers to the present one, and forget in time?"""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.dns import journal as journals
from mooring.dns.journal import Difference, Journal, RRsets, fitting, merged, newer, serial_of
from mooring.dns.names import Name, from_text
from mooring.dns.owners import RRset
from mooring.dns.records import Record, Type, soa

APEX = from_text("cluster.local")
NAMES = [from_text(f"{label}.cluster.local") for label in "abcd"]


def soa_at(serial: int) -> Record:
    return soa(APEX, 5, from_text("ns.dns.cluster.local"), from_text("hostmaster.cluster.local"), serial)


def a(*last: int, ttl: int = 5) -> RRset:
    return RRset(Type.A, ttl, tuple(bytes((10, 0, 0, each)) for each in last))


def cname(*labels: str) -> RRset:
    return RRset(Type.CNAME, 5, tuple(from_text(f"{label}.example") for label in labels))


def apply(journal: Journal, changes: list[tuple[Name, RRsets]]) -> None:
    for name, rrsets in changes:
        journal.change(name, rrsets)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.lists(st.integers(1, 4), max_size=3, unique=True).map(lambda last: (a(*sorted(last)),) if last else ()),
    ),
    max_size=4,
)


@given(st.lists(CHANGES, min_size=1, max_size=8))
def test_a_difference_turns_every_remembered_version_into_the_present_one(versions: list[list[tuple[Name, RRsets]]]) -> None:
    journal = Journal(soa_at(1), {NAMES[0]: (a(1),)})
    past = {1: set(journal.version().records())}
    for serial, changes in enumerate(versions, 2):
        apply(journal, changes)
        journal.close(soa_at(serial))
        past[serial] = set(journal.version().records())
    for serial, records in past.items():
        difference = journal.since(serial)
        if difference is not None:
            assert Counter(difference.removed) <= Counter(records)
            assert not set(difference.added) & records
            assert (records - set(difference.removed)) | set(difference.added) == past[len(versions) + 1]


def test_what_comes_and_goes_between_two_versions_leaves_no_trace() -> None:
    journal = Journal(soa_at(1), {NAMES[0]: (a(1),)})
    for rrsets in ((a(1, 2),), (), (a(1),)):
        journal.change(NAMES[0], rrsets)
    journal.close(soa_at(5))
    assert journal.differences == [Difference(soa_at(1), soa_at(5))]


def test_a_version_given_away_stays_as_it_was() -> None:
    journal = Journal(soa_at(1), {NAMES[0]: (a(1),)})
    given_away = journal.version()
    records = given_away.records()
    apply(journal, [(NAMES[0], (a(2),)), (NAMES[1], (a(3),))])
    journal.close(soa_at(2))
    assert (given_away.soa, list(records)) == (soa_at(1), [Record(NAMES[0], Type.A, 5, bytes((10, 0, 0, 1)))])


def test_a_difference_larger_than_the_zone_is_none() -> None:
    journal = Journal(soa_at(1), {name: (a(1),) for name in NAMES})
    journal.change(NAMES[0], (a(2),))
    journal.close(soa_at(2))
    assert journal.since(1) is not None
    journal.change(NAMES[1], (a(2),))
    journal.close(soa_at(3))
    assert (journal.since(1), journal.since(2) is None) == (None, False)


def test_a_serial_that_was_never_a_version_is_unknown() -> None:
    journal = Journal(soa_at(1), {NAMES[0]: (a(1),)})
    journal.close(soa_at(4))
    assert [journal.since(serial) for serial in (0, 2, 3, 5)] == [None] * 4


def test_the_oldest_versions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "VERSIONS", 3)
    journal = Journal(soa_at(1), {NAMES[0]: (a(1),)})
    for serial in range(2, 8):
        journal.close(soa_at(serial))
    assert [serial_of(each.older) for each in journal.differences] == [4, 5, 6]
    monkeypatch.setattr(journals, "RECORDS", 4)
    for serial in range(8, 12):
        journal.change(NAMES[0], (a(serial),))
        journal.close(soa_at(serial))
    assert [serial_of(each.older) for each in journal.differences] == [9, 10]


def test_steps_merge_into_one() -> None:
    first, second = (Record(NAMES[0], Type.A, 5, bytes((10, 0, 0, last))) for last in (1, 2))
    steps = [
        Difference(soa_at(1), soa_at(2), (first,), (second,)),
        Difference(soa_at(2), soa_at(3), (second,), (first,)),
        Difference(soa_at(3), soa_at(4), (), (second,)),
    ]
    assert merged(steps) == Difference(soa_at(1), soa_at(4), (), (second,))


@pytest.mark.parametrize(
    ("rrsets", "expected"),
    [
        pytest.param((a(1),), (a(1),), id="addresses are kept"),
        pytest.param((cname("x"),), (cname("x"),), id="an alias alone is kept"),
        pytest.param((cname("x", "y"),), (cname("x"),), id="of several aliases the first"),
        pytest.param((a(1), cname("x")), (a(1),), id="an alias beside addresses goes"),
        pytest.param((RRset(Type.SOA, 5, (soa_at(1).data,)), a(1)), (a(1),), id="the SOA travels apart"),
        pytest.param((), (), id="nothing is nothing"),
    ],
)
def test_what_a_secondary_would_refuse_is_left_out(rrsets: RRsets, expected: RRsets) -> None:
    assert fitting(rrsets) == expected


@pytest.mark.parametrize(
    ("serial", "other", "expected"),
    [
        pytest.param(2, 1, True, id="one more"),
        pytest.param(1, 2, False, id="one less"),
        pytest.param(1, 1, False, id="the same"),
        pytest.param(0, 0xFFFFFFFF, True, id="across zero"),
        pytest.param(0x7FFFFFFF, 0, True, id="just below half the circle"),
        pytest.param(0x80000000, 0, False, id="half the circle away"),
        pytest.param(0, 0x80000000, False, id="half the circle away, seen from there"),
    ],
)
def test_serials_go_round(serial: int, other: int, expected: bool) -> None:
    assert newer(serial, other) == expected
