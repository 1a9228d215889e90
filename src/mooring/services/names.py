"""Under which names does a Service publish which addresses? Answers of each type for the cluster's DNS."""

from collections.abc import Sequence

from msgspec import Struct

from mooring.model.discovery import EndpointSlice
from mooring.model.service import Service
from mooring.services import cluster_ip, headless


class PublishedName(Struct, frozen=True, gc=False):
    """`host` is '' for the Service's own name, else the label before it. Addresses of both families, in canonical text form."""

    host: str
    addresses: tuple[str, ...]


def published(service: Service, slices: Sequence[EndpointSlice]) -> tuple[PublishedName, ...]:
    """Every name of one Service that has an address now (Kubernetes DNS specification 1.1.0, sections 2.3.1 and 2.4.1)."""
    if service.spec.type == "ExternalName":
        return ()
    if headless.is_headless(service):
        names = headless.addresses_by_host(slices)
    else:
        names = {"": cluster_ip.all_addresses(service)}
    return tuple(PublishedName(host, found) for host, found in names.items() if found)
