"""Who may do what, by whole requests: roles, bindings, nodes, impersonation, and the ways around them that came to mind."""

import json

import pytest
from core_server import ADMIN, CONFIG_MAPS, PODS, Server

from mooring.apiserver.contract import ANONYMOUS, User

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ADA = User("ada", ("devs", "system:authenticated"))
NODE = User("system:node:a", ("system:nodes", "system:authenticated"))
SECRETS = "/api/v1/namespaces/default/secrets"


@pytest.fixture
def server() -> Server:
    server = Server()
    server.add_default_roles()
    for name in ("other", "kube-system"):
        server.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return server


def role(server: Server, name: str, *rules: dict, namespace: str = "default", user: User = ADMIN):
    path = f"{RBAC}/namespaces/{namespace}/roles" if namespace else f"{RBAC}/clusterroles"
    return server.create(path, {"metadata": {"name": name}, "rules": list(rules)}, user=user)


def bind(server: Server, role: str, subject: dict, namespace: str = "default", kind: str = "Role", user: User = ADMIN):
    path = f"{RBAC}/namespaces/{namespace}/rolebindings" if namespace else f"{RBAC}/clusterrolebindings"
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
    return server.create(path, {"metadata": {"name": f"b-{role}"}, "roleRef": reference, "subjects": [subject]}, user=user)


def rule(verbs: str, resources: str, groups: str = "", **more: list[str]) -> dict:
    return {"verbs": verbs.split(","), "resources": resources.split(","), "apiGroups": groups.split(","), **more}


USER = {"kind": "User", "name": "ada"}


# Roles and bindings -----------------------------------------------------------------------------------------------------


def test_nobody_may_do_anything_without_a_role(server):
    answer = server.get(CONFIG_MAPS, user=ADA)
    why = 'User "ada" cannot list resource "configmaps" in API group "" in the namespace "default"'
    assert (403, f"configmaps is forbidden: {why}") == (answer.status, answer.message)


def test_a_role_holds_in_its_namespace_alone(server):
    role(server, "reader", rule("get,list", "configmaps"))
    bind(server, "reader", USER)
    assert (200, 403) == (server.get(CONFIG_MAPS, user=ADA).status,
                          server.get("/api/v1/namespaces/other/configmaps", user=ADA).status)  # fmt: skip
    assert 403 == server.get("/api/v1/configmaps", user=ADA).status
    assert 403 == server.create(CONFIG_MAPS, {"metadata": {"name": "x"}}, user=ADA).status


def test_a_cluster_role_bound_in_a_namespace_holds_there(server):
    role(server, "reader", rule("list", "configmaps"), namespace="")
    bind(server, "reader", USER, kind="ClusterRole")
    assert (200, 403) == (server.get(CONFIG_MAPS, user=ADA).status, server.get("/api/v1/configmaps", user=ADA).status)


def test_a_cluster_role_bound_to_the_cluster_holds_everywhere(server):
    role(server, "reader", rule("list", "configmaps"), namespace="")
    bind(server, "reader", {"kind": "Group", "name": "devs"}, namespace="", kind="ClusterRole")
    assert {200} == {server.get(path, user=ADA).status for path in (CONFIG_MAPS, "/api/v1/configmaps")}


def test_a_service_account_is_the_user_of_its_name(server):
    role(server, "reader", rule("list", "configmaps"))
    bind(server, "reader", {"kind": "ServiceAccount", "name": "robot", "namespace": "other"})
    robot = User("system:serviceaccount:other:robot", ("system:serviceaccounts",))
    assert (200, 403) == (server.get(CONFIG_MAPS, user=robot).status,
                          server.get(CONFIG_MAPS, user=User("system:serviceaccount:default:robot")).status)  # fmt: skip


def test_what_is_taken_away_is_gone_at_once(server):
    role(server, "reader", rule("list", "configmaps"))
    bind(server, "reader", USER)
    assert 200 == server.get(CONFIG_MAPS, user=ADA).status
    server.delete(f"{RBAC}/namespaces/default/rolebindings/b-reader")
    assert 403 == server.get(CONFIG_MAPS, user=ADA).status


def test_a_binding_of_a_missing_role_says_so(server):
    bind(server, "nowhere", USER, kind="ClusterRole")
    assert 'RBAC: clusterrole.rbac.authorization.k8s.io "nowhere" not found' in server.get(CONFIG_MAPS, user=ADA).message


