"""What of this table can NGINX (Debian's 1.22) not do? Told as Events and by `explain`, and listed in the documentation.

What would let somebody in is closed instead: TLS that should pass through is refused, a route whose authentication server
cannot be asked answers 500.
"""

from collections.abc import Iterable, Iterator

from mooring.routing.nginx.upstreams import RETRY_STATUSES
from mooring.routing.table import (
    Balance,
    Chain,
    Cluster,
    Filters,
    Forward,
    FrontDoor,
    Listener,
    Passthrough,
    Policy,
    RetryOn,
    Route,
    RouteTable,
    Speaks,
    Terminate,
)


def lacks(table: RouteTable) -> Iterable[tuple[str, str]]:
    """(source, sentence); each pair once. Source '' is the front door."""
    found = dict.fromkeys(("", sentence) for sentence in _front_door(table))
    for listener in table.listeners:
        for chain in listener.chains:
            found |= dict.fromkeys(_chain(table, chain))
    seen: set[int] = set()
    for listener in table.listeners:
        for chain in listener.chains:
            for virtual_host in chain.virtual_hosts:
                if id(virtual_host) in seen:
                    continue
                seen.add(id(virtual_host))
                for route in virtual_host.routes:
                    found |= dict.fromkeys((route.source, sentence) for sentence in _route(table, route))
    for cluster in table.clusters.values():
        found |= dict.fromkeys((cluster.source, sentence) for sentence in _cluster(cluster))
    return tuple(found)


def _front_door(table: RouteTable) -> Iterator[str]:
    front: FrontDoor = table.front_door
    if front.http3 and any(map(_is_tls, table.listeners)):
        yield "HTTP/3 is not spoken (NGINX speaks it from 1.25 on)"
    if front.header_count != FrontDoor().header_count:
        yield "the lines of a head are not counted, only its octets are"
    if front.trusted_hops > 1:
        yield "more than one trusted hop cannot be counted: X-Forwarded-* are not believed; name the proxies' addresses instead"
    if front.trusted_hops and front.trusted_proxies:
        yield "trusted hops are not counted where trusted proxies are named"


def _is_tls(listener: Listener) -> bool:
    return listener.is_tls


def _chain(table: RouteTable, chain: Chain) -> Iterator[tuple[str, str]]:
    if isinstance(chain.tls, Passthrough):
        yield chain.tls.source, "TLS cannot pass through: connections that ask for this host are refused"
    elif isinstance(chain.tls, Terminate):
        certificate = table.certificates.get(chain.tls.certificate)
        source = chain.virtual_hosts[0].source if chain.virtual_hosts else certificate.source if certificate else ""
        if chain.tls.ciphers:
            yield source, "ciphers of one host are not taken: the front door's are used"


def _route(table: RouteTable, route: Route) -> Iterator[str]:
    yield from _filters(table, route.filters)
    if not isinstance(route.action, Forward):
        return
    yield from _policy(route.policy)
    affinity = route.action.affinity
    if affinity is not None and affinity.strict:
        yield "a session does not stay with an endpoint that is no longer ready"
    for arm in route.action.to:
        cluster = table.clusters.get(arm.cluster)
        if cluster is not None and cluster.balance is Balance.HASH and not route.action.hash_on:
            yield "without a key to hash on endpoints take turns"
        if cluster is not None and cluster.speaks is Speaks.OPAQUE:
            yield "a backend that speaks only TCP cannot be reached by a route: it answers 503"
        elif cluster is not None and cluster.speaks is not Speaks.HTTP1 and table.front_door.keeps_encoded_slashes:
            spoken = cluster.speaks.value
            yield f"a path with an escaped slash cannot be told a backend that speaks {spoken}: it is answered 400"
        if cluster is not None and cluster.speaks in (Speaks.HTTP2, Speaks.GRPC) and not route.policy.buffer_request:
            yield "towards HTTP/2 backends the body is buffered as NGINX likes"


def _filters(table: RouteTable, filters: Filters) -> Iterator[str]:
    if filters.external_auth is not None:
        cluster = table.clusters.get(filters.external_auth.cluster)
        if cluster is None or cluster.speaks is not Speaks.HTTP1:
            yield "an authentication server must speak HTTP/1.1: this rule answers 500"
    for mirror in filters.mirrors:
        cluster = table.clusters.get(mirror.cluster)
        if cluster is None or cluster.speaks is not Speaks.HTTP1:
            yield "a mirror must speak HTTP/1.1: no copy is sent"
    if len({mirror.body for mirror in filters.mirrors}) > 1:
        yield "all mirrors of a rule get the body, or none does: all get it"
    if filters.error_pages is not None:
        cluster = table.clusters.get(filters.error_pages.cluster)
        if cluster is None or cluster.speaks is not Speaks.HTTP1:
            yield "error pages must come from a backend that speaks HTTP/1.1: NGINX's own are shown"


def _policy(policy: Policy) -> Iterator[str]:
    if policy.request:
        yield "a time for the whole exchange is not kept; those for connecting, reading and sending are"
    retry = policy.retry
    if retry.attempts > 1:
        if RetryOn.CONNECT in retry.on and RetryOn.ERROR not in retry.on:
            yield "a connection that breaks later is tried again as one that cannot be made is"
        if RetryOn.STATUS in retry.on and not RETRY_STATUSES.issuperset(retry.statuses):
            yield f"only these statuses are tried again: {', '.join(map(str, sorted(RETRY_STATUSES)))}"


def _cluster(cluster: Cluster) -> Iterator[str]:
    if cluster.balance is Balance.EWMA:
        yield "endpoints are chosen by fewest requests, not by latency"
    if cluster.speaks is Speaks.FASTCGI:
        yield "FastCGI gets NGINX's usual parameters and no document root"
