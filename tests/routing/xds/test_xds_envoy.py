"""Does a real Envoy do what a RouteTable asks of it, filter by filter?"""

import base64
import contextlib
import http.client
import socket
from collections.abc import Callable, Iterator, Mapping
from time import monotonic, sleep

import pytest
from msgspec import structs
from tests.routing.proxy_lab import Loop, RealProxy, envoy
from tests.routing.raw_client import Reply
from tests.routing.xds.scripted import Said, Scripted, Seen
from tests.routing.xds.xds_tables import HOST, route, table

from mooring.routing.table import (
    Access,
    Answer,
    BasicAuth,
    Chain,
    Cluster,
    Condition,
    CookieAffinity,
    Cors,
    Endpoints,
    ErrorPages,
    ExternalAuth,
    Filters,
    Forward,
    FrontDoor,
    HeaderChanges,
    How,
    Listener,
    Member,
    Mirror,
    Part,
    PathKind,
    PathMatch,
    PathRewrite,
    Policy,
    RateLimit,
    Redirect,
    RegexRewrite,
    Retry,
    Route,
    Template,
    Variable,
    VirtualHost,
    WeightedCluster,
)
from mooring.routing.table import Match as RouteMatch
from mooring.testing.ports import free_port

SHA = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="
"""Of 'password'."""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProxy]:
    with Loop() as loop, envoy(loop, tmp_path_factory.mktemp("envoy")) as found:
        yield found


@pytest.fixture(scope="module")
def echo() -> Iterator[Scripted]:
    with Scripted() as found:
        yield found


class Asked:
    """A proxy that serves these routes, and what it hands on to the backend `echo`."""

    def __init__(self, proxy: RealProxy, echo: Scripted) -> None:
        self.proxy, self.echo = proxy, echo

    def serve(
        self,
        *routes: Route,
        front_door: FrontDoor | None = None,
        hosts: tuple[VirtualHost, ...] = (),
        **others: Scripted | tuple[Member, ...],
    ) -> None:
        """`hosts` are all that there are, if any."""
        members = {name: (each.member,) if isinstance(each, Scripted) else each for name, each in others.items()}
        members = {"echo": (self.echo.member,), **members}
        clusters = {name: Cluster(name, Endpoints(name)) for name in members}
        wish = table(*routes, clusters=clusters, front_door=front_door)
        if hosts:
            wish = structs.replace(wish, listeners=(Listener("http", 80, (Chain(("*",), hosts),)),))
        self.proxy.serve(wish, members)

    def ask(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        body: bytes | None = None,
        host: str = HOST,
    ) -> Reply:
        """A body is sent with its length, unless the headers say that it is chunked."""
        self.echo.seen.clear()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.proxy.ports[80], timeout=60)) as connection:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            sent = {"Host": host, **(headers or {})}
            if body is not None and "Transfer-Encoding" not in sent:
                sent["Content-Length"] = str(len(body))
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    @property
    def seen(self) -> Seen:
        return self.echo.seen[-1]


@pytest.fixture
def asked(proxy: RealProxy, echo: Scripted) -> Asked:
    return Asked(proxy, echo)


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


V = Variable
REDIRECTS = [
    (Redirect(308, scheme="https", port=0), "/r/x?q=1", f"{HOST}:8080", 308, f"https://{HOST}/r/x?q=1"),
    (Redirect(301, scheme="https"), "/r/x?q=1", HOST, 301, f"https://{HOST}/r/x?q=1"),
    (Redirect(302, host="b.test", path=PathRewrite("/n")), "/r/x?q=1", HOST, 302, "http://b.test/n/x?q=1"),
    (Redirect(303, scheme="https", port=0, path=PathRewrite("/n")), "/r", HOST, 303, f"https://{HOST}/n"),
    (Redirect(302, path=PathRewrite("/n", whole=True)), "/r/x?q=1", HOST, 302, f"http://{HOST}/n?q=1"),
    (Redirect(307, scheme="https", port=8443), "/r", HOST, 307, f"https://{HOST}:8443/r"),
    (
        Redirect(302, url=Template(("https://sso/", V.HOST, "?rd=", V.ESCAPED_REQUEST_URI, "&", V.ARGUMENTS, V.URI, V.SCHEME))),
        "/r/a?b=c",
        f"{HOST}:99",
        302,
        f"https://sso/{HOST}?rd=%2Fr%2Fa%3Fb%3Dc&b=c/r/ahttp",
    ),
    (Redirect(302, url=Template((V.METHOD, " ", V.CLIENT_ADDRESS, V.REQUEST_URI))), "/r?b", HOST, 302, "GET 127.0.0.1/r?b"),
]


