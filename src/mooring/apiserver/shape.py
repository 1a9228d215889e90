"""Which fields may a document of this kind have, and how do two documents of it merge?

Built-in kinds answer from the table of published types (schema.py); custom resources from their definition's structural schema.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from msgspec import Struct

from mooring.apiserver import schema, schema_at_once
from mooring.apiserver.apply import built_in as merge_types
from mooring.apiserver.apply.types import MergeType
from mooring.apiserver.schema import PatchMeta, StructureResult
from mooring.model.kinds import Kind

Document = dict[str, Any]


class Shape(Struct, frozen=True):
    """`check` finds type errors and unknown fields and removes nulls; `drop_unknown` removes what it found unknown;
    `patch_meta` tells how a strategic merge patch treats the field at a path, None where such patches are refused."""

    check: Callable[[Document], StructureResult]
    drop_unknown: Callable[[Document], None]
    patch_meta: Callable[[Sequence[str]], PatchMeta] | None = None
    merge_type: Callable[[], MergeType] | None = None
    """How server-side apply merges documents, and by which fields their managers are told; None: by what documents hold."""


_GOOD = StructureResult()


@cache
def built_in(kind: Kind) -> Shape:
    """The shape of a kind of the table of types, or of a document that is only sent or answered (Scale, TokenRequest)."""

    def check(document: Document) -> StructureResult:
        return _GOOD if schema_at_once.fits(kind, document) else schema.check_structure(kind, document)

    return Shape(
        check,
        lambda document: schema.drop_unknown(kind, document),
        lambda path: schema.patch_meta(kind, path),
        cache(lambda: merge_types.merge_type(kind)),
    )
