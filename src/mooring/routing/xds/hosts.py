"""Under which hosts does Envoy look for routes? Virtual hosts whose wildcards stand for one label, as the table means them.

Envoy's `*.foo.com` takes any number of labels and never looks further. So the routes of a one-label wildcard are guarded by a
pattern of the authority, and behind them stand the routes of the host that a name with more labels belongs to.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from msgspec import Struct

from mooring.routing.table import Answer, Cluster, Match, Route, VirtualHost
from mooring.routing.xds import matcher, matching, retries, routes
from mooring.routing.xds.matcher import Keyed
from mooring.routing.xds.wire import encoded, field, repeated

NOT_FOUND = Route("not found", Match(), Answer(404))
"""Ends the routes of a one-label wildcard: a path that none of them takes is not another host's."""

Emit = Callable[[Route, str], Keyed]


class Host(Struct, frozen=True, gc=False):
    """One of Envoy's virtual hosts. `guard` '' for none; `otherwise`: where names that the guard keeps out belong."""

    name: str
    domains: tuple[str, ...]
    wish: VirtualHost
    guard: str = ""
    otherwise: VirtualHost | None = None


def hosts(wishes: Iterable[VirtualHost]) -> Iterator[Host]:
    """In the order of the table. A domain that comes twice is the first's."""
    wishes = tuple(wishes)
    by_domain: dict[str, VirtualHost] = {}
    for wish in wishes:
        for domain in wish.hosts:
            by_domain.setdefault(domain, wish)
    for wish in wishes:
        own = [domain for domain in dict.fromkeys(wish.hosts) if by_domain[domain] is wish]
        plain = tuple(domain for domain in own if domain == "*" or not domain.startswith("*") or wish.many_labels)
        if plain:
            yield Host(wish.name, plain, wish)
        for domain in own:
            if domain not in plain:
                guard = matching.one_label(domain)
                yield Host(f"{wish.name} {domain}", (domain,), wish, guard, _otherwise(domain, by_domain))


def _otherwise(wildcard: str, by_domain: Mapping[str, VirtualHost]) -> VirtualHost | None:
    """Of names with more labels than a one-label wildcard takes: the next wildcard of many labels, then `*`."""
    rest = wildcard[2:]
    while "." in rest:
        rest = rest.partition(".")[2]
        wider = by_domain.get(f"*.{rest}")
        if wider is not None and wider.many_labels:
            return wider
    return by_domain.get("*")


@lru_cache(64)
def _hsts(value: str) -> bytes:
    """An item of response_headers_to_add."""
    out = HeaderValueOption(append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
    out.header.key = "strict-transport-security"
    out.header.value = value
    return encoded(out)


def keyed(route: Route, guard: str, clusters: Mapping[str, Cluster]) -> Keyed:
    return matcher.keyed(route.match, guard, routes.emitted(route, guard, clusters))


def emitted(host: Host, emit: Emit, has_retries: bool) -> bytes:
    """A serialised VirtualHost message; `emit` gives each route's. `has_retries`: clusters of its routes leave those to it."""
    own = [emit(route, host.guard) for route in host.wish.routes]
    if host.guard and host.otherwise is not None:
        own.append(emit(NOT_FOUND, host.guard))
        own.extend(emit(route, "") for route in host.otherwise.routes)
    places = matcher.leaves(own)
    head = field(1, host.name.encode()) + repeated(2, [domain.encode() for domain in host.domains])
    head += field(5, retries.idempotent())
    if has_retries:
        head += field(16, encoded(retries.usual()))
    if host.wish.hsts:
        head += field(10, _hsts(host.wish.hsts))
    if places is None:
        return head + repeated(3, (each for route in own for each in route.routes))
    return head + field(21, matcher.tree(own, places))
