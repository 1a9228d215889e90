"""What do an IngressClass's parameters set, and what is told of those that set nothing?"""

from typing import Any

import pytest
from tests.routing.ingress_core.ingress_objects import (
    CLASS,
    NOW,
    ingress,
    ingress_class,
    known,
    routes,
    service,
    tls_secret,
    translated,
)

from mooring.model.meta import Document
from mooring.routing.ingress.build import build
from mooring.routing.ingress.parameters import KEYS, Parameters, read
from mooring.routing.table import Answer, FrontDoor, How, Redirect

NAMED = {"kind": "ConfigMap", "name": "door", "scope": "Namespace", "namespace": "shop"}


def documents(data: dict[str, str]) -> list[Document]:
    config_map = {"kind": "ConfigMap", "metadata": {"name": "door", "namespace": "shop"}, "data": data}
    return [ingress_class(parameters=NAMED), config_map]


def parameters(data: dict[str, str]) -> Parameters:
    return read(CLASS, known(*documents(data)))


SET: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "PROXY protocol": ({"use-proxy-protocol": "true"}, {"proxy_protocol": True}),
    "forwarded headers of everybody": ({"use-forwarded-headers": "true"}, {"trusted_proxies": ("0.0.0.0/0", "::/0")}),
    "forwarded headers of some": (
        {"use-forwarded-headers": "true", "proxy-real-ip-cidr": "10.0.0.1/8, fd00::/8"},
        {"trusted_proxies": ("10.0.0.0/8", "fd00::/8")},
    ),
    "addresses of proxies alone believe nobody": ({"proxy-real-ip-cidr": "10.0.0.0/8"}, {}),
    "hops": ({"trusted-hops": "2"}, {"trusted_hops": 2}),
    "only TLS 1.3": ({"ssl-protocols": "TLSv1.3"}, {"tls_minimum": "1.3"}),
    "both": ({"ssl-protocols": "TLSv1.3 TLSv1.2"}, {"tls_minimum": "1.2"}),
    "ciphers": ({"ssl-ciphers": "ECDHE-RSA-AES128-GCM-SHA256"}, {"ciphers": "ECDHE-RSA-AES128-GCM-SHA256"}),
    "times": (
        {"client-header-timeout": "5", "client-body-timeout": "6s", "keep-alive": "7", "stream-idle-timeout": "8"},
        {"header_timeout": 5.0, "body_timeout": 6.0, "idle_timeout": 7.0, "stream_idle_timeout": 8.0},
    ),
    "headers": ({"large-client-header-buffers": "4 8k", "header-count": "50"}, {"header_octets": 32768, "header_count": 50}),
    "connections": (
        {"max-worker-connections": "1000", "http2-max-concurrent-streams": "64"},
        {"connections": 1000, "streams": 64},
    ),
    "no HTTP/2 and 3": ({"use-http2": "false", "http3": "false"}, {"http2": False, "http3": False}),
    "escaped slashes that are kept": ({"encoded-slashes": "keep"}, {"keeps_encoded_slashes": True}),
    "and refused": ({"encoded-slashes": "reject"}, {}),
    "no access log": ({"disable-access-log": "true"}, {"access_log": False}),
    "a name for the server": ({"server-header": "shop"}, {"server_header": "shop"}),
}


@pytest.mark.parametrize(("data", "fields"), SET.values(), ids=list(SET))
def test_a_key_sets_its_field(data: dict[str, str], fields: dict[str, Any]) -> None:
    assert Parameters(FrontDoor(**fields)) == parameters(data)


def test_a_secret_of_any_namespace_is_the_default_certificate() -> None:
    shown = {**tls_secret("wild", "*.example.com"), "metadata": {"name": "wild", "namespace": "certificates"}}
    web = ingress("web", ("a.example.com", [("Prefix", "/", "web:80")]), tls=[{"hosts": ["a.example.com"]}])
    found = build(known(*documents({"default-ssl-certificate": "certificates/wild"}), shown, web, service()), CLASS, NOW)

    assert ["secret certificates/wild"] == [each.source for each in found.table.certificates.values()]
    assert () == found.findings


