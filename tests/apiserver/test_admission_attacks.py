"""Webhooks and policies that do what they should not: patches that change what is not theirs, answers of every odd form."""

import base64
import json

import pytest
from core_server import CONFIG_MAPS, PODS, Server
from test_admission_webhooks import GROUP, Hooks, allow, deny, label, patching

from mooring.apiserver.contract import Answer

ANY = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def hooks(server) -> Hooks:
    return Hooks(server)


# Patches ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch", [
    {"op": "remove", "path": "/metadata"}, {"op": "replace", "path": "/metadata", "value": {}},
    {"op": "replace", "path": "/metadata", "value": None}, {"op": "replace", "path": "/metadata", "value": []},
    {"op": "replace", "path": "/kind", "value": "Secret"}, {"op": "replace", "path": "/apiVersion", "value": "v2"},
    {"op": "remove", "path": "/kind"}, {"op": "replace", "path": "/metadata/namespace", "value": "other"},
    {"op": "replace", "path": "/metadata/name", "value": "../x"}, {"op": "replace", "path": "", "value": 1},
    {"op": "replace", "path": "", "value": {}}, {"op": "add", "path": "/data", "value": {"a": 1}},
    {"op": "add", "path": "/metadata/labels", "value": {"a b": "c"}},
    {"op": "add", "path": "/metadata/finalizers", "value": [1]}, {"op": "none"}, None, 3,
])  # fmt: skip
@pytest.mark.parametrize("there", [False, True])
def test_a_patch_makes_no_other_object(server, hooks, patch, there):
    """Whatever it says: a refusal, or the object as it was asked for."""
    if there:
        server.config_map("x")
    before = len(list(server.state.scan("/")))
    hooks.add("mutating", "bad", patching(patch))
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"k": "v"}}
    answer = server.put(f"{CONFIG_MAPS}/x", body) if there else server.create(CONFIG_MAPS, body)
    assert answer.status >= 400, answer.body
    assert before + 1 == len(list(server.state.scan("/")))  # the configuration of the webhook


@pytest.mark.parametrize(("path", "value"), [
    ("/metadata/uid", "mine"), ("/metadata/resourceVersion", "7"), ("/metadata/creationTimestamp", "2001-01-01T00:00:00Z"),
    ("/metadata/generation", 12), ("/metadata/deletionTimestamp", "2001-01-01T00:00:00Z"),
    ("/metadata/selfLink", "/x"), ("/metadata/deletionGracePeriodSeconds", 4),
])  # fmt: skip
@pytest.mark.parametrize("there", [False, True])
def test_what_the_server_sets_a_webhook_does_not(server, hooks, path, value, there):
    if there:
        server.config_map("x")
    hooks.add("mutating", "bad", patching({"op": "add", "path": path, "value": value}))
    server.put(f"{CONFIG_MAPS}/x", {"metadata": {"name": "x"}, "data": {"k": "v"}}) if there else server.config_map("x")
    found = server.get(f"{CONFIG_MAPS}/x")
    assert found.status == 200
    assert value != found.body["metadata"].get(path.rpartition("/")[2])


def test_a_patch_that_doubles_itself_is_stopped(server, hooks):
    """Each copy makes the object twice as large: sixty of them would be an exabyte."""
    grow = [{"op": "add", "path": "/data/a", "value": {"x": "y"}}]
    grow += [{"op": "copy", "from": "/data", "path": f"/data/b{number}"} for number in range(25)]
    hooks.add("mutating", "bomb", patching(*grow))
    answer = server.config_map("x")
    assert 500 == answer.status and "failed to apply its patch" in answer.message


def test_a_client_sends_no_such_patch_either(server):
    server.config_map("x")
    grow = [{"op": "copy", "from": "/data", "path": f"/data/b{number}"} for number in range(25)]
    assert server.patch(f"{CONFIG_MAPS}/x", grow, "application/json-patch+json").status in (413, 422)


# Subresources -----------------------------------------------------------------------------------------------------------


def hook_on(hooks: Hooks, resource: str) -> None:
    hooks.add("mutating", "marker", label("seen"), {**ANY, "resources": [resource]})


