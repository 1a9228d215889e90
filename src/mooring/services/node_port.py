"""What does a node port mean for packets? One number, the same at every node's addresses, for whoever can reach the node.

It is a frontend at each address where this node answers node ports (`nodeport-addresses`); another port of the address is not
a Service's business. It follows externalTrafficPolicy, and no source ranges. A loopback address answers the node itself alone:
others send to it only by forging, and the kernel looks at our rules before it looks at that.
"""

from collections.abc import Iterator
from functools import lru_cache

from mooring.endpoints.addresses import is_ipv6
from mooring.endpoints.select import Pools
from mooring.model.service import Service, ServicePortSpec
from mooring.services import traffic_policy
from mooring.services.locality import LOOPBACK, Locality
from mooring.services.view import Entry, Family, Frontend

_LOOPBACK_RANGE = "127.0.0.0/8"


def frontends(service: Service, port: ServicePortSpec, family: Family, pools: Pools, here: Locality) -> Iterator[Frontend]:
    """None while no node port is allocated, as for a load balancer that does without (allocateLoadBalancerNodePorts)."""
    if not 0 < port.node_port < 65536:
        return
    arms = traffic_policy.external(service.spec.external_traffic_policy, pools, here, family)
    ipv6 = family is Family.IPV6
    for address in here.node_port_addresses:
        if is_ipv6(address) is ipv6:
            allowed = _itself(here) if address == LOOPBACK[Family.IPV4] else None
            yield Frontend(Entry.NODE_PORT, address, port.node_port, arms.pod, arms.node, arms.outside, allowed)


@lru_cache
def _itself(here: Locality) -> tuple[str, ...]:
    """Every address from which the node can speak to its loopback."""
    return _LOOPBACK_RANGE, *(f"{address}/32" for address in here.addresses if not is_ipv6(address))
