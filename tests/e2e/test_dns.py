"""Cluster DNS as pods see it: the scenarios of Kubernetes' own end-to-end tests (test/e2e/network/dns.go) for the
addresses of Services and pods.
"""

from collections.abc import Iterator

import pytest
from scene import Scene, addresses, client, in_pod, scene, server, service, until_equal

from local_cluster import Cluster
from mooring.edges.netlink.topology import namespace_name
from mooring.testing.tracking import entries

DNS = "10.96.0.10"
NAMED_PORTS = (
    {"name": "http", "port": 80, "targetPort": 8080},
    {"name": "dns", "port": 53, "targetPort": 8080, "protocol": "UDP"},
)


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        named = server("named", "named", node="node-2", hostname="first", subdomain="peers")
        made.serve(
            named,
            server("plain", "plain", node="node-1"),
            service("plain", "plain", ports=NAMED_PORTS),
            service("peers", "named", ports=NAMED_PORTS, clusterIP="None"),
        )
        expected = {"peers": addresses(made.get("Pod", "named")), "plain": [address(made, "plain")]}
        for place in (made.one, made.two):
            until_equal(
                expected,
                lambda place=place: {
                    name: place.query(DNS, f"{name}.{made.namespace}.svc.cluster.local", "A") for name in expected
                },
            )
            until_equal("plain", lambda place=place: place.http("plain"))
        yield made


def address(here: Scene, name: str) -> str:
    text: str = here.get("Service", name)["spec"]["clusterIP"]
    return text


def test_names_of_services_resolve_whole_and_in_part(here: Scene) -> None:
    expected = [address(here, "plain")]
    names = ("plain", f"plain.{here.namespace}", f"plain.{here.namespace}.svc", f"plain.{here.namespace}.svc.cluster.local.")
    for place in (here.one, here.two):
        assert [expected] * 4 == [place.resolve(name, 4) for name in names]
        assert [["10.96.0.1"]] * 2 == [place.resolve(name, 4) for name in ("kubernetes.default", "kubernetes.default.svc")]
    assert here.one.http("plain") == "plain"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_addresses_of_services_and_of_pods_are_told_and_nothing_else(here: Scene, transport: str) -> None:
    space = f"{here.namespace}.svc.cluster.local"
    [peer] = addresses(here.get("Pod", "named"))
    expected = {
        (f"plain.{space}", "A"): [address(here, "plain")],
        (f"PLAIN.{space}", "A"): [address(here, "plain")],
        (f"plain.{space}", "AAAA"): ["NOERROR"],
        (f"peers.{space}", "A"): [peer],
        (f"first.peers.{space}", "A"): [peer],
        (f"first.plain.{space}", "A"): ["NXDOMAIN"],
        (f"nobody.{space}", "A"): ["NXDOMAIN"],
        ("outside.example.test", "A"): ["REFUSED"],
    }
    for place in (here.one, here.node_two):
        assert expected == {question: place.query(DNS, *question, transport) for question in expected}


def test_no_question_makes_an_entry_in_conntrack_and_no_node_misses_one(here: Scene) -> None:
    name = f"plain.{here.namespace}.svc.cluster.local"
    plain = address(here, "plain")
    assert here.one.http(plain) == "plain"
    for place in (here.one, here.two, here.node_one, here.node_two):
        assert [[plain]] * 2 == [place.query(DNS, name, "A", transport) for transport in ("udp", "tcp")]
    tracked = {node: entries(namespace_name(here.cluster.name, node)) for node in ("node-1", "node-2")}
    assert (plain, 80) in {destination for _, _, destination in tracked["node-1"]}, "what is tracked is seen"
    assert [] == [each for found in tracked.values() for each in found if (DNS, 53) in each]


def test_a_name_comes_and_goes_with_its_service_and_its_endpoints(here: Scene) -> None:
    whole, headless = (f"{name}.{here.namespace}.svc.cluster.local" for name in ("coming", "peerless"))
    [given, _] = here.serve(service("coming", ""), service("peerless", "peerless", clusterIP="None"))
    here.serve(server("peer", "peerless"))
    [peer] = addresses(here.get("Pod", "peer"))
    for place in (here.one, here.two):
        until_equal([given], lambda place=place: place.query(DNS, whole, "A"))
        until_equal([peer], lambda place=place: place.query(DNS, headless, "A"))
    here.delete("Service", "coming")
    here.delete("Pod", "peer")
    for place in (here.one, here.two):
        until_equal(["NXDOMAIN"], lambda place=place: place.query(DNS, whole, "A"))
        until_equal(["NXDOMAIN"], lambda place=place: place.query(DNS, headless, "A"))


def test_a_pod_knows_its_own_whole_name(here: Scene) -> None:
    [peer] = addresses(here.get("Pod", "named"))
    whole = f"first.peers.{here.namespace}.svc.cluster.local"
    assert f"{peer}\t{whole}\tfirst" in here.file("named", "/etc/hosts").splitlines()
    assert here.file("named", "/proc/sys/kernel/hostname") == "first\n"
    with in_pod(here, "named") as itself:
        assert [itself.resolve(name, 4) for name in ("first", whole)] == [[peer], [peer]]


def test_the_resolver_is_configured_as_the_pod_says(here: Scene) -> None:
    space = f"{here.namespace}.svc.cluster.local"
    own = {"nameservers": ["192.0.2.53"], "searches": ["a_b.example.test", "."], "options": [{"name": "ndots", "value": "2"}]}
    more = {"searches": [f"s{number}.example.test" for number in range(29)]}
    alias = [{"ip": "192.0.2.7", "hostnames": ["seven.example.test", "seven"]}]
    here.serve(
        client("dns-none", "node-1", dnsPolicy="None", dnsConfig=own),
        client("dns-more", "node-1", dnsConfig=more, hostAliases=alias),
        client("dns-host", "node-1", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"),
    )
    search = f"search {space} svc.cluster.local cluster.local"
    expected = {
        "one": [search, f"nameserver {DNS}", "options ndots:5"],
        "dns-host": [search, f"nameserver {DNS}", "options ndots:5"],
        "dns-none": ["search a_b.example.test .", "nameserver 192.0.2.53", "options ndots:2"],
        "dns-more": [f"{search} {' '.join(more['searches'])}", f"nameserver {DNS}", "options ndots:5"],
    }
    assert expected == {pod: here.file(pod, "/etc/resolv.conf").splitlines() for pod in expected}
    assert "192.0.2.7\tseven.example.test\tseven" in here.file("dns-more", "/etc/hosts").splitlines()
    with in_pod(here, "dns-more") as aliased, in_pod(here, "dns-host") as host:
        assert aliased.resolve("seven") == ["192.0.2.7"]
        assert [place.resolve("plain", 4) for place in (aliased, host)] == [[address(here, "plain")]] * 2


def test_a_name_that_is_not_there_is_told_at_once(here: Scene) -> None:
    assert here.one.resolve(f"nobody.{here.namespace}.svc.cluster.local.") == ["Name or service not known"]
