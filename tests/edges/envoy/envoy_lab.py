"""How is our edge tried on a real Envoy? One on loopback, programmed by EnvoyProxy from raw resources, with backends to ask."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import aiohttp
from aiohttp import web
from envoy.config.cluster.v3.cluster_pb2 import Cluster as XdsCluster
from envoy.config.listener.v3.listener_pb2 import Listener as XdsListener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.type.matcher.v3 import http_inputs_pb2  # noqa: F401
from google.protobuf.json_format import ParseDict

from mooring.edges.envoy import launch
from mooring.edges.envoy.proxy import EnvoyProxy
from mooring.edges.spare_certificate import spare_certificate
from mooring.ports.proxy import Rejection
from mooring.routing.placement import Placement
from mooring.routing.table import Chain, Cluster, Endpoints, Forward, Listener, Match, Member, Route, RouteTable, VirtualHost
from mooring.routing.xds.wire import CLUSTER, LISTENER, ROUTES, Resources, encoded
from mooring.testing.ports import free_port

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEADLINE = 60.0
ADS = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
Hosts = Mapping[str, Sequence[Mapping[str, object]] | Mapping[str, object]]
"""Virtual host's name, which is its domain too -> its routes, or a matcher that leads to them, as JSON."""


def to(cluster: str, **match: str) -> dict[str, object]:
    return {"name": f"to {cluster}", "match": match or {"prefix": "/"}, "route": {"cluster": cluster}}


def resources(port: int, hosts: Hosts, clusters: Mapping[str, Mapping[str, object]]) -> Resources:
    manager = {
        "@type": HCM,
        "stat_prefix": "http",
        "rds": {"route_config_name": "http", "config_source": ADS},
        "http_filters": [ROUTER],
    }
    chain = {"name": "all", "filters": [{"name": "http", "typed_config": manager}]}
    listener = {
        "name": "http",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [chain],
    }
    virtual = [
        {"name": name, "domains": [name], **({"matcher": routes} if isinstance(routes, Mapping) else {"routes": routes})}
        for name, routes in hosts.items()
    ]
    eds = {"type": "EDS", "connect_timeout": "1s"}
    made = {
        name: encoded(
            ParseDict(
                {"name": name, **eds, "eds_cluster_config": {"eds_config": ADS, "service_name": name}, **given}, XdsCluster()
            )
        )
        for name, given in clusters.items()
    }
    return {
        CLUSTER: made,
        LISTENER: {"http": encoded(ParseDict(listener, XdsListener()))},
        ROUTES: {"http": encoded(ParseDict({"name": "http", "virtual_hosts": virtual}, RouteConfiguration()))},
    }


def table(hosts: Iterable[str], clusters: Iterable[str]) -> RouteTable:
    """What EnvoyProxy reads of a table: the sets, and where things were written."""
    made = tuple(
        VirtualHost(host, (host,), (Route(f"route of {host}", Match(), Forward(())),), source=f"ingress shop/{host}")
        for host in hosts
    )
    named = {name: Cluster(name, Endpoints(name), source=f"ingress shop/{name}") for name in clusters}
    return RouteTable((Listener("http", 80, (Chain(("*",), made),)),), named)


class RawEmitter:
    """Says what the test wants said."""

    def __init__(self) -> None:
        self.resources: Resources = {}

    def emit(self, table: RouteTable) -> Resources:
        return self.resources


class Lab:
    """An Envoy, the EnvoyProxy that programs it, and backends that answer with their own name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.emitter = folder, free_port(), RawEmitter()
        self.rejections: tuple[Rejection, ...] = ()
        self.told: list[tuple[Rejection, ...]] = []
        self._stack: list[Callable[[], object]] = []
        self.placement = Placement(str(folder), ("127.0.0.1",), ready_port=free_port())
        self.proxy = self._proxy()

    def _proxy(self) -> EnvoyProxy:
        proxy = EnvoyProxy(self.placement, self.emitter, spare_certificate(self.folder, NOW), linger=0.2)
        proxy.subscribe(self._hear)
        return proxy

    def _hear(self, rejections: tuple[Rejection, ...]) -> None:
        self.rejections = rejections
        self.told.append(rejections)

    def start_control(self) -> "asyncio.Task[None]":
        self.proxy = self._proxy()
        return asyncio.create_task(self.proxy.run())

    def apply(self, hosts: Hosts, clusters: Mapping[str, Mapping[str, object]]) -> None:
        self.emitter.resources = resources(self.port, hosts, clusters)
        self.proxy.apply(table(hosts, clusters))

    async def get(self, session: aiohttp.ClientSession, host: str, path: str = "/") -> tuple[int, str]:
        """Status and body; (0, why) when there is no answer."""
        try:
            async with session.get(f"http://127.0.0.1:{self.port}{path}", headers={"Host": host}) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, OSError) as error:
            return 0, repr(error)

    async def until(self, session: aiohttp.ClientSession, host: str, expected: tuple[int, str], path: str = "/") -> None:
        end = monotonic() + DEADLINE
        while (got := await self.get(session, host, path)) != expected:
            assert monotonic() < end, f"{host}{path}: {got}, never {expected}"
            await asyncio.sleep(0.005)

    async def until_rejected(self, expected: set[str]) -> None:
        """Waits until just these sources are rejected."""
        end = monotonic() + DEADLINE
        while (got := {each.source for each in self.rejections}) != expected:
            assert monotonic() < end, f"rejected are {got}, never {expected}"
            await asyncio.sleep(0.005)


@asynccontextmanager
async def lab(folder: Path) -> AsyncIterator[Lab]:
    """Everything ends with the block."""
    made = Lab(folder)
    started = launch.prepared(made.placement, 1)
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*started.argv, stdout=log, stderr=log)
    try:
        yield made
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def running(made: Lab) -> AsyncIterator[Lab]:
    """Control runs while the block does."""
    task = made.start_control()
    try:
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def backend(name: str) -> AsyncIterator[Member]:
    """Answers every request with its name."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text=name)

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield Member("127.0.0.1", runner.addresses[0][1], name)
    finally:
        await runner.cleanup()
