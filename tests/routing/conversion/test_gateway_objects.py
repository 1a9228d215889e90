"""Do the Gateway API objects say what the RouteTable says, and is told what they cannot?"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs
from tests.routing.conversion.gateway_schema import faults

from mooring.model.ingress import Ingress, IngressRule, IngressSpec, IngressTls
from mooring.model.meta import Meta
from mooring.model.service import Service, ServicePortSpec, ServiceSpec
from mooring.routing.ingress.annotations.notes import PREFIX
from mooring.routing.ingress.conversion.front import GatewayName
from mooring.routing.ingress.conversion.gateway import Converted, convert
from mooring.routing.ingress.conversion.remark import Mark
from mooring.routing.ingress.objects import Objects, SetOf, Translation
from mooring.routing.table import (
    Access,
    Answer,
    BasicAuth,
    Chain,
    ClientCertificates,
    Cluster,
    Condition,
    CookieAffinity,
    Cors,
    Endpoints,
    ExternalAuth,
    Filters,
    Fixed,
    Forward,
    HeaderChanges,
    How,
    Listener,
    Match,
    Mirror,
    Part,
    Passthrough,
    PathKind,
    PathMatch,
    PathRewrite,
    Policy,
    Redirect,
    RegexRewrite,
    Route,
    RouteTable,
    Speaks,
    Template,
    Terminate,
    UpstreamTls,
    Variable,
    VirtualHost,
    WeightedCluster,
)

Document = dict[str, Any]
WEB = "ingress shop/web spec.rules[0].http.paths[0]"
GATEWAY = GatewayName("shop", "nginx", "any-class")
ANYTHING = Match()
POLICY = Policy(buffer_response=False)
CLUSTERS = {
    "shop/web:80": Cluster("shop/web:80", Endpoints("shop/web:80")),
    "shop/new:80": Cluster("shop/new:80", Endpoints("shop/new:80")),
    "other/far:80": Cluster("other/far:80", Endpoints("other/far:80")),
    "grpc": Cluster("grpc", Endpoints("shop/web:80"), Speaks.GRPC),
    "tls": Cluster("tls", Endpoints("shop/web:80"), tls=UpstreamTls()),
    "checked": Cluster("checked", Endpoints("shop/web:80"), tls=UpstreamTls("web.internal", b"PEM")),
    "by address": Cluster("by address", Fixed("10.96.0.9", 80), source="service shop/web"),
    "fastcgi": Cluster("fastcgi", Endpoints("shop/web:80"), Speaks.FASTCGI),
}
SETS = {name: SetOf(*name.removesuffix(":80").split("/"), "http") for name in ("shop/web:80", "shop/new:80", "other/far:80")}


def path(value: str, kind: PathKind = PathKind.PREFIX, ignore_case: bool = False) -> Match:
    return Match(PathMatch(kind, value, ignore_case))


def to(*clusters: str) -> Forward:
    return Forward(tuple(map(WeightedCluster, clusters)))


def route(match: Match = ANYTHING, action: Any = None, source: str = WEB, **more: Any) -> Route:
    more = {"policy": POLICY, **more}
    return Route(f"{source}-{match}", match, action or to("shop/web:80"), source=source, **more)


def service(namespace: str, name: str) -> Service:
    return Service(
        Meta(name=name, namespace=namespace), ServiceSpec(ports=(ServicePortSpec(80, "http"),), cluster_ip="10.96.0.9")
    )


def ingress(namespace: str, name: str, hosts: Iterable[str] = (), tls: tuple[IngressTls, ...] = ()) -> Ingress:
    return Ingress(Meta(name=name, namespace=namespace), IngressSpec(rules=tuple(map(IngressRule, hosts)), tls=tls))


def objects(*ingresses: Ingress) -> Objects:
    services = {key: service(*key) for key in (("shop", "web"), ("shop", "new"), ("other", "far"))}
    return Objects({(each.metadata.namespace, each.metadata.name): each for each in ingresses}, services=services)


def converted(table: RouteTable, *ingresses: Ingress) -> Converted:
    """Checked against the definitions."""
    world = objects(*(ingresses or (ingress("shop", "web"),)))
    found = convert(Translation(table, frozenset(world.ingresses), (), SETS), world, GATEWAY)
    assert [] == [fault for each in found.documents for fault in faults(dict(each))]
    return found


def plain(*routes: Route, hosts: tuple[str, ...] = ("foo.com",)) -> RouteTable:
    return RouteTable((Listener("http", 80, (Chain(("*",), (VirtualHost("foo", hosts, routes, source=WEB),)),)),), CLUSTERS)


def only(found: Converted, kind: str) -> Document:
    (document,) = [each for each in found.documents if each["kind"] == kind]
    return dict(document)


def rule(found: Converted, kind: str = "HTTPRoute") -> Document:
    (made,) = only(found, kind)["spec"]["rules"]
    return made


def told(found: Converted) -> dict[str, Mark]:
    return {each.message: each.mark for each in found.remarks if each.source}


BACKEND = [{"name": "web", "port": 80}]


def test_a_plain_rule_carries_over_whole() -> None:
    found = converted(plain(route(path("/api"))))
    assert ["Gateway", "HTTPRoute"] == [each["kind"] for each in found.documents]
    assert {} == told(found)
    assert {
        "parentRefs": [{"name": "nginx", "sectionName": "http"}],
        "hostnames": ["foo.com"],
        "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/api"}}], "backendRefs": BACKEND}],
    } == only(found, "HTTPRoute")["spec"]
    assert [("http", 80, "HTTP")] == [
        (each["name"], each["port"], each["protocol"]) for each in only(found, "Gateway")["spec"]["listeners"]
    ]


FILTERS = {
    "a prefix is replaced": (
        path("/api"), Filters(rewrite=PathRewrite("/v1")),
        {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v1"}}},
    ),
    "the whole path is replaced": (
        path("/api", PathKind.EXACT), Filters(rewrite=PathRewrite("/v1", whole=True)),
        {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/v1"}}},
    ),
    "the backend's host": (
        Match(), Filters(host="internal.example"), {"type": "URLRewrite", "urlRewrite": {"hostname": "internal.example"}},
    ),
    "headers of requests": (
        Match(), Filters(request_headers=HeaderChanges(set=(("x-a", "1"),), remove=("x-b",))),
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-a", "value": "1"}], "remove": ["x-b"]}},
    ),
    "headers of answers": (
        Match(), Filters(response_headers=HeaderChanges(add=(("x-a", "1"),))),
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "x-a", "value": "1"}]}},
    ),
    "a mirror": (
        Match(), Filters(mirrors=(Mirror("shop/new:80", 10),)),
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "new", "port": 80}, "percent": 10}},
    ),
    "CORS": (
        Match(), Filters(cors=Cors(("https://*.foo.com",), ("GET", "PUT"), ("x-a",), ("x-b",), True, 60)),
        {"type": "CORS", "cors": {"allowOrigins": ["https://*.foo.com"], "allowMethods": ["GET", "PUT"],
                                  "allowHeaders": ["x-a"], "exposeHeaders": ["x-b"], "allowCredentials": True, "maxAge": 60}},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("match", "filters", "expected"), FILTERS.values(), ids=FILTERS)
def test_filters_that_there_is_a_word_for(match: Match, filters: Filters, expected: Document) -> None:
    found = converted(plain(route(match, filters=filters)))
    assert [expected] == rule(found)["filters"]
    assert {} == told(found)


REDIRECTS = {
    "to https": (Redirect(308, scheme="https", port=0), {"scheme": "https", "statusCode": 308}),
    "to a host and port": (
        Redirect(301, host="www.foo.com", port=8443), {"hostname": "www.foo.com", "port": 8443, "statusCode": 301},
    ),
    "of the whole path": (
        Redirect(302, path=PathRewrite("/app", whole=True)),
        {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/app"}, "statusCode": 302},
    ),
    "to a URL with the request's path": (
        Redirect(301, url=Template(("https://new.example", Variable.REQUEST_URI))),
        {"scheme": "https", "hostname": "new.example", "statusCode": 301},
    ),
    "of the request's scheme": (
        Redirect(308, url=Template((Variable.SCHEME, "://www.foo.com", Variable.REQUEST_URI))),
        {"hostname": "www.foo.com", "statusCode": 308},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("action", "expected"), REDIRECTS.values(), ids=REDIRECTS)
def test_redirects(action: Redirect, expected: Document) -> None:
    found = converted(plain(route(action=action)))
    assert [{"type": "RequestRedirect", "requestRedirect": expected}] == rule(found)["filters"]
    assert {} == told(found)


def test_a_redirect_to_a_url_keeps_the_query_and_that_is_told() -> None:
    found = converted(plain(route(action=Redirect(301, url=Template(("https://new.example/a",))))))
    expected = {"scheme": "https", "hostname": "new.example", "path": {"type": "ReplaceFullPath", "replaceFullPath": "/a"}}
    assert {**expected, "statusCode": 301} == rule(found)["filters"][0]["requestRedirect"]
    assert {"a redirect keeps the request's query": Mark.CHANGES} == told(found)


REWRITES = {
    "what most people write": (r"/api(/|$)(.*)", r"/\2", "/api", "ReplacePrefixMatch", "/"),
    "below another prefix": (r"/api(/|$)(.*)", r"/v1/\2", "/api", "ReplacePrefixMatch", "/v1"),
    "with a slash": (r"/api/(.*)", r"/\1", "/api", "ReplacePrefixMatch", "/"),
    "with or without a slash": (r"/api/?(.*)", r"/\1", "/api", "ReplacePrefixMatch", "/"),
    "to one place": (r"/api", "/", "/api", "ReplaceFullPath", "/"),
}


@pytest.mark.parametrize(("pattern", "target", "prefix", "kind", "value"), REWRITES.values(), ids=REWRITES)
def test_a_regular_expression_that_means_a_prefix_becomes_one(
    pattern: str, target: str, prefix: str, kind: str, value: str
) -> None:
    rewrite = RegexRewrite(f"^(?:{pattern})(?s:.*)$", target, True)
    found = converted(plain(route(path(pattern, PathKind.REGEX_PREFIX, True), filters=Filters(rewrite=rewrite))))
    made = rule(found)
    assert [{"path": {"type": "PathPrefix", "value": prefix}}] == made["matches"]
    field = kind[0].lower() + kind[1:]
    assert {"path": {"type": kind, field: value}} == made["filters"][0]["urlRewrite"]
    assert [Mark.CHANGES] == [*told(found).values()]


def test_groups_that_move_cannot_be_said() -> None:
    rewrite = RegexRewrite("", r"/\2/\1")
    found = converted(plain(route(path("/(a)/(b)", PathKind.REGEX_PREFIX), filters=Filters(rewrite=rewrite))))
    assert "filters" not in rule(found)
    assert Mark.CANNOT == told(found)["groups of a regular expression cannot be put into the new path (/$2/$1)"]


PATHS = {
    "exact": (path("/a", PathKind.EXACT), {"type": "Exact", "value": "/a"}, True),
    "prefix": (path("/a"), {"type": "PathPrefix", "value": "/a"}, True),
    "a string's prefix": (path("/a", PathKind.STRING_PREFIX), {"type": "PathPrefix", "value": "/a"}, False),
    "a regular expression": (
        path("/a[0-9]+", PathKind.REGEX_PREFIX, True), {"type": "RegularExpression", "value": "(?i)/a[0-9]+.*"}, False,
    ),
    "what the API does not take as a prefix": (path("/a b"), {"type": "RegularExpression", "value": r"/a\ b(/.*)?"}, False),
}  # fmt: skip


@pytest.mark.parametrize(("match", "expected", "as_it_is"), PATHS.values(), ids=PATHS)
def test_paths(match: Match, expected: Document, as_it_is: bool) -> None:
    found = converted(plain(route(match)))
    assert [{"path": expected}] == rule(found)["matches"]
    assert ([] if as_it_is else [Mark.CHANGES]) == [*told(found).values()]


def test_a_canary_becomes_weights_and_header_matches_in_order() -> None:
    always = Match(conditions=(Condition(Part.HEADER, How.EXACT, "x-canary", "always"),))
    cookie = Match(conditions=(Condition(Part.COOKIE, How.EXACT, "canary", "always"),))
    split = Forward((WeightedCluster("shop/web:80", 90), WeightedCluster("shop/new:80", 10)))
    found = converted(plain(route(always, to("shop/new:80")), route(cookie, to("shop/new:80")), route(action=split)))
    first, last = only(found, "HTTPRoute")["spec"]["rules"]
    assert [
        {"type": "Exact", "name": "x-canary", "value": "always"},
        {"type": "RegularExpression", "name": "cookie", "value": "(?:.*; *)?canary=always(?: *;.*)?"},
    ] == [each["headers"][0] for each in first["matches"]]
    assert [("web", 90), ("new", 10)] == [(each["name"], each["weight"]) for each in last["backendRefs"]]
    assert [Mark.CHANGES] == [*told(found).values()]


GUARDS = {
    "addresses": Filters(access=Access(allowed=("10.0.0.0/8",))),
    "basic authentication": Filters(basic_auth=BasicAuth("r", ())),
    "external authentication": Filters(external_auth=ExternalAuth("auth", "auth", Template(("/",)))),
}


@pytest.mark.parametrize("filters", GUARDS.values(), ids=GUARDS)
def test_a_rule_whose_guard_cannot_be_said_lets_nobody_in(filters: Filters) -> None:
    found = converted(plain(route(filters=filters)))
    assert "backendRefs" not in rule(found)
    assert [Mark.CANNOT] == [*told(found).values()]


UNSAID = {
    "a cookie": route(action=Forward((WeightedCluster("shop/web:80"),), CookieAffinity("c"))),
    "an answer": route(action=Answer(503, because="there is no Service")),
    "FastCGI": route(action=to("fastcgi")),
    "a condition turned round": route(Match(conditions=(Condition(Part.HEADER, How.PRESENT, "x", invert=True),))),
    "a header made of the request": route(
        filters=Filters(request_headers=HeaderChanges(set=(("x", Template((Variable.HOST,))),)))
    ),
    "a redirect made of the request": route(action=Redirect(302, url=Template(("https://a/?u=", Variable.URI)))),
    "a Service that is not known": route(action=to("nowhere")),
    "a backend whose certificate nobody vouches for": route(action=to("tls")),
}  # fmt: skip


@pytest.mark.parametrize("each", UNSAID.values(), ids=UNSAID)
def test_what_cannot_be_said_is_told(each: Route) -> None:
    assert Mark.CANNOT in told(converted(plain(each))).values()


POLICIES = {
    "the whole time": (Policy(request=30, buffer_response=False), {"request": "30s"}, 0),
    "a pause": (Policy(read=3600, buffer_response=False), {"backendRequest": "3600s"}, 1),
    "less than a second": (Policy(request=0.25, buffer_response=False), {"request": "250ms"}, 0),
    "the largest body": (Policy(body=1, buffer_response=False), None, 1),
    "connecting": (Policy(connect=1, buffer_response=False), None, 1),
}


@pytest.mark.parametrize(("policy", "expected", "remarks"), POLICIES.values(), ids=POLICIES)
def test_times(policy: Policy, expected: Document | None, remarks: int) -> None:
    found = converted(plain(route(policy=policy)))
    assert expected == rule(found).get("timeouts")
    assert [Mark.CHANGES] * remarks == [*told(found).values()]


# TLS ------------------------------------------------------------------------------------------------------------------------


def secure(*chains: Chain, http: tuple[VirtualHost, ...] = ()) -> RouteTable:
    return RouteTable((Listener("http", 80, (Chain(("*",), http),)), Listener("https", 443, chains)), CLUSTERS)


TLS = ingress("shop", "web", ("foo.com",), (IngressTls(("foo.com",), "foo-tls"),))
SERVED = VirtualHost("foo", ("foo.com",), (route(),))
UPGRADED = VirtualHost("foo", ("foo.com",), (route(action=Redirect(308, scheme="https", port=0)),))


def test_a_host_with_tls_has_a_listener_and_its_redirect_a_route() -> None:
    found = converted(secure(Chain(("foo.com",), (SERVED,), Terminate("shop/foo-tls")), http=(UPGRADED,)), TLS)
    listeners = {each["name"]: each for each in only(found, "Gateway")["spec"]["listeners"]}
    assert ["http", "https-foo-com"] == [*listeners]
    assert [{"name": "foo-tls"}] == listeners["https-foo-com"]["tls"]["certificateRefs"]
    routes = {each["metadata"]["name"]: each["spec"] for each in found.documents if each["kind"] == "HTTPRoute"}
    assert [("web-foo-com-http", "http"), ("web-foo-com", "https-foo-com")] == [
        (name, spec["parentRefs"][0]["sectionName"]) for name, spec in routes.items()
    ]
    assert "requestRedirect" in routes["web-foo-com-http"]["rules"][0]["filters"][0]
    assert BACKEND == routes["web-foo-com"]["rules"][0]["backendRefs"]


def test_without_a_redirect_one_route_hangs_on_both_listeners() -> None:
    found = converted(secure(Chain(("foo.com",), (SERVED,), Terminate("k")), http=(SERVED,)), TLS)
    parents = [each["sectionName"] for each in only(found, "HTTPRoute")["spec"]["parentRefs"]]
    assert ["http", "https-foo-com"] == parents


def test_the_answer_421_of_other_chains_is_not_taken_for_the_host() -> None:
    misdirected = VirtualHost("foo", ("foo.com",), (route(action=Answer(421)),))
    chains = (Chain(("*",), (misdirected,), Terminate("k")), Chain(("foo.com",), (SERVED,), Terminate("k")))
    found = converted(secure(*chains), TLS)
    assert BACKEND == rule(found)["backendRefs"]


def test_a_certificate_of_another_namespace_needs_a_grant() -> None:
    far = ingress("other", "web", ("foo.com",), (IngressTls(("foo.com",), "foo-tls"),))
    found = converted(secure(Chain(("foo.com",), (SERVED,), Terminate("k"))), far, ingress("shop", "web"))
    grant = only(found, "ReferenceGrant")
    assert ("other", "Gateway", "shop", "foo-tls") == (
        grant["metadata"]["namespace"],
        *(grant["spec"]["from"][0][field] for field in ("kind", "namespace")),
        grant["spec"]["to"][0]["name"],
    )


def test_a_backend_of_another_namespace_needs_a_grant() -> None:
    found = converted(plain(route(action=to("other/far:80"))))
    assert "other" == only(found, "ReferenceGrant")["metadata"]["namespace"]
    assert [{"name": "far", "namespace": "other", "port": 80}] == rule(found)["backendRefs"]


def test_of_services_with_one_address_the_one_that_was_named_is_meant() -> None:
    """As two of type ExternalName in different namespaces may have it."""
    assert BACKEND == rule(converted(plain(route(action=to("by address")))))["backendRefs"]


def test_of_certificates_for_one_host_the_oldest_ingress_has_its_way() -> None:
    def named(namespace: str, day: int, **annotations: str) -> Ingress:
        about = Meta(name="web", namespace=namespace, creation_timestamp=datetime(2026, 1, day, tzinfo=UTC))
        about = structs.replace(about, annotations={PREFIX + name: value for name, value in annotations.items()})
        return structs.replace(ingress(namespace, "web", ("foo.com",), (IngressTls(("foo.com",), "s"),)), metadata=about)

    served = secure(Chain(("foo.com",), (SERVED,), Terminate("shop/s")))
    found = converted(served, named("other", 2), named("shop", 1), named("a", 1, canary="true"))
    (listener,) = [each for each in only(found, "Gateway")["spec"]["listeners"] if "tls" in each]
    assert [{"name": "s"}] == listener["tls"]["certificateRefs"]


def test_more_hosts_than_a_gateway_has_listeners_go_to_listener_sets() -> None:
    hosts = [f"h{number}.com" for number in range(100)]
    many = ingress("shop", "web", hosts, (IngressTls(tuple(hosts), "all-tls"),))
    served = tuple(VirtualHost(host, (host,), (route(),)) for host in hosts)
    found = converted(secure(Chain(tuple(hosts), served, Terminate("k")), http=served), many)
    assert 64 == len(only(found, "Gateway")["spec"]["listeners"])
    assert 37 == len(only(found, "ListenerSet")["spec"]["listeners"])
    last = [each for each in found.documents if each["kind"] == "HTTPRoute"][-1]
    assert ["Gateway", "ListenerSet"] == [each.get("kind", "Gateway") for each in last["spec"]["parentRefs"]]


def test_hosts_whose_names_differ_in_dots_and_hyphens_have_listeners_of_their_own() -> None:
    hosts = ("a-b.com", "a.b.com")
    served = tuple(VirtualHost(host, (host,), (route(),)) for host in hosts)
    many = ingress("shop", "web", hosts, (IngressTls(hosts, "all-tls"),))
    found = converted(secure(Chain(hosts, served, Terminate("k")), http=served), many)
    assert {"https-a-b-com": "a-b.com", "https-a-b-com-2": "a.b.com"} == {
        each["name"]: each["hostname"] for each in only(found, "Gateway")["spec"]["listeners"] if "tls" in each
    }


def test_tls_that_goes_through_becomes_a_tlsroute() -> None:
    found = converted(secure(Chain(("foo.com",), (), Passthrough("shop/web:80", WEB))), TLS)
    (listener,) = [each for each in only(found, "Gateway")["spec"]["listeners"] if each["protocol"] == "TLS"]
    assert {"mode": "Passthrough"} == listener["tls"]
    assert BACKEND == rule(found, "TLSRoute")["backendRefs"]


CLIENTS = ClientCertificates(
    b"PEM", source="ingress shop/web metadata.annotations[nginx.ingress.kubernetes.io/auth-tls-secret]"
)


def test_client_certificates_that_all_hosts_want_are_the_gateways() -> None:
    found = converted(secure(Chain(("foo.com",), (SERVED,), Terminate("k", CLIENTS))), TLS)
    validation = only(found, "Gateway")["spec"]["tls"]["frontend"]["default"]["validation"]
    assert {"ca.crt": "PEM"} == only(found, "ConfigMap")["data"]
    assert ("AllowValidOnly", only(found, "ConfigMap")["metadata"]["name"]) == (
        validation["mode"], validation["caCertificateRefs"][0]["name"],
    )  # fmt: skip


def test_client_certificates_that_one_host_wants_leave_it_without_a_listener() -> None:
    both = ingress("shop", "web", ("foo.com", "bar.com"), (IngressTls(("foo.com", "bar.com"), "all-tls"),))
    bar = VirtualHost("bar", ("bar.com",), (route(),))
    chains = (Chain(("foo.com",), (SERVED,), Terminate("k", CLIENTS)), Chain(("bar.com",), (bar,), Terminate("k")))
    found = converted(secure(*chains), both)
    assert ["https-bar-com"] == [each["name"] for each in only(found, "Gateway")["spec"]["listeners"]]
    assert ["bar.com"] == only(found, "HTTPRoute")["spec"]["hostnames"]
    assert [Mark.CANNOT] == [*told(found).values()]


def test_a_backend_in_tls_gets_a_policy_with_its_authority() -> None:
    found = converted(plain(route(action=to("checked"))))
    validation = only(found, "BackendTLSPolicy")["spec"]["validation"]
    assert "web.internal" == validation["hostname"]
    assert {"ca.crt": "PEM"} == only(found, "ConfigMap")["data"]
    assert {} == told(found)


# gRPC, sizes ----------------------------------------------------------------------------------------------------------------


def test_grpc_backends_get_a_grpcroute_and_their_protocol_is_told() -> None:
    found = converted(plain(route(path("/pkg.Greeter/Hello", PathKind.EXACT), to("grpc"))))
    assert [{"method": {"type": "Exact", "service": "pkg.Greeter", "method": "Hello"}}] == rule(found, "GRPCRoute")["matches"]
    assert [Mark.CHANGES] == [*told(found).values()]
    assert "matches" not in rule(converted(plain(route(path("/"), to("grpc")))), "GRPCRoute")


def test_a_host_of_grpc_and_others_has_httproutes() -> None:
    found = converted(plain(route(path("/pkg.Greeter"), to("grpc")), route(path("/"), to("shop/new:80"))))
    assert 2 == len(_rules(found, "HTTPRoute"))


def _rules(found: Converted, kind: str) -> list[Document]:
    return [rule for each in found.documents if each["kind"] == kind for rule in each["spec"]["rules"]]


def test_many_rules_are_spread_over_routes() -> None:
    paths = [route(path(f"/{number}"), to("shop/web:80" if number % 2 else "shop/new:80")) for number in range(100)]
    found = converted(plain(*paths))
    counts = [len(each["spec"]["rules"]) for each in found.documents if each["kind"] == "HTTPRoute"]
    assert [16, 16, 16, 16, 16, 16, 4] == counts
    assert 100 == sum(len(each["matches"]) for each in _rules(found, "HTTPRoute"))


def test_neighbours_that_do_the_same_share_a_rule() -> None:
    found = converted(plain(*(route(path(f"/{number}")) for number in range(100))))
    assert [64, 36] == [len(each["matches"]) for each in _rules(found, "HTTPRoute")]


def test_a_wildcard_stands_for_more_here_and_all_hosts_for_none() -> None:
    found = converted(plain(route(), hosts=("*.foo.com",)))
    assert {"*.foo.com stands for one label in an Ingress, for any number of them here": Mark.CHANGES} == told(found)
    assert "hostnames" not in only(converted(plain(route(), hosts=("*",))), "HTTPRoute")["spec"]
