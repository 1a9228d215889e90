"""Ways around authorization that were open once, or look as if they might be."""

import gc
import tracemalloc
from urllib.parse import parse_qsl

import pytest
from core_server import ADMIN, CONFIG_MAPS, PODS, Server
from msgspec import structs

from mooring.apiserver.contract import ANONYMOUS, Env, Request, User
from mooring.apiserver.handle import refusal

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ADA = User("ada", ("system:authenticated",))
NODE = User("system:node:a", ("system:nodes", "system:authenticated"))
CONTROLLERS = User("system:kube-controller-manager", ("system:authenticated",))
SECRETS = "/api/v1/namespaces/default/secrets"
MIRROR = {"kubernetes.io/config.mirror": "x"}
OWNER = {"apiVersion": "v1", "kind": "Node", "name": "a", "controller": True}


@pytest.fixture
def server() -> Server:
    server = Server()
    server.add_default_roles()
    return server


def grant(server: Server, *rules: dict, namespace: str = "default") -> None:
    """To Ada, in a namespace or ('') everywhere."""
    below = f"namespaces/{namespace}/" if namespace else ""
    kind, plural, bindings = (
        ("Role", "roles", "rolebindings") if namespace else ("ClusterRole", "clusterroles", "clusterrolebindings")
    )
    name = f"r{server.state.revision}"
    assert server.create(f"{RBAC}/{below}{plural}", {"metadata": {"name": name}, "rules": list(rules)}).status == 201
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    body = {"metadata": {"name": name}, "roleRef": reference, "subjects": [{"kind": "User", "name": "ada"}]}
    assert server.create(f"{RBAC}/{below}{bindings}", body).status == 201


def rule(verbs: str, resources: str, groups: str = "", **more: list[str]) -> dict:
    return {"verbs": verbs.split(","), "resources": resources.split(","), "apiGroups": groups.split(","), **more}


# Selectors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["", "metadata.namespace%3Ddefault", "metadata.name!%3Dnone", "type%3DOpaque"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_only_the_selector_that_is_used_counts(server, before, method):
    """A right to one name is not widened by a second selector that nobody reads."""
    grant(server, rule("list,watch,deletecollection", "secrets", resourceNames=["mine"]))
    query = f"fieldSelector={before}&fieldSelector=metadata.name%3Dmine"
    assert 403 == server.decide(method, f"{SECRETS}?{query}", user=ADA).status
    assert 403 == server.decide(method, f"{SECRETS}?watch=1&{query}", user=ADA).status


@pytest.mark.parametrize("selector", ["metadata.name", "metadata.name%3D%5Cx", "metadata.name%3Da%3Db"])
def test_a_selector_that_is_none_names_nothing(server, selector):
    grant(server, rule("list", "secrets", resourceNames=["mine"]))
    assert 403 == server.get(f"{SECRETS}?fieldSelector={selector}", user=ADA).status
    assert 400 == server.get(f"{SECRETS}?fieldSelector={selector}").status


# Remembered answers -----------------------------------------------------------------------------------------------------


def test_a_question_about_a_name_with_a_slash_is_another_question(server):
    grant(server, rule("get", "*/status"))
    asked = {"namespace": "default", "verb": "get", "resource": "pods/status", "name": "p"}
    answer = server.create(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {"resourceAttributes": asked}}, user=ADA
    )
    assert answer.body["status"]["allowed"] is False
    assert 404 == server.get(f"{PODS}/p/status", user=ADA).status


# From the head alone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "user", "headers"), [
    ("POST", CONFIG_MAPS, ANONYMOUS, {}), ("POST", "/elsewhere", ANONYMOUS, {}), ("PUT", f"{SECRETS}/s", ADA, {}),
    ("POST", CONFIG_MAPS, ADA, {"impersonate-user": "admin"}), ("POST", CONFIG_MAPS, ADMIN, {"impersonate-user": "ada"}),
    ("DELETE", f"{PODS}?fieldSelector=metadata.name%3Dx", ADA, {}), ("POST", f"{PODS}/p/exec", NODE, {}),
])  # fmt: skip
def test_who_may_not_is_refused_without_the_body_as_with_it(server, method, path, user, headers):
    whole = server.send(method, path, {"metadata": {"name": "x"}}, user=user, headers=headers)
    where, _, query = path.partition("?")
    request = Request(method, where, tuple(parse_qsl(query)), headers, b"", user)
    env = Env(server.now, server.rng, server.settings)
    early = refusal(request, server.state, env)
    assert refusal(structs.replace(request, user=ADMIN, headers={}), server.state, env) is None
    assert early is not None and (403, whole.response.body) == (early.status, early.body)


