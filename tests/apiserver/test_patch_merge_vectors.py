"""Does a merge patch do what RFC 7386 says, with its own examples?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.apiserver import patch_merge

APPENDIX_A = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("before", "patch", "after"), APPENDIX_A)
def test_appendix_a(before, patch, after):
    assert after == patch_merge.apply(before, patch)


NO_NULLS = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=1), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abc", max_size=1), NO_NULLS, max_size=3)
PATCHES = st.dictionaries(st.text("abc", max_size=1), NO_NULLS | st.none(), max_size=3)


@given(OBJECTS, PATCHES)
def test_applied_twice_is_applied_once(document, patch):
    once = patch_merge.apply(document, patch)
    assert once == patch_merge.apply(once, patch)


def difference(before: dict, after: dict) -> dict:
    """The merge patch that makes `after` of `before`."""
    patch = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before or type(before[name]) is not type(value):
            patch[name] = value
        elif isinstance(value, dict):
            patch[name] = difference(before[name], value)
        elif before[name] != value:
            patch[name] = value
    return patch


@given(OBJECTS, OBJECTS)
def test_the_difference_leads_there(before, after):
    assert after == patch_merge.apply(before, difference(before, after))
