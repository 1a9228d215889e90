"""Do requests below .../proxy reach what they name with what they may carry, and do answers come back as seen from there?"""

import asyncio
import contextlib
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator

import pytest
from http_lab import Place, Start
from test_http_proxy import Serve, head_of, kubelet

from mooring.apiserver.contract import Env, Onward, Outcome, Proxy, Request
from mooring.edges.http.kubelet import KubeletDialer
from mooring.edges.http.server_connection import Patience
from mooring.edges.http.server_onward import relocated
from mooring.edges.http.server_parser import Message
from mooring.edges.http.sockets import listener
from mooring.edges.http.tls import client_context, server_context
from mooring.edges.pki import Pki
from mooring.store.snapshot import Snapshot
from mooring.testing.ports import free_port

PREFIX = "/api/v1/namespaces/default/pods/p/proxy"
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket")


def core(request: Request, snapshot: Snapshot, env: Env) -> Outcome:
    """/<scheme>/<port>/<rest>: goes on to 127.0.0.1, which the real core would refuse."""
    scheme, port, rest = request.path[1:].split("/", 2)
    return Proxy("node-a", "127.0.0.1", int(port), f"/{rest}", request.query, Onward(scheme, PREFIX))


@pytest.fixture
async def place(start: Start, keys: Pki) -> Place:
    return await start(handle=core, dial=KubeletDialer(client_context(keys.authority, keys.kubelet_client().path)))


@contextlib.asynccontextmanager
async def backend(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    sock = listener("127.0.0.1", 0)
    server = await asyncio.start_server(accept, sock=sock, ssl=tls)
    try:
        yield sock.getsockname()[1]
    finally:
        server.close()


def answering(octets: bytes, heard: list[list[str]] | None = None) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = await head_of(reader)
        if heard is not None:
            heard.append(lines)
        writer.write(octets)

    return serve


async def test_what_goes_on_and_what_does_not(place: Place) -> None:
    heard: list[list[str]] = []
    secrets = (
        "Authorization: Bearer secret", "Proxy-Authorization: Basic secret", "Impersonate-User: secret",
        "X-Remote-User: secret", "X-Forwarded-Host: secret", "Connection: x-hop, keep-alive", "X-Hop: secret",
        "Te: secret", "Keep-Alive: secret",
        "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.secret, chat",
    )  # fmt: skip
    serve = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", heard)
    async with backend(serve) as port, place.connect(place.admin) as client:
        client.send("GET", f"/http/{port}/a%20b?x=%2F&y&z=%20", b"", *secrets, "Cookie: c=1", "X-Forwarded-For: 192.0.2.1")
        assert 200 == (await client.head())[0]
    (lines,) = heard
    assert "GET /a%20b?x=%2F&y&z=%20 HTTP/1.1" == lines[0], "the query as it was"
    assert not [line for line in lines if "secret" in line]
    wanted = {
        "Host: test", "cookie: c=1", "sec-websocket-protocol: chat", "Connection: close",
        "X-Forwarded-For: 192.0.2.1, 127.0.0.1",
        f"X-Forwarded-Uri: {PREFIX}/a%20b", "X-Forwarded-Host: test", "X-Forwarded-Proto: https",
    }  # fmt: skip
    assert wanted <= set(lines)


async def test_a_body_goes_on_whole(place: Place) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = await head_of(reader)
        size = int(next(line for line in lines if line.lower().startswith("content-length")).split(":")[1])
        body = await reader.readexactly(size)
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (size, body[::-1]))

    async with backend(serve) as port, place.connect(place.admin) as client:
        client.send("PUT", f"/http/{port}/", b"abc" * 30_000)
        assert 201 == (await client.head())[0]
        assert b"cba" == (await client.chunk())[:3]


