"""Does a node say how it is where kube-proxy says it, and does it set its kernel, in its own network namespace alone?"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry

from mooring.app.roles.node import Options, _health_pages
from mooring.app.roles.node_names import _synced
from mooring.control.dataplane_metrics import DataplaneMetrics
from mooring.control.proxy_health import Health
from mooring.edges.http import health
from mooring.testing.netlab_topology import bare_namespace

FREE = ("127.0.0.1", 0)
OPTIONS = Options("a", None, Path("/nowhere"), Path("/nowhere"), ("172.30.0.11",), healthz=FREE, metrics=FREE, dns_health=FREE)
WELL = Health(synced=True, healthy=True, eligible=True, last_sync=1_767_225_600.0, waiting_since=0.0)


class Proxy:
    """As much of a dataplane as its pages look at."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = DataplaneMetrics(self.registry)
        self.now = WELL
        self.ready = self.names = ""

    def health(self) -> Health:
        return self.now

    @asynccontextmanager
    async def pages(self) -> AsyncIterator[list[int]]:
        checks = {"dataplane-sync": lambda: self.ready, "dns-sync": lambda: self.names}
        made = list(_health_pages(OPTIONS, self, self.registry, checks))  # type: ignore[arg-type]
        async with health.serve(made[0]) as first, health.serve(made[1]) as second, health.serve(made[2]) as third:
            yield [first, second, third]


async def page(port: int, path: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text(), response.headers["Content-Type"]


async def test_the_page_for_balancers_and_supervisors() -> None:
    proxy = Proxy()
    async with proxy.pages() as (port, *_):
        status, text, kind = await page(port, "/healthz")
        assert (status, kind, json.loads(text)["nodeEligible"]) == (200, "application/json", True)
        proxy.now = structs.replace(WELL, eligible=False)
        assert [(await page(port, path))[0] for path in ("/healthz", "/livez", "/readyz")] == [503, 200, 200]
        proxy.now, proxy.ready = structs.replace(WELL, healthy=False), "the kernel's tables do not follow the API yet"
        assert [(await page(port, path))[0] for path in ("/healthz", "/livez", "/readyz")] == [503, 503, 500]
        metrics = (await page(port, "/metrics"))[1]
        for said in (
            'proxy_healthz_total{code="200"} 1.0',
            'proxy_healthz_total{code="503"} 2.0',
            'proxy_livez_total{code="503"} 1.0',
        ):
            assert f"kubeproxy_{said}" in metrics


async def test_the_page_for_who_looks_after_the_node() -> None:
    async with Proxy().pages() as (_, port, _):
        assert await page(port, "/proxyMode") == (200, "nftables", "text/plain; charset=utf-8")
        assert await page(port, "/healthz") == (200, "ok", "text/plain; charset=utf-8")
        assert "kubeproxy_sync_proxy_rules_duration_seconds_bucket" in (await page(port, "/metrics"))[1]


async def test_the_page_for_who_looks_after_the_dns() -> None:
    proxy = Proxy()
    async with proxy.pages() as (*_, port):
        assert [(await page(port, path))[:2] for path in ("/health", "/ready")] == [(200, "OK"), (200, "OK")]
        proxy.names = "Services have not been listed yet"
        assert [(await page(port, path))[:2] for path in ("/health", "/ready")] == [(200, "OK"), (503, "kubernetes")]
        assert (await page(port, "/metrics"))[0] == 200


def test_each_page_can_be_left_out() -> None:
    proxy: Any = Proxy()
    for kept, left in (((), ("healthz", "metrics", "dns_health")), (("healthz",), ("metrics", "dns_health"))):
        options = structs.replace(OPTIONS, **dict.fromkeys(left))
        assert [each.port for each in _health_pages(options, proxy, proxy.registry, {})] == [0] * len(kept)


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancellation_is_not_lost_when_the_names_come_at_that_moment(turns: int) -> None:
    synced = asyncio.Event()
    names: Any = SimpleNamespace(wait_synced=synced.wait)
    answering = asyncio.create_task(_synced(names))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    synced.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    accepted = answering.cancel()
    await asyncio.wait({answering})
    assert accepted == answering.cancelled()


SET_KERNEL = """
import asyncio, json, sys
from pathlib import Path
from types import SimpleNamespace
from mooring.app.roles.node import Options, _set_kernel
from mooring.services.locality import ProxyOptions

synced = asyncio.Event()
synced.set()
reports = []
here = Path("/nowhere")
options = Options("a", None, here, here, ("172.30.0.11",), proxy=ProxyOptions(tuple(sys.argv[1:])))
asyncio.run(_set_kernel(options, SimpleNamespace(synced=synced), reports.append))
print(json.dumps([[each.type, each.reason, each.message, each.regarding] for each in reports]))
"""
SYSCTLS = (
    "netfilter/nf_conntrack_tcp_be_liberal",
    "netfilter/nf_conntrack_tcp_timeout_close_wait",
    "ipv4/conf/all/route_localnet",
)


def inside(namespace: str, *command: str) -> str:
    done = subprocess.run(["ip", "netns", "exec", namespace, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.root
def test_a_node_sets_its_kernel_and_warns_of_ephemeral_ports() -> None:
    machine = [Path("/proc/sys/net", each).read_text() for each in SYSCTLS]
    with bare_namespace("role") as name:
        told = json.loads(inside(name, sys.executable, "-c", SET_KERNEL, "primary").splitlines()[-1])
        assert told == []
        assert [inside(name, "cat", f"/proc/sys/net/{each}").strip() for each in SYSCTLS] == ["1", "3600", "0"]
        inside(name, "sh", "-c", "echo 20000 61000 > /proc/sys/net/ipv4/ip_local_port_range")
        told = json.loads(inside(name, sys.executable, "-c", SET_KERNEL, "primary", "localhost").splitlines()[-1])
        assert inside(name, "cat", f"/proc/sys/net/{SYSCTLS[2]}").strip() == "1"
        ((kind, reason, message, regarding),) = told
        assert (kind, reason) == ("Warning", "NodePortRangeOverlapsEphemeral")
        assert "sysctl -w net.ipv4.ip_local_reserved_ports=30000-32767" in message
        assert regarding == {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "uid": "a"}}
    assert machine == [Path("/proc/sys/net", each).read_text() for each in SYSCTLS]
