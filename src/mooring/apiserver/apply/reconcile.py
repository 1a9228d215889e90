"""What does an old field set mean under a type that has changed since? structured-merge-diff/typed/reconcile_schema.go.

Who owned something of what is atomic now owns it all; who owned an atomic whole that is granular now owns all of its fields.
"""

from typing import Any

from mooring.apiserver.apply.sets import LEAF, SELF, FieldSet, at, of_path, recursive_difference, union
from mooring.apiserver.apply.types import DEDUCED, MergeType
from mooring.apiserver.apply.walk import fields_of


def reconcile(fields: FieldSet, kind: MergeType, live: Any) -> FieldSet:
    """The set as it reads under `kind`, of the live document; the same object when nothing is different."""
    if kind is DEDUCED:
        return fields
    work = _Work(kind, live)
    work.visit(kind, fields, (), False)
    if not work.found:
        return fields
    result = fields
    for path, _ in work.found:
        result = recursive_difference(result, of_path(path))
    for _, added in work.found:
        result = union(result, added)
    return result


class _Work:
    def __init__(self, kind: MergeType, live: Any) -> None:
        self.kind, self.live = kind, live
        self.found: list[tuple[tuple[str, ...], FieldSet]] = []
        self._all: FieldSet | None = None

    def _granular(self, path: tuple[str, ...]) -> FieldSet:
        """The member at `path`, with all the fields that the live document has there."""
        if self._all is None:
            self._all = fields_of(self.kind, self.live)
        below = at(self._all, path) or LEAF
        node = {SELF: LEAF, **below} if below else LEAF
        for step in reversed(path):
            node = {step: node}
        return node

    def visit(self, kind: MergeType | None, node: FieldSet, path: tuple[str, ...], whole: bool) -> None:
        """`whole`: the member has no fields below it in the set."""
        if kind is None:
            return
        if kind.map is not None:
            self._visit_fields(kind, node, path, whole)
        elif kind.list is not None and not kind.scalar:
            self._visit_items(kind, node, path, whole)

    def _visit_fields(self, kind: MergeType, node: FieldSet, path: tuple[str, ...], whole: bool) -> None:
        mapped = kind.map
        assert mapped is not None
        if mapped.atomic:
            if not whole and node and path:
                self.found.append((path, of_path(path)))
            return
        if whole and path:
            granular = {} if kind.scalar else self._granular(path)  # what may be a scalar is a leaf without having been atomic
            if at(granular, path):
                self.found.append((path, granular))
            return
        for step, below in node.items():
            if step == SELF:
                continue
            field = mapped.fields.get(step[2:]) if step.startswith("f:") else None
            inner = field.type if field is not None else mapped.element
            self.visit(inner, below, (*path, step), not below)

    def _visit_items(self, kind: MergeType, node: FieldSet, path: tuple[str, ...], whole: bool) -> None:
        listed = kind.list
        assert listed is not None
        if listed.topology == "atomic":
            if not whole and path:
                self.found.append((path, of_path(path)))
            return
        if whole and path:
            granular = self._granular(path)
            if at(granular, path):
                self.found.append((path, granular))
            return
        for step, below in node.items():
            if step != SELF:
                self.visit(listed.element, below, (*path, step), not below)
