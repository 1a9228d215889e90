"""What is there to say about a part of an Ingress that is moved?"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from mooring.model.choice import Choice

Document = Mapping[str, Any]


class Mark(Choice):
    AS_IT_IS = "✓"
    CHANGES = "~"
    CANNOT = "✗"


WEIGHT = {Mark.AS_IT_IS: 0, Mark.CHANGES: 1, Mark.CANNOT: 2}


class Remark(Struct, frozen=True, gc=False, cache_hash=True):
    """`source` as in the RouteTable, '' for all of it. `annotations` are those (without their prefix) that may have asked for
    what is meant, `limit-*` for all that begin so; `todo` what a person can do about it, in the imperative."""

    source: str
    mark: Mark
    message: str
    todo: str = ""
    annotations: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return f"{self.message}: {self.todo}" if self.todo else self.message


def worst(marks: "list[Mark]") -> Mark:
    return max(marks, key=WEIGHT.__getitem__, default=Mark.AS_IT_IS)
