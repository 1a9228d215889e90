"""What becomes of an object whose namespace was found empty, or whose owner went, before a watch had told of it?"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry
from workloads import document

from mooring.control.custom_kinds import CustomKinds
from mooring.control.informer import Informer
from mooring.control.loop import Loop
from mooring.control.queue import QueueMetrics
from mooring.control.reconcilers.garbage_collector import GarbageCollector
from mooring.control.reconcilers.namespaces import Namespaces
from mooring.control.recorder import Recorder
from mooring.control.world import InformerWorld
from mooring.edges.memory.api import MemoryApi
from mooring.model.kinds import CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION, NAMESPACE, STORED, Kind
from mooring.ports.api import ApiError, WatchEvent

_NAMES = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
_SCHEMA = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
WIDGETS = document(
    CUSTOM_RESOURCE_DEFINITION, "widgets.example.com",
    spec={"group": "example.com", "scope": "Namespaced", "names": _NAMES,
          "versions": [{"name": "v1", "served": True, "storage": True, "schema": _SCHEMA}]},
)  # fmt: skip

WIDGET = Kind("example.com", "v1", "Widget", "widgets", "widget", True)


class LateApi(MemoryApi):
    """Its watches of ConfigMaps tell nothing while `open` is not set."""

    def __init__(self) -> None:
        super().__init__(rng=Random(7))
        self.open = asyncio.Event()

    async def watch(self, kind: Kind, *where: Any, **asked: Any) -> AsyncIterator[WatchEvent]:
        async with aclosing(super().watch(kind, *where, **asked)) as events:
            async for event in events:
                if kind == CONFIG_MAP:
                    await self.open.wait()
                yield event


async def test_what_is_seen_too_late_is_not_left_to_another_namespace_of_the_name():
    api = LateApi()
    world = InformerWorld({kind: Informer(api, kind, rng=Random(7)) for kind in STORED}, Random(7))
    loop = Loop(Namespaces(), world, api, Recorder(api, "test"), QueueMetrics(CollectorRegistry()))
    tasks = [asyncio.create_task(each.run()) for each in (*world.informers.values(), loop)]

    async def gone() -> bool:
        try:
            await api.get(NAMESPACE, "", "one")
        except ApiError as error:
            return error.reason == "NotFound"
        return False

    async def until(holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(60):
            while not await holds():
                await asyncio.sleep(0.01)

    async def tried() -> bool:
        return bool(loop.queue._failures) or await gone()

    try:
        await world.wait_synced()
        for _ in range(2):
            await api.write("create", NAMESPACE, "", "one", document(NAMESPACE, "one"))
            assert [] == (await api.list(CONFIG_MAP, "one")).items
            await api.write("create", CONFIG_MAP, "one", "late", document(CONFIG_MAP, "late", "one"))
            await api.write("delete", NAMESPACE, "", "one")
            await until(tried)
            if not await gone():
                api.open.set()
            await until(gone)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_a_custom_resource_owned_goes_though_it_went_before_its_kind_was_followed():
    """As after a start of the controllers: what is owned is looked at before the definitions' kinds have been listed."""
    api = MemoryApi(rng=Random(7))
    owner = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "gone", "uid": "gone"}
    await api.write("create", NAMESPACE, "", "one", document(NAMESPACE, "one"))
    await api.write("create", CUSTOM_RESOURCE_DEFINITION, "", "", WIDGETS)
    owned = document(CONFIG_MAP, "owned", "one", metadata={"ownerReferences": [owner]})
    await api.write("create", CONFIG_MAP, "one", "owned", owned)
    world = InformerWorld({kind: Informer(api, kind, rng=Random(7)) for kind in STORED}, Random(7))
    loop = Loop(GarbageCollector(), world, api, Recorder(api, "test"), QueueMetrics(CollectorRegistry()))
    customs = CustomKinds(api, world, loop.follow, loop.look_again, Random(7))
    tasks = [asyncio.create_task(each.run()) for each in (*world.informers.values(), loop)]
    try:
        await world.wait_synced()
        while not loop.queue.idle:
            await asyncio.sleep(0.01)
        tasks.append(asyncio.create_task(customs.run()))
        async with asyncio.timeout(60):
            while (await api.list(CONFIG_MAP)).items:
                await asyncio.sleep(0.01)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_namespace_does_not_wait_for_objects_of_a_kind_that_is_served_no_more():
    api = MemoryApi(rng=Random(7))
    world = InformerWorld({kind: Informer(api, kind, rng=Random(7)) for kind in STORED}, Random(7))
    loop = Loop(Namespaces(), world, api, Recorder(api, "test"), QueueMetrics(CollectorRegistry()))
    customs = CustomKinds(api, world, loop.follow, loop.look_again, Random(7))
    tasks = [asyncio.create_task(each.run()) for each in (*world.informers.values(), loop, customs)]

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.01)

    try:
        await api.write("create", NAMESPACE, "", "one", document(NAMESPACE, "one"))
        await api.write("create", CUSTOM_RESOURCE_DEFINITION, "", "", WIDGETS)
        held = document(WIDGET, "held", "one", metadata={"finalizers": ["example.com/hold"]})
        await api.write("create", WIDGET, "one", "held", held)
        await until(lambda: any(list(world.list(kind)) for kind in world.customs) and not customs._other.is_set())
        await api.write("delete", NAMESPACE, "", "one")
        await until(lambda: "SomeResourcesRemain" in str(world.get(NAMESPACE, "", "one")) and loop.queue.idle)
        unserved = [{**each, "served": False} for each in WIDGETS["spec"]["versions"]]
        body = {"spec": {"versions": unserved}}
        await api.write("patch", CUSTOM_RESOURCE_DEFINITION, "", "widgets.example.com", body)
        await until(lambda: world.get(NAMESPACE, "", "one") is None)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
