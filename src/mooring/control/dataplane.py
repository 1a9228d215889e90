"""How do this node's packets follow the API? Each change of a Service becomes one transaction of the kernel's tables.

A change is planned by pure functions (build_service, Installed.change) and applied at once; what arrives meanwhile goes
together with the next. The kernel is believed to hold what was committed: it is read once, at the start, to adopt what an
earlier agent left, and after that only asked whether somebody else has meddled. When a transaction fails, the whole wish is
loaded in one step. Packets never meet a half-filled table, and an agent that dies leaves its tables in force.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from random import Random
from time import monotonic, time

import structlog
from msgspec import Struct
from prometheus_client import CollectorRegistry

from mooring.control.dataplane_metrics import DataplaneMetrics
from mooring.control.informer import Informer
from mooring.control.reconciler import Document
from mooring.dataplane import conntrack as flows
from mooring.dataplane.diff import Transaction, join
from mooring.dataplane.installed import Installed
from mooring.dataplane.ruleset import Ruleset
from mooring.dataplane.skeleton import fingerprint
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NODE, SERVICE, SERVICE_CIDR
from mooring.model.node import Node, node
from mooring.model.service import Service, service
from mooring.ports.api import Api
from mooring.ports.conntrack import Conntrack, ConntrackError
from mooring.ports.firewall import Firewall, FirewallError
from mooring.services.build import build_service
from mooring.services.view import NodeView, ServiceName, ServicePort

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
BEING_DELETED_TAINT = "ToBeDeletedByClusterAutoscaler"
LARGEST_BATCH = 500
"""Services in one transaction: it bounds how long the event loop is held and how much fails together."""
LARGEST_ADOPTION = 300_000
"""Endpoints above which the tables are made anew at the start: the kernel's dump of a map is quadratic (1,000,000: 47 s)."""
SAMPLED = 20
"""Services whose elements are compared when somebody else has changed the kernel's tables."""
STALE_AFTER = 60.0
"""Seconds a change may wait before this agent counts as unhealthy; kube-proxy's 2 x syncPeriod."""
FIRST_PAUSE, LAST_PAUSE = 0.1, 10.0
"""Seconds between attempts to load the whole wish, doubled each time."""

log = structlog.get_logger(__name__)


class DataplaneOptions(Struct, frozen=True):
    """`check_period`: seconds between questions whether somebody else changed the tables."""

    node: str
    check_period: float = 5.0


class Health(Struct, frozen=True):
    """What /healthz and /livez tell. `eligible`: balancers may send this node traffic. Times are Unix seconds, 0 for never."""

    synced: bool
    healthy: bool
    eligible: bool
    last_sync: float
    waiting_since: float