def test_a_binding_that_is_changed_still_binds(server, hooks):
    server.node("a")
    server.pod("p")
    hook_on(hooks, "pods/binding")
    assert 201 == server.bind("p", "a").status
    assert "a" == server.get(f"{PODS}/p").body["spec"]["nodeName"]


def told(request: dict) -> dict:
    return {"allowed": True, "warnings": ["mind the gap"]}


@pytest.mark.parametrize(("resource", "path", "body"), [
    ("pods/eviction", f"{PODS}/p/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}),
    ("pods/binding", f"{PODS}/p/binding", {"target": {"kind": "Node", "name": "a"}}),
    ("bindings", "/api/v1/namespaces/default/bindings", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "a"}}),
    ("serviceaccounts/token", "/api/v1/namespaces/default/serviceaccounts/robot/token", {"spec": {"audiences": ["x"]}}),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["mutating", "validating"])
def test_what_is_told_about_a_subresource_reaches_the_client(server, hooks, kind, resource, path, body):
    server.node("a")
    server.pod("p")
    server.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}})
    hooks.add(kind, "teller", told, {**ANY, "resources": [resource]})
    answer = server.create(path, body)
    assert (201, ['299 - "mind the gap"']) == (answer.status, answer.warnings)


def test_an_eviction_that_is_changed_is_carried_out_so(server, hooks):
    server.node("a")
    server.pod("p")
    server.bind("p", "a")
    gentle = patching({"op": "add", "path": "/deleteOptions", "value": {"gracePeriodSeconds": 77}})
    hooks.add("mutating", "gentle", gentle, {**ANY, "resources": ["pods/eviction"]})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert 201 == server.create(f"{PODS}/p/eviction", eviction).status
    assert 77 == server.get(f"{PODS}/p").body["metadata"]["deletionGracePeriodSeconds"]


@pytest.mark.parametrize(("patch", "status"), [
    ({"op": "add", "path": "/deleteOptions", "value": {"preconditions": {"uid": "other"}}}, 409),
    ({"op": "replace", "path": "/metadata/name", "value": "q"}, 400),
    ({"op": "add", "path": "/deleteOptions", "value": {"gracePeriodSeconds": "x"}}, 500),
])  # fmt: skip
def test_an_eviction_that_is_changed_to_what_cannot_be_evicts_nothing(server, hooks, patch, status):
    server.pod("p")
    hooks.add("mutating", "bad", patching(patch), {**ANY, "resources": ["pods/eviction"]})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {}}
    answer = server.create(f"{PODS}/p/eviction", eviction)
    assert status == answer.status, answer.message
    assert 200 == server.get(f"{PODS}/p").status


@pytest.mark.parametrize(("body", "status"), [
    ({"metadata": {"name": "p"}, "target": {"name": "a"}}, 201), ({"target": {"name": "a"}}, 422),
    ({"metadata": {"name": "none"}, "target": {"name": "a"}}, 404), ({"metadata": {"name": "p"}}, 422),
])  # fmt: skip
def test_a_binding_may_name_its_pod(server, body, status):
    server.node("a")
    server.pod("p")
    answer = server.create("/api/v1/namespaces/default/bindings", body)
    assert status == answer.status, answer.body
    assert ("a" if status == 201 else None) == server.get(f"{PODS}/p").body["spec"].get("nodeName")


def test_a_token_request_that_is_changed_is_still_one(server, hooks):
    server.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}})
    audiences = patching({"op": "replace", "path": "/spec/audiences", "value": ["narrow"]})
    hooks.add("mutating", "narrow", audiences, {**ANY, "resources": ["serviceaccounts/token"]})
    answer = server.create("/api/v1/namespaces/default/serviceaccounts/robot/token", {"spec": {"audiences": ["wide"]}})
    assert (201, ["narrow"]) == (answer.status, answer.body["spec"]["audiences"])


@pytest.mark.parametrize("patch", [
    {"op": "replace", "path": "/spec", "value": 1}, {"op": "replace", "path": "/spec/audiences", "value": "x"},
    {"op": "add", "path": "/spec/expirationSeconds", "value": "x"}, {"op": "remove", "path": "/spec"},
    {"op": "add", "path": "/spec/expirationSeconds", "value": 1},
])  # fmt: skip
def test_a_token_request_of_another_form_is_refused(server, hooks, patch):
    server.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}})
    hooks.add("mutating", "bad", patching(patch), {**ANY, "resources": ["serviceaccounts/token"]})
    answer = server.create("/api/v1/namespaces/default/serviceaccounts/robot/token", {"spec": {"audiences": ["wide"]}})
    assert answer.status in (201, 422, 500)


