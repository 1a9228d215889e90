"""What holds of every apply, whatever is applied: properties over random documents of random and of real types."""

import json
from typing import Any

from apply_tables import SameVersions
from core_server import Server
from hypothesis import given
from hypothesis import strategies as st

from mooring.apiserver.apply import built_in, types
from mooring.apiserver.apply.managers import APPLY, UPDATE, Entry, Managers, as_document, kept, sent
from mooring.apiserver.apply.merging import merge, without
from mooring.apiserver.apply.ownership import nobodys_removed, of_new
from mooring.apiserver.apply.sets import difference, intersection, paths, recursive_difference, union
from mooring.apiserver.apply.types import BOOLEAN, NUMERIC, STRING, FieldType, MergeType, associative, set_of
from mooring.apiserver.apply.updating import Conflicts, Updater
from mooring.apiserver.apply.walk import compare, fields_of
from mooring.model.kinds import CONFIG_MAP, DEPLOYMENT, POD, SERVICE

NAMES = st.sampled_from("abcd")


def struct(**fields: MergeType) -> MergeType:
    return types.struct({name: FieldType(kind) for name, kind in fields.items()})


ITEM = types.struct({"name": FieldType(STRING), "port": FieldType(NUMERIC, 80), "on": FieldType(BOOLEAN)})
KIND = struct(
    text=STRING,
    labels=types.map_of(STRING),
    whole=types.map_of(STRING, atomic=True),
    set=set_of(STRING),
    items=associative(ITEM, ("name", "port")),
    inner=struct(number=NUMERIC, more=types.map_of(struct(a=STRING, b=STRING)), list=types.whole_list(STRING)),
)
ITEMS = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"port": st.sampled_from([80, 81]), "on": st.booleans()}),
    min_size=1,
    max_size=4,
    unique_by=lambda item: (item["name"], item.get("port", 80)),
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "text": NAMES,
        "labels": st.dictionaries(NAMES, NAMES, max_size=3),
        "whole": st.dictionaries(NAMES, NAMES, max_size=2),
        "set": st.lists(NAMES, min_size=1, max_size=4, unique=True),
        "items": ITEMS,
        "inner": st.fixed_dictionaries(
            {},
            optional={
                "number": st.integers(0, 3),
                "more": st.dictionaries(NAMES, st.fixed_dictionaries({}, optional={"a": NAMES, "b": NAMES}), max_size=2),
                "list": st.lists(NAMES, max_size=2),
            },
        ),
    },
)


def updater() -> Updater:
    return Updater(SameVersions(KIND), "v1", lambda fields: fields, settled=True)


def apply(live: Any, config: Any, managers: Managers, name: str, force: bool = True) -> tuple[Any, Managers]:
    return updater().apply(live, config, managers, Entry(name, APPLY, "v1", {}), force)


def update(live: Any, new: Any, managers: Managers, name: str) -> Managers:
    work = updater()
    mine = work.compare(live, new, "v1")
    assert mine is not None
    result = work.taken(managers, live, new, mine, None, True)
    me = Entry(name, UPDATE, "v1", {})
    left = result.get(me.identity)
    if fields := union(left.fields if left else {}, mine.changed):
        result[me.identity] = Entry(name, UPDATE, "v1", fields)
    return result


HISTORIES = st.lists(st.tuples(st.sampled_from(["apply", "update"]), NAMES, DOCUMENTS), max_size=4)


def played(history: list[tuple[str, str, Any]]) -> tuple[Any, Managers]:
    live: Any = {}
    managers: Managers = {}
    for what, who, document in history:
        if what == "apply":
            live, managers = apply(live, document, managers, who)
        else:
            managers = update(live, document, managers, who)
            live = document
    return live, managers


@given(HISTORIES, DOCUMENTS)
def test_an_apply_is_idempotent_and_what_was_applied_holds(history: Any, config: Any) -> None:
    live, managers = played(history)
    live, managers = apply(live, config, managers, "me")
    assert apply(live, config, managers, "me", force=False) == (live, managers)
    assert merge(KIND, live, config) == live


@given(DOCUMENTS, DOCUMENTS)
def test_appliers_of_disjoint_fields_never_conflict(one: Any, other: Any) -> None:
    shared = intersection(fields_of(KIND, one), fields_of(KIND, other))
    live, managers = apply({}, one, {}, "one")
    try:
        apply(live, other, managers, "other", force=False)
    except Conflicts as conflicts:
        for identity, path in conflicts.listed():
            assert identity[0] == "one"
            assert any(path[: len(each)] == each or each[: len(path)] == path for each in paths(shared)), path


@given(st.lists(DOCUMENTS, min_size=1, max_size=3))
def test_what_all_give_up_is_gone(configs: list[Any]) -> None:
    live: Any = {}
    managers: Managers = {}
    for number, config in enumerate(configs):
        live, managers = apply(live, config, managers, f"m{number}")
    for number in range(len(configs)):
        live, managers = apply(live, {}, managers, f"m{number}")
    assert (live, managers) == ({}, {})


