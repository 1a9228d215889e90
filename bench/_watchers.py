"""How late does a thousandth watcher hear of an event, while five hundred come each second?

`python -m bench._watchers PORT PKI_DIR COUNT REVISION` is the watchers, in a process of their own: COUNT connections to
bench/apiserver.py's server that follow its ConfigMaps from REVISION. A tenth hears every event, eight tenths those of one of
ten namespaces each, and the last tenth has selectors or forms (Table, metadata alone) that few or none share. Some read a tenth
of the time only; one does not read at all. It says `ready`, then, after a line on its input, what was heard, as JSON.

Each event carries the time of the request that made it, so a delay has the write in it.
"""

import asyncio
import contextlib
import gc
import itertools
import json
import re
import select
import socket
import ssl
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mooring.edges.http.tls import client_context

if TYPE_CHECKING:
    from bench.apiserver import Client, Place

OBJECTS, LABELS, NAMESPACES = 400, 40, 10
RATE, STUCK_RATE, STUCK_SIZE, STUCK_LEAST = 500, 20, 200_000, 200
"""Changes a second; of what the one who does not read would hear: changes a second, bytes of each, how many at least."""
_SECRETS = "/api/v1/namespaces/watched-0/secrets"
_STAMP = b'"at":"'
_STAMPED = re.compile(_STAMP + rb"([^\"]{14})")
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
_RECORD = 16384
"""Bytes of a TLS record, at most."""


