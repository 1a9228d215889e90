"""Does a real Envoy speak TLS as the table asks: by name, with client certificates, unread, over QUIC, under WebSockets?"""

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import structs
from tests.routing.proxy_lab import Loop, RealProxy, envoy
from tests.routing.xds.scripted import Said, Scripted, Seen
from tests.routing.xds.xds_tables import route

from mooring.routing.simulate import Request
from mooring.routing.table import (
    Answer,
    Certificate,
    Chain,
    ClientCertificates,
    Cluster,
    Endpoints,
    FrontDoor,
    Listener,
    Member,
    Passthrough,
    RouteTable,
    Speaks,
    Terminate,
    Verify,
    VirtualHost,
)
from mooring.testing.certificates import self_signed

BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
Key = ec.EllipticCurvePrivateKey


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def signed(name: str, key: Key, issuer: str, by: Key, is_authority: bool) -> bytes:
    builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer)).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(BEGIN).not_valid_after(END)
    made = builder.add_extension(x509.BasicConstraints(is_authority, None), True).sign(by, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


class Authority:
    def __init__(self, name: str, folder: Path) -> None:
        self._key, self._name, self._folder = ec.generate_private_key(ec.SECP256R1()), name, folder
        self.pem = signed(name, self._key, name, self._key, True)

    def client(self, name: str) -> Path:
        """A file with a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        file = self._folder / f"{name}.pem"
        file.write_bytes(signed(name, key, self._name, self._key, False) + key.private_bytes(*form))
        return file


def told(seen: Seen) -> Said:
    return Said(200, (), json.dumps(dict(seen.headers)).encode())


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProxy]:
    with Loop() as loop, envoy(loop, tmp_path_factory.mktemp("envoy")) as found:
        yield found


@pytest.fixture(scope="module")
def echo() -> Iterator[Scripted]:
    with Scripted(told) as found:
        yield found


HOSTS = (
    VirtualHost("echo", ("a.test", "m.test", "o.test", "u.test", "e.test", "*.w.test"), (route("/"),)),
    VirtualHost("others", ("*",), (route("/", Answer(404, "others")),)),
)
CERTIFICATES = {"spare": self_signed("spare.test"), "a": self_signed("a.test"), "w": self_signed("*.w.test")}
OPAQUE = Cluster("opaque", Endpoints("opaque"), Speaks.OPAQUE)


def over_tls(*chains: Chain, front_door: FrontDoor | None = None, a: Certificate | None = None) -> RouteTable:
    """Beside one for all names and a.test's; the same hosts over plain HTTP."""
    all_ = (Chain(("*",), HOSTS, Terminate("spare")), Chain(("a.test",), HOSTS, Terminate("a")), *chains)
    listeners = (Listener("https", 443, all_), Listener("http", 80, (Chain(("*",), HOSTS),)))
    clusters = {"echo": Cluster("echo", Endpoints("echo")), "opaque": OPAQUE}
    return RouteTable(listeners, clusters, {**CERTIFICATES, **({"a": a} if a else {})}, front_door or FrontDoor())


class Spoken:
    """One exchange over TLS. `name` is what the server's certificate says."""

    def __init__(
        self,
        port: int,
        server_name: str,
        certificate: Path | None = None,
        protocols: tuple[str, ...] = ("http/1.1",),
        **limits: object,
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(list(protocols))
        for name, value in limits.items():
            setattr(context, name, value)
        if certificate is not None:
            context.load_cert_chain(certificate)
        plain = socket.create_connection(("127.0.0.1", port), 60)
        with contextlib.closing(context.wrap_socket(plain, server_hostname=server_name)) as connection:
            shown = x509.load_der_x509_certificate(connection.getpeercert(True) or b"")
            self.name = shown.subject.rfc4514_string().removeprefix("CN=")
            self.version, self.protocol = connection.version(), connection.selected_alpn_protocol()
            self.serial = shown.serial_number
            self.raw = b""
            if self.protocol == "h2":
                return
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {server_name}\r\nConnection: close\r\n\r\n".encode())
            with contextlib.suppress(OSError):
                while not self._is_whole() and (more := connection.recv(65536)):
                    self.raw += more

    def _is_whole(self) -> bool:
        """After an answer of its own Envoy leaves it to the client to close, for a second."""
        head, separator, body = self.raw.lower().partition(b"\r\n\r\n")
        length = head.partition(b"content-length: ")[2].split(b"\r\n")[0]
        return bool(separator and length) and len(body) >= int(length)

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ")[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def seen(self) -> dict[str, str]:
        """The headers that the backend saw."""
        return dict(json.loads(self.raw.partition(b"\r\n\r\n")[2]))


def wait_for(found: Callable[[], object]) -> None:
    """Until it is true, sixty seconds at most: a listener may change a moment later than its routes."""
    end = monotonic() + 60
    while not found():
        assert monotonic() < end
        sleep(0.002)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_the_certificate_is_the_names(proxy: RealProxy, echo: Scripted) -> None:
    proxy.serve(over_tls(Chain(("*.w.test",), HOSTS, Terminate("w"))), {"echo": (echo.member,)})
    port = proxy.ports[443]
    assert ["a.test", "*.w.test", "spare.test"] == [Spoken(port, name).name for name in ("a.test", "x.w.test", "unknown.test")]
    answer = Spoken(port, "a.test")
    assert ("https", "443", 'h3=":443"; ma=86400') == (
        answer.seen["x-forwarded-proto"],
        answer.seen["x-forwarded-port"],
        answer.headers["alt-svc"],
    )
    assert ("TLSv1.3", "h2") == ((both := Spoken(port, "a.test", protocols=("h2", "http/1.1"))).version, both.protocol)
    assert "TLSv1.2" == Spoken(port, "a.test", maximum_version=ssl.TLSVersion.TLSv1_2).version
    with pytest.raises(ssl.SSLError):
        Spoken(port, "a.test", minimum_version=ssl.TLSVersion.MINIMUM_SUPPORTED, maximum_version=ssl.TLSVersion.TLSv1_1)


def test_a_new_certificate_leaves_the_listener_alone(proxy: RealProxy, echo: Scripted) -> None:
    new = self_signed("a.test", "renewed.test")
    proxy.serve(over_tls(), {"echo": (echo.member,)})
    before = Spoken(proxy.ports[443], "a.test").serial
    proxy.serve(over_tls(a=new), {"echo": (echo.member,)})
    assert before != Spoken(proxy.ports[443], "a.test").serial


def test_strict_transport_security_is_told_over_tls_only(proxy: RealProxy, echo: Scripted) -> None:
    strict = tuple(structs.replace(each, hsts="max-age=99; includeSubDomains") for each in HOSTS)
    table = over_tls(front_door=FrontDoor(http3=False))
    secure, plain = table.listeners
    chains = tuple(structs.replace(each, virtual_hosts=strict) for each in secure.chains)
    proxy.serve(structs.replace(table, listeners=(structs.replace(secure, chains=chains), plain)), {"echo": (echo.member,)})
    headers = Spoken(proxy.ports[443], "a.test").headers
    told = ("max-age=99; includeSubDomains", None)
    assert told == (headers["strict-transport-security"], headers.get("alt-svc"))
    assert "strict-transport-security" not in proxy.ask(Request("a.test")).headers


def test_clients_show_certificates(proxy: RealProxy, echo: Scripted, tmp_path: Path) -> None:
    authority = Authority("authority", tmp_path)
    good, bad = authority.client("good"), Authority("other", tmp_path).client("bad")
    clients = ClientCertificates(authority.pem, hand_on=True)
    page = "https://sso/\"]]'\\"
    proxy.serve(
        over_tls(
            Chain(("m.test",), HOSTS, Terminate("a", clients)),
            Chain(("o.test",), HOSTS, Terminate("a", structs.replace(clients, verify=Verify.OPTIONAL, hand_on=False))),
            Chain(("u.test",), HOSTS, Terminate("a", structs.replace(clients, verify=Verify.OPTIONAL_UNVERIFIED))),
            Chain(("e.test",), HOSTS, Terminate("a", structs.replace(clients, error_page=page))),
        ),
        {"echo": (echo.member,)},
    )
    port = proxy.ports[443]
    wait_for(lambda: {Spoken(port, name).name for name in ("m.test", "o.test", "u.test", "e.test")} == {"a.test"})
    found = {
        name: [Spoken(port, name, certificate).status for certificate in (None, good, bad)]
        for name in ("m.test", "o.test", "u.test", "e.test")
    }
    assert {"m.test": [400, 200, 400], "o.test": [200, 200, 400], "u.test": [200, 200, 200], "e.test": [302, 200, 302]} == found
    assert page == Spoken(port, "e.test").headers["location"]
    known = Spoken(port, "m.test", good).seen
    assert ("SUCCESS", "CN=good", "CN=authority") == tuple(
        known[f"ssl-client-{part}"] for part in ("verify", "subject-dn", "issuer-dn")
    )
    assert known["ssl-client-cert"].startswith("-----BEGIN%20CERTIFICATE")
    assert "ssl-client-cert" not in Spoken(port, "o.test", good).seen
    assert ("NONE", "FAILED") == tuple(Spoken(port, "u.test", shown).seen["ssl-client-verify"] for shown in (None, bad))


def test_authorities_that_cannot_be_read_let_nobody_in(proxy: RealProxy, echo: Scripted) -> None:
    chain = Chain(("m.test",), HOSTS, Terminate("a", ClientCertificates(b"no PEM")))
    others = Chain(("*",), HOSTS[1:], Terminate("spare"))
    wish = over_tls(chain)
    listeners = (structs.replace(wish.listeners[0], chains=(others, chain)), wish.listeners[1])
    proxy.serve(structs.replace(wish, listeners=listeners), {"echo": (echo.member,)})
    wait_for(lambda: Spoken(proxy.ports[443], "m.test").status == 404)


def test_what_passes_through_is_not_read(proxy: RealProxy, echo: Scripted, tmp_path: Path) -> None:
    own = self_signed("p.test")
    (tmp_path / "own.pem").write_bytes(own.chain + own.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.pem")

    def serve() -> None:
        with contextlib.suppress(OSError), context.wrap_socket(listening.accept()[0], server_side=True) as connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 418 Own\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        members = {"echo": (echo.member,), "opaque": (Member("127.0.0.1", listening.getsockname()[1]),)}
        proxy.serve(over_tls(Chain(("p.test",), (), Passthrough("opaque"))), members)
        wait_for(lambda: (answer := Spoken(proxy.ports[443], "p.test")).name == "p.test" and answer.status == 418)
        thread.join(60)


class Http3(QuicConnectionProtocol):
    """One GET."""

    async def get(self, host: str) -> tuple[dict[str, str], bytes]:
        self._http, self._answer = H3Connection(self._quic), asyncio.get_running_loop().create_future()
        self._headers: dict[str, str] = {}
        self._body = b""
        stream = self._quic.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "https", ":authority": host, ":path": "/"}
        self._http.send_headers(stream, [(name.encode(), value.encode()) for name, value in head.items()], end_stream=True)
        self.transmit()
        await asyncio.wait_for(self._answer, 60)
        return self._headers, self._body

    def quic_event_received(self, event: QuicEvent) -> None:
        if not hasattr(self, "_http"):
            return
        for each in self._http.handle_event(event):
            if isinstance(each, HeadersReceived):
                self._headers = {name.decode(): value.decode() for name, value in each.headers}
            elif isinstance(each, DataReceived):
                self._body += each.data
            if isinstance(each, HeadersReceived | DataReceived) and each.stream_ended:
                self._answer.set_result(None)


def test_http_3(proxy: RealProxy, echo: Scripted) -> None:
    async def get() -> tuple[dict[str, str], bytes]:
        configuration = QuicConfiguration(
            alpn_protocols=["h3"], is_client=True, verify_mode=ssl.CERT_NONE, server_name="a.test"
        )
        async with connect("127.0.0.1", proxy.ports[443], configuration=configuration, create_protocol=Http3) as client:
            return await client.get("a.test")  # type: ignore[attr-defined, no-any-return]

    proxy.serve(over_tls(), {"echo": (echo.member,)})
    headers, body = asyncio.run(get())
    assert ("200", "https", "a.test") == (headers[":status"], (seen := json.loads(body))["x-forwarded-proto"], seen["host"])


def test_web_sockets_go_through(proxy: RealProxy) -> None:
    def serve() -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            connection.sendall(b"echo " + connection.recv(100))
            connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        proxy.serve(over_tls(), {"echo": (Member("127.0.0.1", listening.getsockname()[1]),)})
        with socket.create_connection(("127.0.0.1", proxy.ports[80]), 60) as client:
            upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13"
            client.sendall(f"GET / HTTP/1.1\r\nHost: a.test\r\n{upgrade}\r\n\r\n".encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 101")
            client.sendall(b"hello")
            assert b"echo hello" == client.recv(100)
        thread.join(60)
