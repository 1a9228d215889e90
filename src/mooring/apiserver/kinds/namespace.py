"""core/v1 Namespace: finalizers, phase, and a deletion that waits for what lives inside."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver import errors
from mooring.apiserver.contract import Env
from mooring.apiserver.custom.definition import condition, read
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds.metadata import check_metadata
from mooring.apiserver.kinds.plain import AGE, NAME, NOTHING, Plain, restore
from mooring.apiserver.kinds.problems import each, invalid
from mooring.apiserver.strategy import Claim, Column, Document, FieldError
from mooring.model import codec
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION, NAMESPACE, STORED
from mooring.store.snapshot import Snapshot

NAME_LABEL = "kubernetes.io/metadata.name"
REMAINING = "NamespaceContentRemaining"
"""The condition by which the controller of namespaces says whether anything is left."""


class Namespace(Plain):
    kind = NAMESPACE
    has_status = True
    columns: tuple[Column, ...] = (NAME, Column("Status"), AGE)

    def name_rule(self, name: str) -> list[str]:
        return formats.label(name)

    def default(self, document: Document) -> None:
        document.setdefault("spec", {})
        if name := document["metadata"].get("name"):
            labels = document["metadata"].setdefault("labels", {})
            labels.setdefault(NAME_LABEL, name)

    def prepare_create(self, document: Document, env: Env) -> None:
        self.default(document)
        document["status"] = {"phase": "Active"}
        finalizers = document["spec"].setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")

    def prepare_update(self, document: Document, old: Document, subresource: str, env: Env) -> None:
        """spec.finalizers change only through /finalize; the phase follows the deletion."""
        super().prepare_update(document, old, subresource, env)
        if subresource != "finalize":
            restore(document, old, "spec")
        status = document.setdefault("status", {})
        status["phase"] = "Terminating" if document["metadata"].get("deletionTimestamp") else "Active"

    def validate(self, document: Document, old: Document | None, subresource: str) -> Sequence[FieldError]:
        found = check_metadata(document, old, False, self.name_rule)
        for finalizer in document["spec"].get("finalizers") or ():
            words = formats.qualified_name(finalizer)
            found += each("spec.finalizers", finalizer, words)
            if not words and "/" not in finalizer and finalizer != "kubernetes":
                detail = "name is neither a standard finalizer name nor is it fully qualified"
                found.append(invalid("spec.finalizers", finalizer, detail))
        return found

    def claim(self, document: Document | None, old: Document | None, snapshot: Snapshot, env: Env) -> Claim:
        """Nothing is taken. But one whose status says that it is empty must be when it goes: who found it so may not have seen
        all, and what is left would be in the next namespace of the name. Whoever lets one go that is not said to be may."""
        if document is None and old is not None and condition(old, REMAINING) == "False":
            name = old["metadata"]["name"]
            if left := sum(snapshot.count(f"{prefix}{name}/") for prefix in _contents(snapshot)):
                raise errors.conflict(NAMESPACE, name, f"its objects go first, {left} are left")
        return NOTHING

    def fields(self, document: Document) -> dict[str, str]:
        return {"status.phase": document.get("status", {}).get("phase", "")}

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        name = document["metadata"].get("name", "")
        return [name, document.get("status", {}).get("phase", ""), printing.age(document, env)]


def _contents(snapshot: Snapshot) -> set[str]:
    """The prefixes of all namespaced kinds that are served, so that whoever empties a namespace can see their objects."""
    prefixes = {kind.prefix for kind in STORED if kind.namespaced}
    for record in snapshot.scan(CUSTOM_RESOURCE_DEFINITION.prefix):
        definition = read(codec.decode(record.value))
        if definition.established and any(version.served for version in definition.versions):
            prefixes.add(f"/{definition.group}/{definition.names.plural}/")
    return prefixes
