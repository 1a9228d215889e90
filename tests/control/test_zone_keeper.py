"""Does the Zone follow Services, slices and Namespaces, and tell nothing before it has seen them all?"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from mooring.control.dns import ZoneKeeper
from mooring.control.informer import Informer
from mooring.dns.answer import Rcode, answer
from mooring.edges.memory.api import MemoryApi
from mooring.model.discovery import endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NAMESPACE, SERVICE, Kind
from mooring.model.service import service


async def create(api: MemoryApi, kind: Kind, body: dict[str, Any]) -> None:
    document = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
    await api.write("create", kind, "default" if kind.namespaced else "", body["metadata"]["name"], document)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def keeping(api: MemoryApi) -> AsyncIterator[ZoneKeeper]:
    services, slices = Informer(api, SERVICE, service), Informer(api, ENDPOINT_SLICE, endpoint_slice)
    keeper = ZoneKeeper(api, services, slices, "cluster.local")
    assert not keeper.synced and not keeper.zone.synced
    tasks = [asyncio.create_task(each.run()) for each in (services, slices, keeper)]
    try:
        await asyncio.wait_for(keeper.wait_synced(), 10)
        yield keeper
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_names_come_change_and_go_with_their_objects() -> None:
    api = MemoryApi()
    await create(api, NAMESPACE, {"metadata": {"name": "default"}})
    ports = [{"port": 80}]
    await create(api, SERVICE, {"metadata": {"name": "web"}, "spec": {"ports": ports}})
    await create(api, SERVICE, {"metadata": {"name": "peers"}, "spec": {"clusterIP": "None", "ports": ports}})
    await create(
        api, SERVICE, {"metadata": {"name": "away"}, "spec": {"type": "ExternalName", "externalName": "db.example.org"}}
    )
    address = (await api.get(SERVICE, "default", "web"))["spec"]["clusterIP"]
    async with keeping(api) as keeper:

        def ask(name: str) -> tuple[Rcode, tuple[str, ...]]:
            found = answer(keeper.zone, f"{name}.default.svc.cluster.local", "A")
            return found.rcode, found.addresses

        assert ask("web") == (Rcode.NOERROR, (address,))
        assert ask("peers") == (Rcode.NXDOMAIN, ())
        assert ask("away") == (Rcode.REFUSED, ())
        serial = keeper.zone.serial
        labels = {"kubernetes.io/service-name": "peers"}
        endpoints = [{"addresses": ["10.244.0.7"], "hostname": "one", "conditions": {"ready": True}}]
        body = {"metadata": {"name": "peers-a", "labels": labels}, "addressType": "IPv4", "endpoints": endpoints, "ports": []}
        await create(api, ENDPOINT_SLICE, body)
        await until(lambda: ask("peers") == (Rcode.NOERROR, ("10.244.0.7",)))
        assert ask("one.peers") == (Rcode.NOERROR, ("10.244.0.7",))
        assert keeper.zone.serial > serial
        await api.write("delete", ENDPOINT_SLICE, "default", "peers-a")
        await api.write("delete", SERVICE, "default", "web")
        await until(lambda: ask("peers") == ask("web") == (Rcode.NXDOMAIN, ()))
