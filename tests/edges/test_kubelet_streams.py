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
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, RejectConnection, Request

from mooring.edges.kubelet import spdy
from mooring.edges.kubelet.server import KubeletServer
from mooring.ports.pods import LogOptions, RuntimeFailure

DEADLINE = 20


class HostProcess:
    """ports.pods.Process on a plain subprocess."""

    def __init__(self, argv: tuple[str, ...], tty: bool, stdin: bool) -> None:
        self._terminal = -1
        if tty:
            self._terminal, child = pty.openpty()
            self._child = subprocess.Popen(argv, stdin=child, stdout=child, stderr=child, start_new_session=True)
            os.close(child)
            self.stdin, self.stdout, self.stderr = (self._terminal if stdin else None), self._terminal, None
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
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def kill(self) -> None:
        self._child.kill()

    def close(self) -> None:
        for fd in {self.stdin, self.stdout, self.stderr} - {None}:
            os.close(fd)


class HostStreams:
    def __init__(self) -> None:
        self.started: list[HostProcess] = []

    async def exec(self, uid, container, argv, *, stdin=False, tty=False, stderr=True):
        if container != "main":
            raise RuntimeFailure("ContainerNotRunning", f"container {container} is not running")
        self.started.append(HostProcess(argv, tty, stdin))
        return self.started[-1]

    async def logs(self, uid: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        if container != "main":
            raise RuntimeFailure("ContainerNotFound", f"container {container} has no log")
        lines = [b"one\n", b"two\n", b"three\n"]
        for line in lines[-options.tail_lines :] if options.tail_lines else lines:
            yield line


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
async def serving(tmp_path: Path):
    ca = certificate(tmp_path, "ca")
    for name in ("node", "apiserver", "stranger"):
        certificate(tmp_path, name, ca)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    tls.load_cert_chain(tmp_path / "node.pem")
    tls.verify_mode = ssl.CERT_OPTIONAL
    streams = HostStreams()
    server = KubeletServer(
        streams, lambda namespace, pod: "uid-1" if (namespace, pod) == ("default", "p") else None, {"apiserver"}
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


async def websocket(connect, query: str, protocol: str, send: list[bytes] = ()) -> dict[int, bytes]:
    """Everything received, by channel."""
    reader, writer = await connect()
    connection = WSConnection(ConnectionType.CLIENT)
    writer.write(connection.send(Request(host="node", target=f"/exec/default/p/main?{query}", subprotocols=[protocol])))
    received: dict[int, bytes] = {}
    async with asyncio.timeout(DEADLINE):
        while data := await reader.read(65536):
            connection.receive_data(data)
            for event in connection.events():
                if isinstance(event, AcceptConnection):
                    for message in send:
                        writer.write(connection.send(BytesMessage(message)))
                elif isinstance(event, RejectConnection):
                    return {-1: str(event.status_code).encode()}
                elif isinstance(event, BytesMessage):
                    received[event.data[0]] = received.get(event.data[0], b"") + bytes(event.data[1:])
                elif isinstance(event, CloseConnection):
                    writer.close()
                    return received
    return received


class SpdyClient:
    """The client's half of SPDY/3.1, as far as exec needs."""

    def __init__(self) -> None:
        self.deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
        self.buffer = b""

    def open(self, stream: int, kind: str) -> bytes:
        plain = struct.pack(">I", 1) + b"".join(struct.pack(">I", len(t)) + t for t in (b"streamtype", kind.encode()))
        block = self.deflate.compress(plain) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        payload = struct.pack(">IIBB", stream, 0, 0, 0) + block
        return struct.pack(">HHI", 0x8003, 1, len(payload)) + payload

    def frames(self, data: bytes):
        self.buffer += data
        while len(self.buffer) >= 8:
            first, second = struct.unpack_from(">II", self.buffer)
            length = second & 0xFFFFFF
            if len(self.buffer) < 8 + length:
                return
            payload, self.buffer = self.buffer[8 : 8 + length], self.buffer[8 + length :]
            yield first, second >> 24, payload


async def spdy_exec(connect, query: str, stdin: bytes) -> dict[int, bytes]:
    reader, writer = await connect()
    versions = "".join(f"X-Stream-Protocol-Version: {v}\r\n" for v in ("v4.channel.k8s.io", "v3.channel.k8s.io"))
    head = (
        f"POST /exec/default/p/main?{query} HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{versions}\r\n"
    )
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
    assert answer.startswith(b"HTTP/1.1 101") and b"v4.channel.k8s.io" in answer
    client = SpdyClient()
    writer.write(client.open(1, "error") + client.open(3, "stdin") + client.open(5, "stdout") + client.open(7, "stderr"))
    writer.write(spdy.Connection.data(3, stdin) + spdy.Connection.data(3, b"", fin=True) + spdy.Connection.pong(9))
    received: dict[int, bytes] = {}
    finished: set[int] = set()
    async with asyncio.timeout(DEADLINE):
        while not {1, 5, 7} <= finished and (data := await reader.read(65536)):
            for first, flags, payload in client.frames(data):
                if not first & 0x80000000:
                    received[first] = received.get(first, b"") + payload
                    finished |= {first} if flags & 1 else set()
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
        assert (await get(connect, "/containerLogs/default/p/main?tailLines=x"))[0] == 400


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


def test_a_broken_frame_ends_the_connection_and_nothing_else() -> None:
    connection = spdy.Connection()
    with pytest.raises(spdy.SpdyError):
        list(connection.receive(struct.pack(">HHI", 0x8003, spdy.SYN_STREAM, 4) + b"\0\0\0\1"))
    with pytest.raises(spdy.SpdyError):
        list(spdy.Connection().receive(struct.pack(">II", 1, 0xFFFFFF)))
