"""Are reads and watches answered from memory, whatever the store's file does?"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from http_lab import Client, Place, until

from mooring.apiserver.contract import Settings
from mooring.apiserver.handle import handle
from mooring.edges.http.server import ApiServer
from mooring.edges.http.sockets import listener
from mooring.edges.http.tls import server_context
from mooring.edges.pki import Pki
from mooring.edges.sqlite.store import SqliteStore

CONFIG_MAPS = "/api/v1/namespaces/a/configmaps"


@pytest.fixture
async def place(keys: Pki, tmp_path: Path) -> AsyncIterator[Place]:
    store = await SqliteStore.open(tmp_path / "state.db")
    server = ApiServer(handle, store, Settings(), tls=server_context(keys.server(()).path, keys.authority))
    sock = listener("127.0.0.1", 0)
    await server.start([sock])
    yield Place(server, store, keys, keys.admin(), sock.getsockname())  # type: ignore[arg-type]
    await server.stop(grace=0)
    await store.close()


async def made(client: Client, path: str, name: str) -> dict[str, str]:
    status, answer = await client.ask("POST", path, json.dumps({"metadata": {"name": name}}).encode())
    assert status == 201
    found: dict[str, str] = json.loads(answer)["metadata"]
    return found


async def test_get_list_and_watch_are_answered_while_the_disk_hangs(place: Place) -> None:
    async with (
        place.connect(place.admin) as client,
        place.connect(place.admin) as writer,
        place.connect(place.admin) as watcher,
    ):
        await made(client, "/api/v1/namespaces", "a")
        first, second = await made(client, CONFIG_MAPS, "first"), await made(client, CONFIG_MAPS, "second")
        hangs = threading.Event()
        place.store._writer.submit(hangs.wait)  # type: ignore[attr-defined]
        try:
            writer.send("POST", CONFIG_MAPS, b'{"metadata":{"name":"third"}}')
            answer = asyncio.create_task(writer.answer())
            status, got = await client.ask("GET", f"{CONFIG_MAPS}/first")
            assert (status, json.loads(got)["metadata"]["uid"]) == (200, first["uid"])
            listed = json.loads((await client.ask("GET", CONFIG_MAPS))[1])
            assert [each["metadata"]["name"] for each in listed["items"]] == ["first", "second"]
            watcher.send("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion={first['resourceVersion']}")
            assert (await watcher.head())[0] == 200
            (line,) = await watcher.lines(1)
            assert json.loads(line)["object"]["metadata"]["uid"] == second["uid"]
            assert not answer.done()  # what is not on the disk is nobody's to see
        finally:
            hangs.set()
        assert (await answer)[0] == 201
        (line,) = await watcher.lines(1)
        assert json.loads(line)["object"]["metadata"]["name"] == "third"


async def test_a_large_streaming_list_is_sent_in_slices_while_others_are_answered(place: Place) -> None:
    """What a stream begins with is encoded as the peer reads it: at first next to nothing of it is."""
    async with place.connect(place.admin) as client, place.connect(place.admin) as watcher:
        await made(client, "/api/v1/namespaces", "a")
        for number in range(40):
            body = {"metadata": {"name": f"{number}"}, "data": {"key": "v" * 500_000}}
            assert (await client.ask("POST", CONFIG_MAPS, json.dumps(body).encode()))[0] == 201
        watcher.writer.transport.pause_reading()
        query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        watcher.send("GET", f"{CONFIG_MAPS}?{query}")
        await until(lambda: place.server._hub.watchers == 1)
        status, _ = await client.ask("GET", f"{CONFIG_MAPS}/1")
        assert status == 200
        (stream,) = [each for channels in place.server._hub._channels.values() for each in channels.values()]
        (served,) = stream.watchers
        assert served._first is not None
        status, _ = await client.ask("POST", CONFIG_MAPS, b'{"metadata":{"name":"later"}}')
        assert status == 201
        watcher.writer.transport.resume_reading()
        assert (await watcher.head())[0] == 200
        lines = [json.loads(line) for line in await watcher.lines(42)]
    assert [line["type"] for line in lines] == ["ADDED"] * 40 + ["BOOKMARK", "ADDED"]
    assert len({line["object"]["metadata"]["name"] for line in lines[:40]}) == 40
    assert lines[40]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert lines[41]["object"]["metadata"]["name"] == "later"
