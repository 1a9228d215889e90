"""Which address does a load balancer get? Pure choice in a pool: the one that is asked for, else the lowest that is free.

A pool is ranges of both families: CIDRs, of which neither the network nor the IPv4 broadcast address is given, and FIRST-LAST,
of which every address is. The lowest free one is chosen, not a random one: people type these addresses.
"""

from collections.abc import Container, Iterable, Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from msgspec import Struct

from mooring.alloc.cluster_ip import bounds

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Range(Struct, frozen=True):
    """Addresses of one family from `first` to `last`, both of which belong to it, and how its author wrote it."""

    version: int
    first: int
    last: int
    text: str

    @property
    def ends(self) -> tuple[Address, Address]:
        build = IPv4Address if self.version == 4 else IPv6Address
        return build(self.first), build(self.last)

    def without(self, network: Network) -> tuple["Range", ...]:
        """What is left of it: nothing, one part or two."""
        low, high = int(network.network_address), int(network.broadcast_address)
        if network.version != self.version or high < self.first or self.last < low:
            return (self,)
        parts = ((self.first, low - 1), (high + 1, self.last))
        return tuple(Range(self.version, first, last, self.text) for first, last in parts if first <= last)


class Pool(Struct, frozen=True):
    ranges: tuple[Range, ...] = ()

    def __contains__(self, address: Address) -> bool:
        return any(each.version == address.version and each.first <= int(address) <= each.last for each in self.ranges)

    def of(self, version: int) -> tuple[Range, ...]:
        return tuple(each for each in self.ranges if each.version == version)

    def text(self, version: int = 0) -> str:
        """As it was written; of one family, unless 0."""
        return ", ".join(dict.fromkeys(each.text for each in self.ranges if version in (0, each.version)))

    def without(self, networks: Iterable[Network]) -> "Pool":
        """The pool less the addresses that can never be a load balancer's."""
        ranges = self.ranges
        for network in networks:
            ranges = tuple(part for each in ranges for part in each.without(network))
        return Pool(ranges)


class Reason(Enum):
    """Why there is no address."""

    NO_RANGE = "NoRangeOfFamily"
    NO_FREE_ADDRESS = "NoFreeAddress"
    NOT_VALID = "AddressNotValid"
    NOT_IN_POOL = "AddressNotInPool"
    TAKEN = "AddressTaken"


class Refused(Struct, frozen=True):
    reason: Reason
    message: str


def parse(text: str) -> Pool:
    """'172.30.1.0/24,fd00::10-fd00::1f' as a pool; '' is the empty one. Raises ValueError, which names the part."""
    pool = Pool(tuple(_range(part.strip()) for part in text.split(",") if part.strip()))
    for place, one in enumerate(pool.ranges):
        for other in pool.ranges[:place]:
            if one.version == other.version and one.first <= other.last and other.first <= one.last:
                raise ValueError(f"{one.text} overlaps {other.text}")
    return pool


def _range(text: str) -> Range:
    first, dash, last = (part.strip() for part in text.partition("-"))
    if not dash:
        return _of_network(text)
    low, high = ip_address(first), ip_address(last)
    if low.version != high.version:
        raise ValueError(f"{text!r}: both ends must be of one family")
    if int(low) > int(high):
        raise ValueError(f"{text!r}: the first address comes after the last")
    return Range(low.version, int(low), int(high), f"{low}-{high}")


def _of_network(text: str) -> Range:
    network = ip_network(text)
    low, high, _ = bounds(network)
    if low == high:  # too small to spare any
        low, high = int(network.network_address), int(network.broadcast_address) + 1
    return Range(network.version, low, high - 1, str(network))


def choose(pool: Pool, version: int, taken: Container[int]) -> Address | Refused:
    """The lowest free address of a family. `taken` holds addresses of that family as numbers."""
    ranges = pool.of(version)
    if not ranges:
        return Refused(Reason.NO_RANGE, f"no IPv{version} range in the pool")
    build = IPv4Address if version == 4 else IPv6Address
    in_use = 0
    for each in ranges:
        number = each.first
        while number <= each.last and number in taken:
            number += 1
        if number <= each.last:
            return build(number)
        in_use += each.last - each.first + 1
    return Refused(Reason.NO_FREE_ADDRESS, f"no free address in {pool.text(version)}; {in_use} in use")


def ask(pool: Pool, address: Address, taken: Mapping[int, str]) -> Address | Refused:
    """This very address. `taken` says of each taken one, in words, whose it is."""
    if address not in pool:
        where = pool.text(address.version) or f"no IPv{address.version} range"
        return Refused(Reason.NOT_IN_POOL, f"{address} is not in the pool ({where})")
    if holder := taken.get(int(address)):
        return Refused(Reason.TAKEN, f"{address} is {holder}")
    return address
