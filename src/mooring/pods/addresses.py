"""Which address of a node's range comes next?"""

from collections.abc import Container
from ipaddress import ip_address, ip_network


def next_address(text: str, used: Container[str], last: str) -> str:
    """The first free address after `last`, wrapping around; `last` is '' at first. Raises LookupError when the range is full.

    Going round keeps an address out of use as long as the range allows, so that late packets to a pod that has gone
    do not reach another. The first address (network), the second (by habit the gateway) and an IPv4 range's last stay out.
    """
    network = ip_network(text)
    first, end = int(network[0]) + 2, int(network[-1]) - (1 if network.version == 4 else 0)
    size = end - first + 1
    start = first
    if last and ip_address(last) in network:
        start = int(ip_address(last)) + 1
    for step in range(min(size, 1 << 20)):
        candidate = str(type(network[0])(first + (start - first + step) % size))
        if candidate not in used:
            return candidate
    raise LookupError(f"no free address in {text}")
