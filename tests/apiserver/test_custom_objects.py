"""Objects of defined kinds: what is dropped, filled in, refused, shown, selected and counted."""

import json
import tracemalloc

import pytest
from counted_words import counted_words
from custom_definitions import API_VERSION, Defined, definition, object_of, version
from direct import Refused

from mooring.apiserver.custom.structural import checks
from mooring.apiserver.custom.validation import check_value

STRING, INTEGER = {"type": "string"}, {"type": "integer"}
PORTS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name", "protocol"],
    "items": object_of(
        name=STRING | {"must": True}, protocol=STRING | {"default": "TCP"}, port={"x-kubernetes-int-or-string": True}
    ),
}
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
EMBEDDED = ANYTHING | {"x-kubernetes-embedded-resource": True}
NESTED = ANYTHING | {"properties": {"known": object_of(a=STRING)}}
SPEC = object_of(
    text=dict(STRING), count=dict(INTEGER), ports=PORTS, any=ANYTHING, nested=NESTED, resource=EMBEDDED,
    labels={"type": "object", "additionalProperties": STRING}, free={"type": "object", "additionalProperties": True},
    size=INTEGER | {"default": 3}, mode=object_of(name=STRING | {"default": "fast"}, level=INTEGER | {"default": 1}),
    maybe=STRING | {"nullable": True, "default": "x"},
    objects={"type": "array", "items": object_of(a=STRING | {"default": "b"})},
    maps={"type": "object", "additionalProperties": object_of(a=dict(STRING))},
)  # fmt: skip


@pytest.fixture
def server():
    return Defined(definition(version(spec=SPEC)))


def test_unknown_fields_are_dropped_with_a_warning_or_refused(server):
    spec = {"text": "a", "nope": 1, "ports": [{"name": "a", "odd": 1}], "nested": {"known": {"b": 1}, "more": {"c": 1}}}
    made = server.make(spec)
    assert ("nope" in made["spec"], made["spec"]["ports"], made["spec"]["nested"]) == (
        False,
        [{"name": "a", "protocol": "TCP"}],
        {"known": {}, "more": {"c": 1}},
    )
    paths = ("ports[0].odd", "nested.known.b", "nope")
    assert {f'299 - "unknown field \\"spec.{path}\\""' for path in paths} == set(server.warnings)
    with pytest.raises(Refused) as refusal:
        server.make(spec, name="two", fieldValidation="Strict")
    assert (400, True) == (
        refusal.value.code,
        all(f'unknown field "spec.{path}"' in refusal.value.message for path in paths),
    )
    server.make(spec, name="three", fieldValidation="Ignore")
    assert [] == server.warnings


def test_what_is_to_be_kept_is_kept(server):
    spec = {"any": {"a": [{"b": None}]}, "free": {"a": {"b": 1}}, "labels": {"a": "b"}}
    assert spec == {name: value for name, value in server.make(spec)["spec"].items() if name != "size" and name != "maybe"}


def test_metadata_is_that_of_every_object(server):
    with pytest.raises(Refused, match=r'unknown field "metadata\.nope"'):
        server.make({}, metadata={"name": "one", "nope": 1}, fieldValidation="Strict")
    with pytest.raises(
        Refused, match=r"cannot unmarshal number into Go struct field ObjectMeta\.metadata\.labels of type string"
    ):
        server.make({}, metadata={"name": "one", "labels": {"a": 1}})
    with pytest.raises(Refused) as refusal:
        server.make({}, metadata={"name": "Not_A_Name", "labels": {"a b": "c"}})
    assert {"metadata.name", "metadata.labels"} == set(refusal.value.causes)


def test_defaults_are_filled_in_where_their_object_is(server):
    assert {"size": 3, "maybe": "x"} == server.make({})["spec"]
    made = server.make({"mode": {}, "size": None, "maybe": None, "objects": [{}, {"a": "c"}]}, name="two")["spec"]
    assert {"mode": {"name": "fast", "level": 1}, "size": 3, "maybe": None, "objects": [{"a": "b"}, {"a": "c"}]} == made


