"""What do an Ingress's annotations ask for? In the RouteTable's words, for the rules, hosts and backends of that Ingress alone.

Read by annotations/ (one place for the names, forms and quirks of ingress-nginx), applied by build.py. What an annotation asks
and cannot be done is a Finding, never silence.
"""

from collections.abc import Mapping

from msgspec import Struct

from mooring.model.choice import Choice
from mooring.routing.table import (
    NO_CHANGES,
    Access,
    Balance,
    BasicAuth,
    Certificate,
    ClientCertificates,
    Cluster,
    CookieAffinity,
    Cors,
    ExternalAuth,
    HashKey,
    HeaderChanges,
    Mirror,
    Policy,
    RateLimit,
    Redirect,
    Speaks,
    UpstreamTls,
)


class Canary(Struct, frozen=True, gc=False):
    """This Ingress is a second one for hosts and paths of another: header before cookie before weight.

    `header`: value `always` goes to the canary, `never` never does, any other goes on to the next rule; with `value` only that
    value, with `pattern` (a regular expression) only what matches. `cookie`: `always` and `never` likewise.
    """

    weight: int = 0
    total: int = 100
    header: str = ""
    value: str = ""
    pattern: str = ""
    cookie: str = ""


class SslRedirect(Choice):
    NO = "no"
    IF_TLS = "if the host has TLS"
    ALWAYS = "always"


class Wishes(Struct, frozen=True, gc=False):
    """Defaults are what an Ingress without annotations gets.

    `regex`: its paths are regular expressions, anchored at the beginning, in any letter case; it makes those of all Ingresses
    of the same host so. `rewrite`: the target, with $1 for groups; a path that it changes makes them so
    too.
    `refused`: a sentence why its rules must not be served as they stand (authentication that cannot be done): they answer 503.
    """

    regex: bool = False
    rewrite: str = ""
    ssl_redirect: SslRedirect = SslRedirect.IF_TLS
    app_root: str = ""
    redirect: Redirect | None = None
    www_redirect: bool = False
    aliases: tuple[str, ...] = ()
    policy: Policy = Policy(buffer_response=False)
    """ingress-nginx hands answers on as they come unless proxy-buffering says otherwise."""
    speaks: Speaks | None = None
    """None: as the Service port's appProtocol says."""
    tls: UpstreamTls | None = None
    balance: Balance = Balance.ROUND_ROBIN
    affinity: CookieAffinity | None = None
    """With `path` '' the cookie is for the rule's own path; for `/` where that is a regular expression."""
    affinity_canary_sticky: bool = True
    hash_on: tuple[HashKey, ...] = ()
    canary: Canary | None = None
    service_upstream: bool = False
    """To the Service's cluster IP, not to its endpoints."""
    passthrough: bool = False
    access: Access | None = None
    rate: RateLimit | None = None
    basic_auth: BasicAuth | None = None
    external_auth: ExternalAuth | None = None
    satisfy_any: bool = False
    cors: Cors | None = None
    clients: ClientCertificates | None = None
    host: str = ""
    request_headers: HeaderChanges = NO_CHANGES
    response_headers: HeaderChanges = NO_CHANGES
    mirror: Mirror | None = None
    error_statuses: tuple[int, ...] = ()
    default_backend: str = ""
    """A Service of the same namespace, its first port: for the error pages, and while a rule's own has no ready endpoint."""
    ssl_ciphers: str = ""
    refused: str = ""
    clusters: tuple[Cluster, ...] = ()
    """What the wishes above name and no rule does: an authentication server, a mirror."""
    certificates: Mapping[str, Certificate] = {}
    """Client certificates that `tls` names."""


PLAIN = Wishes()
