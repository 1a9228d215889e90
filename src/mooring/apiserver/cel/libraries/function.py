"""What is a function of Kubernetes' own libraries: how the checker sees it, and what carries it out?

Values of opaque types (net.IP, kubernetes.Quantity...) are maps while they are computed with, marked by '@type'; equal values
are equal maps. The evaluator tells overloads apart by kind only, so functions of one signature are told apart here, by marks.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from cel_expr_python import cel
from msgspec import Struct

from mooring.apiserver.cel.times import message

MARK = "@type"
OPTIONAL = "optional"
_PLAIN: dict[str, Any] = {
    "bool": cel.Type.BOOL, "int": cel.Type.INT, "double": cel.Type.DOUBLE, "string": cel.Type.STRING, "bytes": cel.Type.BYTES,
    "timestamp": cel.Type.TIMESTAMP, "duration": cel.Type.DURATION, "dyn": cel.Type.DYN,
}  # fmt: skip


class Function(Struct, frozen=True):
    """One overload. Types are names: 'string', 'list<int>', 'map<list<string>>', 'optional<list<string>>', or an opaque's.

    `does` is None for one that is bound to each evaluation.
    """

    name: str
    takes: tuple[str, ...]
    gives: str
    does: Callable[..., Any] | None
    member: bool = True


def opaque(type: str, value: Any, **more: Any) -> dict[str, Any]:
    return {MARK: type, "value": value, **more}


def some(value: Any) -> dict[str, Any]:
    """An optional value that is there."""
    return {MARK: OPTIONAL, "has": True, "value": value}


NONE = {MARK: OPTIONAL, "has": False, "value": None}


def _checked_type(name: str) -> Any:
    if name in _PLAIN:
        return _PLAIN[name]
    outer, _, inner = name.partition("<")
    if outer == "list":
        return cel.Type.List(_checked_type(inner[:-1]))
    if outer == "map":
        return cel.Type.Map(cel.Type.STRING, _checked_type(inner[:-1]))
    if outer == OPTIONAL:
        return cel.Type.AbstractType("optional_type", [_checked_type(inner[:-1])])
    return cel.Type(name)


def _computed_type(name: str) -> Any:
    if name in _PLAIN:
        return _PLAIN[name]
    return cel.Type.List(cel.Type.DYN) if name.startswith("list<") else cel.Type.Map(cel.Type.STRING, cel.Type.DYN)


def _kind(name: str) -> str:
    return name if name in _PLAIN else "list" if name.startswith("list<") else "map"


def declarations(functions: Iterable[Function]) -> list[Any]:
    """For the checker: types as they are named, nothing that computes."""
    found: dict[str, list[Any]] = {}
    for number, function in enumerate(functions):
        overload = cel.Overload(
            f"{function.name}_{number}", _checked_type(function.gives), [_checked_type(each) for each in function.takes],
            function.member,
        )  # fmt: skip
        found.setdefault(function.name, []).append(overload)
    return [cel.FunctionDecl(name, overloads) for name, overloads in found.items()]


def implementations(functions: Iterable[Function]) -> list[Any]:
    """For the evaluator: one overload for each signature of kinds."""
    grouped: dict[tuple[str, bool, tuple[str, ...]], list[Function]] = {}
    for function in functions:
        grouped.setdefault((function.name, function.member, tuple(map(_kind, function.takes))), []).append(function)
    found: dict[str, list[Any]] = {}
    for (name, member, kinds), same in grouped.items():
        overload = cel.Overload(
            f"{name}_{'_'.join(kinds)}", cel.Type.DYN, [_computed_type(each) for each in same[0].takes], member,
            _dispatch(name, same) if same[0].does else None,
        )  # fmt: skip
        found.setdefault(name, []).append(overload)
    return [cel.FunctionDecl(name, overloads) for name, overloads in found.items()]


def bound(function: Function, does: Callable[..., Any]) -> Any:
    """What carries such a function out, for one evaluation."""
    return cel.Function(function.name, [_computed_type(each) for each in function.takes], function.member, does)


def _dispatch(name: str, same: list[Function]) -> Callable[..., Any]:
    def call(*values: Any) -> Any:
        for function in same:
            if all(_is(value, wanted) for value, wanted in zip(values, function.takes, strict=True)):
                given = function.does(*values) if function.does else None
                return message(given) if isinstance(given, (datetime, timedelta)) else given
        raise ValueError(f"no such overload: {name}")

    return call


def _is(value: Any, wanted: str) -> bool:
    if _kind(wanted) != "map" or wanted.startswith("map<"):
        return True
    return isinstance(value, dict) and value.get(MARK) == wanted.partition("<")[0]
