"""Names that are not the cluster's, on a cluster whose nodes have a name server of their own: what pods are handed, what
cluster DNS asks there, and where an ExternalName leads.
"""

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from outsiders import outside_server
from scene import Scene, client, in_pod, scene, service, until_equal
from upstream import NODES, OUTSIDE, seen_from

from local_cluster import Cluster

DNS = "10.96.0.10"
SERVERS = (NODES[0], OUTSIDE)
"""One on node-1, one outside: pods reach both, and cluster DNS does."""
OWN = f"search corp.example.test\nnameserver {SERVERS[0]}\nnameserver {SERVERS[1]}\noptions timeout:2\n"
NAME_SERVER = Path(__file__).with_name("name_server.py").read_text()
RECORDS = (
    "www.example.test=203.0.113.1",
    "www.example.test=2001:db8::1",
    "wiki.corp.example.test=203.0.113.2",
    "db-1.example.test=203.0.113.11",
    "db-2.example.test=203.0.113.12",
    f"managed.example.test={OUTSIDE}",
)


@pytest.fixture(scope="module")
def connected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("connected")
    (folder / "resolv.conf").write_text(OWN)
    made = Cluster(f"t{secrets.token_hex(4)}", folder / "data")
    try:
        made.up("--resolv-conf", str(folder / "resolv.conf"))
        with (
            name_server(made, "node-1", SERVERS[0], 53, *RECORDS),
            name_server(made, "outside", OUTSIDE, 53, *RECORDS),
        ):
            yield made
    finally:
        made.down("--purge")


@contextmanager
def name_server(cluster: Cluster, where: str, address: str, port: int, *records: str) -> Iterator[None]:
    """On a node, or `outside`; records as in name_server.py."""
    words = [*cluster.within(where), "python3", "-u", "-c", NAME_SERVER, address, str(port), *records]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "serving\n"
            yield
        finally:
            process.kill()


@pytest.fixture(scope="module")
def here(connected: Cluster) -> Iterator[Scene]:
    with scene(connected) as made:
        yield made


def space(here: Scene) -> str:
    return f"{here.namespace}.svc.cluster.local"


@pytest.mark.parametrize("host_network", [False, True], ids=["dnsPolicy Default", "ClusterFirst on the host network"])
def test_a_pod_is_handed_the_nodes_own_name_server(here: Scene, host_network: bool) -> None:
    pod = f"default-{host_network}".lower()
    policy = "ClusterFirst" if host_network else "Default"
    here.serve(client(pod, "node-1", hostNetwork=host_network, dnsPolicy=policy))
    assert here.file(pod, "/etc/resolv.conf") == OWN
    with in_pod(here, pod) as place:
        found = [place.resolve(name, 4) for name in ("www.example.test", "wiki", "kubernetes.default.svc.cluster.local")]
        assert found == [["203.0.113.1"], ["203.0.113.2"], ["Name or service not known"]]
        for server in SERVERS:
            told = [place.query(server, "www.example.test", "A", transport) for transport in ("udp", "tcp")]
            assert told == [["203.0.113.1"]] * 2


