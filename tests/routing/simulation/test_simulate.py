"""Does the simulator find the route, and tell what becomes of the request there?"""

import base64

import pytest

from mooring.routing.simulate import CLOSED, OPAQUE, Request, Told, believed, simulate
from mooring.routing.table import (
    Access,
    Action,
    Answer,
    BasicAuth,
    Certificate,
    Chain,
    ClientCertificates,
    Cluster,
    Condition,
    Cors,
    Endpoints,
    ExternalAuth,
    Filters,
    Fixed,
    Forward,
    FrontDoor,
    HeaderChanges,
    How,
    Listener,
    Match,
    Member,
    Part,
    Passthrough,
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
    Verify,
    VirtualHost,
    WeightedCluster,
)

A1, A2, B1 = Member("10.0.0.1", 80, "a-1"), Member("10.0.0.2", 80, "a-2"), Member("10.0.1.1", 80, "b-1")
MEMBERS = {"a": (A1, A2), "b": (B1,)}
TO_A = Forward((WeightedCluster("a"),))


def route(name: str, path: str = "/", kind: PathKind = PathKind.PREFIX, *conditions: Condition, **fields: object) -> Route:
    given = {"action": Answer(200, name), **fields}
    return Route(name, Match(PathMatch(kind, path), conditions), **given)  # type: ignore[arg-type]


def table(*hosts: VirtualHost) -> RouteTable:
    clusters = {name: Cluster(name, Endpoints(name)) for name in ("a", "b", "empty")}
    clusters["far"] = Cluster("far", Fixed("db.example.org", 443))
    return RouteTable((Listener("http", 80, (Chain(("*",), hosts),)),), clusters)


def of(*routes: Route) -> RouteTable:
    return table(VirtualHost("all", ("*",), routes))


def one(action: Action = TO_A, path: str = "/", kind: PathKind = PathKind.PREFIX, **filters: object) -> RouteTable:
    return of(route("r", path, kind, action=action, filters=Filters(**filters)))  # type: ignore[arg-type]


def get(path: str = "/", host: str = "foo.com", **fields: object) -> Request:
    return Request(host, path, **fields)  # type: ignore[arg-type]


def decisions(told: Told) -> list[str]:
    return [each.decision for each in told.steps]


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        pytest.param("foo.com", "exact", id="its very name"),
        pytest.param("FOO.com:8080", "exact", id="port and letter case do not count"),
        pytest.param("foo.com.", "exact", id="nor does a final dot"),
        pytest.param("bar.foo.com", "wild", id="a wildcard covers one label"),
        pytest.param("x.bar.foo.com", "all", id="and not two"),
        pytest.param("x.y.many.com", "many", id="unless it is for many"),
        pytest.param("x.deep.many.com", "deep", id="the longest wildcard wins"),
        pytest.param("y.x.deep.many.com", "many", id="a shorter one has what the longest does not cover"),
        pytest.param(".foo.com", "all", id="an empty label is none"),
        pytest.param("other.org", "all", id="all others"),
    ],
)
def test_a_host_finds_its_virtual_host(host: str, owner: str) -> None:
    hosts = (
        VirtualHost("all", ("*",), (route("all"),)),
        VirtualHost("wild", ("*.foo.com",), (route("wild"),)),
        VirtualHost("many", ("*.many.com",), (route("many"),), many_labels=True),
        VirtualHost("deep", ("*.deep.many.com",), (route("deep"),)),
        VirtualHost("exact", ("foo.com", "www.foo.com"), (route("exact"),)),
    )
    assert simulate(table(*hosts), get(host=host)).route == owner


def test_a_request_does_not_fall_through_to_another_host() -> None:
    hosts = VirtualHost("exact", ("foo.com",), (route("r", "/a"),)), VirtualHost("all", ("*",), (route("all"),))
    told = simulate(table(*hosts), get("/b"))
    assert (told.status, told.virtual_host, told.route) == (404, "exact", "")
    assert told.steps[-1].because == "it has prefix /a"


def test_nobody_serves_the_host() -> None:
    assert simulate(table(VirtualHost("exact", ("foo.com",), ())), get(host="bar.com")).status == 404
    assert simulate(table(VirtualHost("exact", ("foo.com",), ())), get(host="")).status == 400


