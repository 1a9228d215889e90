"""Which Zone do all objects of a cluster make, read at one moment? What the ZoneKeeper arrives at change by change."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set

from mooring.dns.zone import Zone, ZoneOptions, published_ingress
from mooring.model.discovery import EndpointSlice
from mooring.model.ingress import Ingress
from mooring.model.service import Service
from mooring.services.build import by_service
from mooring.services.names import published


def build_zone(
    options: ZoneOptions,
    services: Iterable[Service],
    slices: Iterable[EndpointSlice],
    namespaces: Iterable[str] = (),
    ingresses: Iterable[Ingress] = (),
    pods: Iterable[tuple[str, tuple[str, ...]]] = (),
    serial: int = 1,
) -> Zone:
    """`pods` are (namespace, addresses) of those that run. A Namespace that has a Service exists, told of or not."""
    found = {(each.metadata.namespace, each.metadata.name): each for each in services}
    of = by_service(slices)
    addresses: defaultdict[str, set[str]] = defaultdict(set)
    for namespace, own in pods:
        addresses[namespace].update(own)
    known: Mapping[str, Set[str]] = addresses
    return Zone(
        options,
        {key: published(each, of.get(key, ()), pod_names=options.pod_names) for key, each in found.items()},
        {*namespaces, *(namespace for namespace, _ in found)},
        serial,
        pods=known,
        ingresses={(each.metadata.namespace, each.metadata.name): published_ingress(each) for each in ingresses},
    )
