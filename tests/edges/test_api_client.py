"""The HTTPS client against servers that misbehave: cut frames, silence, sudden ends, answers that are no Status."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mooring.edges.http.client import ApiClient
from mooring.edges.http.kubeconfig import Access
from mooring.model.kinds import CONFIG_MAP
from mooring.ports.api import ApiError, ApiUnavailable, WatchEvent
from mooring.testing.ports import free_port

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""Gets the request's head and writes whatever it likes."""

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
FIRST = b'{"type":"ADDED","object":{"kind":"ConfigMap","metadata":{"name":"a"}}}'
SECOND = b'{"type":"DELETED","object":{"kind":"ConfigMap","metadata":{"name":"\xc3\xa9"}}}'


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        await answer(head, writer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def said(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> Answer:
    """A streamed answer in these pieces, each sent by itself."""

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        for piece in pieces:
            writer.write(chunk(piece))
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.write(end)
        await writer.drain()

    return answer


def plain(status: str, body: bytes, content_type: str = "application/json") -> Answer:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        await writer.drain()

    return answer


async def watched(answer: Answer, idle_seconds: float = 60) -> list[WatchEvent]:
    """So many seconds from the answer's head on: it may be long in coming."""

    async def once_asked(head: str, writer: asyncio.StreamWriter) -> None:
        api._http._idle_seconds = idle_seconds
        await answer(head, writer)

    async with server(once_asked) as url, ApiClient(Access(url)) as api:
        return [event async for event in api.watch(CONFIG_MAP, "1")]


@pytest.mark.parametrize(
    ("pieces", "names"),
    [
        pytest.param([FIRST + b"\n" + SECOND + b"\n"], ["a", "é"], id="two frames in one piece"),
        pytest.param(
            [FIRST[:9], FIRST[9:40], FIRST[40:] + b"\n" + SECOND[:70], SECOND[70:] + b"\n"], ["a", "é"], id="cut anywhere"
        ),
        pytest.param([FIRST, b"\n", SECOND, b"\n"], ["a", "é"], id="line ends by themselves"),
        pytest.param([FIRST + b"\n\n\r\n"], ["a"], id="empty lines in between"),
        pytest.param([FIRST + b"\n", SECOND[:30]], ["a"], id="the last frame is not finished"),
        pytest.param([], [], id="nothing at all"),
    ],
)
async def test_frames(pieces: list[bytes], names: list[str]) -> None:
    events = await watched(said(*pieces))
    assert [event.object["metadata"]["name"] for event in events] == names


async def test_a_large_event_is_one_event() -> None:
    value = b"x" * 2_000_000
    frame = FIRST.replace(b'"a"', b'"' + value + b'"') + b"\n"
    (event,) = await watched(said(*(frame[at : at + 60_000] for at in range(0, len(frame), 60_000))))
    assert len(event.object["metadata"]["name"]) == len(value)


async def test_a_silent_watch_ends_quietly_after_what_it_told() -> None:
    silent = asyncio.Event()

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + chunk(FIRST + b"\n"))
        await writer.drain()
        await silent.wait()

    events = await watched(answer, idle_seconds=0.1)
    silent.set()
    assert [event.type for event in events] == ["ADDED"]


async def test_a_watch_whose_framing_breaks_ends_no_later_than_a_silent_one() -> None:
    events = await watched(said(FIRST + b"\n", end=b"zz\r\n"), idle_seconds=0.2)
    assert [event.type for event in events] == ["ADDED"]


async def test_an_error_frame_is_an_api_error() -> None:
    frame = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'
    with pytest.raises(ApiError, match="too old") as caught:
        await watched(said(frame))
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(said(FIRST + b"\n", end=b""), id="the connection closes in the middle"),
        pytest.param(said(b'{"type":\n'), id="a line that is not JSON"),
        pytest.param(said(b"[1]\n"), id="JSON that is no event"),
        pytest.param(said(b'{"type":"ADDED","object":[]}\n'), id="an event without an object"),
    ],
)
async def test_a_watch_that_breaks_is_unavailable(answer: Answer) -> None:
    with pytest.raises(ApiUnavailable):
        await watched(answer)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(
            "409 Conflict",
            b'{"kind":"Status","code":409,"reason":"AlreadyExists","message":"there","details":{"name":"a"}}',
            (409, "AlreadyExists", "there", {"name": "a"}),
            id="a Status",
        ),
        pytest.param("503 Service Unavailable", b"<html>", (503, "ServiceUnavailable", "<html>", {}), id="a proxy's page"),
        pytest.param("500 Internal Server Error", b"", (500, "InternalError", "the server answered 500", {}), id="nothing"),
    ],
)
async def test_refusals(status: str, body: bytes, expected: tuple[object, ...]) -> None:
    async with server(plain(status, body)) as url, ApiClient(Access(url)) as api:
        with pytest.raises(ApiError) as caught:
            await api.get(CONFIG_MAP, "default", "a")
    error = caught.value
    assert (error.code, error.reason, error.message, error.details) == expected


async def test_an_answer_that_is_not_json_is_unavailable() -> None:
    async with server(plain("200 OK", b"hello", "text/html")) as url, ApiClient(Access(url)) as api:
        with pytest.raises(ApiUnavailable, match="not JSON"):
            await api.list(CONFIG_MAP)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with ApiClient(Access(f"http://127.0.0.1:{free_port()}")) as api:
        with pytest.raises(ApiUnavailable, match=r"127\.0\.0\.1"):
            await api.get(CONFIG_MAP, "default", "a")


async def test_items_get_the_kind_that_upstreams_lists_leave_out() -> None:
    body = b'{"kind":"ConfigMapList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}}]}'
    async with server(plain("200 OK", body)) as url, ApiClient(Access(url)) as api:
        listing = await api.list(CONFIG_MAP)
    assert listing.items == [{"metadata": {"name": "a"}, "kind": "ConfigMap", "apiVersion": "v1"}]
    assert listing.resource_version == "7"


async def test_selectors_and_tokens_travel(tmp_path: Path) -> None:
    heads: list[str] = []

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        await plain("200 OK", b'{"metadata":{},"items":[]}')(head, writer)

    (tmp_path / "token").write_text("secret\n")
    async with server(answer) as url, ApiClient(Access(url, token_file=str(tmp_path / "token"))) as api:
        await api.list(CONFIG_MAP, "default", labels="a in (b,c),d!=e", fields="metadata.name=f&g")
    first, *_ = heads[0].splitlines()
    assert first == (
        "GET /api/v1/namespaces/default/configmaps?labelSelector=a%20in%20%28b%2Cc%29%2Cd%21%3De"
        "&fieldSelector=metadata.name%3Df%26g&limit=500 HTTP/1.1"
    )
    assert "Authorization: Bearer secret" in heads[0]
