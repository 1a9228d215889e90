"""Do the small handlers decide alone, and pass on what is not theirs?"""

from ipaddress import ip_network

import pytest
from chain_lab import NO, Answers, Drive, one, query, reply, text

from mooring.dns.chain import Note
from mooring.dns.handlers import hosts
from mooring.dns.handlers.access import Access
from mooring.dns.handlers.chaos import Chaos
from mooring.dns.handlers.hosts import Hosts
from mooring.dns.handlers.minimal_any import MinimalAny
from mooring.dns.handlers.ratelimit import RateLimit
from mooring.dns.handlers.transfer import Transfer
from mooring.dns.names import from_text
from mooring.dns.records import Class, Query, Question, Rcode

WEB = reply("web.example. 60 IN A 192.0.2.1")
NEXT = Answers(web__example=WEB)


@pytest.mark.parametrize(
    ("client", "rcode"),
    [
        pytest.param("10.244.0.7", Rcode.NOERROR, id="a client within the ranges may ask"),
        pytest.param("192.0.2.9", Rcode.REFUSED, id="any other may not"),
        pytest.param("fd00:244::7", Rcode.NOERROR, id="of either family"),
        pytest.param("fe80::1%eth0", Rcode.REFUSED, id="a scope is not part of the address"),
        pytest.param("nonsense", Rcode.REFUSED, id="what is no address may not"),
        pytest.param("", Rcode.NOERROR, id="we ourselves always may"),
    ],
)
def test_only_clients_within_the_ranges_may_ask(client: str, rcode: int) -> None:
    access = Access([ip_network("10.244.0.0/16"), ip_network("fd00:244::/56")])
    assert rcode == Drive().ask(one(access, NEXT), query("web.example", client=client))[0].rcode


@pytest.mark.parametrize(
    ("client", "name", "rcode"),
    [
        pytest.param("192.0.2.9", "Web.Example", Rcode.NOERROR, id="a secondary may ask for our names"),
        pytest.param("192.0.2.9", "www.example.org", Rcode.REFUSED, id="but for no others"),
        pytest.param("192.0.2.10", "web.example", Rcode.REFUSED, id="nobody else may"),
        pytest.param("10.244.0.7", "www.example.org", Rcode.NXDOMAIN, id="clients may ask for all"),
    ],
)
def test_secondaries_may_ask_for_our_names_only(client: str, name: str, rcode: int) -> None:
    access = Access([ip_network("10.0.0.0/8")], [ip_network("192.0.2.9/32")], lambda asked: asked == from_text("web.example"))
    assert rcode == Drive().ask(one(access, NEXT), query(name, client=client))[0].rcode


def test_a_refusal_is_noted_with_the_client_and_the_setting() -> None:
    _, context = Drive().ask(one(Access([]), NEXT), query("web.example", client="192.0.2.9"))
    assert [Note("access", "refused", "192.0.2.9 is in none of the ranges of access")] == context.notes


def test_a_client_that_asks_too_much_is_refused_until_its_bucket_fills() -> None:
    drive, chain = Drive(), one(RateLimit(per_second=2, burst=3), NEXT)
    asked = query("web.example")
    rcodes = [drive.ask(chain, asked)[0].rcode for _ in range(4)]
    assert [Rcode.NOERROR] * 3 + [Rcode.REFUSED] == rcodes
    assert Rcode.NOERROR == drive.ask(chain, query("web.example", client="10.244.0.8"))[0].rcode
    drive.now += 0.5
    assert [Rcode.NOERROR, Rcode.REFUSED] == [drive.ask(chain, asked)[0].rcode for _ in range(2)]


def test_buckets_are_bounded_whoever_asks() -> None:
    limit = RateLimit(per_second=1, burst=1, clients=100)
    for number in range(10_000):
        limit.takes(f"10.0.{number >> 8}.{number & 255}", 0.0)
    assert 100 == len(limit)


