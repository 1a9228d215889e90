"""How do pods of a local cluster get answers from outside? A node lends its address to what leaves the cluster.

It is what the CNI plugin of a real cluster does, and no part of the dataplane: a table of its own, whose chain comes after the
dataplane's. What a Service's rules masquerade has its source by then; what stays within the cluster keeps the pod's address.

The same is decided in two chains, as a destination is, and by rules alone (decision 0016): a packet that a replacement of the
table overtakes finds no rule in the first, and a new set's ranges come to be seen after the rules that ask for them. What found
nothing at its first packet would go on with the pod's address.
"""

import subprocess
from collections.abc import Sequence
from functools import partial

from mooring.dataplane.egress import Egress
from mooring.edges.netlink import namespaces
from mooring.endpoints.addresses import is_ipv6

TABLE = "egress"
CHAINS = (("postrouting", 10), ("postrouting-again", 11))
"""With their distances to srcnat."""


class EgressError(Exception):
    """The kernel refused: in which namespace, and what it said."""


def ruleset(wish: Egress) -> str:
    """For `nft -f`: replaces the table as a whole. Open connections keep the address that they were lent."""
    rules = ""
    for ipv6, word in ((False, "ip"), (True, "ip6")):
        if pods := _of(ipv6, wish.pods):
            rules += "".join(f"{word} daddr {each} accept\n    " for each in _of(ipv6, wish.inside))
            rules += "".join(f"{word} saddr {each} masquerade fully-random\n    " for each in pods)
    chains = "".join(
        f"chain {name} {{\n    type nat hook postrouting priority srcnat + {priority}\n    {rules}\n  }}\n  "
        for name, priority in CHAINS
    )
    return f"""
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  {chains}
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