def test_names_limit_a_list_to_the_one_that_is_selected(server):
    role(server, "one", rule("get,list,watch", "configmaps", resourceNames=["x"]))
    bind(server, "one", USER)
    assert 403 == server.get(CONFIG_MAPS, user=ADA).status
    assert 200 == server.get(f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Dx", user=ADA).status
    assert 403 == server.get(f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Dy", user=ADA).status
    assert 403 == server.get(f"{CONFIG_MAPS}?fieldSelector=metadata.name!%3Dx", user=ADA).status


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/default/secrets/token", "/api/v1/namespaces/default/secrets/../secrets/token",
        "/api/v1//namespaces/default/secrets", "/api/v1/watch/namespaces/default/secrets", "/api/v1/watch/secrets",
        "/api/v1/namespaces/default/secrets/", "/API/v1/secrets", "/api/v1/secrets?watch=1",
        "/api/v1/namespaces/default/secrets?watch=true&fieldSelector=metadata.name%3Dtoken",
    ],
)  # fmt: skip
def test_no_path_leads_around_a_refusal(server, path):
    """View reads no Secrets, whatever way the path is written."""
    bind(server, "view", USER, kind="ClusterRole")
    server.create(SECRETS, {"metadata": {"name": "token"}, "stringData": {"a": "b"}})
    assert server.decide("GET", path, user=ADA).status in (403, 404)


def test_put_and_apply_that_create_need_the_right_to_create(server):
    role(server, "updater", rule("get,update,patch", "services,configmaps"))
    bind(server, "updater", USER)
    service = {"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}
    assert 403 == server.put("/api/v1/namespaces/default/services/x", service, user=ADA).status
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    path = f"{CONFIG_MAPS}/x?fieldManager=t"
    assert 403 == server.patch(path, applied, "application/apply-patch+yaml", user=ADA).status


def test_paths_that_are_no_resource_have_their_own_rules(server):
    assert {200} == {server.get(path, user=ADA).status for path in ("/api", "/apis", "/openapi/v3", "/version")}
    assert {403} == {server.get(path, user=ANONYMOUS).status for path in ("/api", "/apis", "/openapi/v3", "/metrics")}
    assert 403 == server.get("/metrics", user=ADA).status


# Escalation -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def delegate(server) -> Server:
    """Ada may write roles and bindings in `default`, and read ConfigMaps there: no more."""
    role(
        server,
        "delegate",
        rule("create,update,patch", "roles,rolebindings", "rbac.authorization.k8s.io"),
        rule("get", "configmaps"),
    )
    bind(server, "delegate", USER)
    return server


def test_nobody_gives_what_they_do_not_have(delegate):
    answer = role(delegate, "thief", rule("get", "secrets"), user=ADA)
    assert 403 == answer.status
    assert 'user "ada" (groups=["devs" "system:authenticated"]) is attempting to grant RBAC permissions' in answer.message
    assert '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}' in answer.message


def test_what_one_has_may_be_given(delegate):
    assert 201 == role(delegate, "half", rule("get", "configmaps"), user=ADA).status
    assert 201 == bind(delegate, "half", {"kind": "User", "name": "bob"}, user=ADA).status


def test_a_binding_gives_no_more_than_one_has(delegate):
    role(delegate, "strong", rule("get", "secrets"))
    assert 403 == bind(delegate, "strong", USER, user=ADA).status
    assert 403 == bind(delegate, "cluster-admin", USER, kind="ClusterRole", user=ADA).status
    assert 404 == bind(delegate, "missing", USER, user=ADA).status


def test_a_role_that_one_is_bound_to_does_not_grow(delegate):
    stronger = [rule("*", "*", "*")]
    path = f"{RBAC}/namespaces/default/roles/delegate"
    for answer in (
        delegate.patch(path, {"rules": stronger}, user=ADA),
        delegate.put(path, {"metadata": {"name": "delegate"}, "rules": stronger}, user=ADA),
        delegate.patch(path, [{"op": "replace", "path": "/rules", "value": stronger}], "application/json-patch+json", user=ADA),
    ):
        assert 403 == answer.status
    assert 200 == delegate.patch(path, {"metadata": {"labels": {"a": "b"}}}, user=ADA).status


def test_an_aggregated_role_needs_everything(server):
    role(server, "maker", rule("create", "clusterroles", "rbac.authorization.k8s.io"), namespace="")
    bind(server, "maker", USER, namespace="", kind="ClusterRole")
    sum_of_all = {"metadata": {"name": "all"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}
    assert 403 == server.create(f"{RBAC}/clusterroles", sum_of_all, user=ADA).status


def test_escalate_and_bind_are_rights_of_their_own(delegate):
    role(delegate, "trusted", rule("escalate", "roles", "rbac.authorization.k8s.io"),
         rule("bind", "clusterroles", "rbac.authorization.k8s.io", resourceNames=["view"]), namespace="")  # fmt: skip
    bind(delegate, "trusted", USER, namespace="", kind="ClusterRole")
    assert 201 == role(delegate, "any", rule("get", "secrets"), user=ADA).status
    assert 201 == bind(delegate, "view", USER, kind="ClusterRole", user=ADA).status
    assert 403 == bind(delegate, "cluster-admin", USER, kind="ClusterRole", user=ADA).status


def test_the_role_of_a_binding_cannot_be_changed(server):
    role(server, "reader", rule("get", "configmaps"))
    bind(server, "reader", USER)
    path = f"{RBAC}/namespaces/default/rolebindings/b-reader"
    answer = server.patch(path, {"roleRef": {"name": "other"}})
    assert (422, True) == (answer.status, "cannot change roleRef" in answer.message)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"rules": [{"verbs": [], "apiGroups": [""], "resources": ["pods"]}]}, "rules[0].verbs"),
        ({"rules": [{"verbs": ["get"], "apiGroups": [], "resources": ["pods"]}]}, "rules[0].apiGroups"),
        ({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": []}]}, "rules[0].resources"),
        ({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}, "rules[0].nonResourceURLs"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(server, document, field):
    answer = server.create(f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "x"}, **document})
    assert (422, field) == (answer.status, answer.body["details"]["causes"][0]["field"])


# Impersonation ----------------------------------------------------------------------------------------------------------


def as_(user: str, **more: str) -> dict[str, str]:
    return {"impersonate-user": user} | {f"impersonate-{name}": value for name, value in more.items()}


def whoami(server: Server, user: User, headers: dict[str, str]):
    return server.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, user=user, headers=headers)


