"""What does a Service mean on this node? Objects in, NodeView out; a Service at a time, so that a change costs one Service.

Nothing here raises for what a Service or a slice holds: a field that cannot be read is left out, and the rest is served.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from mooring.endpoints import select
from mooring.endpoints.select import Pools
from mooring.model.discovery import EndpointSlice
from mooring.model.node import Node
from mooring.model.service import Service, ServicePortSpec
from mooring.services import cluster_ip, external_ip, load_balancer, node_port, session_affinity
from mooring.services.locality import Locality, ProxyOptions, locality, options_of
from mooring.services.proxied import is_proxied, is_read
from mooring.services.view import Family, Frontend, NodeView, Protocol, ServiceName, ServicePort, ServicePortName

Door = Callable[[Service, ServicePortSpec, Family, Pools, Locality], Iterator[Frontend]]

PROTOCOLS = {protocol.value: protocol for protocol in Protocol}

ENTRIES: dict[str, tuple[Door, ...]] = {
    "ClusterIP": (cluster_ip.frontends, external_ip.frontends),
    "NodePort": (cluster_ip.frontends, node_port.frontends, external_ip.frontends),
    "LoadBalancer": (cluster_ip.frontends, node_port.frontends, load_balancer.frontends, external_ip.frontends),
    "ExternalName": (),
}
"""Which doors each type opens. Types nest: a LoadBalancer is also a NodePort, a NodePort also a ClusterIP.

The order matters where one Service claims a frontend twice, as with an external IP that is also its balancer's: the first has
it, so source ranges are not got round.
"""


def build_service(service: Service, slices: Sequence[EndpointSlice], here: Locality) -> tuple[ServicePort, ...]:
    """The service ports of one Service as the node `here` must serve them; () when it is not proxied.

    `slices` are all EndpointSlices labelled with the Service's name, in any order, whoever wrote them.
    """
    doors = ENTRIES.get(service.spec.type, ())
    if not doors or not is_proxied(service):
        return ()
    read = [each for each in slices if is_read(each)]
    affinity = session_affinity.seconds(service)
    taken: set[tuple[str, int, str]] = set()
    built = []
    for family in cluster_ip.families(service):
        for port in service.spec.ports or ():
            protocol = PROTOCOLS.get(port.protocol)
            if protocol is None or not 0 < port.port < 65536:
                continue
            found = select.pools(
                select.candidates(read, family.value, port.name, port.protocol, here.node), here.node, here.zone
            )
            frontends = []
            for door in doors:
                for frontend in door(service, port, family, found, here):
                    where = frontend.address, frontend.port, port.protocol
                    if where not in taken:
                        taken.add(where)
                        frontends.append(frontend)
            name = ServicePortName(service.metadata.namespace, service.metadata.name, port.name, protocol, family)
            built.append(ServicePort(name, tuple(frontends), found.cluster, found.local, affinity, found.retained))
    return tuple(built)


def by_service(slices: Iterable[EndpointSlice]) -> dict[ServiceName, list[EndpointSlice]]:
    """Slices grouped by the Service they are labelled with."""
    grouped: dict[ServiceName, list[EndpointSlice]] = {}
    for each in slices:
        grouped.setdefault(each.service, []).append(each)
    return grouped


def node_view(
    here: Locality, services: Mapping[ServiceName, tuple[ServicePort, ...]], service_cidrs: Iterable[str]
) -> NodeView:
    """The view of a node whose Services have been built for it."""
    return NodeView(
        here.node,
        services,
        tuple(service_cidrs),
        here.pod_cidrs,
        here.addresses,
        here.pod_interfaces,
        here.zone,
        here.pods_by,
        here.answered_here,
    )


def build_view(
    node: Node,
    services: Iterable[Service],
    slices: Iterable[EndpointSlice],
    service_cidrs: Iterable[str],
    options: ProxyOptions | None = None,
) -> NodeView:
    """The whole wish for one node. Without `options`, those that the node's agent says it runs with.

    Raises ValueError for options that mean nothing.
    """
    here = locality(node, options_of(node) if options is None else options)
    grouped = by_service(slices)
    ports = {}
    for service in services:
        name = service.metadata.namespace, service.metadata.name
        built = build_service(service, grouped.get(name, ()), here)
        if built:
            ports[name] = built
    return node_view(here, ports, service_cidrs)
