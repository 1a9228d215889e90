"""How is an address written so that equal ones are equal?"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, ip_address

_CANONICAL_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}")


@lru_cache(maxsize=65536)
def canonical(address: str) -> str:
    """The one text form of an address (RFC 5952 for IPv6). Raises ValueError.

    Old objects may hold IPv4 addresses with leading zeros, read as decimal, and IPv4-mapped IPv6 (KEP-4858 forbids only new
    ones), so readers normalise.
    """
    if _CANONICAL_IPV4.fullmatch(address):
        return address
    if ":" not in address:
        return str(IPv4Address(".".join(str(int(part)) for part in address.split("."))))
    parsed = ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)
