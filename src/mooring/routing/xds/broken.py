"""Which parts of a RouteTable are so wrong that Envoy would refuse them? They are left out, or answer by themselves."""

from collections.abc import Iterable, Iterator

from mooring.routing.table import Route, RouteTable, Terminate
from mooring.routing.xds import clusters, matching, refusals, secrets, tls

Broken = tuple[str, str]
"""Source, and a sentence without it."""


def broken(table: RouteTable) -> Iterable[Broken]:
    """Each once, in the order of the table. Neighbours are served as ever."""
    return dict.fromkeys(_all(table))


def _all(table: RouteTable) -> Iterator[Broken]:
    for certificate in table.certificates.values():
        if (reason := secrets.fault(certificate)) is not None:
            yield certificate.source, f"{reason}; it is not used"
    for listener in table.listeners:
        for chain in listener.chains:
            clients = chain.tls.clients if isinstance(chain.tls, Terminate) else None
            if clients is not None and (reason := tls.clients_fault(clients)) is not None:
                yield clients.source, f"{reason}; its hosts are not served"
            for host in chain.virtual_hosts:
                for route in host.routes:
                    yield from ((route.source, sentence) for sentence in _of_route(route))
    for cluster in table.clusters.values():
        if (reason := clusters.fault(cluster, table.certificates)) is not None:
            yield cluster.source, f"{reason}; its routes answer 503"


def _of_route(route: Route) -> Iterator[str]:
    effect = "the route is left out" if any(True for _ in matching.faults(route.match)) else "the route answers 500"
    yield from (f"{reason}; {effect}" for reason in refusals.faults(route))
