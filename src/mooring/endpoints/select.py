"""Which endpoints may a frontend use? The two pools of a service port, as kube-proxy's CategorizeEndpoints decides them.

Endpoints that are ready are used; when a pool has none, those that are terminating but still serve (KEP-1669). The cluster and
the local pool are judged apart: a node whose own endpoints all terminate keeps them for policy Local although others are ready.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from mooring.endpoints.addresses import canonical
from mooring.model.discovery import EndpointSlice, SlicePort


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


class Pools(Struct, frozen=True, gc=False):
    """What a service port can use on this node, each sorted and without duplicates. `draining`: the pool had nothing ready."""

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    cluster_draining: bool = False
    local_draining: bool = False


EMPTY = Pools()


def candidates(slices: Iterable[EndpointSlice], family: str, port_name: str, protocol: str, node: str) -> Iterator[Candidate]:
    """Every endpoint for a service port of one family ('IPv4', 'IPv6'), over all slices of its Service.

    Slice ports are matched by name and protocol. A nil port means all ports, which kube-proxy ignores; so do we. Endpoints with
    an address that cannot be read are left out: one broken entry never stops the others.
    """
    for found in slices:
        if found.address_type != family or not found.endpoints:
            continue
        number = _number(found.ports, port_name, protocol)
        if number is None:
            continue
        for each in found.endpoints:
            condition = each.conditions
            ready = condition is None or condition.ready is None or condition.ready
            serving = condition is None or (ready if condition.serving is None else condition.serving)
            terminating = condition is not None and bool(condition.terminating)
            if not ready and not (serving and terminating):
                continue
            try:
                address = canonical(each.addresses[0])
            except (ValueError, IndexError):
                continue
            owner = each.node_name or ""
            yield Candidate(Endpoint(address, number, owner, bool(node) and owner == node), ready, serving, terminating)


def pools(found: Iterable[Candidate]) -> Pools:
    """Ready endpoints, else serving terminating ones, for the cluster and for this node.

    The same endpoint in two slices counts once; where they disagree, ready and local win.
    """
    ready: dict[tuple[str, int], Endpoint] = {}
    draining: dict[tuple[str, int], Endpoint] = {}
    for candidate in found:
        endpoint = candidate.endpoint
        into = ready if candidate.ready else draining
        where = (endpoint.address, endpoint.port)
        if where not in into or endpoint.local:
            into[where] = endpoint
    cluster = ready or draining
    local_ready = [endpoint for endpoint in ready.values() if endpoint.local]
    local = local_ready or [endpoint for endpoint in draining.values() if endpoint.local]
    return Pools(
        tuple(sorted(cluster.values(), key=_order)),
        tuple(sorted(local, key=_order)),
        cluster_draining=not ready and bool(draining),
        local_draining=not local_ready and bool(local),
    )


def _number(ports: tuple[SlicePort, ...] | None, name: str, protocol: str) -> int | None:
    for port in ports or ():
        if (port.name or "") == name and (port.protocol or "TCP") == protocol and port.port is not None:
            return port.port
    return None


def _order(endpoint: Endpoint) -> tuple[str, int]:
    return endpoint.address, endpoint.port
