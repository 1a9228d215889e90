"""Which kinds are served now? Those of the table of kinds, and those that CustomResourceDefinitions have added."""

from collections.abc import Iterable

from mooring.apiserver.resources import Resource, resource_of
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION, KINDS
from mooring.store.snapshot import Snapshot


class Registry:
    """Compared by identity, so that documents about it are made once and kept with it."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.resources = tuple(resources)
        self.kinds = tuple(resource.kind for resource in self.resources)
        self._by_plural = {(one.kind.group, one.kind.version, one.kind.plural): one for one in self.resources}
        self._by_kind = {(one.kind.api_version, one.kind.kind): one for one in self.resources}

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """What /apis/<group>/<version>/<plural> serves."""
        return self._by_plural.get((group, version, plural))

    def find_kind(self, api_version: str, kind: str) -> Resource | None:
        """What a document of this apiVersion and kind is."""
        return self._by_kind.get((api_version, kind))


BUILT_IN = Registry(resource_of(kind) for kind in KINDS)


def registry(snapshot: Snapshot) -> Registry:
    """The kinds as of now; the same object until a definition changes."""
    return snapshot.derived(_extended, CUSTOM_RESOURCE_DEFINITION.prefix)


def _extended(snapshot: Snapshot) -> Registry:
    return BUILT_IN
