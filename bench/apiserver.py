"""How fast is the API server? Durable creates, a large LIST, an event to many watchers, a restart, memory; what costs the time?

The server is the real role in its own process (TLS, validation, allocation, SQLite with fsync), its clients are here, on the
same cores. Bare SQLite in the same run is the peer for creates: the same rows, committed one by one and in batches as large as
the number of clients.

Options: --seconds S (of creates, 4) --clients N (32) --services N (10000) --watchers N (100) --events N (200)
--many N (1000 watchers under 500 events a second) --watching S (12) --objects N (100000; those of the restart).
"""

import argparse
import asyncio
import contextlib
import gc
import json
import signal
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import uvloop
from msgspec import Struct

from bench import _watchers
from bench._restart import restarted
from mooring.edges.http.tls import client_context

SERVICES = "/api/v1/namespaces/bench/services"
CONFIG_MAPS = "/api/v1/namespaces/bench/configmaps"


class Figures(Struct):
    """What the clients saw."""

    config_maps_per_s: float = 0
    services_per_s: float = 0
    list_ms: float = 0
    list_bytes: int = 0
    list_gzip_ms: float = 0
    event_p50_ms: float = 0
    event_p99_ms: float = 0
    rss_mb: float = 0


class Client(asyncio.Protocol):
    """One keep-alive connection: `ask`, or a watch whose lines go to `on_line`."""

    def __init__(self, on_line: Callable[[bytes], None] | None = None) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._on_line = on_line
        self._body: list[bytes] = []
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    async def ask(self, method: str, path: str, body: bytes = b"", headers: str = "", form: str = "json") -> tuple[int, bytes]:
        """Status and body; `form` is that of the body, application/... Raises ConnectionError."""
        self._answer = asyncio.get_running_loop().create_future()
        length = f"Content-Type: application/{form}\r\nContent-Length: {len(body)}\r\n" if body else ""
        self.transport.write(f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{length}{headers}\r\n".encode() + body)
        return await self._answer

    def watch(self, path: str) -> None:
        self.transport.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._take(data)
            return
        self._buffer += data
        if self._on_line:
            *lines, rest = bytes(self._buffer).split(b"\n")
            self._buffer[:] = rest
            for line in lines:
                if line.startswith(b"{"):
                    self._on_line(line)
        else:
            self._begin()

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

    def _begin(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        at = head.index(b"content-length: ") + 16
        self._status = int(head[9:12])
        self._missing = int(head[at:].split(b"\r\n", 1)[0])
        data = bytes(self._buffer[end + 4 :])
        self._buffer.clear()
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Of an answer's body. A long one is put together once: that costs as much as the server's making it."""
        self._body.append(data)
        self._missing -= len(data)
        if not self._missing:
            body = b"".join(self._body)
            self._body.clear()
            answer, self._answer = self._answer, None
            if answer:
                answer.set_result((self._status, body))


class Place(Struct):
    port: int
    tls: ssl.SSLContext
    pid: int

    async def connect(self, on_line: Callable[[bytes], None] | None = None) -> Client:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(
            lambda: Client(on_line), "127.0.0.1", self.port, ssl=self.tls, server_hostname="localhost"
        )
        return client


def run(options: list[str]) -> dict[str, float | str]:
    """The figures, ratios first."""
    chosen = parsed(options)
    with tempfile.TemporaryDirectory(prefix="mooring-bench-") as directory:
        single, batched = sqlite_alone(Path(directory) / "peer.db", chosen.clients)
        with server(Path(directory) / "plain") as (place, _):
            figures = uvloop.run(measure(place, chosen))
        with server(Path(directory) / "stages", "--stages") as (place, process):
            uvloop.run(mixed_creates(place, chosen))
            process.send_signal(signal.SIGTERM)
            costs: dict[str, float] = json.loads(process.communicate(timeout=60)[0])
        with server(Path(directory) / "watched") as (place, _):
            many = uvloop.run(_watchers.measured(place, Path(directory) / "watched", chosen.many, chosen.watching))
        again = restarted(server, Path(directory) / "restart", chosen.objects)
    total = sum(costs.values())
    largest = sorted(costs.items(), key=lambda item: -item[1])[:3]
    return {
        "creates_vs_sqlite_single_commits": figures.config_maps_per_s / single,
        "creates_vs_sqlite_batched_commits": figures.config_maps_per_s / batched,
        "config_map_creates_per_s": figures.config_maps_per_s,
        "service_creates_per_s": figures.services_per_s,
        f"list_{chosen.services}_services_ms": figures.list_ms,
        f"list_{chosen.services}_services_gzip_ms": figures.list_gzip_ms,
        f"list_{chosen.services}_services_mb": figures.list_bytes / 1e6,
        f"event_to_{chosen.watchers}_watchers_p50_ms": figures.event_p50_ms,
        f"event_to_{chosen.watchers}_watchers_p99_ms": figures.event_p99_ms,
        "rss_mb": figures.rss_mb,
        **many,
        **again,
        "sqlite_single_commits_per_s": single,
        "sqlite_batched_rows_per_s": batched,
        **{f"cost_{rank}": f"{stage}: {seconds / total:.0%}" for rank, (stage, seconds) in enumerate(largest, 1)},
    }


def parsed(options: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench apiserver")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--watchers", type=int, default=100)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--watching", type=float, default=12)
    parser.add_argument("--objects", type=int, default=100_000)
    return parser.parse_args(options)


@contextlib.contextmanager
def server(data_dir: Path, *options: str) -> Iterator[tuple[Place, subprocess.Popen[str]]]:
    data_dir.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench._apiserver", str(data_dir), *options],
        stdout=subprocess.PIPE,
        stderr=(data_dir / "log").open("w"),
        text=True,
    )
    try:
        assert process.stdout
        port = process.stdout.readline()
        if not port:
            raise RuntimeError(f"the API server did not start: {(data_dir / 'log').read_text()[-2000:]}")
        pki = data_dir / "pki"
        yield Place(int(port), client_context(pki / "ca.crt", pki / "admin.pem"), process.pid), process
    finally:
        process.kill()
        process.wait()


async def measure(place: Place, chosen: argparse.Namespace) -> Figures:
    figures = Figures()
    gc.disable()  # the clients' own pauses are not the server's
    clients = [await place.connect() for _ in range(chosen.clients)]
    await must(clients[0], "POST", "/api/v1/namespaces", manifest("Namespace", "bench"))
    figures.config_maps_per_s, _ = await creates(clients, chosen.seconds, CONFIG_MAPS, config_map)
    figures.services_per_s, made = await creates(clients, chosen.seconds, SERVICES, service, most=chosen.services)
    await creates(clients, 600, SERVICES, lambda number: service(made + number), most=chosen.services - made)
    figures.rss_mb = rss(place.pid)
    figures.list_ms, body = await fastest(clients[0], SERVICES)
    figures.list_bytes = len(body)
    assert body.count(b'"svc-') == chosen.services, "not every Service is in the list"
    figures.list_gzip_ms, _ = await fastest(clients[0], SERVICES, "Accept-Encoding: gzip\r\n")
    latencies = await events(place, clients[0], chosen.watchers, chosen.events)
    figures.event_p50_ms = statistics.median(latencies) * 1e3
    figures.event_p99_ms = sorted(latencies)[int(len(latencies) * 0.99)] * 1e3
    figures.rss_mb = max(figures.rss_mb, rss(place.pid))
    for client in clients:
        client.transport.abort()
    return figures


async def mixed_creates(place: Place, chosen: argparse.Namespace) -> None:
    """Half ConfigMaps, half Services: what the costs are taken from."""
    clients = [await place.connect() for _ in range(chosen.clients)]
    await must(clients[0], "POST", "/api/v1/namespaces", manifest("Namespace", "bench"))
    await creates(clients, chosen.seconds / 2, CONFIG_MAPS, config_map)
    await creates(clients, chosen.seconds / 2, SERVICES, service)
    for client in clients:
        client.transport.abort()


async def must(client: Client, method: str, path: str, body: bytes) -> bytes:
    status, answer = await client.ask(method, path, body)
    if status not in (200, 201):
        raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
    return answer


def manifest(kind: str, name: str, **rest: object) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **rest}).encode()


def service(number: int) -> bytes:
    return manifest("Service", f"svc-{number}", spec={"ports": [{"port": 80}], "selector": {"app": f"app-{number}"}})


def config_map(number: int) -> bytes:
    return manifest("ConfigMap", f"cm-{number}", data={"key": "v" * 200})


async def creates(
    clients: list[Client], seconds: float, path: str, document: Callable[[int], bytes], most: int = 10**9
) -> float:
    """Creates a second, each acknowledged, by all clients one after another."""
    started = time.perf_counter()
    numbers = iter(range(most))
    done = 0

    async def work(client: Client) -> None:
        nonlocal done
        for number in numbers:
            await must(client, "POST", path, document(number))
            done += 1
            if time.perf_counter() - started > seconds:
                return

    await asyncio.gather(*map(work, clients))
    return done / (time.perf_counter() - started), done


async def fastest(client: Client, path: str, headers: str = "", tries: int = 7) -> tuple[float, bytes]:
    """The median of some tries in ms, and the body."""
    times = []
    for _ in range(tries):
        started = time.perf_counter()
        _, body = await client.ask("GET", path, headers=headers)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times), body


async def events(place: Place, writer: Client, count: int, writes: int) -> list[float]:
    """Seconds from the sending of a create to each watcher's having its event."""
    latencies: list[float] = []
    sent = 0.0
    heard = asyncio.Event()

    def hear(line: bytes) -> None:
        latencies.append(time.perf_counter() - sent)
        if len(latencies) % count == 0:
            heard.set()

    listing = json.loads(await must(writer, "GET", f"{CONFIG_MAPS}?limit=1", b""))
    revision = listing["metadata"]["resourceVersion"]
    async with watchers(place, count, f"{CONFIG_MAPS}?watch=1&resourceVersion={revision}", hear):
        for number in range(writes):
            heard.clear()
            sent = time.perf_counter()
            await must(writer, "POST", CONFIG_MAPS, manifest("ConfigMap", f"event-{number}"))
            await asyncio.wait_for(heard.wait(), 30)
    return latencies[count:]  # the first is the caches'


@contextlib.asynccontextmanager
async def watchers(place: Place, count: int, path: str, hear: Callable[[bytes], None]) -> AsyncIterator[None]:
    connected = [await place.connect(hear) for _ in range(count)]
    for client in connected:
        client.watch(path)
    try:
        yield
    finally:
        for client in connected:
            client.transport.abort()


def rss(pid: int) -> float:
    """Resident memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def sqlite_alone(path: Path, batch: int, seconds: float = 1.0) -> tuple[float, float]:
    """Rows a second that SQLite itself makes durable: one a transaction, and `batch` a transaction."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, value BLOB)")
        rates = []
        for size in (1, batch):
            rows, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds:
                db.execute("BEGIN")
                db.executemany("INSERT INTO log (value) VALUES (?)", [(b"v" * 600,)] * size)
                db.execute("COMMIT")
                rows += size
            rates.append(rows / (time.perf_counter() - started))
    return rates[0], rates[1]
