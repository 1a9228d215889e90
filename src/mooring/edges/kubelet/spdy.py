"""How does SPDY/3.1 carry several streams on one connection? Sans-I/O: bytes in, events out; calls in, bytes out.

Only what Kubernetes' clients need: streams opened by the client, data, half close, reset, ping, goaway. There is no flow
control here because they have none either: they neither send WINDOW_UPDATE nor wait for one. Who receives holds back the rest.

Source: draft-mbelshe-httpbis-spdy-00 (SPDY/3), sections 2.2 to 2.6; the header dictionary is its section 2.6.10.1.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 0x01
MAX_FRAME = 1 << 20
"""Bytes; a frame announced larger than this ends the connection."""
MAX_HEADERS = 1 << 16
"""Bytes of one decompressed header block."""
MAX_PAIRS = 100
"""Headers of one stream."""
REFUSED_STREAM, CANCEL = 3, 5
"""Why a stream is reset."""

_NAMES = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|"
    "allow|authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|"
    "content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|"
    "if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|"
    "proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|"
    "user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|"
    "keep-alive|origin"
)
_REST = (
    b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    b"Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal "
    b"Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, "
    b"Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,"
    b"text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(name)) + name.encode() for name in _NAMES.split("|")) + _REST


class SpdyError(Exception):
    """The peer broke the protocol; the connection cannot go on."""


class Opened(Struct, frozen=True):
    stream: int
    headers: dict[str, str]


class Data(Struct, frozen=True):
    stream: int
    data: bytes


class Ended(Struct, frozen=True):
    """The peer sends no more on this stream, or has reset it."""

    stream: int
    how: Literal["fin", "reset"]


class Pinged(Struct, frozen=True):
    """Answer with `Connection.pong(id)`."""

    id: int


class GoneAway(Struct, frozen=True):
    pass


Event = Opened | Data | Ended | Pinged | GoneAway


class Connection:
    """The server's side of one connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._last = 0
        self._pings = 0

    def receive(self, data: bytes) -> Iterator[Event]:
        """Events of all frames that are complete now. Raises SpdyError."""
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if length > MAX_FRAME:
                raise SpdyError(f"a frame of {length} bytes is over the limit of {MAX_FRAME}")
            if len(self._buffer) < 8 + length:
                return
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if first & 0x80000000:
                if (first >> 16) & 0x7FFF != VERSION:
                    raise SpdyError("not SPDY version 3")
                yield from self._control(first & 0xFFFF, flags, payload)
            else:
                if payload:
                    yield Data(first, payload)
                if flags & FIN:
                    yield Ended(first, "fin")

    def accept(self, stream: int) -> bytes:
        """SYN_REPLY without headers: the stream is open in both directions."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _frame(SYN_REPLY, 0, struct.pack(">I", stream) + block)

    @staticmethod
    def data(stream: int, data: bytes, *, fin: bool = False) -> bytes:
        return struct.pack(">II", stream, ((FIN if fin else 0) << 24) | len(data)) + data

    @staticmethod
    def reset(stream: int, why: int) -> bytes:
        return _frame(RST_STREAM, 0, struct.pack(">II", stream, why))

    def ping(self) -> bytes:
        """The peer answers with the same number; ours are even, and their answers no event."""
        self._pings += 2
        return _frame(PING, 0, struct.pack(">I", self._pings & 0xFFFFFFFF))

    @staticmethod
    def pong(identifier: int) -> bytes:
        return _frame(PING, 0, struct.pack(">I", identifier))

    def _control(self, kind: int, flags: int, payload: bytes) -> Iterator[Event]:
        try:
            if kind == SYN_STREAM:
                stream = struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF
                if stream % 2 == 0 or stream <= self._last:
                    raise SpdyError(f"stream {stream} after {self._last}: a client's numbers are odd, and rise")
                self._last = stream
                yield Opened(stream, self._headers(payload[10:]))
                if flags & FIN:
                    yield Ended(stream, "fin")
            elif kind == HEADERS:
                self._headers(payload[4:])  # Keeps the shared decompressor in step; nothing in them matters here.
            elif kind == RST_STREAM:
                yield Ended(struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF, "reset")
            elif kind == PING:
                (identifier,) = struct.unpack_from(">I", payload)
                if identifier % 2:
                    yield Pinged(identifier)
            elif kind == GOAWAY:
                yield GoneAway()
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"a frame of type {kind} cannot be read: {error}") from error

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block, MAX_HEADERS)
        if self._inflate.unconsumed_tail:
            raise SpdyError(f"a header block over {MAX_HEADERS} bytes")
        (count,) = struct.unpack_from(">I", plain)
        if count > MAX_PAIRS:
            raise SpdyError(f"{count} headers are over the limit of {MAX_PAIRS}")
        at, texts = 4, []
        for _ in range(2 * count):
            (length,) = struct.unpack_from(">I", plain, at)
            at += 4 + length
            if at > len(plain):
                raise SpdyError("a header block ends within a header")
            texts.append(plain[at - length : at].decode())
        return {name.lower(): value for name, value in zip(texts[::2], texts[1::2], strict=True)}


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | VERSION, kind, (flags << 24) | len(payload)) + payload
