"""Are questions over TCP answered as RFC 7766 wants, and within bounds whatever the client does?"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import pytest

from mooring.dns.records import Transport
from mooring.edges.dns import streams
from mooring.edges.dns.streams import Limits, Replies, Streams

HEADER = bytes(12)
PATIENCE = 60.0


def framed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def numbered(number: int, words: bytes = b"") -> bytes:
    return number.to_bytes(2, "big") + HEADER[2:] + words


async def echo(message: bytes, client: str, transport: Transport) -> Replies:
    return message


@contextlib.asynccontextmanager
async def serving(respond: streams.Responder, limits: Limits | None = None) -> AsyncIterator[tuple[Streams, int]]:
    server = Streams(respond, limits)
    listening = socket.create_server(("127.0.0.1", 0))
    await server.start(listening)
    try:
        yield server, listening.getsockname()[1]
    finally:
        await server.close()


async def read(reader: asyncio.StreamReader) -> bytes:
    """The next message; b"" when the server has closed, in whichever way."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def test_answers_come_as_they_are_ready_not_as_they_were_asked() -> None:
    may_answer = asyncio.Event()

    async def respond(message: bytes, client: str, transport: Transport) -> Replies:
        if message == numbered(0):
            await may_answer.wait()
        return message

    async with serving(respond) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(*map(numbered, range(4))))
        assert [await read(reader) for _ in range(3)] == [numbered(1), numbered(2), numbered(3)]
        may_answer.set()
        assert await read(reader) == numbered(0)
        writer.close()


async def test_no_more_than_the_bound_is_answered_at_once_and_all_in_the_end() -> None:
    turns = asyncio.Semaphore(0)
    now, most = 0, 0

    async def respond(message: bytes, client: str, transport: Transport) -> Replies:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await turns.acquire()
        now -= 1
        return message

    async with serving(respond) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(*map(numbered, range(200))))
        await until(lambda: now == streams.OUTSTANDING)
        for _ in range(200):
            turns.release()
        assert sorted([await read(reader) for _ in range(200)]) == [numbered(each) for each in range(200)]
        assert most == streams.OUTSTANDING
        writer.close()


async def test_a_message_may_come_octet_by_octet() -> None:
    async with serving(echo) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in framed(numbered(7, b"words")):
            writer.write(bytes((octet,)))
            await writer.drain()
            await asyncio.sleep(0)
        assert await read(reader) == numbered(7, b"words")
        writer.close()


async def test_the_responder_learns_who_asks_and_how() -> None:
    asked: list[tuple[str, Transport]] = []

    async def respond(message: bytes, client: str, transport: Transport) -> Replies:
        asked.append((client, transport))
        return message

    async with serving(respond) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.9", 0))
        writer.write(framed(numbered(1)))
        await read(reader)
        assert asked == [("127.0.0.9", Transport.TCP)]
        writer.close()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0", id="half a length"),
        pytest.param(b"\0\x20", id="a length and nothing more"),
        pytest.param(framed(numbered(1))[:-1], id="a message but for its last octet"),
        pytest.param(framed(numbered(1)) + b"\xff\xff", id="a question, then a length and nothing more"),
    ],
)
async def test_who_says_no_more_is_let_go_of(said: bytes) -> None:
    async with serving(echo, Limits(idle=0.1)) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        while await read(reader):
            pass
        await until(lambda: server.open == 0)
        writer.close()


@pytest.mark.parametrize("said", [framed(b""), framed(b"short"), framed(b"x" * 11)], ids=["empty", "5 octets", "11 octets"])
async def test_what_is_no_message_ends_the_connection(said: bytes) -> None:
    async with serving(echo) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        assert await read(reader) == b""
        await until(lambda: server.open == 0)
        writer.close()


async def test_who_waits_for_an_answer_is_not_idle() -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def respond(message: bytes, client: str, transport: Transport) -> Replies:
        asked.set()
        await may_answer.wait()
        return message

    limits = Limits(idle=0.1)
    async with serving(respond, limits) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(numbered(1)))
        await asked.wait()
        silence, silent = await asyncio.open_connection("127.0.0.1", port)
        # The silent one, which came later, has gone by its idleness, so the time for the other one has passed as well.
        assert await read(silence) == b""
        await until(lambda: server.open == 1)
        may_answer.set()
        assert await read(reader) == numbered(1)
        assert await read(reader) == b""
        silent.close()
        writer.close()


async def test_what_was_asked_before_the_client_closed_its_side_is_answered() -> None:
    may_answer = asyncio.Event()

    async def respond(message: bytes, client: str, transport: Transport) -> Replies:
        await may_answer.wait()
        return message

    async with serving(respond) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(numbered(1), numbered(2)))
        writer.write_eof()
        await until(lambda: any(len(each._answers) == 2 and each._deadline is None for each in server._connections.values()))
        may_answer.set()
        assert sorted([await read(reader), await read(reader)]) == [numbered(1), numbered(2)]
        assert await read(reader) == b""
        writer.close()


