"""How does a role say that it is well, and a node what it says of a Service? Answers of the moment, over plain HTTP.

async with serve(Health("127.0.0.1", 10257, registry, {"informers": lambda: ""})) as port: ...
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from mooring.ports.health import Answer

Check = Callable[[], str]
"""'' when all is well, else what is not."""

OK = Answer(200, "ok", {"Content-Type": "text/plain; charset=utf-8"})
_CLOSING = 1.0
"""Seconds that an answer being sent gets when its port is closed."""


class Health(Struct, frozen=True):
    """Where to serve (host '': every address; port 0: any free one), which metrics, and which checks make the role ready.

    `answers` are those of further paths; /healthz and /livez say 'ok' unless they are among them.
    """

    host: str
    port: int
    registry: CollectorRegistry
    ready: Mapping[str, Check] = {}
    answers: Mapping[str, Callable[[], Answer]] = {}


@asynccontextmanager
async def serve(health: Health) -> AsyncIterator[int]:
    """Serves while the block runs; gives the port. Raises OSError when the address is taken."""
    answers = {"/healthz": lambda: OK, "/livez": lambda: OK, "/readyz": lambda: _readiness(health.ready), **health.answers}

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(health.registry), headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes([web.get(path, _handler(answer)) for path, answer in answers.items()])
    app.add_routes([web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, health.host, health.port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _readiness(checks: Mapping[str, Check]) -> Answer:
    """As upstream's verbose form: a line per check, and 500 (kube's code for it) when one fails."""
    results = {name: check() for name, check in checks.items()}
    if not any(results.values()):
        return OK
    lines = [f"[-]{name} failed: {why}" if why else f"[+]{name} ok" for name, why in results.items()]
    return Answer(500, "\n".join(lines) + "\n", OK.headers)


def _handler(answer: Callable[[], Answer]) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    async def handle(request: web.BaseRequest) -> web.Response:
        found = answer()
        return web.Response(status=found.status, body=found.body.encode(), headers=found.headers)

    return handle


class HttpAnswerServer:
    """ports.health.AnswerServer on this network namespace's addresses."""

    async def listen(self, addresses: Iterable[str], port: int, answer: Callable[[], Answer]) -> "HttpListening":
        """Every method and path gets the same answer. Raises OSError, holding none of the addresses."""
        listening = HttpListening(web.Server(_handler(answer), access_log=None))
        try:
            for address in addresses:
                await listening.add(address, port)
        except OSError:
            await listening.close()
            raise
        return listening


class HttpListening:
    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._sockets: list[asyncio.Server] = []

    async def add(self, address: str, port: int) -> None:
        self._sockets.append(await asyncio.get_running_loop().create_server(self._server, address, port))

    async def close(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets = []
        await self._server.shutdown(_CLOSING)
