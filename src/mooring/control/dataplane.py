"""How do this node's packets follow the API? Each change of a Service becomes a transaction of the kernel's tables.

A change is planned by pure functions (build_service, Installed.change) and applied at once; what arrives meanwhile goes
together with the next. The kernel is believed to hold what was committed: it is read at the start, to adopt what an earlier
agent left, and compared only when somebody else has committed something (dataplane_repair.py). When a transaction fails, the
whole wish is loaded in one step. Packets never meet a half-filled table, and an agent that dies leaves its tables in force.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from time import monotonic, time

import structlog
from msgspec import Struct
from prometheus_client import CollectorRegistry

from mooring.control import dataplane_repair as repair
from mooring.control.dataplane_flows import StaleFlows
from mooring.control.dataplane_following import Followed, Taken
from mooring.control.dataplane_metrics import DataplaneMetrics
from mooring.control.health_checks import HealthChecks
from mooring.control.proxy_health import Health
from mooring.control.reconciler import Report
from mooring.dataplane.conntrack import Place, Serving, frontends_in
from mooring.dataplane.diff import Transaction, in_steps, join
from mooring.dataplane.installed import Installed
from mooring.dataplane.ruleset import Ruleset
from mooring.dataplane.skeleton import fingerprint
from mooring.ports.api import Api
from mooring.ports.conntrack import Conntrack
from mooring.ports.firewall import Firewall, FirewallError
from mooring.ports.health import AnswerServer
from mooring.services.locality import ProxyOptions
from mooring.services.view import NodeView, ServiceName

BEING_DELETED_TAINT = "ToBeDeletedByClusterAutoscaler"
LARGEST_BATCH = 500
"""Services in one transaction: it bounds how long the event loop is held and how much fails together."""
STALE_AFTER = 60.0
"""Seconds a change may wait before this agent counts as unhealthy; kube-proxy's 2 x syncPeriod."""
FIRST_PAUSE, LAST_PAUSE = 0.1, 10.0
"""Seconds between attempts to load the whole wish, doubled each time."""

log = structlog.get_logger(__name__)


class DataplaneOptions(Struct, frozen=True):
    """`check_period`: seconds between questions whether somebody else changed the tables."""

    node: str
    check_period: float = 5.0
    proxy: ProxyOptions = ProxyOptions()


