"""What webhooks see, change and refuse; what becomes of a request when they fail. Their answers come from functions here."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from core_server import CONFIG_MAPS, PODS, REQUEST_ID, Server

from mooring.apiserver.contract import Answer, Question

GROUP = "/apis/admissionregistration.k8s.io/v1"
CREATE_MAPS = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
DELETE_MAPS = {**CREATE_MAPS, "operations": ["DELETE"]}
Answering = Callable[[dict[str, Any]], dict[str, Any]]


class Hooks:
    """Answers by the path of the webhook's URL; `seen` holds the requests of each."""

    def __init__(self, server: Server) -> None:
        self.server, self.answers, self.seen = server, {}, {}
        server.webhook = self

    def __call__(self, question: Question) -> Answer:
        name = question.url.partition("?")[0].rpartition("/")[2]
        request = json.loads(question.body)["request"]
        self.seen.setdefault(name, []).append(request)
        answer = self.answers[name](request)
        if isinstance(answer, Answer):
            return answer
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": request["uid"], **answer}}
        return Answer(200, json.dumps(review).encode())

    def add(self, kind: str, name: str, answer: Answering, *rules: dict, configuration: str = "", **more: Any) -> None:
        """`kind`: mutating or validating."""
        self.answers[name] = answer
        webhook = {
            "name": f"{name}.example.com", "clientConfig": {"url": f"https://hooks.example.com/{name}"},
            "rules": list(rules) or [CREATE_MAPS], "sideEffects": "None", "admissionReviewVersions": ["v1"], **more,
        }  # fmt: skip
        body = {"metadata": {"name": configuration or name}, "webhooks": [webhook]}
        answer_ = self.server.create(f"{GROUP}/{kind}webhookconfigurations", body)
        assert answer_.status == 201, answer_.body


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def hooks(server) -> Hooks:
    return Hooks(server)


def allow(_: dict) -> dict:
    return {"allowed": True}


def deny(_: dict) -> dict:
    return {"allowed": False, "status": {"code": 403, "message": "not today"}}


def patching(*operations: dict) -> Answering:
    patch = base64.b64encode(json.dumps(list(operations)).encode()).decode()
    return lambda _: {"allowed": True, "patch": patch, "patchType": "JSONPatch"}


def label(key: str, value: str = "yes") -> Answering:
    def answer(request: dict) -> dict:
        there = request["object"]["metadata"].get("labels")
        operations = [] if there else [{"op": "add", "path": "/metadata/labels", "value": {}}]
        return patching(*operations, {"op": "add", "path": f"/metadata/labels/{key}", "value": value})(request)

    return answer


# Validating -------------------------------------------------------------------------------------------------------------


def test_a_refusal_is_told_as_upstream_tells_it(server, hooks):
    hooks.add("validating", "strict", deny)
    answer = server.config_map("x")
    assert (403, 'admission webhook "strict.example.com" denied the request: not today') == (answer.status, answer.message)
    assert 404 == server.get(f"{CONFIG_MAPS}/x").status


@pytest.mark.parametrize(
    ("said", "status", "message"),
    [
        ({}, 400, "denied the request without explanation"),
        ({"status": {"reason": "Because"}}, 400, "denied the request: Because"),
        ({"status": {"code": 418, "message": "a teapot"}}, 418, "denied the request: a teapot"),
        ({"status": {"code": 200, "message": "odd"}}, 400, "denied the request: odd"),
        ({"status": "no object"}, 400, "denied the request without explanation"),
    ],
)
def test_a_refusal_has_its_code_and_words(server, hooks, said, status, message):
    hooks.add("validating", "strict", lambda _: {"allowed": False, **said})
    answer = server.config_map("x")
    assert (status, True) == (answer.status, answer.message.endswith(message))
    assert answer.body.get("reason") == ("Because" if message.endswith("Because") else None)


def test_it_sees_the_request_as_upstream_shows_it(server, hooks):
    hooks.add("validating", "curious", allow)
    server.create(f"{CONFIG_MAPS}?dryRun=All&fieldManager=me", {"metadata": {"name": "x"}, "data": {"a": "1"}})
    (request,) = hooks.seen["curious"]
    kind, resource = (
        {"group": "", "version": "v1", "kind": "ConfigMap"},
        {"group": "", "version": "v1", "resource": "configmaps"},
    )
    assert {
        "uid": REQUEST_ID, "kind": kind, "requestKind": kind, "resource": resource, "requestResource": resource,
        "operation": "CREATE", "name": "x", "namespace": "default", "dryRun": True, "oldObject": None,
        "userInfo": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions", "dryRun": ["All"], "fieldManager": "me"},
    } == {key: value for key, value in request.items() if key != "object"}  # fmt: skip
    assert {"a": "1"} == request["object"]["data"] and request["object"]["metadata"]["uid"]


