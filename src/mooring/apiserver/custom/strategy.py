"""What does a custom resource answer? The Strategy of a version of a definition (pkg/registry/customresource)."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from mooring.apiserver import errors
from mooring.apiserver.cel.environment import CelError
from mooring.apiserver.contract import Env
from mooring.apiserver.custom import columns, rules, validation
from mooring.apiserver.custom.defaulting import default
from mooring.apiserver.custom.definition import Definition, Version, steps
from mooring.apiserver.custom.structural import Schema
from mooring.apiserver.kinds import formats, metadata
from mooring.apiserver.kinds.plain import NOTHING, restore
from mooring.apiserver.kinds.problems import invalid, required
from mooring.apiserver.strategy import Claim, Document, FieldError, below
from mooring.model import codec
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION, Kind
from mooring.store.records import Compare
from mooring.store.snapshot import Snapshot

_TOLD = 2 * validation.MOST_ERRORS
"""Errors in one answer, whoever found them."""
_BLOCKING = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)
_UNCHECKED = FieldError(
    "FieldValueInvalid",
    "",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
)
"""With errors of such types expressions would fail in ways that say nothing."""
_EXPONENT = 1e21
"""From here on Go writes numbers with one."""
NOWHERE = "<nil>"
"""How upstream writes the path of the whole object."""


class Custom:
    """Everything follows from the version's schema. Generations count changes of all but metadata and a separate status."""

    generation = False
    """Counted here: what counts differs with the status subresource."""

    def __init__(self, definition: Definition, version: Version, kind: Kind, schema: Schema) -> None:
        self.kind, self._definition, self._version, self._schema = kind, definition, version, schema
        self._printed = columns.printed(version.columns)
        self.columns = columns.headers(self._printed)
        self._selectable = {path.removeprefix("."): steps(path) for path in version.selectable}

    @cached_property
    def _rules(self) -> rules.Node | None:
        return rules.nodes(self._schema, root=True)

    def default(self, document: Document) -> None:
        whole_numbers(document)
        if self._schema.fills:
            default(document, self._schema)

    def prepare_create(self, document: Document, env: Env) -> None:
        if self._version.has_status:
            document.pop("status", None)
        document["metadata"]["generation"] = 1

    def prepare_update(self, document: Document, old: Document, subresource: str, env: Env) -> None:
        if subresource == "status":
            self._keep_but_status(document, old)
            return
        if self._version.has_status:
            restore(document, old, "status")
        if not codec.same(self._content(document), self._content(old)):
            document["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def _keep_but_status(self, document: Document, old: Document) -> None:
        """A status update changes the status, and who manages what."""
        managed, status, has = document["metadata"].get("managedFields"), document.get("status"), "status" in document
        document.clear()
        document.update(old)
        document["metadata"] = dict(old["metadata"])
        if managed is not None:
            document["metadata"]["managedFields"] = managed
        document.pop("status", None)
        if has:
            document["status"] = status

    def _content(self, document: Document) -> Document:
        apart = ("metadata", "status") if self._version.has_status else ("metadata",)
        return {name: value for name, value in document.items() if name not in apart}

    def validate(self, document: Document, old: Document | None, subresource: str) -> Sequence[FieldError]:
        before = validation.ABSENT if old is None else old
        found = metadata.check_metadata(document, old, self.kind.namespaced, formats.subdomain, any_finalizers=True)
        found += validation.check(document, self._schema, before)
        found += self._check_embedded(document, self._schema, "")
        found += self._check_scale(document)
        if self._rules is not None:
            found += [_UNCHECKED] if any(error.type in _BLOCKING for error in found) else self._ask(document, before)
        return [error if error.field else FieldError(error.type, NOWHERE, error.message) for error in found[:_TOLD]]

    def _ask(self, document: Document, before: Any) -> list[FieldError]:
        try:
            return rules.check(document, self._rules, before) if self._rules else []
        except CelError as error:  # compiled when the definition was written, perhaps by another version of this server
            return [invalid("", self._schema.type, f"rule compile error: {error}")]

    def _check_embedded(self, value: Any, schema: Schema, path: str) -> list[FieldError]:
        """A resource inside of a resource has a type and sound metadata."""
        if not self._embeds:
            return []
        found: list[FieldError] = []
        if isinstance(value, dict):
            if schema.embedded and path:
                found += _embedded(value, path)
            for name, item in value.items():
                known = schema.properties.get(name, schema.additional)
                if isinstance(known, Schema):
                    found += self._check_embedded(item, known, below(path, name))
        elif isinstance(value, list) and schema.items is not None:
            for place, item in enumerate(value):
                found += self._check_embedded(item, schema.items, f"{path}[{place}]")
        return found

    @cached_property
    def _embeds(self) -> bool:
        return _embeds(self._schema)

    def _check_scale(self, document: Document) -> list[FieldError]:
        """Numbers of replicas are what a Scale can say (pkg/registry/customresource/validator.go)."""
        paths = self._version.scale
        if paths is None:
            return []
        found = []
        for path in (paths.spec, paths.status):
            value = at(document, path)
            field = "." + ".".join(path)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                found.append(invalid(field, value, "should be an integer"))
            elif value is not None and not 0 <= value < 1 << 31:
                why = "should be a non-negative integer" if value < 0 else f"should be less than or equal to {(1 << 31) - 1}"
                found.append(invalid(field, value, why))
        if paths.selector and (text := at(document, paths.selector)) is not None and not isinstance(text, str):
            found.append(invalid("." + ".".join(paths.selector), text, "should be a string"))
        return found

    def warnings(self, document: Document, old: Document | None) -> Sequence[str]:
        return (self._version.deprecation,) if self._version.deprecation else ()

    def claim(self, document: Document | None, old: Document | None, snapshot: Snapshot, env: Env) -> Claim:
        """Nothing is allocated; but what is created must still be defined when it is written, and not on its way out."""
        if document is None or old is not None:
            return NOTHING
        if self._definition.terminating:
            why = "create not allowed while custom resource definition is terminating"
            refusal = errors.method_not_allowed(self.kind, "create")
            raise errors.StatusError(refusal.code, refusal.reason, why, refusal.details)
        record = snapshot.get(CUSTOM_RESOURCE_DEFINITION.key("", f"{self.kind.plural}.{self.kind.group}"))
        return Claim((Compare(record.key, record.mod_revision),)) if record else NOTHING

    def delete_at_once(self, document: Document) -> bool:
        return True

    def fields(self, document: Document) -> dict[str, str]:
        return {name: _selected(at(document, path)) for name, path in self._selectable.items()}

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        return columns.cells(document, self._printed, env)


def whole_numbers(value: Any) -> None:
    """Writes 1.0 as 1, as Go's encoder does: clients could not read it into a whole number."""
    for place, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, (dict, list)):
            whole_numbers(item)
        elif isinstance(item, float) and item.is_integer() and abs(item) < _EXPONENT:
            value[place] = int(item)


