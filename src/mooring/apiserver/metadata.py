"""What does the server itself write into metadata?

As apiserver/pkg/registry/rest/{create,update}.go; what clients may write is checked in kinds/metadata.py.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from mooring.alloc.rng import Rng

Document = dict[str, Any]

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
_NEVER_KEPT = frozenset({"resourceVersion", "selfLink"})
_SERVER_SET = frozenset({"deletionTimestamp", "deletionGracePeriodSeconds", "generation", *_NEVER_KEPT})
_OMITTED_WHEN_EMPTY = frozenset({"labels", "annotations", "finalizers", "ownerReferences"})
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_MAX_GENERATED_BASE = 63 - _SUFFIX_LENGTH


def timestamp(now: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as metav1.Time writes it."""
    return _written(int(now.timestamp()))


@lru_cache(16)
def _written(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(base: str, rng: Rng) -> str:
    suffix = "".join(_SUFFIX_ALPHABET[rng.randrange(len(_SUFFIX_ALPHABET))] for _ in range(_SUFFIX_LENGTH))
    return base[:_MAX_GENERATED_BASE] + suffix


_RANDOM = (1 << 128) - 1 & ~(0xF << 76) & ~(0x3 << 62)
_VERSION_4 = 0x4 << 76 | 0x2 << 62


def new_uid(rng: Rng) -> str:
    """A random UUID, version 4 (RFC 9562)."""
    digits = f"{rng.randrange(1 << 128) & _RANDOM | _VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def begin(meta: Document, now: datetime, rng: Rng) -> None:
    """The server's own fields of a new object."""
    forget_never_kept(meta, _SERVER_SET)
    meta["uid"] = new_uid(rng)
    meta["creationTimestamp"] = timestamp(now)


def forget_never_kept(meta: Document, names: frozenset[str] = _NEVER_KEPT) -> None:
    if not names.isdisjoint(meta):
        for name in names & meta.keys():
            del meta[name]
    if not _OMITTED_WHEN_EMPTY.isdisjoint(meta):
        for name in _OMITTED_WHEN_EMPTY & meta.keys():
            if not meta[name]:
                del meta[name]


def carry_over(meta: Document, old: Document) -> None:
    """What an update cannot change silently keeps its old value; other changes are left for validation to refuse."""
    forget_never_kept(meta)
    for name in ("creationTimestamp", "generation"):
        _keep(meta, old, name)
    if not meta.get("uid"):
        _keep(meta, old, "uid")
    if "deletionTimestamp" in old:
        _keep(meta, old, "deletionTimestamp")
    if meta.get("deletionGracePeriodSeconds") is None:
        _keep(meta, old, "deletionGracePeriodSeconds")


def _keep(meta: Document, old: Document, name: str) -> None:
    if name in old:
        meta[name] = old[name]
    else:
        meta.pop(name, None)


def finalizers_left(document: Document) -> bool:
    """Whether something must happen before the object may go: metadata.finalizers, a Namespace's spec.finalizers."""
    return bool(document["metadata"].get("finalizers") or (document["kind"] == "Namespace" and namespace_finalizers(document)))


def namespace_finalizers(document: Document) -> list[str]:
    return (document.get("spec") or {}).get("finalizers") or []


def may_go(document: Document) -> bool:
    """Whether an update has made a deleting object free to be removed: no finalizer, no grace period left."""
    meta = document["metadata"]
    return bool(meta.get("deletionTimestamp")) and not meta.get("deletionGracePeriodSeconds") and not finalizers_left(document)
