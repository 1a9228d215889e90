"""What does a Strategic Merge Patch make of a document? Lists merge by the keys the API types declare.

Directives and orders as apimachinery/pkg/util/strategicpatch applies them on the server; see
https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/ and the design proposals
"preserve order in strategic merge patch" and "add new patchStrategy to clear fields not present in patch".
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from mooring.apiserver.patch_errors import BadPatch, PatchFailed
from mooring.apiserver.schema import PatchMeta

Object = dict[str, Any]
Path = tuple[str, ...]
Lookup = Callable[[Path], PatchMeta]

DIRECTIVE = "$patch"
RETAIN_KEYS = "$retainKeys"
DELETE_PREFIX = "$deleteFromPrimitiveList/"
ORDER_PREFIX = "$setElementOrder/"

_BAD_ORDER = "invalid patch format of setElementOrder list"
_BAD_RETAIN = "invalid patch format of retainKeys"
_BAD_PRIMITIVES = "invalid patch format of primitive list"


def apply(document: Object, patch: Any, lookup: Lookup) -> Object:
    """The patched document; neither argument is changed. `lookup` tells how the field at a path merges (schema.patch_meta).

    Raises BadPatch, PatchFailed.
    """
    if not isinstance(patch, dict):
        raise BadPatch("Invalid JSON document")
    return _merge_map(document, patch, (), lookup)


def _merge_map(original: Object, patch: Object, path: Path, lookup: Lookup) -> Object:
    directive = patch.get(DIRECTIVE)
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise BadPatch(f"Unknown patch type: {directive} in map: {patch}")
    result = _retained(original, patch)
    for name, value in patch.items():
        if name.startswith(DELETE_PREFIX):
            _delete_primitives(result, name.removeprefix(DELETE_PREFIX), value)
        elif name not in (DIRECTIVE, RETAIN_KEYS) and not name.startswith(ORDER_PREFIX):
            _merge_field(result, name, value, (*path, name), lookup)
    for name, order in patch.items():
        if name.startswith(ORDER_PREFIX):
            field = name.removeprefix(ORDER_PREFIX)
            _set_order(result, field, order, original.get(field), patch.get(field), lookup((*path, field)).merge_key)
    return result


def _retained(original: Object, patch: Object) -> Object:
    """A copy of the original, without the fields that $retainKeys does not list."""
    if RETAIN_KEYS not in patch:
        return dict(original)
    given = patch[RETAIN_KEYS]
    if not isinstance(given, list):
        raise BadPatch(_BAD_RETAIN)
    keep = _primitives(given)
    for name, value in patch.items():
        if value is not None and not name.startswith("$") and name not in keep:
            raise BadPatch(_BAD_RETAIN)
    return {name: value for name, value in original.items() if name in keep}


def _merge_field(result: Object, name: str, value: Any, path: Path, lookup: Lookup) -> None:
    if value is None:
        result.pop(name, None)
        return
    before, meta = result.get(name), lookup(path)
    if isinstance(before, dict) and isinstance(value, dict) and "replace" not in meta.strategy:
        result[name] = _merge_map(before, value, path, lookup)
    elif isinstance(before, list) and isinstance(value, list) and "merge" in meta.strategy:
        result[name] = _merge_list(before, value, meta.merge_key, path, lookup)
    else:
        result[name] = _without_directives(value)


def _without_directives(value: Any) -> Any:
    """A value that meets nothing to merge with: directives and nulls have nothing to act on."""
    if isinstance(value, list):
        kept = (item for item in value if not (isinstance(item, dict) and item.get(DIRECTIVE) in ("delete", "replace")))
        return [_without_directives(item) for item in kept]
    if not isinstance(value, dict):
        return value
    if value.get(DIRECTIVE) == "delete":
        return {}
    return {
        name: _without_directives(item)
        for name, item in value.items()
        if item is not None and name not in (DIRECTIVE, RETAIN_KEYS) and not name.startswith((DELETE_PREFIX, ORDER_PREFIX))
    }


def _delete_primitives(result: Object, name: str, gone: Any) -> None:
    if not isinstance(gone, list):
        raise BadPatch(_BAD_PRIMITIVES)
    if isinstance(result.get(name), list):
        known = _primitives(gone)
        result[name] = [item for item in result[name] if isinstance(item, (dict, list)) or item not in known]


def _primitives(items: list[Any]) -> frozenset[Hashable]:
    return frozenset(item for item in items if not isinstance(item, (dict, list)))


def _merge_list(original: list[Any], patch: list[Any], key: str, path: Path, lookup: Lookup) -> list[Any]:
    if not original and not patch:
        return original
    _check_elements(original, patch)
    if not isinstance((original or patch)[0], dict):
        merged = list(dict.fromkeys([*original, *patch]))
        return _in_order(merged, patch, original, "")
    if not key:
        raise BadPatch("cannot merge lists without merge key for type map")
    kept, wanted = _apply_list_directives(original, patch, key)
    places = {_identity(item, key): index for index, item in reversed(list(enumerate(kept)))}
    merged = list(kept)
    for item in wanted:
        identity = _identity(item, key)
        if identity in places:
            merged[places[identity]] = _merge_map(merged[places[identity]], item, path, lookup)
        else:
            places[identity] = len(merged)
            merged.append(_without_directives(item))
    return _in_order(merged, wanted, kept, key)


def _apply_list_directives(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """(what is left of the original, what remains to merge) after `$patch: delete` and `$patch: replace` elements."""
    wanted, gone, replace = [], set(), False
    for item in patch:
        directive = item.get(DIRECTIVE)
        if directive is None:
            wanted.append(item)
        elif directive == "delete":
            gone.add(_identity(item, key))
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise BadPatch("merging lists cannot yet be specified in the patch")
        else:
            raise BadPatch(f"Unknown patch type: {directive} in map: {item}")
    if replace:
        return wanted, []
    return [item for item in original if item.get(key) not in gone], wanted


def _check_elements(*lists: list[Any]) -> None:
    kinds = {type(item) for items in lists for item in items}
    if list in kinds:
        raise PatchFailed("lists of lists are not supported")
    if len(kinds) > 1 and dict in kinds:
        raise BadPatch(f"list element types are not identical: {lists}")


def _identity(item: Any, key: str) -> Hashable:
    """What makes a list element itself: its merge key's value, or a primitive's own."""
    if not key:
        value = item
    elif not isinstance(item, dict):
        raise BadPatch("expected a list of objects")
    elif key not in item:
        raise BadPatch(f"map: {item} does not contain declared merge key: {key}")
    else:
        value = item[key]
    if isinstance(value, (dict, list)):
        raise BadPatch(f"{value} cannot be a merge key")
    return value  # type: ignore[no-any-return]


def _set_order(result: Object, name: str, order: Any, original: Any, patch: Any, key: str) -> None:
    if not isinstance(order, list) or not isinstance(patch or [], list):
        raise BadPatch(_BAD_ORDER)
    _check_subsequence(patch or [], order, key)
    if isinstance(result.get(name), list):
        result[name] = _in_order(result[name], order, original if isinstance(original, list) else [], key)


def _check_subsequence(patch: list[Any], order: list[Any], key: str) -> None:
    """Upstream compares only when both lists have something to say."""
    live = [item for item in patch if not (isinstance(item, dict) and DIRECTIVE in item)]
    ordered: Iterator[Hashable] = iter([_identity(item, key) for item in order])
    if order and not all(_identity(item, key) in ordered for item in live):
        raise BadPatch(f"The order in patch list:\n{patch}\n doesn't match {ORDER_PREFIX} list:\n{order}\n")


def _in_order(merged: list[Any], wanted: list[Any], server: list[Any], key: str) -> list[Any]:
    """`merged` with the elements of `wanted` in that order; the server's own keep theirs and stand where they stood."""
    rank: dict[Hashable, int] = {}
    for index, item in enumerate(wanted):
        rank.setdefault(_identity(item, key), index)
    stood: dict[Hashable, int] = {}
    for index, item in enumerate(server):
        stood.setdefault(_identity(item, key), index)
    patched = sorted((item for item in merged if _identity(item, key) in rank), key=lambda item: rank[_identity(item, key)])
    own = deque(item for item in merged if _identity(item, key) not in rank)
    result: list[Any] = []
    for item in patched:
        place = stood.get(_identity(item, key))
        while place is not None and own and stood.get(_identity(own[0], key), len(server)) < place:
            result.append(own.popleft())
        result.append(item)
    return [*result, *own]