# Answers ----------------------------------------------------------------------------------------------------------------


DEEP = b"[" * 100_000 + b"]" * 100_000


def review(**response: object) -> bytes:
    found = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    return json.dumps(found | {"response": {"uid": "", "allowed": True, **response}}).encode()


@pytest.mark.parametrize("body", [
    b"", b"{", b"null", b"[]", DEEP, b"\xff", review(uid="other"), review(uid=None), review(allowed="yes"),
    b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":[]}',
])  # fmt: skip
@pytest.mark.parametrize("kind", ["mutating", "validating"])
def test_an_answer_that_is_none_is_passed_over_when_the_webhook_is_lenient(server, hooks, body, kind):
    hooks.add(kind, "odd", lambda _: Answer(200, body), failurePolicy="Ignore")
    assert 201 == server.config_map("x").status


@pytest.mark.parametrize("more", [
    {"warnings": 7}, {"warnings": {"a": "b"}}, {"warnings": "text"}, {"patch": 7, "patchType": "JSONPatch"},
    {"patch": base64.b64encode(DEEP).decode(), "patchType": "JSONPatch"}, {"patch": "!", "patchType": "JSONPatch"},
    {"patch": "e30=", "patchType": "Other"}, {"patch": [], "patchType": 4}, {"auditAnnotations": 4},
])  # fmt: skip
def test_an_answer_with_odd_members_is_no_fault_of_the_server(server, hooks, more):
    hooks.add("mutating", "odd", lambda _: {"allowed": True, **more}, failurePolicy="Ignore")
    assert server.config_map("x").status in (201, 500)


def test_what_a_webhook_warns_of_is_bounded(server, hooks):
    hooks.add("validating", "chatty", lambda _: {"allowed": True, "warnings": [f"{n} " + "x" * 1000 for n in range(1000)]})
    warnings = server.config_map("x").warnings
    assert warnings and sum(map(len, warnings)) < 8192


@pytest.mark.parametrize("kind", ["mutating", "validating"])
def test_whoever_refuses_everything_can_be_removed(server, hooks, kind):
    hooks.add(kind, "wall", deny, ANY)
    assert 403 == server.config_map("x").status
    for path in ("validatingadmissionpolicies", "validatingadmissionpolicybindings"):
        body = {"metadata": {"name": "p"}, "spec": {
            "matchConstraints": {"resourceRules": [ANY]}, "validations": [{"expression": "true"}]}}  # fmt: skip
        if path.endswith("bindings"):
            body["spec"] = {"policyName": "p", "validationActions": ["Deny"]}
        assert 201 == server.create(f"{GROUP}/{path}", body).status
    assert 200 == server.delete(f"{GROUP}/{kind}webhookconfigurations/wall").status
    assert 201 == server.config_map("x").status


def test_a_collection_is_shown_at_once(server, hooks):
    """Not one object after the other, each with its own round of questions."""
    for number in range(20):
        server.config_map(f"m{number}")
    hooks.add("validating", "reaper", allow, {**ANY, "operations": ["DELETE"]})
    rounds = []
    decide = server.webhook
    server.webhook = lambda question: (rounds.append(server.rounds), decide(question))[1]
    assert 200 == server.delete(CONFIG_MAPS).status
    assert 20 == len(hooks.seen["reaper"]) and 1 == len(set(rounds))
    assert [] == server.get(CONFIG_MAPS).body["items"]


def test_one_object_that_may_not_go_keeps_the_whole_collection(server, hooks):
    for number in range(3):
        server.config_map(f"m{number}")
    hooks.add("validating", "keeper", lambda request: {"allowed": request["oldObject"]["metadata"]["name"] != "m1"},
              {**ANY, "operations": ["DELETE"]})  # fmt: skip
    assert 400 == server.delete(CONFIG_MAPS).status
    assert 3 == len(server.get(CONFIG_MAPS).body["items"])