async def test_one_that_does_not_read_is_let_go_of_and_never_holds_much() -> None:
    sent = 0

    async def respond(message: bytes, client: str, transport: Transport) -> Replies:
        async def endless() -> AsyncGenerator[bytes, None]:
            nonlocal sent
            while True:
                sent += 1
                yield message[:12] + bytes(60_000)

        return endless()

    async with serving(respond, Limits(idle=0.2)) as (server, port):
        deaf = socket.create_connection(("127.0.0.1", port))
        deaf.sendall(framed(numbered(1)))
        await until(lambda: sent > 0)
        await until(lambda: server.open == 0)
        # The kernel's two buffers hold some megabytes; all above that would have been ours.
        assert sent * 60_000 < 32 * 1024 * 1024
        deaf.close()


async def test_more_that_waits_for_one_client_than_is_allowed_ends_its_connection() -> None:
    gate = asyncio.Event()

    async def respond(message: bytes, client: str, transport: Transport) -> Replies:
        await gate.wait()
        return message[:12] + bytes(65_000)

    async with serving(respond, Limits(idle=60, unread=100_000)) as (server, port):
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(framed(*[numbered(1)] * streams.OUTSTANDING))
        await until(lambda: any(len(each._answers) == streams.OUTSTANDING for each in server._connections.values()))
        gate.set()
        await until(lambda: server.open == 0)
        deaf.close()


async def test_several_messages_answer_one_question_in_their_order() -> None:
    async def respond(message: bytes, client: str, transport: Transport) -> Replies:
        async def several() -> AsyncGenerator[bytes, None]:
            for part in (b"one", b"two", b"three"):
                yield message + part
                await asyncio.sleep(0)

        return several()

    async with serving(respond) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(numbered(1)))
        assert [(await read(reader))[12:] for _ in range(3)] == [b"one", b"two", b"three"]
        writer.close()


async def test_a_message_that_breaks_the_responder_costs_only_its_own_answer() -> None:
    async def respond(message: bytes, client: str, transport: Transport) -> Replies:
        async def breaking() -> AsyncGenerator[bytes, None]:
            yield message
            raise RuntimeError("in the middle")

        if message == numbered(1):
            raise RuntimeError("at once")
        return breaking() if message == numbered(2) else None if message == numbered(3) else message

    async with serving(respond) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(*map(numbered, range(1, 5))))
        assert sorted([await read(reader), await read(reader)]) == [numbered(2), numbered(4)]
        writer.close()


async def test_one_client_has_only_its_share_of_connections() -> None:
    async with serving(echo, Limits(of_one_client=2)) as (server, port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await until(lambda: server.open == 2)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await read(reader) == b""
        other, other_writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        other_writer.write(framed(numbered(1)))
        assert await read(other) == numbered(1)
        held.pop()[1].close()
        await until(lambda: server.open == 2)
        again, again_writer = await asyncio.open_connection("127.0.0.1", port)
        again_writer.write(framed(numbered(2)))
        assert await read(again) == numbered(2)
        for each in (writer, other_writer, again_writer, held[0][1]):
            each.close()


async def test_when_all_connections_are_in_use_the_longest_idle_one_makes_room() -> None:
    async with serving(echo, Limits(connections=2)) as (server, port):
        oldest, oldest_writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: server.open == 1)
        second, second_writer = await asyncio.open_connection("127.0.0.1", port)
        second_writer.write(framed(numbered(1)))
        assert await read(second) == numbered(1)
        third, third_writer = await asyncio.open_connection("127.0.0.1", port)
        third_writer.write(framed(numbered(2)))
        assert await read(third) == numbered(2)
        assert await read(oldest) == b""
        second_writer.write(framed(numbered(3)))
        assert await read(second) == numbered(3)
        for each in (oldest_writer, second_writer, third_writer):
            each.close()


async def test_when_all_are_busy_a_new_one_is_refused() -> None:
    async def respond(message: bytes, client: str, transport: Transport) -> Replies:
        await asyncio.Event().wait()
        return None

    async with serving(respond, Limits(connections=1)) as (server, port):
        _, busy = await asyncio.open_connection("127.0.0.1", port)
        busy.write(framed(numbered(1)))
        await until(lambda: any(each.busy for each in server._connections.values()))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await read(reader) == b""
        assert server.open == 1
        for each in (busy, writer):
            each.close()


async def test_closing_the_server_ends_every_connection() -> None:
    async with serving(echo) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: server.open == 1)
        await server.close()
        assert (await read(reader), server.open) == (b"", 0)
        writer.close()
