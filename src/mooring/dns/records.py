"""What is asked and answered? Questions, records and replies as values, apart from the way they travel.

A record's data is its uncompressed wire form, so that records of any type, those of other servers too, are kept and told apart
without being understood (RFC 3597).
"""

from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

from mooring.dns.names import Name


class Type(IntEnum):
    """The types that something here means something for; any other number is as good (RFC 3597)."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    HINFO = 13
    TXT = 16
    AAAA = 28
    SRV = 33
    DNAME = 39
    OPT = 41
    RRSIG = 46
    NSEC = 47
    NSEC3 = 50
    IXFR = 251
    AXFR = 252
    ANY = 255


class Class(IntEnum):
    IN = 1
    CHAOS = 3
    ANY = 255


class Opcode(IntEnum):
    QUERY = 0
    NOTIFY = 4


class Rcode(IntEnum):
    """RFC 1035 section 4.1.1, RFC 6891 and RFC 7873."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    NOTAUTH = 9
    BADVERS = 16
    BADCOOKIE = 23


class Transport(Enum):
    UDP = "udp"
    TCP = "tcp"


class Record(Struct, frozen=True, gc=False):
    """One resource record of class IN. `ttl` in seconds."""

    name: Name
    type: int
    ttl: int
    data: bytes


class Question(Struct, frozen=True, gc=False):
    """`name` as the client wrote it: its case comes back in the answer."""

    name: Name
    type: int
    klass: int = Class.IN


class Edns(Struct, frozen=True, gc=False):
    """RFC 6891. `payload`: octets the client takes over UDP; `options`: (code, data) in their order."""

    payload: int
    version: int = 0
    dnssec_ok: bool = False
    options: tuple[tuple[int, bytes], ...] = ()


class Query(Struct, frozen=True, gc=False):
    """One question of one client. `client` is its address in canonical text, '' for ourselves.

    `serial` is that of the zone an IXFR client has already (RFC 1995).
    """

    id: int
    question: Question
    opcode: int = Opcode.QUERY
    recursion_desired: bool = True
    checking_disabled: bool = False
    authentic_data: bool = False
    edns: Edns | None = None
    client: str = ""
    transport: Transport = Transport.UDP
    serial: int | None = None


class Reply(Struct, frozen=True, gc=False):
    """What is answered. `authoritative`: from a zone of ours. `shuffle`: addresses may be put in any order."""

    rcode: int
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    authoritative: bool = False
    recursion_available: bool = False
    authentic_data: bool = False
    truncated: bool = False
    shuffle: bool = False


def address(name: Name, ttl: int, text: str) -> Record:
    """A or AAAA, of a canonical address."""
    if ":" in text:
        return Record(name, Type.AAAA, ttl, IPv6Address(text).packed)
    return Record(name, Type.A, ttl, IPv4Address(text).packed)


def srv(name: Name, ttl: int, priority: int, weight: int, port: int, target: Name) -> Record:
    """RFC 2782."""
    numbers = priority.to_bytes(2, "big") + weight.to_bytes(2, "big") + port.to_bytes(2, "big")
    return Record(name, Type.SRV, ttl, numbers + target)


def txt(name: Name, ttl: int, text: str) -> Record:
    """One string of at most 255 octets."""
    data = text.encode()
    return Record(name, Type.TXT, ttl, bytes((len(data),)) + data)


def soa(name: Name, ttl: int, nameserver: Name, mailbox: Name, serial: int) -> Record:
    """Refresh 7200 s, retry 1800 s, expire 86400 s as CoreDNS's; the minimum, which is the negative TTL, is `ttl`."""
    numbers = b"".join(number.to_bytes(4, "big") for number in (serial % (1 << 32), 7200, 1800, 86400, ttl))
    return Record(name, Type.SOA, ttl, nameserver + mailbox + numbers)
