"""Are secondaries told once of each change, not too often, and again until they answer?"""

import math
from itertools import pairwise

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mooring.dns.names import from_text
from mooring.dns.notify import INTERVAL, LONGEST, Notice, answered, changed, message, sent
from mooring.dns.records import Record, soa

APEX = from_text("cluster.local")


def soa_at(serial: int) -> Record:
    return soa(APEX, 5, from_text("ns.dns.cluster.local"), from_text("hostmaster.cluster.local"), serial)


def answer_to(notice: Notice, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(message(notice)))
    reply.set_rcode(rcode)
    return reply.to_wire()


TOLD = sent(Notice(soa_at(1)), 77, 100.0)


def test_the_message_asks_for_the_soa_and_shows_it() -> None:
    read = dns.message.from_wire(message(TOLD))
    assert (read.id, read.opcode(), read.flags & dns.flags.AA) == (77, dns.opcode.NOTIFY, dns.flags.AA)
    assert [str(each) for each in read.question] == ["cluster.local. IN SOA"]
    assert [each[0].serial for each in read.answer] == [1]


def test_an_answer_ends_it() -> None:
    assert answered(TOLD, answer_to(TOLD)).at == math.inf


@pytest.mark.parametrize("rcode", [dns.rcode.NOTIMP, dns.rcode.REFUSED, dns.rcode.NOTAUTH])
def test_any_rcode_is_an_answer(rcode: dns.rcode.Rcode) -> None:
    assert answered(TOLD, answer_to(TOLD, rcode)).at == math.inf


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(answer_to(TOLD)[:11], id="less than a header"),
        pytest.param(b"\0\1" + answer_to(TOLD)[2:], id="another id"),
        pytest.param(message(TOLD), id="our own message"),
        pytest.param(
            dns.message.make_response(dns.message.make_query("cluster.local", "SOA", id=77)).to_wire(), id="another opcode"
        ),
        pytest.param(answer_to(sent(Notice(replace(soa_at(1), name=from_text("other"))), 77, 100.0)), id="another zone"),
    ],
)
def test_what_is_no_answer_changes_nothing(heard: bytes) -> None:
    assert answered(TOLD, heard) == TOLD


def test_without_an_answer_it_is_said_again_in_the_same_words_ever_more_rarely() -> None:
    notice, pauses = Notice(soa_at(1)), []
    for identity in range(12):
        now = notice.at
        notice = sent(notice, identity, now)
        pauses.append(notice.at - now)
        assert notice.id == 0
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST, LONGEST, LONGEST, LONGEST, LONGEST, LONGEST]


def test_a_change_is_told_at_once_when_nothing_was_told_lately() -> None:
    quiet = answered(TOLD, answer_to(TOLD))
    assert changed(quiet, soa_at(2), 200.0).at == 200.0


def test_changes_soon_after_are_told_together() -> None:
    notice = answered(TOLD, answer_to(TOLD))
    for serial in range(2, 9):
        notice = changed(notice, soa_at(serial), 100.0 + serial / 100)
    assert (notice.at, notice.soa) == (100.0 + INTERVAL, soa_at(8))


def test_a_change_while_waiting_for_the_answer_is_told_after_it() -> None:
    notice = answered(changed(TOLD, soa_at(2), 100.2), answer_to(TOLD))
    assert notice.at == 100.0 + INTERVAL
    assert sent(notice, 78, notice.at).id == 78


def test_the_same_serial_again_is_no_change() -> None:
    quiet = answered(TOLD, answer_to(TOLD))
    assert changed(quiet, soa_at(1), 200.0) == quiet


@given(st.lists(st.tuples(st.integers(1, 192).map(lambda each: each / 64), st.booleans(), st.booleans()), max_size=60))
def test_never_more_than_once_in_an_interval_and_the_last_change_is_told_in_the_end(
    steps: list[tuple[float, bool, bool]],
) -> None:
    notice, now, times, serial = Notice(soa_at(1)), 0.0, [], 1
    for pause, changes, answers in [*steps, *[(61.0, False, True)] * 2]:
        now += pause
        if changes:
            serial += 1
            notice = changed(notice, soa_at(serial), now)
        if notice.at <= now:
            notice = sent(notice, len(times), now)
            times.append(now)
        if answers:
            notice = answered(notice, answer_to(notice))
    assert all(later - earlier >= INTERVAL for earlier, later in pairwise(times))
    assert (notice.told, notice.at) == (soa_at(serial), math.inf)
