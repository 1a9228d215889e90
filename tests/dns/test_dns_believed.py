"""Is of a reply believed what answers our question, and nothing else?"""

import contextlib

import dns.flags
import dns.message
import dns.rrset
import pytest
from chain_lab import query, record, text
from hypothesis import given
from hypothesis import strategies as st

from mooring.dns.records import Edns, Rcode, Reply
from mooring.dns.upstream import Malformed, NotOurs, Sent, believed

SENT = Sent(query("web.example"), 4711)
SIGNED = Sent(query("web.example", dnssec=True), 4711)
A = "web.example. 60 IN A 192.0.2.1"
SIGNATURE = "web.example. 60 IN RRSIG A 8 2 60 20300101000000 20200101000000 1 example. AAAA"
NSEC = "web.example. 60 IN NSEC x.example. A RRSIG NSEC"
SOA = "example. 60 IN SOA ns.example. host.example. 1 2 3 4 60"


def said(
    *answer: str, sent: Sent = SENT, authority: tuple[str, ...] = (), additional: tuple[str, ...] = (), rcode: int = 0
) -> dns.message.Message:
    message = dns.message.make_response(dns.message.from_wire(sent.octets()), recursion_available=True)
    message.set_rcode(rcode)
    for section, records in ((message.answer, answer), (message.authority, authority), (message.additional, additional)):
        section.extend(dns.rrset.from_text(*each.split(None, 4)) for each in records)
    return message


@pytest.mark.parametrize(
    ("sent", "flags", "options"),
    [
        pytest.param(SENT, dns.flags.RD, None, id="a plain question, with RD"),
        pytest.param(Sent(query("web.example", authentic_data=True), 1), dns.flags.RD | dns.flags.AD, None, id="AD goes on"),
        pytest.param(Sent(query("web.example", checking_disabled=True), 1), dns.flags.RD | dns.flags.CD, None, id="CD goes on"),
        pytest.param(SIGNED, dns.flags.RD, dns.flags.DO, id="DO goes on"),
    ],
)
def test_what_is_asked_is_well_formed(sent: Sent, flags: int, options: int | None) -> None:
    message = dns.message.from_wire(sent.octets())
    assert (sent.id, flags, "web.example. IN A") == (message.id, int(message.flags), str(message.question[0]))
    assert (-1 if options is None else 0, options or 0) == (message.edns, message.ednsflags)


def test_no_options_of_the_client_go_on() -> None:
    asked = Sent(query("web.example", "A"), 1).query
    sent = Sent(type(asked)(1, asked.question, edns=Edns(4096, 0, True, ((8, b"subnet"), (10, b"cookie!!"), (3, b"")))), 1)
    message = dns.message.from_wire(sent.octets())
    assert ((), 1232) == (message.options, message.payload)


@pytest.mark.parametrize(
    ("message", "sent", "expected"),
    [
        pytest.param(said(A), SENT, [A], id="what was asked for"),
        pytest.param(
            said("web.example. 60 IN CNAME a.example.", "a.example. 60 IN CNAME b.example.", "b.example. 60 IN A 192.0.2.1"),
            SENT,
            ["web.example. 60 IN CNAME a.example.", "a.example. 60 IN CNAME b.example.", "b.example. 60 IN A 192.0.2.1"],
            id="with the aliases that lead there",
        ),
        pytest.param(
            said("b.example. 60 IN A 192.0.2.1", "web.example. 60 IN CNAME b.example."),
            SENT,
            ["b.example. 60 IN A 192.0.2.1", "web.example. 60 IN CNAME b.example."],
            id="in any order",
        ),
        pytest.param(said(A, "bank.example. 60 IN A 192.0.2.66"), SENT, [A], id="but no other names"),
        pytest.param(said(A, "web.example. 60 IN TXT x"), SENT, [A], id="nor other types"),
        pytest.param(said(A, additional=("bank.example. 60 IN A 192.0.2.66",)), SENT, [A], id="nor what is added"),
        pytest.param(said(A, "web.example. 60 HS TXT x"), SENT, [A], id="nor other classes"),
        pytest.param(said(A, SIGNATURE), SENT, [A], id="signatures only where DO was set"),
        pytest.param(
            said(A, SIGNATURE, sent=SIGNED),
            SIGNED,
            [A, SIGNATURE.replace("20300101000000 20200101000000", "20300101000000 20200101000000")],
            id="there they are kept",
        ),
        pytest.param(
            said("example. 60 IN DNAME other.", "web.example. 60 IN CNAME web.other.", "web.other. 60 IN A 192.0.2.1"),
            SENT,
            ["example. 60 IN DNAME other.", "web.example. 60 IN CNAME web.other.", "web.other. 60 IN A 192.0.2.1"],
            id="a whole tree that is an alias",
        ),
        pytest.param(
            said("web.example. 60 IN CNAME web.example."),
            SENT,
            ["web.example. 60 IN CNAME web.example."],
            id="an alias of itself",
        ),
    ],
)
def test_only_what_answers_the_question_is_kept(message: dns.message.Message, sent: Sent, expected: list[str]) -> None:
    assert expected == text(believed(message.to_wire(), sent).answer)


