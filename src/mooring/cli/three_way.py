"""Which patch brings an object from what was applied last, and what it is now, to what the manifest says?

Fields the manifest sets are set; fields that the last manifest set and this one does not are removed; fields it never named,
such as defaults, are left to whoever set them.
https://kubernetes.io/docs/concepts/overview/working-with-objects/declarative-config/
"""

from collections.abc import Callable, Sequence
from typing import Any

from mooring.apiserver.schema import PatchMeta

Document = dict[str, Any]
Path = tuple[str, ...]
Lookup = Callable[[Path], PatchMeta]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def plain(path: Path) -> PatchMeta:
    """For kinds without a schema: a JSON merge patch, in which lists are replaced whole."""
    return PatchMeta()


def patch(last: Document, live: Document, wanted: Document, lookup: Lookup) -> Document:
    """A strategic merge patch (with `plain`: a JSON merge patch). Empty when the object is already as wanted."""
    return _map(last, live, wanted, (), lookup)


def _map(last: Document, live: Document, wanted: Document, path: Path, lookup: Lookup) -> Document:
    result: Document = {name: None for name in last if name not in wanted and name in live}
    for name, value in wanted.items():
        if name not in live:
            result[name] = value
        elif (change := _value(last.get(name), live[name], value, (*path, name), lookup)) is not _SAME:
            result[name] = change
    if result and "retainKeys" in lookup(path).strategy:
        result["$retainKeys"] = sorted(wanted)
    return result


_SAME = object()


def _value(last: Any, live: Any, wanted: Any, path: Path, lookup: Lookup) -> Any:
    if isinstance(wanted, dict) and isinstance(live, dict):
        return _map(last if isinstance(last, dict) else {}, live, wanted, path, lookup) or _SAME
    if isinstance(wanted, list) and isinstance(live, list):
        meta = lookup(path)
        if "merge" in meta.strategy and meta.merge_key:
            return _keyed(last if isinstance(last, list) else [], live, wanted, path, lookup, meta.merge_key) or _SAME
        if "merge" in meta.strategy:
            return _primitives(last if isinstance(last, list) else [], live, wanted)
    return _SAME if live == wanted else wanted


def _keyed(
    last: list[Document], live: list[Document], wanted: list[Document], path: Path, lookup: Lookup, key: str
) -> list[Document]:
    """Items are the same when their merge key is; what only others put there stays."""
    before, now = _by_key(last, key), _by_key(live, key)
    result: list[Document] = []
    for item in wanted:
        mark = item.get(key)
        if mark not in now:
            result.append(item)
        elif change := _map(before.get(mark, {}), now[mark], item, path, lookup):
            result.append({key: mark} | change)
    kept = {item.get(key) for item in wanted}
    result += [{"$patch": "delete", key: mark} for mark in before if mark not in kept and mark in now]
    return result


def _primitives(last: Sequence[Any], live: Sequence[Any], wanted: Sequence[Any]) -> Any:
    """A merged list of plain values (finalizers) can only be added to by a patch; what went is not forced on others."""
    missing = [value for value in wanted if value not in live]
    return missing or _SAME


def _by_key(items: list[Document], key: str) -> dict[Any, Document]:
    return {item.get(key): item for item in items if isinstance(item, dict)}
