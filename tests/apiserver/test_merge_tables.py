"""Do merges, comparisons and field sets agree with the published tables of structured-merge-diff (typed/*_test.go)?"""

import pytest
import yaml
from apply_tables import of

from mooring.apiserver.apply import types
from mooring.apiserver.apply.merging import merge, without
from mooring.apiserver.apply.sets import FieldSet, difference, intersection, recursive_difference, union
from mooring.apiserver.apply.types import ATOMIC, BOOLEAN, NUMERIC, STRING, FieldType, MergeType, associative, set_of
from mooring.apiserver.apply.walk import compare, fields_of, with_structs


def struct(**fields: MergeType) -> MergeType:
    return types.struct({name: FieldType(kind) for name, kind in fields.items()})


PAIR = struct(key=STRING, value=ATOMIC)
MAP = struct(inner=types.map_of(ATOMIC))
INNER = struct(inner=struct(value=ATOMIC))
LIST = struct(inner=types.whole_list())
BAG = struct(
    numeric=NUMERIC, string=STRING, bool=BOOLEAN, setStr=set_of(STRING), setBool=set_of(BOOLEAN), setNumeric=set_of(NUMERIC)
)
KEYED = struct(
    list=associative(struct(key=STRING, id=NUMERIC, value=types.map_of(STRING), bv=BOOLEAN, nv=NUMERIC), ("key", "id")),
    atomicList=types.whole_list(STRING),
)

MERGES: list[tuple[MergeType, str, str, str]] = [
    (PAIR, "{key: foo, value: {}}", "{key: foo, value: 1}", "{key: foo, value: 1}"),
    (PAIR, "{key: foo, value: 1}", "{key: foo, value: {}}", "{key: foo, value: {}}"),
    (PAIR, "{key: foo, value: null}", "{key: foo, value: {}}", "{key: foo, value: {}}"),
    (PAIR, "{key: foo}", "{value: true}", "{key: foo, value: true}"),
    *(
        (kind, before, after, after)
        for kind, empty in ((MAP, "{}"), (INNER, "{}"), (LIST, "[]"))
        for before, after in (
            ("{}", f"{{inner: {empty}}}"),
            ("{}", "{inner: null}"),
            ("{inner: null}", f"{{inner: {empty}}}"),
            (f"{{inner: {empty}}}", "{inner: null}"),
            (f"{{inner: {empty}}}", f"{{inner: {empty}}}"),
        )
    ),
    (BAG, "{numeric: 1}", "{numeric: 3.14159}", "{numeric: 3.14159}"),
    (BAG, "{numeric: 3.14159}", "{numeric: 1}", "{numeric: 1}"),
    (BAG, "{string: aoeu}", "{bool: true}", "{string: aoeu, bool: true}"),
    (BAG, "{setStr: [a, b, c]}", "{setStr: [a, b]}", "{setStr: [a, b, c]}"),
    (BAG, "{setStr: [a, b]}", "{setStr: [a, b, c]}", "{setStr: [a, b, c]}"),
    (BAG, "{setStr: [a, b, c]}", "{setStr: []}", "{setStr: [a, b, c]}"),
    (BAG, "{setStr: []}", "{setStr: [a, b, c]}", "{setStr: [a, b, c]}"),
    (BAG, "{setBool: [true]}", "{setBool: [false]}", "{setBool: [true, false]}"),
    (BAG, "{setNumeric: [1, 2, 3.14159]}", "{setNumeric: [1, 2, 3]}", "{setNumeric: [1, 2, 3.14159, 3]}"),
    (KEYED, "{list: [{key: a, id: 1, value: {a: a}}]}", "{list: [{key: a, id: 1, value: {a: a}}]}",
     "{list: [{key: a, id: 1, value: {a: a}}]}"),
    (KEYED, "{list: [{key: a, id: 1, value: {a: a}}]}", "{list: [{key: a, id: 2, value: {a: a}}]}",
     "{list: [{key: a, id: 1, value: {a: a}}, {key: a, id: 2, value: {a: a}}]}"),
    (KEYED, "{list: [{key: a, id: 1}, {key: b, id: 1}]}", "{list: [{key: a, id: 1}, {key: a, id: 2}]}",
     "{list: [{key: a, id: 1}, {key: b, id: 1}, {key: a, id: 2}]}"),
    (KEYED, "{list: [{key: b, id: 2}]}", "{list: [{key: a, id: 1}, {key: b, id: 2}, {key: c, id: 3}]}",
     "{list: [{key: a, id: 1}, {key: b, id: 2}, {key: c, id: 3}]}"),
    (KEYED, "{atomicList: [a, a, a]}", "{atomicList: null}", "{atomicList: null}"),
    (KEYED, "{atomicList: [a, b, c]}", "{atomicList: []}", "{atomicList: []}"),
    (KEYED, "{atomicList: [a, a, a]}", "{atomicList: [a, a]}", "{atomicList: [a, a]}"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "before", "applied", "after"), MERGES)
