"""What does a headless Service mean? Names only: DNS leads straight to the ready endpoints, no packet is touched.

publishNotReadyAddresses needs no case here: the EndpointSlice controller then writes its endpoints as ready.
"""

from collections.abc import Sequence

from mooring.endpoints.addresses import canonical
from mooring.model.discovery import EndpointSlice
from mooring.model.service import Service


def is_headless(service: Service) -> bool:
    return service.spec.cluster_ip == "None"


def addresses_by_host(slices: Sequence[EndpointSlice]) -> dict[str, tuple[str, ...]]:
    """Ready addresses under '' (the Service's own name) and under each endpoint's hostname, sorted, without duplicates."""
    found: dict[str, set[str]] = {"": set()}
    for each in slices:
        if each.address_type not in ("IPv4", "IPv6"):
            continue
        for endpoint in each.endpoints or ():
            if endpoint.conditions is not None and endpoint.conditions.ready is False:
                continue
            try:
                address = canonical(endpoint.addresses[0])
            except (ValueError, IndexError):
                continue
            found[""].add(address)
            if endpoint.hostname:
                found.setdefault(endpoint.hostname.lower(), set()).add(address)
    return {host: tuple(sorted(addresses)) for host, addresses in found.items()}
