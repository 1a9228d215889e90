"""What is said to another server, and may what comes back be believed? Octets of a question out, octets of a reply in.

A reply counts when its id and its question are ours (RFC 5452); whatever else arrives is as if it had not, and waiting goes on.
Of a reply that counts only what was asked for is kept: records on the chain of aliases from the question's name (RFC 2181
section 5.4.1), DNSSEC's where DO was set, the SOA of the zone that denies. Everything else is dropped.
"""

from msgspec import Struct

from mooring.dns.names import Name, below
from mooring.dns.records import Query, Rcode, Record, Reply, Type
from mooring.dns.sections import Malformed as Malformed
from mooring.dns.sections import sections
from mooring.dns.wire import HEADER, UDP_LIMIT

ALIASES = 16
"""Steps of a chain of aliases that are followed in one reply."""
_QR, _TC, _RD, _RA, _AD, _CD = 0x8000, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
_DNSSEC = (Type.RRSIG, Type.NSEC, Type.NSEC3)


class NotOurs(Exception):
    """Not the reply to this question: late, forged or for somebody else. Wait on."""


class Sent(Struct, frozen=True, gc=False):
    """A question on its way: what a reply is held against."""

    query: Query
    id: int

    def octets(self) -> bytes:
        """RD is set always; of EDNS0 our own payload and DO go on, no options: neither cookies nor client subnets."""
        query, question = self.query, self.query.question
        flags = _RD | (_AD if query.authentic_data else 0) | (_CD if query.checking_disabled else 0)
        numbers = (self.id, flags, 1, 0, 0, 0 if query.edns is None else 1)
        header = b"".join(number.to_bytes(2, "big") for number in numbers)
        asked = question.name + question.type.to_bytes(2, "big") + question.klass.to_bytes(2, "big")
        return header + asked + (b"" if query.edns is None else _opt(query.edns.dnssec_ok))


def _opt(dnssec_ok: bool) -> bytes:
    flags = b"\0\0\x80\0" if dnssec_ok else bytes(4)
    return b"\0" + Type.OPT.to_bytes(2, "big") + UDP_LIMIT.to_bytes(2, "big") + flags + bytes(2)


def believed(message: bytes, sent: Sent) -> Reply:
    """Raises NotOurs, Malformed. A truncated reply has no records: they are not whole."""
    question = sent.query.question
    asked = question.name + question.type.to_bytes(2, "big") + question.klass.to_bytes(2, "big")
    if len(message) < HEADER or message[:2] != sent.id.to_bytes(2, "big"):
        raise NotOurs
    flags, questions = int.from_bytes(message[2:4], "big"), int.from_bytes(message[4:6], "big")
    if not flags & _QR or flags >> 11 & 0xF:
        raise NotOurs
    rcode = flags & 0xF
    if questions == 0 and rcode in (Rcode.FORMERR, Rcode.NOTIMP, Rcode.SERVFAIL, Rcode.REFUSED) and len(message) == HEADER:
        return Reply(rcode)
    end = HEADER + len(question.name)
    if questions != 1 or message[HEADER:end].lower() != question.name.lower() or message[end : end + 4] != asked[-4:]:
        raise NotOurs
    if flags & _TC:
        return Reply(rcode, truncated=True)
    return _parsed(message, sent.query, bool(flags & _AD))


def _parsed(message: bytes, query: Query, authentic: bool) -> Reply:
    found = sections(message)
    dnssec = query.edns is not None and query.edns.dnssec_ok
    kept, last = _chain(found.answer, query.question.name.lower(), query.question.type, dnssec)
    return Reply(found.rcode, kept, _authority(found.authority, last, bool(kept), dnssec), authentic_data=authentic)


def _chain(answer: list[Record], asked: Name, kind: int, dnssec: bool) -> tuple[tuple[Record, ...], Name]:
    """What leads from the question to its answer, and the name at the end."""
    aliases = {each.name.lower(): each.data.lower() for each in answer if each.type == Type.CNAME}
    chain = [asked]
    while kind not in (Type.CNAME, Type.ANY) and len(chain) <= ALIASES:
        target = aliases.get(chain[-1])
        if target is None or target in chain:
            break
        chain.append(target)
    kept = (each for each in answer if _is_wanted(each, chain, kind, dnssec))
    return tuple(kept), chain[-1]


def _is_wanted(record: Record, chain: list[Name], kind: int, dnssec: bool) -> bool:
    """On the chain, and of the type that was asked for or an alias, or a signature over one of them."""
    is_proof = record.type in _DNSSEC and record.type != kind
    if is_proof and not dnssec:
        return False
    covered, owner = _covered(record) if is_proof else record.type, record.name.lower()
    if covered == Type.DNAME != kind:
        return any(below(name, owner) for name in chain)
    return owner in chain and (kind == Type.ANY or covered in (kind, Type.CNAME))


def _covered(record: Record) -> int:
    """The type that a signature is over; of anything else its own."""
    return int.from_bytes(record.data[:2], "big") if record.type == Type.RRSIG else record.type


def _authority(records: list[Record], last: Name, answered: bool, dnssec: bool) -> tuple[Record, ...]:
    """Who denies, and the proofs. Beside an answer nothing but proofs (of a wildcard) is needed."""
    kept = []
    for each in records:
        covered, is_above = _covered(each), below(last, each.name.lower())
        is_proof = covered in (Type.NSEC, Type.NSEC3)
        is_denier = is_above and (covered == Type.SOA or (covered == Type.NS and not answered))
        if (is_proof or is_denier) and (dnssec or each.type not in _DNSSEC):
            kept.append(each)
    return tuple(kept)
