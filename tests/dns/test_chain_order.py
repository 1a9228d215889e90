"""Does each handler stand where it must, and do settings leave out what they should?"""

from collections.abc import Iterable
from ipaddress import ip_network
from random import Random

import pytest
from chain_lab import Drive, query, reply, text

from mooring.app.resolver import ResolverOptions, chain_of
from mooring.dns.chain import Exchange, Heard, Upstream
from mooring.dns.chain_order import ORDER, Chain, Surroundings, assemble
from mooring.dns.handlers.forward import Route
from mooring.dns.names import ROOT, from_text
from mooring.dns.records import Class, Query, Question, Rcode
from mooring.dns.settings import decode
from mooring.dns.zone import Zone, ZoneOptions
from mooring.services.names import PublishedService

ZONE = Zone(
    ZoneOptions(),
    {("default", "web"): PublishedService(("10.96.0.9",)), ("default", "out"): PublishedService(alias="www.example.org")},
    {"default"},
    1,
    pods={"default": {"10.244.0.7"}},
)
WWW = "www.example.org. 60 IN A 192.0.2.1"


def chain(routes: Iterable[Route] = (Route(ROOT, (Upstream("192.0.2.53"),)),), **settings: object) -> Chain:
    around = Surroundings(lambda: ZONE, [ip_network("10.0.0.0/8")], tuple(routes), Random(1), (), "v", "node-1")
    return assemble(decode(settings, "settings"), around)


def elsewhere(exchange: Exchange) -> Heard:
    return Heard(reply(WWW) if exchange.query.question.name == from_text("www.example.org") else reply(rcode=Rcode.NXDOMAIN))


def ask(made: Chain, asked: Query) -> tuple[int, list[str], list[str]]:
    """Rcode, answer, and the handlers that had something to say."""
    answered, context = Drive(elsewhere).ask(made.head, asked, made.whole)
    return answered.rcode, text(answered.answer), [each.handler for each in context.notes]


WEB = "web.default.svc.cluster.local"
ON_ITS_WAY = ["cache", "forward"]


@pytest.mark.parametrize(
    ("settings", "asked", "expected"),
    [
        pytest.param({}, query(WEB), (0, [f"{WEB}. 5 IN A 10.96.0.9"], ["cluster"]), id="the cluster before the outside"),
        pytest.param({}, query("www.example.org"), (0, [WWW], ON_ITS_WAY), id="the cache before the outside"),
        pytest.param({"cache": False}, query("www.example.org"), (0, [WWW], ["forward"]), id="no cache where none is wanted"),
        pytest.param({}, query(WEB, client="192.0.2.9"), (5, [], ["access"]), id="strangers learn nothing"),
        pytest.param(
            {}, query(WEB, "ANY"), (0, [f'{WEB}. 8482 IN HINFO "RFC8482" ""'], ["any"]), id="all types before the cluster"
        ),
        pytest.param({}, query("cluster.local", "AXFR"), (5, [], ["transfer"]), id="whole zones before all types"),
        pytest.param(
            {"hosts": {"entries": [f"192.0.2.7 {WEB}"]}},
            query(WEB),
            (0, [f"{WEB}. 3600 IN A 192.0.2.7"], ["hosts"]),
            id="a line of hosts before the cluster",
        ),
        pytest.param(
            {"rewrite": [{"match": "suffix", "from": ".corp", "to": ".default.svc.cluster.local"}]},
            query("web.corp"),
            (0, ["web.corp. 5 IN A 10.96.0.9"], ["rewrite", "cluster"]),
            id="rewriting before the cluster",
        ),
        pytest.param(
            {"autopath": True},
            query("www.example.org.default.svc.cluster.local"),
            (
                0,
                ["www.example.org.default.svc.cluster.local. 60 IN CNAME www.example.org.", WWW],
                [*["cluster"] * 3, *ON_ITS_WAY, "autopath"],
            ),
            id="the search path over everything below",
        ),
        pytest.param(
            {},
            query("out.default.svc.cluster.local"),
            (0, ["out.default.svc.cluster.local. 5 IN CNAME www.example.org.", WWW], ["cluster", *ON_ITS_WAY]),
            id="an alias to the outside",
        ),
        pytest.param(
            {"rewrite": [{"match": "exact", "from": "www.example.org", "to": WEB}]},
            query("out.default.svc.cluster.local"),
            (
                0,
                ["out.default.svc.cluster.local. 5 IN CNAME www.example.org.", "www.example.org. 5 IN A 10.96.0.9"],
                ["cluster", "rewrite", "cluster"],
            ),
            id="an alias's target is rewritten too",
        ),
    ],
)
def test_who_comes_first(settings: dict[str, object], asked: Query, expected: object) -> None:
    assert expected == ask(chain(**settings), asked)


@pytest.mark.parametrize(
    ("client", "name", "rcode"),
    [
        pytest.param("203.0.113.9", WEB, Rcode.NOERROR, id="a secondary asks for a name of our zones"),
        pytest.param("203.0.113.9", "1.0.96.10.in-addr.arpa", Rcode.REFUSED, id="for one of a range that is not ours"),
        pytest.param("203.0.113.9", "www.example.org", Rcode.REFUSED, id="for one of others"),
        pytest.param("203.0.113.10", WEB, Rcode.REFUSED, id="somebody else asks"),
    ],
)
def test_who_may_have_the_zones_may_not_ask_for_other_names(client: str, name: str, rcode: int) -> None:
    settings = decode({"transfer": {"to": ["203.0.113.9/32"]}, "access": ["10.0.0.0/8"]}, "settings")
    made = chain_of(ResolverOptions(settings, nameservers=["192.0.2.53"]), lambda: ZONE, Random(1))
    assert rcode == ask(made, query(name, client=client))[0]


def test_less_than_one_question_each_five_seconds_still_lets_one_through() -> None:
    made = chain(**{"rate-limit": {"per-second": 0.1}})
    assert (Rcode.NOERROR, ["cluster"]) == ask(made, query(WEB))[::2]


def test_limits_count_clients_that_may_ask_only() -> None:
    made = chain(**{"rate-limit": {"per-second": 1, "burst": 1}})
    drive = Drive(elsewhere)
    rcodes = [drive.ask(made.head, query(WEB), made.whole)[0].rcode for _ in range(2)]
    assert [Rcode.NOERROR, Rcode.REFUSED] == rcodes


def test_without_servers_to_forward_to_other_names_are_refused() -> None:
    made = chain(routes=())
    assert (Rcode.REFUSED, [], ["cache", "nobody"]) == ask(made, query("www.example.org"))
    assert made.loop is None


def test_other_classes_end_before_everything_that_knows_in_alone() -> None:
    made = chain()
    asked = Query(7, Question(from_text("version.bind"), 16, Class.CHAOS), client="10.244.0.7")
    assert (Rcode.NOERROR, ['version.bind. 0 IN TXT "v"'], ["chaos"]) == ask(made, asked)


def test_the_probe_for_loops_passes_neither_the_cluster_nor_its_own_handler() -> None:
    made = chain()
    assert made.loop is not None
    asked: list[Exchange] = []

    def heard(exchange: Exchange) -> Heard:
        asked.append(exchange)
        return Heard(reply(rcode=Rcode.NXDOMAIN))

    drive = Drive(heard)
    drive.ask(lambda _, context: made.loop.probe(ROOT, context, made.outside), query("x"))  # type: ignore[union-attr]
    assert (1, False) == (len(asked), made.loop.looping)


def test_every_handler_has_one_place() -> None:
    assert len(ORDER) == len(set(ORDER))
