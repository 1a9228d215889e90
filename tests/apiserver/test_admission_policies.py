"""ValidatingAdmissionPolicy: what its expressions deny, warn of, or note; parameters; what is refused when it is written."""

import json
from typing import Any

import pytest
from core_server import CONFIG_MAPS, Server

from mooring.apiserver.contract import Env, Request, User, Write
from mooring.apiserver.handle import handle

RBAC = "rbac.authorization.k8s.io"
GROUP = "/apis/admissionregistration.k8s.io/v1"
MAPS = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


@pytest.fixture
def server() -> Server:
    return Server()


def policy(server: Server, *validations: Any, actions: tuple[str, ...] = ("Deny",), binding: dict | None = None, **spec: Any):
    """The policy `p` and its binding `b`. A validation that is a text is its expression."""
    shown = [{"expression": each} if isinstance(each, str) else each for each in validations]
    body = {"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [MAPS]}, "validations": shown, **spec}}
    answer = server.create(f"{GROUP}/validatingadmissionpolicies", body)
    if answer.status == 201:
        bound = {"policyName": "p", "validationActions": list(actions), **(binding or {})}
        made = server.create(f"{GROUP}/validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": bound})
        assert 201 == made.status, made.body
    return answer


def test_what_an_expression_denies_is_told_as_upstream_tells_it(server):
    policy(server, "object.data.name.size() < 3")
    assert 201 == server.config_map("ok").status
    answer = server.config_map("long")
    why = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.data.name.size() < 3"
    assert (422, f'configmaps "long" is forbidden: {why}') == (answer.status, answer.message)


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        ({"message": "too long"}, 422, "denied request: too long"),
        ({"messageExpression": "'name ' + object.data.name"}, 422, "denied request: name long"),
        ({"message": "m", "messageExpression": "object.data.none"}, 422, "denied request: m"),
        ({"message": "m", "reason": "Forbidden"}, 403, "denied request: m"),
        ({"message": "m", "reason": "Unauthorized"}, 401, "denied request: m"),
    ],
)
def test_a_refusal_has_its_words_and_code(server, more, status, message):
    policy(server, {"expression": "false", **more})
    answer = server.config_map("long")
    assert (status, True) == (answer.status, answer.message.endswith(message)), answer.message


def test_a_binding_may_warn_instead(server):
    policy(server, {"expression": "false", "message": "careful"}, actions=("Warn",))
    answer = server.config_map("x")
    assert 201 == answer.status
    assert ["299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': careful\""] == answer.warnings


def test_a_binding_may_have_failures_written_down_only(server):
    policy(server, "true", {"expression": "false", "message": "careful"}, actions=("Audit",))
    notes: dict[str, str] = {}
    body = b'{"metadata": {"name": "x"}}'
    request = Request("POST", CONFIG_MAPS, (), {"content-type": "application/json"}, body, User("a", ("system:masters",)))
    assert isinstance(handle(request, server.state, Env(server.now, server.rng, server.settings, notes=notes)), Write)
    told = {"message": "careful", "policy": "p", "binding": "b", "expressionIndex": 1, "validationActions": ["Audit"]}
    assert [told] == json.loads(notes["validation.policy.admission.k8s.io/validation_failure"])


def test_notes_reach_the_audit_log(server):
    policy(server, auditAnnotations=[{"key": "name", "valueExpression": "'made ' + object.metadata.name"}], actions=("Audit",))
    notes: dict[str, str] = {}
    body = b'{"metadata":{"name":"x"}}'
    request = Request("POST", CONFIG_MAPS, (), {"content-type": "application/json"}, body, User("a", ("system:masters",)))
    handle(request, server.state, Env(server.now, server.rng, server.settings, notes=notes))
    assert "made x" == notes["p/name"]


def test_without_a_binding_a_policy_does_nothing(server):
    body = {"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [MAPS]},
                                                "validations": [{"expression": "false"}]}}  # fmt: skip
    assert 201 == server.create(f"{GROUP}/validatingadmissionpolicies", body).status
    assert 201 == server.config_map("x").status


