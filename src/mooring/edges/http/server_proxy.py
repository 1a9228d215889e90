"""How does a request reach a kubelet, a pod or a Service and its answer come back: logs that follow, streams, proxies?

Nothing is held but the piece under way: who reads slowly makes the other side wait. When one side goes, so does the other.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlencode

import httptools

from mooring.apiserver.contract import Proxy, Response
from mooring.edges.http.server_connection import LAST_CHUNK, Connection, chunk
from mooring.edges.http.server_onward import HOP_BY_HOP, answered, fit, forwarded, host_and_port
from mooring.edges.http.server_parser import Message
from mooring.edges.http.server_status import bad_gateway, internal, refused, unreachable

Dial = Callable[[Proxy], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Connects to where a Proxy goes. Raises OSError (ssl.SSLError among them) or TimeoutError."""

HEAD_TIMEOUT = 60.0
"""For a kubelet's answer to begin. What is behind a proxy may take its time, as long as its client waits."""
LINGER = 10.0
"""Seconds that what a client said last has to reach the other side, once it has gone."""
MAX_HEAD = 256 * 1024
_READ = 64 * 1024
_BODILESS = (204, 304)
_BROKEN = (OSError, TimeoutError, EOFError, ValueError, httptools.HttpParserError)
_UNREACHED = (OSError, TimeoutError, ValueError, OverflowError)
"""The last two for addresses and ports that are none: a Node says of itself what it likes."""


async def carry(connection: Connection, message: Message, proxy: Proxy, dial: Dial) -> int:
    """Carries one request there and its answer back. Returns the HTTP status that the client got."""
    try:
        reader, writer = await dial(proxy)
    except _UNREACHED as error:
        return await _unreached(connection, message, proxy, error)
    try:
        head = _Head(bodiless=message.method == "HEAD")
        try:
            async with asyncio.timeout(None if proxy.onward else HEAD_TIMEOUT):
                writer.write(_request(connection, message, proxy))
                await writer.drain()
                rest = await head.read(reader)
        except _BROKEN as error:
            return await _unanswered(connection, message, proxy, error)
        if head.status == 101 and not message.upgrade:
            return await _unanswered(connection, message, proxy, EOFError("it switched to another protocol unasked"))
        elif head.status == 101:
            await _tunnel(connection, head, rest, reader, writer)
        elif head.status < 400 and message.upgrade:
            response = internal(f"invalid upgrade response: status code {head.status}")
            await connection.respond(message, response)
            return response.status
        elif head.status >= 400 and not message.upgrade and not proxy.onward:
            await connection.respond(message, refused(head.status, await _text(head, reader)))
        else:
            await _stream(connection, message, proxy, head, reader)
        return head.status
    except _BROKEN:
        connection.abort()  # in the middle of an answer: the client must see that it is not whole
        return head.status
    finally:
        writer.close()
        leaving = asyncio.create_task(_leave(writer))
        _leaving.add(leaving)
        leaving.add_done_callback(_leaving.discard)


_leaving: set[asyncio.Task[None]] = set()


async def _leave(writer: asyncio.StreamWriter) -> None:
    """What was written last may still be on its way; to one that does not read it will be for ever."""
    with contextlib.suppress(OSError):
        try:
            async with asyncio.timeout(LINGER):
                await writer.wait_closed()
        except TimeoutError:
            _cut(writer)


def _cut(writer: asyncio.StreamWriter) -> None:
    """At once, with what is not sent yet: the other side learns of it by a reset. The connection must not be closed yet."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _unreached(connection: Connection, message: Message, proxy: Proxy, error: Exception) -> int:
    if proxy.onward and proxy.onward.scheme != "kubelet":
        return await _fail(connection, message, unreachable(f"dial tcp {host_and_port(proxy)}: {_why(error)}"))
    text = f"cannot reach the kubelet of node {proxy.node} at {proxy.address}:{proxy.port}: {error}"
    return await _fail(connection, message, bad_gateway(text))


async def _unanswered(connection: Connection, message: Message, proxy: Proxy, error: Exception) -> int:
    if proxy.onward and proxy.onward.scheme != "kubelet":
        return await _fail(connection, message, unreachable(str(error) or type(error).__name__))
    text = f"the kubelet of node {proxy.node} did not answer: {error or type(error).__name__}"
    return await _fail(connection, message, bad_gateway(text))


def _why(error: Exception) -> str:
    """In the words of Go's net package."""
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError) or not error.errno:
        return str(error)
    return f"connect: {os.strerror(error.errno).lower()}"


async def _fail(connection: Connection, message: Message, response: Response) -> int:
    await connection.respond(message, response)
    return response.status