# Escalation -------------------------------------------------------------------------------------------------------------


def test_a_role_of_a_million_permissions_is_refused_quickly(server):
    """Three lists of a thousand words are a billion permissions, and a small request."""
    grant(server, rule("create", "roles", "rbac.authorization.k8s.io"))
    words = [f"w{number}" for number in range(1000)]
    huge = {"verbs": words, "resources": words, "apiGroups": words}
    answer = server.create(f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "x"}, "rules": [huge]}, user=ADA)
    assert (403, True) == (answer.status, "attempting to grant RBAC permissions" in answer.message)
    assert len(answer.message) < 100_000


def test_whoever_has_it_all_may_give_as_much(server):
    grant(server, rule("*", "*", "*"))
    words = [f"w{number}" for number in range(200)]
    huge = {"verbs": words, "resources": words, "apiGroups": words}
    answer = server.create(f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "x"}, "rules": [huge]}, user=ADA)
    assert 201 == answer.status


def test_nobody_adds_to_a_sum_what_they_do_not_have(server):
    """By a label on a role that is there, without a word about rules."""
    grant(server, rule("get,patch", "clusterroles", "rbac.authorization.k8s.io"), namespace="")
    label = {"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}}
    for name in ("cluster-admin", "admin"):
        answer = server.patch(f"{RBAC}/clusterroles/{name}", label, user=ADA)
        assert (403, True) == (answer.status, "RBAC permissions not currently held" in answer.message), name
    owners = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}]
    collected = {"metadata": {"ownerReferences": owners, "finalizers": ["x.io/y"]}}
    assert 200 == server.patch(f"{RBAC}/clusterroles/admin", collected, user=ADA).status


def test_the_selectors_of_an_aggregated_role_are_checked(server):
    bad = {"matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]}
    body = {"metadata": {"name": "x"}, "aggregationRule": {"clusterRoleSelectors": [bad]}}
    answer = server.create(f"{RBAC}/clusterroles", body)
    field = "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator"
    assert (422, field) == (answer.status, answer.body["details"]["causes"][0]["field"])


@pytest.mark.parametrize("body", [
    {"rules": [None]}, {"rules": "all"}, {"rules": [{"verbs": "get"}]}, {"rules": [{"verbs": [None]}]}, {"aggregationRule": []},
])  # fmt: skip
def test_roles_of_another_form_are_refused(server, body):
    answer = server.create(f"{RBAC}/clusterroles", {"metadata": {"name": "x"}, **body})
    assert answer.status in (400, 422)


@pytest.mark.parametrize("body", [
    {}, {"roleRef": None}, {"roleRef": {}, "subjects": [None]}, {"roleRef": {"kind": "ClusterRole"}, "subjects": {}},
])  # fmt: skip
@pytest.mark.parametrize("user", [ADMIN, ADA])
def test_bindings_of_another_form_are_refused(server, body, user):
    grant(server, rule("create", "clusterrolebindings", "rbac.authorization.k8s.io"), namespace="")
    answer = server.create(f"{RBAC}/clusterrolebindings", {"metadata": {"name": "x"}, **body}, user=user)
    assert answer.status in (400, 403, 404, 422)


# Impersonation ----------------------------------------------------------------------------------------------------------


def test_extra_values_without_a_user_are_an_error(server):
    assert 500 == server.get(CONFIG_MAPS, headers={"impersonate-extra-scopes": "all"}).status


@pytest.mark.parametrize(("given", "groups"), [
    ("", ["system:unauthenticated"]), ("devs", ["devs", "system:unauthenticated"]),
    ("system:authenticated", ["system:authenticated"]),
])  # fmt: skip
def test_the_anonymous_user_stays_unauthenticated(server, given, groups):
    headers = {"impersonate-user": "system:anonymous"} | ({"impersonate-group": given} if given else {})
    grant(server, rule("impersonate", "users,groups"), namespace="")
    body = {"rules": [rule("create", "selfsubjectreviews", "authentication.k8s.io")], "metadata": {"name": "me"}}
    server.create(f"{RBAC}/clusterroles", body)
    subjects = [{"kind": "Group", "name": name} for name in ("system:unauthenticated", "devs")]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "me"}
    server.create(f"{RBAC}/clusterrolebindings", {"metadata": {"name": "me"}, "roleRef": reference, "subjects": subjects})
    answer = server.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, user=ADA, headers=headers)
    assert groups == answer.body["status"]["userInfo"]["groups"]


