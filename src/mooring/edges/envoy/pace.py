"""How soon may a listener change again? Envoy keeps what a changed listener was until its connections have drained."""

from collections import deque

DRAIN = 240.0
"""Seconds that connections of a former listener may last: as long as NGINX's old workers do."""
QUIC = " quic"
"""How listeners over UDP are called: of those Envoy keeps all, of others the filter chains that have changed."""


class Pace:
    """Changes that come one after the other for minutes become rarer: `free` of them within DRAIN may follow at once, then
    there are `each` seconds between them for every one that is still kept."""

    def __init__(self, free: int, each: float) -> None:
        self._free, self._each = free, each
        self._changes: deque[float] = deque()

    def next(self, now: float) -> float:
        """The moment from which another change may be made; it may lie in the past. In seconds of a clock."""
        while self._changes and self._changes[0] <= now - DRAIN:
            self._changes.popleft()
        count = len(self._changes)
        return self._changes[-1] + count * self._each if count >= self._free else now

    def changed(self, now: float) -> None:
        self._changes.append(now)


def pace(listener: str) -> Pace:
    """Of a listener by its name: at most some sixty states of it are kept, of one over UDP some twenty."""
    return Pace(2, 1.0) if listener.endswith(QUIC) else Pace(8, 0.125)
