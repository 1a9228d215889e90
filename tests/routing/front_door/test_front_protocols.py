"""Does everything that clients speak get through whole: HTTP/1.1, 2 and 3, streams, trailers, interim answers, large bodies?

gRPC and WebSocket through both proxies: tests/examples, tests/edges/nginx/test_nginx_protocols.py.
"""

import asyncio
import json
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent
from tests.routing.front_door.front_http2 import Http2
from tests.routing.front_door.front_lab import HOST, Lab, connected, lab, replied, table

BOTH = pytest.mark.parametrize("proxy", ["envoy", "nginx"])
LARGE = 3_000_000


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("front")) as found:
        found.serve(table(tls=True))
        yield found


@BOTH
def test_events_are_not_held_back(front: Lab, proxy: str) -> None:
    """The second is not sent before the first has come through."""
    front.backend.go_on.clear()
    with connected(front.port(proxy)) as connection, connection.makefile("rb") as stream:
        connection.sendall(f"GET /stream HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        for event in (b"data: 1\n", b"data: 2\n"):
            assert event in iter(stream.readline, b"")
            front.backend.go_on.set()


@BOTH
def test_large_bodies_pass_both_ways(front: Lab, proxy: str) -> None:
    assert b"x" * LARGE == front.ask(proxy, f"/big/{LARGE}").body
    reply = front.ask(proxy, "/big/1", method="PUT", body=b"y" * LARGE)
    assert (200, b"y" * LARGE) == (reply.status, front.heard[0].body)


@BOTH
def test_who_waits_for_100_gets_it(front: Lab, proxy: str) -> None:
    with connected(front.port(proxy)) as connection, connection.makefile("rb") as stream:
        connection.sendall(f"POST /x HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n".encode())
        assert b"HTTP/1.1 100 Continue\r\n" == stream.readline()
        assert b"\r\n" == stream.readline()
        connection.sendall(b"hello")
        reply = replied(stream)
    assert (200, 5) == (reply.status, json.loads(reply.body)["octets"])


@BOTH
def test_head_has_a_length_and_no_body(front: Lab, proxy: str) -> None:
    with connected(front.port(proxy)) as connection, connection.makefile("rb") as stream:
        connection.sendall(f"HEAD /big/77 HTTP/1.1\r\nHost: {HOST}\r\n\r\nGET /big/3 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert ("77", b"") == ((head := replied(stream, "HEAD")).one("content-length"), head.body)
        assert b"xxx" == replied(stream).body


@BOTH
def test_an_answer_in_chunks_is_whole(front: Lab, proxy: str) -> None:
    """Trailers of HTTP/1.1 end at a proxy that need not merge them (RFC 9110, 6.5.1); those of gRPC do not."""
    reply = front.ask(proxy, "/trailers")
    assert (200, b"body") == (reply.status, reply.body)


@BOTH
def test_http2_passes_bodies_both_ways(front: Lab, proxy: str) -> None:
    with Http2(front.port(proxy, 443)) as client:
        first = client.send(path=f"/big/{LARGE}")
        second = client.send(path="/x", method="POST", body=b"z" * 10_000)
        assert (200, 200) == (client.result(first), client.result(second))
        assert (LARGE, 10_000) == (len(client.bodies[first]), json.loads(client.bodies[second])["octets"])


class Http3(QuicConnectionProtocol):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.http = H3Connection(self._quic)
        self.status, self.body = "", b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event: QuicEvent) -> None:
        for each in self.http.handle_event(event):
            if isinstance(each, HeadersReceived):
                self.status = dict(each.headers)[b":status"].decode()
            if isinstance(each, DataReceived):
                self.body += each.data
            if isinstance(each, HeadersReceived | DataReceived) and each.stream_ended and not self.ended.done():
                self.ended.set_result(None)

    async def ask(self, path: str) -> tuple[str, bytes]:
        stream = self._quic.get_next_available_stream_id()
        fields = {":method": "GET", ":scheme": "https", ":authority": HOST, ":path": path}
        self.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in fields.items()], end_stream=True)
        self.transmit()
        await asyncio.wait_for(self.ended, 60)
        return self.status, self.body


async def over_quic(port: int, path: str) -> tuple[str, bytes]:
    settings = QuicConfiguration(alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, server_name=HOST)
    async with connect("127.0.0.1", port, configuration=settings, create_protocol=Http3) as client:
        assert isinstance(client, Http3)
        return await client.ask(path)


def test_http3_is_spoken_and_told_of(front: Lab) -> None:
    """By Envoy; NGINX's lack is told. The same rules hold."""
    port = front.port("envoy", 443)
    assert ("200", b"x" * 100_000) == asyncio.run(over_quic(port, "/big/100000"))
    assert ("403", b"") == asyncio.run(over_quic(port, "/x/../secret"))
    assert ("400", b"") == asyncio.run(over_quic(port, "/x%2fsecret"))
