"""Is an event lost when something comes between two steps of a watch: a definition that changes in the same batch of the store,
or while the watch is about to begin, or a server that stops?"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from http_lab import Start, small_core, until

from mooring.apiserver.contract import ANONYMOUS, Answer, Ask, Env, Outcome, Question, Request, Settings
from mooring.apiserver.handle import handle
from mooring.edges.http.server import ApiServer
from mooring.edges.http.sockets import listener
from mooring.edges.sqlite.store import SqliteStore
from mooring.store.records import Put, Txn
from mooring.store.snapshot import Snapshot

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DOORS = "/apis/example.com/v1/doors"
Inquire = Callable[[Question], Awaitable[Answer]]


def definition(**conversion: Any) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": name, "served": True, "storage": name == "v1", "schema": schema} for name in ("v1", "v2")]
    names = {"plural": "doors", "kind": "Door"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "doors.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": names, "versions": versions, **conversion},
    }  # fmt: skip


class Client:
    """Requests to a server whose store is a file."""

    def __init__(self, session: aiohttp.ClientSession, store: SqliteStore, url: str) -> None:
        self.session, self.store, self.url = session, store, url

    async def send(self, method: str, path: str, document: dict[str, Any], content: str = "application/json") -> Any:
        headers = {"Content-Type": content}
        async with self.session.request(method, self.url + path, data=json.dumps(document), headers=headers) as response:
            answer = await response.json()
            assert response.status < 300, answer
            return answer

    async def redefine(self) -> None:
        held = self.store.snapshot.get("/apiextensions.k8s.io/customresourcedefinitions/doors.example.com")
        assert held is not None
        changed = json.loads(held.value)
        changed["spec"]["versions"][1]["served"] = not changed["spec"]["versions"][1]["served"]
        changed["metadata"]["resourceVersion"] = str(held.mod_revision)
        await self.send("PUT", f"{DEFINITIONS}/doors.example.com", changed)

    def watch(self, since: str, path: str = DOORS, **query: str) -> Any:
        asked = {"watch": "1", "allowWatchBookmarks": "1", "resourceVersion": since, **query}
        return self.session.get(self.url + path, params=asked)

    async def one_batch(self, *requests: Awaitable[Any]) -> None:
        """Sends writes one after another, and lets them into the file together."""
        release = threading.Event()
        self.store._writer.submit(release.wait)
        tasks = [asyncio.ensure_future(self.store.commit(Txn((), (Put("/before", b"x"),))))]
        await until(lambda: self.store._writing and not self.store._waiting)
        for place, request in enumerate(requests, 1):
            tasks.append(asyncio.ensure_future(request))
            await until(lambda place=place: len(self.store._waiting) == place)  # type: ignore[misc]
        release.set()
        await asyncio.gather(*tasks)


@asynccontextmanager
async def served(path: Path, inquire: Inquire | None = None) -> AsyncIterator[Client]:
    store = await SqliteStore.open(path / "state.db")

    def as_admin(request: Request, snapshot: Snapshot, env: Env) -> Outcome:
        user = type(ANONYMOUS)("admin", ("system:masters", "system:authenticated"))
        return handle(Request(request.method, request.path, request.query, request.headers, request.body, user), snapshot, env)

    server = ApiServer(as_admin, store, Settings(), tls=None, inquire=inquire)
    sock = listener("127.0.0.1", 0)
    await server.start([sock])
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, store, f"http://127.0.0.1:{sock.getsockname()[1]}")
    finally:
        await server.stop(grace=0)
        await store.close()


async def events(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    async with asyncio.timeout(60):
        return [json.loads(line) async for line in response.content]


async def test_what_is_written_in_one_batch_with_a_new_definition_is_told_before_or_after_the_end(data_dir: Path) -> None:
    async with served(data_dir) as client:
        await client.send("POST", DEFINITIONS, definition())
        door = {"apiVersion": "example.com/v1", "kind": "Door", "metadata": {"name": "a"}, "spec": {"host": "old"}}
        first = await client.send("POST", DOORS, door)
        async with client.watch(first["metadata"]["resourceVersion"]) as stream:
            patched = client.send("PATCH", f"{DOORS}/a", {"spec": {"host": "new"}}, "application/merge-patch+json")
            await client.one_batch(client.redefine(), patched)
            seen = await events(stream)
        reached = [first, *(event["object"] for event in seen)][-1]["metadata"]["resourceVersion"]
        async with client.watch(reached, timeoutSeconds="1") as stream:
            seen += await events(stream)
        assert ["new"] == [event["object"]["spec"]["host"] for event in seen if event["type"] == "MODIFIED"]


async def test_a_watch_does_not_begin_by_a_definition_that_changed_while_a_webhook_was_asked(data_dir: Path) -> None:
    asked, released = asyncio.Event(), asyncio.Event()

    async def convert(question: Question) -> Answer:
        asked.set()
        await released.wait()
        review = json.loads(question.body)
        wanted = review["request"]["desiredAPIVersion"]
        objects = [{**each, "apiVersion": wanted} for each in review["request"]["objects"]]
        response = {"uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects}
        return Answer(200, json.dumps({**review, "response": response}).encode())

    webhook = {"clientConfig": {"url": "https://localhost:1/"}, "conversionReviewVersions": ["v1"]}
    async with served(data_dir, convert) as client:
        made = await client.send("POST", DEFINITIONS, definition(conversion={"strategy": "Webhook", "webhook": webhook}))
        await client.send("POST", DOORS, {"apiVersion": "example.com/v1", "kind": "Door", "metadata": {"name": "a"}})
        since = made["metadata"]["resourceVersion"]
        beginning = asyncio.ensure_future(client.watch(since, DOORS.replace("v1", "v2"), timeoutSeconds="30").__aenter__())
        await asked.wait()
        await client.redefine()
        released.set()
        stream = await beginning
        began = asyncio.get_running_loop().time()
        assert all(event["type"] != "BOOKMARK" for event in await events(stream))
        assert asyncio.get_running_loop().time() - began < 20
        stream.close()


async def test_a_watch_that_is_decided_while_the_server_stops_does_not_hold_up_the_stop(start: Start) -> None:
    asked, released = asyncio.Event(), asyncio.Event()
    question = Question("https://localhost:1/", ("127.0.0.1", 1), "localhost", b"", b"", 1.0)

    async def inquire(question: Question) -> Answer:
        asked.set()
        await released.wait()
        return Answer(200)

    def asking(request: Request, snapshot: Snapshot, env: Env) -> Outcome:
        return small_core(request, snapshot, env) if question in env.answers else Ask((question,))

    place = await start(handle=asking, inquire=inquire)
    async with place.connect() as client:
        client.send("GET", "/keys/?watch=1")
        await asked.wait()
        stopping = asyncio.create_task(place.server.stop(grace=60))
        await until(lambda: all(each._draining for each in place.server._live))
        released.set()
        async with asyncio.timeout(60):
            await stopping
        assert (await client.head())[0] == 200
        assert [await client.chunk(), await client.chunk()] == [b"bookmark 0\n", b""]
