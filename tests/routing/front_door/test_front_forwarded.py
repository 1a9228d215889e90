"""Whose word about a client reaches the backend, and can a client's headers steer the proxy?"""

import re
from collections.abc import Iterator, Sequence

import pytest
from tests.routing.front_door.front_lab import HOST, Lab, Reply, connected, lab, replied, table

from mooring.routing.simulate import Request, simulate
from mooring.routing.table import FrontDoor

BOTH = pytest.mark.parametrize("proxy", ["envoy", "nginx"])
HERE = "127.0.0.1"
CLAIMS = (
    "X-Forwarded-For: 192.0.2.9",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: other.test",
    "X-Forwarded-Port: 4444",
    "X-Forwarded-Scheme: https",
    "X-Scheme: https",
    "X-Real-IP: 192.0.2.8",
)
NAMES = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-scheme",
    "x-scheme",
    "x-real-ip",
)
OWN = (HERE, "http", HOST, "80", "http", "http", HERE)
BELIEVED = (f"192.0.2.9,{HERE}", "https", "other.test", "4444", "https", "https", "192.0.2.9")
DOORS = {
    "nobody is believed": FrontDoor(),
    "one proxy before": FrontDoor(trusted_hops=1),
    "proxies of this network": FrontDoor(trusted_proxies=("127.0.0.0/8",)),
    "proxies of another network": FrontDoor(trusted_proxies=("10.0.0.0/8", "2001:db8::/32")),
}
CHAIN = "X-Forwarded-For: 192.0.2.1, 192.0.2.2, 127.0.0.9"
ROWS: dict[str, list[tuple[Sequence[str], tuple[str, ...]]]] = {
    "nobody is believed": [((), OWN), (CLAIMS, OWN), ((CHAIN,), OWN), (("X-Forwarded-For: nonsense",), OWN)],
    "one proxy before": [
        ((), OWN),
        (CLAIMS, BELIEVED),
        ((CHAIN,), (f"192.0.2.1,192.0.2.2,127.0.0.9,{HERE}", *OWN[1:6], "127.0.0.9")),
        (("X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"), (f"192.0.2.1,192.0.2.2,{HERE}", *OWN[1:6], "192.0.2.2")),
        (("X-Forwarded-For: nonsense",), (f"nonsense,{HERE}", *OWN[1:])),
    ],
    "proxies of this network": [
        ((), OWN),
        (CLAIMS, BELIEVED),
        # The right-most that is no proxy of ours.
        ((CHAIN,), (f"192.0.2.1,192.0.2.2,127.0.0.9,{HERE}", *OWN[1:6], "192.0.2.2")),
        (("X-Forwarded-For: nonsense",), (f"nonsense,{HERE}", *OWN[1:])),
    ],
    "proxies of another network": [((), OWN), (CLAIMS, OWN), ((CHAIN,), OWN)],
}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("front")) as found:
        yield found


@pytest.mark.parametrize("door", DOORS)
def test_a_claim_counts_only_from_a_proxy_that_is_believed(front: Lab, door: str) -> None:
    """Wherever a scheme is named, too: behind a proxy that ends TLS, a redirect to plain HTTP would go round in circles."""
    wish = table(DOORS[door])
    front.serve(wish)
    for proxy in front.proxies:
        for headers, expected in ROWS[door]:
            front.ask(proxy, headers=headers)
            found = tuple(front.heard[0].one(name).replace(", ", ",") for name in NAMES)
            assert expected == found, (proxy, headers)
            told = front.ask(proxy, "/told", headers=headers)
            front.ask(proxy, "/named", headers=headers)
            claims = tuple((name, value) for name, _, value in (each.partition(": ") for each in headers))
            foreseen = simulate(wish, Request(HOST, "/told", headers=claims)).location
            named = told.one("location"), told.one("x-where"), front.heard[0].one("x-where"), foreseen
            assert (f"{expected[1]}://{HOST}",) * 4 == named, (proxy, headers)


def test_what_clients_say_of_their_way_is_handed_on_under_another_name(front: Lab) -> None:
    """As ingress-nginx does."""
    rows = (
        ((), ""),
        ((CHAIN,), "192.0.2.1, 192.0.2.2, 127.0.0.9"),
        (("X-Original-Forwarded-For: 192.0.2.3",), ""),
        ((CHAIN, "X-Original-Forwarded-For: 192.0.2.3"), "192.0.2.1, 192.0.2.2, 127.0.0.9"),
    )
    front.serve(table())
    for proxy in front.proxies:
        for headers, expected in rows:
            front.ask(proxy, headers=headers)
            assert expected == front.heard[0].one("x-original-forwarded-for"), (proxy, headers)


