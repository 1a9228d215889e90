"""Which cluster IP? Pure choice in the ranges of the ready ServiceCIDRs, which may overlap."""

from collections.abc import Callable, Container, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from mooring.alloc.bands import cluster_ip_offset
from mooring.alloc.choice import pick
from mooring.alloc.rng import Rng

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

FAMILIES = {4: "IPv4", 6: "IPv6"}


@lru_cache(256)
def bounds(network: Network) -> tuple[int, int, int]:
    """(low, high, split) of a range as whole numbers: neither the network address nor the IPv4 broadcast address is ever given.

    The lower band starts at the first address that may be given (KEP-3070: 10.0.0.1 to 10.0.0.16 of a /24).
    """
    first = int(network.network_address)
    size = network.num_addresses
    low, high = first + 1, first + size - (1 if network.version == 4 else 0)
    if size <= 2:  # /31, /32, /127, /128 have no room left by those rules
        return first, first, first
    return low, high, min(low + cluster_ip_offset(size), high)


def contains(network: Network, address: Address) -> bool:
    """Whether the address may be given from this range."""
    if network.version != address.version:
        return False
    low, high, _ = bounds(network)
    return low <= int(address) < high


def first_address(network: Network) -> Address:
    """The one kept for the API server's own Service."""
    return network[1] if network.num_addresses > 1 else network[0]


def choose(
    networks: Sequence[Network], taken: Callable[[str], bool], scan: Callable[[], Container[int]], rng: Rng
) -> str | None:
    """A free address of the first range that has one, canonical; all ranges are of one family. None when all are full.

    `taken` is asked with canonical text; `scan` lists the taken addresses of that family as numbers.
    """
    for network in networks:
        text = _text_4 if network.version == 4 else _text_6
        low, high, split = bounds(network)
        if (number := pick(low, high, split, lambda n, text=text: taken(text(n)), scan, rng)) is not None:  # type: ignore[misc]
            return text(number)
    return None


def _text_4(number: int) -> str:
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _text_6(number: int) -> str:
    return str(IPv6Address(number))


def canonical(text: str) -> str:
    """The one name of an address, e.g. as the IPAddress object is called. Raises ValueError."""
    return str(ip_address(text))
