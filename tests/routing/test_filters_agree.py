"""Do simulator, real Envoy and real NGINX agree on what filters, redirects and rewrites make of a request?

One table for all: a route for each thing, by its path. Left out are paths in which they differ (docs/guides/trace.md), and
routes of which a proxy says that it lacks something.
"""

import base64
import json
from collections.abc import Iterator

import pytest
from msgspec import Struct
from tests.routing.echo import Echo
from tests.routing.proxy_lab import RealProxy, both
from tests.routing.raw_client import Reply

from mooring.routing.nginx.lacks import lacks as nginx_lacks
from mooring.routing.simulate import Request, Told, simulate
from mooring.routing.table import (
    Access,
    Action,
    Answer,
    BasicAuth,
    Chain,
    Cluster,
    Cors,
    Endpoints,
    Filters,
    Forward,
    HeaderChanges,
    Listener,
    Match,
    Member,
    PathKind,
    PathMatch,
    PathRewrite,
    RateLimit,
    Redirect,
    RegexRewrite,
    Route,
    RouteTable,
    Template,
    Terminate,
    Variable,
    VirtualHost,
    WeightedCluster,
)
from mooring.routing.xds.lacks import lacks as envoy_lacks
from mooring.testing.certificates import self_signed

TO_ECHO = Forward((WeightedCluster("echo"),))
USERS = (("ann", "{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk="),)
"""Her password is empty."""
HERE, ELSEWHERE = Access(("127.0.0.0/8",)), Access(("192.0.2.0/24",))
CORS = Cors(("https://a.org", "https://*.b.org"), ("GET", "PUT"), ("x-a",), ("x-b",), max_age=60)
CHANGES = HeaderChanges((("x-set", "1"), ("x-from", Template((Variable.CLIENT_ADDRESS,)))), (("x-more", "2"),), ("x-gone",))


def route(path: str, action: Action = TO_ECHO, kind: PathKind = PathKind.PREFIX, **filters: object) -> Route:
    return Route(path, Match(PathMatch(kind, path)), action, Filters(**filters), source=path)  # type: ignore[arg-type]


ROUTES = (
    route("/plain"),
    route("/prefix", rewrite=PathRewrite("/new/")),
    route("/stripped", rewrite=PathRewrite("/")),
    route("/whole", rewrite=PathRewrite("/all", whole=True)),
    route("/regex/(.*)", kind=PathKind.REGEX_PREFIX, rewrite=RegexRewrite("^(?:/regex/(.*))(?s:.*)$", "/x/\\1")),
    route("/host", host="inner.org"),
    route("/headers", request_headers=CHANGES),
    route("/answers", response_headers=HeaderChanges((("x-set", "1"),), (("x-more", "2"),), ("content-type",))),
    route("/here", access=HERE),
    route("/elsewhere", access=ELSEWHERE),
    route("/denied", access=Access(("127.0.0.0/8",), ("127.0.0.1/32",))),
    route("/password", basic_auth=BasicAuth("inside", USERS)),
    route("/either", basic_auth=BasicAuth("inside", USERS), access=ELSEWHERE, satisfy_any=True),
    route("/undenied", basic_auth=BasicAuth("inside", USERS), access=Access(denied=("192.0.2.0/24",)), satisfy_any=True),
    route("/both", basic_auth=BasicAuth("inside", USERS), access=HERE),
    route("/cors", cors=CORS),
    route("/anyone", cors=Cors(credentials=False)),
    route("/cors-inside", cors=CORS, basic_auth=BasicAuth("inside", USERS)),
    route("/rate", rate=RateLimit(per_second=100)),
    route("/secure", Redirect(308, "https", port=0)),
    route("/moved", Redirect(301, host="new.org")),
    route("/port", Redirect(302, port=8080)),
    route("/path", Redirect(302, path=PathRewrite("/there"))),
    route("/template", Redirect(302, url=Template(("https://x.org", Variable.REQUEST_URI)))),
    route(
        "/escaped",
        Redirect(302, url=Template(("/in?rd=", Variable.SCHEME, "://", Variable.HOST, Variable.ESCAPED_REQUEST_URI))),
    ),
    route("/teapot", Answer(418, "short and stout")),
    route("/nobody", Forward((WeightedCluster("nobody"),))),
    route("/nothing", Forward(())),
    route("/never", Forward((WeightedCluster("echo", 0),))),
)
ANN = ("Authorization", "Basic " + base64.b64encode(b"ann:").decode())
EVE = ("Authorization", "Basic " + base64.b64encode(b"ann:x").decode())
ASKS_PUT = ("Access-Control-Request-Method", "PUT")


def get(path: str, *headers: tuple[str, str], method: str = "GET", scheme: str = "http") -> Request:
    return Request("web.org", path, method, scheme, headers=headers)


