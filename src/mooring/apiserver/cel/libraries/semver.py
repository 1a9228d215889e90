"""Semantic versions: semver, isSemver and comparison (apiserver/pkg/cel/library/semverlib.go)."""

import re
from typing import Any

from mooring.apiserver.cel.libraries.function import Function, opaque

SEMVER = "kubernetes.Semver"
Opaque = dict[str, Any]
_NUMBER = r"(0|[1-9]\d*)"
_FORM = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)


def _normalized(text: str) -> str:
    """Upstream's lenient form: 'v' off, leading zeros off, missing parts 0."""
    core, mark, rest = re.fullmatch(r"([^-+]*)([-+]?)(.*)", text.removeprefix("v"), re.S).groups()  # type: ignore[union-attr]
    parts = [part.lstrip("0") or "0" if part else part for part in core.split(".")]
    return ".".join([*parts, "0", "0"][: max(len(parts), 3)]) + mark + rest


def _parse(text: str, normalize: bool = False) -> Opaque:
    found = _FORM.fullmatch(_normalized(text) if normalize else text)
    if found is None or any(part.isdigit() and part != "0" and part[0] == "0" for part in (found[4] or "").split(".")):
        raise ValueError(f'semver parse error: invalid version "{text}"')
    return opaque(SEMVER, f"{found[1]}.{found[2]}.{found[3]}" + (f"-{found[4]}" if found[4] else ""))


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        _parse(text, normalize)
    except ValueError:
        return False
    return True


def _order(version: Opaque) -> Any:
    """https://semver.org/#spec-item-11"""
    core, _, label = version["value"].partition("-")
    numbers = [int(part) for part in core.split(".")]
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in label.split(".")] if label else []
    return numbers, not label, parts


def _compare(one: Opaque, other: Opaque) -> int:
    return int(_order(one) > _order(other)) - int(_order(one) < _order(other))


def _number(place: int) -> Any:
    return lambda version: int(version["value"].partition("-")[0].split(".")[place])


FUNCTIONS = (
    Function("semver", ("string",), SEMVER, _parse, member=False),
    Function("semver", ("string", "bool"), SEMVER, _parse, member=False),
    Function("isSemver", ("string",), "bool", _is_semver, member=False),
    Function("isSemver", ("string", "bool"), "bool", _is_semver, member=False),
    Function("major", (SEMVER,), "int", _number(0)),
    Function("minor", (SEMVER,), "int", _number(1)),
    Function("patch", (SEMVER,), "int", _number(2)),
    Function("isLessThan", (SEMVER, SEMVER), "bool", lambda one, other: _compare(one, other) < 0),
    Function("isGreaterThan", (SEMVER, SEMVER), "bool", lambda one, other: _compare(one, other) > 0),
    Function("compareTo", (SEMVER, SEMVER), "int", _compare),
)