@pytest.mark.parametrize(
    ("message", "sent", "expected"),
    [
        pytest.param(said(authority=(SOA,), rcode=3), SENT, [SOA], id="the SOA that denies"),
        pytest.param(said(authority=("bank. 60 IN SOA a. b. 1 2 3 4 5",), rcode=3), SENT, [], id="not that of another zone"),
        pytest.param(said(authority=(SOA, NSEC), rcode=3), SENT, [SOA], id="proofs only where DO was set"),
        pytest.param(said(authority=(SOA, NSEC), rcode=3, sent=SIGNED), SIGNED, [SOA, NSEC], id="there they are kept"),
        pytest.param(said(A, authority=("example. 60 IN NS ns.example.",)), SENT, [], id="nothing of who answered"),
    ],
)
def test_of_the_authority_what_denies_is_kept(message: dns.message.Message, sent: Sent, expected: list[str]) -> None:
    assert expected == text(believed(message.to_wire(), sent).authority)


def changed(message: dns.message.Message, at: int, octets: bytes) -> bytes:
    wire = message.to_wire()
    return wire[:at] + octets + wire[at + len(octets) :]


HEADER_AND_QUESTION = len(SENT.octets())


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(changed(said(A), 0, b"\0\1"), id="another id"),
        pytest.param(changed(said(A), 2, b"\1"), id="a question"),
        pytest.param(changed(said(A), 2, b"\x91"), id="another opcode"),
        pytest.param(said("web.other. 60 IN A 192.0.2.1", sent=Sent(query("web.other"), 4711)).to_wire(), id="another name"),
        pytest.param(said(sent=Sent(query("web.example", "AAAA"), 4711)).to_wire(), id="another type"),
        pytest.param(changed(said(A), 5, b"\0"), id="no question"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x12\x67\x81\x80", id="less than a header"),
    ],
)
def test_what_is_no_reply_to_us_is_as_if_it_had_not_come(message: bytes) -> None:
    with pytest.raises(NotOurs):
        believed(message, SENT)


def test_a_type_has_no_case_although_65_and_97_are_one_letter() -> None:
    sent = Sent(query("web.example", "HTTPS"), 4711)
    assert Reply(Rcode.NOERROR) == believed(said(sent=sent).to_wire(), sent)
    with pytest.raises(NotOurs):
        believed(changed(said(sent=sent), HEADER_AND_QUESTION - 4, b"\0\x61"), sent)


def pointing(hops: int) -> bytes:
    """A reply whose second record is named by a chain of so many pointers, which the first one's data holds."""
    first = b"\xc0\x0c\0\x10\0\1\0\0\0\0" + (2 * (hops - 1)).to_bytes(2, "big")
    start = HEADER_AND_QUESTION + len(first)
    chain = [0xC00C, *(0xC000 | start + 2 * hop for hop in range(hops - 1))]
    *data, owner = (each.to_bytes(2, "big") for each in chain)
    answer = owner + b"\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"
    return b"\x12\x67\x81\x80\0\1\0\2\0\0\0\0" + SENT.octets()[12:] + first + b"".join(data) + answer


