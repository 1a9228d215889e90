"""A real server on 127.0.0.1 with real keys and a small core: enough of an API to see what the edge does with each outcome."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from mooring.apiserver.contract import ANONYMOUS, Env, Outcome, Proxy, Request, Response, Watch, Write
from mooring.edges.http.server import ApiServer
from mooring.edges.http.tls import client_context
from mooring.edges.memory.store import MemoryStore
from mooring.edges.pki import Identity, Pki
from mooring.store.records import Committed, Compare, Event, Put, Txn
from mooring.store.snapshot import Snapshot

MAX_BODY = 100_000


def small_core(request: Request, snapshot: Snapshot, env: Env) -> Outcome:
    """PUT and GET under /keys/, watches with ?watch=1, and a few odd places."""
    query = dict(request.query)
    match request.path.split("/")[1:]:
        case ["metrics"] if request.user is ANONYMOUS:
            return Response(403, b"")
        case ["slow"]:
            until = time.perf_counter() + float(query["seconds"])
            while time.perf_counter() < until:
                pass
            return Response(200, b"")
        case ["whoami"]:
            return Response(200, msgspec.json.encode(request.user))
        case ["echo"]:
            return Response(
                200, msgspec.json.encode([request.method, request.path, request.query, request.body.decode("latin-1")])
            )
        case ["broken"]:
            raise RuntimeError("the core broke")
        case ["big"]:
            return Response(200, b"x" * int(query.get("size", 1_000_000)))
        case ["warn"]:
            return Response(200, b"", headers=(("Warning", '299 - "you said\r\nX-Evil: 1 é 漢"'),))
        case ["count"]:
            return count_up(snapshot)
        case ["contended"]:
            return Write(Txn((Compare("/keys/none", 12345),), (Put("/keys/none", b""),)), lambda committed: Response(200, b""))
        case ["proxy", address, port]:
            return Proxy("node-a", address, int(port), "/far end/x", request.query)
        case ["keys", *_] if "watch" in query:
            return watch(request.path, snapshot, query)
        case ["keys", *_] if request.method == "PUT":

            def stored(committed: Committed) -> Response:
                return Response(200, b"%d" % committed.revision)

            return Write(Txn((), (Put(request.path, request.body),)), stored)
        case ["keys", *_]:
            record = snapshot.get(request.path)
            return Response(200, record.value, "text/plain") if record else Response(404, b"")
    return Response(404, b"")


def count_up(snapshot: Snapshot) -> Write:
    record = snapshot.get("/keys/count")
    value = int(record.value) + 1 if record else 1
    compare = Compare("/keys/count", record.mod_revision if record else 0)
    return Write(Txn((compare,), (Put("/keys/count", b"%d" % value),)), lambda committed: Response(200, b"%d" % value))


def watch(path: str, snapshot: Snapshot, query: dict[str, str]) -> Watch:
    def encode(event: Event) -> bytes | None:
        if event.record and event.record.value == b"hidden":
            return None
        return b"%d %s\n" % (event.revision, event.key.encode())

    revision = int(query.get("from", snapshot.revision))
    initial = tuple(b"initial\n" for _ in range(int(query.get("initial", 0))))
    share = ("lines", query.get("share", ""))
    bookmark: Callable[[int], bytes | None] = lambda revision: b"bookmark %d\n" % revision  # noqa: E731
    return Watch(path, revision, initial, encode, bookmark, share, float(query.get("timeout", 60)), "application/json")


class Place:
    """A running server and what its clients need."""

    def __init__(self, server: ApiServer, store: MemoryStore, pki: Pki, admin: Identity, address: tuple[str, int]) -> None:
        self.server, self.store, self.pki, self.admin, self.address = server, store, pki, admin, address

    def tls(self, identity: Identity | None = None) -> ssl.SSLContext:
        return client_context(self.pki.authority, identity.path if identity else None)

    @contextlib.asynccontextmanager
    async def connect(self, identity: Identity | None = None, **named: Any) -> AsyncIterator["Client"]:
        reader, writer = await asyncio.open_connection(
            *self.address, ssl=self.tls(identity), server_hostname="localhost", limit=1 << 24, **named
        )
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()


class Client:
    """HTTP/1.1 by hand, so that tests decide every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, method: str, target: str, body: bytes = b"", *headers: str) -> None:
        length = (f"Content-Length: {len(body)}",) if body or method in ("POST", "PUT") else ()
        self.writer.write("\r\n".join((f"{method} {target} HTTP/1.1", "Host: test", *length, *headers, "", "")).encode() + body)

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), {name.lower(): value for name, value in headers.items()}

    async def answer(self, bare: bool = False) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        body = b"" if bare else await self.reader.readexactly(int(headers["content-length"]))
        return status, headers, body

    async def ask(self, method: str, target: str, body: bytes = b"", *headers: str) -> tuple[int, bytes]:
        self.send(method, target, body, *headers)
        status, _, content = await self.answer()
        return status, content

    async def chunk(self) -> bytes:
        size = int(await self.reader.readline(), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def lines(self, count: int) -> list[str]:
        """That many lines of a chunked stream."""
        text = b""
        while text.count(b"\n") < count:
            text += await self.chunk()
        return text.decode().splitlines()


async def until(condition: Callable[[], bool], deadline: float = 60) -> None:
    """Waits until something is true."""
    async with asyncio.timeout(deadline):
        while not condition():
            await asyncio.sleep(0.002)


Start = Callable[..., Awaitable[Place]]
