"""How many questions does a second of the DNS server's CPU answer? Beside Knot and Unbound with the same zone; memory; changes.

Options: `--quick` (1 round of 1 s, fewer changes), `--rounds N` (default 5), `--coredns PATH` (its binary, as another peer).
`scripts/bootstrap bench` installs the peers and dnsperf.

All in a network namespace of its own: each server is one process with one thread on the last processor, dnsperf has the first.
Rounds go through all servers in turn, and a ratio is the median over the rounds of the ratio within a round. Questions: `hits`
are names of Services, `misses` names next to them that do not exist, `search` what a pod's search path makes of them and of
names outside. CPU seconds are the server's own, its part of the kernel's work included; latencies come from dnsperf at a rate
that all of them bear. `change to answer` is the time from a changed Service, in our publisher, to the answer that has it.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from shutil import which
from statistics import median, quantiles

from msgspec import structs

from bench._dns_servers import ADDRESS, OURS, Server, available, start, worker
from mooring.dns.layout import layout
from mooring.dns.names import from_text
from mooring.dns.owners import Change
from mooring.dns.shared import SharedNames
from mooring.dns.zone import Zone, ZoneOptions
from mooring.edges.dns.publisher import Publisher
from mooring.edges.netlink import namespaces
from mooring.services.names import NamedPort, PublishedEndpoint, PublishedService
from mooring.testing.netlab import bare_namespace

Figures = dict[str, float | str]

SERVICES, NAMESPACES = 5_000, 20
QUESTIONS = 20_000
SECONDS = 3
CLIENTS, OUTSTANDING = 16, 200
STEADY = 10_000
"""Questions a second at which latencies are compared."""
CHANGES, CHANGES_A_SECOND = 1_000, 100
LARGE_SERVICES, LARGE_ENDPOINTS = 10_000, 100_000
KINDS = ("hits", "misses", "search")
ANSWERED_WITHIN = 5.0


def run(options: Sequence[str]) -> Figures:
    """Raises RuntimeError when dnsperf is missing or a server does not answer."""
    if which("dnsperf") is None:
        raise RuntimeError("dnsperf is missing; run `scripts/bootstrap bench`")
    quick = "--quick" in options
    rounds = int(options[options.index("--rounds") + 1]) if "--rounds" in options else 1 if quick else 5
    coredns = options[options.index("--coredns") + 1] if "--coredns" in options else ""
    with bare_namespace("bench-dns") as name:
        return namespaces.within(name, lambda: _inside(rounds, 1 if quick else SECONDS, quick, coredns))


def _inside(rounds: int, seconds: int, quick: bool, coredns: str) -> Figures:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="mooring-bench-") as made:
        folder = Path(made)
        zone = _zone(SERVICES, SERVICES)
        questions = {kind: _write(folder / kind, kind, zone) for kind in KINDS}
        figures |= _rates(folder, zone, questions, rounds, seconds, coredns)
        figures |= _changes(folder / "changes", CHANGES // (10 if quick else 1))
        figures |= _killed(folder / "killed", zone, questions["hits"])
        figures |= _memory(folder / "memory")
    return figures


def _zone(services: int, endpoints: int) -> Zone:
    """Services with a cluster IP and a named port, and as many endpoints for each as that makes."""
    port, each = (NamedPort("http", "tcp", 80),), endpoints // services
    target = (NamedPort("http", "tcp", 8080),)
    made = {}
    for number in range(services):
        pods = [f"10.{244 + (at >> 16)}.{at >> 8 & 255}.{at & 255}" for at in range(number * each, (number + 1) * each)]
        backends = tuple(PublishedEndpoint(pod.replace(".", "-"), pod, target) for pod in pods)
        address = f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        made[f"team-{number % NAMESPACES}", f"service-{number}"] = PublishedService((address,), port, backends)
    options = ZoneOptions(addresses=("10.96.0.10",), reverse=("10.96.0.0/12", "10.244.0.0/16", "10.245.0.0/16"))
    zone = Zone(options, made, {f"team-{number}" for number in range(NAMESPACES)}, 1)
    return structs.replace(zone, shared=_index(zone))


def _index(zone: Zone) -> SharedNames:
    shared = SharedNames(layout(zone.options))
    for key, source in zone.sources():
        shared.change(key, None, source)
    return shared


def _write(path: Path, kind: str, zone: Zone) -> Path:
    """Questions as dnsperf reads them."""
    rng, names = Random(7), sorted(zone.services)
    lines = []
    for _ in range(QUESTIONS):
        namespace, service = rng.choice(names)
        full = f"{service}.{namespace}.svc.cluster.local"
        if kind == "misses":
            full = f"absent-{rng.randrange(10**6)}.{namespace}.svc.cluster.local"
        elif kind == "search":
            asked = rng.choice((f"{service}.{namespace}", full, "www.example.com", "api.example.org"))
            full = f"{asked}.{rng.choice((f'{namespace}.svc.cluster.local', 'svc.cluster.local', 'cluster.local'))}"
            if full == f"{service}.{namespace}.svc.cluster.local":
                full = f"{full}.cluster.local"
        lines.append(f"{full} A")
    path.write_text("\n".join(lines) + "\n")
    return path


# Rates and latencies --------------------------------------------------------------------------------------------------------


def _rates(folder: Path, zone: Zone, questions: dict[str, Path], rounds: int, seconds: int, coredns: str) -> Figures:
    names = [OURS, *available(coredns)]
    per_second: dict[tuple[str, str], list[float]] = {}
    latencies: dict[tuple[str, str], list[float]] = {}
    lost: dict[str, int] = dict.fromkeys(names, 0)
    with ExitStack() as cleanup:
        servers = []
        for name in names:
            server = start(name, folder / name, zone, _last_cpu(), coredns)
            cleanup.callback(server.stop)
            _wait(server)
            for kind in KINDS:
                _dnsperf(server, questions[kind], 1)
            servers.append(_paused(server))
        for number in range(rounds):
            for server in Random(number).sample(servers, len(servers)):
                os.kill(server.process.pid, signal.SIGCONT)
                for kind in KINDS:
                    before = server.cpu_seconds
                    done, missing, _ = _dnsperf(server, questions[kind], seconds)
                    per_second.setdefault((server.name, kind), []).append(done / (server.cpu_seconds - before))
                    lost[server.name] += missing
                    _, _, took = _dnsperf(server, questions[kind], seconds, "-Q", str(STEADY), "-v")
                    latencies.setdefault((server.name, kind), []).append(quantiles(took, n=100)[98] * 1e6)
                _paused(server)
    figures: Figures = {}
    for kind in KINDS:
        ours = per_second[OURS, kind]
        for name in names[1:]:
            theirs = per_second[name, kind]
            figures[f"{kind}: ratio to {name}"] = median(one / other for one, other in zip(ours, theirs, strict=True))
    for kind in KINDS:
        for name in names:
            figures[f"{kind}: questions per CPU second, {name}"] = median(per_second[name, kind])
            figures[f"{kind}: p99 at {STEADY} a second, us, {name}"] = median(latencies[name, kind])
    return figures | {f"questions lost, {name}": float(count) for name, count in lost.items()}


def _paused(server: Server) -> Server:
    """Sleeps while the others are measured, so that nothing of it runs beside them."""
    os.kill(server.process.pid, signal.SIGSTOP)
    return server


def _dnsperf(server: Server, questions: Path, seconds: int, *more: str) -> tuple[int, int, list[float]]:
    """(answers, lost, the latency of each in seconds where `-v` asked for them)."""
    shape = ("-T", "1", "-c", str(CLIENTS), "-q", str(OUTSTANDING), "-l", str(seconds))
    command = ["taskset", "-c", "0", "dnsperf", "-s", ADDRESS, "-p", str(server.port), "-d", str(questions), *shape, *more]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    completed = lost = 0
    took = []
    for line in said.splitlines():
        words = line.split()
        if line.startswith("> ") and len(words) == 5:
            took.append(float(words[4]))
        elif words[:2] == ["Queries", "completed:"]:
            completed = int(words[2])
        elif words[:2] == ["Queries", "lost:"]:
            lost = int(words[2])
    if not completed:
        raise RuntimeError(f"{server.name} answered nothing:\n{said[-2000:]}")
    return completed, lost, took


# Changes, deaths, memory ----------------------------------------------------------------------------------------------------


def _changes(folder: Path, count: int) -> Figures:
    """One Service after the other gets another address; a client asks until it has it."""
    zone = _zone(SERVICES, SERVICES)
    services, shared = dict(zone.services), zone.shared
    assert isinstance(shared, SharedNames)
    folder.mkdir()
    publisher = Publisher(folder)
    publisher.replace(zone)
    server = worker(folder, _last_cpu())
    rng, took = Random(3), []
    try:
        _wait(server)
        with _client(server.port) as client:
            due = time.perf_counter()
            for number in range(count):
                due += 1 / CHANGES_A_SECOND
                time.sleep(max(0.0, due - time.perf_counter()))
                key = rng.choice(list(zone.services))
                address = f"10.111.{number >> 8}.{number & 255}"
                after = structs.replace(services[key], addresses=(address,))
                change = Change(key, services[key], after)
                began = time.perf_counter()
                services[key] = after
                shared.change(key, change.before, after)
                publisher.change(structs.replace(zone, services=services, serial=number + 2), change)
                while socket.inet_aton(address) not in _asked(client, f"{key[1]}.{key[0]}.svc.cluster.local"):
                    pass
                took.append((time.perf_counter() - began) * 1000)
    finally:
        server.stop()
        publisher.close()
    return {
        f"change to answer: p50 of {count} at {CHANGES_A_SECOND} a second, ms": median(took),
        f"change to answer: p99 of {count} at {CHANGES_A_SECOND} a second, ms": quantiles(took, n=100)[98],
    }


def _killed(folder: Path, zone: Zone, questions: Path) -> Figures:
    """kill -9 of a worker under load, and another one at its socket, as the agent's pool starts it: how long nobody answers."""
    server = start(OURS, folder, zone, _last_cpu())
    again = server
    try:
        _wait(server)
        shape = ("-c", "4", "-q", "20", "-l", "2", "-Q", "2000")
        command = ["taskset", "-c", "0", "dnsperf", "-s", ADDRESS, "-p", str(server.port), "-d", str(questions), *shape]
        load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        began = time.perf_counter()
        server.process.kill()
        server.process.wait()
        again = worker(folder, _last_cpu(), server.udp)
        with _client(again.port) as client:
            _asked(client, "service-1.team-1.svc.cluster.local")
        took = (time.perf_counter() - began) * 1000
        said, _ = load.communicate()
    finally:
        again.stop()
    lost = next(int(line.split()[2]) for line in said.splitlines() if line.strip().startswith("Queries lost:"))
    return {
        "kill -9 of a worker: answers again after, ms": took,
        "kill -9 of a worker: questions lost at 2,000 a second": float(lost),
    }