@pytest.mark.parametrize(("redirect", "path", "host", "status", "location"), REDIRECTS, ids=[each[4] for each in REDIRECTS])
def test_redirects(asked: Asked, redirect: Redirect, path: str, host: str, status: int, location: str) -> None:
    asked.serve(route("/r", redirect))
    reply = asked.ask(path, host=host)
    assert (status, location) == (reply.status, reply.headers.get("location"))


REWRITES = [
    (PathRewrite("/n"), "/r", PathKind.PREFIX, {"/r": "/n", "/r/": "/n/", "/r/x?q": "/n/x?q"}),
    (PathRewrite("/"), "/r", PathKind.PREFIX, {"/r": "/", "/r/x": "/x"}),
    (PathRewrite("/n"), "/", PathKind.PREFIX, {"/": "/n/", "/x": "/n/x"}),
    (PathRewrite("/n\\", whole=True), "/r", PathKind.PREFIX, {"/r/x?q": "/n\\?q"}),
    (RegexRewrite("^/r/([^/]*)/?(.*)", r"/\2-\1"), "/r/.*", PathKind.REGEX, {"/r/a/b/c": "/b/c-a"}),
    (RegexRewrite("(/|$)(.*)", r"/new/\2", True), "/R", PathKind.PREFIX, {"/R/x": "/new/R/x"}),
]


@pytest.mark.parametrize(("rewrite", "path", "kind", "expected"), REWRITES)
def test_rewrites(
    asked: Asked, rewrite: PathRewrite | RegexRewrite, path: str, kind: PathKind, expected: Mapping[str, str]
) -> None:
    asked.serve(route(path, filters=Filters(rewrite=rewrite, host="up.test"), match=RouteMatch(PathMatch(kind, path))))
    found = {}
    for each in expected:
        asked.ask(each)
        found[each] = asked.seen.path
    assert (expected, "up.test") == (found, asked.seen.headers["host"])


@pytest.mark.parametrize(
    ("filters", "body", "expected"),
    [
        pytest.param(True, b"x" * 10, 200, id="whole, within"),
        pytest.param(True, b"x" * 11, 413, id="whole, beyond"),
        pytest.param(True, None, 413, id="whole, beyond and of no declared length"),
        pytest.param(False, b"x" * 10, 200, id="declared, within"),
        pytest.param(False, b"x" * 11, 413, id="declared, beyond"),
    ],
)
def test_bodies_are_measured(asked: Asked, filters: bool, body: bytes | None, expected: int) -> None:
    asked.serve(route("/", policy=Policy(body=10, buffer_request=filters)))
    if body is None:
        assert expected == asked.ask("/", {"Transfer-Encoding": "chunked"}, "POST", chunked(b"x" * 11)).status
    else:
        assert expected == asked.ask("/", method="POST", body=body).status


def test_the_usual_limit_of_a_body_holds_where_nothing_is_said(asked: Asked) -> None:
    asked.serve(route("/"))
    assert (200, 413) == tuple(asked.ask("/", method="POST", body=b"x" * size).status for size in (1024**2, 1024**2 + 1))


