"""Are reads and watches answered from memory, whatever the store's file does?"""

import asyncio
import json
import threading
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from http_lab import Client, Place, until

from mooring.apiserver.contract import Aside, Settings
from mooring.apiserver.handle import handle
from mooring.apiserver.pieces import Pieces, listed
from mooring.edges.http import server_gzip
from mooring.edges.http.server import ApiServer
from mooring.edges.http.sockets import listener
from mooring.edges.http.tls import server_context
from mooring.edges.pki import Pki
from mooring.edges.sqlite.store import SqliteStore
from mooring.model import codec
from mooring.model.kinds import CONFIG_MAP
from mooring.store.records import Delete, Put, Record, Txn

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


async def test_others_are_answered_while_a_long_document_is_made(place: Place) -> None:
    makes, exchange = threading.Event(), place.server._exchange

    def slowly(*arguments: Any) -> Any:
        outcome = handle(*arguments)
        return Aside(lambda: makes.wait() and outcome.make()) if isinstance(outcome, Aside) else outcome

    exchange._handle = slowly
    async with place.connect(place.admin) as reader, place.connect(place.admin) as client:
        try:
            reader.send("GET", "/openapi/v3")
            answer = asyncio.create_task(reader.answer())
            while not exchange._aside.locked():
                await client.ask("GET", "/healthz")
            await made(client, "/api/v1/namespaces", "a")
            assert not answer.done()
        finally:
            makes.set()
        status, *_, document = await answer
        assert (200, True) == (status, "api/v1" in json.loads(document)["paths"])


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
        (stream,) = place.server._hub._channels
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


def document(name: str, value: str) -> bytes:
    about = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "namespace": "a"}}
    return codec.canonical(about | {"data": {"key": value}})


def unpacked(packed: bytes) -> bytes:
    """Of one gzip member, as most clients read it: its length and its checksum are right, and nothing follows."""
    reader = zlib.decompressobj(wbits=31)
    found = reader.decompress(packed)
    assert (reader.eof, reader.unused_data) == (True, b"")
    return found


async def test_a_long_list_is_the_same_compressed_and_only_what_has_changed_is_compressed_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed: list[int] = []
    part = server_gzip._part

    def counted(data: bytes) -> server_gzip._Part:
        compressed.append(len(data))
        return part(data)

    monkeypatch.setattr(server_gzip, "_part", counted)
    puts = [Put(CONFIG_MAP.key("a", f"{number:03}"), document(f"{number:03}", "v" * 4000)) for number in range(200)]
    await asyncio.gather(*(place.store.commit(Txn((), (put,))) for put in puts))
    changes: tuple[Put | Delete | None, ...] = (
        None, None, Put(puts[100].key, document("100", "w")), Delete(puts[0].key),
        Put(f"{puts[150].key}-more", document("150-more", "x")),
    )  # fmt: skip
    anew = []
    async with place.connect(place.admin) as client:
        for change in changes:
            if change:
                await place.store.commit(Txn((), (change,)))
            plain = (await client.ask("GET", "/api/v1/configmaps"))[1]
            items = json.loads(plain)["items"]
            records = place.store.snapshot.scan(CONFIG_MAP.prefix)
            assert [(each["metadata"]["name"], each["metadata"]["resourceVersion"]) for each in items] == [
                (record.key.rpartition("/")[2], str(record.mod_revision)) for record in records
            ]
            compressed.clear()
            client.send("GET", "/api/v1/configmaps", b"", "Accept-Encoding: gzip")
            _, headers, packed = await client.answer()
            assert (headers["content-encoding"], unpacked(packed)) == ("gzip", plain)
            anew.append(sum(compressed) / len(plain))
            client.send("HEAD", "/api/v1/configmaps")
            assert (await client.head())[1]["content-length"] == str(len(plain))
    first, again, *changed = anew
    assert (first, again < 0.01, max(changed) < 0.5) == (1, True, True), anew


async def test_compressed_runs_are_forgotten_beyond_a_limit() -> None:
    gzip = server_gzip.Gzip(most_kept=20_000)
    body = listed(b"{}", [Record(f"/{n}", document(str(n), "v" * 4000), n, n) for n in range(1, 1000)])
    assert isinstance(body, Pieces)
    for _ in range(2):
        assert unpacked(await gzip.pack(body)) == bytes(body)
        assert 0 < sum(kept.cost for kept in gzip._kept.values()) == gzip._size <= 20_000