# Nodes ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nodes(server) -> Server:
    for name in ("a", "b"):
        server.node(name)
    server.create(SECRETS, {"metadata": {"name": "others"}})
    server.pod("theirs")
    server.bind("theirs", "b")
    return server


def mirror(owners: tuple[dict, ...] = (OWNER,), **spec: object) -> dict:
    meta = {"name": "mirror", "annotations": MIRROR, "ownerReferences": list(owners)}
    return {"metadata": meta, "spec": {"nodeName": "a", "containers": [{"name": "c", "image": "i"}], **spec}}


def owned(server: Server, pod: dict) -> dict:
    """With the uid of node a."""
    uid = server.get("/api/v1/nodes/a").body["metadata"]["uid"]
    owners = [{"uid": uid, **owner} for owner in pod["metadata"]["ownerReferences"]]
    return {**pod, "metadata": {**pod["metadata"], "ownerReferences": owners}}


SECRET_VOLUME = [{"name": "v", "secret": {"secretName": "others"}}]


@pytest.mark.parametrize(("more", "why"), [
    ({"volumes": SECRET_VOLUME}, "secrets"),
    ({"imagePullSecrets": [{"name": "others"}]}, "secrets"),
    ({"volumes": [{"name": "v", "configMap": {"name": "others"}}]}, "configmaps"),
    ({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "others"}}]}}]}, "secrets"),
    ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "others"}}]}, "persistentvolumeclaims"),
    ({"containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "others"}}]}]}, "secrets"),
    ({"initContainers": [{"name": "d", "image": "i",
                          "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "others", "key": "k"}}}]}]}, "secrets"),
    ({"serviceAccountName": "default"}, "service account"),
    ({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}}}}]}, "persistentvolumeclaims"),
    ({"nodeName": "b"}, "spec.nodeName set to itself"),
    ({"nodeName": ""}, "spec.nodeName set to itself"),
    ({"owners": ()}, "owner reference set to itself"),
    ({"owners": (OWNER, {**OWNER, "uid": "v", "controller": False})}, "single owner reference"),
    ({"owners": ({**OWNER, "name": "b"},)}, "owner reference set to itself"),
    ({"owners": ({**OWNER, "controller": False},)}, "controller owner reference"),
])  # fmt: skip
def test_a_node_gets_no_secret_by_a_pod_of_its_own_making(nodes, more, why):
    answer = nodes.create(PODS, owned(nodes, mirror(**more)), user=NODE)
    assert (403, True) == (answer.status, why in answer.message), answer.message
    assert 403 == nodes.get(f"{SECRETS}/others", user=NODE).status


def test_a_node_may_tell_of_a_static_pod(nodes):
    another = mirror(owners=({**OWNER, "uid": "another"},))
    assert "UID mismatch" in nodes.create(PODS, another, user=NODE).message
    assert 201 == nodes.create(PODS, owned(nodes, mirror()), user=NODE).status
    assert not nodes.get(f"{PODS}/mirror").body["spec"].get("volumes")


def test_a_node_evicts_its_own_pods_only(nodes):
    nodes.pod("mine")
    nodes.bind("mine", "a")
    body = {"apiVersion": "policy/v1", "kind": "Eviction"}
    for name, status in (("theirs", 403), ("mine", 201), ("missing", 404)):
        answer = nodes.create(f"{PODS}/{name}/eviction", {**body, "metadata": {"name": name}}, user=NODE)
        assert status == answer.status, answer.message


