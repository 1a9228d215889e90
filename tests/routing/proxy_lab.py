"""One real Envoy and one real NGINX, each fed with RouteTables one after the other, and asked over loopback."""

import asyncio
import contextlib
import itertools
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self, TypeVar

from msgspec import structs
from tests.routing.raw_client import Client, Reply

from mooring.edges.envoy import launch as envoy_launch
from mooring.edges.envoy.pace import Pace
from mooring.edges.envoy.proxy import EnvoyProxy
from mooring.edges.nginx import launch as nginx_launch
from mooring.edges.nginx.proxy import NginxProxy
from mooring.ports.proxy import Launch, Proxy, Rejection
from mooring.routing.placement import Placement
from mooring.routing.simulate import Request
from mooring.routing.table import (
    Answer,
    Chain,
    Listener,
    Match,
    Members,
    Passthrough,
    Route,
    RouteTable,
    Terminate,
    Verify,
    VirtualHost,
)
from mooring.routing.xds.emit import Emitter
from mooring.testing.certificates import self_signed
from mooring.testing.ports import free_port

PATIENCE = 60.0
"""Seconds until a table must be in force."""
PAUSE = 0.004
MARK = "mark.invalid"
SPARE = self_signed("spare.invalid")
Result = TypeVar("Result")


class Loop:
    """An event loop in a thread of its own, for the proxies' edges: tests block."""

    def __enter__(self) -> Self:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: list[Future[Any]] = []
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel(), self.loop).result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()

    async def _cancel(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.run_coroutine_threadsafe(work, self.loop))

    def do(self, work: Callable[[], Result]) -> Result:
        """Runs `work` in the loop and gives its result. A task that has failed meanwhile is told of."""

        async def done() -> Result:
            return work()

        for each in self._tasks:
            if each.done():
                each.result()
        return asyncio.run_coroutine_threadsafe(done(), self.loop).result(PATIENCE)


class RealProxy:
    """`ports`: where each of the clients' ports is bound."""

    def __init__(
        self,
        name: str,
        loop: Loop,
        proxy: Proxy,
        ports: Mapping[int, int],
        taken: Callable[[], RouteTable | None] | None = None,
    ) -> None:
        self.name, self._loop, self._proxy, self.ports, self._taken = name, loop, proxy, ports, taken
        self.client = Client()
        self._numbers = itertools.count(1)

    def serve(self, table: RouteTable, members: Members) -> None:
        """Returns when the table is in force on every listener."""
        mark = f"table-{next(self._numbers)}"
        # NGINX says by itself what it has taken.
        known = marked(table, mark, is_named=self._taken is None)
        self.apply(known, members)
        end = monotonic() + PATIENCE
        while not self.has_taken(known):
            assert monotonic() < end, f"{self.name} has not taken {mark}"
            sleep(PAUSE)
        for listener in known.listeners:
            for request in marks(listener):
                while not _is_marked(reply := self.ask(request), mark, self._taken is None):
                    assert monotonic() < end, f"{self.name}: {mark} is not in force on {listener.name}: {reply}"
                    self.client.forget()  # an old connection stays with the listener that was
                    self._loop.do(lambda: None)
                    sleep(PAUSE)

    def apply(self, table: RouteTable, members: Members) -> None:
        """Returns at once."""
        self.client.forget()
        self._loop.do(lambda: self._proxy.endpoints(members))
        self._loop.do(lambda: self._proxy.apply(table))

    def _is_marked(self, reply: Reply, mark: str) -> bool:
        by = mark if self._taken is None else reply.headers.get("server", "")
        return (reply.body.strip(), reply.headers.get("server", "")) == (mark.encode(), by)

    def has_taken(self, table: RouteTable) -> bool:
        """Envoy does not say so, and is believed to have."""
        return self._taken is None or self._loop.do(self._taken) is table

    def subscribe(self, rejected: Callable[[tuple[Rejection, ...]], None]) -> None:
        """As Proxy.subscribe."""
        self._loop.do(lambda: self._proxy.subscribe(rejected))

    def ask(self, request: Request, certificate: Path | None = None) -> Reply:
        """Over loopback, whatever address the request says; its port is the clients'."""
        return self.client.ask(request, self.ports.get(request.to_port, 1), certificate)


