"""What does a gateway do all day? Follows the API and keeps its proxy true: tables after a hold-off, endpoints at once.

The first change is built at once but for a moment in which its companions arrive; those that follow within HOLD_OFF are built
together. Building runs in a thread, so that endpoint changes, which need no table, never wait for it.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from mooring.control.gateway_metrics import GatewayMetrics
from mooring.control.gateway_objects import GatewayObjects
from mooring.control.reconciler import Document, Report
from mooring.control.recorder import Recorder
from mooring.model.discovery import EndpointSlice
from mooring.ports.api import Api
from mooring.ports.proxy import Proxy, Rejection
from mooring.ports.resolver import Resolver
from mooring.routing.ingress.members import members_of
from mooring.routing.ingress.objects import Name, Objects, SetOf, Translation
from mooring.routing.table import Certificate, Fixed, Member

Build = Callable[[Objects, datetime], Translation]
COMPANIONS = 0.005
"""Seconds in which what was changed together arrives."""
HOLD_OFF = 0.1
"""Seconds between two tables."""
LOOK_UP, PATIENCE = 5.0, 0.1
"""Seconds between two look-ups of a name, for which the first table waits, and those that others wait for new ones."""
LAST_REQUESTS, KEPT = 10.0, 300.0
"""Seconds for which a set that no table names any more is not emptied, and for which it is followed: requests of the last table
may be on their way to it. NGINX reads an upload to its end before it chooses an endpoint."""
REJECTED, TAKEN = "ProxyRejected", "ProxyAccepted"
"""Reasons of Events."""
_SOURCE = re.compile(r"(ingress) ([^/ ]+)/([^ ]+)")

log = structlog.get_logger("gateway")


class Gateway:
    """`build` makes what the Ingresses mean for the proxy of one class."""

    def __init__(
        self,
        api: Api,
        build: Build,
        proxy: Proxy,
        recorder: Recorder,
        metrics: GatewayMetrics,
        resolver: Resolver,
        *,
        default_certificate: Certificate | None = None,
        hold_off: float = HOLD_OFF,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.built = asyncio.Event()
        """Set once the proxy has its first table."""
        self._objects = GatewayObjects(api, default_certificate)
        self._build, self._proxy, self._recorder, self._metrics = build, proxy, recorder, metrics
        self._resolver = resolver
        self._hold_off, self._now = hold_off, now
        self._sets: Mapping[str, SetOf] = {}
        self._retired: dict[str, tuple[SetOf, float]] = {}
        """Sets that no table names any more, each with the time since when."""
        self._followed: Mapping[str, SetOf] = {}
        """Those of the table and these."""
        self._of_service: dict[Name, list[str]] = {}
        self._members: dict[str, tuple[Member, ...]] = {}
        self._outside: dict[Fixed, tuple[Member, ...]] = {}
        """What was found at places that are no Service's."""
        self._moved: dict[Name, float] = {}
        self._moving = asyncio.Event()
        self._rejections: tuple[Rejection, ...] = ()
        self._objects.slices.subscribe(self._slice_changed)
        proxy.subscribe(self._rejected)

    def missing(self) -> str:
        """What the first table waits for; '' once it was handed over."""
        return self._objects.missing() or ("" if self.built.is_set() else "the first table")

    async def run(self) -> None:
        """Works until cancelled. The proxy is handed nothing before every kind has been listed."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self._objects.informers:
                tasks.create_task(informer.run())
            tasks.create_task(self._proxy.run())
            tasks.create_task(self._recorder.run())
            for informer in self._objects.informers:
                await informer.synced.wait()
            self._objects.changed.set()
            tasks.create_task(self._follow_objects())
            tasks.create_task(self._follow_slices())
            tasks.create_task(self._follow_names())

    # --- Tables

    async def _follow_objects(self) -> None:
        clock = asyncio.get_running_loop().time
        last = float("-inf")
        while True:
            await self._objects.changed.wait()
            await asyncio.sleep(max(COMPANIONS, last + self._hold_off - clock()))
            last = clock()
            await self._rebuild()

    async def _rebuild(self) -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        objects = self._objects.take()
        try:
            translation = await asyncio.to_thread(self._build, objects, self._now())
            # The proxy may have addresses of an earlier control process: an empty set would take them away.
            patience = PATIENCE if self.built.is_set() else LOOK_UP
            await self._look_up(places(translation.sets.values()) - self._outside.keys(), patience)
            self._take(translation)
        except Exception:
            # A mistake of ours; the proxy goes on with what it has, and the next change is another try.
            log.exception("no table can be made of the objects; the one before goes on")
            self._metrics.rebuilds.labels("error").inc()
            return
        self._metrics.rebuilds.labels("success").inc()
        self._metrics.rebuild.observe(clock() - begun)
        self.built.set()

    def _take(self, translation: Translation) -> None:
        """Endpoints first: a table names no set that the proxy has not heard of."""
        before, self._sets = self._sets, translation.sets
        now = asyncio.get_running_loop().time()
        gone = {name: (each, now) for name, each in before.items() if name not in self._sets}
        fresh = [name for name, each in self._sets.items() if before.get(name) != each]
        if fresh or gone:
            self._retired = {name: each for name, each in self._retired.items() if name not in self._sets} | gone
            self._follow()
        self._hand_over(fresh)
        self._proxy.apply(translation.table)
        self._metrics.show(translation.table)

    # --- Endpoints

    def _follow(self) -> None:
        """Other sets than before."""
        self._followed = {name: each for name, (each, _) in self._retired.items()} | dict(self._sets)
        self._of_service = {}
        for name, each in self._followed.items():
            for service in services_of(each):
                self._of_service.setdefault(service, []).append(name)
        self._members = {name: members for name, members in self._members.items() if name in self._followed}
        wanted = places(self._followed.values())
        self._outside = {where: each for where, each in self._outside.items() if where in wanted}

    def _see_off(self) -> None:
        """What may be emptied by now, and what need be followed no more."""
        now = asyncio.get_running_loop().time()
        kept = {name: (each, since) for name, (each, since) in self._retired.items() if now - since < KEPT}
        if len(kept) < len(self._retired):
            self._retired = kept
            self._follow()
        self._hand_over(kept)

    def _slice_changed(self, before: EndpointSlice | None, after: EndpointSlice | None) -> None:
        for service in {each.service for each in (before, after) if each is not None}:
            if service in self._of_service:
                self._service_moved(service)

    def _service_moved(self, service: Name) -> None:
        self._moved.setdefault(service, asyncio.get_running_loop().time())
        self._moving.set()

    async def _follow_slices(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await self._moving.wait()
            self._moving.clear()
            moved, self._moved = self._moved, {}
            names = dict.fromkeys(name for service in moved for name in self._of_service.get(service, ()))
            try:
                self._hand_over(names)
            except Exception:
                log.exception("endpoints cannot be handed over", services=["/".join(each) for each in moved])
                continue
            for since in moved.values():
                self._metrics.endpoint_update.observe(clock() - since)

    async def _follow_names(self) -> None:
        while True:
            await asyncio.sleep(LOOK_UP)
            await self._look_up(places(self._followed.values()), LOOK_UP)
            try:
                self._see_off()
            except Exception:
                log.exception("what no table names any more cannot be followed")

    async def _look_up(self, wanted: set[Fixed], patience: float) -> None:
        """What was known of a name that does not answer goes on."""
        found = await self._resolver.look_up(wanted, patience)
        changed = {where: each for where, each in found.items() if self._outside.get(where) != each}
        self._outside |= changed
        for each in self._followed.values():
            if place_of(each) in changed:
                self._service_moved((each.namespace, each.service))

    def _hand_over(self, names: Iterable[str]) -> None:
        """Those of these sets whose members have changed. One that was named until a moment ago is not emptied."""
        last = asyncio.get_running_loop().time() - LAST_REQUESTS
        found = {name: self._members_of(self._followed[name]) for name in names}
        changed = {
            name: members
            for name, members in found.items()
            if self._members.get(name) != members and (members or name in self._sets or self._retired[name][1] <= last)
        }
        if changed:
            self._proxy.endpoints(changed)
            self._members |= changed
            self._metrics.endpoint_updates.inc(len(changed))
            self._metrics.endpoints.set(sum(map(len, self._members.values())))

    def _members_of(self, wanted: SetOf) -> tuple[Member, ...]:
        slices = self._objects.slices.cache
        by_service = {each: tuple(slices.indexed("service", "/".join(each))) for each in services_of(wanted)}
        return members_of(wanted, by_service, lambda where: self._outside.get(where, ()))

    # --- What the proxy does not take

    def _rejected(self, rejections: tuple[Rejection, ...]) -> None:
        before, self._rejections = self._rejections, rejections
        self._metrics.rejections.set(len(rejections))
        for each in rejections:
            if each not in before:
                log.warning("the proxy refuses a part of the table", source=each.source, reason=each.reason)
                self._report(
                    each.source, "Warning", REJECTED, f"{each.source or 'a part'}: the proxy refuses it: {each.reason}"
                )
        there = {each.source for each in rejections}
        for source in dict.fromkeys(each.source for each in before if each.source not in there):
            log.info("the proxy refuses it no longer", source=source)
            self._report(source, "Normal", TAKEN, f"{source}: the proxy refuses it no longer")

    def _report(self, source: str, type_: Any, reason: str, message: str) -> None:
        regarding = self._object(source)
        if regarding is not None:
            self._recorder.record(Report(regarding, type_, reason, message))

    def _object(self, source: str) -> Document | None:
        """The Ingress that a table's `source` begins with, as far as an Event needs it; None if there is none."""
        found = _SOURCE.match(source)
        held = self._objects.ingress((found[2], found[3])) if found else None
        if held is None:
            return None
        meta = held.metadata
        about = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid, "resourceVersion": meta.resource_version}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": about}


def services_of(wanted: SetOf) -> list[Name]:
    """The Services whose endpoints a set may have."""
    found = [(wanted.namespace, wanted.service)]
    return found + services_of(wanted.fallback) if isinstance(wanted.fallback, SetOf) else found


def place_of(wanted: SetOf) -> Fixed | None:
    """Where a set without endpoints leads, if that is no Service's."""
    return place_of(wanted.fallback) if isinstance(wanted.fallback, SetOf) else wanted.fallback


def places(sets: Iterable[SetOf]) -> set[Fixed]:
    return {place for each in sets if (place := place_of(each))}
