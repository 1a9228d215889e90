"""How does one client connection carry requests in and answers out?

The protocol turns bytes into messages and writes answers; what to answer is decided by one coroutine a connection, which asks
for the next message, answers it, and so on: answers leave in the order of their requests, however they were pipelined.
"""

import asyncio
import contextlib
import math
import socket
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any

import structlog
from msgspec import Struct

from mooring.apiserver.contract import Response, User
from mooring.edges.http.authn import certificate_user
from mooring.edges.http.server_parser import Message, Phase, RequestParser, Room
from mooring.edges.http.server_status import BODY_TIMEOUT

log = structlog.get_logger(__name__)

LAST_CHUNK = b"0\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SLICE = 256 * 1024
_FAREWELL = 0.5
"""Seconds that an idle peer gets, when the server stops, to end its side of a TLS connection."""
_LAST_ANSWER = 2.0
"""Seconds to answer what a peer has asked that is trusted no more."""
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
MAX_CONNECTIONS = 10_000
"""Served at once. One more is closed before it is read."""
_PIPELINED = 32
"""Requests read ahead of the one being answered; then the socket is left unread."""


class Patience(Struct, frozen=True):
    """Seconds we wait for a peer. Upstream: 32 s for a head, 90 s idle (Go's net/http as the API server sets it)."""

    head: float = 32
    body: float = 60
    idle: float = 90
    write: float = 60
    """Without progress while we have something to send."""
    stream: float = 4 * 3600
    """The same within a stream, which a person may look at for long: upstream's --streaming-connection-idle-timeout."""


