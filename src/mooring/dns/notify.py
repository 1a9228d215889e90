"""When is which secondary told that a zone has changed, and in which words? (NOTIFY, RFC 1996.)

There is one Notice for each zone and secondary, and three things happen to it: the zone changes, a message goes out, an answer
comes. Whatever the answer's rcode, it ends the matter (section 3.8): who does not like to be told asks in its own time.
"""

import math

import msgspec
from msgspec import Struct

from mooring.dns.names import Name
from mooring.dns.records import Class, Opcode, Record, Type
from mooring.dns.wire import HEADER

INTERVAL = 1.0
"""Seconds between two messages to one secondary about one zone, at least; after each without an answer twice as many."""
LONGEST = 60.0
_AA = 0x04
_ANSWER = 0x80 | Opcode.NOTIFY << 3


class Secondary(Struct, frozen=True):
    """Where a secondary listens. `address` in canonical text."""

    address: str
    port: int = 53


class Notice(Struct, frozen=True):
    """What one secondary knows of one zone. `soa` is the zone's now, `told` the last one it was told, in message `id`.

    Due at `at`, in monotonic seconds; never while it is inf. `tries` since the last answer.
    """

    soa: Record
    at: float = 0.0
    told: Record | None = None
    id: int = 0
    sent: float = -math.inf
    tries: int = 0


def changed(notice: Notice, soa: Record, now: float) -> Notice:
    """A secondary that does not answer is not asked more often for it."""
    if soa == notice.soa:
        return notice
    return msgspec.structs.replace(notice, soa=soa, at=max(now, notice.sent + _pause(notice.tries)))


def sent(notice: Notice, identity: int, now: float) -> Notice:
    """`identity` counts only for a serial that was not yet told: a message that is repeated stays the same."""
    identity = notice.id if notice.told == notice.soa else identity
    tries = notice.tries + 1
    return msgspec.structs.replace(notice, told=notice.soa, id=identity, sent=now, tries=tries, at=now + _pause(tries))


def answered(notice: Notice, message: bytes) -> Notice:
    """Unchanged when the message is no answer to what was sent last."""
    if notice.told is None or not _answers(message, notice.id, notice.told.name):
        return notice
    at = math.inf if notice.told == notice.soa else notice.sent + INTERVAL
    return msgspec.structs.replace(notice, tries=0, at=at)


def message(notice: Notice) -> bytes:
    """What is sent: the question for the SOA, and the SOA itself as a hint (section 3.7)."""
    soa, numbers = notice.soa, (notice.id, (Opcode.NOTIFY << 3 | _AA) << 8, 1, 1, 0, 0)
    header = b"".join(number.to_bytes(2, "big") for number in numbers)
    kind = Type.SOA.to_bytes(2, "big") + Class.IN.to_bytes(2, "big")
    data = soa.ttl.to_bytes(4, "big") + len(soa.data).to_bytes(2, "big") + soa.data
    return header + soa.name + kind + soa.name + kind + data


def _answers(message: bytes, identity: int, apex: Name) -> bool:
    if (
        len(message) < HEADER
        or int.from_bytes(message[:2], "big") != identity
        or message[2] & 0xF8 != 0x80 | Opcode.NOTIFY << 3
    ):
        return False
    return message[4:6] == b"\0\0" or message[HEADER : HEADER + len(apex)].lower() == apex.lower()


def _pause(tries: int) -> float:
    return float(min(LONGEST, INTERVAL * 2 ** max(tries - 1, 0))) if tries < 10 else LONGEST
