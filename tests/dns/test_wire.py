"""Are messages read and written as DNS clients expect, also bad ones?"""

import contextlib

import dns.flags
import dns.message
import dns.opcode
import dns.rdatatype
import pytest
from chain_lab import query, record, reply
from hypothesis import given
from hypothesis import strategies as st

from mooring.dns.names import from_text, to_text
from mooring.dns.records import Class, Edns, Opcode, Query, Question, Rcode, Reply, Transport, Type
from mooring.dns.wire import NoReply, Refusal, limit, read, refusal, write

WEB = "web.example. 60 IN A 192.0.2.1"
MANY = reply(*(f"web.example. 60 IN A 192.0.{high}.{low}" for high in range(2) for low in range(100)))
LABEL = st.binary(min_size=1, max_size=20)


def message(name: str = "Web.example", kind: str = "A", **more: object) -> dns.message.Message:
    return dns.message.make_query(name, kind, **more)


def written(asked: Query, answered: Reply, **more: object) -> dns.message.Message:
    return dns.message.from_wire(write(asked, answered, **more))


def test_a_question_is_read_as_it_was_asked() -> None:
    asked = message(use_edns=0, payload=4096, want_dnssec=True)
    asked.flags |= dns.flags.CD | dns.flags.AD
    expected = Query(
        asked.id,
        Question(from_text("Web.example"), Type.A, Class.IN),
        recursion_desired=True,
        checking_disabled=True,
        authentic_data=True,
        edns=Edns(4096, 0, True),
        client="10.244.0.7",
        transport=Transport.TCP,
    )
    assert expected == read(asked.to_wire(), "10.244.0.7", Transport.TCP)


@pytest.mark.parametrize("cut", range(12, 40))
def test_half_a_question_is_a_format_error(cut: int) -> None:
    with pytest.raises(Refusal) as raised:
        read(message(use_edns=0).to_wire()[:cut])
    assert Rcode.FORMERR == raised.value.rcode


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0" * 11, id="less than a header"),
        pytest.param(dns.message.make_response(message()).to_wire(), id="a reply"),
    ],
)
def test_no_reply_is_due(octets: bytes) -> None:
    with pytest.raises(NoReply):
        read(octets)


HEADER = b"\0\7\1\0\0\1\0\0\0\0\0\0"
QUESTION = b"\3web\7example\0\0\1\0\1"
OPT = b"\0\0\x29\x10\0\0\0\0\0\0\0"


def with_counts(*counts: int, then: bytes) -> bytes:
    return b"\0\7\1\0" + b"".join(count.to_bytes(2, "big") for count in counts) + then


@pytest.mark.parametrize(
    ("octets", "rcode"),
    [
        pytest.param(with_counts(0, 0, 0, 0, then=b""), Rcode.FORMERR, id="no question"),
        pytest.param(with_counts(2, 0, 0, 0, then=QUESTION * 2), Rcode.FORMERR, id="two questions"),
        pytest.param(HEADER + b"\xc0\x0c\0\1\0\1", Rcode.FORMERR, id="a name that is a pointer to itself"),
        pytest.param(HEADER + b"\3web\xc0\x0c\0\1\0\1", Rcode.FORMERR, id="or ends in one"),
        pytest.param(HEADER + b"\x41" + bytes(80), Rcode.FORMERR, id="a label of another kind"),
        pytest.param(HEADER + (b"\x3f" + b"x" * 63) * 4 + b"\0\0\1\0\1", Rcode.FORMERR, id="a name of 257 octets"),
        pytest.param(with_counts(1, 0, 0, 2, then=QUESTION + OPT * 2), Rcode.FORMERR, id="two OPT records"),
        pytest.param(with_counts(1, 1, 0, 0, then=QUESTION + OPT), Rcode.FORMERR, id="OPT among the answers"),
        pytest.param(with_counts(1, 0, 0, 1, then=QUESTION + b"\1x" + OPT), Rcode.FORMERR, id="OPT with a name"),
        pytest.param(
            with_counts(1, 0, 0, 1, then=QUESTION + OPT[:-1] + b"\4\0\x0a\0\x09"), Rcode.FORMERR, id="an option cut off"
        ),
        pytest.param(with_counts(1, 0, 0, 9, then=QUESTION), Rcode.FORMERR, id="records that are not there"),
        pytest.param(b"\0\7\x10\0" + HEADER[4:] + QUESTION, Rcode.NOTIMP, id="a status request"),
        pytest.param(b"\0\7\x28\0" + HEADER[4:] + QUESTION, Rcode.NOTIMP, id="an update"),
    ],
)
def test_what_is_wrong_is_told(octets: bytes, rcode: int) -> None:
    with pytest.raises(Refusal) as raised:
        read(octets)
    assert rcode == raised.value.rcode
    told = dns.message.from_wire(refusal(octets, raised.value.rcode))
    assert (7, rcode, True) == (told.id, told.rcode(), bool(told.flags & dns.flags.QR))


def test_a_name_of_255_octets_is_read() -> None:
    name = (b"\x3f" + b"x" * 63) * 3 + b"\x3d" + b"x" * 61 + b"\0"
    assert 255 == len(name)
    assert name == read(HEADER + name + b"\0\1\0\1").question.name


def test_a_notification_is_read() -> None:
    asked = message(kind="SOA")
    asked.set_opcode(dns.opcode.NOTIFY)
    assert Opcode.NOTIFY == read(asked.to_wire()).opcode


