"""Kinds that definitions add, seen by those who must see everything: their end, namespaces, owners."""

import asyncio
from contextlib import suppress
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry
from workloads import document, namespace

from mooring.control.custom_kinds import CustomKinds, kind_of
from mooring.control.informer import Informer
from mooring.control.loop import Loop
from mooring.control.queue import QueueMetrics
from mooring.control.reconcilers.custom_resource_definitions import FINALIZER, CustomResourceDefinitions
from mooring.control.reconcilers.garbage_collector import GarbageCollector
from mooring.control.reconcilers.namespaces import Namespaces
from mooring.control.recorder import Recorder
from mooring.control.world import InformerWorld
from mooring.edges.memory.api import MemoryApi
from mooring.model.kinds import CONFIG_MAP, CUSTOM_RESOURCE_DEFINITION, NAMESPACE, STORED, Kind
from mooring.ports.api import ApiError
from mooring.testing.world import MemoryWorld, settle

WIDGET = Kind("example.com", "v1", "Widget", "widgets", "widget", True)
GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
ESTABLISHED = {"type": "Established", "status": "True"}


def definition(**metadata: Any) -> dict[str, Any]:
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    return document(
        CUSTOM_RESOURCE_DEFINITION, "widgets.example.com", metadata=metadata,
        spec={"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions},
        status={"acceptedNames": names, "conditions": [ESTABLISHED], "storedVersions": ["v1"]},
    )  # fmt: skip


def world_of(*documents: dict[str, Any]) -> MemoryWorld:
    return MemoryWorld(documents, customs=(WIDGET,))


def test_a_definition_says_which_kind_is_to_be_followed_once_it_is_established():
    waiting = definition()
    waiting["status"]["conditions"] = []
    assert (WIDGET, None) == (kind_of(definition()), kind_of(waiting))


def test_the_version_that_is_stored_is_followed_if_it_is_served():
    several = definition()
    several["spec"]["versions"] = [
        {"name": "v2", "served": True, "storage": False},
        {"name": "v1", "served": True, "storage": True},
    ]
    assert "v1" == kind_of(several).version
    several["spec"]["versions"][1]["served"] = False
    assert "v2" == kind_of(several).version


def test_a_definition_goes_when_the_last_of_its_objects_has_gone():
    held = document(WIDGET, "held", metadata={"finalizers": ["example.com/hold"]})
    world = world_of(definition(finalizers=[FINALIZER], **GOING), document(WIDGET, "free"), held)
    settle(CustomResourceDefinitions(), world)
    assert ["held"] == [each["metadata"]["name"] for each in world.list(WIDGET)]
    (waiting,) = world.list(CUSTOM_RESOURCE_DEFINITION)
    said = {each["type"]: each.get("reason") for each in waiting["status"]["conditions"]}
    assert "InstanceDeletionInProgress" == said["Terminating"]
    world.remove(WIDGET, "default", "held")
    settle(CustomResourceDefinitions(), world)
    assert [] == list(world.list(CUSTOM_RESOURCE_DEFINITION))


def test_a_definition_whose_objects_have_not_been_listed_is_waited_for():
    world = MemoryWorld([definition(finalizers=[FINALIZER], **GOING)])
    plan = CustomResourceDefinitions().plan(("", "widgets.example.com"), world)
    assert ((), True) == (plan.writes, bool(plan.again_after))


def test_a_namespace_takes_custom_resources_with_it():
    world = world_of(namespace("old", metadata=GOING), document(WIDGET, "one", "old"))
    settle(Namespaces(), world)
    assert ([], []) == (list(world.list(WIDGET)), list(world.list(NAMESPACE)))


def test_a_namespace_stays_until_every_kind_has_been_listed():
    world = world_of(namespace("old", metadata=GOING))
    world.complete = False
    settle(Namespaces(), world)
    assert 1 == len(list(world.list(NAMESPACE)))


def test_what_a_custom_resource_owned_goes_with_it_and_the_other_way_round():
    owner = {"apiVersion": "example.com/v1alpha7", "kind": "Widget", "name": "gone", "uid": "gone"}
    lost = {"apiVersion": "v1", "kind": "ConfigMap", "name": "lost", "uid": "lost"}
    world = world_of(
        document(CONFIG_MAP, "owned", metadata={"ownerReferences": [owner]}),
        document(WIDGET, "owned", metadata={"ownerReferences": [lost]}),
        document(WIDGET, "free"),
    )
    settle(GarbageCollector(), world)
    assert ([], ["free"]) == (list(world.list(CONFIG_MAP)), [each["metadata"]["name"] for each in world.list(WIDGET)])


async def _until(holds: Any) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.01)


async def test_loops_follow_a_kind_from_its_definition_to_its_end():
    api = MemoryApi(rng=Random(7))
    world = InformerWorld({kind: Informer(api, kind, rng=Random(7)) for kind in STORED}, Random(7))
    recorder, metrics = Recorder(api, "test"), QueueMetrics(CollectorRegistry())
    loops = [Loop(each, world, api, recorder, metrics) for each in (Namespaces(), CustomResourceDefinitions())]

    def look_again() -> None:
        for loop in loops:
            loop.look_again()

    customs = CustomKinds(api, world, lambda kind: [loop.follow(kind) for loop in loops] and None, look_again, Random(7))
    tasks = [asyncio.create_task(informer.run()) for informer in world.informers.values()]
    tasks += [asyncio.create_task(each.run()) for each in (*loops, customs)]
    try:
        await api.write("create", NAMESPACE, "", "one", document(NAMESPACE, "one"))
        await api.write("create", CUSTOM_RESOURCE_DEFINITION, "", "", {**definition(), "status": None})
        for name in ("a", "b"):
            await api.write("create", WIDGET, "one", name, document(WIDGET, name, "one"))
        await api.write("delete", NAMESPACE, "", "one")
        await _until(lambda: _gone(api, NAMESPACE, "", "one"))
        assert [] == (await api.list(WIDGET)).items
        await api.write("create", NAMESPACE, "", "two", document(NAMESPACE, "two"))
        await api.write("create", WIDGET, "two", "c", document(WIDGET, "c", "two"))
        await api.write("delete", CUSTOM_RESOURCE_DEFINITION, "", "widgets.example.com")
        await _until(lambda: _gone(api, CUSTOM_RESOURCE_DEFINITION, "", "widgets.example.com"))
        assert await _gone(api, WIDGET, "two", "c")
        await _until(lambda: _nothing(world))
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def _gone(api: MemoryApi, kind: Kind, space: str, name: str) -> bool:
    try:
        await api.get(kind, space, name)
    except ApiError as error:
        return error.code == 404
    return False


async def _nothing(world: InformerWorld) -> bool:
    return world.customs == ()