def test_addresses_are_kept_out(asked: Asked) -> None:
    asked.serve(
        route("/denied", filters=Filters(access=Access(denied=("127.0.0.0/8",)))),
        route("/allowed", filters=Filters(access=Access(allowed=("127.0.0.1", "10.0.0.0/8")))),
        route("/others", filters=Filters(access=Access(allowed=("10.0.0.0/8", "fd00::/8")))),
        route("/both", filters=Filters(access=Access(allowed=("127.0.0.0/8",), denied=("127.0.0.1",)))),
    )
    assert [403, 200, 403, 403] == [asked.ask(path).status for path in ("/denied", "/allowed", "/others", "/both")]


def test_each_client_has_a_rate_of_its_own(asked: Asked) -> None:
    rate = RateLimit(per_second=100, per_minute=1, burst=3, status=429, exempt=("192.0.2.8/30", "fd00::1"))
    asked.serve(route("/free"), route("/", filters=Filters(rate=rate)), front_door=FrontDoor(trusted_hops=1))
    claim = {"X-Forwarded-For": "192.0.2.1"}
    wait_for(lambda: asked.ask("/free", claim).status == 200 and asked.seen.headers["x-real-ip"] == "192.0.2.1")
    found = {
        client: [asked.ask("/", {"X-Forwarded-For": client}).status for _ in range(4)]
        for client in ("192.0.2.1", "192.0.2.2", "192.0.2.9", "fd00::1", "fd00::2")
    }
    limited, free = [200, 200, 200, 429], [200] * 4
    assert {"192.0.2.1": limited, "192.0.2.2": limited, "192.0.2.9": free, "fd00::1": free, "fd00::2": limited} == found


@pytest.mark.parametrize(
    ("users", "password", "expected"),
    [
        pytest.param((("u", SHA),), "u:password", 200, id="right"),
        pytest.param((("u", SHA),), "u:wrong", 401, id="wrong"),
        pytest.param((("u", SHA),), None, 401, id="none"),
        pytest.param((), "nobody:nobody", 401, id="nobody may come in"),
        pytest.param((("u", "$2y$10$abc"),), "u:password", 503, id="a form that Envoy cannot check"),
        pytest.param((("v", "$2y$10$abc"), ("u", SHA)), "u:password", 200, id="one of two forms"),
    ],
)
def test_passwords(asked: Asked, users: tuple[tuple[str, str], ...], password: str | None, expected: int) -> None:
    asked.serve(route("/", filters=Filters(basic_auth=BasicAuth('my "realm"', users))))
    headers = {} if password is None else {"Authorization": "Basic " + base64.b64encode(password.encode()).decode()}
    reply = asked.ask("/", headers)
    assert expected == reply.status
    assert expected != 401 or reply.headers["www-authenticate"] == 'Basic realm="my realm"'


HASHES = {
    1: ("$apr1$s1$oiZyrDWaJfL.R9DuIQ7gi/", "$1$s1$81C0gq40t6SoxxS5JnMud0"),
    15: ("$apr1$s15$systMXFZohV8BLZmLGYqF/", "$1$s15$HWcP1ssjvlaakw5F0AAOc/"),
    16: ("$apr1$s16$nUTs69nCGBeHXfPvYq/gg1", "$1$s16$jarWWUkcjxnguOXpAMJtX0"),
    17: ("$apr1$s17$d7mdkuxYkztlBWUfLSY2R1", "$1$s17$XiTgzcU.z/fO37BIt3lKo."),
    55: ("$apr1$s55$VfK.JQeNaltf2yhTcgPyt0", "$1$s55$MmQSwpOMZ1x0a/QN8zUh40"),
    56: ("$apr1$s56$rmNOMoHZQWcQWapNwZN04/", "$1$s56$ieqM/pP5kHD5NKTgeZYvR/"),
    64: ("$apr1$s64$fefYMYnRxzeRrsHkJ0JJP.", "$1$s64$fCVL391ppoe8ZWI3k25jW/"),
    200: ("$apr1$s200$2ogL4HHvZL7rzMHKHDpkb.", "$1$s200$GVwrWK6LjFBJ9YupyY0FU0"),
}
"""Of so many times `x`, by `openssl passwd`."""


