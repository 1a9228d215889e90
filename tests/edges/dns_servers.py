"""Other people's servers on loopback, for us to ask: unbound, knotd, and one that lies as it is told."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO

import dns.asyncquery
import dns.exception
import dns.message

from mooring.app.resolver import NodeResolver, ResolverOptions, resolver
from mooring.dns.settings import decode
from mooring.dns.zone import Zone
from mooring.edges.dns.server import DnsServer, bind
from mooring.testing.ports import free_port

PATIENCE = 60.0
"""Seconds that a server may take to start."""


def _spawned(argv: list[str], output: IO[bytes], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdout=output, stderr=output, cwd=folder)


class Process:
    """A server in the foreground, with all that it writes in `folder`. Ended by its own pid."""

    def __init__(self, argv: list[str], folder: Path, port: int) -> None:
        self._argv, self._folder, self.port = argv, folder, port
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        with (self._folder / "output").open("ab") as output:
            self._process = _spawned(self._argv, output, self._folder)
        query = dns.message.make_query("version.bind.", "TXT", "CH")
        async with asyncio.timeout(PATIENCE):
            while True:
                assert self._process.poll() is None, (self._folder / "output").read_text()
                with contextlib.suppress(dns.exception.DNSException, OSError, EOFError):
                    await dns.asyncquery.udp(query, "127.0.0.1", port=self.port, timeout=0.1)
                    return
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.asynccontextmanager
async def unbound(folder: Path, lines: str, port: int = 0) -> AsyncIterator[Process]:
    """`lines` stand in its `server:` section."""
    port = port or free_port()
    config = folder / f"unbound-{port}.conf"
    config.write_text(
        f'server:\n interface: 127.0.0.1@{port}\n access-control: 127.0.0.0/8 allow\n username: ""\n chroot: ""\n'
        f' directory: "{folder}"\n pidfile: ""\n use-syslog: no\n do-daemonize: no\n num-threads: 1\n module-config: iterator\n'
        f"{lines}\nremote-control:\n control-enable: no\n"
    )
    process = Process(["unbound", "-d", "-c", str(config)], folder, port)
    try:
        await process.start()
        yield process
    finally:
        process.kill()


@contextlib.asynccontextmanager
async def knotd(folder: Path, zones: dict[str, str], more: str = "", signed: bool = False) -> AsyncIterator[Process]:
    """Authoritative for `zones`: name to zone file."""
    port = free_port()
    (folder / "db").mkdir(exist_ok=True)
    listed = []
    for name, text in zones.items():
        (folder / f"{name}zone").write_text(text)
        listed.append(f"  - domain: {name}\n    file: {folder}/{name}zone\n    dnssec-signing: {'on' if signed else 'off'}\n")
    config = folder / "knot.conf"
    config.write_text(
        f"server:\n  rundir: {folder}\n  listen: 127.0.0.1@{port}\n"
        f"  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
        f"database:\n  storage: {folder}/db\nlog:\n  - target: stderr\n    any: warning\n{more}zone:\n{''.join(listed)}"
    )
    process = Process(["knotd", "-c", str(config)], folder, port)
    try:
        await process.start()
        yield process
    finally:
        process.kill()


Lie = Callable[[bytes], list[bytes]]
"""A question's octets -> the datagrams that come back, in order."""


class Liar(asyncio.DatagramProtocol):
    """Answers over UDP as `lie` says. `asked` are the messages that came, `ports` where from."""

    def __init__(self, lie: Lie) -> None:
        self.lie = lie
        self.asked: list[bytes] = []
        self.ports: set[int] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(data)
        self.ports.add(addr[1])
        for message in self.lie(data):
            self.send(message, addr)

    def send(self, message: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.sendto(message, addr)


@contextlib.asynccontextmanager
async def liar(lie: Lie, port: int = 0) -> AsyncIterator[tuple[Liar, int]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: Liar(lie), local_addr=("127.0.0.1", port))
    try:
        yield protocol, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@contextlib.asynccontextmanager
async def stream_server(converse: Conversation, port: int, context: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    server = await asyncio.start_server(converse, "127.0.0.1", port, ssl=context)
    try:
        yield
    finally:
        server.close()


@contextlib.asynccontextmanager
async def ours(
    settings: dict[str, object], zone: Zone, port: int = 0, **options: object
) -> AsyncIterator[tuple[NodeResolver, int]]:
    """Our resolver with these settings (as in the file of --dns-config) behind real sockets, and its port."""
    sockets = bind("127.0.0.1", port)
    port = sockets[0].getsockname()[1]
    node = resolver(ResolverOptions(decode(settings, "settings"), **options), lambda: zone)
    server = DnsServer(node.resolver.respond)
    await server.start(sockets)
    try:
        yield node, port
    finally:
        await server.close()
        await node.close()


async def ask(port: int, name: str, kind: str = "A", *, tcp: bool = False, **more: object) -> dns.message.Message:
    query = dns.message.make_query(name, kind, **more)
    over = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await over(query, "127.0.0.1", port=port, timeout=60)


def lines(reply: dns.message.Message, section: str = "answer") -> list[str]:
    """The section's records in zone-file form without TTLs, as `dig` would show them."""
    return [
        f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}"
        for rrset in getattr(reply, section)
        for rdata in sorted(rrset, key=str)
    ]


def served(records: str) -> Iterator[str]:
    """unbound's local-data lines of zone-file lines."""
    for record in records.strip().splitlines():
        yield f" local-data: '{record.strip()}'"
