"""Regular expressions: find, findAll (apiserver/pkg/cel/library/regex.go), by RE2 as Go's are."""

from typing import Any

from mooring.apiserver import patterns
from mooring.apiserver.cel.libraries.function import Function


def _compiled(pattern: str) -> Any:
    try:
        return patterns.compiled(pattern)
    except ValueError as error:
        raise ValueError(f"Illegal regex: {error}") from None


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
