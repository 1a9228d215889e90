"""What does a ClusterIP mean for packets? An address inside the cluster only, the same on every node.

Every type that has a cluster IP (ClusterIP, NodePort, LoadBalancer) has these frontends. The arms follow the table of
kube-proxy: a pod of this node keeps its address; the node itself and whoever comes from outside are masqueraded, so that the
answers come back through this node. externalTrafficPolicy never matters here.
"""

from mooring.endpoints.select import Pools
from mooring.model.service import Service, ServicePortSpec
from mooring.services import traffic_policy
from mooring.services.view import Entry, Family, Frontend, Masquerade


def addresses(service: Service, family: Family) -> tuple[str, ...]:
    """The Service's cluster IPs of one family; none when headless or not yet allocated."""
    separator = ":" if family is Family.IPV6 else "."
    return tuple(ip for ip in all_addresses(service) if separator in ip)


def all_addresses(service: Service) -> tuple[str, ...]:
    """The Service's cluster IPs of both families, the primary first."""
    spec = service.spec
    return tuple(ip for ip in spec.cluster_ips or (spec.cluster_ip,) if ip not in ("", "None"))


def frontends(service: Service, port: ServicePortSpec, family: Family, pools: Pools) -> tuple[Frontend, ...]:
    arm = traffic_policy.arm(service.spec.internal_traffic_policy, pools, Masquerade.HAIRPIN)
    away = traffic_policy.arm(service.spec.internal_traffic_policy, pools, Masquerade.ALWAYS)
    return tuple(
        Frontend(Entry.CLUSTER_IP, address, port.port, pod=arm, node=away, outside=away)
        for address in addresses(service, family)
    )
