"""How is an address or a range written so that equal ones are equal?

Old objects may hold IPv4 addresses with leading zeros, read as decimal, IPv4-mapped IPv6, and ranges with host bits or blanks
around them (KEP-4858 forbids only new ones), so readers normalise.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network

_LOOSE_IPV4 = re.compile(r"\d+(?:\.\d+){3}", re.ASCII)
_LOOSE_RANGE = re.compile(r"(.+)/(\d{1,3})", re.ASCII)

OCTETS = {str(number): number for number in range(256)}
"""The four parts that a canonical IPv4 address is made of, and what each stands for."""


def canonical(address: str) -> str:
    """The one text form of an address (RFC 5952 for IPv6). Raises ValueError."""
    try:  # nearly all are IPv4 and canonical: that is seen sooner than it is remembered
        a, b, c, d = address.split(".")
        if a in OCTETS and b in OCTETS and c in OCTETS and d in OCTETS:
            return address
    except ValueError:
        pass
    return _rewritten(address)


@lru_cache(maxsize=65536)
def _rewritten(address: str) -> str:
    try:
        if _LOOSE_IPV4.fullmatch(address):
            return str(IPv4Address(".".join(str(int(part)) for part in address.split("."))))
        parsed = IPv6Address(address)
    except ValueError:
        raise ValueError(f"{address!r} is no IP address") from None
    if parsed.scope_id:
        raise ValueError(f"{address!r} is an address of one link only")
    return str(parsed.ipv4_mapped or parsed)


@lru_cache(maxsize=4096)
def canonical_range(cidr: str) -> str:
    """The one text form of a range of addresses. Raises ValueError."""
    match = _LOOSE_RANGE.fullmatch(cidr.strip())
    try:
        if match is None:
            raise ValueError("no bits")
        address, bits = canonical(match[1]), int(match[2])
        if is_ipv6(match[1]) and not is_ipv6(address):
            bits -= 96
        return str(ip_network(f"{address}/{bits}", strict=False))
    except ValueError:
        raise ValueError(f"{cidr!r} is no range of addresses: say ADDRESS/BITS") from None


def readable(addresses: Iterable[str]) -> tuple[str, ...]:
    """Those of the addresses that can be read, canonical, each once, in their order."""
    found: dict[str, None] = {}
    for each in addresses:
        try:
            found[canonical(each)] = None
        except ValueError:
            continue
    return tuple(found)


def is_ipv6(address_or_range: str) -> bool:
    """Of a canonical one."""
    return ":" in address_or_range


@lru_cache(maxsize=65536)
def contains(cidr: str, address: str) -> bool:
    """Whether a canonical range holds a canonical address."""
    if is_ipv6(cidr) is not is_ipv6(address):
        return False
    return (IPv6Address(address) if is_ipv6(address) else IPv4Address(address)) in ip_network(cidr)
