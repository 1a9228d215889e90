"""How do questions and replies travel? Octets in, values out, and back (RFC 1035 section 4, EDNS0 by RFC 6891).

Queries come from anyone, so they are read by hand, strictly and at once: nothing in them is followed twice, and whatever is
wrong becomes a refusal with the rcode that is due, or silence. Replies of other servers are read in `sections`.
"""

from collections.abc import Iterable

from msgspec import Struct

from mooring.dns.names import LABEL_LIMIT, NAME_LIMIT, Name
from mooring.dns.records import Class, Edns, Opcode, Query, Question, Rcode, Record, Reply, Transport, Type

UDP_LIMIT = 1232
"""Octets; the largest answer that no path fragments (DNS flag day 2020)."""
CLASSIC_LIMIT = 512
"""Octets; what a client without EDNS0 accepts over UDP (RFC 1035 section 2.3.4)."""
STREAM_LIMIT = 65535
HEADER = 12
_QR, _AA, _TC, _RD, _RA, _AD, _CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
_POINTER = 0xC0
_OPT_DO = 0x8000
_FARTHEST_POINTER = 0x3FFF


class NoReply(Exception):
    """Nothing is due: a reply itself, or less than a header."""


class Refusal(Exception):
    """A reply without a question: the rcode says what is wrong with the message."""

    def __init__(self, rcode: Rcode) -> None:
        super().__init__(rcode.name)
        self.rcode = rcode


def read(message: bytes, client: str = "", transport: Transport = Transport.UDP) -> Query:
    """Raises NoReply, Refusal."""
    if len(message) < HEADER:
        raise NoReply
    identity, flags, questions, *others = (int.from_bytes(message[at : at + 2], "big") for at in range(0, HEADER, 2))
    if flags & _QR:
        raise NoReply
    opcode = flags >> 11 & 0xF
    if opcode not in (Opcode.QUERY, Opcode.NOTIFY):
        raise Refusal(Rcode.NOTIMP)
    if questions != 1:
        raise Refusal(Rcode.FORMERR)
    name, at = _question_name(message, HEADER)
    if at + 4 > len(message):
        raise Refusal(Rcode.FORMERR)
    question = Question(name, int.from_bytes(message[at : at + 2], "big"), int.from_bytes(message[at + 2 : at + 4], "big"))
    edns, serial = _rest(message, at + 4, others, question.type)
    return Query(
        identity,
        question,
        opcode,
        bool(flags & _RD),
        bool(flags & _CD),
        bool(flags & _AD),
        edns,
        client,
        transport,
        serial,
    )


def refusal(message: bytes, rcode: Rcode) -> bytes:
    """A header alone: same id and opcode, QR set, the recursion-desired bit kept, no sections."""
    return message[:2] + bytes([0x80 | (message[2] & 0x79), rcode]) + bytes(8)


def limit(query: Query) -> int:
    """Octets that the client takes."""
    if query.transport is Transport.TCP:
        return STREAM_LIMIT
    return CLASSIC_LIMIT if query.edns is None else min(max(query.edns.payload, CLASSIC_LIMIT), UDP_LIMIT)