PROXY_V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 80\r\n"
PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes((192, 0, 2, 7, 192, 0, 2, 1)) + b"\x15\xb3\0\x50"


def begun(front: Lab, proxy: str, first: bytes) -> Reply | None:
    front.heard.clear()
    with connected(front.port(proxy)) as connection, connection.makefile("rb") as stream:
        connection.sendall(
            first + f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 192.0.2.99\r\nConnection: close\r\n\r\n".encode()
        )
        try:
            return replied(stream)
        except (EOFError, ConnectionError):
            return None


def test_the_proxy_protocol_is_spoken_where_it_is_asked_for(front: Lab) -> None:
    front.heard.clear()
    front.serve_as_it_is(table(FrontDoor(proxy_protocol=True)), PROXY_V1)
    for proxy in front.proxies:
        for first in (PROXY_V1, PROXY_V2):
            reply = begun(front, proxy, first)
            assert reply is not None
            told = front.heard[0]
            assert (200, "192.0.2.7", "192.0.2.7") == (reply.status, told.one("x-real-ip"), told.one("x-forwarded-for")), proxy
        reply = begun(front, proxy, b"")
        assert ([], True) == (front.heard, reply is None or reply.status == 400), proxy
    front.serve_as_it_is(table())


def test_the_proxy_protocol_is_refused_where_it_is_not(front: Lab) -> None:
    front.serve(table())
    for proxy in front.proxies:
        for first in (PROXY_V1, PROXY_V2):
            reply = begun(front, proxy, first)
            assert ([], True) == (front.heard, reply is None or reply.status == 400), proxy


@pytest.fixture(scope="module")
def plain(front: Lab) -> Lab:
    front.serve(table())
    return front


@BOTH
def test_a_request_has_an_id(plain: Lab, proxy: str) -> None:
    plain.ask(proxy, headers=["X-Request-ID: abc-1.2:3_4"])
    assert "abc-1.2:3_4" == plain.heard[0].one("x-request-id")
    found = set()
    for _ in range(3):
        plain.ask(proxy)
        found.add(plain.heard[0].one("x-request-id"))
    assert (3, True) == (len(found), all(re.fullmatch("[0-9a-f-]{32,36}", each) for each in found))
    plain.ask(proxy, headers=["X-Request-ID: " + "a" * 500])
    assert 1 <= len(plain.heard[0].one("x-request-id")) <= 128


@BOTH
def test_trace_context_passes(plain: Lab, proxy: str) -> None:
    context = ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=b,c=d", "x=y")
    plain.ask(proxy, headers=[f"traceparent: {context[0]}", f"tracestate: {context[1]}", f"baggage: {context[2]}"])
    assert context == tuple(plain.heard[0].one(name) for name in ("traceparent", "tracestate", "baggage"))


STEERING = (
    "ssl-client-verify: SUCCESS",
    "ssl-client-subject-dn: CN=admin",
    "ssl-client-issuer-dn: CN=admin",
    "ssl-client-cert: x",
    "X-Forwarded-Client-Cert: Hash=1",
    "Proxy: http://192.0.2.1/",
    "Forwarded: for=192.0.2.1;proto=https",
    "x-envoy-retry-on: 5xx,retriable-status-codes",
    "x-envoy-retry-grpc-on: internal",
    "x-envoy-max-retries: 9",
    "x-envoy-retriable-status-codes: 200,500",
    "x-envoy-retriable-header-names: server",
    "x-envoy-hedge-on-per-try-timeout: true",
    "x-envoy-upstream-rq-timeout-ms: 1",
    "x-envoy-upstream-rq-per-try-timeout-ms: 1",
    "x-envoy-upstream-alt-stat-name: x",
    "x-envoy-expected-rq-timeout-ms: 1",
    "x-envoy-original-path: /secret",
    "x-envoy-original-host: b.test",
    "x-envoy-internal: true",
    "x-envoy-external-address: 192.0.2.1",
    "x-envoy-force-trace: 1",
    "x-envoy-decorator-operation: x",
    "x-envoy-ip-tags: x",
    "x-envoy-attempt-count: 7",
    "x-envoy-is-timeout-retry: true",
)


@BOTH
@pytest.mark.parametrize("path", ["/", "/status/500"])
def test_clients_do_not_steer(plain: Lab, proxy: str, path: str) -> None:
    """One answer of one attempt, whatever a client says; and none of it reaches the backend."""
    reply = plain.ask(proxy, path, headers=STEERING)
    assert (200 if path == "/" else 500, 1) == (reply.status, len(plain.heard))
    names = {each.partition(":")[0].lower() for each in STEERING}
    assert set() == {name for name, _ in plain.heard[0].headers} & names
