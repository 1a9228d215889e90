"""Which kinds are served now? Those of the table of kinds, and those that CustomResourceDefinitions have added."""

import re
from collections.abc import Iterable
from typing import Any

from mooring.apiserver.custom.definition import read
from mooring.apiserver.custom.serving import resource_of as custom_resource
from mooring.apiserver.resources import Resource, resource_of
from mooring.model import codec
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION, KINDS
from mooring.store.snapshot import Snapshot


class Registry:
    """Compared by identity, so that documents about it are made once and kept with it."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.resources = tuple(resources)
        self.kinds = tuple(resource.kind for resource in self.resources)
        self._by_plural = {(one.kind.group, one.kind.version, one.kind.plural): one for one in self.resources}
        self.targets: dict[str, Any] = {}
        """What paths mean here, as far as paths.py has found out."""
        self._by_kind = {(one.kind.api_version, one.kind.kind): one for one in self.resources}

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """What /apis/<group>/<version>/<plural> serves."""
        return self._by_plural.get((group, version, plural))

    def find_kind(self, api_version: str, kind: str) -> Resource | None:
        """What a document of this apiVersion and kind is."""
        return self._by_kind.get((api_version, kind))


BUILT_IN = Registry(resource_of(kind) for kind in KINDS)


_DEFINITIONS = CUSTOM_RESOURCE_DEFINITION.prefix


def registry(snapshot: Snapshot) -> Registry:
    """The kinds as of now; the same object until a definition changes."""
    return snapshot.derived(_extended, _DEFINITIONS)


def _extended(snapshot: Snapshot) -> Registry:
    """With the versions that established definitions serve; a kind of the table is never hidden by one of them."""
    found: list[Resource] = []
    known, current = dict(_known), {}
    for record in snapshot.scan(_DEFINITIONS):
        held = known.get(record.key)
        served = held[1] if held and held[0] == record.value else custom_resources(record.value)
        current[record.key] = record.value, served
        found += [each for each in served if not _built_in(each)]
    _known.clear()
    _known.update(current)
    return Registry((*BUILT_IN.resources, *found)) if found else BUILT_IN


def _built_in(resource: Resource) -> bool:
    kind = resource.kind
    return bool(BUILT_IN.find(kind.group, kind.version, kind.plural) or BUILT_IN.find_kind(kind.api_version, kind.kind))


_known: dict[str, tuple[bytes, tuple[Resource, ...]]] = {}
"""What the definitions of the last registry serve, by key: a change of one leaves what was made for the others."""


def custom_resources(value: bytes) -> tuple[Resource, ...]:
    """What a stored definition serves: the versions in the order in which clients are to prefer them."""
    definition = read(codec.decode(value))
    if not definition.established:
        return ()
    served = sorted((version for version in definition.versions if version.served), key=lambda one: preference(one.name))
    return tuple(custom_resource(definition, version) for version in served)


_VERSION = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?")
_STAGES = {None: 0, "beta": 1, "alpha": 2}


def preference(version: str) -> tuple[int, int, int, str]:
    """Sorts v2 before v1 before v1beta2 before v1beta1 before v1alpha1 before anything else, by name."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return 3, 0, 0, version
    return _STAGES[found[2]], -int(found[1]), -int(found[3] or 0), version
