"""Two address families at once on a running cluster: the scenarios of Kubernetes' own end-to-end tests
(test/e2e/network/dual_stack.go), with names and refusals of both families.
"""

import ipaddress
import json
from collections.abc import Iterator

import pytest
from outsiders import led_to, outside_server
from scene import SILENCE, Place, Scene, addresses, client, in_pod, scene, server, service, until, until_equal, until_followed
from upstream import TCP_AND_UDP, seen_from

from local_cluster import Cluster
from mooring.edges.netlink.topology import namespace_name
from mooring.testing.tracking import entries

DNS = ("10.96.0.10", "fd00:96::a")
PORTS = (
    {"name": "http", "port": 80, "targetPort": 8080},
    {"name": "echo", "port": 80, "targetPort": 8080, "protocol": "UDP"},
)
BOTH = {"ipFamilyPolicy": "RequireDualStack"}
UNALLOCATED = ("10.96.255.1", "fd00:96::ff01")
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


@pytest.fixture(scope="module")
def here(dual: Cluster) -> Iterator[Scene]:
    with scene(dual) as made:
        first = server("first", "web", node="node-1", hostname="first", subdomain="headless")
        made.serve(
            first, server("second", "web", node="node-2"), service("headless", "web", ports=PORTS, clusterIP="None", **BOTH)
        )
        yield made


def everywhere(here: Scene) -> tuple[Place, ...]:
    return here.one, here.two, here.node_one, here.node_two


def versions(texts: list[str]) -> list[int]:
    return [ipaddress.ip_address(text).version for text in texts]


def cluster_ips(here: Scene, name: str) -> list[str]:
    found: list[str] = here.get("Service", name)["spec"]["clusterIPs"]
    return found


