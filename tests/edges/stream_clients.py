"""A client's half of SPDY/3.1 and of WebSockets, and connections without a network, for the tests of the kubelet's streams."""

import asyncio
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from mooring.edges.kubelet import spdy

DEADLINE = 60


class Frame:
    """What a server sends: `kind` is 'data', 'reply', 'reset', 'ping' or another control frame's number."""

    def __init__(self, first: int, flags: int, payload: bytes) -> None:
        control = bool(first & 0x80000000)
        names = {spdy.SYN_REPLY: "reply", spdy.RST_STREAM: "reset", spdy.PING: "ping"}
        self.kind: Any = names.get(first & 0xFFFF, first & 0xFFFF) if control else "data"
        self.stream = struct.unpack_from(">I", payload)[0] if control else first
        self.fin = bool(flags & 1)
        self.data = payload


class SpdyClient:
    def __init__(self) -> None:
        self.deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
        self.buffer = b""

    def open(self, stream: int, **headers: str) -> bytes:
        pairs = [text.encode() for pair in headers.items() for text in pair]
        plain = struct.pack(">I", len(headers)) + b"".join(struct.pack(">I", len(text)) + text for text in pairs)
        block = self.deflate.compress(plain) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        payload = struct.pack(">IIBB", stream, 0, 0, 0) + block
        return struct.pack(">HHI", 0x8003, spdy.SYN_STREAM, len(payload)) + payload

    def pair(self, first: int, port: str, request: str = "") -> bytes:
        """The two streams of one forwarded connection: error, then data."""
        more = {"requestid": request} if request else {}
        return self.open(first, streamtype="error", port=port, **more) + self.open(
            first + 2, streamtype="data", port=port, **more
        )

    def frames(self, data: bytes) -> Iterator[Frame]:
        self.buffer += data
        while len(self.buffer) >= 8:
            first, second = struct.unpack_from(">II", self.buffer)
            length = second & 0xFFFFFF
            if len(self.buffer) < 8 + length:
                return
            payload, self.buffer = self.buffer[8 : 8 + length], self.buffer[8 + length :]
            yield Frame(first, second >> 24, payload)


def data(stream: int, text: bytes = b"", *, fin: bool = False) -> bytes:
    return spdy.Connection.data(stream, text, fin=fin)


class Wire:
    """A multiplexer's Carrier in memory: `say` what the client sends; `heard` is what it was sent."""

    def __init__(self) -> None:
        self.client = SpdyClient()
        self.heard: list[Frame] = []
        self.taken = 0
        self.open = asyncio.Event()
        self.open.set()
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self._news = asyncio.Event()

    def say(self, *frames: bytes) -> None:
        self._said.put_nowait(b"".join(frames))

    def leave(self) -> None:
        self._said.put_nowait(b"")

    async def pieces(self):
        while piece := await self._said.get():
            self.taken += len(piece)
            yield piece

    async def send(self, frame: bytes) -> None:
        """Waits while the client does not read: `open` is not set."""
        await self.open.wait()
        self.heard += self.client.frames(frame)
        self._news.set()

    def text(self, stream: int) -> bytes:
        return b"".join(each.data for each in self.heard if each.kind == "data" and each.stream == stream)

    def ended(self, stream: int) -> bool:
        return any(each.fin for each in self.heard if each.kind == "data" and each.stream == stream)

    def kinds(self, stream: int) -> list[str]:
        return [each.kind for each in self.heard if each.stream == stream and each.kind != "data"]

    async def until(self, condition) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._news.clear()
                await self._news.wait()
