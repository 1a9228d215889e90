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
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from itertools import count
from typing import Literal, Self, cast

from msgspec import Struct

from mooring.dataplane.installed import Installed
from mooring.edges.netlink.conntrack import KernelConntrack
from mooring.edges.nft.firewall import NftFirewall
from mooring.edges.nft.netlink import inside
from mooring.services.view import NodeView, Protocol
from mooring.testing.netlab_topology import Place, Source, Topology, output_of
from mooring.testing.netlab_topology import bare_namespace as bare_namespace

_PATIENCE = 0.3
"""Seconds without an answer after which a packet counts as dropped."""
_AT_ONCE, _BACKLOG = 400, 1000
"""Packets under way at a time (each takes two open files of this process), and connections that may wait for a server."""
_ROUNDS = 10
_FIRST_PORT, _PORTS = 20_000, 40_000


class Outcome(Struct, frozen=True):
    """What a client met. `endpoint` is 'address:port' of the server that answered, `seen_source` the client as it saw it."""

    verdict: Literal["forward", "reject", "drop", "unreachable"]
    endpoint: str = ""
    seen_source: str = ""


class Probe(Struct, frozen=True):
    """One connection, or one datagram and its answer."""

    source: Source
    destination: str
    port: int
    protocol: Protocol = Protocol.TCP


class Lab:
    """The namespaces `mrg-<name>-...` for one node view; gone when the context ends, whatever happened in it.

    Other views may be loaded later, if they speak of no address that the lab's own view and its clients do not.
    """

    def __init__(self, view: NodeView, clients: Iterable[str] = (), name: str = "", patience: float = _PATIENCE) -> None:
        """`clients` are further addresses to connect from: the node's, a pod's here, one outside, a pod's elsewhere."""
        self.name = name or f"lab{os.getpid()}{secrets.token_hex(3)}"
        self.patience = patience
        self._view = view
        self._topology = Topology(view, f"mrg-{self.name}", tuple(clients))
        self._stack = AsyncExitStack()
        self._servers: set[tuple[str, int, Protocol]] = set()
        self._connections: defaultdict[Source, count[int]] = defaultdict(count)

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

    def place(self, source: Source) -> Place:
        """Where a client or an endpoint is. Raises KeyError for one the lab does not have."""
        return self._topology.source(source)

    async def load(self, view: NodeView) -> Installed:
        """Compiles the view into the node's kernel, in the place of what was there, and serves its endpoints."""
        installed = Installed.of(view)
        await self.serve(view)
        await self.firewall.replace(installed.ruleset())
        return installed

    async def serve(self, view: NodeView) -> None:
        """Starts a server for every endpoint of the view that has none."""
        for ports in view.services.values():
            for port in ports:
                for endpoint in port.cluster + port.local:
                    await self.listen(endpoint.address, endpoint.port, port.name.protocol)

    async def listen(self, address: str, port: int, protocol: Protocol = Protocol.TCP) -> None:
        """Starts a server at an address of the lab, unless it has one. Nobody serves SCTP."""
        where = (address, port, protocol)
        if where in self._servers or protocol is Protocol.SCTP:
            return
        self._servers.add(where)
        loop = asyncio.get_running_loop()
        kind = socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
        opened = open_socket(self._topology.home(address), address, kind)
        opened.bind((address, port))
        here = f"{address}:{port}" if ":" not in address else f"[{address}]:{port}"
        if protocol is Protocol.TCP:
            server = await loop.create_server(lambda: _TcpEcho(here), sock=opened, backlog=_BACKLOG)
            self._stack.callback(server.close)
        else:
            transport, _ = await loop.create_datagram_endpoint(lambda: _UdpEcho(here), sock=opened)
            self._stack.callback(transport.close)

    def open(self, source: Source, destination: str, protocol: Protocol = Protocol.TCP, source_port: int = 0) -> socket.socket:
        """A client's socket, not connected yet, to use as the test likes."""
        place = self._topology.source(source)
        kind = socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
        opened = open_socket(place.namespace, destination, kind)
        bound = place.addresses.get((6 if ":" in destination else 4), "")
        try:
            if bound or source_port:
                opened.bind((bound, source_port))
        except OSError:
            opened.close()
            raise
        return opened

    async def connect(
        self,
        source: Source,
        destination: str,
        port: int,
        protocol: Protocol = Protocol.TCP,
        source_port: int = 0,
        patience: float = 0.0,
    ) -> Outcome:
        """One connection, or one datagram and its answer. `patience` in place of the lab's own."""
        attempt = self._attempt(Probe(source, destination, port, protocol), source_port)
        (outcome,) = await self._heard([attempt], patience or self.patience)
        return outcome

    async def probe_many(self, probes: Sequence[Probe]) -> list[Outcome]:
        """All of them at once. Those that nothing was heard of count as dropped when all has been silent for `patience`."""
        found: list[Outcome] = []
        for start in range(0, len(probes), _AT_ONCE):
            found += await self._heard([self._attempt(each) for each in probes[start : start + _AT_ONCE]], self.patience)
        return found

    async def _heard(self, attempts: Sequence[Coroutine[None, None, Outcome]], patience: float) -> list[Outcome]:
        """Silence is counted in short rounds, so that a machine that stands still for a while does not make packets late."""
        answered = 0
        tasks = [asyncio.create_task(each) for each in attempts]

        def note(_: object) -> None:
            nonlocal answered
            answered += 1

        for task in tasks:
            task.add_done_callback(note)
        everything = asyncio.gather(*tasks, return_exceptions=True)
        known, silent = 0, 0
        while not everything.done() and silent < _ROUNDS:
            await asyncio.wait([everything], timeout=patience / _ROUNDS)
            silent = silent + 1 if answered == known else 0
            known = answered
        for task in tasks:
            task.cancel()
        await everything
        return [Outcome("drop") if task.cancelled() else task.result() for task in tasks]

    async def _attempt(self, probe: Probe, source_port: int = 0) -> Outcome:
        """Waits for an answer for ever. No two attempts look alike, so conntrack takes none for a former one."""
        with self._open_anew(probe, source_port) as client:
            try:
                return await _talk(client, (probe.destination, probe.port), probe.protocol)
            except PermissionError:
                return Outcome("drop")
            except OSError as error:
                return Outcome("reject" if error.errno in _REFUSALS else "unreachable")

    def _open_anew(self, probe: Probe, source_port: int) -> socket.socket:
        """From a port of its own, unless told."""
        while True:
            own = source_port or _FIRST_PORT + next(self._connections[probe.source]) % _PORTS
            try:
                return self.open(probe.source, probe.destination, probe.protocol, own)
            except OSError as error:
                if source_port or error.errno != errno.EADDRINUSE:
                    raise

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
