"""Kubernetes' own function libraries, beside those that the evaluator has."""

from collections.abc import Callable
from functools import cache
from typing import Any

from cel_expr_python import cel

from mooring.apiserver.cel.libraries import authz, function, lists, maps, named_formats, net, quantity, regex, semver, url
from mooring.apiserver.cel.libraries.function import MARK, NONE, OPTIONAL, Function, some

__all__ = ["NONE", "asking", "computed", "declared", "plain", "some"]

_ALL: tuple[Function, ...] = (
    *lists.FUNCTIONS, *regex.FUNCTIONS, *net.FUNCTIONS, *url.FUNCTIONS, *quantity.FUNCTIONS, *semver.FUNCTIONS,
    *named_formats.FUNCTIONS, *authz.FUNCTIONS,
)  # fmt: skip


def _value(optional: dict[str, Any]) -> Any:
    if not optional["has"]:
        raise ValueError("optional.none() dereference")
    return optional["value"]


_OPTIONALS: tuple[Function, ...] = (
    # Functions written here cannot make the evaluator's own optional values, so theirs are maps with these.
    Function("hasValue", (OPTIONAL,), "bool", lambda optional: optional["has"]),
    Function("value", (OPTIONAL,), "dyn", _value),
    *(
        Function("orValue", (OPTIONAL, other), "dyn", lambda optional, other: optional["value"] if optional["has"] else other)
        for other in ("list<dyn>", "string")
    ),
)


@cache
def declared() -> list[Any]:
    """The extension of an environment that checks."""
    return [cel.CelExtension("kubernetes", function.declarations(_ALL))]


@cache
def computed() -> list[Any]:
    """The extension of an environment that evaluates."""
    return [cel.CelExtension("kubernetes", function.implementations((*_ALL, *_OPTIONALS, *maps.FUNCTIONS, regex.MATCHES)))]


def asking(check: Callable[[dict[str, Any], str], dict[str, Any]]) -> list[Any]:
    """The functions of one evaluation: `check` decides what is asked, by the verb."""
    return [function.bound(next(each for each in authz.FUNCTIONS if each.name == authz.CHECK), check)]


def plain(value: Any) -> Any:
    """A result for Python: octets as bytes, a made optional as its value or None."""
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, dict) and value.get(MARK) == OPTIONAL:
        return value["value"]
    return value