@pytest.mark.parametrize(("labels", "status"), [
    ({"node-role.kubernetes.io/control-plane": ""}, 403), ({"x.node-restriction.kubernetes.io/a": "b"}, 403),
    ({"node-restriction.kubernetes.io/a": "b"}, 403), ({"kubernetes.io/anything": "b"}, 403), ({"a.k8s.io/b": "c"}, 403),
    ({"kubernetes.io/hostname": "h", "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "z"}, 200),
    ({"node.kubernetes.io/x": "y", "kubelet.kubernetes.io/x": "y", "example.com/x": "y", "plain": "y"}, 200),
])  # fmt: skip
@pytest.mark.parametrize("below", ["", "/status"])
def test_a_node_gives_itself_no_role(nodes, labels, status, below):
    answer = nodes.patch(f"/api/v1/nodes/a{below}", {"metadata": {"labels": labels}}, user=NODE)
    now = nodes.get("/api/v1/nodes/a").body["metadata"].get("labels") or {}
    assert status == answer.status, answer.message
    assert (status == 200) or not set(labels) & set(now)


def test_a_node_registers_without_a_role(nodes):
    other = User("system:node:c", ("system:nodes",))
    body = {"metadata": {"name": "c", "labels": {"node-role.kubernetes.io/control-plane": ""}}}
    assert 403 == nodes.create("/api/v1/nodes", body, user=other).status
    assert 201 == nodes.create("/api/v1/nodes", {"metadata": {"name": "c"}}, user=other).status


def test_a_node_does_not_get_rid_of_itself_by_an_owner(nodes):
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "u"}
    assert 403 == nodes.patch("/api/v1/nodes/a", {"metadata": {"ownerReferences": [owner]}}, user=NODE).status


def test_a_node_does_not_change_the_labels_of_a_pod(nodes):
    nodes.pod("mine")
    nodes.bind("mine", "a")
    answer = nodes.patch(f"{PODS}/mine/status", {"metadata": {"labels": {"app": "web"}}}, user=NODE)
    assert 403 == answer.status or not nodes.get(f"{PODS}/mine").body["metadata"].get("labels")


@pytest.mark.parametrize(("query", "status"), [
    ("", 403), ("fieldSelector=spec.nodeName%3Da", 200), ("fieldSelector=spec.nodeName%3Da,status.phase!%3DFailed", 200),
    ("fieldSelector=spec.nodeName%3Db", 403), ("fieldSelector=spec.nodeName!%3Da", 403),
    ("fieldSelector=status.phase%3DPending&fieldSelector=spec.nodeName%3Da", 403),
    ("fieldSelector=metadata.name%3Dtheirs", 403),
])  # fmt: skip
@pytest.mark.parametrize("path", [PODS, "/api/v1/pods"])
def test_a_node_sees_its_own_pods(nodes, path, query, status):
    answer = nodes.get(f"{path}?{query}", user=NODE)
    assert status == answer.status, answer.message
    assert status == 200 or "can only list/watch pods with spec.nodeName field selector" in answer.message


def test_nodes_see_all_pods_while_they_answer_for_their_names(nodes):
    for reads, status in ((True, 200), (False, 403)):
        nodes.settings = structs.replace(nodes.settings, nodes_read_pods=reads)
        nodes.add_default_roles()
        assert status == nodes.get("/api/v1/pods", user=NODE).status


def test_a_node_reads_one_pod_when_it_is_its_own(nodes):
    nodes.pod("mine")
    nodes.bind("mine", "a")
    read = [nodes.get(f"{PODS}/{name}", user=NODE).status for name in ("mine", "theirs", "none")]
    assert [200, 403, 403] == read


def test_a_review_of_a_node_s_right_goes_by_its_selector(nodes):
    selector = {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["a"]}]}
    asked = [{"verb": "list", "resource": "pods"} | more for more in ({}, {"fieldSelector": selector})]
    review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answers = [nodes.create(review, {"spec": {"resourceAttributes": each}}, user=NODE) for each in asked]
    assert [False, True] == [each.body["status"]["allowed"] for each in answers]


CLAIMS, VOLUMES = "/api/v1/namespaces/default/persistentvolumeclaims", "/api/v1/persistentvolumes"


