"""coordination.k8s.io/v1 Lease."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import printing
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import invalid
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import LEASE


class Lease(Plain):
    kind = LEASE
    columns: tuple[Column, ...] = (NAME, Column("Holder"), AGE)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        spec = document.get("spec") or {}
        found = []
        if (seconds := spec.get("leaseDurationSeconds")) is not None and seconds <= 0:
            found.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
        if (transitions := spec.get("leaseTransitions")) is not None and transitions < 0:
            found.append(invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        holder = (document.get("spec") or {}).get("holderIdentity", "")
        return [document["metadata"].get("name", ""), holder, printing.age(document, env)]
