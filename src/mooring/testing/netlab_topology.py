"""Which namespaces, links, addresses and routes does a lab need, so that packets meet a real kernel and nothing else?

Everybody's only way to anybody is the node: whatever is sent passes its tables, and whatever is answered comes back through it.
Links are made inside the lab's namespaces, no namespace has a route out, and what the node itself lets go ends at the switch.
"""

import os
import secrets
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Literal

from msgspec import Struct

from mooring.dataplane.localhost import localhost_sysctls
from mooring.edges.nft.netlink import inside
from mooring.services.view import NodeView

Source = Literal["pod", "node", "outside", "remote"] | str
"""A client: the lab's client pod, the node, one outside, a pod of another node, or whoever has this address."""

_PODS = ("10.244.1.0/24", "fd00:244:1::/64")
"""The pods here, where the view does not say."""
_AWAY = ("10.250.0.9", "fd00:250::9")
"""A pod of another node."""
_POD_GATEWAY = "169.254.1.1"
_POD_GATEWAY6 = "fe80::1"
_HOSTS = {"outside": 250, "remote": 200, "far": 210, "beyond": 220}
"""Where they are in the node's network."""
_NODE_PREFIXES = {4: 24, 6: 64}
_HOST_PREFIXES = {4: 32, 6: 128}
_DEFAULT_NODE = ("172.30.0.11", "fd00:30::11")


class Place(Struct, frozen=True):
    """Where a socket is opened: a namespace, and the addresses it may bind, by IP version."""

    namespace: str
    addresses: dict[int, str]


