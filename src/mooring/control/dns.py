"""Which names does the cluster have now? Keeps the Zone true from Services, slices and Namespaces, a Service at a time."""

from datetime import UTC, datetime

from mooring.control.informer import Informer
from mooring.dns.zone import Zone
from mooring.model.discovery import EndpointSlice
from mooring.model.kinds import NAMESPACE
from mooring.model.service import Service
from mooring.ports.api import Api, Document
from mooring.services.names import PublishedName, published
from mooring.services.view import ServiceName


class ZoneKeeper:
    """`zone` is always a consistent value: answers read it in the same thread, between two changes.

    The informers of Services and slices are shared with the dataplane, which runs them.
    """

    def __init__(self, api: Api, services: Informer[Service], slices: Informer[EndpointSlice], domain: str) -> None:
        self._services, self._slices = services, slices
        self._namespaces: Informer[Document] = Informer(api, NAMESPACE)
        self._names: dict[ServiceName, tuple[PublishedName, ...]] = {}
        self._aliases: set[ServiceName] = set()
        self._known_namespaces: set[str] = set()
        self._domain = domain
        self._serial = int(datetime.now(UTC).timestamp())
        self._services.subscribe(lambda before, after: self._renew(before or after))
        self._slices.subscribe(self._slice_changed)
        self._namespaces.subscribe(self._namespace_changed)

    @property
    def zone(self) -> Zone:
        return Zone(self._domain, self._names, self._known_namespaces, self._aliases, self._serial, self.synced)

    @property
    def synced(self) -> bool:
        """True once every kind has been listed: only then is a name that is not here known not to exist."""
        return all(informer.synced.is_set() for informer in (self._services, self._slices, self._namespaces))

    async def wait_synced(self) -> None:
        for informer in (self._services, self._slices, self._namespaces):
            await informer.synced.wait()

    async def run(self) -> None:
        """Follows the API until cancelled."""
        await self._namespaces.run()

    def _slice_changed(self, before: EndpointSlice | None, after: EndpointSlice | None) -> None:
        for name in {each.service for each in (before, after) if each is not None}:
            self._renew(self._services.cache.get(*name))

    def _renew(self, changed: Service | None) -> None:
        if changed is None:
            return
        namespace, name = owner = (changed.metadata.namespace, changed.metadata.name)
        current = self._services.cache.get(namespace, name)
        alias = current is not None and current.spec.type == "ExternalName"
        names = None
        if current is not None and not alias:
            names = published(current, list(self._slices.cache.indexed("service", f"{namespace}/{name}")))
        if names == self._names.get(owner) and alias == (owner in self._aliases):
            return
        self._names.pop(owner, None)
        self._aliases.discard(owner)
        if names is not None:
            self._names[owner] = names
        elif alias:
            self._aliases.add(owner)
        self._serial += 1

    def _namespace_changed(self, before: Document | None, after: Document | None) -> None:
        if before is not None and after is None:
            self._known_namespaces.discard(before["metadata"]["name"])
        elif before is None and after is not None:
            self._known_namespaces.add(after["metadata"]["name"])
        else:
            return
        self._serial += 1
