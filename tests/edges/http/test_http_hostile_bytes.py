"""Bytes of clients that mean harm: what a connection holds of them is bounded, whatever it is busy with."""

import asyncio

import pytest
from http_lab import Place

from mooring.edges.http.server_parser import MAX_HEAD, Phase, RequestParser, Room

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def parser(room: Room | None = None, max_body: int = 1000) -> RequestParser:
    return RequestParser(max_body, room or Room())


def test_a_trailer_is_no_header() -> None:
    """RFC 9110 6.5.1: what comes after the body must not say who asks, or as whom."""
    reading = parser()
    reading.feed(HEAD + b"1\r\nx\r\n0\r\nImpersonate-User: root\r\nAuthorization: Bearer x\r\n\r\n")
    (message,) = reading.ready
    assert b"x" == message.body
    assert {"host", "transfer-encoding"} == set(message.headers)


@pytest.mark.parametrize("line", [b"a: b\r\n", b"x" * 1000])
def test_trailers_without_end_are_refused(line: bytes) -> None:
    reading = parser()
    reading.feed(HEAD + b"0\r\nt: ")
    for _ in range(4 * MAX_HEAD // len(line)):
        reading.feed(line)
        if reading.refusal:
            break
    assert reading.refusal is not None and reading.refusal.status == 431


def test_a_body_in_chunks_of_one_byte_is_read() -> None:
    reading = parser(max_body=100_000)
    reading.feed(HEAD)
    for _ in range(50_000):
        reading.feed(b"1\r\nx\r\n")
    reading.feed(b"0\r\n\r\n")
    assert 50_000 == len(reading.ready[0].body)


def test_nothing_is_kept_of_what_follows_a_refusal() -> None:
    reading = parser()
    reading.feed(b"no http\r\n\r\n")
    for _ in range(100):
        reading.feed(b"x" * 10_000)
    assert reading.refusal is not None and reading.phase is Phase.OVER and not reading.rest


def test_room_is_never_given_back_twice() -> None:
    room = Room(10)
    reading = parser(room)
    reading.feed(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef")
    reading.release()
    reading.release(6)
    assert room.take(10) and not room.take(1)


async def test_a_body_is_not_read_ahead_of_an_answer_that_lasts(place: Place) -> None:
    """A watch lasts for hours: the bodies after it would be held as long, and others would find no room."""
    async with place.connect() as client:
        client.send("GET", "/keys/?watch=1")
        await client.head()
        (connection,) = place.server._live
        request = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000
        async with asyncio.timeout(10):
            while not connection._stopped_reading:
                client.writer.write(request)
                await asyncio.sleep(0)
        assert connection._parser.ahead < 1024 * 1024
        assert len(connection._parser.ready) < 16


async def test_bodies_sent_ahead_are_all_answered(place: Place) -> None:
    async with place.connect() as client:
        for number in range(20):
            client.send("POST", f"/echo?{number}", b"x" * 90_000)
        for number in range(20):
            status, _, body = await client.answer()
            assert status == 200 and f'"{number}"'.encode() in body and len(body) > 90_000
