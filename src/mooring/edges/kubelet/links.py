"""How do stdin, stdout, stderr, the exit status and the window's size travel to the client? One Link, two protocols.

WebSocket messages begin with their channel's number; v5.channel.k8s.io can also close one (KEP-4006), and in the base64 forms
all is text. SPDY opens a stream for each and names it in a header. Before version 4 a failure is told in words alone.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from enum import IntEnum
from typing import Any, Protocol

from msgspec import Struct

from mooring.edges.kubelet import spdy
from mooring.edges.kubelet.websocket import CHUNK, MAX_MESSAGE, WebSocket, heard

OPENING_SECONDS = 30.0
CHANNELS = "channel.k8s.io"
WEBSOCKET_PROTOCOLS = ("v5." + CHANNELS, "v4." + CHANNELS, "v4.base64." + CHANNELS, CHANNELS, "base64." + CHANNELS, "")
SPDY_PROTOCOLS = tuple(f"v{number}.{CHANNELS}" for number in (5, 4, 3, 2))
"""In upstream's order. v1 is not among them: it closes stdin at once."""
CLOSE_CHANNEL = 255


class Channel(IntEnum):
    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4


class Input(Struct, frozen=True):
    data: bytes


class InputEnded(Struct, frozen=True):
    pass


class Resized(Struct, frozen=True):
    columns: int
    rows: int


ClientEvent = Input | InputEnded | Resized


