"""How does a node answer names? Workers from the table, which follows the Zone; the agent all else, through the chain."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
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
from mooring.edges.dns.pool import OTHERS, WorkerPool, end_found
from mooring.edges.dns.publisher import Publisher, TableOptions, left_table
from mooring.edges.dns.server import DnsServer, Sockets, bind, inherited
from mooring.edges.dns.slow import SlowPath
from mooring.edges.dns.streams import Responder, Streams

log = structlog.get_logger("dns")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before another try to write a table, doubling."""
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
    networks = [*networks, *map(ip_network, (*own, *settings.transfer.to))]
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
        return [bind(address, readers=readers, shared=True) for address in options.addresses]
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
    if options.workers == 0 or not sockets:
        for number in range(OTHERS):
            end_found(options.folder, number)
        await _synced(names)
        await _serve(sockets, counting.respond, cleanup)
        return
    options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    udp = {number: tuple(each[number] for each in sockets) for number in range(options.workers)}
    slow = SlowPath(options.folder, counting.respond, udp)
    slow.listen()
    cleanup.push_async_callback(slow.close)
    # What comes by TCP or was handed over rather waits than fails while the Zone has not been read; no longer than PATIENCE.
    await _synced(names)
    slow.read()
    for each in sockets:
        streams = Streams(counting.respond)
        await streams.start(each[-1])
        cleanup.push_async_callback(streams.close)
    following = Following(Publisher(options.folder, options.table), names)
    cleanup.callback(following.close)
    pool = WorkerPool(options.folder, udp, options.cgroup)
    await _publish(following, pool, left_table(options.folder), tasks)


async def _serve(sockets: Iterable[Sockets], respond: Responder, cleanup: contextlib.AsyncExitStack) -> None:
    """All by the agent."""
    for each in sockets:
        server = DnsServer(respond)
        await server.start(each)
        cleanup.push_async_callback(server.close)


async def _publish(following: "Following", pool: WorkerPool, keep: bool, tasks: asyncio.TaskGroup) -> None:
    """Workers answer from the table once it is there. `keep`: from an earlier agent's at once, whose names are better than none
    however long the API is away.
    """
    if keep:
        tasks.create_task(pool.run(), name="DNS workers")
    await following.start(keep)
    tasks.create_task(following.run(), name="DNS table")
    if not keep:
        tasks.create_task(pool.run(), name="DNS workers")


class Following:
    """Keeps the table true to the Zone: a change is in it before whoever made the Zone goes on."""

    def __init__(self, publisher: Publisher, names: ZoneKeeper) -> None:
        self._publisher, self._names = publisher, names
        self._waiting: list[Change] = []
        self._broken = asyncio.Event()
        self._changed: Callable[[Change], None] = self._ignore
        self._undo = names.subscribe(lambda change: self._changed(change))

    async def start(self, keep: bool) -> None:
        """Writes the first table. `keep`: an earlier agent's is better than one with half of the names, so wait until all has
        been listed, as long as it takes.
        """
        if keep:
            await self._names.wait_synced()
        began = monotonic()
        await self._replace()
        took = round(monotonic() - began, 3)
        log.info("names are published", names=self._publisher.names, synced=self._names.synced, seconds=took)

    async def run(self) -> None:
        """Says in the table when all has been listed, and makes it anew after a change that could not be written."""
        await self._names.wait_synced()
        self._put()
        pause = FIRST_PAUSE
        while True:
            await self._broken.wait()
            try:
                await self._replace()
                log.info("the table of names is whole again", names=self._publisher.names)
                pause = FIRST_PAUSE
            except (OSError, ValueError) as error:
                log.error("the table of names cannot be written: answers grow old", error=str(error), again_in=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _replace(self) -> None:
        """Everything anew; what changes meanwhile goes in at the end. Raises OSError."""
        self._broken.clear()
        self._waiting.clear()
        self._changed = self._waiting.append
        try:
            for _ in self._publisher.replacing(self._names.zone):
                await asyncio.sleep(0)
            self._publisher.change(self._names.zone, *self._waiting)
        except BaseException:
            self._broken.set()
            raise
        finally:
            self._waiting.clear()
            self._changed = self._put

    def _ignore(self, change: Change) -> None:
        """It will be in the first table."""

    def _put(self, *changes: Change) -> None:
        """What cannot be written is made good by `run`: a change tells only what differs from the one before."""
        if self._broken.is_set():
            return
        try:
            self._publisher.change(self._names.zone, *changes)
        except Exception:
            log.exception("a change could not be written to the table of names")
            self._broken.set()

    def close(self) -> None:
        self._undo()
        self._publisher.close()


async def _synced(names: ZoneKeeper) -> None:
    # Not wait_for: before Python 3.12 it loses a cancellation that meets the end of what it waits for, and this role would
    # live on without its tasks.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await names.wait_synced()
