"""What does a node tell the balancer in front of a Service? Whether, and how many, endpoints it has itself.

Only a load balancer with externalTrafficPolicy Local has a healthCheckNodePort: its balancer must know which nodes to use.
Endpoints that are ready count; those that terminate do not, though they may still get traffic, so that a node is left in time.
"""

from collections.abc import Sequence

from msgspec import Struct

from mooring.endpoints.select import candidates
from mooring.model.discovery import EndpointSlice
from mooring.model.service import Service
from mooring.services import traffic_policy
from mooring.services.locality import Locality
from mooring.services.proxied import is_proxied, is_read
from mooring.services.view import Family


class HealthCheck(Struct, frozen=True):
    """What is asked for at `port` of this node, and how many ready endpoints of the Service are here."""

    namespace: str
    service: str
    port: int
    local_endpoints: int


def health_check(service: Service, slices: Sequence[EndpointSlice], here: Locality) -> HealthCheck | None:
    """None for a Service that asks for none.

    An endpoint counts once however many ports it serves, and a pod with an address of each family once.
    """
    spec = service.spec
    asked = spec.type == "LoadBalancer" and spec.external_traffic_policy == traffic_policy.LOCAL
    if not asked or not 0 < spec.health_check_node_port < 65536 or not is_proxied(service):
        return None
    read = [each for each in slices if is_read(each)]
    local = {
        family: {
            found.endpoint.address
            for port in spec.ports or ()
            for found in candidates(read, family.value, port.name, port.protocol, here.node)
            if found.ready and found.endpoint.local
        }
        for family in Family
    }
    count = max(len(addresses) for addresses in local.values())
    return HealthCheck(service.metadata.namespace, service.metadata.name, spec.health_check_node_port, count)
