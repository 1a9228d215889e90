"""What do requests and changes cost through our Envoy and NGINX? Beside Envoy, NGINX and HAProxy configured by hand.

Options: `--quick` (3 rounds of 1 s, fewer changes), `--rounds N` (default 9), `--seconds N` (default 1), `--only WHAT` (rates,
paths or changes).
`scripts/bootstrap bench` installs the peers.

All in a network namespace of its own: each proxy has one worker on the last processor, wrk and the backend have the first.
Ours and the hand-written one of its kind are compared in duels: both are under load and take turns of a tenth of a second, in
which the other is stopped, so that what else the machine or its host does falls on both alike. Who is loaded first loses some
of its last turn, a hundredth of all: they are it by turns. A ratio is that of all that was done in the duels, which fight with
proxies of three starts; `spread` is half the distance of the quartiles of single duels of 4 s, in parts of it: a difference
smaller than that tells nothing. The other figures are medians of rounds, which go through all proxies, each in another order,
while the others sleep; their `spread` is that of the ratio within a round. What the hand-written ones do is in
`_proxies_by_hand.py`. `kept` are 32 connections that are kept. Ours are told by the emitters and edges of a proxy pod with all
defaults: limits, access log (to a file), request ids. CPU seconds are all of the proxy's, the kernel's part included.

Changes: 5,000 routes of 500 hosts over 2,000 Services. `route change`: one Ingress names another Service, from the objects (the
translation with its memo, in this process) to the first answer of the new backend; `endpoint change`: one set has another
member. A client asks again 2 ms after each answer: it shares an interpreter with the control, which it must not hold up.
"""

import gc
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from statistics import median, quantiles

from msgspec import Struct, structs

from bench._proxies import (
    ENVOY,
    HAPROXY,
    HTTP_PORTS,
    HTTPS_PORTS,
    KIND,
    NGINX,
    OURS_ENVOY,
    OURS_NGINX,
    Loop,
    Running,
    backends,
    by_hand,
    last_cpu,
    missing,
    ours,
    slug,
    tell,
    wait,
)
from bench._proxies_by_hand import ADDRESS, BACKEND, PREFIXES
from mooring.edges.netlink import namespaces
from mooring.model.ingress import (
    HttpIngressPath,
    HttpIngressRuleValue,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressClassSpec,
    IngressRule,
    IngressServiceBackend,
    IngressSpec,
    IngressTls,
    ServiceBackendPort,
)
from mooring.model.meta import Meta
from mooring.model.service import Service, ServicePortSpec, ServiceSpec
from mooring.routing.ingress.build import build
from mooring.routing.ingress.memo import Memo
from mooring.routing.ingress.objects import Objects, Secret, Translation
from mooring.routing.nginx.emit import emit as nginx_emit
from mooring.routing.placement import Placement
from mooring.routing.table import Member, Members
from mooring.routing.xds.emit import Emitter
from mooring.testing.certificates import self_signed
from mooring.testing.netlab import bare_namespace

Figures = dict[str, float | str]

HOST, CLASS = "bench.example", "mooring-envoy"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPARE = self_signed("spare.invalid")
CERTIFICATE = self_signed(HOST)
OTHER = BACKEND + 1
CONNECTIONS, FEW = 32, 1
HOSTS, PATHS, SERVICES = 500, 10, 2_000
LONG = 5_000
"""Paths of one host."""
STARTS = 3
"""Times that the proxies are started anew: where their memory happens to lie makes 1 or 2 % of a request."""
TURN, DUEL = 0.1, 4
"""Seconds for which one of two runs while the other is stopped; of a duel, which begins with handshakes."""
PAUSE = 0.02
"""Seconds between two changes, so that each is seen alone."""
REST = 0.002
"""Seconds between an answer and the client's next question."""


