"""Is the right server asked, and the next one when it is dead, slow or lying?"""

from collections import Counter
from random import Random

import pytest
from chain_lab import FAILED, Answers, Drive, query, reply
from msgspec.structs import replace

from mooring.dns.chain import Beside, Context, Exchange, Heard, Pause, Upstream, chained
from mooring.dns.handlers.forward import DEADLINE, TIMEOUT, Forward, Policy, Route
from mooring.dns.names import ROOT, from_text
from mooring.dns.records import Query, Rcode, Reply, Transport, Type

ONE, TWO, THREE = (Upstream(f"192.0.2.{number}") for number in (1, 2, 3))
WEB = reply("web.example. 60 IN A 192.0.2.80")
SILENT = Heard(None, TIMEOUT, "nothing within 2.0 s")
NO_WAY = Heard(None, 0.0, "Network is unreachable", useless=True)


class Lab:
    """Servers that say what `says` has for them, and WEB otherwise."""

    def __init__(self, *routes: Route, says: dict[Upstream, Heard] | None = None) -> None:
        self.says = says or {}
        self.forward = Forward(routes, Random(5))
        self.drive = Drive(self._heard)
        self.last = Answers()

    def _heard(self, exchange: Exchange) -> Heard:
        found = self.says.get(exchange.upstream, Heard(WEB, 0.01))
        return replace(found, seconds=min(found.seconds, exchange.timeout))

    def ask(self, name: str = "web.example", **more: object) -> Reply:
        return self.drive.ask(chained([self.forward], self.last), query(name, **more))[0]

    @property
    def asked(self) -> list[Upstream]:
        return [each.upstream for each in self.drive.exchanges]


def route(*upstreams: Upstream, zone: str = ".", policy: Policy = Policy.SEQUENTIAL, **more: object) -> Route:
    return Route(from_text(zone), upstreams, policy=policy, **more)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("web.example", [ONE], id="everything below the root"),
        pytest.param("db.Corp.example", [TWO], id="a stub domain wins, in any case"),
        pytest.param("corp.example", [TWO], id="and its top"),
        pytest.param("a.b.corp.example", [THREE], id="the longest one wins"),
        pytest.param("notcorp.example", [ONE], id="labels count, not letters"),
        pytest.param("open.corp.example", [ONE], id="what is excepted goes to the next longest"),
    ],
)
def test_the_longest_zone_decides(name: str, expected: list[Upstream]) -> None:
    lab = Lab(
        route(ONE),
        route(TWO, zone="corp.example", exceptions=(from_text("open.corp.example"),)),
        route(THREE, zone="b.corp.example"),
    )
    lab.ask(name)
    assert expected == lab.asked


def test_without_a_zone_for_it_a_question_goes_on() -> None:
    lab = Lab(route(ONE, zone="corp.example"))
    assert Rcode.NXDOMAIN == lab.ask("web.example").rcode
    assert ([], ["web.example"]) == (lab.asked, lab.last.names)


def test_policies_spread_as_they_are_named() -> None:
    def firsts(policy: Policy) -> Counter[Upstream]:
        lab = Lab(route(ONE, TWO, THREE, policy=policy))
        for _ in range(300):
            lab.ask()
        return Counter(lab.asked)

    assert Counter({ONE: 300}) == firsts(Policy.SEQUENTIAL)
    assert Counter({ONE: 100, TWO: 100, THREE: 100}) == firsts(Policy.ROUND_ROBIN)
    assert all(70 < count < 130 for count in firsts(Policy.RANDOM).values())


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        pytest.param(SILENT, WEB, id="silent"),
        pytest.param(Heard(None, 0.0, "Connection refused"), WEB, id="gone"),
        pytest.param(Heard(None, 0.0, "malformed: x"), WEB, id="malformed"),
        pytest.param(NO_WAY, WEB, id="without a way to it"),
        pytest.param(Heard(FAILED, 0.0), FAILED, id="but a failure is an answer"),
    ],
)
def test_the_next_server_is_tried(bad: Heard, expected: Reply) -> None:
    assert expected == Lab(route(ONE, TWO), says={ONE: bad}).ask()


