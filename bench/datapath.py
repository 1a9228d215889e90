"""What does a Service cost its packets? Requests/s and latency, beside kube-proxy's rulesets and no Service at all.

Options: `--rounds N` (default 5; 0 measures latencies alone), `--quick` (1 round, sizes 1 and 10,000).
`scripts/bootstrap bench` installs the peers.

Each way of translation (ours, kube-proxy's nftables and iptables shapes, the latter by the kernel's old and new tables) gets,
for each number of Services, three namespaces of its own: a client pod, the node with the rules, a server pod with nginx on five
ports. The measured Service is the last one. Rounds go through all ways in turn, so that a slow moment of the machine meets all
of them; a ratio is the median over the rounds of the ratio within a round. `new` opens a connection for each request, `kept`
keeps 32 open. Latencies of `new` are measured one connection at a time, from connect to the last byte.

Two places differ by more than their rules: where their servers' memory lies, on which processor they woke. So what the number
of Services costs is also measured in one place, whose tables are replaced again and again: short turns with 1 and with 10,000.
"""

import asyncio
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from math import nan
from pathlib import Path
from random import Random
from shutil import which
from statistics import median, quantiles

from msgspec import Struct

from bench._kube_proxy import Peer, iptables, nftables
from mooring.dataplane.installed import Installed
from mooring.edges.nft.firewall import NftFirewall
from mooring.edges.nft.netlink import inside
from mooring.model.discovery import endpoint_slice
from mooring.model.node import node
from mooring.model.service import service
from mooring.services.build import build_view
from mooring.testing.netlab import bare_namespace

Figures = dict[str, float | str]

NODE, CLIENT, SERVER, PODS = "172.30.0.11", "10.244.0.9", "10.244.0.2", "10.244.0.0/24"
GATEWAY = "169.254.1.1"
PORTS = range(8081, 8086)
NODE_PORT = 30080
SIZES = (1, 1_000, 10_000)
EXTERNAL = 1_000
"""How many of the Services also have a node port and a balancer's address: the port range has no room for more than 2,768."""
SECONDS = 1
CONNECTIONS = 32
ONE_BY_ONE = 3_000
"""Connections in a row for the latency of new ones."""
TURNS = 20
"""With each number of Services, where one place has them in turn."""
SETTLE = 0.5
"""Seconds in which the kernel frees replaced tables, beside whatever runs then."""
NEEDED = ("wrk", "nginx", "iptables-legacy-restore", "iptables-nft-restore", "nft")

OURS, NFTABLES, LEGACY, IPTABLES = "ours", "kube-proxy nftables", "kube-proxy iptables (legacy)", "kube-proxy iptables (nft)"
DIRECT = "direct"


class Place(Struct, frozen=True):
    """One way with its namespaces, named as figures name it."""

    way: str
    size: int
    client: str
    node: str

    @property
    def targets(self) -> dict[str, tuple[str, int]]:
        if self.way == DIRECT:
            return {"pod": (SERVER, PORTS[0])}
        last = _services(self.size)[-1]
        return {"ClusterIP": (last.cluster_ip, 80), "NodePort": (NODE, NODE_PORT), "LoadBalancer": (last.balancer, 80)}


def run(options: list[str]) -> Figures:
    """Requests/s and microseconds; ratios first. Raises SystemExit naming a program that is missing."""
    missing = [each for each in NEEDED if which(each) is None]
    if missing:
        raise SystemExit(f"bench datapath needs {', '.join(missing)}: run `scripts/bootstrap bench`")
    quick = "--quick" in options
    rounds = 1 if quick else int(options[options.index("--rounds") + 1]) if "--rounds" in options else 5
    sizes = (SIZES[0], SIZES[-1]) if quick else SIZES
    with ExitStack() as stack:
        places = [stack.enter_context(_place(DIRECT, 0))]
        places += [stack.enter_context(_place(way, size)) for size in sizes for way in (OURS, NFTABLES, LEGACY, IPTABLES)]
        measured = [_round(places) for _ in range(rounds)]
        latencies = _latencies(places)
    return {**_in_one_place(1 if quick else TURNS), **_figures(measured, latencies, sizes)}


