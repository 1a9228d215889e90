"""What bears on Ingresses, as it is now? Informers whose views keep no more than routing reads.

An object that changed in nothing that routing reads stays the very same value, so that what was made of it is not made again.
Secrets that can hold neither certificates nor passwords are not kept (service account tokens, Helm's releases, registry keys).
"""

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from mooring.control.cache import key_of
from mooring.control.informer import Informer
from mooring.control.reconciler import Document
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.ingress import Ingress, IngressClass, ingress, ingress_class
from mooring.model.kinds import CONFIG_MAP, ENDPOINT_SLICE, INGRESS, INGRESS_CLASS, SECRET, SERVICE
from mooring.model.meta import Meta
from mooring.model.service import Service, service
from mooring.ports.api import Api
from mooring.routing.ingress.documents import config_map
from mooring.routing.ingress.objects import Name, Objects, Secret
from mooring.routing.table import Certificate

NOT_KEPT = frozenset(
    {
        "bootstrap.kubernetes.io/token",
        "helm.sh/release.v1",
        "kubernetes.io/dockercfg",
        "kubernetes.io/dockerconfigjson",
        "kubernetes.io/service-account-token",
        "kubernetes.io/ssh-auth",
    }
)
"""The types of Secrets whose data routing has no use for. A certificate may be of any other: some issuers have their own."""
NO_SECRET: Mapping[str, bytes] = {}


class Base64(Mapping[str, bytes]):
    """A Secret's data, decoded as it is looked up: most of what is held is never read."""

    def __init__(self, data: Mapping[str, str]) -> None:
        self.encoded = data

    def __getitem__(self, key: str) -> bytes:
        try:
            return base64.b64decode(self.encoded[key], validate=True)
        except binascii.Error:
            return b""

    def __iter__(self) -> Iterator[str]:
        return iter(self.encoded)

    def __len__(self) -> int:
        return len(self.encoded)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Base64) and self.encoded == other.encoded

    __hash__ = None  # type: ignore[assignment]


class Named(msgspec.Struct, frozen=True):
    """A view of an object that does not know its own name."""

    name: Name
    view: Any


class GatewayObjects:
    """`changed` is set when `take` would give something else. `slices` are followed apart."""

    def __init__(self, api: Api, default_certificate: Certificate | None = None) -> None:
        self.changed = asyncio.Event()
        self.slices: Informer[EndpointSlice] = Informer(api, ENDPOINT_SLICE, endpoint_slice)
        self._default_certificate = default_certificate
        self._copies: dict[str, Mapping[Any, Any]] = {}
        self._objects: dict[str, Informer[Any]] = {
            "ingresses": Informer(api, INGRESS, ingress),
            "classes": Informer(api, INGRESS_CLASS, ingress_class),
            "services": Informer(api, SERVICE, service),
            "secrets": Informer(api, SECRET, partial(named, view=secret)),
            "config_maps": Informer(api, CONFIG_MAP, partial(named, view=config_map)),
        }
        self._held: dict[str, dict[Any, Any]] = {field: {} for field in self._objects}
        for field, informer in self._objects.items():
            informer.subscribe(partial(self._changed, field))

    @property
    def informers(self) -> list[Informer[Any]]:
        return [*self._objects.values(), self.slices]

    def ingress(self, name: Name) -> Ingress | None:
        return self._held["ingresses"].get(name)

    def missing(self) -> str:
        """Which kinds have not been listed yet; '' when all have."""
        return ", ".join(each.kind.group_resource for each in self.informers if not each.synced.is_set())

    def take(self) -> Objects:
        """All as it is now, not to change any more."""
        self.changed.clear()
        for field, held in self._held.items():
            if field not in self._copies:
                self._copies[field] = dict(held)
        return Objects(**self._copies, default_certificate=self._default_certificate)

    def _changed(self, field: str, before: Any, after: Any) -> None:
        key, view = _entry(field, after if after is not None else before)
        held = self._held[field]
        if after is None:
            del held[key]
        elif key in held and same(held[key], view):
            return
        else:
            held[key] = view
        self._copies.pop(field, None)
        self.changed.set()


def same(before: Any, after: Any) -> bool:
    """Whether two versions are alike in what routing reads: neither status nor revision."""
    if isinstance(before, Ingress | IngressClass | Service):
        return bool(before.spec == after.spec) and _meta(before.metadata) == _meta(after.metadata)
    return bool(before == after)


def _meta(meta: Meta) -> Meta:
    return msgspec.structs.replace(meta, resource_version="")


def _entry(field: str, found: Any) -> tuple[Any, Any]:
    if isinstance(found, Named):
        return found.name, found.view
    name: str = found.metadata.name
    return (name if field == "classes" else (found.metadata.namespace, name)), found


def named(document: Document, view: Callable[[Document], Any]) -> Named:
    return Named(key_of(document), view(document))


def secret(document: Document) -> Secret:
    """Its data stays encoded until it is read; of a type that routing has no use for, nothing is kept."""
    type_ = str(document.get("type") or "")
    return Secret(type_ or "Opaque", NO_SECRET if type_ in NOT_KEPT else Base64(document.get("data") or {}))
