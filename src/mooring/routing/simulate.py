"""What becomes of a request? The simulator walks a RouteTable as a proxy does, and gives each decision's reason.

It is the product (`mooring trace request`) and the tests' main instrument: real Envoy and real NGINX must agree with it.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct, field, structs

from mooring.endpoints.addresses import canonical, contains
from mooring.routing.simulation import matching, words
from mooring.routing.simulation.changes import DEFAULT_PORTS, Setting, changed, filled, location, rewritten
from mooring.routing.simulation.filters import Step as Step
from mooring.routing.simulation.filters import Stopped, passed
from mooring.routing.simulation.matching import Head
from mooring.routing.simulation.paths import normalise
from mooring.routing.table import (
    Answer,
    Chain,
    Cluster,
    Endpoints,
    Forward,
    FrontDoor,
    Listener,
    Member,
    Members,
    Passthrough,
    Redirect,
    Route,
    RouteTable,
    Terminate,
    Verify,
    VirtualHost,
)

CLOSED = 0
"""The status of a request that gets no answer: nobody listens, or TLS fails."""
OPAQUE = -1
"""That of one whose bytes go on unread: the backend answers, nobody here knows what."""
NO_MEMBERS: Members = {}


class Request(Struct, frozen=True):
    """As a client sends it. `path` with the query, undecoded; `headers` in any letter case, without Host, which is `host` with
    the port that it names, if any. `server_name`: asked for by SNI, '' for the host's. `certificate`: it shows a good one."""

    host: str
    path: str = "/"
    method: str = "GET"
    scheme: str = "http"
    port: int = 0
    """0: the scheme's own."""
    headers: tuple[tuple[str, str], ...] = ()
    client: str = "127.0.0.1"
    server_name: str = ""
    certificate: bool = False
    request_id: str = "a-request-id"

    @property
    def to_port(self) -> int:
        return self.port or (443 if self.scheme == "https" else 80)


class Share(Struct, frozen=True):
    """Where a request may go, with which probability. `member` None: this cluster has no endpoint, so that part is answered
    503. A Fixed cluster's member is its host, unresolved."""

    cluster: str
    probability: float
    member: Member | None = None
    source: str = ""


class Seen(Struct, frozen=True):
    """What the backend sees. `path` with the query; `headers` are those that are changed for it, and the client's others."""

    method: str
    host: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()


class Told(Struct, frozen=True):
    """The whole answer. `status` is the proxy's own where there is no `seen`, else 200 for whatever the backend answers.

    `headers` are those that the proxy puts on the answer. `provided`: on what all this depends and nobody here knows.
    """

    request: Request
    status: int
    steps: tuple[Step, ...]
    listener: str = ""
    virtual_host: str = ""
    route: str = ""
    source: str = ""
    certificate: str = ""
    """Which is shown, a key of RouteTable.certificates; '' without TLS."""
    shares: tuple[Share, ...] = ()
    location: str = ""
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    seen: Seen | None = None
    provided: tuple[str, ...] = field(default=())


def simulate(table: RouteTable, request: Request, members: Members = NO_MEMBERS) -> Told:
    """Follows `request` through the table. Raises re2.error where the table holds a pattern that is none."""
    steps: list[Step] = []
    found = _entered(table, request, steps)
    if found is None:
        return Told(request, CLOSED, tuple(steps))
    listener, chain = found
    certificate = chain.tls.certificate if isinstance(chain.tls, Terminate) else ""
    told = Told(request, CLOSED, (), listener=listener.name, certificate=certificate)
    if isinstance(chain.tls, Passthrough):
        steps.append(words.passed_through(chain.tls))
        shares = tuple(_members(table, chain.tls.cluster, 1.0, members))
        status = OPAQUE if any(each.member for each in shares) else CLOSED
        return structs.replace(told, status=status, steps=tuple(steps), shares=shares)
    refusal = _certified(chain.tls, request, steps)
    if refusal is not None:
        return _stopped(told, refusal, steps)
    head, setting, wrong = _head(table.front_door, request)
    if wrong:
        steps.append(Step("400: the proxy does not take such a request", wrong))
        return structs.replace(told, status=400, steps=tuple(steps))
    return _routed(table, members, chain, head, setting, told, steps)


