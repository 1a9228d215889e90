"""Do exec and logs travel over WebSocket and SPDY as clients expect? Real processes, real TLS, clients by the drafts."""

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import pty
import ssl
import struct
import subprocess
import termios
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from stream_clients import DEADLINE, SpdyClient
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, RejectConnection, Request, TextMessage

from mooring.edges.kubelet import session, spdy
from mooring.edges.kubelet.server import KubeletServer
from mooring.ports.pods import LogOptions, RuntimeFailure


class HostProcess:
    """ports.pods.Process on a plain subprocess."""

    def __init__(self, argv: tuple[str, ...], tty: bool, stdin: bool) -> None:
        self.terminal = None
        if tty:
            self.terminal, child = pty.openpty()
            self._child = subprocess.Popen(argv, stdin=child, stdout=child, stderr=child, start_new_session=True)
            os.close(child)
            self.stdin, self.stdout, self.stderr = (self.terminal if stdin else None), self.terminal, None
        else:
            pipe = subprocess.PIPE
            self._child = subprocess.Popen(argv, stdin=pipe if stdin else subprocess.DEVNULL, stdout=pipe, stderr=pipe)
            self.stdin = os.dup(self._child.stdin.fileno()) if self._child.stdin else None
            self.stdout, self.stderr = os.dup(self._child.stdout.fileno()), os.dup(self._child.stderr.fileno())
            for stream in (self._child.stdin, self._child.stdout, self._child.stderr):
                if stream:
                    stream.close()

    async def wait(self) -> int:
        code = await asyncio.to_thread(self._child.wait)
        return code if code >= 0 else 128 - code

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def end_input(self) -> None:
        if self.terminal is not None:
            os.write(self.terminal, b"\x04")
        elif self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    async def kill(self) -> None:
        self._child.kill()

    def close(self) -> None:
        for fd in {self.stdin, self.stdout, self.stderr} - {None}:
            os.close(fd)


class HostStreams:
    def __init__(self) -> None:
        self.started: list[HostProcess] = []
        self.left = asyncio.Event()

    def running(self, uid, container):
        return container == "main"

    async def exec(self, uid, container, argv, *, stdin=False, tty=False, stderr=True):
        if container != "main":
            raise RuntimeFailure("ContainerNotRunning", f"container {container} is not running")
        self.started.append(HostProcess(argv, tty, stdin))
        return self.started[-1]

    async def logs(self, uid: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        if container != "main":
            raise RuntimeFailure("ContainerNotFound", f"container {container} has no log")
        lines = [b"one\n", b"two\n", b"three\n"]
        try:
            for line in lines[-options.tail_lines :] if options.tail_lines else lines:
                yield line
            while options.follow:
                await asyncio.sleep(0.01)
        finally:
            self.left.set()


def certificate(folder: Path, name: str, issuer=None):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    import datetime

    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    made = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    pem = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.pem").write_bytes(pem)
    return made, key


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, **limits: int):
    ca = certificate(tmp_path, "ca")
    for name in ("node", "apiserver", "stranger"):
        certificate(tmp_path, name, ca)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    tls.load_cert_chain(tmp_path / "node.pem")
    tls.verify_mode = ssl.CERT_OPTIONAL
    streams = HostStreams()
    server = KubeletServer(
        streams,
        lambda namespace, pod: "uid-1" if (namespace, pod) == ("default", "p") else None,
        {"apiserver"},
        lambda: [{"metadata": {"name": "p"}}],
        **limits,
    )
    port = await server.start("127.0.0.1", 0, tls)

    async def connect(name: str | None = "apiserver"):
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        context.check_hostname = False
        if name:
            context.load_cert_chain(tmp_path / f"{name}.pem")
        return await asyncio.open_connection("127.0.0.1", port, ssl=context)

    try:
        yield connect, streams
    finally:
        await server.close()


async def get(connect, path: str, name: str | None = "apiserver") -> tuple[int, bytes]:
    reader, writer = await connect(name)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"chunked" in head:
        plain = b""
        while body and not body.startswith(b"0\r\n"):
            size, _, body = body.partition(b"\r\n")
            plain, body = plain + body[: int(size, 16)], body[int(size, 16) + 2 :]
        body = plain
    return int(head.split()[1]), body