@pytest.mark.parametrize(
    ("kind", "value", "ignore_case", "yes", "no"),
    [
        (PathKind.EXACT, "/foo", False, ["/foo", "/foo?a=/b"], ["/foo/", "/FOO", "/"]),
        (PathKind.EXACT, "/Foo", True, ["/foo", "/FOO"], ["/foo/"]),
        (PathKind.PREFIX, "/foo", False, ["/foo", "/foo/", "/foo/bar", "/x/../foo"], ["/foobar", "/FOO"]),
        (PathKind.PREFIX, "/foo/", False, ["/foo", "/foo/", "/foo/bar"], ["/foobar"]),
        (PathKind.PREFIX, "/", False, ["/", "/a"], []),
        (PathKind.STRING_PREFIX, "/foo", False, ["/foo", "/foobar"], ["/fo"]),
        (PathKind.REGEX, "/a/[0-9]+", False, ["/a/12"], ["/a/12/", "/b/a/12"]),
        (PathKind.REGEX_PREFIX, "/a/[0-9]+", True, ["/A/12", "/a/12/x"], ["/b/a/12"]),
    ],
)
def test_paths_match(kind: PathKind, value: str, ignore_case: bool, yes: list[str], no: list[str]) -> None:
    only = Route("r", Match(PathMatch(kind, value, ignore_case)), Answer(200))
    assert [simulate(of(only), get(each)).status for each in (*yes, *no)] == [200] * len(yes) + [404] * len(no)


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        (Condition(Part.METHOD, How.EXACT, value="PUT"), get(method="PUT"), get()),
        (
            Condition(Part.HEADER, How.EXACT, "x-a", "1"),
            get(headers=(("X-A", "1"),)),
            get(headers=(("X-A", "1"), ("x-a", "2"))),
        ),
        (Condition(Part.HEADER, How.PRESENT, "x-a"), get(headers=(("X-A", ""),)), get()),
        (Condition(Part.HEADER, How.PRESENT, "x-a", invert=True), get(), get(headers=(("X-A", ""),))),
        (Condition(Part.HEADER, How.EXACT, "x-a", "1", invert=True), get(), get(headers=(("X-A", "1"),))),
        (Condition(Part.QUERY, How.PREFIX, "q", "a b"), get("/?x=1&q=a%20bc"), get("/?q=b&q=a%20bc")),
        (
            Condition(Part.COOKIE, How.REGEX, "c", "a+"),
            get(headers=(("Cookie", "b=1; c=aa"),)),
            get(headers=(("Cookie", "c=aab"),)),
        ),
    ],
)
def test_conditions_hold(condition: Condition, yes: Request, no: Request) -> None:
    only = of(route("r", "/", PathKind.PREFIX, condition))
    assert [simulate(only, each).status for each in (yes, no)] == [200, 404]


def test_the_first_route_that_matches_wins_and_those_before_it_are_told() -> None:
    canary = route(
        "canary", "/", PathKind.PREFIX, Condition(Part.HEADER, How.EXACT, "x-canary", "always"), source="ingress a/b"
    )
    told = simulate(of(canary, route("other", "/x"), route("main")), get())
    assert (told.route, told.body) == ("main", "main")
    assert [each for each in told.steps if each.decision == "not route canary"] == [told.steps[2]]
    assert told.steps[2].because == "it asks that header x-canary is always, and the request has none"
    assert told.steps[2].source == "ingress a/b"


def test_weights_and_endpoints_are_shares() -> None:
    told = simulate(one(Forward((WeightedCluster("a", 3), WeightedCluster("b", 1), WeightedCluster("far", 0)))), get(), MEMBERS)
    assert [(each.member, each.probability) for each in told.shares] == [(A1, 0.375), (A2, 0.375), (B1, 0.25)]
    assert told.status == 200


@pytest.mark.parametrize(
    "to",
    [
        pytest.param((), id="no backend"),
        pytest.param((WeightedCluster("a", 0),), id="no weight"),
        pytest.param((WeightedCluster("empty"),), id="no endpoint"),
        pytest.param((WeightedCluster("unknown"),), id="no such cluster"),
    ],
)
def test_nobody_to_forward_to_is_503(to: tuple[WeightedCluster, ...]) -> None:
    told = simulate(one(Forward(to)), get(), MEMBERS)
    assert (told.status, told.seen) == (503, None)


