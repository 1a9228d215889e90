"""What becomes of an object whose namespace was found empty, or whose owner went, before a watch had told of it?"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry
from workloads import document

from mooring.control.custom_kinds import CustomKinds
from mooring.control.informer import Informer
from mooring.control.loop import Loop
from mooring.control.queue import QueueMetrics
from mooring.control.reconciler import Reconciler
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


class Controlled:
    """A reconciler's loop over all kinds; `customs` runs when a test starts it."""

    def __init__(self, api: MemoryApi, reconciler: Reconciler) -> None:
        self.world = InformerWorld({kind: Informer(api, kind, rng=Random(7)) for kind in STORED}, Random(7))
        self.loop = Loop(reconciler, self.world, api, Recorder(api, "test"), QueueMetrics(CollectorRegistry()))
        self.customs = CustomKinds(api, self.world, self.loop.follow, self.loop.look_again, Random(7))
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, *running: Informer[Any] | Loop | CustomKinds) -> None:
        self.tasks += [asyncio.create_task(each.run()) for each in running]


@asynccontextmanager
async def controlled(api: MemoryApi, reconciler: Reconciler) -> AsyncIterator[Controlled]:
    made = Controlled(api, reconciler)
    made.start(*made.world.informers.values(), made.loop)
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.01)


async def test_what_is_seen_too_late_is_not_left_to_another_namespace_of_the_name():
    api = LateApi()
    async with controlled(api, Namespaces()) as made:

        async def gone() -> bool:
            try:
                await api.get(NAMESPACE, "", "one")
            except ApiError as error:
                return error.reason == "NotFound"
            return False

        async def tried() -> bool:
            return bool(made.loop.queue._failures) or await gone()

        await made.world.wait_synced()
        for _ in range(2):
            await api.write("create", NAMESPACE, "", "one", document(NAMESPACE, "one"))
            assert [] == (await api.list(CONFIG_MAP, "one")).items
            await api.write("create", CONFIG_MAP, "one", "late", document(CONFIG_MAP, "late", "one"))
            await api.write("delete", NAMESPACE, "", "one")
            await until(tried)
            if not await gone():
                api.open.set()
            await until(gone)


async def test_what_a_custom_resource_owned_goes_though_it_went_before_its_kind_was_followed():
    """As after a start of the controllers: what is owned is looked at before the definitions' kinds have been listed."""
    api = MemoryApi(rng=Random(7))
    owner = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "gone", "uid": "gone"}
    await api.write("create", NAMESPACE, "", "one", document(NAMESPACE, "one"))
    await api.write("create", CUSTOM_RESOURCE_DEFINITION, "", "", WIDGETS)
    owned = document(CONFIG_MAP, "owned", "one", metadata={"ownerReferences": [owner]})
    await api.write("create", CONFIG_MAP, "one", "owned", owned)

    async def looked() -> bool:
        return made.loop.queue.idle

    async def collected() -> bool:
        return not (await api.list(CONFIG_MAP)).items

    async with controlled(api, GarbageCollector()) as made:
        await made.world.wait_synced()
        await until(looked)
        made.start(made.customs)
        await until(collected)


async def test_a_namespace_does_not_wait_for_objects_of_a_kind_that_is_served_no_more():
    api = MemoryApi(rng=Random(7))

    async def held() -> bool:
        return any(list(made.world.list(kind)) for kind in made.world.customs) and not made.customs._other.is_set()

    async def waits() -> bool:
        return "SomeResourcesRemain" in str(made.world.get(NAMESPACE, "", "one")) and made.loop.queue.idle

    async def gone() -> bool:
        return made.world.get(NAMESPACE, "", "one") is None

    async with controlled(api, Namespaces()) as made:
        made.start(made.customs)
        await api.write("create", NAMESPACE, "", "one", document(NAMESPACE, "one"))
        await api.write("create", CUSTOM_RESOURCE_DEFINITION, "", "", WIDGETS)
        widget = document(WIDGET, "held", "one", metadata={"finalizers": ["example.com/hold"]})
        await api.write("create", WIDGET, "one", "held", widget)
        await until(held)
        await api.write("delete", NAMESPACE, "", "one")
        await until(waits)
        unserved = [{**each, "served": False} for each in WIDGETS["spec"]["versions"]]
        body = {"spec": {"versions": unserved}}
        await api.write("patch", CUSTOM_RESOURCE_DEFINITION, "", "widgets.example.com", body)
        await until(gone)