async def websocket(connect, query: str, protocol: str, send: list[bytes | str] = ()) -> dict[int, bytes]:
    """Everything received, by channel."""
    reader, writer = await connect()
    connection = WSConnection(ConnectionType.CLIENT)
    offered = [protocol] if protocol else []
    writer.write(connection.send(Request(host="node", target=f"/exec/default/p/main?{query}", subprotocols=offered)))
    received: dict[int, bytes] = {}
    async with asyncio.timeout(DEADLINE):
        while data := await reader.read(65536):
            connection.receive_data(data)
            for event in connection.events():
                if isinstance(event, AcceptConnection):
                    for message in send:
                        sent = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
                        writer.write(connection.send(sent))
                elif isinstance(event, RejectConnection):
                    return {-1: str(event.status_code).encode()}
                elif isinstance(event, TextMessage):
                    text = base64.b64decode(event.data[1:])
                    received[int(event.data[0])] = received.get(int(event.data[0]), b"") + text
                elif isinstance(event, BytesMessage):
                    received[event.data[0]] = received.get(event.data[0], b"") + bytes(event.data[1:])
                elif isinstance(event, CloseConnection):
                    writer.close()
                    return received
    return received


async def spdy_exec(
    connect, query: str, stdin: bytes, offered: tuple[str, ...] = ("v5.channel.k8s.io", "v4.channel.k8s.io"), agreed: str = ""
) -> dict[int, bytes]:
    reader, writer = await connect()
    versions = "".join(f"X-Stream-Protocol-Version: {each}\r\n" for each in offered)
    head = (
        f"POST /exec/default/p/main?{query} HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{versions}\r\n"
    )
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
    assert answer.startswith(b"HTTP/1.1 101") and (agreed or offered[0]).encode() in answer
    client = SpdyClient()
    names = {1: "error", 3: "stdin", 5: "stdout", 7: "stderr"}
    writer.write(b"".join(client.open(stream, streamtype=name) for stream, name in names.items()))
    writer.write(spdy.Connection.data(3, stdin) + spdy.Connection.data(3, b"", fin=True) + spdy.Connection.pong(9))
    received: dict[int, bytes] = {}
    finished: set[int] = set()
    async with asyncio.timeout(DEADLINE):
        while not {1, 5, 7} <= finished and (data := await reader.read(65536)):
            for frame in client.frames(data):
                if frame.kind == "data":
                    received[frame.stream] = received.get(frame.stream, b"") + frame.data
                    finished |= {frame.stream} if frame.fin else set()
    writer.close()
    return received


SCRIPT = "command=sh&command=-c&command="


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v5.channel.k8s.io"])
async def test_websocket_carries_both_outputs_and_the_exit_code(tmp_path: Path, protocol: str) -> None:
    async with serving(tmp_path) as (connect, _):
        received = await websocket(
            connect, SCRIPT + "echo%20out%3B%20echo%20err%20%3E%262%3B%20exit%203&stdout=1&stderr=1", protocol
        )
    assert (received[1], received[2]) == (b"out\n", b"err\n")
    status = json.loads(received[3])
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_input_in_one_message_however_long(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, _):
        message = b"\x00" + bytes(3_000_000)
        received = await websocket(
            connect, "command=wc&command=-c&stdin=1&stdout=1", "v5.channel.k8s.io", [message, b"\xff\x00"]
        )
    assert b"3000000\n" == received[1]


async def test_websocket_v5_ends_the_input_so_that_cat_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, _):
        received = await websocket(
            connect, "command=cat&stdin=1&stdout=1", "v5.channel.k8s.io", [b"\x00hello ", b"\x00world", b"\xff\x00"]
        )
    assert received[1] == b"hello world"
    assert json.loads(received[3])["status"] == "Success"


async def test_a_terminal_has_the_size_that_the_client_tells(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, _):
        size = b"\x04" + json.dumps({"Width": 133, "Height": 42}).encode()
        received = await websocket(
            connect, SCRIPT + "read%20go%3B%20stty%20size&stdin=1&stdout=1&tty=1", "v4.channel.k8s.io", [size, b"\x00go\n"]
        )
    assert b"42 133" in received[1]


async def test_spdy_carries_input_outputs_and_success(tmp_path: Path) -> None:
    body = base64.b64encode(os.urandom(200_000))
    async with serving(tmp_path) as (connect, _):
        received = await spdy_exec(connect, SCRIPT + "cat%3B%20echo%20e%20%3E%262&input=1&output=1&error=1", body)
    assert received[5] == body
    assert received[7] == b"e\n"
    assert json.loads(received[1])["status"] == "Success"