def test_variables_build_on_one_another(server):
    variables = [
        {"name": "size", "expression": "object.data.name.size()"},
        {"name": "long", "expression": "variables.size > 3"},
    ]
    policy(server, "!variables.long", variables=variables)
    assert [201, 422] == [server.config_map(name).status for name in ("ok", "long-one")]


def test_old_and_new_can_be_compared(server):
    policy(server, "oldObject == null || object.data.name == oldObject.data.name")
    server.config_map("x")
    assert 422 == server.patch(f"{CONFIG_MAPS}/x", {"data": {"name": "y"}}).status
    assert 200 == server.patch(f"{CONFIG_MAPS}/x", {"metadata": {"labels": {"a": "b"}}}).status


def test_the_request_and_the_namespace_are_seen(server):
    policy(server, "request.userInfo.username == 'admin' && namespaceObject.metadata.name == 'default'")
    assert 201 == server.config_map("x").status


@pytest.mark.parametrize(("failure", "status"), [("Fail", 422), ("Ignore", 201)])
def test_an_expression_that_fails_denies_unless_it_is_to_be_ignored(server, failure, status):
    policy(server, "object.data.none == 'x'", failurePolicy=failure)
    assert status == server.config_map("x").status


@pytest.mark.parametrize("text", [
    "authorizer.requestResource.check('create').allowed() && !authorizer.requestResource.check('delete').allowed()",
    "authorizer.group('').resource('configmaps').namespace('default').name('x').check('create').reason().contains('RBAC')",
    "authorizer.path('/healthz').check('get').allowed() && !authorizer.path('/metrics').check('get').allowed()",
    "!authorizer.group('').resource('pods').subresource('log').fieldSelector('a=b').labelSelector('c').check('get').errored()",
    "!authorizer.serviceAccount('default', 'builder').requestResource.check('get').allowed() || true",
    "authorizer.serviceAccount('default', 'builder').group('apps').resource('deployments').check('get').error() == ''",
])  # fmt: skip
def test_an_expression_may_ask_who_may_do_what(server, text):
    server.add_default_roles()
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]
    rbac, subject = "/apis/rbac.authorization.k8s.io/v1", {"kind": "User", "name": "ann", "apiGroup": RBAC}
    server.create(f"{rbac}/clusterroles", {"metadata": {"name": "makers"}, "rules": rules})
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "makers"}
    server.create(f"{rbac}/clusterrolebindings", {"metadata": {"name": "makers"}, "roleRef": role, "subjects": [subject]})
    policy(
        server, text, matchConditions=[{"name": "asked", "expression": "authorizer.path('/x').check('get').reason() != 'x'"}]
    )
    made = server.create(CONFIG_MAPS, {"metadata": {"name": "x"}}, user=User("ann", ("system:authenticated",)))
    assert 201 == made.status, made.message


BIG = {"metadata": {"name": "x"}, "data": {"text": "x" * 300_000, "list": ",".join("abc" for _ in range(2000))}}


@pytest.mark.parametrize("text", [
    "cel.bind(a, object.data.text, " + "".join(f"cel.bind({'a' * n}, {'+'.join(['a' * (n - 1)] * 9)}, " for n in range(2, 12))
    + "size(aaaaaaaaaaa) > 1" + ")" * 11,
    "[1]" + ".map(x, [x, x, x, x, x, x, x, x, x, x])" * 12 + ".size() == 1",
    "'x'" + ".replace('', object.data.text)" * 4 + " != ''",
    "object.data.list.split(',').all(x, object.data.text.contains(x))",
    "object.data.list.split(',').map(x, object.data.text).join('') != ''",
])  # fmt: skip
def test_what_would_cost_too_much_on_these_values_is_not_evaluated(server, text):
    policy(server, text)
    assert "operation cancelled: actual cost limit exceeded" in server.create(CONFIG_MAPS, BIG).message
    if ".map(x, [" not in text and "cel.bind" not in text:  # which are too dear whatever they are given
        assert "cost limit" not in server.config_map("small").body.get("message", "")


def test_variables_cannot_grow_from_one_another_without_end(server):
    grown = [{"name": f"v{n}", "expression": "+".join([f"variables.v{n - 1}"] * 8)} for n in range(1, 12)]
    policy(server, "size(variables.v11) > 1", variables=[{"name": "v0", "expression": "'x'"}, *grown])
    assert SPENT in server.config_map("x").message


