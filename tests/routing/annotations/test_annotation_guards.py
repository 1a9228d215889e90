"""Does what keeps people out close the rules where it cannot be done, and never open them?"""

from pathlib import Path

import pytest
from annotated import OBJECTS, SHA, reading, told
from msgspec import structs

from mooring.edges.spare_certificate import spare_certificate
from mooring.routing.ingress.annotations.registry import KNOWN
from mooring.routing.ingress.objects import Objects, Secret
from mooring.routing.ingress.wishes import PLAIN, Wishes
from mooring.routing.table import (
    BasicAuth,
    Certificate,
    ClientCertificates,
    Cluster,
    ExternalAuth,
    Fixed,
    Speaks,
    Template,
    UpstreamTls,
    Variable,
    Verify,
)

BOB = "$apr1$abcdefgh$1234567890123456789012"
BASIC = {"auth-type": "basic", "auth-secret": "users"}
ASK = {"auth-url": "http://auth.shop.svc:8080/check"}

CLOSED: list[tuple[str, dict[str, str], str]] = [
    ("a source range that is none", {"allowlist-source-range": "10.0.0.0/33"}, "allowlist-source-range"),
    ("an empty source range", {"allowlist-source-range": ""}, "allowlist-source-range"),
    ("a source range by its old name", {"whitelist-source-range": "office"}, "whitelist-source-range"),
    ("a scoped address", {"denylist-source-range": "fe80::1%eth0"}, "denylist-source-range"),
    ("digest authentication", {"auth-type": "digest", "auth-secret": "users"}, "auth-type"),
    ("an authentication that is none", {"auth-type": "Basic", "auth-secret": "users"}, "auth-type"),
    ("no Secret named", {"auth-type": "basic"}, "auth-secret"),
    ("no such Secret", {"auth-type": "basic", "auth-secret": "nobody"}, "auth-secret"),
    ("a Secret of another namespace", {"auth-type": "basic", "auth-secret": "other/users"}, "auth-secret"),
    ("a Secret's name that is none", {"auth-type": "basic", "auth-secret": "a/b/c"}, "auth-secret"),
    ("a Secret without the key", {"auth-type": "basic", "auth-secret": "map"}, "auth-secret"),
    ("a Secret without usable users", {"auth-type": "basic", "auth-secret": "all-bad"}, "auth-secret"),
    ("an empty map of users", {"auth-type": "basic", "auth-secret": "empty", "auth-secret-type": "auth-map"}, "auth-secret"),
    ("a Secret's form that is none", {**BASIC, "auth-secret-type": "htpasswd"}, "auth-secret-type"),
    ("an authentication server that is no URL", {"auth-url": "auth.shop.svc"}, "auth-url"),
    ("one that injects", {"auth-url": "http://a/;\nallow all"}, "auth-url"),
    ("one with an unknown variable", {"auth-url": "http://a/$upstream_addr"}, "auth-url"),
    ("one whose host is a client's choice", {"auth-url": "http://$http_x/"}, "auth-url"),
    ("one in the proxy's own pod", {"auth-url": "http://localhost:9901/"}, "auth-url"),
    ("one in the proxy's own pod, hidden", {"auth-url": "http://2130706433/"}, "auth-url"),
    ("one at a port that is none", {"auth-url": "http://a:99999/"}, "auth-url"),
    ("one with a name and password", {"auth-url": "http://u:p@a/"}, "auth-url"),
    ("a method that is none", {**ASK, "auth-method": "get"}, "auth-method"),
    ("a header that is the proxy's", {**ASK, "auth-response-headers": "X-A,Host"}, "auth-response-headers"),
    ("headers that are none", {**ASK, "auth-response-headers": "X-A: b"}, "auth-response-headers"),
    ("a missing ConfigMap of headers", {**ASK, "auth-proxy-set-headers": "shop/nobody"}, "auth-proxy-set-headers"),
    ("a ConfigMap of another namespace", {**ASK, "auth-proxy-set-headers": "other/answers"}, "auth-proxy-set-headers"),
    ("a ConfigMap whose keys are no headers", {**ASK, "auth-proxy-set-headers": "bad-names"}, "auth-proxy-set-headers"),
    ("a snippet for the question", {**ASK, "auth-snippet": "proxy_set_header A b;"}, "auth-snippet"),
    ("a missing ConfigMap of answers' headers", {"custom-headers": "nobody"}, "custom-headers"),
    ("no such authorities", {"auth-tls-secret": "shop/nobody"}, "auth-tls-secret"),
    ("authorities without a namespace", {"auth-tls-secret": "users"}, "auth-tls-secret"),
    ("authorities of another namespace", {"auth-tls-secret": "other/users"}, "auth-tls-secret"),
    ("a Secret without authorities", {"auth-tls-secret": "shop/users"}, "auth-tls-secret"),
    ("a check of the subject", {"auth-tls-match-cn": "CN=ann"}, "auth-tls-match-cn"),
    ("no such certificate for backends", {"proxy-ssl-secret": "shop/nobody"}, "proxy-ssl-secret"),
    ("a Secret without one", {"proxy-ssl-secret": "shop/users"}, "proxy-ssl-secret"),
    ("a snippet that denies", {"configuration-snippet": "deny 10.0.0.1;"}, "configuration-snippet"),
    ("a snippet that answers 403", {"configuration-snippet": "if ($http_a = b) {\n return 403;\n}"}, "configuration-snippet"),
    ("a snippet for the server that asks for a password", {"server-snippet": "auth_basic x;"}, "server-snippet"),
    ("enforced rules of ModSecurity", {"modsecurity-snippet": "SecRuleEngine On"}, "modsecurity-snippet"),
]

