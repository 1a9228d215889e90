"""From which range does each node number its Pods? (upstream: pkg/controller/nodeipam, the range allocator)"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from mooring.control.amend import amend
from mooring.control.reconciler import NOTHING, Change, Document, Key, Plan, Report, World
from mooring.model.kinds import NODE

Network = IPv4Network | IPv6Network
PREFIX = {4: 24, 6: 64}


class PodCidrs:
    """Serial: two nodes planned from one view would get the same range."""

    name = "node-ipam"
    watches = (NODE,)
    serial = True

    def __init__(self, cidrs: Sequence[str] = ("10.244.0.0/16",), prefix: dict[int, int] = PREFIX) -> None:
        """`cidrs` are the cluster's, one per family; each node gets a subnet of `prefix[version]` bits out of each."""
        self._ranges = tuple((network, prefix[network.version]) for network in map(ip_network, cidrs))

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        if change.after is not None:
            return [("", change.after["metadata"]["name"])]
        return [("", each["metadata"]["name"]) for each in world.list(NODE) if not _assigned(each)]

    def plan(self, key: Key, world: World) -> Plan:
        node = world.get(NODE, *key)
        if node is None or node["metadata"].get("deletionTimestamp") or _assigned(node):
            return NOTHING
        taken = [network for each in world.list(NODE) for cidr in _assigned(each) if (network := _network(cidr))]
        chosen = [_first_free(network, prefix, taken) for network, prefix in self._ranges]
        if None in chosen:
            message = f"Node {key[1]} status is now: CIDRNotAvailable"
            return Plan(reports=(Report(node, "Normal", "CIDRNotAvailable", message),))
        cidrs = [str(each) for each in chosen]
        spec = {**(node.get("spec") or {}), "podCIDR": cidrs[0], "podCIDRs": cidrs}
        return Plan(amend(NODE, node, {**node, "spec": spec}))


def _assigned(node: Document) -> list[str]:
    spec = node.get("spec") or {}
    return spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])


def _network(cidr: str) -> Network | None:
    """None for what is no range: one node's must not keep the others from theirs."""
    try:
        return ip_network(cidr, strict=False)
    except ValueError:
        return None


def _first_free(network: Network, prefix: int, taken: Iterable[Network]) -> Network | None:
    """The lowest subnet that overlaps none of the taken ones; those of other sizes count too."""
    size = 1 << (network.max_prefixlen - prefix)
    start = int(network.network_address)
    used: set[int] = set()
    count = 1 << (prefix - network.prefixlen)
    for each in taken:
        if each.version == network.version and each.overlaps(network):
            first = (int(each.network_address) - start) // size
            used.update(range(max(first, 0), min((int(each.broadcast_address) - start) // size + 1, count)))
    free = next((number for number in range(count) if number not in used), None)
    return None if free is None else type(network)((start + free * size, prefix))
