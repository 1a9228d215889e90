"""apps/v1 ControllerRevision: a snapshot that never changes, and its row in a table."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import printing
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import IMMUTABLE, invalid, required
from mooring.apiserver.kinds.workloads import NOT_NEGATIVE
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model import codec
from mooring.model.kinds import CONTROLLER_REVISION


class ControllerRevision(Plain):
    kind = CONTROLLER_REVISION
    columns: tuple[Column, ...] = (NAME, Column("Controller"), Column("Revision", "integer"), AGE)

    def default(self, document: Document) -> None:
        document.setdefault("revision", 0)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        found: list[FieldError] = []
        if document.get("data") is None:
            found.append(required("data", "data is mandatory"))
        if document["revision"] < 0:
            found.append(invalid("revision", document["revision"], NOT_NEGATIVE))
        if old is not None and not codec.same(document.get("data"), old.get("data")):
            found.append(invalid("data", document.get("data"), IMMUTABLE))
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        metadata = document["metadata"]
        return [metadata.get("name", ""), _controller(metadata), document.get("revision", 0), printing.age(document, env)]


def _controller(metadata: Document) -> str:
    """As kubectl writes it, e.g. 'statefulset.apps/web'."""
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            group = str(reference.get("apiVersion", "")).rpartition("/")[0]
            kind = str(reference.get("kind", "")).lower()
            return f"{kind}.{group}/{reference.get('name', '')}" if group else f"{kind}/{reference.get('name', '')}"
    return printing.NONE
