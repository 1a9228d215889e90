"""Are messages read and written as DNS clients expect, also bad ones?"""

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
from hypothesis import given
from hypothesis import strategies as st

from mooring.dns.wire import respond
from mooring.dns.zone import Zone
from mooring.services.names import PublishedName

MANY = tuple(f"10.244.{high}.{low}" for high in range(2) for low in range(100))
ZONE = Zone(
    "cluster.local",
    {("default", "web"): (PublishedName("", ("10.96.0.10",)),), ("default", "many"): (PublishedName("", MANY),)},
    {"default"},
    set(),
    3,
)


def ask(name: str, record_type: str = "A", *, stream: bool = False, **options: object) -> dns.message.Message:
    reply = respond(dns.message.make_query(name, record_type, **options).to_wire(), ZONE, stream=stream)
    assert reply is not None
    return dns.message.from_wire(reply)


def test_an_answer_carries_the_records_and_the_case_of_the_question() -> None:
    reply = ask("WeB.default.svc.cluster.local.")
    assert [str(rrset) for rrset in reply.answer] == ["WeB.default.svc.cluster.local. 5 IN A 10.96.0.10"]
    assert reply.flags & dns.flags.AA
    assert not reply.flags & dns.flags.RA


def test_no_data_and_no_domain_carry_the_soa() -> None:
    for name, rcode in (
        ("web.default.svc.cluster.local.", dns.rcode.NOERROR),
        ("no.default.svc.cluster.local.", dns.rcode.NXDOMAIN),
    ):
        reply = ask(name, "AAAA")
        assert (reply.rcode(), reply.answer) == (rcode, [])
        assert reply.authority[0].rdtype == dns.rdatatype.SOA


def test_names_outside_the_zone_are_refused_without_authority() -> None:
    reply = ask("example.org.")
    assert (reply.rcode(), reply.answer, reply.authority) == (dns.rcode.REFUSED, [], [])


def test_too_many_addresses_are_truncated_over_udp_and_whole_over_tcp() -> None:
    name = "many.default.svc.cluster.local."
    assert ask(name).flags & dns.flags.TC
    assert ask(name, use_edns=0, payload=4096).flags & dns.flags.TC
    assert len(ask(name, stream=True).answer[0]) == len(MANY)


def test_an_unknown_edns_version_is_told() -> None:
    assert ask("web.default.svc.cluster.local.", use_edns=1).rcode() == dns.rcode.BADVERS


def test_replies_and_fragments_get_no_reply() -> None:
    query = dns.message.make_query("web.default.svc.cluster.local.", "A")
    response = dns.message.make_response(query).to_wire()
    assert respond(response, ZONE, stream=False) is None
    assert respond(b"\x00\x01", ZONE, stream=False) is None


def test_other_opcodes_are_not_implemented_and_bad_bodies_are_format_errors() -> None:
    query = dns.message.make_query("web.default.svc.cluster.local.", "A")
    query.set_opcode(dns.opcode.STATUS)
    reply = respond(query.to_wire(), ZONE, stream=False)
    assert reply is not None and dns.message.from_wire(reply).rcode() == dns.rcode.NOTIMP
    broken = dns.message.make_query("web.default.svc.cluster.local.", "A").to_wire()[:-3]
    reply = respond(broken, ZONE, stream=False)
    assert reply is not None and reply[3] & 0xF == dns.rcode.FORMERR


@given(st.binary(max_size=600))
def test_no_message_breaks_the_responder(message: bytes) -> None:
    for stream in (False, True):
        reply = respond(message, ZONE, stream=stream)
        assert reply is None or reply[:2] == message[:2]
