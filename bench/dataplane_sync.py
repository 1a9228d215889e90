"""How long from decoded objects to packets: the whole table, one endpoint, and kube-proxy's layout beside it.

Options: `--large` also shows 100,000 Services x 10 endpoints (some minutes, 4 GB); `--quick` leaves out the slow peer. Each
size has a process and a network namespace of its own, so that no figure warms another, and memory is the size's alone.
Besides plain ClusterIP Services, all is measured where every Service has every feature on: 2.4 times as many elements.

The peer is a ruleset in the shape of kube-proxy's nftables mode (a chain for each Service with an anonymous verdict map, a
chain for each endpoint), generated here and loaded by `nft -f`, in the same run as the tables it is compared with.
"""

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from statistics import median
from typing import Any

from mooring.control.dataplane import Dataplane, DataplaneOptions
from mooring.control.informer import collector_off
from mooring.dataplane.installed import Installed
from mooring.edges.memory.conntrack import MemoryConntrack
from mooring.edges.nft.firewall import NftFirewall
from mooring.model.codec import decode, encode
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NODE, SERVICE, SERVICE_CIDR, Kind
from mooring.model.node import node
from mooring.model.service import Service, service
from mooring.ports.api import ApiError, Listing, WatchEvent
from mooring.services.build import build_service, build_view
from mooring.services.locality import ProxyOptions, locality
from mooring.testing.netlab import bare_namespace

Figures = dict[str, float | str]
Documents = list[dict[str, Any]]

SERVICE_CIDRS = ("10.96.0.0/12",)
HERE = {
    "kind": "Node",
    "metadata": {"name": "node-0", "resourceVersion": "1"},
    "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
    "status": {"addresses": [{"type": "InternalIP", "address": "172.30.0.11"}]},
}
NODES = 50
CHANGES = 400
PEER_SERVICES, PEER_ENDPOINTS = 5_000, 5


def run(options: list[str]) -> Figures:
    """Seconds unless the name says otherwise; ratios first."""
    main = _measure(10_000, 10, "memory")
    featured = _measure(10_000, 10, "featured")
    straight = {size: _measure(size, 2) for size in (1_000, 10_000, 44_000)}
    featured_straight = {size: _measure(size, 2, "featured") for size in (1_000, 44_000)}
    beside = _measure(PEER_SERVICES, PEER_ENDPOINTS)
    figures: Figures = {}
    if "--quick" not in options:
        load, change = _peer(PEER_SERVICES, PEER_ENDPOINTS)
        figures |= {
            "ratio: kube-proxy-shaped load / ours, 5,000 x 5": load / beside["load"],
            "ratio: kube-proxy-shaped load / our view, compile and load, 5,000 x 5": load / beside["total"],
            "ratio: kube-proxy-shaped one-endpoint change / ours, 5,000 x 5": change / (beside["change median ms"] / 1000),
        }
        beside |= {"kube-proxy-shaped load": load, "kube-proxy-shaped one-endpoint change": change}
    figures |= {
        "ratio: every feature on / plain, 10,000 x 10": featured["total"] / main["total"],
        "ratio: every feature on / plain, for each element, 10,000 x 10": _per_element(featured) / _per_element(main),
        "ratio: time per Service at 44,000 / at 1,000 (x 2 endpoints)": _growth(straight, 1_000, 44_000),
        "ratio: time per Service at 44,000 / at 10,000 (x 2 endpoints)": _growth(straight, 10_000, 44_000),
        "ratio: time per Service at 44,000 / at 1,000, every feature on": _growth(featured_straight, 1_000, 44_000),
    }
    sizes = {"10,000 x 10": main, "10,000 x 10, every feature on": featured, "5,000 x 5": beside}
    sizes |= {f"{size:,} x 2": each for size, each in straight.items()}
    sizes |= {f"{size:,} x 2, every feature on": each for size, each in featured_straight.items()}
    if "--large" in options:
        sizes["100,000 x 10"] = _measure(100_000, 10)
    figures |= {f"{size}: {name}": value for size, measured in sizes.items() for name, value in measured.items()}
    return figures


def _per_element(measured: Mapping[str, float]) -> float:
    return measured["total"] / measured["elements"]


def _growth(measured: Mapping[int, Mapping[str, float]], few: int, many: int) -> float:
    """How much longer one of many Services takes than one of few; 1 is linear."""
    return measured[many]["total"] / many / (measured[few]["total"] / few)


def _measure(services: int, endpoints: int, *also: str) -> dict[str, float]:
    """One size, in a process of its own."""
    command = [sys.executable, "-m", "bench.dataplane_sync", str(services), str(endpoints), *also]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{services} x {endpoints}: {done.stderr.strip()}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