def test_a_question_for_every_type_gets_one_small_record() -> None:
    answered, _ = Drive().ask(one(MinimalAny(), NEXT), query("web.example", "ANY"))
    assert ['web.example. 8482 IN HINFO "RFC8482" ""'] == text(answered.answer)
    assert WEB == Drive().ask(one(MinimalAny(), NEXT), query("web.example"))[0]


@pytest.mark.parametrize(
    ("name", "kind", "klass", "expected"),
    [
        pytest.param("version.bind", 16, Class.CHAOS, (Rcode.NOERROR, ['version.bind. 0 IN TXT "v"']), id="the version"),
        pytest.param("Id.Server", 16, Class.CHAOS, (Rcode.NOERROR, ['Id.Server. 0 IN TXT "node-1"']), id="the name"),
        pytest.param("version.bind", 1, Class.CHAOS, (Rcode.NOERROR, []), id="no address of the version"),
        pytest.param("authors.bind", 16, Class.CHAOS, (Rcode.REFUSED, []), id="nothing else"),
        pytest.param("web.example", 1, 4, (Rcode.REFUSED, []), id="no other class"),
        pytest.param("web.example", 1, Class.ANY, (Rcode.REFUSED, []), id="not all classes"),
        pytest.param("web.example", 1, Class.IN, (Rcode.NOERROR, ["web.example. 60 IN A 192.0.2.1"]), id="IN goes on"),
    ],
)
def test_other_classes_than_in_end_here(name: str, kind: int, klass: int, expected: object) -> None:
    asked = Query(7, Question(from_text(name), kind, klass))
    answered, _ = Drive().ask(one(Chaos("v", "node-1"), NEXT), asked)
    assert expected == (answered.rcode, text(answered.answer))


def test_zones_are_not_handed_over_by_the_chain() -> None:
    for kind in ("AXFR", "IXFR"):
        assert Rcode.REFUSED == Drive().ask(one(Transfer(), NEXT), query("web.example", kind))[0].rcode
    assert WEB == Drive().ask(one(Transfer(), NEXT), query("web.example"))[0]


HOSTS = Hosts([hosts.read("192.0.2.7 db.example DB # the old one"), hosts.read("2001:db8::7 db.example")], ttl=60)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        pytest.param("Db.example", "A", ["Db.example. 60 IN A 192.0.2.7"], id="the address, in the question's case"),
        pytest.param("db.example", "AAAA", ["db.example. 60 IN AAAA 2001:db8::7"], id="the other family"),
        pytest.param("db", "A", ["db. 60 IN A 192.0.2.7"], id="another name of the line"),
        pytest.param("db", "AAAA", [], id="no data where the line has none: nobody else is asked"),
        pytest.param("7.2.0.192.in-addr.arpa", "PTR", ["7.2.0.192.in-addr.arpa. 60 IN PTR db.example."], id="and back"),
        pytest.param("web.example", "A", ["web.example. 60 IN A 192.0.2.1"], id="what is in no line goes on"),
    ],
)
def test_lines_of_hosts_are_answered_for_all_types(name: str, kind: str, expected: list[str]) -> None:
    answered, _ = Drive().ask(one(HOSTS, NEXT), query(name, kind))
    assert (Rcode.NOERROR, expected) == (answered.rcode, text(answered.answer))


def test_an_address_that_two_lines_give_is_one_record() -> None:
    twice = Hosts([hosts.read("192.0.2.7 db db"), hosts.read("192.0.2.7 db")], ttl=60)
    assert ["db. 60 IN A 192.0.2.7"] == text(Drive().ask(one(twice), query("db"))[0].answer)


@pytest.mark.parametrize("line", ["", "192.0.2.1", "nonsense db", "192.0.2.1 a..b", "192.0.2.1 " + 64 * "x"])
def test_a_line_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        hosts.read(line)


def test_what_nobody_knows_does_not_exist() -> None:
    assert NO == Drive().ask(one(HOSTS, NEXT), query("no.example"))[0]
