"""Do applies and updates agree with the published tables of structured-merge-diff (merge/*_test.go): inputs and results?"""

from typing import Any

import pytest
import yaml
from apply_tables import SameVersions, apply, check, force, play, update

from mooring.apiserver.apply import types
from mooring.apiserver.apply.typed import faults
from mooring.apiserver.apply.types import BOOLEAN, DEDUCED, NUMERIC, STRING, FieldType, MapType, MergeType, associative, set_of


def struct(**fields: MergeType) -> MergeType:
    return types.struct({name: FieldType(kind) for name, kind in fields.items()})


LEAVES = struct(numeric=NUMERIC, string=STRING, bool=BOOLEAN)
LEAF_CASES: list[tuple[str, Any, str, dict[str, str]]] = [
    ("twice", (
        apply("a", "{numeric: 1, string: s}"), apply("a", "{numeric: 2, string: s, bool: false}")),
        "{numeric: 2, string: s, bool: false}", {"a": ".numeric .string .bool"}),
    ("twice in two versions", (
        apply("a", "{numeric: 1, string: s}"), apply("a", "{numeric: 2, string: s, bool: false}", version="v2")),
        "{numeric: 2, string: s, bool: false}", {"a": ".numeric .string .bool"}),
    ("what another adds stays", (
        apply("a", "{numeric: 1, string: s}"), update("c", "{numeric: 1, string: s, bool: true}"),
        apply("a", "{numeric: 2, string: s}")),
        "{numeric: 2, string: s, bool: true}", {"a": ".numeric .string", "c": ".bool"}),
    ("what another changes conflicts", (
        apply("a", "{numeric: 1, string: s}"), update("c", "{numeric: 1, string: theirs, bool: true}", version="v2"),
        apply("a", "{numeric: 2, string: mine}", ("c", ".string")), force("a", "{numeric: 2, string: mine}")),
        "{numeric: 2, string: mine, bool: true}", {"a": ".numeric .string", "c": ".bool"}),
    ("what is left out goes", (
        apply("a", "{numeric: 1, string: s, bool: false}"), apply("a", "{string: new}")),
        "{string: new}", {"a": ".string"}),
    ("what another took stays", (
        apply("a", "{numeric: 2}"), update("c", "{numeric: 1}"), apply("a", "{}")),
        "{numeric: 1}", {"c": ".numeric"}),
    ("who owns nothing is no manager", (
        apply("a", "{string: s}"), update("c", "{string: new}")), "{string: new}", {"c": ".string"}),
    ("nothing is left", (apply("a", "{string: s}"), apply("a", "{}")), "{}", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "ops", "wanted", "owned"), LEAF_CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_leaves(name: str, ops: Any, wanted: str, owned: dict[str, str]) -> None:
    check(SameVersions(LEAVES), ops, wanted, owned)


SETS = struct(list=set_of(STRING))


def listed(*values: str) -> str:
    return f"{{list: [{', '.join(values)}]}}"


def steps(*values: str) -> str:
    return " ".join(f'.list[="{value}"]' for value in values)


@pytest.mark.parametrize(
    ("ops", "wanted", "owned"),
    [
        ((apply("a", listed("a", "c")), apply("a", listed(*"abcd"))), listed(*"abcd"), {"a": steps(*"abcd")}),
        (
            (apply("a", listed("a", "c")), update("c", listed(*"abcd")), apply("a", listed("a", "aprime", "c", "cprime"))),
            listed("a", "b", "aprime", "c", "d", "cprime"),
            {"a": steps("a", "aprime", "c", "cprime"), "c": steps("b", "d")},
        ),
        (
            (apply("a", listed("a", "c")), update("c", listed(*"abcd")), apply("a", listed(*"abc"))),
            listed(*"abcd"),
            {"a": steps(*"abc"), "c": steps("b", "d")},
        ),
        ((apply("a", listed(*"abcd")), apply("a", listed(*"adcb"))), listed(*"adcb"), {"a": steps(*"abcd")}),
        (
            (apply("a", listed(*"abcd")), update("c", listed(*"adcb")), apply("a", listed(*"abcd"))),
            listed(*"abcd"),
            {"a": steps(*"abcd")},
        ),
        ((apply("a", listed(*"abcd")), apply("a", listed("a", "c"))), listed("a", "c"), {"a": steps("a", "c")}),
    ],
)
def test_sets(ops: Any, wanted: str, owned: dict[str, str]) -> None:
    check(SameVersions(SETS), ops, wanted, owned)


RECURSIVE = MergeType(map=MapType())
RECURSIVE.map.element = RECURSIVE  # type: ignore[union-attr]
NESTED = struct(
    listOfLists=associative(struct(name=STRING, value=set_of(STRING)), ("name",)),
    listOfMaps=associative(struct(name=STRING, value=types.map_of(STRING)), ("name",)),
    mapOfLists=types.map_of(set_of(STRING)),
    mapOfMaps=types.map_of(types.map_of(STRING)),
    mapOfMapsRecursive=RECURSIVE,
    struct=struct(name=STRING, value=NUMERIC),
)


@pytest.mark.parametrize(
    ("before", "after", "owned"),
    [
        (
            "{listOfLists: [{name: a, value: [b, c]}]}", "{listOfLists: [{name: a, value: [a, c]}]}",
            '.listOfLists[name="a"] .listOfLists[name="a"].name '
            '.listOfLists[name="a"].value[="a"] .listOfLists[name="a"].value[="c"]',
        ),
        (
            "{listOfLists: [{name: a, value: [b, c]}]}", "{listOfLists: [{name: b, value: [a, c]}]}",
            '.listOfLists[name="b"] .listOfLists[name="b"].name '
            '.listOfLists[name="b"].value[="a"] .listOfLists[name="b"].value[="c"]',
        ),
        (
            "{listOfMaps: [{name: a, value: {b: x, c: y}}]}", "{listOfMaps: [{name: a, value: {a: x, c: z}}]}",
            '.listOfMaps[name="a"] .listOfMaps[name="a"].name .listOfMaps[name="a"].value.a .listOfMaps[name="a"].value.c',
        ),
        ("{mapOfLists: {a: [b, c]}}", "{mapOfLists: {a: [a, c]}}", '.mapOfLists.a .mapOfLists.a[="a"] .mapOfLists.a[="c"]'),
        ("{mapOfLists: {a: [b, c]}}", "{mapOfLists: {b: [a, c]}}", '.mapOfLists.b .mapOfLists.b[="a"] .mapOfLists.b[="c"]'),
        ("{mapOfMaps: {a: {b: x, c: y}}}", "{mapOfMaps: {a: {a: x, c: z}}}", ".mapOfMaps.a .mapOfMaps.a.a .mapOfMaps.a.c"),
        ("{mapOfMaps: {a: {b: x, c: y}}}", "{mapOfMaps: {b: {a: x, c: z}}}", ".mapOfMaps.b .mapOfMaps.b.a .mapOfMaps.b.c"),
        (
            "{mapOfMapsRecursive: {a: {b: {c: null}}}}", "{mapOfMapsRecursive: {a: {d: {c: null}}}}",
            ".mapOfMapsRecursive.a .mapOfMapsRecursive.a.d .mapOfMapsRecursive.a.d.c",
        ),
    ],
)  # fmt: skip
def test_nested_values_become_what_is_applied_now(before: str, after: str, owned: str) -> None:
    check(SameVersions(NESTED), (apply("default", before), apply("default", after)), after, {"default": owned})


@pytest.mark.parametrize(
    ("ops", "wanted", "owned"),
    [
        ((apply("a", "{struct: {name: a, value: 1}}"), apply("a", "{}")), "{}", {}),
        ((apply("a", "{struct: {name: a}}"), apply("a", "{struct: null}")), "{struct: {}}", {"a": ".struct"}),
        (
            (apply("a", "{struct: {name: a}}"), update("c", "{struct: {name: a, value: 1}}"), apply("a", "{}")),
            "{struct: {value: 1}}", {"c": ".struct.value"},
        ),
        (
            (apply("a", "{struct: {name: a}}"), update("c", "{struct: {name: a, value: 1}}"), apply("a", "{struct: {}}")),
            "{struct: {value: 1}}", {"a": ".struct", "c": ".struct.value"},
        ),
        (
            (apply("a", "{struct: {name: a}}"), update("c", "{struct: {name: b, value: 1}}"), apply("a", "{struct: null}")),
            "{struct: {name: b, value: 1}}", {"a": ".struct", "c": ".struct.name .struct.value"},
        ),
    ],
)  # fmt: skip
def test_structs(ops: Any, wanted: str, owned: dict[str, str]) -> None:
    check(SameVersions(NESTED), ops, wanted, owned)


ITEMS = struct(list=associative(struct(name=STRING, value=NUMERIC), ("name",)))
A, B, C, D = (f'.list[name="{name}"] .list[name="{name}"].name' for name in "abcd")


@pytest.mark.parametrize(
    ("ops", "wanted", "owned"),
    [
        (
            (apply("one", "{list: [{name: a}, {name: b}]}"), apply("two", "{list: [{name: c}]}", version="v2"),
             apply("one", "{list: [{name: a}]}", version="v3")),
            "{list: [{name: a}, {name: c}]}", {"one": A, "two": C},
        ),
        (
            (apply("one", "{list: [{name: a, value: 0}]}"), apply("two", "{list: [{name: a, value: 0}]}")),
            "{list: [{name: a, value: 0}]}", {"one": A + ' .list[name="a"].value', "two": A + ' .list[name="a"].value'},
        ),
        (
            (apply("one", "{list: [{name: a, value: 0}]}"),
             apply("two", "{list: [{name: a, value: 1}]}", ("one", '.list[name="a"].value'))),
            "{list: [{name: a, value: 0}]}", {"one": A + ' .list[name="a"].value'},
        ),
        (
            (apply("one", "{list: [{name: a}, {name: b}, {name: c}]}"), apply("two", "{list: [{name: c}, {name: d}]}"),
             apply("one", "{list: [{name: a}]}")),
            "{list: [{name: a}, {name: c}, {name: d}]}", {"one": A, "two": f"{C} {D}"},
        ),
    ],
)  # fmt: skip
def test_several_appliers_of_a_list(ops: Any, wanted: str, owned: dict[str, str]) -> None:
    check(SameVersions(ITEMS), ops, wanted, owned)


@pytest.mark.parametrize(
    ("ops", "wanted"),
    [
        (
            (apply("one", "{listOfLists: [{name: a}, {name: b, value: [c]}]}"),
             apply("two", "{listOfLists: [{name: b, value: [d]}]}"), apply("one", "{listOfLists: [{name: a}]}")),
            "{listOfLists: [{name: a}, {name: b, value: [d]}]}",
        ),
        (
            (apply("one", "{listOfLists: [{name: a}, {name: b, value: [c]}]}"),
             apply("two", "{listOfLists: [{name: b, value: [d]}]}"),
             update("controller", "{listOfLists: [{name: a}, {name: b, value: [c, d, e]}]}"),
             apply("one", "{listOfLists: [{name: a}]}")),
            "{listOfLists: [{name: a}, {name: b, value: [d, e]}]}",
        ),
    ],
)  # fmt: skip
def test_an_item_given_up_keeps_what_others_have_in_it(ops: Any, wanted: str) -> None:
    check(SameVersions(NESTED), ops, wanted, None)


TWICE = struct(
    list=associative(struct(name=STRING, value1=NUMERIC, value2=NUMERIC), ("name",)), unrelated=NUMERIC, set=set_of(NUMERIC)
)
TWO_A = "{name: a, value1: 1}, {name: a, value1: 2}"
OF_A, OF_B = '.list[name="a"]', '.list[name="b"] .list[name="b"].name .list[name="b"].value1'
WHOLE_A = f"{OF_A} {OF_A}.name {OF_A}.value1"


@pytest.mark.parametrize(
    ("ops", "wanted", "owned"),
    [
        ((update("u", "{set: [1, 1, 3, 4]}"),), None, {"u": ".set .set[=1] .set[=3] .set[=4]"}),
        (
            (update("u", "{set: [1, 3, 4]}"), update("v", "{set: [1, 1, 3, 4]}")), None,
            {"u": ".set .set[=3] .set[=4]", "v": ".set[=1]"},
        ),
        (
            (update("u", "{set: [1, 1, 3, 4]}"), update("v", "{set: [1, 3, 4]}")), None,
            {"u": ".set .set[=3] .set[=4]", "v": ".set[=1]"},
        ),
        (
            (update("u", "{set: [1, 1, 3, 4]}"), apply("a", "{set: [1]}", ("u", ".set[=1]")), force("a", "{set: [1]}")),
            "{set: [1, 3, 4]}", {"u": ".set .set[=3] .set[=4]", "a": ".set[=1]"},
        ),
        (
            (update("u", "{set: [1, 1, 3, 4]}"), apply("a", "{set: [5]}")),
            "{set: [1, 1, 3, 4, 5]}", {"u": ".set .set[=1] .set[=3] .set[=4]", "a": ".set[=5]"},
        ),
        ((update("u", f"{{list: [{TWO_A}, {{name: b, value1: 3}}]}}"),), None, {"u": f".list {OF_A} {OF_B}"}),
        (
            (update("u", f"{{list: [{TWO_A}, {{name: b, value1: 3}}]}}"),
             update("v", "{list: [{name: a, value1: 1}, {name: a, value1: 3}, {name: b, value1: 3}]}")),
            None, {"u": f".list {OF_B}", "v": OF_A},
        ),
        (
            (update("u", "{list: [{name: a, value1: 1}, {name: b, value1: 3}]}"),
             update("v", "{list: [{name: a, value1: 1}, {name: a, value2: 3}, {name: b, value1: 3}]}")),
            None, {"u": f".list {OF_B}", "v": OF_A},
        ),
        (
            (update("u", f"{{list: [{TWO_A}]}}"), update("v", f"{{list: [{TWO_A}, {{name: b, value1: 3}}]}}")),
            None, {"u": f".list {OF_A}", "v": OF_B},
        ),
        (
            (update("u", f"{{list: [{TWO_A}, {{name: b, value1: 3}}]}}"), force("a", "{unrelated: 5}")),
            f"{{list: [{TWO_A}, {{name: b, value1: 3}}], unrelated: 5}}",
            {"u": f".list {OF_A} {OF_B}", "a": ".unrelated"},
        ),
        (
            (update("u", f"{{list: [{TWO_A}, {{name: b, value1: 3}}]}}"),
             apply("a", "{list: [{name: a, value1: 3}]}", ("u", OF_A)), force("a", "{list: [{name: a, value1: 3}]}")),
            "{list: [{name: a, value1: 3}, {name: b, value1: 3}]}", {"u": f".list {OF_B}", "a": WHOLE_A},
        ),
        (
            (update("u", f"{{list: [{TWO_A}, {{name: b, value1: 3}}]}}"), force("a", "{list: [{name: b, value1: 4}]}")),
            f"{{list: [{TWO_A}, {{name: b, value1: 4}}]}}",
            {"u": f'.list {OF_A} .list[name="b"] .list[name="b"].name', "a": OF_B},
        ),
        (
            (apply("a", "{list: [{name: a, value1: 1}, {name: b, value1: 3}]}"),
             update("u", f"{{list: [{TWO_A}, {{name: b, value1: 3}}]}}"), apply("a", "{list: [{name: b, value1: 3}]}")),
            f"{{list: [{TWO_A}, {{name: b, value1: 3}}]}}", {"a": OF_B, "u": OF_A},
        ),
    ],
)  # fmt: skip
def test_items_that_occur_twice(ops: Any, wanted: str | None, owned: dict[str, str]) -> None:
    check(SameVersions(TWICE), ops, wanted, owned)


PORTS = struct(
    ports=associative(
        types.struct({"port": FieldType(NUMERIC), "protocol": FieldType(STRING, "TCP"), "name": FieldType(STRING)}),
        ("port", "protocol"),
    )
)
TCP, UDP = '.ports[port=80,protocol="TCP"]', '.ports[port=80,protocol="UDP"]'


def test_a_key_left_out_is_its_default() -> None:
    both = "{ports: [{port: 80}, {port: 80, protocol: UDP}]}"
    check(SameVersions(PORTS), (apply("a", both),), both, {"a": f"{TCP} {TCP}.port {UDP} {UDP}.port {UDP}.protocol"})
    named = "{ports: [{port: 80, protocol: TCP, name: foo}]}"
    ops = apply("one", named), apply("two", "{ports: [{port: 80, name: bar}]}", ("one", f"{TCP}.name"))
    check(SameVersions(PORTS), ops, named, {"one": f"{TCP} {TCP}.port {TCP}.protocol {TCP}.name"})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "{ports: [{protocol: TCP}]}",
            '.ports: element 0: associative list with keys has an element that omits key field "port" '
            "(and doesn't have default value)",
        ),
        ("{ports: [{port: 80}, {port: 80}]}", '.ports: duplicate entries for key [port=80,protocol="TCP"]'),
        ("{ports: [{port: 80}, {port: 80, protocol: TCP}]}", '.ports: duplicate entries for key [port=80,protocol="TCP"]'),
    ],
)
def test_keys_that_tell_nothing_apart(text: str, fault: str) -> None:
    assert [fault] == faults(PORTS, yaml.safe_load(text))