def test_rcodes_of_failover_are_no_answer_but_the_last_resort() -> None:
    one = route(ONE, TWO, failover=(Rcode.SERVFAIL,))
    assert WEB == Lab(one, says={ONE: Heard(FAILED, 0.0)}).ask()
    assert FAILED == Lab(one, says={ONE: Heard(FAILED, 0.0), TWO: Heard(FAILED, 0.0)}).ask()


def test_a_single_silent_server_is_asked_again_until_the_deadline() -> None:
    lab = Lab(route(ONE), says={ONE: SILENT})
    assert Rcode.SERVFAIL == lab.ask().rcode
    assert ([TIMEOUT, TIMEOUT, DEADLINE - 2 * TIMEOUT], 1005.0) == (
        [each.timeout for each in lab.drive.exchanges],
        lab.drive.now,
    )


def test_where_there_is_no_way_the_question_fails_at_once() -> None:
    lab = Lab(route(ONE, TWO), says={ONE: NO_WAY, TWO: NO_WAY})
    assert Rcode.SERVFAIL == lab.ask().rcode
    assert ([ONE, TWO], 1000.0) == (lab.asked, lab.drive.now)


def test_what_is_missing_here_is_no_failure_of_a_server_and_no_other_is_tried() -> None:
    lab = Lab(route(ONE, TWO), says={ONE: Heard(None, 0.0, "Too many open files", ours=True)})
    for _ in range(3):
        assert Rcode.SERVFAIL == lab.ask().rcode
    assert ([ONE] * 3, 0, []) == (lab.asked, lab.forward.failures[ONE], lab.drive.left)


def test_a_server_that_fails_twice_in_a_row_is_down_until_a_probe_is_answered() -> None:
    lab = Lab(route(ONE, TWO), says={ONE: SILENT})
    lab.ask()
    lab.ask()
    lab.drive.exchanges.clear()
    lab.ask()
    assert [TWO] == lab.asked
    assert [("probe", ONE)] == [each.key for each in lab.drive.left]
    del lab.says[ONE]
    lab.drive.do_what_was_left()
    lab.drive.exchanges.clear()
    lab.ask()
    assert [ONE] == lab.asked


def test_failures_in_a_row_count_alone() -> None:
    lab = Lab(route(ONE, TWO))
    for _ in range(4):
        lab.says[ONE] = Heard(None, 0.0, "Connection refused")
        lab.ask()
        del lab.says[ONE]
        lab.ask()
    assert 0 == lab.forward.failures[ONE]
    assert not lab.forward.is_down(lab.forward.routes[0], ONE)


def test_an_rcode_of_failover_is_a_sign_of_life() -> None:
    lab = Lab(route(ONE, TWO, failover=(Rcode.SERVFAIL,)), says={ONE: SILENT})
    lab.ask()
    assert 1 == lab.forward.failures[ONE]
    lab.says[ONE] = Heard(FAILED, 0.0)
    lab.ask()
    assert 0 == lab.forward.failures[ONE]


def test_a_server_that_fails_again_is_probed_again_but_once_at_a_time() -> None:
    lab = Lab(route(ONE, TWO), says={ONE: Heard(None, 0.0, "Connection refused")})
    lab.ask()
    lab.ask()
    assert 1 == len(lab.drive.left)
    lab.says.clear()
    lab.drive.do_what_was_left()
    lab.says[ONE] = Heard(None, 0.0, "Connection refused")
    lab.ask()
    assert 1 == len(lab.drive.left)


