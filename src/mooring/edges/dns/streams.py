"""How are questions answered that come over TCP? Pipelined, in any order, within bounds (RFC 7766).

Each connection is read ahead of its answers, at most `OUTSTANDING` questions; then reading waits, and TCP's window tells the
client. A client that says nothing, half a message, or does not read what it asked for is let go of after `Limits.idle` seconds.
"""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable

import structlog
from msgspec import Struct

from mooring.dns.keepalive import IDLE
from mooring.dns.records import Transport
from mooring.dns.wire import HEADER, STREAM_LIMIT

log = structlog.get_logger("dns")

Replies = bytes | AsyncGenerator[bytes, None] | None
"""One message, several (a zone transfer), or none where none is due."""
Responder = Callable[[bytes, str, Transport], Awaitable[Replies]]
"""(message, client's address, how it came) -> what goes back."""

OUTSTANDING = 64
"""Questions of one connection that are being answered at once."""


class Limits(Struct, frozen=True):
    """`idle`: seconds that a connection may do nothing, and that a client may take none of what is sent to it.

    `connections` in total and `of_one_client`: when all are in use, the longest idle one makes room for a new one.
    `unread`: octets of answers that wait for one client beyond what the kernel holds.
    """

    idle: float = IDLE
    connections: int = 256
    of_one_client: int = 64
    unread: int = 512 * 1024


class Streams:
    """Serves one listening socket until closed."""

    def __init__(self, respond: Responder, limits: Limits | None = None) -> None:
        self._respond = respond
        self._limits = limits or Limits()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._clients: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Connections now."""
        return len(self._connections)

    async def start(self, listening: socket.socket) -> None:
        """Takes the socket over: it is closed with the server."""
        self._server = await asyncio.start_server(self._accept, sock=listening, limit=STREAM_LIMIT + 2)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Never raises: asyncio would tell of it in words of its own."""
        client = str((writer.get_extra_info("peername") or ("",))[0])
        task = asyncio.current_task()
        if task is None or self._clients[client] >= self._limits.of_one_client or not self._room():
            writer.transport.abort()
            return
        connection = Connection(self._respond, self._limits, reader, writer, client)
        self._connections[task] = connection
        self._clients[client] += 1
        try:
            await connection.converse()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("a connection broke", client=client)
        finally:
            del self._connections[task]
            self._clients -= Counter((client,))
            writer.transport.abort()

    def _room(self) -> bool:
        """Whether one more may come in, after the longest idle one has gone if need be."""
        if len(self._connections) < self._limits.connections:
            return True
        idle = [task for task, connection in self._connections.items() if not connection.busy and not task.cancelling()]
        return bool(idle) and min(idle, key=lambda task: self._connections[task].since).cancel()


class Connection:
    """One client's. `since`: the loop's time when it last had a whole question or got its last answer."""

    def __init__(
        self, respond: Responder, limits: Limits, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str
    ) -> None:
        self._respond, self._limits = respond, limits
        self._reader, self._writer, self._client = reader, writer, client
        self._answers: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(OUTSTANDING)
        self._loop = asyncio.get_running_loop()
        self._deadline: asyncio.Timeout | None = None
        self.since = self._loop.time()

    @property
    def busy(self) -> bool:
        return bool(self._answers)

    async def converse(self) -> None:
        """Until the client leaves or must go; what was asked before it left is still answered (RFC 7766 section 6.2.4).

        Raises OSError (TimeoutError among them) and EOFError.
        """
        try:
            async with asyncio.timeout(self._limits.idle) as self._deadline:
                await self._read()
            await asyncio.gather(*self._answers)
            async with asyncio.timeout(self._limits.idle):
                self._writer.close()
                await self._writer.wait_closed()
        finally:
            self._deadline = None
            for answer in self._answers:
                answer.cancel()
            await asyncio.gather(*self._answers, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            await self._slots.acquire()
            message = await self._question()
            if not message:
                self._deadline = None
                return
            answer = asyncio.create_task(self._answer(message))
            self._answers.add(answer)
            answer.add_done_callback(self._answered)
            self._moved()
            # What is answered at once is written before more is read, so that `drain` sees it.
            await asyncio.sleep(0)
            await self._drain()

    async def _question(self) -> bytes:
        """Empty at a clean end, and at what cannot be a message: then the lengths are out of step, too."""
        try:
            length = int.from_bytes(await self._reader.readexactly(2), "big")
            message = await self._reader.readexactly(length)
        except asyncio.IncompleteReadError:
            return b""
        return message if length >= HEADER else b""

    async def _answer(self, message: bytes) -> None:
        """A message that breaks the responder costs a log line and its own answer."""
        try:
            replies = await self._respond(message, self._client, Transport.TCP)
            if isinstance(replies, bytes):
                await self._send(replies)
            elif replies is not None:
                async with contextlib.aclosing(replies):
                    async for reply in replies:
                        await self._send(reply)
        except OSError:
            self._writer.transport.abort()
        except Exception:
            log.exception("no answer", message=message[:64].hex())

    async def _send(self, reply: bytes) -> None:
        """Raises OSError when the client is gone or does not read."""
        if self._writer.is_closing():
            raise ConnectionAbortedError
        self._writer.write(len(reply).to_bytes(2, "big") + reply)
        if self._writer.transport.get_write_buffer_size() > self._limits.unread:
            raise ConnectionAbortedError
        await self._drain()

    async def _drain(self) -> None:
        async with asyncio.timeout(self._limits.idle):
            await self._writer.drain()

    def _answered(self, answer: asyncio.Task[None]) -> None:
        self._answers.discard(answer)
        self._slots.release()
        self._moved()

    def _moved(self) -> None:
        """A connection is idle while nothing of it is being answered; only then its time runs."""
        self.since = self._loop.time()
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(None if self._answers else self.since + self._limits.idle)