@pytest.mark.parametrize(
    ("named", "reason"), [("certificates/none", "SecretNotFound"), ("none", "SecretNotFound"), ("shop/empty", "BadCertificate")]
)
def test_a_default_certificate_that_is_none_is_told(named: str, reason: str) -> None:
    empty = {"kind": "Secret", "metadata": {"name": "empty", "namespace": "shop"}, "type": "Opaque"}
    found = build(known(*documents({"default-ssl-certificate": named}), empty), CLASS, NOW)

    assert [("IngressClass", reason, "the proxies show one of their own")] == [
        (each.about.kind, each.reason, each.effect) for each in found.findings
    ]


HSTS: dict[str, tuple[dict[str, str], str]] = {
    "on for a year, as upstream": ({}, "max-age=31536000; includeSubDomains"),
    "for less": ({"hsts-max-age": "60"}, "max-age=60; includeSubDomains"),
    "for this name alone": ({"hsts-include-subdomains": "false"}, "max-age=31536000"),
    "for browsers' lists": ({"hsts-preload": "true"}, "max-age=31536000; includeSubDomains; preload"),
    "to be forgotten": ({"hsts-max-age": "0", "hsts-include-subdomains": "false"}, "max-age=0"),
    "off whatever its age": ({"hsts": "false", "hsts-max-age": "60"}, ""),
    "what is no boolean changes nothing": ({"hsts": "off"}, "max-age=31536000; includeSubDomains"),
}


@pytest.mark.parametrize(("data", "expected"), HSTS.values(), ids=list(HSTS))
def test_strict_transport_security_is_put_together(data: dict[str, str], expected: str) -> None:
    assert expected == parameters(data).hsts


TOLD: dict[str, tuple[dict[str, str], str, str]] = {
    "a key that nobody knows": (
        {"proxy-body-sise": "1m"},
        "ParameterUnknown",
        "configmap shop/door data[proxy-body-sise]: there is no such parameter; did you mean proxy-body-size?; it is left out",
    ),
    "no boolean": ({"hsts": "on"}, "ParameterInvalid", "is neither true nor false; the default holds"),
    "a word for a number": (
        {"trusted-hops": "two"},
        "ParameterInvalid",
        "is no whole number from 0 to 32; the default holds",
    ),
    "a number out of range": ({"replicas": "0"}, "ParameterInvalid", "is no whole number from 1 to 100; the default holds"),
    "no limit": ({"keep-alive": "0"}, "ParameterInvalid", "is no number of seconds from 1 to 86400; the default holds"),
    "escaped slashes as nobody knows them": ({"encoded-slashes": "true"}, "ParameterInvalid", "is neither keep nor reject"),
    "old TLS": ({"ssl-protocols": "TLSv1.1 TLSv1.2"}, "ParameterInvalid", "TLSv1.1, which is not spoken (RFC 8996)"),
    "no TLS": ({"ssl-protocols": "TLSv2"}, "ParameterInvalid", "names TLSv2, which is no protocol"),
    "ciphers that leave their line": (
        {"ssl-ciphers": "A;\nload_module x"},
        "ParameterInvalid",
        "no list of ciphers has",
    ),
    "a header that does": ({"server-header": 'a"; x'}, "ParameterInvalid", "without quotes and backslashes"),
    "an address that is none": ({"proxy-real-ip-cidr": "10.0.0.0/33"}, "ParameterInvalid", "is no list of CIDRs"),
    "buffers without a size": ({"large-client-header-buffers": "4"}, "ParameterInvalid", "such as 4 8k"),
    "buffers beyond all bounds": ({"large-client-header-buffers": "999 999m"}, "ParameterInvalid", "octets in all"),
    "snippets": ({"allow-snippet-annotations": "true"}, "ParameterRefused", "snippets are never put into a configuration"),
    "an annotation's value that is none": ({"proxy-body-size": "a lot"}, "ParameterInvalid", "data[proxy-body-size]"),
}


