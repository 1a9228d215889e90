"""What does the table say to a datagram? The reader, in Python: what `edges/dns/hotpath.c` does, step by step, and all there is
where that could not be built.

A damaged table may make an answer wrong or absent; it never makes this fail: every place in it is checked before it is read.
"""

from collections.abc import Iterable
from struct import error as BadLayout
from typing import NamedTuple
from zlib import crc32

from mooring.dns.table import (
    EMPTY,
    ENTRY,
    HEADER_SIZE,
    MAX_ZONES,
    PREFIX_SIZE,
    TYPE,
    ZONE,
    ZONES,
    EntryFlag,
    Field,
    Flag,
    TypeFlag,
    is_table,
)

ASK, DROP = "ask", "drop"
"""The agent has to answer; nobody does."""
HEADER, OPT_SIZE = 12, 11
CLASSIC_LIMIT, UDP_LIMIT = 512, 1232
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
_SOA, _OPT, _FIRST_META, _LAST_META = 6, 41, 249, 255
_WORD = 8


class Outcome(NamedTuple):
    """`reply` is octets, ASK or DROP. `type` asked, 0 where that was not read. `hit`: the name is in the table."""

    reply: bytes | str
    type: int = 0
    hit: bool = False


class _Question(NamedTuple):
    name: bytes
    """In lower case."""
    octets: bytes
    """As it came, with type and class."""
    type: int
    flags: int
    """RD and CD of the message's flags."""
    opt: bytes
    """Our OPT record, empty where the message had none."""
    limit: int


class _Found(NamedTuple):
    place: int
    flags: int
    zone: int
    types: int


class Damaged(Exception):
    """The table leads out of itself."""