def test_merge(kind: MergeType, before: str, applied: str, after: str) -> None:
    assert merge(kind, yaml.safe_load(before), yaml.safe_load(applied)) == yaml.safe_load(after)


ORDERS = [
    ("12345", "12345", "12345"), ("123", "321", "321"), ("1345", "12345", "12345"), ("1234", "1243", "1243"),
    ("1234", "2", "1234"), ("12345", "52", "13452"), ("acd", "abc", "abcd"), ("abcd", "da", "bcda"),
]  # fmt: skip
"""list_test.go and its like: what only the live list has stays before the item that it stood before."""


@pytest.mark.parametrize(("live", "applied", "merged"), ORDERS)
def test_the_order_of_items_is_the_applied_one(live: str, applied: str, merged: str) -> None:
    assert merge(struct(list=set_of(STRING)), {"list": list(live)}, {"list": list(applied)}) == {"list": list(merged)}


A1 = 'k:{"id":1,"key":"a"}'
A2 = 'k:{"id":2,"key":"a"}'
COMPARISONS: list[tuple[MergeType, str, str, FieldSet, FieldSet]] = [
    (PAIR, "{key: foo, value: 1}", "{key: foo, value: 1}", of(), of()),
    (PAIR, "{key: foo, value: {}}", "{key: foo, value: 1}", of(("f:value",)), of()),
    (PAIR, "{key: foo, value: {}}", "{key: foo, value: {doesn't matter: really}}", of(("f:value",)), of()),
    (PAIR, "{key: foo}", "{value: true}", of(("f:value",)), of(("f:key",))),
    (INNER, "{inner: null}", "{inner: {}}", of(("f:inner",)), of()),
    (MAP, "{}", "{inner: {a: 1}}", of(("f:inner",), ("f:inner", "f:a")), of()),
    (MAP, "{inner: {}}", "{inner: {a: 1}}", of(("f:inner", "f:a")), of()),
    (LIST, "{inner: [1]}", "{inner: [1, 2]}", of(("f:inner",)), of()),
    (LIST, "{}", "{inner: []}", of(("f:inner",)), of()),
    (BAG, "{setStr: [a, b, c]}", "{setStr: [a, b]}", of(), of(("f:setStr", 'v:"c"'))),
    (BAG, "{setStr: [a, b]}", "{setStr: [a, b, c]}", of(("f:setStr", 'v:"c"')), of()),
    (BAG, "{setStr: [a, b, c]}", "{setStr: []}", of(), of(*(("f:setStr", f'v:"{one}"') for one in "abc"))),
    (BAG, "{setNumeric: [1, 2, 3.14159]}", "{setNumeric: [1, 2, 3]}",
     of(("f:setNumeric", "v:3")), of(("f:setNumeric", "v:3.14159"))),
    (BAG, "{setBool: [true]}", "{setBool: [false]}", of(("f:setBool", "v:false")), of(("f:setBool", "v:true"))),
    (KEYED, "{list: [{key: a, id: 1, value: {a: a}}]}", "{list: [{key: a, id: 1, value: {a: b}}]}",
     of(("f:list", A1, "f:value", "f:a")), of()),
    (KEYED, "{list: [{key: a, id: 1}]}", "{list: [{key: a, id: 2}]}",
     of(("f:list", A2), ("f:list", A2, "f:key"), ("f:list", A2, "f:id")),
     of(("f:list", A1), ("f:list", A1, "f:key"), ("f:list", A1, "f:id"))),
    (KEYED, "{}", "{list: [{key: a, id: 2}]}",
     of(("f:list",), ("f:list", A2), ("f:list", A2, "f:key"), ("f:list", A2, "f:id")), of()),
    (KEYED, "{atomicList: [a, a, a]}", "{atomicList: null}", of(("f:atomicList",)), of()),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "before", "after", "changed", "removed"), COMPARISONS)
