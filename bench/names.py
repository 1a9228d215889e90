"""From a changed EndpointSlice to the answer that has it, among many Services that change all the time.

In it: API server with its store, the watch, the node's Zone, the table, a worker. Headless Services change in turn at the given
rate; a name is asked for on a node, again and again, until the answer has the new address. Client, API server and agents share
the processors. Options: --services N (5000), --rate N (100) changes a second, --seconds N (20).
"""

import argparse
import asyncio
import ipaddress
import socket
import statistics
import time
from collections.abc import Mapping

from msgspec import Struct

from bench._cluster import cluster, percentile
from bench._objects import create, fill
from mooring.app.cluster import network
from mooring.app.files import Files
from mooring.app.settings import load
from mooring.dns.names import from_text
from mooring.edges.http import kubeconfig
from mooring.edges.http.client import ApiClient
from mooring.edges.netlink import namespaces
from mooring.model.kinds import ENDPOINT_SLICE, SERVICE

CHANGED = 50
"""Headless Services that change in turn."""
PAUSE = 0.0005
"""Seconds between two questions for one name."""
PATIENCE = 10.0


class Taken(Struct, frozen=True):
    """Milliseconds to the first answer with the new address, from the request sent and from the API's answer to it."""

    sent: float
    stored: float


class Asker(asyncio.DatagramProtocol):
    """Asks one server, any number of questions at once."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: object) -> None:
        waiting = self._waiting.pop(int.from_bytes(data[:2], "big"), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(data)

    async def ask(self, name: bytes) -> bytes:
        """The reply to a question for A records."""
        assert self._transport is not None
        self._number = (self._number + 1) % 65536
        waiting = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._transport.sendto(self._number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1")
        return await waiting


def run(options: list[str]) -> Mapping[str, float | str]:
    parser = argparse.ArgumentParser(prog="bench names")
    for flag, default in (("--services", 5000), ("--rate", 100), ("--seconds", 20)):
        parser.add_argument(flag, type=int, default=default)
    chosen = parser.parse_args(options)
    with cluster("names") as made:
        settings = load({"data-dir": made.data_dir}, {}, stored=Files(made.data_dir).stored_settings())
        place = network(settings).namespace("node-1")
        channel = namespaces.open_socket(place, socket.AF_INET, socket.SOCK_DGRAM)
        channel.setblocking(False)
        channel.connect((settings.cluster_dns[0], 53))
        access = kubeconfig.load(made.kubeconfig)
        taken, took = asyncio.run(_measure(access, channel, chosen.services, chosen.rate, chosen.seconds))
    figures: dict[str, float | str] = {"changes_per_s": len(taken) / took}
    for since, values in (("request", [each.sent for each in taken]), ("api_answer", [each.stored for each in taken])):
        figures[f"from_{since}_p50_ms"] = statistics.median(values)
        figures[f"from_{since}_p99_ms"] = percentile(values, 0.99)
        figures[f"from_{since}_max_ms"] = max(values)
    return figures


async def _measure(
    access: kubeconfig.Access, channel: socket.socket, services: int, rate: int, seconds: int
) -> tuple[list[Taken], float]:
    async with ApiClient(access) as api:
        await fill(api, services)
        for number in range(CHANGED):
            await create(api, SERVICE, _service(number))
            await create(api, ENDPOINT_SLICE, _slice(number, "10.250.0.1"))
        _, asker = await asyncio.get_running_loop().create_datagram_endpoint(Asker, sock=channel)
        begun = time.monotonic()
        changes = []
        for number in range(rate * seconds):
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            changes.append(asyncio.create_task(_change(api, asker, number)))
        taken = await asyncio.gather(*changes)
        return taken, time.monotonic() - begun


async def _change(api: ApiClient, asker: Asker, number: int) -> Taken:
    address = ipaddress.ip_address("10.250.1.0") + number
    which = number % CHANGED
    name = from_text(f"changed-{which}.default.svc.cluster.local")
    sent = time.monotonic_ns()
    await api.write("update", ENDPOINT_SLICE, "default", f"changed-{which}", _slice(which, str(address)))
    stored = time.monotonic_ns()
    async with asyncio.timeout(PATIENCE):
        while address.packed not in await asker.ask(name):
            await asyncio.sleep(PAUSE)
    seen = time.monotonic_ns()
    return Taken((seen - sent) / 1e6, (seen - stored) / 1e6)


def _service(number: int) -> dict[str, object]:
    spec = {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"changed-{number}"}, "spec": spec}


def _slice(number: int, address: str) -> dict[str, object]:
    labels = {"kubernetes.io/service-name": f"changed-{number}", "endpointslice.kubernetes.io/managed-by": "bench"}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"changed-{number}", "namespace": "default", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address]}],
    }