class Dataplane:
    """One node's packets. `run` until cancelled; everything else may be read in the same thread at any time."""

    def __init__(
        self,
        api: Api,
        firewall: Firewall,
        conntrack: Conntrack,
        options: DataplaneOptions,
        registry: CollectorRegistry | None = None,
        rng: Random | None = None,
    ) -> None:
        self._firewall, self._conntrack, self._options = firewall, conntrack, options
        self._rng = rng or Random()
        self.metrics = DataplaneMetrics(registry or CollectorRegistry())
        self.services: Informer[Service] = Informer(api, SERVICE, service)
        self.slices: Informer[EndpointSlice] = Informer(api, ENDPOINT_SLICE, endpoint_slice)
        self.nodes: Informer[Node] = Informer(api, NODE, node, fields=f"metadata.name={options.node}")
        self.cidrs: Informer[Document] = Informer(api, SERVICE_CIDR)
        self._log = log.bind(node=options.node)
        self._installed: Installed | None = None
        self._dirty: dict[ServiceName, None] = {}
        self._dirty_slices: set[ServiceName] = set()
        self._ranges_dirty = False
        self._triggers: dict[ServiceName, list[float]] = {}
        self._wake = asyncio.Event()
        self._suspects: dict[flows.Place, frozenset[flows.Place]] = {}
        self._suspicious = asyncio.Event()
        self._waiting_since = 0.0
        self._last_sync = 0.0
        self._check_at = 0.0
        self.synced = asyncio.Event()
        """Set once the kernel holds the first whole wish."""

    async def run(self) -> None:
        """Follows the API until cancelled. The tables stay when it ends."""
        async with asyncio.TaskGroup() as tasks:
            for informer in (self.services, self.slices, self.nodes, self.cidrs):
                tasks.create_task(informer.run())
            await asyncio.gather(*(each.synced.wait() for each in (self.services, self.slices, self.nodes, self.cidrs)))
            self._follow()
            await self._begin()
            tasks.create_task(self._forget_stale_flows())
            while True:
                await self._wait()
                if self._wake.is_set():
                    self._wake.clear()
                    await self._sync()
                if monotonic() >= self._check_at:
                    await self._check()

    @property
    def view(self) -> NodeView:
        """What this node does with packets now, for the simulator and for people."""
        installed = self._installed
        held = installed.services if installed else {}
        ports = {name: tuple(numbered.port for numbered in numbers) for name, numbers in held.items()}
        return self._view(ports)

    def health(self) -> Health:
        """Healthy while no change waits longer than STALE_AFTER."""
        me = self.nodes.cache.get("", self._options.node)
        leaving = me is not None and (
            me.metadata.deletion_timestamp is not None or any(each.key == BEING_DELETED_TAINT for each in me.spec.taints or ())
        )
        healthy = not self._waiting_since or time() - self._waiting_since <= STALE_AFTER
        eligible = healthy and me is not None and not leaving
        return Health(self.synced.is_set(), healthy, eligible, self._last_sync, self._waiting_since)

    async def _begin(self) -> None:
        """Adopts what an earlier agent left, if it is of our kind; else puts everything in place."""
        begun = monotonic()
        self._waiting_since = time()
        view = self._wished_view()
        kernel = await self._left_behind(view)
        if kernel.skeleton == fingerprint():
            self._installed, transaction = Installed.adopt(view, kernel)
            self._log.info("adopted the tables of an earlier agent", services=len(view.services), changes=len(transaction))
            await self._apply(transaction)
        else:
            self._installed = Installed.of(view)
            await self._replace()
        for name, refusal in self._installed.refused.items():
            self._log.error("a Service cannot be carried out", service="/".join(name), error=str(refusal))
        for ports in view.services.values():
            self.metrics.count_no_local((), ports)
        self._suspect(flows.all_suspects(view.services.values()))
        self._done(begun)
        self.metrics.full_sync.observe(monotonic() - begun)
        self._check_at = monotonic() + self._options.check_period
        self.synced.set()

    async def _left_behind(self, view: NodeView) -> Ruleset:
        """What the kernel holds, as far as it is worth reading."""
        endpoints = sum(len(port.cluster) for ports in view.services.values() for port in ports)
        if endpoints > LARGEST_ADOPTION:
            return Ruleset({})
        try:
            return await self._firewall.read()
        except FirewallError as error:
            self._log.warning("the tables cannot be read and are made anew", error=str(error))
            return Ruleset({})

    def _follow(self) -> None:
        """From now on every change is noted. What is in the caches already belongs to the first wish."""
        settled = False

        def on_service(before: Service | None, after: Service | None) -> None:
            if settled:
                self.metrics.service_changes.inc()
                self._note(_name(before or after))

        def on_slice(before: EndpointSlice | None, after: EndpointSlice | None) -> None:
            if settled:
                self._slice_changed(before, after)

        def on_range(before: object, after: object) -> None:
            if settled:
                self._ranges_dirty = True
                self._note()

        self.services.subscribe(on_service)
        self.slices.subscribe(on_slice)
        self.nodes.subscribe(on_range)
        self.cidrs.subscribe(on_range)
        settled = True

    def _slice_changed(self, before: EndpointSlice | None, after: EndpointSlice | None) -> None:
        self.metrics.endpoint_changes.inc()
        for each in (before, after):
            if each is not None and each.service[1]:
                self._dirty_slices.add(each.service)
                self._note(each.service)
        trigger = (after.metadata.annotations or {}).get(TRIGGER_TIME) if after else None
        if after and trigger and after.service[1]:
            try:
                self._triggers.setdefault(after.service, []).append(datetime.fromisoformat(trigger).timestamp())
            except ValueError:
                self._log.debug("not a time", annotation=TRIGGER_TIME, value=trigger)

    def _note(self, name: ServiceName | None = None) -> None:
        if name is not None:
            self._dirty[name] = None
        now = time()
        self._waiting_since = self._waiting_since or now
        self.metrics.last_queued.set(now)
        self._wake.set()

    async def _wait(self) -> None:
        """Returns when something changed, or when it is time to look whether the tables are still ours."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(self._check_at - monotonic(), 0)):
                await self._wake.wait()

    async def _sync(self) -> None:
        """One transaction for what is noted, at most LARGEST_BATCH Services."""
        begun = monotonic()
        names = list(self._dirty)[:LARGEST_BATCH]
        for name in names:
            del self._dirty[name]
        self._dirty_slices.difference_update(names)
        triggers = [each for name in names for each in self._triggers.pop(name, ())]
        transactions = [self._range_change()] if self._ranges_dirty else []
        suspects: dict[flows.Place, frozenset[flows.Place]] = {}
        for name in names:
            transaction, left = self._change(name)
            transactions.append(transaction)
            suspects.update(left)
        await self._apply(join(transactions))
        self._suspect(suspects)
        now = time()
        for trigger in triggers:
            self.metrics.programming.observe(max(now - trigger, 0.0))
        if self._dirty:
            self._wake.set()
        self._done(begun)
        self.metrics.partial_sync.observe(monotonic() - begun)

    def _change(self, name: ServiceName) -> tuple[Transaction, flows.Suspects]:
        """What a Service's change means. A Service that cannot be carried out stays as it was, and stops no other."""
        assert self._installed is not None
        try:
            before = tuple(numbered.port for numbered in self._installed.services.get(name, ()))
            after = self._wished(name)
            transaction = self._installed.change(name, after)
        except ValueError as error:
            self._log.error("a Service cannot be carried out", service="/".join(name), error=str(error))
            return Transaction(), {}
        self.metrics.count_no_local(before, after)
        return transaction, flows.suspects(before, after)

    def _range_change(self) -> Transaction:
        assert self._installed is not None
        self._ranges_dirty = False
        view = self._view({})
        return self._installed.set_ranges(view.service_cidrs, view.pod_cidrs)

    async def _apply(self, transaction: Transaction) -> None:
        """Puts a transaction in force, or the whole wish when the kernel refuses it."""
        try:
            await self._firewall.apply(transaction)
        except FirewallError as error:
            self.metrics.failures.inc()
            self._log.warning("a transaction was refused; loading everything", error=str(error))
            await self._replace()

    async def _replace(self) -> None:
        """Loads the whole wish, as often as it takes. The old tables stay in force until it succeeds."""
        assert self._installed is not None
        pause = FIRST_PAUSE
        while True:
            begun = monotonic()
            try:
                await self._firewall.replace(self._installed.ruleset())
            except FirewallError as error:
                self.metrics.failures.inc()
                self._log.error("the tables cannot be loaded", error=str(error), again_in=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)
            else:
                self.metrics.full_sync.observe(monotonic() - begun)
                return

    async def _check(self) -> None:
        """Puts the tables back when somebody else changed what is ours."""
        assert self._installed is not None
        self._check_at = monotonic() + self._options.check_period
        known = list(self._installed.services)
        names = self._rng.sample(known, min(SAMPLED, len(known)))
        try:
            whole = await self._firewall.holds(self._installed.sample(names))
        except FirewallError as error:
            self._log.warning("the tables cannot be checked", error=str(error))
            return
        if not whole:
            self.metrics.repairs.inc()
            self._log.warning("somebody else changed our tables; loading everything")
            await self._replace()

    def _suspect(self, among: flows.Suspects) -> None:
        if among:
            self._suspects.update(among)
            self._suspicious.set()

    async def _forget_stale_flows(self) -> None:
        """After each change that may have left stale UDP flows; never in the way of the next change."""
        while True:
            await self._suspicious.wait()
            self._suspicious.clear()
            among, self._suspects = self._suspects, {}
            begun = monotonic()
            try:
                forgotten = await self._conntrack.delete(flows.stale(await self._conntrack.udp_flows(), among))
            except ConntrackError as error:
                self._log.warning("stale UDP flows may remain", error=str(error))
                self._suspects = {**among, **self._suspects}
                await asyncio.sleep(1)
                self._suspicious.set()
            else:
                self.metrics.forgotten.inc(forgotten)
                self.metrics.conntrack.observe(monotonic() - begun)

    def _done(self, begun: float) -> None:
        self._last_sync = time()
        self._waiting_since = self._waiting_since if self._dirty or self._ranges_dirty else 0.0
        self.metrics.sync.observe(monotonic() - begun)
        self.metrics.last_sync.set(self._last_sync)
        self.metrics.service_pending.set(len(self._dirty))
        self.metrics.endpoint_pending.set(len(self._dirty_slices))

    def _wished(self, name: ServiceName) -> tuple[ServicePort, ...]:
        """What the API says of a Service now."""
        found = self.services.cache.get(*name)
        if found is None:
            return ()
        return build_service(found, tuple(self.slices.cache.indexed("service", "/".join(name))), self._options.node)

    def _wished_view(self) -> NodeView:
        ports: dict[ServiceName, tuple[ServicePort, ...]] = {}
        for each in self.services.cache.list():
            name = _name(each)
            try:
                built = self._wished(name)
            except ValueError as error:
                self._log.error("a Service cannot be carried out", service="/".join(name), error=str(error))
                continue
            if built:
                ports[name] = built
        return self._view(ports)

    def _view(self, ports: Mapping[ServiceName, tuple[ServicePort, ...]]) -> NodeView:
        me = self.nodes.cache.get("", self._options.node)
        pod_cidrs = (me.spec.pod_cidrs or ((me.spec.pod_cidr,) if me.spec.pod_cidr else ())) if me else ()
        cidrs = (cidr for each in self.cidrs.cache.list() for cidr in (each.get("spec") or {}).get("cidrs") or ())
        return NodeView(self._options.node, ports, _unique(cidrs), pod_cidrs, me.internal_ips if me else ())


async def run_dataplane(
    api: Api,
    firewall: Firewall,
    conntrack: Conntrack,
    options: DataplaneOptions,
    stop: asyncio.Event,
    registry: CollectorRegistry | None = None,
) -> None:
    """Keeps this node's packets true to the API until `stop` is set."""
    running = asyncio.create_task(Dataplane(api, firewall, conntrack, options, registry).run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        running.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)
    if not running.cancelled() and running.exception():
        raise running.exception() or AssertionError


def _name(each: Service | None) -> ServiceName:
    assert each is not None
    return each.metadata.namespace, each.metadata.name


def _unique(cidrs: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(cidrs)))
