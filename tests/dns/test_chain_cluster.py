"""Does the cluster answer its own names first, and follow its aliases wherever they lead?"""

import pytest
from chain_lab import FAILED, NO, Answers, Drive, query, reply, text
from msgspec.structs import replace

from mooring.dns.chain import Note, chained
from mooring.dns.handlers.cluster import ALIASES, Cluster
from mooring.dns.handlers.hosts import Hosts
from mooring.dns.names import from_text
from mooring.dns.records import Rcode, Reply
from mooring.dns.zone import Zone, ZoneOptions
from mooring.services.names import PublishedService

OUTSIDE = "www.example.org. 60 IN A 192.0.2.1"
CHAIN = {("default", f"step-{n}"): PublishedService(alias=f"step-{n + 1}.default.svc.cluster.local") for n in range(20)}
ZONE = Zone(
    ZoneOptions(),
    {
        ("default", "web"): PublishedService(("10.96.0.9",)),
        ("default", "out"): PublishedService(alias="www.example.org"),
        ("default", "in"): PublishedService(alias="web.default.svc.cluster.local"),
        ("default", "twice"): PublishedService(alias="out.default.svc.cluster.local"),
        ("default", "nowhere"): PublishedService(alias="no.default.svc.cluster.local"),
        ("default", "self"): PublishedService(alias="self.default.svc.cluster.local"),
        ("default", "ping"): PublishedService(alias="pong.default.svc.cluster.local"),
        ("default", "pong"): PublishedService(alias="ping.default.svc.cluster.local"),
        ("default", "listed"): PublishedService(alias="db.corp"),
        **CHAIN,
    },
    {"default"},
    1,
)


def ask(name: str, kind: str = "A", known: Answers | None = None, zone: Zone = ZONE) -> tuple[Reply, list[Note]]:
    handlers = [Hosts([("192.0.2.7", (from_text("db.corp"),))]), Cluster(lambda: zone)]
    chain = chained(handlers, known or Answers(www__example__org=reply(OUTSIDE)))
    answered, context = Drive().ask(chain, query(name, kind), chain)
    return answered, context.notes


def alias(name: str, target: str) -> str:
    return f"{name}.default.svc.cluster.local. 5 IN CNAME {target}."


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("web", ["web.default.svc.cluster.local. 5 IN A 10.96.0.9"], id="no alias"),
        pytest.param("out", [alias("out", "www.example.org"), OUTSIDE], id="to the outside"),
        pytest.param(
            "in",
            [alias("in", "web.default.svc.cluster.local"), "web.default.svc.cluster.local. 5 IN A 10.96.0.9"],
            id="to another Service",
        ),
        pytest.param(
            "twice",
            [alias("twice", "out.default.svc.cluster.local"), alias("out", "www.example.org"), OUTSIDE],
            id="by another",
        ),
        pytest.param("listed", [alias("listed", "db.corp"), "db.corp. 3600 IN A 192.0.2.7"], id="to a line of hosts"),
        pytest.param("nowhere", [alias("nowhere", "no.default.svc.cluster.local")], id="to no Service: the alias alone"),
        pytest.param("self", [alias("self", "self.default.svc.cluster.local")], id="to itself: once"),
        pytest.param(
            "ping",
            [alias("ping", "pong.default.svc.cluster.local"), alias("pong", "ping.default.svc.cluster.local")],
            id="in a circle: once around",
        ),
    ],
)
def test_an_alias_is_followed_and_stands_first(name: str, expected: list[str]) -> None:
    answered, _ = ask(f"{name}.default.svc.cluster.local")
    assert (Rcode.NOERROR, True, expected) == (answered.rcode, answered.authoritative, text(answered.answer))


def test_a_chain_of_aliases_ends_somewhere() -> None:
    answered, notes = ask("step-0.default.svc.cluster.local")
    assert ALIASES + 1 == len(answered.answer)
    assert "alias not followed" in [each.decision for each in notes]


@pytest.mark.parametrize("outcome", [FAILED, NO, Reply(Rcode.REFUSED)])
def test_a_target_that_cannot_be_resolved_leaves_the_alias_alone_as_in_coredns(outcome: Reply) -> None:
    answered, _ = ask("out.default.svc.cluster.local", known=Answers(www__example__org=outcome))
    assert (Rcode.NOERROR, [alias("out", "www.example.org")]) == (answered.rcode, text(answered.answer))


def test_what_is_cut_off_of_the_target_is_told() -> None:
    assert ask("out.default.svc.cluster.local", known=Answers(www__example__org=reply(OUTSIDE, truncated=True)))[0].truncated


def test_a_question_for_the_alias_itself_goes_nowhere() -> None:
    known = Answers()
    assert [alias("out", "www.example.org")] == text(ask("out.default.svc.cluster.local", "CNAME", known)[0].answer)
    assert [] == known.asked


def test_the_object_that_decided_is_noted() -> None:
    _, notes = ask("web.default.svc.cluster.local")
    assert [Note("cluster", "answered", "service/web in default: the Service has a cluster IP")] == notes


def test_aliases_that_were_followed_are_forgotten_for_the_next_name() -> None:
    chain = chained([Cluster(lambda: ZONE)], Answers(www__example__org=reply(OUTSIDE)))
    _, context = Drive().ask(chain, query("twice.default.svc.cluster.local"), chain)
    assert () == context.followed


def test_names_elsewhere_go_on_and_are_not_ours() -> None:
    answered, _ = ask("www.example.org")
    assert ([OUTSIDE], False) == (text(answered.answer), answered.authoritative)


def test_before_everything_is_known_nothing_is_denied() -> None:
    assert Rcode.SERVFAIL == ask("no.default.svc.cluster.local", zone=replace(ZONE, synced=False))[0].rcode
    assert Rcode.NXDOMAIN == ask("no.default.svc.cluster.local")[0].rcode
