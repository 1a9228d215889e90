"""Does the Zone answer with all that belongs into a reply? (What is answered to which name, tests/scenarios say.)"""

import pytest
from msgspec import structs

from mooring.dns.answer import Found, Reason, answer
from mooring.dns.names import from_text, to_text
from mooring.dns.presentation import data_text
from mooring.dns.records import Question, Rcode, Record, Type
from mooring.dns.zone import Giver, PodNames, PublishedIngress, Zone, ZoneOptions
from mooring.services.names import NamedPort, PublishedEndpoint, PublishedService

HTTP = (NamedPort("http", "tcp", 80),)
ZONE = Zone(
    ZoneOptions(reverse=("10.96.0.0/16", "10.244.0.0/16"), external="example.org", addresses=("10.96.0.10",)),
    {
        ("default", "web"): PublishedService(("10.96.0.7", "fd00:96::7"), HTTP, external=("203.0.113.7",)),
        ("default", "peers"): PublishedService(
            endpoints=(PublishedEndpoint("a", "10.244.1.2", HTTP), PublishedEndpoint("b", "10.244.1.3", HTTP))
        ),
        ("default", "nobody"): PublishedService(),
        ("default", "db"): PublishedService(alias="DB.example.net."),
        ("default", "wrong"): PublishedService(alias="192.0.2.1"),
    },
    {"default"},
    7,
    ingresses={("default", "shop"): PublishedIngress(("shop.example.org", "*.apps.example.org"), ("203.0.113.9",))},
)
WEB, PEERS, DB = (Giver("Service", "default", name) for name in ("web", "peers", "db"))
SOA = "cluster.local 5 SOA ns.dns.cluster.local hostmaster.cluster.local 7 7200 1800 86400 5"


def ask(name: str, kind: int, zone: Zone = ZONE) -> Found:
    return answer(zone, Question(from_text(name), kind))


def told(records: tuple[Record, ...]) -> list[str]:
    """As in a zone file."""
    return [f"{to_text(each.name)} {each.ttl} {Type(each.type).name} {data_text(each.type, each.data)}" for each in records]


def test_addresses_are_told_in_the_case_of_the_question_and_may_be_shuffled() -> None:
    found = ask("Peers.DEFAULT.svc.cluster.local", Type.A)
    assert told(found.reply.answer) == [
        "Peers.DEFAULT.svc.cluster.local 5 A 10.244.1.2",
        "Peers.DEFAULT.svc.cluster.local 5 A 10.244.1.3",
    ]
    assert (found.reply.authoritative, found.reply.shuffle, found.owner) == (True, True, PEERS)


def test_one_address_and_ports_are_not_shuffled() -> None:
    assert ask("web.default.svc.cluster.local", Type.A).reply.shuffle is False
    assert ask("peers.default.svc.cluster.local", Type.SRV).reply.shuffle is False


def test_a_cluster_ips_ports_come_with_its_addresses() -> None:
    reply = ask("_HTTP._tcp.web.default.svc.cluster.local", Type.SRV).reply
    assert told(reply.answer) == ["_HTTP._tcp.web.default.svc.cluster.local 5 SRV 0 50 80 web.default.svc.cluster.local"]
    assert told(reply.additional) == [
        "web.default.svc.cluster.local 5 A 10.96.0.7",
        "web.default.svc.cluster.local 5 AAAA fd00:96::7",
    ]


def test_endpoints_ports_come_with_their_addresses() -> None:
    reply = ask("_http._tcp.peers.default.svc.cluster.local", Type.SRV).reply
    assert told(reply.answer) == [
        "_http._tcp.peers.default.svc.cluster.local 5 SRV 0 50 80 a.peers.default.svc.cluster.local",
        "_http._tcp.peers.default.svc.cluster.local 5 SRV 0 50 80 b.peers.default.svc.cluster.local",
    ]
    assert told(reply.additional) == [
        "a.peers.default.svc.cluster.local 5 A 10.244.1.2",
        "b.peers.default.svc.cluster.local 5 A 10.244.1.3",
    ]


@pytest.mark.parametrize(
    ("count", "weight"),
    [(1, 100), (3, 33), (7, 14), (101, 1)],
    ids=["all of it", "a third, rounded down", "a seventh", "never less than 1"],
)
def test_weights_share_100(count: int, weight: int) -> None:
    endpoints = tuple(PublishedEndpoint(f"e{n}", f"10.244.1.{n}", HTTP) for n in range(count))
    zone = Zone(ZoneOptions(), {("default", "many"): PublishedService(endpoints=endpoints)}, {"default"}, 1)
    answers = ask("_http._tcp.many.default.svc.cluster.local", Type.SRV, zone).reply.answer
    assert {int.from_bytes(each.data[2:4], "big") for each in answers} == {weight}
    assert len(answers) == count


@pytest.mark.parametrize(
    ("name", "rcode"),
    [("web.default.svc.cluster.local", Rcode.NOERROR), ("x.default.svc.cluster.local", Rcode.NXDOMAIN)],
    ids=["another type", "no such name"],
)
def test_a_negative_answer_brings_the_zones_soa(name: str, rcode: Rcode) -> None:
    reply = ask(name, Type.TXT).reply
    assert (reply.rcode, reply.answer, told(reply.authority)) == (rcode, (), [SOA])


def test_a_negative_answer_of_another_zone_brings_its_own_soa() -> None:
    assert told(ask("3.0.96.10.in-addr.arpa", Type.PTR).reply.authority)[0].startswith(
        "96.10.in-addr.arpa 5 SOA ns.dns.cluster"
    )
    assert told(ask("x.example.org", Type.A).reply.authority)[0].startswith("example.org 5 SOA ns.dns.example.org")


