"""Sets of indexes, written as intervals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.control.job_indexes import Indexes, indexes, parse

SETS = st.sets(st.integers(0, 60))


@pytest.mark.parametrize(
    ("values", "text"),
    [([], ""), ([3], "3"), ([3, 4], "3,4"), ([3, 4, 5], "3-5"), ([1, 3, 4, 5, 7], "1,3-5,7"), ([0, 1, 5, 6, 7], "0,1,5-7")],
)
def test_how_they_are_written(values, text):
    assert text == str(indexes(values))
    assert indexes(values) == parse(text, 100)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0-9", "0-4"), ("7", ""), ("x,2", "2"), ("1-2-3,4", "4"), ("3-1", ""), ("-1,2", "2"), ("2,2,1", "1,2"), ("٣", "")],
)
def test_what_is_no_index_is_passed_over(text, expected):
    assert expected == str(parse(text, 5))


@given(SETS, SETS)
def test_they_are_sets(one, other):
    left, right = indexes(one), indexes(other)
    assert indexes(one | other) == left.with_(right)
    assert (len(one), len(one & other)) == (left.total, left.common(right))
    assert [number for number in range(61) if number not in one] == list(left.missing(61))
    assert all((number in left) == (number in one) for number in range(61))
    assert left == parse(str(left), 61)


def test_a_thousand_million_cost_nothing():
    many = parse("0-999999998", 10**9)
    assert (999_999_999, [999_999_999]) == (many.total, list(many.missing(10**9)))
    assert Indexes(((0, 10**9 - 1),)) == many.with_(indexes([999_999_999]))
