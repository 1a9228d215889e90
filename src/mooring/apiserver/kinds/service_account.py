"""core/v1 ServiceAccount."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import printing
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.strategy import Column, Document
from mooring.model.kinds import SERVICE_ACCOUNT


class ServiceAccount(Plain):
    kind = SERVICE_ACCOUNT
    columns: tuple[Column, ...] = (NAME, Column("Secrets"), AGE)

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        return [document["metadata"].get("name", ""), len(document.get("secrets") or ()), printing.age(document, env)]
