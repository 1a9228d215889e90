"""What if the other server lies, is late, or talks nonsense? The client gets what is right, or SERVFAIL, and in time."""

import asyncio
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns_servers import Lie, ask, liar, lines, ours, stream_server

from mooring.dns.zone import Zone, ZoneOptions
from mooring.edges.dns.upstream import STRANGERS
from mooring.testing.ports import free_port

ZONE = Zone(ZoneOptions(), {}, {"default"}, 1)
RIGHT = ["web.example. A 192.0.2.1"]
WRONG = "192.0.2.66"


def answer(asked: bytes, *records: str, name: str = "", **more: object) -> dns.message.Message:
    question = dns.message.from_wire(asked)
    if name:
        question = dns.message.make_query(name, "A", id=question.id)
    told = dns.message.make_response(question, recursion_available=True)
    for each in records or ("web.example. 60 IN A 192.0.2.1",):
        told.answer.append(dns.rrset.from_text(*each.split(None, 4)))
    return told


def true(asked: bytes) -> list[bytes]:
    return [answer(asked).to_wire()]


def forged(asked: bytes) -> bytes:
    return answer(asked, f"web.example. 60 IN A {WRONG}").to_wire()


def with_id(message: bytes, offset: int) -> bytes:
    return ((int.from_bytes(message[:2], "big") + offset) % 65536).to_bytes(2, "big") + message[2:]


def first(*lies: Callable[[bytes], bytes]) -> Lie:
    """These lies, and then the truth."""
    return lambda asked: [*(lie(asked) for lie in lies), *true(asked)]


def looping(asked: bytes) -> bytes:
    """An owner name that is a pointer to itself."""
    return asked[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + asked[12 : 12 + 17] + b"\xc0\x1d\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x42"


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(first(lambda asked: with_id(forged(asked), 1)), id="a forged reply with another id"),
        pytest.param(first(*[lambda asked, by=by: with_id(forged(asked), by) for by in range(1, 60)]), id="many of them"),
        pytest.param(first(lambda asked: answer(asked, name="bank.example").to_wire()), id="the answer to another question"),
        pytest.param(first(lambda asked: asked), id="the question itself"),
        pytest.param(first(lambda asked: b""), id="an empty datagram"),
        pytest.param(first(lambda asked: bytes(5)), id="less than a header"),
        pytest.param(first(lambda asked: bytes(3000)), id="zeroes"),
    ],
)
async def test_forged_and_foreign_replies_are_passed_over(lie: Lie) -> None:
    async with liar(lie) as (server, upstream), ours(settings(upstream), ZONE) as (_, port):
        assert RIGHT == lines(await ask(port, "web.example"))
        assert 1 == len(server.asked)


def settings(*ports: int, **more: object) -> dict[str, object]:
    entry = {"to": [f"127.0.0.1:{port}" for port in ports], "policy": "sequential", **more}
    return {"forward": [entry], "loop": False, "cache": False}


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda asked: [looping(asked)], id="a compression loop"),
        pytest.param(lambda asked: [true(asked)[0][:-3]], id="a reply that is cut off"),
        pytest.param(lambda asked: [true(asked)[0] + b"x" * 9000], id="a reply with something behind it"),
        pytest.param(lambda asked: [true(asked)[0][:6] + b"\xff\xff" + true(asked)[0][8:]], id="records that are not there"),
        pytest.param(lambda asked: [with_id(forged(asked), by) for by in range(1, 90)], id="a flood of guesses"),
        pytest.param(lambda asked: [], id="nothing"),
    ],
)
async def test_nonsense_makes_us_ask_the_next_server(lie: Lie) -> None:
    async with liar(lie) as (_, bad), liar(true) as (good, upstream), ours(settings(bad, upstream), ZONE) as (_, port):
        assert RIGHT == lines(await ask(port, "web.example"))
        assert 1 == len(good.asked)


async def test_guesses_are_not_listened_to_for_long() -> None:
    async with (
        liar(lambda asked: [with_id(forged(asked), by) for by in range(1, 90)]) as (_, bad),
        ours(settings(bad, **{"max-fails": 0}), ZONE) as (node, port),
    ):
        assert dns.rcode.SERVFAIL == (await ask(port, "web.example")).rcode()
        tries = node.chain.forward.counts["requests", f"127.0.0.1:{bad}"]
        assert (3, 3 * (STRANGERS + 1)) == (tries, node.upstreams.counts["strangers", f"127.0.0.1:{bad}", "udp"])


async def test_nothing_but_nonsense_is_a_failure() -> None:
    async with liar(lambda asked: [looping(asked)]) as (_, bad), ours(settings(bad), ZONE) as (_, port):
        assert dns.rcode.SERVFAIL == (await ask(port, "web.example")).rcode()


async def test_a_late_reply_is_nobodys_answer() -> None:
    """It comes to a port that is closed by then: when the next server is asked."""

    def meanwhile(asked: bytes) -> list[bytes]:
        for port in late.ports:
            late.send(forged(late.asked[-1]), ("127.0.0.1", port))
        return true(asked)

    async with (
        liar(lambda asked: []) as (late, slow),
        liar(meanwhile) as (_, upstream),
        ours(settings(slow, upstream), ZONE) as (_, port),
    ):
        assert RIGHT == lines(await ask(port, "web.example"))
        assert RIGHT == lines(await ask(port, "web.example"))


