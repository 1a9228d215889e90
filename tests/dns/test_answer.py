"""Does the zone answer as the specification says?"""

import pytest

from mooring.dns.answer import Answer, Rcode, answer
from mooring.dns.names import ClusterName, Shape, parse
from mooring.dns.zone import Zone
from mooring.services.names import PublishedName

ZONE = Zone(
    domain="cluster.local",
    services={
        ("default", "web"): (PublishedName("", ("10.96.0.10",)),),
        ("default", "both"): (PublishedName("", ("10.96.0.15", "fd00:96::15")),),
        ("default", "pods"): (PublishedName("", ("10.244.1.2", "10.244.2.2")), PublishedName("a", ("10.244.1.2",))),
        ("default", "nobody"): (),
    },
    namespaces={"default", "empty"},
    aliases={("default", "database")},
    serial=7,
)
WEB, BOTH, PODS = ("default", "web"), ("default", "both"), ("default", "pods")


@pytest.mark.parametrize(
    ("name", "record_type", "expected"),
    [
        pytest.param(
            "web.default.svc.cluster.local.", "A", Answer(Rcode.NOERROR, ("10.96.0.10",), service=WEB), id="cluster IP"
        ),
        pytest.param("WEB.Default.SVC.cluster.LOCAL", "A", Answer(Rcode.NOERROR, ("10.96.0.10",), service=WEB), id="any case"),
        pytest.param("web.default.svc.cluster.local.", "AAAA", Answer(Rcode.NOERROR, service=WEB), id="other family is NODATA"),
        pytest.param("web.default.svc.cluster.local.", "SRV", Answer(Rcode.NOERROR, service=WEB), id="other type is NODATA"),
        pytest.param(
            "both.default.svc.cluster.local.", "AAAA", Answer(Rcode.NOERROR, ("fd00:96::15",), service=BOTH), id="AAAA"
        ),
        pytest.param(
            "pods.default.svc.cluster.local.",
            "A",
            Answer(Rcode.NOERROR, ("10.244.1.2", "10.244.2.2"), service=PODS),
            id="headless",
        ),
        pytest.param("a.pods.default.svc.cluster.local.", "A", Answer(Rcode.NOERROR, ("10.244.1.2",), service=PODS), id="host"),
        pytest.param("b.pods.default.svc.cluster.local.", "A", Answer(Rcode.NXDOMAIN), id="no such host"),
        pytest.param("nobody.default.svc.cluster.local.", "A", Answer(Rcode.NXDOMAIN), id="headless without endpoints"),
        pytest.param("none.default.svc.cluster.local.", "A", Answer(Rcode.NXDOMAIN), id="no such Service"),
        pytest.param("web.other.svc.cluster.local.", "A", Answer(Rcode.NXDOMAIN), id="no such namespace"),
        pytest.param("empty.svc.cluster.local.", "A", Answer(Rcode.NOERROR), id="a namespace is NODATA"),
        pytest.param("other.svc.cluster.local.", "A", Answer(Rcode.NXDOMAIN), id="an unknown namespace is not"),
        pytest.param("svc.cluster.local.", "A", Answer(Rcode.NOERROR), id="the root of Services is NODATA"),
        pytest.param("cluster.local.", "A", Answer(Rcode.NOERROR), id="the apex is NODATA"),
        pytest.param("foo.cluster.local.", "A", Answer(Rcode.NXDOMAIN), id="unknown subtree"),
        pytest.param("a.b.c.d.svc.cluster.local.", "A", Answer(Rcode.NXDOMAIN), id="too deep"),
        pytest.param("example.org.", "A", Answer(Rcode.REFUSED, in_zone=False), id="outside the zone"),
        pytest.param("xcluster.local.", "A", Answer(Rcode.REFUSED, in_zone=False), id="a suffix of letters is not a subdomain"),
        pytest.param(
            "database.default.svc.cluster.local.",
            "A",
            Answer(Rcode.REFUSED, in_zone=False, service=("default", "database")),
            id="an ExternalName leads outside",
        ),
    ],
)
def test_a_question_gets_its_answer(name: str, record_type: str, expected: Answer) -> None:
    assert answer(ZONE, name, record_type) == expected


def test_before_the_first_sync_an_unknown_name_is_a_server_failure_and_a_known_one_answers() -> None:
    early = Zone("cluster.local", ZONE.services, ZONE.namespaces, ZONE.aliases, 1, synced=False)
    assert answer(early, "none.default.svc.cluster.local.", "A") == Answer(Rcode.SERVFAIL)
    assert answer(early, "web.default.svc.cluster.local.", "A").addresses == ("10.96.0.10",)


def test_names_are_taken_apart_by_shape() -> None:
    assert parse("h.s.n.svc.cluster.local.", "cluster.local") == ClusterName(Shape.ENDPOINT, "n", "s", "h")
    assert parse("s.n.svc.example.", "example.") == ClusterName(Shape.SERVICE, "n", "s")
    assert parse("s.n.pod.cluster.local", "cluster.local") == ClusterName(Shape.UNKNOWN)