def test_a_name_is_not_followed_through_more_pointers_than_a_name_has_labels() -> None:
    """Each record costs as many steps: 8,000 pointers and 4,000 records would keep the loop for seconds."""
    assert [A] == text(believed(pointing(128), SENT).answer)
    with pytest.raises(Malformed):
        believed(pointing(129), SENT)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(said(A).to_wire()[:-2], id="cut off"),
        pytest.param(said(A).to_wire() + b"x", id="something behind it"),
        pytest.param(
            changed(said(A), HEADER_AND_QUESTION, (0xC000 | HEADER_AND_QUESTION).to_bytes(2, "big")), id="a name in itself"
        ),
        pytest.param(changed(said(A), HEADER_AND_QUESTION, b"\x80\x80"), id="a label of a kind nobody knows"),
        pytest.param(changed(said(A), HEADER_AND_QUESTION, b"\xff\xff"), id="a name far outside"),
        pytest.param(changed(said(A), HEADER_AND_QUESTION + 10, b"\xff\xff"), id="more data than there is"),
        pytest.param(changed(said(A), HEADER_AND_QUESTION + 10, b"\0\3"), id="an address of three octets"),
        pytest.param(changed(said(A), HEADER_AND_QUESTION + 10, b"\0\5") + b"x", id="an address of five octets"),
        pytest.param(changed(said(A), 6, b"\xff\xff"), id="more records than there are"),
    ],
)
def test_a_reply_that_cannot_be_read_is_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        believed(message, SENT)


COMPRESSIBLE = (
    "web.example. 60 IN SRV 0 5 80 a.web.example.",
    "web.example. 60 IN MX 5 a.web.example.",
    "web.example. 60 IN SOA a.web.example. b.web.example. 1 2 3 4 5",
    'web.example. 60 IN NAPTR 1 2 "u" "s" "!^.*$!x!" a.web.example.',
    "web.example. 60 IN RP a.web.example. b.web.example.",
    "web.example. 60 IN PTR a.web.example.",
    'web.example. 60 IN TXT "one" "two"',
    "web.example. 60 IN HTTPS 1 . alpn=h2 port=8443",
    "web.example. 60 IN CAA 0 issue ca.example",
    "web.example. 60 IN DS 1 8 2 " + "ab" * 32,
    "web.example. 60 IN TYPE65280 \\# 3 010203",
)


@pytest.mark.parametrize("line", COMPRESSIBLE, ids=lambda line: line.split()[3])
def test_data_of_any_type_comes_through_whole(line: str) -> None:
    kind = line.split()[3]
    sent = Sent(query("web.example", kind), 4711)
    assert [record(line)] == list(believed(said(line, sent=sent).to_wire(), sent).answer)


def test_names_in_data_may_be_compressed_also_where_they_should_not_be() -> None:
    sent = Sent(query("web.example", "SRV"), 4711)
    data = b"\0\0\0\5\0\x50" + b"\1a\xc0\x0c"
    answer = b"\xc0\x0c" + b"\0\x21\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big") + data
    header = b"\x12\x67\x81\x80\0\1\0\1\0\0\0\0"
    assert [record(COMPRESSIBLE[0])] == list(believed(header + sent.octets()[12:] + answer, sent).answer)


def test_what_is_cut_off_is_told_without_its_records() -> None:
    message = said(A)
    message.flags |= dns.flags.TC
    assert Reply(Rcode.NOERROR, truncated=True) == believed(message.to_wire(), SENT)


def test_an_error_without_a_question_counts() -> None:
    assert Reply(Rcode.FORMERR) == believed(b"\x12\x67\x81\x81" + bytes(8), SENT)


def test_authentic_data_is_told() -> None:
    message = said(A)
    message.flags |= dns.flags.AD
    assert believed(message.to_wire(), SENT).authentic_data


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_reply_or_one_of_two_errors(noise: bytes) -> None:
    for message in (noise, said(A).to_wire()[:HEADER_AND_QUESTION] + noise):
        with contextlib.suppress(NotOurs, Malformed):
            assert isinstance(believed(message, SENT), Reply)


@given(st.data())
def test_flipped_octets_are_a_reply_or_one_of_two_errors(data: st.DataObject) -> None:
    message = bytearray(said(A, "web.example. 60 IN TXT x", authority=(SOA,), additional=(NSEC,)).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotOurs, Malformed):
        assert isinstance(believed(bytes(message), SENT), Reply)
