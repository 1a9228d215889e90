"""Do strategic merge patches merge lists by their keys, and obey every directive?"""

from copy import deepcopy

import pytest
from counted_words import counted_words
from hypothesis import given
from hypothesis import strategies as st

from mooring.apiserver import patch_strategic
from mooring.apiserver.patch_errors import BadPatch, PatchFailed
from mooring.apiserver.schema import PatchMeta, patch_meta
from mooring.model.kinds import DEPLOYMENT, POD, SERVICE

META = {
    ("items",): PatchMeta(("merge",), "name"),
    ("items", "inner"): PatchMeta(("merge",), "port"),
    ("set",): PatchMeta(("merge",), ""),
    ("whole",): PatchMeta(("replace",), ""),
    ("volumes",): PatchMeta(("merge", "retainKeys"), "name"),
}


def lookup(path):
    return META.get(path, PatchMeta())


def item(name, **rest):
    return {"name": name, **rest}


CASES = [
    ("fields merge deeply", {"a": {"b": 1, "c": 2}}, {"a": {"c": 3, "d": 4}}, {"a": {"b": 1, "c": 3, "d": 4}}),
    ("null removes", {"a": 1, "b": 2}, {"a": None, "x": None}, {"b": 2}),
    ("a list without a strategy is replaced", {"plain": [1, 2]}, {"plain": [3]}, {"plain": [3]}),
    (
        "a list merges by its key",
        {"items": [item("a", v=1), item("b", v=2)]},
        {"items": [item("b", v=3)]},
        {"items": [item("a", v=1), item("b", v=3)]},
    ),
    (
        "a new element of a merge list comes first where no order is said, as upstream puts it",
        {"items": [item("a")]},
        {"items": [item("b")]},
        {"items": [item("b"), item("a")]},
    ),
    (
        "nested merge lists merge by their own keys",
        {"items": [item("a", inner=[{"port": 1, "x": 1}, {"port": 2}])]},
        {"items": [item("a", inner=[{"port": 1, "x": 2}])]},
        {"items": [item("a", inner=[{"port": 1, "x": 2}, {"port": 2}])]},
    ),
    (
        "an element is deleted by $patch",
        {"items": [item("a"), item("b")]},
        {"items": [item("a", **{"$patch": "delete"})]},
        {"items": [item("b")]},
    ),
    (
        "deleting an element that is not there does nothing",
        {"items": [item("a")]},
        {"items": [item("z", **{"$patch": "delete"})]},
        {"items": [item("a")]},
    ),
    (
        "a list is replaced by $patch",
        {"items": [item("a"), item("b")]},
        {"items": [item("c"), {"$patch": "replace"}]},
        {"items": [item("c")]},
    ),
    ("a list is emptied by $patch", {"items": [item("a")]}, {"items": [{"$patch": "replace"}]}, {"items": []}),
    ("an object is replaced by $patch", {"a": {"b": 1, "c": 2}}, {"a": {"d": 1, "$patch": "replace"}}, {"a": {"d": 1}}),
    ("an object is emptied by $patch", {"a": {"b": 1}}, {"a": {"$patch": "delete"}}, {"a": {}}),
    ("$patch: merge is the default said aloud", {"a": {"b": 1}}, {"a": {"c": 2, "$patch": "merge"}}, {"a": {"b": 1, "c": 2}}),
    ("a field of strategy replace is replaced", {"whole": {"a": 1}}, {"whole": {"b": 2}}, {"whole": {"b": 2}}),
    ("a set of primitives is united", {"set": ["a", "b"]}, {"set": ["b", "c"]}, {"set": ["a", "b", "c"]}),
    ("primitives are deleted by name", {"set": ["a", "b"]}, {"$deleteFromPrimitiveList/set": ["a", "z"]}, {"set": ["b"]}),
    (
        "deleting and adding primitives at once",
        {"set": ["a", "b"]},
        {"$deleteFromPrimitiveList/set": ["a"], "set": ["c"]},
        {"set": ["c", "b"]},
    ),
    (
        "the order of a merge list is set",
        {"items": [item("a"), item("b"), item("c")]},
        {"$setElementOrder/items": [item("c"), item("a"), item("b")]},
        {"items": [item("c"), item("a"), item("b")]},
    ),
    (
        "elements the order does not name stay where they stood",
        {"items": [item("a"), item("x"), item("b")]},
        {"$setElementOrder/items": [item("b"), item("a")]},
        {"items": [item("x"), item("b"), item("a")]},
    ),
    (
        "a new element takes its place in the order",
        {"items": [item("a"), item("c")]},
        {"$setElementOrder/items": [item("a"), item("b"), item("c")], "items": [item("b", v=1)]},
        {"items": [item("a"), item("b", v=1), item("c")]},
    ),
    (
        "the order of primitives is set",
        {"set": ["a", "b"]},
        {"$setElementOrder/set": ["c", "b", "a"], "set": ["c"]},
        {"set": ["c", "b", "a"]},
    ),
    ("an order for a list that is not there does nothing", {}, {"$setElementOrder/items": [item("a")]}, {}),
    (
        "only the retained keys stay",
        {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}},
        {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
        {"strategy": {"type": "Recreate"}},
    ),
    (
        "retained keys inside a merge list",
        {"volumes": [item("v", emptyDir={})]},
        {"volumes": [item("v", hostPath={"path": "/x"}, **{"$retainKeys": ["name", "hostPath"]})]},
        {"volumes": [item("v", hostPath={"path": "/x"})]},
    ),
    (
        "directives have nothing to act on in a new value",
        {},
        {
            "a": {"b": 1, "c": None, "$retainKeys": ["b"], "$setElementOrder/x": []},
            "items": [item("a", **{"$patch": "delete"}), item("b")],
        },
        {"a": {"b": 1}, "items": [item("b")]},
    ),
    ("a value of another type is replaced", {"a": [1]}, {"a": {"b": 1}}, {"a": {"b": 1}}),
]


