"""Is it measured how long names take to follow the API?"""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from mooring.control.dns_metrics import HEADLESS, ProgrammingMetric
from mooring.control.informer import Informer
from mooring.edges.memory.api import MemoryApi
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NAMESPACE

COUNT = 'coredns_kubernetes_dns_programming_duration_seconds_count{service_kind="headless_with_selector"}'


def a_slice(name: str, trigger: str, *, headless: bool = True) -> dict[str, object]:
    labels = {"kubernetes.io/service-name": "each", **({HEADLESS: ""} if headless else {})}
    annotations = {"endpoints.kubernetes.io/last-change-trigger-time": trigger} if trigger else {}
    metadata = {"name": name, "namespace": "default", "labels": labels, "annotations": annotations}
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": [], "ports": []}


@pytest.mark.parametrize(
    ("trigger", "headless", "counted"),
    [
        pytest.param("2026-01-01T00:00:00Z", True, 1.0, id="a headless Service's"),
        pytest.param("2026-01-01T00:00:00Z", False, 0.0, id="not of one with a cluster IP, whose names stay"),
        pytest.param("", True, 0.0, id="not without a time"),
        pytest.param("yesterday", True, 0.0, id="nor with one that cannot be read"),
    ],
)
async def test_a_change_of_a_slice_counts(trigger: str, headless: bool, counted: float) -> None:
    api, registry = MemoryApi(), CollectorRegistry()
    await api.write("create", NAMESPACE, "", "default", {"metadata": {"name": "default"}})
    await api.write("create", ENDPOINT_SLICE, "default", "there", a_slice("there", "2026-01-01T00:00:00Z"))
    slices: Informer[EndpointSlice] = Informer(api, ENDPOINT_SLICE, endpoint_slice)
    running = asyncio.create_task(slices.run())
    await slices.synced.wait()
    ProgrammingMetric(registry, lambda: 1_767_225_602.0).follow(slices)
    await api.write("create", ENDPOINT_SLICE, "default", "new", a_slice("new", trigger, headless=headless))
    async with asyncio.timeout(60):
        while slices.cache.get("default", "new") is None:
            await asyncio.sleep(0)
    running.cancel()
    told = generate_latest(registry).decode()
    found = [float(line.rpartition(" ")[2]) for line in told.splitlines() if line.startswith(COUNT)]
    assert (counted or None) == next(iter(found), None)