ANSWERS = {
    "a page": (b"200 OK", b"Content-Length: 5", b"hello", 200, b"hello"),
    "an error of its own": (b"418 Teapot", b"Content-Length: 5", b"short", 418, b"short"),
    "in chunks": (b"200 OK", b"Transfer-Encoding: chunked", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 200, b"hello"),
    "to the end": (b"200 OK", b"X: y", b"hello", 200, b"hello"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_answers_come_back_as_they_are(place: Place, answer: tuple[bytes, bytes, bytes, int, bytes]) -> None:
    status, header, body, code, text = answer
    async with backend(answering(b"HTTP/1.1 %b\r\n%b\r\n\r\n%b" % (status, header, body))) as port, place.connect() as client:
        client.send("GET", f"/http/{port}/")
        assert code == (await client.head())[0]
        heard = b""
        while piece := await client.chunk():
            heard += piece
        assert text == heard
        client.send("GET", "/http/1/")
        assert 503 == (await client.answer())[0], "the connection goes on"


@pytest.mark.parametrize(
    ("method", "answer", "length"),
    [
        ("HEAD", b"200 OK\r\nContent-Length: 75", "75"),
        ("GET", b"204 No Content", None),
        ("GET", b"304 Not Modified\r\nETag: x", None),
    ],
)
async def test_answers_without_a_body(place: Place, method: str, answer: bytes, length: str | None) -> None:
    async with backend(answering(b"HTTP/1.1 " + answer + b"\r\n\r\n")) as port, place.connect() as client:
        client.send(method, f"/http/{port}/")
        status, headers = await client.head()
        assert (int(answer[:3]), length) == (status, headers.get("content-length"))
        assert "transfer-encoding" not in headers
        client.send("GET", "/http/1/")
        assert 503 == (await client.answer())[0], "and nothing is left between the two"


async def test_headers_that_come_back(place: Place) -> None:
    head = (
        b"HTTP/1.1 302 Found\r\nLocation: /login?next=%2F\r\nAccess-Control-Allow-Origin: *\r\nSet-Cookie: a=1\r\n"
        b"Set-Cookie: b=2\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n"
    )
    async with backend(answering(head)) as port, place.connect() as client:
        client.send("GET", f"/http/{port}/")
        lines = (await client.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    assert f"Location: {PREFIX}/login?next=%2F" in lines
    assert {"Set-Cookie: a=1", "Set-Cookie: b=2"} <= set(lines)
    assert not [line for line in lines if line.startswith(("Access-Control", "Keep-Alive"))]


@pytest.mark.parametrize(
    ("location", "becomes"),
    [
        ("/a", f"{PREFIX}/a"),
        ("/a/?x=1#y", f"{PREFIX}/a/?x=1#y"),
        (f"{PREFIX}/a", f"{PREFIX}/a"),
        ("a", "a"),
        ("../a", "../a"),
        ("http://10.0.0.1:8080/a", f"{PREFIX}/a"),
        ("http://10.0.0.1/a", f"{PREFIX}/a"),
        ("https://api.example:6443/a", f"{PREFIX}/a"),
        ("http://elsewhere.example/a", "http://elsewhere.example/a"),
        ("//elsewhere.example/a", "//elsewhere.example/a"),
        ("http://[::1/a", "http://[::1/a"),
        ("http://10.0.0.1:99999/a", "http://10.0.0.1:99999/a"),
    ],
)
def test_redirects_stay_below_the_proxy(location: str, becomes: str) -> None:
    message = Message("GET", "/", "/", (), {"host": "api.example:6443"}, b"", True, True, False)
    assert becomes == relocated(location, message, Proxy("", "10.0.0.1", 8080, "/", (), Onward("http", PREFIX)))


async def test_the_last_answer_counts(place: Place) -> None:
    octets = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with backend(answering(octets)) as port, place.connect() as client:
        client.send("GET", f"/http/{port}/")
        status, headers = await client.head()
        assert (200, False, b"ok") == (status, "link" in headers, await client.chunk())


async def test_over_tls_whatever_the_certificate_and_without_ours(place: Place, keys: Pki) -> None:
    shown: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        shown.append(writer.get_extra_info("peercert"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    tls = server_context(keys.node("somebody").path, keys.authority)
    async with backend(serve, tls) as port, place.connect() as client:
        client.send("GET", f"/https/{port}/")
        assert 200 == (await client.head())[0]
    assert [None] == shown, "a pod that asks for a certificate does not get the one that opens every kubelet"


async def test_a_kubelet_gets_the_servers_certificate(place: Place, keys: Pki) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = await head_of(reader)
        name = writer.get_extra_info("peercert")["subject"][-1][0][1]
        host = next(line for line in lines if line.startswith("Host: "))
        text = f"{name} {host.removeprefix('Host: ').split(':')[0]}".encode()
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    async with kubelet(keys, serve) as path, place.connect() as client:
        client.send("GET", f"/kubelet/{path.rpartition('/')[2]}/spam")
        assert (404, b"kube-apiserver-kubelet-client 127.0.0.1") == ((await client.head())[0], await client.chunk())


@pytest.mark.parametrize(
    ("octets", "told"), [(None, "dial tcp 127.0.0.1:{port}: connect: connection refused"), (b"spam\r\n\r\n", ""), (b"", "")]
)
async def test_what_does_not_answer_is_unavailable(place: Place, octets: bytes | None, told: str) -> None:
    async with backend(answering(octets or b"")) as there, place.connect() as client:
        port = free_port() if octets is None else there
        status, body = await client.ask("GET", f"/http/{port}/")
    answer = json.loads(body)
    assert (503, "ServiceUnavailable") == (status, answer["reason"])
    assert answer["message"].startswith("error trying to reach service: " + told.format(port=port))


async def test_a_head_without_end_is_not_read_to_its_end(place: Place) -> None:
    async with backend(answering(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000_000)) as port, place.connect() as client:
        assert 503 == (await client.ask("GET", f"/http/{port}/"))[0]


async def test_an_upgrade_carries_bytes_both_ways(place: Place) -> None:
    sent = os.urandom(1_000_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert "Upgrade: websocket" in await head_of(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async with backend(serve) as port, place.connect() as client:
        client.send("GET", f"/http/{port}/", b"", *WEBSOCKET)
        assert 101 == (await client.head())[0]
        pushing = asyncio.create_task(push(client.writer, sent))
        assert sent == await client.reader.readexactly(len(sent))
        await pushing


async def push(writer: asyncio.StreamWriter, octets: bytes, sent: list[int] | None = None) -> None:
    """Adds to `sent` how far it is."""
    for at in range(0, len(octets), 50_000):
        writer.write(octets[at : at + 50_000])
        await writer.drain()
        if sent is not None:
            sent.append(at)


async def test_an_upgrade_that_is_answered_otherwise_is_no_upgrade(place: Place) -> None:
    async with backend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as port, place.connect() as client:
        client.send("GET", f"/http/{port}/", b"", *WEBSOCKET)
        status, _, body = await client.answer()
        assert (500, True) == (status, b"invalid upgrade response: status code 200" in body)


async def test_a_switch_that_nobody_asked_for_is_no_tunnel(place: Place) -> None:
    octets = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: spam\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    async with backend(answering(octets)) as port, place.connect() as client:
        assert 503 == (await client.ask("GET", f"/http/{port}/"))[0]


async def test_a_client_that_leaves_is_not_waited_for(place: Place) -> None:
    there, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        there.set()
        await reader.read()
        ended.set()

    async with backend(serve) as port:
        async with place.connect() as client:
            client.send("GET", f"/http/{port}/")
            await asyncio.wait_for(there.wait(), 60)
        await asyncio.wait_for(ended.wait(), 60)


async def test_a_client_that_leaves_ends_a_stream_whose_other_side_does_not_read(place: Place, monkeypatch) -> None:
    monkeypatch.setattr("mooring.edges.http.server_proxy.LINGER", 0.05)
    there, ended, octets = asyncio.Event(), asyncio.Event(), bytes(50_000_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.transport.pause_reading()
        there.set()
        while not writer.transport.is_closing():  # Only writing shows that the other side has gone.
            writer.write(b"x")
            await asyncio.sleep(0.01)
        ended.set()

    async with backend(serve) as port:
        async with place.connect() as client:
            client.send("GET", f"/http/{port}/", b"", *WEBSOCKET)
            await client.head()
            sent: list[int] = []
            pushing = asyncio.create_task(push(client.writer, octets, sent))
            await there.wait()
            before = -1
            while before != len(sent):  # Until nothing moves any more.
                before = len(sent)
                await asyncio.sleep(0.1)
            assert not pushing.done()
            pushing.cancel()
        await asyncio.wait_for(ended.wait(), 60)


@pytest.mark.parametrize("upgraded", [False, True])
async def test_a_client_that_reads_nothing_is_not_waited_for_for_ever(start: Start, keys: Pki, upgraded: bool) -> None:
    place = await start(Patience(head=2, write=600, stream=0.1), KubeletDialer(None), core)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        switched = b"101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket"
        writer.write(b"HTTP/1.1 %b\r\n\r\n" % (switched if upgraded else b"200 OK"))
        try:
            while True:
                writer.write(bytes(100_000))
                await writer.drain()
        finally:
            ended.set()

    async with backend(serve) as port, place.connect() as client:
        client.send("GET", f"/http/{port}/", b"", *(WEBSOCKET if upgraded else ()))
        await asyncio.wait_for(ended.wait(), 60)


async def test_a_reader_that_is_slow_makes_the_other_side_wait(place: Place) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        while sent < 50_000_000:
            writer.write(bytes(100_000))
            await writer.drain()
            sent += 100_000

    async with backend(serve) as port, place.connect() as client:
        client.reader._limit = 1 << 16  # type: ignore[attr-defined]
        client.send("GET", f"/http/{port}/")
        assert 200 == (await client.head())[0]
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 50_000_000
