"""The network of a local cluster, decided and then made for real."""

import json
import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from mooring.edges.netlink import namespaces
from mooring.edges.netlink.topology import NetworkError, Topology, ensure, remove, steps, topology

RANGES = ("10.96.0.0/16", "10.244.0.0/16", "fd00:96::/112", "fd00:244::/56")
DUAL = ("172.30.0.0/24", "fd00:172:30::/64")


def wish(cluster: str = "x", nodes: int = 2, networks: tuple[str, ...] = DUAL) -> Topology:
    names = [f"node-{number}" for number in range(1, nodes + 1)]
    return topology(cluster, names, networks, ranges=RANGES, dns=("10.96.0.10", "fd00:96::a"))


@pytest.fixture
def cluster() -> Iterator[str]:
    name = f"t{secrets.token_hex(4)}"
    yield name
    remove(name)


def test_addresses_read_alike_in_both_families() -> None:
    made = wish()
    assert list(map(str, made.switch)) == ["172.30.0.1/24", "fd00:172:30::1/64"]
    assert list(map(str, made.nodes[1].addresses)) == ["172.30.0.12/24", "fd00:172:30::12/64"]
    assert list(map(str, made.outside)) == ["172.30.0.250/24", "fd00:172:30::250/64"]


def test_no_two_places_share_an_address_in_the_largest_cluster() -> None:
    made = wish(nodes=200)
    places = [made.switch, made.outside, *(node.addresses for node in made.nodes)]
    addresses = [address.ip for place in places for address in place]
    assert len(addresses) == len(set(addresses))


def test_no_step_works_in_the_root_namespace_and_every_interface_name_fits() -> None:
    for step in steps(wish(nodes=200)):
        assert step.namespace.startswith("mrg-x-")
        for words in map(str.split, step.lines):
            if words[:2] == ["link", "add"]:
                assert len(words[3]) <= 15
                assert "veth" not in words or words[words.index("netns") + 1].startswith("mrg-x-")


def test_the_outside_has_its_unreachable_routes_before_its_link_is_up() -> None:
    lines = next(step.lines for step in steps(wish()) if step.namespace == "mrg-x-outside")
    assert max(map(lines.index, (line for line in lines if "unreachable" in line))) < lines.index("link set dev eth0 up")


AT_ONCE = ("No route to host", "Network is unreachable")
"""The kernel's two words for an ICMP unreachable (IPv6 maps 'no route' to the second); never a timeout."""


def _reach(address: str) -> str:
    """'open', 'refused', or the error by which the kernel says that there is no way."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(60)
        try:
            probe.connect((address, 9))
        except ConnectionRefusedError:
            return "refused"
        except OSError as error:
            return os.strerror(error.errno) if error.errno else str(error)
    return "open"


def within(made: Topology, place: str, address: str) -> str:
    work: Callable[[], str] = lambda: _reach(address)  # noqa: E731
    return namespaces.within(made.namespace(place), work)


@pytest.mark.root
@pytest.mark.parametrize("networks", [DUAL, DUAL[:1], DUAL[1:]], ids=["dual-stack", "IPv4 alone", "IPv6 alone"])
def test_neighbours_reach_each_other_and_strays_end_at_once(cluster: str, networks: tuple[str, ...]) -> None:
    made = wish(cluster, networks=networks)
    ensure(made)
    for address in made.nodes[1].addresses:
        assert within(made, "node-1", str(address.ip)) == "refused"
        assert within(made, "outside", str(address.ip)) == "refused"
    strays = {4: ("10.96.0.1", "10.244.7.7", "198.51.100.1"), 6: ("fd00:96::1", "fd00:244::7", "2001:db8::1")}
    for version in {address.version for address in made.switch}:
        for stray in strays[version]:
            assert within(made, "node-1", stray) in AT_ONCE
            assert within(made, "outside", stray) in AT_ONCE


@pytest.mark.root
def test_a_node_holds_the_cluster_dns_address(cluster: str) -> None:
    made = wish(cluster)
    ensure(made)
    assert within(made, "node-1", "10.96.0.10") == "refused"
    assert within(made, "node-2", "fd00:96::a") == "refused"


@pytest.mark.root
def test_making_it_again_changes_nothing_and_mends_what_is_gone(cluster: str) -> None:
    made = wish(cluster)
    ensure(made)
    before = _links(made, "switch")
    ensure(made)
    assert before == _links(made, "switch")
    subprocess.run(["ip", "-n", made.namespace("switch"), "link", "delete", "node-2"], check=True)
    ensure(made)
    assert within(made, "node-1", "172.30.0.12") == "refused"


@pytest.mark.root
def test_the_root_namespace_sees_nothing_and_removal_leaves_nothing(cluster: str) -> None:
    before = _root()
    ensure(wish(cluster))
    assert before == _root()
    assert len(remove(cluster)) == 4
    assert namespaces.named(f"mrg-{cluster}-") == []
    assert remove(cluster) == []
    assert before == _root()


@pytest.mark.root
def test_a_step_that_fails_leaves_no_namespace_and_says_which_command(cluster: str) -> None:
    broken = topology(cluster, ["node-1"], DUAL, ranges=["10.96.0.1/16"], dns=())
    with pytest.raises(NetworkError) as raised:
        ensure(broken)
    assert f"mrg-{cluster}-switch: `ip route replace unreachable 10.96.0.1/16` failed" in str(raised.value)
    assert namespaces.named(f"mrg-{cluster}-") == []


@pytest.mark.root
def test_another_cluster_of_a_longer_name_is_left_alone(cluster: str) -> None:
    longer = cluster + "b"
    try:
        ensure(wish(cluster, nodes=1))
        ensure(wish(longer, nodes=1))
        remove(cluster)
        assert len(namespaces.named(f"mrg-{longer}-")) == 3
    finally:
        remove(longer)


def _root() -> list[str]:
    """Names of the root namespace's links and its routes, without lifetimes that count down."""
    links = json.loads(subprocess.run(["ip", "-json", "link"], check=True, capture_output=True, text=True).stdout)
    routes = subprocess.run(["ip", "-json", "route"], check=True, capture_output=True, text=True).stdout
    return [*(link["ifname"] for link in links), routes]


def _links(made: Topology, place: str) -> list[tuple[int, str]]:
    command = ["ip", "-n", made.namespace(place), "-json", "link"]
    return [
        (link["ifindex"], link["ifname"])
        for link in json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ]
