"""How do the cluster's names lie in memory, so that another process answers from them without a lock? The table's format, and
its only writer.

A table is one buffer, all numbers little-endian, an offset counted from its beginning:

    header      HEADER_SIZE octets, see `Field`; its zones' places follow at ZONES
    constants   what the zones' SOA records hold after their owner name, and the prefixes of clients that may ask
    slots       8 octets each, a power of two of them: CRC-32 of the name backwards << 32 | place of its entry / 8
    arena       entries, each at a multiple of 8, only ever appended

    entry       length u32, flags u8, zone u8, length of the name u8, number of types u8
                for each type: type u16, flags u8, octets of one record when it rotates u8, records in answer, authority and
                additional 3 x u16, octets of all three u16, their place from the entry's beginning u32
                the name in lower case in wire form, then the sections' octets

A name is hashed from its last octet to its first, so that one pass also gives the hashes of the names above it.

The sections are written as they travel after a question with exactly this name, whose own name is at offset 12 of every
message. A slot of 0 ends a search, 1 (an entry that went away) does not. An entry is written whole before its slot is stored, 8
aligned octets at once, and never changed after: whoever reads sees the old entry or the new one.

This module and `table_answer` import nothing that a worker process would have to wait for.
"""

from collections.abc import Callable, Iterable, Sequence
from struct import Struct as Layout
from typing import NamedTuple
from zlib import crc32

MAGIC = int.from_bytes(b"mrgDNS\0\1", "little")
"""The last octet is the format's version."""
HEADER_SIZE = 4096
ZONES = 2048
"""Where the header tells each zone's SOA: place u32, octets u16, octets of the zone's name u16."""
MAX_ZONES = (HEADER_SIZE - ZONES) // 8
PREFIX_SIZE = 20
"""A prefix: 4 or 6, its bits, two octets of nothing, the address in 16 octets."""
EMPTY, GONE = 0, 1
SECTION_ROOM = 4096
"""Octets of answers that are kept: far more than one datagram carries, so whoever wants all asks over TCP."""

ENTRY = Layout("<IBBBB")
TYPE = Layout("<HBBHHHHI")
ZONE = Layout("<IHH")
_WORD = Layout("<Q")


class Field:
    """Places of the header's numbers, 8 octets each."""

    MAGIC = 0
    FLAGS = 8
    SERIAL = 16
    SLOTS = 24
    """How many slots, and where they and the arena begin."""
    SLOTS_AT = 32
    ARENA_AT = 40
    USED = 48
    """The first octet of the arena that nothing is written to."""
    ZONES = 56
    PREFIXES = 64
    PREFIXES_AT = 72
    RATE = 80
    """Questions a second that one client may ask of one worker, 0 for any number; and how many at once."""
    BURST = 88
    GENERATION = 96
    """Which of its writer's tables this is; for people."""


class Flag:
    """Of the whole table."""

    SYNCED = 1
    """Every kind was listed: a name that is not here does not exist. Until then it is SERVFAIL."""
    SUPERSEDED = 2
    """There is a newer file under the name: map that."""
    ALL_TO_AGENT = 4
    """Workers answer nothing themselves (query log)."""
    RECURSION = 8
    """The agent asks other servers: replies say so (RA)."""


class EntryFlag:
    ASK = 1
    """The agent answers for this name: an alias, or made up on demand."""
    ASK_BELOW = 2
    """The agent answers for names below that are not here."""


class TypeFlag:
    ROTATES = 1
    """All records of the answer are alike in size: each reply begins with another one."""
    SOA = 2
    """The answer is the zone's SOA, as the table has it."""


class TypeSections(NamedTuple):
    """The records of one type: how many in answer, authority and additional, and their octets."""

    type: int
    flags: int
    unit: int
    counts: tuple[int, int, int]
    octets: bytes


