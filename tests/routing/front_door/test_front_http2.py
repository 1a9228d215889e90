"""Does HTTP/2 let anything through that HTTP/1.1 would not, and can one connection hurt the others?"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hyperframe.frame import ContinuationFrame, HeadersFrame, RstStreamFrame
from tests.routing.front_door.front_backend import Heard
from tests.routing.front_door.front_http2 import Http2
from tests.routing.front_door.front_lab import Lab, lab, resident, table

from mooring.routing.table import FrontDoor

BOTH = pytest.mark.parametrize("proxy", ["envoy", "nginx"])
STREAMS = 5

ROWS: dict[str, tuple[dict[str, object], tuple[int, int]]] = {
    # what is sent: (Envoy's answer, NGINX's), 0 for a stream or connection that was ended
    "a plain request": ({}, (200, 200)),
    "a length longer than the body": ({"method": "POST", "headers": [("content-length", "5")], "body": b"abc"}, (0, 400)),
    "a length shorter than the body": ({"method": "POST", "headers": [("content-length", "2")], "body": b"abc"}, (0, 400)),
    "a length without a body": ({"method": "POST", "headers": [("content-length", "5")]}, (0, 400)),
    "two lengths": (
        {"method": "POST", "headers": [("content-length", "3"), ("content-length", "0")], "body": b"abc"},
        (0, 400),
    ),
    "Connection": ({"headers": [("connection", "x-a"), ("x-a", "1")]}, (0, 200)),
    "Upgrade": ({"headers": [("connection", "upgrade"), ("upgrade", "websocket")]}, (0, 200)),
    "Transfer-Encoding": ({"method": "POST", "headers": [("transfer-encoding", "chunked")], "body": b"0\r\n\r\n"}, (0, 200)),
    "Host that is another than :authority": ({"headers": [("host", "b.test")]}, (200, 400)),
    "two :authority": ({"headers": [(":authority", "b.test")]}, (0, 400)),
    "two :path": ({"headers": [("x-a", "1"), (":path", "/secret")]}, (0, 400)),
    "an unknown pseudo-header": ({"headers": [(":x", "1")]}, (0, 400)),
    "a line's end in a value": ({"headers": [("x-a", "1\r\nx-b: 2")]}, (0, 0)),
    "a line's end in a name": ({"headers": [("x-a: 1\r\nx-b", "1")]}, (0, 0)),
    "NUL in a value": ({"headers": [("x-a", "1\0")]}, (0, 0)),
    "a colon in a name": ({"headers": [("x:a", "1")]}, (0, 0)),
    "capitals in a name": ({"headers": [("X-A", "1")]}, (0, 0)),
    "a request in the path": ({"path": "/x HTTP/1.1\r\nHost: b.test\r\n\r\n"}, (0, 0)),
    "a request in the method": ({"method": "GET /secret HTTP/1.1\r\nx: "}, (0, 0)),
    "a request in :authority": ({"host": "a.test\r\nx-b: 1"}, (0, 0)),
    "a path in :authority": ({"host": "a.test/secret"}, (0, 400)),
    "a path that is none": ({"path": "secret"}, (0, 400)),
    "no path": ({"path": ""}, (0, 400)),
    "CONNECT": ({"method": "CONNECT"}, (0, 405)),
    "a closed path": ({"path": "/x/../secret"}, (403, 403)),
}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("front")) as found:
        found.serve(table(FrontDoor(streams=STREAMS), tls=True))
        yield found


@pytest.fixture(scope="module")
def answers(front: Lab) -> Mapping[tuple[str, str], int]:
    """All at a time: Envoy waits a second before it closes a connection on which something was wrong."""

    def answer(proxy: str, row: str) -> int:
        sent, _ = ROWS[row]
        mark = ("x-row", f"{proxy} {row}")
        with Http2(front.port(proxy, 443)) as client:
            return client.result(client.send(**{**sent, "headers": [*sent.get("headers", ()), mark]}))  # type: ignore[arg-type,misc]

    front.heard.clear()
    with ThreadPoolExecutor(2 * len(ROWS)) as pool:
        found = {(proxy, row): pool.submit(answer, proxy, row) for proxy in front.proxies for row in ROWS}
        return {each: result.result() for each, result in found.items()}


@pytest.fixture(scope="module")
def told(front: Lab, answers: Mapping[tuple[str, str], int]) -> Sequence[Heard]:
    return tuple(front.heard)


@BOTH
@pytest.mark.parametrize("row", ROWS)
def test_the_backend_is_told_one_thing(
    answers: Mapping[tuple[str, str], int], told: Sequence[Heard], proxy: str, row: str
) -> None:
    answer, heard = answers[proxy, row], [each for each in told if each.one("x-row") == f"{proxy} {row}"]
    assert ROWS[row][1][proxy == "nginx"] == answer
    assert (answer == 200) == bool(heard)
    for each in heard:
        lengths = (*each.all("content-length"), *each.all("transfer-encoding"))
        assert ("a.test", "/", (), (), True) == (
            each.one("host"),
            each.path,
            each.all("x-b"),
            (*each.all("connection"), *each.all("upgrade")),
            len(lengths) <= 1,
        )


@BOTH
def test_streams_at_a_time_are_limited(front: Lab, proxy: str) -> None:
    front.backend.go_on.clear()
    front.heard.clear()
    with Http2(front.port(proxy, 443)) as client:
        while not client.state.remote_settings.max_concurrent_streams < 2**16:
            client.read()
        assert STREAMS == client.state.remote_settings.max_concurrent_streams
        streams = [client.send(path="/stream") for _ in range(STREAMS)]
        while len(client.bodies) < STREAMS:
            client.read()
        # The library knows the limit, so that one more is written by hand.
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/over")]
        over = HeadersFrame(streams[-1] + 2, client.state.encoder.encode(fields), flags=["END_HEADERS", "END_STREAM"])
        client.raw(over.serialize())
        client.state.ping(b"8 octets")
        client.flush()
        while not (client.pinged or client.ended):
            client.read()
        front.backend.go_on.set()
        assert ["/stream"] * STREAMS == [each.path for each in front.heard]


@BOTH
def test_streams_reset_at_once_hurt_nobody(front: Lab, proxy: str) -> None:
    """CVE-2023-44487: the proxy ends the connection, or at least goes on with the others."""
    with Http2(front.port(proxy, 443)) as client, Http2(front.port(proxy, 443)) as other:
        head = client.state.encoder.encode
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x")]
        for first in range(1, 6000, 200):
            octets = b""
            for stream in range(first, first + 200, 2):
                begun = HeadersFrame(stream, head(fields), flags=["END_HEADERS", "END_STREAM"])
                octets += begun.serialize() + RstStreamFrame(stream, error_code=8).serialize()
            client.raw(octets)
        assert 200 == other.result(other.send())
    with Http2(front.port(proxy, 443)) as after:
        assert 200 == after.result(after.send())


@BOTH
def test_headers_without_an_end_are_ended(front: Lab, proxy: str) -> None:
    """CONTINUATION frames that never end fill no memory. Envoy ends the connection; NGINX throws away what is too much."""
    before = resident(front.port(proxy, 443))
    with Http2(front.port(proxy, 443)) as client:
        sent, piece = 0, client.state.encoder.encode([("x-a", "x" * 8000)])
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x")]
        client.raw(HeadersFrame(1, client.state.encoder.encode(fields)).serialize())
        while not client.ended and sent < 20_000_000:
            octets = ContinuationFrame(1, piece).serialize() * 20
            client.raw(octets)
            sent += len(octets)
        assert proxy == "nginx" or client.ended
        assert 10_000_000 > resident(front.port(proxy, 443)) - before
    with Http2(front.port(proxy, 443)) as after:
        assert 200 == after.result(after.send())
