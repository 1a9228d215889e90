"""Does Envoy's emitter say what it cannot do, and what is broken, each at its source?"""

import pytest
from msgspec import structs
from tests.routing.xds.xds_tables import TO, at, route, table

from mooring.routing.table import (
    Access,
    Balance,
    BasicAuth,
    Certificate,
    Chain,
    ClientCertificates,
    Cluster,
    Condition,
    CookieAffinity,
    Endpoints,
    ErrorPages,
    ExternalAuth,
    Filters,
    Forward,
    How,
    Listener,
    Match,
    Mirror,
    Part,
    PathRewrite,
    Policy,
    RateLimit,
    RegexRewrite,
    Route,
    RouteTable,
    Speaks,
    Template,
    Terminate,
    UpstreamTls,
    Variable,
    WeightedCluster,
)
from mooring.routing.xds.broken import broken
from mooring.routing.xds.lacks import lacks
from mooring.testing.certificates import self_signed

SHA = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="
AUTH = ExternalAuth("echo", "auth.test", Template(("/",)))
OWN_PATH = Template((Variable.REQUEST_URI,))


def over_tls(tls: Terminate, certificate: Certificate | None = None) -> RouteTable:
    chain = Chain(("*",), (), tls)
    found = {"a": certificate or self_signed("a.test", source="secret shop/a")}
    return RouteTable((Listener("https", 443, (chain,)),), {}, found)


def words(found: object) -> list[tuple[str, str]]:
    return [(source, sentence.split(";")[0]) for source, sentence in found]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        pytest.param(route("/"), [], id="a plain route lacks nothing"),
        pytest.param(
            route("/", filters=Filters(basic_auth=BasicAuth("r", (("u", "$apr1$a$b"),)))),
            ["Envoy knows passwords in {SHA}, apr1 and $1$ form only, and no user has one"],
            id="no password that can be checked",
        ),
        pytest.param(
            route("/", filters=Filters(basic_auth=BasicAuth("r", (("u", "$apr1$a$b"), ("v", SHA))))),
            ["Envoy knows passwords in {SHA}, apr1 and $1$ form only"],
            id="one of two passwords",
        ),
        pytest.param(
            route(
                "/", filters=Filters(basic_auth=BasicAuth("r", (("v", SHA),)), access=Access(("10.0.0.1",)), satisfy_any=True)
            ),
            ["Envoy asks for the password besides, where one of several guards would be enough"],
            id="either the address or a password",
        ),
        pytest.param(
            route("/", filters=Filters(external_auth=AUTH, access=Access(("10.0.0.1",)), satisfy_any=True)),
            [],
            id="either the address or another server",
        ),
        pytest.param(
            route("/", filters=Filters(rate=RateLimit(connections=1, bytes_per_second=1))),
            ["Envoy cannot limit the connections of each client", "Envoy cannot limit how fast an answer is sent"],
            id="rates of connections and octets",
        ),
        pytest.param(route("/", filters=Filters(mirrors=(Mirror("echo", path=OWN_PATH),))), [], id="a mirror of the same path"),
        pytest.param(
            route("/", filters=Filters(mirrors=(Mirror("echo", path=OWN_PATH),), rewrite=PathRewrite("/n"))),
            ["Envoy's mirror gets the path that the backend gets"],
            id="a mirror of a path that is rewritten",
        ),
        pytest.param(
            route("/", filters=Filters(mirrors=(Mirror("echo", body=False),))),
            ["Envoy mirrors the body too"],
            id="bodyless",
        ),
        pytest.param(
            route("/", filters=Filters(access=Access(("10.0.0.0/8",)), error_pages=ErrorPages((403,), "echo"))),
            ["Envoy's own refusals (by address, password or rate) are not replaced by error pages"],
            id="pages for own refusals",
        ),
        pytest.param(
            route("/", action=Forward((WeightedCluster("echo"),), CookieAffinity("c", secure=True, strict=True))),
            ["Envoy does not keep a session with an endpoint that is no longer ready"],
            id="a session for ever",
        ),
        pytest.param(
            route("/", policy=Policy(body=2**30)),
            ["Envoy measures the declared length of a body here"],
            id="a large body",
        ),
        pytest.param(
            route("/", Forward((WeightedCluster("echo"),), CookieAffinity("c"))),
            ["Envoy's affinity cookie is never marked Secure unless that is asked for"],
            id="a cookie",
        ),
    ],
)
def test_what_a_route_lacks(wish: Route, expected: list[str]) -> None:
    assert [("ingress shop/web /", sentence) for sentence in expected] == words(lacks(table(wish)))


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        pytest.param(
            Cluster("c", Endpoints("s"), Speaks.FASTCGI, source="service"), ["Envoy does not speak FastCGI"], id="CGI"
        ),
        pytest.param(
            Cluster("c", Endpoints("s"), balance=Balance.EWMA, source="service"),
            ["Envoy does not balance by latency"],
            id="latency",
        ),
        pytest.param(
            Cluster("c", Endpoints("s"), tls=UpstreamTls(ciphers="RC4"), source="service"),
            ["Envoy knows none of the ciphers RC4"],
            id="ciphers",
        ),
        pytest.param(Cluster("c", Endpoints("s"), source="service"), [], id="a plain cluster lacks nothing"),
    ],
)
def test_what_a_cluster_lacks(cluster: Cluster, expected: list[str]) -> None:
    assert [("service", sentence) for sentence in expected] == words(lacks(table(clusters={"c": cluster})))