OPEN: list[tuple[str, dict[str, str], set[str]]] = [
    (
        "a snippet that sets a header",
        {"configuration-snippet": 'more_set_headers "Access-Control-Allow-Origin: *";'},
        {"configuration-snippet"},
    ),
    ("a snippet of the server", {"server-snippet": "gzip on;"}, {"server-snippet"}),
    ("a snippet of streams", {"stream-snippet": "server { listen 8000; deny all; }"}, {"stream-snippet"}),
    ("a snippet for a question that is not asked", {"auth-snippet": "deny all;"}, {"auth-snippet"}),
    (
        "detection without enforcement",
        {"enable-modsecurity": "true", "modsecurity-snippet": "SecRuleEngine DetectionOnly"},
        {"enable-modsecurity", "modsecurity-snippet"},
    ),
    ("modsecurity off", {"enable-modsecurity": "false"}, set()),
    ("enable-modsecurity that is no truth", {"enable-modsecurity": "on"}, {"enable-modsecurity"}),
    (
        "a Secret without auth-type, as upstream",
        {"auth-secret": "users", "auth-realm": "x", "auth-secret-type": "auth-map"},
        {"auth-secret", "auth-realm", "auth-secret-type"},
    ),
    (
        "parts of a question that is not asked",
        {"auth-signin": "http://a", "auth-response-headers": "x"},
        {"auth-signin", "auth-response-headers"},
    ),
    (
        "details of certificates without a Secret",
        {"proxy-ssl-verify": "on", "proxy-ssl-name": "a"},
        {"proxy-ssl-verify", "proxy-ssl-name"},
    ),
    ("client certificates without authorities", {"auth-tls-verify-client": "on"}, {"auth-tls-verify-client"}),
]


@pytest.mark.parametrize(("given", "guard"), [row[1:] for row in CLOSED], ids=[row[0] for row in CLOSED])
def test_closes(given: dict[str, str], guard: str) -> None:
    wishes, findings = reading(given)
    assert guard in wishes.refused
    assert (guard, "Refused") in told(findings)
    assert "the Ingress's rules answer 503" in {found.effect for found in findings if guard in found.field}


