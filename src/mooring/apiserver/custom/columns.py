"""Which columns has the Table of a custom resource, and what stands in its cells? (customresource/tableconvertor)"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from mooring.apiserver.contract import Env
from mooring.apiserver.custom.jsonpath import Path, find, parse
from mooring.apiserver.kinds.plain import NAME
from mooring.apiserver.kinds.printing import since
from mooring.apiserver.strategy import Column, Document
from mooring.model import codec

_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": ""}
_AGE_WORDS = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be "
    "set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form "
    "and is in UTC."
)


class Printed(Struct, frozen=True):
    """A column and where its cells come from."""

    column: Column
    path: Path


def printed(columns: Sequence[Document]) -> tuple[Printed, ...]:
    """The columns after Name; the age alone when a definition names none."""
    return tuple(map(_printed, columns or (_AGE | {"description": _AGE_WORDS},)))


def _printed(raw: Document) -> Printed:
    path = raw.get("jsonPath") or ""
    words = raw.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    column = Column(
        raw.get("name") or "", raw.get("type") or "string", words, raw.get("priority") or 0, raw.get("format") or ""
    )
    return Printed(column, parse(path))


def headers(columns: Sequence[Printed]) -> tuple[Column, ...]:
    return (NAME, *(each.column for each in columns))


def cells(document: Document, columns: Sequence[Printed], env: Env) -> list[Any]:
    return [document["metadata"].get("name", ""), *(_cell(document, each, env.now) for each in columns)]


def _cell(document: Document, printed: Printed, now: datetime) -> Any:
    value = next(find(document, printed.path), None)
    match printed.column.type:
        case "integer" if isinstance(value, (int, float)) and not isinstance(value, bool):
            return int(value)
        case "number" if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "date" if isinstance(value, str):
            try:
                return since(value, now)
            except ValueError:
                return "<invalid>"
        case "string" if value is not None:
            return value if isinstance(value, str) else _text(value)
    return None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else codec.encode(value).decode()
