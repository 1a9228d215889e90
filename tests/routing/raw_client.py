"""An HTTP/1.1 client that sends what it is told to, octet by octet, and keeps its connections."""

import contextlib
import http.client
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from msgspec import Struct

from mooring.edges.live.request import head
from mooring.routing.simulate import Request
from mooring.routing.simulation.matching import plain_host

PATIENCE = 30.0


class Reply(Struct, frozen=True):
    """`status` 0: there was no answer. Header names in lower case."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    why: str = ""


class Client:
    """To ports of 127.0.0.1. One connection for each client address, port, server name and certificate."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, str, Path | None], socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()

    def forget(self) -> None:
        for each in self._kept.values():
            each.close()
        self._kept.clear()

    def ask(self, request: Request, port: int, certificate: Path | None = None) -> Reply:
        """`certificate`: a PEM file with chain and key, shown to the server. A kept one that was closed is no failure."""
        name = plain_host(request.server_name or request.host) if request.scheme == "https" else ""
        key = (request.client, port, name, certificate)
        fresh = key not in self._kept
        try:
            return self._exchange(request, key)
        except (OSError, http.client.HTTPException) as error:
            self._kept.pop(key, None)
            if fresh:
                return Reply(0, why=f"{type(error).__name__} {error}")
        return self.ask(request, port, certificate)

    def _exchange(self, request: Request, key: tuple[str, int, str, Path | None]) -> Reply:
        if key not in self._kept:
            self._kept[key] = _connected(request, *key)
        connection = self._kept[key]
        with contextlib.ExitStack() as failed:
            failed.callback(connection.close)
            host = (("Host", request.host),) if request.host else ()
            connection.sendall(head(request.method, request.path, (*host, *request.headers), close=False))
            response = http.client.HTTPResponse(connection, method=request.method)
            response.begin()
            body = response.read()
            headers = {name.lower(): ", ".join(response.headers.get_all(name) or ()) for name in response.headers}
            if response.will_close:
                self._kept.pop(key).close()
            failed.pop_all()
        return Reply(response.status, headers, body)


def _connected(request: Request, client: str, port: int, name: str, certificate: Path | None) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE, (client, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if request.scheme != "https":
        return connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    try:
        return context.wrap_socket(connection, server_hostname=name or None)
    except OSError:
        connection.close()
        raise
