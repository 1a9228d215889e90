"""What do workers have to know of the chain's settings, and does the table have every name whatever happens to its folder?"""

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import pytest
from prometheus_client import CollectorRegistry

from mooring.app.roles import node_names
from mooring.app.roles.node_names import Following, NamesOptions, table_options
from mooring.control.dns import ZoneKeeper
from mooring.control.informer import Informer
from mooring.dns.owners import everything
from mooring.dns.records import Transport
from mooring.dns.settings import DnsSettings, HostsSetting, LogClass, RateLimitSetting
from mooring.dns.table_answer import TableReader
from mooring.dns.zone import Zone, ZoneOptions
from mooring.edges.dns.pool import end_found
from mooring.edges.dns.publisher import Publisher, TableOptions
from mooring.edges.dns.server import bind
from mooring.edges.memory.api import MemoryApi
from mooring.model.discovery import endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NAMESPACE, SERVICE, Kind
from mooring.model.service import service
from mooring.services.names import PublishedService

LOOPBACK = ((4, 8, bytes((127, 0, 0, 0))), (6, 128, bytes(15) + b"\1"))
PODS = (4, 16, bytes((10, 244, 0, 0)))
PLAIN = TableOptions((*LOOPBACK, PODS), recursion=True)


def limited(rate: int, burst: int) -> TableOptions:
    return TableOptions((*LOOPBACK, PODS), rate, burst, recursion=True)


CASES = {
    "nothing is set: the cluster may ask": (DnsSettings(), PLAIN),
    "who may ask is set": (
        DnsSettings(access=("192.0.2.0/24",)),
        TableOptions(((4, 24, bytes((192, 0, 2, 0))),), recursion=True),
    ),
    "each worker gets the rate, for one socket meets one worker": (DnsSettings(rate_limit=RateLimitSetting(5)), limited(5, 25)),
    "a burst may come to one worker": (DnsSettings(rate_limit=RateLimitSetting(100, 7)), limited(100, 7)),
    "the search path is the agent's": (
        DnsSettings(autopath=True),
        TableOptions((*LOOPBACK, PODS), recursion=True, autopath=True),
    ),
    "the query log sees all": (
        DnsSettings(log=(LogClass.ALL,)),
        TableOptions((*LOOPBACK, PODS), recursion=True, all_to_agent=True),
    ),
    "hosts come before the cluster": (
        DnsSettings(hosts=HostsSetting(entries=("192.0.2.1 a.svc.cluster.local",))),
        TableOptions((*LOOPBACK, PODS), recursion=True, all_to_agent=True),
    ),
}


@pytest.mark.parametrize(("settings", "expected"), CASES.values(), ids=CASES)
def test_what_workers_know(settings: DnsSettings, expected: TableOptions) -> None:
    assert expected == table_options(settings, ("10.244.0.0/16",))


def test_the_nodes_own_addresses_may_always_ask() -> None:
    told = table_options(DnsSettings(access=("192.0.2.0/24",)), ("10.244.0.0/16",), ("172.30.0.11", "fd00:172:30::11"))
    assert ((4, 24, bytes((192, 0, 2, 0))), (4, 32, bytes((172, 30, 0, 11)))) == tuple(told.prefixes[:2])
    assert (6, 128) == told.prefixes[2][:2]


async def create(api: MemoryApi, kind: Kind, body: dict[str, Any]) -> None:
    document = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
    await api.write("create", kind, "default" if kind.namespaced else "", body["metadata"]["name"], document)


async def endpoints(api: MemoryApi, count: int) -> None:
    """More names than a table for one Service has room for."""
    listed = [{"addresses": [f"10.244.{n // 200}.{n % 200 + 1}"], "hostname": f"h{n}"} for n in range(count)]
    metadata = {"name": "peers-a", "labels": {"kubernetes.io/service-name": "peers"}}
    await create(api, ENDPOINT_SLICE, {"metadata": metadata, "addressType": "IPv4", "endpoints": listed, "ports": []})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


def missing(table: Path, zone: Zone) -> int:
    """How many names of the Zone a worker that reads the table now would not find; all where there is none."""
    names = [name for name, _ in everything(zone)]
    if not table.exists():
        return len(names)
    reader = TableReader(memoryview(table.read_bytes()))
    asked = (bytes((0, 0, 0, 0, 0, 1)) + bytes(6) + name + bytes((0, 1, 0, 1)) for name in names)
    return sum(not reader.answer(message, bytes((127, 0, 0, 1))).hit for message in asked)


async def test_a_change_that_could_not_be_written_is_made_good(tmp_path: Path) -> None:
    folder, api = tmp_path / "workers", MemoryApi()
    folder.mkdir()
    await create(api, NAMESPACE, {"metadata": {"name": "default"}})
    await create(api, SERVICE, {"metadata": {"name": "peers"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}})
    services, slices = Informer(api, SERVICE, service), Informer(api, ENDPOINT_SLICE, endpoint_slice)
    keeper = ZoneKeeper(api, services, slices, ZoneOptions())
    following = Following(Publisher(folder), keeper)
    tasks = [asyncio.create_task(each.run()) for each in (services, slices, keeper)]
    try:
        await following.start(keep=True)
        tasks.append(asyncio.create_task(following.run()))
        assert 0 == missing(folder / "table", keeper.zone)
        shutil.rmtree(folder)
        await endpoints(api, 900)
        await until(lambda: len(keeper.zone.services["default", "peers"].endpoints) == 900)
        folder.mkdir()
        await until(lambda: missing(folder / "table", keeper.zone) == 0)
        # And what comes afterwards is written as ever.
        await create(api, SERVICE, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})
        await until(lambda: ("default", "web") in keeper.zone.services)
        await until(lambda: missing(folder / "table", keeper.zone) == 0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        following.close()


async def nothing(message: bytes, client: str, transport: Transport) -> None:
    """The agent knows no answer."""


async def test_workers_answer_from_the_table_that_was_left_however_long_the_api_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_names, "PATIENCE", 0.05)
    earlier = Publisher(tmp_path)
    earlier.replace(Zone(ZoneOptions(), {("default", "web"): PublishedService(("10.96.0.10",))}, {"default"}, 1))
    earlier.close()
    api, held = MemoryApi(), bind("127.0.0.1", 0)
    # Nobody runs them: nothing is ever listed.
    keeper = ZoneKeeper(api, Informer(api, SERVICE, service), Informer(api, ENDPOINT_SLICE, endpoint_slice), ZoneOptions())
    port = held[0].getsockname()[1]
    options = NamesOptions(tmp_path, None, ("127.0.0.1",), 1, tuple(each.detach() for each in held))

    async def agent() -> None:
        async with AsyncExitStack() as cleanup, asyncio.TaskGroup() as group:
            await node_names.answer(options, keeper, nothing, CollectorRegistry(), group, cleanup)

    running = asyncio.create_task(agent())
    try:
        question = dns.message.make_query("web.default.svc.cluster.local", "A")
        reply = await dns.asyncquery.udp(question, "127.0.0.1", port=port, timeout=60)
        assert ["10.96.0.10"] == [each.address for rrset in reply.answer for each in rrset]
        assert not running.done() and not keeper.synced
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        end_found(tmp_path, 0)
