"""Under which names does a Service publish what? Answers of each type of Service for the cluster's DNS.

A Service with a cluster IP publishes that, its ports, and its ready endpoints under names of their own; a headless one its
ready endpoints; an ExternalName another name. Source: Kubernetes DNS specification 1.1.0; CoreDNS's kubernetes plugin.
"""

from collections.abc import Sequence

from msgspec import Struct

from mooring.endpoints.addresses import readable
from mooring.model.discovery import EndpointSlice
from mooring.model.service import Service
from mooring.services import cluster_ip, headless
from mooring.services.endpoint_names import NamedPort as NamedPort
from mooring.services.endpoint_names import PublishedEndpoint as PublishedEndpoint
from mooring.services.endpoint_names import dashed, endpoints


class PublishedService(Struct, frozen=True, gc=False):
    """`addresses`: cluster IPs, the primary first, none when headless. `alias`: the other name, '' but for ExternalName.

    Only what shows in names is here: `ports` go with `addresses` or `external`, those of `endpoints` with a headless Service.
    `external`: addresses by which the outside reaches it; `external_hosts`: names of balancers that do.
    """

    addresses: tuple[str, ...] = ()
    ports: tuple[NamedPort, ...] = ()
    endpoints: tuple[PublishedEndpoint, ...] = ()
    alias: str = ""
    external: tuple[str, ...] = ()
    external_hosts: tuple[str, ...] = ()

    @property
    def headless(self) -> bool:
        return not self.addresses and not self.alias

    @property
    def exists(self) -> bool:
        """A headless Service without ready endpoints has no name (specification 2.4.1)."""
        return bool(self.addresses or self.alias or self.endpoints)


def published(service: Service, slices: Sequence[EndpointSlice], *, pod_names: bool = False) -> PublishedService:
    """All that one Service publishes now. `pod_names`: endpoints without a hostname are named by their pods."""
    spec, balancers = service.spec, service.status.load_balancer.ingress or ()
    external: tuple[str, ...] = ()
    if spec.external_ips or balancers:
        external = readable((*(spec.external_ips or ()), *(each.ip for each in balancers if each.ip)))
    hosts = tuple([each.hostname for each in balancers if each.hostname])
    ports = tuple([NamedPort(each.name.lower(), each.protocol.lower(), each.port) for each in spec.ports or ()])
    if spec.type == "ExternalName":
        return PublishedService((), ports if external else (), (), spec.external_name, external, hosts)
    addresses = () if headless.is_headless(service) else cluster_ip.all_addresses(service)
    if not addresses:
        return PublishedService((), ports if external else (), endpoints(slices, pod_names), "", external, hosts)
    return PublishedService(addresses, ports, endpoints(slices, pod_names, with_ports=False), "", external, hosts)


def told(found: PublishedService) -> dict[str, tuple[str, ...]]:
    """What people want to hear: addresses by host, '' for the Service's own name, and of a headless one's endpoints those
    with a name that somebody chose.
    """
    by_host: dict[str, dict[str, None]] = {"": dict.fromkeys(found.addresses or [each.address for each in found.endpoints])}
    for each in found.endpoints if found.headless else ():
        if each.host != dashed(each.address):
            by_host.setdefault(each.host, {})[each.address] = None
    return {host: tuple(addresses) for host, addresses in by_host.items()}
