"""What does a node answer about its containers? The part of the kubelet's API that the API server proxies to: logs and exec.

    GET       /containerLogs/<namespace>/<pod>/<container>?follow&previous&tailLines&sinceSeconds&sinceTime&timestamps&...
    GET|POST  /exec/<namespace>/<pod>/<container>?command=...&input|stdin&output|stdout&error|stderr&tty     (an upgrade)
    GET       /healthz

Only the API server's client certificate is let in. The streams' bytes pass through the API server unchanged, so both protocols
are spoken here and nowhere else.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import structlog

from mooring.edges.kubelet.links import Link, SpdyLink, Wanted, WebSocketLink
from mooring.edges.kubelet.session import converse, failure_status
from mooring.ports.pods import LogOptions, RuntimeFailure, Streams

log = structlog.get_logger("kubelet-api")

MAX_HEAD = 64 * 1024
HEAD_SECONDS = 10.0
SPDY_PROTOCOL = "v4.channel.k8s.io"
SPDY_PROTOCOLS = (SPDY_PROTOCOL, "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")

FindPod = Callable[[str, str], str | None]
"""(namespace, name) -> the uid of the pod that runs here under that name."""


class Refused(Exception):
    """An HTTP error answer in plain text, as the kubelet gives."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class KubeletServer:
    """Serves until closed. `allowed` are the common names of client certificates that may ask."""

    def __init__(self, streams: Streams, find_pod: FindPod, allowed: frozenset[str]) -> None:
        self._streams, self._find_pod, self._allowed = streams, find_pod, allowed
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int, tls: ssl.SSLContext) -> int:
        """Returns the bound port. Raises OSError when it is taken."""
        self._server = await asyncio.start_server(self._accept, host, port, ssl=tls, limit=MAX_HEAD)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("a request failed")
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        http.receive_data(head)
        try:
            request = http.next_event()
        except h11.RemoteProtocolError:
            return
        assert isinstance(request, h11.Request)
        try:
            self._authorize(writer)
            await self._route(request, head, http, reader, writer)
        except Refused as refused:
            await _answer(http, writer, refused.status, refused.text.encode())
        except RuntimeFailure as failure:
            await _answer(http, writer, 400 if failure.reason == "ContainerNotFound" else 500, failure.message.encode())

    def _authorize(self, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("peercert") or {}
        names = {value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"}
        if not names & self._allowed:
            raise Refused(401 if not names else 403, "Forbidden" if names else "Unauthorized")

    async def _route(
        self,
        request: h11.Request,
        head: bytes,
        http: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        url = urlsplit(request.target.decode("ascii", "replace"))
        query = parse_qsl(url.query, keep_blank_values=True)
        match [unquote(part) for part in url.path.split("/")[1:]]:
            case ["healthz"]:
                await _answer(http, writer, 200, b"ok")
            case ["containerLogs", namespace, pod, container]:
                await self._logs(self._uid(namespace, pod), container, log_options(query), http, writer)
            case ["exec", namespace, pod, container]:
                uid = self._uid(namespace, pod)
                headers = {name.decode().lower(): value.decode("latin-1") for name, value in request.headers}
                await self._exec(uid, container, query, headers, head, http, reader, writer)
            case _:
                raise Refused(404, "404 page not found")

    def _uid(self, namespace: str, pod: str) -> str:
        uid = self._find_pod(namespace, pod)
        if uid is None:
            raise Refused(404, f"pod {namespace}/{pod} does not exist on this node")
        return uid

    async def _logs(
        self, uid: str, container: str, options: LogOptions, http: h11.Connection, writer: asyncio.StreamWriter
    ) -> None:
        chunks = self._streams.logs(uid, container, options)
        started = False
        async for chunk in chunks:
            if not started:
                writer.write(http.send(_head(200)))
                started = True
            writer.write(http.send(h11.Data(data=chunk)))
            await writer.drain()
        if not started:
            writer.write(http.send(_head(200)))
        writer.write(http.send(h11.EndOfMessage()))
        await writer.drain()

    async def _exec(
        self,
        uid: str,
        container: str,
        query: list[tuple[str, str]],
        headers: dict[str, str],
        head: bytes,
        http: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        argv = tuple(value for name, value in query if name == "command")
        wanted = Wanted(
            _flag(query, "input", "stdin"),
            _flag(query, "output", "stdout"),
            _flag(query, "error", "stderr"),
            _flag(query, "tty"),
        )
        if not argv:
            raise Refused(400, "you must specify at least one command for the container")
        if not wanted.stdin and not wanted.stdout and not wanted.stderr:
            raise Refused(400, "you must specify at least 1 of stdin, stdout, stderr")
        link = await _upgrade(wanted, headers, head, http, reader, writer)
        if link is None:
            return
        try:
            process = await self._streams.exec(
                uid, container, argv, stdin=wanted.stdin, tty=wanted.tty, stderr=wanted.stderr and not wanted.tty
            )
        except RuntimeFailure as failure:
            await link.finish(failure_status(failure.message))
            return
        await converse(process, link)


async def _upgrade(
    wanted: Wanted,
    headers: dict[str, str],
    head: bytes,
    http: h11.Connection,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> Link | None:
    """The link in the protocol that the client asks for; None when the client could not agree and has its answer."""
    upgrade = headers.get("upgrade", "").lower()
    if upgrade == "websocket":
        socket = WebSocketLink(reader, writer)
        return socket if await socket.accept(head) else None
    if upgrade != "spdy/3.1":
        raise Refused(400, "unable to upgrade: the request must ask for websocket or SPDY/3.1")
    offered = [part.strip() for part in headers.get("x-stream-protocol-version", SPDY_PROTOCOL).split(",")]
    offered += [part.strip() for line in head.decode("latin-1").split("\r\n") for part in _versions(line)]
    if SPDY_PROTOCOL not in offered:
        raise Refused(403, f"unable to upgrade: the server speaks {SPDY_PROTOCOL}")
    agreed = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", SPDY_PROTOCOL)]
    writer.write(http.send(h11.InformationalResponse(status_code=101, headers=agreed)))
    await writer.drain()
    link = SpdyLink(reader, writer)
    return link if await link.accept(wanted.channels(), http.trailing_data[0]) else None


def _versions(line: str) -> list[str]:
    """The client sends one header line for each version it knows."""
    name, _, value = line.partition(":")
    return value.split(",") if name.strip().lower() == "x-stream-protocol-version" else []


def log_options(query: list[tuple[str, str]]) -> LogOptions:
    """Raises Refused(400) naming the parameter."""
    values = dict(query)
    try:
        since = datetime.fromisoformat(values["sinceTime"]) if values.get("sinceTime") else None
        if values.get("sinceSeconds"):
            since = datetime.now(UTC) - timedelta(seconds=int(values["sinceSeconds"]))
        stream: Literal["All", "Stdout", "Stderr"] = "All"
        if values.get("stream") in ("Stdout", "Stderr"):
            stream = "Stdout" if values["stream"] == "Stdout" else "Stderr"
        return LogOptions(
            follow=_flag(query, "follow"),
            previous=_flag(query, "previous"),
            timestamps=_flag(query, "timestamps"),
            tail_lines=int(values["tailLines"]) if values.get("tailLines") else None,
            since=since,
            limit_bytes=int(values["limitBytes"]) if values.get("limitBytes") else None,
            stream=stream,
        )
    except ValueError as error:
        raise Refused(400, f"invalid log option: {error}") from error


def _flag(query: list[tuple[str, str]], *names: str) -> bool:
    return any(name in names and value.lower() in ("1", "true", "t") for name, value in query)


def _head(status: int) -> h11.Response:
    return h11.Response(
        status_code=status,
        headers=[("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked"), ("Connection", "close")],
    )


async def _answer(http: h11.Connection, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), ("Connection", "close")]
    if http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    writer.write(http.send(h11.Response(status_code=status, headers=headers)))
    writer.write(http.send(h11.Data(data=body)))
    writer.write(http.send(h11.EndOfMessage()))
    await writer.drain()
