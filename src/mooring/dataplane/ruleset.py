"""What does the packet table hold? Named sets and maps that carry all data, as the kernel keeps it.

The rules are fixed (skeleton.py): no chain, rule or set belongs to a Service, so a change of one Service is a change of a few
elements (docs/decisions/0002-packet-layout.md). An element is a pair of byte strings in the kernel's register form: each field
padded to 4 bytes, addresses and ports in network order, marks in the machine's order. So what is compiled, what is sent and
what is read back are compared as they are; `unpack` reads them for people.
"""

import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network

from msgspec import Struct

from mooring.endpoints.addresses import OCTETS
from mooring.services.view import Family, Protocol

TABLE = "mooring"

SetKey = tuple[str, str]
"""(family, name) as nft writes them: ('ip', 'frontends')."""

Elements = Mapping[SetKey, Mapping[bytes, bytes]]
"""set -> key -> data. The data of a plain set's element is b'', that of a verdict map's the name of the chain to go to."""

PROTOCOL_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}
FAMILIES = {Family.IPV4: "ip", Family.IPV6: "ip6"}


class Field(Enum):
    """What a part of a key or of data means; the value is the type nft shows."""

    ADDRESS = "addr"
    PROTOCOL = "inet_proto"
    PORT = "inet_service"
    MARK = "mark"
    INTERFACE = "ifname"
    VERDICT = "verdict"


class SetSpec(Struct, frozen=True):
    """A named set, or a map when it has data. In an interval set a key is the first and the last key of a range.

    A set with a `size` is written by packets: its elements come, go after a timeout, and belong to no ruleset.
    """

    name: str
    comment: str
    key: tuple[Field, ...]
    data: tuple[Field, ...] = ()
    interval: bool = False
    size: int = 0

    @property
    def is_verdict_map(self) -> bool:
        return self.data == (Field.VERDICT,)


_FRONTEND = (Field.ADDRESS, Field.PROTOCOL, Field.PORT)

FRONTENDS = "frontends"
OUTSIDE_FRONTENDS = "outside-frontends"
ENDPOINTS = "endpoints"
SLOTS = "slots"
AFFINITY = "affinity"
SHAPES = "shapes"
OUTSIDE_SHAPES = "outside-shapes"
RESTRICTED = "restricted"
ALLOWED = "allowed"
CLUSTER_IPS = "cluster-ips"
SERVICE_CIDRS = "service-cidrs"
POD_CIDRS = "pod-cidrs"
POD_INTERFACES = "pod-interfaces"
KEPT_SOURCES = "kept-sources"
HAIRPINS = "hairpins"
MASQUERADED = "masqueraded"
TRANSPARENT = "transparent"
UNTRACKED = "untracked"

LARGEST_AFFINITY = 1 << 20
"""Clients that one table remembers; further ones are served, but not remembered."""

SETS = (
    SetSpec(FRONTENDS, "where a connection may arrive: gid << 12 | shape", _FRONTEND, (Field.MARK,)),
    SetSpec(OUTSIDE_FRONTENDS, "the same for sources outside this node, where it differs", _FRONTEND, (Field.MARK,)),
    SetSpec(ENDPOINTS, "gid << 12, slot (or number): where it goes", (Field.MARK, Field.MARK), (Field.ADDRESS, Field.PORT)),
    SetSpec(SLOTS, "gid << 12, slot: the endpoint's number, with affinity", (Field.MARK, Field.MARK), (Field.MARK,)),
    SetSpec(
        AFFINITY,
        "client, id << 13: the number of the endpoint it had",
        (Field.ADDRESS, Field.MARK),
        (Field.MARK,),
        size=LARGEST_AFFINITY,
    ),
    SetSpec(SHAPES, "the chain that picks one of so many slots", (Field.MARK,), (Field.VERDICT,)),
    SetSpec(OUTSIDE_SHAPES, "the same for outside-frontends", (Field.MARK,), (Field.VERDICT,)),
    SetSpec(RESTRICTED, "frontends that only some sources may reach", _FRONTEND),
    SetSpec(ALLOWED, "the sources that may reach them", (*_FRONTEND, Field.ADDRESS), interval=True),
    SetSpec(CLUSTER_IPS, "Services: a port that is no frontend is refused", (Field.ADDRESS,)),
    SetSpec(SERVICE_CIDRS, "addresses of Services or of nobody", (Field.ADDRESS,), interval=True),
    SetSpec(POD_CIDRS, "pods of this node", (Field.ADDRESS,), interval=True),
    SetSpec(POD_INTERFACES, "pods of this node come in here", (Field.INTERFACE,), interval=True),
    SetSpec(KEPT_SOURCES, "sources that cluster IPs leave as they are", (Field.ADDRESS,), interval=True),
    SetSpec(HAIRPINS, "local endpoints, which may reach themselves", (Field.ADDRESS, Field.ADDRESS)),
    SetSpec(MASQUERADED, "frontends that hide every source, pods too", _FRONTEND),
    SetSpec(TRANSPARENT, "frontends that hide no source but the node", _FRONTEND),
    SetSpec(UNTRACKED, "what this node answers itself", _FRONTEND),
)
SET_SPECS = {spec.name: spec for spec in SETS}

