"""A real NGINX with its proxy, and backends that say what they saw, all on addresses of 127.0.0.0/8."""

import asyncio
import contextlib
import datetime
import json
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mooring.edges.nginx.launch import prepared
from mooring.edges.nginx.proxy import NginxProxy
from mooring.edges.spare_certificate import spare_certificate
from mooring.ports.proxy import Rejection
from mooring.routing.nginx.front import CONTROL
from mooring.routing.placement import Placement
from mooring.routing.table import (
    ANY_PATH,
    DEFAULT_POLICY,
    NO_FILTERS,
    Certificate,
    Chain,
    Cluster,
    Endpoints,
    Filters,
    Forward,
    FrontDoor,
    Listener,
    Match,
    Member,
    PathKind,
    PathMatch,
    Policy,
    Route,
    RouteTable,
    Terminate,
    VirtualHost,
    WeightedCluster,
)
from mooring.testing.ports import free_port

ADDRESS = "127.0.0.94"
DOOR = FrontDoor()


class Backend:
    """Answers every request with a JSON document of what it saw, beginning with its own name; one for ?slow not before it may
    `go_on`."""

    def __init__(self, name: str, member: Member) -> None:
        self.name, self.member = name, member
        self.seen = 0
        self.go_on = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen += 1
        if request.headers.get("Upgrade", "").lower() == "websocket":
            stream = web.WebSocketResponse()
            await stream.prepare(request)
            async for message in stream:
                await stream.send_str(f"{self.name}: {message.data}")
            return stream
        status = int(request.query.get("status", 200))
        if "slow" in request.query:
            await self.go_on.wait()
        body = await request.read()
        seen = {
            "name": self.name,
            "method": request.method,
            "path": request.raw_path,
            "headers": {key.lower(): value for key, value in request.headers.items()},
            "body": len(body),
        }
        return web.json_response(seen, status=status, headers={"X-Backend": self.name, "X-Auth": "yes", "Server": "backend"})


@contextlib.asynccontextmanager
async def backends(*names: str) -> AsyncIterator[dict[str, Backend]]:
    made: dict[str, Backend] = {}
    runners = []
    try:
        for name in names:
            backend = Backend(name, Member(ADDRESS, 0))
            app = web.Application(client_max_size=64 * 1024 * 1024)
            app.router.add_route("*", "/{path:.*}", backend.answer)
            runner = web.AppRunner(app)
            await runner.setup()
            runners.append(runner)
            site = web.TCPSite(runner, ADDRESS, 0)
            await site.start()
            backend.member = Member(ADDRESS, runner.addresses[0][1], name)
            made[name] = backend
        yield made
    finally:
        for backend in made.values():
            backend.go_on.set()
        for runner in runners:
            await runner.cleanup()


