"""Which events came after a revision under a prefix, without a look at those that nobody asked for?

The history lies in segments, oldest first. Each segment knows the events of every directory of its keys ('/', '/core/',
'/core/pods/', '/core/pods/default/'), so what came under a directory is found by one look into each segment, and an older
segment is forgotten whole. A segment ends at a transaction's end.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import attrgetter

from mooring.store.records import Event

SEGMENT_EVENTS = 1024
SEGMENT_SIZE = 4 * 1024 * 1024
OVERHEAD = 400
"""Bytes of memory that an event costs beside the document it has replaced: its own, its record's, its places in the lists."""

_by_revision = attrgetter("revision")
_by_last = attrgetter("last")


class _Segment:
    """Some events in a row. `size` is what forgetting them would free."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.last = self.size = 0
        self._under: dict[str, list[Event]] = {}
        self._lists: dict[str, tuple[list[Event], ...]] = {}  # of a directory and all above it

    def append(self, event: Event, freed: int) -> None:
        key = event.key
        directory = key[: key.rfind("/") + 1]
        lists = self._lists.get(directory)
        if lists is None:
            lists = self._lists[directory] = tuple(self._under.setdefault(above, []) for above in _above(directory))
        for events in lists:
            events.append(event)
        self.events.append(event)
        self.last = event.revision
        self.size += freed

    def under(self, prefix: str) -> Sequence[Event]:
        directory = prefix[: prefix.rfind("/") + 1]
        events = self._under.get(directory, ()) if directory else self.events
        return events if directory == prefix else [event for event in events if event.key.startswith(prefix)]


class History:
    """Events in revision order."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        self.size = 0
        """Bytes of memory, about."""

    def append(self, events: Iterable[Event]) -> None:
        """Those of whole transactions, newer than all before."""
        segment = self._segments[-1] if self._segments else None
        for event in events:
            full = segment is not None and (len(segment.events) >= SEGMENT_EVENTS or segment.size >= SEGMENT_SIZE)
            if segment is None or (full and event.revision != segment.last):
                segment = _Segment()
                self._segments.append(segment)
            freed = cost(event)
            segment.append(event, freed)
            self.size += freed

    def after(self, revision: int, prefix: str = "") -> list[Event]:
        """The events after `revision` under `prefix`, oldest first."""
        first = bisect_right(self._segments, revision, key=_by_last)
        if first == len(self._segments):
            return []
        events = self._segments[first].under(prefix)
        found = list(events[bisect_right(events, revision, key=_by_revision) :])
        for segment in self._segments[first + 1 :]:
            found += segment.under(prefix)
        return found

    def forget(self, oldest: int, revision: int) -> list[Event]:
        """Returns the events after `oldest`, the revision forgotten last, up to and including `revision`.

        Memory is freed a whole segment at a time: what is left of the oldest one must not be asked for.
        """
        whole = bisect_right(self._segments, revision, key=_by_last)
        partly = self._segments[whole].events if whole < len(self._segments) else []
        forgotten = [event for segment in self._segments[:whole] for event in segment.events]
        forgotten += partly[: bisect_right(partly, revision, key=_by_revision)]
        self.size -= sum(segment.size for segment in self._segments[:whole])
        del self._segments[:whole]
        return forgotten[bisect_right(forgotten, oldest, key=_by_revision) :]

    def last_beyond(self, size: int) -> int:
        """The revision to forget up to so that at most `size` bytes stay; 0 when they do. The newest segment always stays."""
        kept = 0
        for older, newer in zip(self._segments[-2::-1], self._segments[:0:-1], strict=True):
            kept += newer.size
            if kept + older.size > size:
                return older.last
        return 0


def cost(event: Event) -> int:
    """Bytes that are in memory for the sake of this event only: the document that it has replaced is live no more."""
    return OVERHEAD + (len(event.previous.value) if event.previous else 0)


def _above(directory: str) -> Iterable[str]:
    """The directory and those that it lies in."""
    while directory:
        yield directory
        directory = directory[: directory.rfind("/", 0, -1) + 1]
