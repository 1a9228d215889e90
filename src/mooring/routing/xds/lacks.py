"""What of a RouteTable can Envoy not do? Sentences for `explain`, Events and the documents' table, each with its source.

Where what is missing guards something, the route is closed (refusals.closed) and the sentence says so.
"""

from collections.abc import Iterable, Iterator

from mooring.routing.table import (
    Balance,
    Chain,
    Cluster,
    Condition,
    Forward,
    FrontDoor,
    How,
    Part,
    RateLimit,
    Route,
    RouteTable,
    Speaks,
    Terminate,
    Variable,
)
from mooring.routing.xds import filters, passwords, patterns, refusals, routes, tls

USUAL = FrontDoor()

Lack = tuple[str, str]
"""Source, and a sentence without it."""


def lacks(table: RouteTable) -> Iterable[Lack]:
    """Each once, in the order of the table."""
    return dict.fromkeys(_all(table))


def _all(table: RouteTable) -> Iterator[Lack]:
    yield from (("", sentence) for sentence in _of_front_door(table.front_door))
    for listener in table.listeners:
        for chain in listener.chains:
            yield from _of_chain(chain, table.front_door.http3)
    for route in _routes(table):
        yield from ((route.source, sentence) for sentence in _of_route(route, table))
    for cluster in table.clusters.values():
        yield from ((cluster.source, sentence) for sentence in _of_cluster(cluster))


def _of_front_door(front: FrontDoor) -> Iterator[str]:
    if front.body_timeout != USUAL.body_timeout:
        yield "the longest pause within a body is that of the route (proxy-read-timeout, proxy-send-timeout)"
    if front.connections != USUAL.connections:
        yield f"the limit of connections is told when Envoy starts: {USUAL.connections}"


def _routes(table: RouteTable) -> Iterator[Route]:
    seen: set[int] = set()
    for listener in table.listeners:
        for chain in listener.chains:
            for host in chain.virtual_hosts:
                if id(host) not in seen:
                    seen.add(id(host))
                    yield from host.routes


def _of_chain(chain: Chain, http3: bool) -> Iterator[Lack]:
    if not isinstance(chain.tls, Terminate):
        return
    clients, source = chain.tls.clients, chain.tls.clients.source if chain.tls.clients is not None else ""
    if clients is not None and http3:
        yield source, "HTTP/3 is not offered where clients must show certificates"
    if chain.tls.ciphers:
        known = tls.known(chain.tls.ciphers)
        unknown = [name for name in chain.tls.ciphers.split(":") if name not in known]
        if unknown:
            yield source, f"Envoy does not know the ciphers {', '.join(unknown)}; they are left out"


def _of_route(route: Route, table: RouteTable) -> Iterator[str]:
    asked = route.filters
    closed = refusals.closed(route)
    if closed is not None:
        yield f"{closed}; the route answers 503"
    elif asked.basic_auth is not None and len(passwords.users(asked.basic_auth)) < len(asked.basic_auth.users):
        yield "Envoy knows passwords in {SHA}, apr1 and $1$ form only; the users with others cannot come in"
    if asked.satisfy_any and asked.basic_auth is not None and (asked.access or asked.external_auth):
        yield "Envoy asks for the password besides, where one of several guards would be enough"
    if asked.rate is not None:
        yield from _of_rate(asked.rate)
    if asked.error_pages is not None and (asked.access or asked.basic_auth or asked.rate):
        yield "Envoy's own refusals (by address, password or rate) are not replaced by error pages"
    if any(map(_takes_a_missing_header, route.match.conditions)):
        yield "Envoy takes a missing header for an empty one where a pattern that an empty value matches is inverted"
    for mirror in asked.mirrors:
        if not mirror.body:
            yield "Envoy mirrors the body too"
        if mirror.path is not None and (asked.rewrite is not None or mirror.path.parts != (Variable.REQUEST_URI,)):
            yield "Envoy's mirror gets the path that the backend gets"
    if isinstance(route.action, Forward):
        yield from _of_forward(route, route.action, table)


def _takes_a_missing_header(condition: Condition) -> bool:
    inverted = condition.part is Part.HEADER and condition.how is How.REGEX and condition.invert
    return inverted and patterns.matches(condition.value, "")


def _of_rate(rate: RateLimit) -> Iterator[str]:
    if rate.connections:
        yield "Envoy cannot limit the connections of each client"
    if rate.bytes_per_second:
        yield "Envoy cannot limit how fast an answer is sent"


def _of_forward(route: Route, forward: Forward, table: RouteTable) -> Iterator[str]:
    _, declared = filters.measured(route, routes.destination(route, table.clusters))
    if declared:
        yield "Envoy measures the declared length of a body here; one without a declared length is not limited"
    if forward.affinity is not None and forward.affinity.secure is None:
        yield "Envoy's affinity cookie is never marked Secure unless that is asked for"
    if forward.affinity is not None and forward.affinity.strict:
        yield "Envoy does not keep a session with an endpoint that is no longer ready"
    if len(forward.to) > 1 and forward.affinity is not None:
        yield "Envoy's affinity cookie holds within a backend, not between weighted ones"


def _of_cluster(cluster: Cluster) -> Iterator[str]:
    if cluster.speaks is Speaks.FASTCGI:
        yield "Envoy does not speak FastCGI; its routes answer 503"
    if cluster.balance is Balance.EWMA:
        yield "Envoy does not balance by latency; the endpoint with the fewest requests is taken instead"
    if cluster.tls is not None and cluster.tls.ciphers and not tls.known(cluster.tls.ciphers):
        yield f"Envoy knows none of the ciphers {cluster.tls.ciphers}; its own are used"
