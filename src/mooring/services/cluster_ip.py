"""What does a ClusterIP mean for packets? An address inside the cluster only, the same on every node.

Every type that has a cluster IP (ClusterIP, NodePort, LoadBalancer) has these frontends. They follow internalTrafficPolicy;
externalTrafficPolicy and source ranges never matter here.
"""

from collections.abc import Iterator

from mooring.endpoints.addresses import is_ipv6, readable
from mooring.endpoints.select import Pools
from mooring.model.service import Service, ServicePortSpec
from mooring.services import traffic_policy
from mooring.services.locality import Locality
from mooring.services.view import Entry, Family, Frontend

_FAMILIES = ((False, Family.IPV4), (True, Family.IPV6))


def addresses(service: Service, family: Family) -> tuple[str, ...]:
    """The Service's cluster IPs of one family; none when headless or not yet allocated."""
    ipv6 = family is Family.IPV6
    return tuple([ip for ip in all_addresses(service) if is_ipv6(ip) is ipv6])


def families(service: Service) -> tuple[Family, ...]:
    """Those that the Service has an address of, IPv4 first."""
    versions = {is_ipv6(ip) for ip in all_addresses(service)}
    return tuple([family for ipv6, family in _FAMILIES if ipv6 in versions])


def all_addresses(service: Service) -> tuple[str, ...]:
    """The Service's cluster IPs of both families, canonical, the primary first."""
    spec = service.spec
    return readable(spec.cluster_ips or (spec.cluster_ip,))


def frontends(service: Service, port: ServicePortSpec, family: Family, pools: Pools, here: Locality) -> Iterator[Frontend]:
    arms = traffic_policy.internal(service.spec.internal_traffic_policy, pools, here, family)
    for address in addresses(service, family):
        yield Frontend(Entry.CLUSTER_IP, address, port.port, arms.pod, arms.node, arms.outside)
