"""Do all servers of answers keep the port's promises? The same questions to memory and to real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from mooring.edges.http.health import HttpAnswerServer
from mooring.edges.memory.health import MemoryAnswerServer
from mooring.ports.health import Answer, AnswerServer

Ask = Callable[[str, int], Awaitable[Answer | None]]
HERE, ALSO_HERE = "127.0.0.1", "127.0.0.2"


@pytest.fixture(params=["memory", "http"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[AnswerServer, Ask]]:
    """A server, and how one asks it; None when nobody answers."""
    if request.param == "memory":
        memory = MemoryAnswerServer()

        async def recall(address: str, port: int) -> Answer | None:
            answer = memory.served.get((address, port))
            return answer() if answer else None

        yield memory, recall
        return
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:

        async def ask(address: str, port: int) -> Answer | None:
            try:
                async with session.get(f"http://{address}:{port}/any/path") as response:
                    return Answer(response.status, await response.text(), response.headers)
            except aiohttp.ClientConnectionError:
                return None

        yield HttpAnswerServer(), ask


async def test_the_answer_of_the_moment_is_given_at_every_address(
    served: tuple[AnswerServer, Ask], unused_tcp_port: int
) -> None:
    server, ask = served
    said = [Answer(503, "not yet", {"X-Weight": "0"})]
    listening = await server.listen((HERE, ALSO_HERE), unused_tcp_port, lambda: said[0])
    for address in (HERE, ALSO_HERE):
        answer = await ask(address, unused_tcp_port)
        assert answer and (answer.status, answer.body, answer.headers["X-Weight"]) == (503, "not yet", "0")
    said[0] = Answer(200, "now")
    answer = await ask(HERE, unused_tcp_port)
    assert answer and (answer.status, answer.body) == (200, "now")
    await listening.close()


async def test_a_port_can_be_had_again_once_it_is_closed(served: tuple[AnswerServer, Ask], unused_tcp_port: int) -> None:
    server, ask = served
    first = await server.listen((HERE,), unused_tcp_port, lambda: Answer(200, "first"))
    assert await ask(HERE, unused_tcp_port)
    await first.close()
    assert await ask(HERE, unused_tcp_port) is None
    second = await server.listen((HERE,), unused_tcp_port, lambda: Answer(200, "second"))
    await first.close()
    answer = await ask(HERE, unused_tcp_port)
    assert answer and answer.body == "second"
    await second.close()


async def test_with_one_address_refused_none_is_held(served: tuple[AnswerServer, Ask], unused_tcp_port: int) -> None:
    server, ask = served
    holder = await server.listen((ALSO_HERE,), unused_tcp_port, lambda: Answer(200, "holder"))
    with pytest.raises(OSError, match="in use"):
        await server.listen((HERE, ALSO_HERE), unused_tcp_port, lambda: Answer(200, "late"))
    assert await ask(HERE, unused_tcp_port) is None
    answer = await ask(ALSO_HERE, unused_tcp_port)
    assert answer and answer.body == "holder"
    await holder.close()


async def test_nowhere_is_no_error(served: tuple[AnswerServer, Ask]) -> None:
    listening = await served[0].listen((), 30000, lambda: Answer(200, ""))
    await listening.close()


async def test_any_method_is_answered_and_a_client_that_stays_does_not_hold_the_port(unused_tcp_port: int) -> None:
    listening = await HttpAnswerServer().listen((HERE,), unused_tcp_port, lambda: Answer(200, "x"))
    reader, writer = await asyncio.open_connection(HERE, unused_tcp_port)
    for method in (b"POST", b"OPTIONS"):
        writer.write(method + b" /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b"\r\n\r\nx")
    async with asyncio.timeout(30):
        await listening.close()
        assert await reader.read() == b""
    writer.close()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HERE, unused_tcp_port))
