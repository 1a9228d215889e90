"""Does every question get its reply: whatever handlers do, however many wait, and each question elsewhere once?"""

import asyncio
from collections.abc import Callable
from ipaddress import ip_network
from random import Random

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mooring.control import resolver as module
from mooring.control.query_log import QueryLog
from mooring.control.resolver import Resolver, Settled
from mooring.dns.chain import Context, Exchange, Heard, Next, Pause, Steps, Upstream, beside, chained, exchanged, nobody
from mooring.dns.chain_order import Surroundings, assemble
from mooring.dns.handlers.cache import Cache
from mooring.dns.handlers.forward import Forward, Route
from mooring.dns.names import ROOT
from mooring.dns.records import Query, Rcode, Record, Reply, Transport, Type
from mooring.dns.settings import LogClass, decode
from mooring.dns.zone import Zone, ZoneOptions

SECRET = bytes(16)
WEB = Reply(Rcode.NOERROR, (Record(b"\3web\7example\0", Type.A, 60, bytes((192, 0, 2, 1))),))


class Elsewhere:
    """Another server: answers when `gate` is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked = 0

    async def __call__(self, exchange: Exchange) -> Heard:
        self.asked += 1
        await self.gate.wait()
        return Heard(WEB, 0.0)


def outside(query: Query, context: Context) -> Steps:
    heard = yield from exchanged(Exchange(Upstream("192.0.2.53"), query, 2.0))
    return heard.reply or Reply(Rcode.SERVFAIL)


def made(head: Next, exchange: module.Exchanger | None = None, settled: Callable[[Settled], None] = lambda _: None) -> Resolver:
    return Resolver(head, head, exchange or Elsewhere(), SECRET, settled, Random(1))


async def ask(resolver: Resolver, name: str = "web.example", **more: object) -> dns.message.Message:
    message = dns.message.make_query(name, "A", **more)
    told = await resolver.respond(message.to_wire(), "10.244.0.7", Transport.UDP)
    assert told is not None
    return dns.message.from_wire(told)


async def test_a_handler_that_breaks_costs_its_question_a_failure_and_a_line_in_the_log() -> None:
    def broken(query: Query, context: Context) -> Steps:
        raise RuntimeError("boom")
        yield

    with capture_logs() as logs:
        told = await ask(made(broken))
    assert (dns.rcode.SERVFAIL, ["a handler broke"]) == (told.rcode(), [each["event"] for each in logs])


async def test_a_handler_that_breaks_beside_costs_no_more() -> None:
    def broken() -> Steps:
        raise RuntimeError("boom")
        yield

    def head(query: Query, context: Context) -> Steps:
        return (yield from beside(broken(), context.beside())) or Reply(Rcode.REFUSED)

    with capture_logs() as logs:
        told = await ask(made(head))
    assert (dns.rcode.REFUSED, ["a handler broke"]) == (told.rcode(), [each["event"] for each in logs])


async def test_the_same_question_of_many_clients_is_asked_once() -> None:
    elsewhere = Elsewhere()
    chain = chained([Cache(), Forward([Route(ROOT, (Upstream("192.0.2.53"),))], Random(1))], nobody)
    resolver = made(chain, elsewhere)
    asking = [asyncio.create_task(ask(resolver, name)) for name in ["web.example", "WEB.example"] * 20]
    while resolver.waiting < 40:
        await asyncio.sleep(0)
    elsewhere.gate.set()
    told = await asyncio.gather(*asking)
    assert (1, {1}, 0) == (elsewhere.asked, {len(each.answer) for each in told}, resolver.waiting)
    assert {"web.example.", "WEB.example."} == {str(each.answer[0].name) for each in told}


async def test_a_client_that_goes_away_does_not_take_the_answer_from_others() -> None:
    elsewhere = Elsewhere()
    resolver = made(chained([Forward([Route(ROOT, (Upstream("192.0.2.53"),))], Random(1))], nobody), elsewhere)
    first, second = (asyncio.create_task(ask(resolver)) for _ in range(2))
    while resolver.waiting < 2:
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    elsewhere.gate.set()
    assert 1 == len((await second).answer)
    assert (1, 0) == (elsewhere.asked, resolver.waiting)


async def test_only_so_many_questions_wait_and_those_that_need_not_wait_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTSTANDING", 5)
    elsewhere = Elsewhere()

    def head(query: Query, context: Context) -> Steps:
        if query.question.name.startswith(b"\4here"):
            return WEB
        return (yield from outside(query, context))

    resolver = made(head, elsewhere)
    waiting = [asyncio.create_task(ask(resolver, f"n{number}.example")) for number in range(5)]
    while elsewhere.asked < 5:
        await asyncio.sleep(0)
    assert dns.rcode.SERVFAIL == (await ask(resolver, "more.example")).rcode()
    assert dns.rcode.NOERROR == (await ask(resolver, "here.example")).rcode()
    elsewhere.gate.set()
    await asyncio.gather(*waiting)
    assert dns.rcode.NOERROR == (await ask(resolver, "more.example")).rcode()


async def test_whoever_waits_for_a_while_only_goes_on_without_and_the_work_is_finished() -> None:
    elsewhere = Elsewhere()
    finished = asyncio.Event()

    def work(query: Query, context: Context) -> Steps:
        reply = yield from outside(query, context)
        finished.set()
        return reply

    def head(query: Query, context: Context) -> Steps:
        later = context.beside()
        return (yield from beside(work(query, later), later, "key", 0.01)) or Reply(Rcode.REFUSED)

    resolver = made(head, elsewhere)
    assert dns.rcode.REFUSED == (await ask(resolver)).rcode()
    elsewhere.gate.set()
    await asyncio.wait_for(finished.wait(), 60)
    assert dns.rcode.NOERROR == (await ask(resolver)).rcode()


async def test_a_server_is_probed_although_much_goes_on_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would begin it again: the server would be down for ever."""
    monkeypatch.setattr(module, "BESIDE", 0)
    alive, probed = False, asyncio.Event()

    async def exchange(asked: Exchange) -> Heard:
        await asyncio.sleep(0)
        if asked.query.question.name == ROOT:
            probed.set()
        return Heard(WEB, 0.0) if alive else Heard(None, 0.0, "gone", useless=True)

    forward = Forward([Route(ROOT, (Upstream("192.0.2.53"),), max_fails=1)], Random(1))
    resolver = made(chained([forward], nobody), exchange)
    assert dns.rcode.SERVFAIL == (await ask(resolver)).rcode()
    alive = True
    await asyncio.wait_for(probed.wait(), 60)
    await resolver.close()


