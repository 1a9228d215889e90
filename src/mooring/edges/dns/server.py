"""How do questions reach the zone? UDP and TCP sockets on one address (RFC 7766 for TCP)."""

import asyncio
import socket
from collections.abc import Callable, Iterable

import structlog

log = structlog.get_logger("dns")

Responder = Callable[[bytes, bool], bytes | None]
"""(message, came over a stream) -> the reply, or None where none is due."""

IDLE_SECONDS = 10.0
MAX_CONNECTIONS = 256
BACKLOG = 256


Sockets = tuple[socket.socket, socket.socket]
"""(UDP, TCP listening), both bound to one address and port."""


def bind(host: str, port: int = 53) -> Sockets:
    """Opens and binds both sockets; port 0 takes a free one. Raises OSError: address not there, or taken.

    Whoever keeps them open lets queries wait in them while the server that reads them restarts.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    tcp = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((host, port))
        udp.bind((host, tcp.getsockname()[1]))
        tcp.listen(BACKLOG)
    except OSError:
        udp.close()
        tcp.close()
        raise
    return udp, tcp


def inherited(descriptors: Iterable[int]) -> Sockets:
    """The sockets that a supervisor bound and passed on by number, UDP first."""
    udp, tcp = (socket.socket(fileno=descriptor) for descriptor in descriptors)
    return udp, tcp


class DnsServer:
    """Serves one pair of sockets until closed."""

    def __init__(self, respond: Responder) -> None:
        self._respond = respond
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, sockets: Sockets) -> None:
        """Takes the sockets over: they are closed with the server."""
        udp, tcp = sockets
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self._respond), sock=udp)
        self._server = await asyncio.start_server(self._accept, sock=tcp)

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                length = int.from_bytes(await reader.readexactly(2))
                message = await reader.readexactly(length)
                reply = answered(self._respond, message, True)
                if reply is None:
                    return
                writer.write(len(reply).to_bytes(2) + reply)
                await writer.drain()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, respond: Responder) -> None:
        self._respond = respond
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport) or hasattr(transport, "sendto")
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = answered(self._respond, data, False)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)


def answered(respond: Responder, message: bytes, stream: bool) -> bytes | None:
    """The reply; a message that breaks the responder costs a log line, never the server."""
    try:
        return respond(message, stream)
    except Exception:
        log.exception("no answer", message=message[:64].hex())
        return None