async def test_a_client_that_goes_away_takes_its_process_with_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, streams):
        reader, writer = await connect()
        connection = WSConnection(ConnectionType.CLIENT)
        target = "/exec/default/p/main?command=sleep&command=1000&stdout=1"
        writer.write(connection.send(Request(host="n", target=target, subprotocols=["v4.channel.k8s.io"])))
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
        writer.transport.abort()
        async with asyncio.timeout(DEADLINE):
            while not streams.started:
                await asyncio.sleep(0.01)
            assert await streams.started[0].wait() == 137


async def test_logs_are_streamed_and_a_missing_container_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, _):
        assert await get(connect, "/containerLogs/default/p/main?tailLines=2") == (200, b"two\nthree\n")
        assert await get(connect, "/containerLogs/default/p/other") == (400, b"container other has no log")
        assert (await get(connect, "/containerLogs/default/gone/main"))[0] == 404
        for query in ("tailLines=x", "sinceTime=0001-01-01T00:00:00%2B23:59", "sinceSeconds=x", "stream=Both"):
            assert (await get(connect, f"/containerLogs/default/p/main?{query}"))[0] == 400
        assert (await get(connect, "/containerLogs/default/p/main?sinceSeconds=99999999999999999999"))[0] == 200


async def test_only_the_api_server_is_let_in(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, _):
        assert (await get(connect, "/healthz"))[0] == 200
        assert (await get(connect, "/healthz", name="stranger"))[0] == 403
        assert (await get(connect, "/healthz", name=None))[0] == 401


async def test_bad_upgrades_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, streams):
        assert (await get(connect, "/exec/default/p/main?command=ls&stdout=1"))[0] == 400
        assert (await get(connect, "/exec/default/p/main?stdout=1"))[0] == 400
        assert await websocket(connect, "command=ls&stdout=1", "v1.unknown") == {-1: b"400"}
        assert streams.started == []


@pytest.mark.parametrize("protocol", ["channel.k8s.io", ""])
async def test_before_version_4_a_failure_is_told_in_words(tmp_path: Path, protocol: str) -> None:
    async with serving(tmp_path) as (connect, _):
        received = await websocket(connect, SCRIPT + "exit%203&stdout=1", protocol)
        assert b"command terminated with non-zero exit code: exit status 3" == received[3]
        assert 3 not in await websocket(connect, SCRIPT + "exit%200&stdout=1", protocol)
        received = await spdy_exec(connect, SCRIPT + "exit%203&input=1&output=1&error=1", b"", ("v3.channel.k8s.io",))
        assert b"command terminated with non-zero exit code: exit status 3" == received[1]


@pytest.mark.parametrize("protocol", ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"])
async def test_channels_in_base64(tmp_path: Path, protocol: str) -> None:
    async with serving(tmp_path) as (connect, _):
        typed = ["0" + base64.b64encode(b"typed\n").decode()]
        received = await websocket(connect, SCRIPT + "read%20a%3B%20echo%20$a&stdin=1&stdout=1", protocol, typed)
        assert b"typed\n" == received[1]


async def test_the_protocol_is_agreed_or_refused_as_upstream_does(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, streams):
        query = SCRIPT + "true&input=1&output=1&error=1"
        await spdy_exec(connect, query, b"", ("v9.channel.k8s.io", "v4.channel.k8s.io"), "v4.channel.k8s.io")
        reader, writer = await connect()
        lines = ("Host: n", "Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v9.channel.k8s.io")
        head = f"POST /exec/default/p/main?{query} HTTP/1.1\r\n" + "\r\n".join((*lines, "", ""))
        writer.write(head.encode())
        answer = (await asyncio.wait_for(reader.read(), DEADLINE)).decode()
        writer.close()
        assert answer.startswith("HTTP/1.1 403 ")
        assert (
            "unable to upgrade: unable to negotiate protocol: client supports [v9.channel.k8s.io], server accepts [v5" in answer
        )
        assert "X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io\r\n" in answer
        assert 1 == len(streams.started)


async def test_what_runs_on_behind_a_terminal_does_not_hold_the_client(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, _streams):
        script = "trap%20''%20HUP%3B%20sleep%201000%20%26%20echo%20$!%3B%20exit%204"
        received = await websocket(connect, SCRIPT + script + "&stdout=1&tty=1", "v5.channel.k8s.io")
        os.kill(int(received[1]), 9)
        assert "4" == json.loads(received[3])["details"]["causes"][0]["message"]


async def test_a_client_that_vanishes_while_nothing_is_read_of_it_is_found_out(tmp_path: Path, monkeypatch) -> None:
    """Its process reads no input, so neither does the kubelet of the connection, and does not see its end."""
    monkeypatch.setattr(session.converse, "__defaults__", (session.exit_status, 0.02))
    async with serving(tmp_path) as (connect, streams):
        reader, writer = await connect()
        connection = WSConnection(ConnectionType.CLIENT)
        target = "/exec/default/p/main?command=sleep&command=1000&stdin=1"
        writer.write(connection.send(Request(host="n", target=target, subprotocols=["v4.channel.k8s.io"])))
        connection.receive_data(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE))
        list(connection.events())
        for _ in range(100):
            writer.write(connection.send(BytesMessage(bytes(20_000))))
        await until(lambda: streams.started)
        writer.transport.abort()
        async with asyncio.timeout(DEADLINE):
            assert await streams.started[0].wait() == 137