def test_an_update_shows_old_and_new(server, hooks):
    hooks.add("validating", "curious", allow)
    server.config_map("x")
    server.patch(f"{CONFIG_MAPS}/x", {"data": {"name": "y"}})
    request = hooks.seen["curious"][-1]
    assert ("UPDATE", "x", "y", "PatchOptions") == (
        request["operation"], request["oldObject"]["data"]["name"], request["object"]["data"]["name"],
        request["options"]["kind"],
    )  # fmt: skip


def test_a_deletion_can_be_refused(server, hooks):
    hooks.add("validating", "keeper", deny, DELETE_MAPS)
    server.config_map("x")
    assert (403, 403) == (server.delete(f"{CONFIG_MAPS}/x").status, server.delete(CONFIG_MAPS).status)
    request = hooks.seen["keeper"][0]
    assert ("DELETE", None, "x") == (request["operation"], request["object"], request["oldObject"]["metadata"]["name"])
    assert (False, {"apiVersion": "meta.k8s.io/v1", "kind": "DeleteOptions"}) == (request["dryRun"], request["options"])
    assert 403 == server.delete(f"{CONFIG_MAPS}/x", {"dryRun": ["All"], "gracePeriodSeconds": 0, "kind": ""}).status
    request = hooks.seen["keeper"][-1]
    options = {"apiVersion": "meta.k8s.io/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "dryRun": ["All"]}
    assert (True, options) == (request["dryRun"], request["options"])
    assert 200 == server.get(f"{CONFIG_MAPS}/x").status


def test_warnings_reach_the_client(server, hooks):
    hooks.add("validating", "kind", lambda _: {"allowed": True, "warnings": ["mind the gap"]})
    assert ['299 - "mind the gap"'] == server.config_map("x").warnings


@pytest.mark.parametrize("allowed", [True, False])
def test_annotations_reach_the_audit_log(server, hooks, allowed):
    hooks.add("validating", "kind", lambda _: {"allowed": allowed, "auditAnnotations": {"why": "because"}})
    server.config_map("x")
    assert "because" == server.notes["kind.example.com/why"]


def test_all_are_asked_at_once_and_the_first_refusal_is_told(server, hooks):
    hooks.add("validating", "a", allow)
    hooks.add("validating", "b", deny)
    hooks.add("validating", "c", deny)
    answer = server.config_map("x")
    assert 'admission webhook "b.example.com"' in answer.message
    assert {1} == {len(each) for each in hooks.seen.values()} and 3 == len(hooks.seen)


def test_the_object_that_is_asked_about_is_the_one_that_is_written(server, hooks):
    """Its uid and its generated name, decided before the question, are the same after the answer."""
    hooks.add("validating", "curious", allow)
    made = server.create(CONFIG_MAPS, {"metadata": {"generateName": "x-"}}).body["metadata"]
    shown = hooks.seen["curious"][0]["object"]["metadata"]
    assert (made["uid"], made["name"]) == (shown["uid"], shown["name"])


# Failures ---------------------------------------------------------------------------------------------------------------

FAILURES = [
    ("nobody listens", Answer(error="connection refused"), "failed to call webhook: connection refused"),
    ("a server's error", Answer(500, b""), "the server responded with the status code 500"),
    ("no JSON", Answer(200, b"<html>"), "the answer is no JSON"),
    ("no review", Answer(200, b"[]"), "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview"),
    (
        "no response",
        Answer(200, b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}'),
        "webhook response was absent",
    ),
    ("another's uid", {"uid": "other", "allowed": True}, f'expected response.uid="{REQUEST_ID}", got "other"'),
    ("a patch of no type", {"allowed": True, "patch": "W10="}, 'invalid response.patchType of ""'),
    (
        "a patch of another type",
        {"allowed": True, "patch": "W10=", "patchType": "Merge"},
        'invalid response.patchType of "Merge"',
    ),
    ("a type without a patch", {"allowed": True, "patchType": "JSONPatch"}, "response.patchType but not response.patch"),
    ("a patch that is none", {"allowed": True, "patch": "!", "patchType": "JSONPatch"}, "undecodable patch"),
]


@pytest.mark.parametrize(("answer", "why"), [case[1:] for case in FAILURES], ids=[case[0] for case in FAILURES])
@pytest.mark.parametrize("kind", ["mutating", "validating"])
def test_a_webhook_that_fails_stops_the_request_or_is_passed_over(server, hooks, kind, answer, why):
    hooks.add(kind, "broken", lambda _: answer)
    refused = server.config_map("x")
    assert (500, True) == (refused.status, why in refused.message), refused.message
    assert refused.message.startswith('Internal error occurred: failed calling webhook "broken.example.com": ')
    configuration = f"{GROUP}/{kind}webhookconfigurations/broken"
    patch = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
    server.patch(configuration, patch, "application/json-patch+json")
    assert 201 == server.config_map("x").status


def test_a_patch_that_does_not_fit_is_an_error(server, hooks):
    hooks.add("mutating", "odd", patching({"op": "remove", "path": "/data/none"}))
    assert (500, True) == ((answer := server.config_map("x")).status, "failed to apply its patch" in answer.message)


def test_what_a_patch_makes_of_an_object_must_be_one(server, hooks):
    hooks.add("mutating", "odd", patching({"op": "replace", "path": "/data", "value": 7}))
    assert 500 == server.config_map("x").status


def test_a_patched_object_is_validated(server, hooks):
    hooks.add("mutating", "odd", patching({"op": "add", "path": "/metadata/labels", "value": {"a b": "c"}}))
    assert 422 == server.config_map("x").status


def test_a_service_without_endpoints_is_told(server, hooks):
    client = {"service": {"name": "hooks", "namespace": "default"}}
    hooks.add("validating", "served", allow, clientConfig=client)
    assert 'failed calling webhook "served.example.com": service "hooks" not found' in server.config_map("x").message
    server.create("/api/v1/namespaces/default/services", {"metadata": {"name": "hooks"}, "spec": {"ports": [{"port": 443}]}})
    assert 'no endpoints available for service "hooks"' in server.config_map("x").message


def test_a_service_is_asked_at_one_of_its_endpoints_by_its_name(server, hooks):
    ports = [{"name": "web", "port": 443, "targetPort": 8443}]
    server.create("/api/v1/namespaces/default/services", {"metadata": {"name": "hooks"}, "spec": {"ports": ports}})
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    server.create(slices, {
        "metadata": {"name": "hooks-1", "labels": {"kubernetes.io/service-name": "hooks"}}, "addressType": "IPv4",
        "ports": [{"name": "web", "port": 8443}],
        "endpoints": [{"addresses": ["10.244.0.9"]}, {"addresses": ["10.244.0.8"], "conditions": {"ready": False}}],
    })  # fmt: skip
    hooks.add("validating", "v", allow, clientConfig={"service": {"name": "hooks", "namespace": "default", "path": "/v"}})
    assert 201 == server.config_map("x").status
    question = server.asked[-1]
    assert (("10.244.0.9", 8443), "hooks.default.svc", "https://hooks.default.svc:443/v?timeout=10s", 10.0) == (
        question.address, question.server_name, question.url, question.timeout
    )  # fmt: skip


def test_who_has_side_effects_takes_part_in_no_dry_run(server, hooks):
    hooks.add("validating", "acts", allow, sideEffects="NoneOnDryRun")
    assert 201 == server.create(f"{CONFIG_MAPS}?dryRun=All", {"metadata": {"name": "x"}}).status


# Mutating ---------------------------------------------------------------------------------------------------------------


def test_mutating_webhooks_follow_one_another(server, hooks):
    """By the names of their configurations; each sees what those before it made."""
    hooks.add("mutating", "second", label("b"), configuration="b")
    hooks.add("mutating", "first", label("a"), configuration="a")
    hooks.add("validating", "after", allow)
    made = server.config_map("x").body["metadata"]
    assert {"a": "yes", "b": "yes"} == made["labels"]
    assert {"a": "yes"} == hooks.seen["second"][0]["object"]["metadata"]["labels"]
    assert {"a": "yes", "b": "yes"} == hooks.seen["after"][0]["object"]["metadata"]["labels"]


@pytest.mark.parametrize(("policy", "times"), [("Never", 1), ("IfNeeded", 2)])
def test_who_wants_it_is_asked_again_when_others_changed_the_object(server, hooks, policy, times):
    hooks.add("mutating", "first", allow, configuration="a", reinvocationPolicy=policy)
    hooks.add("mutating", "second", label("b"), configuration="b")
    server.config_map("x")
    counts = {name: len({json.dumps(each["object"]) for each in seen}) for name, seen in hooks.seen.items()}
    assert {"first": times, "second": 1} == counts


def test_what_a_webhook_adds_is_defaulted(server, hooks):
    """A sidecar, as meshes add it: it gets the defaults of any other container."""
    rule = {**CREATE_MAPS, "resources": ["pods"]}
    sidecar = {"op": "add", "path": "/spec/containers/-", "value": {"name": "proxy", "image": "p:1"}}
    hooks.add("mutating", "mesh", patching(sidecar), rule)
    spec = server.pod("x").body["spec"]
    assert ("proxy", "IfNotPresent") == (spec["containers"][1]["name"], spec["containers"][1]["imagePullPolicy"])


def test_unknown_fields_of_a_patch_are_dropped(server, hooks):
    hooks.add("mutating", "odd", patching({"op": "add", "path": "/spam", "value": 1}))
    assert "spam" not in server.config_map("x").body


def test_a_webhook_cannot_rename_what_is_updated(server, hooks):
    server.config_map("x")
    hooks.add("mutating", "odd", patching({"op": "replace", "path": "/metadata/name", "value": "y"}))
    assert 400 == server.patch(f"{CONFIG_MAPS}/x", {"data": {"a": "b"}}).status


# Who is asked about what ------------------------------------------------------------------------------------------------

SEEN = [
    ("its resource", [CREATE_MAPS], {}, True),
    ("another resource", [{**CREATE_MAPS, "resources": ["secrets"]}], {}, False),
    ("every resource", [{**CREATE_MAPS, "resources": ["*"]}], {}, True),
    ("subresources only", [{**CREATE_MAPS, "resources": ["*/status"]}], {}, False),
    ("another operation", [{**CREATE_MAPS, "operations": ["DELETE"]}], {}, False),
    ("another group", [{**CREATE_MAPS, "apiGroups": ["apps"]}], {}, False),
    ("the scope", [{**CREATE_MAPS, "scope": "Namespaced"}], {}, True),
    ("the other scope", [{**CREATE_MAPS, "scope": "Cluster"}], {}, False),
    ("objects with a label", [CREATE_MAPS], {"objectSelector": {"matchLabels": {"a": "b"}}}, True),
    ("objects with another", [CREATE_MAPS], {"objectSelector": {"matchLabels": {"a": "c"}}}, False),
    ("namespaces with a label", [CREATE_MAPS],
     {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
    ("other namespaces", [CREATE_MAPS],
     {"namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn",
                                                  "values": ["default"]}]}}, False),
    ("a condition that holds", [CREATE_MAPS],
     {"matchConditions": [{"name": "c", "expression": "object.metadata.name == 'x'"}]}, True),
    ("a condition that does not", [CREATE_MAPS],
     {"matchConditions": [{"name": "c", "expression": "request.userInfo.username != 'admin'"}]}, False),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "more", "seen"), [case[1:] for case in SEEN], ids=[case[0] for case in SEEN])
