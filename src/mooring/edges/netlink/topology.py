"""Which namespaces, links, addresses, routes and kernel settings make the network of a local cluster, and how are they made?

    mrg-<cluster>-switch    a bridge, the node network's first address; answers stray packets with `unreachable`
    mrg-<cluster>-<node>    one per node: eth0 on the bridge, pod addresses behind it, everything unknown to the switch;
                            hides its pods from whoever is outside of the cluster (egress.py)
    mrg-<cluster>-outside   the external client: on the node network; service and pod ranges unreachable, all else by the switch

Deciding is pure: `steps` says for each namespace which `ip -batch` lines and which sysctls make it. Veth pairs are created from
inside the switch namespace, with the peer's namespace named in the same command, so the root namespace never sees an interface.
One `ip` process per namespace measured faster than importing a netlink library, and the lines can be read and pasted.
"""

import ipaddress
import socket
import subprocess
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from mooring.dataplane.egress import Egress
from mooring.edges.netlink import egress, flows, namespaces

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

BRIDGE = "nodes"
OUTSIDE_OFFSET = {4: 250, 6: 0x250}
"""The external client's place in the node network: 172.30.0.250, fd00:172:30::250."""
FIRST_NODE_OFFSET = {4: 11, 6: 0x11}
MOST_NODES = 200


class NetworkError(Exception):
    """A step failed: which namespace, which command, what the kernel said."""


class NodePlace(Struct, frozen=True):
    """A node's name (also its port's name on the bridge) and its addresses, one per family."""

    name: str
    addresses: tuple[Interface, ...]


class Topology(Struct, frozen=True):
    """The whole wish. `ranges` are the service and pod ranges, `pods` the latter alone; `dns` the cluster DNS addresses every
    node holds on lo.
    """

    cluster: str
    switch: tuple[Interface, ...]
    outside: tuple[Interface, ...]
    nodes: tuple[NodePlace, ...]
    ranges: tuple[str, ...]
    dns: tuple[str, ...]
    node_ports: tuple[int, int] = (30000, 32767)
    pods: tuple[str, ...] = ()

    def namespace(self, place: str) -> str:
        """The namespace of a node, or of 'switch' or 'outside'."""
        return namespace_name(self.cluster, place)

    @property
    def egress(self) -> Egress:
        """Nodes and the switch, where the API server is, have routes to pods: they see them as they are."""
        own = (*self.switch, *(address for node in self.nodes for address in node.addresses))
        return Egress(self.pods, (*self.ranges, *(str(address.ip) for address in own)))


class Step(Struct, frozen=True):
    """What to do in one namespace: sysctls as (path below /proc/sys, value), then `ip -batch` lines in order."""

    namespace: str
    lines: tuple[str, ...]
    sysctls: tuple[tuple[str, str], ...]


def namespace_name(cluster: str, place: str) -> str:
    return f"mrg-{cluster}-{place}"


def topology(
    cluster: str,
    nodes: Sequence[str],
    node_networks: Sequence[str],
    *,
    ranges: Sequence[str],
    dns: Sequence[str],
    node_ports: tuple[int, int] = (30000, 32767),
    pods: Sequence[str] = (),
) -> Topology:
    """Gives out the node networks' addresses: the switch the first, nodes from .11 on, the external client .250."""
    networks = [ipaddress.ip_network(text) for text in node_networks]
    return Topology(
        cluster=cluster,
        switch=tuple(_at(network, 1) for network in networks),
        outside=tuple(_at(network, OUTSIDE_OFFSET[network.version]) for network in networks),
        nodes=tuple(
            NodePlace(name, tuple(_at(network, _node_offset(network.version, index)) for network in networks))
            for index, name in enumerate(nodes)
        ),
        ranges=tuple(ranges),
        dns=tuple(dns),
        node_ports=node_ports,
        pods=tuple(pods),
    )


def _node_offset(version: int, index: int) -> int:
    """Node 0 is .11 in IPv4 and ::11 in IPv6, so that both read alike: the decimal digits are taken as hexadecimal."""
    place = FIRST_NODE_OFFSET[4] + index
    return place if version == 4 else int(str(place), 16)


def _at(network: ipaddress.IPv4Network | ipaddress.IPv6Network, offset: int) -> Interface:
    return ipaddress.ip_interface(f"{network[offset]}/{network.prefixlen}")


_EVERYWHERE = (
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    # All addresses here are given out by us: without duplicate address detection they are usable the moment a link is up.
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    # Refusals are ICMP errors; with the kernel's limit a refused burst looks like a drop (icmp(7)).
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv6/icmp/ratelimit", "0"),
)
_SPREADING = (
    # A route by several nodes spreads connections, not just clients: by addresses and ports.
    ("net/ipv4/fib_multipath_hash_policy", "1"),
    ("net/ipv6/fib_multipath_hash_policy", "1"),
)
_FORWARDING = (
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
)


def steps(wish: Topology) -> tuple[Step, ...]:
    """Every namespace's step, the switch first (it makes everybody's eth0). Doing them again changes nothing."""
    return (_switch(wish), *(_node(wish, node) for node in wish.nodes), _outside(wish))


