"""How does a benchmark end that is told to? On SIGTERM as on Ctrl-C: by way of every `finally`, leaving nothing behind."""

import signal
from types import FrameType


def as_by_ctrl_c() -> None:
    """Once: timeout(1) tells the process and then its whole group, and a second time must not break the cleaning up."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)  # Not SIG_IGN, which commands started from now on would inherit.
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, end)