def claim(server: Server, name: str, node: str) -> str:
    """Its uid."""
    meta = {"name": name, "annotations": {"volume.kubernetes.io/selected-node": node} if node else {}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return server.create(CLAIMS, {"metadata": meta, "spec": spec}).body["metadata"]["uid"]


def volume(node: str, name: str = "", uid: str = "", **spec: object) -> dict:
    """On a node, for a claim."""
    here = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    claimed = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": name, "uid": uid}
    spec = {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": "/srv"}, "storageClassName": "s",
        "nodeAffinity": {"required": {"nodeSelectorTerms": [here]}}, "claimRef": claimed if name else None, **spec,
    }  # fmt: skip
    return {"metadata": {"name": "v", "finalizers": ["x.io/y"]}, "spec": {k: v for k, v in spec.items() if v is not None}}


def test_a_node_makes_volumes_of_itself_for_claims_that_wait_for_it(nodes):
    mine, theirs = claim(nodes, "mine", "a"), claim(nodes, "theirs", "b")
    for bad in (
        volume("b", "mine", mine), volume("a", "theirs", theirs), volume("a", "mine", theirs), volume("a"),
        volume("a", "missing", "u"), volume("a", "mine", mine, local=None, hostPath={"path": "/"}),
    ):  # fmt: skip
        answer = nodes.create(VOLUMES, bad, user=NODE)
        assert 403 == answer.status, answer.body
    answer = nodes.create(VOLUMES, volume("a", "mine", mine), user=NODE)
    assert 201 == answer.status, answer.body
    for verb in ("update", "patch"):
        assert 403 == nodes.send({"update": "PUT", "patch": "PATCH"}[verb], f"{CLAIMS}/mine", {}, user=NODE).status


@pytest.mark.parametrize(("of", "patch", "status"), [
    ("a", {"metadata": {"finalizers": None}}, 200), ("b", {"metadata": {"finalizers": None}}, 403),
    ("a", {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}, 403), ("a", {"metadata": {"labels": {"a": "b"}}}, 403),
    ("a", {"metadata": {"annotations": {"a": "b"}}}, 403),
    ("a", {"metadata": {"ownerReferences": [OWNER | {"uid": "u"}]}}, 403),
])  # fmt: skip
def test_a_node_lets_its_own_volumes_go_and_changes_none(nodes, of, patch, status):
    assert 201 == nodes.create(VOLUMES, volume(of)).status
    answer = nodes.patch(f"{VOLUMES}/v", patch, user=NODE)
    assert status == answer.status, answer.message
    assert 403 == nodes.patch(f"{VOLUMES}/v/status", {"status": {"phase": "Failed"}}, user=NODE).status
    assert (200 if of == "a" else 403) == nodes.delete(f"{VOLUMES}/v", user=NODE).status


@pytest.mark.parametrize(("bound", "audiences", "why"), [
    (None, [], "node requested token not bound to a pod"),
    ({"kind": "Node", "apiVersion": "v1", "name": "a"}, [], "node requested token not bound to a pod"),
    ({"name": ""}, [], "node requested token not bound to a pod"),
    ({"uid": ""}, [], "node requested token with a pod binding without a uid"),
    ({"uid": "other"}, [], "does not match the UID in record"),
    ({"name": "theirs"}, [], "does not match the UID in record"),
    ({}, ["elsewhere"], 'audience "elsewhere" not found in pod spec volume'),
    ({}, ["vault", "elsewhere"], "node may only request 0 or 1 audiences"),
    ({}, [], ""), ({}, ["vault"], ""),
])  # fmt: skip
def test_a_node_gets_a_token_for_a_pod_of_its_own(nodes, bound, audiences, why):
    nodes.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}})
    token = {"serviceAccountToken": {"audience": "vault", "path": "t", "expirationSeconds": 3600}}
    nodes.pod("mine", serviceAccountName="robot", volumes=[{"name": "t", "projected": {"sources": [token]}}])
    nodes.bind("mine", "a")
    uid = nodes.get(f"{PODS}/mine").body["metadata"]["uid"]
    reference = None if bound is None else {"kind": "Pod", "apiVersion": "v1", "name": "mine", "uid": uid, **bound}
    body = {"spec": {"audiences": audiences, "boundObjectRef": reference}}
    answer = nodes.create("/api/v1/namespaces/default/serviceaccounts/robot/token", body, user=NODE)
    assert (403, True) == (answer.status, why in answer.message) if why else 201 == answer.status, answer.body


# Controllers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [
    ("POST", f"{PODS}/p/exec"), ("GET", f"{PODS}/p/exec"), ("GET", f"{PODS}/p/attach"), ("POST", f"{PODS}/p/portforward"),
    ("GET", f"{PODS}/p/log"), ("GET", f"{PODS}/p/proxy"), ("POST", f"{PODS}/p/eviction"), ("GET", "/api/v1/nodes/n/proxy/pods"),
    ("POST", "/api/v1/namespaces/default/serviceaccounts/s/token"), ("POST", SECRETS), ("PUT", f"{SECRETS}/s"),
    ("GET", f"{SECRETS}/s"), ("DELETE", SECRETS), ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
    ("POST", f"{RBAC}/clusterroles"), ("POST", f"{RBAC}/clusterrolebindings"), ("POST", f"{RBAC}/namespaces/default/roles"),
    ("POST", f"{RBAC}/namespaces/default/rolebindings"), ("PUT", f"{RBAC}/clusterroles/admin"), ("GET", "/metrics"),
    ("POST", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"), ("POST", "/api/v1/nodes"),
    ("POST", "/apis/apps/v1/namespaces/default/daemonsets"), ("POST", "/apis/batch/v1/namespaces/default/jobs"),
])  # fmt: skip
def test_controllers_may_not(server, method, path):
    server.pod("p")
    answer = server.send(method, path, {} if method in ("POST", "PUT") else None, user=CONTROLLERS)
    assert (403, True) == (answer.status, "cannot" in answer.message), answer.message


