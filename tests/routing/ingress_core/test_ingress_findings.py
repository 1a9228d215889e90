"""Is everything that is wrong with an Ingress told at it, and nothing else?"""

import pytest
from tests.routing.ingress_core.ingress_objects import ingress, ingress_class, routes, service, tls_secret, told, translated

from mooring.model.meta import Document
from mooring.routing.ingress.build import MOST_FINDINGS
from mooring.routing.ingress.reading import LONGEST_PATH, MOST_PATHS
from mooring.routing.table import Answer

Told = tuple[str, str, str, str]
WEB: tuple[str, list[tuple[str, str, str]] | None] = ("a.com", [("Prefix", "/", "web:80")])
PATH = "spec.rules[0].http.paths[0]"
OFF, UNAVAILABLE = "the rule is off", "the rule answers 503"


def path(kind: str, text: str, to: str = "web:80") -> tuple[str, list[tuple[str, str, str]] | None]:
    return "a.com", [(kind, text, to)]


ROWS: dict[str, tuple[list[Document], list[Told]]] = {
    "a good Ingress says nothing": ([ingress("web", WEB)], []),
    "a Service that is not there": (
        [ingress("web", path("Prefix", "/", "nobody:80"))],
        [("web", "ServiceNotFound", f"{PATH}.backend", UNAVAILABLE)],
    ),
    "a port number that the Service has not": (
        [ingress("web", path("Prefix", "/", "web:81"))],
        [("web", "PortNotFound", f"{PATH}.backend", UNAVAILABLE)],
    ),
    "a port name that the Service has not": (
        [ingress("web", path("Prefix", "/", "web:https"))],
        [("web", "PortNotFound", f"{PATH}.backend", UNAVAILABLE)],
    ),
    "a port that is there in UDP only": (
        [ingress("web", path("Prefix", "/", "dns:53")), service("dns", {"port": 53, "protocol": "UDP"})],
        [("web", "PortNotFound", f"{PATH}.backend", UNAVAILABLE)],
    ),
    "a default backend that is not there": (
        [ingress("web", default="nobody:80")],
        [("web", "ServiceNotFound", "spec.defaultBackend", UNAVAILABLE)],
    ),
    "a path that is another's": (
        [ingress("old", WEB), ingress("new", WEB, day=2)],
        [("new", "Conflict", f"{PATH}.path", OFF)],
    ),
    "a path that is written twice in one": (
        [ingress("web", ("a.com", [("Exact", "/x", "web:80"), ("Exact", "/x", "web:80")]))],
        [("web", "Conflict", "spec.rules[0].http.paths[1].path", OFF)],
    ),
    "the same path as Exact and Prefix is no conflict": (
        [ingress("web", ("a.com", [("Exact", "/x", "web:80"), ("Prefix", "/x", "web:80")]))],
        [],
    ),
    "a Prefix with and without a slash is the same": (
        [ingress("web", ("a.com", [("Prefix", "/x", "web:80"), ("Prefix", "/x/", "web:80")]))],
        [("web", "Conflict", "spec.rules[0].http.paths[1].path", OFF)],
    ),
    "the same path in another letter case is another": (
        [ingress("web", ("a.com", [("Exact", "/x", "web:80"), ("Exact", "/X", "web:80")]))],
        [],
    ),
    "a Prefix of which others leave nothing": (
        [
            ingress(
                "web",
                ("a.com", [("Exact", "/x", "web:80"), ("Prefix", "/x", "web:80"), ("ImplementationSpecific", "/x/", "web:80")]),
            )
        ],
        [("web", "Shadowed", "spec.rules[0].http.paths[1].path", "it gets no requests")],
    ),
    "the same host in another letter case is the same": (
        [ingress("old", WEB), ingress("new", ("A.com", [("Prefix", "/", "web:80")]), day=2)],
        [("new", "Conflict", f"{PATH}.path", OFF)],
    ),
    "a second default backend for a host": (
        [ingress("old", WEB, default="web:80"), ingress("new", ("a.com", None), default="other:80", day=2), service("other")],
        [("new", "Conflict", "spec.defaultBackend", "it gets none of that")],
    ),
    "a second Ingress without rules": (
        [ingress("old", default="web:80"), ingress("new", default="other:80", day=2), service("other")],
        [("new", "Conflict", "spec.defaultBackend", "it gets none of that")],
    ),
    "a host with a port": (
        [ingress("web", ("a.com:80", [("Prefix", "/", "web:80")]))],
        [("web", "BadHost", "spec.rules[0].host", OFF)],
    ),
    "a host that tries to leave its line": (
        [ingress("web", ("a.com;\n}", [("Prefix", "/", "web:80")]))],
        [("web", "BadHost", "spec.rules[0].host", OFF)],
    ),
    "a wildcard in the middle": (
        [ingress("web", ("a.*.com", [("Prefix", "/", "web:80")]))],
        [("web", "BadHost", "spec.rules[0].host", OFF)],
    ),
    "a path without a slash": (
        [ingress("web", path("ImplementationSpecific", "x"))],
        [("web", "BadPath", f"{PATH}.path", OFF)],
    ),
    "a path with a line's end in it": (
        [ingress("web", path("ImplementationSpecific", "/x\n"))],
        [("web", "BadPath", f"{PATH}.path", OFF)],
    ),
    "a path that is too long": (
        [ingress("web", path("Prefix", "/" + "x" * LONGEST_PATH))],
        [("web", "TooLarge", f"{PATH}.path", OFF)],
    ),
    "more paths than one may have": (
        [ingress("web", ("a.com", [("Exact", f"/{number}", "web:80") for number in range(MOST_PATHS + 1)]))],
        [("web", "TooLarge", "spec.rules[0]", "the others are off")],
    ),
    "a regular expression that goes on for ever": (
        [ingress("web", path("ImplementationSpecific", "/x((a{100}){100}){100}"), annotations={"use-regex": "true"})],
        [("web", "BadPattern", f"{PATH}.path", "everything that begins with /x and matches nothing longer answers 503")],
    ),
    "a regular expression that is larger than any path's": (
        [ingress("web", path("ImplementationSpecific", "/x[a-z]{1,900}"), annotations={"use-regex": "true"})],
        [("web", "BadPattern", f"{PATH}.path", "everything that begins with /x and matches nothing longer answers 503")],
    ),
    "a regular expression whose plain part is only a slash": (
        [ingress("web", path("ImplementationSpecific", "/(?=x)"), annotations={"use-regex": "true"})],
        [("web", "BadPattern", f"{PATH}.path", OFF)],
    ),
    "a canary without a main Ingress": (
        [ingress("web", WEB, annotations={"canary": "true", "canary-weight": "1"})],
        [("web", "NoPrimary", PATH, OFF)],
    ),
    "a canary of another path type": (
        [
            ingress("web", path("Exact", "/x")),
            ingress("next", path("Prefix", "/x"), annotations={"canary": "true"}, day=2),
        ],
        [("next", "NoPrimary", PATH, OFF)],
    ),
    "a canary with only a default backend, and nothing to be it of": (
        [ingress("next", default="web:80", annotations={"canary": "true"})],
        [("next", "NoPrimary", "spec.defaultBackend", OFF)],
    ),
    "a second canary": (
        [
            ingress("web", WEB),
            ingress("one", WEB, annotations={"canary": "true"}, day=2),
            ingress("two", WEB, annotations={"canary": "true"}, day=3),
        ],
        [("two", "Conflict", PATH, OFF)],
    ),
    "a canary whose Service is not there": (
        [ingress("web", WEB), ingress("one", path("Prefix", "/", "nobody:80"), annotations={"canary": "true"}, day=2)],
        [("one", "ServiceNotFound", f"{PATH}.backend", UNAVAILABLE)],
    ),
    "a TLS host without a rule": (
        [ingress("web", WEB, tls=[{"hosts": ["b.com"], "secretName": "s"}]), tls_secret("s", "b.com")],
        [("web", "NoRule", "spec.tls[0].hosts[0]", "the entry is not looked at")],
    ),
    "a certificate without hosts that is for none": (
        [ingress("web", WEB, tls=[{"secretName": "s"}]), tls_secret("s", "b.com")],
        [("web", "CertificateMismatch", "spec.tls[0]", "it is not shown")],
    ),
    "client certificates that another says differently": (
        [
            ingress("old", path("Exact", "/x"), annotations={"auth-tls-secret": "shop/one"}),
            ingress("new", path("Exact", "/y"), annotations={"auth-tls-secret": "shop/two"}, day=2),
            {**tls_secret("one", "ca"), "stringData": {"ca.crt": tls_secret("one", "ca")["stringData"]["tls.crt"]}},
            {**tls_secret("two", "cb"), "stringData": {"ca.crt": tls_secret("two", "cb")["stringData"]["tls.crt"]}},
        ],
        [("new", "Conflict", "metadata.annotations[nginx.ingress.kubernetes.io/auth-tls-secret]", "that one's hold")],
    ),
    "TLS that is to be passed through, without a rule for all of it": (
        [ingress("web", path("Exact", "/x"), annotations={"ssl-passthrough": "true"})],
        [("web", "NoPassthrough", "metadata.annotations[nginx.ingress.kubernetes.io/ssl-passthrough]", "TLS ends here")],
    ),
    "Ingresses of others are not looked at": (
        [ingress("web", path("Prefix", "no path", "nobody:80"), class_name="another"), ingress_class()],
        [],
    ),
    "nor are those of a class that is another controller's": (
        [ingress("web", path("Prefix", "no path", "nobody:80")), ingress_class(controller="k8s.io/ingress-nginx")],
        [],
    ),
}


