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
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Literal, Self, cast

from msgspec import Struct

from mooring.dataplane.installed import Installed
from mooring.edges.netlink.conntrack import KernelConntrack
from mooring.edges.nft.firewall import NftFirewall
from mooring.edges.nft.netlink import inside
from mooring.services.view import NodeView, Protocol
from mooring.testing.netlab_topology import Source, Topology, output_of
from mooring.testing.netlab_topology import bare_namespace as bare_namespace

_PATIENCE = 1.0
"""Seconds without an answer after which a packet counts as dropped; a SYN is repeated after one."""


class Outcome(Struct, frozen=True):
    """What a client met. `endpoint` is 'address:port' of the server that answered, `seen_source` the client as it saw it."""

    verdict: Literal["forward", "reject", "drop", "unreachable"]
    endpoint: str = ""
    seen_source: str = ""


class Lab:
    """The namespaces `mrg-<name>-...` for one node view; gone when the context ends, whatever happened in it."""

    def __init__(self, view: NodeView, clients: Iterable[str] = (), name: str = "", patience: float = _PATIENCE) -> None:
        """`clients` are further addresses that `connect` may come from: of a pod here, of the outside, or of pods elsewhere."""
        self.name = name or f"lab{os.getpid()}{secrets.token_hex(3)}"
        self.patience = patience
        self._view = view
        self._topology = Topology(view, f"mrg-{self.name}", tuple(clients))
        self._stack = AsyncExitStack()
        self._servers: set[tuple[str, int, Protocol]] = set()

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self._topology.build)
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
            await asyncio.to_thread(self._topology.destroy)

    @property
    def node(self) -> str:
        """The node's namespace, where the firewall is."""
        return self._topology.node

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
        opened = open_socket(self._topology.endpoints[address].namespace, address, kind)
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
        place = self._topology.source(source)
        opened = open_socket(
            place.namespace, destination, socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
        )
        bound = place.addresses.get((6 if ":" in destination else 4), "")
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
        return await asyncio.to_thread(output_of, ["ip", "netns", "exec", namespace or self.node, *command])


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
