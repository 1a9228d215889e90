"""How is the same request decided again with the same luck? Draws are remembered, and come again after `rewind`.

A request that must ask a webhook is decided twice: once to learn the question, once with its answer. The object that was asked
about must be the one that is written, with its uid, its generated name and the addresses chosen for it.
"""

from mooring.alloc.rng import Rng


class Draws:
    """An alloc.rng.Rng over `source`. What comes again is within its bounds even where it was drawn for something else: what is
    drawn depends on the state, which may have changed meanwhile."""

    def __init__(self, source: Rng) -> None:
        self._source = source
        self._drawn: list[int | float] = []
        self._next = 0

    def randrange(self, stop: int, /) -> int:
        if self._next == len(self._drawn):
            self._drawn.append(self._source.randrange(stop))
        self._next += 1
        return int(self._drawn[self._next - 1]) % stop

    def random(self) -> float:
        if self._next == len(self._drawn):
            self._drawn.append(self._source.random())
        self._next += 1
        return self._drawn[self._next - 1] % 1.0

    def rewind(self) -> None:
        self._next = 0
