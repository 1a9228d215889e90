"""What may an Ingress do to a host that is another namespace's? Add paths of its own, and no more."""

from time import process_time
from typing import Any

import pytest
from tests.routing.ingress_core.ingress_objects import (
    NOW,
    Path,
    chains,
    ingress,
    known,
    pair,
    routes,
    secret,
    service,
    tls_secret,
    told,
    translated,
)

from mooring.model.meta import Document
from mooring.routing.ingress.annotations.registry import KNOWN
from mooring.routing.ingress.build import build
from mooring.routing.ingress.inward import is_inward, is_odd_address
from mooring.routing.table import Forward, Passthrough, Terminate

OFF, CLOSED = "the rule is off", "the rule answers 503"
FIELD = "metadata.annotations[nginx.ingress.kubernetes.io/{}]"


def of(namespace: str, document: Document) -> Document:
    return {**document, "metadata": {**document["metadata"], "namespace": namespace}}


def owner(*paths: Path, **more: Any) -> Document:
    return ingress("web", ("a.com", list(paths) or [("Prefix", "/", "web:80")]), **more)


def stranger(*paths: Path, **annotations: str) -> Document:
    wanted = {name.replace("_", "-"): value for name, value in annotations.items()}
    return of("evil", ingress("theirs", ("a.com", list(paths)), annotations=wanted, day=2))


def authority(name: str) -> Document:
    made = tls_secret(name, name)
    return {**made, "stringData": {"ca.crt": made["stringData"]["tls.crt"]}}


SERVICES = (service(), of("evil", service()))


def goes(found: Any, host: str) -> list[tuple[str, str]]:
    """(path, where its requests go) of a host's plain routes."""
    return [
        (each.match.path.value, each.action.to[0].cluster if isinstance(each.action, Forward) else str(each.action.status))
        for each in routes(found, host)
    ]


def test_its_own_paths_are_served_beside_the_owners() -> None:
    found = translated(owner(), stranger(("Prefix", "/theirs", "web:80")), *SERVICES)

    assert [("/theirs", "evil/web:80"), ("/", "shop/web:80")] == goes(found, "a.com")
    assert [] == told(found)


def test_the_owners_path_stays_the_owners() -> None:
    found = translated(owner(), stranger(("Prefix", "/", "web:80")), *SERVICES)

    assert [("/", "shop/web:80")] == goes(found, "a.com")
    assert [("theirs", "Conflict", "spec.rules[0].http.paths[0].path", OFF)] == told(found)


def test_it_is_no_canary_of_the_owners_path() -> None:
    found = translated(owner(), stranger(("Prefix", "/", "web:80"), canary="true", canary_weight="100"), *SERVICES)

    assert [("/", "shop/web:80")] == goes(found, "a.com")
    assert [("theirs", "Conflict", "spec.rules[0].http.paths[0]", OFF)] == told(found)


def test_client_certificates_are_not_its_to_ask_for() -> None:
    ask = stranger(("Prefix", "/theirs", "web:80"), auth_tls_secret="evil/ca")
    found = translated(owner(), ask, *SERVICES, of("evil", authority("ca")))

    assert [("/theirs", "503"), ("/", "shop/web:80")] == goes(found, "a.com")
    assert [("theirs", "Conflict", FIELD.format("auth-tls-secret"), CLOSED)] == told(found)
    assert [None] == [each.tls.clients for each in chains(found).values() if isinstance(each.tls, Terminate)]


def test_client_certificates_of_the_owner_are_asked_for_there_too() -> None:
    ask = owner(annotations={"auth-tls-secret": "shop/ca"})
    found = translated(ask, stranger(("Prefix", "/theirs", "web:80")), *SERVICES, authority("ca"))

    assert ["/theirs", "/"] == [path for path, _ in goes(found, "a.com")]
    assert [] == told(found)


def test_tls_is_not_its_to_pass_through() -> None:
    found = translated(owner(), stranger(("Prefix", "/x", "web:80"), ssl_passthrough="true"), *SERVICES)

    assert [] == [each for each in chains(found).values() if isinstance(each.tls, Passthrough)]


def test_ciphers_are_not_its_to_choose() -> None:
    theirs = stranger(("Prefix", "/x", "web:80"), ssl_ciphers="ECDHE-RSA-AES128-GCM-SHA256")
    found = translated(owner(), theirs, *SERVICES)

    assert {""} == {each.tls.ciphers for each in chains(found).values() if isinstance(each.tls, Terminate)}


@pytest.mark.parametrize("annotation", ["auth-tls-secret", "auth-secret", "proxy-ssl-secret", "custom-headers"])
def test_secrets_and_config_maps_of_others_are_not_its_to_read(annotation: str) -> None:
    more = {"auth-type": "basic", "backend-protocol": "HTTPS"}
    theirs = of("evil", ingress("theirs", ("b.com", [("Prefix", "/", "web:80")]), annotations={annotation: "shop/ca", **more}))
    headers = {"kind": "ConfigMap", "metadata": {"name": "ca", "namespace": "shop"}, "data": {"x-frame-options": "DENY"}}
    found = translated(theirs, *SERVICES, authority("ca"), headers)

    assert {("/", "503")} == set(goes(found, "b.com"))


def test_a_certificate_of_another_namespace_is_not_shown() -> None:
    theirs = of("evil", ingress("theirs", ("a.example.com", []), tls=[{"hosts": ["a.example.com"], "secretName": "s"}]))
    found = translated(theirs, *SERVICES, secret("s", *pair()))

    assert {"default"} == set(found.table.certificates)


