"""The reconcilers of endpoints together, on the API server's own core: defaults, validation and conflicts are real."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from mooring.app.roles.controllers import Controllers
from mooring.control.endpoint_slice_metrics import EndpointSliceMetrics
from mooring.control.informer import Informer
from mooring.control.reconciler import Document
from mooring.control.reconcilers.endpoint_slice_mirror import EndpointSliceMirror
from mooring.control.reconcilers.endpoint_slices import EndpointSlices
from mooring.control.reconcilers.endpoints import Endpoints
from mooring.edges.memory.api import MemoryApi
from mooring.edges.memory.store import MemoryStore
from mooring.model.kinds import CONFIG_MAP, ENDPOINT_SLICE, ENDPOINTS, NAMESPACE, NODE, POD, SERVICE, Kind
from mooring.testing.builders import node, pod, service
from mooring.testing.clock import virtual_time


async def create(api: MemoryApi, kind: Kind, document: Document) -> Document:
    status = document.pop("status", None)
    for assigned in ("uid", "creationTimestamp"):
        document["metadata"].pop(assigned, None)
    for field in ("clusterIP", "ipFamilies"):
        document.get("spec", {}).pop(field, None)
    for container in document.get("spec", {}).get("containers", ()):
        container.setdefault("image", "echo")
    namespace = "default" if kind.namespaced else ""
    created = await api.write("create", kind, namespace, "", document)
    if status is None:
        return created
    name = document["metadata"]["name"]
    return await api.write("patch", kind, namespace, name, {"status": status}, subresource="status")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.05)


async def served(api: MemoryApi) -> dict[str, list[str]]:
    """The ready addresses by Service, by its slices."""
    found: dict[str, list[str]] = {}
    for slice_ in (await api.list(ENDPOINT_SLICE, "default")).items:
        ready = [each["addresses"][0] for each in slice_.get("endpoints") or () if each["conditions"]["ready"]]
        found.setdefault(slice_["metadata"]["labels"]["kubernetes.io/service-name"], []).extend(ready)
    return {name: sorted(addresses) for name, addresses in found.items()}


@asynccontextmanager
async def cluster() -> AsyncIterator[MemoryApi]:
    api = MemoryApi()
    await create(api, NAMESPACE, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}})
    await create(api, NODE, node("a", "x"))
    registry = CollectorRegistry()
    reconcilers = (EndpointSlices(2, EndpointSliceMetrics(registry)), EndpointSliceMirror(), Endpoints())
    controllers = Controllers(api, reconcilers, registry)
    running = asyncio.create_task(controllers.run())
    try:
        yield api
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_pods_come_change_and_go_and_every_reader_agrees() -> None:
    async def scenario() -> None:
        async with cluster() as api:
            await create(api, SERVICE, service())
            for number in range(2, 7):
                await create(api, POD, pod(f"p{number}", f"10.244.0.{number}"))
            everyone = [f"10.244.0.{number}" for number in range(2, 7)]
            await until(lambda: is_served(api, everyone))
            conditions = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
            await api.write("patch", POD, "default", "p4", conditions, subresource="status")
            await api.write("delete", POD, "default", "p6", {"gracePeriodSeconds": 0})
            await until(lambda: is_served(api, ["10.244.0.2", "10.244.0.3", "10.244.0.5"]))
            slices = (await api.list(ENDPOINT_SLICE, "default")).items
            assert [len(each["endpoints"]) for each in slices] == [2, 2]
            await until(lambda: legacy_says(api, ["10.244.0.2", "10.244.0.3", "10.244.0.5"]))

    async def is_served(api: MemoryApi, addresses: list[str]) -> bool:
        return (await served(api)).get("web") == addresses

    async def legacy_says(api: MemoryApi, addresses: list[str]) -> bool:
        subsets = (await api.get(ENDPOINTS, "default", "web"))["subsets"]
        return [address["ip"] for subset in subsets for address in subset["addresses"]] == addresses

    with virtual_time() as run:
        run(scenario())


def test_endpoints_of_a_selecting_service_are_not_mirrored_and_hand_written_ones_are() -> None:
    async def scenario() -> None:
        async with cluster() as api:
            await create(api, SERVICE, service())
            await create(api, SERVICE, service("bare", selector=None))
            await create(api, POD, pod("p", "10.244.0.2"))
            subsets = [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "http", "port": 80}]}]
            metadata = {"name": "bare"}
            await create(api, ENDPOINTS, {"kind": "Endpoints", "apiVersion": "v1", "metadata": metadata, "subsets": subsets})
            await until(lambda: agreed(api))
            await asyncio.sleep(10)
            assert await agreed(api)

    async def agreed(api: MemoryApi) -> bool:
        return await served(api) == {"web": ["10.244.0.2"], "bare": ["192.0.2.1"]}

    with virtual_time() as run:
        run(scenario())


def test_once_settled_nothing_is_written_any_more() -> None:
    async def scenario() -> None:
        async with cluster() as api:
            await create(api, SERVICE, service())
            await create(api, POD, pod("p", "10.244.0.2"))
            await until(lambda: settled(api))
            await asyncio.sleep(5)
            revision = api.store.snapshot.revision
            await asyncio.sleep(600)
            assert api.store.snapshot.revision == revision

    async def settled(api: MemoryApi) -> bool:
        return await served(api) == {"web": ["10.244.0.2"]}

    with virtual_time() as run:
        run(scenario())


class Switched(MemoryApi):
    """An API server whose store is put back to an earlier one under its clients."""

    def restore(self, store: MemoryStore) -> None:
        earlier = MemoryApi(store)
        self.store, self._transport = store, earlier._transport


def test_an_informer_follows_a_store_that_was_put_back() -> None:
    def config_map(name: str) -> dict[str, Any]:
        return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}}

    async def filled(*names: str) -> MemoryStore:
        api = MemoryApi()
        await create(api, NAMESPACE, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}})
        for name in names:
            await create(api, CONFIG_MAP, config_map(name))
        assert isinstance(api.store, MemoryStore)
        return api.store

    async def scenario() -> None:
        api = Switched(await filled("a", "b", "c", "d"))
        informer: Informer[Document] = Informer(api, CONFIG_MAP)
        running = asyncio.create_task(informer.run())
        await informer.synced.wait()
        api.restore(await filled("a"))

        async def followed() -> bool:
            return [each["metadata"]["name"] for each in informer.cache.list()] == ["a", "e"]

        await create(api, CONFIG_MAP, config_map("e"))
        async with asyncio.timeout(1000):
            while not await followed():
                await asyncio.sleep(1)
        running.cancel()

    with virtual_time() as run:
        run(scenario())
