"""Where does what is below .../proxy lead, and where can it not be made to lead?"""

import pytest
from core_server import PODS, Server
from hypothesis import given
from hypothesis import strategies as st

from mooring.apiserver.contract import Onward, Proxy, Response, User
from mooring.apiserver.proxying import proxyable, straight
from mooring.model import codec
from mooring.model.kinds import POD
from mooring.store.records import Put, Txn

SERVICES = "/api/v1/namespaces/default/services"
NODES = "/api/v1/nodes"
MERGE = "application/merge-patch+json"


@pytest.fixture
def server() -> Server:
    made = Server()
    made.node("n1")
    ports = [{"name": "http", "containerPort": 8080}, {"containerPort": 9090}]
    made.pod("p", containers=[{"name": "side", "image": "i"}, {"name": "main", "image": "i", "ports": ports}])
    addressed(made, "10.244.0.5")
    return made


def addressed(server: Server, *addresses: str) -> None:
    status = {"podIP": addresses[0], "podIPs": [{"ip": each} for each in addresses]}
    assert 200 == server.patch(f"{PODS}/p/status", {"status": status}).status


def served(server: Server, *addresses: dict, ports: tuple = ({"name": "http", "port": 8080},)) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"name": "http", "port": 80}]}}
    assert 201 == server.create(SERVICES, service).status
    subset = {"addresses": list(addresses), "ports": list(ports)}
    body = {"metadata": {"name": "s"}, "subsets": [subset] if addresses else []}
    assert 201 == server.create("/api/v1/namespaces/default/endpoints", body).status


OF_P = {"ip": "10.244.0.5", "targetRef": {"kind": "Pod", "name": "p", "namespace": "default"}}


@pytest.mark.parametrize(
    ("name", "scheme", "port"),
    [
        ("p", "http", 8080),
        ("p:9090", "http", 9090),
        ("p:http", "http", 8080),
        ("https:p:443", "https", 443),
        ("http:p:", "http", 8080),
    ],
)
def test_a_pod_by_scheme_and_port(server: Server, name: str, scheme: str, port: int) -> None:
    prefix = f"{PODS}/{name}/proxy"
    outcome = server.decide("GET", f"{prefix}/a/b?x=1")
    assert Proxy("", "10.244.0.5", port, "/a/b", (("x", "1"),), Onward(scheme, prefix)) == outcome


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_goes_on(server: Server, method: str) -> None:
    assert isinstance(server.decide(method, f"{PODS}/p/proxy/x", {} if method == "POST" else None), Proxy)


def test_connect_is_no_method_of_a_path(server: Server) -> None:
    assert 405 == server.send("CONNECT", f"{PODS}/p/proxy/x").status


def test_a_pod_that_names_no_port_is_asked_where_the_scheme_says(server: Server) -> None:
    server.pod("bare")
    status = {"status": {"podIPs": [{"ip": "10.244.0.6"}]}}
    server.patch(f"{PODS}/bare/status", status)
    assert [80, 443] == [server.decide("GET", f"{PODS}/{name}/proxy/").port for name in ("bare", "https:bare:")]


@pytest.mark.parametrize("name", ["ftp:p:80", "a:b:c:d", ":80", "p:0", "p:65536", "p:spam", "p:99999999999", "p:-1", "p:８０"])
def test_names_that_mean_nothing(server: Server, name: str) -> None:
    answer = server.get(f"{PODS}/{name}/proxy/")
    assert (400, f'invalid pod request "{name}"') == (answer.status, answer.message)


def test_what_is_not_there(server: Server) -> None:
    for path, text in (
        (f"{PODS}/gone", 'pods "gone"'),
        (f"{SERVICES}/gone:80", 'services "gone"'),
        (f"{NODES}/gone", 'nodes "gone"'),
    ):
        answer = server.get(f"{path}/proxy/")
        assert (404, f"{text} not found") == (answer.status, answer.message)
    for path in (
        f"{PODS}//proxy/",
        "/api/v1/pods/p/proxy/",
        "/api/v1/watch/nodes/n1/proxy/",
        f"{PODS}/p/proxys/x",
        f"{PODS}/p/log/proxy/x",
    ):
        assert 404 == server.get(path).status


