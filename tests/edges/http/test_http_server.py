"""Does the HTTP edge carry requests and outcomes as it should, and stay unmoved by what is malformed?"""

import asyncio
import gzip
import json
import socket
import ssl
import warnings

import pytest
from http_lab import MAX_BODY, Place, Start, until

from mooring.edges.http.server_connection import Patience
from mooring.store.records import Put, Txn

CHUNKED = b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_request_reaches_the_core_decoded_and_the_answer_comes_back(place: Place) -> None:
    async with place.connect() as client:
        status, body = await client.ask("POST", "/echo?a=1&a=2&b=%2F&c=", b"hello")
    assert (status, json.loads(body)) == (200, ["POST", "/echo", [["a", "1"], ["a", "2"], ["b", "/"], ["c", ""]], "hello"])


async def test_a_connection_is_kept_for_the_next_request(place: Place) -> None:
    async with place.connect() as client:
        assert [await client.ask("PUT", "/keys/a", b"x") for _ in range(3)] == [(200, b"1"), (200, b"2"), (200, b"3")]


async def test_pipelined_requests_are_answered_in_order(place: Place) -> None:
    async with place.connect() as client:
        for number in range(200):
            client.send(*(("PUT", f"/keys/{number}", b"x") if number % 2 else ("GET", "/echo", b"")))
        answers = [(await client.answer())[2] for _ in range(200)]
    assert answers[1::2] == [b"%d" % n for n in range(1, 101)]
    assert all(b"/echo" in answer for answer in answers[::2])


async def test_connection_close_is_honoured(place: Place) -> None:
    async with place.connect() as client:
        client.send("GET", "/echo", b"", "Connection: close")
        _, headers, _ = await client.answer()
        assert headers["connection"] == "close"
        assert await client.reader.read() == b""


async def test_head_gives_the_headers_of_get_without_the_body(place: Place) -> None:
    async with place.connect() as client:
        client.send("HEAD", "/big?size=5")
        status, headers, _ = await client.answer(bare=True)
        assert (status, headers["content-length"]) == (200, "5")
        assert (await client.ask("GET", "/big?size=2")) == (200, b"xx")


async def test_chunked_request_bodies_are_joined(place: Place) -> None:
    async with place.connect() as client:
        client.writer.write(b"PUT /keys/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.writer.write(b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n")
        await client.answer()
        assert await client.ask("GET", "/keys/a") == (200, b"abcde")


async def test_expect_100_continue_invites_the_body(place: Place) -> None:
    async with place.connect() as client:
        client.writer.write(b"PUT /keys/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await client.head() == (100, {})
        client.writer.write(b"ok")
        assert (await client.answer())[0] == 200


async def test_expect_100_continue_of_too_much_is_refused_before_the_body(place: Place) -> None:
    async with place.connect() as client:
        client.writer.write(b"PUT /keys/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n\r\n")
        assert (await client.answer())[0] == 413


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, "BadRequest"),
        (b"GET\r\n\r\n", 400, "BadRequest"),
        (b"GET /a HTTP/1.1\r\n\r\n", 400, "BadRequest"),
        (b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 400, "BadRequest"),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", 400, "BadRequest"),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "BadRequest"),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "BadRequest"),
        (CHUNKED + b"zz\r\n", 400, "BadRequest"),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413, "RequestEntityTooLarge"),
        (CHUNKED + b"20000\r\n" + b"x" * 131072, 413, "RequestEntityTooLarge"),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1_000_000, 431, "BadRequest"),
    ],
    ids=[
        "bytes that are not HTTP",
        "a request line without a target",
        "no host",
        "a target that is not a path",
        "a broken header",
        "two lengths",
        "a length and chunks",
        "a broken chunk size",
        "a body announced too large",
        "a body that grows too large",
        "endless headers",
    ],
)
async def test_what_is_malformed_gets_its_status_and_ends_the_connection(
    place: Place, text: bytes, code: int, reason: str
) -> None:
    async with place.connect() as client:
        client.writer.write(text)
        status, headers, body = await client.answer()
        assert (status, json.loads(body)["reason"], headers["connection"]) == (code, reason, "close")
    async with place.connect() as client:
        assert (await client.ask("GET", "/echo"))[0] == 200


async def test_requests_before_a_malformed_one_are_answered_first(place: Place) -> None:
    async with place.connect() as client:
        client.writer.write(b"GET /big?size=1 HTTP/1.1\r\nHost: a\r\n\r\nGET\r\n\r\n")
        assert [(await client.answer())[0] for _ in range(2)] == [200, 400]


async def test_a_failure_in_the_core_is_an_internal_error_and_no_more(place: Place) -> None:
    async with place.connect() as client:
        status, body = await client.ask("GET", "/broken")
        assert (status, json.loads(body)["reason"]) == (500, "InternalError")
        assert (await client.ask("GET", "/echo"))[0] == 200