def test_a_part_of_the_requests_may_meet_an_empty_backend() -> None:
    told = simulate(one(Forward((WeightedCluster("empty"), WeightedCluster("far")))), get(), MEMBERS)
    assert [(each.member, each.probability) for each in told.shares] == [(None, 0.5), (Member("db.example.org", 443), 0.5)]
    assert told.status == 200


@pytest.mark.parametrize(
    ("redirect", "request_", "expected"),
    [
        pytest.param(Redirect(308, "https"), get("/a?b=c"), "https://foo.com/a?b=c", id="to https"),
        pytest.param(Redirect(301, host="x.org"), get("/a"), "http://x.org/a", id="to a host"),
        pytest.param(Redirect(301, port=8080), get("/a"), "http://foo.com:8080/a", id="to a port"),
        pytest.param(Redirect(301, "https", port=443), get("/"), "https://foo.com/", id="the scheme's own port is left out"),
        pytest.param(
            Redirect(302, path=PathRewrite("/new")), get("/old/x?y"), "http://foo.com/new/x?y", id="to a prefix, with the query"
        ),
        pytest.param(Redirect(302, path=PathRewrite("/new", whole=True)), get("/old/x"), "http://foo.com/new", id="to a path"),
        pytest.param(
            Redirect(302, url=Template(("https://x.org", Variable.REQUEST_URI))),
            get("/old//x?y"),
            "https://x.org/old//x?y",
            id="to a URL with what was asked for",
        ),
        pytest.param(
            Redirect(302, url=Template(("/in?rd=", Variable.SCHEME, "://", Variable.HOST, Variable.ESCAPED_REQUEST_URI))),
            get("/old?y=1"),
            "/in?rd=http://foo.com%2Fold%3Fy%3D1",
            id="to a URL with an escaped part",
        ),
    ],
)
def test_redirects_say_where_exactly(redirect: Redirect, request_: Request, expected: str) -> None:
    told = simulate(one(redirect, "/old" if redirect.path else "/"), request_)
    assert (told.status, told.location) == (redirect.status, expected)


@pytest.mark.parametrize(
    ("path", "filters", "sent", "seen"),
    [
        pytest.param("/", {}, "/a/../b?q=%2f", "/b?q=%2f", id="nothing but made plain"),
        pytest.param("/a", {"rewrite": PathRewrite("/x/")}, "/a/b?q", "/x/b?q", id="a prefix"),
        pytest.param("/a/", {"rewrite": PathRewrite("/x")}, "/a", "/x", id="a prefix without its slash"),
        pytest.param("/a", {"rewrite": PathRewrite("/x", whole=True)}, "/a/b?q", "/x?q", id="the whole path"),
        pytest.param("/", {"rewrite": RegexRewrite("^/a/(.*)/(c)?", r"/\2/\1", True)}, "/A/b/d", "//b", id="groups, one empty"),
        pytest.param("/", {"rewrite": RegexRewrite("^/x/(.*)", r"/\1")}, "/a", "/a", id="no match, no rewrite"),
    ],
)
def test_the_backend_sees_the_rewritten_path(path: str, filters: dict[str, object], sent: str, seen: str) -> None:
    told = simulate(one(path=path, **filters), get(sent), MEMBERS)
    assert told.seen is not None
    assert told.seen.path == seen


def test_the_backend_sees_changed_headers_and_host() -> None:
    changes = HeaderChanges((("x-a", Template((Variable.CLIENT_ADDRESS,))),), (("x-b", "2"),), ("x-c",))
    told = simulate(
        one(request_headers=changes, host="inner"), get(headers=(("X-A", "0"), ("X-B", "1"), ("X-C", "3"))), MEMBERS
    )
    assert told.seen is not None
    assert told.seen.headers == (("x-b", "1"), ("x-forwarded-proto", "http"), ("x-a", "127.0.0.1"), ("x-b", "2"))
    assert told.seen.host == "inner"


