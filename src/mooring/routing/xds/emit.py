"""What does Envoy get for a RouteTable? All its resources but the endpoints, as bytes.

An Emitter remembers what it made of every part of the last table. Parts are frozen, so one that is the same object is not
looked at again, and one that is equal keeps its bytes: a change costs as much as what changed.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from typing import Generic, TypeVar

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from mooring.routing.placement import Placement
from mooring.routing.table import (
    Certificate,
    Chain,
    Cluster,
    FrontDoor,
    Listener,
    Passthrough,
    Route,
    RouteTable,
    Speaks,
    Terminate,
    VirtualHost,
)
from mooring.routing.xds import clusters, filters, hosts, http, listeners, retries, routes, secrets, sharing, tls
from mooring.routing.xds.hosts import Host
from mooring.routing.xds.listeners import Served
from mooring.routing.xds.matcher import Keyed
from mooring.routing.xds.wire import CLUSTER, LISTENER, ROUTES, SECRET, Resources, encoded, repeated

ANSWER_OCTETS = 1024 * 1024
"""The longest body of an Answer."""

_VIRTUAL_HOSTS = 2
"""The number of RouteConfiguration.virtual_hosts."""


Made = TypeVar("Made")


class Memory(Generic[Made]):
    """What was made of things for the last table and for this one. Those that this one does not name are forgotten."""

    def __init__(self) -> None:
        self._last: dict[Hashable, tuple[object, Made]] = {}
        self._now: dict[Hashable, tuple[object, Made]] = {}

    def turn(self) -> None:
        self._last, self._now = self._now, {}

    def recall(self, key: Hashable, alive: object, make: Callable[[], Made]) -> Made:
        """`alive` is held as long as the key counts: its identity may be part of it."""
        found = self._now.get(key) or self._last.get(key)
        if found is None:
            found = (alive, make())
        self._now[key] = found
        return found[1]


class Routes:
    """What was made of the routes of one host: by the objects themselves, and of equal ones by value."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, str, Speaks | None], tuple[Route, Keyed]] = {}
        self._now: dict[tuple[int, str, Speaks | None], tuple[Route, Keyed]] = {}
        self._by_value: dict[tuple[Route, str, Speaks | None], Keyed] = {}

    def turn(self) -> None:
        """Begins another round over all routes."""
        for key in self._last.keys() - self._now.keys():
            route, _ = self._last[key]
            self._by_value.pop((route, key[1], key[2]), None)
        self._last, self._now = self._now, {}

    def recall(self, route: Route, guard: str, spoken: Speaks | None, make: Callable[[], Keyed]) -> Keyed:
        found = self._last.get((id(route), guard, spoken))
        keyed = found[1] if found is not None else self._by_value.get((route, guard, spoken))
        if keyed is None:
            keyed = self._by_value[route, guard, spoken] = make()
        self._now[id(route), guard, spoken] = (route, keyed)
        return keyed


