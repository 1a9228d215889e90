"""What does the real kernel do with a packet? A node, its pods, another node and an outsider, as network namespaces.

    async with Lab(view) as lab:
        await lab.load(view)
        outcome = await lab.connect("pod", "10.96.0.1", 80)

Every endpoint of the view is a server that answers with its own address and port and the client's address. Nothing here touches
the root namespace's network: links are made inside the lab's namespaces, no namespace has a route out, and servers and clients
are sockets that this process opens inside them. Needs root and iproute2.
"""

import asyncio
import errno
import os
import secrets
import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Literal, Self, cast

from msgspec import Struct

from mooring.dataplane.installed import Installed
from mooring.edges.netlink.conntrack import KernelConntrack
from mooring.edges.nft.firewall import NftFirewall
from mooring.edges.nft.netlink import inside
from mooring.services.view import NodeView, Protocol

Source = Literal["pod", "node", "outside", "remote"] | str
"""A client: the lab's client pod, the node, one outside, a pod of another node, or the endpoint with this address."""

_PATIENCE = 1.0
"""Seconds without an answer after which a packet counts as dropped; a SYN is repeated after one."""
_POD_GATEWAY = "169.254.1.1"
_POD_GATEWAY6 = "fe80::1"
_OUTSIDE_HOST, _REMOTE_HOST = 250, 200
"""Where they are in the node's network."""
_NODE_PREFIXES = {4: 24, 6: 64}
_DEFAULT_NODE = ("172.30.0.11", "fd00:30::11")


class Outcome(Struct, frozen=True):
    """What a client met. `endpoint` is 'address:port' of the server that answered, `seen_source` the client as it saw it."""

    verdict: Literal["forward", "reject", "drop", "unreachable"]
    endpoint: str = ""
    seen_source: str = ""


class Place(Struct, frozen=True):
    """Where a client's socket is opened: a namespace, and the addresses it may bind, by IP version."""

    namespace: str
    addresses: dict[int, str]


class Lab:
    """The namespaces `mrg-<name>-...` for one node view; gone when the context ends, whatever happened in it."""

    def __init__(self, view: NodeView, clients: Iterable[str] = (), name: str = "", patience: float = _PATIENCE) -> None:
        """`clients` are further addresses that `connect` may come from: of a pod here, of the outside, or of pods elsewhere."""
        self.name = name or f"lab{os.getpid()}{secrets.token_hex(3)}"
        self.patience = patience
        self._view = view
        self._plan = _Plan(view, f"mrg-{self.name}", tuple(clients))
        self._stack = AsyncExitStack()
        self._servers: set[tuple[str, int, Protocol]] = set()

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self._plan.build)
            self.firewall = NftFirewall(self.node)
            self._stack.callback(self.firewall.close)
            self.conntrack = KernelConntrack(self.node)
            self._stack.callback(self.conntrack.close)
            await self.serve(self._view)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _close(self) -> None:
        try:
            await self._stack.aclose()
        finally:
            await asyncio.to_thread(self._plan.destroy)

    @property
    def node(self) -> str:
        """The node's namespace, where the firewall is."""
        return self._plan.node

    async def load(self, view: NodeView) -> Installed:
        """Compiles the view into the node's kernel, and serves endpoints it has more than the lab's own view."""
        installed = Installed.of(view)
        await self.firewall.replace(installed.ruleset())
        return installed

    async def serve(self, view: NodeView) -> None:
        """Starts a server for every endpoint of the view that has none. Its addresses must be in the lab's own view."""
        for ports in view.services.values():
            for port in ports:
                for endpoint in port.cluster + port.local:
                    where = (endpoint.address, endpoint.port, port.name.protocol)
                    if where not in self._servers and port.name.protocol is not Protocol.SCTP:
                        self._servers.add(where)
                        await self._start(*where)

    async def _start(self, address: str, port: int, protocol: Protocol) -> None:
        loop = asyncio.get_running_loop()
        kind = socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
        opened = open_socket(self._plan.endpoints[address].namespace, address, kind)
        opened.bind((address, port))
        here = f"{address}:{port}" if ":" not in address else f"[{address}]:{port}"
        if protocol is Protocol.TCP:
            opened.listen(512)
            server = await loop.create_server(lambda: _TcpEcho(here), sock=opened)
            self._stack.callback(server.close)
        else:
            transport, _ = await loop.create_datagram_endpoint(lambda: _UdpEcho(here), sock=opened)
            self._stack.callback(transport.close)

    def open(self, source: Source, destination: str, protocol: Protocol = Protocol.TCP, source_port: int = 0) -> socket.socket:
        """A client's socket, not connected yet, to use as the test likes."""
        place = self._plan.source(source)
        opened = open_socket(
            place.namespace, destination, socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
        )
        bound = place.addresses.get(_version(destination), "")
        if bound or source_port:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((bound, source_port))
        return opened

    async def connect(
        self, source: Source, destination: str, port: int, protocol: Protocol = Protocol.TCP, source_port: int = 0
    ) -> Outcome:
        """One connection, or one datagram and its answer."""
        with self.open(source, destination, protocol, source_port) as client:
            try:
                return await asyncio.wait_for(_talk(client, (destination, port), protocol), self.patience)
            except (TimeoutError, PermissionError):
                return Outcome("drop")
            except OSError as error:
                return Outcome("reject" if error.errno in _REFUSALS else "unreachable")

    async def run(self, *command: str, namespace: str = "") -> str:
        """A command's output inside a namespace, the node's unless told. Raises CalledProcessError."""
        return await asyncio.to_thread(_output, ["ip", "netns", "exec", namespace or self.node, *command])


_REFUSALS = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EACCES)


async def _talk(client: socket.socket, where: tuple[str, int], protocol: Protocol) -> Outcome:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, where)
    try:
        await loop.sock_sendall(client, b"who?")
    except PermissionError:
        # The node's own datagram was refused or dropped in the output hook; only a refusal is told about afterwards.
        await loop.sock_recv(client, 1)
    answer = (await loop.sock_recv(client, 256)).decode()
    if not answer:
        raise ConnectionResetError(errno.ECONNRESET, f"{protocol.value} connection closed without an answer")
    endpoint, seen = answer.split()
    return Outcome("forward", endpoint, seen)


class _TcpEcho(asyncio.Protocol):
    """Answers every message on a connection."""

    def __init__(self, here: str) -> None:
        self._here = here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(f"{self._here} {self._transport.get_extra_info('peername')[0]}".encode())


class _UdpEcho(asyncio.DatagramProtocol):
    def __init__(self, here: str) -> None:
        self._here = here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self._transport.sendto(f"{self._here} {addr[0]}".encode(), addr)


def open_socket(namespace: str, address: str, kind: int) -> socket.socket:
    """A non-blocking socket of the address's family inside a namespace."""
    with inside(namespace):
        opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return opened


class _Plan:
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
            routes.append(f"route add {address}/{width[version]} via {self._host(version, 200)}")
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
    _output(command, given)


def _output(command: list[str], given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, f"{done.stderr}\n{given}")
    return done.stdout
