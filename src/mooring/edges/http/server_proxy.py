"""How does a request reach a node's kubelet and its answer come back unchanged: logs that follow, exec and attach upgrades?"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlencode

import httptools

from mooring.apiserver.contract import Proxy
from mooring.edges.http.server_connection import LAST_CHUNK, Connection, chunk
from mooring.edges.http.server_parser import Message
from mooring.edges.http.server_status import bad_gateway, refused

Dial = Callable[[Proxy], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Connects to a node's kubelet. Raises OSError (ssl.SSLError among them) or TimeoutError."""

HEAD_TIMEOUT = 60.0
_READ = 64 * 1024
_HOP_BY_HOP = frozenset(
    # RFC 9110 7.6.1. `upgrade` and `connection` are written anew; the user's credentials are not the kubelet's business.
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "host",
        "expect",
    )
) | {"authorization"}


_BROKEN = (OSError, TimeoutError, EOFError, httptools.HttpParserError)


async def carry(connection: Connection, message: Message, proxy: Proxy, dial: Dial) -> int:
    """Carries one request to the kubelet and its answer back. Returns the HTTP status that the client got."""
    try:
        reader, writer = await dial(proxy)
    except (OSError, TimeoutError) as error:
        return await _fail(
            connection, message, f"cannot reach the kubelet of node {proxy.node} at {proxy.address}:{proxy.port}: {error}"
        )
    try:
        head = _Head()
        try:
            async with asyncio.timeout(HEAD_TIMEOUT):
                writer.write(_request(message, proxy))
                await writer.drain()
                rest = await head.read(reader)
        except _BROKEN as error:
            return await _fail(
                connection, message, f"the kubelet of node {proxy.node} did not answer: {error or type(error).__name__}"
            )
        if head.status == 101:
            await _tunnel(connection, head, rest, reader, writer)
        elif head.status >= 400 and not message.upgrade:
            await connection.respond(message, refused(head.status, await _text(head, reader)))
        else:
            await _stream(connection, message, head, reader)
        return head.status
    except _BROKEN:
        connection.abort()  # in the middle of an answer: the client must see that it is not whole
        return head.status
    finally:
        writer.close()


async def _fail(connection: Connection, message: Message, text: str) -> int:
    response = bad_gateway(text)
    await connection.respond(message, response)
    return response.status


def _request(message: Message, proxy: Proxy) -> bytes:
    target = quote(proxy.path, safe="/:@!$&'()*+,;=~-._") + (f"?{urlencode(proxy.query)}" if proxy.query else "")
    host = f"[{proxy.address}]" if ":" in proxy.address else proxy.address
    lines = [f"{message.method} {target} HTTP/1.1", f"Host: {host}:{proxy.port}"]
    lines += [f"{name}: {value}" for name, value in message.headers.items() if name not in _HOP_BY_HOP]
    if message.upgrade:
        lines += ["Connection: Upgrade", f"Upgrade: {message.headers['upgrade']}"]
    else:
        lines.append("Connection: close")
    if message.body or message.method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {len(message.body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + message.body


class _Head:
    """The kubelet's response head, and its body as the parser finds it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body: list[bytes] = []
        self.complete = False
        self._whole_head = False
        self._sized = True
        self._parser: Any = httptools.HttpResponseParser(self)

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Reads up to the end of the head. Returns what came after a 101, which is not HTTP. Raises EOFError."""
        while not self._whole_head:
            if rest := await self.more(reader):
                return rest
        return b""

    async def more(self, reader: asyncio.StreamReader) -> bytes:
        """Reads a piece. Returns what came after a 101."""
        data = await reader.read(_READ)
        if not data:
            if self._sized:
                raise EOFError("connection closed before the end of the answer")
            self.complete = True  # an answer without a length ends with its connection
            return b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._whole_head = True
            return data[upgrade.args[0] :]
        return b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._sized = any(name.lower() in ("content-length", "transfer-encoding") for name, _ in self.headers)
        self._whole_head = True

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


async def _text(head: _Head, reader: asyncio.StreamReader) -> str:
    """What the kubelet says against a request, as far as anybody reads."""
    while not head.complete and sum(map(len, head.body)) < _READ:
        await head.more(reader)
    return b"".join(head.body)[:_READ].decode("utf-8", "replace").strip()


async def _stream(connection: Connection, message: Message, head: _Head, reader: asyncio.StreamReader) -> None:
    headers = tuple(
        (name, value) for name, value in head.headers if name.lower() not in (*_HOP_BY_HOP, "date", "cache-control")
    )
    connection.start(message, head.status, headers)
    while True:
        if head.body and message.method != "HEAD":
            connection.write(chunk(b"".join(head.body)))
            await connection.drained()
        head.body.clear()
        if head.complete:
            break
        await head.more(reader)
    connection.write(LAST_CHUNK)
    await connection.drained()


async def _tunnel(
    connection: Connection, head: _Head, rest: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Copies bytes both ways. Each direction ends by itself where both sides can, else their ends end both."""
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in head.headers)]
    connection.write("\r\n".join((*lines, "", "")).encode("latin-1") + rest)
    client = connection.take_over()

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

    whole = connection.half_closes and writer.can_write_eof()
    directions = [asyncio.create_task(down()), asyncio.create_task(up())]
    try:
        await asyncio.wait(directions, return_when=asyncio.ALL_COMPLETED if whole else asyncio.FIRST_COMPLETED)
    finally:
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
