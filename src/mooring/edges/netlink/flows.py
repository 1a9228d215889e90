"""How do the outside's TCP connections stay with the node they began at, however its routes change?

A route by several nodes spreads connections by a hash, and any change of the nodes moves some of them to a node that knows
nothing of them. So the outside remembers: a SYN takes whichever way the routes say, and conntrack notes the node; every other
packet of the connection goes to that node again, by a mark and a routing table for each node, until the connection ends. It is
what a load balancer's connection tracking does. A datagram always takes the way the routes say now.

The kernel's own means, resilient next-hop groups, were measured too: they go by when a bucket was last looked up, a local
socket looks its way up once, and so a node that joined took over connections that were in use.
"""

import json
import subprocess
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address

from mooring.edges.netlink import namespaces

TABLE = "connections"
FIRST = 1000
"""The mark, the routing table and the rule's preference of the first node."""


class FlowError(Exception):
    """The kernel refused: what it said."""


def ruleset(nodes: Sequence[str]) -> str:
    """For `nft -f`: replaces the table as a whole. Marks that conntrack holds stay."""
    maps, notes = "", ""
    for version, word in ((4, "ip"), (6, "ip6")):
        if marks := ", ".join(f"{address} : {FIRST + place}" for place, address in _of(version, nodes)):
            maps += f"map nodes{version} {{ typeof rt {word} nexthop : ct mark; elements = {{ {marks} }} ; }}\n  "
            notes += f"ct mark set rt {word} nexthop map @nodes{version}\n    "
    return f"""
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  {maps}
  chain begins {{
    ct mark set 0
    {notes}
  }}
  chain output {{
    type route hook output priority mangle
    meta l4proto != tcp return
    tcp flags & (syn | ack) == syn goto begins
    ct mark != 0 meta mark set ct mark
  }}
}}
"""


def commands(version: int, nodes: Sequence[str], present: Sequence[int]) -> list[str]:
    """`ip -batch` lines for one family: a table for each node, and the rules whose preferences are not `present`."""
    lines = []
    for place, address in _of(version, nodes):
        number = FIRST + place
        lines.append(f"route replace default via {address} table {number}")
        if number not in present:
            lines.append(f"rule add pref {number} fwmark {number} lookup {number}")
    return lines


def _of(version: int, nodes: Sequence[str]) -> list[tuple[int, str]]:
    """The nodes of a family, numbered within it."""
    return [*enumerate(each for each in nodes if ip_address(each).version == version)]


def ensure(namespace: str, nodes: Sequence[str]) -> None:
    """Has `namespace` keep its connections to `nodes`, given by their addresses. Doing it again changes nothing.

    Raises FlowError.
    """
    for version in sorted({ip_address(each).version for each in nodes}):
        ip = ["ip", "-n", namespace, f"-{version}"]
        present = [each["priority"] for each in json.loads(_run([*ip, "-json", "rule"]) or "[]")]
        _run([*ip, "-batch", "-"], "\n".join(commands(version, nodes, present)) + "\n")
    namespaces.within(namespace, partial(_run, ["nft", "-f", "-"], ruleset(nodes)))


def _run(command: Sequence[str], lines: str = "") -> str:
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FlowError(f"`{' '.join(command)}` failed: {' '.join(done.stderr.split())}")
    return done.stdout