def test_compare(kind: MergeType, before: str, after: str, changed: FieldSet, removed: FieldSet) -> None:
    assert compare(kind, yaml.safe_load(before), yaml.safe_load(after)) == (changed, removed)


FIELDS: list[tuple[MergeType, str, FieldSet]] = [
    (PAIR, "{key: foo, value: 1}", of(("f:key",), ("f:value",))),
    (PAIR, "{key: foo, value: {a: b}}", of(("f:key",), ("f:value",))),
    (PAIR, "{key: foo, value: null}", of(("f:key",), ("f:value",))),
    (MAP, "{inner: {a: 1}}", of(("f:inner", "f:a"))),
    (MAP, "{inner: {}}", of(("f:inner",))),
    (MAP, "{inner: null}", of(("f:inner",))),
    (LIST, "{inner: [1]}", of(("f:inner",))),
    (BAG, "{setStr: [a, a, b]}", of(("f:setStr", 'v:"a"'), ("f:setStr", 'v:"b"'))),
    (BAG, "{setStr: []}", of()),
    (KEYED, "{list: [{key: a, id: 1, value: {b: c}}]}",
     of(("f:list", A1), ("f:list", A1, "f:key"), ("f:list", A1, "f:id"), ("f:list", A1, "f:value", "f:b"))),
    (KEYED, "{list: [{key: a, id: 1, nv: 1}, {key: a, id: 1, nv: 2}]}", of(("f:list", A1))),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "fields"), FIELDS)
def test_the_fields_of_a_value(kind: MergeType, value: str, fields: FieldSet) -> None:
    assert fields_of(kind, yaml.safe_load(value)) == fields


REMOVALS: list[tuple[MergeType, str, FieldSet, str]] = [
    (PAIR, "{key: foo, value: 1}", of(("f:key",)), "{value: 1}"),
    (MAP, "{inner: {a: 1, b: 2}}", of(("f:inner", "f:a")), "{inner: {b: 2}}"),
    (MAP, "{inner: {a: 1}}", of(("f:inner", "f:a")), "{inner: {}}"),
    (BAG, "{setStr: [a, b, c]}", of(("f:setStr", 'v:"a"'), ("f:setStr", 'v:"c"')), "{setStr: [b]}"),
    (KEYED, "{list: [{key: a, id: 1}, {key: a, id: 2}]}", of(("f:list", A1)), "{list: [{key: a, id: 2}]}"),
    (KEYED, "{list: [{key: a, id: 1, nv: 1}, {key: a, id: 2}]}", of(("f:list", A1, "f:nv")),
     "{list: [{key: a, id: 1}, {key: a, id: 2}]}"),
    (KEYED, "{list: [{key: a, id: 1, value: {a: b}}]}", of(("f:list", A1, "f:value", "f:a")),
     "{list: [{key: a, id: 1, value: {}}]}"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "fields", "left"), REMOVALS)
def test_removal(kind: MergeType, value: str, fields: FieldSet, left: str) -> None:
    assert without(kind, yaml.safe_load(value), fields) == yaml.safe_load(left)


def test_differences_of_parents_and_children() -> None:
    """set.go's own words: parent - child = parent; child - parent = nothing of the child is gone but what is named."""
    parent, child = of(("f:a",)), of(("f:a", "f:b"))
    assert difference(parent, child) == parent
    assert difference(child, parent) == child
    assert difference(union(parent, child), parent) == child
    assert difference(union(parent, child), child) == parent
    assert recursive_difference(union(parent, child), parent) == {}
    assert recursive_difference(of(("f:a", "f:b", "f:c"), ("f:d",)), child) == of(("f:d",))
    assert intersection(union(parent, child), child) == child
    assert intersection(parent, child) == {}


def test_structs_on_the_way_are_members() -> None:
    kind = struct(a=struct(b=struct(c=STRING), m=types.map_of(struct(d=STRING))))
    fields = of(("f:a", "f:b", "f:c"), ("f:a", "f:m", "f:x", "f:d"))
    assert with_structs(kind, fields) == union(fields, of(("f:a",), ("f:a", "f:b"), ("f:a", "f:m")))
