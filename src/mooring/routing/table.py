"""What must a proxy do with a request? The RouteTable: the waist between every routing API and every proxy.

Front ends (ingress/) turn API objects into this frozen value; emitters (xds/, nginx/) turn it into a proxy's configuration;
the simulator answers from it; people read it. It names nothing of Kubernetes, Envoy or NGINX. Order is decided by the front
end: virtual hosts are looked up by host (an exact name, then the longest wildcard, then `*`) and of a virtual host's routes the
first that matches wins; emitters never reorder. `source` says, for people, where in which object something was written.

Long because it is one vocabulary: who reads a route reads all its words in one place.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from mooring.model.choice import Choice

# --- What a request is matched by


class PathKind(Choice):
    """How a path is compared. The query is never part of it."""

    EXACT = "exact"
    PREFIX = "prefix"
    """By whole elements: `/foo` and `/foo/` match `/foo`, `/foo/` and `/foo/bar`, never `/foobar`; `/` matches everything."""
    STRING_PREFIX = "string prefix"
    REGEX = "regex"
    """RE2, and the whole path must match."""
    REGEX_PREFIX = "regex prefix"
    """RE2, anchored at the beginning only."""


class PathMatch(Struct, frozen=True, gc=False, cache_hash=True):
    kind: PathKind
    value: str
    ignore_case: bool = False


ANY_PATH = PathMatch(PathKind.PREFIX, "/")


class Part(Choice):
    """Which part of a request a condition looks at."""

    METHOD = "method"
    HEADER = "header"
    QUERY = "query parameter"
    COOKIE = "cookie"


class How(Choice):
    EXACT = "is"
    PREFIX = "begins with"
    REGEX = "matches"
    """RE2, whole value."""
    PRESENT = "is present"


class Condition(Struct, frozen=True, gc=False, cache_hash=True):
    """`name` in lower case for headers, '' for the method. `invert`: true of requests that do not fulfil it, or lack it."""

    part: Part
    how: How
    name: str = ""
    value: str = ""
    invert: bool = False


class Match(Struct, frozen=True, gc=False, cache_hash=True):
    """All conditions must hold."""

    path: PathMatch = ANY_PATH
    conditions: tuple[Condition, ...] = ()


# --- What becomes of it


class Variable(Choice):
    """What a template may take from the request, in NGINX's words for want of a standard."""

    SCHEME = "scheme"
    """That the client spoke: the word of a trusted proxy before us counts."""
    HOST = "host"
    """Without a port."""
    REQUEST_URI = "request_uri"
    """Path and query as the client sent them."""
    ESCAPED_REQUEST_URI = "escaped_request_uri"
    """The same, percent-encoded as a query's value."""
    URI = "uri"
    """The path alone, normalised."""
    ARGUMENTS = "args"
    """The query, without `?`."""
    METHOD = "request_method"
    CLIENT_ADDRESS = "remote_addr"
    REQUEST_ID = "request_id"


class Template(Struct, frozen=True, gc=False, cache_hash=True):
    """Text with parts of the request in it."""

    parts: tuple[str | Variable, ...]

    @property
    def is_literal(self) -> bool:
        return all(isinstance(part, str) for part in self.parts)


class RegexRewrite(Struct, frozen=True, gc=False, cache_hash=True):
    """The path becomes `substitution`, in which `\\1` is what the first group of `pattern` (RE2) matched; nothing else of the
    old path is left. The query stays."""

    pattern: str
    substitution: str
    ignore_case: bool = False


class PathRewrite(Struct, frozen=True, gc=False, cache_hash=True):
    """`prefix`: replaces the matched prefix, or with `whole` the whole path. One slash joins it to the rest."""

    value: str
    whole: bool = False


class WeightedCluster(Struct, frozen=True, gc=False, cache_hash=True):
    """`cluster` is a key of RouteTable.clusters. Weights are shares of their sum; 0 gets nothing."""

    cluster: str
    weight: int = 1


class CookieAffinity(Struct, frozen=True, gc=False, cache_hash=True):
    """The first answer's cookie names the endpoint; requests that bring it go there while the endpoint lives.

    `seconds` 0 is a session cookie. `strict`: with its endpoint gone from the ready ones the cookie still rules while the
    endpoint is known ('persistent'); else a new endpoint is chosen ('balanced').
    """

    name: str
    seconds: int = 0
    path: str = "/"
    domain: str = ""
    same_site: str = ""
    secure: bool | None = None
    """None: as the request came."""
    strict: bool = False
    change_on_failure: bool = False


