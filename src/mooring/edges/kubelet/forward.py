"""How does a port of a pod come to a client? A pair of streams for each connection: its data, and what went wrong with it.

    SPDY                        streams with the headers streamtype (data or error), port and requestid; as many as wanted
    SPDY within a WebSocket     the same frames in binary messages: subprotocol SPDY/3.1+portforward.k8s.io (KEP-4006)
    channels of a WebSocket     one pair for each port of the query, whose number comes first on both: v4.channel.k8s.io

Source: k8s.io/kubelet/pkg/cri/streaming/portforward.
"""

import asyncio
import base64
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from mooring.edges.kubelet.multiplexer import Carrier, Held, Inbox, Multiplexer, Stream
from mooring.edges.kubelet.request import Refused
from mooring.edges.kubelet.session import PING_SECONDS
from mooring.edges.kubelet.websocket import WebSocket
from mooring.ports.pods import Connection, RuntimeFailure

PROTOCOL = "portforward.k8s.io"
TUNNEL = "SPDY/3.1+" + PROTOCOL
CHANNEL_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")
PAIR_SECONDS = 30.0
"""For the second stream of a pair to come."""
MAX_PORTS = 127
"""Of one WebSocket: a channel's number is one byte."""

Connect = Callable[[int], Awaitable[Connection]]
"""Connects to a port of the pod. Raises RuntimeFailure."""


class Duplex(Protocol):
    """A stream both ways, as forwarding needs it."""

    gone: bool

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...

    async def finish(self) -> None: ...

    def discard(self) -> None: ...


def ports(values: tuple[str, ...]) -> tuple[int, ...]:
    """Of the query of a WebSocket request. Raises Refused(400)."""
    if not values:
        raise Refused(400, 'query parameter "port" is required')
    found = []
    for value in values:
        if not value:
            raise Refused(400, 'query parameter "port" cannot be empty')
        found += [_port(each, value) for each in value.split(",")]
    if len(found) > MAX_PORTS:
        raise Refused(400, f"{len(found)} ports are more than the {MAX_PORTS} that one WebSocket can carry")
    return tuple(found)


