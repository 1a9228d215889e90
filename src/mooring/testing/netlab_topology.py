"""Which namespaces, links, addresses and routes does a lab need, so that packets meet a real kernel and nothing else?

Links are made inside the lab's namespaces, no namespace has a route out, and the ranges of Services end at the switch.
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

from mooring.services.view import NodeView

Source = Literal["pod", "node", "outside", "remote"] | str
"""A client: the lab's client pod, the node, one outside, a pod of another node, or the endpoint with this address."""

_POD_GATEWAY = "169.254.1.1"
_POD_GATEWAY6 = "fe80::1"
_OUTSIDE_HOST, _REMOTE_HOST = 250, 200
"""Where they are in the node's network."""
_NODE_PREFIXES = {4: 24, 6: 64}
_DEFAULT_NODE = ("172.30.0.11", "fd00:30::11")


class Place(Struct, frozen=True):
    """Where a client's socket is opened: a namespace, and the addresses it may bind, by IP version."""

    namespace: str
    addresses: dict[int, str]


class Topology:
    """Which namespaces, links, addresses and routes a view asks for."""

    def __init__(self, view: NodeView, prefix: str, clients: tuple[str, ...]) -> None:
        self.node, self.switch, self.outside, self.remote = (
            f"{prefix}-{each}" for each in ("node", "switch", "outside", "remote")
        )
        self._client = f"{prefix}-client"
        self._service_cidrs = view.service_cidrs
        self._node_addresses = _per_version(view.node_addresses or _DEFAULT_NODE)
        networks = {
            version: ip_network(f"{address}/{_NODE_PREFIXES[version]}", strict=False)
            for version, address in self._node_addresses.items()
        }
        self._networks = networks
        self._pods: dict[str, list[str]] = {self._client: [str(_nth(ip_network(each), 250)) for each in view.pod_cidrs]}
        self._away = [str(_nth(ip_network(each), 9)) for each in ("10.250.0.0/24", "fd00:250::/112")]
        self.endpoints: dict[str, Place] = {}
        known = (each for ports in view.services.values() for port in ports for each in port.cluster + port.local)
        for endpoint in sorted(set(known)):
            address = endpoint.address
            if address in self.endpoints:
                continue
            if address in view.node_addresses:
                place = Place(self.node, {_version(address): address})
            elif endpoint.local:
                place = Place(f"{prefix}-pod{len(self._pods)}", {_version(address): address})
                self._pods[place.namespace] = [address]
            else:
                place = Place(self.remote, {_version(address): address})
                self._away.append(address)
            self.endpoints[address] = place
        self._beside: list[str] = []
        self._clients = {each: self._place_client(each, view) for each in dict.fromkeys(clients) if each not in self.endpoints}

    def _place_client(self, address: str, view: NodeView) -> Place:
        """Where a further client lives; its address is added there."""
        bound = {_version(address): address}
        if address in view.node_addresses:
            return Place(self.node, bound)
        if any(ip_address(address) in ip_network(each) for each in view.pod_cidrs):
            self._pods[self._client].append(address)
            return Place(self._client, bound)
        if any(ip_address(address) in each for each in self._networks.values()):
            self._beside.append(address)
            return Place(self.outside, bound)
        self._away.append(address)
        return Place(self.remote, bound)

    def source(self, source: Source) -> Place:
        """Raises KeyError for a client the lab does not have."""
        match source:
            case "pod":
                return Place(self._client, _per_version(self._pods[self._client]))
            case "node":
                return Place(self.node, {})
            case "outside":
                return Place(self.outside, {version: self._host(version, _OUTSIDE_HOST) for version in self._networks})
            case "remote":
                return Place(self.remote, _per_version(self._away[:2]))
        return self._clients.get(source) or self.endpoints[source]

    def build(self) -> None:
        for namespace in self._namespaces():
            _run(["ip", "netns", "add", namespace])
            _run(["ip", "netns", "exec", namespace, "sh", "-c", _SYSCTLS[namespace == self.node]])
            _batch(namespace, ["link set lo up"])
        self._build_switch()
        for index, (namespace, addresses) in enumerate(self._pods.items()):
            self._build_pod(index, namespace, addresses)
        self._route_away()

    def destroy(self) -> None:
        for namespace in self._namespaces():
            with suppress(subprocess.CalledProcessError):
                if Path(f"/run/netns/{namespace}").exists():
                    _run(["ip", "netns", "delete", namespace])

    def _namespaces(self) -> Iterator[str]:
        yield from (self.switch, self.node, self.outside, self.remote)
        yield from self._pods

    def _host(self, version: int, number: int) -> str:
        return str(_nth(self._networks[version], number))

    def _build_switch(self) -> None:
        """A bridge between the node, the other node and the outside. The node's default route ends at it."""
        commands = ["link add br0 type bridge mcast_snooping 0", "link set br0 up"]
        hosts = {self.node: 0, self.remote: _REMOTE_HOST, self.outside: _OUTSIDE_HOST}
        for port, namespace in enumerate(hosts):
            commands += [f"link add p{port} type veth peer name eth0 netns {namespace}", f"link set p{port} master br0 up"]
        for version, network in self._networks.items():
            commands.append(f"address add {self._host(version, 1)}/{network.prefixlen} dev br0{_nodad(version)}")
        commands += [f"route add unreachable {cidr}" for cidr in self._service_cidrs]
        _batch(self.switch, commands)
        for namespace, number in hosts.items():
            commands = ["link set eth0 up"]
            for version, network in self._networks.items():
                address = self._host(version, number) if number else self._node_addresses[version]
                commands.append(f"address add {address}/{network.prefixlen} dev eth0{_nodad(version)}")
                node = self._host(version, 1) if namespace == self.node else self._node_addresses[version]
                commands.append(f"route add default via {node}")
            if namespace == self.outside:
                standing = [self._host(version, _OUTSIDE_HOST) for version in self._networks]
                commands += [self._beside_command(each) for each in dict.fromkeys(self._beside) if each not in standing]
            _batch(namespace, commands)

    def _beside_command(self, address: str) -> str:
        version = _version(address)
        return f"address add {address}/{self._networks[version].prefixlen} dev eth0{_nodad(version)}"

    def _build_pod(self, index: int, namespace: str, addresses: list[str]) -> None:
        """A veth whose node end is a router for one host: what a pod sends always passes the node's IP stack."""
        link = f"v{index}"
        node = [
            f"link add {link} type veth peer name eth0 netns {namespace}",
            f"link set {link} up",
            f"address add {_POD_GATEWAY}/32 dev {link} scope link",
            f"address add {_POD_GATEWAY6}/64 dev {link} nodad",
        ]
        pod = ["link set eth0 up", f"route add {_POD_GATEWAY} dev eth0 scope link"]
        for address in addresses:
            if ":" in address:
                pod += [f"address add {address}/128 dev eth0 nodad", f"route replace default via {_POD_GATEWAY6} dev eth0"]
                node.append(f"route add {address}/128 dev {link}")
            else:
                pod += [f"address add {address}/32 dev eth0", f"route replace default via {_POD_GATEWAY}"]
                node.append(f"route add {address}/32 dev {link}")
        _batch(self.node, node)
        _batch(namespace, pod)

    def _route_away(self) -> None:
        """Addresses of the other node's pods: on its lo, routed to it by all."""
        away = [each for each in self._away if _version(each) in self._networks]
        width = {4: 32, 6: 128}
        own, routes = [], []
        for address in away:
            version = _version(address)
            own.append(f"address add {address}/{width[version]} dev lo{_nodad(version)}")
            routes.append(f"route add {address}/{width[version]} via {self._host(version, _REMOTE_HOST)}")
        _batch(self.remote, own)
        _batch(self.node, routes)


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


_COMMON_SYSCTLS = """
echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
echo 0 > /proc/sys/net/ipv6/icmp/ratelimit
for file in /proc/sys/net/ipv4/icmp_msgs_per_sec /proc/sys/net/ipv4/icmp_msgs_burst; do
  if [ -w $file ]; then echo 1000000 > $file; fi
done
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad
"""
_SYSCTLS = {
    False: _COMMON_SYSCTLS,
    True: _COMMON_SYSCTLS
    + """
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
""",
}


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