def _in_one_place(turns: int) -> Figures:
    """What 10,000 Services cost against one, everything but the tables being the same. Latencies alone: as many connections as
    one place can make in a second would meet the ports that the turn before has used.
    """
    times: dict[tuple[int, str], list[float]] = {}
    small, large = SIZES[0], SIZES[-1]
    rulesets = {size: Installed.of(_view(_services(size))).ruleset() for size in (small, large)}
    with _place(OURS, small) as place, closing(NftFirewall(place.node)) as firewall:
        for turn in range(turns):
            for size in (small, large) if turn % 2 else (large, small):
                asyncio.run(firewall.replace(rulesets[size]))
                time.sleep(SETTLE)
                for target, where in Place(OURS, size, place.client, place.node).targets.items():
                    times.setdefault((size, target), []).append(median(_one_by_one(place.client, where, 60)))
    return {
        f"ratio: one place, p50 of a new connection, ours at {small:,} / at {large:,}, {target}": median(times[(small, target)])
        / median(times[(large, target)])
        for target in ("ClusterIP", "NodePort", "LoadBalancer")
    }


Key = tuple[str, int, str, str]
"""(way, size, target, 'new' or 'kept')"""


def _round(places: Sequence[Place]) -> dict[Key, tuple[float, float, float]]:
    """Requests/s and, for kept connections, p50 and p99 in microseconds. The order turns so that nobody is always first."""
    found = {}
    for place in places:
        for target, (address, port) in place.targets.items():
            for kind, header in (("new", "Connection: close"), ("kept", "Connection: keep-alive")):
                found[(place.way, place.size, target, kind)] = _wrk(place.client, f"http://{address}:{port}/", header)
    return found


