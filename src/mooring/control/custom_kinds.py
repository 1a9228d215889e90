"""Which kinds have definitions added, and what is seen of them? Informers come and go with the definitions.

A kind is followed while its definition is established: whoever must see all objects there are (namespaces, the garbage
collector, the end of a definition) hears of it as of any other. One version is enough: they all show the same objects.
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

    def __init__(self, api: Api, world: InformerWorld, follow: Follow, rng: Random) -> None:
        self._api, self._world, self._follow, self._rng = api, world, follow, rng
        self._running: dict[str, tuple[Kind, asyncio.Task[None]]] = {}
        self._wanted: dict[str, Kind | None] = {}
        self._changed = asyncio.Event()
        world.informers[CUSTOM_RESOURCE_DEFINITION].subscribe(self._hear)

    def _hear(self, before: Document | None, after: Document | None) -> None:
        either = after or before
        assert either is not None
        self._wanted[either["metadata"]["name"]] = kind_of(after) if after else None
        self._changed.set()

    async def run(self) -> None:
        """Starts and ends informers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
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
        if kind is not None:
            informer: Informer[Document] = Informer(self._api, kind, rng=self._rng)
            self._world.add(kind, informer)
            self._follow(kind)
            self._running[name] = kind, tasks.create_task(informer.run())
            log.debug("following", resource=kind.group_resource)
