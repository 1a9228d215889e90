"""Does a proxy ever see one request where the backend sees two, or the other way round?

Each row is what a client sends on one connection; a plain request follows on it where the proxy leaves it open, so that
anything smuggled in would be answered before. What the backend is told never says two things: one Host, and one length.
"""

from collections.abc import Iterator

import pytest
from tests.routing.front_door.front_lab import HOST, Lab, lab, table

SMUGGLED = f"GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
ENDED = b"0\r\n\r\n" + SMUGGLED
GET, POST, A = "GET /x HTTP/1.1", "POST /x HTTP/1.1", f"Host: {HOST}"
TE = "Transfer-Encoding: chunked"
X = ["/x"]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("front")) as found:
        found.serve(table())
        yield found


def said(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


BAD = [400, 400, []]
UNKNOWN = [501, 501, []]
GOOD = [200, 200, X]
ROWS: dict[str, tuple[bytes, list[object]]] = {
    "a plain request": (said(GET, A), GOOD),
    "length and chunks": (said(POST, A, "Content-Length: 5", TE, body=ENDED), BAD),
    "chunks and length": (said(POST, A, TE, f"Content-Length: {len(ENDED)}", body=ENDED), BAD),
    "two lengths": (said(POST, A, "Content-Length: 0", f"Content-Length: {len(SMUGGLED)}", body=SMUGGLED), BAD),
    "the same length twice": (said(POST, A, "Content-Length: 0", "Content-Length: 0"), BAD),
    "a list of lengths": (said(POST, A, f"Content-Length: 0, {len(SMUGGLED)}", body=SMUGGLED), BAD),
    "a length with a sign": (said(POST, A, f"Content-Length: +{len(SMUGGLED)}", body=SMUGGLED), BAD),
    "a negative length": (said(POST, A, "Content-Length: -1", body=SMUGGLED), BAD),
    "a length in hexadecimal": (said(POST, A, "Content-Length: 0x10", body=SMUGGLED), BAD),
    "a length beyond 64 bits": (said(POST, A, "Content-Length: 99999999999999999999", body=SMUGGLED), BAD),
    "no length in its header": (said(POST, A, "Content-Length: ", body=SMUGGLED), BAD),
    "an unknown coding that ends alike": (said(POST, A, "Transfer-Encoding: xchunked", body=ENDED), UNKNOWN),
    "chunked is not the last coding": (said(POST, A, "Transfer-Encoding: chunked, identity", body=ENDED), UNKNOWN),
    "another coding first": (said(POST, A, "Transfer-Encoding: gzip, chunked", body=ENDED), UNKNOWN),
    "chunked twice": (said(POST, A, TE, TE, body=ENDED), [501, 400, []]),
    "chunked, and identity in another line": (said(POST, A, TE, "Transfer-Encoding: identity", body=ENDED), [501, 400, []]),
    "a vertical tab before chunked": (said(POST, A, "Transfer-Encoding: \x0bchunked", body=ENDED), [400, 501, []]),
    "chunked in quotes": (said(POST, A, 'Transfer-Encoding: "chunked"', body=ENDED), UNKNOWN),
    "chunked on a folded line": (said(POST, A, "Transfer-Encoding:", " chunked", body=b"0\r\n\r\n"), [200, 400, X]),
    "a folded line (RFC 9112, 5.2)": (said(GET, A, "X-A: 1", " X-B: 2"), [200, 400, X]),
    "CR alone in a value": (said(GET, A, "X-A: 1\rX-B: 2"), [200, 400, X]),
    "LF alone as a line's end": (said(GET, A, "X-A: 1\nX-B: 2"), GOOD),
    "NUL in a value": (said(GET, A, "X-A: 1\x002"), BAD),
    "a blank before the colon": (said(POST, A, f"Content-Length : {len(SMUGGLED)}", body=SMUGGLED), BAD),
    "a blank before the colon of chunked": (said(POST, A, "Transfer-Encoding : chunked", body=ENDED), BAD),
    "a blank in a name": (said(GET, A, "X A: 1"), BAD),
    "a blank before the first header": (said(GET, f" {A}"), BAD),
    "a chunk's extension": (said(POST, A, TE, body=b"5;a=b\r\nhello\r\n0\r\n\r\n"), GOOD),
    "a chunk's extension that ends with LF": (said(POST, A, TE, body=b"5;a\nhello\r\n0\r\n\r\n"), [400, 200, None]),
    "a chunk of 2**68 octets": (said(POST, A, TE, body=b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), BAD),
    "a chunk of -5 octets": (said(POST, A, TE, body=b"-5\r\nhello\r\n0\r\n\r\n"), BAD),
    "a chunk of 0x5 octets": (said(POST, A, TE, body=b"0x5\r\nhello\r\n0\r\n\r\n"), BAD),
    "a chunk longer than it says": (said(POST, A, TE, body=b"5\r\nhelloXX" + ENDED), BAD),
    "chunks in HTTP/1.0": (said("POST /x HTTP/1.0", A, TE, body=ENDED), [200, 400, None]),
    "HTTP/1.0": (said("GET /x HTTP/1.0", A), GOOD),
    "HTTP/0.9": (b"GET /x\r\n\r\n", [404, None, []]),
    "the target's host, not the header's": (said(f"GET http://{HOST}/x HTTP/1.1", "Host: b.test"), GOOD),
    "the target's host is another's": (said("GET http://b.test/x HTTP/1.1", A), [200, 200, []]),
    "no Host": (said(GET), BAD),
    "two Hosts": (said(GET, A, "Host: b.test"), [404, 400, []]),
    "the same Host twice": (said(GET, A, A), [404, 400, []]),
    "a list of Hosts": (said(GET, f"{A}, b.test"), BAD),
    "a path in Host": (said(GET, f"{A}/secret"), BAD),
    "a user in Host": (said(GET, "Host: user@a.test"), [404, 404, []]),
    "a blank in the target": (said("GET /x y HTTP/1.1", A), BAD),
    "a fragment in the target": (said("GET /x#/../secret HTTP/1.1", A), BAD),
    "a method that is none": (said("G@T /x HTTP/1.1", A), BAD),
    "CONNECT": (said("CONNECT a.test:80 HTTP/1.1", A), [404, 400, []]),
    "TRACE": (said("TRACE /x HTTP/1.1", A), [200, 405, None]),
    "two requests at once": (said(GET, A) + said(GET, A), [200, 200, ["/x", "/x"]]),
    "a body that looks like a request": (said(GET, A, f"Content-Length: {len(SMUGGLED)}", body=SMUGGLED), GOOD),
    "octets of TLS": (b"\x16\x03\x01\x00\x00\r\n\r\n", BAD),
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_one_request_is_one_request(front: Lab, proxy: str, row: str) -> None:
    octets, (*both, heard) = ROWS[row]
    expected = both[proxy == "nginx"]
    found = front.raw(proxy, octets)
    backend = [each for each in front.heard if each.path != "/after"]
    assert {expected} - {None} == set(found)
    if heard is None:
        heard = X if expected == 200 else []
    if expected not in (400, 501):
        assert heard == [each.path for each in backend]
    else:
        assert [] == backend
    for each in backend:
        lengths = (*each.all("content-length"), *each.all("transfer-encoding"))
        assert (1, True, True) == (
            len(each.all("host")),
            len(lengths) <= 1,
            lengths[:1] in ((), ("0",), ("5",), ("40",), ("chunked",)),
        )
        assert HOST == each.one("host").lower()


UPGRADES = {
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
    "h2c, Connection without the settings": ("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
    "another protocol": ("Connection: Upgrade", "Upgrade: tls/1.0"),
    "WebSocket or h2c": ("Connection: Upgrade", "Upgrade: websocket, h2c"),
}


@pytest.mark.parametrize("row", UPGRADES)
@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_only_websockets_may_leave_http(front: Lab, proxy: str, row: str) -> None:
    """A tunnel in another protocol would pass by every rule."""
    front.raw(proxy, said(GET, A, *UPGRADES[row]))
    told = [(each.one("upgrade"), each.one("connection"), each.one("http2-settings")) for each in front.heard]
    assert set() == set(told) - {("", "", ""), ("", "close", ""), ("", "keep-alive", "")}


@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_rules_hold_for_websockets(front: Lab, proxy: str) -> None:
    key = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    found = front.raw(proxy, said("GET /x/../secret HTTP/1.1", A, "Connection: Upgrade", "Upgrade: websocket", *key))
    assert ((403,), []) == (found, [each.path for each in front.heard if each.path != "/after"])


def test_a_value_never_becomes_a_header(front: Lab) -> None:
    """Folded, or after a CR alone: Envoy takes them as one value, NGINX refuses them."""
    for octets in (said(GET, A, "X-A: 1", " X-B: 2"), said(GET, A, "X-A: 1\rX-B: 2")):
        front.raw("envoy", octets)
        assert ((), 1) == (front.heard[0].all("x-b"), len(front.heard[0].all("x-a")))
        assert "\r" not in front.heard[0].one("x-a")


def test_names_with_underscores_are_dropped(front: Lab) -> None:
    """A backend that reads `_` as `-` would take them for what the proxy itself says."""
    for proxy in front.proxies:
        front.raw(proxy, said(GET, A, "X_Real_IP: 192.0.2.7", "Content_Length: 5"))
        assert ((), ()) == (front.heard[0].all("x_real_ip"), front.heard[0].all("content_length"))


def test_connection_never_takes_away_what_the_proxy_says(front: Lab) -> None:
    """Fields that Connection names end at a proxy; those of the proxy's own must not."""
    for proxy in front.proxies:
        for name in ("x-real-ip", "x-forwarded-for", "x-forwarded-proto", "host", "x-request-id"):
            front.raw(proxy, said(GET, A, f"Connection: {name}"))
            assert [] == [each for each in front.heard if each.path == "/x" and not each.all(name)], f"{proxy} {name}"
