"""Who comes between two steps of a stop, or of an exchange of keys: is he answered, and is nobody waited for in vain?"""

import asyncio
import contextlib
import ssl
from typing import Any

import pytest
from http_lab import Place, until

from mooring.edges.http import server, server_connection
from mooring.store.records import Txn


async def test_a_request_that_arrives_in_the_same_turn_as_the_stop_is_answered(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_connection, "_FAREWELL", 0.02)
    loop, commit, released = asyncio.get_running_loop(), place.store.commit, asyncio.Event()

    async def slow_commit(txn: Txn) -> Any:
        loop.call_later(0.1, released.set)
        await released.wait()
        return await commit(txn)

    place.store.commit = slow_commit  # type: ignore[method-assign]
    async with place.connect() as client:
        await client.ask("GET", "/echo")
        (connection,) = place.server._live
        feed = connection._parser.feed

        def feed_and_stop(data: bytes) -> None:
            feed(data)
            connection._parser.feed = feed  # type: ignore[method-assign]
            loop.call_soon(connection.drain)  # before the answering coroutine wakes

        connection._parser.feed = feed_and_stop  # type: ignore[method-assign]
        client.send("PUT", "/keys/a", b"x")
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (200, "close")


async def test_a_peer_whose_handshake_ends_during_the_stop_does_not_hold_it_up(place: Place) -> None:
    commit, reached, released, going = place.store.commit, asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow_commit(txn: Txn) -> Any:
        reached.set()
        await released.wait()
        return await commit(txn)

    place.store.commit = slow_commit  # type: ignore[method-assign]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = place.tls().wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection(*place.address)

    async def shake_hands() -> None:
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        writer.write(outgoing.read())
        while not going.is_set():
            incoming.write(await reader.read(1 << 16))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                going.set()

    try:
        async with place.connect() as busy:
            busy.send("PUT", "/keys/a", b"x")
            await reached.wait()
            await shake_hands()
            stopping = asyncio.create_task(place.server.stop(grace=60))
            await until(lambda: all(each._draining for each in place.server._live))
            writer.write(outgoing.read())
            await until(lambda: len(place.server._live) == 2)
            released.set()
            assert (await busy.answer())[0] == 200
            async with asyncio.timeout(60):
                await stopping
    finally:
        writer.transport.abort()


async def test_an_earlier_exchange_of_authorities_says_nothing_about_a_later_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_TIMEOUT", 0.05)
    monkeypatch.setattr(server_connection, "_LAST_ANSWER", 0.05)
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    place.server.renounce(lambda certificate: False)
    place.server.renounce(lambda certificate: True)
    async with place.connect(place.admin) as client:
        await client.ask("GET", "/echo")
        loop.call_later(0.2, done.set)
        await done.wait()
        assert (await client.ask("GET", "/echo"))[0] == 200
