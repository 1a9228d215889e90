"""Which requests are written down, and what their events hold."""

import json

import pytest
from core_server import ADMIN, CONFIG_MAPS, Server

from mooring.apiserver import audit
from mooring.apiserver.authorization.impersonation import effective
from mooring.apiserver.contract import Request, User

POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
ADA = User("ada", ("devs", "system:authenticated"))


def policy(*rules: dict, **more: object) -> audit.Policy:
    return audit.policy({**POLICY, "rules": list(rules), **more})


def asked(path: str, method: str = "GET", user: User = ADA, **query: str):
    return audit.asked_of(Request(method, path, tuple(query.items()), {}, b"", user), Server().state)


CASES = [
    ("the first rule decides", [{"level": "None", "users": ["ada"]}, {"level": "Metadata"}], CONFIG_MAPS, None),
    ("a user", [{"level": "Metadata", "users": ["bob"]}, {"level": "Request"}], CONFIG_MAPS, "Request"),
    ("a group", [{"level": "Metadata", "userGroups": ["devs"]}], CONFIG_MAPS, "Metadata"),
    ("another group", [{"level": "Metadata", "userGroups": ["ops"]}], CONFIG_MAPS, None),
    ("a verb", [{"level": "Metadata", "verbs": ["list"]}], CONFIG_MAPS, "Metadata"),
    ("another verb", [{"level": "Metadata", "verbs": ["watch"]}], CONFIG_MAPS, None),
    ("a resource", [{"level": "Request", "resources": [{"group": "", "resources": ["configmaps"]}]}], CONFIG_MAPS, "Request"),
    ("a group of resources", [{"level": "Request", "resources": [{"group": "apps"}]}], CONFIG_MAPS, None),
    ("a subresource", [{"level": "Request", "resources": [{"group": "", "resources": ["pods/*"]}]}],
     "/api/v1/namespaces/default/pods/p/log", "Request"),
    ("not the resource above it", [{"level": "Request", "resources": [{"group": "", "resources": ["pods"]}]}],
     "/api/v1/namespaces/default/pods/p/log", None),
    ("a name", [{"level": "Request", "resources": [{"group": "", "resourceNames": ["x"]}]}], f"{CONFIG_MAPS}/x", "Request"),
    ("another name", [{"level": "Request", "resources": [{"group": "", "resourceNames": ["x"]}]}], f"{CONFIG_MAPS}/y", None),
    ("a namespace", [{"level": "Request", "namespaces": ["other"]}], CONFIG_MAPS, None),
    ("another path", [{"level": "Request", "nonResourceURLs": ["/health*"]}], "/healthz", "Request"),
    ("paths are no resources", [{"level": "Request", "nonResourceURLs": ["*"]}], CONFIG_MAPS, None),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "path", "level"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_rule_fits_what_it_names(rules, path, level):
    rule = policy(*rules).rule(asked(path))
    assert level == (rule.level if rule else None)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"apiVersion": "v1", "kind": "Policy", "rules": [{"level": "None"}]}, "apiVersion and kind must be"),
        ({**POLICY, "rules": []}, "at least one rule"),
        ({**POLICY, "rules": [{"level": "All"}]}, r"rules\[0\].level: Unsupported"),
        ({**POLICY, "rules": [{"level": "None", "user": ["x"]}]}, "unknown field `user`"),
        ({**POLICY, "rules": [{"level": "None", "omitStages": ["Last"]}]}, "omitStages"),
        ({**POLICY,
          "rules": [{"level": "None", "namespaces": ["x"], "nonResourceURLs": ["*"]}]}, "cannot apply to both"),
    ],
)  # fmt: skip
def test_a_policy_that_is_none_says_why(document, why):
    with pytest.raises(audit.BadPolicy, match=why):
        audit.policy(document)