def test_passwords_as_htpasswd_makes_them(asked: Asked) -> None:
    """Beside one in {SHA}. A good one is remembered, a bad one is computed each time."""
    users = [(f"{form}{length}", each) for length, both in HASHES.items() for form, each in zip("ab", both, strict=True)]
    asked.serve(route("/", filters=Filters(basic_auth=BasicAuth("Shop", (*users, ("sha", SHA))))))
    rows = [(f"{name}:{'x' * int(name[1:])}", 200) for name, _ in users] + [("sha:password", 200)]
    wrong = ("a16:" + "x" * 15, "a16:", "b1:y", "sha:x", "nobody:x", "a16", "", ":", "a16:" + "x" * 5000)
    for said, status in [*rows, *rows[:2], *((each, 401) for each in wrong)]:
        reply = asked.ask("/", {"Authorization": "Basic " + base64.b64encode(said.encode()).decode()})
        assert status == reply.status, said[:20]
        assert status == 200 or reply.headers["www-authenticate"] == 'Basic realm="Shop"'
    for value in ("Basic", "Basic ", "Basic !", "Bearer YTE2Ong=", "Basic YTE2Ong= YTE2Ong="):
        assert 401 == asked.ask("/", {"Authorization": value}).status, value
    assert 401 == asked.ask("/").status


def judge(seen: Seen) -> Said:
    status = {"yes": 200, "no": 403}.get(seen.headers.get("x-token", ""), 401)
    told = (("X-User", "jo"), ("Set-Cookie", "a=1"), ("WWW-Authenticate", "Custom")) if status != 403 else ()
    return Said(status, told, b"judged")


SIGN_IN = Template(("https://sso/?rd=", V.ESCAPED_REQUEST_URI))


def auth(sign_in: Template | None = None, cluster: str = "judge", always: bool = False) -> Filters:
    path = Template(("/check?", V.ARGUMENTS))
    wish = ExternalAuth(
        cluster, "auth.test", path, "GET", sign_in, ("x-user", "x-absent"), (("x-given", Template((V.METHOD,))),), always
    )
    return Filters(external_auth=wish)


def test_a_password_as_htpasswd_makes_it_is_asked_for_before_another_server_is(asked: Asked) -> None:
    with Scripted(judge) as other:
        both = Filters(basic_auth=BasicAuth("Shop", (("a", HASHES[1][0]),)), external_auth=auth().external_auth)
        asked.serve(route("/", filters=both), judge=other)
        right = {"Authorization": "Basic " + base64.b64encode(b"a:x").decode()}
        rows = ({}, {"X-Token": "yes"}, right, {**right, "X-Token": "yes"})
        assert [401, 401, 401, 200] == [asked.ask("/", headers).status for headers in rows]
        assert 2 == len(other.seen)


def test_another_server_is_asked_first(asked: Asked) -> None:
    with Scripted(judge) as other:
        asked.serve(
            route("/signed", filters=auth(SIGN_IN)),
            route("/plain", filters=auth()),
            route("/gone", filters=auth(cluster="gone")),
            route("/nowhere", filters=auth(cluster="unknown")),
            judge=other,
            gone=(Member("127.0.0.1", 1),),
        )
        headers = {"X-Token": "yes", "X-Absent": "spoof", "X-User": "spoof"}
        reply = asked.ask("/plain?a=b", headers, "POST", b"body")
        question = other.seen[-1]
        assert (200, "a=1") == (reply.status, reply.headers["set-cookie"])
        assert ("jo", None, b"body") == (asked.seen.headers["x-user"], asked.seen.headers.get("x-absent"), asked.seen.body)
        assert ("GET", "/check?a=b", b"", "auth.test", "POST") == (
            question.method,
            question.path,
            question.body,
            question.headers["host"],
            question.headers["x-given"],
        )
        assert (f"http://{HOST}/plain?a=b", "POST") == (
            question.headers["x-original-url"],
            question.headers["x-original-method"],
        )
        refused = asked.ask("/plain")
        assert (401, "Custom", b"judged", []) == (
            refused.status,
            refused.headers["www-authenticate"],
            refused.body,
            asked.echo.seen,
        )
        assert 403 == asked.ask("/plain", {"X-Token": "no"}).status
        assert (302, "https://sso/?rd=%2Fsigned%2Fx") == (
            (reply := asked.ask("/signed/x")).status,
            reply.headers["location"],
        )
        assert 403 == asked.ask("/signed", {"X-Token": "no"}).status
        assert [500, 500] == [asked.ask(path, {"X-Token": "yes"}).status for path in ("/gone", "/nowhere")]
        assert [] == asked.echo.seen


