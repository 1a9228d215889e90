"""What do Services see of a node: where node ports answer, and by what its pods are known?"""

from typing import Any

import msgspec
import pytest

from mooring.model.node import Node, node
from mooring.services.locality import ANNOTATION, DetectLocal, Locality, ProxyOptions, locality, options_of
from mooring.services.view import Family

ADDRESSES = [
    ("Hostname", "node-1"),
    ("ExternalIP", "198.51.100.11"),
    ("InternalIP", "172.30.0.11"),
    ("InternalIP", "fd00:30:0::11"),
    ("InternalIP", "172.30.0.51"),
    ("InternalDNS", "node-1.internal"),
]
ALL = ("198.51.100.11", "172.30.0.11", "fd00:30::11", "172.30.0.51")


def a_node(*addresses: tuple[str, str], cidrs: tuple[str, ...] = ("10.244.1.0/24",), **metadata: Any) -> Node:
    status = {"addresses": [{"type": kind, "address": address} for kind, address in addresses or ADDRESSES]}
    return node({"metadata": {"name": "node-1", **metadata}, "spec": {"podCIDRs": list(cidrs)}, "status": status})


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        pytest.param(["primary"], ("172.30.0.11", "fd00:30::11"), id="primary is the first InternalIP of each family"),
        pytest.param(["all"], ALL, id="all is every InternalIP and ExternalIP, in the order of the status"),
        pytest.param(["localhost"], ("127.0.0.1",), id="localhost is the IPv4 loopback: no kernel brings answers back to ::1"),
        pytest.param(["primary", "localhost"], ("172.30.0.11", "fd00:30::11", "127.0.0.1"), id="keywords add up"),
        pytest.param(["all", "primary"], ALL, id="no address comes twice"),
        pytest.param(["172.30.0.48/28"], ("172.30.0.51",), id="a range chooses among all"),
        pytest.param(["172.30.0.51/24"], ("172.30.0.11", "172.30.0.51"), id="host bits of a range do not matter"),
        pytest.param(["198.51.100.0/24", "fd00:30::/64"], ("198.51.100.11", "fd00:30::11"), id="ranges of both families"),
        pytest.param(["0.0.0.0/0"], ("198.51.100.11", "172.30.0.11", "172.30.0.51"), id="every address is not the loopback"),
        pytest.param(["127.0.0.0/8"], ("127.0.0.1",), id="a range of loopback addresses is"),
        pytest.param(["::1/128"], (), id="but not in IPv6"),
        pytest.param(["192.0.2.0/24"], (), id="a range without an address of the node chooses none"),
        pytest.param([], (), id="nothing chooses nothing"),
    ],
)
def test_node_ports_answer_where_the_option_says(chosen: list[str], expected: tuple[str, ...]) -> None:
    assert expected == locality(a_node(), ProxyOptions(nodeport_addresses=tuple(chosen))).node_port_addresses


def test_a_node_has_the_loopback_and_the_primary_address_of_its_own_families_only() -> None:
    six = a_node(("InternalIP", "fd00:30::11"))
    assert ("fd00:30::11",) == locality(six, ProxyOptions(nodeport_addresses=("localhost", "primary"))).node_port_addresses


def test_a_family_without_internal_address_has_its_external_one_as_primary() -> None:
    mixed = a_node(("ExternalIP", "2001:db8::11"), ("ExternalIP", "198.51.100.11"), ("InternalIP", "172.30.0.11"))
    assert ("2001:db8::11", "172.30.0.11") == locality(mixed, ProxyOptions()).node_port_addresses


def test_addresses_are_canonical_and_what_cannot_be_read_is_left_out() -> None:
    odd = a_node(("InternalIP", "nonsense"), ("InternalIP", "172.030.000.011"), ("InternalIP", "FD00:30:0:0::11"))
    assert ("172.30.0.11", "fd00:30::11") == locality(odd, ProxyOptions()).addresses