def _port(text: str, told: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text[:6]) > 65535:
        raise Refused(400, f'unable to parse "{told}" as a port: strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) < 1:
        raise Refused(400, f'port "{told}" must be > 0')
    return int(text)


async def _forward(port: int, pod: str, connect: Connect, data: Duplex, error: Duplex) -> None:
    """One connection from its first octet to its last. A failure is told on the error stream. Raises ConnectionError."""
    try:
        connection = await connect(port)
    except RuntimeFailure as failure:
        await error.write(f"error forwarding port {port} to pod {pod}, uid : {failure.message}".encode())
        data.discard()
    else:
        try:
            await _copy(connection, data)
        finally:
            connection.close()
    await data.finish()
    await error.finish()


async def _copy(connection: Connection, data: Duplex) -> None:
    """Both ways; each ends by itself, and a reset ends both."""

    async def inward() -> None:
        try:
            while piece := await data.read():
                await connection.write(piece)
        except OSError:
            data.discard()  # The pod reads no more; it may still be talking.
        if data.gone:
            return
        connection.write_eof()
        await told

    async def outward() -> None:
        with suppress(OSError):
            while piece := await connection.read():
                await data.write(piece)
        await data.finish()

    told = asyncio.ensure_future(outward())
    fed = asyncio.ensure_future(inward())
    try:
        await asyncio.wait({fed})
    finally:
        for task in (told, fed):
            task.cancel()
        await asyncio.gather(told, fed, return_exceptions=True)


class Forwarding:
    """The pairs of streams on one SPDY connection."""

    def __init__(self, carrier: Carrier, pod: str, connect: Connect, pair_seconds: float = PAIR_SECONDS) -> None:
        self._pod, self._connect, self._pair_seconds = pod, connect, pair_seconds
        self._mux = Multiplexer(carrier, self._opened)
        self._pairs: dict[str, dict[str, Stream]] = {}
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, ping_seconds: float = PING_SECONDS) -> None:
        """Until the client has gone. Then so are all its connections."""
        asking = asyncio.create_task(self._ask(ping_seconds))
        running = asyncio.create_task(self._mux.run())
        try:
            await asyncio.wait({asking, running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for timer in self._expiries.values():
                timer.cancel()
            for task in (asking, running, *self._tasks):
                task.cancel()
            await asyncio.gather(asking, running, *self._tasks, return_exceptions=True)

    async def _ask(self, seconds: float) -> None:
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(seconds)
                await self._mux.ping()

    def _opened(self, stream: Stream) -> bool:
        kind = stream.headers.get("streamtype", "")
        try:
            _port(stream.headers.get("port", ""), stream.headers.get("port", ""))
        except Refused:
            return False
        if kind not in ("data", "error"):
            return False
        # Old clients give no request's name: their data stream follows the error stream.
        name = stream.headers.get("requestid") or str(stream.identifier - (2 if kind == "data" else 0))
        pair = self._pairs.get(name)
        if pair is None:
            pair = self._pairs[name] = {}
            self._expiries[name] = asyncio.get_running_loop().call_later(self._pair_seconds, self._expire, name)
        if kind in pair:
            self._start(self._tell(pair, f"error processing stream for request {name}: {kind} stream already assigned"))
            return False
        pair[kind] = stream
        if len(pair) == 2:
            del self._pairs[name]
            self._expiries.pop(name).cancel()
            self._start(self._serve(pair["data"], pair["error"]))
        return True

    def _start(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, data: Stream, error: Stream) -> None:
        with suppress(ConnectionError):
            await _forward(int(data.headers["port"]), self._pod, self._connect, data, error)
        for stream in (data, error):
            stream.close()

    def _expire(self, name: str) -> None:
        del self._expiries[name]
        self._start(self._tell(self._pairs.pop(name), f"(request={name}) timed out waiting for streams", last=True))

    @staticmethod
    async def _tell(pair: dict[str, Stream], text: str, *, last: bool = False) -> None:
        with suppress(ConnectionError):
            if "error" in pair:
                await pair["error"].write(text.encode())
            for stream in pair.values() if last else ():
                await stream.finish()
                stream.close()


class _Channel(Inbox):
    """One direction each of one channel of a WebSocket."""

    def __init__(self, socket: WebSocket, number: int, text: bool, held: Held) -> None:
        super().__init__(held)
        self._socket, self._number, self._text = socket, number, text

    async def write(self, data: bytes) -> None:
        if self._text:
            await self._socket.send(chr(ord("0") + self._number) + base64.b64encode(data).decode())
        else:
            await self._socket.send(bytes([self._number]) + data)

    async def finish(self) -> None:
        """A channel cannot be closed: the pod's end is the client's too."""
        self.end()


async def forward_channels(
    socket: WebSocket, protocol: str, wanted: tuple[int, ...], pod: str, connect: Connect, ping_seconds: float = PING_SECONDS
) -> None:
    """One connection for each port, until all have ended or the client has gone."""
    held = Held()
    channels = [_Channel(socket, number, "base64" in protocol, held) for number in range(2 * len(wanted))]

    async def listen() -> None:
        streamed = range(0, len(channels), 2)
        async for number, data in socket.channelled(streamed, text="base64" in protocol):
            if number in streamed and data:
                await channels[number].feed(data)

    async def serve() -> None:
        for channel, port in zip(channels, [port for port in wanted for _ in range(2)], strict=True):
            await channel.write(struct.pack("<H", port))
        pairs = zip(wanted, channels[::2], channels[1::2], strict=True)
        await asyncio.gather(*(_forward(port, pod, connect, data, error) for port, data, error in pairs))
        await socket.close()

    async def ask() -> None:
        while True:
            await asyncio.sleep(ping_seconds)
            await socket.ping()

    tasks = [asyncio.ensure_future(each()) for each in (listen, serve, ask)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