@pytest.mark.parametrize(("before", "patch", "after"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_merges(before, patch, after):
    kept = deepcopy((before, patch))
    assert after == patch_strategic.apply(before, patch, lookup)
    assert kept == (before, patch)


REFUSED = [
    ("no object", [], BadPatch),
    ("an element without its merge key", {"items": [{"v": 1}]}, BadPatch),
    ("an unknown directive", {"a": {"$patch": "spam"}}, BadPatch),
    ("an unknown directive in a list", {"items": [item("a", **{"$patch": "spam"})]}, BadPatch),
    ("merging a list by directive", {"items": [item("a", **{"$patch": "merge"})]}, BadPatch),
    ("retaining what is no list", {"a": {"$retainKeys": "b"}}, BadPatch),
    ("setting what is not retained", {"a": {"$retainKeys": ["b"], "c": 1}}, BadPatch),
    ("deleting what is no list", {"$deleteFromPrimitiveList/set": "a"}, BadPatch),
    ("an order that is no list", {"$setElementOrder/items": "a"}, BadPatch),
    (
        "an order that contradicts the list",
        {"$setElementOrder/items": [item("a"), item("b")], "items": [item("b"), item("a")]},
        BadPatch,
    ),
    ("an order that lacks an element", {"$setElementOrder/items": [item("a")], "items": [item("b")]}, BadPatch),
    ("objects among primitives", {"set": [{"a": 1}]}, BadPatch),
    ("lists of lists", {"set": [["a"]]}, PatchFailed),
]


@pytest.mark.parametrize(("patch", "error"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(patch, error):
    document = {"a": {"b": 1}, "items": [item("a")], "set": ["x"]}
    with pytest.raises(error):
        patch_strategic.apply(document, patch, lookup)


def test_long_lists_are_not_compared_each_with_each():
    Word = counted_words()

    def words():
        return [Word(number) for number in range(100)]

    patch = {"$deleteFromPrimitiveList/set": words(), "a": {"$retainKeys": words(), **dict.fromkeys(map(str, range(100)), 1)}}
    assert [] == patch_strategic.apply({"a": {}, "set": words()}, patch, lookup)["set"]
    assert Word.compared < 1000


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        (SERVICE, ("spec", "ports"), PatchMeta(("merge",), "port")),
        (POD, ("spec", "containers", "env"), PatchMeta(("merge",), "name")),
        (DEPLOYMENT, ("spec", "template", "spec", "containers"), PatchMeta(("merge",), "name")),
        (POD, ("metadata", "finalizers"), PatchMeta(("merge",), "")),
        (POD, ("metadata", "ownerReferences"), PatchMeta(("merge",), "uid")),
    ],
)
def test_the_kinds_declare_upstreams_merge_keys(kind, path, expected):
    assert expected == patch_meta(kind, path)


ITEMS = st.lists(
    st.builds(
        lambda name, value: {"name": name, **value},
        st.sampled_from("abcd"),
        st.dictionaries(st.sampled_from("xy"), st.integers(0, 3)),
    ),
    max_size=4,
    unique_by=lambda element: element["name"],
)
DOCUMENTS = st.fixed_dictionaries({"items": ITEMS, "set": st.lists(st.sampled_from("abcd"), max_size=4, unique=True)})


@given(DOCUMENTS, DOCUMENTS)
def test_applied_twice_is_applied_once(document, patch):
    once = patch_strategic.apply(document, patch, lookup)
    assert once == patch_strategic.apply(once, patch, lookup)


def two_way(last: dict, wanted: dict) -> dict:
    """The patch kubectl computes from the last applied configuration to the wanted one, for `items`."""
    before = {element["name"]: element for element in last["items"]}
    changes = []
    for element in wanted["items"]:
        known = before.get(element["name"], {})
        gone = {name: None for name in known if name not in element}
        changed = {name: value for name, value in element.items() if known.get(name) != value}
        if gone or changed:
            changes.append({"name": element["name"], **gone, **changed})
    kept = {element["name"] for element in wanted["items"]}
    changes += [item(name, **{"$patch": "delete"}) for name in before if name not in kept]
    order = [item(element["name"]) for element in wanted["items"]]
    patch = {"items": changes} if changes else {}
    return patch | ({"$setElementOrder/items": order} if order else {})


@given(DOCUMENTS, DOCUMENTS, st.booleans())
def test_apply_reaches_the_wanted_configuration_and_keeps_what_others_added(last, wanted, added):
    live = deepcopy(last)
    if added:
        live["items"].append(item("theirs", v=1))
    live["status"] = {"from": "server"}
    result = patch_strategic.apply(live, two_way(last, wanted), lookup)
    ours = [element for element in result["items"] if element["name"] != "theirs"]
    assert wanted["items"] == ours
    assert {"from": "server"} == result["status"]
    assert added == (item("theirs", v=1) in result["items"])