def test_a_probe_goes_on_every_half_second_while_there_is_no_answer() -> None:
    lab = Lab(route(ONE), says={ONE: SILENT})
    lab.ask()
    steps = lab.drive.left[0].steps
    effect = next(steps)
    for _ in range(3):
        assert isinstance(effect, Exchange) and effect.query.question.name == ROOT and effect.query.question.type == Type.NS
        pause = steps.send(SILENT)
        assert Pause(0.5) == pause
        effect = steps.send(None)
    with pytest.raises(StopIteration):
        steps.send(Heard(FAILED, 0.0))
    assert 0 == lab.forward.failures[ONE]


def test_when_all_are_down_any_one_is_tried() -> None:
    lab = Lab(route(ONE, TWO), says={ONE: SILENT, TWO: SILENT})
    for _ in range(3):
        lab.ask()
    lab.drive.exchanges.clear()
    lab.says.clear()
    assert WEB == lab.ask()
    assert 1 == len(lab.asked)
    assert lab.forward.counts["all_down", "."] > 0


def test_max_fails_of_zero_never_takes_a_server_for_down() -> None:
    lab = Lab(route(ONE, TWO, max_fails=0), says={ONE: SILENT})
    for _ in range(5):
        lab.drive.exchanges.clear()
        lab.ask()
        assert [ONE, TWO] == lab.asked
    assert [] == lab.drive.left


def test_more_than_max_concurrent_are_refused_and_later_ones_are_not() -> None:
    lab = Lab(route(ONE, max_concurrent=2))
    chain = chained([lab.forward], lab.last)
    waiting = [chain(query(f"n{number}.example"), Context(0.0)) for number in range(2)]
    for steps in waiting:
        assert isinstance(next(steps), Beside)
    assert Rcode.REFUSED == lab.ask().rcode
    waiting[0].close()
    assert WEB == lab.ask()


def test_the_same_question_of_several_clients_has_the_same_key() -> None:
    lab = Lab(route(ONE))
    chain = chained([lab.forward], lab.last)

    def key(asked: Query) -> object:
        effect = next(chain(asked, Context(0.0)))
        assert isinstance(effect, Beside)
        return effect.key

    assert key(query("web.example")) == key(query("WEB.example", client="10.244.0.8"))
    assert key(query("web.example")) != key(query("web.example", "AAAA"))
    assert key(query("web.example")) != key(query("web.example", dnssec=True))


@pytest.mark.parametrize(
    ("options", "transport", "tcp"),
    [
        pytest.param({}, Transport.UDP, False, id="UDP for UDP"),
        pytest.param({}, Transport.TCP, True, id="TCP for TCP"),
        pytest.param({"prefer_udp": True}, Transport.TCP, False, id="UDP first where it is preferred"),
        pytest.param({"force_tcp": True}, Transport.UDP, True, id="TCP where it is forced"),
    ],
)
def test_how_the_server_is_asked(options: dict[str, bool], transport: Transport, tcp: bool) -> None:
    lab = Lab(route(ONE, **options))
    lab.ask(transport=transport)
    assert [tcp] == [each.tcp for each in lab.drive.exchanges]


def test_a_server_that_knows_no_edns_is_asked_again_without() -> None:
    lab = Lab(route(ONE), says={ONE: Heard(Reply(Rcode.FORMERR), 0.1)})
    lab.ask()
    assert [True, False] == [each.query.edns is not None for each in lab.drive.exchanges]


def test_nothing_tells_the_server_who_asked() -> None:
    lab = Lab(route(ONE))
    lab.ask(client="10.244.0.7")
    assert ["", 0] == [lab.drive.exchanges[0].query.client, lab.drive.exchanges[0].query.id]


def test_a_question_that_was_given_up_is_not_noted_as_answered() -> None:
    context = Context(0.0)
    steps = chained([Forward([route(ONE)], Random(1))], Answers())(query("web.example"), context)
    assert isinstance(next(steps), Beside)
    with pytest.raises(StopIteration) as ended:
        steps.send(None)
    assert (FAILED, ["failed"]) == (ended.value.value, [each.decision for each in context.notes])