async def test_closing_ends_work_that_never_would() -> None:
    closed: list[str] = []

    def forever() -> Steps:
        try:
            while True:
                yield Pause(3600)
        finally:
            closed.append("yes")

    def head(query: Query, context: Context) -> Steps:
        yield from beside(forever(), context.beside(), "key", 0)
        return WEB

    resolver = made(head)
    await ask(resolver)
    await ask(resolver)
    await asyncio.sleep(0)
    await resolver.close()
    assert ["yes"] == closed


@pytest.mark.parametrize(
    ("octets", "rcode"),
    [
        pytest.param(b"", None, id="nothing is due to nothing"),
        pytest.param(dns.message.make_response(dns.message.make_query("a.", "A")).to_wire(), None, id="nor to a reply"),
        pytest.param(dns.message.make_query("a.", "A").to_wire()[:-1], dns.rcode.FORMERR, id="half a question"),
        pytest.param(dns.message.make_query("a.", "A", use_edns=1).to_wire(), dns.rcode.BADVERS, id="a later EDNS"),
        pytest.param(
            dns.message.make_query("a.", "A", options=[dns.edns.GenericOption(10, bytes(9))]).to_wire(),
            dns.rcode.FORMERR,
            id="a cookie of no length",
        ),
        pytest.param(b"\0\7\x20\0\0\1" + bytes(6) + b"\1a\0\0\6\0\1", dns.rcode.NOTIMP, id="a notification"),
    ],
)
async def test_what_is_no_question_for_us(octets: bytes, rcode: int | None) -> None:
    told = await made(nobody).respond(octets, "10.244.0.7", Transport.UDP)
    assert rcode == (None if told is None else dns.message.from_wire(told).rcode())


async def test_replies_say_that_recursion_is_there_and_ad_only_to_who_asked() -> None:
    def head(query: Query, context: Context) -> Steps:
        return Reply(Rcode.NOERROR, WEB.answer, authentic_data=True)
        yield

    assert "QR RD RA" == dns.flags.to_text((await ask(made(head))).flags)
    assert "QR RD RA AD" == dns.flags.to_text((await ask(made(head), use_edns=0, want_dnssec=True)).flags)


