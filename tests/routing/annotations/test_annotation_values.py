"""Does each annotation of ingress-nginx mean what it means upstream, and is a value that means nothing told?"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from annotated import OBJECTS, reading, told

from mooring.model.ingress import Ingress
from mooring.model.meta import Meta
from mooring.routing.ingress.annotations import read
from mooring.routing.ingress.annotations.annotation import Kind
from mooring.routing.ingress.annotations.registry import KNOWN
from mooring.routing.ingress.wishes import PLAIN, Canary, SslRedirect, Wishes
from mooring.routing.table import (
    Access,
    Balance,
    Cluster,
    CookieAffinity,
    Cors,
    Fixed,
    HashKey,
    HashOn,
    HeaderChanges,
    Mirror,
    Policy,
    RateLimit,
    Redirect,
    Retry,
    RetryOn,
    Speaks,
    Template,
    UpstreamTls,
    Variable,
)

BAD, REFUSED, IGNORED = "Invalid", "Refused", "Ignored"
CORS = Cors(
    methods=("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"),
    headers=(
        "DNT",
        "Keep-Alive",
        "User-Agent",
        "X-Requested-With",
        "If-Modified-Since",
        "Cache-Control",
        "Content-Type",
        "Range",
        "Authorization",
    ),
)
STICKY = CookieAffinity("INGRESSCOOKIE", path="")


@dataclass(frozen=True)
class Row:
    means: str
    given: dict[str, str]
    wished: dict[str, Any] = field(default_factory=dict)
    told: set[tuple[str, str]] = field(default_factory=set)


def policy(**changed: Any) -> dict[str, Any]:
    return {"policy": Policy(**{"buffer_response": False, **changed})}


def one(name: str, value: str, reason: str = BAD, **also: str) -> Row:
    """A value that changes nothing, and is told."""
    return Row(
        f"{name}: {value!r} is told",
        {name: value, **{key.replace("_", "-"): text for key, text in also.items()}},
        {},
        {(name, reason)},
    )


def redirected(name: str, status: int, code: str) -> Row:
    """The code is none: the usual one."""
    wished = {"redirect": Redirect(status, url=Template(("http://a",)))}
    return Row(f"{name}-code {code} is told", {name: "http://a", f"{name}-code": code}, wished, {(f"{name}-code", BAD)})


def mirrored(means: str, given: dict[str, str], told: set[tuple[str, str]] | None = None, **changed: Any) -> Row:
    wished = {
        "mirror": Mirror(**{"cluster": "http://test:8080", "host": "test", "path": Template(("/",)), **changed}),
        "clusters": (Cluster("http://test:8080", Fixed("test", 8080), source="ingress shop/web"),),
    }
    return Row(means, {"mirror-target": "http://test:8080", **given}, wished, told or set())


def cors(means: str, given: dict[str, str], told: set[tuple[str, str]] | None = None, **changed: Any) -> Row:
    usual = {key: getattr(CORS, key) for key in CORS.__struct_fields__} | {"credentials": "cors-allow-origin" in given}
    wished = {"cors": Cors(**{**usual, **changed})}
    return Row(means, {"enable-cors": "true", **given}, wished, told or set())


def sticky(means: str, given: dict[str, str], told: set[tuple[str, str]] | None = None, **changed: Any) -> Row:
    wished = {"affinity": CookieAffinity(**{"name": "INGRESSCOOKIE", "path": "", **changed})}
    return Row(means, {"affinity": "cookie", **given}, wished, told or set())


PATHS = [
    Row("a rewrite makes paths regular expressions", {"rewrite-target": "/$1/x"}, {"rewrite": "/$1/x"}),
    Row("a rewrite without a slash gets one", {"rewrite-target": "x"}, {"rewrite": "/x"}),
    one("rewrite-target", "/x?a=$1"),
    one("rewrite-target", "/$0"),
    one("rewrite-target", "/$x"),
    one("rewrite-target", "/x; return 200"),
    one("rewrite-target", "https://foo.com/$1", REFUSED),
    Row("use-regex", {"use-regex": "true"}, {"regex": True}),
    Row("T is true in Go", {"use-regex": "T"}, {"regex": True}),
    one("use-regex", "yes"),
    one("use-regex", " true"),
    Row("app-root", {"app-root": "/app"}, {"app_root": "/app"}),
    one("app-root", "app"),
    one("app-root", "//evil.example"),
    one("app-root", "http://x/"),
    one("app-root", "/$1"),
    Row("no redirect to https", {"ssl-redirect": "false"}, {"ssl_redirect": SslRedirect.NO}),
    one("ssl-redirect", "no"),
    Row("always to https", {"force-ssl-redirect": "true", "ssl-redirect": "false"}, {"ssl_redirect": SslRedirect.ALWAYS}),
    one("force-ssl-redirect", "on"),
    Row(
        "permanent-redirect",
        {"permanent-redirect": "https://new.example.org"},
        {"redirect": Redirect(301, url=Template(("https://new.example.org",)))},
    ),
    Row(
        "permanent-redirect with a variable and a code",
        {"permanent-redirect": "https://new.example.org$request_uri", "permanent-redirect-code": "308"},
        {"redirect": Redirect(308, url=Template(("https://new.example.org", Variable.REQUEST_URI)))},
    ),
    one("permanent-redirect", "ftp://x"),
    one("permanent-redirect", "https://x/$upstream_addr"),
    one("permanent-redirect", "https://x/{y}"),
    redirected("permanent-redirect", 301, "200"),
    redirected("permanent-redirect", 301, "3o1"),
    one("permanent-redirect-code", "308", IGNORED),
    Row(
        "temporal-redirect wins over permanent-redirect",
        {"temporal-redirect": "http://a", "permanent-redirect": "http://b", "temporal-redirect-code": "307"},
        {"redirect": Redirect(307, url=Template(("http://a",)))},
    ),
    one("temporal-redirect", "javascript:alert(1)"),
    redirected("temporal-redirect", 302, "304"),
    one("temporal-redirect-code", "307", IGNORED),
    Row("www", {"from-to-www-redirect": "true"}, {"www_redirect": True}),
    one("from-to-www-redirect", "1.0"),
    Row(
        "aliases",
        {"server-alias": "A.example.org, *.b.example.org,,a.example.org"},
        {"aliases": ("a.example.org", "*.b.example.org")},
    ),
    Row(
        "a bad alias alone is left out",
        {"server-alias": "a.org,~^www\\d+$"},
        {"aliases": ("a.org",)},
        {("server-alias", REFUSED)},
    ),
    one("server-alias", "a.org; server b", REFUSED),
]

TRANSFER = [
    Row(
        "times",
        {"proxy-connect-timeout": "7", "proxy-read-timeout": "+3600", "proxy-send-timeout": "8"},
        policy(connect=7.0, read=3600.0, send=8.0),
    ),
    one("proxy-connect-timeout", "5s"),
    one("proxy-read-timeout", "-1"),
    one("proxy-send-timeout", "99999999999999999999999"),
    Row("a size", {"proxy-body-size": "8M"}, policy(body=8 * 1024**2)),
    Row("a size with a blank", {"proxy-body-size": "8 m"}, policy(body=8 * 1024**2)),
    Row("a buffer that is large enough anyhow", {"proxy-buffer-size": "16k"}),
    one("proxy-buffer-size", "128k", REFUSED),
    one("proxy-buffer-size", "big"),
    Row("no limit of size", {"proxy-body-size": "0"}, policy(body=0)),
    one("server-alias", "a" * 254, REFUSED),
    one("proxy-body-size", "8mb"),
    one("proxy-body-size", "99999999999999999g"),
    Row("bodies go on as they come", {"proxy-request-buffering": "off"}, policy(buffer_request=False)),
    one("proxy-request-buffering", "false"),
    Row("answers are buffered", {"proxy-buffering": "on"}, policy(buffer_response=True)),
    one("proxy-buffering", "On"),
    Row(
        "what is tried again",
        {
            "proxy-next-upstream": "error http_502 http_503 non_idempotent",
            "proxy-next-upstream-tries": "2",
            "proxy-next-upstream-timeout": "9",
        },
        policy(retry=Retry(2, (RetryOn.CONNECT, RetryOn.ERROR, RetryOn.STATUS), (502, 503), non_idempotent=True, timeout=9.0)),
    ),
    Row("nothing is tried again", {"proxy-next-upstream": "off"}, policy(retry=Retry(1, ()))),
    Row("no limit of attempts is a hundred", {"proxy-next-upstream-tries": "0"}, policy(retry=Retry(100))),
    one("proxy-next-upstream", "error http_418"),
    one("proxy-next-upstream", "error;"),
    one("proxy-next-upstream-tries", "three"),
    one("proxy-next-upstream-timeout", "-5"),
    Row("no upgrades", {"connection-proxy-header": "keep-alive"}, policy(websocket=False)),
    one("connection-proxy-header", "upgrade"),
]

BACKEND = [
    Row("HTTPS in any letter case", {"backend-protocol": "https"}, {"speaks": Speaks.HTTP1, "tls": UpstreamTls()}),
    Row("gRPC", {"backend-protocol": "GRPC"}, {"speaks": Speaks.GRPC}),
    Row("gRPC over TLS", {"backend-protocol": "GRPCS"}, {"speaks": Speaks.GRPC, "tls": UpstreamTls()}),
    Row("FastCGI", {"backend-protocol": "FCGI"}, {"speaks": Speaks.FASTCGI}),
    Row("another protocol is HTTP", {"backend-protocol": "AJP"}, {"speaks": Speaks.HTTP1}, {("backend-protocol", BAD)}),
    Row("AUTO_HTTP is HTTP", {"backend-protocol": "AUTO_HTTP"}, {"speaks": Speaks.HTTP1}, {("backend-protocol", BAD)}),
    Row("the backend's host", {"upstream-vhost": "inner.example.org:81"}, {"host": "inner.example.org:81"}),
    Row("$host changes nothing", {"upstream-vhost": "$host"}),
    one("upstream-vhost", "$service_name.$namespace", REFUSED),
    one("upstream-vhost", 'a"b'),
    Row(
        "headers of answers",
        {"custom-headers": "shop/answers"},
        {
            "response_headers": HeaderChanges(
                set=(("strict-transport-security", "max-age=1; preload"), ("x-host", Template((Variable.HOST,))))
            )
        },
    ),
    Row(
        "headers that cannot be set are told",
        {"custom-headers": "bad-values"},
        {"response_headers": HeaderChanges(set=(("x-c", "c"),))},
        {("custom-headers", REFUSED)},
    ),
    Row(
        "X-Forwarded-Prefix",
        {"rewrite-target": "/", "x-forwarded-prefix": "/shop"},
        {"rewrite": "/", "request_headers": HeaderChanges(set=(("x-forwarded-prefix", "/shop"),))},
    ),
    one("x-forwarded-prefix", "/shop", IGNORED),
    one("x-forwarded-prefix", "/$1", REFUSED),
    one("x-forwarded-prefix", "/a b"),
    Row(
        "error pages",
        {"default-backend": "pages", "custom-http-errors": "404, 503,"},
        {"default_backend": "pages", "error_statuses": (404, 503)},
    ),
    one("default-backend", "nobody"),
    one("default-backend", "Bad_Name"),
    one("custom-http-errors", "404", REFUSED),
    one("custom-http-errors", "200"),
    Row(
        "error pages off",
        {"default-backend": "pages", "custom-http-errors": "404", "disable-proxy-intercept-errors": "true"},
        {"default_backend": "pages"},
    ),
    one("disable-proxy-intercept-errors", "off"),
    Row(
        "a mirror",
        {"mirror-target": "https://test.example.org$request_uri", "mirror-request-body": "off"},
        {
            "mirror": Mirror(
                "https://test.example.org:443", host="test.example.org", path=Template((Variable.REQUEST_URI,)), body=False
            ),
            "clusters": (
                Cluster(
                    "https://test.example.org:443",
                    Fixed("test.example.org", 443),
                    tls=UpstreamTls("test.example.org"),
                    source="ingress shop/web",
                ),
            ),
        },
    ),
    mirrored("a mirror with a host of its own", {"mirror-host": "x.example.org"}, host="x.example.org"),
    mirrored("a bad choice of body", {"mirror-request-body": "no"}, {("mirror-request-body", BAD)}),
    mirrored("a bad host of a mirror", {"mirror-host": "a;b"}, {("mirror-host", BAD)}),
    one("mirror-request-body", "off", IGNORED),
    one("mirror-host", "a", IGNORED),
    one("mirror-target", "test", REFUSED),
    one("mirror-target", "http://127.0.0.1:9901/", REFUSED),
    one("mirror-target", "http://$http_x/", REFUSED),
]

BALANCE = [
    Row("ewma", {"load-balance": "ewma"}, {"balance": Balance.EWMA}),
    one("load-balance", "least_conn"),
    one("load-balance", "chash", REFUSED),
    Row("the cluster IP", {"service-upstream": "true"}, {"service_upstream": True}),
    one("service-upstream", "enabled"),
    Row(
        "hashing on several",
        {"upstream-hash-by": "${request_uri}-text-$http_x_user$cookie_id$arg_q", "load-balance": "ewma"},
        {
            "balance": Balance.HASH,
            "hash_on": (
                HashKey(HashOn.PATH),
                HashKey(HashOn.HEADER, "x-user"),
                HashKey(HashOn.COOKIE, "id"),
                HashKey(HashOn.QUERY, "q"),
            ),
        },
    ),
    Row(
        "hashing on the client",
        {"upstream-hash-by": "$binary_remote_addr"},
        {"balance": Balance.HASH, "hash_on": (HashKey(HashOn.SOURCE_ADDRESS),)},
    ),
    one("upstream-hash-by", "$uri", REFUSED),
    one("upstream-hash-by", "text", REFUSED),
    one("upstream-hash-by", "$host;"),
    one("upstream-hash-by", "${host", REFUSED),
    sticky("a cookie", {}),
    one("affinity", "ip"),
    sticky(
        "all of a cookie",
        {
            "session-cookie-name": "route",
            "session-cookie-max-age": "60",
            "session-cookie-expires": "90",
            "session-cookie-path": "/a",
            "session-cookie-domain": "example.org",
            "session-cookie-samesite": "none",
            "session-cookie-secure": "true",
            "session-cookie-change-on-failure": "true",
            "affinity-mode": "persistent",
        },
        name="route",
        seconds=60,
        path="/a",
        domain="example.org",
        same_site="None",
        secure=True,
        strict=True,
        change_on_failure=True,
    ),
    sticky("expires alone", {"session-cookie-expires": "90"}, seconds=90),
    sticky("a name with a dot", {"session-cookie-name": "my.cookie~1"}, name="my.cookie~1"),
    sticky("a bad name", {"session-cookie-name": "a/b"}, {("session-cookie-name", BAD)}),
    sticky("a name that injects", {"session-cookie-name": "a; b"}, {("session-cookie-name", BAD)}),
    sticky("a bad age", {"session-cookie-max-age": "-1"}, {("session-cookie-max-age", BAD)}),
    sticky("a bad expiry", {"session-cookie-expires": "1h"}, {("session-cookie-expires", BAD)}),
    sticky("a bad path", {"session-cookie-path": "a; Domain=x"}, {("session-cookie-path", BAD)}),
    sticky("a bad domain", {"session-cookie-domain": "a/b"}, {("session-cookie-domain", BAD)}),
    sticky("a bad samesite", {"session-cookie-samesite": "Some"}, {("session-cookie-samesite", BAD)}),
    sticky("a bad secure", {"session-cookie-secure": "x"}, {("session-cookie-secure", BAD)}),
    sticky("a bad change", {"session-cookie-change-on-failure": "x"}, {("session-cookie-change-on-failure", BAD)}),
    sticky("a bad mode", {"affinity-mode": "x"}, {("affinity-mode", BAD)}),
    one("session-cookie-name", "x", IGNORED),
    Row("legacy canaries", {"affinity-canary-behavior": "legacy"}, {"affinity_canary_sticky": False}),
    one("affinity-canary-behavior", "x"),
]

CANARY = [
    Row("a share", {"canary": "true", "canary-weight": "30"}, {"canary": Canary(30)}),
    Row(
        "a share of another total",
        {"canary": "true", "canary-weight": "300", "canary-weight-total": "1000"},
        {"canary": Canary(300, 1000)},
    ),
    Row(
        "header, value and cookie",
        {"canary": "true", "canary-by-header": "X-Canary", "canary-by-header-value": "me", "canary-by-cookie": "canary"},
        {"canary": Canary(header="x-canary", value="me", cookie="canary")},
    ),
    Row(
        "a pattern is looked for anywhere",
        {"canary": "true", "canary-by-header": "X-Canary", "canary-by-header-pattern": "v[0-9]{2}"},
        {"canary": Canary(header="x-canary", pattern="(?s:.*(?:v[0-9]{2}).*)")},
    ),
    Row(
        "without canary: true its rules are told",
        {"canary-weight": "30", "canary-by-header": "x", "canary-by-cookie": "x", "canary-weight-total": "9"},
        {},
        {(name, BAD) for name in ("canary-weight", "canary-by-header", "canary-by-cookie", "canary-weight-total")},
    ),
    one("canary", "maybe"),
    Row("a share above the total", {"canary": "true", "canary-weight": "101"}, {"canary": Canary()}, {("canary-weight", BAD)}),
    Row(
        "a total of nothing",
        {"canary": "true", "canary-weight-total": "0"},
        {"canary": Canary()},
        {("canary-weight-total", BAD)},
    ),
    Row("a bad header", {"canary": "true", "canary-by-header": "a:b"}, {"canary": Canary()}, {("canary-by-header", BAD)}),
    Row("a bad cookie", {"canary": "true", "canary-by-cookie": "a=b"}, {"canary": Canary()}, {("canary-by-cookie", BAD)}),
    Row(
        "a bad value: no rule, rather than one for always",
        {"canary": "true", "canary-by-header": "x", "canary-by-header-value": "a b"},
        {"canary": Canary()},
        {("canary-by-header-value", BAD)},
    ),
    Row(
        "what RE2 does not know",
        {"canary": "true", "canary-by-header": "x", "canary-by-header-pattern": "(?=a)"},
        {"canary": Canary()},
        {("canary-by-header-pattern", BAD)},
    ),
    Row(
        "a canary takes the rest from its main Ingress",
        {"canary": "true", "affinity": "cookie", "rewrite-target": "/x", "auth-url": "bad"},
        {"canary": Canary(), "affinity": STICKY},
        {("rewrite-target", IGNORED), ("auth-url", IGNORED)},
    ),
]

ACCESS = [
    Row(
        "source ranges",
        {
            "allowlist-source-range": "10.0.0.0/8, 192.0.2.7,10.0.0.0/8",
            "whitelist-source-range": "x",
            "denylist-source-range": "10.1.0.1/16,fd00::/8",
        },
        {"access": Access(("10.0.0.0/8", "192.0.2.7/32"), ("10.1.0.0/16", "fd00::/8"))},
    ),
    Row("the old name", {"whitelist-source-range": "10.0.0.0/8"}, {"access": Access(("10.0.0.0/8",))}),
    Row("any is enough", {"satisfy": "any"}, {"satisfy_any": True}),
    one("satisfy", "ANY"),
    Row(
        "limits",
        {
            "limit-rps": "5",
            "limit-rpm": "100",
            "limit-connections": "3",
            "limit-burst-multiplier": "2",
            "limit-allowlist": "10.0.0.0/8",
            "limit-rate": "10",
            "limit-rate-after": "20",
        },
        {"rate": RateLimit(5, 100, 3, 2, ("10.0.0.0/8",), bytes_per_second=10240, bytes_after=20480)},
    ),
    Row(
        "the old name of who is exempt",
        {"limit-rps": "5", "limit-whitelist": "10.0.0.1"},
        {"rate": RateLimit(5, exempt=("10.0.0.1/32",))},
    ),
    Row(
        "with a bad list nobody is exempt",
        {"limit-rps": "5", "limit-allowlist": "x"},
        {"rate": RateLimit(5)},
        {("limit-allowlist", BAD)},
    ),
    Row("as with the old name", {"limit-rps": "5", "limit-whitelist": "x"}, {"rate": RateLimit(5)}, {("limit-whitelist", BAD)}),
    *(one(name, "-1") for name in ("limit-rps", "limit-rpm", "limit-connections", "limit-rate")),
    Row(
        "a burst of nothing",
        {"limit-rps": "5", "limit-burst-multiplier": "0"},
        {"rate": RateLimit(5)},
        {("limit-burst-multiplier", BAD)},
    ),
    Row(
        "a bad beginning",
        {"limit-rate": "1", "limit-rate-after": "x"},
        {"rate": RateLimit(bytes_per_second=1024)},
        {("limit-rate-after", BAD)},
    ),
    *(one(name, "9", IGNORED) for name in ("limit-burst-multiplier", "limit-allowlist", "limit-whitelist", "limit-rate-after")),
]

CORS_ROWS = [
    cors("defaults", {}),
    one("enable-cors", "on"),
    cors(
        "origins",
        {"cors-allow-origin": "https://a.org, http://*.b.org:81,null"},
        origins=("https://a.org", "http://*.b.org:81", "null"),
    ),
    cors(
        "a bad origin alone is left out",
        {"cors-allow-origin": "https://a.org,a.b"},
        {("cors-allow-origin", BAD)},
        origins=("https://a.org",),
    ),
    Row(
        "with bad origins alone nobody is allowed",
        {"enable-cors": "true", "cors-allow-origin": "https://$x"},
        {},
        {("cors-allow-origin", BAD)},
    ),
    cors(
        "lists",
        {"cors-allow-methods": "GET, POST", "cors-allow-headers": "X-A,x_b", "cors-expose-headers": "*, X-C"},
        methods=("GET", "POST"),
        headers=("X-A", "x_b"),
        expose=("*", "X-C"),
    ),
    cors("bad methods", {"cors-allow-methods": "GET;"}, {("cors-allow-methods", BAD)}),
    cors("bad headers", {"cors-allow-headers": "a:b"}, {("cors-allow-headers", BAD)}),
    cors("bad exposed headers", {"cors-expose-headers": "a\nb"}, {("cors-expose-headers", BAD)}),
    cors(
        "credentials and age",
        {"cors-allow-origin": "https://a.org", "cors-allow-credentials": "false", "cors-max-age": "600"},
        origins=("https://a.org",),
        credentials=False,
        max_age=600,
    ),
    cors(
        "every origin gets no credentials",
        {"cors-allow-origin": "*", "cors-allow-credentials": "true"},
        {("cors-allow-credentials", IGNORED)},
        credentials=False,
    ),
    cors(
        "bad credentials",
        {"cors-allow-origin": "null", "cors-allow-credentials": "no"},
        {("cors-allow-credentials", BAD)},
        origins=("null",),
    ),
    cors("a bad age", {"cors-max-age": "1d"}, {("cors-max-age", BAD)}),
    one("cors-max-age", "600", IGNORED),
]

REST = [
    Row("no access log", {"enable-access-log": "false"}, policy(access_log=False)),
    Row("an access log", {"enable-access-log": "true"}),
    one("enable-access-log", "off"),
    Row("passthrough", {"ssl-passthrough": "true"}, {"passthrough": True}),
    one("ssl-passthrough", "yes"),
    Row(
        "ciphers", {"ssl-ciphers": "ECDHE-RSA-AES128-GCM-SHA256:!aNULL"}, {"ssl_ciphers": "ECDHE-RSA-AES128-GCM-SHA256:!aNULL"}
    ),
    one("ssl-ciphers", "ALL", REFUSED),
    one("ssl-ciphers", "DES-CBC3-SHA", REFUSED),
    one("ssl-ciphers", "A;B"),
    Row("false asks for nothing", {"proxy-cookie-path": "off", "secure-backends": "false"}),
    Row("a near name is told", {"rewrite-traget": "/"}, {}, {("rewrite-traget", "Unknown")}),
]

ROWS = [*PATHS, *TRANSFER, *BACKEND, *BALANCE, *CANARY, *ACCESS, *CORS_ROWS, *REST]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.means)
def test_means(row: Row) -> None:
    wishes, findings = reading(row.given)
    assert row.told == told(findings)
    assert Wishes(**row.wished) == wishes


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if known.kind is not Kind.UNDERSTOOD])
def test_what_is_not_done_is_told_and_changes_nothing(name: str) -> None:
    wishes, findings = reading({name: "true"})
    assert {(name, IGNORED if KNOWN[name].kind is Kind.NO_OP else REFUSED)} == told(findings)
    assert PLAIN == wishes


def test_an_unknown_name_is_told_with_the_nearest_one() -> None:
    _, findings = reading({"proxy-bodysize": "8m"})
    assert ["ingress-nginx has no such annotation; did you mean proxy-body-size?"] == [found.message for found in findings]


def test_of_very_many_unknown_names_the_first_are_told() -> None:
    _, findings = reading({f"name-{number:04}": "" for number in range(2000)})
    assert 10 == len(findings)
    assert findings[-1].message.endswith("; nor the 1990 after it")


def test_other_prefixes_are_not_looked_at() -> None:
    web = Ingress(Meta("web", "shop", annotations={"nginx.org/rewrites": "x", "use-regex": "true"}))
    assert (PLAIN, ()) == read(web, OBJECTS)


TESTED_ELSEWHERE = ("auth-", "proxy-ssl-")


def test_every_annotation_is_in_a_row_above_or_in_test_annotation_guards() -> None:
    rows = {name for row in ROWS for name in row.given}
    understood = {
        name for name, known in KNOWN.items() if known.kind is Kind.UNDERSTOOD and not name.startswith(TESTED_ELSEWHERE)
    }
    assert {
        "configuration-snippet",
        "server-snippet",
        "stream-snippet",
        "enable-modsecurity",
        "modsecurity-snippet",
    } == understood - rows


def test_every_understood_annotation_has_a_row_with_a_value_that_is_told() -> None:
    told_of = {name for row in ROWS for name, _ in row.told}
    rows = {name for row in ROWS for name in row.given if name in KNOWN and KNOWN[name].kind is Kind.UNDERSTOOD}
    assert {"whitelist-source-range", "allowlist-source-range", "denylist-source-range"} == rows - told_of - {"auth-url"}