@pytest.mark.parametrize(("documents", "expected"), ROWS.values(), ids=list(ROWS))
def test_what_is_wrong_is_told(documents: list[Document], expected: list[Told]) -> None:
    assert expected == told(translated(*documents, service()))


def test_all_patterns_of_a_host_together_have_a_bound() -> None:
    paths = [("ImplementationSpecific", f"/{number:03}[a-z]{{1,400}}", "web:80") for number in range(300)]
    found = translated(ingress("web", ("a.com", paths), annotations={"use-regex": "true"}), service())
    closed = [each for each in routes(found, "a.com") if isinstance(each.action, Answer)]

    assert 0 < len(closed) < 100
    assert {"BadPattern", "TooMany"} == {each.reason for each in found.findings}
    assert 300 == len(routes(found, "a.com"))


def test_of_one_object_only_so_much_is_told() -> None:
    paths = [("Exact", f"/{number}", "nobody:80") for number in range(MOST_FINDINGS + 3)]
    found = translated(ingress("web", ("a.com", paths)), ingress("other", path("Prefix", "/", "nobody:80"))).findings

    assert MOST_FINDINGS + 2 == len(found)
    assert "metadata.name: 3 more things are wrong than are told" == found[-1].text


def test_the_winner_of_a_conflict_is_named() -> None:
    (finding,) = translated(ingress("old", WEB), ingress("new", WEB, day=2), service()).findings

    assert f"{PATH}.path: / of a.com is already ingress shop/old {PATH}; {OFF}" == finding.text


def test_of_the_same_age_the_first_name_wins() -> None:
    documents = [ingress(name, WEB) for name in ("b", "c", "a")]

    assert ["b", "c"] == sorted(name for name, *_ in told(translated(*documents, service())))


def test_a_broken_rule_says_in_the_table_why() -> None:
    (route,) = routes(translated(ingress("web", path("Prefix", "/", "nobody:80"))), "a.com")

    assert Answer(503, because="there is no Service shop/nobody") == route.action


def test_a_host_with_only_a_canary_is_not_served() -> None:
    found = translated(ingress("next", WEB, annotations={"canary": "true"}), ingress("all", default="web:80"), service())

    assert () == routes(found, "a.com")
    assert ("next", "NoPrimary", PATH, OFF) in told(found)