FORBIDDEN = [
    "127.0.0.1", "127.9.9.9", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1",
    "fe80::1%eth0", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "", "localhost", "0177.0.0.1", "2130706433",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
def test_addresses_of_the_servers_own_machine_are_not_proxied_to(server: Server, address: str) -> None:
    """Whoever may write a pod's status, Endpoints or a node's status must not make the server ask itself or its cloud."""
    assert not proxyable(address)
    record = server.state.get(POD.key("default", "p"))
    assert record
    document = codec.decode(record.value)
    document["status"]["podIPs"] = [{"ip": address}]
    # Not by the API, which refuses some of them: a record may be older than a rule.
    server.state.apply(Txn((), (Put(POD.key("default", "p"), codec.encode(document)),)))
    answer = server.get(f"{PODS}/p:80/proxy/")
    assert (400, "address not allowed") == (answer.status, answer.message)


def test_a_node_is_its_kubelet_and_nothing_else(server: Server) -> None:
    prefix = f"{NODES}/n1/proxy"
    assert Proxy("n1", "172.30.0.11", 10250, "/pods", (), Onward("kubelet", prefix)) == server.decide("GET", f"{prefix}/pods")
    assert "172.30.0.11" == server.decide("GET", f"{NODES}/https:n1:10250/proxy/pods").address
    answer = server.get(f"{NODES}/n1:22/proxy/")
    assert (400, 'node "n1" is proxied to its kubelet only, port 10250') == (answer.status, answer.message)
    for address in ("127.0.0.1", "169.254.169.254"):
        server.patch(f"{NODES}/n1/status", {"status": {"addresses": [{"type": "InternalIP", "address": address}]}})
        assert (400, "address not allowed") == ((answer := server.get(f"{prefix}/")).status, answer.message)


@pytest.mark.parametrize(("name", "scheme"), [("s:http", "http"), ("s:80", "http"), ("https:s:http", "https")])
def test_a_service_is_one_of_its_endpoints(server: Server, name: str, scheme: str) -> None:
    served(server, OF_P)
    outcome = server.decide("GET", f"{SERVICES}/{name}/proxy/x")
    assert Proxy("", "10.244.0.5", 8080, "/x", (), Onward(scheme, f"{SERVICES}/{name}/proxy")) == outcome


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s:81", 'no service port 81 found for service "s"'),
        ("s:other", 'no endpoints available for service "s"'),
        ("s", 'no endpoints available for service "s"'),
    ],
)
def test_a_service_without_such_a_port(server: Server, name: str, message: str) -> None:
    served(server, OF_P)
    answer = server.get(f"{SERVICES}/{name}/proxy/")
    assert (503, "ServiceUnavailable", message) == (answer.status, answer.body["reason"], answer.message)


@pytest.mark.parametrize(
    "lie",
    [
        {"ip": "10.244.0.5"},
        OF_P | {"ip": "10.96.0.1"},
        OF_P | {"targetRef": {"kind": "Pod", "name": "p", "namespace": "other"}},
        OF_P | {"targetRef": {"kind": "Pod", "name": "gone", "namespace": "default"}},
    ],
    ids=["nobody's", "not the pod's", "another namespace's", "no pod's"],
)
def test_endpoints_that_are_no_pods_of_the_namespace_are_not_believed(server: Server, lie: dict) -> None:
    served(server, lie)
    assert 503 == server.get(f"{SERVICES}/s:http/proxy/").status


