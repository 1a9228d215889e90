"""How is a document written? Canonical JSON: kind, apiVersion, metadata first, so a revision can be stamped in by a splice.

Documents are stored whole, without resourceVersion: the store's revision of the record *is* the resourceVersion, and it is
known only after the commit.
"""

from typing import Any

import msgspec

Document = dict[str, Any]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()
_METADATA = b'"metadata":{'
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


def stamp(value: bytes, revision: int) -> bytes:
    """The stored form with its resourceVersion put in. Every stored document has a non-empty metadata (a name)."""
    return value.replace(_METADATA, b'"metadata":{"resourceVersion":"%d",' % revision, 1)
