"""Which kinds have definitions added, and what is seen of them? Informers come and go with the definitions.

A kind is followed while its definition is established: whoever must see all objects there are (namespaces, the garbage
collector, the end of a definition) hears of it as of any other. One version is enough: they all show the same objects.

What went before a kind was listed makes no event, and what it owned may have been looked at without it, as when the controllers
start; and nobody need wait for a kind that is served no more. So all is looked at again when one has been listed or forgotten.
"""

import asyncio
from collections.abc import Callable
from random import Random

import structlog

from mooring.control.conditions import condition
from mooring.control.informer import Informer
from mooring.control.reconciler import Document
from mooring.control.world import InformerWorld
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION, Kind
from mooring.ports.api import Api

log = structlog.get_logger(__name__)

Follow = Callable[[Kind], None]
"""Tells a loop of a kind whose changes it is to hear of from now on."""
TOGETHER = 0.2
"""Seconds: for kinds that are listed at about the same time, all is looked at once."""


def kind_of(definition: Document) -> Kind | None:
    """The kind that an established definition serves, in the storage version if that is served; None while it serves none."""
    established = condition(definition, "Established")
    served = [version for version in definition["spec"]["versions"] if version.get("served")]
    if not established or established.get("status") != "True" or not served:
        return None
    names = (definition.get("status") or {}).get("acceptedNames") or definition["spec"]["names"]
    version = next((each for each in served if each.get("storage")), served[0])
    namespaced = definition["spec"].get("scope") == "Namespaced"
    return Kind(
        definition["spec"]["group"], version["name"], names["kind"], names["plural"], names.get("singular") or "", namespaced
    )


def definition_name(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}"


class CustomKinds:
    """Keeps an informer for each kind; `run` for as long as there is anybody to tell."""

    def __init__(self, api: Api, world: InformerWorld, follow: Follow, look_again: Callable[[], None], rng: Random) -> None:
        """`look_again` has the same loops look at every object."""
        self._api, self._world, self._follow, self._look_again, self._rng = api, world, follow, look_again, rng
        self._running: dict[str, tuple[Kind, asyncio.Task[None]]] = {}
        self._wanted: dict[str, Kind | None] = {}
        self._changed, self._other = asyncio.Event(), asyncio.Event()
        """That definitions have changed; that other kinds are seen."""
        world.informers[CUSTOM_RESOURCE_DEFINITION].subscribe(self._hear)

    def _hear(self, before: Document | None, after: Document | None) -> None:
        either = after or before
        assert either is not None
        self._wanted[either["metadata"]["name"]] = kind_of(after) if after else None
        self._changed.set()

    async def run(self) -> None:
        """Starts and ends informers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_looking())
            while True:
                await self._changed.wait()
                self._changed.clear()
                for name, kind in list(self._wanted.items()):
                    self._change(tasks, name, kind)
                    if kind is None:
                        del self._wanted[name]

    def _change(self, tasks: asyncio.TaskGroup, name: str, kind: Kind | None) -> None:
        running = self._running.get(name)
        if running and running[0] == kind:
            return
        if running:
            running[1].cancel()
            del self._running[name]
            self._world.forget(running[0])
            self._other.set()
        if kind is not None:
            informer: Informer[Document] = Informer(self._api, kind, rng=self._rng)
            self._world.add(kind, informer)
            self._follow(kind)
            self._running[name] = kind, tasks.create_task(self._keep(informer))
            log.debug("following", resource=kind.group_resource)

    async def _keep(self, informer: Informer[Document]) -> None:
        listed = asyncio.create_task(informer.synced.wait())
        listed.add_done_callback(lambda done: None if done.cancelled() else self._other.set())
        try:
            await informer.run()
        finally:
            listed.cancel()

    async def _keep_looking(self) -> None:
        while True:
            await self._other.wait()
            await asyncio.sleep(TOGETHER)
            self._other.clear()
            self._look_again()