VERDICT_MAPS = frozenset(spec.name for spec in SETS if spec.is_verdict_map)
HELD_SETS = (CLUSTER_IPS, HAIRPINS)
"""Sets whose elements several Services may hold at once. All others' go with the owner of a frontend, or of a number."""

SHAPE_BITS = 12
"""Of a frontend's value; the upper 20 are the gid."""
INTERFACE_NAME_SIZE = 16


class Ruleset(Struct, frozen=True):
    """All that both tables hold. `skeleton` is the fingerprint of the fixed rules, '' when they are absent or not whole."""

    elements: Elements
    skeleton: str = ""


mark: Callable[[int], bytes] = struct.Struct("=I").pack
port: Callable[[int], bytes] = struct.Struct("!H2x").pack


def packed(text: str) -> bytes:
    """An address in canonical text form as 4 or 16 bytes. Raises ValueError."""
    if ":" in text:
        return ip_address(text).packed
    try:
        a, b, c, d = text.split(".")
        return bytes((OCTETS[a], OCTETS[b], OCTETS[c], OCTETS[d]))
    except (KeyError, ValueError):
        raise ValueError(f"not an address: {text!r}") from None


_PROTOCOLS = {protocol: struct.pack("B3x", number) for protocol, number in PROTOCOL_NUMBERS.items()}


def frontend(where: str, protocol: Protocol, number: int) -> bytes:
    """A key of `frontends`. Raises ValueError."""
    return packed(where) + _PROTOCOLS[protocol] + port(number)


def address_of(frontend_: bytes) -> bytes:
    """The address in a key of `frontends`."""
    return frontend_[:-8]


_ENDPOINT = struct.Struct("!4BH2x").pack


def endpoint(where: str, number: int) -> bytes:
    """Data of `endpoints`. Raises ValueError."""
    try:  # as packed(where) + port(number) says, in one step
        a, b, c, d = where.split(".")
        return _ENDPOINT(OCTETS[a], OCTETS[b], OCTETS[c], OCTETS[d], number)
    except (KeyError, ValueError):
        return packed(where) + port(number)


def intervals(cidrs: Iterable[str], family: Family) -> dict[bytes, bytes]:
    """The ranges of one family as elements of an interval set, overlapping ones joined (the kernel refuses overlaps)."""
    networks = [ip_network(cidr, strict=False) for cidr in cidrs]
    v4 = [each for each in networks if isinstance(each, IPv4Network)]
    v6 = [each for each in networks if isinstance(each, IPv6Network)]
    joined: Iterable[IPv4Network | IPv6Network] = collapse_addresses(v4) if family is Family.IPV4 else collapse_addresses(v6)
    return {each.network_address.packed + each.broadcast_address.packed: b"" for each in joined}


def interfaces(names: Iterable[str]) -> dict[bytes, bytes]:
    """Names of interfaces, and prefixes of them ('veth*'), as elements of an interval set, overlapping ones joined.

    Raises ValueError.
    """
    names = tuple(names)
    prefixes = [name[:-1] for name in names if name.endswith("*")]
    found = {}
    for name in names:
        stem, is_prefix = name.removesuffix("*"), name.endswith("*")
        raw = stem.encode()
        if not 0 < len(raw) < INTERFACE_NAME_SIZE:
            raise ValueError(f"not an interface's name, nor a prefix of one: {name!r}")
        if not any(stem.startswith(each) for each in prefixes if not is_prefix or each != stem):
            first = raw.ljust(INTERFACE_NAME_SIZE, b"\0")
            found[first + (raw.ljust(INTERFACE_NAME_SIZE, b"\xff") if is_prefix else first)] = b""
    return found


def unpack(family: str, fields: tuple[Field, ...], data: bytes) -> tuple[str | int, ...]:
    """The fields of a key or of data, for people: addresses as text, the rest as numbers."""
    values: list[str | int] = []
    offset = 0
    for field in fields:
        match field:
            case Field.ADDRESS:
                width = 4 if family == "ip" else 16
                values.append(str(ip_address(data[offset : offset + width])))
                offset += width
            case Field.PROTOCOL:
                values.append(data[offset])
                offset += 4
            case Field.PORT:
                values.append(int.from_bytes(data[offset : offset + 2], "big"))
                offset += 4
            case Field.MARK:
                values.append(int.from_bytes(data[offset : offset + 4], sys.byteorder))
                offset += 4
            case Field.INTERFACE:
                name = data[offset : offset + INTERFACE_NAME_SIZE]
                values.append(name.rstrip(b"\0\xff").decode() + ("*" if name.endswith(b"\xff") else ""))
                offset += INTERFACE_NAME_SIZE
            case Field.VERDICT:
                values.append(data.decode())
    return tuple(values)
