"""How is a value computed when it is first asked for, and an attribute from then on? cached_property without its lock.

Python 3.11's takes a lock at each first look, and a request has several; what is here belongs to one request, in one thread.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Kept = TypeVar("Kept")


class kept(Generic[Kept]):
    def __init__(self, compute: Callable[[Any], Kept]) -> None:
        self._compute, self._name = compute, compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, owner: None, kind: type) -> "kept[Kept]": ...

    @overload
    def __get__(self, owner: object, kind: type) -> Kept: ...

    def __get__(self, owner: object | None, kind: type) -> "Kept | kept[Kept]":
        if owner is None:
            return self
        value = owner.__dict__[self._name] = self._compute(owner)
        return value
