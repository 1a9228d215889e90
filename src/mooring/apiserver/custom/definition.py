"""What does a CustomResourceDefinition's document say, as values?"""

from typing import Any

from msgspec import Struct

from mooring.model.kinds import Kind

Document = dict[str, Any]

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
NO_SCHEMA: Document = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""What holds for a version without a schema, which only old definitions may have."""


class ScalePaths(Struct, frozen=True):
    """Where the numbers of a Scale are, as names from the root; `selector` leads to a text."""

    spec: tuple[str, ...]
    status: tuple[str, ...]
    selector: tuple[str, ...] = ()


class Version(Struct, frozen=True, eq=False):
    """One version of a definition. `schema` is as it was written."""

    name: str
    served: bool
    storage: bool
    schema: Document
    has_status: bool
    scale: ScalePaths | None
    columns: tuple[Document, ...]
    selectable: tuple[str, ...]
    deprecation: str
    """The warning for those who use it; '' when it is not deprecated."""


class Names(Struct, frozen=True):
    plural: str
    singular: str
    kind: str
    list_kind: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


class Definition(Struct, frozen=True, eq=False):
    """A definition with the names that it was given (status.acceptedNames)."""

    group: str
    names: Names
    namespaced: bool
    versions: tuple[Version, ...]
    conversion: Document
    established: bool
    terminating: bool
    changed: bool
    """Whether its spec is not the first one: then records may have been written by another schema."""

    @property
    def storage(self) -> Version:
        return next(version for version in self.versions if version.storage)

    def kind(self, version: Version) -> Kind:
        """The Kind as this version serves it."""
        subresources = ("status",) * version.has_status + ("scale",) * (version.scale is not None)
        names = self.names
        return Kind(
            self.group, version.name, names.kind, names.plural, names.singular, self.namespaced, names.short_names,
            names.categories, subresources, list_name="" if names.list_kind == f"{names.kind}List" else names.list_kind,
        )  # fmt: skip


def steps(path: str) -> tuple[str, ...]:
    """'.spec.replicas' as names."""
    return tuple(step for step in path.split(".") if step)


def read(document: Document) -> Definition:
    """A stored document, which is valid."""
    spec, status = document["spec"], document.get("status") or {}
    names = _names(spec.get("names") or {}, status.get("acceptedNames") or {})
    versions = tuple(_version(raw, spec["group"], names.kind) for raw in spec["versions"])
    return Definition(
        spec["group"], names, spec.get("scope") == "Namespaced", versions, spec.get("conversion") or {},
        condition(document, "Established") == "True", bool(document["metadata"].get("deletionTimestamp")),
        document["metadata"].get("generation") != 1,
    )  # fmt: skip


def condition(document: Document, type: str) -> str:
    """'True', 'False', 'Unknown', or '' when there is no such condition."""
    for each in (document.get("status") or {}).get("conditions") or ():
        if each.get("type") == type:
            return str(each.get("status"))
    return ""


def _names(asked: Document, accepted: Document) -> Names:
    def of(name: str) -> str:
        return str(accepted.get(name) or "")

    return Names(
        of("plural") or str(asked.get("plural")), of("singular"), of("kind") or str(asked.get("kind")), of("listKind"),
        tuple(accepted.get("shortNames") or ()), tuple(accepted.get("categories") or ()),
    )  # fmt: skip


def _version(raw: Document, group: str, kind: str) -> Version:
    subresources = raw.get("subresources") or {}
    deprecation = ""
    if raw.get("deprecated"):
        deprecation = raw.get("deprecationWarning") or f"{group}/{raw['name']} {kind} is deprecated"
    return Version(
        raw["name"], bool(raw.get("served")), bool(raw.get("storage")),
        (raw.get("schema") or {}).get("openAPIV3Schema") or NO_SCHEMA,
        subresources.get("status") is not None, _scale(subresources.get("scale")),
        tuple(raw.get("additionalPrinterColumns") or ()),
        tuple(each.get("jsonPath") or "" for each in raw.get("selectableFields") or ()), deprecation,
    )  # fmt: skip


def _scale(raw: Document | None) -> ScalePaths | None:
    if raw is None:
        return None
    return ScalePaths(
        steps(raw.get("specReplicasPath") or ""), steps(raw.get("statusReplicasPath") or ""),
        steps(raw.get("labelSelectorPath") or ""),
    )  # fmt: skip
