"""Which fields does somebody own? A field set, in the form of `fieldsV1` itself.

A set is nested dicts: 'f:<name>' for a field, 'k:<keys as JSON>' for an item of an associative list, 'v:<value as JSON>' for
one of a set, 'i:<n>' for an index. An empty dict is a member; one with children is a member if it has '.'. At the root, the
empty dict is the empty set. Sets are values: no operation changes its arguments, results share what did not change.
https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec

FieldSet: TypeAlias = dict[str, "FieldSet"]
Path: TypeAlias = tuple[str, ...]

LEAF: FieldSet = {}
"""Shared by every set; never changed."""
SELF = "."


def member(node: FieldSet | None) -> FieldSet:
    """The node, a member of its set."""
    if not node or SELF in node:
        return node or LEAF
    return {SELF: LEAF, **node}


def is_member(node: FieldSet) -> bool:
    return not node or SELF in node


def _settled(children: FieldSet) -> FieldSet | None:
    """A node in its one form: None when nothing is left, LEAF when only itself is."""
    if not children:
        return None
    return LEAF if len(children) == 1 and SELF in children else children


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    if not left or left is right:
        return right
    result = left
    for key, theirs in right.items():
        mine = left.get(key)
        if mine is None:
            new = theirs
        elif mine is theirs or (not mine and not theirs):
            continue
        elif not mine or not theirs:
            new = member(mine or theirs)
        else:
            new = union(mine, theirs)
        if new is not mine:
            if result is left:
                result = dict(left)
            result[key] = new
    return result


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Without the members of `right`: a parent goes without its children, a child without its parent."""
    return _left_of(left, right, _without)


def _without(mine: FieldSet, theirs: FieldSet) -> FieldSet | None:
    if not mine:
        return None if is_member(theirs) else mine
    if theirs:
        kept = difference(mine, theirs)
        return mine if kept is mine else _settled(kept)
    if SELF not in mine:
        return mine
    return {key: node for key, node in mine.items() if key != SELF}


def recursive_difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Without the members of `right` and all below them."""
    return _left_of(left, right, _without_below)


def _without_below(mine: FieldSet, theirs: FieldSet) -> FieldSet | None:
    if is_member(theirs):
        return None
    if not mine:
        return mine
    kept = recursive_difference(mine, theirs)
    return mine if kept is mine else _settled(kept)


def _left_of(left: FieldSet, right: FieldSet, without: Callable[[FieldSet, FieldSet], FieldSet | None]) -> FieldSet:
    """`without` says what each node keeps of itself that both have."""
    result = left
    for key, theirs in right.items():
        mine = left.get(key)
        if mine is None:
            continue
        kept = without(mine, theirs)
        if kept is not mine:
            if result is left:
                result = dict(left)
            if kept is None:
                del result[key]
            else:
                result[key] = kept
    return result


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    if len(left) > len(right):
        left, right = right, left
    result: FieldSet = {}
    for key, mine in left.items():
        theirs = right.get(key)
        if theirs is None:
            continue
        if mine and theirs:
            both = _settled(intersection(mine, theirs))
            if both is not None:
                result[key] = both
        elif is_member(mine) and is_member(theirs):
            result[key] = LEAF
    return result


def has(fields: FieldSet, path: Path) -> bool:
    node = fields
    for step in path:
        found = node.get(step) if node else None
        if found is None:
            return False
        node = found
    return bool(path) and is_member(node)


def of_path(path: Path) -> FieldSet:
    """The set of one path."""
    node = LEAF
    for step in reversed(path):
        node = {step: node}
    return node


def at(fields: FieldSet, path: Path) -> FieldSet | None:
    node: FieldSet | None = fields
    for step in path:
        node = node.get(step) if node else None
    return node


def paths(fields: FieldSet) -> Iterator[Path]:
    """Every member, in upstream's order: the members of a level, then what is below them."""
    steps = sorted((step for step in fields if step != SELF), key=order)
    for step in steps:
        if is_member(fields[step]):
            yield (step,)
    for step in steps:
        for below in paths(fields[step]):
            yield (step, *below)


# Path elements ----------------------------------------------------------------------------------------------------------

_KINDS = "fkvi"
_encode = msgspec.json.Encoder(order="sorted").encode


def key_step(keys: dict[str, Any]) -> str:
    """The path element of an item of an associative list. `keys` are in the order of their names."""
    return "k:" + _encode({name: _number(value) for name, value in keys.items()}).decode()


def value_step(value: Any) -> str:
    return "v:" + _encode(_number(value)).decode()


def _number(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def order(step: str) -> tuple[int, Any]:
    kind, rest = _KINDS.find(step[0]), step[2:]
    if kind == 0:
        return 0, rest
    if kind == 3:
        return 3, int(rest)
    value = msgspec.json.decode(rest)
    if kind == 1:
        return 1, [(name, *_rank(each)) for name, each in sorted(value.items())]
    return 2, _rank(value)


def _rank(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool):
        return 2, value
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (3, str(value))


def text(path: Path) -> str:
    """A path for people, e.g. '.spec.ports[port=80,protocol="TCP"].name'."""
    return "".join(map(step_text, path))


def step_text(step: str) -> str:
    kind, rest = step[0], step[2:]
    if kind == "f":
        return "." + rest
    if kind == "i":
        return f"[{rest}]"
    value = msgspec.json.decode(rest)
    if kind == "v":
        return f"[={_shown(value)}]"
    return "[" + ",".join(f"{name}={_shown(each)}" for name, each in sorted(value.items())) + "]"


def _shown(value: Any) -> str:
    return _encode(value).decode()


class BadFields(Exception):
    """No field set."""


MAX_MEMBERS = 100_000


def received(fields: Any) -> FieldSet:
    """A field set as a client sent it, in its one form. Unknown kinds of elements are left out, as upstream does.

    Raises BadFields.
    """
    if not isinstance(fields, dict):
        raise BadFields("fieldsV1 must be an object")
    budget = [MAX_MEMBERS]
    result = _received(fields, budget)
    result.pop(SELF, None)
    return result


def _received(fields: dict[Any, Any], budget: list[int]) -> FieldSet:
    result: FieldSet = {}
    budget[0] -= len(fields)
    if budget[0] < 0:
        raise BadFields(f"fieldsV1 has more than {MAX_MEMBERS} fields")
    for name, below in fields.items():
        if name == SELF:
            result[SELF] = LEAF
        elif isinstance(below, dict) and (step := _step(name)):
            result[step] = _settled(_received(below, budget)) or LEAF
        elif not isinstance(below, dict):
            raise BadFields(f"{name} is not an object")
    return result


def _step(name: str) -> str:
    """The element in its one form, '' for one of an unknown kind."""
    if len(name) < 2 or name[1] != ":":
        raise BadFields(f"missing colon: {name}" if len(name) > 1 else "key must be 2 characters long:")
    kind, rest = name[0], name[2:]
    try:
        if kind == "f":
            return name
        if kind == "k":
            keys = msgspec.json.decode(rest)
            if not isinstance(keys, dict):
                raise BadFields(f"{name} is no key")
            return key_step(keys)
        if kind == "v":
            return value_step(msgspec.json.decode(rest))
        if kind == "i":
            return f"i:{int(rest)}"
    except (msgspec.DecodeError, ValueError, UnicodeError) as error:
        raise BadFields(str(error)) from None
    return ""
