"""Regular expressions: find, findAll (apiserver/pkg/cel/library/regex.go), by RE2 as Go's are.

And `matches`, since the library would make its pattern ready anew in each step of a loop: of some, that takes 200 ms.
"""

from typing import Any

from mooring.apiserver import patterns
from mooring.apiserver.cel.libraries.function import Function

UNSERVED, SERVED = "matches", "@matched"
"""The library's function, and ours, whose name no expression can write."""


def _compiled(pattern: str) -> Any:
    try:
        return patterns.compiled(pattern)
    except ValueError as error:
        raise ValueError(f"Illegal regex: {error}") from None


def _matches(text: str, pattern: str) -> bool:
    try:
        return patterns.compiled(pattern).search(text) is not None
    except ValueError as error:
        raise ValueError(f"invalid regular expression: {error}") from None


def _find(text: str, pattern: str) -> str:
    found = _compiled(pattern).search(text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, most: int = -1) -> list[str]:
    found: list[str] = []
    for match in _compiled(pattern).finditer(text):
        if 0 <= most <= len(found):
            break
        found.append(match[0])
    return found


FUNCTIONS = (
    Function("find", ("string", "string"), "string", _find),
    Function("findAll", ("string", "string"), "list<string>", _find_all),
    Function("findAll", ("string", "string", "int"), "list<string>", _find_all),
)
MATCHES = Function(SERVED, ("string", "string"), "bool", _matches, member=False)


def serve(checked: Any, calls: list[Any]) -> None:
    """Has a checked expression call ours. `calls` from the outside in: who stands in others is changed before it is moved."""
    for each in reversed(calls):
        call = each.call_expr
        if call.function == UNSERVED:
            call.function = SERVED
            if call.HasField("target"):
                (pattern,) = call.args
                arguments = [type(pattern).FromString(part.SerializeToString()) for part in (call.target, pattern)]
                call.ClearField("target")
                call.ClearField("args")
                call.args.extend(arguments)
            checked.reference_map[each.id].overload_id[:] = [f"{SERVED}_string_string"]