DEAR = f"object.data.text.replace('x', '{'y' * 90}') != ''"
"""Some 5.5 million units on BIG, of the 10 million that there are."""
SPENT = "validation failed due to running out of cost budget, no further validation rules will be run"


@pytest.mark.parametrize(
    ("validations", "spec", "why"),
    [
        ([DEAR], {"auditAnnotations": [{"key": "k", "valueExpression": f"{DEAR} ? 'a' : ''"}]}, ""),
        (["true", DEAR, DEAR], {}, SPENT),
        (["variables.v", DEAR], {"variables": [{"name": "v", "expression": DEAR}]}, SPENT),
        ([{"expression": f"!({DEAR})", "messageExpression": f"{DEAR} ? 'a' : ''"}], {}, f"failed messageExpression: {SPENT}"),
        ([DEAR], {"auditAnnotations": [{"key": k, "valueExpression": f"{DEAR} ? 'a' : ''"} for k in "ab"]}, SPENT),
        ([DEAR, DEAR], {"failurePolicy": "Ignore"}, ""),
    ],
    ids=["notes have their own", "validations", "variables", "messages", "notes", "ignored"],
)
def test_a_policys_expressions_share_one_budget(server, validations, spec, why):
    assert 201 == policy(server, *validations, **spec).status
    answer = server.create(CONFIG_MAPS, BIG)
    assert (422 if why else 201, True) == (answer.status, answer.body.get("message", "").endswith(why and f"request: {why}"))


def test_conditions_choose(server):
    policy(server, "false", matchConditions=[{"name": "c", "expression": "object.metadata.name.startsWith('bad')"}])
    assert [201, 422] == [server.config_map(name).status for name in ("good", "bad")]


def test_a_binding_narrows_its_policy(server):
    policy(server, "false", binding={"matchResources": {"objectSelector": {"matchLabels": {"a": "b"}}}})
    assert [201, 422] == [server.config_map("x", labels=labels).status for labels in ({"a": "c"}, {"a": "b"})]


def test_exceptions_are_not_seen(server):
    constraints = {"resourceRules": [MAPS], "excludeResourceRules": [{**MAPS, "resourceNames": ["free"]}]}
    policy(server, "false", matchConstraints=constraints)
    assert [201, 422] == [server.config_map(name).status for name in ("free", "x")]


def test_policies_see_no_policies(server):
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    policy(server, "false", matchConstraints={"resourceRules": [everything]})
    assert 200 == server.delete(f"{GROUP}/validatingadmissionpolicies/p").status


# Parameters -------------------------------------------------------------------------------------------------------------

PARAMS = {"apiVersion": "v1", "kind": "ConfigMap"}
LIMIT = "object.metadata.name == 'limits' || object.data.name.size() <= int(params.data.most)"


def limits(server: Server, most: str = "3", **meta: Any) -> None:
    server.create(CONFIG_MAPS, {"metadata": {"name": "limits", **meta}, "data": {"most": most, "name": ""}})


def test_a_parameter_by_name(server):
    limits(server)
    reference = {"name": "limits", "parameterNotFoundAction": "Deny"}
    policy(server, LIMIT, paramKind=PARAMS, binding={"paramRef": reference})
    assert [201, 422] == [server.config_map(name).status for name in ("ok", "long")]
    server.patch(f"{CONFIG_MAPS}/limits", {"data": {"most": "9"}})
    assert 201 == server.config_map("long").status


def test_parameters_by_selector_must_all_agree(server):
    limits(server, labels={"limits": "yes"})
    server.create(CONFIG_MAPS, {"metadata": {"name": "more", "labels": {"limits": "yes"}}, "data": {"most": "1", "name": ""}})
    reference = {"selector": {"matchLabels": {"limits": "yes"}}, "parameterNotFoundAction": "Deny"}
    policy(server, LIMIT, paramKind=PARAMS, binding={"paramRef": reference})
    assert [201, 422] == [server.config_map(name).status for name in ("x", "ok")]


@pytest.mark.parametrize(("action", "status"), [("Deny", 422), ("Allow", 201)])
def test_a_missing_parameter_denies_or_allows(server, action, status):
    reference = {"name": "none", "parameterNotFoundAction": action}
    policy(server, LIMIT, paramKind=PARAMS, binding={"paramRef": reference})
    assert status == server.config_map("long").status