class Emitter:
    """Of one proxy; not for several threads at a time."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._hosts = Memory[bytes]()
        self._routes: dict[str, Routes] = {}
        self._hosts_named: set[str] = set()
        self._spoken: dict[int, tuple[Speaks | None, ...]] = {}
        """Of this table, by the identity of the virtual host: listeners share most."""
        self._otherwise: frozenset[str] = frozenset()
        """The clusters of this table that leave it to routes and virtual hosts what is tried again."""
        self._asking = Memory[frozenset[str]]()
        self._chains = Memory[bytes]()
        self._clusters = Memory[bytes | None]()
        self._secrets = Memory[bytes | None]()
        self._covered = Memory[frozenset[str]]()

    def emit(self, table: RouteTable) -> Resources:
        """By type URL and name. A part that Envoy would refuse is left out, or answers by itself (refusals.py)."""
        for memory in (self._hosts, self._asking, self._chains, self._clusters, self._secrets, self._covered):
            memory.turn()
        self._hosts_named.clear()
        self._spoken.clear()
        own = {name: made for name, wish in table.certificates.items() if (made := self._secret(name, wish)) is not None}
        self._otherwise = self._asking_otherwise(table)
        listening: dict[str, bytes] = {}
        routed: dict[str, bytes] = {}
        for listener in table.listeners:
            names = _names(listener, table.front_door, own)
            routed.update(self._routed(listener, names, table))
            listening.update(self._listening(listener, names, table))
        self._routes = {of: known for of, known in self._routes.items() if of in self._hosts_named}
        return {CLUSTER: dict(self._reached(table)), LISTENER: listening, ROUTES: routed, SECRET: own}

    def _secret(self, name: str, wish: Certificate) -> bytes | None:
        def make() -> bytes | None:
            return secrets.secret(name, wish) if secrets.fault(wish) is None else None

        return self._secrets.recall((name, wish.chain, wish.key), wish, make)

    def _asking_otherwise(self, table: RouteTable) -> frozenset[str]:
        every = {id(host): host for listener in table.listeners for chain in listener.chains for host in chain.virtual_hosts}
        asking = (self._asking.recall(key, host, partial(retries.asking_otherwise, host.routes)) for key, host in every.items())
        return frozenset().union(*asking)

    def _has_retries(self, host: Host) -> bool:
        if not self._otherwise:
            return False
        found = (*host.wish.routes, *(host.otherwise.routes if host.otherwise else ()))
        return not self._otherwise.isdisjoint(retries.reached(found))

    def _reached(self, table: RouteTable) -> Iterator[tuple[str, bytes]]:
        for wish in table.clusters.values():
            has_retries = wish.name not in self._otherwise

            def make(wish: Cluster = wish, has_retries: bool = has_retries) -> bytes | None:
                return clusters.cluster(wish, has_retries) if clusters.fault(wish, table.certificates) is None else None

            is_there = wish.tls is None or wish.tls.certificate in table.certificates
            made = self._clusters.recall((id(wish), is_there, has_retries), wish, make)
            if made is not None:
                yield wish.name, made

    def _listening(self, listener: Listener, names: Mapping[int, str], table: RouteTable) -> Iterator[tuple[str, bytes]]:
        def encode(served: Served) -> bytes:
            return self._chains.recall(served, served, lambda: listeners.filter_chain(served))

        def covered(key: str) -> frozenset[str]:
            wish = table.certificates[key]
            return self._covered.recall(wish.chain, wish, lambda: secrets.covered(wish))

        if not names:
            return
        front, together = table.front_door, sharing.together(listener.chains, names, covered)
        yield listener.name, listeners.listener(listener, front, self._placement, names, together, encode)
        if has_quic(listener, front) and any(listeners.speaks_quic(listener.chains[place]) for place in names):
            quic = listeners.quic_listener(listener, front, self._placement, names, together, encode)
            yield listeners.quic_name(listener), quic

    def _routed(self, listener: Listener, names: Mapping[int, str], table: RouteTable) -> Iterator[tuple[str, bytes]]:
        done: set[str] = set()
        for place, name in names.items():
            chain = listener.chains[place]
            if name in done or isinstance(chain.tls, Passthrough):
                continue
            done.add(name)
            made = [self._host(f"{name} {host.name}", host, table.clusters) for host in hosts.hosts(chain.virtual_hosts)]
            yield name, _head(name, listener, table.front_door) + repeated(_VIRTUAL_HOSTS, made)

    def _host(self, of: str, host: Host, reached: Mapping[str, Cluster]) -> bytes:
        speaks = self._spoken.get(id(host.wish)) if host.otherwise is None else ()
        if speaks is None:
            speaks = self._spoken[id(host.wish)] = _speaks(host.wish, reached)
        has_retries = self._has_retries(host)
        key = (id(host.wish), host.domains, id(host.otherwise), speaks, has_retries)

        def make() -> bytes:
            known = self._routes.setdefault(of, Routes())
            known.turn()

            def emit(route: Route, guard: str) -> Keyed:
                to = routes.destination(route, reached)
                spoken = to.speaks if to is not None else None
                return known.recall(route, guard, spoken, lambda: hosts.keyed(route, guard, reached))

            return hosts.emitted(host, emit, has_retries)

        self._hosts_named.add(of)
        return self._hosts.recall(key, host, make)


def has_quic(listener: Listener, front: FrontDoor) -> bool:
    """A PROXY header has no place in QUIC."""
    return listener.is_tls and front.http3 and not front.proxy_protocol


def _speaks(wish: VirtualHost, reached: Mapping[str, Cluster]) -> tuple[Speaks | None, ...]:
    found = (routes.destination(route, reached) for route in wish.routes)
    return tuple(cluster.speaks if cluster is not None else None for cluster in found)


def _names(listener: Listener, front: FrontDoor, certificates: Mapping[str, bytes]) -> dict[int, str]:
    """The route configuration of each chain that can be served, by its place; chains with the same virtual hosts share one.

    The one of all others is named as the listener; the rest by their first server name: such names stay when chains come and
    go. Where somebody is trusted, others: listeners and routes share what is dropped of a request, so they change at once.
    """
    trusting = " trusting" if http.trusts(front) else ""
    shared: dict[int, str] = {}
    out: dict[int, str] = {}
    for place, chain in sorted(
        enumerate(listener.chains), key=lambda each: ("*" not in each[1].server_names, each[1].server_names)
    ):
        if _is_usable(chain, certificates):
            own = (
                listener.name
                if "*" in chain.server_names or chain.tls is None
                else f"{listener.name}/{min(chain.server_names)}"
            )
            out[place] = shared.setdefault(id(chain.virtual_hosts), own + trusting)
    return dict(sorted(out.items()))


def _is_usable(chain: Chain, certificates: Mapping[str, bytes]) -> bool:
    if not isinstance(chain.tls, Terminate):
        return bool(chain.server_names) or chain.tls is None
    return chain.tls.certificate in certificates and (chain.tls.clients is None or tls.clients_fault(chain.tls.clients) is None)


def _head(name: str, listener: Listener, front: FrontDoor) -> bytes:
    # A route's own changes of headers come last.
    out = RouteConfiguration(name=name, ignore_port_in_host_matching=True, most_specific_header_mutations_wins=True)
    out.max_direct_response_body_size_bytes.value = ANSWER_OCTETS
    for filter_, config in filters.usual().items():
        out.typed_per_filter_config[filter_].CopyFrom(config)
    out.internal_only_headers.extend(http.claims(front))
    out.request_headers_to_remove.append("x-envoy-external-address")
    if http.trusts(front):
        # One may name the internal address.
        out.request_headers_to_remove.append("x-envoy-internal")
    out.request_headers_to_add.extend(http.about_client(front))
    told = http.option(retries.HEADER, retries.VALUE, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
    out.request_headers_to_add.append(told)
    if has_quic(listener, front):
        out.response_headers_to_add.append(
            http.option("alt-svc", f'h3=":{listener.port}"; ma=86400', HeaderValueOption.ADD_IF_ABSENT)
        )
    return encoded(out)
