"""How is an answer remembered without remembering what a client may make as long as it likes?"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


def remembered(count: int, shorter: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """functools.lru_cache for `count` answers, of a function whose last argument, a text or bytes, is the one of any length:
    when that is not `shorter`, it is asked anew each time."""

    def deciding(function: Callable[P, R]) -> Callable[P, R]:
        known = cast(Callable[P, R], lru_cache(count)(function))

        @wraps(function)
        def asked(*args: P.args, **kwargs: P.kwargs) -> R:
            return known(*args, **kwargs) if len(cast(str, args[-1])) < shorter else function(*args, **kwargs)

        return asked

    return deciding