class HashOn(Choice):
    SOURCE_ADDRESS = "source address"
    HEADER = "header"
    COOKIE = "cookie"
    QUERY = "query parameter"
    PATH = "path and query"
    HOST = "host"


class HashKey(Struct, frozen=True, gc=False, cache_hash=True):
    on: HashOn
    name: str = ""


class Forward(Struct, frozen=True, gc=False, cache_hash=True):
    """To one of the clusters, by weight. None, or weights that are all 0: 503.

    `hash_on`: requests that agree in all of these go to the same endpoint (consistent hashing).
    """

    to: tuple[WeightedCluster, ...]
    affinity: CookieAffinity | None = None
    hash_on: tuple[HashKey, ...] = ()


class Redirect(Struct, frozen=True, gc=False, cache_hash=True):
    """What is not given stays as in the request. `port` 0 is the scheme's own, left out. `url` replaces all, query included."""

    status: int
    scheme: str = ""
    host: str = ""
    port: int | None = None
    path: PathRewrite | None = None
    url: Template | None = None


class Answer(Struct, frozen=True, gc=False, cache_hash=True):
    """The proxy answers by itself. `because` is for people: which rule is broken, and why."""

    status: int
    body: str = ""
    content_type: str = "text/plain"
    because: str = ""


Action = Forward | Redirect | Answer

# --- What is done on the way


class HeaderChanges(Struct, frozen=True, gc=False, cache_hash=True):
    """Applied in this order: remove, set, add. Names in lower case."""

    set: tuple[tuple[str, str | Template], ...] = ()
    add: tuple[tuple[str, str | Template], ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove)


NO_CHANGES = HeaderChanges()


class Mirror(Struct, frozen=True, gc=False, cache_hash=True):
    """A copy goes there and its answer is thrown away. `percent` of requests, 0 to 100. `host` '' keeps the request's."""

    cluster: str
    percent: float = 100.0
    host: str = ""
    path: Template | None = None
    body: bool = True


class Cors(Struct, frozen=True, gc=False, cache_hash=True):
    """Fetch standard, section 3.2. `origins` are exact, `*`, or with one `*` for a subdomain label (`https://*.foo.com`).
    Preflights of these origins are answered by the proxy."""

    origins: tuple[str, ...] = ("*",)
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = True
    max_age: int = 1728000
    """Seconds."""


class Access(Struct, frozen=True, gc=False, cache_hash=True):
    """Client addresses as CIDRs; whoever is denied, or not among the allowed where there are any, gets 403."""

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()


class BasicAuth(Struct, frozen=True, gc=False):
    """RFC 7617. `users`: (name, password hash in crypt(3), {SHA} or apr1 form); never shown. Without any, nobody gets in."""

    realm: str
    users: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"BasicAuth(realm={self.realm!r}, users={tuple(name for name, _ in self.users)!r})"


class ExternalAuth(Struct, frozen=True, gc=False, cache_hash=True):
    """Another server is asked first, without the body: 2xx lets the request on, 401 and 403 are handed to the client (a 401 as
    a redirect to `sign_in` where there is one); anything else is 500.

    `take` are headers of its answer that go on to the backend; cookies it sets go to the client. `give` are headers set on the
    question. `method` '' is the request's own.
    """

    cluster: str
    host: str
    path: Template
    method: str = "GET"
    sign_in: Template | None = None
    take: tuple[str, ...] = ()
    give: tuple[tuple[str, str | Template], ...] = ()
    always_set_cookie: bool = False
    timeout: float = 5.0


class RateLimit(Struct, frozen=True, gc=False, cache_hash=True):
    """For each client address; whoever exceeds one gets `status`. 0 is no limit. A burst is `burst` times the rate."""

    per_second: int = 0
    per_minute: int = 0
    connections: int = 0
    burst: int = 5
    exempt: tuple[str, ...] = ()
    status: int = 503
    bytes_per_second: int = 0
    bytes_after: int = 0


class ErrorPages(Struct, frozen=True, gc=False, cache_hash=True):
    """Answers of these statuses are replaced by what `cluster` answers to GET `/` with the headers X-Code, X-Format,
    X-Original-URI, X-Namespace, X-Ingress-Name, X-Service-Name, X-Service-Port, X-Request-ID."""

    statuses: tuple[int, ...]
    cluster: str
    headers: tuple[tuple[str, str], ...] = ()