def test_controllers_act_as_nobody_else(server):
    for more in ({}, {"impersonate-group": "system:masters"}):
        assert 403 == server.get(PODS, user=CONTROLLERS, headers={"impersonate-user": "x", **more}).status


EVERYTHING = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}


def test_controllers_give_nobody_more_rights(server):
    server.create(f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "r"}, "rules": []})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    server.create(f"{RBAC}/namespaces/default/rolebindings", {"metadata": {"name": "b"}, "roleRef": reference})
    me = {"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": CONTROLLERS.name}]}
    for path, patch in (
        ("namespaces/default/roles/r", {"rules": [EVERYTHING]}), ("clusterroles/view", {"rules": [EVERYTHING]}),
        (f"clusterroles/{CONTROLLERS.name}", {"rules": [EVERYTHING]}), ("clusterrolebindings/cluster-admin", me),
        ("namespaces/default/rolebindings/b", me), ("clusterroles/view", {"aggregationRule": {"clusterRoleSelectors": [{}]}}),
    ):  # fmt: skip
        answer = server.patch(f"{RBAC}/{path}", patch, user=CONTROLLERS)
        assert (403, True) == (answer.status, "RBAC permissions not currently held" in answer.message), path


def test_an_aggregated_role_is_given_its_sum_by_whoever_may_write_it(server):
    """Without `escalate`: its rules will be these, whoever says so."""
    part = rule("get", "secrets")
    label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    assert 201 == server.create(f"{RBAC}/clusterroles", {"metadata": {"name": "part", "labels": label}, "rules": [part]}).status
    whole = [*server.get(f"{RBAC}/clusterroles/system:aggregate-to-view").body["rules"], part]
    for rules, status in (([*whole, rule("get", "nodes")], 403), (whole, 200), ([part], 200)):
        answer = server.patch(f"{RBAC}/clusterroles/view", {"rules": rules}, user=CONTROLLERS)
        assert status == answer.status, answer.message


@pytest.mark.parametrize("query", ["fieldSelector=" + "a%3Db," * 8000, "labelSelector=a in (" + "b," * 20_000 + "b)"])
@pytest.mark.parametrize("user", [ANONYMOUS, ADMIN])
def test_nothing_long_that_somebody_asks_for_is_remembered(server, query, user):
    """Paths, names and selectors have tens of thousands of characters each, if a client likes."""
    tracemalloc.start()
    try:
        for number in range(5):
            path = f"{CONFIG_MAPS}/{number}{'x' * 60_000}"
            server.get(path, user=user)
            server.get(f"/{path}", user=user)
            server.get(f"{CONFIG_MAPS}?{query}&{number}", user=user)
            server.get(f"{CONFIG_MAPS}?{query.replace('b', f'b{number}', 1)}", user=user)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()


# Odd numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\u00b2", "1" * 5000, "9" * 400, "9223372036854775807", "0" * 5000 + "1"])
def test_a_number_that_is_none_is_no_fault_of_the_server(server, text):
    server.config_map("x")
    assert server.put(f"{CONFIG_MAPS}/x", {"metadata": {"name": "x", "resourceVersion": text}}).status in (409, 422)
    server.pod("p")
    assert server.decide("GET", f"{PODS}/p/portforward?ports={text}").status in (400, 409, 404, 502, 503)
    assert server.get(f"{CONFIG_MAPS}?limit={text}").status in (200, 400)
    assert server.get(f"{CONFIG_MAPS}?resourceVersion={text}").status in (200, 400, 504)
    timed = server.decide("GET", f"{CONFIG_MAPS}?watch=1&timeoutSeconds={text}")
    assert getattr(timed, "status", 200) in (200, 400)
    server.node("n")
    server.bind("p", "n")
    assert server.delete(f"{PODS}/p?gracePeriodSeconds={text}").status in (200, 400)
