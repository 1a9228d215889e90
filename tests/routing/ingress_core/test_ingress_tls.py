"""Which certificate is shown for which host, and who gets past it?"""

import pytest
from tests.routing.ingress_core.ingress_objects import (
    NOW,
    chains,
    ingress,
    known,
    pair,
    routes,
    secret,
    service,
    statuses,
    tls_secret,
    told,
    translated,
)

from mooring.model.meta import Document
from mooring.routing.ingress import certificates
from mooring.routing.ingress.build import build
from mooring.routing.ingress.memo import Memo
from mooring.routing.ingress.objects import Secret
from mooring.routing.table import Forward, Passthrough, Redirect, Terminate

SHOWN, DEFAULT = "it is shown all the same", "the default certificate is shown"
SECRET, HOST = "spec.tls[0].secretName", "spec.tls[0].hosts[0]"
Told = tuple[str, str, str]


def rule(host: str, *paths: tuple[str, str, str]) -> tuple[str, list[tuple[str, str, str]] | None]:
    return host, list(paths) or [("Prefix", "/", "web:80")]


WEB = ingress("web", rule("a.example.com"), tls=[{"hosts": ["a.example.com"], "secretName": "s"}])


def shown(found: object) -> str:
    assert isinstance(found, Terminate)
    return found.certificate


