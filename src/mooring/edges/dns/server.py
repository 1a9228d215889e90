"""How do questions reach whoever answers? By UDP and TCP sockets on one address; the bounds of TCP are in `streams`."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable

import structlog

from mooring.dns.records import Transport
from mooring.edges.dns.streams import Limits, Responder, Streams

log = structlog.get_logger("dns")

DATAGRAMS = 1024
"""Questions over UDP that are being answered at once; more are dropped, and their clients ask again."""
BACKLOG = 256
TRIES = 20
"""To find a port that is free both for TCP and for UDP."""


Sockets = tuple[socket.socket, ...]
"""UDP, one for each reader, and TCP listening, all bound to one address and port."""


def bind(host: str, port: int = 53, readers: int = 1, *, shared: bool = False) -> Sockets:
    """Opens and binds all sockets; port 0 takes one that is free for all of them. Raises OSError: address not there, or taken.

    Whoever keeps them open lets queries wait in them while the server that reads them restarts. Several UDP sockets share the
    address (SO_REUSEPORT): the kernel gives all questions of one client's socket to the same one. `shared`: so may UDP
    sockets of somebody else, such as a worker that outlived its agent; TCP still tells whether another server is there.
    """
    for _ in range(0 if port else TRIES):
        # A port that is free for TCP may be taken for UDP.
        with contextlib.suppress(OSError):
            return _bound(host, port, readers, shared)
    return _bound(host, port, readers, shared)


def _bound(host: str, port: int, readers: int, shared: bool) -> Sockets:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    tcp = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    opened = [tcp]
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((host, port))
        for _ in range(readers):
            udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            opened.insert(-1, udp)
            if readers > 1 or shared:
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            udp.bind((host, tcp.getsockname()[1]))
        tcp.listen(BACKLOG)
    except OSError:
        for each in opened:
            each.close()
        raise
    return tuple(opened)


def inherited(descriptors: Iterable[int]) -> Sockets:
    """The sockets that a supervisor bound and passed on by number, UDP first."""
    return tuple(socket.socket(fileno=descriptor) for descriptor in descriptors)


class DnsServer:
    """Serves one UDP and one TCP socket until closed. Over UDP the responder gives one message or none."""

    def __init__(self, respond: Responder, limits: Limits | None = None) -> None:
        self._respond = respond
        self._transport: asyncio.DatagramTransport | None = None
        self._datagrams = _Datagrams(respond)
        self.streams = Streams(respond, limits)

    async def start(self, sockets: Sockets) -> None:
        """Takes the sockets over: they are closed with the server."""
        udp, tcp = sockets
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self._datagrams, sock=udp)
        await self.streams.start(tcp)

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        await self._datagrams.close()
        await self.streams.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, respond: Responder) -> None:
        self._respond = respond
        self._transport: asyncio.DatagramTransport | None = None
        self._answers: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport) or hasattr(transport, "sendto")
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(self._answers) < DATAGRAMS:
            answer = asyncio.get_running_loop().create_task(self._answer(data, addr))
            self._answers.add(answer)
            answer.add_done_callback(self._answers.discard)

    async def close(self) -> None:
        for answer in self._answers:
            answer.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)

    async def _answer(self, data: bytes, client: tuple[str, int]) -> None:
        """A message that breaks the responder costs a log line, never the server."""
        try:
            reply = await self._respond(data, client[0], Transport.UDP)
            if isinstance(reply, bytes) and self._transport is not None and not self._transport.is_closing():
                self._transport.sendto(reply, client)
        except Exception:
            log.exception("no answer", message=data[:64].hex())