def test_nameservers_come_with_their_addresses() -> None:
    reply = ask("cluster.local", Type.NS).reply
    assert told(reply.answer) == ["cluster.local 5 NS ns.dns.cluster.local"]
    assert told(reply.additional) == ["ns.dns.cluster.local 5 A 10.96.0.10"]


def test_an_alias_says_where_the_question_goes_on() -> None:
    found = ask("db.default.svc.cluster.local", Type.A)
    assert told(found.reply.answer) == ["db.default.svc.cluster.local 5 CNAME db.example.net"]
    assert (found.alias, found.owner) == (from_text("db.example.net"), DB)


def test_who_asks_for_the_alias_itself_gets_no_more() -> None:
    found = ask("db.default.svc.cluster.local", Type.CNAME)
    assert (len(found.reply.answer), found.alias) == (1, None)


def test_before_the_first_sync_an_unknown_name_is_a_server_failure_and_a_known_one_answers() -> None:
    early = structs.replace(ZONE, synced=False)
    unknown = ask("x.default.svc.cluster.local", Type.A, early)
    assert (unknown.reply.rcode, unknown.reply.authority, unknown.reason) == (Rcode.SERVFAIL, (), Reason.NOT_SYNCED)
    assert ask("web.default.svc.cluster.local", Type.A, early) == ask("web.default.svc.cluster.local", Type.A)


@pytest.mark.parametrize(
    ("name", "kind", "reason", "owner"),
    [
        ("cluster.local", Type.A, Reason.APEX, ""),
        ("svc.cluster.local", Type.A, Reason.BETWEEN, ""),
        ("default.svc.cluster.local", Type.A, Reason.NAMESPACE, "namespace/default"),
        ("web.default.svc.cluster.local", Type.A, Reason.CLUSTER_IP, "service/web in default"),
        ("peers.default.svc.cluster.local", Type.A, Reason.READY_ENDPOINTS, "service/peers in default"),
        ("nobody.default.svc.cluster.local", Type.A, Reason.NO_READY_ENDPOINTS, "service/nobody in default"),
        ("a.peers.default.svc.cluster.local", Type.A, Reason.ENDPOINT, "service/peers in default"),
        ("c.peers.default.svc.cluster.local", Type.A, Reason.NO_ENDPOINT, "service/peers in default"),
        ("_http._tcp.web.default.svc.cluster.local", Type.SRV, Reason.PORT, "service/web in default"),
        ("_dns._udp.web.default.svc.cluster.local", Type.SRV, Reason.NO_PORT, "service/web in default"),
        ("_tcp.web.default.svc.cluster.local", Type.SRV, Reason.BETWEEN, "service/web in default"),
        ("db.default.svc.cluster.local", Type.A, Reason.ALIAS, "service/db in default"),
        ("wrong.default.svc.cluster.local", Type.A, Reason.NO_ALIAS, "service/wrong in default"),
        ("x.default.svc.cluster.local", Type.A, Reason.NO_SERVICE, ""),
        ("x.other.svc.cluster.local", Type.A, Reason.NO_NAMESPACE, ""),
        ("foo.cluster.local", Type.A, Reason.NO_SHAPE, ""),
        ("10-1-2-3.default.pod.cluster.local", Type.A, Reason.ANY_POD, "namespace/default"),
        ("x.default.pod.cluster.local", Type.A, Reason.NO_ADDRESS, ""),
        ("dns-version.cluster.local", Type.TXT, Reason.VERSION, ""),
        ("ns.dns.cluster.local", Type.A, Reason.NAMESERVER, ""),
        ("7.0.96.10.in-addr.arpa", Type.PTR, Reason.POINTER_CLUSTER_IP, "service/web in default"),
        ("2.1.244.10.in-addr.arpa", Type.PTR, Reason.POINTER_ENDPOINT, "service/peers in default"),
        ("9.1.244.10.in-addr.arpa", Type.PTR, Reason.NO_POINTER, ""),
        ("1.244.10.in-addr.arpa", Type.PTR, Reason.BETWEEN, ""),
        ("web.default.example.org", Type.A, Reason.OUTSIDE, "service/web in default"),
        ("shop.example.org", Type.A, Reason.HOST, "ingress/shop in default"),
        ("x.apps.example.org", Type.A, Reason.HOST, "ingress/shop in default"),
        ("x.example.org", Type.A, Reason.NO_OUTSIDE, ""),
        ("ns.dns.example.org", Type.A, Reason.NAMESERVER, ""),
        ("example.net", Type.A, Reason.ELSEWHERE, ""),
    ],
)
def test_the_reason_and_the_object_are_told(name: str, kind: Type, reason: Reason, owner: str) -> None:
    found = ask(name, kind)
    assert (found.reason, str(found.owner or "")) == (reason, owner)


@pytest.mark.parametrize(
    ("mode", "label", "reason"),
    [
        (PodNames.DISABLED, "10-244-1-2", Reason.PODS_DISABLED),
        (PodNames.VERIFIED, "10-244-1-2", Reason.POD),
        (PodNames.VERIFIED, "10-244-1-3", Reason.NO_POD),
    ],
)
def test_the_reason_of_a_pods_name_is_told(mode: PodNames, label: str, reason: Reason) -> None:
    zone = structs.replace(ZONE, options=structs.replace(ZONE.options, pods=mode), pods={"default": {"10.244.1.2"}})
    assert ask(f"{label}.default.pod.cluster.local", Type.A, zone).reason is reason
