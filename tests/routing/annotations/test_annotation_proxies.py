"""Do both real proxies take whatever the annotations can wish?

Every row of the tables beside this that wishes for something is an Ingress with a host of its own; all are served at once.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from annotated import OBJECTS, ingress
from msgspec import structs
from test_annotation_guards import ASK, BASIC, CLOSED
from test_annotation_values import ROWS
from tests.routing.proxy_lab import both

from mooring.model.ingress import (
    HttpIngressPath,
    HttpIngressRuleValue,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressClassSpec,
    IngressRule,
    IngressServiceBackend,
    IngressSpec,
    IngressTls,
    ServiceBackendPort,
)
from mooring.model.meta import Meta
from mooring.model.service import Service, ServicePortSpec, ServiceSpec
from mooring.ports.proxy import Rejection
from mooring.routing.ingress.build import build
from mooring.routing.ingress.objects import Secret
from mooring.routing.table import RouteTable
from mooring.testing.certificates import self_signed

PAIR = self_signed("inner.example.org")
CA = {"ca.crt": PAIR.chain, "tls.crt": PAIR.chain, "tls.key": PAIR.key}
FULL: list[Mapping[str, str]] = [
    BASIC,
    {
        **BASIC,
        "auth-secret": "map",
        "auth-secret-type": "auth-map",
        "auth-realm": "Our shop",
        "satisfy": "any",
        "allowlist-source-range": "10.0.0.0/8",
    },
    {
        **ASK,
        "auth-signin": "https://$host/in?a=b",
        "auth-response-headers": "x-a,x-b",
        "auth-method": "POST",
        "auth-always-set-cookie": "true",
    },
    {**ASK, "auth-proxy-set-headers": "answers", "auth-request-redirect": "/seen"},
    {"auth-url": "https://$host/oauth2/auth?u=$escaped_request_uri"},
    {
        "auth-tls-secret": "shop/whole",
        "auth-tls-error-page": "https://a.org/x",
        "auth-tls-pass-certificate-to-upstream": "true",
    },
    {"limit-rps": "1000000", "limit-rpm": "1000000", "limit-burst-multiplier": "1000", "limit-connections": "65535"},
    {
        "limit-rate": "2147483647",
        "limit-rate-after": "2147483647",
        "proxy-body-size": "9007199254740992",
        "enable-cors": "true",
    },
    {f"proxy-{kind}-timeout": "2147483" for kind in ("connect", "read", "send", "next-upstream")},
    {"proxy-next-upstream-tries": "2147483647", "affinity": "cookie", "session-cookie-max-age": "2147483647"},
    {
        "cors-max-age": "2147483647",
        "enable-cors": "true",
        "cors-allow-origin": ",".join(f"https://o{n}.org" for n in range(300)),
    },
    {"allowlist-source-range": ",".join(f"10.{n}.0.0/16" for n in range(256)), "denylist-source-range": "::/0"},
    {"rewrite-target": "/" + "a" * 2000, "x-forwarded-prefix": "/" + "b" * 2000},
    {"permanent-redirect": "https://" + "c" * 2000},
    {"backend-protocol": "HTTPS", "proxy-ssl-secret": "shop/whole", "proxy-ssl-verify": "on", "proxy-ssl-name": "a.b"},
]
GIVEN = [*(row.given for row in ROWS if row.wished), *(row[1] for row in CLOSED[:3]), *FULL]


def web(number: int, annotations: Mapping[str, str]) -> Ingress:
    host = f"h{number}.example.org"
    backend = IngressBackend(IngressServiceBackend("web", ServiceBackendPort(number=80)))
    paths = tuple(HttpIngressPath(backend, "ImplementationSpecific", path) for path in ("/a(.*)", "/b"))
    made = ingress(annotations, (host,))
    spec = IngressSpec("all", tls=(IngressTls((host,)),), rules=(IngressRule(host, HttpIngressRuleValue(paths)),))
    return structs.replace(made, metadata=structs.replace(made.metadata, name=f"web-{number}"), spec=spec)


def table() -> RouteTable:
    ports = ServiceSpec(ports=(ServicePortSpec(80),))
    objects = structs.replace(
        OBJECTS,
        ingresses={("shop", f"web-{number}"): web(number, given) for number, given in enumerate(GIVEN)},
        classes={"all": IngressClass(Meta("all"), IngressClassSpec("mooring.dev/envoy"))},
        services={("shop", name): Service(Meta(name, "shop"), ports) for name in ("web", "pages")},
        secrets={**OBJECTS.secrets, ("shop", "whole"): Secret("kubernetes.io/tls", CA)},
        default_certificate=self_signed("default.example.org"),
    )
    return build(objects, "all", datetime(2026, 6, 1, tzinfo=UTC)).table


def test_both_proxies_take_all_of_it(tmp_path: Path) -> None:
    whole = table()
    with both(tmp_path) as proxies:
        for proxy in proxies:
            rejected: list[Rejection] = []
            proxy.subscribe(rejected.extend)
            # What is rejected is told when the proxy has found out what it is, which is before it takes the next table.
            proxy.serve(whole, {})
            proxy.serve(whole, {})
            assert [] == rejected, proxy.name
