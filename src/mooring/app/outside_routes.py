"""By which nodes does the external client reach a Service's addresses? Its routes play the network that got the announcement.

Each address of a load balancer that nodes answer for (ipMode VIP, whoever wrote the status) and each external IP has a host
route to the nodes that are to get its packets:

- externalTrafficPolicy Cluster: all ready nodes;
- Local: the nodes with a ready endpoint, as their health check node port says; when there is none, those with one that
  terminates and still serves;
- sessionAffinity ClientIP: of these the first alone, since only one node knows which client has which endpoint.

Addresses that are no neighbour's to give away are left alone: those of the nodes, of pods and of cluster IPs.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import structlog

from mooring.control.informer import Informer
from mooring.edges.netlink import routes
from mooring.edges.netlink.routes import Route
from mooring.endpoints.select import candidates
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NODE, SERVICE
from mooring.model.node import Node, node
from mooring.model.service import Service, service
from mooring.ports.api import Api
from mooring.services import external_ip, load_balancer, traffic_policy
from mooring.services.proxied import is_proxied, is_read
from mooring.services.view import Family

log = structlog.get_logger("routes")

RETRY = 1.0
"""Seconds after a refusal of the kernel."""
CHECK = 30.0
"""Seconds after which the kernel's routes are compared although nothing has changed."""
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"

Slices = Callable[[Service], Iterable[EndpointSlice]]
Networks = Sequence[IPv4Network | IPv6Network]


def shown(service: Service, family: Family) -> tuple[str, ...]:
    """The addresses by which the outside is to find a Service."""
    if not is_proxied(service):
        return ()
    balanced = load_balancer.addresses(service, family) if service.spec.type == "LoadBalancer" else ()
    return (*balanced, *external_ip.leadable(service.spec.external_ips or (), family))


def outside_routes(services: Iterable[Service], slices: Slices, nodes: Sequence[Node], own: Networks = ()) -> frozenset[Route]:
    """The whole wish. `own` are the cluster's networks, whose addresses have their places already."""
    ways: dict[str, list[tuple[str, ...]]] = {}
    for each in services:
        for family in Family:
            addresses = [text for text in shown(each, family) if not any(ip_address(text) in network for network in own)]
            if addresses:
                way = _gateways(each, family, slices(each), nodes)
                for text in addresses:
                    ways.setdefault(text, []).append(way)
    return frozenset(Route(str(ip_network(text)), way) for text, found in ways.items() if (way := _joint(found)))


def _joint(ways: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Where several Services show one address: the nodes that do for all of them, else those that do for any."""
    sets = [set(way) for way in ways]
    return tuple(sorted(set.intersection(*sets) or set.union(*sets)))


def _gateways(service: Service, family: Family, slices: Iterable[EndpointSlice], nodes: Sequence[Node]) -> tuple[str, ...]:
    if service.spec.external_traffic_policy == traffic_policy.LOCAL:
        names = _serving(service, family, slices)
        chosen = [each for each in nodes if each.metadata.name in names]
    else:
        chosen = [each for each in nodes if _is_ready(each)] or list(nodes)  # if none is, nobody knows better
    eligible = sorted((each for each in chosen if EXCLUDED not in (each.metadata.labels or {})), key=_name)
    addresses = [found for each in eligible if (found := _address(each, family))]
    return tuple(addresses[:1] if service.spec.session_affinity == "ClientIP" else addresses)


def _serving(service: Service, family: Family, slices: Iterable[EndpointSlice]) -> set[str]:
    """The names of the nodes that get a Local Service's packets."""
    read = [each for each in slices if is_read(each)]
    found = [each for port in service.spec.ports or () for each in candidates(read, family.value, port.name, port.protocol, "")]
    ready = {each.endpoint.node for each in found if each.ready}
    return ready or {each.endpoint.node for each in found if each.serving and each.terminating}


def _is_ready(node: Node) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in node.status.conditions or ())


def _name(node: Node) -> str:
    return node.metadata.name


def _address(node: Node, family: Family) -> str:
    return next((text for text in node.internal_ips if (":" in text) == (family is Family.IPV6)), "")


class OutsideRoutes:
    """Keeps them true in one namespace."""

    def __init__(self, api: Api, namespace: str, own: Iterable[str], check: float = CHECK) -> None:
        self._namespace, self._own, self._check = namespace, [ip_network(each) for each in own], check
        self._nodes: Informer[Node] = Informer(api, NODE, node)
        self._services: Informer[Service] = Informer(api, SERVICE, service)
        self._slices: Informer[EndpointSlice] = Informer(api, ENDPOINT_SLICE, endpoint_slice)
        self._changed = asyncio.Event()
        self._nodes.subscribe(
            lambda before, after: self._note(before is None or after is None or _facts(before) != _facts(after))
        )
        self._services.subscribe(lambda before, after: self._note(_is_shown(before) or _is_shown(after)))
        self._slices.subscribe(self._slice_changed)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for informer in (self._nodes, self._services, self._slices):
                tasks.create_task(informer.run())
            for informer in (self._nodes, self._services, self._slices):
                await informer.synced.wait()
            await self._follow()

    async def _follow(self) -> None:
        applied: frozenset[Route] | None = None
        while True:
            self._changed.clear()
            want = outside_routes(self._services.cache.list(), self._slices_of, [*self._nodes.cache.list()], self._own)
            if want != applied:
                try:
                    if lines := await routes.apply(want, self._namespace):
                        log.info("routes changed", place=self._namespace, commands=lines)
                    applied = want
                except routes.RouteError as error:
                    log.warning("routes refused", place=self._namespace, error=str(error))
                    await asyncio.sleep(RETRY)
                    continue
            try:
                async with asyncio.timeout(self._check):
                    await self._changed.wait()
            except TimeoutError:
                applied = None

    def _slices_of(self, service: Service) -> Iterable[EndpointSlice]:
        return self._slices.cache.indexed("service", f"{service.metadata.namespace}/{service.metadata.name}")

    def _slice_changed(self, before: EndpointSlice | None, after: EndpointSlice | None) -> None:
        self._note(any(_is_shown(self._services.cache.get(*each.service)) for each in (before, after) if each))

    def _note(self, matters: bool) -> None:
        if matters:
            self._changed.set()


def _facts(node: Node) -> tuple[object, ...]:
    """What of a node the routes depend on."""
    return _is_ready(node), node.internal_ips, EXCLUDED in (node.metadata.labels or {})


def _is_shown(service: Service | None) -> bool:
    return service is not None and any(shown(service, family) for family in Family)
