"""apiextensions.k8s.io/v1 CustomResourceDefinition: validated, given its names, established, all in the write that makes it so.

Upstream has controllers set names and conditions soon after; here a definition is served with the very answer to its creation.
What other definitions of the group wait for, they get in the transaction that sets it free.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mooring.apiserver import errors
from mooring.apiserver.contract import Env
from mooring.apiserver.custom import definition_rules, names
from mooring.apiserver.custom.definition import FINALIZER, condition
from mooring.apiserver.kinds import formats, metadata
from mooring.apiserver.kinds.plain import NAME, NOTHING, Plain, restore
from mooring.apiserver.strategy import Claim, Column, Document, FieldError
from mooring.model import codec
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION
from mooring.store.records import Compare, Delete, Put
from mooring.store.snapshot import Snapshot

CREATED = Column("Created At", "date", "When the server made this object, in UTC.")
NAMES = "/allocations/definitions/"
"""A key for each group: whoever takes or frees names in it writes it, so that two cannot take the same."""


class CustomResourceDefinition(Plain):
    kind = CUSTOM_RESOURCE_DEFINITION
    has_status = True
    generation = True
    columns: tuple[Column, ...] = (NAME, CREATED)

    def default(self, document: Document) -> None:
        spec = document.setdefault("spec", {})
        own = spec.setdefault("names", {})
        if kind := own.get("kind"):
            own["singular"] = own.get("singular") or kind.lower()
            own["listKind"] = own.get("listKind") or f"{kind}List"
        conversion = spec.setdefault("conversion", {})
        conversion["strategy"] = conversion.get("strategy") or "None"
        service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
        if service is not None and service.get("port") is None:
            service["port"] = 443
        if spec.get("preserveUnknownFields") is False:
            del spec["preserveUnknownFields"]

    def prepare_create(self, document: Document, env: Env) -> None:
        document["status"] = {"storedVersions": [], "conditions": []}
        _stored(document)

    def prepare_update(self, document: Document, old: Document, subresource: str, env: Env) -> None:
        super().prepare_update(document, old, subresource, env)
        if subresource != "status":
            restore(document, old, "status")
            document["status"] = codec.decode(codec.encode(document.get("status") or {}))
            _stored(document)

    def validate(self, document: Document, old: Document | None, subresource: str) -> Sequence[FieldError]:
        spec = document["spec"]
        wanted = f"{spec['names'].get('plural') or ''}.{spec.get('group') or ''}"

        def name_rule(name: str) -> list[str]:
            found = formats.subdomain(name)
            return found if name == wanted else [*found, 'must be spec.names.plural+"."+spec.group']

        found = metadata.check_metadata(document, old, False, name_rule, any_finalizers=True)
        return found + self.check(document, old, subresource)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        if subresource == "status":
            accepted = (document.get("status") or {}).get("acceptedNames") or {}
            return definition_rules.check_names(accepted, "status.acceptedNames")
        established = old is not None and condition(old, "Established") == "True"
        found = definition_rules.check(document, old, established)
        return found + definition_rules.check_stored_versions(document)

    def claim(self, document: Document | None, old: Document | None, snapshot: Snapshot, env: Env) -> Claim:
        """The names: taken, and when something changes them or the definition goes, given to those who wait."""
        subject = document or old
        if subject is None:
            return NOTHING
        group = subject["spec"]["group"]
        if document is None and (left := snapshot.count(f"/{group}/{subject['spec']['names']['plural']}/")):
            name = subject["metadata"]["name"]
            raise errors.conflict(CUSTOM_RESOURCE_DEFINITION, name, f"its objects go first, {left} are left")
        others = _others(subject, group, snapshot)
        if document is not None:
            names.settle(document, (each for _, _, each in others), env.now)
        changed = _accepted(document) != _accepted(old) or document is None
        if not changed:
            return NOTHING
        fence = snapshot.get(NAMES + group)
        compares = [Compare(NAMES + group, fence.mod_revision if fence else 0)]
        operations: list[Put | Delete] = [Put(NAMES + group, b"{}")]
        everyone = {key: each for key, _, each in others}
        for key, revision, other in others:
            rest = [each for name, each in everyone.items() if name != key] + ([document] if document else [])
            if condition(other, "NamesAccepted") != "True" and _settled(other, rest, env.now):
                compares.append(Compare(key, revision))
                operations.append(Put(key, codec.canonical(other)))
        return Claim(tuple(compares), tuple(operations))

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        return [document["metadata"].get("name", ""), document["metadata"].get("creationTimestamp")]


def marked_for_deletion(document: Document, now: datetime) -> None:
    """Its objects go first: it stays until they are gone."""
    finalizers = document["metadata"].setdefault("finalizers", [])
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)
    names.terminating(document, now)


def _stored(document: Document) -> None:
    """Records may be of every version that has been the storage version."""
    status = document["status"]
    stored = list(status.get("storedVersions") or ())
    for version in document["spec"].get("versions") or ():
        name = version.get("name") or ""
        if version.get("storage") and name not in stored:
            stored.append(name)
    status["storedVersions"] = stored


def _accepted(document: Document | None) -> Any:
    return ((document or {}).get("status") or {}).get("acceptedNames")


def _others(subject: Document, group: str, snapshot: Snapshot) -> list[tuple[str, int, Document]]:
    """(key, revision, document) of the group's other definitions."""
    found = []
    for record in snapshot.scan(CUSTOM_RESOURCE_DEFINITION.prefix):
        if record.key.endswith(f".{group}") and not record.key.endswith(f"/{subject['metadata'].get('name')}"):
            document = codec.decode(record.value)
            if document["spec"]["group"] == group:
                found.append((record.key, record.mod_revision, document))
    return found


def _settled(document: Document, others: list[Document], now: datetime) -> bool:
    """Whether there is something new for a definition that waits, which is then in its status."""
    before = codec.encode(document.get("status"))
    names.settle(document, others, now)
    return codec.encode(document.get("status")) != before