async def test_an_rcode_that_a_client_cannot_read_is_a_failure() -> None:
    def head(query: Query, context: Context) -> Steps:
        return Reply(Rcode.BADCOOKIE)
        yield

    assert [dns.rcode.SERVFAIL, dns.rcode.BADCOOKIE] == [(await ask(made(head), use_edns=edns)).rcode() for edns in (False, 0)]


def everything() -> Resolver:
    """A whole chain, whose upstream never answers."""
    zone = Zone(ZoneOptions(external="apps.example", reverse=("10.96.0.0/16",)), {}, {"default"}, 1)
    routes = (Route(ROOT, (Upstream("192.0.2.53"),)),)
    chosen = decode({"rewrite": [{"match": "regex", "from": "^(.*)x", "to": "{1}"}], "autopath": True}, "settings")
    chain = assemble(chosen, Surroundings(lambda: zone, [ip_network("0.0.0.0/0")], routes, Random(1), (), "v", "n"))

    async def nobody_there(exchange: Exchange) -> Heard:
        return Heard(None, 0.0, "unreachable", useless=True)

    return Resolver(chain.head, chain.whole, nobody_there, SECRET, rng=Random(1))


async def responded(octets: bytes, transport: Transport) -> tuple[bytes | None, list[str]]:
    """The reply, and what was logged as broken."""
    with capture_logs() as logs:
        resolver = everything()
        told = await resolver.respond(octets, "10.244.0.7", transport)
        await resolver.close()
    return told, [each["event"] for each in logs]


@given(st.binary(max_size=300), st.sampled_from(["noise", "question", "flipped"]), st.sampled_from(Transport), st.randoms())
def test_whatever_comes_the_reply_is_well_formed_and_nothing_breaks(
    noise: bytes, shape: str, transport: Transport, random: Random
) -> None:
    name = random.choice(["web.default.svc.cluster.local.", "1.0.96.10.in-addr.arpa.", "www.example.org.", "x.apps.example."])
    octets = bytearray(dns.message.make_query(name, random.randrange(1, 256), use_edns=0).to_wire())
    if shape == "flipped":
        for _ in range(random.randrange(1, 6)):
            octets[random.randrange(len(octets))] = random.randrange(256)
    message = noise if shape == "noise" else bytes(octets) + (noise if shape == "question" else b"")
    told, broken = asyncio.run(responded(message, transport))
    assert [] == broken
    if told is not None:
        assert message[:2] == told[:2] and told[2] & 0x80
        dns.message.from_wire(told)


async def test_a_cookie_comes_back_whole_and_is_taken_again() -> None:
    resolver = made(lambda query, context: nobody(query, context))
    first = await ask(resolver, options=[dns.edns.GenericOption(10, b"12345678")])
    whole = first.options[0].to_wire()
    assert (b"12345678", 24) == (whole[:8], len(whole))
    second = await ask(resolver, options=[dns.edns.GenericOption(10, whole)])
    assert whole == second.options[0].to_wire()


async def test_addresses_come_in_turns_and_aliases_stay_first() -> None:
    alias = Record(b"\3web\7example\0", Type.CNAME, 60, b"\1a\0")
    addresses = tuple(Record(b"\1a\0", Type.A, 60, bytes((192, 0, 2, number))) for number in range(3))

    def head(query: Query, context: Context) -> Steps:
        return Reply(Rcode.NOERROR, (alias, *addresses))
        yield

    resolver, firsts = made(head), set()
    for _ in range(50):
        told = await ask(resolver)
        assert "CNAME" in str(told.answer[0])
        firsts.add(str(told.answer[1][0]))
        assert 3 == len(told.answer[1])
    assert {"192.0.2.0", "192.0.2.1", "192.0.2.2"} == firsts


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        pytest.param([LogClass.ALL], True, id="all"),
        pytest.param([LogClass.ERROR], True, id="its class"),
        pytest.param([LogClass.SUCCESS, LogClass.DENIAL], False, id="other classes"),
    ],
)
async def test_the_query_log_tells_who_asked_what_and_why_it_came_out_so(classes: list[LogClass], told: bool) -> None:
    with capture_logs() as logs:
        await ask(made(nobody, settled=QueryLog(classes).tell))
    assert told == bool(logs)
    if told:
        line = logs[0]
        assert ("10.244.0.7", "udp", "web.example", "A", "REFUSED") == tuple(
            line[key] for key in ("client", "transport", "name", "type", "rcode")
        )
        assert ["nobody: refused (no zone of ours, and nowhere to forward to)"] == line["steps"]
