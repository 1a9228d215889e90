"""What must be known of a node to say what a Service means there? And what may a node's operator choose?

The options carry kube-proxy's names. A node agent writes those it runs with into an annotation of its Node, so that everyone
who asks what the node does (`mooring trace`, `explain`, `plan`, `verify`) reads the same.
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from ipaddress import ip_network

import msgspec
from msgspec import Struct

from mooring.endpoints.addresses import canonical, canonical_range, contains, is_ipv6, readable
from mooring.model.node import Node
from mooring.services.view import Answering, Family, Protocol

ANNOTATION = "mooring.dev/proxy-options"
PRIMARY, ALL, LOCALHOST = "primary", "all", "localhost"
LONGEST_INTERFACE = 15
"""The kernel's IFNAMSIZ without the final zero."""
LOOPBACK = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}
DNS_PORT, DNS_PROTOCOLS = 53, (Protocol.UDP, Protocol.TCP)


class DetectLocal(Enum):
    """How this node's pods are told from everyone else (kube-proxy's --detect-local-mode)."""

    NODE_CIDR = "NodeCIDR"
    CLUSTER_CIDR = "ClusterCIDR"
    BRIDGE_INTERFACE = "BridgeInterface"
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"
    NONE = "None"


class ProxyOptions(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """`nodeport_addresses`: the keywords primary, all, localhost, or CIDRs. `pod_interface`: the bridge, or the prefix.

    `cluster_dns`: addresses at which the node answers names itself (no option of kube-proxy's, but the tables depend on it).
    """

    nodeport_addresses: tuple[str, ...] = (PRIMARY,)
    masquerade_all: bool = False
    detect_local: DetectLocal = DetectLocal.NODE_CIDR
    cluster_cidr: tuple[str, ...] = ()
    pod_interface: str = ""
    cluster_dns: tuple[str, ...] = ()


class Locality(Struct, frozen=True, cache_hash=True):
    """One node, as Services see it."""

    node: str
    zone: str = ""
    addresses: tuple[str, ...] = ()
    """Its own, as its status names them, in that order."""
    node_port_addresses: tuple[str, ...] = ()
    """Where node ports answer."""
    pod_cidrs: tuple[str, ...] = ()
    pod_interfaces: tuple[str, ...] = ()
    masquerade_all: bool = False
    pods_by: str = "spec.podCIDRs"
    """Where pod_cidrs or pod_interfaces are written; '' when pods are not detected."""
    answered_here: tuple[Answering, ...] = ()
    """What it answers itself."""

    def detects_pods(self, family: Family) -> bool:
        """As NodeView.detects_pods."""
        separator = ":" if family is Family.IPV6 else "."
        return bool(self.pod_interfaces) or any(separator in cidr for cidr in self.pod_cidrs)


def options_of(node: Node) -> ProxyOptions:
    """What the node's agent says it runs with; the defaults where it says nothing. Raises msgspec.ValidationError."""
    text = (node.metadata.annotations or {}).get(ANNOTATION)
    return msgspec.json.decode(text, type=ProxyOptions) if text else ProxyOptions()


def locality(node: Node, options: ProxyOptions) -> Locality:
    """What Services see of a node. Addresses and ranges of the Node that cannot be read are left out.

    Raises ValueError, which names the option, for options that mean nothing.
    """
    addresses = readable(each.address for each in node.status.addresses or () if each.type in ("InternalIP", "ExternalIP"))
    pod_cidrs, pod_interfaces, pods_by = _pods(node, options)
    return Locality(
        node.metadata.name,
        node.zone,
        addresses,
        tuple(dict.fromkeys(_node_port_addresses(addresses, readable(node.internal_ips), options.nodeport_addresses))),
        pod_cidrs,
        pod_interfaces,
        options.masquerade_all,
        pods_by,
        tuple(_answering(options.cluster_dns)),
    )


def _answering(cluster_dns: Iterable[str]) -> Iterator[Answering]:
    """Names are asked for over UDP and TCP."""
    for each in cluster_dns:
        try:
            address = canonical(each)
        except ValueError as error:
            raise ValueError(f"cluster-dns: {error}") from None
        yield from (Answering(address, DNS_PORT, protocol) for protocol in DNS_PROTOCOLS)


def _node_port_addresses(addresses: tuple[str, ...], internal: tuple[str, ...], chosen: Iterable[str]) -> Iterator[str]:
    versions = dict.fromkeys(map(is_ipv6, addresses))
    # None at ::1: the kernel takes packets to it from lo alone, so no endpoint's answer would find back.
    loopback = (LOOPBACK[Family.IPV4],) if False in versions else ()
    primary = tuple(next(each for each in internal + addresses if is_ipv6(each) is ipv6) for ipv6 in versions)
    keywords = {PRIMARY: primary, ALL: addresses, LOCALHOST: loopback}
    for each in chosen:
        yield from keywords[each] if each in keywords else _in_range(each, addresses, loopback)


def _in_range(text: str, addresses: tuple[str, ...], loopback: tuple[str, ...]) -> Iterator[str]:
    """0.0.0.0/0 holds every address, but does not ask for the loopback: only a range of loopback addresses does."""
    try:
        cidr = canonical_range(text)
    except ValueError:
        raise ValueError(
            f"nodeport-addresses: {text!r} is none of primary, all, localhost, and no range of addresses"
        ) from None
    among = loopback if ip_network(cidr).is_loopback else addresses
    return (address for address in among if contains(cidr, address))


def _pods(node: Node, options: ProxyOptions) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """By which ranges and which interfaces this node's pods are known, and where that is written."""
    match options.detect_local:
        case DetectLocal.NODE_CIDR:
            return tuple(_readable_ranges(node.spec.pod_cidrs or (node.spec.pod_cidr,))), (), "spec.podCIDRs"
        case DetectLocal.CLUSTER_CIDR:
            try:
                ranges = tuple(canonical_range(each) for each in options.cluster_cidr)
            except ValueError as error:
                raise ValueError(f"cluster-cidr: {error}") from None
            if not ranges:
                raise ValueError("cluster-cidr: required where detect-local is ClusterCIDR")
            return ranges, (), "cluster-cidr"
        case DetectLocal.NONE:
            return (), (), ""
    if not options.pod_interface:
        raise ValueError(f"pod-interface: required where detect-local is {options.detect_local.value}")
    name = options.pod_interface + ("*" if options.detect_local is DetectLocal.INTERFACE_NAME_PREFIX else "")
    if len(options.pod_interface) > LONGEST_INTERFACE or set(options.pod_interface) & set(" /*"):
        raise ValueError(f"pod-interface: {options.pod_interface!r} is no name of a network interface")
    return (), (name,), "pod-interface"


def _readable_ranges(cidrs: Iterable[str]) -> Iterator[str]:
    for each in cidrs:
        try:
            yield canonical_range(each)
        except ValueError:
            continue
