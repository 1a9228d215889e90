"""Do hosts share filter chains, and is each still shown the certificate that the table says?"""

import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509
from envoy.config.listener.v3.listener_pb2 import Listener as EnvoyListener
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.routing.proxy_lab import Loop, envoy

from mooring.routing.placement import Placement
from mooring.routing.table import (
    Answer,
    Certificate,
    Chain,
    ClientCertificates,
    FrontDoor,
    Listener,
    Match,
    Route,
    RouteTable,
    Terminate,
    VirtualHost,
)
from mooring.routing.xds import sharing
from mooring.routing.xds.emit import Emitter
from mooring.routing.xds.wire import LISTENER
from mooring.testing.certificates import self_signed

HOSTS = (VirtualHost("all", ("*",), (Route("all", Match(), Answer(200, "hello")),)),)


def table(certificates: Mapping[str, Certificate]) -> RouteTable:
    """A chain for each, by its name; `*` for all others."""
    chains = [Chain((name,), HOSTS, Terminate(f"of {name}")) for name in certificates]
    listeners = (Listener("http", 80, (Chain(("*",), HOSTS),)), Listener("https", 443, tuple(chains)))
    keyed = {f"of {name}": each for name, each in certificates.items()}
    return RouteTable(listeners, {}, keyed, FrontDoor(access_log=False))


def names(count: int) -> list[str]:
    return [f"h{number}.test" for number in range(count)]


def chains_of(wish: RouteTable) -> list[list[str]]:
    listener = EnvoyListener.FromString(Emitter(Placement("/nowhere")).emit(wish)[LISTENER]["https"])
    found = [each.name for each in listener.filter_chains]
    assert len(set(found)) == len(found)
    return [list(each.filter_chain_match.server_names) for each in listener.filter_chains]


def test_many_hosts_have_few_chains() -> None:
    found = chains_of(table({name: self_signed(name) for name in ("*", *names(300))}))
    assert sharing.SHARED + 1 == len(found)
    assert sorted(names(300)) == sorted(name for each in found for name in each)


def together(certificates: Mapping[str, tuple[str, ...]], *more: Chain) -> set[frozenset[str]]:
    """Of chains with one name each, whose certificates are for these names: which are one."""
    chains = [*(Chain((name,), HOSTS, Terminate(name)) for name in certificates), *more]
    found = sharing.together(chains, dict.fromkeys(range(len(chains)), "routes"), lambda key: frozenset(certificates[key]))
    return {frozenset(chains[place].server_names[0] for place in places) for places in found.values()}


SAME, WILD = ("a.x.test", "b.x.test"), ("*.x.test",)


@pytest.mark.parametrize(
    ("certificates", "expected"),
    [
        pytest.param({"a.x.test": ("a.x.test",), "b.x.test": ("b.x.test",)}, {frozenset(SAME)}, id="each its own name"),
        pytest.param({"a.x.test": ("a.x.test",), "b.x.test": WILD}, {frozenset(SAME)}, id="a name goes before a wildcard"),
        pytest.param({"a.x.test": SAME, "b.x.test": ("b.x.test",)}, set(), id="two for one name"),
        pytest.param({"a.x.test": WILD, "b.x.test": SAME}, set(), id="its wildcard loses to another's name"),
        pytest.param({"a.x.test": WILD, "b.x.test": WILD}, set(), id="two of the same wildcard"),
        pytest.param({"a.x.test": ("other.test",), "b.x.test": ("b.x.test",)}, set(), id="not for its host"),
        pytest.param({"a.x.test": (), "b.x.test": ("b.x.test",)}, set(), id="for nobody"),
        pytest.param({"*.x.test": WILD, "b.y.test": ("b.y.test",)}, set(), id="a wildcard host stays alone"),
    ],
)
def test_who_shares(
    certificates: Mapping[str, tuple[str, ...]], expected: set[frozenset[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "SHARED", 1)
    assert expected == together(certificates)


def test_who_asks_for_client_certificates_or_has_other_ciphers_does_not_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SHARED", 1)
    clients = Chain(("c.test",), HOSTS, Terminate("c.test", ClientCertificates(b"")))
    others = Chain(("d.test",), HOSTS, Terminate("d.test", ciphers="AES128-SHA"))
    own = {name: (name,) for name in ("a.test", "b.test")}
    assert {frozenset(own)} == together(own, clients, others)


@given(st.dictionaries(st.sampled_from(["a.x", "b.x", "c.x", "d.y"]), st.sets(st.sampled_from(["a.x", "b.x", "*.x", "d.y"]))))
def test_the_certificate_is_always_the_tables(certificates: Mapping[str, set[str]]) -> None:
    """Whatever is one: of its certificates only the host's own has the name, or else the wildcard."""
    sharing_all = {name: tuple(covered) for name, covered in certificates.items()}
    for one in together(sharing_all):
        for host in one:
            exact = {other for other in one if host in certificates[other]}
            wild = {other for other in one if f"*.{host.partition('.')[2]}" in certificates[other]}
            assert {host} == (exact or wild)


def test_a_real_envoy_shows_each_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SHARED", 2)
    certificates = {name: self_signed(name) for name in ("*", *names(12))}
    certificates["w.wild.test"] = self_signed("*.wild.test")
    certificates["h3.test"] = self_signed("subject.test", "h3.test")
    with Loop() as loop, envoy(loop, tmp_path) as proxy:
        proxy.serve(table(certificates), {})
        shown = {name: subject(proxy.ports[443], name) for name in (*certificates, "unknown.test")}
        own = {name: name for name in certificates} | {"w.wild.test": "*.wild.test", "h3.test": "subject.test"}
        assert {**own, "unknown.test": "*"} == shown
        # A rotation, and a host more, leave the others theirs.
        certificates["h5.test"] = structs.replace(self_signed("rotated.test", "h5.test"), source="rotated")
        proxy.serve(table({**certificates, "more.test": self_signed("more.test")}), {})
        expected = {**own, "h5.test": "rotated.test", "more.test": "more.test"}
        assert expected == {name: subject(proxy.ports[443], name) for name in expected}


def subject(port: int, name: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(plain, server_hostname=name) as opened:
        shown = x509.load_der_x509_certificate(opened.getpeercert(True) or b"")
    return shown.subject.rfc4514_string().removeprefix("CN=")