def test_another_server_does_not_lead_to_another_route(asked: Asked) -> None:
    """Whatever is taken from its answer: nobody would have asked that route's guards."""
    judged = Filters(external_auth=structs.replace(auth().external_auth, take=("host", "x-user")))
    secret = Filters(access=Access(denied=("127.0.0.0/8",)), response_headers=HeaderChanges(set=(("x-secret", "told"),)))
    of_jo = RouteMatch(PathMatch(PathKind.PREFIX, "/"), (Condition(Part.HEADER, How.EXACT, "x-user", "jo"),))
    hosts = (
        VirtualHost("a", (HOST,), (route("/jo", Answer(418), match=of_jo), route("/", filters=judged))),
        VirtualHost("b", ("b.test",), (route("/b", filters=secret, match=RouteMatch()),)),
    )
    with Scripted(lambda seen: Said(200, (("Host", "b.test"), ("X-User", "jo")))) as other:
        asked.serve(judge=other, hosts=hosts)
        assert 403 == asked.ask("/", host="b.test").status
        reply = asked.ask("/")
        assert (200, None) == (reply.status, reply.headers.get("x-secret"))


def test_an_address_may_be_enough(asked: Asked) -> None:
    def either(*allowed: str) -> Filters:
        access = Access(allowed, denied=("192.0.2.1",))
        return Filters(external_auth=auth().external_auth, access=access, satisfy_any=True)

    with Scripted(judge) as other:
        routes = [route("/near", filters=either("127.0.0.1")), route("/far", filters=either("10.0.0.0/8"))]
        asked.serve(*routes, route("/undenied", filters=either()), judge=other)
        good = {"X-Token": "yes"}
        found = {path: [asked.ask(path).status, asked.ask(path, good).status] for path in ("/near", "/far", "/undenied")}
        assert {"/near": [200, 200], "/far": [401, 200], "/undenied": [401, 200]} == found


def test_preflights_are_answered_before_anything_is_asked(asked: Asked) -> None:
    cors = Cors(("https://*.b.test", "https://c.test"), ("GET", "PUT"), ("x-h",), ("x-e",), max_age=7)
    asked.serve(route("/", filters=Filters(cors=cors, access=Access(denied=("127.0.0.1",)))), route("/", filters=Filters()))
    preflight = {"Origin": "https://x.b.test", "Access-Control-Request-Method": "PUT"}
    reply = asked.ask("/", preflight, "OPTIONS")
    found = {name.removeprefix("access-control-"): value for name, value in reply.headers.items() if "access-control" in name}
    assert 204 == reply.status
    assert ("https://x.b.test", "true", "GET, PUT", "x-h", "7") == tuple(
        found[name] for name in ("allow-origin", "allow-credentials", "allow-methods", "allow-headers", "max-age")
    )
    assert 403 == asked.ask("/", {**preflight, "Origin": "https://evil.test"}, "OPTIONS").status
    asked.serve(route("/", filters=Filters(cors=cors)))
    allowed, foreign = (asked.ask("/", {"Origin": origin}).headers for origin in ("https://c.test", "https://x.c.test"))
    assert ("https://c.test", "x-e", None) == (
        allowed.get("access-control-allow-origin"),
        allowed.get("access-control-expose-headers"),
        foreign.get("access-control-allow-origin"),
    )