def test_what_tls_lacks() -> None:
    clients = ClientCertificates(self_signed("ca.test").chain, source="ingress shop/a")
    assert [
        ("ingress shop/a", "HTTP/3 is not offered where clients must show certificates"),
        ("ingress shop/a", "Envoy does not know the ciphers RC4"),
    ] == words(lacks(over_tls(Terminate("a", clients, "RC4:ECDHE-RSA-AES128-GCM-SHA256"))))


def test_a_route_on_two_listeners_is_told_of_once() -> None:
    wish = table(route("/", filters=Filters(rate=RateLimit(connections=1))))
    listener = wish.listeners[0]
    twice = structs.replace(wish, listeners=(listener, structs.replace(listener, name="other", port=81)))
    assert 1 == len(list(lacks(twice)))


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        pytest.param(route("/"), [], id="a plain route is whole"),
        pytest.param(
            route("/", match=Match(conditions=(Condition(Part.HEADER, How.REGEX, "x", "["),))),
            ["the regular expression '[' is not RE2: missing ]: ["],
            id="a condition",
        ),
        pytest.param(route("/", match=at("/x#y")), ["'/x#y' is not the beginning of a path"], id="a path"),
        pytest.param(
            route("/", TO, Filters(rewrite=RegexRewrite("a", r"\x"))),
            [r"'\\x' has a backslash that names no group"],
            id="a rewrite",
        ),
    ],
)
def test_what_is_broken_in_a_route(wish: Route, expected: list[str]) -> None:
    assert [("ingress shop/web /", sentence) for sentence in expected] == words(broken(table(wish)))


def test_what_is_broken_in_tls() -> None:
    bad = Certificate(self_signed("a.test").chain, self_signed("b.test").key, "secret shop/a")
    clients = ClientCertificates(b"no PEM", source="ingress shop/a")
    assert [
        ("secret shop/a", "the key is not the certificate's"),
        ("ingress shop/a", "the authorities' certificates cannot be read: "),
    ] == [(source, sentence[: len(expected)]) for (source, sentence), expected in zip(
        words(broken(over_tls(Terminate("a", clients), bad))),
        ("the key is not the certificate's", "the authorities' certificates cannot be read: "),
        strict=True,
    )]  # fmt: skip