def test_a_plain_path_that_is_no_expression_outlives_an_others_expressions() -> None:
    found = translated(
        owner(("Prefix", "/a(b", "web:80"), ("Prefix", "/", "web:80")),
        stranger(("Prefix", "/theirs", "web:80"), use_regex="true"),
        *SERVICES,
    )

    assert [("/theirs", "evil/web:80"), ("/a(b", "shop/web:80"), ("/", "shop/web:80")] == goes(found, "a.com")
    assert [] == told(found)


INWARD = (
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    "localhost.localdomain",
    "127.0.0.1",
    "0.0.0.0",
    "169.254.169.254",
    "::1",
    "[::1]",
    "::",
    "fe80::1%eth0",
    "::ffff:169.254.169.254",
    "::ffff:127.0.0.1",
    "fd00:ec2::254",
    "224.0.0.1",
    "100.100.100.200",
    "metadata.google.internal",
    "Metadata.Google.Internal.",
)


@pytest.mark.parametrize("host", INWARD)
def test_nobody_is_sent_inward(host: str) -> None:
    assert is_inward(host)
    outside = service("out", type="ExternalName", externalName=host, clusterIP="")
    found = translated(ingress("web", ("a.com", [("Prefix", "/", "out:80")])), outside)
    assert [("/", "503")] == goes(found, "a.com")


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "0x7F000001", "017700000001", "1."])
def test_nobody_is_sent_to_an_address_in_disguise(host: str) -> None:
    assert is_odd_address(host)
    outside = service("out", type="ExternalName", externalName=host, clusterIP="")
    found = translated(ingress("web", ("a.com", [("Prefix", "/", "out:80")])), outside)
    assert [("/", "503")] == goes(found, "a.com")


@pytest.mark.parametrize(
    "host", ["example.com", "db.other.svc.cluster.local", "1.2.3.4", "10.0.0.1", "a1.0xcafe.org", "2001:db8::1"]
)
def test_others_may_be_reached(host: str) -> None:
    assert (False, False) == (is_inward(host), is_odd_address(host))


@pytest.mark.parametrize("annotation", ["auth-url", "mirror-target"])
@pytest.mark.parametrize("host", ["169.254.169.254", "localhost:8081", "metadata.google.internal", "127.1", "0x7f000001"])
def test_questions_and_copies_do_not_go_inward(annotation: str, host: str) -> None:
    document = ingress("web", ("a.com", [("Prefix", "/", "web:80")]), annotations={annotation: f"http://{host}/x"})
    found = translated(document, service())

    assert {"shop/web:80"} >= set(found.table.clusters)
    assert [FIELD.format(annotation)] == [field for _, _, field, _ in told(found)]


RANGE = "whitelist-source-range"
LIST = ",".join(f"10.0.{number // 250}.{number % 250}" for number in range(4000))


def test_what_is_much_for_each_path_may_not_be_asked_for_many() -> None:
    few: list[Path] = [("Exact", f"/{number}", "web:80") for number in range(20)]
    many: list[Path] = [("Exact", f"/{number}", "web:80") for number in range(200)]
    within, beyond = (
        translated(ingress("web", ("a.com", paths), annotations={RANGE: LIST}), service()) for paths in (few, many)
    )

    assert ({"shop/web:80"}, []) == ({to for _, to in goes(within, "a.com")}, told(within))
    assert {"503"} == {to for _, to in goes(beyond, "a.com")}
    assert [("web", "TooLarge", "metadata.annotations", "the Ingress's rules answer 503")] == told(beyond)


def huge() -> dict[str, Document]:
    paths: list[Path] = [("Exact", f"/{number}", "web:80") for number in range(10_000)]
    deep = [("ImplementationSpecific", "/" + "(" * 900 + "a" + ")" * 900, "web:80")]
    return {
        "ten thousand paths": of("evil", ingress("theirs", ("a.com", paths), day=2)),
        "a thousand hosts": of("evil", ingress("theirs", *((f"h{n}.com", [("Prefix", "/", "web:80")]) for n in range(1000)))),
        "a megabyte in each annotation": of("evil", _with_all_annotations("x" * 1_000_000)),
        "a megabyte of commas": of("evil", _with_all_annotations("," * 1_000_000)),
        "a megabyte of addresses": of("evil", _with_all_annotations("10.0.0.1," * 110_000)),
        "a megabyte of variables": of("evil", _with_all_annotations("$" * 1_000_000)),
        "a long list for many paths": of("evil", ingress("theirs", ("a.com", paths[:3000]), annotations={RANGE: LIST}, day=2)),
        "a name for every letter": of("evil", _with_all_annotations(",".join(f"a{n}.com" for n in range(80_000)))),
        "many names for many hosts": of(
            "evil",
            ingress(
                "theirs",
                *((f"h{n}.com", [("Prefix", "/", "web:80")]) for n in range(1000)),
                annotations={"server-alias": ",".join(f"a{n}.com" for n in range(1000))},
            ),
        ),
        "no names for anything": of("evil", _with_all_annotations("~," * 500_000)),
        "a deep expression": of("evil", ingress("theirs", ("a.com", deep), annotations={"use-regex": "true"}, day=2)),
    }


def _with_all_annotations(value: str) -> Document:
    names = {name: value for name in KNOWN if not name.startswith("canary")}
    return ingress("theirs", ("a.com", [("Prefix", "/theirs", "web:80")]), annotations=names, day=2)


@pytest.mark.parametrize("document", huge().values(), ids=list(huge()))
def test_absurd_content_costs_little_and_hurts_nobody(document: Document) -> None:
    objects = known(owner(), document, *SERVICES)
    began = process_time()
    found = build(objects, "mooring-envoy", NOW)
    took = process_time() - began

    assert ("/", "shop/web:80") in goes(found, "a.com")
    assert took < 2.0
    assert all(len(each.text) < 4096 for each in found.findings)