def _wrk(namespace: str, url: str, header: str) -> tuple[float, float, float]:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}", "--latency", "-H", header, url]
    said = subprocess.run(["ip", "netns", "exec", namespace, *command], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"requests failed:\n{said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if rate is None:
        raise RuntimeError(f"wrk said no rate:\n{said}")
    return float(rate[1]), _percentile(said, 50), _percentile(said, 99)


def _percentile(said: str, which_one: int) -> float:
    found = re.search(rf"\s{which_one}%\s+([\d.]+)(us|ms|s)", said)
    return float(found[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[found[2]] if found else 0.0


def _latencies(places: Sequence[Place]) -> dict[Key, tuple[float, float]]:
    """p50 and p99 of new connections, one at a time, in microseconds. Turns of fifty, in another order each time."""
    times: dict[Key, list[float]] = {}
    dice, order = Random(1), list(places)
    for _ in range(ONE_BY_ONE // 50):
        dice.shuffle(order)
        for place in order:
            for target, where in place.targets.items():
                times.setdefault((place.way, place.size, target, "new"), []).extend(_one_by_one(place.client, where, 50))
    return {key: (_at(each, 50), _at(each, 99)) for key, each in times.items()}


def _one_by_one(namespace: str, where: tuple[str, int], count: int) -> Iterator[float]:
    request = b"GET / HTTP/1.0\r\n\r\n"
    for _ in range(count):
        with inside(namespace):
            client = socket.socket()
        begun = time.perf_counter()
        client.connect(where)
        client.sendall(request)
        while client.recv(4096):
            pass
        yield (time.perf_counter() - begun) * 1e6
        client.close()


def _at(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]


def _figures(
    rounds: list[dict[Key, tuple[float, float, float]]], latencies: dict[Key, tuple[float, float]], sizes: Sequence[int]
) -> Figures:
    """Long because it is the report."""

    def ratio(one: Key, other: Key) -> float:
        return median(each[one][0] / each[other][0] for each in rounds) if rounds else nan

    figures: Figures = {}
    largest, smallest = sizes[-1], sizes[0]
    targets = ("ClusterIP", "NodePort", "LoadBalancer")
    for kind in ("new", "kept"):
        for target in targets:
            key = f"{target}, {kind}"
            figures[f"ratio: ours at {largest:,} / ours at {smallest:,}, {key}"] = ratio(
                (OURS, largest, target, kind), (OURS, smallest, target, kind)
            )
            for peer in (NFTABLES, LEGACY, IPTABLES):
                for size in sizes:
                    figures[f"ratio: ours / {peer} at {size:,}, {key}"] = ratio(
                        (OURS, size, target, kind), (peer, size, target, kind)
                    )
            figures[f"ratio: ours at {largest:,} / direct, {key}"] = ratio(
                (OURS, largest, target, kind), (DIRECT, 0, "pod", kind)
            )
    for target in targets:
        small, large = (latencies[(OURS, size, target, "new")][0] for size in (smallest, largest))
        figures[f"ratio: p50 of a new connection, ours at {smallest:,} / at {largest:,}, {target}"] = small / large
        for peer in (NFTABLES, LEGACY, IPTABLES):
            for size in sizes:
                figures[f"ratio: p50 of a new connection, {peer} / ours at {size:,}, {target}"] = (
                    latencies[(peer, size, target, "new")][0] / latencies[(OURS, size, target, "new")][0]
                )
    for key in rounds[0] if rounds else latencies:
        way, size, target, kind = key
        name = f"{way}{f', {size:,} Services' if size else ''}, {target}, {kind}"
        if rounds:
            figures[f"{name}: requests/s"] = median(each[key][0] for each in rounds)
        p50, p99 = (
            latencies[key] if kind == "new" else tuple(median(each[key][which_one] for each in rounds) for which_one in (1, 2))
        )
        figures[f"{name}: p50 us"], figures[f"{name}: p99 us"] = p50, p99
    return {name: value for name, value in figures.items() if value == value}


@contextmanager
def _place(way: str, size: int) -> Iterator[Place]:
    """A client pod, a node and a server pod, with the rules of one way for so many Services."""
    with ExitStack() as stack:
        home, client, server = (stack.enter_context(bare_namespace(f"bench-{each}")) for each in ("node", "client", "server"))
        _link(home, client, CLIENT, "c")
        _link(home, server, SERVER, "s")
        _run(["ip", "-n", home, "address", "add", f"{NODE}/32", "dev", "lo"])
        for key, value in (("ip_forward", 1), ("netfilter/nf_conntrack_tcp_timeout_time_wait", 1)):
            path = f"/proc/sys/net/{key}" if "/" in key else f"/proc/sys/net/ipv4/{key}"
            _run(["ip", "netns", "exec", home, "sh", "-c", f"[ ! -e {path} ] || echo {value} > {path}"])
        stack.enter_context(_nginx(server))
        if way != DIRECT:
            asyncio.run(_load(way, home, _services(size)))
        yield Place(way, size, client, home)


def _link(home: str, pod: str, address: str, name: str) -> None:
    for command in (
        ["-n", home, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", pod],
        ["-n", home, "link", "set", name, "up"],
        ["-n", home, "address", "add", f"{GATEWAY}/32", "dev", name, "scope", "link"],
        ["-n", home, "route", "add", f"{address}/32", "dev", name],
        ["-n", pod, "link", "set", "eth0", "up"],
        ["-n", pod, "address", "add", f"{address}/32", "dev", "eth0"],
        ["-n", pod, "route", "add", f"{GATEWAY}/32", "dev", "eth0", "scope", "link"],
        ["-n", pod, "route", "add", "default", "via", GATEWAY],
    ):
        _run(["ip", *command])


@contextmanager
def _nginx(namespace: str) -> Iterator[None]:
    """nginx with one worker that answers from memory."""
    with tempfile.TemporaryDirectory(prefix="mrg-bench-") as folder:
        listens = " ".join(f"listen {port} backlog=4096;" for port in PORTS)
        config = Path(folder, "nginx.conf")
        config.write_text(
            f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log crit;"
            "events { worker_connections 4096; }"
            f"http {{ access_log off; keepalive_requests 10000000; server {{ {listens} location / {{ return 200 'ok'; }} }} }}"
        )
        command = ["ip", "netns", "exec", namespace, "nginx", "-e", f"{folder}/log", "-c", str(config)]
        server = subprocess.Popen(command)
        try:
            _wait_for_listener(namespace)
            yield
        finally:
            server.terminate()
            server.wait(10)


def _wait_for_listener(namespace: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        with inside(namespace), closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", PORTS[0])) == 0:
                return
        if time.monotonic() > deadline:
            raise RuntimeError("nginx does not listen")
        time.sleep(0.02)


def _services(count: int) -> list[Peer]:
    """Deterministic: the last one's endpoints are the server pod's, the others' lead nowhere."""
    found = []
    for index in range(count):
        last = index == count - 1
        external = index >= count - EXTERNAL
        endpoints = (
            [(SERVER, port) for port in PORTS]
            if last
            else [(f"10.{index // 60_000 + 129}.{index // 240 % 250}.{index % 240 + 1}", 8080)] * 1
        )
        found.append(
            Peer(
                cluster_ip=f"10.96.{index // 240 + 1}.{index % 240 + 1}",
                port=80,
                endpoints=endpoints,
                node_port=(NODE_PORT if last else 31000 + count - 1 - index) if external else 0,
                balancer=f"203.0.{index // 240 % 250}.{index % 240 + 1}" if external else "",
            )
        )
    return found


async def _load(way: str, namespace: str, services: Sequence[Peer]) -> None:
    if way == OURS:
        firewall = NftFirewall(namespace)
        with closing(firewall):
            await firewall.replace(Installed.of(_view(services)).ruleset())
        return
    text = nftables(services, NODE, PODS) if way == NFTABLES else iptables(services, PODS)
    command = {NFTABLES: ["nft", "-f", "-"], LEGACY: ["iptables-legacy-restore"], IPTABLES: ["iptables-nft-restore"]}[way]
    _run(["ip", "netns", "exec", namespace, *command], "\n".join(text) + "\n")


def _view(services: Sequence[Peer]):
    """What our agent would do with the same Services, made by the code that makes it."""
    here = {
        "metadata": {"name": "node"},
        "spec": {"podCIDR": PODS, "podCIDRs": [PODS]},
        "status": {"addresses": [{"type": "InternalIP", "address": NODE}]},
    }
    made, slices = [], []
    for index, each in enumerate(services):
        name = f"service-{index}"
        spec = {
            "type": "LoadBalancer" if each.balancer else "ClusterIP",
            "clusterIP": each.cluster_ip,
            "clusterIPs": [each.cluster_ip],
            "ports": [{"port": each.port, "nodePort": each.node_port}],
        }
        ingress = [{"ip": each.balancer, "ipMode": "VIP"}] if each.balancer else None
        meta = {"name": name, "namespace": "default"}
        made.append(service({"metadata": meta, "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}}))
        by_port: dict[int, list[str]] = {}
        for address, port in each.endpoints:
            by_port.setdefault(port, []).append(address)
        for port, addresses in by_port.items():
            document = {
                "metadata": {"name": f"{name}-{port}", "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": [{"port": port}],
                "endpoints": [{"addresses": [address], "nodeName": "node"} for address in addresses],
            }
            slices.append(endpoint_slice(document))
    return build_view(node(here), made, slices, ("10.96.0.0/12",))


def _run(command: list[str], given: str = "") -> None:
    subprocess.run(command, input=given, text=True, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit("run `python -m bench datapath`")
