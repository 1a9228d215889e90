"""Which node port? Pure choice in the node port range; a number belongs to one Service, whatever the protocol."""

from collections.abc import Callable, Container

from mooring.alloc.bands import node_port_offset
from mooring.alloc.choice import pick
from mooring.alloc.rng import Rng


def choose(
    port_range: tuple[int, int], taken: Callable[[int], bool], scan: Callable[[], Container[int]], rng: Rng
) -> int | None:
    """A free port of the range (both ends belong to it), or None when it is full."""
    low, high = port_range[0], port_range[1] + 1
    return pick(low, high, low + node_port_offset(high - low), taken, scan, rng)