async def test_records_of_other_names_are_not_believed() -> None:
    def generous(asked: bytes) -> list[bytes]:
        told = answer(asked, "web.example. 60 IN A 192.0.2.1", f"bank.example. 60 IN A {WRONG}")
        told.additional.append(dns.rrset.from_text("bank.example.", 60, "IN", "A", WRONG))
        told.authority.append(dns.rrset.from_text("example.", 60, "IN", "NS", "ns.evil."))
        return [told.to_wire()]

    async with (
        liar(generous) as (server, upstream),
        ours({"forward": [{"to": [f"127.0.0.1:{upstream}"]}], "loop": False}, ZONE) as (_, port),
    ):
        told = await ask(port, "web.example")
        assert (RIGHT, [], []) == tuple(lines(told, section) for section in ("answer", "authority", "additional"))
        server.lie = lambda asked: []
        assert dns.rcode.SERVFAIL == (await ask(port, "bank.example")).rcode()


def cut_off(asked: bytes) -> list[bytes]:
    told = answer(asked)
    told.flags |= dns.flags.TC
    return [told.to_wire()]


async def test_what_is_cut_off_is_fetched_over_tcp() -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        for each in (with_id(forged(asked), 1), *true(asked)):
            writer.write(len(each).to_bytes(2, "big") + each)
        writer.close()

    async with (
        liar(cut_off, port=(upstream := free_port())),
        stream_server(converse, upstream),
        ours(settings(upstream), ZONE) as (_, port),
    ):
        told = await ask(port, "web.example")
        assert (RIGHT, False) == (lines(told), bool(told.flags & dns.flags.TC))


async def test_what_is_cut_off_without_tcp_is_told_as_cut_off() -> None:
    async with liar(cut_off) as (_, upstream), ours(settings(upstream), ZONE) as (_, port):
        told = await ask(port, "web.example")
        assert ([], True) == (lines(told), bool(told.flags & dns.flags.TC))


async def test_what_is_cut_off_while_tcp_is_silent_is_told_as_cut_off() -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        liar(cut_off, port=(upstream := free_port())),
        stream_server(converse, upstream),
        ours(settings(upstream), ZONE) as (node, port),
    ):
        told = await ask(port, "web.example")
        assert (dns.rcode.NOERROR, True) == (told.rcode(), bool(told.flags & dns.flags.TC))
        assert 0 == sum(node.chain.forward.failures.values())


async def test_when_a_kept_connection_is_silent_the_others_are_not_tried() -> None:
    """As after a restart behind a NAT: nobody says that they are gone. Else each would cost a try of its own."""
    answered: list[asyncio.StreamWriter] = []
    together = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Once, when three have asked; a second question on the same connection has no answer."""
        asked = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        answered.append(writer)
        if len(answered) == 3:
            together.set()
        await together.wait()
        for each in true(asked):
            writer.write(len(each).to_bytes(2, "big") + each)
        await reader.read()
        writer.close()

    async with (
        stream_server(converse, upstream := free_port()),
        ours(settings(upstream, **{"force-tcp": True, "max-fails": 0}), ZONE) as (_, port),
    ):
        kinds = ("A", "AAAA", "TXT")
        await asyncio.gather(*(ask(port, "web.example", kind) for kind in kinds))
        assert RIGHT == lines(await ask(port, "web.example"))
        assert 4 == len(answered)


@pytest.mark.parametrize(
    "say",
    [
        pytest.param(b"", id="closes at once"),
        pytest.param(b"\0", id="half a length"),
        pytest.param(b"\xff\xff" + bytes(10), id="less than it says"),
        pytest.param(b"\0\0" * 100, id="empty messages"),
        pytest.param(b"\0\5hello" * 100, id="other messages"),
    ],
)
async def test_a_broken_stream_is_a_failure_and_no_more(say: bytes) -> None:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(say)
        writer.close()

    async with (
        stream_server(converse, upstream := free_port()),
        ours(settings(upstream, **{"force-tcp": True}), ZONE) as (_, port),
    ):
        assert dns.rcode.SERVFAIL == (await ask(port, "web.example")).rcode()


async def test_a_connection_that_was_closed_meanwhile_is_made_anew() -> None:
    connections = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers once, and closes when it is asked again."""
        nonlocal connections
        connections += 1
        asked = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        for each in true(asked):
            writer.write(len(each).to_bytes(2, "big") + each)
        await reader.read(1)
        writer.close()

    async with (
        stream_server(converse, upstream := free_port()),
        ours(settings(upstream, **{"force-tcp": True}), ZONE) as (_, port),
    ):
        for _ in range(5):
            assert RIGHT == lines(await ask(port, "web.example"))
        assert 5 == connections


async def test_a_server_that_knows_no_edns_is_understood() -> None:
    def old(asked: bytes) -> list[bytes]:
        question = dns.message.from_wire(asked)
        if question.edns < 0:
            return true(asked)
        return [asked[:2] + b"\x81\x81" + bytes(8)]

    async with liar(old) as (server, upstream), ours(settings(upstream), ZONE) as (_, port):
        assert RIGHT == lines(await ask(port, "web.example"))
        assert 2 == len(server.asked)


async def test_ids_and_ports_cannot_be_foreseen() -> None:
    async with liar(true) as (server, upstream), ours(settings(upstream), ZONE) as (_, port):
        for _ in range(40):
            await ask(port, "web.example")
        assert len({each[:2] for each in server.asked}) > 30
        assert len(server.ports) > 30


async def test_a_dead_server_keeps_no_more_than_so_many_waiting() -> None:
    async with (
        liar(lambda asked: []) as (_, silent),
        ours(settings(silent, **{"max-concurrent": 50}), ZONE) as (node, port),
    ):
        told = await asyncio.gather(*(ask(port, f"n{number}.example") for number in range(200)))
        rcodes = [each.rcode() for each in told]
        assert (50, 150) == (rcodes.count(dns.rcode.SERVFAIL), rcodes.count(dns.rcode.REFUSED))
        assert 0 == node.resolver.waiting