class Wanted(Struct, frozen=True):
    """Which streams the client asked for. A terminal has no stderr of its own."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    def channels(self, *, resizing: bool = True) -> set[Channel]:
        """The streams that a SPDY client opens."""
        wanted = {Channel.ERROR}
        wanted |= {Channel.STDIN} if self.stdin else set()
        wanted |= {Channel.STDOUT} if self.stdout else set()
        wanted |= {Channel.STDERR} if self.stderr else set()
        return wanted | ({Channel.RESIZE} if self.tty and resizing else set())


class Link(Protocol):
    def events(self) -> AsyncIterator[ClientEvent]:
        """What the client sends; ends when it has gone."""

    async def send(self, channel: Channel, data: bytes) -> None:
        """Waits while the client reads slowly. Raises ConnectionError when it has gone."""

    async def ping(self) -> None:
        """Asks for a sign of life. Raises ConnectionError when it has gone."""

    async def finish(self, status: dict[str, Any]) -> None:
        """Tells the exit status and ends the connection."""


def resized(data: bytes) -> Resized | None:
    """A message of the resize channel: {"Width": columns, "Height": rows}, each of 16 bits."""
    try:
        size = json.loads(data)
        columns, rows = int(size["Width"]), int(size["Height"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return Resized(columns, rows) if 0 <= columns < 1 << 16 and 0 <= rows < 1 << 16 else None


def told(status: dict[str, Any], protocol: str) -> bytes:
    """The status on the error stream."""
    if protocol.startswith(("v4.", "v5.")):
        return json.dumps(status).encode()
    return b"" if status["status"] == "Success" else str(status["message"]).encode()


class WebSocketLink:
    def __init__(self, socket: WebSocket, protocol: str) -> None:
        self._socket, self._protocol = socket, protocol
        self._text = "base64" in protocol

    async def greet(self, wanted: Wanted) -> None:
        """An empty message on the first channel that may be written to: so clients know that the connection stands."""
        first = Channel.STDOUT if wanted.stdout else Channel.STDERR if wanted.stderr else Channel.ERROR
        await self.send(first, b"")

    async def events(self) -> AsyncIterator[ClientEvent]:
        async for channel, data in self._socket.channelled((Channel.STDIN,), text=self._text):
            if (found := self._event(channel, data)) is not None:
                yield found

    def _event(self, channel: int, data: bytes) -> ClientEvent | None:
        if channel == CLOSE_CHANNEL and self._protocol.startswith("v5."):
            return InputEnded() if data[:1] == bytes([Channel.STDIN]) else None
        if channel == Channel.STDIN:
            return Input(data) if data else None
        return resized(data) if channel == Channel.RESIZE else None

    async def send(self, channel: Channel, data: bytes) -> None:
        await self._socket.send(f"{channel:d}{base64.b64encode(data).decode()}" if self._text else bytes([channel]) + data)

    async def ping(self) -> None:
        await self._socket.ping()

    async def finish(self, status: dict[str, Any]) -> None:
        with suppress(ConnectionError):
            if text := told(status, self._protocol):
                await self.send(Channel.ERROR, text)
            await self._socket.close()


class SpdyLink:
    """After the 101 answer: the client opens its streams, then they are used by name."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: str) -> None:
        self._reader, self._writer, self._protocol = reader, writer, protocol
        self._connection = spdy.Connection()
        self._streams: dict[Channel, int] = {}
        self._early: list[spdy.Event] = []

    async def accept(self, wanted: Wanted, begun: bytes = b"") -> bool:
        """Waits until every wanted stream is open. False when the client goes away or breaks the protocol before."""
        channels = wanted.channels(resizing=self._protocol.startswith(("v3.", "v4.", "v5.")))
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                await self._take(begun)
                size = 0
                while channels - self._streams.keys():
                    data = await self._reader.read(CHUNK)
                    size += len(data)
                    if not data or size > MAX_MESSAGE:
                        return False
                    await self._take(data)
        except (spdy.SpdyError, TimeoutError, ConnectionError):
            return False
        return True

    async def events(self) -> AsyncIterator[ClientEvent]:
        while True:
            taken, self._early = self._early, []
            for event in taken:
                if isinstance(event, spdy.GoneAway):
                    return
                if (found := self._client_event(event)) is not None:
                    yield found
            if not (data := await heard(self._reader)):
                return
            try:
                await self._take(data)
            except spdy.SpdyError:
                return

    async def send(self, channel: Channel, data: bytes) -> None:
        stream = self._streams.get(channel)
        if stream is not None:
            self._writer.write(self._connection.data(stream, data))
            await self._writer.drain()

    async def ping(self) -> None:
        self._writer.write(self._connection.ping())
        await self._writer.drain()

    async def finish(self, status: dict[str, Any]) -> None:
        """A success says nothing on the error stream beyond its Status; then every stream of ours is closed."""
        with suppress(ConnectionError):
            if text := told(status, self._protocol):
                await self.send(Channel.ERROR, text)
            for channel in (Channel.STDOUT, Channel.STDERR, Channel.ERROR, Channel.STDIN, Channel.RESIZE):
                if channel in self._streams:
                    self._writer.write(self._connection.data(self._streams[channel], b"", fin=True))
            await self._writer.drain()

    async def _take(self, data: bytes) -> None:
        """Answers what asks for an answer, keeps the rest for `events`."""
        for event in self._connection.receive(data):
            if isinstance(event, spdy.Opened):
                name = event.headers.get("streamtype", "").upper()
                if name in Channel.__members__ and Channel[name] not in self._streams:
                    self._streams[Channel[name]] = event.stream
                    self._writer.write(self._connection.accept(event.stream))
                else:
                    self._writer.write(self._connection.reset(event.stream, spdy.REFUSED_STREAM))
            elif isinstance(event, spdy.Pinged):
                self._writer.write(self._connection.pong(event.id))
            else:
                self._early.append(event)
        await self._writer.drain()

    def _client_event(self, event: spdy.Event) -> ClientEvent | None:
        if isinstance(event, spdy.Data) and event.stream == self._streams.get(Channel.STDIN):
            return Input(event.data)
        if isinstance(event, spdy.Data) and event.stream == self._streams.get(Channel.RESIZE):
            return resized(event.data)
        if isinstance(event, spdy.Ended) and event.stream == self._streams.get(Channel.STDIN):
            return InputEnded()
        return None
