import random

from hypothesis import given
from hypothesis import strategies as st

from mooring.alloc.choice import pick


def choose(low, high, split, used, seed=1):
    return pick(low, high, split, used.__contains__, lambda: used, random.Random(seed))


@given(st.integers(0, 40), st.integers(0, 40), st.sets(st.integers(0, 90)), st.integers())
def test_a_choice_is_free_and_from_the_upper_band_while_that_has_room(low_size, high_size, used, seed):
    split, high = low_size, low_size + high_size
    chosen = choose(0, high, split, used, seed)
    upper, lower = set(range(split, high)) - used, set(range(split)) - used
    if upper:
        assert chosen in upper
    elif lower:
        assert chosen in lower
    else:
        assert chosen is None


def test_a_mostly_free_range_is_never_scanned():
    def scan():
        raise AssertionError("scanned")

    assert 1000 <= pick(0, 10_000, 1000, lambda number: False, scan, random.Random(3)) < 10_000


def test_the_last_free_number_of_a_crowded_range_is_found():
    used = set(range(5000)) - {4321}
    assert 4321 == choose(0, 5000, 100, used)
