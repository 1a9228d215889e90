"""How does Envoy follow a RouteTable? ports.proxy.Proxy: emission aside, endpoints straight, what it refuses kept apart.

A resource that Envoy refuses is searched for its bad part (salvage.py); the rest gets in, the part keeps what was accepted
before. A part stays out while it is the same; another version of it is tried. Emission runs in a thread: endpoints never
wait for it.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from math import inf
from pathlib import Path
from typing import Protocol

import structlog
from envoy.config.cluster.v3.cluster_pb2 import Cluster as XdsCluster
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from msgspec import Struct

from mooring.edges.envoy.ads import AdsServer
from mooring.edges.envoy.pace import Pace, pace
from mooring.edges.envoy.quarantine import NOTHING, Quarantine
from mooring.edges.envoy.salvage import Key, Outcome, Rejected, Trial, attempt, search
from mooring.edges.envoy.stream import LINGER, Resource, Snapshot, Verdict
from mooring.ports.proxy import Rejection
from mooring.routing.placement import Placement
from mooring.routing.table import Certificate, Endpoints, Member, Members, RouteTable
from mooring.routing.xds.bootstrap import ads_path
from mooring.routing.xds.endpoints import load_assignment
from mooring.routing.xds.wire import CLUSTER, ENDPOINTS, LISTENER, SECRET, Resources

AGAIN, LONGEST = 60.0, 3600.0
"""Seconds until what was refused is tried again, doubled each time."""

log = structlog.get_logger("envoy")


class Emitter(Protocol):
    def emit(self, table: RouteTable) -> Resources:
        """Of an unchanged resource the same bytes."""


class Held(Struct):
    """One resource: what is wished, what Envoy took last, and what is on offer now.

    A wish that comes during a trial waits for its end in `next`: changes that come fast cannot keep a search from ending.
    """

    wish: bytes
    now: Resource | None = None
    accepted: bytes | None = None
    trial: Trial[Outcome] | None = None
    next: bytes | None = None
    refused: tuple[bytes, str] | None = None
    """The last that Envoy did not take, and why."""
    rejected: Rejected = {}
    turn: int = 0
    """How often all of it was tried again: part of its version, for what was refused is not sent twice."""


class EnvoyProxy:
    """ports.proxy.Proxy for an Envoy that was started by launch.py with the same placement.

    `spare` stands in for a certificate that Envoy refuses and had no other of: without any, the whole listener would wait.
    `paced`: how soon a listener, by its name, may change again. `observe` hears all that Envoy answers.
    """

    def __init__(
        self,
        placement: Placement,
        emitter: Emitter,
        spare: Certificate,
        *,
        linger: float = LINGER,
        paced: Callable[[str], Pace] = pace,
        observe: Callable[[Verdict], None] = lambda verdict: None,
    ) -> None:
        self.ads = AdsServer(Path(ads_path(placement)), self._heard, linger=linger)
        self._observe, self._quarantine = observe, Quarantine(Path(placement.folder))
        self._emitter, self._spare = emitter, spare
        self._table: RouteTable | None = None
        self._applied = asyncio.Event()
        self._members: dict[str, tuple[Member, ...]] = {}
        self._held: dict[str, dict[str, Held]] = {}
        self._resources: dict[str, dict[str, Resource]] = {}
        self._assignments: dict[str, tuple[Resource, str]] = {}
        self._sets: dict[str, str] = {}
        self._sources: dict[str, str] | None = None
        """Of the last table, once something of it is refused."""
        self._taken = RouteTable()
        self._rejections: tuple[Rejection, ...] = ()
        self._turns: dict[tuple[str, str], int] = {}
        """Of what was refused and is wished no more: it may come back before Envoy has been told that it is gone."""
        self._listeners: list[Callable[[tuple[Rejection, ...]], None]] = []
        self._published = False
        self._again = AGAIN
        self._pace_of = paced
        self._paces: dict[str, Pace] = {}
        self._later: asyncio.TimerHandle | None = None

    def apply(self, table: RouteTable) -> None:
        self._table = table
        self._applied.set()

    def endpoints(self, changed: Members) -> None:
        self._members.update(changed)
        known = self._held.get(ENDPOINTS, {})
        if stale := [name for name in changed if name in known]:
            for name in stale:
                self._wish(ENDPOINTS, name, load_assignment(name, self._members[name]))
            self._publish()

    def subscribe(self, rejected: Callable[[tuple[Rejection, ...]], None]) -> None:
        self._listeners.append(rejected)
        if self._rejections:
            rejected(self._rejections)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.ads.run())
            tasks.create_task(self._follow())
            tasks.create_task(self._try_again())

    async def _try_again(self) -> None:
        """The reason of a refusal may lie elsewhere, a port that was taken, and be gone."""
        pause, known = self._again, self._rejections
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST) if self._rejections and self._rejections == known else self._again
            known = self._rejections
            for url, resources in self._held.items():
                for name, held in resources.items():
                    if held.rejected and held.trial is None:
                        held.refused, held.turn = None, held.turn + 1
                        held.trial = attempt(url, held.wish, held.accepted, {})
                        self._advance(url, name, held, next)
            if known:
                self._publish()

    async def _follow(self) -> None:
        while True:
            await self._applied.wait()
            self._applied.clear()
            table = self._table
            if table is None:
                continue
            try:
                self._take(table, await asyncio.to_thread(self._emitter.emit, table))
            except Exception:
                # A mistake of ours; Envoy goes on with what it has, and the next table is another try.
                log.exception("a table cannot be carried out; the one before goes on")

    def _take(self, table: RouteTable, emitted: Resources) -> None:
        self._taken, self._sources = table, None
        self._sets = {each.where.set: each.source for each in table.clusters.values() if isinstance(each.where, Endpoints)}
        if not self._applied.is_set():  # else there may be endpoints of a table that is still to come
            self._members = {name: members for name, members in self._members.items() if name in self._sets}
        held = self._held.get(ENDPOINTS, {})
        # `endpoints` keeps those that are held up to date.
        assignments = {
            name: held[name].wish if name in held else load_assignment(name, self._members.get(name, ())) for name in self._sets
        }
        listeners = self._paced(emitted.get(LISTENER, {}))
        nothing: Resources = {url: {} for url in self._held}
        for url, resources in {**nothing, **emitted, LISTENER: listeners, ENDPOINTS: assignments}.items():
            of_type = self._held.get(url, {})
            # A listener that waits for its turn still names what it named.
            for name in of_type.keys() - resources.keys() if self._later is None or url == LISTENER else ():
                self._forget(url, name)
            for name, data in resources.items():
                if (known := of_type.get(name)) is None or known.trial is not None or known.wish is not data:
                    self._wish(url, name, data)
        self._published = True
        self._publish()
        self._tell()

    def _paced(self, wished: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """The listeners for now: those that are wished, or those that are there until others may follow."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        loop = asyncio.get_running_loop()
        now, soonest, listeners = loop.time(), inf, dict(wished)
        for name, held in self._held.get(LISTENER, {}).items():
            known = held.next or held.wish
            if wished.get(name) == known:
                continue
            own = self._paces.setdefault(name, self._pace_of(name))
            if (moment := own.next(now)) <= now:
                own.changed(now)
            else:
                listeners[name], soonest = known, min(soonest, moment)
        if soonest < inf:
            self._later = loop.call_at(soonest, self._applied.set)
        return listeners

    def _publish(self) -> None:
        if not self._published:
            return
        clusters = self._resources.get(CLUSTER, {})
        for name in self._assignments.keys() - clusters.keys():
            del self._assignments[name]
        for name, cluster in clusters.items():
            known = self._assignments.get(name)
            if known is None or known[0] is not cluster:
                self._assignments[name] = cluster, _assignment(cluster.data)
        needed = {name: assignment for name, (_, assignment) in self._assignments.items() if assignment}
        self.ads.publish(Snapshot({url: dict(of_type) for url, of_type in self._resources.items()}, needed))

    # --- One resource

    def _forget(self, url: str, name: str) -> None:
        held = self._held[url].pop(name)
        self._resources[url].pop(name, None)
        self._quarantine.put(url, name, NOTHING)
        if held.rejected or held.trial is not None:
            self._turns[url, name] = held.turn + 1

    def _wish(self, url: str, name: str, data: bytes) -> None:
        held = self._held.setdefault(url, {}).get(name)
        if held is None:
            held = self._held[url][name] = Held(data, turn=self._turns.pop((url, name), 0))
            if (known := self._quarantine.of(url, name)).rejected:
                held.rejected, held.trial = known.rejected, attempt(url, data, known.data, known.rejected)
                self._advance(url, name, held, next)
                return
        elif held.trial is not None:
            held.next = data
            return
        elif held.wish is data or held.wish == data:
            return
        held.wish = data
        if held.rejected:
            held.trial = attempt(url, data, held.accepted, held.rejected)
            self._advance(url, name, held, next)
        else:
            self._offer(url, name, held, data)

    def _offer(self, url: str, name: str, held: Held, data: bytes) -> None:
        version = f"{version_of(data)}/{held.turn}" if held.turn else version_of(data)
        held.now = self._resources.setdefault(url, {})[name] = Resource(version, data)

    def _heard(self, verdict: Verdict) -> None:
        """A version that is no longer offered and was taken is what Envoy has until it takes another."""
        self._observe(verdict)
        changed = False
        for name, version in verdict.versions.items():
            held = self._held.get(verdict.type_url, {}).get(name)
            if held is None or held.now is None:
                continue
            if held.now.version != version:
                held.accepted = verdict.taken.get(name, held.accepted)
                continue
            if not verdict.reason:
                held.accepted = held.now.data
                if held.trial is None:
                    continue
                self._advance(verdict.type_url, name, held, _accepted)
            else:
                self._refused(verdict.type_url, name, held, verdict.reason)
            changed = True
        if changed:
            self._publish()
            self._tell()

    def _refused(self, url: str, name: str, held: Held, reason: str) -> None:
        log.warning("refused", type=url.rpartition(".")[2], name=name, reason=reason)
        if held.now is not None:
            held.refused = held.now.data, reason
        if held.trial is not None:
            self._advance(url, name, held, partial(_refused, reason=reason))
        elif held.now is not None and held.now.data == held.wish:
            held.trial = search(url, held.wish, held.accepted, reason)
            self._advance(url, name, held, next)

    def _advance(self, url: str, name: str, held: Held, step: Callable[[Trial[Outcome]], bytes]) -> None:
        """On to the next candidate. One whose answer is known is not sent again: the client would not answer it."""
        while held.trial is not None:
            try:
                data = step(held.trial)
            except StopIteration as end:
                self._end(url, name, held, end.value)
                return
            if data == held.accepted:
                step = _accepted
            elif held.refused is not None and data == held.refused[0]:
                step = partial(_refused, reason=held.refused[1])
            else:
                self._offer(url, name, held, data)
                return

    def _end(self, url: str, name: str, held: Held, outcome: Outcome) -> None:
        held.trial, held.rejected = None, outcome.rejected
        self._quarantine.put(url, name, outcome)
        data = outcome.data
        if data is None and url == SECRET:
            data = spare_secret(held.wish, self._spare)
        if data is not None:
            self._offer(url, name, held, data)
        # Else what was refused last stays on offer: it is not sent again, and what Envoy has of an earlier control goes on.
        if held.next is not None:
            data, held.next = held.next, None
            self._wish(url, name, data)

    # --- What is told

    def _tell(self) -> None:
        found = tuple(dict.fromkeys(self._current()))
        if found != self._rejections:
            self._rejections = found
            for listener in self._listeners:
                listener(found)

    def _current(self) -> Iterator[Rejection]:
        for url, resources in self._held.items():
            for name, held in resources.items():
                for key, bad in held.rejected.items():
                    yield Rejection(self._source(url, name, key), bad.reason)

    def _source(self, url: str, name: str, key: Key) -> str:
        if url == ENDPOINTS:
            return self._sets.get(name, "")
        if self._sources is None:
            self._sources = dict(_sources(self._taken))
        names = [each for part in (*reversed(key), name) for each in (part, part.rpartition(" ")[0])]
        known = self._sources
        return next((found for each in names if (found := known.get(each))), "")


