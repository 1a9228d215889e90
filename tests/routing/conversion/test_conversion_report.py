"""Is each part of each Ingress told once, with what becomes of it under either class and as Gateway API?"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.routing.conversion.gateway_schema import faults

from mooring.routing.finding import ObjectName
from mooring.routing.ingress.annotations.registry import KNOWN
from mooring.routing.ingress.build import build
from mooring.routing.ingress.conversion.remark import Mark
from mooring.routing.ingress.conversion.report import ENVOY, GATEWAY, NGINX, TARGETS, IngressReport, Lacks, Report, report
from mooring.routing.ingress.documents import objects
from mooring.routing.table import RouteTable
from mooring.testing.certificates import self_signed

Document = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PREFIX = "nginx.ingress.kubernetes.io/"
CERTIFICATE = self_signed("placeholder.invalid")
ALL = (Mark.AS_IT_IS, Mark.AS_IT_IS, Mark.AS_IT_IS)


def nothing(table: RouteTable) -> Iterable[tuple[str, str]]:
    return ()


def ingress(name: str = "web", *paths: Document, class_name: str = "nginx", tls: Any = None, **annotations: str) -> Document:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    listed = [{"path": "/", "pathType": "Prefix", "backend": backend, **each} for each in paths or ({},)]
    spec = {"ingressClassName": class_name, "rules": [{"host": f"{name}.com", "http": {"paths": listed}}]}
    named = {PREFIX + key.replace("_", "-"): value for key, value in annotations.items()}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": "shop", "annotations": named},
        "spec": {**spec, **({"tls": tls} if tls else {})},
    }


def told(*documents: Document, lacks: Mapping[str, Lacks] | None = None) -> Report:
    both = {ENVOY: nothing, NGINX: nothing, **(lacks or {})}
    found = report(objects(documents), NOW, build=build, lacks=both, certificate=CERTIFICATE)
    assert [] == [fault for each in found.documents for fault in faults(dict(each))]
    return found


def marks(found: IngressReport) -> dict[str, tuple[Mark, ...]]:
    return {part.what: tuple(part.mark(target) for target in TARGETS) for part in found.parts}


def words(found: Report, target: str) -> list[str]:
    return [each.message for one in found.ingresses for part in one.parts for each in part.remarks.get(target, ())]


CASES = {
    "a plain rule": (ingress(), {"web.com/ (Prefix) -> web:80": ALL}),
    "an annotation that all can": (
        ingress(permanent_redirect="https://new.example"),
        {"web.com/ (Prefix) -> web:80": ALL, "permanent-redirect: https://new.example": (*ALL[:2], Mark.CHANGES)},
    ),
    "one that only a proxy can": (
        ingress(limit_rps="5"),
        {"web.com/ (Prefix) -> web:80": ALL, "limit-rps: 5": (*ALL[:2], Mark.CANNOT)},
    ),
    "one that nobody takes over": (
        ingress(server_snippet="return 200;"),
        {"web.com/ (Prefix) -> web:80": ALL, "server-snippet: return 200;": (Mark.CANNOT,) * 3},
    ),
    "one whose value is none": (
        ingress(ssl_redirect="perhaps"),
        {"web.com/ (Prefix) -> web:80": ALL, "ssl-redirect: perhaps": (Mark.CHANGES, Mark.CHANGES, Mark.AS_IT_IS)},
    ),
    "a Secret that is in no file": (
        ingress(auth_type="basic", auth_secret="users"),
        {
            "web.com/ (Prefix) -> web:80": ALL,
            "auth-secret: users": (*ALL[:2], Mark.CANNOT),
            "auth-type: basic": (*ALL[:2], Mark.CANNOT),
        },
    ),
    "a certificate that is in no file": (
        ingress(tls=[{"hosts": ["web.com"], "secretName": "web-tls"}]),
        {"web.com/ (Prefix) -> web:80": ALL, "TLS for web.com by web-tls": ALL},
    ),
    "another API's annotation": (
        {**ingress(), "metadata": {"name": "web", "namespace": "shop", "annotations": {"example.com/owner": "me"}}},
        {"web.com/ (Prefix) -> web:80": ALL},
    ),
}


@pytest.mark.parametrize(("document", "expected"), CASES.values(), ids=CASES)
def test_each_part_and_what_becomes_of_it(document: Document, expected: dict[str, tuple[Mark, ...]]) -> None:
    (found,) = told(document).ingresses
    assert expected == marks(found)


def test_what_is_in_no_file_is_taken_for_granted_and_told() -> None:
    found = told(ingress(tls=[{"hosts": ["web.com"], "secretName": "web-tls"}], custom_headers="shop/answers"))
    expected = (("ConfigMap", "answers"), ("Secret", "web-tls"), ("Service", "web"))
    assert tuple(ObjectName(kind, "shop", name) for kind, name in expected) == found.missing
    assert [] == words(found, ENVOY)


def test_a_named_port_needs_the_service() -> None:
    document = ingress("web", {"backend": {"service": {"name": "web", "port": {"name": "http"}}}})
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"ports": [{"name": "http", "port": 8080}]},
    }
    assert Mark.CANNOT == told(document).mark(GATEWAY)
    found = told(document, service)
    assert Mark.AS_IT_IS == found.mark(GATEWAY)
    (rule,) = [rule for each in found.documents if each["kind"] == "HTTPRoute" for rule in each["spec"]["rules"]]
    assert [{"name": "web", "port": 8080}] == rule["backendRefs"]


def test_what_a_proxy_lacks_stands_at_the_rule_and_the_other_class_is_named() -> None:
    lacks = {NGINX: lambda table: [("ingress shop/web spec.rules[0].http.paths[0]", "it cannot")]}
    found = told(ingress(), lacks=lacks)
    (each,) = found.ingresses
    assert {"web.com/ (Prefix) -> web:80": (Mark.AS_IT_IS, Mark.CANNOT, Mark.AS_IT_IS)} == marks(each)
    assert (Mark.AS_IT_IS, Mark.CANNOT) == (found.mark(ENVOY), found.mark(NGINX))


LACKS = {
    "lost": ("it cannot be limited", Mark.CANNOT),
    "closed": ("nobody knows; the route answers 503", Mark.CANNOT),
    "done otherwise": ("Envoy mirrors the body too", Mark.CHANGES),
}


@pytest.mark.parametrize(("sentence", "mark"), LACKS.values(), ids=LACKS)
def test_a_lack_is_a_loss_or_a_change(sentence: str, mark: Mark) -> None:
    lacks = {ENVOY: lambda table: [("ingress shop/web spec.rules[0].http.paths[0]", sentence)]}
    assert mark == told(ingress(), lacks=lacks).mark(ENVOY)


def test_a_lack_stands_at_the_annotation_that_asked() -> None:
    lacks = {ENVOY: lambda table: [("ingress shop/web spec.rules[0].http.paths[0]", "the affinity cookie is another")]}
    (found,) = told(ingress(affinity="cookie"), lacks=lacks).ingresses
    assert (Mark.CHANGES, Mark.AS_IT_IS) == marks(found)["affinity: cookie"][:2]
    assert Mark.AS_IT_IS == marks(found)["web.com/ (Prefix) -> web:80"][0]


def test_every_lack_is_told_even_one_that_names_no_ingress() -> None:
    found = told(ingress(), lacks={ENVOY: lambda table: [("", "the front door cannot")]})
    assert ["the front door cannot"] == [each.message for each in found.everywhere[ENVOY]]


def test_classes_are_moved_each_for_itself() -> None:
    found = told(
        ingress("web"), ingress("web", class_name="nginx-internal") | {"metadata": {"name": "two", "namespace": "shop"}}
    )
    assert ["nginx", "nginx-internal"] == [each["metadata"]["name"] for each in found.documents if each["kind"] == "Gateway"]
    assert [] == words(found, ENVOY)


def test_a_conflict_within_a_class_is_told() -> None:
    again = ingress("web") | {"metadata": {"name": "zz", "namespace": "shop"}}
    found = told(ingress("web"), again)
    assert [Mark.AS_IT_IS, Mark.CANNOT] == [each.mark(ENVOY) for each in found.ingresses]


def test_a_canary_and_its_main_become_one_route() -> None:
    canary = ingress("web", canary="true", canary_weight="10")
    canary["metadata"]["name"] = "web-canary"
    canary["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "new"
    found = told(ingress("web"), canary)
    (rule,) = [rule for each in found.documents if each["kind"] == "HTTPRoute" for rule in each["spec"]["rules"]]
    assert [("web", 90), ("new", 10)] == [(each["name"], each["weight"]) for each in rule["backendRefs"]]
    assert Mark.CHANGES == found.mark(GATEWAY)
    assert ["while new has no ready endpoint its share is answered 503, and not by web"] == words(found, GATEWAY)


def test_browsers_are_told_to_stay_with_https_by_a_header_like_any_other() -> None:
    pair = self_signed("web.com")
    data = {"tls.crt": pair.chain.decode(), "tls.key": pair.key.decode()}
    secret = {"kind": "Secret", "metadata": {"name": "web-tls", "namespace": "shop"}, "type": "kubernetes.io/tls"}
    found = told(ingress(tls=[{"hosts": ["web.com"], "secretName": "web-tls"}]), {**secret, "stringData": data})
    rules = [rule for each in found.documents if each["kind"] == "HTTPRoute" for rule in each["spec"]["rules"]]
    header = {"name": "strict-transport-security", "value": "max-age=31536000; includeSubDomains"}
    modified = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [header]}}

    assert 1 == sum(modified in rule.get("filters", ()) for rule in rules)
    assert all("backendRefs" in rule for rule in rules if modified in rule.get("filters", ()))


VALUES = ("true", "5", "/new/$1", "https://other.example/x", "users", "HTTPS", "10.0.0.0/8", "x-some-header", "\n;}")


@pytest.mark.parametrize("value", VALUES)
def test_every_annotation_has_its_row_whatever_it_says(value: str) -> None:
    """And what becomes of it is never an object that an API server refuses."""
    names = sorted(KNOWN)
    documents = [ingress(f"a{number}", **{name: value}) for number, name in enumerate(names)]
    rows = {found.name[1]: [part.what for part in found.parts] for found in told(*documents).ingresses}
    for number, name in enumerate(names):
        assert any(each.startswith(f"{name}: ") for each in rows[f"a{number}"])


COOKIE, ASKED, CLIENTS = {"affinity": "cookie"}, {"auth_url": "http://auth.example/"}, {"auth_tls_secret": "shop/ca"}
SECURE, MIRRORED = {"backend_protocol": "HTTPS", "proxy_ssl_secret": "shop/ca"}, {"mirror_target": "http://copy.example/"}
CARRIED = (
    ({}, "whitelist_source_range", "10.0.0.0/8"), ({}, "denylist_source_range", "10.0.0.0/8"),
    ({}, "auth_url", "http://a.example/"),
    (ASKED, "auth_signin", "https://a.example/in"), (ASKED, "auth_response_headers", "x-user"),
    (ASKED, "auth_method", "POST"),
    ({}, "affinity", "cookie"), (COOKIE, "affinity_mode", "persistent"), (COOKIE, "session_cookie_max_age", "60"),
    (COOKIE, "session_cookie_samesite", "Lax"), ({}, "upstream_hash_by", "$request_uri"), ({}, "load_balance", "ewma"),
    ({}, "auth_tls_secret", "shop/ca"), (CLIENTS, "auth_tls_pass_certificate_to_upstream", "true"),
    ({}, "ssl_ciphers", "HIGH"),
    ({}, "limit_rps", "3"), ({}, "limit_connections", "3"), ({}, "limit_rate", "3"), (SECURE, "proxy_ssl_verify", "on"),
    (SECURE, "proxy_ssl_name", "a.example"), ({}, "proxy_read_timeout", "5"), ({}, "proxy_connect_timeout", "7"),
    ({}, "proxy_send_timeout", "7"), ({}, "proxy_body_size", "2m"), ({}, "proxy_buffering", "on"),
    ({}, "proxy_next_upstream", "http_502"), ({}, "mirror_target", "http://copy.example/"),
    (MIRRORED, "mirror_request_body", "off"),
    ({}, "service_upstream", "true"), ({}, "ssl_passthrough", "true"), ({}, "server_alias", "b.example"),
    ({}, "app_root", "/app"),
    ({}, "rewrite_target", "/new"), ({}, "permanent_redirect", "https://a.example"), ({}, "from_to_www_redirect", "true"),
    ({}, "enable_cors", "true"), ({"enable_cors": "true"}, "cors_max_age", "5"), ({}, "upstream_vhost", "a.example"),
    ({"default_backend": "web"}, "custom_http_errors", "404"), ({}, "default_backend", "other"),
    ({}, "backend_protocol", "FCGI"),
    ({}, "custom_headers", "shop/answers"), ({}, "ssl_redirect", "false"),
)  # fmt: skip


@pytest.mark.parametrize(("beside", "name", "value"), CARRIED, ids=[name for _, name, _ in CARRIED])
def test_nothing_is_dropped_in_silence(beside: dict[str, str], name: str, value: str) -> None:
    """What an annotation asks for shows in the objects, or its row says that it does not."""
    tls = [{"hosts": ["web.com"], "secretName": "web-tls"}]
    answers = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "answers", "namespace": "shop"},
        "data": {"X-A": "1"},
    }
    before, after = told(answers, ingress(tls=tls, **beside)), told(answers, ingress(tls=tls, **beside, **{name: value}))
    (found,) = after.ingresses
    (row,) = [part for part in found.parts if part.what.startswith(f"{name.replace('_', '-')}: ")]
    assert before.documents != after.documents or row.mark(GATEWAY) != Mark.AS_IT_IS