def test_nodes_and_pods_have_an_address_of_each_family(dual: Cluster, here: Scene) -> None:
    nodes = json.loads(dual.kubectl("get", "nodes", "-o", "json").stdout)["items"]
    ranges = {node["metadata"]["name"]: [ipaddress.ip_network(each) for each in node["spec"]["podCIDRs"]] for node in nodes}
    for node in nodes:
        internal = [each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP"]
        assert versions(internal) == [4, 6]
        assert [each.version for each in ranges[node["metadata"]["name"]]] == [4, 6]
        for name, own in (("one", "node-1"), ("two", "node-2")):
            pod = here.get("Pod", name)
            if own == node["metadata"]["name"]:
                assert [each["ip"] for each in pod["status"]["hostIPs"]] == internal
                assert all(ipaddress.ip_address(ip) in net for ip, net in zip(addresses(pod), ranges[own], strict=True))


def test_no_question_of_either_family_makes_an_entry_in_conntrack(here: Scene) -> None:
    for place in everywhere(here):
        for address in DNS:
            for transport in ("udp", "tcp"):
                assert ["10.96.0.1"] == place.query(address, "kubernetes.default.svc.cluster.local", "A", transport)
    tracked = [each for node in ("node-1", "node-2") for each in entries(namespace_name(here.cluster.name, node))]
    assert [] == [each for each in tracked if any((address, 53) in each for address in DNS)]
    until_followed(here.cluster)


def test_pods_reach_each_other_over_both_families(here: Scene) -> None:
    pods = {name: addresses(here.get("Pod", name)) for name in ("one", "two", "first", "second")}
    for name in ("first", "second"):
        for family, address in enumerate(pods[name]):
            assert [name] * 4 == [place.http(address, 8080) for place in everywhere(here)]
            seen = [place.http(address, 8080, "/clientip").rpartition(":")[0].strip("[]") for place in everywhere(here)]
            nodes = (["172.30.0.11", "172.30.0.12"], ["fd00:172:30::11", "fd00:172:30::12"])[family]
            assert [pods["one"][family], pods["two"][family], *nodes] == seen


@pytest.mark.parametrize(
    ("wish", "policy", "families"),
    [
        ({}, "SingleStack", [4]),
        ({"ipFamilies": ["IPv4"]}, "SingleStack", [4]),
        ({"ipFamilies": ["IPv6"]}, "SingleStack", [6]),
        ({"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", [4, 6]),
        ({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"]}, "PreferDualStack", [6, 4]),
        ({**BOTH, "ipFamilies": ["IPv4", "IPv6"]}, "RequireDualStack", [4, 6]),
        ({**BOTH, "ipFamilies": ["IPv6", "IPv4"]}, "RequireDualStack", [6, 4]),
    ],
    ids=[
        "nothing said",
        "IPv4",
        "IPv6",
        "prefers both",
        "prefers both, IPv6 first",
        "requires both",
        "requires both, IPv6 first",
    ],
)
def test_a_service_is_reached_on_every_family_it_asks_for(
    here: Scene, request: pytest.FixtureRequest, wish: dict[str, object], policy: str, families: list[int]
) -> None:
    name = f"wish-{request.node.callspec.indices['wish']}"
    here.serve(service(name, "web", ports=PORTS, **wish))
    spec = here.get("Service", name)["spec"]
    assert (spec["ipFamilyPolicy"], versions(spec["clusterIPs"])) == (policy, families)
    assert [f"IPv{each}" for each in families] == spec["ipFamilies"]
    until_equal(sorted(f"IPv{each}" for each in families), lambda: sorted(each["addressType"] for each in here.slices(name)))
    for address in spec["clusterIPs"]:
        for place in everywhere(here):
            for ask in (place.http, place.udp):
                until_equal(
                    {"first", "second"}, lambda ask=ask, address=address: {ask(address, timeout=SILENCE) for _ in range(16)}
                )


def test_a_service_gains_and_loses_its_second_family(here: Scene) -> None:
    here.serve(service("grows", "web"))
    here.patch("Service", "grows", {"spec": {"ipFamilyPolicy": "PreferDualStack"}})
    first, second = cluster_ips(here, "grows")
    until_equal(2, lambda: len(here.slices("grows")))
    for address in (first, second):
        until_equal({"first", "second"}, lambda address=address: {here.two.http(address, timeout=SILENCE) for _ in range(16)})
    here.patch("Service", "grows", {"spec": {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "clusterIPs": [first]}})
    assert cluster_ips(here, "grows") == [first]
    until_equal(["IPv4"], lambda: [each["addressType"] for each in here.slices("grows")])
    until_equal("silence", lambda: here.two.http(second, timeout=SILENCE))
    assert here.two.http(first) in ("first", "second")


def test_a_pod_reaches_itself_over_both_families(here: Scene) -> None:
    here.serve(server("self", "self"), service("self", "self", ports=PORTS, **BOTH))
    with in_pod(here, "self") as itself:
        for address in cluster_ips(here, "self"):
            until_equal(("self", "self"), lambda address=address: (itself.http(address), itself.udp(address)))


@pytest.mark.parametrize(
    ("family", "outside", "nodes"),
    [
        pytest.param("IPv4", "172.30.0.250", ("172.30.0.11", "172.30.0.12"), id="IPv4"),
        pytest.param("IPv6", "fd00:172:30::250", ("fd00:172:30::11", "fd00:172:30::12"), id="IPv6"),
    ],
)
def test_pods_reach_a_server_outside_over_both_families(
    dual: Cluster, here: Scene, family: str, outside: str, nodes: tuple[str, str]
) -> None:
    name = f"managed-{family}".lower()
    [made] = here.create(service(name, "", ports=TCP_AND_UDP, ipFamilies=[family]))
    here.create(led_to(name, outside, 5432))
    with outside_server(dual, outside, 5432):
        for place, node in zip((here.one, here.two), nodes, strict=True):
            for door in ((outside, 5432), (made["spec"]["clusterIP"], 80)):
                until_equal("outside", lambda place=place, door=door: place.http(*door))
                assert [node, f"outside {node}"] == [seen_from(place, door).strip("[]"), place.datagram(*door, "who am I?")]


def test_no_endpoints_refuse_and_no_service_is_silent_in_both_families(here: Scene) -> None:
    here.serve(service("nobody", "nobody", ports=PORTS, **BOTH))
    for place in everywhere(here):
        for address in cluster_ips(here, "nobody"):
            until_equal("refused", lambda place=place, address=address: place.http(address, timeout=SILENCE))
            assert place.udp(address) == "refused"
        assert ["silence"] * 2 == [place.http(address, timeout=SILENCE) for address in UNALLOCATED]


def test_a_udp_client_with_a_fixed_port_finds_the_next_server_in_both_families(here: Scene) -> None:
    here.serve(server("old", "cycled", node="node-1"), service("cycled", "cycled", ports=PORTS, **BOTH))
    ips = cluster_ips(here, "cycled")

    def seen() -> set[str]:
        return {place.udp(address, source=23000, timeout=SILENCE) for place in (here.two, here.node_two) for address in ips}

    until_equal({"old"}, seen)
    here.serve(server("new", "cycled", node="node-2"))
    here.delete("Pod", "old", grace=0)
    until_equal({"new"}, seen)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("asked", DNS)
def test_both_cluster_dns_addresses_tell_names_of_both_families(here: Scene, asked: str, transport: str) -> None:
    headless = f"headless.{here.namespace}.svc.cluster.local"
    pods = [addresses(here.get("Pod", name)) for name in ("first", "second")]
    expected = {
        ("kube-dns.kube-system.svc.cluster.local", "A"): [DNS[0]],
        ("kube-dns.kube-system.svc.cluster.local", "AAAA"): [DNS[1]],
        (headless, "A"): sorted(pod[0] for pod in pods),
        (headless, "AAAA"): sorted(pod[1] for pod in pods),
        (f"first.{headless}", "A"): [pods[0][0]],
        (f"first.{headless}", "AAAA"): [pods[0][1]],
    }
    for place in everywhere(here):
        until_equal(
            expected,
            lambda place=place: {question: place.query(asked, *question, transport) for question in expected},
        )


def test_pods_are_configured_for_both_families(here: Scene) -> None:
    here.serve(client("host-two", "node-2", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"))
    for pod in ("one", "host-two"):
        servers = [line for line in here.file(pod, "/etc/resolv.conf").splitlines() if line.startswith("nameserver")]
        assert servers == [f"nameserver {address}" for address in DNS]
    first = addresses(here.get("Pod", "first"))
    whole = f"first.headless.{here.namespace}.svc.cluster.local"
    assert [f"{ip}\t{whole}\tfirst" for ip in first] == here.file("first", "/etc/hosts").splitlines()[-2:]
    until_equal(sorted(first), lambda: here.one.resolve("first.headless"))


def test_the_api_server_is_reached_from_pods_by_its_first_family(dual: Cluster, here: Scene) -> None:
    assert here.one.resolve("kubernetes.default") == ["10.96.0.1"]
    script = (
        f'curl -sS --cacert {TOKEN[:-5]}ca.crt -H "Authorization: Bearer $(cat {TOKEN})" https://kubernetes.default/version'
    )
    assert '"gitVersion"' in dual.in_pod("two", "sh", "-c", script, namespace=here.namespace)
    until(lambda: dual.kubectl("logs", "-n", here.namespace, "first").stdout, lambda text: "listening on 8080/http" in text)


def test_a_cluster_of_ipv6_alone(fresh: Cluster) -> None:
    fresh.up("--ipv6")
    with scene(fresh) as here:
        [address] = here.serve(
            server("six", "six", node="node-2"), service("six", "six", ports=PORTS, ipFamilyPolicy="PreferDualStack")
        )
        assert versions(cluster_ips(here, "six")) == [6]
        for place in everywhere(here):
            until_equal(("six", "six"), lambda place=place: (place.http(address), place.udp(address)))
        until_equal([address], lambda: here.one.resolve("six"))
        assert here.one.resolve("kubernetes.default") == ["fd00:96::1"]
        script = (
            f'curl -sS --cacert {TOKEN[:-5]}ca.crt -H "Authorization: Bearer $(cat {TOKEN})" https://kubernetes.default/version'
        )
        assert '"gitVersion"' in fresh.in_pod("one", "sh", "-c", script, namespace=here.namespace)
        until(lambda: fresh.kubectl("logs", "-n", here.namespace, "six").stdout, lambda text: "listening on 8080/http" in text)
        with pytest.raises(Exception, match="this cluster is not configured for dual-stack services"):
            here.create(service("both", "six", **BOTH))
