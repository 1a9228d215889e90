"""What do a load balancer's addresses mean for packets? This node answers for them itself, as long as the balancer lets it.

Addresses come from status.loadBalancer.ingress, whoever wrote it. ipMode VIP, the default, says that packets arrive with the
address still in them: the node is a short way for everybody in it, and the balancer's packets are served. ipMode Proxy says
that the balancer ends connections itself, so its address is left alone; so is a hostname. The frontends follow
externalTrafficPolicy and the Service's source ranges.
"""

from collections.abc import Iterator

from mooring.endpoints.select import Pools
from mooring.model.service import Service, ServicePortSpec
from mooring.services import external_ip, source_ranges, traffic_policy
from mooring.services.locality import Locality
from mooring.services.view import Entry, Family, Frontend

VIP = "VIP"


def addresses(service: Service, family: Family) -> tuple[str, ...]:
    """The addresses that this node answers for."""
    ingress = service.status.load_balancer.ingress or ()
    return external_ip.leadable((each.ip for each in ingress if each.ip and (each.ip_mode or VIP) == VIP), family)


def frontends(service: Service, port: ServicePortSpec, family: Family, pools: Pools, here: Locality) -> Iterator[Frontend]:
    found = addresses(service, family)
    if not found:
        return
    arms = traffic_policy.external(service.spec.external_traffic_policy, pools, here, family)
    allowed, by = source_ranges.allowed(service, family, here, found)
    for address in found:
        yield Frontend(Entry.LOAD_BALANCER, address, port.port, arms.pod, arms.node, arms.outside, allowed, by)
