"""Are webhooks asked over TLS that means something, within limits, and do watches wait for them in order?"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from http_lab import until

from mooring.apiserver.contract import Answer, Question, Settings
from mooring.apiserver.handle import handle
from mooring.edges.http import server_watch, webhooks
from mooring.edges.http.server import ApiServer
from mooring.edges.http.sockets import listener
from mooring.edges.http.tls import client_context, server_context
from mooring.edges.http.webhooks import Webhooks, answers_to
from mooring.edges.memory.store import MemoryStore
from mooring.edges.pki import Pki

NAME = "hook.default.svc"
Reply = Callable[[bytes], Awaitable[bytes]]
"""From a request's body to the whole answer, head and all."""


@asynccontextmanager
async def hook(keys: Pki, reply: Reply, heads: list[str] | None = None) -> AsyncIterator[int]:
    """An HTTPS server certified for NAME. Yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys.server((NAME,)).path)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
            if heads is not None:
                heads.append(head)
            writer.write(await reply(await reader.readexactly(length)))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def asked(keys: Pki, port: int, **changes: Any) -> Question:
    given = {"server_name": NAME, "ca": keys.authority.read_bytes(), "body": b'{"a":1}', "timeout": 60.0, **changes}
    return Question(f"https://{NAME}:443/convert?x=1", ("127.0.0.1", port), **given)


async def echo(body: bytes) -> bytes:
    return answer(b"got " + body)


async def test_a_question_is_one_post_of_json(keys: Pki) -> None:
    heads: list[str] = []
    async with hook(keys, echo, heads) as port:
        assert Answer(200, b'got {"a":1}') == await Webhooks()(asked(keys, port))
    assert heads[0].startswith(f"POST /convert?x=1 HTTP/1.1\r\nHost: {NAME}:443\r\n")
    assert "Content-Type: application/json\r\n" in heads[0]


async def test_who_is_not_who_it_is_said_to_be_is_not_asked(keys: Pki, tmp_path: Any) -> None:
    heads: list[str] = []
    async with hook(keys, echo, heads) as port:
        other = await Webhooks()(asked(keys, port, server_name="other.default.svc"))
        unknown = await Webhooks()(asked(keys, port, ca=Pki(tmp_path).authority.read_bytes()))
        system = await Webhooks()(asked(keys, port, ca=b""))
        nothing = await Webhooks()(asked(keys, port, ca=b"no certificate"))
    for refused in (other, unknown, system):
        assert refused.error.startswith("tls: failed to verify certificate: "), refused
    assert (nothing.error.startswith("unable to load root certificates"), []) == (True, heads)


async def test_redirects_are_not_followed(keys: Pki) -> None:
    async def elsewhere(body: bytes) -> bytes:
        return answer(b"", "302 Found", "Location: https://127.0.0.1:1/")

    async with hook(keys, elsewhere) as port:
        assert Answer(302) == await Webhooks()(asked(keys, port))


async def test_answers_in_chunks_and_without_a_length(keys: Pki) -> None:
    async def chunked(body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"

    async def unsized(body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\n\r\nabc"

    for reply in (chunked, unsized):
        async with hook(keys, reply) as port:
            assert Answer(200, b"abc") == await Webhooks()(asked(keys, port))


async def test_what_is_too_large_or_no_http_is_an_error(keys: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_ANSWER", 1000)

    async def large(body: bytes) -> bytes:
        return answer(b"x" * 1001)

    async def endless_head(body: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 200_000

    async def rubbish(body: bytes) -> bytes:
        return b"SSH-2.0\r\n"

    async def silence(body: bytes) -> bytes:
        return b""

    wanted = {large: "larger than 1000 bytes", endless_head: "too long", rubbish: "", silence: "EOF"}
    for reply, words in wanted.items():
        async with hook(keys, reply) as port:
            found = await Webhooks()(asked(keys, port))
            assert found.error and words in found.error, reply
            assert b"" == found.body


async def test_nobody_and_a_late_answer_are_errors(keys: Pki) -> None:
    released = asyncio.Event()

    async def late(body: bytes) -> bytes:
        await released.wait()
        return answer(b"")

    async with hook(keys, late) as port:
        assert Answer(error="context deadline exceeded") == await Webhooks()(asked(keys, port, timeout=0.05))
        released.set()
    assert (await Webhooks()(asked(keys, port))).error
    assert {asked(keys, 1): Answer(error="this API server calls no webhooks")} == await answers_to((asked(keys, 1),), None)


# A conversion webhook behind a real server --------------------------------------------------------------------------------


class Converter:
    """v2 has .spec.host where v1 has .spec.hostname. `open` lets answers out."""

    def __init__(self) -> None:
        self.open, self.asked = asyncio.Event(), 0
        self.open.set()

    async def __call__(self, body: bytes) -> bytes:
        self.asked += 1
        await self.open.wait()
        review = json.loads(body)
        wanted = review["request"]["desiredAPIVersion"]
        to = "hostname" if wanted.endswith("v1") else "host"
        objects = [
            {**each, "apiVersion": wanted, "spec": {to: next(iter(each["spec"].values()))}}
            for each in review["request"]["objects"]
        ]
        response = {"uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects}
        return answer(json.dumps({**review, "response": response}).encode())


def definition(keys: Pki, port: int, **schema: Any) -> dict[str, Any]:
    import base64

    client = {"url": f"https://localhost:{port}/convert", "caBundle": base64.b64encode(keys.authority.read_bytes()).decode()}
    webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
    any_spec = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, **schema}
    versions = [
        {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": any_spec}}
        for name in ("v1", "v2")
    ]
    names = {"plural": "doors", "kind": "Door"}
    spec = {"group": "example.com", "scope": "Cluster", "names": names, "versions": versions}
    conversion = {"strategy": "Webhook", "webhook": webhook}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "doors.example.com"},
        "spec": {**spec, "conversion": conversion},
    }  # fmt: skip


@asynccontextmanager
async def served(keys: Pki) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    store = MemoryStore()
    tls = server_context(keys.server(("localhost", NAME)).path, keys.authority)
    server = ApiServer(handle, store, Settings(), tls=tls, inquire=Webhooks())
    sock = listener("127.0.0.1", 0)
    await server.start([sock])
    url = f"https://localhost:{sock.getsockname()[1]}"
    context = client_context(keys.authority, keys.admin().path)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, family=2)) as session:
            yield session, url
    finally:
        await server.stop(grace=0)


def door(name: str, host: str) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Door", "metadata": {"name": name}, "spec": {"hostname": host}}


async def made(session: aiohttp.ClientSession, url: str, document: dict[str, Any]) -> dict[str, Any]:
    async with session.post(url, json=document) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 201, answer
        return answer


async def test_reads_lists_and_watches_of_another_version_ask_the_webhook(keys: Pki) -> None:
    converter = Converter()
    async with hook(keys, converter) as port, served(keys) as (session, url):
        await made(session, f"{url}/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition(keys, port))
        doors = f"{url}/apis/example.com/%s/doors"
        await made(session, doors % "v1", door("a", "one"))
        async with session.get(doors % "v2" + "/a") as response:
            assert {"host": "one"} == (await response.json())["spec"]
        async with session.get(doors % "v2" + "?watch=1&resourceVersion=0") as stream:
            assert ("ADDED", "a", "one") == told(await stream.content.readline())
            converter.open.clear()
            for name in ("b", "c", "d"):
                await made(session, doors % "v1", door(name, name))
            await until(lambda: converter.asked >= 3)
            async with session.get(doors % "v1") as response:  # others are served meanwhile
                assert 4 == len((await response.json())["items"])
            converter.open.set()
            assert [("ADDED", name, name) for name in "bcd"] == [told(await stream.content.readline()) for _ in range(3)]


def told(line: bytes) -> tuple[str, str, str]:
    event = json.loads(line)
    return event["type"], event["object"]["metadata"]["name"], event["object"]["spec"]["host"]


async def test_a_watch_ends_when_its_kind_is_defined_otherwise(keys: Pki) -> None:
    async with served(keys) as (session, url):
        definitions = f"{url}/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        first = await made(session, definitions, definition(keys, 1))
        async with session.get(f"{url}/apis/example.com/v1/doors?watch=1") as stream:
            changed = {**first, "spec": definition(keys, 1, properties={"late": {"type": "object"}})["spec"]}
            async with session.put(f"{definitions}/doors.example.com", json=changed) as response:
                assert response.status == 200, await response.text()
            async with asyncio.timeout(60):
                assert b"" == await stream.content.read()


async def test_who_waits_for_too_much_is_cut_off(keys: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_watch, "MAX_WAITING", 3)
    converter = Converter()
    async with hook(keys, converter) as port, served(keys) as (session, url):
        await made(session, f"{url}/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition(keys, port))
        async with session.get(f"{url}/apis/example.com/v2/doors?watch=1") as stream:
            converter.open.clear()
            for number in range(8):
                await made(session, f"{url}/apis/example.com/v1/doors", door(f"d{number}", "x"))
            with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError, ConnectionError)):
                async with asyncio.timeout(60):
                    await stream.content.read()
        converter.open.set()
