"""How does an answer travel? Datagram in, datagram out, by dnspython (RFC 1035, EDNS0 by RFC 6891)."""

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from mooring.dns.answer import Answer, Rcode, answer
from mooring.dns.zone import TTL, Zone

UDP_LIMIT = 1232
"""Bytes; the largest answer that no path fragments (DNS flag day 2020)."""
CLASSIC_LIMIT = 512
"""Bytes; what a client without EDNS0 accepts (RFC 1035 section 2.3.4)."""
_HEADER = 12


def respond(datagram: bytes, zone: Zone, *, stream: bool) -> bytes | None:
    """The reply to one message, truncated to what the client takes unless it came over a stream (TCP).

    None where no reply is due: a reply itself, or less than a header. A message that cannot be read gets FORMERR.
    """
    if len(datagram) < _HEADER or datagram[2] & 0x80:
        return None
    try:
        query = dns.message.from_wire(datagram, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, IndexError):
        return _bare(datagram, Rcode.FORMERR)
    if query.opcode() != dns.opcode.QUERY:
        return _bare(datagram, Rcode.NOTIMP)
    if len(query.question) != 1:
        return _bare(datagram, Rcode.FORMERR)
    reply = _reply(query, zone)
    if stream:
        return reply.to_wire(max_size=65535)
    limit = CLASSIC_LIMIT if query.edns < 0 else min(max(query.payload, CLASSIC_LIMIT), UDP_LIMIT)
    try:
        return reply.to_wire(max_size=limit)
    except dns.exception.TooBig:
        return _truncated(query, reply).to_wire(max_size=limit)


def _reply(query: dns.message.Message, zone: Zone) -> dns.message.Message:
    question = query.question[0]
    reply = dns.message.make_response(query, recursion_available=False, our_payload=UDP_LIMIT)
    if query.edns > 0:
        reply.set_rcode(dns.rcode.BADVERS)
        return reply
    if question.rdclass != dns.rdataclass.IN:
        reply.set_rcode(dns.rcode.REFUSED)
        return reply
    record_type = dns.rdatatype.to_text(question.rdtype)
    found = answer(zone, question.name.to_text(), record_type)
    reply.set_rcode(dns.rcode.Rcode(found.rcode))
    if found.in_zone:
        reply.flags |= dns.flags.AA
    if found.addresses:
        reply.answer.append(dns.rrset.from_text_list(question.name, TTL, "IN", record_type, found.addresses))
    elif found.in_zone and found.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
        _add_soa(reply, question, zone, found)
    return reply


def _add_soa(reply: dns.message.Message, question: dns.rrset.RRset, zone: Zone, found: Answer) -> None:
    soa = f"ns.dns.{zone.domain}. hostmaster.{zone.domain}. {zone.serial} 7200 1800 86400 {TTL}"
    rrset = dns.rrset.from_text(f"{zone.domain}.", TTL, "IN", "SOA", soa)
    asked_apex = question.rdtype == dns.rdatatype.SOA and question.name == rrset.name
    (reply.answer if asked_apex else reply.authority).append(rrset)


def _truncated(query: dns.message.Message, reply: dns.message.Message) -> dns.message.Message:
    """TC set and nothing in it: the client asks again over TCP (RFC 2181 section 9)."""
    short = dns.message.make_response(query, recursion_available=False, our_payload=UDP_LIMIT)
    short.set_rcode(reply.rcode())
    short.flags |= dns.flags.TC | (reply.flags & dns.flags.AA)
    return short


def _bare(datagram: bytes, rcode: Rcode) -> bytes:
    """A header alone: same id and opcode, QR set, the recursion-desired bit kept, no sections."""
    return datagram[:2] + bytes([0x80 | (datagram[2] & 0x79), rcode]) + bytes(8)
