"""Names on a running cluster, asked from inside pods: upstream's dns.go, its 14 items and the 3 of host network pods, and what
pods are told of their own names.

The system's resolver (getaddrinfo, getent) meets what the pod's files say; direct questions meet the servers.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import dns.resolver
import pytest
from scene import Document, Place, Scene, addresses, client, in_pod, scene, server, service, until_equal

from local_cluster import Cluster

DNS = "10.96.0.10"
HTTP = ({"name": "http", "port": 80, "targetPort": 8080},)
NAME_SERVER = Path(__file__).with_name("name_server.py").read_text()
QUERIER = "dns-querier-1"
SERVICE, REGULAR = "dns-test-service", "test-service-2"


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        querier = server("querier", "dns-test", node="node-2", hostname=QUERIER, subdomain=SERVICE)
        headless = service(SERVICE, "dns-test", ports=HTTP, clusterIP="None")
        made.serve(querier, headless, service(REGULAR, "dns-test", ports=HTTP))
        [peer] = addresses(made.get("Pod", "querier"))
        of_both = [f"{peer.replace('.', '-')}.{REGULAR}.{space(made)}.", f"{QUERIER}.{SERVICE}.{space(made)}."]
        for place in (made.one, made.two):
            until_equal([peer], lambda place=place: place.query(DNS, f"{SERVICE}.{space(made)}", "A"))
            until_equal(of_both, lambda place=place: place.query(DNS, reverse(peer), "PTR"))
        yield made


def space(here: Scene) -> str:
    return f"{here.namespace}.svc.cluster.local"


def own(here: Scene, pod: str) -> str:
    address: str = addresses(here.get("Pod", pod))[0]
    return address


def cluster_ip(here: Scene, name: str) -> str:
    address: str = here.get("Service", name)["spec"]["clusterIP"]
    return address


def getent(here: Scene, pod: str, database: str, name: str) -> list[str]:
    """The first words of what getent writes: addresses, each once."""
    lines = here.cluster.in_pod(pod, "getent", database, name, namespace=here.namespace).splitlines()
    return sorted({line.split()[0] for line in lines})


def searched(here: Scene, pod: str, place: Place, name: str, kind: str) -> list[str]:
    """As the pod's resolver finds records of any type: its servers, its search path, its ndots (man 5 resolv.conf)."""
    files = dns.resolver.Resolver(configure=False)
    files.read_resolv_conf(here.file(pod, "/etc/resolv.conf").splitlines())
    paths = [f"{name}.{each}" if str(each) != "." else f"{name}." for each in files.search]
    order = [f"{name}.", *paths] if name.count(".") >= (files.ndots or 1) else [*paths, f"{name}."]
    for each in order:
        found = place.query(str(files.nameservers[0]), each, kind)
        if found not in (["NXDOMAIN"], ["NOERROR"]):
            return found
    return ["NXDOMAIN"]


def events(here: Scene, pod: str, reason: str) -> set[str]:
    fields = f"involvedObject.name={pod},reason={reason}"
    told = here.cluster.kubectl("get", "events", "-n", here.namespace, "--field-selector", fields, "-o", "json").stdout
    return {each["message"] for each in json.loads(told)["items"]}


def asks(name: str, **spec: object) -> Document:
    """A pod that is asked from, with a name of its own below the headless Service."""
    return client(name, "node-1", **{"hostname": QUERIER, "subdomain": SERVICE, **spec})


# The cluster's own names ------------------------------------------------------------------------------------------------


def test_the_clusters_own_name_is_told_to_resolvers_and_over_both_transports(here: Scene) -> None:
    name = "kubernetes.default.svc.cluster.local"
    for pod, place in (("one", here.one), ("two", here.two)):
        assert [["10.96.0.1"]] * 2 == [place.query(DNS, name, "A", transport) for transport in ("udp", "tcp")]
        assert ["10.96.0.1"] == place.resolve(name, 4) == getent(here, pod, "ahostsv4", name)