BOOK = struct(
    book=associative(
        types.struct({
            "chapter": FieldType(NUMERIC, 1),
            "section": FieldType(STRING, "A"),
            "sentences": FieldType(associative(
                types.struct({"page": FieldType(NUMERIC, 2.0), "line": FieldType(NUMERIC, 3), "text": FieldType(STRING)}),
                ("page", "line"),
            )),
        }),
        ("chapter", "section"),
    )
)  # fmt: skip


def test_defaults_of_keys_nest_and_numbers_are_equal_whatever_their_form() -> None:
    chapter = '.book[chapter=1,section="A"]'
    sentence = f"{chapter}.sentences[line=3,page=2]"
    first = apply("a", "{book: [{sentences: [{text: blah}]}]}")
    check(SameVersions(BOOK), (first,), None, {"a": f"{chapter} {sentence} {sentence}.text"})
    second = apply("a", "{book: [{sentences: [{text: blah, page: 2}]}]}")
    check(SameVersions(BOOK), (first, second), second.object, {"a": f"{chapter} {sentence} {sentence}.text {sentence}.page"})


GRANULAR = struct(struct=struct(numeric=NUMERIC, string=STRING))
WHOLE = struct(struct=types.struct({"numeric": FieldType(NUMERIC), "string": FieldType(STRING)}, atomic=True))