def test_an_administrator_may_be_anybody(server):
    info = whoami(server, ADMIN, as_("eve", group="a\nb", uid="7") | {"impersonate-extra-scopes%2fx": "one\ntwo"}).body
    assert {
        "username": "eve", "uid": "7", "groups": ["a", "b", "system:authenticated"], "extra": {"scopes/x": ["one", "two"]}
    } == info["status"]["userInfo"]  # fmt: skip


def test_a_service_account_comes_with_its_groups(server):
    info = whoami(server, ADMIN, as_("system:serviceaccount:default:robot")).body["status"]["userInfo"]
    assert ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"] == info["groups"]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (as_("eve"), 'users "eve" is forbidden: User "ada" cannot impersonate resource "users" in API group ""'),
        (as_("system:admin", group="system:masters"), "cannot impersonate"),
        (as_("system:serviceaccount:kube-system:x"), 'serviceaccounts "x" is forbidden'),
    ],
)
def test_who_may_not_be_another_is_told_so(server, headers, message):
    answer = server.get(CONFIG_MAPS, user=ADA, headers=headers)
    assert (403, True) == (answer.status, message in answer.message)


def test_a_right_to_be_one_user_is_no_right_to_have_a_group(server):
    role(server, "actor", rule("impersonate", "users", resourceNames=["eve"]), namespace="")
    bind(server, "actor", USER, namespace="", kind="ClusterRole")
    assert 201 == whoami(server, ADA, as_("eve")).status
    assert 403 == whoami(server, ADA, as_("bob")).status
    for more in ({"group": "system:masters"}, {"uid": "1"}):
        assert 403 == whoami(server, ADA, as_("eve", **more)).status
    assert 403 == whoami(server, ADA, as_("eve") | {"impersonate-extra-x": "y"}).status


def test_whoever_is_impersonated_has_their_own_rights_only(server):
    server.create(SECRETS, {"metadata": {"name": "s"}})
    assert (200, 403) == (server.get(SECRETS).status, server.get(SECRETS, headers=as_("eve")).status)


def test_a_group_without_a_user_is_an_error(server):
    assert 500 == server.get(CONFIG_MAPS, headers={"impersonate-group": "system:masters"}).status


