"""How do pods of a local cluster get answers from outside? A node lends its address to what leaves the cluster.

It is what the CNI plugin of a real cluster does, and no part of the dataplane: a table of its own, whose chain comes after the
dataplane's. What a Service's rules masquerade has its source by then; what stays within the cluster keeps the pod's address.
"""

import subprocess
from collections.abc import Sequence
from functools import partial

from mooring.dataplane.egress import Egress
from mooring.edges.netlink import namespaces
from mooring.endpoints.addresses import is_ipv6

TABLE = "egress"


class EgressError(Exception):
    """The kernel refused: in which namespace, and what it said."""


def ruleset(wish: Egress) -> str:
    """For `nft -f`: replaces the table as a whole. Open connections keep the address that they were lent."""
    sets, rules = "", ""
    for ipv6, version, word in ((False, 4, "ip"), (True, 6, "ip6")):
        if pods := _of(ipv6, wish.pods):
            for name, ranges in ("pods", pods), ("inside", _of(ipv6, wish.inside)):
                elements = f"elements = {{ {', '.join(ranges)} }} ;"
                sets += f"set {name}{version} {{ type ipv{version}_addr; flags interval; {elements} }}\n  "
            rules += f"{word} saddr @pods{version} {word} daddr != @inside{version} masquerade fully-random\n    "
    return f"""
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  {sets}
  chain postrouting {{
    type nat hook postrouting priority srcnat + 10
    {rules}
  }}
}}
"""


def _of(ipv6: bool, ranges: Sequence[str]) -> list[str]:
    return [each for each in ranges if is_ipv6(each) is ipv6]


def ensure(namespace: str, wish: Egress) -> None:
    """Has the node with this namespace hide its pods so. Doing it again changes nothing.

    Raises EgressError.
    """
    load = partial(subprocess.run, ["nft", "-f", "-"], input=ruleset(wish), capture_output=True, text=True, check=False)
    done = namespaces.within(namespace, load)
    if done.returncode != 0:
        raise EgressError(f"{namespace}: `nft -f -` failed: {' '.join(done.stderr.split())}")