def _switch(wish: Topology) -> Step:
    """Forwarding is on so that a stray packet meets an ICMP `unreachable` at once instead of silence; there is nowhere to
    go.
    """
    lines = ["link set dev lo up", f"link add name {BRIDGE} type bridge forward_delay 0", f"link set dev {BRIDGE} up"]
    lines += [f"address replace {address} dev {BRIDGE}" for address in wish.switch]
    lines += _unreachable([*wish.ranges, *_defaults(wish.switch)])
    for name in (*(node.name for node in wish.nodes), "outside"):
        lines.append(f"link add name {name} type veth peer name eth0 netns {wish.namespace(name)}")
        lines.append(f"link set dev {name} master {BRIDGE} up")
    return Step(wish.namespace("switch"), tuple(lines), _EVERYWHERE + _FORWARDING)


def _node(wish: Topology, node: NodePlace) -> Step:
    lines = ["link set dev lo up", "link set dev eth0 up"]
    lines += [f"address replace {address} dev eth0" for address in node.addresses]
    lines += [_never_a_source(address) for address in wish.dns]
    lines += [f"route replace default via {address.ip} dev eth0" for address in wish.switch]
    first, last = wish.node_ports
    own = (("net/ipv4/ip_local_reserved_ports", f"{first}-{last}"),)
    return Step(wish.namespace(node.name), tuple(lines), _EVERYWHERE + _FORWARDING + own)


def _never_a_source(address: str) -> str:
    """Holds an address that answers, yet is never chosen as source: pods see a node by the address of the node."""
    # The scope keeps it from selection in IPv4, being deprecated in IPv6 (RFC 6724, section 5, rule 3).
    shy = "preferred_lft 0" if ":" in address else "scope host"
    return f"address replace {address} dev lo {shy}"


def _outside(wish: Topology) -> Step:
    """What has no route of its own is `unreachable` by word of the switch: an `unreachable` here would refuse packets before
    they are marked, and no connection could outlive the route it began by (flows.py)."""
    lines = ["link set dev lo up", *_unreachable(wish.ranges), "link set dev eth0 up"]
    lines += [f"address replace {address} dev eth0" for address in wish.outside]
    lines += [f"route replace default via {address.ip} dev eth0" for address in wish.switch]
    return Step(wish.namespace("outside"), tuple(lines), _EVERYWHERE + _SPREADING)


def _defaults(addresses: Iterable[Interface]) -> list[str]:
    return ["0.0.0.0/0" if address.version == 4 else "::/0" for address in addresses]


def _unreachable(ranges: Iterable[str]) -> list[str]:
    return [f"route replace unreachable {text}" for text in ranges]


def ensure(wish: Topology) -> None:
    """Makes what is missing and leaves what is there: running pods and flows feel nothing. All or nothing.

    Raises NetworkError, after removing the whole network again if none of it stood before.
    """
    fresh = not namespaces.named(namespace_name(wish.cluster, ""))
    plan = steps(wish)
    try:
        missing = [step.namespace for step in plan if not namespaces.exists(step.namespace)]
        if missing:
            _ip([], [f"netns add {name}" for name in missing], "the machine")
        links = {step.namespace: namespaces.within(step.namespace, partial(_prepare, step.sysctls)) for step in plan}
        for step in plan:
            lines = [line for line in step.lines if not _makes_one_of(line, links[step.namespace])]
            _ip(["-n", step.namespace], lines, step.namespace)
        flows.ensure(wish.namespace("outside"), [str(address.ip) for node in wish.nodes for address in node.addresses])
        for node in wish.nodes:
            egress.ensure(wish.namespace(node.name), wish.egress)
    except (NetworkError, flows.FlowError, egress.EgressError, OSError) as error:
        if fresh:
            remove(wish.cluster)
        raise NetworkError(str(error)) from error


def remove(cluster: str) -> list[str]:
    """Removes every namespace of the cluster, its pods' too, and with them all links. Returns the names; harmless to repeat.

    Processes must be gone before: a namespace lives on, nameless, while one is inside.
    """
    names = namespaces.named(namespace_name(cluster, ""))
    if names:
        _ip([], [f"netns delete {name}" for name in names], "the machine")
    return names


def _prepare(sysctls: Sequence[tuple[str, str]]) -> set[str]:
    """Writes the namespace's sysctls, before links are made that inherit them; returns the names of the links it has."""
    for name, value in sysctls:
        if not name.startswith("net/ipv6/") or Path("/proc/sys/net/ipv6").is_dir():
            Path("/proc/sys", name).write_text(value)
    return {name for _, name in socket.if_nameindex()}


def _makes_one_of(line: str, links: set[str]) -> bool:
    words = line.split()
    return words[:3] == ["link", "add", "name"] and words[3] in links


def _ip(options: Sequence[str], lines: Sequence[str], where: str) -> None:
    done = subprocess.run(
        ["ip", *options, "-batch", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NetworkError(f"{where}: {_explain(done.stderr, lines)}")


def _explain(complaint: str, lines: Sequence[str]) -> str:
    """ip says 'Command failed -:3' with the line's number; people want the line."""
    words = " ".join(complaint.split())
    _, _, number = words.rpartition("Command failed -:")
    if number.isdigit() and 0 < int(number) <= len(lines):
        return f"`ip {lines[int(number) - 1]}` failed: {words.rpartition('Command failed')[0].strip()}"
    return words
