"""What does a long command tell while it works?

Values, so that a detached supervisor can send them through a pipe to the command that started it.
"""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct


class Step(Struct, frozen=True):
    """'waiting' for something, that it is 'done' (after `seconds`), a 'note' by the way, or the end: 'ready' or 'failed'."""

    kind: Literal["waiting", "done", "note", "ready", "failed"]
    text: str
    seconds: float = 0.0


Tell = Callable[[Step], None]