class Topology:
    """Where everybody lives that a view speaks of, and the clients.

    Endpoints elsewhere are in `far`, and so that it can be seen that a packet passes untouched, the addresses of balancers are
    in `beyond`; other clients outside the node are `outside` or, beyond the node's network, `remote`.
    """

    def __init__(self, view: NodeView, prefix: str, clients: tuple[str, ...]) -> None:
        self._prefix = prefix
        self.node, self.switch = f"{prefix}-node", f"{prefix}-switch"
        self._view = view
        self._pod_cidrs = [ip_network(each) for each in view.pod_cidrs or _PODS]
        self._node_addresses = tuple(view.node_addresses) or _DEFAULT_NODE
        self._primary = _per_version(self._node_addresses)
        self._answering = tuple(dict.fromkeys(each.address for each in view.answered_here))
        self._networks = {
            version: ip_network(f"{address}/{_NODE_PREFIXES[version]}", strict=False)
            for version, address in self._primary.items()
        }
        self._pods: dict[str, list[str]] = {f"{prefix}-client": [str(_nth(each, 250)) for each in self._pod_cidrs]}
        self._elsewhere: dict[str, list[str]] = {each: [] for each in _HOSTS}
        self._places: dict[str, Place] = {}
        self._elsewhere["remote"] += [each for each in _AWAY if _version(each) in self._networks]
        for address in self._pods[f"{prefix}-client"]:
            self._places[address] = Place(f"{prefix}-client", {_version(address): address})
        frontends = {each.address for ports in view.services.values() for port in ports for each in port.frontends}
        for address in sorted(each for each in frontends if self._is_external(each)):
            self._settle(address, "beyond")
        known = (each for ports in view.services.values() for port in ports for each in port.cluster + port.local)
        for endpoint in sorted(set(known)):
            self._settle(endpoint.address, "pod" if endpoint.local else "far")
        for address in (*self._answering, *clients):
            self._settle(address, "")

    def _is_external(self, address: str) -> bool:
        parsed = ip_address(address)
        own = address in self._node_addresses or parsed.is_loopback
        return not own and not any(parsed in ip_network(each) for each in self._view.service_cidrs)

    def _settle(self, address: str, where: str) -> None:
        """Finds an address a home, unless it has one."""
        parsed, bound = ip_address(address), {_version(address): address}
        if address in self._places:
            return
        if address in (*self._node_addresses, *self._answering) or parsed.is_loopback:
            self._places[address] = Place(self.node, bound)
        elif where == "pod":
            namespace = f"{self._prefix}-pod{len(self._pods)}"
            self._pods[namespace] = [address]
            self._places[address] = Place(namespace, bound)
        elif not where and any(parsed in each for each in self._pod_cidrs):
            self._pods[f"{self._prefix}-client"].append(address)
            self._places[address] = Place(f"{self._prefix}-client", bound)
        else:
            beside = any(parsed in each for each in self._networks.values())
            home = where or ("outside" if beside else "remote")
            if address not in self._host(home).values():
                self._elsewhere[home].append(address)
            self._places[address] = Place(f"{self._prefix}-{home}", bound)

    def source(self, source: Source) -> Place:
        """Where a client is. Raises KeyError for one the lab does not have."""
        match source:
            case "pod":
                return Place(f"{self._prefix}-client", _per_version(self._pods[f"{self._prefix}-client"]))
            case "node":
                return Place(self.node, {})
            case "outside":
                return Place(f"{self._prefix}-outside", self._host("outside"))
            case "remote":
                return Place(f"{self._prefix}-remote", _per_version(self._elsewhere["remote"]))
        return self._places[source]

    def home(self, address: str) -> str:
        """The namespace of an address. Raises KeyError."""
        return self._places[address].namespace

    def build(self) -> None:
        _run(["ip", "-batch", "-"], "".join(f"netns add {each}\n" for each in self._namespaces()))
        for namespace in self._namespaces():
            routes = namespace in (self.node, self.switch)
            _set_sysctls(namespace, _SYSCTLS | (_ROUTER_SYSCTLS if routes else {}))
        _set_sysctls(self.node, localhost_sysctls(self._view))
        self._build_switch()
        self._build_node()
        for port, name in enumerate(self._homes(), start=1):
            self._build_home(port, name)
        for index, (namespace, addresses) in enumerate(self._pods.items()):
            self._build_pod(namespace, f"v{index}", addresses)

    def destroy(self) -> None:
        for namespace in self._namespaces():
            with suppress(subprocess.CalledProcessError):
                if Path(f"/run/netns/{namespace}").exists():
                    _run(["ip", "netns", "delete", namespace])

    def _namespaces(self) -> Iterator[str]:
        yield from (self.switch, self.node)
        yield from (f"{self._prefix}-{each}" for each in self._homes())
        yield from self._pods

    def _homes(self) -> list[str]:
        return ["outside", *(each for each in _HOSTS if each != "outside" and self._elsewhere[each])]

    def _host(self, home: str) -> dict[int, str]:
        return {version: str(_nth(network, _HOSTS[home])) for version, network in self._networks.items()}

    def _build_switch(self) -> None:
        """A bridge between the node and everybody outside it. The node's default route ends at it."""
        commands = ["link set lo up", "link add br0 type bridge mcast_snooping 0", "link set br0 up"]
        for version, network in self._networks.items():
            commands.append(f"address add {_nth(network, 1)}/{network.prefixlen} dev br0{_nodad(version)}")
        for port, name in enumerate(("node", *self._homes())):
            commands += [
                f"link add p{port} type veth peer name eth0 netns {self._prefix}-{name}",
                f"link set p{port} master br0 up",
            ]
        commands += [f"route add unreachable {cidr}" for cidr in self._view.service_cidrs]
        _batch(self.switch, commands)

    def _build_node(self) -> None:
        commands = ["link set lo up", "link set eth0 up"]
        for address in self._node_addresses:
            version = _version(address)
            first = self._primary[version] == address
            prefix = (_NODE_PREFIXES if first else _HOST_PREFIXES)[version]
            commands.append(f"address add {address}/{prefix} dev eth0{_nodad(version)}")
        commands += [f"route add default via {_nth(network, 1)}" for network in self._networks.values()]
        for address in self._answering:
            version = _version(address)
            commands.append(f"address add {address}/{_HOST_PREFIXES[version]} dev lo{_nodad(version)}")
        bridge = next((each for each in self._view.pod_interfaces if not each.endswith("*")), "")
        if bridge:
            commands += [f"link add {bridge} type bridge mcast_snooping 0", f"link set {bridge} up", *_gateway(bridge)]
        _batch(self.node, commands)

    def _build_home(self, port: int, name: str) -> None:
        """Somebody outside: addresses of its own, and no way but over the node, not even to its neighbours."""
        commands, routes = ["link set lo up", "link set eth0 up"], []
        host = self._host(name)
        for version, address in host.items():
            node = self._primary[version]
            commands += [
                f"address add {address}/{_HOST_PREFIXES[version]} dev eth0{_nodad(version)}",
                f"route add {node}/{_HOST_PREFIXES[version]} dev eth0",
                f"route add default via {node}",
            ]
        for address in dict.fromkeys(self._elsewhere[name]):
            version = _version(address)
            commands.append(f"address add {address}/{_HOST_PREFIXES[version]} dev lo{_nodad(version)}")
            routes.append(f"route add {address}/{_HOST_PREFIXES[version]} via {host[version]}")
        _batch(f"{self._prefix}-{name}", commands)
        _batch(self.node, routes)

    def _build_pod(self, namespace: str, link: str, addresses: list[str]) -> None:
        """A veth whose node end is a router for one host: what a pod sends always passes the node's IP stack."""
        pattern = next(iter(self._view.pod_interfaces), "v*")
        router = link
        if pattern.endswith("*"):
            router = link = f"{pattern[:-1]}{link.removeprefix('v')}"
        else:
            router = pattern
        node = [f"link add {link} type veth peer name eth0 netns {namespace}", f"link set {link} up"]
        node += _gateway(link) if router == link else [f"link set {link} master {router}"]
        pod = ["link set lo up", "link set eth0 up", f"route add {_POD_GATEWAY} dev eth0 scope link"]
        for address in addresses:
            if ":" in address:
                pod += [f"address add {address}/128 dev eth0 nodad", f"route replace default via {_POD_GATEWAY6} dev eth0"]
                node.append(f"route add {address}/128 dev {router}")
            else:
                pod += [f"address add {address}/32 dev eth0", f"route replace default via {_POD_GATEWAY}"]
                node.append(f"route add {address}/32 dev {router}")
        _batch(self.node, node)
        _batch(namespace, pod)