@pytest.mark.parametrize(("given", "named"), [row[1:] for row in OPEN], ids=[row[0] for row in OPEN])
def test_goes_on_and_is_told(given: dict[str, str], named: set[str]) -> None:
    wishes, findings = reading(given)
    assert PLAIN == wishes
    assert named == {name for name, _ in told(findings)}


def basic(**changed: str) -> Wishes:
    return reading({**BASIC, **{key.replace("_", "-"): value for key, value in changed.items()}})[0]


def test_passwords_of_a_file() -> None:
    assert BasicAuth("", (("ann", SHA), ("bob", BOB))) == basic().basic_auth
    assert (
        BasicAuth("Our shop", (("ann", SHA), ("bob", BOB))) == basic(auth_realm="Our shop", auth_secret="shop/users").basic_auth
    )


def test_passwords_of_a_map_and_in_the_clear() -> None:
    assert (
        BasicAuth("", (("ann", SHA), ("eve", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=")))
        == basic(auth_secret="map", auth_secret_type="auth-map").basic_auth
    )


def test_users_whose_password_cannot_be_checked_do_not_get_in_and_are_told() -> None:
    wishes, findings = reading({**BASIC, "auth-secret": "some-bad"})
    assert BasicAuth("", (("ann", SHA),)) == wishes.basic_auth
    assert ["4 of the Secret's users cannot be used (form or hash)"] == [found.message for found in findings]


@pytest.mark.parametrize("realm", ['a"; return 200; #', "off", " off "])
def test_a_bad_realm_does_not_let_people_in(realm: str) -> None:
    wishes, findings = reading({**BASIC, "auth-realm": realm})
    assert {("auth-realm", "Invalid")} == told(findings)
    assert BasicAuth("", (("ann", SHA), ("bob", BOB))) == wishes.basic_auth


def asked(**changed: str) -> ExternalAuth:
    wishes, findings = reading({**ASK, **{key.replace("_", "-"): value for key, value in changed.items()}})
    assert () == findings
    assert wishes.external_auth is not None
    return wishes.external_auth


def test_the_question() -> None:
    wishes, _ = reading(ASK)
    assert (Cluster("http://auth.shop.svc:8080", Fixed("auth.shop.svc", 8080), source="ingress shop/web"),) == wishes.clusters
    expected = ExternalAuth(
        "http://auth.shop.svc:8080",
        "auth.shop.svc",
        Template(("/check",)),
        give=(
            ("x-original-url", Template((Variable.SCHEME, "://", Variable.HOST, Variable.REQUEST_URI))),
            ("x-original-method", Template((Variable.METHOD,))),
            ("x-sent-from", "nginx-ingress-controller"),
            ("x-real-ip", Template((Variable.CLIENT_ADDRESS,))),
            ("x-auth-request-redirect", Template((Variable.REQUEST_URI,))),
        ),
    )
    assert expected == wishes.external_auth


def test_the_question_in_full() -> None:
    auth = asked(
        auth_method="POST",
        auth_response_headers="X-User, X-Mail,x-user",
        auth_proxy_set_headers="shop/answers",
        auth_request_redirect="/seen",
        auth_always_set_cookie="true",
    )
    assert ("POST", ("x-user", "x-mail"), True) == (auth.method, auth.take, auth.always_set_cookie)
    assert ("/seen", Template((Variable.HOST,))) == (dict(auth.give)["x-auth-request-redirect"], dict(auth.give)["x-host"])


SIGN_IN = ("=", Variable.SCHEME, "://", Variable.HOST, Variable.ESCAPED_REQUEST_URI)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"auth_signin": "https://a/in"}, Template(("https://a/in", "?rd=", *SIGN_IN[1:]))),
        ({"auth_signin": "https://a/in?x=1"}, Template(("https://a/in?x=1", "&rd=", *SIGN_IN[1:]))),
        (
            {"auth_signin": "https://$host/in?rd=$escaped_request_uri"},
            Template(("https://", Variable.HOST, "/in?rd=", Variable.ESCAPED_REQUEST_URI)),
        ),
        (
            {"auth_signin": "https://a/in?rd=1", "auth_signin_redirect_param": "to"},
            Template(("https://a/in?rd=1", "&to=", *SIGN_IN[1:])),
        ),
    ],
    ids=["the parameter is added", "after others", "once", "by another name"],
)
def test_sign_in(given: dict[str, str], expected: Template) -> None:
    assert expected == asked(**given).sign_in


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auth-signin", "javascript:x"),
        ("auth-signin", "https://a/$cookie_x"),
        ("auth-signin", "https://a/ b"),
        ("auth-request-redirect", "/a;b"),
        ("auth-always-set-cookie", "yes"),
    ],
)
def test_a_bad_detail_is_told_and_the_question_stays(name: str, value: str) -> None:
    wishes, findings = reading({**ASK, name: value})
    assert {(name, "Invalid")} == told(findings)
    assert reading(ASK)[0] == wishes


