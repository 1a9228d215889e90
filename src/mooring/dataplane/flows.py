"""What changes for traffic between two states of a cluster? Which ways are gained, lost and moved, and in which respect.

A pure comparison of two results of reach.py. Endpoints are compared by what serves there, which the caller names: the new Pods
of a Deployment that was rolled are the same workload, so a client has lost nothing by them.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from msgspec import Struct

from mooring.dataplane.reach import Reach, Way
from mooring.dataplane.trace import Choice, Outcome, Source
from mooring.endpoints.select import Endpoint
from mooring.services.view import Entry, Protocol, ServiceName


class Effect(Enum):
    """What a change does to a way. Several of the last seven may come together."""

    LOST = "lost"
    NARROWED = "narrowed"
    """Some of the sources that came through no longer do."""
    GAINED = "gained"
    WIDENED = "widened"
    MOVED = "moved"
    """Another set of workloads, or another port of them, serves."""
    ROLLED = "rolled"
    """The same workloads serve, with other Pods."""
    BALANCE = "balance"
    """An endpoint that stays gets another share."""
    SOURCE = "source"
    """Endpoints see the client's address and did not, or the other way round."""
    AFFINITY = "affinity"
    CLOSED = "closed"
    """A way that is new, or differs, and leads nowhere; it did not before."""


LOSSES = frozenset({Effect.LOST, Effect.NARROWED})

Workload = Callable[[ServiceName, Endpoint], str]
"""What serves at an endpoint of a Service: any name that stays when its Pods are replaced."""

Backend = tuple[str, int]
"""A workload and its port."""


class FlowChange(Struct, frozen=True):
    """One way that differs. `now_of` is the Service that has taken its frontend over, if that is why it is lost."""

    way: Way
    effects: tuple[Effect, ...]
    before: Reach | None
    after: Reach | None
    now_of: ServiceName | None = None


def flows(
    before: Mapping[Way, Reach], after: Mapping[Way, Reach], served_before: Workload, served_after: Workload
) -> tuple[FlowChange, ...]:
    """Every way that differs, sorted by Service, frontend, node and source."""
    owners = {(way.node, way.address, way.port, way.protocol): way.service for way in after}
    changes = []
    for way in sorted({*before, *after}, key=_order):
        was, is_ = before.get(way), after.get(way)
        if was == is_ and not _reachable(is_):
            continue
        effects = tuple(_effects(way.service, was, is_, served_before, served_after))
        if effects:
            owner = owners.get((way.node, way.address, way.port, way.protocol)) if is_ is None else None
            changes.append(FlowChange(way, effects, was, is_, owner))
    return tuple(changes)


def shares(service: ServiceName, choices: Iterable[Choice], served: Workload) -> dict[Backend, float]:
    """Which part of the connections each backend gets."""
    found: dict[Backend, float] = {}
    for each in choices:
        backend = served(service, each.endpoint), each.endpoint.port
        found[backend] = found.get(backend, 0.0) + each.probability
    return found


def _reachable(end: Reach | None) -> bool:
    return end is not None and end.outcome is Outcome.FORWARD


def _effects(
    service: ServiceName, was: Reach | None, is_: Reach | None, served_before: Workload, served_after: Workload
) -> Iterable[Effect]:
    if was is None or not _reachable(was):
        if _reachable(is_):
            yield Effect.GAINED
        elif is_ is not None:
            yield Effect.CLOSED
        return
    if is_ is None or not _reachable(is_):
        yield Effect.LOST
        return
    if not _covers(is_.allowed, was.allowed):
        yield Effect.NARROWED
    if not _covers(was.allowed, is_.allowed):
        yield Effect.WIDENED
    yield from _served(service, was, is_, served_before, served_after)
    if {each.masqueraded for each in was.choices} != {each.masqueraded for each in is_.choices}:
        yield Effect.SOURCE
    if was.affinity != is_.affinity:
        yield Effect.AFFINITY


def _served(service: ServiceName, was: Reach, is_: Reach, served_before: Workload, served_after: Workload) -> Iterable[Effect]:
    """By whom, and how much of it by each."""
    if shares(service, was.choices, served_before).keys() != shares(service, is_.choices, served_after).keys():
        yield Effect.MOVED
        return
    old, new = _by_place(was, service, served_before), _by_place(is_, service, served_after)
    kept = old.keys() & new.keys()
    if old.keys() - kept and new.keys() - kept:
        yield Effect.ROLLED
    if any(old[place] != new[place] for place in kept):
        yield Effect.BALANCE


def _by_place(end: Reach, service: ServiceName, served: Workload) -> Mapping[tuple[str, Endpoint], float]:
    """The share of each endpoint; an address that went to another workload is another endpoint."""
    return {(served(service, each.endpoint), each.endpoint): each.probability for each in end.choices}


def _covers(outer: tuple[str, ...] | None, inner: tuple[str, ...] | None) -> bool:
    """Whether every source in `inner` is in `outer`; None is everyone."""
    if outer is None or inner is None:
        return outer is None
    four = collapse_addresses(IPv4Network(each) for each in outer if ":" not in each)
    six = collapse_addresses(IPv6Network(each) for each in outer if ":" in each)
    ranges: list[IPv4Network | IPv6Network] = [*four, *six]
    return all(
        any(mine.version == each.version and mine.subnet_of(each) for each in ranges)  # type: ignore[arg-type]
        for mine in map(ip_network, inner)
    )


_ENTRIES, _SOURCES, _PROTOCOLS = list(Entry), list(Source), list(Protocol)


def _order(way: Way) -> tuple[ServiceName, int, str, int, int, str, int]:
    return (
        way.service,
        _ENTRIES.index(way.entry),
        way.address,
        way.port,
        _PROTOCOLS.index(way.protocol),
        way.node,
        _SOURCES.index(way.source),
    )
