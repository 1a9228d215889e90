"""Does JSON Patch do what RFC 6902 and RFC 6901 say, with their own examples?"""

import json
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.apiserver import patch_json
from mooring.apiserver.patch_errors import BadPatch, PatchFailed, TooManyOperations

APPENDIX_A = [
    (
        "A.1 adding an object member",
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux"}],
        {"baz": "qux", "foo": "bar"},
    ),
    (
        "A.2 adding an array element",
        {"foo": ["bar", "baz"]},
        [{"op": "add", "path": "/foo/1", "value": "qux"}],
        {"foo": ["bar", "qux", "baz"]},
    ),
    ("A.3 removing an object member", {"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    (
        "A.4 removing an array element",
        {"foo": ["bar", "qux", "baz"]},
        [{"op": "remove", "path": "/foo/1"}],
        {"foo": ["bar", "baz"]},
    ),
    (
        "A.5 replacing a value",
        {"baz": "qux", "foo": "bar"},
        [{"op": "replace", "path": "/baz", "value": "boo"}],
        {"baz": "boo", "foo": "bar"},
    ),
    (
        "A.6 moving a value",
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        "A.7 moving an array element",
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        "A.8 testing a value: success",
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    (
        "A.10 adding a nested member object",
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    (
        "A.11 ignoring unrecognized elements",
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}],
        {"foo": "bar", "baz": "qux"},
    ),
    ("A.14 ~ escape ordering", {"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    (
        "A.16 adding an array value",
        {"foo": ["bar"]},
        [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
        {"foo": ["bar", ["abc", "def"]]},
    ),
    ("the whole document is replaced", {"a": 1}, [{"op": "replace", "path": "", "value": [1]}], [1]),
    (
        "copy leaves two separate values",
        {"a": {"b": 1}},
        [{"op": "copy", "from": "/a", "path": "/c"}, {"op": "replace", "path": "/c/b", "value": 2}],
        {"a": {"b": 1}, "c": {"b": 2}},
    ),
]


@pytest.mark.parametrize(("before", "operations", "after"), [row[1:] for row in APPENDIX_A], ids=[row[0] for row in APPENDIX_A])
def test_appendix_a(before, operations, after):
    kept = deepcopy(before)
    assert after == patch_json.apply(before, operations)
    assert kept == before


FAILURES = [
    ("A.9 testing a value: error", {"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "bar"}], PatchFailed),
    ("A.12 adding to a nonexistent target", {"foo": "bar"}, [{"op": "add", "path": "/baz/bat", "value": "qux"}], PatchFailed),
    ("A.15 comparing strings and numbers", {"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": "10"}], PatchFailed),
    ("true is not one", {"a": 1}, [{"op": "test", "path": "/a", "value": True}], PatchFailed),
    ("removing what is not there", {}, [{"op": "remove", "path": "/a"}], PatchFailed),
    ("replacing what is not there", {}, [{"op": "replace", "path": "/a", "value": 1}], PatchFailed),
    ("an index beyond the end", {"a": [1]}, [{"op": "add", "path": "/a/2", "value": 1}], PatchFailed),
    ("an index with a leading zero", {"a": [1, 2]}, [{"op": "remove", "path": "/a/01"}], PatchFailed),
    ("a negative index", {"a": [1, 2]}, [{"op": "remove", "path": "/a/-1"}], PatchFailed),
    ("'-' names no element", {"a": [1]}, [{"op": "remove", "path": "/a/-"}], PatchFailed),
    ("moving into itself", {"a": {"b": 1}}, [{"op": "move", "from": "/a", "path": "/a/b"}], PatchFailed),
    ("an unknown operation", {}, [{"op": "spam", "path": "/a"}], PatchFailed),
    ("no list", {}, {"op": "add"}, BadPatch),
    ("an operation that is no object", {}, [1], BadPatch),
    ("a pointer without a slash", {}, [{"op": "add", "path": "a", "value": 1}], BadPatch),
    ("add without a value", {}, [{"op": "add", "path": "/a"}], BadPatch),
    ("move without from", {}, [{"op": "move", "path": "/a"}], BadPatch),
    ("too many operations", {}, [{"op": "test", "path": ""}] * 10_001, TooManyOperations),
]


@pytest.mark.parametrize(("before", "operations", "error"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_refused(before, operations, error):
    with pytest.raises(error):
        patch_json.apply(before, operations)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("ab/~", max_size=2), VALUES, max_size=3), st.text("ab/~", max_size=2), VALUES)
def test_what_was_added_is_found_and_can_be_removed(document, name, value):
    path = "/" + name.replace("~", "~0").replace("/", "~1")
    added = patch_json.apply(
        document, [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}]
    )
    assert json.dumps(value) == json.dumps(added[name])
    removed = patch_json.apply(added, [{"op": "remove", "path": path}])
    assert {key: item for key, item in document.items() if key != name} == removed
