"""What do a Service's EndpointSlices say of each address? All slices united, ready before draining before neither.

As select.pools does it for one port, but for people: nothing is left out, and every endpoint remembers its slice.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from mooring.endpoints.addresses import canonical, is_ipv6
from mooring.endpoints.mirror import MANAGED_BY as MIRROR
from mooring.model.discovery import MANAGED_BY_LABEL, EndpointSlice, SliceEndpoint, TargetRef

CONTROLLER = "endpointslice-controller.k8s.io"
FAMILIES = ("IPv4", "IPv6")


class Listed(Struct, frozen=True):
    """One endpoint of one slice. `address` is canonical where it can be read at all."""

    slice: str
    family: str
    address: str
    ready: bool
    serving: bool
    terminating: bool
    node: str = ""
    zone: str = ""
    hostname: str = ""
    target: TargetRef | None = None
    zones: tuple[str, ...] = ()
    """Whom it is hinted for."""
    nodes: tuple[str, ...] = ()

    @property
    def draining(self) -> bool:
        return self.serving and self.terminating and not self.ready

    @property
    def state(self) -> str:
        """In the words of the API."""
        if self.ready:
            return "ready"
        if self.terminating:
            return "terminating, still serving" if self.serving else "terminating"
        return "serving, not ready" if self.serving else "not ready"


def listed(slices: Iterable[EndpointSlice], families: Iterable[str] = FAMILIES) -> Iterator[Listed]:
    """Every endpoint of these address types."""
    wanted = tuple(families)
    for found in slices:
        for each in found.endpoints or () if found.address_type in wanted else ():
            if each.addresses:
                yield _listed(found, each)


def _listed(found: EndpointSlice, each: SliceEndpoint) -> Listed:
    conditions, hints = each.conditions, each.hints
    try:
        address = canonical(each.addresses[0])
    except ValueError:
        address = each.addresses[0]
    return Listed(
        slice=found.metadata.name,
        family=found.address_type,
        address=address,
        ready=conditions is None or conditions.ready is not False,
        serving=conditions is None or conditions.serving is not False,
        terminating=conditions is not None and bool(conditions.terminating),
        node=each.node_name or "",
        zone=each.zone or "",
        hostname=each.hostname or "",
        target=each.target_ref,
        zones=tuple(hint.name for hint in (hints.for_zones if hints else None) or ()),
        nodes=tuple(hint.name for hint in (hints.for_nodes if hints else None) or ()),
    )


def usable(found: Iterable[Listed]) -> tuple[Listed, ...]:
    """Ready ones, else those that drain: what a port of policy Cluster without hints would use. Each address once."""
    known = [each for each in found if readable(each)]
    chosen = [each for each in known if each.ready] or [each for each in known if each.draining]
    return tuple({each.address: each for each in chosen}.values())


def readable(each: Listed) -> bool:
    """Whether its address is one of its slice's family."""
    try:
        return is_ipv6(canonical(each.address)) is (each.family == "IPv6")
    except ValueError:
        return False


def writer(found: EndpointSlice) -> str:
    """Who keeps a slice, by its label: '' for somebody's own hand."""
    return (found.metadata.labels or {}).get(MANAGED_BY_LABEL, "")


def by_hand(found: EndpointSlice) -> bool:
    return writer(found) not in (CONTROLLER, MIRROR)