async def test_a_client_that_answers_no_ping_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mooring.edges.kubelet.websocket.SILENCE_SECONDS", 0.1)
    async with serving(tmp_path) as (connect, streams):
        _, writer = await connect()
        target = "/exec/default/p/main?command=sleep&command=1000&stdin=1"
        writer.write(
            WSConnection(ConnectionType.CLIENT).send(Request(host="n", target=target, subprotocols=["v4.channel.k8s.io"]))
        )
        await until(lambda: streams.started)
        async with asyncio.timeout(DEADLINE):
            assert await streams.started[0].wait() == 137
        writer.transport.abort()


async def test_input_that_nobody_reads_is_not_held(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, streams):
        reader, writer = await connect()
        connection = WSConnection(ConnectionType.CLIENT)
        target = "/exec/default/p/main?command=sleep&command=1000&stdin=1"
        writer.write(connection.send(Request(host="n", target=target, subprotocols=["v4.channel.k8s.io"])))
        connection.receive_data(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE))
        list(connection.events())
        octets = connection.send(BytesMessage(bytes(20_000)))

        async def push() -> None:
            while True:
                writer.write(octets)
                await writer.drain()

        pushing = asyncio.create_task(push())
        tracemalloc.start()
        seen = -1
        while seen != writer.transport.get_write_buffer_size():
            seen = writer.transport.get_write_buffer_size()
            await asyncio.sleep(0.1)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert not pushing.done() and held < 2_000_000
        pushing.cancel()
        writer.transport.abort()
        await until(lambda: streams.started)
        await streams.started[0].kill()


async def test_no_more_streams_than_a_node_serves(tmp_path: Path) -> None:
    async with serving(tmp_path, max_upgraded=1) as (connect, _streams):
        reader, writer = await connect()
        connection = WSConnection(ConnectionType.CLIENT)
        target = "/exec/default/p/main?command=sleep&command=1000&stdout=1"
        writer.write(connection.send(Request(host="n", target=target, subprotocols=["v4.channel.k8s.io"])))
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
        assert (503, b"this node serves 1 streams already") == await get(connect, "/exec/default/p/main?command=ls&stdout=1")
        writer.transport.abort()
        async with asyncio.timeout(DEADLINE):
            while (await get(connect, "/exec/default/p/main?command=ls&stdout=1"))[0] != 400:
                await asyncio.sleep(0.01)


async def test_what_is_not_there_or_does_not_run(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, _):
        for what in ("exec", "attach"):
            path = f"/{what}/default/p/other?command=ls&stdout=1"
            assert (500, b'container not found ("other")') == await get(connect, path)
        assert (404, b'pod "gone" does not exist') == await get(connect, "/portForward/default/gone")
        assert (404, b"404 page not found") == await get(connect, "/exec/default/p%2Fmain/x/y")
        assert b'"items":[{"metadata":{"name":"p"}}]' in (await get(connect, "/pods"))[1]


async def test_who_leaves_a_log_that_follows_is_noticed(tmp_path: Path) -> None:
    async with serving(tmp_path) as (connect, streams):
        reader, writer = await connect()
        writer.write(b"GET /containerLogs/default/p/main?follow=true HTTP/1.1\r\nHost: n\r\n\r\n")
        assert b"200" in await asyncio.wait_for(reader.readline(), DEADLINE)
        assert not streams.left.is_set()
        writer.transport.abort()
        await asyncio.wait_for(streams.left.wait(), DEADLINE)


async def until(condition) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)