class Filters(Struct, frozen=True, gc=False):
    """Each at most once. Their order is one for all proxies: cors (a preflight carries no credentials), access, rate, auth,
    rewrites and headers, mirrors."""

    access: Access | None = None
    rate: RateLimit | None = None
    basic_auth: BasicAuth | None = None
    external_auth: ExternalAuth | None = None
    satisfy_any: bool = False
    """One guard is enough: an address among the allowed (not to be denied is no proof), the password, or the other server."""
    cors: Cors | None = None
    rewrite: PathRewrite | RegexRewrite | None = None
    host: str = ""
    """The Host that the backend sees; '' keeps the request's."""
    request_headers: HeaderChanges = NO_CHANGES
    response_headers: HeaderChanges = NO_CHANGES
    mirrors: tuple[Mirror, ...] = ()
    error_pages: ErrorPages | None = None


NO_FILTERS = Filters()


class RetryOn(Choice):
    CONNECT = "connecting failed"
    ERROR = "the connection broke before an answer"
    TIMEOUT = "no answer in time"
    INVALID = "the answer is no HTTP"
    STATUS = "the answer's status"


class Retry(Struct, frozen=True, gc=False, cache_hash=True):
    """`attempts` counts the first; 1 is none. Requests that are not idempotent (POST, PATCH, LOCK; RFC 9110, 9.2.2) are tried
    again only if no octet was sent, unless `non_idempotent`. `timeout`: seconds for all attempts, 0 for none."""

    attempts: int = 3
    on: tuple[RetryOn, ...] = (RetryOn.CONNECT, RetryOn.ERROR, RetryOn.TIMEOUT)
    statuses: tuple[int, ...] = ()
    non_idempotent: bool = False
    timeout: float = 0.0


class Policy(Struct, frozen=True, gc=False, cache_hash=True):
    """Times in seconds, 0 is no limit; sizes in octets, 0 is no limit.

    `read` and `send` are the longest pauses between two octets from and to the backend; `request` is for the whole exchange.
    """

    connect: float = 5.0
    read: float = 60.0
    send: float = 60.0
    request: float = 0.0
    retry: Retry = Retry()
    body: int = 1024 * 1024
    buffer_request: bool = True
    """Only where a proxy can: the body is taken in whole before the backend is asked."""
    buffer_response: bool = True
    websocket: bool = True
    access_log: bool = True
    """False: its requests are in no access log, if the proxy gets so far; those that are refused before may be."""


DEFAULT_POLICY = Policy()


class Route(Struct, frozen=True, gc=False):
    """`name` is unique in its table and shows in access logs."""

    name: str
    match: Match
    action: Action
    filters: Filters = NO_FILTERS
    policy: Policy = DEFAULT_POLICY
    source: str = ""


class VirtualHost(Struct, frozen=True, gc=False):
    """`hosts`: exact names in lower case, `*.foo.com`, or `*` for all others. A wildcard stands for one label, or with
    `many_labels` for any number. A request that no route matches is answered 404: it never falls through to another host."""

    name: str
    hosts: tuple[str, ...]
    routes: tuple[Route, ...]
    many_labels: bool = False
    hsts: str = ""
    """The value of Strict-Transport-Security (RFC 6797) on its answers, in place of the backend's; '' leaves that. Only hosts
    of TLS listeners have one."""
    source: str = ""


# --- Where it comes in


class Certificate(Struct, frozen=True, gc=False):
    """PEM; `key` is never shown. Two of the same digest are the same."""

    chain: bytes
    key: bytes
    source: str = ""

    def __repr__(self) -> str:
        return f"Certificate(source={self.source!r})"


class Verify(Choice):
    REQUIRED = "required"
    OPTIONAL = "optional"
    OPTIONAL_UNVERIFIED = "optional, unverified"


class ClientCertificates(Struct, frozen=True, gc=False):
    """Which certificates clients must show. `authorities` and `revoked` (CRLs) are PEM.

    `hand_on`: the backend gets the whole certificate. `error_page`: where a client without a good one is redirected; else 400.
    """

    authorities: bytes
    verify: Verify = Verify.REQUIRED
    depth: int = 1
    revoked: bytes = b""
    hand_on: bool = False
    error_page: str = ""
    source: str = ""


class Terminate(Struct, frozen=True, gc=False):
    """TLS ends here, with this key of RouteTable.certificates. `ciphers` '' is the front door's."""

    certificate: str
    clients: ClientCertificates | None = None
    ciphers: str = ""


class Passthrough(Struct, frozen=True, gc=False):
    """TLS goes on as it is, to this cluster."""

    cluster: str
    source: str = ""