class TableReader:
    """Reads one table, which may be written to at the same time."""

    def __init__(self, buffer: memoryview) -> None:
        """Raises ValueError when it is no table of this version."""
        if not is_table(buffer):
            raise ValueError("no table of this version")
        self._buffer, self._words = buffer, buffer[: len(buffer) // _WORD * _WORD].cast("Q")
        count, at = self._words[Field.SLOTS // _WORD], self._words[Field.SLOTS_AT // _WORD]
        if count == 0 or count & (count - 1) or at % _WORD or at > len(buffer) or count > (len(buffer) - at) // _WORD:
            raise ValueError("the slots lie outside of the table")
        self._mask, self._slots = count - 1, at // _WORD

    def number(self, field: int) -> int:
        """One of the header's."""
        return self._words[field // _WORD]

    @property
    def superseded(self) -> bool:
        return bool(self._words[Field.FLAGS // _WORD] & Flag.SUPERSEDED)

    def answer(self, message: bytes, client: bytes, rotation: int = 0) -> Outcome:
        """`client` is its packed address, of 4 or 16 octets; `rotation` says which address comes first."""
        if len(message) < HEADER or message[2] & 0x80:
            return Outcome(DROP)
        question = _question(message)
        if not self._allowed(client):
            return Outcome(_plain(message, question, REFUSED))
        flags = self._words[Field.FLAGS // _WORD]
        if question is None or flags & Flag.ALL_TO_AGENT:
            return Outcome(ASK, question.type if question else 0)
        try:
            return self._decide(message[:2], question, flags, rotation)
        except (Damaged, IndexError, BadLayout):
            return Outcome(ASK, question.type)

    def _decide(self, identity: bytes, question: _Question, flags: int, rotation: int) -> Outcome:
        found = self._find(question.name)
        if found is not None:
            if found.flags & EntryFlag.ASK:
                return Outcome(ASK, question.type, True)
            return Outcome(self._reply(identity, question, flags, found, NOERROR, rotation), question.type, True)
        at = 1 + question.name[0] if question.name[0] else 0
        while at and found is None:
            found = self._find(question.name[at:])
            at = at + 1 + question.name[at] if question.name[at] else 0
        if found is None or found.flags & EntryFlag.ASK_BELOW:
            return Outcome(ASK, question.type)
        rcode = NXDOMAIN if flags & Flag.SYNCED else SERVFAIL
        return Outcome(self._reply(identity, question, flags, found, rcode, rotation), question.type)

    def _find(self, name: bytes) -> _Found | None:
        hashed = crc32(name[::-1])
        at = hashed & self._mask
        for _ in range(self._mask + 1):
            word = self._words[self._slots + at]
            if word == EMPTY:
                return None
            place = word % (1 << 32) * _WORD
            if word >> 32 == hashed and place >= HEADER_SIZE and place + ENTRY.size <= len(self._buffer):
                _, flags, zone, length, types = ENTRY.unpack_from(self._buffer, place)
                start = place + ENTRY.size + types * TYPE.size
                if self._buffer[start : start + length] == name:
                    return _Found(place, flags, zone, types)
            at = (at + 1) & self._mask
        return None

    def _reply(self, identity: bytes, question: _Question, flags: int, found: _Found, rcode: int, rotation: int) -> bytes:
        """With the records of the asked type, or with the zone's SOA where there are none."""
        room = max(0, question.limit - len(question.opt) - HEADER - len(question.octets))
        out, counts, whole = b"", [0, 0, 0], True
        listed = rcode == NOERROR and self._listed(found, question.type)
        if listed and not listed[1] & TypeFlag.SOA:
            out, counts, whole = self._sections(found.place, listed, room, rotation)
        elif rcode != SERVFAIL:
            record = self._soa(found.zone, question.name)
            whole = len(record) <= room
            if whole:
                out, counts[0 if listed else 1] = record, 1
        high = (0x80 if rcode == SERVFAIL else 0x84) | question.flags >> 8 | (0 if whole else 0x02)
        low = question.flags & 0x10 | (0x80 if flags & Flag.RECURSION else 0) | rcode
        return _message(identity, high, low, counts, question.octets, out, question.opt)

    def _listed(self, found: _Found, wanted: int) -> tuple[int, ...] | None:
        for number in range(found.types):
            listed = TYPE.unpack_from(self._buffer, found.place + ENTRY.size + number * TYPE.size)
            if listed[0] == wanted:
                return listed
        return None

    def _sections(self, place: int, listed: tuple[int, ...], room: int, rotation: int) -> tuple[bytes, list[int], bool]:
        """What fits of the records, how many in each section, and whether nothing that matters is missing."""
        _, flags, unit, *counts, length, at = listed
        octets = bytes(self._buffer[place + at : place + at + length])
        if len(octets) != length:
            raise Damaged
        if flags & TypeFlag.ROTATES and unit * counts[0] == length and counts[0] and unit:
            first = rotation % counts[0] * unit
            octets = octets[first:] + octets[:first]
            fits = min(counts[0], room // unit)
            return octets[: fits * unit], [fits, 0, 0], fits == counts[0]
        if length <= room:
            return octets, counts, True
        kept, end = [0, 0, 0], 0
        for section, count in enumerate(counts):
            for _ in range(count):
                after = _record_end(octets, end)
                if after > room:
                    return octets[:end], kept, section == 2
                kept[section], end = kept[section] + 1, after
        return octets[:end], kept, True

    def _soa(self, zone: int, name: bytes) -> bytes:
        """Its owner is a pointer into the question, of which the zone's name is the end."""
        if zone >= min(MAX_ZONES, self._words[Field.ZONES // _WORD]):
            raise Damaged
        at, length, of_name = ZONE.unpack_from(self._buffer, ZONES + ZONE.size * zone)
        octets = bytes(self._buffer[at : at + length])
        if len(octets) != length or length < 20 or of_name > len(name) or not of_name:
            raise Damaged
        serial = self._words[Field.SERIAL // _WORD] % (1 << 32)
        pointer: bytes = (0xC000 | HEADER + len(name) - of_name).to_bytes(2, "big")
        return pointer + octets[:-20] + serial.to_bytes(4, "big") + octets[-16:]

    def _allowed(self, client: bytes) -> bool:
        count, at = self._words[Field.PREFIXES // _WORD], self._words[Field.PREFIXES_AT // _WORD]
        if count == 0:
            return True
        if at > len(self._buffer) or count > (len(self._buffer) - at) // PREFIX_SIZE:
            return False
        prefixes = (bytes(self._buffer[each : each + PREFIX_SIZE]) for each in range(at, at + count * PREFIX_SIZE, PREFIX_SIZE))
        return _within(client, prefixes)


def _within(client: bytes, prefixes: Iterable[bytes]) -> bool:
    version = 4 if len(client) == 4 else 6
    number = int.from_bytes(client, "big")
    for prefix in prefixes:
        bits = min(prefix[1], 8 * len(client))
        shift = 8 * len(client) - bits
        if prefix[0] == version and number >> shift == int.from_bytes(prefix[4 : 4 + len(client)], "big") >> shift:
            return True
    return False


def _question(message: bytes) -> _Question | None:
    """None for everything but the plain questions that nearly all clients ask: the agent looks at the others."""
    if message[2] & 0x7A or message[4:10] != b"\0\1\0\0\0\0" or message[10] or message[11] > 1:
        return None
    at = HEADER
    while at < len(message) and message[at]:
        if message[at] > 63:
            return None
        at += 1 + message[at]
    end = at + 5
    if end > len(message) or at - HEADER > 254:
        return None
    kind, klass = int.from_bytes(message[at + 1 : at + 3], "big"), message[at + 3 : end]
    if klass != b"\0\1" or kind in (0, _OPT) or _FIRST_META <= kind <= _LAST_META:
        return None
    flags = (message[2] & 0x01) << 8 | message[3] & 0x10
    octets, name = message[HEADER:end], message[HEADER : at + 1].lower()
    if not message[11]:
        return _Question(name, octets, kind, flags, b"", CLASSIC_LIMIT) if end == len(message) else None
    opt = message[end:]
    if len(opt) != OPT_SIZE or opt[:3] != b"\0\0\x29" or opt[6] or opt[9:] != b"\0\0":
        return None
    payload = int.from_bytes(opt[3:5], "big")
    ours = b"\0\0\x29" + UDP_LIMIT.to_bytes(2, "big") + b"\0\0" + bytes((opt[7] & 0x80, 0)) + b"\0\0"
    return _Question(name, octets, kind, flags, ours, min(max(payload, CLASSIC_LIMIT), UDP_LIMIT))


def _record_end(octets: bytes, at: int) -> int:
    """The offset after the record at an offset. Raises Damaged."""
    while at < len(octets) and octets[at]:
        if octets[at] & 0xC0:
            at += 1
            break
        at += 1 + octets[at]
    at += 11
    if at > len(octets):
        raise Damaged
    at += int.from_bytes(octets[at - 2 : at], "big")
    if at > len(octets):
        raise Damaged
    return at


def _plain(message: bytes, question: _Question | None, rcode: int) -> bytes:
    """Without records; without the question too, when that was not read."""
    high, low = 0x80 | message[2] & 0x79, message[3] & 0x10 | rcode
    if question is None:
        return message[:2] + bytes((high, low)) + bytes(8)
    return _message(message[:2], high, low, [0, 0, 0], question.octets, b"", question.opt)


def _message(identity: bytes, high: int, low: int, counts: list[int], question: bytes, records: bytes, opt: bytes) -> bytes:
    numbers = (1, counts[0], counts[1], counts[2] + bool(opt))
    head = identity + bytes((high, low)) + b"".join(number.to_bytes(2, "big") for number in numbers)
    return head + question + records + opt