def test_the_clusters_own_name_is_found_by_its_parts(here: Scene) -> None:
    for pod, place in (("one", here.one), ("two", here.two)):
        for name in ("kubernetes.default", "kubernetes.default.svc"):
            assert ["10.96.0.1"] == place.resolve(name, 4) == getent(here, pod, "ahostsv4", name)


def test_a_pod_finds_itself_in_its_hosts_file_by_its_whole_name_and_its_hostname(here: Scene) -> None:
    whole = f"{QUERIER}.{SERVICE}.{space(here)}"
    expected = [own(here, "querier")]
    assert [expected] * 2 == [getent(here, "querier", "hosts", name) for name in (whole, QUERIER)]
    with in_pod(here, "querier") as itself:
        assert [expected] * 2 == [itself.resolve(name, 4) for name in (whole, QUERIER)]


# Services ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_services_have_addresses_ports_and_reverse_names(here: Scene, transport: str) -> None:
    pod, regular = own(here, "querier"), cluster_ip(here, REGULAR)
    expected = {
        (f"{SERVICE}.{space(here)}", "A"): [pod],
        (f"{REGULAR}.{space(here)}", "A"): [regular],
        (f"_http._tcp.{SERVICE}.{space(here)}", "SRV"): [f"0 100 8080 {QUERIER}.{SERVICE}.{space(here)}."],
        (f"_http._tcp.{REGULAR}.{space(here)}", "SRV"): [f"0 100 80 {REGULAR}.{space(here)}."],
        (reverse(regular), "PTR"): [f"{REGULAR}.{space(here)}."],
        (reverse(pod), "PTR"): [f"{pod.replace('.', '-')}.{REGULAR}.{space(here)}.", f"{QUERIER}.{SERVICE}.{space(here)}."],
    }
    for place in (here.one, here.two):
        assert expected == {question: place.query(DNS, *question, transport) for question in expected}


def reverse(address: str) -> str:
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def find_services_by_their_parts(here: Scene, pod: str, place: Place) -> None:
    for name, expected in ((SERVICE, own(here, "querier")), (REGULAR, cluster_ip(here, REGULAR))):
        for part in (name, f"{name}.{here.namespace}", f"{name}.{here.namespace}.svc"):
            assert [expected] == place.resolve(part, 4)
        assert getent(here, pod, "ahostsv4", name) == [expected]
    ports = [searched(here, pod, place, f"_http._tcp.{name}.{here.namespace}.svc", "SRV") for name in (SERVICE, REGULAR)]
    assert ports == [[f"0 100 8080 {QUERIER}.{SERVICE}.{space(here)}."], [f"0 100 80 {REGULAR}.{space(here)}."]]


def test_services_are_found_by_their_parts(here: Scene) -> None:
    find_services_by_their_parts(here, "one", here.one)
    find_services_by_their_parts(here, "two", here.two)