def test_a_struct_becomes_atomic() -> None:
    ops = (
        apply("one", "{struct: {numeric: 1}}"),
        lambda: SameVersions(WHOLE),
        apply("two", "{struct: {string: s}}", ("one", ".struct")),
        force("two", "{struct: {string: s}}"),
    )
    check(SameVersions(GRANULAR), ops, "{struct: {string: s}}", {"two": ".struct"})


def test_who_owns_nothing_of_a_struct_does_not_own_it_when_it_becomes_atomic() -> None:
    ops = (
        apply("one", "{struct: {numeric: 1}}"),
        force("two", "{struct: {numeric: 2}}"),
        lambda: SameVersions(WHOLE),
        apply("three", "{struct: {string: s}}", ("two", ".struct")),
        force("two", "{struct: {string: s}}"),
    )
    check(SameVersions(GRANULAR), ops, "{struct: {string: s}}", {"two": ".struct"})


def test_an_atomic_struct_becomes_granular() -> None:
    ops = (
        apply("one", "{struct: {numeric: 1, string: a}}"),
        apply("two", "{struct: {string: b}}", ("one", ".struct")),
        lambda: SameVersions(GRANULAR),
        apply("two", "{struct: {string: b}}", ("one", ".struct.string")),
        force("two", "{struct: {string: b}}"),
    )
    check(
        SameVersions(WHOLE),
        ops,
        "{struct: {numeric: 1, string: b}}",
        {"one": ".struct .struct.numeric", "two": ".struct.string"},
    )