def run(options: Sequence[str]) -> Figures:
    """Raises SystemExit naming a program that is missing, RuntimeError when a proxy does not serve."""
    if missing():
        raise SystemExit(f"bench ingress needs {', '.join(missing())}: run `scripts/bootstrap bench`")
    quick = "--quick" in options
    rounds = int(_option(options, "--rounds", "3" if quick else "9"))
    seconds = int(_option(options, "--seconds", "1"))
    only = _option(options, "--only", "")
    steps: dict[str, Callable[[Path], Figures]] = {
        "rates": lambda folder: _rates(folder, rounds, seconds),
        "paths": lambda folder: _paths(folder, rounds, seconds),
        "changes": lambda folder: _changes(folder, 30 if quick else 500),
    }
    with bare_namespace("bench-ingress") as name:
        return namespaces.within(name, lambda: _inside([steps[only]] if only else [*steps.values()]))


def _option(options: Sequence[str], name: str, default: str) -> str:
    return options[options.index(name) + 1] if name in options else default


def _inside(steps: Sequence[Callable[[Path], Figures]]) -> Figures:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    figures: Figures = {}
    for step in steps:
        with tempfile.TemporaryDirectory(prefix="mooring-bench-") as made:
            figures |= step(Path(made))
    first = {name: value for name, value in figures.items() if name.startswith("ratio")}
    return first | figures


# Objects --------------------------------------------------------------------------------------------------------------------


def _ingress(name: str, host: str, paths: Sequence[tuple[str, str]], tls: str = "") -> Ingress:
    listed = tuple(
        HttpIngressPath(IngressBackend(IngressServiceBackend(service, ServiceBackendPort(number=80))), "Prefix", path)
        for path, service in paths
    )
    secure = (IngressTls((host,), tls),) if tls else ()
    spec = IngressSpec(CLASS, None, secure, (IngressRule(host, HttpIngressRuleValue(listed)),))
    annotations = {"nginx.ingress.kubernetes.io/ssl-redirect": "false"}
    return Ingress(Meta(name=name, namespace="bench", annotations=annotations), spec)


def _service(name: str) -> Service:
    spec = ServiceSpec(ports=(ServicePortSpec(80, target_port=BACKEND),), cluster_ip="10.96.0.1")
    return Service(Meta(name=name, namespace="bench"), spec)


def _objects(ingresses: Sequence[Ingress], services: Sequence[str]) -> Objects:
    pair = {"tls.crt": CERTIFICATE.chain, "tls.key": CERTIFICATE.key}
    return Objects(
        {("bench", each.metadata.name): each for each in ingresses},
        {CLASS: IngressClass(Meta(name=CLASS), IngressClassSpec("mooring.dev/envoy"))},
        {("bench", each): _service(each) for each in services},
        {("bench", "tls"): Secret("kubernetes.io/tls", pair)},
        default_certificate=SPARE,
    )


def _members(translation: Translation, port: Callable[[int], int]) -> Members:
    """Each set has one member, the backend at `port` of the set's place."""
    return {name: (Member(ADDRESS, port(place)),) for place, name in enumerate(sorted(translation.sets))}


# Rates ----------------------------------------------------------------------------------------------------------------------

Key = tuple[str, str]
"""(proxy, 'http' or 'https')"""
Score = tuple[float, float]
"""(requests, CPU seconds)"""


class Found(Struct):
    """What was measured, of all starts. `loaded` and `alone`: p50 and p99 in microseconds; `duels`: ours, its peer's."""

    rates: dict[Key, list[float]]
    costs: dict[Key, list[float]]
    loaded: dict[Key, list[tuple[float, float]]]
    alone: dict[Key, list[tuple[float, float]]]
    duels: dict[Key, list[tuple[Score, Score]]]
    memory: dict[str, list[float]]