async def test_large_answers_are_compressed_when_asked_and_only_then(place: Place) -> None:
    async with place.connect() as client:
        client.send("GET", "/big", b"", "Accept-Encoding: br, gzip;q=1.0")
        _, headers, body = await client.answer()
        assert (headers["content-encoding"], gzip.decompress(body)) == ("gzip", b"x" * 1_000_000)
        client.send("GET", "/big", b"", "Accept-Encoding: gzip;q=0")
        _, headers, body = await client.answer()
        assert ("content-encoding" in headers, len(body)) == (False, 1_000_000)
        client.send("GET", "/big?size=1000", b"", "Accept-Encoding: gzip")
        assert "content-encoding" not in (await client.answer())[1]


async def test_writes_that_conflict_are_decided_again_until_all_are_in(place: Place) -> None:
    async def count() -> int:
        async with place.connect() as client:
            return int((await client.ask("POST", "/count"))[1])

    assert sorted(await asyncio.gather(*(count() for _ in range(40)))) == list(range(1, 41))


async def test_a_write_that_conflicts_for_ever_is_given_up_with_a_retry_after(place: Place) -> None:
    async with place.connect() as client:
        client.send("POST", "/contended")
        status, headers, body = await client.answer()
    assert (status, headers["retry-after"], json.loads(body)["reason"]) == (429, "1", "TooManyRequests")


async def test_a_head_that_never_ends_is_dropped(start: Start) -> None:
    place = await start(Patience(head=0.2))
    async with place.connect() as client:
        client.writer.write(b"GET /echo HTTP/1.1\r\nHost")
        assert await client.reader.read() == b""


async def test_a_body_that_never_ends_is_told_so_and_dropped(start: Start) -> None:
    place = await start(Patience(head=2, body=0.2))
    async with place.connect() as client:
        client.writer.write(b"PUT /keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        assert (await client.answer())[0] == 408
        assert await client.reader.read() == b""


async def test_an_idle_connection_is_closed(start: Start) -> None:
    place = await start(Patience(head=2, idle=0.2))
    async with place.connect() as client:
        await client.ask("GET", "/echo")
        assert await client.reader.read() == b""


async def test_a_client_that_does_not_read_its_answer_is_dropped(start: Start) -> None:
    place = await start(Patience(head=2, write=0.3))
    async with place.connect() as client:
        client.writer.transport.pause_reading()
        client.send("GET", "/big?size=50000000")
        await client.writer.drain()
        await until(lambda: bool(place.server._live))
        await until(lambda: not place.server._live)


async def test_plain_http_to_the_tls_port_ends_the_handshake_and_nothing_else(place: Place) -> None:
    _, writer = await asyncio.open_connection(*place.address)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await writer.drain()
    writer.close()
    async with place.connect() as client:
        assert (await client.ask("GET", "/echo"))[0] == 200


async def test_stopping_finishes_what_is_in_flight_and_closes_idle_connections(place: Place) -> None:
    commit = place.store.commit
    reached, released = asyncio.Event(), asyncio.Event()

    async def slow_commit(txn: Txn) -> object:
        reached.set()
        await released.wait()
        return await commit(txn)

    place.store.commit = slow_commit  # type: ignore[method-assign, assignment]
    async with place.connect() as idle, place.connect() as busy:
        await idle.ask("GET", "/echo")
        busy.send("PUT", "/keys/a", b"x")
        await reached.wait()
        stopping = asyncio.create_task(place.server.stop())
        assert await idle.reader.read() == b""
        released.set()
        status, headers, _ = await busy.answer()
        assert (status, headers["connection"]) == (200, "close")
        await stopping
        with pytest.raises(OSError):
            await asyncio.open_connection(*place.address)


async def test_a_peer_that_sleeps_on_its_connection_does_not_hold_up_the_stop(place: Place) -> None:
    def connect() -> ssl.SSLSocket:
        return place.tls().wrap_socket(socket.create_connection(place.address), server_hostname="localhost")

    with await asyncio.to_thread(connect):
        async with asyncio.timeout(10):
            await place.server.stop(grace=60)


async def test_metrics_have_upstreams_names_and_are_not_for_everyone(place: Place) -> None:
    async with place.connect() as client:
        assert (await client.ask("GET", "/metrics"))[0] == 403
    async with place.connect(place.admin) as client:
        await client.ask("GET", "/api/v1/namespaces/default/services/web")
        status, body = await client.ask("GET", "/metrics")
    wanted = (
        'apiserver_request_total{code="404",component="apiserver",group="",resource="services",scope="resource",subresource="",'
        'verb="GET",version="v1"} 1.0'
    )
    assert status == 200
    assert wanted in body.decode()
    assert b"apiserver_request_duration_seconds_bucket" in body


async def test_a_header_that_quotes_the_client_cannot_begin_another(place: Place) -> None:
    async with place.connect() as client:
        client.send("GET", "/warn")
        _, headers, _ = await client.answer()
    assert "x-evil" not in headers
    assert headers["warning"].startswith('299 - "you said  X-Evil: 1')


async def test_tls_before_1_2_is_refused(place: Place) -> None:
    context = place.tls()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(*place.address, ssl=context, server_hostname="localhost")


async def test_the_store_keeps_what_was_put(place: Place) -> None:
    async with place.connect() as client:
        await client.ask("PUT", "/keys/a", b"1")
    await place.store.commit(Txn((), (Put("/keys/b", b"2"),)))
    assert [record.key for record in place.store.snapshot.scan("/keys/")] == ["/keys/a", "/keys/b"]