def test_the_bare_path_leads_to_the_one_with_a_slash(server: Server) -> None:
    answer = server.get(f"{PODS}/http:p:80/proxy?a=b%2Fc&d")
    assert isinstance(answer.response, Response)
    assert (301, f"{PODS}/http:p:80/proxy/?a=b%2Fc&d=") == (answer.status, dict(answer.headers)["Location"])
    doubled = server.get(f"/{PODS}/p/proxy")
    assert (301, f"{PODS}/p/proxy/") == (doubled.status, dict(doubled.headers)["Location"]), "no other host is made of it"
    assert isinstance(server.decide("POST", f"{PODS}/p/proxy", {}), Proxy)
    upgrade = {"connection": "Upgrade", "upgrade": "websocket"}
    assert "/" == server.decide("GET", f"{PODS}/p/proxy", headers=upgrade).path


@pytest.mark.parametrize(
    ("path", "becomes"),
    [
        ("/", "/"), ("//", "/"), ("/a//b/", "/a/b/"), ("/a/../b", "/b"), ("/../../n2/proxy/exec", "/n2/proxy/exec"),
        ("/./a/.", "/a"), ("/a/..", "/"), ("/..", "/"), ("/a/b/../", "/a/"), ("/...", "/..."),
    ],
)  # fmt: skip
def test_paths_are_made_straight(server: Server, path: str, becomes: str) -> None:
    outcome = server.decide("GET", f"{NODES}/n1/proxy{path}")
    assert ("n1", becomes) == (outcome.node, outcome.path)


@given(st.text(alphabet="/.a%\\\r\n\0é", max_size=40))
def test_no_path_climbs(path: str) -> None:
    made = straight("/" + path)
    assert made.startswith("/") and not {"..", "."} & set(made.split("/")) and "//" not in made


def test_discovery_names_what_is_proxied(server: Server) -> None:
    kinds = {each["name"]: each["kind"] for each in server.get("/api/v1").body["resources"]}
    assert ["PodProxyOptions", "ServiceProxyOptions", "NodeProxyOptions", "PodAttachOptions", "PodPortForwardOptions"] == [
        kinds[name] for name in ("pods/proxy", "services/proxy", "nodes/proxy", "pods/attach", "pods/portforward")
    ]


BOB = User("bob", ("system:authenticated",))


def may(server: Server, *resources: str) -> None:
    """Bob, in the namespace default."""
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rules = [{"apiGroups": [""], "resources": list(resources), "verbs": ["get", "create"]}]
    assert 201 == server.create(f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": rules}).status
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    }
    assert 201 == server.create(f"{rbac}/rolebindings", binding).status


@pytest.mark.parametrize("what", ["exec?command=ls&stdout=1", "attach?stdin=1", "portforward", "log", "proxy/x"])
def test_who_may_read_a_pod_may_not_look_into_it(server: Server, what: str) -> None:
    may(server, "pods")
    assert 200 == server.get(f"{PODS}/p", user=BOB).status
    answer = server.get(f"{PODS}/p/{what}", user=BOB)
    resource = "pods/" + what.partition("?")[0].partition("/")[0]
    told = f'User "bob" cannot get resource "{resource}" in API group "" in the namespace "default"'
    assert (403, True) == (answer.status, told in answer.message), answer.message


CLIMBS = ["", "/", "/..", "/../..", "/../../../../../nodes/n1/proxy/pods", "//../nodes/n1/proxy/pods", "/%2e%2e/x"]


@pytest.mark.parametrize("path", CLIMBS)
def test_who_may_proxy_to_pods_reaches_no_node_by_any_path(server: Server, path: str) -> None:
    may(server, "pods/proxy")
    outcome = server.decide("POST", f"{PODS}/p/proxy{path}", {}, user=BOB)
    assert ("", "10.244.0.5", "http") == (outcome.node, outcome.address, outcome.onward.scheme)
    for other in (f"{NODES}/n1/proxy/pods", f"{SERVICES}/s:80/proxy/", "/api/v1/namespaces/other/pods/p/proxy/"):
        assert 403 == server.get(other, user=BOB).status