def _rates(folder: Path, rounds: int, seconds: int) -> Figures:
    found = Found({}, {}, {}, {}, {}, {})
    objects = _objects([_ingress("web", HOST, [(each, "web") for each in PREFIXES], "tls")], ["web"])
    translation = build(objects, CLASS, NOW)
    for start in range(min(STARTS, rounds)):
        with ExitStack() as stack:
            here = folder / str(start)
            here.mkdir()
            stack.enter_context(backends(here / "backend", {BACKEND: "x" * 1024}, 0))
            loop = stack.enter_context(Loop())
            running = [stack.enter_context(ours(each, here / slug(each), SPARE, loop, last_cpu())) for each in KIND]
            for each in running:
                tell(loop, each, translation.table, _members(translation, lambda _: BACKEND))
            for name in (ENVOY, NGINX, HAPROXY):
                running.append(stack.enter_context(by_hand(name, here / slug(name), HOST, CERTIFICATE, last_cpu())))
            for each in running:
                wait(partial(_answers, each.name), each)
                _wrk(each.name, "http", CONNECTIONS, 1)
                each.pause()
            some = range(start, rounds, STARTS)
            for number in some:
                _round(Random(number).sample(running, len(running)), seconds, found)
            _duels({each.name: each for each in running}, 2 * len(some), found)
            for each in running:
                found.memory.setdefault(each.name, []).append(each.resident)
    return _judged(found.duels) | _told(found) | {f"{n}: memory, MB (PSS)": median(each) for n, each in found.memory.items()}


def _round(running: Sequence[Running], seconds: int, found: Found) -> None:
    for each in running:
        each.resume()
        for scheme in ("http", "https"):
            key = each.name, scheme
            before = each.cpu_seconds
            done, *percentiles = _wrk(each.name, scheme, CONNECTIONS, seconds)
            found.costs.setdefault(key, []).append((each.cpu_seconds - before) / done * 1e6)
            found.rates.setdefault(key, []).append(done / seconds)
            found.loaded.setdefault(key, []).append((percentiles[0], percentiles[1]))
            _, *percentiles = _wrk(each.name, scheme, FEW, seconds)
            found.alone.setdefault(key, []).append((percentiles[0], percentiles[1]))
            each.forget_log()
        each.pause()


def _duels(running: dict[str, Running], count: int, found: Found) -> None:
    """Ours against its peer, by requests that were done in the same time and by processor time for each."""
    for number in range(count):
        for name in KIND:
            for scheme in ("http", "https"):
                our_own, peer = running[name], running[KIND[name]]
                scores = _duel(our_own, peer, scheme) if number % 2 else _duel(peer, our_own, scheme)[::-1]
                found.duels.setdefault((name, scheme), []).append(scores)


def _judged(duels: dict[Key, list[tuple[Score, Score]]]) -> Figures:
    figures: Figures = {}
    for (name, scheme), scores in duels.items():
        rates = [mine[0] / peers[0] for mine, peers in scores]
        costs = [peers[1] / peers[0] * mine[0] / mine[1] for mine, peers in scores]
        mine, peers = (tuple(map(sum, zip(*each, strict=True))) for each in zip(*scores, strict=True))
        for what, ratio, single in (
            (f"{name} / {KIND[name]}, {scheme}, requests/s", mine[0] / peers[0], rates),
            (f"{KIND[name]} / {name}, {scheme}, CPU per request", peers[1] / peers[0] * mine[0] / mine[1], costs),
        ):
            low, middle, high = quantiles(single, n=4)
            figures |= {f"ratio: {what}": ratio, f"spread: {what}": (high - low) / 2 / middle}
    return figures


def _duel(one: Running, other: Running, scheme: str) -> tuple[Score, Score]:
    before = [each.cpu_seconds for each in (one, other)]
    loads = [
        subprocess.Popen(_wrk_command(each.name, scheme, CONNECTIONS, DUEL), stdout=subprocess.PIPE) for each in (one, other)
    ]
    begun, turn = time.monotonic(), 0
    while any(load.poll() is None for load in loads):
        runs, waits = (one, other) if turn % 2 else (other, one)
        waits.pause()
        runs.resume()
        turn += 1
        time.sleep(max(0.0, begun + turn * TURN - time.monotonic()))
    done = [_requests(each.name, load.communicate()[0].decode()) for each, load in zip((one, other), loads, strict=True)]
    spent = [each.cpu_seconds - past for each, past in zip((one, other), before, strict=True)]
    for each in (one, other):
        each.forget_log()
        each.pause()
    return (done[0], spent[0]), (done[1], spent[1])