def test_parameters_of_an_unknown_kind_deny(server):
    reference = {"name": "x", "parameterNotFoundAction": "Allow"}
    policy(server, LIMIT, paramKind={"apiVersion": "example.com/v1", "kind": "Spam"}, binding={"paramRef": reference})
    assert "failed to find resource referenced by paramKind" in server.config_map("x").message


# What is refused --------------------------------------------------------------------------------------------------------

BAD = [
    ("an expression that is none", {"validations": [{"expression": "1 +"}]}, "spec.validations[0].expression"),
    ("one that is no bool", {"validations": [{"expression": "1"}]}, "spec.validations[0].expression"),
    ("an unknown variable", {"validations": [{"expression": "spam == 1"}]}, "spec.validations[0].expression"),
    ("no expression", {"validations": [{"expression": " "}]}, "spec.validations[0].expression"),
    ("nothing to do", {"validations": []}, "spec.validations"),
    ("nothing to match", {"matchConstraints": None}, "spec.matchConstraints"),
    ("no rules", {"matchConstraints": {"resourceRules": []}}, "spec.matchConstraints.resourceRules"),
    ("an odd reason", {"validations": [{"expression": "true", "reason": "Whim"}]}, "spec.validations[0].reason"),
    ("a message of two lines", {"validations": [{"expression": "true", "message": "a\nb"}]}, "spec.validations[0].message"),
    ("a failure policy", {"failurePolicy": "Maybe"}, "spec.failurePolicy"),
    ("a variable's name", {"variables": [{"name": "a b", "expression": "1"}]}, "spec.variables[0].name"),
    ("too many to compile", {"validations": [{"expression": "1 +"}] * 501}, "spec.validations"),
    ("a parameter of no kind", {"paramKind": {"apiVersion": "v1"}}, "spec.paramKind.kind"),
]


@pytest.mark.parametrize(("change", "field"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_policy_is_refused_for(server, change, field):
    spec = {"matchConstraints": {"resourceRules": [MAPS]}, "validations": [{"expression": "true"}]} | change
    answer = server.create(f"{GROUP}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": spec})
    assert (422, True) == (answer.status, field in [cause["field"] for cause in answer.body["details"]["causes"]]), answer.body


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"validationActions": []}, "spec.validationActions"),
        ({"validationActions": ["Deny", "Warn"]}, "spec.validationActions"),
        ({"validationActions": ["Shout"]}, "spec.validationActions[0]"),
        ({"policyName": ""}, "spec.policyName"),
        ({"paramRef": {"name": "a"}}, "spec.paramRef.parameterNotFoundAction"),
        ({"paramRef": {"parameterNotFoundAction": "Deny"}}, "spec.paramRef.name"),
    ],
)
def test_a_binding_is_refused_for(server, change, field):
    spec = {"policyName": "p", "validationActions": ["Deny"]} | change
    answer = server.create(f"{GROUP}/validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": spec})
    assert (422, field) == (answer.status, answer.body["details"]["causes"][0]["field"]), answer.body


# Built-in ---------------------------------------------------------------------------------------------------------------


def test_external_ips_are_denied_when_the_plugin_is_on(server):
    services = "/api/v1/namespaces/default/services"
    body = {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}}
    assert 201 == server.create(services, body).status
    server.settings = type(server.settings)(enable_admission_plugins=("DenyServiceExternalIPs",))
    answer = server.create(services, body | {"metadata": {"name": "b"}})
    assert (403, True) == (answer.status, "Use of external IPs is denied by admission control" in answer.message)
    assert 200 == server.patch(f"{services}/a", {"metadata": {"labels": {"x": "y"}}}).status  # what it has, it keeps
    assert 403 == server.patch(f"{services}/a", {"spec": {"externalIPs": ["192.0.2.2"]}}).status


def test_a_pod_of_a_missing_account_is_refused(server):
    answer = server.pod("p", serviceAccountName="none")
    why = 'error looking up service account default/none: serviceaccount "none" not found'
    assert (403, f'pods "p" is forbidden: {why}') == (answer.status, answer.message)
