"""What was in a zone that was given away, and what has changed since? The memory behind incremental transfers (RFC 1995).

A secondary knows only the versions that it got from us. So a version is made when somebody asks, not with each change: between
two of them changes gather, and what comes and goes again leaves no trace.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from mooring.dns.names import Name
from mooring.dns.owners import RRset
from mooring.dns.records import Record, Type

VERSIONS = 1000
"""As many are remembered at most, and no more records than the zone has, or so many:"""
RECORDS = 1000
_SERIALS = 1 << 32

RRsets = tuple[RRset, ...]


class Difference(Struct, frozen=True, gc=False):
    """Between two versions: their SOA records, and what the newer one has no more and has newly."""

    older: Record
    newer: Record
    removed: tuple[Record, ...] = ()
    added: tuple[Record, ...] = ()


class Version(Struct, frozen=True):
    """A zone at one serial. `contents`: everything but the SOA, as (name, rrsets)."""

    soa: Record
    contents: tuple[tuple[Name, RRsets], ...]

    def records(self) -> Iterator[Record]:
        """Without the SOA."""
        for name, rrsets in self.contents:
            yield from spread(name, rrsets)


class Journal:
    """One zone's present and past. One writer; what it gives out are values that stay as they are."""

    def __init__(self, soa: Record, contents: Mapping[Name, RRsets] | None = None) -> None:
        self.soa = soa
        self._contents: dict[Name, RRsets] = {}
        self._before: dict[Name, RRsets] = {}
        self._count = 0
        self.differences: list[Difference] = []
        for name, rrsets in (contents or {}).items():
            self.change(name, rrsets)
        self.begin(soa)

    def begin(self, soa: Record) -> None:
        """What there is now is the first version that anybody gets."""
        self.soa, self._before, self.differences = soa, {}, []

    def change(self, name: Name, rrsets: RRsets) -> None:
        """A name has these records from now on; none: it is gone. An SOA among them is passed over."""
        old, new = self._contents.get(name, ()), fitting(rrsets)
        if old == new:
            return
        self._before.setdefault(name, old)
        self._count += _count(new) - _count(old)
        if new:
            self._contents[name] = new
        else:
            del self._contents[name]

    def close(self, soa: Record) -> None:
        """What has changed so far is the version of this SOA."""
        if soa == self.soa:
            return
        removed, added = [], []
        for name, old in self._before.items():
            past = dict.fromkeys(spread(name, old))
            present = dict.fromkeys(spread(name, self._contents.get(name, ())))
            removed += [record for record in past if record not in present]
            added += [record for record in present if record not in past]
        self.differences.append(Difference(self.soa, soa, tuple(removed), tuple(added)))
        self.soa, self._before = soa, {}
        self._forget()

    def _forget(self) -> None:
        kept, room = 0, max(RECORDS, self._count)
        for difference in reversed(self.differences[-VERSIONS:]):
            room -= len(difference.removed) + len(difference.added)
            if room < 0:
                break
            kept += 1
        del self.differences[: len(self.differences) - kept]

    def version(self) -> Version:
        """The last one closed, provided that nothing has changed since."""
        return Version(self.soa, tuple(self._contents.items()))

    def since(self, serial: int) -> Difference | None:
        """From a version with this serial to the last one, all steps in one. None: not remembered, or more than the zone is."""
        at = next((at for at, each in enumerate(self.differences) if serial_of(each.older) == serial), None)
        if at is None:
            return None
        found = merged(self.differences[at:])
        return found if len(found.removed) + len(found.added) < self._count else None


def merged(differences: list[Difference]) -> Difference:
    """Steps that follow each other, as one (RFC 1995 section 6): what came and went, or went and came, is not in it."""
    removed: dict[Record, None] = {}
    added: dict[Record, None] = {}
    for difference in differences:
        for record in difference.removed:
            if record in added:
                del added[record]
            else:
                removed[record] = None
        for record in difference.added:
            if record in removed:
                del removed[record]
            else:
                added[record] = None
    return Difference(differences[0].older, differences[-1].newer, tuple(removed), tuple(added))


def spread(name: Name, rrsets: Iterable[RRset]) -> Iterator[Record]:
    """The records of one name."""
    for rrset in rrsets:
        for data in rrset.data:
            yield Record(name, rrset.type, rrset.ttl, data)


def fitting(rrsets: RRsets) -> RRsets:
    """Without the SOA, and with a CNAME only alone and only one: a secondary refuses a whole zone for one name that breaks this
    (RFC 2181 section 10.1).
    """
    found = tuple(rrset for rrset in rrsets if rrset.type != Type.SOA)
    aliases = [rrset for rrset in found if rrset.type == Type.CNAME]
    if not aliases:
        return found
    others = tuple(rrset for rrset in found if rrset.type != Type.CNAME)
    return others or (RRset(Type.CNAME, aliases[0].ttl, aliases[0].data[:1]),)


def serial_of(soa: Record) -> int:
    return int.from_bytes(soa.data[-20:-16], "big")


def newer(serial: int, other: int) -> bool:
    """RFC 1982: whether `serial` comes after `other`. Of two that are half the circle apart neither does."""
    return 0 < (serial - other) % _SERIALS < _SERIALS // 2


def _count(rrsets: RRsets) -> int:
    return sum(len(rrset.data) for rrset in rrsets)
