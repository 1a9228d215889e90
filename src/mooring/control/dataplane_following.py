"""What does the API wish of this node's packets, and what of it has changed since the last transaction?

The informers hold the API's state; changes are only noted, by Service, and built when they are taken: ten changes of one
Service make one build. A change of the node itself (its addresses, its zone, its pods' ranges) may mean another thing for every
Service, so then all are noted. A Node that is gone changes nothing: its packets go on as they were.
"""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime
from time import time

import structlog
from msgspec import Struct

from mooring.control.dataplane_metrics import DataplaneMetrics
from mooring.control.informer import Informer
from mooring.control.reconciler import Document
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NODE, SERVICE, SERVICE_CIDR
from mooring.model.node import Node, node
from mooring.model.service import Service, service
from mooring.ports.api import Api
from mooring.services.build import build_service, node_view
from mooring.services.health_check import HealthCheck, health_check
from mooring.services.locality import Locality, ProxyOptions, locality
from mooring.services.view import Family, NodeView, ServiceName, ServicePort

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
Trigger = tuple[Family, float]
"""A change of a slice: its family, and when the pod or Service behind it changed (Unix seconds)."""

log = structlog.get_logger(__name__)


class Taken(Struct, frozen=True):
    """What one transaction is to carry out. `node_wide`: ranges and interfaces too."""

    names: tuple[ServiceName, ...]
    node_wide: bool
    triggers: tuple[Trigger, ...]
    since: float
    """When the oldest of it was noted (Unix seconds), 0 for nothing."""


class Followed:
    """`begin` once the informers have listed; from then on `changed` is set when there is something to take."""

    def __init__(self, api: Api, node_name: str, options: ProxyOptions, metrics: DataplaneMetrics) -> None:
        self.services: Informer[Service] = Informer(api, SERVICE, service)
        self.slices: Informer[EndpointSlice] = Informer(api, ENDPOINT_SLICE, endpoint_slice)
        self.nodes: Informer[Node] = Informer(api, NODE, node, fields=f"metadata.name={node_name}")
        self.cidrs: Informer[Document] = Informer(api, SERVICE_CIDR)
        self.here = Locality(node_name)
        self.changed = asyncio.Event()
        self._options, self._metrics = options, metrics
        self._dirty: dict[ServiceName, float] = {}
        self._dirty_slices: set[ServiceName] = set()
        self._node_wide_since = 0.0
        self._triggers: dict[ServiceName, list[Trigger]] = {}

    @property
    def informers(self) -> tuple[Informer[Service], Informer[EndpointSlice], Informer[Node], Informer[Document]]:
        return self.services, self.slices, self.nodes, self.cidrs

    @property
    def node(self) -> Node | None:
        return self.nodes.cache.get("", self.here.node)

    @property
    def waiting_since(self) -> float:
        """When the oldest change that nobody has taken was noted (Unix seconds), 0 when there is none."""
        noted = [*list(self._dirty.values())[:1], *([self._node_wide_since] if self._node_wide_since else [])]
        return min(noted, default=0.0)

    def begin(self) -> None:
        """From now on every change is noted. What is in the caches already belongs to the first wish."""
        self._locate()
        settled = False

        def on_service(before: Service | None, after: Service | None) -> None:
            if settled:
                self._metrics.service_changes.inc()
                self._note(_name(before or after))

        def on_slice(before: EndpointSlice | None, after: EndpointSlice | None) -> None:
            if settled:
                self._slice_changed(before, after)

        def on_node(before: Node | None, after: Node | None) -> None:
            if settled and self._locate():
                now = time()
                for name in self.names():
                    self._dirty.setdefault(name, now)
                self._note_node_wide()

        def on_range(before: Document | None, after: Document | None) -> None:
            if settled:
                self._note_node_wide()

        self.services.subscribe(on_service)
        self.slices.subscribe(on_slice)
        self.nodes.subscribe(on_node)
        self.cidrs.subscribe(on_range)
        settled = True

    def take(self, at_most: int) -> Taken:
        """What is noted, the oldest first; the rest stays noted and `changed` set."""
        since = self.waiting_since
        names = tuple(self._dirty)[:at_most]
        for name in names:
            del self._dirty[name]
        self._dirty_slices.difference_update(names)
        node_wide, self._node_wide_since = bool(self._node_wide_since), 0.0
        triggers = tuple(each for name in names for each in self._triggers.pop(name, ()))
        if not self._dirty:
            self.changed.clear()
        self._metrics.service_pending.set(len(self._dirty))
        self._metrics.endpoint_pending.set(len(self._dirty_slices))
        return Taken(names, node_wide, triggers, since)

    def names(self) -> Iterator[ServiceName]:
        """Every Service there is."""
        return map(_name, self.services.cache.list())

    def ports(self, name: ServiceName) -> tuple[ServicePort, ...]:
        """What the API wishes of a Service now. Raises ValueError for one that means nothing."""
        found = self.services.cache.get(*name)
        return build_service(found, self._slices_of(name), self.here) if found else ()

    def health_check(self, name: ServiceName) -> HealthCheck | None:
        """What balancers ask of a Service now."""
        found = self.services.cache.get(*name)
        return health_check(found, self._slices_of(name), self.here) if found else None

    def view(self, ports: Mapping[ServiceName, tuple[ServicePort, ...]]) -> NodeView:
        """What this node does, if it does `ports`."""
        cidrs = {cidr for each in self.cidrs.cache.list() for cidr in (each.get("spec") or {}).get("cidrs") or ()}
        return node_view(self.here, ports, sorted(cidrs))

    def wished(self) -> NodeView:
        """What the API wishes of this node now. A Service that means nothing stops no other."""
        ports: dict[ServiceName, tuple[ServicePort, ...]] = {}
        for name in self.names():
            try:
                built = self.ports(name)
            except ValueError as error:
                log.error("a Service cannot be carried out", service="/".join(name), error=str(error))
                continue
            if built:
                ports[name] = built
        return self.view(ports)

    def _slices_of(self, name: ServiceName) -> tuple[EndpointSlice, ...]:
        return tuple(self.slices.cache.indexed("service", "/".join(name)))

    def _locate(self) -> bool:
        """Looks at the Node again; True when Services may mean something else here now."""
        me = self.node
        try:
            here = locality(me, self._options) if me else self.here
        except ValueError as error:
            log.error("the Node cannot be understood", error=str(error))
            return False
        moved = here != self.here
        self.here = here
        return moved

    def _slice_changed(self, before: EndpointSlice | None, after: EndpointSlice | None) -> None:
        self._metrics.endpoint_changes.inc()
        for each in (before, after):
            if each is not None and each.service[1]:
                self._dirty_slices.add(each.service)
                self._note(each.service)
        trigger = (after.metadata.annotations or {}).get(TRIGGER_TIME) if after else None
        if after and trigger and after.service[1]:
            family = Family.IPV6 if after.address_type == Family.IPV6.value else Family.IPV4
            try:
                moment = datetime.fromisoformat(trigger).timestamp()
            except ValueError:
                log.debug("not a time", annotation=TRIGGER_TIME, value=trigger)
            else:
                self._triggers.setdefault(after.service, []).append((family, moment))

    def _note(self, name: ServiceName) -> None:
        self._dirty.setdefault(name, time())
        self._noted()

    def _note_node_wide(self) -> None:
        self._node_wide_since = self._node_wide_since or time()
        self._noted()

    def _noted(self) -> None:
        self._metrics.set(self._metrics.last_queued, time())
        self.changed.set()


def _name(each: Service | None) -> ServiceName:
    assert each is not None
    return each.metadata.namespace, each.metadata.name
