"""Backends for real proxies: each at a port of 127.0.0.1 tells what it was asked, over HTTP/1.1, HTTP/2 or TLS as it is asked.

A path that begins with /status/N is answered with that status.
"""

import contextlib
import json
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterable
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from mooring.testing.certificates import self_signed

PREFACE = b"PRI * HTTP/2.0"
HANDSHAKE = b"\x16"
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_STATUS = re.compile(r"/status/(\d{3})")


class Echo:
    """As many backends as are asked for. Ports stay the same for its life."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._sockets: list[socket.socket] = []
        self._open: set[socket.socket] = set()
        self._tls = _server_context()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (*self._sockets, *tuple(self._open)):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def port(self, number: int) -> int:
        """That of the backend of this number, from 0 on."""
        while len(self.ports) <= number:
            listening = socket.create_server(("127.0.0.1", 0), backlog=64)
            self._sockets.append(listening)
            self.ports.append(listening.getsockname()[1])
            threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return self.ports[number]

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listening.accept()[0]
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        port = connection.getsockname()[1]
        self._open.add(connection)
        with contextlib.suppress(OSError, ValueError, KeyError, h2.exceptions.ProtocolError):
            if connection.recv(1, socket.MSG_PEEK) == HANDSHAKE:
                self._open.discard(connection)
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.add(connection)
            begun = connection.recv(len(PREFACE))
            if begun == PREFACE:
                _http2(connection, begun, port)
            else:
                _http1(connection, begun, port)
        self._open.discard(connection)
        connection.close()


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = self_signed("echo.invalid")
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate.chain + certificate.key)
        file.flush()
        context.load_cert_chain(file.name)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def _http1(connection: socket.socket, data: bytes, port: int) -> None:
    while data:
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        while len(data) < length:
            data += connection.recv(65536)
        body, data = data[:length], data[length:]
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, version = first.split(" ")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        status, told = _told(port, method, path, version, headers, body)
        answer = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(told)}\r\n\r\n".encode()
        connection.sendall(answer + (b"" if method == "HEAD" else told))
        data = data or connection.recv(65536)


def _http2(connection: socket.socket, data: bytes, port: int) -> None:
    state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    state.initiate_connection()
    asked: dict[int, tuple[list[tuple[str, str]], bytes]] = {}
    while data:
        for event in state.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                asked[event.stream_id] = [(str(name), str(value)) for name, value in event.headers], b""
            elif isinstance(event, h2.events.DataReceived):
                asked[event.stream_id] = asked[event.stream_id][0], asked[event.stream_id][1] + event.data
                state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                headers, body = asked.pop(event.stream_id)
                pseudo = {name: value for name, value in headers if name.startswith(":")}
                named = [("host", pseudo[":authority"])] if ":authority" in pseudo else []
                plain = [*named, *(each for each in headers if not each[0].startswith(":"))]
                status, told = _told(port, pseudo[":method"], pseudo[":path"], "HTTP/2", plain, body)
                state.send_headers(event.stream_id, [(":status", str(status)), ("content-type", "application/json")])
                state.send_data(event.stream_id, told, end_stream=True)
        connection.sendall(state.data_to_send())
        data = connection.recv(65536)


def _told(
    port: int, method: str, path: str, version: str, headers: Iterable[tuple[str, str]], body: bytes
) -> tuple[int, bytes]:
    status = int(found[1]) if (found := _STATUS.match(path)) else 200
    told: dict[str, Any] = {"port": port, "method": method, "path": path, "version": version, "headers": list(headers)}
    return status, json.dumps({**told, "body": body.decode("latin-1")}).encode()
