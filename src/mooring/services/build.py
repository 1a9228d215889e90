"""What does a Service mean on this node? Objects in, NodeView out; a Service at a time, so that a change costs one Service."""

from collections.abc import Iterable, Mapping, Sequence

from mooring.endpoints import select
from mooring.model.discovery import EndpointSlice
from mooring.model.node import Node
from mooring.model.service import Service
from mooring.services import cluster_ip
from mooring.services.view import Family, NodeView, Protocol, ServiceName, ServicePort, ServicePortName

ENTRIES = {
    "ClusterIP": (cluster_ip,),
    "NodePort": (cluster_ip,),
    "LoadBalancer": (cluster_ip,),
    "ExternalName": (),
}
"""Which doors each type opens. Types nest: a LoadBalancer is also a NodePort, a NodePort also a ClusterIP."""

OTHER_PROXY_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"


def is_proxied(service: Service) -> bool:
    """Headless and ExternalName Services are names only; two labels, whatever their value, hand one to another proxy."""
    labels = service.metadata.labels or {}
    return (
        service.spec.cluster_ip not in ("", "None")
        and service.spec.type != "ExternalName"
        and OTHER_PROXY_LABEL not in labels
        and HEADLESS_LABEL not in labels
    )


def build_service(service: Service, slices: Sequence[EndpointSlice], node: str) -> tuple[ServicePort, ...]:
    """The service ports of one Service as `node` must serve them; () when it is not proxied.

    `slices` are all EndpointSlices labelled with the Service's name, in any order, whoever wrote them.
    """
    if not is_proxied(service):
        return ()
    usable = [each for each in slices if HEADLESS_LABEL not in (each.metadata.labels or {})]
    built = []
    for family in Family:
        if not cluster_ip.addresses(service, family):
            continue
        for port in service.spec.ports or ():
            protocol = Protocol(port.protocol)
            found = select.pools(select.candidates(usable, family.value, port.name, port.protocol, node))
            name = ServicePortName(service.metadata.namespace, service.metadata.name, port.name, protocol, family)
            frontends = tuple(
                frontend for entry in ENTRIES[service.spec.type] for frontend in entry.frontends(service, port, family, found)
            )
            built.append(ServicePort(name, frontends, found.cluster, found.local))
    return tuple(built)


def by_service(slices: Iterable[EndpointSlice]) -> dict[ServiceName, list[EndpointSlice]]:
    """Slices grouped by the Service they are labelled with."""
    grouped: dict[ServiceName, list[EndpointSlice]] = {}
    for each in slices:
        grouped.setdefault(each.service, []).append(each)
    return grouped


def build_view(
    node: Node,
    services: Iterable[Service],
    slices: Iterable[EndpointSlice],
    service_cidrs: Sequence[str],
) -> NodeView:
    """The whole wish for one node."""
    grouped: Mapping[ServiceName, Sequence[EndpointSlice]] = by_service(slices)
    ports = {
        (service.metadata.namespace, service.metadata.name): build_service(
            service, grouped.get((service.metadata.namespace, service.metadata.name), ()), node.metadata.name
        )
        for service in services
    }
    return NodeView(
        node=node.metadata.name,
        services={name: built for name, built in ports.items() if built},
        service_cidrs=tuple(service_cidrs),
        pod_cidrs=node.spec.pod_cidrs or ((node.spec.pod_cidr,) if node.spec.pod_cidr else ()),
        node_addresses=node.internal_ips,
    )
