"""How objects of defined kinds are read: columns, selected fields, warnings, merges."""

from time import process_time

import pytest
from custom_definitions import Defined, definition, object_of, version
from direct import ADMIN, Refused
from msgspec import json

from mooring.apiserver.contract import Request, Response
from mooring.apiserver.handle import handle

STRING, INTEGER = {"type": "string"}, {"type": "integer"}
PORTS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name", "protocol"],
    "items": object_of(
        name=STRING | {"must": True}, protocol=STRING | {"default": "TCP"}, port={"x-kubernetes-int-or-string": True}
    ),
}


@pytest.fixture
def server():
    return Defined(definition(version(spec=object_of(text=dict(STRING), ports=PORTS))))


def test_columns_are_those_of_the_definition():
    columns = [
        {"name": "Text", "type": "string", "jsonPath": ".spec.text"},
        {"name": "Ready", "type": "string", "jsonPath": ('.status.conditions[?(@.type=="Ready")].s'
'tatus'), "description": "Whether."},
        {"name": "Count", "type": "integer", "jsonPath": ".spec.count", "priority": 1},
        {"name": "Label", "type": "string", "jsonPath": r".metadata.labels.example\.com/a"},
        {"name": "Second", "type": "number", "jsonPath": ".spec.list[1]"},
        {"name": "Map", "type": "string", "jsonPath": ".spec.map"},
        {"name": "On", "type": "boolean", "jsonPath": ".spec['on']"},
        {"name": "Since", "type": "date", "jsonPath": ".spec.since"},
    ]  # fmt: skip
    server = Defined(definition(version(additionalPrinterColumns=columns)))
    conditions = [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]
    spec = {"text": "a", "count": 2.0, "list": [1, 2], "map": {"k": "v"}, "on": True, "since": "2026-11-22T11:00:00Z"}
    server.make(spec, status={"conditions": conditions}, metadata={"name": "one", "labels": {"example.com/a": "b"}})
    server.make({"since": "never", "list": [0, 10**400]}, name="two")
    table = as_table(server, server.path())
    assert ["Name", *(each["name"] for each in columns)] == [each["name"] for each in table["columnDefinitions"]]
    assert ("Whether.", 1) == (table["columnDefinitions"][2]["description"], table["columnDefinitions"][3]["priority"])
    assert ["one", "a", "True", 2, "b", 2.0, '{"k":"v"}', True, "60m"] == table["rows"][0]["cells"]
    assert ["two", *[None] * 4, 10**400, None, None, "<invalid>"] == table["rows"][1]["cells"]


def test_a_path_that_leads_everywhere_again_and_again_takes_no_time():
    blank = " " * 1_000
    begun = process_time()
    columns = [{"name": "Deep", "type": "string", "jsonPath": f".spec{'..a' * 12}..none"},
               {"name": "Odd", "type": "string", "jsonPath": f".spec[?(@.a{blank}==1)].a"}]  # fmt: skip
    server = Defined(definition(version(additionalPrinterColumns=columns)))
    spec = {}
    for _ in range(100):
        spec = {"a": spec}
    server.make(spec)
    assert ["one", None, None] == as_table(server, server.path())["rows"][0]["cells"]
    assert process_time() - begun < 2
    columns[0]["jsonPath"] = ".a" * 513
    with pytest.raises(Refused, match="unrecognized column definition"):
        Defined(definition(version(additionalPrinterColumns=columns)))


def test_without_columns_the_age_is_shown():
    server = Defined(definition())
    server.make({})
    assert [["one", "0s"]] == [row["cells"] for row in as_table(server, server.path())["rows"]]


def as_table(server, path):
    headers = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    outcome = handle(Request("GET", path, (), headers, b"", ADMIN), server.state, server.env)
    assert isinstance(outcome, Response)
    return json.decode(outcome.body)


def test_fields_that_can_be_selected():
    spec = object_of(color=dict(STRING), count=dict(INTEGER), on={"type": "boolean"})
    fields = [{"jsonPath": f".spec.{name}"} for name in ("color", "count", "on")]
    server = Defined(definition(version(spec=spec, selectableFields=fields)))
    server.make({"color": "red", "count": 3, "on": True})
    server.make({"color": "blue"}, name="two")
    names = {}
    for selector in ("spec.color=red", "spec.color!=red", "spec.count=3,spec.on=true", "spec.count="):
        found = server.send("GET", server.path(), fieldSelector=selector)["items"]
        names[selector] = [each["metadata"]["name"] for each in found]
    assert [["one"], ["two"], ["one"], ["two"]] == list(names.values())
    with pytest.raises(Refused, match=r"field label not supported: spec\.nope"):
        server.send("GET", server.path(), fieldSelector="spec.nope=1")


def test_deprecated_versions_warn_whoever_uses_them():
    old = version("v1beta1", storage=False) | {"deprecated": True, "deprecationWarning": "use v1"}
    older = version("v1alpha1", storage=False) | {"deprecated": True}
    server = Defined(definition(version(), old, older))
    server.make({})
    assert [] == server.warnings
    server.read(version="v1beta1")
    assert ['299 - "use v1"'] == server.warnings
    server.make({}, name="two", version="v1alpha1")
    assert ['299 - "stable.example.com/v1alpha1 CronTab is deprecated"'] == server.warnings


def test_strategic_merge_patches_are_not_for_custom_resources(server):
    server.make({})
    with pytest.raises(Refused) as refusal:
        server.send("PATCH", server.path("one"), {}, "application/strategic-merge-patch+json")
    assert (415, True) == (refusal.value.code, "application/apply-patch+yaml" in refusal.value.message)


def test_an_update_names_the_version_that_it_replaces(server):
    made = server.make({})
    with pytest.raises(Refused, match=r"metadata\.resourceVersion: Invalid value: 0: must be specified for an update"):
        server.send("PUT", server.path("one"), {**made, "metadata": {"name": "one"}})
    assert 2 == server.send("PUT", server.path("one"), {**made, "spec": {"text": "b"}})["metadata"]["generation"]


def test_server_side_apply_merges_lists_by_the_schema(server):
    def apply(manager, ports):
        body = {"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "one"}, "spec": {"ports": ports}}
        return server.send("PATCH", server.path("one"), body, "application/apply-patch+yaml", fieldManager=manager)

    apply("a", [{"name": "web", "port": 80}])
    both = apply("b", [{"name": "dns", "protocol": "UDP", "port": 53}])
    assert [("web", "TCP"), ("dns", "UDP")] == [(each["name"], each["protocol"]) for each in both["spec"]["ports"]]
    with pytest.raises(Refused) as refusal:
        apply("b", [{"name": "web", "port": 81}])
    assert 409 == refusal.value.code
