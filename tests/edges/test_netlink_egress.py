"""Pods reach what is outside of the cluster by their node's address, and everybody inside by their own: decided, then done."""

import secrets
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from mooring.dataplane.egress import Egress
from mooring.edges.netlink import egress, namespaces
from mooring.edges.netlink.topology import NetworkError, Topology, ensure, remove, topology

RANGES = ("10.96.0.0/16", "10.244.0.0/16", "fd00:96::/112", "fd00:244::/56")
PODS = ("10.244.0.0/16", "fd00:244::/56")
DUAL = ("172.30.0.0/24", "fd00:172:30::/64")
POD = {4: "10.244.1.2", 6: "fd00:244:0:1::2"}
GATEWAY = {4: "10.244.1.1", 6: "fd00:244:0:1::1"}
NODE = {4: "172.30.0.11", 6: "fd00:172:30::11"}
BITS = {4: 24, 6: 64}
PATIENCE = 60.0
REPLACEMENTS = 300
"""While some thousand flows begin; of sets in one chain some 5 flows in a hundred replacements found nothing."""

PLACES = (
    pytest.param("outside", {4: "172.30.0.250", 6: "fd00:172:30::250"}, True, id="the outside"),
    pytest.param("outside", {4: "203.0.113.9", 6: "2001:db8::9"}, True, id="the world behind it"),
    pytest.param("switch", {4: "172.30.0.1", 6: "fd00:172:30::1"}, False, id="the switch, where the API server is"),
    pytest.param("node-2", {4: "172.30.0.12", 6: "fd00:172:30::12"}, False, id="another node"),
    pytest.param("node-1", NODE, False, id="the pod's own node"),
    pytest.param("node-2", {4: "10.244.2.2", 6: "fd00:244:0:2::2"}, False, id="a pod on another node"),
    pytest.param("node-2", {4: "10.96.0.7", 6: "fd00:96::7"}, False, id="a service address"),
)
BEHIND = (
    ("outside", "172.30.0.250", "203.0.113.9"),
    ("outside", "fd00:172:30::250", "2001:db8::9"),
    ("node-2", "172.30.0.12", "10.244.2.2"),
    ("node-2", "fd00:172:30::12", "fd00:244:0:2::2"),
    ("node-2", "172.30.0.12", "10.96.0.7"),
    ("node-2", "fd00:172:30::12", "fd00:96::7"),
)
"""Where the addresses are that the network does not give out by itself: (place, its own address, address)."""


def wish(cluster: str = "x") -> Topology:
    return topology(cluster, ["node-1", "node-2"], DUAL, ranges=RANGES, dns=("10.96.0.10", "fd00:96::a"), pods=PODS)


def test_the_ruleset_of_a_small_cluster() -> None:
    one = topology("x", ["node-1"], DUAL, ranges=RANGES, dns=(), pods=PODS)
    rules = [
        "ip daddr 10.96.0.0/16 accept",
        "ip daddr 10.244.0.0/16 accept",
        "ip daddr 172.30.0.1 accept",
        "ip daddr 172.30.0.11 accept",
        "ip saddr 10.244.0.0/16 masquerade fully-random",
        "ip6 daddr fd00:96::/112 accept",
        "ip6 daddr fd00:244::/56 accept",
        "ip6 daddr fd00:172:30::1 accept",
        "ip6 daddr fd00:172:30::11 accept",
        "ip6 saddr fd00:244::/56 masquerade fully-random",
    ]
    assert [
        "table inet egress",
        "delete table inet egress",
        "table inet egress {",
        "chain postrouting {",
        "type nat hook postrouting priority srcnat + 10",
        *rules,
        "}",
        "chain postrouting-again {",
        "type nat hook postrouting priority srcnat + 11",
        *rules,
        "}",
        "}",
    ] == [line.strip() for line in egress.ruleset(one.egress).splitlines() if line.strip()]


def test_a_cluster_of_one_family_says_nothing_of_the_other() -> None:
    one = egress.ruleset(topology("x", ["node-1"], DUAL[1:], ranges=RANGES[2:], dns=(), pods=PODS[1:]).egress)
    assert "ip6 saddr" in one and "ip6 daddr" in one
    assert "ip saddr" not in one and "ip daddr" not in one


def test_the_largest_cluster_lets_every_node_and_the_switch_see_pods_and_nobody_else_of_their_network() -> None:
    names = [f"node-{number}" for number in range(200)]
    large = topology("x", names, DUAL, ranges=RANGES, dns=(), pods=PODS)
    assert len(RANGES) + 2 * (200 + 1) == len(large.egress.inside)
    assert not any(large.egress.hides(POD[each.version], str(each.ip)) for node in large.nodes for each in node.addresses)
    assert all(large.egress.hides(POD[each.version], str(each.ip)) for each in large.outside)


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(("where", "address", "hidden"), PLACES)
def test_whom_a_pod_is_hidden_from(where: str, address: dict[int, str], hidden: bool, version: int) -> None:
    assert hidden == wish().egress.hides(POD[version], address[version])
    assert not wish().egress.hides(NODE[version], address[version])


