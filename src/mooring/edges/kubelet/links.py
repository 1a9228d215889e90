"""How do stdin, stdout, stderr, the exit status and the window's size travel to the client? One Link, two protocols.

WebSocket subprotocols v5.channel.k8s.io and v4.channel.k8s.io put the channel's number before each message; v5 can also
close one (KEP-4006). SPDY opens a stream for each and names it in a header.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from enum import IntEnum
from typing import Any, Protocol

from msgspec import Struct
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, RejectConnection, Request, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from mooring.edges.kubelet import spdy

CHUNK = 32 * 1024
OPENING_SECONDS = 30.0
MAX_MESSAGE = 1 << 20
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
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
    """Which streams the client asked for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    def channels(self) -> set[Channel]:
        """The streams that a SPDY client opens."""
        wanted = {Channel.ERROR}
        wanted |= {Channel.STDIN} if self.stdin else set()
        wanted |= {Channel.STDOUT} if self.stdout else set()
        wanted |= {Channel.STDERR} if self.stderr and not self.tty else set()
        return wanted | ({Channel.RESIZE} if self.tty else set())


class Link(Protocol):
    def events(self) -> AsyncIterator[ClientEvent]:
        """What the client sends; ends when it has gone."""

    async def send(self, channel: Channel, data: bytes) -> None:
        """Waits while the client reads slowly. Raises ConnectionError when it has gone."""

    async def finish(self, status: dict[str, Any]) -> None:
        """Tells the exit status and ends the connection."""


def resized(data: bytes) -> Resized | None:
    """A message of the resize channel: {"Width": columns, "Height": rows}."""
    try:
        size = json.loads(data)
        return Resized(int(size["Width"]), int(size["Height"]))
    except (ValueError, KeyError, TypeError):
        return None


class WebSocketLink:
    """`head` is the request as received, which wsproto answers itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._connection = WSConnection(ConnectionType.SERVER)
        self._protocol = ""

    async def accept(self, head: bytes) -> bool:
        """Answers the upgrade; False when no subprotocol is known to both (400, as upstream)."""
        self._connection.receive_data(head)
        request = next(iter(self._connection.events()))
        assert isinstance(request, Request)
        self._protocol = next((known for known in (V5, V4) if known in request.subprotocols), "")
        if not self._protocol:
            await self._write(RejectConnection(status_code=400))
            return False
        await self._write(AcceptConnection(subprotocol=self._protocol))
        return True

    async def events(self) -> AsyncIterator[ClientEvent]:
        pending = bytearray()
        while data := await self._reader.read(CHUNK):
            try:
                self._connection.receive_data(data)
                for event in self._connection.events():
                    if isinstance(event, CloseConnection):
                        with suppress(LocalProtocolError):
                            await self._write(event.response())
                        return
                    if isinstance(event, Ping):
                        await self._write(event.response())
                    elif isinstance(event, BytesMessage | TextMessage):
                        pending += event.data.encode() if isinstance(event.data, str) else event.data
                        if len(pending) > MAX_MESSAGE:
                            return
                        if event.message_finished:
                            found = self._message(bytes(pending))
                            pending.clear()
                            if found is not None:
                                yield found
            except RemoteProtocolError:
                return

    def _message(self, message: bytes) -> ClientEvent | None:
        if not message:
            return None
        channel, data = message[0], message[1:]
        if channel == CLOSE_CHANNEL:
            return InputEnded() if data[:1] == bytes([Channel.STDIN]) else None
        if channel == Channel.STDIN:
            return Input(data) if data else None
        return resized(data) if channel == Channel.RESIZE else None

    async def send(self, channel: Channel, data: bytes) -> None:
        await self._write(BytesMessage(bytes([channel]) + data))

    async def finish(self, status: dict[str, Any]) -> None:
        with suppress(ConnectionError, LocalProtocolError):
            await self.send(Channel.ERROR, json.dumps(status).encode())
            await self._write(CloseConnection(code=1000))

    async def _write(self, event: Any) -> None:
        try:
            self._writer.write(self._connection.send(event))
        except LocalProtocolError as error:
            raise ConnectionError(str(error)) from error
        await self._writer.drain()


class SpdyLink:
    """After the 101 answer: the client opens its streams, then they are used by name."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._connection = spdy.Connection()
        self._streams: dict[Channel, int] = {}
        self._early: list[spdy.Event] = []

    async def accept(self, wanted: set[Channel], begun: bytes = b"") -> bool:
        """Waits until every wanted stream is open. False when the client goes away or breaks the protocol before."""
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                await self._take(begun)
                while wanted - self._streams.keys():
                    data = await self._reader.read(CHUNK)
                    if not data:
                        return False
                    await self._take(data)
        except (spdy.SpdyError, TimeoutError, ConnectionError):
            return False
        return True

    async def events(self) -> AsyncIterator[ClientEvent]:
        early, self._early = self._early, []
        for event in early:
            if (found := self._client_event(event)) is not None:
                yield found
        while data := await self._reader.read(CHUNK):
            try:
                await self._take(data)
            except spdy.SpdyError:
                return
            taken, self._early = self._early, []
            for event in taken:
                if isinstance(event, spdy.GoneAway):
                    return
                if (found := self._client_event(event)) is not None:
                    yield found

    async def send(self, channel: Channel, data: bytes) -> None:
        stream = self._streams.get(channel)
        if stream is not None:
            self._writer.write(self._connection.data(stream, data))
            await self._writer.drain()

    async def finish(self, status: dict[str, Any]) -> None:
        """A success says nothing on the error stream beyond its Status; then every stream of ours is closed."""
        with suppress(ConnectionError):
            await self.send(Channel.ERROR, json.dumps(status).encode())
            for channel in (Channel.STDOUT, Channel.STDERR, Channel.ERROR, Channel.STDIN, Channel.RESIZE):
                if channel in self._streams:
                    self._writer.write(self._connection.data(self._streams[channel], b"", fin=True))
            await self._writer.drain()

    async def _take(self, data: bytes) -> None:
        """Answers what asks for an answer, keeps the rest for `events`."""
        for event in self._connection.receive(data):
            if isinstance(event, spdy.Opened):
                name = event.headers.get("streamtype", "").upper()
                if name in Channel.__members__:
                    self._streams[Channel[name]] = event.stream
                self._writer.write(self._connection.accept(event.stream))
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
