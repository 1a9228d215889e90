"""How is time tested without waiting? An event loop whose clock jumps to the next timer as soon as nothing else can run.

    def test_a_retry_comes_a_second_later():
        with virtual_time() as run:
            run(scenario())

Only timers and futures move such a loop; real sockets would find the clock running ahead of them.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class JumpingSelector(selectors.DefaultSelector):
    """Polls, and where a real selector would sleep, moves the clock on instead."""

    elapsed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("deadlock: nothing is ready and no timer is set")
        self.elapsed += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return float(self._clock.elapsed)


@contextmanager
def virtual_time() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """Gives a function that runs a coroutine to its end on a loop that starts at time 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        yield runner.run