class Renamed:
    """Versions in which the fields that end on the version's name are the same field."""

    def type(self, version: str) -> MergeType | None:
        if version not in ("v1", "v2", "v3"):
            return None
        fields = {"name": STRING, f"scalar_{version}": STRING, f"complex_{version}": struct(name=STRING)}
        return struct(struct=struct(**fields))

    def convert(self, document: Any, source: str, target: str) -> Any:
        if isinstance(document, dict):
            return {
                name.removesuffix(f"_{source}") + (f"_{target}" if name.endswith(f"_{source}") else ""): self.convert(
                    value, source, target
                )
                for name, value in document.items()
            }
        return document


VERSIONS = [(one, two, three) for one in ("v1", "v2", "v3") for two in ("v1", "v2", "v3") for three in ("v1", "v2", "v3")]


@pytest.mark.parametrize(("one", "two", "three"), VERSIONS, ids="-".join)
def test_fields_are_given_up_across_versions(one: str, two: str, three: str) -> None:
    def first(field: str) -> Any:
        return apply("a", f"{{struct: {{name: a, {field}_{one}: {'a' if field == 'scalar' else '{name: b}'}}}}}", version=one)

    for field in ("scalar", "complex"):
        value = "a" if field == "scalar" else "{name: b}"
        ops = first(field), apply("a", "{struct: {name: a}}", version=two)
        check(Renamed(), ops, "{struct: {name: a}}", {"a": ".struct.name"}, three)
        shared = apply("b", f"{{struct: {{{field}_{two}: {value}}}}}", version=two)
        ops = first(field), shared, apply("a", "{struct: {name: a}}", version=three)
        below = "" if field == "scalar" else ".name"
        wanted = f"{{struct: {{name: a, {field}_{three}: {value}}}}}"
        check(Renamed(), ops, wanted, {"a": ".struct.name", "b": f".struct.{field}_{two}{below}"}, three)


def test_managers_of_a_version_that_is_gone_are_gone() -> None:
    state = play(Renamed(), (apply("a", "{struct: {name: a}}", version="v1"),))
    state.managers = {
        identity: type(entry)(entry.manager, entry.operation, "v9", entry.fields) for identity, entry in state.managers.items()
    }
    state.play(apply("b", "{struct: {scalar_v2: b}}", version="v2"))
    assert state.owned() == {"b": {".struct.scalar_v2"}}


def test_values_without_a_schema_merge_by_what_they_are() -> None:
    """deduced_test.go: maps by field, lists whole."""
    ops = (
        apply("a", "{a: 1, list: [1, 2], map: {x: {y: 1}}}"),
        apply("b", "{b: text, map: {x: {z: 2}}}"),
        apply("b", "{list: [3], b: text}", ("a", ".list")),
        apply("a", "{a: {now: a map}, list: [1, 2]}"),
    )
    wanted = "{a: {now: a map}, list: [1, 2], b: text, map: {x: {z: 2}}}"
    check(SameVersions(DEDUCED), ops, wanted, None)