async def _sizes(services: int, endpoints: int, featured: bool) -> dict[str, float]:
    """View, compile, load; then one endpoint after the other."""
    me = node(HERE)
    with collector_off():
        decoded = [service(_featured(each) if featured else _service(each)) for each in range(services)]
        slices = [endpoint_slice(_slice(each, endpoints)) for each in range(services)]
    with bare_namespace("bench") as namespace, closing(NftFirewall(namespace)) as firewall:
        with collector_off():
            begun = time.perf_counter()
            view = build_view(me, decoded, slices, SERVICE_CIDRS)
            viewed = time.perf_counter()
            installed = Installed.of(view)
            ruleset = installed.ruleset()
            compiled = time.perf_counter()
            await firewall.replace(ruleset)
            loaded = time.perf_counter()
        kernel = firewall.kernel_seconds
        elements = sum(len(items) for items in ruleset.elements.values())
        del view, ruleset
        changes = sorted([seconds async for seconds in _changes(installed, firewall, decoded, slices, endpoints)])
        begun_again = time.perf_counter()
        await firewall.replace(installed.ruleset())
        replaced = time.perf_counter() - begun_again
    return {
        "total": loaded - begun,
        "view": viewed - begun,
        "compile": compiled - viewed,
        "load": loaded - compiled,
        "load, the kernel's part": kernel,
        "replace all in one step": replaced,
        "change median ms": median(changes) * 1000,
        "change p99 ms": changes[int(len(changes) * 0.99)] * 1000,
        "elements": float(elements),
    }


async def _changes(
    installed: Installed, firewall: NftFirewall, services: list[Service], slices: list[EndpointSlice], endpoints: int
) -> AsyncIterator[float]:
    """Seconds from a decoded event, one endpoint of a Service replaced, to the committed transaction."""
    here = locality(node(HERE), ProxyOptions())
    for turn in range(CHANGES):
        index = turn * 7919 % len(services)
        changed = endpoint_slice(_slice(index, endpoints, replaced=turn))
        begun = time.perf_counter()
        ports = build_service(services[index], (changed,), here)
        transaction = installed.change(("default", services[index].metadata.name), ports)
        await firewall.apply(transaction)
        taken = time.perf_counter() - begun
        if len(transaction) < 2:
            raise RuntimeError("the change changed nothing")
        slices[index] = changed
        yield taken


async def _memory(services: int, endpoints: int) -> dict[str, float]:
    """Resident memory of an agent (informers and all) that has listed so much from an API server and loaded it."""
    with bare_namespace("bench") as namespace, closing(NftFirewall(namespace)) as firewall:
        dataplane = Dataplane(_Listed(services, endpoints), firewall, MemoryConntrack(), DataplaneOptions("node-0"))
        begun = time.perf_counter()
        running = asyncio.create_task(dataplane.run())
        await dataplane.synced.wait()
        synced = time.perf_counter() - begun
        gc.collect()
        used = _own_memory()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    return {
        "agent resident MB": used["VmRSS"],
        "agent peak MB": used["VmHWM"],
        "agent from JSON lists to a loaded kernel": synced,
    }