class Connection(asyncio.Protocol):
    """One client. `serve` is called once, and its end closes the connection."""

    def __init__(
        self,
        serve: Callable[["Connection"], Coroutine[Any, Any, None]],
        live: "set[Connection]",
        max_body: int,
        patience: Patience,
        room: Room,
        strangers: Room,
        judge: Callable[["Connection", Message], Response | Room],
    ) -> None:
        self._serve, self._live, self._patience = serve, live, patience
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser(max_body, room, strangers, partial(judge, self))
        self._awaited: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._busy = self._draining = self._stopped_reading = False
        self._read_deadline = self._write_deadline = math.inf
        self._tunnel: asyncio.StreamReader | None = None
        self._current: Message | None = None
        self.on_writable: Callable[[], None] | None = None
        """Called when the peer has read enough that more may be written: for streams that are not a coroutine."""
        self.on_lost: Callable[[], None] | None = None
        self.paused = self.lost = self.patient = False
        self.user: User | None = None

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        certificate = transport.get_extra_info("peercert")
        self.user = certificate_user(certificate) if certificate else None
        self._parser.known = self.user is not None
        if len(self._live) >= MAX_CONNECTIONS:
            transport.abort()  # type: ignore[attr-defined]
        self._live.add(self)
        self._owes(Phase.HEAD)
        self._task = self._loop.create_task(self._run())

    def data_received(self, data: bytes) -> None:
        if self._tunnel:
            self._tunnel.feed_data(data)
            return
        parser = self._parser
        before = parser.phase
        parser.feed(data)
        if parser.phase is not before and parser.phase is not Phase.IDLE:
            self._owes(parser.phase)  # IDLE: a request is here, and `next` says when another is due
        if self._busy:
            if not self._stopped_reading and (len(parser.ready) > _PIPELINED or parser.ahead > _SLICE):
                self._stopped_reading = True
                self._transport.pause_reading()
        else:
            self._invite()
            self._wake()

    def eof_received(self) -> bool:
        if self._tunnel:
            self._tunnel.feed_eof()
            return self.half_closes  # TLS cannot stay half open in asyncio
        return False

    def pause_writing(self) -> None:
        self.paused = True
        patience = self._patience.stream if self.patient else self._patience.write
        self._write_deadline = self._loop.time() + patience

    def resume_writing(self) -> None:
        self.paused = False
        self._write_deadline = math.inf
        if self._writable and not self._writable.done():
            self._writable.set_result(None)
        if self.on_writable:
            self.on_writable()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._live.discard(self)
        self._parser.release()
        self._write_deadline = self._read_deadline = math.inf
        if self.on_lost:
            self.on_lost()
        if self._tunnel:  # what the client sent last still has to reach the other side
            self._tunnel.feed_eof()
            self.resume_writing()
        else:
            self._task.cancel()

    # What the answering coroutine asks

    async def next(self) -> Message | None:
        """The next request; None when the peer is done, was refused, or the server is stopping."""
        self._busy = False
        if self._current is not None:
            self._parser.release(self._current)
            self._current = None
        while not self._parser.ready:
            if self._draining or self._parser.refusal or self._parser.phase is Phase.OVER:
                return None
            self._invite()
            self._owes(self._parser.phase)
            self._read_on()
            self._awaited = self._loop.create_future()
            await self._awaited
        self._busy = True
        self._current = self._parser.ready.popleft()
        if len(self._parser.ready) <= _PIPELINED // 2 and self._parser.ahead <= _SLICE:
            self._read_on()
        return self._current

    def _read_on(self) -> None:
        if self._stopped_reading:
            self._stopped_reading = False
            self._transport.resume_reading()

    def write(self, data: bytes | memoryview) -> None:
        """Writes bytes as they are; after the connection is lost, nothing."""
        if not self.lost:
            self._transport.write(data)

    async def respond(self, message: Message | None, response: Response) -> None:
        """Writes a whole response, as fast as the peer reads it. To HEAD, and with 204 and 304, without its body."""
        body = response.body
        head = self._whole_head(message, response)
        if (message and message.method == "HEAD") or response.status in (204, 304):
            self.write(head)
        elif isinstance(body, bytes) and len(body) <= _SLICE:
            self.write(head + body)
        else:
            # In slices: TLS transports encrypt all they are given at once, and see too late that the peer does not read.
            self.write(head)
            for piece in (body,) if isinstance(body, bytes) else body:
                view = memoryview(piece)
                for start in range(0, len(view), _SLICE):
                    await self.drained()
                    if self.lost:
                        return
                    self.write(view[start : start + _SLICE])
        if self.paused:
            await self.drained()

    def start(self, message: Message, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """Writes the head of a response whose body follows in `chunk`s and ends with LAST_CHUNK."""
        self.write(self._head(message, status, (*headers, ("Transfer-Encoding", "chunked"))))

    def begin(self, message: Message, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """Writes the head of a response that has no body, whatever it says of one: it answers HEAD, or is a 204 or 304."""
        self.write(self._head(message, status, headers))

    async def drained(self) -> None:
        """Waits until the peer has read enough that more may be written."""
        while self.paused and not self.lost:
            self._writable = self._loop.create_future()
            await self._writable

    def keeps_alive(self, message: Message | None) -> bool:
        """Whether another request may follow this one's answer."""
        return bool(message and message.keep_alive and not message.upgrade and not self._draining)

    def take_over(self) -> asyncio.StreamReader:
        """From now on the peer's bytes are not HTTP: they are in the returned reader, from the first after the request."""
        self._tunnel = asyncio.StreamReader()
        self._tunnel.set_transport(self._transport)
        self._read_on()
        if self._parser.rest:
            self._tunnel.feed_data(bytes(self._parser.rest))
            self._parser.rest.clear()
        if self.lost:
            self._tunnel.feed_eof()
        self._read_deadline = math.inf
        self.patient = True
        if not self.lost:
            self._watch_peer()
        return self._tunnel

    def _watch_peer(self) -> None:
        """The kernel finds out when a peer that says nothing is no more (man 7 tcp)."""
        sock = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEP_ALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)

    @property
    def peer(self) -> str:
        """The client's address; '' for a peer that has none."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""

    @property
    def peer_is_secure(self) -> bool:
        return self._transport.get_extra_info("ssl_object") is not None

    @property
    def half_closes(self) -> bool:
        """Whether each direction can end by itself (plain TCP); TLS in asyncio ends both at once."""
        return self._transport.can_write_eof()

    def write_eof(self) -> None:
        """Ends our direction; where that is not possible alone, both, after what was written has left."""
        if self.lost:
            return
        if self.half_closes:
            self._transport.write_eof()
        else:
            self._transport.close()

    # What the server asks

    def drain(self) -> None:
        """Closes the connection when the request being answered is done; now, when none is. Once is enough."""
        if self._draining:
            return
        self._draining = True
        self._wake()
        if not self._busy:
            self._loop.call_later(_FAREWELL, self._abort_idle)

    def _abort_idle(self) -> None:
        """Who sleeps on a connection does not answer the close, and TLS would wait for that. One whose request had just arrived
        is answered first."""
        if not self._busy:
            self.abort()

    def leave_unless(self, trusted: Callable[[bytes], bool]) -> None:
        """Of a peer whose certificate is good no more nothing is asked again; what lasts (a watch, a stream) is cut soon."""
        tls = self._transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(True) if tls else None
        if certificate and not trusted(certificate):
            self.drain()
            self._loop.call_later(_LAST_ANSWER, self.abort)

    def abort(self) -> None:
        """Drops the connection, and what was not sent yet."""
        if not self.lost:
            self._transport.abort()

    def enforce(self, now: float) -> None:
        """Ends a connection whose peer has made us wait too long. `now` is the loop's time."""
        if now > self._write_deadline:
            self.abort()
        elif now > self._read_deadline and not self._busy:
            if self._parser.phase is Phase.BODY:
                self._parser.refusal = BODY_TIMEOUT
                self._wake()
            else:
                self.abort()

    async def _run(self) -> None:
        try:
            await self._serve(self)
            if self._parser.refusal and not self.lost and self._tunnel is None:
                await self.respond(None, self._parser.refusal)
                if self._parser.unread:
                    # A close while the peer sends resets the connection, and the answer may be lost with it (RFC 9112 9.6).
                    self._read_on()
                    await asyncio.sleep(_FAREWELL)
        except Exception:
            log.exception("connection failed")
        finally:
            if not self.lost:
                self._transport.close()

    def _wake(self) -> None:
        if self._awaited and not self._awaited.done():
            parser = self._parser
            if parser.ready or self._draining or parser.refusal or parser.phase is Phase.OVER:
                self._awaited.set_result(None)

    def _invite(self) -> None:
        if self._parser.wants_continue and not self._parser.ready:
            self._parser.wants_continue = False
            self.write(_CONTINUE)

    def _owes(self, phase: Phase) -> None:
        patience = self._patience
        if phase is Phase.IDLE:
            wait = patience.idle
        elif phase is Phase.HEAD:
            wait = patience.head
        else:
            wait = patience.body if phase is Phase.BODY else math.inf
        self._read_deadline = self._loop.time() + wait

    def _whole_head(self, message: Message | None, response: Response) -> bytes:
        """The head of a response whose body has a length."""
        first = _first_lines(response.status, response.content_type, int(time.time()))
        more = "".join([f"{name}: {_one_line(value)}\r\n" for name, value in response.headers])
        close = "" if self.keeps_alive(message) else "Connection: close\r\n"
        size = len(response.body) if isinstance(response.body, bytes) else response.body.size
        return f"{first}Content-Length: {size}\r\n{more}{close}\r\n".encode("latin-1", "replace")

    def _head(self, message: Message | None, status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
        fields = "".join([f"{name}: {_one_line(value)}\r\n" for name, value in headers])
        close = "" if self.keeps_alive(message) else "Connection: close\r\n"
        always = f"Date: {_date(int(time.time()))}\r\nCache-Control: no-cache, private\r\n"
        return f"{_status_line(status)}\r\n{always}{fields}{close}\r\n".encode("latin-1", "replace")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body (RFC 9112 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _one_line(value: str) -> str:
    """A header's value that cannot begin another header: a warning may quote what a client sent."""
    return value if value.isprintable() else "".join(character if character.isprintable() else " " for character in value)


@lru_cache(64)
def _first_lines(status: int, content_type: str, second: int) -> str:
    always = f"Date: {_date(second)}\r\nCache-Control: no-cache, private\r\n"
    return f"{_status_line(status)}\r\n{always}Content-Type: {_one_line(content_type)}\r\n"


def _status_line(status: int) -> str:
    line = _status_lines.get(status)
    if line is None:
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        line = _status_lines[status] = f"HTTP/1.1 {status} {phrase}"
    return line


_status_lines: dict[int, str] = {}
_dates: dict[int, str] = {}


def _date(second: int) -> str:
    if second not in _dates:
        _dates.clear()
        _dates[second] = formatdate(second, usegmt=True)
    return _dates[second]
