"""Which part of a range is kept for static choices?

Dynamic choices come from the upper band first, so that a fixed address or port of the lower band is rarely taken (KEP-3070 for
cluster IPs, KEP-3668 for node ports). Any value may be asked for by hand.
"""


def cluster_ip_offset(size: int) -> int:
    """How many addresses at the low end are left to static choices: min(max(16, size/16), 256), none of 16 or less."""
    return _offset(size, step=16, most=256)


def node_port_offset(size: int) -> int:
    """How many ports at the low end are left to static choices: min(max(16, size/32), 128), none of 16 or less."""
    return _offset(size, step=32, most=128)


def _offset(size: int, step: int, most: int) -> int:
    least = 16
    return 0 if size <= least else min(max(least, size // step), most)
