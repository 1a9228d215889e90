"""What do spec.externalIPs mean for packets? Addresses that somebody else leads to the nodes: who brings a packet is served.

Every type but ExternalName may have them. They follow externalTrafficPolicy. Addresses that cannot be read are skipped, and
so are those that could never be led here but would take what is not the Service's: loopback, link-local, multicast.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv6Address

from mooring.endpoints.addresses import is_ipv6, readable
from mooring.endpoints.select import Pools
from mooring.model.service import Service, ServicePortSpec
from mooring.services import traffic_policy
from mooring.services.locality import Locality
from mooring.services.view import Entry, Family, Frontend


def frontends(service: Service, port: ServicePortSpec, family: Family, pools: Pools, here: Locality) -> Iterator[Frontend]:
    if not service.spec.external_ips:
        return
    arms = traffic_policy.external(service.spec.external_traffic_policy, pools, here, family)
    for address in leadable(service.spec.external_ips, family):
        yield Frontend(Entry.EXTERNAL_IP, address, port.port, arms.pod, arms.node, arms.outside)


def leadable(addresses: Iterable[str], family: Family) -> tuple[str, ...]:
    """Those of one family, canonical, that a network can lead to a node."""
    ipv6 = family is Family.IPV6
    return tuple([each for each in readable(addresses) if is_ipv6(each) is ipv6 and not is_special(each)])


_SPECIAL_IPV4 = ("127.", "169.254.", *(f"{first}." for first in range(224, 240)))
"""How loopback, link-local and multicast addresses begin."""


def is_special(address: str) -> bool:
    """Whether a canonical address is unspecified, loopback, link-local or multicast."""
    return _is_special_ipv6(address) if is_ipv6(address) else address.startswith(_SPECIAL_IPV4) or address == "0.0.0.0"


@lru_cache(maxsize=4096)
def _is_special_ipv6(address: str) -> bool:
    parsed = IPv6Address(address)
    return parsed.is_unspecified or parsed.is_loopback or parsed.is_link_local or parsed.is_multicast