class Watcher:
    """Counts events and notes delays; keeps what it was told when it is one of those that are looked at closely."""

    def __init__(self, path: str, form: str = "", slow: bool = False, close: bool = False) -> None:
        accept = f"Accept: {form}\r\n" if form else ""
        self._request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n{accept}\r\n".encode()
        self.slow, self.ended = slow, False
        self.heard = 0
        self._stamps: list[tuple[float, list[bytes]]] = []
        self.told: list[bytes] | None = [] if close else None
        self._tail = b""

    def connect(self, port: int, tls: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", port))
        self._socket = tls.wrap_socket(plain, server_hostname="localhost")
        self._socket.sendall(self._request)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> None:
        """What has come. `ended` when nothing more will."""
        try:
            while data := self._socket.recv(_RECORD):
                self._hear(data)
                if not self._socket.pending():
                    return
            self.ended = True
        except ssl.SSLWantReadError:
            return
        except OSError:
            self.ended = True

    def _hear(self, data: bytes) -> None:
        now = time.monotonic()
        whole = self._tail + data
        self._tail = whole[1 - len(_STAMP) :]
        if found := whole.count(_STAMP):
            self.heard += found
            self._stamps.append((now, _STAMPED.findall(whole)))
        if self.told is not None:
            self.told.append(data)

    def delays(self) -> list[float]:
        """Seconds. Reckoned afterwards: the readers have what the server leaves them of the processors."""
        return [now - float(stamp) for now, stamps in self._stamps for stamp in stamps]

    def in_order(self) -> bool:
        """Whether the events came in the order of their revisions, as often as they were counted."""
        lines = [line for line in b"".join(self.told or ()).split(b"\n") if line.startswith(b"{")]
        revisions = [int(re.findall(rb'"resourceVersion":"(\d+)"', line)[-1]) for line in lines]
        return len(revisions) == self.heard and all(one < other for one, other in itertools.pairwise(revisions))


class Readers:
    """Reads those that have something, one after the other. A loop's protocols of TLS would take twice the processor time."""

    def __init__(self) -> None:
        self._epoll, self._reading = select.epoll(), dict[int, Watcher]()

    def add(self, watcher: Watcher) -> None:
        if not watcher.ended:
            self._reading[watcher.fileno()] = watcher
            self._epoll.register(watcher, select.EPOLLIN)

    def rest(self, watcher: Watcher) -> None:
        if self._reading.pop(watcher.fileno(), None):
            self._epoll.unregister(watcher)

    def read(self, seconds: float, line: IO[str] | None = None) -> bool:
        """For so long. True as soon as `line` has something to read."""
        end = time.monotonic() + seconds
        if line:
            self._epoll.register(line, select.EPOLLIN)
        try:
            while (left := end - time.monotonic()) > 0:
                for number, _ in self._epoll.poll(left):
                    watcher = self._reading.get(number)
                    if watcher is None:
                        return True
                    watcher.read()
                    if watcher.ended:
                        self.rest(watcher)
        finally:
            if line:
                self._epoll.unregister(line)
        return False


def watchers(count: int, revision: str) -> dict[str, list[Watcher]]:
    """By what they hear: everything, one namespace, few events, and the one that does not read."""
    follow = f"watch=1&resourceVersion={revision}"
    tenth = count // 10
    few: list[Watcher] = []
    for number in range(tenth - 1):
        label = f"/api/v1/configmaps?{follow}&labelSelector=app%3Dapp-{number % LABELS}"
        match number % 10:
            case 0 | 1 | 2 | 3:
                few.append(Watcher(label, close=True))
            case 4 | 5 | 6:
                few.append(Watcher(f"{path_of(number)}?{follow}&fieldSelector=metadata.name%3Dobject-{number}"))
            case 7:
                few.append(Watcher(label, _TABLE))
            case _:
                few.append(Watcher(label, _METADATA))
    everything = [Watcher(f"/api/v1/configmaps?{follow}", slow=number < 5, close=number in (0, 5)) for number in range(tenth)]
    one = [
        Watcher(f"{path_of(number)}?{follow}", slow=number % 100 == 99, close=number < NAMESPACES)
        for number in range(count - 2 * tenth)
    ]
    return {"everything": everything, "one": one, "few": few, "stuck": [Watcher(f"{_SECRETS}?{follow}")]}


def path_of(number: int) -> str:
    """The collection in which the object of that number is."""
    return f"/api/v1/namespaces/watched-{number % NAMESPACES}/configmaps"


def listen(port: int, pki: Path, count: int, revision: str) -> dict[str, Any]:
    """What was heard until a line came."""
    groups = watchers(count, revision)
    found = [watcher for group in groups.values() for watcher in group]
    (stuck,) = groups["stuck"]
    started = time.monotonic()
    with ThreadPoolExecutor(64) as pool:
        tls = client_context(pki / "ca.crt", pki / "admin.pem")
        for _ in pool.map(lambda watcher: watcher.connect(port, tls), found):
            pass
    attached = time.monotonic() - started
    readers = Readers()
    for watcher in found:
        readers.add(watcher)
    readers.read(0.5)
    readers.rest(stuck)
    print("ready", flush=True)
    read_until_told(readers, [watcher for watcher in found if watcher.slow])
    settle(readers, found)
    readers.add(stuck)
    for _ in range(100):
        if stuck.ended:
            break
        readers.read(0.05)
    prompt = [watcher for watcher in found if not watcher.slow and watcher is not stuck]
    delays = sorted(delay for watcher in prompt for delay in watcher.delays())
    return {
        "attach_s": attached,
        "heard": [watcher.heard for watcher in groups["everything"]],
        "heard_of_one": [watcher.heard for watcher in groups["one"]],
        "heard_of_few": [watcher.heard for watcher in groups["few"]],
        "in_order": all(watcher.in_order() for watcher in found if watcher.told is not None),
        "lost": sum(1 for watcher in found if watcher.ended and watcher is not stuck),
        "stuck_cut_off": stuck.ended,
        "p50_ms": statistics.median(delays) * 1e3,
        "p99_ms": delays[int(len(delays) * 0.99)] * 1e3,
        "worst_ms": delays[-1] * 1e3,
    }


def read_until_told(readers: Readers, slow: list[Watcher]) -> None:
    """Those that are slow are read for a tenth of the time."""
    for watcher in slow:
        readers.rest(watcher)
    while not readers.read(0.45, sys.stdin):
        for watcher in slow:
            readers.add(watcher)
        told = readers.read(0.05, sys.stdin)
        for watcher in slow:
            readers.rest(watcher)
        if told:
            break
    for watcher in slow:
        readers.add(watcher)


def settle(readers: Readers, found: list[Watcher]) -> None:
    """Until nothing has come for half a second."""
    before = -1
    while (now := sum(watcher.heard for watcher in found)) != before:
        before = now
        readers.read(0.5)


# The writers' side ------------------------------------------------------------------------------------------------------


async def measured(place: "Place", data_dir: Path, count: int, seconds: float) -> dict[str, float]:
    """Figures of `count` watchers under RATE events a second, with a client of another user's pace beside."""
    from bench.apiserver import manifest, must, rss

    writers = [await place.connect() for _ in range(24)]
    for number in range(NAMESPACES):
        await must(writers[0], "POST", "/api/v1/namespaces", manifest("Namespace", f"watched-{number}"))
    for number in range(OBJECTS):
        await must(writers[0], "POST", path_of(number), config_map(number))
    await must(writers[0], "POST", _SECRETS, manifest("Secret", "large"))
    listing = json.loads(await must(writers[0], "GET", f"{path_of(0)}?limit=1", b""))
    arguments = [str(place.port), str(data_dir / "pki"), str(count), listing["metadata"]["resourceVersion"]]
    command = [sys.executable, "-m", "bench._watchers", *arguments]
    alone = rss(place.pid)
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 24)
    assert process.stdin and process.stdout
    try:
        assert await process.stdout.readline() == b"ready\n"
        reading = processor(process.pid)
        written, took, spent, beside, most = await write(place, writers, seconds)
        reading = processor(process.pid) - reading
        process.stdin.write(b"\n")
        told = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        for client in writers:
            client.transport.abort()
    heard = told["heard"] + told["heard_of_one"] + told["heard_of_few"]
    whole = set(told["heard"]) == {written} and sum(told["heard_of_one"][:NAMESPACES]) == written
    if not whole or not told["in_order"] or told["lost"] or not told["stuck_cut_off"]:
        counts = {name: value for name, value in told.items() if "heard" not in name}
        raise RuntimeError(f"{written} events were written, whole: {whole}, {counts}")
    return {
        f"watchers_{count}_p50_ms": told["p50_ms"],
        f"watchers_{count}_p99_ms": told["p99_ms"],
        f"watchers_{count}_worst_ms": told["worst_ms"],
        f"watchers_{count}_events_per_s": written / took,
        f"watchers_{count}_deliveries_per_s": sum(heard) / took,
        f"watchers_{count}_processor_share": spent,
        f"watchers_{count}_reader_share": reading / took,
        f"watchers_{count}_client_beside_p99_ms": sorted(beside)[int(len(beside) * 0.99)] * 1e3,
        f"watchers_{count}_attached_in_s": told["attach_s"],
        f"watchers_{count}_mb": most,
        f"watchers_{count}_mb_each": (most - alone) / count,
    }