def _gateway(link: str) -> list[str]:
    """The address that pods send everything to."""
    return [f"address add {_POD_GATEWAY}/32 dev {link} scope link", f"address add {_POD_GATEWAY6}/64 dev {link} nodad"]


@contextmanager
def bare_namespace(purpose: str) -> Iterator[str]:
    """An empty network namespace of its own, with lo up; its name."""
    name = f"mrg-{purpose}-{os.getpid()}-{secrets.token_hex(3)}"
    _run(["ip", "netns", "add", name])
    try:
        _batch(name, ["link set lo up"])
        yield name
    finally:
        _run(["ip", "netns", "delete", name])


_SYSCTLS = {
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv4/icmp_msgs_per_sec": "1000000",
    "net/ipv4/icmp_msgs_burst": "1000000",
    "net/ipv6/icmp/ratelimit": "0",
    "net/ipv4/conf/default/accept_redirects": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv6/conf/default/accept_redirects": "0",
    "net/ipv6/conf/all/accept_redirects": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/all/accept_dad": "0",
}
"""No refusal is held back, and nobody learns a way past the node. Not every kernel has all of them in every namespace."""
_ROUTER_SYSCTLS = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}


def _set_sysctls(namespace: str, values: dict[str, str]) -> None:
    with inside(namespace):
        for name, value in values.items():
            with suppress(FileNotFoundError, PermissionError):
                Path("/proc/sys", name).write_text(value)


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _per_version(addresses: Iterable[str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for address in addresses:
        found.setdefault(_version(address), address)
    return found


def _nth(network: IPv4Network | IPv6Network, number: int) -> object:
    return network[number]


def _nodad(version: int) -> str:
    return " nodad" if version == 6 else ""


def _batch(namespace: str, commands: list[str]) -> None:
    _run(["ip", "-n", namespace, "-batch", "-"], "\n".join(commands) + "\n")


def _run(command: list[str], given: str = "") -> None:
    output_of(command, given)


def output_of(command: list[str], given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, f"{done.stderr}\n{given}")
    return done.stdout
