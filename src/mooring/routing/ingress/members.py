"""Which endpoints has each set now? Those of its Service port that are ready, wherever they run; else those of its fallback."""

from collections.abc import Callable, Iterable, Mapping

from mooring.endpoints.select import candidates, pools
from mooring.model.discovery import EndpointSlice
from mooring.routing.ingress.objects import Name, SetOf
from mooring.routing.table import Fixed, Member, Members

FAMILIES = ("IPv4", "IPv6")
"""A pod of both families is one endpoint: that of the first family in which a Service has any counts."""


def members(sets: Mapping[str, SetOf], slices: Iterable[EndpointSlice]) -> Members:
    by_service: dict[Name, list[EndpointSlice]] = {}
    for each in slices:
        by_service.setdefault(each.service, []).append(each)
    return {name: members_of(each, by_service) for name, each in sets.items()}


def unresolved(where: Fixed) -> tuple[Member, ...]:
    """The host as it is written."""
    return (Member(where.host, where.port),)


def members_of(
    wanted: SetOf,
    by_service: Mapping[Name, Iterable[EndpointSlice]],
    outside: Callable[[Fixed], tuple[Member, ...]] = unresolved,
) -> tuple[Member, ...]:
    """Sorted. None ready: those that are terminating and still serve, as the dataplane does it (KEP-1669). `outside`: what is
    at a place that is no Service's."""
    slices = tuple(by_service.get((wanted.namespace, wanted.service), ()))
    for family in FAMILIES:
        found = pools(candidates(slices, family, wanted.port, "TCP", "")).cluster
        if found:
            pods = _pods(slices)
            return tuple(sorted(Member(each.address, each.port, pods.get(each.address, "")) for each in found))
    if isinstance(wanted.fallback, Fixed):
        return outside(wanted.fallback)
    return members_of(wanted.fallback, by_service, outside) if wanted.fallback else ()


def _pods(slices: Iterable[EndpointSlice]) -> dict[str, str]:
    return {
        each.addresses[0]: each.target_ref.name
        for found in slices
        for each in found.endpoints or ()
        if each.target_ref and each.target_ref.kind == "Pod" and each.addresses
    }