def _entered(table: RouteTable, request: Request, steps: list[Step]) -> tuple[Listener, Chain] | None:
    """Listener and chain; None when there is no connection."""
    listener = next((each for each in table.listeners if each.port == request.to_port), None)
    if listener is None:
        steps.append(words.nobody_listens(table, request.to_port))
        return None
    steps.append(words.listens(listener))
    if listener.is_tls is not (request.scheme == "https"):
        steps.append(words.wrong_scheme(listener, request.scheme))
        return None
    if not listener.is_tls:
        return listener, listener.chains[0]
    name = matching.plain_host(request.server_name or request.host)
    name = "" if _is_address(name) else name
    found = matching.chain(listener.chains, name)
    if found is None:
        steps.append(words.no_chain(listener, name))
        return None
    steps.append(words.chosen_chain(table, found[0], name, found[1]))
    return listener, found[0]


def _is_address(name: str) -> bool:
    """SNI holds no addresses (RFC 6066, 3)."""
    try:
        canonical(name.strip("[]"))
    except ValueError:
        return False
    return True


def _certified(tls: Terminate | None, request: Request, steps: list[Step]) -> Stopped | None:
    if tls is None or tls.clients is None:
        return None
    clients = tls.clients
    steps.append(words.certified(clients, shown=request.certificate))
    if request.certificate or clients.verify is not Verify.REQUIRED:
        return None
    return Stopped(302, (("location", clients.error_page),)) if clients.error_page else Stopped(400)


def _head(door: FrontDoor, request: Request) -> tuple[Head, Setting, str]:
    """The request as it is compared; the last is why it cannot be."""
    path, _, query = request.path.partition("?")
    plain = normalise(path, door.keeps_encoded_slashes)
    head = Head(request.method, matching.plain_host(request.host), plain or path, query, _believed_headers(door, request))
    client = believed(door, request.client, head.header("x-forwarded-for") or "")
    scheme = head.header("x-forwarded-proto") or ""
    scheme = scheme if scheme in DEFAULT_PORTS else request.scheme
    port = request.to_port if scheme == request.scheme else request.port or DEFAULT_PORTS[scheme]
    setting = Setting(scheme, port, request.path, client, request.request_id)
    if plain is None:
        return head, setting, f"the path {path} hides a slash, a backslash or a NUL, or an escape that is none"
    return head, setting, "" if head.host else "it names no host"


def _believed_headers(door: FrontDoor, request: Request) -> tuple[tuple[str, str], ...]:
    """In lower case; those with an underscore are dropped, since some backends cannot tell it from a hyphen. Which scheme the
    client spoke is the connection's word, unless a trusted proxy stands before us."""
    headers = tuple((name.lower(), value) for name, value in request.headers if "_" not in name)
    trusted = door.trusted_hops or any(contains(cidr, request.client) for cidr in door.trusted_proxies)
    if trusted and any(name == "x-forwarded-proto" for name, _ in headers):
        return headers
    return (*(each for each in headers if each[0] != "x-forwarded-proto"), ("x-forwarded-proto", request.scheme))


def believed(door: FrontDoor, client: str, forwarded: str) -> str:
    """Whose address counts as the client's: that of the connection, or one that a trusted proxy has put down."""
    chain = [each.strip() for each in forwarded.split(",") if each.strip()]
    if door.trusted_hops and len(chain) >= door.trusted_hops:
        return _canonical(chain[-door.trusted_hops], client)
    while chain and any(contains(cidr, client) for cidr in door.trusted_proxies):
        before = client
        client = _canonical(chain.pop(), before)
        if client == before:
            break
    return client


def _canonical(address: str, otherwise: str) -> str:
    try:
        return canonical(address.strip("[]"))
    except ValueError:
        return otherwise


