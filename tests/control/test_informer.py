"""Up to date, whatever happens to the connection. On a clock that jumps."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from faulty_api import FaultyApi

from mooring.control.informer import Informer
from mooring.model.kinds import CONFIG_MAP
from mooring.model.meta import Meta
from mooring.testing.clock import virtual_time

Document = dict[str, Any]
Told = list[tuple[str, str | None, str | None]]


def config_map(name: str, value: str = "") -> Document:
    metadata = {"name": name, "namespace": "default", "uid": name}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"v": value}}


@asynccontextmanager
async def informed(api: FaultyApi) -> AsyncIterator[tuple[Informer[Document], Told]]:
    informer: Informer[Document] = Informer(api, CONFIG_MAP, rng=Random(0))
    told: Told = []

    def hear(before: Document | None, after: Document | None) -> None:
        name = (after or before or {})["metadata"]["name"]
        told.append((name, before and before["data"]["v"], after and after["data"]["v"]))

    informer.subscribe(hear)
    running = asyncio.create_task(informer.run())
    await informer.synced.wait()
    yield informer, told
    running.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def same(informer: Informer[Document], api: FaultyApi) -> bool:
    return list(map(repr, informer.cache.list())) == list(map(repr, api.world.list(CONFIG_MAP)))


def test_it_lists_once_and_then_follows() -> None:
    async def scenario() -> None:
        api = FaultyApi(config_map("a", "1"))
        async with informed(api) as (_, told):
            api.add(config_map("b", "1"))
            api.add(config_map("a", "2"))
            api.remove(CONFIG_MAP, "default", "b")
            await until(lambda: len(told) == 4)
        assert told == [("a", None, "1"), ("b", None, "1"), ("a", "1", "2"), ("b", "1", None)]
        assert (api.lists, api.watches) == (1, 1)

    with virtual_time() as run:
        run(scenario())


def test_a_watch_that_ends_is_resumed_without_a_new_list_and_without_telling_twice() -> None:
    async def scenario() -> None:
        api = FaultyApi(config_map("a", "1"))
        async with informed(api) as (_, told):
            api.add(config_map("a", "2"))
            await until(lambda: len(told) == 2)
            api.cut()
            api.add(config_map("a", "3"))
            await until(lambda: len(told) == 3)
        assert told[-1] == ("a", "2", "3")
        assert (api.lists, api.watches) == (1, 2)

    with virtual_time() as run:
        run(scenario())


def test_after_410_a_new_list_tells_what_the_gap_hid() -> None:
    async def scenario() -> None:
        api = FaultyApi(config_map("a", "1"), config_map("b", "1"))
        async with informed(api) as (informer, told):
            api.hold(CONFIG_MAP)
            api.remove(CONFIG_MAP, "default", "a")
            api.add(config_map("b", "2"))
            api.add(config_map("c", "1"))
            api.forget()
            api.cut()
            api.hold()
            await until(lambda: same(informer, api))
        assert told[2:] == [("a", "1", None), ("b", "1", "2"), ("c", None, "1")]
        assert api.lists == 2

    with virtual_time() as run:
        run(scenario())


def test_bookmarks_save_a_quiet_kind_from_410() -> None:
    async def scenario() -> None:
        api = FaultyApi(config_map("a", "1"))
        async with informed(api) as (informer, _):
            api.world.revision += 1000
            api.bookmark(CONFIG_MAP)
            await until(lambda: informer.cache.floor > 1000)
            api.forget()
            api.cut()
            api.add(config_map("b", "1"))
            await until(lambda: same(informer, api))
        assert api.lists == 1

    with virtual_time() as run:
        run(scenario())


def test_a_server_that_is_gone_is_asked_again_ever_more_rarely() -> None:
    async def scenario() -> None:
        api = FaultyApi(config_map("a", "1"))
        async with informed(api) as (informer, _):
            await until(lambda: api.watches == 1)
            api.down = True
            api.cut()
            await asyncio.sleep(600)
            api.add(config_map("b", "1"))
            api.down = False
            began = asyncio.get_running_loop().time()
            await until(lambda: same(informer, api))
            assert asyncio.get_running_loop().time() - began <= 10.1
        assert api.watches == 2

    with virtual_time() as run:
        run(scenario())


def test_doubled_events_are_told_once() -> None:
    async def scenario() -> None:
        api = FaultyApi()
        api.doubled = True
        async with informed(api) as (_, told):
            api.add(config_map("a", "1"))
            api.remove(CONFIG_MAP, "default", "a")
            api.add(config_map("a", "2"))
            await until(lambda: len(told) >= 3)
            await asyncio.sleep(1)
        assert told == [("a", None, "1"), ("a", "1", None), ("a", None, "2")]

    with virtual_time() as run:
        run(scenario())


def test_waiting_for_a_revision_or_a_deletion_ends_when_it_is_seen() -> None:
    async def scenario() -> None:
        api = FaultyApi(config_map("a", "1"))
        async with informed(api) as (informer, _):
            api.hold(CONFIG_MAP)
            stored = api.add(config_map("a", "2"))
            revision = int(stored["metadata"]["resourceVersion"])
            key = ("default", "a")
            seen = asyncio.create_task(informer.wait_seen(key, revision))
            gone = asyncio.create_task(informer.wait_gone(key, stored["metadata"]["uid"]))
            await asyncio.sleep(5)
            assert (seen.done(), gone.done()) == (False, False)
            api.hold()
            await seen
            api.remove(CONFIG_MAP, "default", "a")
            await gone

    with virtual_time() as run:
        run(scenario())


def test_a_handler_that_fails_does_not_stop_the_others() -> None:
    async def scenario() -> None:
        api = FaultyApi(config_map("a", "1"))
        informer: Informer[Document] = Informer(api, CONFIG_MAP, rng=Random(0))
        heard: list[Document | None] = []

        def fail(before: Document | None, after: Document | None) -> None:
            raise ZeroDivisionError

        informer.subscribe(fail)
        informer.subscribe(lambda before, after: heard.append(after))
        running = asyncio.create_task(informer.run())
        await informer.synced.wait()
        running.cancel()
        assert len(heard) == 1

    with virtual_time() as run:
        run(scenario())


def test_a_view_is_all_that_is_kept_and_the_collector_is_on_again_after_listing() -> None:
    async def scenario() -> None:
        api = FaultyApi(config_map("a", "1"))
        informer = Informer(api, CONFIG_MAP, lambda document: Meta(name=document["metadata"]["name"]), rng=Random(0))
        running = asyncio.create_task(informer.run())
        await informer.synced.wait()
        running.cancel()
        assert list(informer.cache.list()) == [Meta(name="a")]
        assert gc.isenabled()

    with virtual_time() as run:
        run(scenario())
