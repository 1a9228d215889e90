"""Which TLS is spoken, which certificate is shown to whom, and can a client certificate be done without?"""

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from msgspec import structs
from tests.routing.front_door.front_lab import ECHO, HOST, HOSTS, Lab, connected, lab, replied, table

from mooring.routing.table import (
    Answer,
    Chain,
    ClientCertificates,
    Listener,
    Match,
    Route,
    RouteTable,
    Terminate,
    Verify,
    VirtualHost,
)
from mooring.testing.certificates import self_signed

BOTH = pytest.mark.parametrize("proxy", ["envoy", "nginx"])
BANK = "bank.test"
CLIENT = self_signed("good client")
STRANGER = self_signed("stranger")


def tables() -> RouteTable:
    """With a host that asks for client certificates: a connection made for it serves no other, nor it another's (421)."""
    bank = VirtualHost("bank", (BANK,), (Route("bank", Match(), ECHO),))
    elsewhere = VirtualHost("bank, elsewhere", (BANK,), (Route("bank, elsewhere", Match(), Answer(421)),))
    others = VirtualHost("others", (HOST, "b.test"), (Route("others", Match(), Answer(421)),))
    made = table(hosts=(*HOSTS, elsewhere), tls=True)
    plain, secure = made.listeners
    chains = [each for each in secure.chains if BANK not in each.server_names]
    clients = ClientCertificates(CLIENT.chain, Verify.REQUIRED)
    chains.append(Chain((BANK,), (bank, others), Terminate(BANK, clients)))
    return structs.replace(made, listeners=(plain, Listener("https", 443, tuple(chains))))


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("front")) as found:
        found.serve(tables())
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("certificates")
    found = {"good": folder / "good.pem", "stranger": folder / "stranger.pem"}
    for name, certificate in (("good", CLIENT), ("stranger", STRANGER)):
        found[name].write_bytes(certificate.chain + certificate.key)
    return found


def context(
    oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ciphers: str = "",
    protocols: Sequence[str] = (),
    certificate: Path | None = None,
) -> ssl.SSLContext:
    out = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    out.check_hostname, out.verify_mode = False, ssl.CERT_NONE
    # The client's own library must be willing to speak what is to be refused.
    out.set_ciphers(f"{ciphers or 'DEFAULT'}:@SECLEVEL=0")
    out.minimum_version, out.maximum_version = oldest, newest
    if protocols:
        out.set_alpn_protocols(list(protocols))
    if certificate is not None:
        out.load_cert_chain(certificate)
    return out


@contextlib.contextmanager
def secured(
    front: Lab, proxy: str, name: str | None, how: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> Iterator[ssl.SSLSocket]:
    with connected(front.port(proxy, 443)) as plain, how.wrap_socket(plain, server_hostname=name, session=session) as out:
        yield out


def status(connection: ssl.SSLSocket, host: str, path: str = "/") -> int:
    with connection.makefile("rb") as stream:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return replied(stream).status


def subject(connection: ssl.SSLSocket) -> str:
    found = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    return str(found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


@BOTH
def test_plain_http_is_not_for_the_port_of_tls(front: Lab, proxy: str) -> None:
    with connected(front.port(proxy, 443)) as connection, connection.makefile("rb") as stream:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        try:
            reply = replied(stream)
        except (EOFError, ConnectionError):
            return
    assert (400, b"", "nginx") == (reply.status, reply.body, proxy)


V = ssl.TLSVersion
REFUSED = {
    "TLS 1.0": {"oldest": V.TLSv1, "newest": V.TLSv1},
    "TLS 1.1": {"oldest": V.TLSv1_1, "newest": V.TLSv1_1},
    "no forward secrecy": {"newest": V.TLSv1_2, "ciphers": "AES128-GCM-SHA256:AES256-SHA"},
    "CBC": {"newest": V.TLSv1_2, "ciphers": "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384"},
    "no encryption": {"newest": V.TLSv1_2, "ciphers": "ECDHE-ECDSA-NULL-SHA:NULL-SHA256"},
    "no certificate": {"newest": V.TLSv1_2, "ciphers": "AECDH-AES128-SHA:ADH-AES128-GCM-SHA256"},
}


@BOTH
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("row", REFUSED)
def test_what_is_weak_is_refused(front: Lab, proxy: str, row: str) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)), secured(front, proxy, HOST, context(**REFUSED[row])):  # type: ignore[arg-type]
        pass