def test_headers_are_removed_set_and_added(asked: Asked) -> None:
    changes = HeaderChanges(set=(("x-a", "50%"),), add=(("x-b", "more"),), remove=("x-c",))
    filled = HeaderChanges(set=(("x-a", Template((V.HOST, "%", V.URI))),), add=(("x-b", "more"),), remove=("x-c",))
    asked.serve(
        route("/literal", filters=Filters(request_headers=changes, response_headers=changes)),
        route("/filled", filters=Filters(request_headers=filled, response_headers=filled)),
    )
    for path, expected in (("/literal", "50%"), ("/filled", f"{HOST}%/filled")):
        reply = asked.ask(path, {"X-A": "old", "X-B": "one", "X-C": "gone"})
        seen = asked.seen.headers
        assert (expected, None, expected) == (seen["x-a"], seen.get("x-c"), reply.headers["x-a"])
        assert seen["x-b"] in ("one,more", "more"), "the last of two of a name"


def test_answers_are_replaced_by_pages(asked: Asked) -> None:
    def page(seen: Seen) -> Said:
        words = [seen.headers.get(f"x-{name}") for name in ("code", "format", "original-uri", "namespace")]
        return Said(int(seen.headers["x-code"]), (("Content-Type", "text/page"),), repr(words).encode())

    pages = Filters(error_pages=ErrorPages((404, 503), "pages", (("x-namespace", "shop"),)))
    to = Forward((WeightedCluster("broken"),))
    nowhere = Forward((WeightedCluster("nowhere"),))
    with Scripted(page) as other, Scripted(lambda seen: Said(404 if seen.path != "/fine" else 200, (), b"own")) as broken:
        asked.serve(
            route("/none", nowhere, pages),
            route("/unpaged", nowhere, Filters(error_pages=ErrorPages((503,), "nowhere"))),
            route("/", to, pages),
            pages=other,
            broken=broken,
            nowhere=(),
        )
        reply = asked.ask("/x?y", {"Accept": "text/html"})
        assert (404, "text/page", "['404', 'text/html', '/x?y', 'shop']") == (
            reply.status,
            reply.headers["content-type"],
            reply.body.decode(),
        )
        assert (503, b"['503', '', '/none', 'shop']") == ((reply := asked.ask("/none")).status, reply.body)
        assert (200, b"own") == ((reply := asked.ask("/fine")).status, reply.body)
        assert 503 == asked.ask("/unpaged").status
        assert (404, b"") == ((reply := asked.ask("/x", method="HEAD")).status, reply.body)


def test_a_copy_goes_to_a_mirror(asked: Asked) -> None:
    with Scripted() as mirror:
        wish = Mirror("mirror", host="m.test", path=Template((V.REQUEST_URI,)))
        asked.serve(route("/", filters=Filters(mirrors=(wish,))), mirror=mirror)
        assert 200 == asked.ask("/x?y", method="POST", body=b"body").status
        wait_for(lambda: mirror.seen)
        seen = mirror.seen[0]
        assert ("m.test", "/x?y", b"body") == (seen.headers["host"], seen.path, seen.body)


def wait_for(found: Callable[[], object]) -> None:
    """Until it is true, sixty seconds at most."""
    end = monotonic() + 60
    while not found():
        assert monotonic() < end
        sleep(0.002)


