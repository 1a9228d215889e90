"""How does a node answer names? Workers from the table, which follows the Zone; the agent all else, through the chain."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from math import ceil
from pathlib import Path
from time import monotonic

import structlog
from msgspec import Struct
from prometheus_client import CollectorRegistry

from mooring.control.dns import ZoneKeeper
from mooring.dns.owners import Change
from mooring.dns.settings import LOOPBACK, DnsSettings
from mooring.dns.settings import networks as settings_networks
from mooring.edges.dns.counters import Counting, WorkerMetrics
from mooring.edges.dns.pool import WorkerPool
from mooring.edges.dns.publisher import Publisher, TableOptions
from mooring.edges.dns.server import DnsServer, Sockets, bind, inherited
from mooring.edges.dns.slow import SlowPath
from mooring.edges.dns.streams import Responder, Streams
from mooring.edges.dns.worker import TABLE

log = structlog.get_logger("dns")

PATIENCE = 5.0
"""Seconds for which queries rather wait than fail after a start, as long as a resolver waits for its first try."""


class NamesOptions(Struct, frozen=True):
    """`folder` is the workers'. `workers` 0: the agent answers everything itself.

    `held`: descriptors of bound sockets, for each address those of `bind`, with as many readers as workers but at least one;
    () to bind them here. `cgroup` is the workers' own, which outlives the agent's.
    """

    folder: Path
    cgroup: Path | None
    addresses: tuple[str, ...]
    workers: int = 1
    held: tuple[int, ...] = ()
    table: TableOptions = TableOptions()


def default_workers() -> int:
    """One for each processor that this process may use, but two at most: each answers more than a node asks."""
    return min(2, len(os.sched_getaffinity(0)))


def table_options(settings: DnsSettings, ranges: Sequence[str], own: Sequence[str] = ()) -> TableOptions:
    """What workers have to know of the chain's settings. `ranges` may ask where the settings do not say who
    may, `own` addresses always. The rate is each worker's: one socket of a client always meets the same one.

    What a worker cannot do, the agent does: rewriting and lines of hosts come before the cluster's names, the search path of
    whoever asks comes after them, and the query log misses nothing.
    """
    networks = settings_networks(settings) or [ip_network(text, strict=False) for text in (*LOOPBACK, *ranges)]
    networks = (*networks, *map(ip_network, own))
    limit = settings.rate_limit
    return TableOptions(
        tuple((each.version, each.prefixlen, each.network_address.packed) for each in networks),
        ceil(limit.per_second) if limit else 0,
        ceil(limit.at_once) if limit else 0,
        recursion=True,
        autopath=settings.autopath,
        all_to_agent=bool(settings.log or settings.rewrite or settings.hosts.entries),
    )


def _sockets(options: NamesOptions) -> list[Sockets]:
    """For each address. Raises OSError."""
    readers = max(1, options.workers)
    if not options.held:
        return [bind(address, readers=readers) for address in options.addresses]
    return [inherited(options.held[at : at + readers + 1]) for at in range(0, len(options.held), readers + 1)]


async def answer(
    options: NamesOptions,
    names: ZoneKeeper,
    respond: Responder,
    registry: CollectorRegistry,
    tasks: asyncio.TaskGroup,
    cleanup: contextlib.AsyncExitStack,
) -> None:
    """Returns once names are answered; what goes on is in `tasks` and ends with `cleanup`. Workers stay. Raises OSError."""
    sockets, counting = _sockets(options), Counting(respond)
    WorkerMetrics(options.folder, counting, registry)
    if options.workers == 0:
        await _synced(names)
        for each in sockets:
            server = DnsServer(counting.respond)
            await server.start(each)
            cleanup.push_async_callback(server.close)
        return
    options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    udp = {number: tuple(each[number] for each in sockets) for number in range(options.workers)}
    # What only the agent can answer waits in its sockets until there is something to say.
    await _synced(names)
    slow = SlowPath(options.folder, counting.respond, udp)
    slow.start()
    cleanup.push_async_callback(slow.close)
    for each in sockets:
        streams = Streams(counting.respond)
        await streams.start(each[-1])
        cleanup.push_async_callback(streams.close)
    following = Following(Publisher(options.folder, options.table), names)
    await following.start(keep=(options.folder / TABLE).exists())
    cleanup.callback(following.close)
    tasks.create_task(following.run(), name="DNS table")
    tasks.create_task(WorkerPool(options.folder, udp, options.cgroup).run(), name="DNS workers")


class Following:
    """Keeps the table true to the Zone: a change is in it before whoever made the Zone goes on."""

    def __init__(self, publisher: Publisher, names: ZoneKeeper) -> None:
        self._publisher, self._names = publisher, names
        self._waiting: list[Change] = []
        self._changed: Callable[[Change], None] = self._ignore
        self._undo = names.subscribe(lambda change: self._changed(change))

    async def start(self, keep: bool) -> None:
        """Writes the first table, once all has been listed, or after PATIENCE. `keep`: an earlier agent's is better than one
        with half of the names, so wait as long as it takes.
        """
        if keep:
            await self._names.wait_synced()
        else:
            await _synced(self._names)
        began = monotonic()
        self._changed = self._waiting.append
        for _ in self._publisher.replacing(self._names.zone):
            await asyncio.sleep(0)
        self._changed = self._put
        self._publisher.change(self._names.zone, *self._waiting)
        self._waiting.clear()
        took = round(monotonic() - began, 3)
        log.info("names are published", names=self._publisher.names, synced=self._names.synced, seconds=took)

    async def run(self) -> None:
        """Says in the table when all has been listed."""
        await self._names.wait_synced()
        self._publisher.change(self._names.zone)

    def _ignore(self, change: Change) -> None:
        """It will be in the first table."""

    def _put(self, change: Change) -> None:
        self._publisher.change(self._names.zone, change)

    def close(self) -> None:
        self._undo()
        self._publisher.close()


async def _synced(names: ZoneKeeper) -> None:
    # Not wait_for: before Python 3.12 it loses a cancellation that meets the end of what it waits for, and this role would
    # live on without its tasks.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await names.wait_synced()