def _own_memory() -> dict[str, float]:
    """MB by the names of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: float(line.split()[1]) / 1024 for line in lines if line.startswith("Vm")}


class _Listed:
    """An API server's answers, 500 objects a page as a client asks for them; nothing ever changes."""

    def __init__(self, services: int, endpoints: int) -> None:
        self._services, self._endpoints = services, endpoints

    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing:
        documents: Documents = []
        for page in self._pages(kind):
            documents += decode(encode(page))
        return Listing(documents, "1")

    def _pages(self, kind: Kind) -> Iterator[Documents]:
        if kind is NODE:
            yield [HERE]
        elif kind is SERVICE_CIDR:
            metadata = {"name": "kubernetes", "resourceVersion": "1"}
            yield [{"kind": "ServiceCIDR", "metadata": metadata, "spec": {"cidrs": list(SERVICE_CIDRS)}}]
        elif kind in (SERVICE, ENDPOINT_SLICE):
            for first in range(0, self._services, 500):
                page = range(first, min(first + 500, self._services))
                yield [_service(each) if kind is SERVICE else _slice(each, self._endpoints) for each in page]

    async def watch(
        self, kind: Kind, resource_version: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        await asyncio.Event().wait()
        yield WatchEvent("BOOKMARK", {})

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        raise ApiError(405, "MethodNotAllowed", "this API can only be listed and watched")

    async def write(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise ApiError(405, "MethodNotAllowed", "this API can only be listed and watched")

    async def close(self) -> None: ...


def _service(index: int) -> dict[str, Any]:
    """As an API server tells it, with the fields people set."""
    address = f"10.{96 + index // 62_500}.{index // 250 % 250}.{index % 250 + 1}"
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {
            "name": f"service-{index}",
            "namespace": "default",
            "uid": f"00000000-0000-4000-8000-{index:012}",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app.kubernetes.io/name": f"service-{index}", "app.kubernetes.io/part-of": "bench"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "selector": {"app.kubernetes.io/name": f"service-{index}"},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
        },
        "status": {"loadBalancer": {}},
    }


def _featured(index: int) -> dict[str, Any]:
    """The same Service with every feature on: a node port, a balancer's address, two source ranges, session affinity."""
    plain = _service(index)
    address = f"10.{64 + index // 62_500}.{index // 250 % 250}.{index % 250 + 1}"
    ports = [port | {"nodePort": index % 65_535 + 1} for port in plain["spec"]["ports"]]
    spec = plain["spec"] | {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Cluster",
        "loadBalancerSourceRanges": ["192.0.2.0/24", "198.51.100.0/24"],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
        "ports": ports,
    }
    return plain | {"spec": spec, "status": {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}}


def _slice(index: int, endpoints: int, replaced: int | None = None) -> dict[str, Any]:
    """A Service's slice. Its endpoints are spread over NODES nodes; with `replaced` the first is another one."""
    found = []
    for each in range(endpoints):
        number = index * endpoints + each
        address = f"10.{128 + number // 62_500 % 100}.{number // 250 % 250}.{number % 250 + 1}"
        if replaced is not None and each == 0:
            address = f"11.{replaced // 62_500}.{replaced // 250 % 250}.{replaced % 250 + 1}"
        found.append(
            {
                "addresses": [address],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{number % NODES}",
                "targetRef": {"kind": "Pod", "namespace": "default", "name": f"pod-{number}", "uid": f"pod-uid-{number:030}"},
                "zone": f"zone-{number % 3}",
            }
        )
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": f"service-{index}-abcde",
            "namespace": "default",
            "uid": f"00000000-0000-4000-9000-{index:012}",
            "resourceVersion": "1",
            "labels": {
                "kubernetes.io/service-name": f"service-{index}",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": found,
    }


def _peer(services: int, endpoints: int) -> tuple[float, float]:
    """Seconds to load a ruleset in kube-proxy's shape, and to replace one endpoint in it."""
    with bare_namespace("bench") as namespace, tempfile.TemporaryDirectory() as folder:
        whole, one = Path(folder, "whole.nft"), Path(folder, "one.nft")
        whole.write_text("\n".join(_kube_proxy_shaped(services, endpoints)) + "\n")
        load = _nft(namespace, whole)
        times = []
        for turn in range(3):
            one.write_text("\n".join(_kube_proxy_shaped_change(turn, endpoints)) + "\n")
            times.append(_nft(namespace, one))
    return load, median(times)


def _nft(namespace: str, file: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(["ip", "netns", "exec", namespace, "nft", "-f", str(file)], check=True)
    return time.perf_counter() - begun


def _kube_proxy_shaped(services: int, endpoints: int) -> Iterator[str]:
    yield "table ip peer {"
    yield " set cluster-ips { type ipv4_addr; }"
    yield " map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }"
    yield " chain mark-for-masquerade { meta mark set meta mark | 0x4000; }"
    yield " chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }"
    yield " chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }"
    yield "}"
    for index in range(services):
        for each in range(endpoints):
            yield from _peer_endpoint(index, each, f"10.{128 + index // 250 % 100}.{index % 250}.{each + 1}")
        yield f"add chain ip peer service-{index}"
        yield _peer_dispatch(index, endpoints)
        address = f"10.96.{index // 250}.{index % 250 + 1}"
        yield f"add element ip peer cluster-ips {{ {address} }}"
        yield f"add element ip peer service-ips {{ {address} . tcp . 80 : goto service-{index} }}"


def _peer_endpoint(index: int, each: int, address: str) -> Iterator[str]:
    chain = f"endpoint-{index}-{each}"
    yield f"add chain ip peer {chain}"
    yield f"add rule ip peer {chain} ip saddr {address} jump mark-for-masquerade"
    yield f"add rule ip peer {chain} meta l4proto tcp dnat to {address}:8080"


def _peer_dispatch(index: int, endpoints: int) -> str:
    ways = ", ".join(f"{each} : goto endpoint-{index}-{each}" for each in range(endpoints))
    return f"add rule ip peer service-{index} numgen random mod {endpoints} vmap {{ {ways} }}"


def _kube_proxy_shaped_change(index: int, endpoints: int) -> Iterator[str]:
    """One endpoint replaced: its chain filled anew, and its Service's."""
    yield f"flush chain ip peer endpoint-{index}-0"
    yield from _peer_endpoint(index, 0, f"11.0.0.{index + 1}")
    yield f"flush chain ip peer service-{index}"
    yield _peer_dispatch(index, endpoints)


def _one_size(services: int, endpoints: int, also: list[str]) -> None:
    """What a measuring process does."""
    if also == ["memory-only"]:
        figures = asyncio.run(_memory(services, endpoints))
    else:
        figures = asyncio.run(_sizes(services, endpoints, also == ["featured"]))
    if also == ["memory"]:
        figures |= _measure(services, endpoints, "memory-only")
    print(json.dumps(figures))


if __name__ == "__main__":
    _one_size(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
