"""What does a JSON Patch make of a document? RFC 6902 over RFC 6901 pointers."""

from copy import deepcopy
from typing import Any

from mooring.apiserver.patch_errors import BadPatch, PatchFailed, TooManyOperations
from mooring.model import codec

MAX_OPERATIONS = 10_000
_DIGITS = 9
"""Of an index: no list is longer, and Python refuses to read the longest numbers."""
MAX_COPIED = 3 * 1024 * 1024
"""Octets that the copies of one patch may add, as JSON: a few that copy the whole would otherwise fill any memory."""


def apply(document: Any, operations: Any) -> Any:
    """The patched document; the given one is not changed. Raises BadPatch, PatchFailed, TooManyOperations."""
    if not isinstance(operations, list):
        raise BadPatch("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > MAX_OPERATIONS:
        raise TooManyOperations(f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}")
    result = deepcopy(document)
    copied = 0
    for operation in operations:
        if isinstance(operation, dict) and operation.get("op") == "copy":
            copied += len(codec.encode(_find(result, _pointer(operation, "from"))))
            if copied > MAX_COPIED:
                why = f"Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit "
                raise PatchFailed(f"{why}{MAX_COPIED}")
        result = _apply_one(result, operation)
    return result


def _apply_one(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("op"), str):
        raise BadPatch("a JSON patch operation is an object with an 'op'")
    name, path = operation["op"], _pointer(operation, "path")
    match name:
        case "add":
            return _add(document, path, _value(operation))
        case "remove":
            return _remove(document, path)[0]
        case "replace":
            return _replace(document, path, _value(operation))
        case "move":
            source = _pointer(operation, "from")
            if source == path[: len(source)] and len(path) > len(source):
                raise PatchFailed("move operation cannot move a value into itself")
            if not source:
                return document
            document, value = _remove(document, source)
            return _add(document, path, value)
        case "copy":
            return _add(document, path, deepcopy(_find(document, _pointer(operation, "from"))))
        case "test":
            found = _find(document, path)
            if not _same(found, operation.get("value")):
                raise PatchFailed(f"testing value {operation['path']} failed: test failed")
            return document
    raise PatchFailed(f"Unexpected kind: {name}")


def _same(left: Any, right: Any) -> bool:
    """JSON equality: true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def _pointer(operation: dict[str, Any], member: str) -> tuple[str, ...]:
    text = operation.get(member)
    if not isinstance(text, str):
        raise BadPatch(f"a JSON patch operation {operation.get('op')} needs a '{member}'")
    if not text:
        return ()
    if not text.startswith("/"):
        raise BadPatch(f"the JSON pointer {text!r} does not start with '/'")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text[1:].split("/"))


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise BadPatch(f"a JSON patch operation {operation['op']} needs a 'value'")
    return deepcopy(operation["value"])


def _shown(path: tuple[str, ...]) -> str:
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in path)


def _index(token: str, length: int, path: tuple[str, ...]) -> int:
    """An array index below `length`: no sign, no leading zeros (RFC 6901, section 4)."""
    is_number = token.isascii() and token.isdigit() and (token == "0" or token[0] != "0")
    if not is_number or len(token) > _DIGITS or int(token) >= length:
        raise PatchFailed(f"Unable to access invalid index: {token} in {_shown(path)}")
    return int(token)


def _find(document: Any, path: tuple[str, ...]) -> Any:
    current = document
    for token in path:
        if isinstance(current, dict):
            if token not in current:
                raise PatchFailed(f"missing path {_shown(path)}: key not found")
            current = current[token]
        elif isinstance(current, list):
            current = current[_index(token, len(current), path)]
        else:
            raise PatchFailed(f"missing path {_shown(path)}: not a container")
    return current


def _add(document: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    parent, token = _find(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[token] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if token == "-" else _index(token, len(parent) + 1, path), value)
    else:
        raise PatchFailed(f"add operation does not apply: doc is missing path: {_shown(path)}: missing value")
    return document


def _remove(document: Any, path: tuple[str, ...]) -> tuple[Any, Any]:
    value = _find(document, path)
    if not path:
        raise PatchFailed("remove operation cannot remove the whole document")
    parent, token = _find(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        del parent[_index(token, len(parent), path)]
    else:
        del parent[token]
    return document, value


def _replace(document: Any, path: tuple[str, ...], value: Any) -> Any:
    _find(document, path)
    if not path:
        return value
    parent, token = _find(document, path[:-1]), path[-1]
    parent[_index(token, len(parent), path) if isinstance(parent, list) else token] = value
    return document