def marked(table: RouteTable, mark: str, is_named: bool) -> RouteTable:
    """With a virtual host more on every listener, that answers with the mark. `is_named`: it is also the server's name, for
    routes and listeners change apart from each other. Chains that share hosts still do."""
    host = VirtualHost(MARK, (MARK,), (Route(mark, Match(), Answer(200, mark)),))
    made: dict[int, tuple[VirtualHost, ...]] = {}

    def more(chain: Chain) -> Chain:
        if isinstance(chain.tls, Passthrough):
            return chain
        hosts = made.setdefault(id(chain.virtual_hosts), (*chain.virtual_hosts, host))
        return structs.replace(chain, virtual_hosts=hosts)

    listeners = tuple(structs.replace(each, chains=tuple(map(more, each.chains))) for each in table.listeners)
    door = structs.replace(table.front_door, server_header=mark) if is_named else table.front_door
    return structs.replace(table, listeners=listeners, front_door=door)


def _is_marked(reply: Reply, mark: str, is_named: bool) -> bool:
    return reply.body.strip() == mark.encode() and (not is_named or reply.headers.get("server") == mark)


def marks(listener: Listener) -> Iterator[Request]:
    """One for each chain that can be asked without a client's certificate."""
    if not listener.is_tls:
        yield Request(MARK, port=listener.port)
        return
    for chain in listener.chains:
        open_ = isinstance(chain.tls, Terminate) and (
            chain.tls.clients is None or chain.tls.clients.verify is not Verify.REQUIRED
        )
        if open_:
            name = chain.server_names[0]
            asked = "x.unknown.invalid" if name == "*" else name.replace("*", "x")
            yield Request(MARK, scheme="https", port=listener.port, server_name=asked)


def ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def envoy(loop: Loop, folder: Path) -> Iterator[RealProxy]:
    placement = placed(folder)
    found = loop.do(lambda: EnvoyProxy(placement, Emitter(placement), SPARE, paced=lambda name: Pace(10_000, 0.0)))
    loop.start(found.run())
    launch = envoy_launch.prepared(placement, 1)
    strict = tuple(envoy_launch.STRICT if each == envoy_launch.LENIENT else each for each in launch.argv)
    with started(structs.replace(launch, argv=strict), folder):
        yield RealProxy("envoy", loop, found, placement.ports)


@contextlib.contextmanager
def nginx(loop: Loop, folder: Path) -> Iterator[RealProxy]:

    placement = placed(folder)
    with started(nginx_launch.prepared(placement, 1), folder):
        found = loop.do(lambda: NginxProxy(placement, SPARE, between=0, closing=0))
        loop.start(found.run())
        yield RealProxy("nginx", loop, found, placement.ports, lambda: found.in_force)


def placed(folder: Path) -> Placement:
    return Placement(str(folder), ("127.0.0.1",), {80: free_port(), 443: free_port()}, free_port())


@contextlib.contextmanager
def started(launch: Launch, folder: Path) -> Iterator[None]:
    """What it writes is in the folder's `access.log` and `error.log`."""
    with (folder / "access.log").open("ab") as log, (folder / "error.log").open("ab") as errors:
        process = subprocess.Popen(launch.argv, stdout=log, stderr=errors)
        try:
            yield
        finally:
            ended(process)


@contextlib.contextmanager
def both(folder: Path) -> Iterator[list[RealProxy]]:
    """Envoy and NGINX."""
    with contextlib.ExitStack() as running:
        loop = running.enter_context(Loop())
        found = []
        for name, start in (("envoy", envoy), ("nginx", nginx)):
            (folder / name).mkdir()
            found.append(running.enter_context(start(loop, folder / name)))
            running.callback(found[-1].client.forget)
        yield found