@pytest.fixture(scope="module")
def lab() -> Iterator[Topology]:
    """A pod on node-1, in a namespace of its own; the other places hold the addresses of the table."""
    made = wish(f"t{secrets.token_hex(4)}")
    pod = made.namespace("pod")
    try:
        ensure(made)
        _run("ip", "netns", "add", pod)
        _ip(made, "node-1", "link add pod type veth peer name eth0 netns " + pod, "link set dev pod up")
        _ip(made, "pod", "link set dev lo up", "link set dev eth0 up")
        for version in (4, 6):
            shy = " nodad" if version == 6 else ""
            own, gateway = (f"address add {each[version]}/{BITS[version]} dev {{}}{shy}" for each in (POD, GATEWAY))
            _ip(made, "pod", own.format("eth0"))
            _ip(made, "node-1", gateway.format("pod"))
            _ip(made, "pod", f"route add default via {GATEWAY[version]}")
        for where, via, address in BEHIND:
            _ip(made, where, f"address add {address} dev lo")
            _ip(made, "node-1", f"route add {address} via {via}")
        yield made
    finally:
        remove(made.cluster)


def _ip(made: Topology, place: str, *lines: str) -> None:
    for line in lines:
        _run("ip", "-n", made.namespace(place), *line.split())


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


def _open(made: Topology, place: str, kind: int, at: tuple[str, int]) -> socket.socket:
    """Bound to an address and port there; listening, if it is a stream."""
    family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
    opened = namespaces.open_socket(made.namespace(place), family, kind)
    opened.settimeout(PATIENCE)
    opened.bind(at)
    if kind == socket.SOCK_STREAM:
        opened.listen()
    return opened


@pytest.mark.root
@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(("where", "address", "hidden"), PLACES)
def test_whom_the_kernel_hides_a_pod_from(
    lab: Topology, where: str, address: dict[int, str], hidden: bool, version: int
) -> None:
    with (
        _open(lab, where, socket.SOCK_DGRAM, (address[version], 0)) as server,
        _open(lab, "pod", socket.SOCK_DGRAM, (POD[version], 0)) as client,
    ):
        client.sendto(b"who am I?", server.getsockname())
        _, seen = server.recvfrom(64)
        assert (NODE if hidden else POD)[version] == seen[0]
        if hidden:
            server.sendto(b"my guest", seen)
            assert b"my guest" == client.recv(64)


@pytest.mark.root
@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_a_pods_connection_to_the_outside_outlives_a_network_made_again(lab: Topology, version: int) -> None:
    outside = next(str(each.ip) for each in lab.outside if each.version == version)
    with (
        _open(lab, "outside", socket.SOCK_STREAM, (outside, 0)) as server,
        namespaces.open_socket(lab.namespace("pod"), server.family, socket.SOCK_STREAM) as client,
    ):
        client.settimeout(PATIENCE)
        client.connect(server.getsockname())
        accepted, seen = server.accept()
        with accepted:
            assert NODE[version] == seen[0]
            before = _listed(lab)
            ensure(lab)
            assert before == _listed(lab)
            for one, other in ((client, accepted), (accepted, client)):
                one.sendall(b"still here")
                assert b"still here" == other.recv(64)


@pytest.mark.root
def test_a_pod_is_hidden_while_the_network_is_made_again(lab: Topology) -> None:
    """What conntrack is told of a flow's first packet holds for the whole flow."""
    done = threading.Event()

    def make_again() -> None:
        try:
            for _ in range(REPLACEMENTS):
                egress.ensure(lab.namespace("node-1"), lab.egress)
        finally:
            done.set()

    making = threading.Thread(target=make_again)
    seen: Counter[str] = Counter()
    with _open(lab, "outside", socket.SOCK_DGRAM, ("172.30.0.250", 0)) as server:
        making.start()
        for port in range(1024, 65536):
            with _open(lab, "pod", socket.SOCK_DGRAM, (POD[4], port)) as client:
                client.sendto(b"who am I?", server.getsockname())
                seen[server.recvfrom(64)[1][0]] += 1
            if done.is_set():
                break
        making.join()
    assert {NODE[4]} == seen.keys()


def _listed(made: Topology) -> str:
    words = ["ip", "netns", "exec", made.namespace("node-1"), "nft", "list", "ruleset"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.mark.root
def test_a_node_that_joins_sees_pods_as_they_are(lab: Topology) -> None:
    joined = Egress(PODS, (*lab.egress.inside, "172.30.0.250"))
    try:
        egress.ensure(lab.namespace("node-1"), joined)
        with (
            _open(lab, "outside", socket.SOCK_DGRAM, ("172.30.0.250", 0)) as server,
            _open(lab, "pod", socket.SOCK_DGRAM, (POD[4], 0)) as client,
        ):
            client.sendto(b"who am I?", server.getsockname())
            assert POD[4] == server.recvfrom(64)[1][0]
    finally:
        ensure(lab)


@pytest.mark.root
def test_what_the_kernel_refuses_is_told_and_leaves_no_network() -> None:
    cluster = f"t{secrets.token_hex(4)}"
    wrong = topology(cluster, ["node-1"], DUAL, ranges=RANGES, dns=(), pods=("10.244.0.0/33",))
    try:
        with pytest.raises(NetworkError, match=rf"mrg-{cluster}-node-1: `nft -f -` failed: .*10.244.0.0/33"):
            ensure(wrong)
        assert namespaces.named(f"mrg-{cluster}-") == []
    finally:
        remove(cluster)
