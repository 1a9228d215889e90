"""Do service ports and endpoints keep their numbers?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.dataplane.ids import Ids, place

ENDPOINTS = st.lists(st.integers(0, 30).map(lambda n: bytes([n])), unique=True)


@pytest.mark.parametrize(
    ("before", "wanted", "slots"),
    [
        pytest.param("abc", "abc", "abc", id="nothing changes"),
        pytest.param("abc", "cab", "abc", id="the order asked for does not matter"),
        pytest.param("abc", "abcd", "abcd", id="a new endpoint comes last"),
        pytest.param("abc", "axc", "axc", id="a replaced endpoint's slot goes to the new one"),
        pytest.param("abcd", "acd", "adc", id="the last endpoint moves into a hole"),
        pytest.param("abcd", "ab", "ab", id="holes at the end vanish"),
        pytest.param("abcd", "d", "d", id="one is left and moves to slot 0"),
        pytest.param("abc", "", "", id="none is left"),
        pytest.param("", "ba", "ba", id="the first endpoints"),
    ],
)
def test_slots(before: str, wanted: str, slots: str) -> None:
    assert tuple(slots) == place(tuple(before), tuple(wanted))  # type: ignore[arg-type]


@given(ENDPOINTS, ENDPOINTS)
def test_slots_hold_exactly_what_is_wanted_and_move_as_little_as_possible(before: list[bytes], wanted: list[bytes]) -> None:
    slots = place(before, wanted)
    assert sorted(wanted) == sorted(slots)
    kept = [each for each in before if each in wanted]
    moved = [each for each in kept if slots.index(each) != before.index(each)]
    out_of_range = [each for each in kept if before.index(each) >= len(wanted)]
    assert out_of_range == moved


def test_an_id_is_not_used_again_while_there_are_fresh_ones() -> None:
    ids = Ids()
    first = ids.take()
    ids.release(first)
    assert first not in [ids.take() for _ in range(100)]


def test_ids_in_use_are_not_given_out() -> None:
    ids = Ids({1, 2, 7})
    assert ids.take() == 8
