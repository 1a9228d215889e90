"""Do requests for a kubelet arrive there, and its answers and streams come back byte for byte?"""

import asyncio
import contextlib
import hashlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from http_lab import Place, Start, until

from mooring.apiserver.contract import Settings
from mooring.edges.http.kubelet import KubeletDialer
from mooring.edges.http.server import ApiServer
from mooring.edges.http.sockets import listener
from mooring.edges.http.tls import client_context, server_context
from mooring.edges.memory.store import MemoryStore
from mooring.edges.pki import Pki
from mooring.testing.ports import free_port

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
UPGRADE = ("Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io")
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"


@contextlib.asynccontextmanager
async def kubelet(keys: Pki, serve: Serve, tls: bool = True) -> AsyncIterator[str]:
    """A kubelet that checks its client's certificate; gives the path of our core that proxies to it."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    context = server_context(keys.node("node-a", ["127.0.0.1"]).path, keys.authority) if tls else None
    sock = listener("127.0.0.1", 0)
    server = await asyncio.start_server(accept, sock=sock, ssl=context)
    try:
        yield f"/proxy/127.0.0.1/{sock.getsockname()[1]}"
    finally:
        server.close()


@pytest.fixture
async def place(start: Start, keys: Pki) -> Place:
    return await start(dial=KubeletDialer(client_context(keys.authority, keys.kubelet_client().path)))


async def head_of(reader: asyncio.StreamReader) -> list[str]:
    return (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")


async def test_a_request_arrives_with_the_servers_own_identity_and_not_the_users(place: Place, keys: Pki) -> None:
    heard: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await head_of(reader))
        heard.append(writer.get_extra_info("peercert")["subject"][-1][0][1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")

    async with kubelet(keys, serve) as path, place.connect(place.admin) as client:
        client.send("GET", f"{path}?follow=true&a=%2F", b"", "Authorization: Bearer secret", "Accept: x/y")
        status, headers = await client.head()
        assert (status, headers["content-type"], await client.chunk(), await client.chunk()) == (
            200,
            "text/plain",
            b"hello",
            b"",
        )
        assert (await client.ask("GET", "/echo"))[0] == 200
    lines = heard[0]
    assert isinstance(lines, list)
    assert lines[0] == "GET /far%20end/x?follow=true&a=%2F HTTP/1.1"
    assert "accept: x/y" in lines
    assert not [line for line in lines if "secret" in line]
    assert heard[1] == "kube-apiserver-kubelet-client"


async def test_a_log_that_follows_arrives_as_it_is_written(place: Place, keys: Pki) -> None:
    more = asyncio.Queue[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while data := await more.get():
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        writer.write(b"0\r\n\r\n")

    async with kubelet(keys, serve) as path, place.connect() as client:
        client.send("GET", path)
        for line in (b"one\n", b"two\n"):
            more.put_nowait(line)
            if line == b"one\n":
                assert (await client.head())[0] == 200
            assert await client.chunk() == line
        more.put_nowait(b"")
        assert await client.chunk() == b""


async def test_when_the_client_leaves_the_kubelet_is_told(place: Place, keys: Pki) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nline\n")
        await reader.read()
        ended.set()

    async with kubelet(keys, serve) as path:
        async with place.connect() as client:
            client.send("GET", path)
            await client.head()
        async with asyncio.timeout(60):
            await ended.wait()


@pytest.mark.parametrize("tls", [True, False], ids=["over TLS", "over plain TCP"])
async def test_an_upgraded_connection_carries_bytes_both_ways_unchanged(
    place: Place, start: Start, keys: Pki, tls: bool
) -> None:
    if not tls:
        place = await start(dial=KubeletDialer(None))
    sent = os.urandom(3_000_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        assert "Upgrade: SPDY/3.1" in head
        assert "x-stream-protocol-version: v4.channel.k8s.io" in head
        writer.write(SWITCHING + b"first")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async with kubelet(keys, serve, tls) as path, place.connect() as client:
        client.send("POST", path, b"", *UPGRADE)
        client.writer.write(b"early")  # before the answer: a client may
        status, headers = await client.head()
        assert (status, headers["upgrade"]) == (101, "SPDY/3.1")
        assert await client.reader.readexactly(10) == b"firstearly"

        async def push() -> None:
            for at in range(0, len(sent), 50_000):
                client.writer.write(sent[at : at + 50_000])
                await client.writer.drain()

        pushing = asyncio.create_task(push())
        received = await client.reader.readexactly(len(sent))
        await pushing
    assert hashlib.sha256(received).digest() == hashlib.sha256(sent).digest()


async def test_what_the_kubelet_said_last_arrives_before_the_end(place: Place, keys: Pki) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(SWITCHING + b"x" * 2_000_000)
        await writer.drain()

    async with kubelet(keys, serve) as path, place.connect() as client:
        client.send("POST", path, b"", *UPGRADE)
        await client.head()
        assert len(await client.reader.read(-1)) == 2_000_000


async def test_what_the_client_said_last_arrives_before_the_end(place: Place, keys: Pki) -> None:
    heard: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(SWITCHING)
        heard.append(len(await reader.read(-1)))

    async with kubelet(keys, serve) as path:
        async with place.connect() as client:
            client.send("POST", path, b"", *UPGRADE)
            await client.head()
            client.writer.write(b"x" * 2_000_000)
            await client.writer.drain()
            client.writer.close()
            await client.writer.wait_closed()
        await until(lambda: bool(heard))
    assert heard == [2_000_000]


async def test_over_plain_tcp_each_direction_ends_by_itself(keys: Pki) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(SWITCHING)
        writer.write(b"you said %d bytes" % len(await reader.read(-1)))

    from http_lab import small_core

    server = ApiServer(small_core, MemoryStore(), Settings(), tls=None, dial=KubeletDialer(None))
    sock: socket.socket = listener("127.0.0.1", 0)
    await server.start([sock])
    try:
        async with kubelet(keys, serve, tls=False) as path:
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            writer.write("\r\n".join((f"POST {path} HTTP/1.1", "Host: a", "Content-Length: 0", *UPGRADE, "", "")).encode())
            await head_of(reader)
            writer.write(b"x" * 1000)
            writer.write_eof()
            assert await reader.read(-1) == b"you said 1000 bytes"
            writer.close()
    finally:
        await server.stop(grace=0)


async def test_a_refused_upgrade_is_an_ordinary_answer(place: Place, keys: Pki) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone")

    async with kubelet(keys, serve) as path, place.connect() as client:
        client.send("POST", path, b"", *UPGRADE)
        status, headers = await client.head()
        assert (status, headers["connection"], await client.chunk()) == (404, "close", b"gone")


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200"], ids=["nothing", "not HTTP", "half a head"])
async def test_a_kubelet_that_does_not_answer_is_a_bad_gateway(place: Place, keys: Pki, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(answer)

    async with kubelet(keys, serve) as path, place.connect() as client:
        assert (await client.ask("GET", path))[0] == 502
        assert (await client.ask("GET", "/echo"))[0] == 200


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [(400, "BadRequest", "waiting to start"), (500, "InternalError", "Internal error occurred: waiting to start")],
    ids=["what the asker did wrong", "what went wrong there"],
)
async def test_what_a_kubelet_says_against_a_request_is_a_status(
    place: Place, keys: Pki, code: int, reason: str, message: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(f"HTTP/1.1 {code} No\r\nContent-Length: 16\r\n\r\nwaiting to start".encode())

    async with kubelet(keys, serve) as path, place.connect() as client:
        status, body = await client.ask("GET", path)
        told = json.loads(body)
        assert (code, "Status", reason, message) == (status, told["kind"], told["reason"], told["message"])


async def test_an_answer_cut_short_is_not_passed_on_as_whole(place: Place, keys: Pki) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    async with kubelet(keys, serve) as path, place.connect() as client:
        client.send("GET", path)
        await client.head()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
            while True:
                await client.chunk()


async def test_a_kubelet_out_of_reach_is_a_bad_gateway(place: Place) -> None:
    async with place.connect() as client:
        # Nobody there, and what a Node may say of itself: no port, no name.
        for where in (f"127.0.0.1/{free_port()}", "127.0.0.1/70000", f"{'a' * 64}.b/1"):
            status, body = await client.ask("GET", f"/proxy/{where}")
            assert (status, b"cannot reach the kubelet of node node-a" in body) == (502, True)


async def test_a_kubelet_with_another_nodes_certificate_is_not_believed(place: Place, keys: Pki) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    sock = listener("127.0.0.1", 0)
    server = await asyncio.start_server(accept, sock=sock, ssl=server_context(keys.node("node-b").path, keys.authority))
    async with place.connect() as client:
        assert (await client.ask("GET", f"/proxy/127.0.0.1/{sock.getsockname()[1]}"))[0] == 502
    server.close()
