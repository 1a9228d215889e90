"""How is the same request decided again with the same luck? Draws are remembered, and come again after `rewind`.

A request that must ask a webhook is decided twice: once to learn the question, once with its answer. The object that was asked
about must be the one that is written, with its uid, its generated name and the addresses chosen for it.
"""

from collections.abc import Callable

from mooring.alloc.rng import Rng


class Draws:
    """An alloc.rng.Rng over `source`."""

    def __init__(self, source: Rng) -> None:
        self._source = source
        self._drawn: list[int | float] = []
        self._next = 0

    def randrange(self, stop: int, /) -> int:
        return int(self._draw(lambda: self._source.randrange(stop)))

    def random(self) -> float:
        return self._draw(self._source.random)

    def _draw(self, fresh: Callable[[], int | float]) -> int | float:
        if self._next == len(self._drawn):
            self._drawn.append(fresh())
        self._next += 1
        return self._drawn[self._next - 1]

    def rewind(self) -> None:
        self._next = 0