def test_a_default_that_comes_later_shows_on_reading(server):
    server.make({"text": "a"})
    later = {**SPEC, "properties": {**SPEC["properties"], "late": STRING | {"default": "now"}}}
    server.redefine(definition(version(spec=later)))
    assert "now" == server.read()["spec"]["late"]
    assert ["now"] == [each["spec"]["late"] for each in server.send("GET", server.path())["items"]]
    assert "now" == server.amend({"text": "b"})["spec"]["late"]


REFUSED = {
    "another type": (
        {"text": 1},
        {"spec.text": 'Invalid value: "integer": spec.text in body must be of type string: "integer"'},
    ),
    "null": ({"text": None}, {"spec.text": 'Invalid value: "null": spec.text in body must be of type string: "null"'}),
    "a list for a map": (
        {"labels": []},
        {"spec.labels": 'Invalid value: "array": spec.labels in body must be of type object: "array"'},
    ),
    "true for a number": (
        {"count": True},
        {"spec.count": 'Invalid value: "boolean": spec.count in body must be of type integer: "boolean"'},
    ),
    "a fraction": (
        {"count": 1.5},
        {"spec.count": 'Invalid value: "number": spec.count in body must be of type integer: "number"'},
    ),
    "neither int nor string": (
        {"ports": [{"name": "a", "port": True}]},
        {
            "spec.ports[0].port": (
                'Invalid value: "boolean": spec.ports[0].port in body must be of type integer,string: "boolean"'
            )
        },
    ),
    "a key twice": (
        {"ports": [{"name": "a"}, {"name": "b"}, {"name": "a", "protocol": "TCP"}]},
        {"spec.ports[2]": 'Duplicate value: {"name":"a","protocol":"TCP"}'},
    ),
    "no key": ({"ports": [{}]}, {"spec.ports[0].name": "Required value"}),
    "a value of a map": (
        {"labels": {"a": 1}},
        {"spec.labels.a": 'Invalid value: "integer": spec.labels.a in body must be of type string: "integer"'},
    ),
    "a resource without a kind": (
        {"resource": {"apiVersion": "v1"}},
        {"spec.resource.kind": "Required value: must not be empty"},
    ),
    "a resource's labels": (
        {"resource": {"apiVersion": "v1", "kind": "A", "metadata": {"labels": {"a": 1}}}},
        {"spec.resource.metadata.labels": 'Invalid value: {"a":1}: must be a map of strings'},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_for(server, case):
    spec, wanted = REFUSED[case]
    assert wanted == server.refused(spec)


VALUES = {
    "enum": (STRING | {"enum": ["a", "b"]}, "c", 'Unsupported value: "c": supported values: "a", "b"'),
    "maxLength": (STRING | {"maxLength": 2}, "abc", "Too long: may not be more than 2 bytes"),
    "minLength": (STRING | {"minLength": 2}, "a", 'Invalid value: "a": spec.x in body should be at least 2 chars long'),
    "pattern": (STRING | {"pattern": "^a+$"}, "b", "Invalid value: \"b\": spec.x in body should match '^a+$'"),
    "minimum": (INTEGER | {"minimum": 1}, 0, "Invalid value: 0: spec.x in body should be greater than or equal to 1"),
    "maximum": (
        INTEGER | {"maximum": 3, "exclusiveMaximum": True},
        3,
        "Invalid value: 3: spec.x in body should be less than 3",
    ),
    "multipleOf": (
        {"type": "number", "multipleOf": 0.5},
        0.7,
        "Invalid value: 0.7: spec.x in body should be a multiple of 0.5",
    ),
    "int32": (INTEGER | {"format": "int32"}, 1 << 40, "Checked value must be of type integer with format int32 in spec.x"),
    "maxItems": ({"type": "array", "items": STRING, "maxItems": 1}, ["a", "b"], "Too many: 2: must have at most 1 item"),
    "minItems": (
        {"type": "array", "items": STRING, "minItems": 1},
        [],
        "Invalid value: 0: spec.x in body should have at least 1 items",
    ),
    "maxProperties": (ANYTHING | {"maxProperties": 1}, {"a": 1, "b": 2}, "Too many: 2: must have at most 1 item"),
    "minProperties": (
        ANYTHING | {"minProperties": 1},
        {},
        "Invalid value: 0: spec.x in body should have at least 1 properties",
    ),
    "set": ({"type": "array", "items": STRING, "x-kubernetes-list-type": "set"}, ["a", "a"], None),
    "anyOf": (
        STRING | {"anyOf": [{"pattern": "^a"}, {"minLength": 5}]},
        "b",
        'Invalid value: "": "spec.x" must validate at least one schema (anyOf)',
    ),
    "oneOf, none": (
        STRING | {"oneOf": [{"pattern": "^a"}, {"minLength": 5}]},
        "b",
        'Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found none valid',
    ),
    "oneOf, both": (
        STRING | {"oneOf": [{"pattern": "^a"}, {"minLength": 1}]},
        "a",
        'Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found 2 valid alternatives',
    ),
    "allOf": (
        STRING | {"allOf": [{"pattern": "^a"}, {"minLength": 5}]},
        "a",
        'Invalid value: "": "spec.x" must validate all the schemas (allOf)',
    ),
    "not": (STRING | {"not": {"pattern": "^a"}}, "a", 'Invalid value: "": "spec.x" must not validate the schema (not)'),
    "date-time": (
        STRING | {"format": "date-time"},
        "soon",
        'Invalid value: "soon": spec.x in body must be of type date-time: "soon"',
    ),
    "date": (STRING | {"format": "date"}, "2026-13-01", "must be of type date"),
    "duration": (STRING | {"format": "duration"}, "1 moon", "must be of type duration"),
    "byte": (STRING | {"format": "byte"}, "?", "must be of type byte"),
    "ipv4": (STRING | {"format": "ipv4"}, "::1", "must be of type ipv4"),
    "ipv6": (STRING | {"format": "ipv6"}, "1.2.3.4", "must be of type ipv6"),
    "cidr": (STRING | {"format": "cidr"}, "1.2.3.4", "must be of type cidr"),
    "mac": (STRING | {"format": "mac"}, "00:11", "must be of type mac"),
    "uuid": (STRING | {"format": "uuid"}, "1234", "must be of type uuid"),
    "uri": (STRING | {"format": "uri"}, "no uri", "must be of type uri"),
    "email": (STRING | {"format": "email"}, "a@", "must be of type email"),
    "hostname": (STRING | {"format": "hostname"}, "-a", "must be of type hostname"),
    "isbn13": (STRING | {"format": "isbn13"}, "9780306406158", "must be of type isbn13"),
    "creditcard": (STRING | {"format": "creditcard"}, "4111111111111112", "must be of type creditcard"),
    "hexcolor": (STRING | {"format": "hexcolor"}, "#12", "must be of type hexcolor"),
}
GOOD = {
    "date-time": "2026-01-02T03:04:05.6Z",
    "date": "2026-01-02",
    "duration": "1h30m",
    "byte": "aGk=",
    "ipv4": "1.2.3.4",
    "ipv6": "::1",
    "cidr": "10.0.0.0/8",
    "mac": "00:11:22:33:44:55",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "uri": "https://example.com/a?b",
    "email": "a@example.com",
    "hostname": "a.example.com",
    "isbn13": "9780306406157",
    "creditcard": "4111111111111111",
    "hexcolor": "#12ab34",
    "int32": 7,
    "enum": "a",
    "pattern": "aa",
    "multipleOf": 1.5,
    "oneOf, none": "abcd",
    "anyOf": "abc",
    "allOf": "abcde",
    "not": "b",
    "set": ["a", "b"],
}


def test_a_value_that_breaks_its_rule_is_named_and_one_that_keeps_it_is_taken():
    properties = {f"x{number}": schema for number, (schema, _, _) in enumerate(VALUES.values())}
    server = Defined(definition(version(spec={"type": "object", "properties": properties})))
    for number, (case, (_, value, message)) in enumerate(VALUES.items()):
        found = server.refused({f"x{number}": value})
        if message:
            assert message.replace("spec.x", f"spec.x{number}") in found.get(f"spec.x{number}", ""), (case, found)
        if case in GOOD:
            server.make({f"x{number}": GOOD[case]}, name=f"good-{number}")


def test_with_very_much_wrong_the_answer_is_short(server):
    assert 100 <= len(server.refused({"labels": {f"k{n}": n for n in range(5000)}})) < 110
    again = Defined(definition(version(spec=object_of(s={"type": "array", "x-kubernetes-list-type": "set", "items": STRING}))))
    assert 100 == len(again.refused({"s": ["a"] * 5000}))


def test_defaults_that_are_filled_in_again_and_again_have_an_end():
    items = object_of(a=ANYTHING | {"default": {"a": "x" * 10_000}})
    server = Defined(definition(version(spec=object_of(l={"type": "array", "items": items}))))
    assert "x" == server.make({"l": [{}] * 100})["spec"]["l"][99]["a"]["a"][0]
    with pytest.raises(Refused, match="defaults add more than") as refusal:
        server.make({"l": [{}] * 1000}, name="two")
    assert 413 == refusal.value.code


def test_a_value_is_not_compared_with_each_word_that_it_may_be():
    Word = counted_words()
    allowed = checks({"enum": [Word(number) for number in range(100)]})
    assert not [each for number in range(100) for each in check_value(str(number), allowed, "x")]
    assert 100 == Word.compared


def test_what_an_update_leaves_alone_is_not_judged_again():
    server = Defined(definition(version(spec=object_of(a=dict(STRING), b=dict(STRING), list=dict(PORTS)))))
    server.make({"a": "long text", "b": "x", "list": [{"name": "long name"}]})
    strict = STRING | {"maxLength": 3}
    items = PORTS | {"items": PORTS["items"] | {"properties": {**PORTS["items"]["properties"], "name": strict}}}
    server.redefine(definition(version(spec=object_of(a=dict(strict), b=dict(strict), list=items))))
    server.amend({"b": "y", "list": [{"name": "long name", "port": 1}, {"name": "new"}]})
    with pytest.raises(Refused) as refusal:
        server.amend({"a": "other long text"})
    assert {"spec.a"} == set(refusal.value.causes)


def test_a_truth_is_no_number(server):
    server.make({"count": 1, "ports": [{"name": "a", "port": 1}], "any": {"a": [1]}})
    with pytest.raises(Refused) as refusal:
        server.amend({"count": True, "ports": [{"name": "a", "port": True}]})
    assert {"spec.count", "spec.ports[0].port"} <= set(refusal.value.causes)
    changed = server.amend({"any": {"a": [True]}})
    assert ([True], 2) == (changed["spec"]["any"]["a"], changed["metadata"]["generation"])
    assert changed["metadata"]["resourceVersion"] == server.amend({"any": {"a": [True]}})["metadata"]["resourceVersion"]


def test_a_whole_number_is_written_as_one(server):
    """A client in Go reads no 2.0 into an integer."""
    made = server.make({"count": 2.0, "any": {"a": [1e3, 1e21, 0.5]}})
    assert '"any": {"a": [1000, 1e+21, 0.5]}, "count": 2' in json.dumps(dict(sorted(made["spec"].items())))


def test_long_names_with_much_in_them_cost_no_more_than_they_are_long(server):
    """Each field is named with all that it is in only as far as somebody would read it."""
    many = {f"n{n}": n for n in range(2000)}
    tracemalloc.start()
    server.make({"nested": {"known": {"k" * 100_000: many}}, "labels": {}, "k" * 100_000: many})
    server.make({"maps": {"k" * 100_000: many}}, name="two")
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
    assert {"metadata", "spec"} <= server.read("two").keys()


# Status, scale, generations ---------------------------------------------------------------------------------------------

SCALED = {
    "status": {},
    "scale": {
        "specReplicasPath": ".spec.deep.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    },
}


def test_a_status_of_its_own_is_changed_apart():
    server = Defined(definition(version(subresources={"status": {}})))
    made = server.make({"a": 1}, status={"b": 1})
    assert ("status" in made, made["metadata"]["generation"]) == (False, 1)
    labelled = {"metadata": {"labels": {"a": "b"}}}
    changed = server.amend({"a": 2}, subresource="status", status={"b": 2}, **labelled)
    assert ({"a": 1}, {"b": 2}, 1, None) == (
        changed["spec"], changed["status"], changed["metadata"]["generation"], changed["metadata"].get("labels")
    )  # fmt: skip
    changed = server.amend({"a": 3}, status={"b": 3})
    assert ({"a": 3}, {"b": 2}, 2) == (changed["spec"], changed["status"], changed["metadata"]["generation"])


def test_without_one_everything_but_metadata_counts():
    server = Defined(definition())
    server.make({"a": 1})
    assert 2 == server.amend({}, status={"b": 2})["metadata"]["generation"]
    assert 2 == server.amend({}, metadata={"labels": {"a": "b"}})["metadata"]["generation"]


def test_a_scale_is_read_and_written_where_the_definition_says():
    server = Defined(definition(version(subresources=SCALED)))
    server.make({})
    assert ({"replicas": 0}, {"replicas": 0}) == tuple(
        server.send("GET", server.path("one", "scale"))[name] for name in ("spec", "status")
    )
    server.send("PATCH", server.path("one", "scale"), {"spec": {"replicas": 4}}, "application/merge-patch+json")
    server.amend({}, subresource="status", status={"replicas": 2, "selector": "a=b"})
    scale = server.send("GET", server.path("one", "scale"))
    assert ("autoscaling/v1", {"replicas": 4}, {"replicas": 2, "selector": "a=b"}) == tuple(
        scale[name] for name in ("apiVersion", "spec", "status")
    )
    assert {"deep": {"replicas": 4}} == server.read()["spec"]
    with pytest.raises(Refused, match=r"\.spec\.deep\.replicas: Invalid value: -1: should be a non-negative integer"):
        server.amend({"deep": {"replicas": -1}})


def test_a_namespace_said_to_be_empty_goes_when_it_is():
    server = Defined(definition())
    url, space = "/api/v1/namespaces/team", {"metadata": {"name": "team"}}
    server.send("POST", "/api/v1/namespaces", space)
    tabs = server.path().replace("/default/", "/team/")
    body = {"apiVersion": API_VERSION, "kind": "CronTab", "metadata": {"name": "one"}, "spec": {}}
    server.send("POST", tabs, body)
    server.send("DELETE", url)
    said = {"type": "NamespaceContentRemaining", "status": "False", "reason": "ContentRemoved"}
    server.send("PATCH", f"{url}/status", {"status": {"conditions": [said]}}, "application/merge-patch+json")
    going = {**server.send("GET", url), "spec": {"finalizers": []}}
    with pytest.raises(Refused, match="its objects go first, 1 are left") as refused:
        server.send("PUT", f"{url}/finalize", going)
    assert refused.value.code == 409
    server.send("DELETE", f"{tabs}/one")
    server.send("PUT", f"{url}/finalize", going)
    with pytest.raises(Refused, match="not found"):
        server.send("GET", url)