@pytest.mark.parametrize(
    ("asked", "octets"),
    [
        pytest.param(query("web.example"), 512, id="without EDNS0"),
        pytest.param(Query(1, query("x").question, edns=Edns(100)), 512, id="less than that is no limit"),
        pytest.param(Query(1, query("x").question, edns=Edns(4096)), 1232, id="more than paths carry is not used"),
        pytest.param(Query(1, query("x").question, transport=Transport.TCP), 65535, id="over TCP"),
    ],
)
def test_how_much_a_client_takes(asked: Query, octets: int) -> None:
    assert octets == limit(asked)
    wire = write(asked, MANY)
    assert len(wire) <= octets
    assert (octets < 65535) == bool(dns.message.from_wire(wire).flags & dns.flags.TC)


def test_what_is_only_additional_is_left_out_silently() -> None:
    additional = tuple(record(f"n{number}.example. 60 IN A 192.0.2.1") for number in range(100))
    told = written(query("web.example"), Reply(Rcode.NOERROR, (record(WEB),), additional=additional))
    assert (1, False) == (len(told.answer), bool(told.flags & dns.flags.TC))
    assert 0 < len(told.additional) < 100


def test_the_name_of_the_question_keeps_its_case_in_the_answer() -> None:
    assert ["WEB.Example. 60 IN A 192.0.2.1"] == [str(each) for each in written(query("WEB.Example"), reply(WEB)).answer]


def test_flags_are_told() -> None:
    asked = query("web.example", checking_disabled=True)
    answered = reply(WEB, authoritative=True, recursion_available=True, authentic_data=True)
    names = {"QR", "AA", "RD", "RA", "AD", "CD"}
    assert names == set(dns.flags.to_text(written(asked, answered).flags).split())


@pytest.mark.parametrize("rcode", [Rcode.NOERROR, Rcode.SERVFAIL, Rcode.BADVERS, Rcode.BADCOOKIE])
def test_edns_is_answered_with_edns(rcode: int) -> None:
    asked = Query(7, query("web.example").question, edns=Edns(4096, 0, True))
    told = written(asked, Reply(rcode), options=((10, bytes(24)),))
    assert (rcode, 1232, dns.flags.DO, [10]) == (
        told.rcode(),
        told.payload,
        told.ednsflags & dns.flags.DO,
        [int(each.otype) for each in told.options],
    )
    assert -1 == written(query("web.example"), Reply(Rcode.NOERROR)).edns


def test_class_chaos_is_answered_in_its_class() -> None:
    asked = Query(7, Question(from_text("version.bind"), Type.TXT, Class.CHAOS))
    told = written(asked, reply('version.bind. 0 IN TXT "v"'))
    assert ['version.bind. 0 CH TXT "v"'] == [str(each) for each in told.answer]


@given(st.binary(max_size=600))
def test_whatever_comes_is_a_question_a_refusal_or_nothing(octets: bytes) -> None:
    for each in (octets, HEADER + octets, with_counts(1, 0, 0, 1, then=QUESTION + octets)):
        with contextlib.suppress(NoReply, Refusal):
            assert isinstance(read(each), Query)


@given(st.data())
def test_flipped_octets_are_a_question_a_refusal_or_nothing(data: st.DataObject) -> None:
    octets = bytearray(message(use_edns=0, options=[dns.edns.GenericOption(10, bytes(8))]).to_wire())
    for _ in range(data.draw(st.integers(1, 5))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        asked = read(bytes(octets))
    except (NoReply, Refusal):
        return
    told = write(asked, reply(WEB))
    assert (asked.id, len(told) <= limit(asked)) == (int.from_bytes(told[:2], "big"), True)


@given(
    st.lists(LABEL, max_size=5),
    st.integers(0, 65535).filter(lambda kind: kind not in (41, 250)),
    st.one_of(
        st.none(),
        st.tuples(
            st.integers(0, 65535), st.booleans(), st.lists(st.tuples(st.integers(100, 200), st.binary(max_size=9)), max_size=3)
        ),
    ),
)
def test_what_dnspython_writes_we_read(
    labels: list[bytes], kind: int, edns: tuple[int, bool, list[tuple[int, bytes]]] | None
) -> None:
    name = dns.name.Name([*labels, b""])
    asked = dns.message.make_query(name, kind, **_edns(edns))
    found = read(asked.to_wire())
    assert (name.to_wire(), kind, asked.id) == (found.question.name, found.question.type, found.id)
    assert edns == (None if found.edns is None else (found.edns.payload, found.edns.dnssec_ok, list(found.edns.options)))


def _edns(edns: tuple[int, bool, list[tuple[int, bytes]]] | None) -> dict[str, object]:
    if edns is None:
        return {"use_edns": False}
    payload, dnssec, options = edns
    generic = [dns.edns.GenericOption(code, data) for code, data in options]
    return {"use_edns": 0, "payload": payload, "want_dnssec": dnssec, "options": generic}


@given(
    st.lists(st.tuples(st.lists(st.sampled_from([b"a", b"B", b"web", b"x" * 63]), max_size=3), st.integers(0, 2)), max_size=12)
)
def test_what_we_write_dnspython_reads(records: list[tuple[list[bytes], int]]) -> None:
    sections: list[list[str]] = [[], [], []]
    for labels, section in records:
        name = to_text(dns.name.Name([*labels, b"example", b""]).to_wire() or b"\0")
        for kind, data in (("A", "192.0.2.1"), ("CNAME", f"{name}."), ("SRV", f"0 1 80 {name}.")):
            sections[section].append(f"{name}. 60 IN {kind} {data}")
    asked = Query(7, Question(from_text("web.example"), Type.A), transport=Transport.TCP)
    answer, authority, additional = (tuple(map(record, each)) for each in sections)
    told = dns.message.from_wire(write(asked, Reply(Rcode.NOERROR, answer, authority, additional)), one_rr_per_rrset=True)
    read_back = [[str(each).lower() for each in section] for section in (told.answer, told.authority, told.additional)]
    assert [[each.lower() for each in section] for section in sections] == read_back