class Entry(NamedTuple):
    """All about one name, which is in lower case. `zone` is an index into the table's zones."""

    name: bytes
    zone: int
    flags: int = 0
    types: tuple[TypeSections, ...] = ()

    def packed(self) -> bytes:
        """Padded to 8 octets. Raises struct.error for a number that does not fit."""
        at = ENTRY.size + TYPE.size * len(self.types) + len(self.name)
        directory, octets = [], []
        for each in self.types:
            directory.append(TYPE.pack(each.type, each.flags, each.unit, *each.counts, len(each.octets), at))
            octets.append(each.octets)
            at += len(each.octets)
        head = ENTRY.pack(at, self.flags, self.zone, len(self.name), len(self.types))
        return b"".join((head, *directory, self.name, *octets, bytes(-at % 8)))


class ZoneSoa(NamedTuple):
    """The zone's name in lower case, and its SOA from the type on; the serial in it is the table's."""

    name: bytes
    octets: bytes


class Settings(NamedTuple):
    """What holds for a table as long as it lives. `prefixes`: (4 or 6, bits, packed address); none: everyone may ask."""

    zones: Sequence[ZoneSoa]
    prefixes: Sequence[tuple[int, int, bytes]] = ()
    rate: int = 0
    burst: int = 0


Store = Callable[[memoryview, int, int], None]


class TableFull(Exception):
    """Nothing was changed: a larger table has to take this one's place."""


def size(settings: Settings, names: int, octets: int) -> tuple[int, int]:
    """(slots, octets of the whole table) for so many names whose entries have so many octets, with room to grow."""
    slots = 1024
    while slots < 3 * names:
        slots *= 2
    constants = sum(len(zone.octets) for zone in settings.zones) + PREFIX_SIZE * len(settings.prefixes)
    return slots, (HEADER_SIZE + constants + 7) // 8 * 8 + 8 * slots + 2 * octets + (1 << 20)


