"""How does a name's set of records become its entry in the table? What `owners` gives, in the octets that travel."""

from collections.abc import Iterable, Mapping

from mooring.dns.names import Name
from mooring.dns.owners import Asks, Given, Owners, RRset
from mooring.dns.records import Class, Question, Record, Type
from mooring.dns.table import SECTION_ROOM, Entry, EntryFlag, TypeFlag, TypeSections, ZoneSoa
from mooring.dns.wire import Writer

_OWN_NAME = b"\xc0\x0c"
"""A pointer to the question's name."""
_ROTATING = (Type.A, Type.AAAA)
_NAMELESS = _OWN_NAME + bytes(10)


def zones(apexes: Iterable[Name], given: Owners) -> list[ZoneSoa]:
    """Each zone's SOA, in the order of the apexes; `given` has the records of all of them."""
    found = []
    for apex in apexes:
        soa = next(each for each in given[apex].rrsets if each.type == Type.SOA)
        found.append(ZoneSoa(apex, _fixed(soa, soa.data[0])))
    return found


class Compiler:
    """Knows the zones by their place in the table. `searched`: what is not there below this name, at any depth but the first,
    the agent looks for along the client's search path (autopath).
    """

    def __init__(self, zones: Iterable[ZoneSoa], searched: Name | None = None) -> None:
        self._numbers: Mapping[Name, int] = {zone.name: number for number, zone in enumerate(zones)}
        self._searched = searched

    def entry(self, name: Name, given: Given) -> Entry | None:
        """`name` in lower case. None when it is in none of the zones: no SOA could go with it."""
        zone = self._zone(name)
        if zone is None:
            return None
        flags = 0
        if given.asks is not Asks.NOTHING:
            flags = (EntryFlag.ASK if given.asks & Asks.SELF else 0) | (EntryFlag.ASK_BELOW if given.asks & Asks.BELOW else 0)
        if self._searched is not None and name.endswith(self._searched) and name != self._searched:
            flags |= EntryFlag.ASK_BELOW
        return Entry(name, zone, flags, () if flags & EntryFlag.ASK else tuple(sections(name, each) for each in given.rrsets))

    def _zone(self, name: Name) -> int | None:
        """The longest that the name is in."""
        at = 0
        while True:
            number = self._numbers.get(name[at:])
            if number is not None:
                return number
            if not name[at]:
                return None
            at += 1 + name[at]


def sections(name: Name, rrset: RRset) -> TypeSections:
    """Written as they follow a question for this very name. What a datagram never carries is left out."""
    if rrset.type == Type.SOA:
        return TypeSections(Type.SOA, TypeFlag.SOA, 0, (1, 0, 0), b"")
    if rrset.additional:
        return _compressed(name, rrset)
    records: list[bytes] = []
    room = SECTION_ROOM
    for data in rrset.data:
        room -= len(_NAMELESS) + len(data)
        if room < 0:
            break
        records.append(_OWN_NAME + _fixed(rrset, data))
    rotates = rrset.type in _ROTATING and len(records) > 1
    unit = len(records[0]) if rotates else 0
    return TypeSections(rrset.type, TypeFlag.ROTATES if rotates else 0, unit, (len(records), 0, 0), b"".join(records))


def _compressed(name: Name, rrset: RRset) -> TypeSections:
    out, counts = Writer(Question(name, rrset.type)), [0, 0, 0]
    start = len(out.octets)
    answer = (Record(name, rrset.type, rrset.ttl, data) for data in rrset.data)
    for section, records in ((0, answer), (2, rrset.additional)):
        for record in records:
            if not out.add(record, start + SECTION_ROOM):
                break
            counts[section] += 1
    return TypeSections(rrset.type, 0, 0, (counts[0], counts[1], counts[2]), bytes(out.octets[start:]))


def _fixed(rrset: RRset, data: bytes) -> bytes:
    """A record after its owner name."""
    numbers = (rrset.type.to_bytes(2, "big"), Class.IN.to_bytes(2, "big"), rrset.ttl.to_bytes(4, "big"))
    return b"".join((*numbers, len(data).to_bytes(2, "big"), data))
