"""What does a secondary get that asks for a zone? All of it, what has changed, or why not (AXFR: RFC 5936, IXFR: RFC 1995).

Transferred is what `owners` enumerates: every record of every name. What is made up for a question is not: the names of pods,
and that a name exists which has neither records nor names with records below it (a namespace without Services). A wildcard
host of an Ingress is transferred as the wildcard it is (RFC 4592), an ExternalName as its CNAME, not chased.
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import chain

from mooring.dns.journal import Difference, Journal, Version, newer, serial_of
from mooring.dns.owners import apexes
from mooring.dns.records import Class, Opcode, Query, Rcode, Record, Reply, Transport, Type
from mooring.dns.wire import HEADER, limit
from mooring.dns.zone import Zone

MESSAGE_OCTETS = 16 * 1024
"""As much goes into a message, uncompressed: names farther in cannot be pointed at (RFC 1035 section 4.1.4)."""
OPT_OCTETS = 64
"""More than our OPT record ever has in a reply to a transfer."""

Ranges = Sequence[IPv4Network | IPv6Network]


def is_transfer(message: bytes) -> bool:
    """At a glance, without reading the message as a whole: whether an AXFR or IXFR is asked for."""
    if len(message) < HEADER or message[2] & 0xF8 != Opcode.QUERY << 3 or message[4:6] != b"\0\1":
        return False
    at = HEADER
    while at < len(message) and message[at]:
        at += 1 + message[at]
    return message[at + 1 : at + 3] in (Type.AXFR.to_bytes(2, "big"), Type.IXFR.to_bytes(2, "big"))


def refused(query: Query, zone: Zone, allowed: Ranges) -> Reply | None:
    """Why not at all: None when there is nothing against it. Who may not ask does not learn which zones there are.

    AXFR over UDP is not defined (RFC 5936 section 4.2): a format error, as for BIND (Knot DNS and NSD: NOTIMP).
    """
    if query.edns is not None and query.edns.version:
        return Reply(Rcode.BADVERS)
    if query.question.klass != Class.IN or not may(query.client, allowed):
        return Reply(Rcode.REFUSED)
    if query.question.name.lower() not in apexes(zone.options):
        return Reply(Rcode.NOTAUTH)
    if query.question.type == Type.AXFR and query.transport is Transport.UDP:
        return Reply(Rcode.FORMERR)
    if query.question.type == Type.IXFR and query.serial is None:
        return Reply(Rcode.FORMERR)
    if not zone.synced:
        return Reply(Rcode.SERVFAIL)
    return None


def may(client: str, allowed: Ranges) -> bool:
    """`client` in canonical text; '' is nobody."""
    return bool(client) and any(ip_address(client) in each for each in allowed)


def replies(query: Query, journal: Journal) -> Iterator[Reply]:
    """The messages of the whole answer, all of the version of this moment, whatever happens to the journal later."""
    serial = query.serial
    if query.question.type == Type.AXFR or serial is None:
        return _messages(whole(journal.version()))
    if serial == serial_of(journal.soa) or newer(serial, serial_of(journal.soa)):
        return _messages((journal.soa,))
    difference = journal.since(serial)
    if query.transport is Transport.UDP:
        return _messages(_datagram(query, difference, journal.soa))
    return _messages(whole(journal.version()) if difference is None else steps(difference))


def whole(version: Version) -> Iterator[Record]:
    """A zone as it travels: its SOA first and last (RFC 5936 section 2.2)."""
    return chain((version.soa,), version.records(), (version.soa,))


def steps(difference: Difference) -> Iterator[Record]:
    """A difference as it travels (RFC 1995 section 4)."""
    older, newest = (difference.older,), (difference.newer,)
    return chain(newest, older, difference.removed, newest, difference.added, newest)


def _datagram(query: Query, difference: Difference | None, soa: Record) -> Iterable[Record]:
    """What does not fit is told by the SOA alone: the client comes again over TCP (RFC 1995 section 2)."""
    if difference is None:
        return (soa,)
    records = tuple(steps(difference))
    room = limit(query) - HEADER - len(query.question.name) - 4 - OPT_OCTETS
    return records if sum(map(_octets, records)) <= room else (soa,)


def _messages(records: Iterable[Record]) -> Iterator[Reply]:
    gathered: list[Record] = []
    octets = 0
    for record in records:
        if gathered and octets + _octets(record) > MESSAGE_OCTETS:
            yield Reply(Rcode.NOERROR, tuple(gathered), authoritative=True)
            gathered, octets = [], 0
        gathered.append(record)
        octets += _octets(record)
    yield Reply(Rcode.NOERROR, tuple(gathered), authoritative=True)


def _octets(record: Record) -> int:
    return len(record.name) + 10 + len(record.data)