def config_map(number: int) -> bytes:
    body = {"metadata": {"name": f"object-{number}", "labels": {"app": f"app-{number % LABELS}"}}, "data": {"key": "v" * 50}}
    return json.dumps(body).encode()


def processor(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    return sum(int((each / "schedstat").read_text().split()[0]) for each in Path(f"/proc/{pid}/task").iterdir()) / 1e9


async def write(place: "Place", writers: list["Client"], seconds: float) -> tuple[int, float, float, list[float], float]:
    """Events of ConfigMaps written; in how many seconds; the server's share of a processor; seconds that a client beside waited
    for each GET; the server's memory at its largest."""
    from bench.apiserver import must, rss

    begun, spent = time.monotonic(), processor(place.pid)
    numbers, done, large_ones = itertools.count(), 0, 0
    beside: list[float] = []
    most = 0.0
    large = json.dumps({"data": {"key": "v" * STUCK_SIZE}}).encode()

    async def patch(client: "Client", path: str, body: bytes) -> None:
        status, answer = await client.ask("PATCH", path, body, form="merge-patch+json")
        if status != 200:
            raise RuntimeError(f"PATCH {path}: {status} {answer[:300]!r}")

    async def steady(client: "Client") -> None:
        nonlocal done
        for number in numbers:
            due = begun + number / RATE
            if due > begun + seconds:
                return
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await patch(client, f"{path_of(number)}/object-{number % OBJECTS}", stamped())
            done += 1

    async def for_the_stuck(client: "Client", least: int = 0) -> None:
        nonlocal large_ones
        while time.monotonic() < begun + seconds or large_ones < least:
            await asyncio.sleep(1 / STUCK_RATE)
            await patch(client, f"{_SECRETS}/large", large.replace(b"v" * 10, b"%010d" % large_ones, 1))
            large_ones += 1

    async def look(client: "Client") -> None:
        nonlocal most
        while time.monotonic() < begun + seconds:
            asked = time.monotonic()
            await must(client, "GET", f"{path_of(1)}/object-1", b"")
            beside.append(time.monotonic() - asked)
            most = max(most, rss(place.pid))
            await asyncio.sleep(0.02)

    *steadily, one, another = writers
    await asyncio.gather(*map(steady, steadily), for_the_stuck(one), look(another))
    took = time.monotonic() - begun
    spent = (processor(place.pid) - spent) / took
    await for_the_stuck(one, STUCK_LEAST)
    return done, took, spent, beside, most


def stamped() -> bytes:
    return b'{"metadata":{"annotations":{"at":"%014.3f"}}}' % time.monotonic()


if __name__ == "__main__":
    gc.disable()  # the readers' own pauses are not the server's
    heard = listen(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    print(json.dumps(heard), flush=True)
