"""Lists: isSorted, sum, min, max, indexOf, lastIndexOf (apiserver/pkg/cel/library/lists.go)."""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

from mooring.apiserver.cel.libraries.function import Function

_ORDERED = ("int", "double", "string", "bool", "bytes", "timestamp", "duration")
_INT = 1 << 63


def _total(empty: Any) -> Callable[[list[Any]], Any]:
    def add(items: list[Any]) -> Any:
        total = sum(items, empty)
        if isinstance(total, int) and not -_INT <= total < _INT:
            raise ValueError("integer overflow")
        return total

    return add


def _extreme(name: str, choose: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def find(items: list[Any]) -> Any:
        if not items:
            raise ValueError(f"{name} called on empty list")
        return choose(items)

    return find


def _sum(items: list[Any]) -> Any:
    if items and isinstance(items[0], timedelta):
        return _total(timedelta())(items)
    return _total(0.0 if items and isinstance(items[0], float) else 0)(items)


def _is_sorted(items: list[Any]) -> bool:
    return all(before <= after for before, after in pairwise(items))


def _index(items: list[Any], wanted: Any) -> int:
    return next((place for place, item in enumerate(items) if _same(item, wanted)), -1)


def _last_index(items: list[Any], wanted: Any) -> int:
    return next((place for place in range(len(items) - 1, -1, -1) if _same(items[place], wanted)), -1)


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


FUNCTIONS = (
    *(Function("isSorted", (f"list<{of}>",), "bool", _is_sorted) for of in _ORDERED),
    *(Function("sum", (f"list<{of}>",), of, _sum) for of in ("int", "double", "duration")),
    *(Function("min", (f"list<{of}>",), of, _extreme("min", min)) for of in _ORDERED),
    *(Function("max", (f"list<{of}>",), of, _extreme("max", max)) for of in _ORDERED),
    *(Function("indexOf", (f"list<{of}>", of), "int", _index) for of in _ORDERED),
    *(Function("lastIndexOf", (f"list<{of}>", of), "int", _last_index) for of in _ORDERED),
)
