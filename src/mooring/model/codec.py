"""How is a document written? Canonical JSON: kind, apiVersion, metadata first, so a revision can be stamped in by a splice.

Documents are stored whole, without resourceVersion: the store's revision of the record *is* the resourceVersion, and it is
known only after the commit.
"""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

Document = dict[str, Any]

_encoder = msgspec.json.Encoder()
_in_order = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder()
_METADATA = b'"metadata":{'
_STAMP = b'"metadata":{"resourceVersion":"%d",'
_STAMP_SIZE = len(b',"resourceVersion":"",')
"""What is added to each, the digits aside, with the comma before it."""
_FIRST = ("kind", "apiVersion", "metadata")


def decode(data: bytes) -> Any:
    """JSON to plain Python values. Raises msgspec.DecodeError."""
    return _decoder.decode(data)


def encode(value: Any) -> bytes:
    """Any plain value as compact JSON.

    What is written is often kept, and msgspec hands out bytes with room to grow, half as much again: they are copied.
    """
    return b"".join((_encoder.encode(value), b""))


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are written alike, but for the order of keys: Python itself holds 1 for True."""
    return bool(one == other) and _in_order.encode(one) == _in_order.encode(other)


def canonical(document: Document) -> bytes:
    """The stored form: kind, apiVersion, metadata first, no resourceVersion. The document itself is not changed."""
    metadata = document["metadata"]
    if "resourceVersion" in metadata:
        metadata = {name: value for name, value in metadata.items() if name != "resourceVersion"}
    ordered: Document = dict.fromkeys(_FIRST)
    ordered |= document
    ordered["metadata"] = metadata
    return encode(ordered)


def stamp(value: bytes, revision: int) -> bytes:
    """The stored form with its resourceVersion put in. Every stored document has a non-empty metadata (a name)."""
    return value.replace(_METADATA, _STAMP % revision, 1)


def stamped(values: Iterable[bytes], revisions: Iterable[int]) -> bytes:
    """Stored forms with their resourceVersions, a comma before each."""
    pairs = zip(values, revisions, strict=True)
    return b",".join([b"", *[value.replace(_METADATA, _STAMP % revision, 1) for value, revision in pairs]])


def stamped_size(size: int, revisions: Collection[int]) -> int:
    """How long `stamped` is when the stored forms are so long together."""
    return size + len(revisions) * _STAMP_SIZE + len(b"%d" * len(revisions) % tuple(revisions))