def _memory(folder: Path) -> Figures:
    """In processes of their own: a worker, and a writer with zone and table."""
    code = (
        "import sys; from pathlib import Path; from bench.dns import _zone; from mooring.edges.dns.publisher import Publisher\n"
        "import time; began = time.perf_counter(); publisher = Publisher(Path(sys.argv[1]))\n"
        f"zone = _zone({LARGE_SERVICES}, {LARGE_ENDPOINTS}); made = time.perf_counter(); publisher.replace(zone)\n"
        "rss = {line.split(':')[0]: int(line.split()[1]) / 1024 for line in open('/proc/self/smaps_rollup').readlines()[1:]}\n"
        "print(publisher.names, publisher.octets, time.perf_counter() - made, rss['Rss'], rss['Pss'])"
    )
    folder.mkdir()
    said = subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True).stdout.split()
    names, octets, seconds, rss, pss = map(float, said)
    server = worker(folder, _last_cpu())
    try:
        _wait(server)
        with _client(server.port) as client:
            for number in range(LARGE_SERVICES):
                _asked(client, f"service-{number}.team-{number % NAMESPACES}.svc.cluster.local")
        used = server.memory
    finally:
        server.stop()
    what = f"{LARGE_SERVICES:,} Services, {LARGE_ENDPOINTS:,} endpoints"
    return {
        f"{what}: names": names,
        f"{what}: table, MB": octets / (1 << 20),
        f"{what}: table written in, s": seconds,
        f"{what}: worker, RSS MB": used["rss_mb"],
        f"{what}: worker, PSS MB": used["pss_mb"],
        f"{what}: writer with zone and table, RSS MB": rss,
        f"{what}: writer with zone and table, PSS MB": pss,
    }


def _client(port: int) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(ANSWERED_WITHIN)
    client.connect((ADDRESS, port))
    return client


def _asked(client: socket.socket, name: str) -> bytes:
    """The reply to one question for A. Raises TimeoutError."""
    client.send(bytes((7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)) + from_text(name) + bytes((0, 1, 0, 1)))
    return client.recv(4096)


def _wait(server: Server) -> None:
    """Until it answers. Raises RuntimeError when it does not."""
    end = time.monotonic() + 4 * ANSWERED_WITHIN
    while time.monotonic() < end:
        with _client(server.port) as client, suppress(OSError):
            client.settimeout(0.1)
            if len(_asked(client, "service-1.team-1.svc.cluster.local")) > 60:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{server.name} does not answer")


def _last_cpu() -> int:
    return max(os.sched_getaffinity(0))


if __name__ == "__main__":
    sys.exit("run `python -m bench dns`")
