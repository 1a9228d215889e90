"""What must this node do with packets to Services? The NodeView: the waist between Services and packets.

Everything that Services, EndpointSlices, Nodes and ServiceCIDRs mean for one node's packets meets in this frozen value. It
names no Kubernetes type and no nftables one. It has three readers: the compiler to nftables (dataplane/compile.py), the
simulator (dataplane/trace.py) and people (`mooring trace`, `explain`).
"""

from collections.abc import Mapping

from msgspec import Struct

from mooring.endpoints.select import Endpoint as Endpoint
from mooring.model.choice import Choice


class Family(Choice):
    IPV4 = "IPv4"
    IPV6 = "IPv6"


class Protocol(Choice):
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class Entry(Choice):
    """Through which door of a Service a packet comes."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_IP = "ExternalIP"


class Verdict(Choice):
    FORWARD = "forward"
    REJECT = "reject"
    DROP = "drop"


class Pool(Choice):
    """Which of a service port's two endpoint lists an arm chooses from."""

    CLUSTER = "cluster"
    LOCAL = "local"


class Masquerade(Choice):
    """When the source becomes the node's address. A hairpin (a pod reaching itself) is always masqueraded."""

    HAIRPIN = "hairpin"
    ALWAYS = "always"


class Reason(Choice):
    """Why an arm decides as it does; the value is the sentence a person reads."""

    ENDPOINTS = "endpoints are ready"
    SAME_NODE = "endpoints are ready, and of them those hinted for this node are used"
    SAME_ZONE = "endpoints are ready, and of them those hinted for this node's zone are used"
    TERMINATING_ENDPOINTS = "no endpoint is ready, so terminating endpoints that still serve are used"
    NO_ENDPOINTS = "the Service has no usable endpoint on any node"
    NO_LOCAL_ENDPOINTS = "the traffic policy is Local and this node has no usable endpoint, though others have"


class Arm(Struct, frozen=True, gc=False, cache_hash=True):
    """What happens to packets of one traffic source at one frontend. There are few, and many frontends have the same."""

    verdict: Verdict
    reason: Reason
    pool: Pool = Pool.CLUSTER
    masquerade: Masquerade = Masquerade.HAIRPIN


class Frontend(Struct, frozen=True, gc=False):
    """An address and port at which a service port is reached, with one arm per traffic source (DESIGN 3.4).

    A node port is a frontend at each of the node's addresses that answer node ports. `pod`: from a pod on this node; `node`:
    from the node itself; `outside`: from anywhere else, other nodes' pods included.
    """

    entry: Entry
    address: str
    port: int
    pod: Arm
    node: Arm
    outside: Arm
    allowed: tuple[str, ...] | None = None
    """Sources that may reach it, as CIDRs; all others are dropped before anything else. None: everyone may."""
    allowed_by: str = ""
    """The field that says so, for people; '' where it is the address itself: a loopback address is the node's alone."""


class ServicePortName(Struct, frozen=True, gc=False):
    """Names a service port of one family for its whole life. `port` is the port's name, '' for a single unnamed port."""

    namespace: str
    service: str
    port: str
    protocol: Protocol
    family: Family


class ServicePort(Struct, frozen=True, gc=False):
    """All that one port of one Service means on this node, for one family.

    `cluster` and `local` are the usable endpoints of the two pools, sorted by (address, port), without duplicates.
    `affinity` is the ClientIP session affinity's timeout in seconds, 0 for none. `retained` are endpoints that still serve but
    get no new connections from here (draining, or left to other zones): flows to them go on.
    """

    name: ServicePortName
    frontends: tuple[Frontend, ...]
    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    affinity: int = 0
    retained: tuple[Endpoint, ...] = ()


class Answering(Struct, frozen=True):
    """Where a server of the node's own answers. `address` in canonical text form."""

    address: str
    port: int
    protocol: Protocol


ServiceName = tuple[str, str]
"""(namespace, name)"""


class NodeView(Struct, frozen=True):
    """The whole wish for one node. `services` maps each proxied Service to its ports; headless and ExternalName have none."""

    node: str
    services: Mapping[ServiceName, tuple[ServicePort, ...]]
    service_cidrs: tuple[str, ...]
    """Addresses here that no Service owns are dropped."""
    pod_cidrs: tuple[str, ...]
    """Sources here are this node's pods (kube-proxy's LocalTrafficDetector, modes NodeCIDR and ClusterCIDR)."""
    node_addresses: tuple[str, ...]
    """This node's own addresses, as its status names them."""
    pod_interfaces: tuple[str, ...] = ()
    """What comes in here is from this node's pods (modes BridgeInterface and InterfaceNamePrefix); 'veth*' is a prefix."""
    zone: str = ""
    pods_by: str = "spec.podCIDRs"
    """Where pod_cidrs or pod_interfaces are written, for people: a field or an option; '' when pods are not detected."""
    answered_here: tuple[Answering, ...] = ()
    """What this node answers itself, at addresses it holds (cluster DNS). No Service's rule meets these packets, and they are
    not tracked: a lookup must neither race for an entry of conntrack nor fill its table."""

    def detects_pods(self, family: Family) -> bool:
        """Whether pods of this family are told from the outside at all. If not, they count as outside, and nobody is
        masqueraded at cluster IPs for where he comes from."""
        separator = ":" if family is Family.IPV6 else "."
        return bool(self.pod_interfaces) or any(separator in cidr for cidr in self.pod_cidrs)