def test_a_bad_parameter_of_sign_in_is_rd() -> None:
    wishes, findings = reading({**ASK, "auth-signin": "http://a", "auth-signin-redirect-param": "a&b"})
    assert {("auth-signin-redirect-param", "Invalid")} == told(findings)
    assert wishes.external_auth is not None
    assert Template(("http://a", "?rd=", *SIGN_IN[1:])) == wishes.external_auth.sign_in


def test_host_as_the_servers_host_is_the_one_of_the_rules() -> None:
    own = {"auth-url": "https://$host/oauth2/auth"}
    wishes, _ = reading(own)
    cluster = Cluster(
        "https://shop.example.org:443",
        Fixed("shop.example.org", 443),
        tls=UpstreamTls("shop.example.org"),
        source="ingress shop/web",
    )
    assert (cluster,) == wishes.clusters
    assert all("auth-url" in reading(own, hosts=hosts)[0].refused for hosts in (("a.org", "b.org"), ("*.a.org",), ("",), ()))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return spare_certificate(tmp_path_factory.mktemp("pair"))


def with_certificates(pair: Certificate) -> Objects:
    whole = {"ca.crt": pair.chain, "tls.crt": pair.chain, "tls.key": pair.key, "ca.crl": b"crl"}
    kept = {
        ("shop", "whole"): Secret("Opaque", whole),
        ("shop", "ca"): Secret("Opaque", {"ca.crt": pair.chain}),
        ("shop", "pair"): Secret("Opaque", {"tls.crt": pair.chain, "tls.key": pair.key}),
        ("shop", "broken"): Secret("Opaque", {**whole, "ca.crt": b"-----BEGIN", "tls.key": b"x"}),
    }
    return structs.replace(OBJECTS, secrets=kept)


def test_client_certificates(pair: Certificate) -> None:
    objects = with_certificates(pair)
    assert (
        ClientCertificates(pair.chain, source="secret shop/ca") == reading({"auth-tls-secret": "shop/ca"}, objects)[0].clients
    )
    full = {
        "auth-tls-secret": "shop/whole",
        "auth-tls-verify-client": "optional_no_ca",
        "auth-tls-verify-depth": "3",
        "auth-tls-error-page": "https://a.org/sorry",
        "auth-tls-pass-certificate-to-upstream": "true",
    }
    expected = ClientCertificates(
        pair.chain, Verify.OPTIONAL_UNVERIFIED, 3, b"crl", True, "https://a.org/sorry", "secret shop/whole"
    )
    assert expected == reading(full, objects)[0].clients
    assert reading({**full, "auth-tls-verify-client": "off"}, objects)[0].clients is None
    assert "auth-tls-secret" in reading({"auth-tls-secret": "shop/broken"}, objects)[0].refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auth-tls-verify-client", "optional;"),
        ("auth-tls-verify-depth", "-1"),
        ("auth-tls-error-page", "https://a/ b"),
        ("auth-tls-pass-certificate-to-upstream", "on"),
    ],
)
def test_a_bad_detail_of_client_certificates_leaves_them_required(pair: Certificate, name: str, value: str) -> None:
    wishes, findings = reading({"auth-tls-secret": "shop/ca", name: value}, with_certificates(pair))
    assert {(name, "Invalid")} == told(findings)
    assert ClientCertificates(pair.chain, source="secret shop/ca") == wishes.clients


