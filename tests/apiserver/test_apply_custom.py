"""Server-side apply of custom resources: lists as their schemas say, versions, unknown fields, the Scale."""

import json
from typing import Any

import pytest
from core_server import Answer, Server

APPLY = "application/apply-patch+yaml"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ITEM = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "value": {"type": "integer"}}}
SPEC = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer"},
        "items": {"type": "array", "items": ITEM, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "whole": {"type": "array", "items": {"type": "string"}},
        "atomic": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def version(name: str, *, storage: bool) -> dict[str, Any]:
    status = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
    return {
        "name": name, "served": True, "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": SPEC, "status": status}}},
        "subresources": {"status": {}, "scale": SCALE},
    }  # fmt: skip


@pytest.fixture
def server() -> Server:
    server = Server()
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    spec = {"group": "x.io", "scope": "Namespaced", "names": names,
            "versions": [version("v1", storage=True), version("v2", storage=False)]}  # fmt: skip
    made = server.create(DEFINITIONS, {"metadata": {"name": "widgets.x.io"}, "spec": spec})
    assert made.status == 201, made.body
    conditions = [{"type": kind, "status": "True", "reason": "x", "message": "x", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                  for kind in ("NamesAccepted", "Established")]  # fmt: skip
    done = server.patch(
        f"{DEFINITIONS}/widgets.x.io/status",
        {"status": {"acceptedNames": names, "conditions": conditions, "storedVersions": ["v1"]}},
    )
    assert done.status == 200, done.body
    return server


def url(api: str = "v1") -> str:
    return f"/apis/x.io/{api}/namespaces/default/widgets/a"


def widget(spec: dict[str, Any], api: str = "v1") -> dict[str, Any]:
    return {"apiVersion": f"x.io/{api}", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec}


def apply(server: Server, spec: dict[str, Any], manager: str = "me", api: str = "v1", query: str = "") -> Answer:
    return server.patch(f"{url(api)}?fieldManager={manager}{query}", json.dumps(widget(spec, api)).encode(), APPLY)


def fields(answer: Answer, manager: str) -> Any:
    return next(entry["fieldsV1"] for entry in answer.body["metadata"]["managedFields"] if entry["manager"] == manager)


@pytest.mark.parametrize(
    ("before", "after", "owned"),
    [
        ({"a": 1}, {"a": True}, ".spec.open.a"),
        ({"a": [{"b": 0}]}, {"a": [{"b": False}]}, ".spec.open.a"),
        ({"a": {"b": 1.0, "c": True}}, {"a": {"b": True, "c": True}}, ".spec.open.a.b"),
        ({"a": {"b": 1, "c": [1]}}, {"a": {"b": 1.0, "c": [1.0]}}, ""),
    ],
)
def test_a_truth_is_no_number(server, before, after, owned):
    """Where a schema says nothing of the values. How a number is written does not matter."""
    apply(server, {"open": before}, "one")
    server.pass_time(60)
    (mine,) = apply(server, {"open": after}, "one", query="&dryRun=All").body["metadata"]["managedFields"]
    assert ("2026-01-01T00:01:00Z" if owned else "2026-01-01T00:00:00Z") == mine["time"]
    answer = apply(server, {"open": after}, "two")
    assert owned == "".join(cause["field"] for cause in answer.body.get("details", {}).get("causes", ()))
    updated = server.patch(f"{url()}?fieldManager=three", {"spec": {"open": after}})
    assert bool(owned) == ("three" in [entry["manager"] for entry in updated.body["metadata"]["managedFields"]])


def test_lists_merge_as_the_schema_says(server):
    one = {
        "items": [{"name": "x", "value": 1}],
        "tags": ["a"],
        "whole": ["a"],
        "atomic": {"a": "1"},
        "open": {"deep": {"a": 1}},
    }
    assert apply(server, one, "one").status == 201
    answer = apply(server, {"items": [{"name": "y"}], "tags": ["b"], "open": {"deep": {"b": 2}, "list": [1]}}, "two")
    assert answer.status == 200, answer.message
    assert answer.body["spec"] == {
        "items": [{"name": "x", "value": 1}, {"name": "y"}],
        "tags": ["a", "b"],
        "whole": ["a"],
        "atomic": {"a": "1"},
        "open": {"deep": {"a": 1, "b": 2}, "list": [1]},
    }
    assert fields(answer, "two") == {
        "f:spec": {
            "f:items": {'k:{"name":"y"}': {".": {}, "f:name": {}}},
            "f:open": {"f:deep": {".": {}, "f:b": {}}, "f:list": {}},
            "f:tags": {'v:"b"': {}},
        }
    }
    for spec, field in (({"whole": ["b"]}, ".spec.whole"), ({"atomic": {"b": "1"}}, ".spec.atomic"),
                        ({"open": {"deep": {"a": 3}}}, ".spec.open.deep.a")):  # fmt: skip
        assert apply(server, spec, "three").message == f'Apply failed with 1 conflict: conflict with "one": {field}'
    answer = apply(server, {}, "one")
    assert answer.body["spec"] == {"items": [{"name": "y"}], "tags": ["b"], "open": {"deep": {"b": 2}, "list": [1]}}


def test_a_field_that_the_schema_lacks_is_refused(server):
    answer = apply(server, {"other": 1})
    assert (answer.status, answer.message) == (
        400, "failed to create typed patch object (default/a; x.io/v1, Kind=Widget): .spec.other: field not declared in schema",
    )  # fmt: skip
    answer = apply(server, {"items": [{"value": 1}]})
    assert answer.status == 400
    assert ".spec.items: element 0: associative list with keys has an element that omits key field" in answer.message


def test_a_very_long_name_is_told_of_a_few_conflicts_only(server):
    name, many = "k" * 50_000, [f"f{n}" for n in range(2000)]
    apply(server, {"open": {name: dict.fromkeys(many, 1)}}, "one")
    refused = apply(server, {"open": {name: dict.fromkeys(many, 2)}}, "two")
    assert (409, True) == (refused.status, refused.message.startswith("Apply failed with 2000 conflicts: "))
    assert len(refused.response.body) < 4 << 20


def test_managers_of_two_versions_meet(server):
    apply(server, {"tags": ["a", "b"], "replicas": 1}, "one", "v1")
    answer = apply(server, {"tags": ["c"]}, "two", "v2")
    assert (answer.body["apiVersion"], answer.body["spec"]["tags"]) == ("x.io/v2", ["a", "b", "c"])
    versions = {entry["manager"]: entry["apiVersion"] for entry in answer.body["metadata"]["managedFields"]}
    assert versions == {"one": "x.io/v1", "two": "x.io/v2"}
    assert (
        apply(server, {"replicas": 2}, "two", "v2").message
        == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
    )
    answer = apply(server, {"replicas": 1}, "one", "v2")
    assert (answer.status, answer.body["spec"]) == (200, {"tags": ["c"], "replicas": 1})
    before = answer.body
    server.pass_time(60)
    assert before == apply(server, {"replicas": 1}, "one", "v2").body
    updated = server.put(f"{url('v1')}?fieldManager=three", {**server.get(url("v1")).body, "spec": {"replicas": 5}})
    assert updated.status == 200, updated.body
    assert {entry["manager"] for entry in updated.body["metadata"]["managedFields"]} == {"three"}


def test_the_scale_and_the_status_of_a_custom_resource(server):
    apply(server, {"replicas": 1}, "one")
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 3}}
    body = json.dumps(scale).encode()
    answer = server.patch(f"{url()}/scale?fieldManager=hpa", body, APPLY)
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
    assert server.patch(f"{url()}/scale?fieldManager=hpa&force=true", body, APPLY).status == 200
    status = {**widget({}), "status": {"replicas": 3}}
    answer = server.patch(f"{url()}/status?fieldManager=controller", json.dumps(status).encode(), APPLY)
    assert (answer.status, answer.body["spec"], answer.body["status"]) == (200, {"replicas": 3}, {"replicas": 3})
    assert fields(answer, "controller") == {"f:status": {"f:replicas": {}}}
    assert fields(answer, "hpa") == {"f:spec": {"f:replicas": {}}}


def test_the_deepest_document_is_applied_updated_and_taken_back(server):
    deep: Any = 1
    for _ in range(240):
        deep = {"a": deep}
    assert apply(server, {"open": deep}, "one").status == 201
    live = server.get(url()).body
    live["spec"]["open"]["a"]["a"]["b"] = 1
    assert server.put(f"{url()}?fieldManager=two", live).status == 200
    answer = apply(server, {}, "one", "v2")
    # An entry of a map that its owner gives up goes with all that is in it.
    assert (answer.status, answer.body["spec"]) == (200, {"open": {}})


def test_a_list_that_became_atomic_is_owned_whole(server):
    apply(server, {"items": [{"name": "x"}]}, "one")
    definition = server.get(f"{DEFINITIONS}/widgets.x.io").body
    for each in definition["spec"]["versions"]:
        each["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["items"] = {"type": "array", "items": ITEM}
    assert server.put(f"{DEFINITIONS}/widgets.x.io", definition).status == 200
    answer = apply(server, {"items": [{"name": "y"}]}, "two")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .spec.items'
    answer = apply(server, {"tags": ["a"]}, "two")
    assert fields(answer, "one") == {"f:spec": {"f:items": {}}}