def test_a_cookie_keeps_its_endpoint(asked: Asked) -> None:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(Scripted(lambda seen, name=name: Said(body=name))) for name in (b"a", b"b", b"c")]  # type: ignore[misc]
        to = Forward((WeightedCluster("three"),), CookieAffinity("session", 60, "/", same_site="Lax"))
        asked.serve(route("/", to), three=tuple(each.member for each in found))
        first = asked.ask("/")
        cookie = first.headers["set-cookie"]
        assert ("SameSite=Lax" in cookie, "Max-Age=60" in cookie) == (True, True)
        assert {first.body} == {asked.ask("/", {"Cookie": cookie.partition(";")[0]}).body for _ in range(9)}
        assert {b"a", b"b", b"c"} == {asked.ask("/").body for _ in range(9)}


def test_weights_are_shares(asked: Asked) -> None:
    with Scripted(lambda seen: Said(body=b"new")) as new, Scripted(lambda seen: Said(body=b"old")) as old:
        to = Forward((WeightedCluster("old", 0), WeightedCluster("new", 1)))
        half = Forward((WeightedCluster("old", 1), WeightedCluster("new", 1)))
        asked.serve(route("/all", to), route("/half", half), old=old, new=new)
        assert {b"new"} == {asked.ask("/all").body for _ in range(10)}
        assert {b"new", b"old"} == {asked.ask("/half").body for _ in range(40)}


def test_only_what_may_be_sent_twice_is_sent_twice(asked: Asked) -> None:
    """The first endpoint hangs up after it has read the request; the second answers; nobody listens at the third."""
    with Scripted(lambda seen: Said(0)) as rude, Scripted(lambda seen: Said(body=b"kind")) as kind:
        dead = Member("127.0.0.1", free_port())
        asked.serve(
            route("/rude", Forward((WeightedCluster("rude"),))),
            route("/again", Forward((WeightedCluster("rude"),)), policy=Policy(retry=Retry(non_idempotent=True))),
            route("/never", Forward((WeightedCluster("rude"),)), policy=Policy(retry=Retry(attempts=1))),
            route("/dead", Forward((WeightedCluster("dead"),))),
            rude=(rude.member, kind.member),
            dead=(dead, kind.member),
        )
        assert {200} == {asked.ask("/rude").status for _ in range(6)}
        claim = {"X-Envoy-Retry-On": "reset", "X-Envoy-Max-Retries": "3"}
        for method in ("POST", "PATCH", "LOCK"):
            assert {200, 503} == {asked.ask("/rude", claim, method, b"x").status for _ in range(6)}, method
        assert {200} == {asked.ask("/rude", method="PUT", body=b"x").status for _ in range(6)}
        assert {200} == {asked.ask("/again", method="POST", body=b"x").status for _ in range(6)}
        assert {200, 503} == {asked.ask("/never").status for _ in range(6)}
        assert {200} == {asked.ask("/dead", method=method, body=b"x").status for method in ("GET", "POST") for _ in range(6)}


def test_what_the_backend_is_told_about_the_client(asked: Asked) -> None:
    claims = {
        "X-Forwarded-For": "192.0.2.1, 192.0.2.2",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "claimed.test",
        "X-Forwarded-Port": "7",
        "X-Real-IP": "192.0.2.3",
        "X-Request-ID": "mine",
        "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "Ssl-Client-Verify": "SUCCESS",
        "X-Envoy-Max-Retries": "9",
        "Under_Score": "1",
    }
    names = ("for", "proto", "host", "port")

    def told() -> tuple[str, ...]:
        asked.ask("/", claims, host=f"{HOST}:81")
        seen = asked.seen.headers
        assert ("mine", claims["Traceparent"]) == (seen["x-request-id"], seen["traceparent"])
        assert set() == {"ssl-client-verify", "x-envoy-max-retries", "x-envoy-retry-on", "under_score"} & set(seen)
        return (*(seen[f"x-forwarded-{name}"] for name in names), seen["x-real-ip"], seen["x-scheme"], seen["host"])

    plain = ("127.0.0.1", "http", f"{HOST}:81", "80", "127.0.0.1", "http", f"{HOST}:81")
    believed = ("192.0.2.1, 192.0.2.2,127.0.0.1", "https", "claimed.test", "7", "192.0.2.2", "https", f"{HOST}:81")
    for door, expected in (
        (FrontDoor(), plain),
        (FrontDoor(trusted_hops=1), believed),
        (FrontDoor(trusted_proxies=("10.0.0.0/8",)), plain),
        (FrontDoor(trusted_proxies=("127.0.0.0/8",)), believed),
        (FrontDoor(trusted_proxies=("127.0.0.0/8", "192.0.2.2")), (*believed[:4], "192.0.2.1", *believed[5:])),
    ):
        asked.serve(route("/"), front_door=door)
        # A listener may change a moment later than its routes.
        wait_for(lambda expected=expected: told() == expected)  # type: ignore[misc]


