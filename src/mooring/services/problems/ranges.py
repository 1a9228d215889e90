"""Which ranges of addresses does the cluster give out? Those of its ServiceCIDRs and of its nodes, canonical."""

from collections.abc import Iterable
from typing import Any

from mooring.endpoints.addresses import canonical_range

Document = dict[str, Any]


def service_ranges(service_cidrs: Iterable[Document] | None) -> tuple[str, ...]:
    return _readable(cidr for each in service_cidrs or () for cidr in (each.get("spec") or {}).get("cidrs") or ())


def pod_ranges(nodes: Iterable[Document]) -> tuple[str, ...]:
    specs = [node.get("spec") or {} for node in nodes]
    return _readable(cidr for spec in specs for cidr in spec.get("podCIDRs") or filter(None, [spec.get("podCIDR")]))


def _readable(cidrs: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for each in cidrs:
        try:
            found[canonical_range(each)] = None
        except ValueError:
            continue
    return tuple(found)