@given(HISTORIES, DOCUMENTS)
def test_a_forced_apply_owns_all_it_names_and_takes_it_from_updaters(history: Any, config: Any) -> None:
    live, managers = played(history)
    before = managers
    live, managers = apply(live, config, managers, "new")
    mine = fields_of(KIND, config)
    owner = managers.get(("new", APPLY, "", ""))
    assert (owner.fields if owner else {}) == mine
    for identity, entry in managers.items():
        if identity in before and identity[0] != "new":
            assert difference(entry.fields, before[identity].fields) == {}


@given(DOCUMENTS, DOCUMENTS)
def test_a_comparison_tells_all_and_is_its_own_mirror(old: Any, new: Any) -> None:
    changed, removed = compare(KIND, old, new)
    assert (changed == {} and removed == {}) == (old == new or sorted_sets(old) == sorted_sets(new))
    back, gone = compare(KIND, new, old)
    assert difference(removed, back) == {}
    assert set(paths(gone)) <= set(paths(changed))


def sorted_sets(document: Any) -> Any:
    """Sets and associative lists in one order."""
    if isinstance(document, dict):
        return {
            name: sorted(map(json.dumps, map(sorted_keys, value))) if name in ("set", "items") else sorted_sets(value)
            for name, value in document.items()
        }
    return document


def sorted_keys(item: Any) -> Any:
    return dict(sorted(item.items())) if isinstance(item, dict) else item


@given(DOCUMENTS, DOCUMENTS)
def test_sets_are_sets(one: Any, other: Any) -> None:
    left, right = fields_of(KIND, one), fields_of(KIND, other)
    mine, theirs = set(paths(left)), set(paths(right))
    assert set(paths(union(left, right))) == mine | theirs
    assert set(paths(intersection(left, right))) == mine & theirs
    assert set(paths(difference(left, right))) == mine - theirs
    assert recursive_difference(left, left) == {}
    assert without(KIND, one, {}) == one


@given(HISTORIES)
def test_managers_survive_storage(history: Any) -> None:
    stored = [as_document(entry) for entry in played(history)[1].values()]
    again = json.loads(json.dumps(stored))
    assert kept(again) == sent(again) == played(history)[1]


# Real types -------------------------------------------------------------------------------------------------------------


def values(kind: MergeType, depth: int = 0) -> st.SearchStrategy[Any]:
    """Documents of a type, not too deep; what upstream's lists need, their keys, is there."""
    if depth > 5:
        return st.just({} if kind.map else [] if kind.list else "x")
    if kind.map is not None and not kind.scalar:
        if kind.map.element is not None:
            return st.dictionaries(NAMES, values(kind.map.element, depth + 1), max_size=2)
        few = st.lists(st.sampled_from(sorted(kind.map.fields)), max_size=3, unique=True)
        return few.flatmap(
            lambda names: st.fixed_dictionaries({name: values(kind.map.fields[name].type, depth + 1) for name in names})
        )
    if kind.list is not None and not kind.scalar:
        listed = kind.list
        item = values(listed.element, depth + 1)
        if listed.topology == "map":
            key = st.fixed_dictionaries({name: st.sampled_from([1, 2]) if name == "port" else NAMES for name in listed.keys})
            item = st.tuples(item, key).map(lambda both: {**both[0], **both[1]})
        return st.lists(item, max_size=2)
    return {"string": NAMES, "numeric": st.integers(0, 3), "boolean": st.booleans()}.get(kind.scalar, NAMES)


@given(
    st.sampled_from([CONFIG_MAP, SERVICE, POD, DEPLOYMENT]).flatmap(
        lambda kind: st.tuples(st.just(kind), values(built_in.merge_type(kind)))
    )
)
def test_a_creators_fields_are_what_a_comparison_with_nothing_gives(drawn: Any) -> None:
    kind, document = drawn
    merge_type = built_in.merge_type(kind)
    document = {**document, "metadata": document.get("metadata", {}), "kind": kind.kind, "apiVersion": kind.api_version}
    assert of_new(merge_type, document, False) == nobodys_removed(compare(merge_type, {}, document)[0])


JUNK_NAMES = st.sampled_from(["a", "name", "spec", "metadata"])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(JUNK_NAMES, inner, max_size=2),
    max_leaves=5,
)


@given(st.lists(st.tuples(NAMES, st.booleans(), values(built_in.merge_type(SERVICE)) | JUNK, JUNK), min_size=1, max_size=3))
def test_no_apply_document_is_too_much_for_the_server(requests: Any) -> None:
    server = SERVER
    for manager, force, document, junk in requests:
        body = document if isinstance(document, dict) else {"spec": document}
        body = {**body, "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "labels": junk}}
        query = f"fieldManager={manager}&force={str(force).lower()}"
        url = f"/api/v1/namespaces/default/services/a?{query}"
        answer = server.patch(url, json.dumps(body).encode(), "application/apply-patch+yaml")
        assert answer.status in (200, 201, 400, 409, 422), answer.body


SERVER = Server()