def write(query: Query, reply: Reply, options: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """The reply's octets. What does not fit is left out from the end of a section, and TC says so where it matters (RFC 2181
    section 9): additional records are dropped silently. `options` go into the reply's OPT record, where the query has one.
    """
    opt = _opt(query, reply.rcode, options)
    room = limit(query) - len(opt)
    question = query.question
    out = Writer(question)
    counts, truncated = [0, 0, 0], reply.truncated
    for section, records in enumerate((reply.answer, reply.authority, reply.additional)):
        for record in records:
            if not out.add(record, room):
                truncated = truncated or section < 2
                break
            counts[section] += 1
        if truncated:
            break
    flags = _QR | (query.opcode & 0xF) << 11 | (reply.rcode & 0xF)
    for wanted, bit in (
        (reply.authoritative, _AA),
        (truncated, _TC),
        (query.recursion_desired, _RD),
        (reply.recursion_available, _RA),
        (reply.authentic_data, _AD),
        (query.checking_disabled, _CD),
    ):
        flags |= bit if wanted else 0
    numbers = (query.id, flags, 1, counts[0], counts[1], counts[2] + bool(opt))
    return b"".join(number.to_bytes(2, "big") for number in numbers) + bytes(out.octets[HEADER:]) + opt


class Writer(Struct):
    """A message being written, from the question on. Owner names are compressed (RFC 1035 section 4.1.4), also against names
    inside the data of well-known types; data itself is written as it is.
    """

    question: Question
    octets: bytearray = bytearray()
    places: dict[Name, int] = {}

    def __post_init__(self) -> None:
        self.octets = bytearray(HEADER)
        self.places = {}
        self._note(self.question.name, HEADER)
        self.octets += self.question.name
        self.octets += self.question.type.to_bytes(2, "big") + self.question.klass.to_bytes(2, "big")

    def add(self, record: Record, room: int) -> bool:
        """False, and nothing written, when the message would grow over `room`."""
        owner = self._compressed(record.name)
        length = len(owner) + 10 + len(record.data)
        if len(self.octets) + length > room:
            return False
        self._note(record.name, len(self.octets), len(owner))
        self.octets += owner
        klass = Class.CHAOS if self.question.klass == Class.CHAOS else Class.IN
        self.octets += record.type.to_bytes(2, "big") + klass.to_bytes(2, "big") + record.ttl.to_bytes(4, "big")
        self.octets += len(record.data).to_bytes(2, "big")
        at = _NAME_IN_DATA.get(record.type)
        if at is not None:
            self._note(record.data[at:], len(self.octets) + at)
        self.octets += record.data
        return True

    def _compressed(self, name: Name) -> bytes:
        lower, at = name.lower(), 0
        while lower[at]:
            place = self.places.get(lower[at:])
            if place is not None:
                return name[:at] + (_POINTER << 8 | place).to_bytes(2, "big")
            at += 1 + lower[at]
        return name

    def _note(self, name: Name, place: int, written: int | None = None) -> None:
        """Every suffix of a name written at `place`; of a compressed one the first `written` octets stand there."""
        lower, at = name.lower(), 0
        while lower[at] and place + at <= _FARTHEST_POINTER and (written is None or at + 2 < written):
            self.places.setdefault(lower[at:], place + at)
            at += 1 + lower[at]


_NAME_IN_DATA: dict[int, int] = {Type.NS: 0, Type.CNAME: 0, Type.PTR: 0, Type.SRV: 6}
"""Where the data of a type holds a name, to its end."""


def _question_name(message: bytes, at: int) -> tuple[Name, int]:
    """The name at an offset, and the offset after it. Nothing stands before a question that a pointer could mean."""
    start = at
    while at < len(message) and (length := message[at]):
        if length > LABEL_LIMIT:
            raise Refusal(Rcode.FORMERR)
        at += 1 + length
    if at >= len(message) or at + 1 - start > NAME_LIMIT:
        raise Refusal(Rcode.FORMERR)
    return message[start : at + 1], at + 1


def _skip_name(message: bytes, at: int) -> int:
    """The offset after a name that may end in a pointer, which is not followed."""
    while at < len(message):
        length = message[at]
        if length == 0:
            return at + 1
        if length & _POINTER == _POINTER:
            return at + 2
        if length > LABEL_LIMIT:
            break
        at += 1 + length
    raise Refusal(Rcode.FORMERR)


def _rest(message: bytes, at: int, counts: list[int], asked: int) -> tuple[Edns | None, int | None]:
    """The OPT record among what follows the question, and the serial of an IXFR's SOA. What follows that is ignored."""
    edns: Edns | None = None
    serial: int | None = None
    for section, count in enumerate(counts):
        for _ in range(count):
            owner, at = at, _skip_name(message, at)
            if at + 10 > len(message):
                raise Refusal(Rcode.FORMERR)
            kind, klass = int.from_bytes(message[at : at + 2], "big"), int.from_bytes(message[at + 2 : at + 4], "big")
            high = message[at + 4 : at + 8]
            data = message[at + 10 : at + 10 + int.from_bytes(message[at + 8 : at + 10], "big")]
            at += 10 + int.from_bytes(message[at + 8 : at + 10], "big")
            if at > len(message):
                raise Refusal(Rcode.FORMERR)
            if kind == Type.OPT:
                if section != 2 or edns is not None or message[owner] != 0:
                    raise Refusal(Rcode.FORMERR)
                edns = Edns(klass, high[1], bool(int.from_bytes(high[2:], "big") & _OPT_DO), _options(data))
            elif kind == Type.SOA and section == 1 and asked == Type.IXFR:
                if len(data) < 20:
                    raise Refusal(Rcode.FORMERR)
                serial = int.from_bytes(data[-20:-16], "big")
    return edns, serial


def _options(data: bytes) -> tuple[tuple[int, bytes], ...]:
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 4 + length > len(data):
            raise Refusal(Rcode.FORMERR)
        found.append((int.from_bytes(data[at : at + 2], "big"), data[at + 4 : at + 4 + length]))
        at += 4 + length
    return tuple(found)


def _opt(query: Query, rcode: int, options: Iterable[tuple[int, bytes]]) -> bytes:
    """Our OPT record, as the query had one: our payload, the high bits of the rcode, version 0, DO as it came."""
    if query.edns is None:
        return b""
    data = b"".join(code.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value for code, value in options)
    high = bytes((rcode >> 4, 0)) + (_OPT_DO if query.edns.dnssec_ok else 0).to_bytes(2, "big")
    return b"\0" + Type.OPT.to_bytes(2, "big") + UDP_LIMIT.to_bytes(2, "big") + high + len(data).to_bytes(2, "big") + data
