"""Does a host mean the proxy's own machine, or what only that may ask? Nobody may be sent there.

A name that a resolver turns into such an address is not seen here: nothing listens on a proxy's loopback but its own listeners,
and a cloud's metadata service is best closed to pods by a NetworkPolicy.
"""

import ipaddress
import re

_METADATA = frozenset(("metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"))
"""What clouds call the service that gives a machine its credentials."""
_METADATA_ADDRESSES = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"))
)
"""Where it is, beside link-local addresses."""
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


def is_odd_address(host: str) -> bool:
    """Whether resolvers take it for an address in an unusual form (`127.1`, `2130706433`, `0x7f.1`), not for a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2].lower()) is not None
    return False


def is_inward(host: str) -> bool:
    """`host` is a name or an address, IPv6 with or without brackets, in any letter case."""
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith((".localhost", ".localdomain")) or host in _METADATA:
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address in _METADATA_ADDRESSES
    )