class Chain(Struct, frozen=True, gc=False):
    """Of a TLS listener: connections that ask for one of `server_names` (as VirtualHost.hosts; `*`: all others, and none asked
    for). `virtual_hosts` is the same object in chains that share it. A plain listener has one chain, without `tls`."""

    server_names: tuple[str, ...]
    virtual_hosts: tuple[VirtualHost, ...] = ()
    tls: Terminate | Passthrough | None = None


class Listener(Struct, frozen=True, gc=False):
    """`port` is the one that clients name. With TLS, HTTP/2 and HTTP/1.1 are spoken by ALPN, HTTP/3 if the front door does."""

    name: str
    port: int
    chains: tuple[Chain, ...]

    @property
    def is_tls(self) -> bool:
        return any(chain.tls is not None for chain in self.chains)


class FrontDoor(Struct, frozen=True, gc=False):
    """What holds for everything that comes in. Sizes in octets, times in seconds."""

    trusted_hops: int = 0
    """How many proxies before this one append to X-Forwarded-For and are believed."""
    trusted_proxies: tuple[str, ...] = ()
    """CIDRs from which X-Forwarded-* are believed; without hops and proxies they are replaced."""
    proxy_protocol: bool = False
    """Every connection begins with a PROXY line (v1) or header (v2)."""
    http2: bool = True
    http3: bool = True
    header_octets: int = 60 * 1024
    header_count: int = 100
    header_timeout: float = 10.0
    """Until all of a request's head has come, the TLS handshake included."""
    body_timeout: float = 60.0
    """The longest pause within a body."""
    idle_timeout: float = 75.0
    stream_idle_timeout: float = 3600.0
    connections: int = 16384
    streams: int = 100
    """At the same time on one connection."""
    tls_minimum: str = "1.2"
    ciphers: str = (
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    )
    """Of TLS 1.2, in OpenSSL's names (Mozilla's intermediate profile); those of TLS 1.3 are not chosen."""
    access_log: bool = True
    server_header: str = ""
    """Replaces the backend's; '' leaves it."""
    keeps_encoded_slashes: bool = False
    """`%2F` and `%5C` in a path are parts of an element, matched and handed on as they are sent; else such a path is refused.
    One that would climb (routing.slashes) is refused anyway."""


# --- Where it goes


class Speaks(Choice):
    """What endpoints speak."""

    HTTP1 = "HTTP/1.1"
    HTTP2 = "HTTP/2"
    """With prior knowledge in the clear (h2c), by ALPN in TLS."""
    GRPC = "gRPC"
    """HTTP/2 whose trailers matter."""
    FASTCGI = "FastCGI"
    OPAQUE = "TCP"


class UpstreamTls(Struct, frozen=True, gc=False):
    """`name` is asked for by SNI, '' for none, and checked where `authorities` (PEM) are given. `certificate` is a key of
    RouteTable.certificates, '' for none."""

    name: str = ""
    authorities: bytes = b""
    certificate: str = ""
    depth: int = 1
    minimum: str = "1.2"
    ciphers: str = ""


class Balance(Choice):
    ROUND_ROBIN = "round robin"
    LEAST_REQUEST = "least requests"
    EWMA = "least latency"
    HASH = "consistent hash"


class Endpoints(Struct, frozen=True, gc=False, cache_hash=True):
    """The members of the set of this name, which are told apart from the table and change without it."""

    set: str


class Fixed(Struct, frozen=True, gc=False, cache_hash=True):
    """One address, or a name that is looked up again and again."""

    host: str
    port: int


class Cluster(Struct, frozen=True, gc=False):
    """Endpoints that are the same to a request."""

    name: str
    where: Endpoints | Fixed
    speaks: Speaks = Speaks.HTTP1
    tls: UpstreamTls | None = None
    balance: Balance = Balance.ROUND_ROBIN
    connect: float = 5.0
    source: str = ""


class Member(Struct, frozen=True, gc=False, order=True):
    """One endpoint of a set. `name` is for people: the pod."""

    address: str
    port: int
    name: str = msgspec.field(default="")


class RouteTable(Struct, frozen=True, gc=False):
    """The whole wish for the proxies of one front door."""

    listeners: tuple[Listener, ...] = ()
    clusters: Mapping[str, Cluster] = {}
    certificates: Mapping[str, Certificate] = {}
    front_door: FrontDoor = FrontDoor()


Members = Mapping[str, tuple[Member, ...]]
"""Endpoint sets by name, each sorted. A set that is not there is empty."""