class Gateway:
    """NGINX, its proxy, and a client's view of them."""

    def __init__(self, placement: Placement, proxy: NginxProxy, process: asyncio.subprocess.Process, log: Path) -> None:
        self.placement, self.proxy, self.process, self.log = placement, proxy, process, log
        self.rejections: tuple[Rejection, ...] = ()
        self.running = asyncio.create_task(proxy.run())
        self.http = f"http://{ADDRESS}:{placement.bound(80)}"
        self.https_port = placement.bound(443)
        proxy.subscribe(self._reject)

    def _reject(self, rejections: tuple[Rejection, ...]) -> None:
        self.rejections = rejections

    async def get(
        self, path: str, host: str = "a.test", method: str = "GET", **more: object
    ) -> tuple[int, dict[str, str], str]:
        """A connection of its own; the headers' names in lower case."""
        headers = {"Host": host, **more.pop("headers", {})}  # type: ignore[dict-item]
        async with aiohttp.ClientSession() as session:
            url = aiohttp.client.URL(self.http + path, encoded=True)
            async with session.request(method, url, headers=headers, allow_redirects=False, **more) as answer:  # type: ignore[arg-type]
                return answer.status, {key.lower(): value for key, value in answer.headers.items()}, await answer.text()

    async def seen(self, path: str, host: str = "a.test", **more: object) -> dict[str, object]:
        """What the backend saw."""
        status, _, body = await self.get(path, host, **more)
        assert status == 200, (status, body)
        return json.loads(body)

    async def subject(self, name: str) -> str:
        """Of the certificate that is shown for this name."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection(ADDRESS, self.https_port, ssl=context, server_hostname=name)
        der = writer.get_extra_info("ssl_object").getpeercert(True)
        writer.close()
        return x509.load_der_x509_certificate(der).subject.rfc4514_string()

    async def kill(self) -> None:
        """All of NGINX's processes, as the end of a container does."""
        master = self.process.pid
        for pid in (master, *_children(master)):
            os.kill(pid, signal.SIGKILL)
        await self.process.wait()

        def is_deaf() -> bool:
            with socket.socket(socket.AF_UNIX) as control:
                return control.connect_ex(f"{self.placement.folder}/{CONTROL}") != 0

        await self.until(is_deaf)

    async def ready(self) -> int:
        url = f"http://{ADDRESS}:{self.placement.ready_port}/readyz"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status

    async def until(self, holds: Callable[[], object], seconds: float = 60.0) -> None:
        """Polls; `holds` may be a coroutine function."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            result = holds()
            if asyncio.iscoroutine(result):
                with contextlib.suppress(aiohttp.ClientError, OSError, AssertionError):
                    result = await result
            if result and not asyncio.iscoroutine(result):
                return
            if self.running.done():
                await self.running
            assert asyncio.get_running_loop().time() < deadline, (
                f"it never came to be: {self.rejections} {self.log.read_text()[-2000:]}"
            )
            await asyncio.sleep(0.02)

    async def serves(self, wish: RouteTable, members: dict[str, tuple[Member, ...]]) -> None:
        """In force when this returns."""
        self.proxy.endpoints(members)
        self.proxy.apply(wish)
        await self.until(lambda: self._is_in_force(wish))

    async def _is_in_force(self, wish: RouteTable) -> bool:
        return self.proxy.in_force is wish and await self.ready() == 200


def _children(master: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]


def placement(folder: Path) -> Placement:
    folder.mkdir(parents=True, exist_ok=True)
    ports = {80: free_port(ADDRESS), 443: free_port(ADDRESS)}
    return Placement(str(folder), (ADDRESS,), ports, free_port(ADDRESS))


async def start(where: Placement, log: Path) -> asyncio.subprocess.Process:
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(*prepared(where, 2).argv, stdout=output, stderr=output)


@contextlib.asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[Gateway]:
    where = placement(folder)
    log = folder / "log"
    process = await start(where, log)
    proxy = NginxProxy(where, spare_certificate(folder), between=0.4, closing=0.1)
    made = Gateway(where, proxy, process, log)
    try:
        yield made
    finally:
        made.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await made.running
        if made.process.returncode is None:
            made.process.send_signal(signal.SIGTERM)
        await made.process.wait()


# --- Tables in few words


def route(
    name: str,
    path: str | PathMatch = ANY_PATH,
    to: str | tuple[WeightedCluster, ...] = "one",
    action: object = None,
    filters: Filters = NO_FILTERS,
    policy: Policy = DEFAULT_POLICY,
    conditions: tuple = (),
) -> Route:
    where = PathMatch(PathKind.PREFIX, path) if isinstance(path, str) else path
    clusters = (WeightedCluster(to),) if isinstance(to, str) else to
    return Route(name, Match(where, conditions), action or Forward(clusters), filters, policy, source=f"ingress {name}")  # type: ignore[arg-type]


def table(
    *hosts: VirtualHost,
    clusters: Iterable[Cluster | str] = ("one", "two"),
    certificates: dict[str, Certificate] | None = None,
    chains: tuple[Chain, ...] | None = None,
    front_door: FrontDoor = DOOR,
) -> RouteTable:
    known = [Cluster(one, Endpoints(one)) if isinstance(one, str) else one for one in clusters]
    listeners = [Listener("http", 80, (Chain(("*",), hosts),))]
    if chains is None and certificates:
        chains = tuple(Chain((name,), hosts, Terminate(name)) for name in certificates)
    if chains:
        listeners.append(Listener("https", 443, chains))
    return RouteTable(tuple(listeners), {one.name: one for one in known}, certificates or {}, front_door)


def host(*routes: Route, hosts: tuple[str, ...] = ("a.test",)) -> VirtualHost:
    return VirtualHost(hosts[0], hosts, routes, source=f"host of {hosts[0]}")


def certificate(name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificate(made.public_bytes(serialization.Encoding.PEM), private, source=f"secret {name}")