class Dataplane:
    """One node's packets. `run` until cancelled; everything else may be read in the same thread at any time.

    `answers` serves the health-check node ports of Services; without it nobody does. `report` takes Events.
    """

    def __init__(
        self,
        api: Api,
        firewall: Firewall,
        conntrack: Conntrack,
        options: DataplaneOptions,
        registry: CollectorRegistry | None = None,
        answers: AnswerServer | None = None,
        report: Callable[[Report], None] = lambda report: None,
    ) -> None:
        self._firewall, self._options, self._report = firewall, options, report
        self.metrics = DataplaneMetrics(registry or CollectorRegistry())
        self.followed = Followed(api, options.node, options.proxy, self.metrics)
        self._log = log.bind(node=options.node)
        self._installed = Installed()
        self._serving = Serving()
        self._flows = StaleFlows(conntrack, self._serving, self.metrics)
        self._watch = repair.Watch(firewall, options.check_period, self._mend)
        self._checks = HealthChecks(answers, options.node, lambda: self.health().healthy, report) if answers else None
        self._turn = asyncio.Lock()
        """Held by whoever writes to the tables: what is decided first is written first."""
        self._busy_since = 0.0
        self._last_sync = 0.0
        self.synced = asyncio.Event()
        """Set once the kernel holds the first whole wish."""

    async def run(self) -> None:
        """Follows the API until cancelled. The tables stay when it ends."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self.followed.informers:
                tasks.create_task(informer.run())
            await asyncio.gather(*(each.synced.wait() for each in self.followed.informers))
            self.followed.begin()
            await self._begin()
            tasks.create_task(self._flows.run())
            tasks.create_task(self._watch.run(lambda: self._installed.copy()))
            if self._checks:
                tasks.create_task(self._checks.run())
            while True:
                await self.followed.changed.wait()
                async with self._turn:
                    await self._sync()

    @property
    def view(self) -> NodeView:
        """What this node does with packets now, for the simulator and for people."""
        held = self._installed.services
        return self.followed.view({name: tuple(numbered.port for numbered in ports) for name, ports in held.items()})

    def health(self) -> Health:
        """Healthy while no change waits longer than STALE_AFTER."""
        me = self.followed.node
        leaving = me is None or (
            me.metadata.deletion_timestamp is not None or any(each.key == BEING_DELETED_TAINT for each in me.spec.taints or ())
        )
        waiting_since = min(filter(None, (self._busy_since, self.followed.waiting_since)), default=0.0)
        healthy = not waiting_since or time() - waiting_since < STALE_AFTER
        return Health(self.synced.is_set(), healthy, not leaving, self._last_sync, waiting_since)

    async def _begin(self) -> None:
        """Adopts what an earlier agent left, if it is of our kind; else puts everything in place."""
        begun, self._busy_since = monotonic(), time()
        view = self.followed.wished()
        kernel = await self._left_behind(view)
        for name, ports in view.services.items():
            self.metrics.count_no_local((), ports)
            self._serving.change(name, ports)
        if kernel.skeleton == fingerprint():
            self._installed, transaction = Installed.adopt(view, kernel)
            self._log.info("adopted the tables of an earlier agent", services=len(view.services), changes=len(transaction))
            await self._apply(transaction)
        else:
            self._installed = Installed.of(view)
            await self._replace()
        for name, refusal in self._installed.refused.items():
            self._log.error("a Service cannot be carried out", service="/".join(name), error=str(refusal))
        self._flows.suspect(self._serving.frontends() | set(frontends_in(kernel.elements)))
        self._ask(self.followed.names())
        self._done(begun)
        self.metrics.observe(self.metrics.full_sync, monotonic() - begun)
        self.synced.set()

    async def _left_behind(self, view: NodeView) -> Ruleset:
        """What the kernel holds, as far as it is worth reading."""
        endpoints = sum(len(port.cluster) for ports in view.services.values() for port in ports)
        try:
            await self._watch.begin()
            return await self._firewall.read() if endpoints <= repair.LARGEST_DUMP else Ruleset({})
        except FirewallError as error:
            self._log.warning("the tables cannot be read and are made anew", error=str(error))
            return Ruleset({})

    async def _sync(self) -> None:
        """One transaction for what is noted, at most LARGEST_BATCH Services."""
        begun = monotonic()
        taken = self.followed.take(LARGEST_BATCH)
        self._busy_since = taken.since
        transaction, suspects = self._planned(taken)
        await self._apply(transaction)
        self._in_force(taken, suspects)
        self._done(begun)
        self.metrics.observe(self.metrics.partial_sync, monotonic() - begun)

    def _planned(self, taken: Taken) -> tuple[Transaction, set[Place]]:
        """What was taken means for the tables, and where it may leave stale flows."""
        transactions = [self._installed.set_ranges(self.followed.view({}))] if taken.node_wide else []
        suspects: set[Place] = set()
        for name in taken.names:
            transaction, left = self._change(name)
            transactions.append(transaction)
            suspects |= left
        return join(transactions), suspects

    def _in_force(self, taken: Taken, suspects: Collection[Place]) -> None:
        """The kernel does what was planned: what may rest on that goes on."""
        self._flows.suspect(suspects)
        self._ask(taken.names)
        now = time()
        for family, trigger in taken.triggers:
            self.metrics.programming.labels(family.value).observe(max(now - trigger, 0.0))

    def _change(self, name: ServiceName) -> tuple[Transaction, frozenset[Place]]:
        """What a Service's change means, and where it may leave stale flows. A Service that cannot be carried out stays as it
        was, and stops no other.
        """
        try:
            before = tuple(numbered.port for numbered in self._installed.services.get(name, ()))
            after = self.followed.ports(name)
            transaction = self._installed.change(name, after)
        except ValueError as error:
            self._log.error("a Service cannot be carried out", service="/".join(name), error=str(error))
            return Transaction(), frozenset()
        self.metrics.count_no_local(before, after)
        return transaction, self._serving.change(name, after)

    async def _apply(self, transaction: Transaction) -> None:
        """Puts a transaction in force, or the whole wish when the kernel refuses it."""
        try:
            for step in in_steps(transaction):
                self._watch.wrote(step)
                await self._firewall.apply(step)
        except FirewallError as error:
            self.metrics.count_failure()
            self._log.warning("a transaction was refused; loading everything", error=str(error))
            await self._replace()

    async def _replace(self) -> None:
        """Loads the whole wish, as often as it takes. The old tables stay in force until it succeeds.

        Each attempt is of what is wished by then: what the kernel refuses may have been taken back.
        """
        pause = FIRST_PAUSE
        waiting: list[tuple[Taken, set[Place]]] = []
        while True:
            begun = monotonic()
            self._watch.replaced()
            try:
                await self._firewall.replace(self._installed.ruleset())
            except FirewallError as error:
                self.metrics.count_failure()
                self._log.error("the tables cannot be loaded", error=str(error), again_in=pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE)
                waiting.extend(self._taken_in())
            else:
                self.metrics.observe(self.metrics.full_sync, monotonic() - begun)
                for each in waiting:
                    self._in_force(*each)
                return

    def _taken_in(self) -> Iterator[tuple[Taken, set[Place]]]:
        """Plans all that is noted for the next attempt."""
        while self.followed.changed.is_set():
            taken = self.followed.take(LARGEST_BATCH)
            self._busy_since = self._busy_since or taken.since
            yield taken, self._planned(taken)[1]

    async def _mend(self, found: repair.Damage) -> None:
        """Puts the tables right where somebody else changed them."""
        async with self._turn:
            damage = self._watch.still(found)
            if not damage:
                return
            self.metrics.repairs.inc()
            for what, count in damage.tally().items():
                self.metrics.drifted.labels(what).inc(count)
            self._log.warning("somebody else changed our tables; putting them right", differences=damage.words())
            if damage.rules:
                await self._replace()
            else:
                await self._apply(damage.transaction)
            self._busy_since = 0.0
            self._report(repair.report(self._options.node, damage))

    def _ask(self, names: Iterable[ServiceName]) -> None:
        """What balancers ask of these Services is what the tables now carry out."""
        if self._checks is None:
            return
        self._checks.move(self.followed.here.node_port_addresses)
        for name in names:
            found = self.followed.services.cache.get(*name)
            self._checks.change(name, self.followed.health_check(name), found.metadata.uid if found else "")

    def _done(self, begun: float) -> None:
        self._last_sync, self._busy_since = time(), 0.0
        self.metrics.observe(self.metrics.sync, monotonic() - begun)
        self.metrics.set(self.metrics.last_sync, self._last_sync)
