"""Which endpoints may a frontend use? The two pools of a service port, as kube-proxy's CategorizeEndpoints decides them.

Endpoints that are ready are used; when a pool has none, those that are terminating but still serve (KEP-1669). The cluster and
the local pool are judged apart: a node whose own endpoints all terminate keeps them for policy Local although others are ready.
Of the cluster pool's ready endpoints, hints may leave only those meant for this node or its zone (KEP-2433, KEP-3015).
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from mooring.endpoints.addresses import canonical, is_ipv6
from mooring.model.choice import Choice
from mooring.model.discovery import Conditions, EndpointSlice, Hint, Hints, SlicePort


class Endpoint(Struct, frozen=True, gc=False, order=True):
    """One place a connection can go. `address` in canonical text form; `node` is '' when unknown."""

    address: str
    port: int
    node: str = ""
    local: bool = False
    """True when it runs on the node of this view: it may hairpin."""


class Candidate(Struct, frozen=True, gc=False):
    """An endpoint as its slice describes it. Nil ready and serving read as true, nil terminating as false."""

    endpoint: Endpoint
    ready: bool
    serving: bool
    terminating: bool
    hints: Hints | None = None


class Basis(Choice):
    """By what the endpoints of a pool were chosen."""

    READY = "ready"
    SAME_NODE = "ready, and hinted for this node"
    SAME_ZONE = "ready, and hinted for this node's zone"
    DRAINING = "none ready: terminating, but serving"


class Pools(Struct, frozen=True, gc=False):
    """What a service port can use on this node, each sorted and without duplicates.

    `retained`: endpoints that serve and are in neither pool. They get no new connections; those they have go on.
    """

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    cluster_basis: Basis = Basis.READY
    local_basis: Basis = Basis.READY
    retained: tuple[Endpoint, ...] = ()


EMPTY = Pools()

_NO_CONDITIONS = Conditions()

_Place = tuple[str, int]
_Found = dict[_Place, Candidate]


def candidates(slices: Iterable[EndpointSlice], family: str, port_name: str, protocol: str, node: str) -> Iterator[Candidate]:
    """Every endpoint for a service port of one family ('IPv4', 'IPv6'), over all slices of its Service.

    Slice ports are matched by name and protocol. A nil port means all ports, which kube-proxy ignores; so do we. Endpoints with
    an address that cannot be read, or is of another family, are left out: one broken entry never stops the others.
    """
    ipv6 = family == "IPv6"
    here = node or None
    for found in slices:
        if found.address_type != family or not found.endpoints:
            continue
        number = _number(found.ports, port_name, protocol)
        if number is None:
            continue
        for each in found.endpoints:
            try:
                address = canonical(each.addresses[0])
            except (ValueError, IndexError):
                continue
            if is_ipv6(address) is not ipv6:
                continue
            owner = each.node_name or ""
            endpoint = Endpoint(address, number, owner, owner == here)
            condition = each.conditions or _NO_CONDITIONS
            ready, serving = condition.ready is not False, condition.serving is not False
            yield Candidate(endpoint, ready, serving, condition.terminating is True, each.hints)


def pools(found: Iterable[Candidate], node: str = "", zone: str = "") -> Pools:
    """What of the candidates this node may use. The same endpoint in two slices counts once; see `_merged`."""
    ready: _Found = {}
    draining: _Found = {}
    other: _Found = {}
    hinted = False
    for candidate in found:
        if candidate.ready:
            into = ready
            hinted = hinted or candidate.hints is not None
        elif not candidate.serving:
            continue
        else:
            into = draining if candidate.terminating else other
        endpoint = candidate.endpoint
        where = (endpoint.address, endpoint.port)
        known = into.setdefault(where, candidate)
        if known is not candidate:
            into[where] = _merged(known, candidate)
    near, basis = _hinted(ready, node, zone) if hinted else (ready, Basis.READY)
    cluster = near if ready else draining
    local = {where: each for where, each in ready.items() if each.endpoint.local}
    local_basis = Basis.READY
    if not local and draining:
        local = {where: each for where, each in draining.items() if each.endpoint.local}
        local_basis = Basis.DRAINING if local else Basis.READY
    retained: _Found = {}
    if draining or other or basis is not Basis.READY:
        serving = other | draining | ready
        retained = {where: each for where, each in serving.items() if where not in cluster and where not in local}
    return Pools(
        _sorted(cluster),
        _sorted(local),
        basis if ready or not draining else Basis.DRAINING,
        local_basis,
        _sorted(retained),
    )


def _merged(one: Candidate, other: Candidate) -> Candidate:
    """The same endpoint told twice in the same condition: the local one wins, and it is meant for whom either is meant for.

    Whichever comes first, the result is the same.
    """
    best, rest = sorted((one, other), key=lambda each: (each.endpoint.local, each.endpoint.node), reverse=True)
    if best.hints == rest.hints:
        return best
    hints = [each.hints for each in (best, rest) if each.hints is not None]
    zones = {zone.name for each in hints for zone in each.for_zones or ()}
    nodes = {name.name for each in hints for name in each.for_nodes or ()}
    joined = Hints(tuple(map(Hint, sorted(zones))), tuple(map(Hint, sorted(nodes))))
    return Candidate(best.endpoint, best.ready, best.serving, best.terminating, joined)


def _hinted(ready: _Found, node: str, zone: str) -> tuple[_Found, Basis]:
    """The ready endpoints meant for this node, else for its zone, else all.

    A kind of hint counts only when every ready endpoint has it and one is for here: half-written hints leave nobody out.
    """
    for name, hints_of, basis in ((node, _node_hints, Basis.SAME_NODE), (zone, _zone_hints, Basis.SAME_ZONE)):
        if not name or not all(hints_of(each) for each in ready.values()):
            continue
        near = {where: each for where, each in ready.items() if any(hint.name == name for hint in hints_of(each))}
        if near:
            return near, basis
    return ready, Basis.READY


def _node_hints(candidate: Candidate) -> tuple[Hint, ...]:
    return (candidate.hints.for_nodes or ()) if candidate.hints else ()


def _zone_hints(candidate: Candidate) -> tuple[Hint, ...]:
    return (candidate.hints.for_zones or ()) if candidate.hints else ()


def _number(ports: tuple[SlicePort, ...] | None, name: str, protocol: str) -> int | None:
    for port in ports or ():
        if (port.name or "") == name and (port.protocol or "TCP") == protocol and port.port is not None:
            return port.port if 0 < port.port < 65536 else None
    return None


def _sorted(found: _Found) -> tuple[Endpoint, ...]:
    return tuple([candidate.endpoint for _, candidate in sorted(found.items())]) if found else ()
