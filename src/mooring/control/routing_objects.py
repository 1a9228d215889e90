"""What of a reconciler's world bears on routes? Its documents as views, each made when it is first asked for.

A view stays the same object while its document does: whoever remembers what came of one need not look into it again.
"""

from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any, Generic, TypeVar

import msgspec

from mooring.control.cache import key_of
from mooring.control.reconciler import Document, Key, World
from mooring.model.ingress import IngressClass, ingress, ingress_class
from mooring.model.kinds import CONFIG_MAP, INGRESS, INGRESS_CLASS, SECRET, SERVICE, Kind
from mooring.model.service import service
from mooring.routing.ingress.documents import config_map, secret
from mooring.routing.ingress.objects import Objects
from mooring.routing.table import Certificate

SOME_CERTIFICATE = Certificate(b"", b"", "the proxies' own")
"""Proxies show one of their own where there is no other; which one does not matter to what is said about Ingresses."""
KINDS = (INGRESS, INGRESS_CLASS, SERVICE, SECRET, CONFIG_MAP)
View = TypeVar("View")


class Views(Mapping[Key, View], Generic[View]):
    """Those of one kind. What a view cannot be made of counts as absent."""

    def __init__(self, kind: Kind, view: Callable[[Document], View]) -> None:
        self._kind, self._view = kind, view
        self._made: dict[Key, tuple[Document, View | None]] = {}
        self._world: World | None = None

    def of(self, world: World) -> "Views[View]":
        """These, of this world from now on."""
        self._world = world
        return self

    def _of(self, key: Key, document: Document) -> View | None:
        held = self._made.get(key)
        if held is not None and held[0] is document:
            return held[1]
        try:
            view: View | None = self._view(document)
        except (msgspec.ValidationError, ValueError):
            view = None
        self._made[key] = (document, view)
        return view

    def __getitem__(self, key: Key) -> View:
        document = self._world.get(self._kind, *key) if self._world else None
        if document is None:
            self._made.pop(key, None)
            raise KeyError(key)
        view = self._of(key, document)
        if view is None:
            raise KeyError(key)
        return view

    def _all(self) -> Iterator[tuple[Key, View]]:
        for document in self._world.list(self._kind) if self._world else ():
            key = key_of(document)
            if (view := self._of(key, document)) is not None:
                yield key, view

    def __iter__(self) -> Iterator[Key]:
        return (key for key, _ in self._all())

    def __len__(self) -> int:
        return sum(1 for _ in self._all())

    def items(self) -> ItemsView[Key, View]:
        return dict(self._all()).items()

    def values(self) -> ValuesView[View]:
        return dict(self._all()).values()


class RoutingObjects:
    """Remembers views from one look to the next."""

    def __init__(self) -> None:
        self._ingresses, self._services = Views(INGRESS, ingress), Views(SERVICE, service)
        self._secrets, self._config_maps = Views(SECRET, secret), Views(CONFIG_MAP, config_map)
        self._classes: Views[IngressClass] = Views(INGRESS_CLASS, ingress_class)

    def look(self, world: World) -> Objects:
        """Good until the world changes."""
        return Objects(
            ingresses=self._ingresses.of(world),
            classes={name: view for (_, name), view in self._classes.of(world).items()},
            services=self._services.of(world),
            secrets=self._secrets.of(world),
            config_maps=self._config_maps.of(world),
            default_certificate=SOME_CERTIFICATE,
        )


CONTENT: Mapping[Kind, tuple[str, ...]] = {SERVICE: ("spec",), SECRET: ("type", "data"), CONFIG_MAP: ("data",)}
"""What of an object routes are made from."""


def means_the_same(kind: Kind, before: Document | None, after: Document | None) -> bool:
    """A change of nothing that routes are made from: of a heartbeat in an annotation, of a status."""

    def content(document: Document) -> list[Any]:
        return [document.get(name) for name in CONTENT[kind]]

    return kind in CONTENT and before is not None and after is not None and content(before) == content(after)
