"""Which records are in another server's message? Octets in, records with whole names out, or what is wrong with the octets.

Compressed names are undone wherever a server may have compressed them (RFC 3597 section 4); data of types that are not known is
taken as it is. A pointer must lead backwards from the name it ends, so that none leads in circles.
"""

from typing import NamedTuple

from mooring.dns.names import LABEL_LIMIT, NAME_LIMIT, Name
from mooring.dns.records import Class, Record, Type

HEADER = 12
_TTL_LIMIT = 7 * 86400
_POINTER = 0xC0
_NAPTR = 35
_POINTERS = 128
"""More than a name has labels: a chain of pointers alone costs time, as often as there are records."""


class Malformed(Exception):
    """What is wrong with a message."""


class Sections(NamedTuple):
    """`rcode` with the high bits of the OPT record (RFC 6891 section 6.1.3)."""

    rcode: int
    answer: list[Record]
    authority: list[Record]


class _Data(NamedTuple):
    """Data of a type: octets, names, and octets again (None: any number)."""

    before: int
    names: int
    after: int | None = 0


_FORMS = {
    Type.A: _Data(4, 0),
    Type.AAAA: _Data(16, 0),
    Type.SOA: _Data(0, 2, 20),
    Type.SRV: _Data(6, 1),
    Type.RRSIG: _Data(18, 1, None),
    24: _Data(18, 1, None),  # SIG
    30: _Data(0, 1, None),  # NXT
    26: _Data(2, 2),  # PX
    **dict.fromkeys((Type.NS, Type.CNAME, Type.PTR, Type.DNAME, 3, 4, 7, 8, 9), _Data(0, 1)),  # MD, MF, MB, MG, MR
    **dict.fromkeys((14, 17), _Data(0, 2)),  # MINFO, RP
    **dict.fromkeys((15, 18, 21, 36), _Data(2, 1)),  # MX, AFSDB, RT, KX
}


def sections(message: bytes) -> Sections:
    """Of a message with one question. Other classes than IN are left out. Raises Malformed."""
    counts = [int.from_bytes(message[at : at + 2], "big") for at in (6, 8, 10)]
    rcode = message[3] & 0xF
    at = name_at(message, HEADER)[1] + 4
    found: list[list[Record]] = []
    for count in counts:
        records = []
        for _ in range(count):
            name, at = name_at(message, at)
            if at + 10 > len(message):
                raise Malformed("a record is cut off")
            kind, klass, size = (int.from_bytes(message[place : place + 2], "big") for place in (at, at + 2, at + 8))
            start, ttl = at + 10, int.from_bytes(message[at + 4 : at + 8], "big")
            at = start + size
            if at > len(message):
                raise Malformed("a record's data is cut off")
            if kind == Type.OPT:
                rcode |= ttl >> 24 << 4
            elif klass == Class.IN:
                records.append(Record(name, kind, min(ttl, _TTL_LIMIT), _data(message, kind, start, at)))
        found.append(records)
    if at != len(message):
        raise Malformed("something stands behind the last record")
    return Sections(rcode, found[0], found[1])


def name_at(message: bytes, at: int) -> tuple[Name, int]:
    """The whole name that begins at an offset, and the offset after it. Raises Malformed."""
    found, after, lowest, hops = bytearray(), None, at, 0
    while at < len(message) and (length := message[at]):
        if length >= _POINTER:
            target = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
            hops += 1
            if at + 2 > len(message) or target >= lowest or hops > _POINTERS:
                raise Malformed("a name points nowhere")
            after = at + 2 if after is None else after
            lowest = at = target
            continue
        if length > LABEL_LIMIT:
            raise Malformed("a label of a kind that is not known")
        found += message[at : at + 1 + length]
        at += 1 + length
        if len(found) >= NAME_LIMIT:
            raise Malformed("a name is too long")
    if at >= len(message):
        raise Malformed("a name is cut off")
    return bytes(found) + b"\0", at + 1 if after is None else after


def _data(message: bytes, kind: int, start: int, end: int) -> bytes:
    form = _naptr(message, start, end) if kind == _NAPTR else _FORMS.get(kind)
    if form is None:
        return message[start:end]
    at = start + form.before
    parts = [message[start:at]]
    for _ in range(form.names):
        name, at = name_at(message, at)
        parts.append(name)
    if at > end or (form.after is not None and end - at != form.after):
        raise Malformed(f"data of type {kind} of another length")
    return b"".join((*parts, message[at:end]))


def _naptr(message: bytes, start: int, end: int) -> _Data:
    """Two numbers and three strings before the name (RFC 3403)."""
    at = start + 4
    for _ in range(3):
        if at >= end:
            raise Malformed("data of type NAPTR is cut off")
        at += 1 + message[at]
    return _Data(at - start, 1)
