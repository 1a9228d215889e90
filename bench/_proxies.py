"""How does each proxy run for a benchmark? Ours as in a proxy pod, others by hand; one worker each, on one processor."""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any, TypeVar

from msgspec import Struct

from bench import _proxies_by_hand
from bench._proxies_by_hand import ADDRESS
from mooring.edges.envoy import launch as envoy_launch
from mooring.edges.envoy.proxy import EnvoyProxy
from mooring.edges.nginx import launch as nginx_launch
from mooring.edges.nginx.proxy import NginxProxy
from mooring.ports.proxy import Proxy
from mooring.routing.placement import Placement
from mooring.routing.table import Certificate, Members, RouteTable
from mooring.routing.xds.emit import Emitter

OURS_ENVOY, OURS_NGINX = "our Envoy", "our NGINX"
ENVOY, NGINX, HAPROXY = "Envoy by hand", "NGINX by hand", "HAProxy by hand"
KIND = {OURS_ENVOY: ENVOY, OURS_NGINX: NGINX}
HTTP_PORTS = {OURS_ENVOY: 8101, OURS_NGINX: 8102, ENVOY: 8103, NGINX: 8104, HAPROXY: 8105}
HTTPS_PORTS = {name: port + 100 for name, port in HTTP_PORTS.items()}
BY_HAND = {ENVOY: _proxies_by_hand.envoy, NGINX: _proxies_by_hand.nginx, HAPROXY: _proxies_by_hand.haproxy}
PATIENCE = 60.0
Result = TypeVar("Result")


class Running(Struct):
    """A proxy and, of ours, what it is told through."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path
    proxy: Proxy | None = None

    @property
    def cpu_seconds(self) -> float:
        """Of it and of its workers, by the scheduler's clock."""
        return sum(map(_thread_seconds, _family(self.process.pid)))

    @property
    def resident(self) -> float:
        """MB, shared pages by halves and quarters (PSS)."""
        found = 0.0
        for pid in _family(self.process.pid):
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
                found += next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))
        return found

    def forget_log(self) -> None:
        os.truncate(self.log, 0)

    def pause(self) -> None:
        """So that nothing of it runs while another is measured."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in _family(self.process.pid) if self.process.poll() is None else ():
            os.kill(pid, number)


def _family(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def _thread_seconds(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    with contextlib.suppress(OSError):
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
    return 0.0


class Loop:
    """An event loop in a thread: the control of our proxies, which sleeps while requests are counted."""

    def __enter__(self) -> "Loop":
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(_end_all(), self.loop).result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()

    def start(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop)

    def do(self, work: Callable[[], Result]) -> Result:
        async def done() -> Result:
            return work()

        return asyncio.run_coroutine_threadsafe(done(), self.loop).result(PATIENCE)


async def _end_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    if others:
        await asyncio.wait(others, timeout=PATIENCE / 2)


@contextmanager
def ours(name: str, folder: Path, spare: Certificate, loop: Loop, cpu: int) -> Iterator[Running]:
    """Started as the supervisor of a proxy pod starts it; it serves after the first table."""
    folder.mkdir()
    number = HTTP_PORTS[name]
    placement = Placement(str(folder), (ADDRESS,), {80: number, 443: HTTPS_PORTS[name]}, number + 200)
    if name == OURS_ENVOY:
        proxy: Any = loop.do(lambda: EnvoyProxy(placement, Emitter(placement), spare))
        launch = envoy_launch.prepared(placement, 1)
    else:
        launch = nginx_launch.prepared(placement, 1)
        proxy = loop.do(lambda: NginxProxy(placement, spare))
    loop.start(proxy.run())
    with _started(name, launch.argv, folder, cpu) as running:
        running.proxy = proxy
        yield running


def tell(loop: Loop, running: Running, table: RouteTable, members: Members) -> None:
    """Hands it over; it is in force a moment later."""
    proxy = running.proxy
    assert proxy is not None
    loop.do(lambda: proxy.endpoints(members))
    loop.do(lambda: proxy.apply(table))


@contextmanager
def by_hand(name: str, folder: Path, host: str, certificate: Certificate, cpu: int) -> Iterator[Running]:
    folder.mkdir()
    pem = folder / "pair.pem"
    pem.write_bytes(certificate.chain + certificate.key)
    made = BY_HAND[name](folder, host, pem, HTTP_PORTS[name], HTTPS_PORTS[name])
    with _started(name, made, folder, cpu) as running:
        yield running


@contextmanager
def _started(name: str, argv: Sequence[str], folder: Path, cpu: int) -> Iterator[Running]:
    log = folder / "access.log"
    with log.open("ab") as out, (folder / "errors").open("ab") as errors:
        command = ["taskset", "-c", str(cpu), *argv]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
    running = Running(name, process, log)
    try:
        yield running
    finally:
        running.resume()
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            for pid in _family(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()


def slug(name: str) -> str:
    """As a folder: configurations end words at a blank."""
    return name.lower().replace(" ", "-")


def missing() -> list[str]:
    return [each for each in ("wrk", "nginx", "haproxy", "taskset") if which(each) is None]


@contextmanager
def backends(folder: Path, bodies: Mapping[int, str], cpu: int) -> Iterator[None]:
    """NGINX with one worker that answers each port with its body, whatever is asked."""
    folder.mkdir()
    servers = "".join(
        f"server {{ listen {ADDRESS}:{port} backlog=4096; location / {{ return 200 '{body}'; }} }}"
        for port, body in bodies.items()
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log crit; events {{ worker_connections 8192; }}"
        f"http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; server_tokens off; {servers} }}"
    )
    with _started("backend", ["nginx", "-e", f"{folder}/log", "-c", str(config)], folder, cpu):
        yield


def last_cpu() -> int:
    return max(os.sched_getaffinity(0))


def wait(ready: Callable[[], bool], running: Running) -> None:
    """Raises RuntimeError, with what it has written, when it does not come true."""
    end = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > end or running.process.poll() is not None:
            said = (running.log.parent / "errors").read_text()
            raise RuntimeError(f"{running.name} does not serve:\n{said[-2000:]}")
        time.sleep(0.01)