def test_services_are_found_by_their_parts_from_the_host_network(here: Scene) -> None:
    here.serve(client("host", "node-1", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"))
    with in_pod(here, "host") as place:
        find_services_by_their_parts(here, "host", place)


def test_every_ready_pod_of_a_headless_service_is_told_with_its_port(here: Scene) -> None:
    ports = ({"name": "http", "port": 80, "targetPort": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"})
    more = [server(f"peer-{n}", "peers", node=f"node-{n}", hostname=f"h{n}", subdomain="peers") for n in (1, 2)]
    here.serve(*more, service("peers", "peers", ports=ports, clusterIP="None"))
    peers = [own(here, "peer-1"), own(here, "peer-2")]

    def told(*questions: tuple[str, str]) -> list[list[str]]:
        return [here.one.query(DNS, f"{name}.{space(here)}", kind) for name, kind in questions]

    http, dns_port = ([f"0 50 {port} h{n}.peers.{space(here)}." for n in (1, 2)] for port in (8080, 53))
    srv = ("_http._tcp.peers", "SRV")
    until_equal([sorted(peers), http, dns_port], lambda: told(("peers", "A"), srv, ("_dns._udp.peers", "SRV")))
    here.delete("Pod", "peer-1")
    left = [peers[1:], [f"0 100 8080 h2.peers.{space(here)}."], ["NXDOMAIN"]]
    until_equal(left, lambda: told(("peers", "A"), srv, ("h1.peers", "A")))


# Pods' hostnames --------------------------------------------------------------------------------------------------------


def test_a_pod_with_hostname_and_subdomain_has_a_name_of_its_own(here: Scene) -> None:
    names = ("dns-querier-2", "dns-test-service-2")
    whole = f"{names[0]}.{names[1]}.{space(here)}"
    here.serve(
        server("second", "second", node="node-2", hostname=names[0], subdomain=names[1]),
        service(names[1], "second", ports=HTTP, clusterIP="None"),
    )
    expected = [own(here, "second")]
    for place in (here.one, here.two):
        for name in (whole, f"{names[1]}.{space(here)}"):
            until_equal(
                [expected] * 2, lambda place=place, name=name: [place.query(DNS, name, "A", each) for each in ("udp", "tcp")]
            )
        assert [expected] * 2 == [place.resolve(name, 4) for name in (whole, ".".join(names))]
    assert [expected] * 2 == [getent(here, "second", "hosts", name) for name in (whole, names[0])]


HOSTNAMES: dict[str, tuple[Document, str, str]] = {
    "spec.hostname": ({"hostname": QUERIER}, QUERIER, QUERIER),
    "spec.hostname and spec.subdomain": ({"hostname": QUERIER, "subdomain": SERVICE}, QUERIER, "{whole}\t" + QUERIER),
    "spec.setHostnameAsFQDN": (
        {"hostname": "q", "subdomain": "s", "setHostnameAsFQDN": True},
        "q.s.{space}",
        "q.s.{space}\tq",
    ),
    "spec.hostnameOverride": (
        {"hostname": QUERIER, "subdomain": SERVICE, "hostnameOverride": "other.example.test"},
        "other.example.test",
        "other.example.test",
    ),
}


@pytest.mark.parametrize(("spec", "wanted", "line"), HOSTNAMES.values(), ids=HOSTNAMES)
def test_a_pods_hostname_is_what_it_asks_for(here: Scene, spec: Document, wanted: str, line: str) -> None:
    pod = f"hostname-{list(HOSTNAMES).index(next(key for key, value in HOSTNAMES.items() if value[0] == spec))}"
    here.serve(client(pod, "node-1", **spec))
    told = {"whole": f"{QUERIER}.{SERVICE}.{space(here)}", "space": space(here)}
    assert here.cluster.in_pod(pod, "hostname", namespace=here.namespace) == wanted.format_map(told) + "\n"
    assert f"{own(here, pod)}\t{line.format_map(told)}" == here.file(pod, "/etc/hosts").splitlines()[-1]


def test_a_pod_on_the_host_network_has_the_nodes_hostname_whatever_it_asks_for(here: Scene) -> None:
    here.serve(client("host-name", "node-2", hostNetwork=True, hostname=QUERIER))
    assert here.cluster.in_pod("host-name", "hostname", namespace=here.namespace) == "node-2\n"


def test_a_whole_name_that_the_kernel_does_not_take_is_told(here: Scene) -> None:
    here.create(client("too-long", "node-1", hostname="h" * 40, subdomain="sub", setHostnameAsFQDN=True))
    whole = f"{'h' * 40}.sub.{space(here)}"
    until_equal(
        {
            "Failed to create pod sandbox: Failed to construct FQDN from pod hostname and cluster domain, "
            f"FQDN {whole} is too long (64 characters is the max, {len(whole)} characters requested)"
        },
        lambda: events(here, "too-long", "FailedCreatePodSandBox"),
    )


# ExternalName -----------------------------------------------------------------------------------------------------------


def test_an_external_name_is_followed_through_its_changes_to_an_address(here: Scene) -> None:
    name = f"dns-test-service-3.{space(here)}"
    here.create(service("dns-test-service-3", "", ports=(), type="ExternalName", externalName="foo.example.com"))
    for target in ("foo", "bar"):
        here.patch("Service", "dns-test-service-3", {"spec": {"externalName": f"{target}.example.com"}})
        for place in (here.one, here.two):
            until_equal([f"{target}.example.com."], lambda place=place: place.query(DNS, name, "CNAME"))
            assert place.query(DNS, name, "CNAME", "tcp") == [f"{target}.example.com."]
    here.patch(
        "Service",
        "dns-test-service-3",
        {"spec": {"type": "ClusterIP", "externalName": None, "ports": [{"name": "http", "port": 80}]}},
    )
    expected = [cluster_ip(here, "dns-test-service-3")]
    for place in (here.one, here.two):
        until_equal(expected, lambda place=place: place.query(DNS, name, "A"))
        assert (["NOERROR"], expected) == (place.query(DNS, name, "CNAME"), place.resolve("dns-test-service-3", 4))


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_a_service_becomes_an_external_name(here: Scene, kind: str) -> None:
    own_name = f"becomes-{kind}".lower()
    name = f"{own_name}.{space(here)}"
    here.serve(service(own_name, "", type=kind))
    until_equal([cluster_ip(here, own_name)], lambda: here.one.query(DNS, name, "A"))
    change = {"type": "ExternalName", "externalName": "baz.example.com", "ports": None, "clusterIP": None, "clusterIPs": None}
    here.patch("Service", own_name, {"spec": change})
    for place in (here.one, here.two):
        until_equal(["baz.example.com."], lambda place=place: place.query(DNS, name, "CNAME"))
        assert place.query(DNS, name, "A") == ["NOERROR"]


# resolv.conf and hosts --------------------------------------------------------------------------------------------------


def test_a_pod_has_the_name_servers_and_the_search_path_it_asks_for(here: Scene) -> None:
    config = {"nameservers": ["192.0.2.53"], "searches": ["resolv.conf.local"]}
    here.serve(client("name-servers", "node-1", dnsPolicy="None", dnsConfig=config))
    assert here.file("name-servers", "/etc/resolv.conf") == "search resolv.conf.local\nnameserver 192.0.2.53\n"


def test_a_pod_asks_the_server_it_is_configured_for_along_its_own_search_path(here: Scene) -> None:
    command = ["python3", "-u", "-c", NAME_SERVER, "0.0.0.0", "53", "notexistname.resolv.conf.local=203.0.113.7"]
    serving = client("name-server", "node-2")
    serving["spec"]["containers"][0]["command"] = command
    here.serve(serving)
    config = {
        "nameservers": [own(here, "name-server")],
        "searches": ["resolv.conf.local"],
        "options": [{"name": "ndots", "value": "2"}],
    }
    here.serve(client("configured", "node-1", dnsPolicy="None", dnsConfig=config))
    assert "options ndots:2" in here.file("configured", "/etc/resolv.conf").splitlines()
    with in_pod(here, "configured") as place:
        until_equal(["203.0.113.7"], lambda: place.resolve("notexistname", 4))
        assert ["203.0.113.7"] == place.resolve("notexistname.resolv.conf.local", 4)
        assert ["203.0.113.7"] == getent(here, "configured", "ahostsv4", "notexistname")
        assert ["Name or service not known"] == place.resolve("kubernetes.default", 4)


LONG = [f"{number:038}.k8s.test" for number in range(1, 7)]
SEARCHES = {
    "more than 6 paths and 256 letters": {"searches": LONG, "options": [{"name": "ndots", "value": "5"}]},
    "a single dot and an underscore": {"searches": [".", "_sip._tcp.abc_d.example.test"]},
}


@pytest.mark.parametrize("config", SEARCHES.values(), ids=SEARCHES)
def test_the_cluster_is_found_with_a_search_path_of(here: Scene, config: Document) -> None:
    pod = f"searches-{list(SEARCHES.values()).index(config)}"
    here.serve(asks(pod, dnsConfig=config))
    line = f"search {space(here)} svc.cluster.local cluster.local {' '.join(config['searches'])}"
    assert here.file(pod, "/etc/resolv.conf") == f"{line}\nnameserver {DNS}\noptions ndots:5\n"
    with in_pod(here, pod) as place:
        for name in ("kubernetes.default", "kubernetes.default.svc"):
            assert ["10.96.0.1"] == place.resolve(name, 4) == getent(here, pod, "ahostsv4", name)
        for name in (QUERIER, f"{QUERIER}.{SERVICE}.{space(here)}"):
            assert [own(here, pod)] == place.resolve(name, 4) == getent(here, pod, "hosts", name)


def test_what_a_resolver_cannot_bear_is_cut_and_told(here: Scene) -> None:
    searches = [f"{number:058}.example.test" for number in range(1, 29)]
    config = {"nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3"], "searches": searches}
    here.serve(client("cut", "node-1", dnsConfig=config))
    kept = f"{space(here)} svc.cluster.local cluster.local {' '.join(searches[:27])}"
    servers = [DNS, "192.0.2.1", "192.0.2.2"]
    assert here.file("cut", "/etc/resolv.conf").splitlines() == [
        f"search {kept}",
        *(f"nameserver {each}" for each in servers),
        "options ndots:5",
    ]
    names = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
    paths = f"Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {kept}"
    until_equal({names + " ".join(servers), paths[:1024]}, lambda: events(here, "cut", "DNSConfigForming"))
    with in_pod(here, "cut") as place:
        assert ["10.96.0.1"] == place.resolve("kubernetes.default", 4)


@pytest.mark.parametrize("host_network", [False, True], ids=["its own network", "the host network"])
def test_host_aliases_are_found_first(here: Scene, host_network: bool) -> None:
    pod = f"aliased-{host_network}".lower()
    alias = [
        {"ip": "192.0.2.7", "hostnames": ["seven.example.test", "seven", "kubernetes.default"]},
        {"ip": "2001:db8::7", "hostnames": ["seven6"]},
    ]
    policy = "ClusterFirstWithHostNet" if host_network else "ClusterFirst"
    here.serve(client(pod, "node-1", hostAliases=alias, hostNetwork=host_network, dnsPolicy=policy))
    added = "# Entries added by HostAliases.\n192.0.2.7\tseven.example.test\tseven\tkubernetes.default\n2001:db8::7\tseven6\n"
    text = here.file(pod, "/etc/hosts")
    assert text.startswith("# Kubernetes-managed hosts file" + (" (host network).\n" if host_network else ".\n"))
    assert text.endswith(f"\n\n{added}")
    with in_pod(here, pod) as place:
        found = [place.resolve(name) for name in ("seven.example.test", "seven", "seven6")]
        assert found == [["192.0.2.7"], ["192.0.2.7"], ["2001:db8::7"]]
        assert (["192.0.2.7"], ["10.96.0.1"]) == (
            place.resolve("kubernetes.default", 4),
            place.resolve("kubernetes.default.svc", 4),
        )


@pytest.mark.parametrize("host_network", [False, True], ids=["its own network", "the host network"])
def test_a_node_without_dns_gives_none_and_pods_learn_so_at_once(here: Scene, host_network: bool) -> None:
    pod = f"default-{host_network}".lower()
    policy = "ClusterFirst" if host_network else "Default"
    here.serve(client(pod, "node-1", hostNetwork=host_network, dnsPolicy=policy))
    assert here.file(pod, "/etc/resolv.conf") == "search .\nnameserver 127.0.0.1\n"
    with in_pod(here, pod) as place:
        assert place.resolve("kubernetes.default.svc.cluster.local", 4) == ["Temporary failure in name resolution"]