REQUESTS = (
    *(get(each.name) for each in ROUTES if each.match.path.kind is PathKind.PREFIX),
    *(get(f"{each.name}/b?d=e&f=%20", scheme="https") for each in ROUTES if each.match.path.kind is PathKind.PREFIX),
    *(get(f"{path}/a/../b//c?d=e&f=/../%20") for path in ("/plain", "/prefix", "/elsewhere", "/password")),
    get("/regex/"),
    get("/regex/a/b?c"),
    *(get(f"{path}/a%3Fb%23c%25d?e") for path in ("/plain", "/prefix", "/regex", "/path", "/moved")),
    get("/plain/%20%c3%A9;x=y"),
    get("/plain/a%2fb"),
    get("/plain/a%5cb"),
    get("/prefix/"),
    get("/headers", ("X-Gone", "0"), ("X-Set", "0"), ("X-More", "1"), ("X_Odd", "0")),
    get("/headers", ("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "192.0.2.1")),
    get("/elsewhere", ("X-Forwarded-For", "192.0.2.1")),
    *(get(path, who) for path in ("/password", "/either", "/undenied", "/both") for who in (ANN, EVE)),
    *(
        get(path, ("Origin", origin), *more, method=method)
        for path in ("/cors", "/anyone", "/cors-inside")
        for origin in ("https://a.org", "https://x.b.org", "https://b.org", "https://x.y.b.org", "http://a.org")
        for method, more in (("GET", ()), ("OPTIONS", (ASKS_PUT,)), ("OPTIONS", ()))
    ),
)


class Outcome(Struct, frozen=True):
    """What both can tell of a request."""

    status: int
    location: str = ""
    path: str = ""
    host: str = ""
    sees: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


LACKS = {"envoy": envoy_lacks, "nginx": nginx_lacks}
SEEN = ("x-set", "x-from", "x-more", "x-gone", "x-forwarded-proto", "x_odd")
ANSWERED = (
    "x-set",
    "x-more",
    "www-authenticate",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-max-age",
    "vary",
)


def foreseen(told: Told) -> Outcome:
    seen, headers = told.seen, dict(told.headers)
    return Outcome(
        told.status,
        told.location,
        seen.path if seen else "",
        seen.host if seen else "",
        _chosen({name: ", ".join(v for n, v in seen.headers if n == name) for name, _ in seen.headers} if seen else {}, SEEN),
        _chosen(headers, ANSWERED),
    )


def met(reply: Reply) -> Outcome:
    echoed = json.loads(reply.body) if reply.body.startswith(b'{"port"') else None
    sees: dict[str, str] = {}
    for name, value in echoed["headers"] if echoed else ():
        sees[name] = f"{sees[name]}, {value}" if name in sees else value
    return Outcome(
        reply.status,
        reply.headers.get("location", ""),
        echoed["path"] if echoed else "",
        sees.get("host", ""),
        _chosen(sees, SEEN),
        _chosen(reply.headers, ANSWERED),
    )


def _chosen(headers: object, names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, headers[name]) for name in names if name in headers)  # type: ignore[operator, index]


class Lab(Struct):
    table: RouteTable
    proxies: dict[str, RealProxy]
    members: dict[str, tuple[Member, ...]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    hosts = (VirtualHost("web", ("web.org",), ROUTES),)
    clusters = {name: Cluster(name, Endpoints(name)) for name in ("echo", "nobody")}
    listeners = Listener("http", 80, (Chain(("*",), hosts),)), Listener("https", 443, (Chain(("*",), hosts, Terminate("c")),))
    with Echo() as echo, both(tmp_path_factory.mktemp("proxies")) as found:
        members = {"echo": (Member("127.0.0.1", echo.port(0)),), "nobody": ()}
        table = RouteTable(listeners, clusters, {"c": self_signed("web.org")})
        for each in found:
            each.serve(table, members)
        yield Lab(table, {each.name: each for each in found}, members)


@pytest.mark.parametrize("name", ["envoy", "nginx"])
def test_what_is_foreseen_is_what_is_done(lab: Lab, name: str) -> None:
    wrong = []
    lacking = {source for source, _ in LACKS[name](lab.table) if source}
    assert lacking <= {"/either", "/undenied", "/template", "/escaped"}
    for request in REQUESTS:
        told, reply = simulate(lab.table, request, lab.members), lab.proxies[name].ask(request)
        expected, got = foreseen(told), met(reply)
        if expected != got and told.route not in lacking:
            wrong.append(
                f"{request.method} {request.scheme} {request.path} {request.headers}\n  {expected}\n  {got} {reply.why}"
            )
    assert [] == wrong, "\n".join(wrong)
