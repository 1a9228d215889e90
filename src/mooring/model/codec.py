"""How is a document written? Canonical JSON: kind, apiVersion, metadata first, so a revision can be stamped in by a splice.

Documents are stored whole, without resourceVersion: the store's revision of the record *is* the resourceVersion, and it is
known only after the commit.
"""

from collections.abc import Iterable
from io import BytesIO
from typing import Any

import msgspec

Document = dict[str, Any]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()
_METADATA = b'"metadata":{'
_AT_ONCE = 256
"""Parts of a list joined before they are put behind the others."""
_FIRST = ("kind", "apiVersion", "metadata")


def decode(data: bytes) -> Any:
    """JSON to plain Python values. Raises msgspec.DecodeError."""
    return _decoder.decode(data)


def encode(value: Any) -> bytes:
    """Any plain value as compact JSON."""
    return _encoder.encode(value)


def canonical(document: Document) -> bytes:
    """The stored form: kind, apiVersion, metadata first, no resourceVersion. The document itself is not changed."""
    metadata = {name: value for name, value in document["metadata"].items() if name != "resourceVersion"}
    ordered: Document = {"kind": document["kind"], "apiVersion": document["apiVersion"], "metadata": metadata}
    ordered.update((name, value) for name, value in document.items() if name not in _FIRST)
    return _encoder.encode(ordered)


def stamped_list(head: bytes, kind: str, api_version: str, items: Iterable[tuple[bytes, int]]) -> bytes:
    """A list of stored forms with their resourceVersions: `head` is the list's own JSON, its items left out.

    A large list is the most bytes that are ever made at once, so it grows in the one buffer that is handed out.
    """
    opening = b'{"kind":"%s","apiVersion":"%s",%s' % (kind.encode(), api_version.encode(), _METADATA)
    start, length = b',%s"resourceVersion":"%%d",' % opening.replace(b"%", b"%%"), len(opening)
    grown = BytesIO()
    grown.write(head[:-1] + b',"items":[')
    parts: list[bytes] = []
    skipped = 1  # the comma before the first
    for value, revision in items:
        if value.startswith(opening):
            parts += (start % revision, value[length:])
        else:
            parts += (b",", stamp(value, revision))
        if len(parts) >= _AT_ONCE:
            grown.write(b"".join(parts)[skipped:])
            parts.clear()
            skipped = 0
    grown.write(b"".join(parts)[skipped:])
    grown.write(b"]}")
    return grown.getvalue()


def stamp(value: bytes, revision: int) -> bytes:
    """The stored form with its resourceVersion put in. Every stored document has a non-empty metadata (a name)."""
    return value.replace(_METADATA, b'"metadata":{"resourceVersion":"%d",' % revision, 1)
