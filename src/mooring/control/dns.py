"""Which names does the cluster have now? Keeps the Zone true from Services, slices, Namespaces and Ingresses, one at a time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Set
from time import time
from typing import Any, TypeVar

import structlog
from msgspec import Struct

from mooring.control.informer import Informer
from mooring.control.reconciler import Document
from mooring.dns.layout import layout
from mooring.dns.owners import Change, visible
from mooring.dns.shared import SharedNames
from mooring.dns.zone import PodNames, PublishedIngress, PublishedNamespace, Source, Zone, ZoneOptions, published_ingress
from mooring.endpoints.addresses import readable
from mooring.model.discovery import EndpointSlice
from mooring.model.ingress import Ingress, ingress
from mooring.model.kinds import INGRESS, NAMESPACE, POD
from mooring.model.service import Service
from mooring.ports.api import Api
from mooring.services.names import PublishedService, published
from mooring.services.view import ServiceName

log = structlog.get_logger("dns")
T = TypeVar("T", PublishedService, PublishedIngress)
ENDED = ("Succeeded", "Failed")


class PodAddresses(Struct, frozen=True, gc=False):
    """All that is kept of a pod."""

    namespace: str
    addresses: tuple[str, ...]


class ZoneKeeper:
    """`zone` is always a consistent value: answers read it in the same thread, between two changes.

    The informers of Services and slices are shared with the dataplane, which runs them. Pods are followed only where their
    names are verified, or `clients` asks for it: to know the namespace of whoever asks. `serial`: the last of an earlier life,
    which must not come again; 0 for none.
    """

    def __init__(
        self,
        api: Api,
        services: Informer[Service],
        slices: Informer[EndpointSlice],
        options: ZoneOptions,
        *,
        clients: bool = False,
        serial: int = 0,
        now: Callable[[], float] = time,
    ) -> None:
        self._services, self._slices, self._options, self._now = services, slices, options, now
        self._namespaces: Informer[str] = Informer(api, NAMESPACE, lambda document: str(document["metadata"]["name"]))
        self._ingresses: Informer[Ingress] | None = Informer(api, INGRESS, ingress) if options.external else None
        follow_pods = clients or options.pods is PodNames.VERIFIED
        self._pods: Informer[PodAddresses] | None = Informer(api, POD, pod_addresses) if follow_pods else None
        self._published: dict[ServiceName, PublishedService] = {}
        self._hosts: dict[ServiceName, PublishedIngress] = {}
        self._existing: set[str] = set()
        self._spaces: set[str] = set()
        self._members: Counter[str] = Counter()
        self._addresses: dict[str, Counter[str]] = {}
        self._pods_of: dict[str, Set[str]] = {}
        self._shared = SharedNames(layout(options))
        self._serial = max(serial + 1, int(now()))
        self._subscribers: list[Callable[[Change], None]] = []
        self._services.subscribe(self._service_changed)
        self._slices.subscribe(self._slice_changed)
        self._namespaces.subscribe(lambda before, after: self._namespace_changed(after or before or ""))
        if self._ingresses is not None:
            self._ingresses.subscribe(self._ingress_changed)
        if self._pods is not None:
            self._pods.subscribe(self._pod_changed)

    @property
    def zone(self) -> Zone:
        return Zone(
            self._options, self._published, self._spaces, self._serial, self.synced, self._pods_of, self._hosts, self._shared
        )

    @property
    def synced(self) -> bool:
        """True once every kind has been listed: only then is a name that is not here known not to exist."""
        return all(each.synced.is_set() for each in self._informers)

    async def wait_synced(self) -> None:
        for each in self._informers:
            await each.synced.wait()

    async def run(self) -> None:
        """Follows the API until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for each in self._own:
                tasks.create_task(each.run())

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Calls back for every change that shows, as soon as `zone` has it; not for what is there already. Returns the undo."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    @property
    def _own(self) -> list[Informer[Any]]:
        return [each for each in (self._namespaces, self._ingresses, self._pods) if each is not None]

    @property
    def _informers(self) -> list[Informer[Any]]:
        return [self._services, self._slices, *self._own]

    def _service_changed(self, before: Service | None, after: Service | None) -> None:
        found = after or before
        assert found is not None
        self._renew((found.metadata.namespace, found.metadata.name))

    def _slice_changed(self, before: EndpointSlice | None, after: EndpointSlice | None) -> None:
        for name in {each.service for each in (before, after) if each is not None}:
            self._renew(name)

    def _renew(self, key: ServiceName) -> None:
        current = self._services.cache.get(*key)
        before, after = self._published.get(key), None
        if current is not None:
            slices = list(self._slices.cache.indexed("service", f"{key[0]}/{key[1]}"))
            after = published(current, slices, pod_names=self._options.pod_names)
        if before is None and after is not None:
            self._members[key[0]] += 1
            self._space_changed(key[0])
        self._put(self._published, key, after)
        if before is not None and after is None:
            self._members[key[0]] -= 1
            self._space_changed(key[0])

    def _namespace_changed(self, name: str) -> None:
        if self._namespaces.cache.get("", name) is not None:
            self._existing.add(name)
        else:
            self._existing.discard(name)
        self._space_changed(name)

    def _space_changed(self, name: str) -> None:
        """A Namespace exists here as long as it has Services, too: the kinds are not told in any order."""
        was, exists = name in self._spaces, name in self._existing or self._members[name] > 0
        if was is exists:
            return
        if exists:
            self._spaces.add(name)
        else:
            self._spaces.discard(name)
        namespace = PublishedNamespace()
        self._tell(("", name), namespace if was else None, namespace if exists else None)

    def _ingress_changed(self, before: Ingress | None, after: Ingress | None) -> None:
        found = after or before
        assert found is not None
        key = (found.metadata.namespace, found.metadata.name)
        self._put(self._hosts, key, None if after is None else published_ingress(after))

    def _put(self, held: dict[ServiceName, T], key: ServiceName, after: T | None) -> None:
        before = held.get(key)
        if before == after:
            return
        if after is None:
            del held[key]
        else:
            held[key] = after
        if visible(self._options, before) != visible(self._options, after):
            self._tell(key, before, after)

    def _tell(self, key: ServiceName, before: Source | None, after: Source | None) -> None:
        """The serial is a time as long as changes are fewer than one a second; until all has been listed nobody compares it."""
        self._shared.change(key, before, after)
        if self.synced:
            self._serial = max(self._serial + 1, int(self._now()))
        change = Change(key, before, after)
        for callback in list(self._subscribers):
            try:
                callback(change)
            except Exception:
                log.exception("a change of a name was not taken in; the Zone and the others go on", key=key)

    def _pod_changed(self, before: PodAddresses | None, after: PodAddresses | None) -> None:
        for pod, step in ((after, 1), (before, -1)):
            if pod is None:
                continue
            counts = self._addresses.setdefault(pod.namespace, Counter())
            for address in pod.addresses:
                counts[address] += step
                if not counts[address]:
                    del counts[address]
            self._pods_of[pod.namespace] = counts.keys()


def pod_addresses(document: Document) -> PodAddresses:
    """None of a pod that has ended: its addresses may already be another's."""
    status = document.get("status") or {}
    namespace = document["metadata"]["namespace"]
    if status.get("phase") in ENDED:
        return PodAddresses(namespace, ())
    texts = [status.get("podIP") or "", *(each.get("ip") or "" for each in status.get("podIPs") or ())]
    return PodAddresses(namespace, readable(texts))
