"""What health answers need of the outside: somebody who serves them over HTTP."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from msgspec import Struct


class Answer(Struct, frozen=True):
    """What is said to whoever asks, whatever the method."""

    status: int
    body: str
    headers: Mapping[str, str] = {}


class Listening(Protocol):
    async def close(self) -> None:
        """The port is free when this returns. No error when repeated."""


class AnswerServer(Protocol):
    async def listen(self, addresses: Iterable[str], port: int, answer: Callable[[], Answer]) -> Listening:
        """Gives the answer of the moment at every path, at all of these addresses or at none. Raises OSError."""