def _told(found: Found) -> Figures:
    figures: Figures = {}

    def compare(what: str, one: Key, other: Key) -> None:
        figures[f"ratio: {what}"] = median(found.rates[one]) / median(found.rates[other])
        within = [each / peer for each, peer in zip(found.rates[one], found.rates[other], strict=True)]
        if len(within) > 1:
            low, middle, high = quantiles(within, n=4)
            figures[f"spread: {what}"] = (high - low) / 2 / middle

    for scheme in ("http", "https"):
        for name in (OURS_ENVOY, OURS_NGINX, ENVOY, NGINX):
            compare(f"{name} / {HAPROXY}, {scheme}, requests/s", (name, scheme), (HAPROXY, scheme))
    for key in found.rates:
        name = f"{key[0]}, {key[1]}"
        figures[f"{name}: requests/s"] = median(found.rates[key])
        figures[f"{name}: CPU us per request"] = median(found.costs[key])
        for what, measured in (("32 kept", found.loaded[key]), ("one at a time", found.alone[key])):
            for place, percent in enumerate((50, 99)):
                figures[f"{name}: p{percent} us, {what}"] = median(each[place] for each in measured)
    return figures


def _wrk(name: str, scheme: str, connections: int, seconds: int, path: str = "/api/items") -> tuple[int, float, float]:
    """Requests done, p50 and p99 in microseconds. Raises RuntimeError when one fails."""
    said = subprocess.run(
        _wrk_command(name, scheme, connections, seconds, path), capture_output=True, text=True, check=True
    ).stdout
    return _requests(name, said), _percentile(said, 50), _percentile(said, 99)


def _wrk_command(name: str, scheme: str, connections: int, seconds: int, path: str = "/api/items") -> list[str]:
    port = (HTTP_PORTS if scheme == "http" else HTTPS_PORTS)[name]
    headers = (f"Host: {HOST}", "User-Agent: bench", "Accept: */*", "Accept-Encoding: gzip")
    words = ["taskset", "-c", "0", "wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency"]
    return [*words, *(word for header in headers for word in ("-H", header)), f"{scheme}://{ADDRESS}:{port}{path}"]


def _requests(name: str, said: str) -> int:
    done = re.search(r"(\d+) requests in", said)
    if "Non-2xx" in said or "Socket errors" in said or done is None:
        raise RuntimeError(f"{name}: requests failed:\n{said}")
    return int(done[1])


