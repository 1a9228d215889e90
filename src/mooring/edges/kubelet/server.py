"""What does a node answer about its pods? The part of the kubelet's API that the API server proxies to.

    GET       /containerLogs/<namespace>/<pod>/<container>?follow&previous&tailLines&sinceSeconds&sinceTime&timestamps&...
    GET|POST  /exec/<namespace>/<pod>/<container>?command=...&input|stdin&output|stdout&error|stderr&tty     (an upgrade)
    GET|POST  /attach/<namespace>/<pod>/<container>?input|stdin&output|stdout&error|stderr&tty               (an upgrade)
    GET|POST  /portForward/<namespace>/<pod>?port=...                                                        (an upgrade)
    GET       /pods, /healthz

Only the API server's client certificate is let in. The streams' bytes pass through the API server unchanged, so their protocols
are spoken here and nowhere else.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from mooring.edges.kubelet.forward import CHANNEL_PROTOCOLS, PROTOCOL, TUNNEL, Forwarding, forward_channels, ports
from mooring.edges.kubelet.links import SPDY_PROTOCOLS, WEBSOCKET_PROTOCOLS, Link, SpdyLink, Wanted, WebSocketLink
from mooring.edges.kubelet.logs import log_options
from mooring.edges.kubelet.multiplexer import Plain, Tunnel
from mooring.edges.kubelet.request import MAX_HEAD, Exchange, Refused, Request, agree
from mooring.edges.kubelet.session import attached_status, converse, failure_status
from mooring.edges.kubelet.websocket import WebSocket
from mooring.ports.pods import Connection, RuntimeFailure, Streams

log = structlog.get_logger("kubelet-api")

HANDSHAKE_SECONDS = 10.0
MAX_UPGRADED = 512
"""Streams of exec, attach and port-forward that a node serves at once."""

FindPod = Callable[[str, str], str | None]
"""(namespace, name) -> the uid of the pod that runs here under that name."""
ListPods = Callable[[], list[dict[str, Any]]]


def no_pods() -> list[dict[str, Any]]:
    return []


class KubeletServer:
    """Serves until closed. `allowed` are the common names of client certificates that may ask."""

    def __init__(
        self,
        streams: Streams,
        find_pod: FindPod,
        allowed: frozenset[str],
        pods: ListPods = no_pods,
        max_upgraded: int = MAX_UPGRADED,
    ) -> None:
        self._streams, self._find_pod, self._allowed, self._pods = streams, find_pod, allowed, pods
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._upgraded, self._max_upgraded = 0, max_upgraded

    async def start(self, host: str, port: int, tls: ssl.SSLContext) -> int:
        """Returns the bound port. Raises OSError when it is taken."""
        self._server = await asyncio.start_server(
            self._accept, host, port, ssl=tls, limit=MAX_HEAD, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
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
            await self._serve(Exchange(reader, writer))
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("a request failed")
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, exchange: Exchange) -> None:
        request = await exchange.request()
        if request is None:
            return
        try:
            self._authorize(exchange.writer)
            await self._route(request, exchange)
        except Refused as refused:
            await exchange.answer(refused.status, refused.text.encode(), headers=refused.headers)
        except RuntimeFailure as failure:
            await exchange.answer(400 if failure.reason == "ContainerNotFound" else 500, failure.message.encode())

    def _authorize(self, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("peercert") or {}
        names = {value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"}
        if not names & self._allowed:
            raise Refused(401 if not names else 403, "Forbidden" if names else "Unauthorized")

    async def _route(self, request: Request, exchange: Exchange) -> None:
        match request.path:
            case ("healthz",):
                await exchange.answer(200, b"ok")
            case ("pods",):
                items = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods()}
                await exchange.answer(200, msgspec.json.encode(items), "application/json")
            case ("containerLogs", namespace, pod, container):
                await self._logs(self._uid(namespace, pod), container, request, exchange)
            case ("exec" | "attach" as what, namespace, pod, container):
                wanted = _wanted(request)
                uid = self._uid(namespace, pod)
                if not self._streams.running(uid, container):
                    raise Refused(500, f'container not found ("{container}")')
                await self._as_upgraded(self._converse(what, uid, container, wanted, request, exchange))
            case ("portForward", namespace, pod):
                await self._as_upgraded(self._forward(pod, self._uid(namespace, pod), request, exchange))
            case _:
                raise Refused(404, "404 page not found")

    def _uid(self, namespace: str, pod: str) -> str:
        uid = self._find_pod(namespace, pod)
        if uid is None:
            raise Refused(404, f'pod "{pod}" does not exist')
        return uid

    async def _as_upgraded(self, work: "asyncio._CoroutineLike[None]") -> None:
        if self._upgraded >= self._max_upgraded:
            work.close()
            raise Refused(503, f"this node serves {self._max_upgraded} streams already")
        self._upgraded += 1
        try:
            await work
        finally:
            self._upgraded -= 1

    async def _logs(self, uid: str, container: str, request: Request, exchange: Exchange) -> None:
        """Until the log ends, or whoever reads it goes."""
        chunks = self._streams.logs(uid, container, log_options(request))
        first = await anext(chunks, b"")
        exchange.begin()
        sending = asyncio.ensure_future(_send_all(first, chunks, exchange))
        leaving = asyncio.ensure_future(exchange.reader.read(1))  # A client has nothing more to say: this is its end.
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await chunks.aclose()

    async def _converse(
        self, what: str, uid: str, container: str, wanted: Wanted, request: Request, exchange: Exchange
    ) -> None:
        argv = request.values("command")
        if what == "exec" and not argv:
            raise Refused(400, "you must specify at least one command for the container")
        link = await _link(wanted, request, exchange)
        if link is None:
            return
        streams, tty, stderr = self._streams, wanted.tty, wanted.stderr
        try:
            if what == "exec":
                process = await streams.exec(uid, container, argv, stdin=wanted.stdin, tty=tty, stderr=stderr)
            else:
                process = await streams.attach(uid, container, stdin=wanted.stdin, stdout=wanted.stdout, stderr=stderr)
        except RuntimeFailure as failure:
            doing = "executing command in" if what == "exec" else "attaching to"
            await link.finish(failure_status(f"error {doing} container: {failure.message}"))
            return
        await converse(process, link, attached_status) if what == "attach" else await converse(process, link)

    async def _forward(self, pod: str, uid: str, request: Request, exchange: Exchange) -> None:
        async def connect(port: int) -> Connection:
            return await self._streams.connect(uid, port)

        if request.upgrade != "websocket":
            carrier = Plain(exchange.reader, exchange.writer)
            await _switch_to_spdy(agree(request, (PROTOCOL,)), request, exchange)
            await Forwarding(carrier, pod, connect).run()
            return
        tunnelled = TUNNEL in request.listed("sec-websocket-protocol")
        wanted = () if tunnelled else ports(request.values("port", "ports"))
        socket = WebSocket(exchange.reader, exchange.writer)
        protocol = await socket.accept(exchange.head, (TUNNEL,) if tunnelled else CHANNEL_PROTOCOLS)
        if protocol == TUNNEL:
            await Forwarding(Tunnel(socket), pod, connect).run()
        elif protocol is not None:
            await forward_channels(socket, protocol, wanted, pod, connect)


async def _send_all(first: bytes, chunks: Any, exchange: Exchange) -> None:
    await exchange.piece(first)
    async for chunk in chunks:
        await exchange.piece(chunk)
    await exchange.end()


def _wanted(request: Request) -> Wanted:
    """Raises Refused(400)."""
    tty = request.flag("tty")
    stdin, stdout = request.flag("input", "stdin"), request.flag("output", "stdout")
    stderr = request.flag("error", "stderr") and not tty
    if not stdin and not stdout and not stderr:
        raise Refused(400, "you must specify at least 1 of stdin, stdout, stderr")
    return Wanted(stdin, stdout, stderr, tty)


async def _link(wanted: Wanted, request: Request, exchange: Exchange) -> Link | None:
    """In the protocol that the client asks for; None when the client could not agree and has its answer, or went."""
    if request.upgrade == "websocket":
        socket = WebSocket(exchange.reader, exchange.writer)
        protocol = await socket.accept(exchange.head, WEBSOCKET_PROTOCOLS)
        if protocol is None:
            return None
        link = WebSocketLink(socket, protocol)
        await link.greet(wanted)
        return link
    protocol = agree(request, SPDY_PROTOCOLS)
    await _switch_to_spdy(protocol, request, exchange)
    streams = SpdyLink(exchange.reader, exchange.writer, protocol)
    return streams if await streams.accept(wanted) else None


async def _switch_to_spdy(protocol: str, request: Request, exchange: Exchange) -> None:
    """Raises Refused(400)."""
    if request.upgrade != "spdy/3.1":
        raise Refused(400, "unable to upgrade: the request must ask for websocket or SPDY/3.1")
    await exchange.switch("SPDY/3.1", (("X-Stream-Protocol-Version", protocol),) if protocol else ())
