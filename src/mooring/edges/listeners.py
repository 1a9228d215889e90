"""Who hears of a commit?"""

from collections.abc import Callable, Sequence

import structlog

from mooring.ports.store import Listener
from mooring.store.records import Event

log = structlog.get_logger(__name__)


class Listeners:
    """Those who subscribed to a store. One that raises is logged and does not keep the news from the others."""

    def __init__(self) -> None:
        self._listeners: dict[object, Listener] = {}

    def add(self, listener: Listener) -> Callable[[], None]:
        """Returns the undo, which may be called more than once."""
        token = object()
        self._listeners[token] = listener

        def remove() -> None:
            self._listeners.pop(token, None)

        return remove

    def tell(self, events: Sequence[Event]) -> None:
        if not events:
            return
        for listener in tuple(self._listeners.values()):
            try:
                listener(events)
            except Exception:
                log.exception("store listener failed", revision=events[-1].revision)

    def clear(self) -> None:
        self._listeners.clear()
