"""From whom does a node hide its pods: from whoever is outside of the cluster?

Outside nobody has a route to pods, so a packet that leaves the cluster carries the node's address. In a real cluster the CNI
plugin or ip-masq-agent does that, in a local one `edges.netlink.egress`. It is no Service's business: the simulator's answer
"sees the client's address" is what a Service's rules do.
"""

from msgspec import Struct

from mooring.endpoints.addresses import contains


class Egress(Struct, frozen=True):
    """Canonical ranges: of the pods, and of all who see pods as they are, pods among them. `inside` may hold addresses too.
    No two overlap.
    """

    pods: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()

    def hides(self, source: str, destination: str) -> bool:
        """Whether a packet with these canonical addresses, as it leaves the node, gets the node's as its source."""
        from_pod = any(contains(each, source) for each in self.pods)
        return from_pod and not any(contains(each, destination) for each in self.inside)