class TableWriter:
    """Writes one table into a buffer of zeros: a file that is mapped, or a bytearray.

    `store` (words, index, number) is how a slot is stored after its entry. An item of a memoryview is one store of the machine,
    and x86 lets others see stores in their order; other machines need `hotpath.store`, which says so to them.
    """

    def __init__(
        self, buffer: memoryview, slots: int, settings: Settings, generation: int = 0, store: Store | None = None
    ) -> None:
        """Raises ValueError: too many zones, or the buffer is too small for the slots."""
        self._store = store or memoryview.__setitem__
        if len(settings.zones) > MAX_ZONES:
            raise ValueError(f"a table has at most {MAX_ZONES} zones, not {len(settings.zones)}")
        self._buffer, self._words = buffer, buffer[: len(buffer) // 8 * 8].cast("Q")
        self._mask, self._filled, self._garbage, self._names = slots - 1, 0, 0, 0
        at = self._constants(settings)
        self._slots_at, arena = at // 8, at + 8 * slots
        if arena > len(buffer):
            raise ValueError(f"{slots} slots need {arena} octets, not {len(buffer)}")
        self._arena, self._used = arena, arena
        for field, number in (
            (Field.SLOTS, slots),
            (Field.SLOTS_AT, at),
            (Field.ARENA_AT, arena),
            (Field.USED, arena),
            (Field.ZONES, len(settings.zones)),
            (Field.RATE, settings.rate),
            (Field.BURST, settings.burst),
            (Field.GENERATION, generation),
            (Field.MAGIC, MAGIC),
        ):
            self._words[field // 8] = number

    def _constants(self, settings: Settings) -> int:
        at = HEADER_SIZE
        for number, zone in enumerate(settings.zones):
            ZONE.pack_into(self._buffer, ZONES + 8 * number, at, len(zone.octets), len(zone.name))
            self._buffer[at : at + len(zone.octets)] = zone.octets
            at += len(zone.octets)
        self._words[Field.PREFIXES // 8] = len(settings.prefixes)
        self._words[Field.PREFIXES_AT // 8] = at
        for version, bits, address in settings.prefixes:
            self._buffer[at : at + PREFIX_SIZE] = bytes((version, bits, 0, 0)) + address.ljust(16, b"\0")
            at += PREFIX_SIZE
        return (at + 7) // 8 * 8

    def __len__(self) -> int:
        return self._names

    @property
    def worn(self) -> bool:
        """More than half of what was written is garbage, or more than half of the slots were used: time for another table."""
        return self._garbage > max(1 << 20, (self._used - self._arena) // 2) or self._filled > self._mask // 2

    @property
    def living(self) -> int:
        """Octets of the entries that are reachable."""
        return self._used - self._arena - self._garbage

    @property
    def used(self) -> int:
        """Octets of the table that were ever written."""
        return self._used

    def put(self, entry: Entry) -> None:
        """A new name, or another entry for a known one. Raises TableFull, and struct.error for what fits no field."""
        self.put_packed(entry.name, entry.packed())

    def put_packed(self, name: bytes, octets: bytes) -> None:
        """The same of an entry that `Entry.packed` made. One that is there already is not written again."""
        hashed = crc32(name[::-1])
        slot, free, place = self._find(name, hashed)
        before = self._length(place) if slot else 0
        if before == len(octets) and self._buffer[place : place + before] == octets:
            return
        at, end = self._used, self._used + len(octets)
        if end > len(self._buffer) or (not slot and self._filled > self._mask * 3 // 4):
            raise TableFull
        self._buffer[at:end] = octets
        self._used = end
        self._words[Field.USED // 8] = end
        if slot:
            self._garbage += before
        else:
            slot = free
            self._names += 1
            self._filled += self._words[slot] == EMPTY
        self._store(self._words, slot, hashed << 32 | at // 8)

    def _find(self, name: bytes, hashed: int) -> tuple[int, int, int]:
        """(the word of the name's slot or 0, the first word that it could take, the place of its entry or 0)."""
        at, free = hashed & self._mask, 0
        while word := self._words[self._slots_at + at]:
            if word == GONE:
                free = free or self._slots_at + at
            elif word >> 32 == hashed:
                place = word % (1 << 32) * 8
                if self._name(place) == name:
                    return self._slots_at + at, 0, place
            at = (at + 1) & self._mask
        return 0, free or self._slots_at + at, 0

    def _name(self, place: int) -> bytes:
        _, _, _, length, types = ENTRY.unpack_from(self._buffer, place)
        start = place + ENTRY.size + types * TYPE.size
        return bytes(self._buffer[start : start + length])

    def _length(self, place: int) -> int:
        """Octets of an entry with its padding."""
        return (int(ENTRY.unpack_from(self._buffer, place)[0]) + 7) // 8 * 8

    def remove(self, name: bytes) -> None:
        """Harmless for a name that is not there."""
        slot, _, place = self._find(name, crc32(name[::-1]))
        if slot:
            self._words[slot] = GONE
            self._garbage += self._length(place)
            self._names -= 1

    def set_serial(self, serial: int) -> None:
        self._words[Field.SERIAL // 8] = serial % (1 << 32)

    def set_flags(self, flags: int) -> None:
        self._words[Field.FLAGS // 8] = flags

    def entries(self) -> Iterable[tuple[bytes, bytes]]:
        """(name, packed entry) of all names, for the table that takes this one's place."""
        for word in self._words[self._slots_at : self._slots_at + self._mask + 1]:
            if word not in (EMPTY, GONE):
                place = word % (1 << 32) * 8
                yield self._name(place), bytes(self._buffer[place : place + self._length(place)])

    def release(self) -> None:
        """Lets go of the buffer."""
        self._words.release()
        self._buffer.release()


def serial_of(buffer: memoryview) -> int:
    """The Zone's serial that its writer wrote last."""
    return int(_WORD.unpack_from(buffer, Field.SERIAL)[0])


def supersede(buffer: memoryview) -> None:
    """Tells the readers of a table, whoever wrote it, to map the file anew."""
    words = buffer[:HEADER_SIZE].cast("Q")
    words[Field.FLAGS // 8] |= Flag.SUPERSEDED
    words.release()


def is_table(buffer: bytes | memoryview) -> bool:
    """Whether this is a table of our version."""
    return len(buffer) >= HEADER_SIZE and _WORD.unpack_from(buffer, Field.MAGIC)[0] == MAGIC
