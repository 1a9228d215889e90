"""How is one HTTP request sent from inside a network namespace, to a known address? Its answer, or why there is none."""

import hashlib
import http.client
import socket
import ssl
from collections.abc import Mapping, Sequence
from time import monotonic

from msgspec import Struct

from mooring.edges.netlink import namespaces

PATIENCE = 10.0
"""Seconds for connecting, and for each pause of the answer."""
BODY = 65536
"""Octets of the answer's body that are read."""


class Sent(Struct, frozen=True):
    """What to send. `path` with the query, as it is; `headers` with Host. `server_name` '' asks for none by SNI."""

    address: str
    port: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    tls: bool = False
    server_name: str = ""


class Answered(Struct, frozen=True):
    """`headers` in lower case. `certificate`: SHA-256 of the server's, in hexadecimal. `error` says why there is no answer."""

    seconds: float
    status: int = 0
    headers: Mapping[str, str] = {}
    body: bytes = b""
    certificate: str = ""
    error: str = ""


def send(place: str, sent: Sent) -> Answered:
    """`place` is the file that holds the namespace. Never raises for what the network or the server does.

    Certificates are looked at, not checked: which one is shown is what the caller asks.
    """
    begun = monotonic()
    try:
        channel = namespaces.within(place, lambda: socket.create_connection((sent.address, sent.port), PATIENCE))
    except OSError as error:
        return Answered(monotonic() - begun, error=str(error.strerror or error))
    certificate = ""
    try:
        with channel:
            if sent.tls:
                channel = _unchecked().wrap_socket(channel, server_hostname=sent.server_name or None)
                certificate = hashlib.sha256(channel.getpeercert(binary_form=True) or b"").hexdigest()
            with channel:
                return _exchanged(channel, sent, certificate, begun)
    except (OSError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        return Answered(monotonic() - begun, certificate=certificate, error=why)


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _exchanged(channel: socket.socket, sent: Sent, certificate: str, begun: float) -> Answered:
    channel.sendall(head(sent.method, sent.path, sent.headers))
    response = http.client.HTTPResponse(channel, method=sent.method)
    try:
        response.begin()
        body = response.read(BODY)
        headers = {name.lower(): ", ".join(response.headers.get_all(name) or ()) for name in response.headers}
    finally:
        response.close()
    return Answered(monotonic() - begun, response.status, headers, body, certificate)


def head(method: str, path: str, headers: Sequence[tuple[str, str]], *, close: bool = True) -> bytes:
    """A request without a body, `close`: after which the connection ends. Nothing in it is made plain on the way."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), *["Connection: close"] * close]
    if method in ("POST", "PUT", "PATCH"):
        lines.append("Content-Length: 0")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