def written(
    level: str, body: bytes = b"", answer: bytes = b"", code: int = 200, media: str = "", stage: str = audit.COMPLETE
) -> dict:
    sent = Request("POST", CONFIG_MAPS, (), {"user-agent": "kubectl/v1.33", "content-type": media}, body, ADA)
    about = audit.About(asked(CONFIG_MAPS, "POST"), sent, CONFIG_MAPS, "127.0.0.1", "id-1", "2026-01-01T00:00:00.000000Z")
    rule = policy({"level": level, "omitManagedFields": True}).rules[0]
    return json.loads(audit.event(about, rule, stage, "2026-01-01T00:00:01.000000Z", code, answer, {"a": "b"}))


def test_metadata_says_who_did_what_and_no_more():
    event = written("Metadata", b'{"data":{"k":"v"}}', b'{"kind":"ConfigMap"}', 201)
    assert ("create", "ada", ["127.0.0.1"], "kubectl/v1.33") == (
        event["verb"], event["user"]["username"], event["sourceIPs"], event["userAgent"]
    )  # fmt: skip
    assert {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"} == event["objectRef"]
    assert ({"metadata": {}, "code": 201}, {"a": "b"}) == (event["responseStatus"], event["annotations"])
    assert not {"requestObject", "responseObject"} & event.keys()


def test_request_and_response_are_there_when_asked_for_without_managed_fields():
    body = b'{"metadata":{"name":"x","managedFields":[{}]}}'
    assert {"metadata": {"name": "x"}} == written("Request", body)["requestObject"]
    assert {"metadata": {"name": "x"}} == written("RequestResponse", body, body)["responseObject"]
    assert "responseObject" not in written("Request", body, body)


def test_an_object_is_told_of_once_it_was_looked_at():
    assert "requestObject" not in written("Request", b"{}", stage=audit.RECEIVED)


PROTOBUF = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x05\x0a\x03\x0a\x01x"


@pytest.mark.parametrize(("body", "media"), [
    (PROTOBUF, "application/vnd.kubernetes.protobuf"), (b"{kind: ConfigMap, metadata: {name: x}}", "application/yaml"),
    (b"{kind: ConfigMap, metadata: {name: x}}", "application/apply-patch+yaml"),
    (b'{"kind":"ConfigMap","metadata":{"name":"x"}}', "application/json"),
])  # fmt: skip
def test_an_object_is_told_of_in_whatever_form_it_was_sent(body, media):
    told = written("Request", body, media=media)["requestObject"]
    assert ("ConfigMap", {"name": "x"}) == (told["kind"], told["metadata"])


@pytest.mark.parametrize("media", ["", "application/yaml", "application/vnd.kubernetes.protobuf"])
def test_what_is_no_document_is_called_unknown(media):
    assert "Unknown" == written("Request", b"\xff not json", media=media)["requestObject"]["kind"]


def test_a_refusal_is_told_with_its_reason():
    answer = b'{"kind":"Status","status":"Failure","message":"no","reason":"Forbidden","code":403}'
    assert "Forbidden" == written("Metadata", b"", answer, 403)["responseStatus"]["reason"]


def test_decisions_leave_notes():
    server = Server()
    server.add_default_roles()
    from mooring.apiserver.contract import Env
    from mooring.apiserver.handle import handle

    for user, decision in ((ADMIN, "allow"), (ADA, "forbid")):
        env = Env(server.now, server.rng, server.settings, notes={})
        handle(Request("GET", CONFIG_MAPS, (), {}, b"", user), server.state, env)
        assert decision == env.notes["authorization.k8s.io/decision"]


def test_the_impersonated_user_is_told_beside_the_one_who_asked():
    sent = Request("GET", CONFIG_MAPS, (), {"impersonate-user": "eve"}, b"", ADMIN)
    server = Server()
    about = audit.About(audit.asked_of(sent, server.state), sent, CONFIG_MAPS, "", "id-1", "")
    event = json.loads(
        audit.event(about, policy({"level": "Metadata"}).rules[0], audit.COMPLETE, "", acting=effective(sent, server.state))
    )
    assert ("admin", "eve") == (event["user"]["username"], event["impersonatedUser"]["username"])