def backend(pair: Certificate, **changed: str) -> tuple[Wishes, set[tuple[str, str]]]:
    details = {f"proxy-ssl-{key.replace('_', '-')}": value for key, value in changed.items()}
    wishes, findings = reading(
        {"backend-protocol": "HTTPS", "proxy-ssl-secret": "shop/whole", **details}, with_certificates(pair)
    )
    return wishes, told(findings)


def test_certificates_towards_backends(pair: Certificate) -> None:
    wishes, findings = backend(
        pair, verify="on", verify_depth="2", name="inner.org", ciphers="ECDHE-RSA-AES128-GCM-SHA256", protocols="TLSv1.3"
    )
    assert UpstreamTls("inner.org", pair.chain, "shop/whole", 2, "1.3", "ECDHE-RSA-AES128-GCM-SHA256") == wishes.tls
    assert {"shop/whole": Certificate(pair.chain, pair.key, "secret shop/whole")} == wishes.certificates
    assert set() == findings
    assert Speaks.HTTP1 is wishes.speaks


def test_a_certificate_alone_and_authorities_alone(pair: Certificate) -> None:
    objects = with_certificates(pair)
    https = {"backend-protocol": "HTTPS"}
    assert UpstreamTls(certificate="shop/pair") == reading({**https, "proxy-ssl-secret": "shop/pair"}, objects)[0].tls
    assert UpstreamTls() == reading({**https, "proxy-ssl-secret": "shop/ca"}, objects)[0].tls
    assert "proxy-ssl-secret" in reading({**https, "proxy-ssl-secret": "shop/broken"}, objects)[0].refused
    _, findings = reading({"proxy-ssl-secret": "shop/ca"}, objects)
    assert {("proxy-ssl-secret", "Ignored")} == told(findings)


def test_a_check_of_backends_that_cannot_be_done_closes(pair: Certificate) -> None:
    assert "needs proxy-ssl-name" in backend(pair, verify="on")[0].refused
    without = {"backend-protocol": "HTTPS", "proxy-ssl-secret": "shop/pair", "proxy-ssl-verify": "on", "proxy-ssl-name": "a"}
    assert "needs ca.crt" in reading(without, with_certificates(pair))[0].refused


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("verify", "true", "Invalid"),
        ("verify_depth", "deep", "Invalid"),
        ("name", "a/b", "Invalid"),
        ("name", "~^a$", "Invalid"),
        ("ciphers", "a;b", "Invalid"),
        ("ciphers", "RC4", "Refused"),
        ("protocols", "TLSv1.2;", "Invalid"),
        ("protocols", "TLSv1 TLSv1.2", "Refused"),
    ],
)
def test_a_bad_detail_towards_backends_is_told(pair: Certificate, name: str, value: str, reason: str) -> None:
    wishes, findings = backend(pair, **{name: value})
    assert {(f"proxy-ssl-{name.replace('_', '-')}", reason)} == findings
    assert UpstreamTls(certificate="shop/whole") == wishes.tls


def test_every_annotation_of_a_guard_is_in_a_test() -> None:
    text = Path(__file__).read_text()
    names = {name for name in KNOWN if name.startswith(("auth-", "proxy-ssl-")) and KNOWN[name].kind.name == "UNDERSTOOD"}
    missing = {
        name
        for name in names
        if name not in text
        and name.replace("-", "_") not in text
        and name.removeprefix("proxy-ssl-").replace("-", "_") not in text
    }
    assert set() == missing