SECRETS: dict[str, tuple[Document | None, str, list[Told]]] = {
    "a good one": (secret("s", *pair()), "shop/s", []),
    "RSA of 2048 bits": (secret("s", *pair("rsa2048")), "shop/s", []),
    "a wildcard for one label": (secret("s", *pair(names=("*.example.com",))), "shop/s", []),
    "names in another letter case": (secret("s", *pair(names=("A.Example.COM",))), "shop/s", []),
    "only a common name": (secret("s", *pair(names=())), "shop/s", []),
    "a common name beside other names": (
        secret("s", *pair(names=("b.example.com",))),
        "",
        [("CertificateMismatch", HOST, DEFAULT)],
    ),
    "a wildcard for two labels": (
        secret("s", *pair(names=("*.com",))),
        "",
        [("CertificateMismatch", HOST, DEFAULT)],
    ),
    "missing": (None, "", [("SecretNotFound", SECRET, DEFAULT)]),
    "expired": (secret("s", *pair(begins=-9, ends=-1)), "shop/s", [("CertificateExpired", SECRET, SHOWN)]),
    "not yet valid": (secret("s", *pair(begins=1)), "shop/s", [("CertificateNotYetValid", SECRET, SHOWN)]),
    "of another type": (secret("s", *pair(), kind="Opaque"), "shop/s", [("UnusualCertificate", SECRET, SHOWN)]),
    "the key of another": (secret("s", pair()[0], pair("rsa2048")[1]), "", [("BadCertificate", SECRET, DEFAULT)]),
    "no PEM": (secret("s", b"no", b"no"), "", [("BadCertificate", SECRET, DEFAULT)]),
    "no key": (secret("s", pair()[0], b""), "", [("BadCertificate", SECRET, DEFAULT)]),
    "a key with a password": (secret("s", *pair(password=b"secret")), "", [("BadCertificate", SECRET, DEFAULT)]),
    "RSA of 1024 bits": (secret("s", *pair("rsa1024")), "", [("BadCertificate", SECRET, DEFAULT)]),
    "Ed25519": (secret("s", *pair("ed25519")), "", [("BadCertificate", SECRET, DEFAULT)]),
    "a curve that nobody takes": (secret("s", *pair("k256")), "", [("BadCertificate", SECRET, DEFAULT)]),
    "longer than any chain": (
        secret("s", pair()[0] * (certificates.MOST_OCTETS // 500), pair()[1]),
        "",
        [("BadCertificate", SECRET, DEFAULT)],
    ),
}


@pytest.mark.parametrize(("document", "certificate", "expected"), SECRETS.values(), ids=list(SECRETS))
def test_a_secret_is_held_against_its_host(document: Document | None, certificate: str, expected: list[Told]) -> None:
    documents = [
        ingress("web", rule("a.example.com"), rule("good.example.com"), tls=[
            {"hosts": ["a.example.com"], "secretName": "s"}, {"hosts": ["good.example.com"], "secretName": "good"}
        ]),
        tls_secret("good", "good.example.com"),
        service(),
    ]  # fmt: skip
    found = translated(*documents, *([document] if document else []))
    there = chains(found)

    assert certificate == there.get("a.example.com", there["*"]).tls.certificate.replace("default", "")  # type: ignore[union-attr]
    assert "shop/good" == shown(there["good.example.com"].tls)
    assert expected == [each[1:] for each in told(found)]
    assert [Redirect(308, scheme="https", port=0)] == [each.action for each in routes(found, "a.example.com")]


def test_a_private_key_is_never_shown() -> None:
    found = translated(
        ingress("web", rule("a.example.com"), tls=[{"hosts": ["a.example.com"], "secretName": "s"}]),
        secret("s", *pair()),
        service(),
    )

    assert "PRIVATE" not in repr(found)


def test_time_passes_for_a_memo_too() -> None:
    there = known(
        ingress("web", rule("a.example.com"), tls=[{"hosts": ["a.example.com"], "secretName": "s"}]),
        secret("s", *pair(begins=1)),
        service(),
    )
    memo = Memo()
    reasons = []
    for days in (0, 2, 11, 0):
        now = NOW.replace(day=1 + days)
        found = build(there, "mooring-envoy", now, memo)
        assert build(there, "mooring-envoy", now) == found
        reasons.append([each.reason for each in found.findings])

    assert [["CertificateNotYetValid"], [], ["CertificateExpired"], ["CertificateNotYetValid"]] == reasons


def test_a_rotated_certificate_keeps_its_key() -> None:
    before, after = (translated(WEB, secret("s", *pair(kind)), service()).table for kind in ("p256", "rsa2048"))

    assert before.listeners == after.listeners
    assert before.certificates["shop/s"] != after.certificates["shop/s"]


def test_hosts_of_one_certificate_share_a_chain_and_all_chains_the_hosts() -> None:
    tls = [{"hosts": ["a.example.com", "b.example.com"], "secretName": "s"}]
    hosts = ("a.example.com", "b.example.com", "c.org")
    found = translated(ingress("web", *map(rule, hosts), tls=tls), tls_secret("s", "*.example.com"), service())
    there = chains(found)

    assert {"*", "a.example.com", "b.example.com"} == set(there)
    assert ("a.example.com", "b.example.com") == there["a.example.com"].server_names
    assert there["*"].virtual_hosts is there["a.example.com"].virtual_hosts


def test_where_tls_makes_no_difference_both_listeners_share_their_hosts() -> None:
    found = translated(ingress("web", rule("a.example.com"), rule("b.example.com")), service())

    assert found.table.listeners[0].chains[0].virtual_hosts is found.table.listeners[1].chains[0].virtual_hosts


WILDCARD = [{"hosts": ["*.example.com"], "secretName": "s"}]


def test_a_host_that_says_nothing_of_tls_has_that_of_the_wildcard_it_is_under() -> None:
    """Shown, redirected to, and kept by browsers, as upstream."""
    found = translated(
        ingress("web", rule("*.example.com"), tls=WILDCARD),
        ingress("b", rule("b.example.com")),
        tls_secret("s", "*.example.com"),
        service(),
    )

    assert "shop/s" == shown(chains(found)["b.example.com"].tls)
    assert [Redirect(308, scheme="https", port=0)] == [each.action for each in routes(found, "b.example.com")]
    assert [True] == [bool(each.hsts) for each in chains(found)["b.example.com"].virtual_hosts if "b" in each.hosts[0][:1]]


def test_a_host_whose_own_secret_is_missing_does_not() -> None:
    found = translated(
        ingress("web", rule("*.example.com"), tls=WILDCARD),
        ingress("b", rule("b.example.com"), tls=[{"hosts": ["b.example.com"], "secretName": "missing"}]),
        tls_secret("s", "*.example.com"),
        service(),
    )

    assert "default" == shown(chains(found)["b.example.com"].tls)


def test_nor_does_one_of_another_namespace() -> None:
    other = ingress("b", rule("b.example.com"))
    other["metadata"]["namespace"] = "other"
    there = service()
    there["metadata"]["namespace"] = "other"
    found = translated(ingress("web", rule("*.example.com"), tls=WILDCARD), other, tls_secret("s", "*.example.com"), there)

    assert "default" == shown(chains(found)["b.example.com"].tls)
    assert isinstance(routes(found, "b.example.com")[0].action, Forward)


def test_tls_that_another_namespace_adds_redirects_its_own_paths_alone() -> None:
    other = ingress("theirs", rule("a.example.com", ("Prefix", "/theirs", "web:80")), day=2, tls=WILDCARD)
    other["metadata"]["namespace"] = "other"
    there, pair_ = service(), tls_secret("s", "*.example.com")
    there["metadata"]["namespace"] = pair_["metadata"]["namespace"] = "other"
    other["spec"]["tls"] = [{"hosts": ["a.example.com"], "secretName": "s"}]
    found = translated(ingress("web", rule("a.example.com")), other, pair_, there, service())

    assert "other/s" == shown(chains(found)["a.example.com"].tls)
    assert [Redirect, Forward] == [type(each.action) for each in routes(found, "a.example.com")]
    assert [""] == [each.hsts for each in chains(found)["a.example.com"].virtual_hosts]


def test_listed_hosts_under_a_wildcard_rule_have_their_certificate() -> None:
    tls = [{"hosts": ["b.example.com"], "secretName": "s"}]
    found = translated(ingress("web", rule("*.example.com"), tls=tls), tls_secret("s", "b.example.com"), service())

    assert "shop/s" == shown(chains(found)["b.example.com"].tls)
    assert [] == told(found)


def test_the_host_that_only_redirects_has_the_certificate_if_it_is_for_it() -> None:
    tls = [{"hosts": ["a.com"], "secretName": "s"}]
    web = ingress("web", rule("a.com"), tls=tls, annotations={"from-to-www-redirect": "true"})
    neither, both = (
        chains(translated(web, tls_secret("s", *names), service())) for names in (("a.com",), ("a.com", "www.a.com"))
    )

    assert "www.a.com" not in neither
    assert "shop/s" == shown(both["www.a.com"].tls)


def test_the_oldest_with_tls_says_which_certificate() -> None:
    def web(name: str, path: str, day: int, secret_name: str) -> Document:
        tls = [{"hosts": ["a.example.com"], "secretName": secret_name}] if secret_name else None
        return ingress(name, rule("a.example.com", ("Exact", path, "web:80")), tls=tls, day=day)

    documents = [web("first", "/1", 1, ""), web("second", "/2", 2, "s"), web("third", "/3", 3, "t")]
    found = translated(*documents, tls_secret("s", "a.example.com"), tls_secret("t", "a.example.com"), service())

    assert "shop/s" == shown(chains(found)["a.example.com"].tls)
    assert {"shop/s", "default"} == set(found.table.certificates)
    assert {Redirect} == {type(each.action) for each in routes(found, "a.example.com")}


def test_without_a_default_certificate_only_good_ones_are_served() -> None:
    tls = [{"hosts": ["a.example.com"], "secretName": "s"}, {"hosts": ["b.example.com"], "secretName": "missing"}]
    documents = [
        ingress("web", rule("a.example.com"), rule("b.example.com"), tls=tls),
        tls_secret("s", "a.example.com"),
        service(),
    ]
    found = translated(*documents, default_certificate=False)

    assert {"a.example.com"} == set(chains(found))
    assert {"shop/s"} == set(found.table.certificates)
    assert [] == [each for each in routes(found, "b.example.com") if isinstance(each.action, Redirect)]


# --- Client certificates, and TLS that is passed through


def walled(*more: Document, host: str = "bank.com", **annotations: str) -> dict[str, dict[str, int]]:
    """By server name, what its chain's hosts answer by themselves, with client certificates asked for at `host`."""
    ca = {**tls_secret("ca", "clients"), "stringData": {"ca.crt": pair()[0].decode()}}
    wanted = {"auth-tls-secret": "shop/ca", **{key.replace("_", "-"): text for key, text in annotations.items()}}
    found = translated(ingress("bank", rule(host), annotations=wanted), ca, *more, service())
    return {name: statuses(chain) for name, chain in chains(found).items()}


def test_who_asks_for_client_certificates_has_a_chain_alone() -> None:
    assert {
        "bank.com": {"bank.com": 0, "*": 421},
        "*": {"bank.com": 421, "web.com": 0},
    } == walled(ingress("web", rule("web.com")))


def test_a_wildcard_that_asks_for_them_does_not_take_in_its_neighbours() -> None:
    assert {
        "*.bank.com": {"*.bank.com": 0, "open.bank.com": 421, "*": 421},
        "open.bank.com": {"*.bank.com": 421, "open.bank.com": 0},
        "*": {"*.bank.com": 421, "open.bank.com": 0},
    } == walled(ingress("web", rule("open.bank.com")), host="*.bank.com")

    redirecting = {"*.bank.com": 421, "bank.com": 0, "www.bank.com": 308}
    assert {
        "*.bank.com": {"*.bank.com": 0, "www.bank.com": 421, "*": 421},
        "www.bank.com": redirecting,
        "*": redirecting,
    } == walled(ingress("web", rule("bank.com"), annotations=WWW), host="*.bank.com")


def test_the_rule_for_all_hosts_may_ask_for_them() -> None:
    assert {
        "*": {"*": 0, "web.com": 421},
        "web.com": {"*": 421, "web.com": 0},
    } == walled(ingress("web", rule("web.com")), host="")


def test_hosts_that_ask_for_the_same_share_a_chain() -> None:
    ask = {"auth-tls-secret": "shop/ca"}
    assert {
        "bank.com": {"bank.com": 0, "vault.com": 0, "*": 421},
        "vault.com": {"bank.com": 0, "vault.com": 0, "*": 421},
        "*": {"bank.com": 421, "vault.com": 421},
    } == walled(ingress("vault", rule("vault.com"), annotations=ask))


def test_an_alias_is_behind_the_same_wall() -> None:
    there = walled(server_alias="other.com")

    assert {"bank.com": 0, "other.com": 0, "*": 421} == there["other.com"]
    assert {"bank.com": 421, "other.com": 421} == there["*"]


def test_plain_http_cannot_go_round_client_certificates() -> None:
    ca = {**tls_secret("ca", "clients"), "stringData": {"ca.crt": pair()[0].decode()}}
    wanted = {"auth-tls-secret": "shop/ca", "ssl-redirect": "false"}
    bank = ingress("bank", rule("bank.com"), annotations=wanted)
    found = translated(bank, ingress("open", rule("bank.com", ("Exact", "/open", "web:80")), day=2), ca, service())

    assert [Redirect(308, scheme="https", port=0)] * 2 == [each.action for each in routes(found, "bank.com")]


def test_tls_is_passed_through_to_the_backend_of_the_root() -> None:
    found = translated(
        ingress("raw", rule("raw.com"), annotations={"ssl-passthrough": "true"}), ingress("web", rule("web.com")), service()
    )
    there = chains(found)
    tls = there["raw.com"].tls

    assert isinstance(tls, Passthrough)
    assert "TCP" == found.table.clusters[tls.cluster].speaks.value
    assert {"raw.com": 421, "web.com": 0} == statuses(there["*"])


def test_no_wildcard_takes_connections_for_a_host_that_has_rules() -> None:
    """A proxy may take a wildcard for any number of labels when it looks at the name that TLS asks for."""
    raw = ingress("raw", rule("*.foo.com"), annotations={"ssl-passthrough": "true"})
    hosts = ["x.foo.com", "a.b.foo.com", "*.c.foo.com"]
    there = chains(translated(raw, ingress("web", *map(rule, hosts)), ingress("other", rule("bar.com")), service()))

    assert isinstance(there["*.foo.com"].tls, Passthrough)
    assert ["default"] * 3 == [shown(there[host].tls) for host in hosts]
    assert "bar.com" not in there


WWW = {"from-to-www-redirect": "true"}


@pytest.mark.parametrize("tls", [None, [{"hosts": ["foo.com", "www.foo.com"]}]], ids=["without tls", "with tls"])
def test_nor_for_one_that_only_redirects(tls: list[Document] | None) -> None:
    raw = ingress("raw", rule("*.foo.com"), annotations={"ssl-passthrough": "true"})
    there = chains(translated(raw, ingress("web", rule("foo.com"), annotations=WWW, tls=tls), service()))

    assert isinstance(there["*.foo.com"].tls, Passthrough)
    assert "default" == shown(there["www.foo.com"].tls)
    assert 308 == statuses(there["www.foo.com"])["www.foo.com"]


def test_a_secret_does_not_show_what_is_in_it() -> None:
    assert "Secret(type='kubernetes.io/tls', keys=['tls.key'])" == repr(Secret("kubernetes.io/tls", {"tls.key": b"x"}))
