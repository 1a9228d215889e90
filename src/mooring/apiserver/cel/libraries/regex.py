"""Regular expressions: find, findAll (apiserver/pkg/cel/library/regex.go), by RE2 as Go's are."""

from functools import lru_cache
from typing import Any

import re2

from mooring.apiserver.cel.libraries.function import Function


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0]
        raise ValueError(f"Illegal regex: {why.decode() if isinstance(why, bytes) else why}") from None


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
