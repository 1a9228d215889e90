"""`mooring explain`: its page, its data, what it asks the server for, and its exit codes."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.services.cases import FAR, HERE, NEAR, THERE, VIP, alias, balancer, by_hand, case, changed, http, place, unready

from mooring.app.connection import Refused
from mooring.app.explanation import explain
from mooring.cli.explain import gather, named
from mooring.cli.explain_page import page
from mooring.cli.main import CommandError, run
from mooring.model.kinds import ENDPOINT_SLICE, KINDS, NODE, SERVICE, Kind
from mooring.services.problems import Case
from mooring.testing.api_server import real_server
from mooring.testing.builders import Document, pod, service

# The page -------------------------------------------------------------------------------------------------------------------


def told(found: Case) -> list[str]:
    return page(explain(found)).splitlines()


def part(found: Case, title: str) -> list[str]:
    """The lines under a title, without their indent."""
    lines = told(found)
    rest = lines[lines.index(title) + 1 :]
    return [line.removeprefix("  ") for line in rest[: rest.index("")]]


def test_a_page_from_top_to_bottom() -> None:
    ready, failing = changed(NEAR, labels={"app": "web"}), unready("r", phase="Failed", reason="Evicted")
    found = case(
        service("web", http(nodePort=30080), type="NodePort", externalTrafficPolicy="Local", sessionAffinity="ClientIP"),
        ready,
        failing,
        unready("s"),
        HERE,
        THERE,
    )
    assert told(found) == [
        "service/web in default",
        "",
        "  Type:         NodePort: an address inside the cluster, and a port at each node",
        "  Cluster IP:   10.96.0.1 (IPv4)",
        "  Ports:        http: 80/TCP to 8080, node port 30080",
        "  Selector:     app=web (3 found)",
        "  Inside:       any endpoint (internalTrafficPolicy)",
        "  Outside:      only endpoints of the node that the packet comes to (externalTrafficPolicy)",
        "  Affinity:     a client stays with its endpoint for 3 h after its last connection, on each node by itself",
        "",
        "NAMES",
        "  web.default.svc.cluster.local   A   10.96.0.1",
        "",
        "ENDPOINTS",
        "  ADDRESS      PORTS       STATE         NODE   TARGET   WHY NOT",
        "  10.244.0.2   http:8080   ready         a      pod/p    -",
        "  10.244.0.9   http:8080   not ready     a      pod/s    is not ready",
        "  10.244.0.9   -           in no slice   a      pod/r    has ended (Failed: Evicted)",
        "",
        "WHO REACHES WHAT",
        "  cluster IP 10.96.0.1:80/TCP (http)",
        "    pods, on every node: 10.244.0.2:8080, which sees the client's address",
        "    the node itself and from outside, on every node: 10.244.0.2:8080, which sees the node's address",
        "  node port 30080/TCP of each node (http)",
        "    pods, on every node: 10.244.0.2:8080, which sees the client's address",
        "    the node itself, on every node: 10.244.0.2:8080, which sees the node's address",
        "    from outside, on a: 10.244.0.2:8080, which sees the client's address",
        "    from outside, on b: dropped, the traffic policy is Local and this node has no usable endpoint, though others have",
        "",
        "PROBLEMS",
        "  1. warning, PodsNotReady: 1 of 3 matching pods does not serve: pod/s is not ready",
        "     pod/s, status.conditions[Ready]",
        "     to mend it: `mooring describe pod/s -n default` tells more",
        "  2. warning, NoLocalEndpoints: on node/b what comes from outside is dropped: the policy is Local, and no endpoint is "
        "there",
        "     service/web, spec.externalTrafficPolicy",
        "     to mend it: run a pod on each node that traffic comes to (as a DaemonSet does), send it to the others, or set "
        "spec.externalTrafficPolicy to Cluster",
        "",
        "What the containers listen on, NetworkPolicies and firewalls of others are not looked at.",
    ]


FIRST = service("a", http(), externalIPs=["192.0.2.9"], clusterIP="10.96.0.2")
UNREADABLE = {"mooring.dev/proxy-options": '{"nodeport-addresses": ["nonsense"]}'}
PROXY = {"ip": "192.0.2.1", "ipMode": "Proxy"}
MANY = [pod(f"p{number}", f"10.244.0.{number}") for number in range(2, 8)]
ZONES = place("a", "172.30.0.11", "z1", "10.244.0.0/24"), place("b", "172.30.0.12", "z2", "10.244.1.0/24")
RANGED = {"ports": [http()], "loadBalancerSourceRanges": ["198.51.100.0/24"]}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            case(service(), HERE, THERE),
            "  everyone, on every node: refused, the Service has no usable endpoint on any node",
            id="nobody serves, and all are told so",
        ),
        pytest.param(
            case(service(), *MANY, HERE),
            "  pods, on a: any of the 6 endpoints, which see the client's address",
            id="all are ready",
        ),
        pytest.param(
            case(service(), NEAR, FAR, HERE, THERE),
            "  pods, on every node: any of the 2 endpoints, which see the client's address",
            id="the same from every node is told once",
        ),
        pytest.param(
            case(service(internalTrafficPolicy="Local"), NEAR, FAR, HERE, THERE),
            "  pods, on b: 10.244.1.2:8080, which sees the client's address",
            id="policy Local: each node its own",
        ),
        pytest.param(
            case(service(trafficDistribution="PreferSameZone"), NEAR, FAR, *ZONES),
            "  pods, on b: 10.244.1.2:8080, which sees the client's address; endpoints are ready, and of them those hinted for "
            "this node's zone are used",
            id="hints: the zone's own, and why",
        ),
        pytest.param(
            case(balancer(VIP, **RANGED), NEAR, HERE),
            "  from outside, on a: 10.244.0.2:8080, which sees the node's address; only from 198.51.100.0/24",
            id="source ranges let some in",
        ),
        pytest.param(
            case(balancer(VIP, **RANGED), NEAR, HERE),
            "  pods and the node itself, on a: dropped, none of them is in the ranges that may come in",
            id="source ranges shut pods and the node out",
        ),
        pytest.param(
            case(service("web", http(), externalIPs=["192.0.2.9"]), NEAR, HERE, FIRST),
            "  nobody: service/a in default has it",
            id="another Service has the address",
        ),
        pytest.param(
            case(service(clusterIP="None"), NEAR, HERE),
            "whoever knows the name reaches the endpoints themselves; no node touches the packets",
            id="headless",
        ),
        pytest.param(
            case(changed(service(), labels={"service.kubernetes.io/service-proxy-name": "mesh"}), NEAR, HERE),
            "unknown: a label leaves its packets to another proxy, and no node here touches them",
            id="another proxy's",
        ),
        pytest.param(case(service(), NEAR), "unknown: there is no node that could be asked", id="no node"),
        pytest.param(
            case(service(), NEAR, changed(HERE, annotations=UNREADABLE)),
            "unknown on node/a: nodeport-addresses: 'nonsense' is none of primary, all, localhost, and no range of addresses",
            id="a node whose options mean nothing",
        ),
        pytest.param(
            case(service(clusterIP="fd00::1", clusterIPs=["fd00::1"], ipFamilies=["IPv6"]), pod("p", "fd00:244::2"), HERE),
            "cluster IP [fd00::1]:80/TCP (http)",
            id="IPv6 in brackets",
        ),
    ],
)
def test_who_reaches_what(found: Case, expected: str) -> None:
    assert expected in part(found, "WHO REACHES WHAT")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            case(alias("db.example.com")), ["alias.default.svc.cluster.local   CNAME   db.example.com"], id="an alias"
        ),
        pytest.param(
            case(service(clusterIP="None"), NEAR, HERE, domain="example.internal"),
            ["web.default.svc.example.internal   A   10.244.0.2"],
            id="headless: the pods, in the cluster's domain",
        ),
        pytest.param(
            case(service(clusterIP="None"), HERE), ["none: DNS says that there is no such name"], id="headless without pods"
        ),
        pytest.param(
            case(service(clusterIPs=["10.96.0.1", "fd00::1"], ipFamilies=["IPv4", "IPv6"]), HERE),
            ["web.default.svc.cluster.local   A      10.96.0.1", "web.default.svc.cluster.local   AAAA   fd00::1"],
            id="both families",
        ),
    ],
)
def test_names(found: Case, expected: list[str]) -> None:
    assert part(found, "NAMES") == expected


def test_an_alias_has_no_endpoints_and_no_doors() -> None:
    lines = told(case(alias("db.example.com")))
    assert "ENDPOINTS" not in lines and "WHO REACHES WHAT" not in lines
    assert lines[2:4] == ["  Type:         ExternalName: an alias in DNS, and nothing else", "  Alias of:     db.example.com"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            case(balancer(PROXY, loadBalancerClass="x/y")), "Balancer:     192.0.2.1 (Proxy) (class x/y)", id="a proxy"
        ),
        pytest.param(case(balancer()), "Balancer:     pending", id="no address yet"),
        pytest.param(
            case(balancer(VIP, externalTrafficPolicy="Local", healthCheckNodePort=31000), NEAR, HERE, THERE),
            "Health check: each node answers on port 31000: a with 200, the others with 503",
            id="whose health check says yes",
        ),
        pytest.param(
            case(balancer(VIP, **RANGED)), "Sources:      only 198.51.100.0/24, at the balancer's address", id="sources"
        ),
        pytest.param(
            case(service(selector=None), by_hand("192.0.2.7")),
            "Selector:     none: its EndpointSlices are somebody's to write",
            id="by hand",
        ),
        pytest.param(
            case(service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 90}})),
            "Affinity:     a client stays with its endpoint for 90 s after its last connection, on each node by itself",
            id="affinity in seconds",
        ),
    ],
)
def test_what_it_is(found: Case, expected: str) -> None:
    assert f"  {expected}" in told(found)


def test_endpoints_beyond_the_page_are_counted() -> None:
    found = case(service(), *(pod(f"p{number}", f"10.244.0.{number}") for number in range(2, 27)), HERE)
    lines = part(found, "ENDPOINTS")
    assert (len(lines), lines[-1]) == (1 + 20 + 1, "and 5 more")


def test_an_endpoint_without_the_port_says_so() -> None:
    [_, row] = part(case(service("web", http("nope")), NEAR, HERE), "ENDPOINTS")
    assert row.endswith("ready   a      pod/p    has none of the ports that the Service asks for")


def test_a_terminal_sees_colours() -> None:
    found = explain(case(service(), HERE))
    assert "\033[31mbroken\033[0m, NoMatchingPods" in page(found, colour=True)
    assert "\033" not in page(found)


# What was meant -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["service/web"], ["svc/web"], ["Services/web"], ["svc", "web"], ["web"]])
def test_a_service_is_named(words: list[str]) -> None:
    assert named(words) == ("service", "web")


@pytest.mark.parametrize("words", [["ingress/web"], ["ing/web"], ["Ingresses", "web"]])
def test_an_ingress_is_named(words: list[str]) -> None:
    assert named(words) == ("ingress", "web")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pod/web"], "only Services and Ingresses are explained; `mooring describe pod/web` shows the object"),
        (["service/"], "say which: "),
        (["svc", "web", "api"], "say which: "),
    ],
)
def test_what_is_no_service_is_wrong_usage(words: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message) as refused:
        named(words)
    assert refused.value.code == 2


# What is asked --------------------------------------------------------------------------------------------------------------


class Server:
    """Answers lists from documents. `hidden` kinds it refuses with a code; `asked` are the paths it was asked for."""

    def __init__(self, *documents: Document, hidden: Mapping[Kind, int] | None = None) -> None:
        self._documents, self._hidden, self.asked = documents, hidden or {}, list[str]()

    def get(self, path: str, query: Mapping[str, str] | None = None, accept: str = "") -> Document:
        self.asked.append(path)
        for kind in KINDS:
            for namespace in ("default", ""):
                if path == kind.path(namespace):
                    return self._list(kind, namespace)
                for each in self._documents:
                    if path == kind.path(namespace, each["metadata"]["name"]) and each["kind"] == kind.kind:
                        return each
        raise Refused(404, "NotFound", f"nothing at {path}", {})

    def _list(self, kind: Kind, namespace: str) -> Document:
        if kind in self._hidden:
            raise Refused(self._hidden[kind], "Hidden", f"no {kind.plural} for you", {})
        mine = [each for each in self._documents if each["kind"] == kind.kind]
        return {"items": [each for each in mine if not namespace or each["metadata"].get("namespace") == namespace]}


def gathered(server: Any) -> Case:
    return gather(server, "default", "web", "cluster.local")


def test_pods_of_other_namespaces_are_asked_for_only_where_the_selector_finds_none() -> None:
    stranger = changed(pod("x", "10.244.1.9"), "other")
    found, missing = Server(service(), NEAR, stranger, HERE), Server(service(), stranger, HERE)
    assert (gathered(found).every_pod, "/api/v1/pods" in found.asked) == (False, False)
    assert (gathered(missing).every_pod, "/api/v1/pods" in missing.asked) == (True, True)
    assert "other/x has them, in another namespace" in "\n".join(told(gathered(missing)))


def test_what_a_server_does_not_have_or_does_not_show_is_left_out() -> None:
    optional = [kind for kind in KINDS if kind.kind in ("ServiceCIDR", "Deployment", "Event", "Endpoints")]
    for code in (403, 404):
        server = Server(service(), NEAR, HERE, by_hand("10.244.0.2"), hidden=dict.fromkeys(optional, code))
        assert part(gathered(server), "PROBLEMS")[0].startswith("1. note, ForeignEndpointSlices")


@pytest.mark.parametrize("needed", [NODE, ENDPOINT_SLICE, SERVICE], ids=lambda kind: kind.plural)
def test_what_is_needed_must_be_shown(needed: Kind) -> None:
    with pytest.raises(Refused):
        gathered(Server(service(), NEAR, HERE, hidden={needed: 403}))


def test_a_broken_object_of_somebody_else_does_not_stop_it() -> None:
    broken = changed(service("other"), uid="o") | {"spec": {"ports": "none"}}
    assert gathered(Server(service(), NEAR, HERE, broken)).rivals == ()


# The command ----------------------------------------------------------------------------------------------------------------


class Called:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Lab:
    """A real server with a node and the Service `web`, which selects nobody."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._directory, self._capsys = directory, capsys

    async def call(self, *arguments: str) -> Called:
        self._capsys.readouterr()
        code = await asyncio.to_thread(run, ["explain", "--kubeconfig", str(self._directory / "kubeconfig"), *arguments])
        return Called(code, *self._capsys.readouterr())