@pytest.mark.parametrize(
    ("options", "cidrs", "interfaces", "by"),
    [
        pytest.param(ProxyOptions(), ("10.244.1.0/24",), (), "spec.podCIDRs", id="NodeCIDR: the node's own ranges"),
        pytest.param(
            ProxyOptions(detect_local=DetectLocal.CLUSTER_CIDR, cluster_cidr=("10.244.0.9/16",)),
            ("10.244.0.0/16",),
            (),
            "cluster-cidr",
            id="ClusterCIDR: the range of all pods",
        ),
        pytest.param(
            ProxyOptions(detect_local=DetectLocal.BRIDGE_INTERFACE, pod_interface="cni0"),
            (),
            ("cni0",),
            "pod-interface",
            id="BridgeInterface: one name",
        ),
        pytest.param(
            ProxyOptions(detect_local=DetectLocal.INTERFACE_NAME_PREFIX, pod_interface="veth"),
            (),
            ("veth*",),
            "pod-interface",
            id="InterfaceNamePrefix: every name that begins so",
        ),
        pytest.param(ProxyOptions(detect_local=DetectLocal.NONE), (), (), "", id="None: pods are not told from the outside"),
    ],
)
def test_pods_are_known_as_the_option_says(
    options: ProxyOptions, cidrs: tuple[str, ...], interfaces: tuple[str, ...], by: str
) -> None:
    found = locality(a_node(), options)
    assert (cidrs, interfaces, by) == (found.pod_cidrs, found.pod_interfaces, found.pods_by)
    assert bool(cidrs or interfaces) == found.detects_pods(Family.IPV4)
    assert bool(interfaces) == found.detects_pods(Family.IPV6), "a range is of one family, an interface of both"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (ProxyOptions(nodeport_addresses=("primary", "everywhere")), "nodeport-addresses: 'everywhere'"),
        (ProxyOptions(nodeport_addresses=("172.30.0.11",)), "nodeport-addresses: '172.30.0.11'"),
        (ProxyOptions(detect_local=DetectLocal.CLUSTER_CIDR), "cluster-cidr: required"),
        (ProxyOptions(detect_local=DetectLocal.CLUSTER_CIDR, cluster_cidr=("10.244/16",)), "cluster-cidr: '10.244/16'"),
        (ProxyOptions(cluster_dns=("10.96.0.10", "kube-dns")), "cluster-dns: .*kube-dns"),
        (ProxyOptions(detect_local=DetectLocal.BRIDGE_INTERFACE), "pod-interface: required"),
        (ProxyOptions(detect_local=DetectLocal.INTERFACE_NAME_PREFIX, pod_interface="veth*"), "pod-interface: 'veth\\*'"),
        (ProxyOptions(detect_local=DetectLocal.BRIDGE_INTERFACE, pod_interface="a" * 16), "pod-interface: 'a*'"),
    ],
)
def test_options_that_mean_nothing_are_refused_by_name(options: ProxyOptions, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        locality(a_node(), options)


def test_a_node_tells_its_options_in_an_annotation() -> None:
    told = a_node(annotations={ANNOTATION: '{"nodeport-addresses": ["all"], "masquerade-all": true, "detect-local": "None"}'})
    options = options_of(told)
    assert ProxyOptions(("all",), True, DetectLocal.NONE) == options
    assert locality(told, options).masquerade_all
    assert ProxyOptions() == options_of(a_node())
    with pytest.raises(msgspec.ValidationError, match="nodeports"):
        options_of(a_node(annotations={ANNOTATION: '{"nodeports": []}'}))


def test_a_node_answers_names_over_udp_and_tcp_at_each_cluster_dns_address() -> None:
    told = a_node(annotations={ANNOTATION: '{"cluster-dns": ["10.96.0.10", "FD00:96:0::a"]}'})
    expected = [(address, 53, protocol) for address in ("10.96.0.10", "fd00:96::a") for protocol in ("UDP", "TCP")]
    found = locality(told, options_of(told)).answered_here
    assert expected == [(each.address, each.port, each.protocol.value) for each in found]
    assert () == locality(a_node(), ProxyOptions()).answered_here


def test_zone_and_name_are_the_nodes() -> None:
    found = locality(a_node(labels={"topology.kubernetes.io/zone": "zone-a"}), ProxyOptions())
    assert isinstance(found, Locality)
    assert ("node-1", "zone-a") == (found.node, found.zone)