# Nodes ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nodes(server) -> Server:
    """Nodes a and b; pod `mine` on a uses a secret, a config map and an account; pod `theirs` is on b."""
    for name in ("a", "b"):
        server.node(name)
        server.create("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", {"metadata": {"name": name}})
    server.create("/api/v1/namespaces", {"metadata": {"name": "kube-node-lease"}})
    for name in ("mine", "theirs"):
        server.create(SECRETS, {"metadata": {"name": f"{name}-secret"}})
        server.config_map(f"{name}-map")
        server.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": f"{name}-account"}})
        volumes = [{"name": "v", "secret": {"secretName": f"{name}-secret"}},
                   {"name": "w", "projected": {"sources": [{"configMap": {"name": f"{name}-map"}}]}}]  # fmt: skip
        server.pod(name, volumes=volumes, serviceAccountName=f"{name}-account")
        server.bind(name, "a" if name == "mine" else "b")
    return server


def test_a_node_reads_what_its_pods_use(nodes):
    for path in (f"{SECRETS}/mine-secret", f"{CONFIG_MAPS}/mine-map"):
        assert 200 == nodes.get(path, user=NODE).status
    selected = f"{SECRETS}?watch=1&fieldSelector=metadata.name%3Dmine-secret"
    assert hasattr(nodes.decide("GET", selected, user=NODE), "prefix")


@pytest.mark.parametrize(
    "path",
    [f"{SECRETS}/theirs-secret", f"{CONFIG_MAPS}/theirs-map", SECRETS, "/api/v1/secrets", f"{SECRETS}?watch=1",
     # The name of a Secret of its own, in whatever namespace.
     "/api/v1/secrets?fieldSelector=metadata.name%3Dmine-secret",
     "/api/v1/watch/configmaps?fieldSelector=metadata.name%3Dmine-map",
     f"{SECRETS}?fieldSelector=metadata.name%3Dtheirs-secret", f"{SECRETS}?fieldSelector=metadata.name!%3Dx"],
)  # fmt: skip
def test_a_node_reads_nothing_else(nodes, path):
    answer = nodes.decide("GET", path, user=NODE)
    assert 403 == answer.status


def test_a_pod_that_names_a_secret_gives_it_to_its_node_only_when_it_is_there(nodes):
    nodes.pod("greedy", volumes=[{"name": "v", "secret": {"secretName": "theirs-secret"}}])
    assert 403 == nodes.get(f"{SECRETS}/theirs-secret", user=NODE).status
    nodes.bind("greedy", "a")
    assert 200 == nodes.get(f"{SECRETS}/theirs-secret", user=NODE).status


def test_a_node_has_tokens_for_its_pods_accounts_bound_to_them(nodes):
    def token(account: str, pod: str | None):
        uid = nodes.get(f"{PODS}/{pod}").body["metadata"].get("uid")
        bound = {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}} if pod else {}
        path = f"/api/v1/namespaces/default/serviceaccounts/{account}/token"
        return nodes.create(path, {"spec": bound}, user=NODE).status

    assert [201, 403, 403, 403] == [
        token("mine-account", "mine"), token("mine-account", None), token("theirs-account", "theirs"), token("default", "mine")
    ]  # fmt: skip


