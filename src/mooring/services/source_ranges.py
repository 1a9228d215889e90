"""Who may come in at a load balancer's addresses? spec.loadBalancerSourceRanges, else the older annotation.

Everybody is asked: pods and nodes too. Others are dropped, not refused. Cluster IPs, node ports and external IPs are not
guarded. A family that has no range while the other has lets nobody in, and so does a range that cannot be read: who named the
sources that may come meant all others not to.
"""

from collections.abc import Iterable
from functools import lru_cache

from mooring.endpoints.addresses import canonical_range, contains, is_ipv6
from mooring.model.service import Service
from mooring.services.locality import Locality
from mooring.services.view import Family

FIELD = "spec.loadBalancerSourceRanges"
ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
ANNOTATION_FIELD = f"metadata.annotations[{ANNOTATION}]"


def written(service: Service) -> tuple[tuple[str, ...], str]:
    """The ranges as they stand in the Service, and the field they stand in; ((), '') for none."""
    found = _stripped(service.spec.load_balancer_source_ranges or ())
    if found:
        return found, FIELD
    found = _stripped((service.metadata.annotations or {}).get(ANNOTATION, "").split(","))
    return (found, ANNOTATION_FIELD) if found else ((), "")


def _stripped(ranges: Iterable[str]) -> tuple[str, ...]:
    return tuple([each.strip() for each in ranges if each.strip()])


def allowed(service: Service, family: Family, here: Locality, addresses: tuple[str, ...]) -> tuple[tuple[str, ...] | None, str]:
    """The ranges that may reach the Service's balancer `addresses` of one family, None for all, and the field that says so.

    Where a range holds an address of this node, those `addresses` are allowed as sources too: where they are bound to the node
    itself, it speaks to them from themselves.
    """
    ranges, field = written(service)
    if not ranges:
        return None, ""
    found, hold_the_node = _read(ranges, family, here)
    if hold_the_node:
        bits = 128 if family is Family.IPV6 else 32
        found = tuple(dict.fromkeys((*found, *(f"{address}/{bits}" for address in addresses))))
    return found, field


@lru_cache(maxsize=4096)
def _read(ranges: tuple[str, ...], family: Family, here: Locality) -> tuple[tuple[str, ...], bool]:
    """Those of one family that can be read, and whether an address of this node is among them. Many Services have the same."""
    ipv6 = family is Family.IPV6
    found: dict[str, None] = {}
    for each in ranges:
        try:
            cidr = canonical_range(each)
        except ValueError:
            continue
        if is_ipv6(cidr) is ipv6:
            found[cidr] = None
    return tuple(found), any(contains(cidr, address) for cidr in found for address in here.addresses)
