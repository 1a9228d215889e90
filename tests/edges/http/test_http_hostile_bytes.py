"""Bytes of clients that mean harm: what a connection holds of them is bounded, whatever it is busy with."""

import asyncio
import ssl

import pytest
from http_lab import Place, Start, until

from mooring.apiserver.contract import ANONYMOUS, Env, Request, Response
from mooring.edges.http.server_parser import MAX_HEAD, MAX_STRANGER, Phase, RequestParser, Room
from mooring.edges.http.tls import Authorities
from mooring.edges.pki import Pki
from mooring.store.snapshot import Snapshot

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def parser(room: Room | None = None, max_body: int = 1000) -> RequestParser:
    reading = RequestParser(max_body, room or Room())
    reading.known = True
    return reading


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


@pytest.mark.parametrize("size", [MAX_HEAD // 2, 2 * MAX_HEAD])
def test_a_head_is_as_long_as_it_may_be_however_it_comes(size: int) -> None:
    reading = parser()
    reading.feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * (size // 4) + b"\r\n")
    assert (1 if size < MAX_HEAD else 0) == len(reading.ready)
    assert size < MAX_HEAD or (reading.refusal is not None and reading.refusal.status == 431)


def test_a_body_in_chunks_of_one_byte_is_read() -> None:
    reading = parser(max_body=100_000)
    reading.feed(HEAD)
    for _ in range(50_000):
        reading.feed(b"1\r\nx\r\n")
    reading.feed(b"0\r\n\r\n")
    assert 50_000 == len(reading.ready[0].body)


@pytest.mark.parametrize("end", [HEAD, HEAD[:20], HEAD + b"1\r\nx"])
@pytest.mark.parametrize("begin", [10, len(HEAD) + 10])
def test_what_many_requests_bring_at_once_is_not_counted_as_one_s(begin: int, end: bytes) -> None:
    reading, whole = parser(max_body=200_000), HEAD + b"%x\r\n" % 100_000 + b"x" * 100_000 + b"\r\n0\r\n\r\n"
    reading.feed(whole[:begin])
    reading.feed(whole[begin:] + whole + end)
    assert reading.refusal is None and 2 == len(reading.ready)


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
    reading.release(reading.ready[0])
    assert room.take(10) and not room.take(1)


async def test_a_body_is_not_read_ahead_of_an_answer_that_lasts(place: Place) -> None:
    """A watch lasts for hours: the bodies after it would be held as long, and others would find no room."""
    async with place.connect(place.admin) as client:
        client.send("GET", "/keys/?watch=1")
        await client.head()
        (connection,) = place.server._live
        request = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000
        async with asyncio.timeout(60):
            while not connection._stopped_reading:
                client.writer.write(request)
                await asyncio.sleep(0)
        assert connection._parser.ahead < 1024 * 1024
        assert len(connection._parser.ready) < 16


async def test_bodies_sent_ahead_are_all_answered(place: Place) -> None:
    async with place.connect(place.admin) as client:
        for number in range(20):
            client.send("POST", f"/echo?{number}", b"x" * 90_000)
        for number in range(20):
            status, _, body = await client.answer()
            assert status == 200 and f'"{number}"'.encode() in body and len(body) > 90_000


# Who does not say who it is ---------------------------------------------------------------------------------------------


def test_strangers_have_a_small_room_and_the_others_theirs() -> None:
    room = Room(100)
    strangers = Room(10, room)

    def reading(size: int, header: bytes = b"") -> RequestParser:
        made = RequestParser(1000, room, strangers)
        made.feed(b"POST /x HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (header, size) + b"x" * size)
        return made

    first, second = reading(8), reading(8)
    assert second.refusal is not None and second.refusal.status == 429 and not second.ready
    token = reading(80, b"Authorization: Bearer x\r\n")
    assert 80 == len(token.ready[0].body)
    first.release(first.ready[0])
    assert reading(10).ready
    for each in (first, second, token):
        each.release()
    assert room.take(90) and not room.take(1)


def test_bodies_of_one_user_that_come_slowly_leave_room_for_others() -> None:
    room = Room(100)
    ada = Room(30, room)

    def slow(judged: Room | None) -> RequestParser:
        made = RequestParser(1000, room, judge=lambda message: judged)
        made.known = True
        made.feed(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 25\r\n\r\n" + b"x" * 20)
        return made

    first, second, other = slow(ada), slow(ada), slow(None)
    assert second.refusal is not None and second.refusal.status == 429
    first.feed(b"x" * 5)
    assert 25 == len(first.ready[0].body) and other.refusal is None
    first.release(first.ready[0])
    for each in (first, second, other):
        each.release()
    assert ada.take(30) and room.take(70) and not room.take(1)


@pytest.mark.parametrize("framing", [f"Content-Length: {MAX_STRANGER + 1}", "Transfer-Encoding: chunked"])
async def test_the_body_of_a_stranger_is_small(place: Place, framing: str) -> None:
    async with place.connect() as client:
        client.writer.write(f"POST /echo HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
        client.writer.write(b"10001\r\n" + b"x" * 0x10001)
        assert 413 == (await client.answer())[0]


def anonymous_may_not(request: Request, snapshot: Snapshot, env: Env) -> Response | None:
    return Response(403, b"you may not") if request.user is ANONYMOUS else None


@pytest.mark.parametrize(("header", "status"), [("X: y", 403), ("Authorization: Bearer none", 401)])
@pytest.mark.parametrize("framing", ["Content-Length: 90000", "Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_who_may_not_hears_so_before_the_body(start: Start, header: str, status: int, framing: str) -> None:
    place = await start(refuse=anonymous_may_not)
    async with place.connect() as client:
        expect = "Expect: 100-continue\r\n" if "10" in framing else ""
        client.writer.write(f"POST /echo HTTP/1.1\r\nHost: a\r\n{header}\r\n{framing}\r\n{expect}\r\n".encode())
        answer = await client.answer()
        assert (status, "close") == (answer[0], answer[1]["connection"])


async def test_who_goes_on_sending_hears_it_all_the_same(start: Start) -> None:
    place = await start(refuse=anonymous_may_not)
    async with place.connect() as client:
        client.writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"x" * 10_000)
        client.writer.write(b"x" * 49_999)
        assert 403 == (await client.answer())[0]


async def test_who_is_known_is_waited_for(start: Start) -> None:
    place = await start(refuse=anonymous_may_not)
    async with place.connect(place.admin) as client:
        client.writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        await until(lambda: any(each._parser.phase is Phase.BODY for each in place.server._live))
        client.writer.write(b"ok")
        assert 200 == (await client.answer())[0]


# Who is trusted no more -------------------------------------------------------------------------------------------------


async def test_connections_end_with_the_authority_that_vouched_for_them(place: Place) -> None:
    async with place.connect(place.admin) as idle, place.connect(place.admin) as watching, place.connect() as stranger:
        assert 200 == (await idle.ask("GET", "/whoami"))[0]
        watching.send("GET", "/keys/?watch=1")
        await watching.head()
        place.server.renounce(lambda certificate: True)
        assert 200 == (await idle.ask("GET", "/whoami"))[0]
        place.server.renounce(lambda certificate: False)
        for client in (idle, watching):
            async with asyncio.timeout(60):
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await client.reader.readexactly(10_000)
        assert 200 == (await stranger.ask("GET", "/whoami"))[0]


def test_who_has_signed_a_certificate(keys: Pki, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Pki(tmp_path_factory.mktemp("other"))
    mine, theirs = (Authorities(each.authority.read_bytes()) for each in (keys, other))
    both = Authorities(keys.authority.read_bytes() + other.authority.read_bytes())
    leaf = ssl.PEM_cert_to_DER_cert(keys.admin().certificate.decode())
    assert [True, False, True] == [each.signed(leaf) for each in (mine, theirs, both)]
    assert [False, True, True] == [both.lacks(mine), mine.lacks(both), mine.lacks(theirs)]
