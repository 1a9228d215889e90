"""Which endpoints of a Service have names, and which? The ready ones: by hostname, by pod, or by address.

publishNotReadyAddresses needs no case here: the EndpointSlice controller then writes its endpoints as ready. Source: CoreDNS's
kubernetes plugin, for what the specification leaves open (2.4.1: a label that identifies the endpoint).
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from mooring.endpoints.addresses import canonical
from mooring.model.discovery import EndpointSlice, SliceEndpoint

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


class NamedPort(Struct, frozen=True, gc=False, order=True):
    """`name` may be '': then there is no SRV record for it by name. `protocol` in lower case."""

    name: str
    protocol: str
    port: int


class PublishedEndpoint(Struct, frozen=True, gc=False):
    """A ready endpoint. `host` is the label of its own name; several addresses may share one (a pod's two families)."""

    host: str
    address: str
    ports: tuple[NamedPort, ...] = ()


def endpoints(
    slices: Sequence[EndpointSlice], pod_names: bool = False, with_ports: bool = True
) -> tuple[PublishedEndpoint, ...]:
    """Those of all slices, each once with the ports of all, IPv4 first, then by address as text and by host."""
    found: dict[tuple[str, str], tuple[NamedPort, ...]] = {}
    for each in slices:
        if each.address_type not in ("IPv4", "IPv6"):
            continue
        ports = _ports(each) if with_ports else ()
        for endpoint in each.endpoints or ():
            if endpoint.conditions is not None and endpoint.conditions.ready is False:
                continue
            try:
                address = canonical(endpoint.addresses[0])
            except (ValueError, IndexError):
                continue
            key = (address, _host(endpoint, address, pod_names))
            known = found.get(key)
            found[key] = ports if not known or known == ports else tuple(sorted({*known, *ports}))
    order = sorted(found, key=lambda key: (":" in key[0], key)) if len(found) > 1 else found
    return tuple([PublishedEndpoint(key[1], key[0], found[key]) for key in order])


def dashed(address: str) -> str:
    """A canonical address as one label: dashes for dots and colons, and no dash at the end."""
    label = address.replace(":", "-") if ":" in address else address.replace(".", "-")
    return label + "0" if label.endswith("-") else label


def _host(endpoint: SliceEndpoint, address: str, pod_names: bool) -> str:
    """What is no label of a name (a pod's name may have dots) names nothing."""
    if endpoint.hostname and _LABEL.fullmatch(hostname := endpoint.hostname.lower()):
        return hostname
    target = endpoint.target_ref
    if pod_names and target is not None and target.kind == "Pod" and _LABEL.fullmatch(target.name):
        return target.name
    return dashed(address)


def _ports(found: EndpointSlice) -> tuple[NamedPort, ...]:
    """A nil port means all ports: no number to publish."""
    ports = {
        NamedPort((each.name or "").lower(), (each.protocol or "TCP").lower(), each.port)
        for each in found.ports or ()
        if each.port is not None
    }
    return tuple(sorted(ports)) if len(ports) > 1 else tuple(ports)
