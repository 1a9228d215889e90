"""How does a role say that it is well? /healthz, /livez, /readyz and /metrics over plain HTTP.

async with serve(Health("127.0.0.1", 10257, registry, {"informers": lambda: ""})) as port: ...
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

Check = Callable[[], str]
"""'' when all is well, else what is not."""


class Health(Struct, frozen=True):
    """Where to serve (port 0: any free one), which metrics, and which checks make the role ready."""

    host: str
    port: int
    registry: CollectorRegistry
    ready: Mapping[str, Check] = {}


@asynccontextmanager
async def serve(health: Health) -> AsyncIterator[int]:
    """Serves while the block runs; gives the port. Raises OSError when the address is taken."""

    async def alive(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def ready(request: web.Request) -> web.Response:
        """As upstream's verbose form: a line per check, and 500 (kube's code for it) when one fails."""
        results = {name: check() for name, check in health.ready.items()}
        if not any(results.values()):
            return web.Response(text="ok")
        lines = [f"[-]{name} failed: {why}" if why else f"[+]{name} ok" for name, why in results.items()]
        return web.Response(status=500, text="\n".join(lines) + "\n")

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(health.registry), headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes([web.get(path, alive) for path in ("/healthz", "/livez")])
    app.add_routes([web.get("/readyz", ready), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, health.host, health.port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