def _percentile(said: str, which: int) -> float:
    found = re.search(rf"\s{which}%\s+([\d.]+)(us|ms|s)", said)
    return float(found[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[found[2]] if found else 0.0


def _answers(name: str) -> bool:
    """By HTTP and by HTTPS."""
    context = ssl._create_unverified_context()
    try:
        return _get(HTTP_PORTS[name]) and _secure(HTTPS_PORTS[name], context)
    except OSError:
        return False


def _get(port: int) -> bool:
    client = HTTPConnection(ADDRESS, port, timeout=5)
    try:
        client.request("GET", "/", headers={"Host": HOST})
        return client.getresponse().status == 200
    finally:
        client.close()


def _secure(port: int, context: ssl.SSLContext) -> bool:
    with socket.create_connection((ADDRESS, port), 5) as plain, context.wrap_socket(plain, server_hostname=HOST) as made:
        made.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        return made.recv(4096).startswith(b"HTTP/1.1 200")


# Many paths of one host -----------------------------------------------------------------------------------------------------


def _paths(folder: Path, rounds: int, seconds: int) -> Figures:
    """The first of 5,000 against the last."""
    paths = [(f"/service-{number:05}/v1", "web") for number in range(LONG)]
    translation = build(_objects([_ingress("web", HOST, paths)], ["web"]), CLASS, NOW)
    (virtual_host,) = [each for each in translation.table.listeners[0].chains[0].virtual_hosts if HOST in each.hosts]
    ends = {"first": virtual_host.routes[0].match.path.value, "last": virtual_host.routes[-1].match.path.value}
    figures: Figures = {}
    with ExitStack() as stack:
        stack.enter_context(backends(folder / "backend", {BACKEND: "x" * 1024}, 0))
        loop = stack.enter_context(Loop())
        for name in KIND:
            each = stack.enter_context(ours(name, folder / slug(name), SPARE, loop, last_cpu()))
            tell(loop, each, translation.table, _members(translation, lambda _: BACKEND))
            wait(partial(_serves, name, ends["last"]), each)
            costs: dict[str, list[float]] = {}
            for number in range(2 * rounds):
                for end in Random(number).sample([*ends], 2):
                    before = each.cpu_seconds
                    done, _, _ = _wrk(name, "http", CONNECTIONS, seconds, ends[end])
                    costs.setdefault(end, []).append((each.cpu_seconds - before) / done * 1e6)
            ratios = [one / other for one, other in zip(costs["first"], costs["last"], strict=True)]
            figures[f"ratio: {name}, CPU per request, first / last of {LONG:,} paths"] = median(ratios)
            figures |= {f"{name}: CPU us per request, {end} of {LONG:,} paths": median(costs[end]) for end in ends}
            each.pause()
    return figures


def _serves(name: str, path: str) -> bool:
    return _body(name, HOST, path) is not None


def _body(name: str, host: str, path: str) -> bytes | None:
    """None unless it is a 200."""
    client = HTTPConnection(ADDRESS, HTTP_PORTS[name], timeout=5)
    try:
        client.request("GET", path, headers={"Host": host})
        answer = client.getresponse()
        body = answer.read()
        return body if answer.status == 200 else None
    except OSError:
        return None
    finally:
        client.close()


# Changes --------------------------------------------------------------------------------------------------------------------


def _changes(folder: Path, count: int) -> Figures:
    """Services in even places answer `a`, in odd ones `b`."""
    services = [f"service-{number:04}" for number in range(SERVICES)]
    ingresses = [
        _ingress(f"host-{host:03}", f"host-{host:03}.example", [
            (f"/part-{path}", services[(host * PATHS + path) % SERVICES]) for path in range(PATHS)
        ])
        for host in range(HOSTS)
    ]  # fmt: skip
    objects = _objects(ingresses, services)
    figures = _cold(objects)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as control.informer and the gateway's role have it
    with ExitStack() as stack:
        stack.enter_context(backends(folder / "backend", {BACKEND: "a", OTHER: "b"}, 0))
        for name in KIND:
            with Loop() as loop, ours(name, folder / slug(name), SPARE, loop, last_cpu()) as running:
                place = Place(loop, running, objects)
                figures |= place.endpoint_changes(count)
                figures |= place.route_changes(count // 10 if name == OURS_NGINX else count)
                figures[f"{name}: memory with {HOSTS * PATHS:,} routes, MB (PSS)"] = running.resident
    return figures


def _cold(objects: Objects) -> Figures:
    """Nothing kept from before: medians of five."""
    tables, envoys, nginxes = [], [], []
    placement = Placement("/nowhere", (ADDRESS,))
    for _ in range(5):
        begun = time.perf_counter()
        translation = build(objects, CLASS, NOW)
        tables.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        Emitter(placement).emit(translation.table)
        envoys.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        nginx_emit(translation.table, placement)
        nginxes.append(time.perf_counter() - begun)
    what = f"{HOSTS * PATHS:,} routes over {SERVICES:,} Services"
    return {
        f"{what}: table, s": median(tables),
        f"{what}: emission for Envoy, s": median(envoys),
        f"{what}: emission for NGINX, s": median(nginxes),
    }


class Place:
    """One of our proxies with the large table, and a client of it."""

    def __init__(self, loop: Loop, running: Running, objects: Objects) -> None:
        self.loop, self.running, self.objects, self.memo = loop, running, objects, Memo()
        self.rng = Random(5)
        translation = build(objects, CLASS, NOW, self.memo)
        begun = time.perf_counter()
        tell(loop, running, translation.table, _members(translation, lambda place: OTHER if place % 2 else BACKEND))
        last = f"host-{HOSTS - 1:03}.example"
        wait(lambda: _body(running.name, last, f"/part-{PATHS - 1}") is not None, running)
        self.began = time.perf_counter() - begun

    def endpoint_changes(self, count: int) -> Figures:
        took = []
        for _ in range(count):
            host, path = self.rng.randrange(HOSTS), self.rng.randrange(PATHS)
            place = (host * PATHS + path) % SERVICES
            letter = b"b" if place % 2 else b"a"
            name = f"bench/service-{place:04}:80"
            for port, wanted in ((BACKEND if place % 2 else OTHER, b"a" if place % 2 else b"b"), (None, letter)):
                member = Member(ADDRESS, port or (OTHER if place % 2 else BACKEND))
                begun = time.perf_counter()
                self._endpoints({name: (member,)})
                took.append(self._until(host, path, wanted, begun))
                time.sleep(PAUSE)
        return self._figures("endpoint change to answer", took)

    def route_changes(self, count: int) -> Figures:
        """A path of some Ingress goes to the next Service, whose answer is the other letter."""
        took, building = [], []
        for _ in range(count):
            host, path = self.rng.randrange(HOSTS), self.rng.randrange(PATHS)
            key = ("bench", f"host-{host:03}")
            before = self.objects.ingresses[key]
            place = (host * PATHS + path + 1) % SERVICES
            rules = before.spec.rules or ()
            listed = [(each.path, each.backend.service.name) for each in rules[0].http.paths if each.backend.service]  # type: ignore[union-attr]
            was = int(listed[path][1].removeprefix("service-"))
            place = (was + 1) % SERVICES
            listed[path] = (listed[path][0], f"service-{place:04}")
            after = _ingress(key[1], f"{key[1]}.example", listed)
            begun = time.perf_counter()
            self.objects = structs.replace(self.objects, ingresses={**self.objects.ingresses, key: after})
            translation = build(self.objects, CLASS, NOW, self.memo)
            building.append((time.perf_counter() - begun) * 1000)
            self._apply(translation)
            took.append(self._until(host, path, b"b" if place % 2 else b"a", begun))
            time.sleep(PAUSE)
        figures = self._figures("route change to answer", took)
        name = f"{self.running.name}, {HOSTS * PATHS:,} routes"
        figures[f"{name}: of a route change, the translation, ms"] = median(building)
        figures[f"{name}: first table to answer, s"] = self.began
        return figures

    def _endpoints(self, changed: Members) -> None:
        proxy = self.running.proxy
        assert proxy is not None
        self.loop.do(lambda: proxy.endpoints(changed))

    def _apply(self, translation: Translation) -> None:
        proxy = self.running.proxy
        assert proxy is not None
        self.loop.do(lambda: proxy.apply(translation.table))

    def _until(self, host: int, path: int, wanted: bytes, begun: float) -> float:
        """Milliseconds until the path is answered so, over connections of its own. Raises RuntimeError when it never is."""
        end = begun + 20
        while _body(self.running.name, f"host-{host:03}.example", f"/part-{path}") != wanted:
            if time.perf_counter() > end:
                raise RuntimeError(f"{self.running.name}: host-{host:03}/part-{path} is not answered {wanted!r}")
            time.sleep(REST)
        return (time.perf_counter() - begun) * 1000

    def _figures(self, what: str, took: Sequence[float]) -> Figures:
        name = f"{self.running.name}, {HOSTS * PATHS:,} routes: {what}"
        return {f"{name}, p50 ms": median(took), f"{name}, p99 ms": quantiles(took, n=100)[98]}


if __name__ == "__main__":
    sys.exit("run `python -m bench ingress`")