def _request(connection: Connection, message: Message, proxy: Proxy) -> bytes:
    query = message.target.partition("#")[0].partition("?")[2] if proxy.onward else urlencode(proxy.query)
    target = quote(proxy.path, safe="/:@!$&'()*+,;=~-._") + (f"?{query}" if query else "")
    headers = fit(message.headers.items())
    if proxy.onward:
        scheme = "https" if connection.peer_is_secure else "http"
        headers = [each for each in headers if not each[0].startswith("x-forwarded-")]
        headers += forwarded(message, proxy, connection.peer, scheme)
    host = message.headers.get("host") if proxy.onward and proxy.onward.scheme != "kubelet" else host_and_port(proxy)
    lines = [f"{message.method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    if message.upgrade:
        lines += ["Connection: Upgrade", f"Upgrade: {message.headers['upgrade']}"]
    else:
        lines.append("Connection: close")
    if message.body or message.method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {len(message.body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + message.body


class _Head:
    """The answer's head, and its body as the parser finds it. `bodiless`: it answers HEAD."""

    def __init__(self, bodiless: bool) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body: list[bytes] = []
        self.complete = False
        self._bodiless = bodiless
        self._whole_head = False
        self._sized = True
        self._size = 0
        self._parser: Any = httptools.HttpResponseParser(self)

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Reads up to the end of the head. Returns what came after a 101, which is not HTTP. Raises EOFError."""
        while not self._whole_head:
            if rest := await self.more(reader):
                return rest
            if not self._whole_head and self._size > MAX_HEAD:
                raise EOFError(f"its head is longer than {MAX_HEAD} bytes")
        return b""

    async def more(self, reader: asyncio.StreamReader) -> bytes:
        """Reads a piece. Returns what came after a 101."""
        data = await reader.read(_READ)
        if not data:
            if self._sized:
                raise EOFError("connection closed before the end of the answer")
            self.complete = True  # an answer without a length ends with its connection
            return b""
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._whole_head = True
            return data[upgrade.args[0] :]
        return b""

    def on_message_begin(self) -> None:
        if self._whole_head:
            raise ValueError("another answer follows the first")
        self.headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200 and self.status != 101:
            return  # 102, 103: the answer itself is still to come
        self._sized = any(name.lower() in ("content-length", "transfer-encoding") for name, _ in self.headers)
        self._whole_head = True
        self.complete = self._bodiless

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.complete = self._whole_head


async def _text(head: _Head, reader: asyncio.StreamReader) -> str:
    """What the kubelet says against a request, as far as anybody reads."""
    while not head.complete and sum(map(len, head.body)) < _READ:
        await head.more(reader)
    return b"".join(head.body)[:_READ].decode("utf-8", "replace").strip()


async def _stream(connection: Connection, message: Message, proxy: Proxy, head: _Head, reader: asyncio.StreamReader) -> None:
    if proxy.onward:
        headers = answered(head.headers, message, proxy)
    else:
        dropped = (*HOP_BY_HOP, "date", "cache-control")
        headers = tuple((name, value) for name, value in head.headers if name.lower() not in dropped)
    connection.patient = True
    if message.method == "HEAD" or head.status in _BODILESS:
        length = [(name, value) for name, value in head.headers if name.lower() == "content-length"]
        connection.begin(message, head.status, (*headers, *length))
        await connection.drained()
        return
    connection.start(message, head.status, headers)
    while True:
        if head.body:
            connection.write(chunk(b"".join(head.body)))
            await connection.drained()
        head.body.clear()
        if head.complete:
            break
        await head.more(reader)
    connection.write(LAST_CHUNK)
    await connection.drained()
    connection.patient = False


def _gone(connection: Connection) -> asyncio.Event:
    """Set once the client's connection is lost."""
    gone = asyncio.Event()
    connection.on_lost = gone.set
    if connection.lost:
        gone.set()
    return gone


async def _tunnel(
    connection: Connection, head: _Head, rest: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Copies bytes both ways. Each direction ends by itself where both sides can, else their ends end both."""
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in head.headers)]
    connection.write("\r\n".join((*lines, "", "")).encode("latin-1") + rest)
    client = connection.take_over()
    gone = _gone(connection)

    async def down() -> None:
        while data := await reader.read(_READ):
            connection.write(data)
            await connection.drained()
        connection.write_eof()

    async def up() -> None:
        while data := await client.read(_READ):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def linger() -> None:
        await gone.wait()
        await asyncio.sleep(LINGER)

    whole = connection.half_closes and writer.can_write_eof()
    directions = [asyncio.create_task(down()), asyncio.create_task(up())]
    last = asyncio.create_task(linger())
    try:
        ends = [asyncio.ensure_future(asyncio.wait(directions))] if whole else directions
        await asyncio.wait([*ends, last], return_when=asyncio.FIRST_COMPLETED)
        if last.done() and not writer.transport.is_closing():
            _cut(writer)
    finally:
        for task in (*directions, last):
            task.cancel()
        await asyncio.gather(*directions, last, return_exceptions=True)
