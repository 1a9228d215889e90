"""How do many streams share one connection without anybody's memory growing? Each holds a bounded part; then all wait.

SPDY as Kubernetes' clients speak it has no flow control of its own, so a stream that nobody reads holds back the whole
connection, as it does upstream; the part that each may hold keeps that from happening for a short pause.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from mooring.edges.kubelet import spdy
from mooring.edges.kubelet.websocket import WebSocket, heard

HELD, ALL_HELD = 256 * 1024, 1024 * 1024
"""Bytes that a stream, and all of a connection, hold before the connection is read no more."""
MAX_STREAMS = 1024
"""Open at once on one connection; more are refused."""


class Carrier(Protocol):
    """Bytes both ways."""

    def pieces(self) -> AsyncIterator[bytes]: ...

    async def send(self, data: bytes) -> None:
        """Waits while the client reads slowly. Raises ConnectionError."""


class Plain:
    """The connection itself; `early` came with the request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, early: bytes = b"") -> None:
        self._reader, self._writer, self._early = reader, writer, early

    async def pieces(self) -> AsyncIterator[bytes]:
        if self._early:
            yield self._early
        while data := await heard(self._reader):
            yield data

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class Tunnel:
    """Within the messages of a WebSocket (KEP-4006)."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    def pieces(self) -> AsyncIterator[bytes]:
        return self._socket.pieces()

    async def send(self, data: bytes) -> None:
        await self._socket.send(data)


class Held:
    """How much all streams of a connection hold together."""

    def __init__(self) -> None:
        self.size = 0
        self.less = asyncio.Event()

    def give_back(self, size: int) -> None:
        self.size -= size
        self.less.set()


class Inbox:
    """What came for a stream and was not read yet."""

    def __init__(self, held: Held) -> None:
        self._parts: deque[bytes] = deque()
        self._all, self._held = held, 0
        self._ended = False
        self._news = asyncio.Event()
        self.gone = False
        """The peer has reset the stream: what it was about is over."""

    async def feed(self, data: bytes) -> None:
        """Waits while too much is held."""
        while (self._held >= HELD or self._all.size >= ALL_HELD) and not self._ended:
            self._all.less.clear()
            await self._all.less.wait()
        if not self._ended:
            self._parts.append(data)
            self._held += len(data)
            self._all.size += len(data)
            self._news.set()

    def end(self, *, reset: bool = False) -> None:
        """Nothing more comes; after a reset what is held is nobody's either."""
        self._ended, self.gone = True, self.gone or reset
        if reset:
            self.discard()
        self._news.set()

    def discard(self) -> None:
        """Nobody reads any more: what still comes is dropped."""
        self._parts.clear()
        self._all.give_back(self._held)
        self._held, self._ended = 0, True
        self._news.set()

    async def read(self) -> bytes:
        """b'' at the end."""
        while not self._parts and not self._ended:
            self._news.clear()
            await self._news.wait()
        if not self._parts:
            return b""
        data = self._parts.popleft()
        self._held -= len(data)
        self._all.give_back(len(data))
        return data


class Stream(Inbox):
    """One of a multiplexer's."""

    def __init__(self, mux: "Multiplexer", identifier: int, headers: dict[str, str]) -> None:
        super().__init__(mux.held)
        self._mux, self.identifier, self.headers = mux, identifier, headers
        self._finished = False

    async def write(self, data: bytes) -> None:
        """Waits while the client reads slowly. Raises ConnectionError."""
        if not self._finished:
            await self._mux.send(spdy.Connection.data(self.identifier, data))

    async def finish(self) -> None:
        """Nothing more is written."""
        if not self._finished:
            self._finished = True
            await self._mux.send(spdy.Connection.data(self.identifier, b"", fin=True))

    def close(self) -> None:
        """The stream is of no use any more."""
        self.discard()
        self._mux.streams.pop(self.identifier, None)


class Multiplexer:
    """The streams that a client opens. `opened` says whether one is welcome; the answer must not wait for anything."""

    def __init__(self, carrier: Carrier, opened: Callable[[Stream], bool]) -> None:
        self._carrier, self._opened = carrier, opened
        self._connection = spdy.Connection()
        self.streams: dict[int, Stream] = {}
        self.held = Held()

    async def run(self) -> None:
        """Until the client has gone, or breaks the protocol. Then every stream is at its end."""
        try:
            async for data in self._carrier.pieces():
                for event in self._connection.receive(data):
                    if isinstance(event, spdy.GoneAway):
                        return
                    await self._take(event)
        except (spdy.SpdyError, ConnectionError):
            return
        finally:
            for stream in self.streams.values():
                stream.end(reset=True)

    async def send(self, frame: bytes) -> None:
        await self._carrier.send(frame)

    async def ping(self) -> None:
        await self.send(self._connection.ping())

    async def _take(self, event: spdy.Event) -> None:
        match event:
            case spdy.Opened(identifier, headers):
                await self._open(identifier, headers)
            case spdy.Pinged(identifier):
                await self.send(self._connection.pong(identifier))
            case spdy.Data(identifier, data) if stream := self.streams.get(identifier):
                await stream.feed(data)
            case spdy.Ended(identifier, how) if stream := self.streams.get(identifier):
                stream.end(reset=how == "reset")

    async def _open(self, identifier: int, headers: dict[str, str]) -> None:
        stream = Stream(self, identifier, headers)
        if len(self.streams) >= MAX_STREAMS or not self._opened(stream):
            await self.send(self._connection.reset(identifier, spdy.REFUSED_STREAM))
            return
        self.streams[identifier] = stream
        await self.send(self._connection.accept(identifier))