@BOTH
@pytest.mark.parametrize("version", [V.TLSv1_2, V.TLSv1_3])
@pytest.mark.parametrize(("asked", "expected"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)])
def test_what_is_current_is_spoken(
    front: Lab, proxy: str, version: ssl.TLSVersion, asked: list[str], expected: str | None
) -> None:
    with secured(front, proxy, HOST, context(version, version, protocols=asked)) as connection:
        assert (version.name.replace("_", "."), expected) == (connection.version(), connection.selected_alpn_protocol())


NAMES = [(HOST, HOST), ("A.TEST", HOST), ("b.test", "b.test"), ("unknown.test", "default.test"), (None, "default.test")]


@BOTH
@pytest.mark.parametrize(("asked", "shown"), NAMES)
def test_the_name_that_is_asked_for_chooses_the_certificate(front: Lab, proxy: str, asked: str | None, shown: str) -> None:
    with secured(front, proxy, asked, context()) as connection:
        assert (shown, 200) == (subject(connection), status(connection, HOST))


@BOTH
@pytest.mark.parametrize(("which", "expected"), [("good", 200), ("stranger", 400), ("", 400)])
def test_client_certificates_are_judged(front: Lab, files: dict[str, Path], proxy: str, which: str, expected: int) -> None:
    front.heard.clear()
    with secured(front, proxy, BANK, context(certificate=files.get(which))) as connection:
        assert expected == status(connection, BANK)
    assert ["SUCCESS"] * (expected == 200) == [each.one("ssl-client-verify") for each in front.heard]


ANSWERS = {BANK: (400,), HOST: (400, 421, 0)}
"""NGINX may refuse a session of another host at once (0), or take it for that host's."""


@BOTH
@pytest.mark.parametrize("version", [V.TLSv1_2, V.TLSv1_3])
@pytest.mark.parametrize("begun", [BANK, HOST])
def test_a_resumed_session_does_not_stand_for_a_certificate(
    front: Lab, proxy: str, version: ssl.TLSVersion, begun: str
) -> None:
    """A session begun without one, at this host or another, and taken up again for this host."""
    how = context(version, version)
    with secured(front, proxy, begun, how) as connection:
        status(connection, begun)
        session = connection.session
    front.heard.clear()
    found = 0
    with contextlib.suppress(ssl.SSLError, ConnectionError), secured(front, proxy, BANK, how, session) as connection:
        found = status(connection, BANK)
    assert (True, []) == (found in ANSWERS[begun], front.heard)


MISDIRECTED = [(BANK, HOST), (HOST, BANK), ("unknown.test", BANK), (None, BANK)]


@BOTH
@pytest.mark.parametrize(("name", "host"), MISDIRECTED)
def test_a_connection_for_one_host_is_not_for_one_that_asks_for_certificates(
    front: Lab, files: dict[str, Path], proxy: str, name: str | None, host: str
) -> None:
    how = context(certificate=files["good"] if name == BANK else None)
    with secured(front, proxy, name, how) as connection:
        assert 421 == status(connection, host)


@BOTH
def test_http2_connections_are_not_reused_across_them(front: Lab, proxy: str) -> None:
    """RFC 9110, 15.5.20: the client makes a connection of its own."""
    with secured(front, proxy, HOST, context(protocols=["h2"])) as connection:
        assert ["200", "421", "200"] == list(asked(connection, (HOST, BANK, HOST)))


def asked(connection: socket.socket, hosts: Sequence[str]) -> Iterator[str]:
    state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    state.initiate_connection()
    for host in hosts:
        stream = state.get_next_available_stream_id()
        state.send_headers(
            stream, [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", "/")], end_stream=True
        )
        connection.sendall(state.data_to_send())
        ended = False
        while not ended:
            for event in state.receive_data(connection.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    yield str(dict(event.headers)[":status"])
                ended = ended or isinstance(event, h2.events.StreamEnded)
            connection.sendall(state.data_to_send())