def basic(user: str, password: str) -> tuple[tuple[str, str], ...]:
    return (("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()),)


AUTH = BasicAuth("inside", (("ann", "{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk="), ("bob", "$2y$05$unknown-form")))
"""ann's password is empty."""
LOCAL, ELSEWHERE = Access(("127.0.0.0/8",)), Access(("192.0.2.0/24",))
OTHER = ExternalAuth("auth", "auth.org", Template(("/ask?", Variable.ARGUMENTS)))


@pytest.mark.parametrize(
    ("filters", "request_", "status"),
    [
        pytest.param({"access": LOCAL}, get(), 200, id="an allowed address"),
        pytest.param({"access": ELSEWHERE}, get(), 403, id="an address that is not allowed"),
        pytest.param({"access": Access(denied=("127.0.0.0/8",))}, get(), 403, id="a denied address"),
        pytest.param({"access": Access(("127.0.0.0/8",), ("127.0.0.1/32",))}, get(), 403, id="denied although allowed"),
        pytest.param({"basic_auth": AUTH}, get(), 401, id="no password"),
        pytest.param({"basic_auth": AUTH}, get(headers=basic("ann", "x")), 401, id="a wrong password"),
        pytest.param({"basic_auth": AUTH}, get(headers=basic("eve", "")), 401, id="a stranger"),
        pytest.param({"basic_auth": AUTH}, get(headers=basic("ann", "")), 200, id="the right password"),
        pytest.param({"basic_auth": AUTH, "access": ELSEWHERE}, get(headers=basic("ann", "")), 403, id="both are needed"),
        pytest.param(
            {"basic_auth": AUTH, "access": ELSEWHERE, "satisfy_any": True}, get(headers=basic("ann", "")), 200, id="one will do"
        ),
        pytest.param({"basic_auth": AUTH, "access": LOCAL, "satisfy_any": True}, get(), 200, id="the other will do"),
        pytest.param({"basic_auth": AUTH, "access": ELSEWHERE, "satisfy_any": True}, get(), 401, id="neither is there"),
        pytest.param(
            {"basic_auth": AUTH, "access": Access(denied=("192.0.2.0/24",)), "satisfy_any": True},
            get(),
            401,
            id="not denied is not allowed",
        ),
        pytest.param({"basic_auth": AUTH, "external_auth": OTHER}, get(), 401, id="a password and another server"),
        pytest.param({"basic_auth": AUTH, "external_auth": OTHER, "satisfy_any": True}, get(), 200, id="or another server"),
        pytest.param(
            {"cors": Cors()},
            get(method="OPTIONS", headers=(("Origin", "https://a.org"), ("Access-Control-Request-Method", "PUT"))),
            204,
            id="a preflight",
        ),
        pytest.param({"cors": Cors()}, get(method="OPTIONS", headers=(("Origin", "https://a.org"),)), 200, id="no preflight"),
    ],
)
def test_filters_stop_requests(filters: dict[str, object], request_: Request, status: int) -> None:
    assert simulate(one(**filters), request_, MEMBERS).status == status


def test_what_is_not_known_is_said() -> None:
    rate = RateLimit(per_second=5, exempt=("10.0.0.0/8",))
    told = simulate(one(rate=rate, external_auth=OTHER, basic_auth=AUTH), get("/?a=b", headers=basic("bob", "x")), MEMBERS)
    assert told.provided == (
        "127.0.0.1 has not exceeded 5 requests a second",
        "the password is bob's",
        "auth answers 2xx to GET auth.org/ask?a=b",
    )
    assert simulate(one(rate=rate), get(client="10.1.1.1"), MEMBERS).provided == ()


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (("*",), "https://a.org", "https://a.org"),
        (("https://a.org",), "https://a.org", "https://a.org"),
        (("https://a.org",), "https://b.org", None),
        (("https://*.a.org",), "https://x.a.org", "https://x.a.org"),
        (("https://*.a.org",), "https://.a.org", None),
        (("https://*.a.org",), "https://a.org", None),
    ],
)
def test_cors_names_the_origin(origins: tuple[str, ...], origin: str, allowed: str | None) -> None:
    told = simulate(one(cors=Cors(origins)), get(headers=(("Origin", origin),)), MEMBERS)
    assert dict(told.headers).get("access-control-allow-origin") == allowed


CHAINS = (
    Chain(("foo.com",), (VirtualHost("foo", ("foo.com",), (route("foo"),)),), Terminate("foo")),
    Chain(("*.bar.com",), (VirtualHost("bar", ("*.bar.com",), (route("bar"),)),), Terminate("bar", ClientCertificates(b"ca"))),
    Chain(("raw.com",), (), Passthrough("b")),
    Chain(("gone.com",), (), Passthrough("empty")),
)
DEFAULT = Chain(("*",), (VirtualHost("all", ("*",), (route("all"),)),), Terminate("foo"))
TLS = RouteTable(
    (Listener("https", 443, CHAINS),),
    {"b": Cluster("b", Endpoints("b")), "empty": Cluster("empty", Endpoints("empty"))},
    {"foo": Certificate(b"", b"", "secret default/foo")},
)
WITH_DEFAULT = RouteTable((Listener("https", 443, (*CHAINS, DEFAULT)),), TLS.clusters, TLS.certificates)


