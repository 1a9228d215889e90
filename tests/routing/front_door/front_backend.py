"""A backend that remembers each request octet by octet, and tells the client what it saw.

`/stream` answers event by event, as the test lets it; `/big/N` answers N octets; `/trailers` ends with trailers; `/status/N`
answers N; `/redirect` tries to send the proxy elsewhere; `/mute` answers nothing and ends the connection.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import BinaryIO, Self

from msgspec import Struct

from mooring.routing.table import Member

PATIENCE = 60.0


class Heard(Struct, frozen=True):
    """A request as it came. Header names in lower case, in order, as often as they came."""

    method: str
    path: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    trailers: tuple[tuple[str, str], ...] = ()

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(value for each, value in self.headers if each == name)

    def one(self, name: str) -> str:
        """'' for none, all of them joined if there are several."""
        return " | ".join(self.all(name))


class Backend:
    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.go_on = threading.Event()
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listening, *tuple(self._open)):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    @property
    def member(self) -> Member:
        return Member("127.0.0.1", self._listening.getsockname()[1])

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._listening.accept()[0]
                self._open.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, EOFError), connection, connection.makefile("rb") as stream:
            while heard := read(stream, connection):
                self.heard.append(heard)
                if heard.path.startswith("/mute"):
                    break
                self._answer(connection, heard)
        self._open.discard(connection)

    def _answer(self, connection: socket.socket, heard: Heard) -> None:
        status = heard.path.removeprefix("/status/")[:3] if heard.path.startswith("/status/") else "200"
        head, body = f"HTTP/1.1 {status} X\r\n".encode(), b""
        if heard.path.startswith("/stream"):
            connection.sendall(
                head + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"data: 1\n\n")
            )
            self.go_on.wait(PATIENCE)
            connection.sendall(chunk(b"data: 2\n\n") + b"0\r\n\r\n")
            return
        if heard.path.startswith("/trailers"):
            connection.sendall(
                head + b"Trailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"body") + b"0\r\nX-Sum: 7\r\n\r\n"
            )
            return
        if heard.path.startswith("/big/"):
            body = b"x" * int(heard.path.split("/")[2])
        else:
            told = {"path": heard.path, "method": heard.method, "headers": heard.headers, "octets": len(heard.body)}
            body = json.dumps(told).encode()
        if heard.path.startswith("/redirect"):
            head += b"X-Accel-Redirect: /exact\r\n"
        head += b"Server: backend\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + (b"" if heard.method == "HEAD" else body))


def chunk(octets: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(octets), octets)


def read(stream: BinaryIO, connection: socket.socket) -> Heard | None:
    """The next request, None at the end. Raises ValueError for what is none."""
    first = stream.readline()
    if not first:
        return None
    method, path, version = first.decode("latin-1").rstrip("\r\n").split(" ")
    headers = tuple(lines(stream))
    fields = dict(headers)
    if fields.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "transfer-encoding" in fields:
        body = b"".join(chunks(stream))
        return Heard(method, path, version, headers, body, tuple(lines(stream)))
    return Heard(method, path, version, headers, exactly(stream, int(fields.get("content-length", "0"))))


def exactly(stream: BinaryIO, length: int) -> bytes:
    found = stream.read(length)
    if len(found) < length:
        raise EOFError
    return found


def lines(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    while line := stream.readline().rstrip(b"\r\n"):
        name, _, value = line.decode("latin-1").partition(":")
        yield name.lower(), value.strip()


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    while size := int(stream.readline(), 16):
        yield exactly(stream, size)
        stream.readline()