def _routed(
    table: RouteTable, members: Members, chain: Chain, head: Head, setting: Setting, told: Told, steps: list[Step]
) -> Told:
    owner = matching.virtual_host(chain.virtual_hosts, head.host)
    if owner is None:
        steps.append(words.no_host(chain.virtual_hosts, head.host))
        return structs.replace(told, status=404, steps=tuple(steps))
    host, name = owner
    steps.append(words.found_host(host, head.host, name))
    told = structs.replace(told, virtual_host=host.name)
    route = _first(host, head, steps)
    if route is None:
        steps.append(words.no_route(host, head))
        return structs.replace(told, status=404, steps=tuple(steps))
    steps.append(words.found_route(route))
    told = structs.replace(told, route=route.name, source=route.source)
    passage = passed(route.filters, head, setting)
    steps += (structs.replace(each, source=route.source) for each in passage.steps)
    told = structs.replace(told, provided=passage.provided)
    told_by_host = (("strict-transport-security", host.hsts),) if host.hsts else ()
    on_answer = changed((*told_by_host, *passage.response_headers), route.filters.response_headers, head, setting)
    if passage.stopped is not None:
        return _stopped(told, passage.stopped, steps)
    told = structs.replace(told, headers=on_answer)
    match route.action:
        case Answer() as answer:
            steps.append(words.answers(route, answer))
            return structs.replace(told, status=answer.status, body=answer.body, steps=tuple(steps))
        case Redirect() as redirect:
            place = location(redirect, route.match.path, head, setting)
            steps.append(words.redirects(route, redirect, place))
            return structs.replace(told, status=redirect.status, location=place, steps=tuple(steps))
        case Forward() as forward:
            return _forwarded(table, members, route, forward, head, setting, told, steps)


def _first(host: VirtualHost, head: Head, steps: list[Step]) -> Route | None:
    """The first route that matches. Of those before it, the nearest are told of: whose path would fit."""
    for route in host.routes:
        reason = matching.mismatch(route.match, head)
        if not reason:
            return route
        if words.is_near(route.match, head):
            steps.append(words.passed_over(route, reason))
    return None


def _stopped(told: Told, stopped: Stopped, steps: Sequence[Step]) -> Told:
    place = dict(stopped.headers).get("location", "")
    rest = tuple(each for each in stopped.headers if each[0] != "location")
    return structs.replace(told, status=stopped.status, location=place, headers=rest, steps=tuple(steps))


def _forwarded(
    table: RouteTable,
    members: Members,
    route: Route,
    forward: Forward,
    head: Head,
    setting: Setting,
    told: Told,
    steps: list[Step],
) -> Told:
    filters = route.filters
    path = rewritten(filters.rewrite, route.match.path, head.path)
    seen = Seen(
        head.method,
        filters.host or told.request.host,
        path + (f"?{head.query}" if head.query else ""),
        changed(head.headers, filters.request_headers, head, setting),
    )
    steps += words.changed(route, head, seen.host if filters.host else "", path)
    for mirror in filters.mirrors:
        to = filled(mirror.path, head, setting) if mirror.path else seen.path
        steps.append(words.mirrored(route, mirror, to))
    shares = tuple(_shares(table, forward, members))
    steps += words.shared(table, route, forward, shares)
    alive = any(each.member for each in shares)
    return structs.replace(told, status=200 if alive else 503, shares=shares, seen=seen if alive else None, steps=tuple(steps))


def _shares(table: RouteTable, forward: Forward, members: Members) -> Iterator[Share]:
    total = sum(each.weight for each in forward.to)
    for each in forward.to:
        if each.weight:
            yield from _members(table, each.cluster, each.weight / total, members)


def _members(table: RouteTable, name: str, probability: float, members: Members) -> Iterator[Share]:
    cluster = table.clusters.get(name, Cluster(name, Endpoints("")))
    where = cluster.where
    found = members.get(where.set, ()) if isinstance(where, Endpoints) else (Member(where.host, where.port),)
    for member in found:
        yield Share(name, probability / len(found), member, cluster.source)
    if not found:
        yield Share(name, probability, None, cluster.source)