def test_a_node_writes_itself_and_no_other(nodes):
    def patch(name: str, body: dict, below: str = ""):
        return nodes.patch(f"/api/v1/nodes/{name}{below}", body, user=NODE).status

    assert [200, 403] == [patch(name, {"status": {"phase": "Running"}}, "/status") for name in ("a", "b")]
    assert [200, 403] == [patch(name, {"metadata": {"labels": {"x": "y"}}}) for name in ("a", "b")]
    assert 403 == patch("a", {"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}}})
    assert 403 == patch("a", {"spec": {"taints": []}}) or 200 == patch("a", {"spec": {"unschedulable": False}})
    assert 403 == nodes.delete("/api/v1/nodes/a", user=NODE).status


def test_a_node_tells_of_its_own_pods(nodes):
    def status(name: str):
        return nodes.patch(f"{PODS}/{name}/status", {"status": {"phase": "Running"}}, user=NODE).status

    assert [200, 403] == [status("mine"), status("theirs")]
    assert [200, 403] == [nodes.delete(f"{PODS}/{name}", user=NODE).status for name in ("mine", "theirs")]
    pod = {"metadata": {"name": "new"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert 403 == nodes.create(PODS, pod, user=NODE).status


def test_the_name_of_a_node_without_its_group_is_a_name(nodes):
    assert 403 == nodes.get(f"{SECRETS}/mine-secret", user=User("system:node:a", ("system:authenticated",))).status


# Reviews ----------------------------------------------------------------------------------------------------------------


def review(server: Server, kind: str, spec: dict, user: User = ADMIN, group: str = "authorization", namespace: str = ""):
    where = f"namespaces/{namespace}/" if namespace else ""
    return server.create(f"/apis/{group}.k8s.io/v1/{where}{kind}", {"spec": spec}, user=user)


PODS_LISTED = {"namespace": "default", "verb": "list", "resource": "pods"}


def test_can_i(server):
    spec = {"resourceAttributes": PODS_LISTED}
    assert review(server, "selfsubjectaccessreviews", spec).body["status"]["allowed"]
    assert {"allowed": False} == review(server, "selfsubjectaccessreviews", spec, ADA).body["status"]
    bind(server, "view", USER, kind="ClusterRole")
    server.patch(f"{RBAC}/clusterroles/view", {"rules": [rule("list", "pods")]})
    status = review(server, "selfsubjectaccessreviews", spec, ADA).body["status"]
    why = 'RBAC: allowed by RoleBinding "b-view/default" of ClusterRole "view" to User "ada"'
    assert {"allowed": True, "reason": why} == status


def test_can_somebody_is_for_those_who_may_ask(server):
    spec = {"resourceAttributes": PODS_LISTED, "user": "ada", "groups": ["system:masters"]}
    assert review(server, "subjectaccessreviews", spec).body["status"]["allowed"]
    assert 403 == review(server, "subjectaccessreviews", spec, ADA).status
    local = review(server, "localsubjectaccessreviews", spec, namespace="default")
    assert local.body["status"]["allowed"]
    assert 400 == review(server, "localsubjectaccessreviews", spec, namespace="other").status


@pytest.mark.parametrize("spec", [{}, {"user": "x"}, {"user": "x", "resourceAttributes": {}, "nonResourceAttributes": {}},
                                  {"resourceAttributes": {}}])  # fmt: skip
def test_a_review_of_nothing_is_refused(server, spec):
    assert 422 == review(server, "subjectaccessreviews", spec).status


def test_rules_are_listed(server):
    role(server, "reader", rule("get", "configmaps"))
    bind(server, "reader", USER)
    status = review(server, "selfsubjectrulesreviews", {"namespace": "default"}, ADA).body["status"]
    assert {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]} in status["resourceRules"]
    assert status["nonResourceRules"] and not status["incomplete"]


def test_a_token_is_reviewed(server):
    def verify(token, snapshot, now, audiences):
        if token != "good":
            raise ValueError("token is not valid")
        return ADA, audiences or ("api",)

    server.settings = type(server.settings)(token_verifier=verify)
    good = review(server, "tokenreviews", {"token": "good", "audiences": ["x"]}, group="authentication").body["status"]
    assert {"authenticated": True, "audiences": ["x"], "user": {"username": "ada", "groups": list(ADA.groups)}} == good
    bad = review(server, "tokenreviews", {"token": "bad"}, group="authentication").body["status"]
    assert {"user": {}, "error": "token is not valid"} == bad
    assert 400 == review(server, "tokenreviews", {}, group="authentication").status
    assert 403 == review(server, "tokenreviews", {"token": "good"}, ADA, group="authentication").status


def test_reviews_are_not_kept(server):
    before = server.state.revision
    review(server, "selfsubjectaccessreviews", {"resourceAttributes": PODS_LISTED})
    assert before == server.state.revision
    assert 405 == server.get("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").status


# Default roles ----------------------------------------------------------------------------------------------------------


def test_default_roles_are_made_once(server):
    before = server.state.revision
    server.add_default_roles()
    assert before == server.state.revision


def test_what_was_taken_from_a_default_role_comes_back_and_additions_stay(server):
    path = f"{RBAC}/clusterroles/system:basic-user"
    mine = rule("get", "configmaps")
    server.patch(path, {"rules": [mine]})
    server.add_default_roles()
    rules = server.get(path).body["rules"]
    assert mine in rules and any("selfsubjectaccessreviews" in each["resources"] for each in rules)


def test_a_default_role_that_is_not_to_be_kept_is_left_alone(server):
    path = f"{RBAC}/clusterroles/system:basic-user"
    server.patch(path, {"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}, "rules": []})
    server.add_default_roles()
    assert not server.get(path).body["rules"]


def test_every_default_object_is_valid(server):
    """Each would be accepted from a client as it is."""
    for plural in ("clusterroles", "clusterrolebindings"):
        for item in server.get(f"{RBAC}/{plural}").body["items"]:
            item |= {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": plural.removesuffix("s").title()}
            answer = server.patch(f"{RBAC}/{plural}/{item['metadata']['name']}?dryRun=All", json.dumps({}).encode())
            assert 200 == answer.status, answer.body