@pytest.fixture
async def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.delenv("MOORING_DATA_DIR", raising=False)
    async with real_server(tmp_path) as api:
        await api.write("create", NODE, "", "", {"metadata": {"name": "a"}})
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        await api.write("create", SERVICE, "default", "", {"metadata": {"name": "web"}, "spec": spec})
        yield Lab(tmp_path, capsys)


async def test_a_service_that_is_there_is_exit_code_0_whatever_is_wrong(lab: Lab) -> None:
    called = await lab.call("service/web")
    assert (called.code, called.err) == (0, "")
    assert "  1. broken, NoMatchingPods: no pod in namespace default has the labels app=web" in called.out.splitlines()


async def test_one_that_is_not_there_is_exit_code_1(lab: Lab) -> None:
    called = await lab.call("service/none")
    assert (called.code, called.out) == (1, "")
    assert called.err == 'mooring: error from server (NotFound): services "none" not found\n'


async def test_anything_else_is_exit_code_2(lab: Lab) -> None:
    assert (await lab.call("pod/web")).code == 2
    assert (await lab.call("service/web", "-o", "wide")).code == 2


async def test_json_and_yaml_hold_the_same_whole(lab: Lab) -> None:
    called = json.loads((await lab.call("web", "-o", "json")).out)
    assert called == yaml.safe_load((await lab.call("svc", "web", "-o", "yaml")).out)
    assert (called["namespace"], called["name"], called["kind"], called["nodes"]) == ("default", "web", "proxied", ["a"])
    assert called["names"][0]["name"] == "web.default.svc.cluster.local"
    [problem] = called["problems"]
    assert (problem["reason"], problem["severity"], problem["object"]) == ("NoMatchingPods", "broken", "service/web")
    [door] = called["doors"]
    assert (door["entry"], door["port"], door["passages"][0]["outcome"]) == ("ClusterIP", 80, "reject")
