"""Where does chance come from? From the caller: the core rolls no dice."""

from typing import Protocol


class Rng(Protocol):
    """The part of random.Random that the core uses."""

    def randrange(self, stop: int, /) -> int: ...

    def random(self) -> float: ...