@pytest.mark.parametrize(("data", "reason", "words"), TOLD.values(), ids=list(TOLD))
def test_what_sets_nothing_is_told_and_the_rest_holds(data: dict[str, str], reason: str, words: str) -> None:
    found = parameters({**data, "use-proxy-protocol": "true"})

    assert [("IngressClass", CLASS, reason)] == [(each.about.kind, each.about.name, each.reason) for each in found.findings]
    assert words in found.findings[0].text
    assert (FrontDoor(proxy_protocol=True), {}) == (found.front_door, found.defaults.annotations)


LOST: dict[str, tuple[dict[str, str], str]] = {
    "no such ConfigMap": ({**NAMED, "name": "nothing"}, "ParametersNotFound"),
    "of the whole cluster": ({"kind": "ConfigMap", "name": "door", "scope": "Cluster"}, "ParametersNotFound"),
    "another kind": ({"kind": "Door", "apiGroup": "example.com", "name": "door", "scope": "Cluster"}, "ParametersUnsupported"),
}


@pytest.mark.parametrize(("reference", "reason"), LOST.values(), ids=list(LOST))
def test_without_parameters_the_defaults_hold(reference: dict[str, str], reason: str) -> None:
    found = read(CLASS, known(ingress_class(parameters=reference)))

    assert [reason] == [each.reason for each in found.findings]
    assert Parameters(findings=found.findings) == found


def test_replicas_and_drain_are_for_who_runs_the_proxies() -> None:
    assert Parameters() == parameters({"replicas": "5", "drain-seconds": "90"})


def test_every_key_is_known_once() -> None:
    assert sorted(set(KEYS)) == list(KEYS)


def test_an_ingress_has_what_its_class_says_unless_it_says_otherwise() -> None:
    rules = [(host, [("Prefix", "/", "web:80")]) for host in ("a.com", "b.com")]
    found = translated(
        *documents({"proxy-body-size": "8m", "force-ssl-redirect": "true"}),
        ingress("a", rules[0]),
        ingress("b", rules[1], annotations={"force-ssl-redirect": "false", "proxy-body-size": "9m"}),
        service(),
    )
    over_tls = {each.name: each.routes[0] for each in found.table.listeners[1].chains[0].virtual_hosts}

    assert [8 * 1024**2, 9 * 1024**2] == [over_tls[host].policy.body for host in ("a.com", "b.com")]
    assert Redirect(308, scheme="https", port=0) == routes(found, "a.com")[0].action
    assert 1 == len(routes(found, "b.com"))


def test_a_rule_of_access_that_cannot_be_read_closes() -> None:
    found = translated(
        *documents({"whitelist-source-range": "10.0.0.0/99"}), ingress("a", ("a.com", [("Prefix", "/", "web:80")])), service()
    )

    assert [Answer, 503] == [type(action := routes(found, "a.com")[0].action), getattr(action, "status", 0)]


def test_a_proxy_that_is_believed_has_seen_https() -> None:
    web = ingress("a", ("a.com", [("Prefix", "/", "web:80")]), annotations={"force-ssl-redirect": "true"})
    redirect, rule = routes(translated(*documents({"trusted-hops": "1"}), web, service()), "a.com")

    assert [("x-forwarded-proto", How.EXACT, "https", True)] == [
        (each.name, each.how, each.value, each.invert) for each in redirect.match.conditions
    ]
    assert ((), "shop/a/0.0") == (rule.match.conditions, rule.name)


def test_but_no_certificate_that_the_client_must_show() -> None:
    wanted = {"auth-tls-secret": "shop/ca"}
    ca = {**tls_secret("ca", "clients"), "stringData": {"ca.crt": tls_secret("ca", "clients")["stringData"]["tls.crt"]}}
    bank = ingress("bank", ("a.com", [("Prefix", "/", "web:80")]), annotations=wanted)
    redirect, rule = routes(translated(*documents({"trusted-hops": "1"}), bank, ca, service()), "a.com")

    assert [Redirect, Answer, 400] == [type(redirect.action), type(rule.action), getattr(rule.action, "status", 0)]


def test_the_parameters_of_a_class_are_told_with_its_ingresses() -> None:
    found = translated(*documents({"no": "such key"}), ingress("a", ("a.com", [("Prefix", "/", "web:80")])), service())

    assert [("IngressClass", "ParameterUnknown")] == [(each.about.kind, each.reason) for each in found.findings]