@pytest.mark.parametrize(
    "door", [FrontDoor(trusted_hops=1), FrontDoor(trusted_proxies=("127.0.0.0/8",))], ids=["hops", "proxies"]
)
def test_who_is_believed_about_an_address_is_still_no_part_of_the_proxy(asked: Asked, door: FrontDoor) -> None:
    """To Envoy 255.255.255.255 is internal; only such requests may say x-envoy-* and who showed a certificate."""
    asked.serve(route("/"), front_door=door)
    claims = {"X-Forwarded-For": "255.255.255.255", "Ssl-Client-Verify": "SUCCESS", "X-Envoy-Upstream-Rq-Timeout-Ms": "1"}
    wait_for(lambda: asked.ask("/", claims).status and asked.seen.headers["x-real-ip"] == "255.255.255.255")
    assert [] == [name for name in asked.seen.headers if name.startswith(("ssl-client", "x-envoy"))]


def test_the_client_comes_from_the_proxy_header(asked: Asked) -> None:
    asked.serve(route("/"))
    routes = table(route("/"), front_door=FrontDoor(proxy_protocol=True))
    # It cannot be asked by the usual client whether this is in force.
    asked.proxy._loop.do(lambda: asked.proxy._proxy.apply(routes))
    asked.echo.seen.clear()
    wait_for(lambda: spoken(asked.proxy.ports[80]).startswith(b"HTTP/1.1 200"))
    assert "192.0.2.9" == asked.seen.headers["x-real-ip"]
    # To Envoy this one would be internal, and believed about more than its address.
    assert b"" == spoken(asked.proxy.ports[80], b"255.255.255.255")


def spoken(port: int, client: bytes = b"192.0.2.9") -> bytes:
    """The beginning of the answer; nothing from a proxy that closes, which it may do while it is spoken to."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection, contextlib.suppress(OSError):
        connection.sendall(b"PROXY TCP4 %s 192.0.2.1 1234 80\r\nGET / HTTP/1.1\r\nHost: a.test\r\n" % client)
        connection.sendall(b"Connection: close\r\n\r\n")
        return connection.recv(100)
    return b""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a//b", "/a/b"),
        ("/a/../b", "/b"),
        ("/%41/%2e%2e/b", "/b"),
        ("/a%2fb", 400),
        ("/a%5cb", 400),
        ("/a%00", 400),
    ],
)
def test_paths_are_made_plain(asked: Asked, path: str, expected: str | int) -> None:
    asked.serve(route("/"))
    reply = asked.ask(path)
    assert expected == (asked.seen.path if reply.status == 200 else reply.status)


def test_limits_of_the_front_door(asked: Asked) -> None:
    asked.serve(route("/"), front_door=FrontDoor(header_octets=4096, header_count=10))
    long, many = {"X-Long": "x" * 5000}, {f"X-{number}": "1" for number in range(12)}
    wait_for(lambda: [asked.ask("/", headers).status for headers in ({}, long, many)] == [200, 431, 431])


def test_answers_of_the_proxy_itself(asked: Asked) -> None:
    asked.serve(route("/", Answer(421, "not here 100%", "text/x")))
    reply = asked.ask("/", method="POST", body=b"x")
    assert (421, b"not here 100%", "text/x") == (reply.status, reply.body, reply.headers["content-type"])