def version_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def _accepted(trial: Trial[Outcome]) -> bytes:
    return trial.send(None)


def _refused(trial: Trial[Outcome], reason: str) -> bytes:
    return trial.send(reason)


def _assignment(data: bytes) -> str:
    """The endpoint set that a serialised cluster waits for, '' for none."""
    cluster = XdsCluster.FromString(data)
    if cluster.type != XdsCluster.EDS:
        return ""
    name: str = cluster.eds_cluster_config.service_name or cluster.name
    return name


def spare_secret(refused: bytes, spare: Certificate) -> bytes:
    """A secret of the same name and kind: the spare certificate, or as authority that nobody's certificate comes from."""
    wish = Secret.FromString(refused)
    secret = Secret(name=wish.name)
    if wish.WhichOneof("type") == "validation_context":
        secret.validation_context.trusted_ca.inline_bytes = spare.chain
    else:
        secret.tls_certificate.certificate_chain.inline_bytes = spare.chain
        secret.tls_certificate.private_key.inline_bytes = spare.key
    data: bytes = secret.SerializeToString(deterministic=True)
    return data


def _sources(table: RouteTable) -> Iterable[tuple[str, str]]:
    """By every name that a resource or a part of one has: where it was written."""
    for listener in table.listeners:
        for chain in listener.chains:
            for host in chain.virtual_hosts:
                yield host.name, host.source
                for route in host.routes:
                    yield route.name, route.source
    for name, cluster in table.clusters.items():
        yield name, cluster.source
    for name, certificate in table.certificates.items():
        yield name, certificate.source
