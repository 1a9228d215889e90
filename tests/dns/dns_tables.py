"""Tables in memory for tests: a Zone's names as workers have them."""

from collections.abc import Sequence

from mooring.dns.compile import Compiler, zones
from mooring.dns.names import Name
from mooring.dns.owners import apexes, everything, zone_owners
from mooring.dns.table import Flag, Settings, TableWriter, size
from mooring.dns.zone import Zone

LOOPBACK = bytes((127, 0, 0, 1))


def table(zone: Zone, flags: int = Flag.SYNCED, **settings: object) -> memoryview:
    """All of a Zone."""
    own = Settings(zones(apexes(zone.options), zone_owners(zone)), **settings)  # type: ignore[arg-type]
    compiler = Compiler(own.zones)
    entries = [entry for name, given in everything(zone) if (entry := compiler.entry(name, given))]
    slots, octets = size(own, len(entries), sum(len(entry.packed()) for entry in entries))
    buffer = memoryview(bytearray(octets))
    writer = TableWriter(buffer, slots, own)
    for entry in entries:
        writer.put(entry)
    writer.set_serial(zone.serial)
    writer.set_flags(flags if zone.synced else flags & ~Flag.SYNCED)
    return buffer


def question(name: Name, kind: int, *, payload: int | None = None, dnssec_ok: bool = False, flags: int = 0x0100) -> bytes:
    """A plain one, with an OPT record when there is a payload."""
    numbers: Sequence[int] = (0x1234, flags, 1, 0, 0, payload is not None)
    head = b"".join(number.to_bytes(2, "big") for number in numbers)
    opt = b"" if payload is None else b"\0\0\x29" + payload.to_bytes(2, "big") + bytes((0, 0, 0x80 * dnssec_ok, 0, 0, 0))
    return head + name + kind.to_bytes(2, "big") + b"\0\1" + opt