def secure(host: str, **fields: object) -> Request:
    return Request(host, scheme="https", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wish", "request_", "status", "owner"),
    [
        pytest.param(TLS, secure("foo.com"), 200, "foo", id="its very name"),
        pytest.param(TLS, secure("x.bar.com", certificate=True), 200, "bar", id="a wildcard, with a certificate"),
        pytest.param(TLS, secure("x.bar.com"), 400, "", id="without one"),
        pytest.param(TLS, secure("y.x.bar.com"), CLOSED, "", id="two labels are not covered"),
        pytest.param(TLS, secure("foo.com", server_name="x.org"), CLOSED, "", id="no chain, no connection"),
        pytest.param(TLS, secure("10.0.0.1"), CLOSED, "", id="SNI holds no address"),
        pytest.param(WITH_DEFAULT, secure("10.0.0.1"), 200, "all", id="the default has it"),
        pytest.param(TLS, secure("bar.com", server_name="foo.com"), 404, "", id="the host is looked up in the chain"),
        pytest.param(TLS, secure("raw.com"), OPAQUE, "", id="passed through"),
        pytest.param(TLS, secure("gone.com"), CLOSED, "", id="passed through to nobody"),
        pytest.param(TLS, Request("foo.com"), CLOSED, "", id="nobody listens"),
        pytest.param(TLS, Request("foo.com", port=443), CLOSED, "", id="plain to a TLS port"),
        pytest.param(of(route("r")), secure("foo.com", port=80), CLOSED, "", id="TLS to a plain port"),
    ],
)
def test_tls_is_ended_by_name(wish: RouteTable, request_: Request, status: int, owner: str) -> None:
    told = simulate(wish, request_, MEMBERS)
    assert (told.status, told.virtual_host) == (status, owner)


@pytest.mark.parametrize(
    ("clients", "status", "location"),
    [
        (ClientCertificates(b"ca", Verify.OPTIONAL), 200, ""),
        (ClientCertificates(b"ca", error_page="https://help.org/"), 302, "https://help.org/"),
    ],
)
def test_clients_without_a_certificate(clients: ClientCertificates, status: int, location: str) -> None:
    chain = Chain(("*",), (VirtualHost("all", ("*",), (route("all"),)),), Terminate("foo", clients))
    told = simulate(RouteTable((Listener("https", 443, (chain,)),)), secure("foo.com"))
    assert (told.status, told.location) == (status, location)


@pytest.mark.parametrize(
    ("door", "forwarded", "expected"),
    [
        (FrontDoor(), "1.1.1.1", "10.0.0.9"),
        (FrontDoor(trusted_hops=1), "1.1.1.1, 2.2.2.2", "2.2.2.2"),
        (FrontDoor(trusted_hops=2), "1.1.1.1, 2.2.2.2", "1.1.1.1"),
        (FrontDoor(trusted_hops=2), "2.2.2.2", "10.0.0.9"),
        (FrontDoor(trusted_proxies=("10.0.0.0/8",)), "1.1.1.1, 2.2.2.2, 10.0.0.1", "2.2.2.2"),
        (FrontDoor(trusted_proxies=("10.0.0.0/8",)), "", "10.0.0.9"),
        (FrontDoor(trusted_proxies=("10.0.0.0/8",)), "nonsense", "10.0.0.9"),
        (FrontDoor(trusted_proxies=("11.0.0.0/8",)), "1.1.1.1", "10.0.0.9"),
    ],
)
def test_whose_address_counts(door: FrontDoor, forwarded: str, expected: str) -> None:
    assert believed(door, "10.0.0.9", forwarded) == expected


def test_every_decision_has_a_reason() -> None:
    told = simulate(one(rate=RateLimit(per_second=1), access=LOCAL, cors=Cors()), get(), MEMBERS)
    assert decisions(told) == [
        "listener http takes it",
        "virtual host all",
        "route r",
        "the client may come in",
        "within 1 requests a second, else 503",
        "to a, one of its 2 endpoints",
    ]
    assert all(each.because for each in told.steps)
