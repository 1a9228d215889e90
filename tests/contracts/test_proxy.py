"""Do all proxies keep the port's promises? The same questions to memory, to a real Envoy and to a real NGINX."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest
from aiohttp import web

from mooring.edges.envoy import launch as envoy_launch
from mooring.edges.envoy.proxy import EnvoyProxy
from mooring.edges.memory.proxy import MemoryProxy
from mooring.edges.nginx import launch as nginx_launch
from mooring.edges.nginx.proxy import NginxProxy
from mooring.edges.spare_certificate import spare_certificate
from mooring.ports.proxy import Proxy
from mooring.routing.placement import Placement
from mooring.routing.table import (
    Answer,
    Chain,
    Cluster,
    Endpoints,
    Forward,
    Listener,
    Match,
    Member,
    Route,
    RouteTable,
    VirtualHost,
    WeightedCluster,
)
from mooring.routing.xds.emit import Emitter
from mooring.testing.ports import free_port

ADDRESS = "127.0.0.93"
DEADLINE = 60.0
NONE: Mapping[str, int] = {}
Told = tuple[int, str]
"""Status, and which backend answered."""


class Asked(Protocol):
    proxy: Proxy

    async def ask(self, host: str) -> Told | None:
        """None: nobody answers."""


class Memory:
    def __init__(self) -> None:
        self.proxy = MemoryProxy()

    async def ask(self, host: str) -> Told | None:
        await asyncio.sleep(0)
        if self.proxy.table is None:
            return None
        for each in self.proxy.table.listeners[0].chains[0].virtual_hosts:
            if host in each.hosts:
                action = each.routes[0].action
                if isinstance(action, Answer):
                    return action.status, ""
                assert isinstance(action, Forward)
                where = self.proxy.table.clusters[action.to[0].cluster].where
                assert isinstance(where, Endpoints)
                members = self.proxy.members.get(where.set, ())
                return (200, members[0].name) if members else (503, "")
        return 404, ""


class Real:
    def __init__(self, proxy: Proxy, port: int) -> None:
        self.proxy, self.port = proxy, port

    async def ask(self, host: str) -> Told | None:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{ADDRESS}:{self.port}/", headers={"Host": host}) as answer,
            ):
                text = await answer.text()
                return answer.status, text if answer.status == 200 else ""
        except (aiohttp.ClientError, OSError):
            return None


@asynccontextmanager
async def real(kind: str, folder: Path) -> AsyncIterator[Asked]:
    placement = Placement(str(folder), (ADDRESS,), {80: free_port(ADDRESS), 443: free_port(ADDRESS)}, free_port(ADDRESS))
    spare = spare_certificate(folder, datetime.now(UTC))
    if kind == "envoy":
        launch = envoy_launch.prepared(placement, 1)
        proxy: Proxy = EnvoyProxy(placement, Emitter(placement), spare)
    else:
        launch = nginx_launch.prepared(placement, 1)
        proxy = NginxProxy(placement, spare, between=0.05, closing=0.05)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*launch.argv, stdout=log, stderr=log)
    try:
        yield Real(proxy, placement.bound(80))
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture(params=["memory", "envoy", "nginx"])
async def asked(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Asked]:
    async with AsyncExitStack() as stack:
        made: Asked = Memory() if request.param == "memory" else await stack.enter_async_context(real(request.param, tmp_path))
        task = asyncio.create_task(made.proxy.run())
        yield made
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def backends() -> AsyncIterator[Mapping[str, Member]]:
    async with AsyncExitStack() as stack:
        found = {}
        for name in ("a", "b"):

            async def answer(request: web.BaseRequest, name: str = name) -> web.Response:
                return web.Response(text=name)

            runner = web.ServerRunner(web.Server(answer, access_log=None))
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, ADDRESS, 0).start()
            found[name] = Member(ADDRESS, runner.addresses[0][1], name)
        yield found


def table(to: Mapping[str, str], answers: Mapping[str, int] = NONE) -> RouteTable:
    """`to`: by host, the cluster whose set has the same name."""
    hosts = [
        *((host, Forward((WeightedCluster(cluster),))) for host, cluster in to.items()),
        *((host, Answer(status)) for host, status in answers.items()),
    ]
    made = tuple(
        VirtualHost(
            host, (host,), (Route(f"{host}/0", Match(), action, source=f"ingress shop/{host}"),), source=f"ingress shop/{host}"
        )
        for host, action in hosts
    )
    clusters = {name: Cluster(name, Endpoints(name)) for name in dict.fromkeys(to.values())}
    return RouteTable((Listener("http", 80, (Chain(("*",), made),)),), clusters)


async def until(asked: Asked, host: str, expected: Told) -> None:
    end = asyncio.get_running_loop().time() + DEADLINE
    while (got := await asked.ask(host)) != expected:
        assert asyncio.get_running_loop().time() < end, f"{host}: {got}, never {expected}"
        await asyncio.sleep(0.01)


async def test_a_proxy_keeps_its_promises(asked: Asked, backends: Mapping[str, Member]) -> None:
    a, b = (backends[name] for name in "ab")
    rejected: list[object] = []
    asked.proxy.subscribe(rejected.append)
    asked.proxy.endpoints({"one": (a,)})
    assert (await asked.ask("x.test")) in (None, (404, ""), (503, "")), "nothing is served before the first table"

    # Sets that were told before their table count.
    asked.proxy.apply(table({"x.test": "one", "y.test": "two"}, {"no.test": 403}))
    await until(asked, "x.test", (200, "a"))
    await until(asked, "y.test", (503, ""))
    await until(asked, "no.test", (403, ""))
    assert (404, "") == await asked.ask("unknown.test")

    # Endpoints need no table.
    asked.proxy.endpoints({"one": (b,), "two": (a,)})
    await until(asked, "x.test", (200, "b"))
    await until(asked, "y.test", (200, "a"))
    asked.proxy.endpoints({"two": ()})
    await until(asked, "y.test", (503, ""))
    assert (200, "b") == await asked.ask("x.test")

    # Of wishes that come fast the last counts.
    asked.proxy.endpoints({"three": (a,)})
    for status in range(401, 411):
        asked.proxy.apply(table({"x.test": "one", "z.test": "three"}, {"no.test": status}))
    await until(asked, "no.test", (410, ""))
    await until(asked, "z.test", (200, "a"))
    await until(asked, "y.test", (404, ""))
    assert (200, "b") == await asked.ask("x.test")
    assert [] == [each for each in rejected if each]