def at(document: Any, path: Sequence[str]) -> Any:
    """The value at a path of names; None when it is not there."""
    for name in path:
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def _selected(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None or isinstance(value, (dict, list)) else str(value)


def _embeds(schema: Schema) -> bool:
    parts = [*schema.properties.values(), schema.items, schema.additional]
    return schema.embedded or any(_embeds(each) for each in parts if isinstance(each, Schema))


def _embedded(value: Document, path: str) -> list[FieldError]:
    """pkg/apiserver/schema/objectmeta/validation.go"""
    found: list[FieldError] = []
    for name in ("apiVersion", "kind"):
        text = value.get(name)
        if not text:
            found.append(required(f"{path}.{name}", "must not be empty"))
        elif not isinstance(text, str):
            found.append(invalid(f"{path}.{name}", text, "must be a string"))
    if isinstance(kind := value.get("kind"), str) and kind:
        found += [invalid(f"{path}.kind", kind, why) for why in formats.label_1035(kind.lower())]
    meta = value.get("metadata")
    if meta is not None and not isinstance(meta, dict):
        found.append(invalid(f"{path}.metadata", meta, "must be an object"))
    for name in ("labels", "annotations"):
        texts = (meta or {}).get(name) if isinstance(meta, dict) else None
        if texts is None:
            continue
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            found.append(invalid(f"{path}.metadata.{name}", texts, "must be a map of strings"))
        elif name == "labels":
            found += metadata.check_labels(texts, f"{path}.metadata.labels")
        else:
            found += metadata.check_annotations(texts, f"{path}.metadata.annotations")
    return found
