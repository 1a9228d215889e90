"""Is a pod's whole search path tried in one question?"""

import pytest
from chain_lab import CLIENT, FAILED, Answers, Drive, one, query, reply, text

from mooring.dns.chain import Context
from mooring.dns.handlers.autopath import Autopath
from mooring.dns.names import from_text
from mooring.dns.records import Rcode, Reply
from mooring.dns.zone import PodNames, Zone, ZoneOptions

ZONE = Zone(ZoneOptions(pods=PodNames.VERIFIED), {}, {"shop"}, 1, pods={"shop": {CLIENT}})
AUTOPATH = Autopath(lambda: ZONE, [from_text("corp.example")])
FIRST = "www.example.org.shop.svc.cluster.local"
OUTSIDE = reply("www.example.org. 60 IN A 192.0.2.1")
CORP = reply("www.example.org.corp.example. 30 IN A 192.0.2.2")


@pytest.mark.parametrize(
    ("known", "expected", "asked"),
    [
        pytest.param(
            Answers(www__example__org=OUTSIDE),
            [f"{FIRST}. 60 IN CNAME www.example.org.", "www.example.org. 60 IN A 192.0.2.1"],
            ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example", ""],
            id="the bare name is the last to be tried",
        ),
        pytest.param(
            Answers(www__example__org=OUTSIDE, www__example__org__corp__example=CORP),
            [f"{FIRST}. 30 IN CNAME www.example.org.corp.example.", "www.example.org.corp.example. 30 IN A 192.0.2.2"],
            ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"],
            id="the first that exists wins",
        ),
        pytest.param(
            Answers(www__example__org__svc__cluster__local=Reply(Rcode.NOERROR), www__example__org=OUTSIDE),
            [],
            ["shop.svc.cluster.local", "svc.cluster.local"],
            id="a name without such records exists too",
        ),
    ],
)
def test_the_search_path_is_walked(known: Answers, expected: list[str], asked: list[str]) -> None:
    answered, _ = Drive().ask(one(AUTOPATH, known), query(FIRST))
    assert (Rcode.NOERROR, expected) == (answered.rcode, text(answered.answer))
    assert [f"www.example.org.{domain}".removesuffix(".") for domain in asked] == known.names


def test_without_any_such_name_the_first_denial_counts() -> None:
    assert Rcode.NXDOMAIN == Drive().ask(one(AUTOPATH, Answers()), query(FIRST))[0].rcode


def test_a_failure_is_no_denial_and_ends_the_search() -> None:
    known = Answers(www__example__org=OUTSIDE)
    known.replies[FIRST] = FAILED
    assert Rcode.SERVFAIL == Drive().ask(one(AUTOPATH, known), query(FIRST))[0].rcode
    assert [FIRST] == known.names


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(query(FIRST, client="10.244.0.99"), id="another client"),
        pytest.param(query(FIRST, "MX"), id="another type"),
        pytest.param(query("www.example.org.other.svc.cluster.local"), id="another namespace"),
        pytest.param(query("shop.svc.cluster.local"), id="nothing before the path"),
        pytest.param(query("www.example.org"), id="a bare name"),
    ],
)
def test_anything_else_is_asked_for_as_it_is(asked: object) -> None:
    known = Answers()
    Drive().ask(one(AUTOPATH, known), asked)  # type: ignore[arg-type]
    assert 1 == len(known.asked)


def test_an_alias_leads_to_a_whole_name() -> None:
    known, context = Answers(www__example__org=OUTSIDE), Context(0.0, followed=(from_text("far.shop.svc.cluster.local"),))
    assert Rcode.NXDOMAIN == Drive().run(one(AUTOPATH, known)(query(FIRST), context), context).rcode
    assert [FIRST] == known.names


def test_an_address_of_pods_of_several_namespaces_has_no_path() -> None:
    """The node's own, which pods of the host network share."""
    zone, known = Zone(ZoneOptions(), {}, {"shop", "sea"}, 1, pods={"shop": {CLIENT}, "sea": {CLIENT}}), Answers()
    Drive().ask(one(Autopath(lambda: zone), known), query(FIRST))
    assert [FIRST] == known.names


def test_what_an_alias_of_ours_leads_to_is_not_authentic() -> None:
    signed = Answers(www__example__org=reply("www.example.org. 60 IN A 192.0.2.1", authentic_data=True))
    assert not Drive().ask(one(AUTOPATH, signed), query(FIRST))[0].authentic_data