def test_a_pod_has_the_nodes_search_path_after_the_clusters(here: Scene) -> None:
    lines = here.file("one", "/etc/resolv.conf").splitlines()
    search = f"search {space(here)} svc.cluster.local cluster.local corp.example.test"
    assert lines == [search, f"nameserver {DNS}", "options ndots:5"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_names_of_other_zones_are_asked_there(here: Scene, transport: str) -> None:
    expected = {
        ("www.example.test", "A"): ["203.0.113.1"],
        ("www.example.test", "AAAA"): ["2001:db8::1"],
        ("www.example.test", "TXT"): ["NOERROR"],
        ("nobody.example.test", "A"): ["NXDOMAIN"],
        ("kubernetes.default.svc.cluster.local", "A"): ["10.96.0.1"],
    }
    for place in (here.one, here.two, here.node_one):
        assert expected == {question: place.query(DNS, *question, transport) for question in expected}


def test_resolvers_find_names_of_other_zones_and_of_the_nodes_search_path(here: Scene) -> None:
    for place in (here.one, here.two):
        assert ["2001:db8::1", "203.0.113.1"] == place.resolve("www.example.test")
        assert ["203.0.113.2"] == place.resolve("wiki", 4)
        assert ["Name or service not known"] == place.resolve("nobody.example.test", 4)


def test_an_external_name_leads_to_a_database_outside_and_follows_each_change(here: Scene) -> None:
    whole = f"db.{space(here)}"
    here.create(service("db", "", ports=(), type="ExternalName", externalName="db-1.example.test"))
    for number in (1, 2):
        target, address = f"db-{number}.example.test", f"203.0.113.1{number}"
        here.patch("Service", "db", {"spec": {"externalName": target}})
        for place in (here.one, here.two):
            until_equal([f"{target}."], lambda place=place: place.query(DNS, whole, "CNAME"))
            told = [place.query(DNS, whole, "A", transport) for transport in ("udp", "tcp")]
            assert (told, place.resolve("db", 4)) == ([[address]] * 2, [address])
    here.patch("Service", "db", {"spec": {"externalName": "nobody.example.test"}})
    until_equal(["nobody.example.test."], lambda: here.one.query(DNS, whole, "CNAME"))
    assert here.one.query(DNS, whole, "A") == ["NOERROR"]
    here.patch("Service", "db", {"spec": {"type": "ClusterIP", "externalName": None, "ports": [{"port": 80}]}})
    address = here.get("Service", "db")["spec"]["clusterIP"]
    until_equal([address], lambda: here.one.resolve("db", 4))


def test_pods_use_a_server_outside_by_an_external_name(here: Scene) -> None:
    here.create(service("managed", "", ports=(), type="ExternalName", externalName="managed.example.test"))
    with outside_server(here.cluster, OUTSIDE, 5432):
        for place, node in ((here.one, NODES[0]), (here.two, NODES[1])):
            for name in ("managed", f"managed.{space(here)}"):
                until_equal([OUTSIDE], lambda place=place, name=name: place.resolve(name, 4))
                assert ("outside", node) == (place.http(name, 5432), seen_from(place, (name, 5432)))


def test_an_external_name_may_lead_to_another_service(here: Scene) -> None:
    [address] = here.serve(service("real", ""))
    here.create(service("nickname", "", ports=(), type="ExternalName", externalName=f"real.{space(here)}"))
    for place in (here.one, here.two):
        until_equal([address], lambda place=place: place.query(DNS, f"nickname.{space(here)}", "A"))
        assert place.resolve("nickname", 4) == [address]


def test_zones_are_asked_where_the_dns_settings_send_them(dual: Cluster) -> None:
    """The settings are conftest.py's DNS_CONFIG."""
    default = ("www.example.test=203.0.113.1", "www.stub.example.test=203.0.113.1", "a.secret.example.test=203.0.113.1")
    with (
        name_server(dual, "outside", OUTSIDE, 53, *default),
        name_server(dual, "outside", OUTSIDE, 5353, "www.stub.example.test=203.0.113.53"),
        scene(dual) as here,
    ):
        here.create(service("elsewhere", "", ports=(), type="ExternalName", externalName="www.stub.example.test"))
        expected = {
            "www.example.test": ["203.0.113.1"],
            "www.stub.example.test": ["203.0.113.53"],
            "other.stub.example.test": ["NXDOMAIN"],
            "a.secret.example.test": ["REFUSED"],
            "listed.example.test": ["192.0.2.8"],
            f"elsewhere.{space(here)}": ["203.0.113.53"],
        }
        for place in (here.one, here.two, here.node_two):
            until_equal(expected, lambda place=place: {name: place.query(DNS, name, "A") for name in expected})
        assert ["203.0.113.53"] == here.one.resolve("elsewhere", 4) == here.one.resolve("www.stub.example.test", 4)
