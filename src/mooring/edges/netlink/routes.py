"""Which routes lead from a node to the pods of the other nodes, and how does the kernel get any routes of ours?

The way to pods follows from the Node objects alone: each range in another node's spec.podCIDRs, by way of that node's internal
address of the same family. All routes of ours carry a protocol number of their own (see `ip route`, rt_protos), so that reading
back finds exactly them.
"""

import asyncio
import contextlib
import ipaddress
import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from mooring.model.node import Node

PROTOCOL = "77"
"""Marks routes as ours; any number above 4 (static) that no routing daemon has registered would do."""


class Route(Struct, frozen=True, order=True):
    """Packets for `range` go to the neighbours `via`, spread over them; canonical text, '10.244.1.0/24' and '172.30.0.12'.

    The neighbours are sorted as text.
    """

    range: str
    via: tuple[str, ...]

    @property
    def line(self) -> str:
        """For `ip route replace`."""
        hops = [f"via {each}" for each in self.via]
        return f"{self.range} proto {PROTOCOL} {hops[0] if len(hops) == 1 else ' '.join(f'nexthop {hop}' for hop in hops)}"


class RouteError(Exception):
    """The kernel refused: which line, what it said."""


def routes(nodes: Iterable[Node], me: str) -> frozenset[Route]:
    """The routes node `me` needs. A node without a range or without an address of the range's family gets none yet."""
    return frozenset(
        Route(str(network), (str(address),))
        for node in nodes
        if node.metadata.name != me
        for network in _ranges(node)
        for address in [ip for ip in map(ipaddress.ip_address, node.internal_ips) if ip.version == network.version][:1]
    )


def _ranges(node: Node) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Those that can be read: one node's must not cost the others their routes."""
    for text in node.spec.pod_cidrs or (node.spec.pod_cidr,) * bool(node.spec.pod_cidr):
        with contextlib.suppress(ValueError):
            yield ipaddress.ip_network(text)


def changes(have: Iterable[Route], want: Iterable[Route]) -> tuple[str, ...]:
    """The `ip -batch` lines that turn one into the other: replacements first, so that no wanted range is ever without a
    route.
    """
    have, want = frozenset(have), frozenset(want)
    kept = {route.range for route in want}
    return (
        *(f"route replace {route.line}" for route in sorted(want - have)),
        *(f"route delete {route.range} proto {PROTOCOL}" for route in sorted(have - want) if route.range not in kept),
    )


async def apply(want: Iterable[Route], namespace: str = "") -> int:
    """Makes our routes in `namespace`, or this process's own, exactly `want`; returns how many lines that took.

    Raises RouteError.
    """
    lines = changes(await present(namespace), want)
    if lines:
        await _ip(namespace, ("-force", "-batch", "-"), "\n".join(lines) + "\n")
    return len(lines)


async def present(namespace: str = "") -> frozenset[Route]:
    """Our routes, as the kernel has them now. Raises RouteError."""
    found = []
    for family in ("-4", "-6"):
        listing = await _ip(namespace, ("-json", family, "route", "show", "proto", PROTOCOL), "")
        for row in json.loads(listing or "[]"):
            hops = row.get("nexthops") or [row]
            found.append(Route(str(ipaddress.ip_network(row["dst"])), tuple(sorted(hop.get("gateway", "") for hop in hops))))
    return frozenset(found)


async def _ip(namespace: str, arguments: Sequence[str], lines: str) -> str:
    """In a thread: the process lives for two milliseconds, and subprocess.run keeps its pipes in order."""
    command = ["ip", *(("-n", namespace) if namespace else ()), *arguments]
    done = await asyncio.to_thread(subprocess.run, command, input=lines, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RouteError(" ".join(done.stderr.split()))
    return done.stdout