def test_a_webhook_sees(server, hooks, rules, more, seen):
    hooks.add("validating", "picky", deny, *rules, **more)
    assert (403 if seen else 201) == server.config_map("x", labels={"a": "b"}).status


def test_a_condition_that_fails_stops_the_request(server, hooks):
    hooks.add("validating", "odd", allow, matchConditions=[{"name": "c", "expression": "object.spec.size == 1"}])
    answer = server.config_map("x")
    assert (403, True) == (answer.status, "failed to process match conditions" in answer.message)


def test_status_is_a_resource_of_its_own(server, hooks):
    server.pod("p")
    hooks.add("validating", "picky", deny, {**CREATE_MAPS, "resources": ["pods/status"]})
    assert 200 == server.patch(f"{PODS}/p", {"metadata": {"labels": {"a": "b"}}}).status
    assert 403 == server.patch(f"{PODS}/p/status", {"status": {"phase": "Running"}}).status


def test_a_scale_is_shown_as_what_it_is(server, hooks):
    path = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    server.create(path, {"metadata": {"name": "d"}, "spec": spec})
    rule = {"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]}
    hooks.add("validating", "limits", deny, rule)
    assert 403 == server.patch(f"{path}/d/scale", {"spec": {"replicas": 9}}).status
    request = hooks.seen["limits"][0]
    assert ("Scale", "deployments", "scale", 9, 1) == (
        request["kind"]["kind"], request["resource"]["resource"], request["subResource"],
        request["object"]["spec"]["replicas"], request["oldObject"]["spec"]["replicas"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("below", "shown"),
    [
        ("exec?command=ls&command=-l&stdin=true&container=main",
         {"kind": "PodExecOptions", "stdin": True, "container": "main", "command": ["ls", "-l"]}),
        ("attach?stdout=1", {"kind": "PodAttachOptions", "stdout": True}),
        ("portforward?ports=80", {"kind": "PodPortForwardOptions", "ports": [80]}),
        ("proxy/a/b", {"kind": "PodProxyOptions", "path": "/a/b"}),
    ],
)  # fmt: skip
def test_who_connects_is_seen(server, hooks, below, shown):
    server.pod("p")
    rule = {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/*"]}
    hooks.add("validating", "guard", deny, rule)
    assert 403 == server.get(f"{PODS}/p/{below}").status
    request = hooks.seen["guard"][0]
    assert ("CONNECT", {"apiVersion": "v1", **shown}, None) == (request["operation"], request["object"], request["oldObject"])


@pytest.mark.parametrize(("policy", "seen"), [("Equivalent", True), ("Exact", False)])
def test_the_same_object_in_another_api_is_seen_when_equivalent(server, hooks, policy, seen):
    """Events are served by two APIs: the webhook asks for one, the client uses the other."""
    rule = {"operations": ["CREATE"], "apiGroups": ["events.k8s.io"], "apiVersions": ["v1"], "resources": ["events"]}
    hooks.add("validating", "picky", deny, rule, matchPolicy=policy)
    event = {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R"}
    assert (403 if seen else 201) == server.create("/api/v1/namespaces/default/events", event).status
    if seen:
        assert ("events.k8s.io", "") == tuple(hooks.seen["picky"][0][each]["group"] for each in ("kind", "requestKind"))


def test_webhook_configurations_are_shown_to_no_webhook(server, hooks):
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    hooks.add("validating", "tyrant", deny, everything)
    assert 200 == server.delete(f"{GROUP}/validatingwebhookconfigurations/tyrant").status
    assert 201 == server.config_map("x").status


# Configurations ---------------------------------------------------------------------------------------------------------

BAD = [
    ("a name without dots", {"name": "x"}, "webhooks[0].name"),
    ("no client", {"clientConfig": {}}, "webhooks[0].clientConfig"),
    (
        "two clients",
        {"clientConfig": {"url": "https://a", "service": {"name": "a", "namespace": "b"}}},
        "webhooks[0].clientConfig",
    ),
    ("plain HTTP", {"clientConfig": {"url": "http://a/b"}}, "webhooks[0].clientConfig.url"),
    ("a user in the URL", {"clientConfig": {"url": "https://u:p@a/b"}}, "webhooks[0].clientConfig.url"),
    ("a query in the URL", {"clientConfig": {"url": "https://a/b?c"}}, "webhooks[0].clientConfig.url"),
    ("no side effects told", {"sideEffects": None}, "webhooks[0].sideEffects"),
    ("side effects", {"sideEffects": "Some"}, "webhooks[0].sideEffects"),
    ("no versions", {"admissionReviewVersions": []}, "webhooks[0].admissionReviewVersions"),
    ("an old version", {"admissionReviewVersions": ["v1beta1"]}, "webhooks[0].admissionReviewVersions"),
    ("much patience", {"timeoutSeconds": 31}, "webhooks[0].timeoutSeconds"),
    ("an operation", {"rules": [{**CREATE_MAPS, "operations": ["READ"]}]}, "webhooks[0].rules[0].operations[0]"),
    (
        "a broken condition",
        {"matchConditions": [{"name": "c", "expression": "1 +"}]},
        "webhooks[0].matchConditions[0].expression",
    ),
    ("many conditions", {"matchConditions": [{"name": "c", "expression": "1 +"}] * 501}, "webhooks.matchConditions"),
    ("no condition", {"matchConditions": [{"name": "c", "expression": "1"}]}, "webhooks[0].matchConditions[0].expression"),
]


@pytest.mark.parametrize(("change", "field"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_configuration_is_refused_for(server, change, field):
    webhook = {
        "name": "a.example.com", "clientConfig": {"url": "https://a/b"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "rules": [CREATE_MAPS], **change,
    }  # fmt: skip
    answer = server.create(f"{GROUP}/validatingwebhookconfigurations", {"metadata": {"name": "x"}, "webhooks": [webhook]})
    assert (422, field) == (answer.status, answer.body["details"]["causes"][0]["field"]), answer.body


def test_a_configuration_is_defaulted(server, hooks):
    hooks.add("mutating", "plain", allow)
    webhook = server.get(f"{GROUP}/mutatingwebhookconfigurations/plain").body["webhooks"][0]
    assert ("Fail", "Equivalent", 10, "Never", {}, "*") == (
        webhook["failurePolicy"], webhook["matchPolicy"], webhook["timeoutSeconds"], webhook["reinvocationPolicy"],
        webhook["namespaceSelector"], webhook["rules"][0]["scope"],
    )  # fmt: skip
