"""How do a thousand watchers hear of an event, each once and in order, without the writer waiting for any?

Watchers whose lines are identical share a channel: an event is encoded once, a flush framed once. A flush follows the first
event after a quiet time at once, then at most one each few milliseconds. A watcher whose peer does not read keeps references
to the shared frames, and is cut off when they grow beyond a limit.

Nothing is lost, doubled or reordered at the start: attaching replays the events between the watcher's revision and the
snapshot's, and it joins its channel in the same turn of the loop, after the channel has flushed what the replay has covered.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import structlog

from mooring.apiserver.contract import Watch
from mooring.edges.http.server_connection import LAST_CHUNK, chunk
from mooring.ports.store import Store
from mooring.store.records import Event

log = structlog.get_logger(__name__)

FLUSH_EVERY = 0.005
BOOKMARK_EVERY = 60.0
MAX_BEHIND = 16 * 1024 * 1024
"""Bytes a watcher may have waiting. Upstream cuts off at 100 events a watcher (cacher); ours are shared, so cost little."""
_INITIAL_FRAME = 64 * 1024


class Sink(Protocol):
    """Where a watcher's frames go: server_connection.Connection."""

    paused: bool
    on_writable: Callable[[], None] | None
    on_lost: Callable[[], None] | None

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...


class Watcher:
    """One client's stream: `done` is resolved when its last chunk is written or the client is gone."""

    def __init__(self, sink: Sink, watch: Watch, channel: "_Channel", replay: list[bytes]) -> None:
        self._sink, self._watch, self._channel = sink, watch, channel
        self._first = _frames((*watch.initial, *replay) if replay else watch.initial)
        self._behind: deque[bytes] = deque()
        self._behind_size = 0
        self._ended = False
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = loop.create_future()
        self._timers = [loop.call_later(watch.timeout, self.end), loop.call_later(BOOKMARK_EVERY, self._bookmark_again)]
        sink.on_writable, sink.on_lost = self._resume, self._detach
        channel.watchers.add(self)
        self._resume()

    def send(self, frame: bytes) -> None:
        """Writes a frame now if the peer reads, later if it is slow, never if it has stopped."""
        if not self._behind and not self._sink.paused and self._first is None:
            self._sink.write(frame)
            return
        self._behind.append(frame)
        self._behind_size += len(frame)
        if self._behind_size > MAX_BEHIND:
            log.warning("watcher cut off: it does not read", prefix=self._watch.prefix, bytes_behind=self._behind_size)
            self.cut_off()

    def end(self) -> None:
        """Ends the stream in order: what is waiting, a bookmark, the last chunk."""
        if self._ended:
            return
        self._bookmark()
        self._ended = True
        self._channel.drop(self)
        self.send(LAST_CHUNK)
        self._resume()

    def cut_off(self) -> None:
        """Ends the stream without its last chunk: the client sees that it is not whole, and lists again."""
        self._sink.abort()
        self._detach()

    def _resume(self) -> None:
        sink = self._sink
        while self._first is not None and not sink.paused:
            frame = next(self._first, None)
            if frame is None:
                self._first = None
            else:
                sink.write(frame)
        while self._behind and not sink.paused:
            frame = self._behind.popleft()
            self._behind_size -= len(frame)
            sink.write(frame)
        if self._ended and not self._behind and self._first is None:
            self._detach()

    def _bookmark_again(self) -> None:
        self._bookmark()
        self._timers[1] = asyncio.get_running_loop().call_later(BOOKMARK_EVERY, self._bookmark_again)

    def _bookmark(self) -> None:
        """Says how far the watcher has been told everything: flushes first, so that this is the store's revision."""
        self._channel.flush()
        if not self._ended and (line := self._watch.bookmark(self._channel.revision())):
            self.send(chunk(line))

    def _detach(self) -> None:
        self._ended = True
        self._channel.drop(self)
        for timer in self._timers:
            timer.cancel()
        self._sink.on_writable = self._sink.on_lost = None
        if not self.done.done():
            self.done.set_result(None)


class _Channel:
    """Watchers who are told the same. `revision` gives the store's."""

    def __init__(self, watch: Watch, revision: Callable[[], int], drop_empty: Callable[[], None]) -> None:
        self._encode, self.revision, self._drop_empty = watch.encode, revision, drop_empty
        self.watchers: set[Watcher] = set()
        self._pending: list[Event] = []

    def offer(self, event: Event) -> None:
        self._pending.append(event)

    def flush(self) -> None:
        events, self._pending = self._pending, []
        if not events:
            return
        try:
            lines = encoded(self._encode, events)
        except Exception:
            log.exception("watch encoding failed", revision=events[0].revision, key=events[0].key)
            for watcher in tuple(self.watchers):
                watcher.cut_off()
            return
        if lines:
            frame = chunk(b"".join(lines))
            for watcher in tuple(self.watchers):
                watcher.send(frame)

    def drop(self, watcher: Watcher) -> None:
        self.watchers.discard(watcher)
        if not self.watchers:
            self._drop_empty()


class Hub:
    """Takes the store's events to the watchers."""

    def __init__(self, store: Store) -> None:
        self._loop = asyncio.get_running_loop()
        self._snapshot = store.snapshot
        self._channels: dict[str, dict[tuple[Any, ...], _Channel]] = {}  # prefix -> share -> channel
        self._touched: set[_Channel] = set()
        self._flush_at: asyncio.Handle | None = None
        self._flushed = 0.0
        self._leave = store.subscribe(self._hear)

    @property
    def watchers(self) -> int:
        return sum(len(channel.watchers) for channels in self._channels.values() for channel in channels.values())

    def attach(self, watch: Watch, sink: Sink, replayed: list[bytes]) -> Watcher:
        """Starts a stream on `sink`, whose response head has been written, in the same turn of the loop as `replay`."""
        channels = self._channels.setdefault(watch.prefix, {})
        channel = channels.get(watch.share)
        if channel is None:

            def drop_empty() -> None:
                channels.pop(watch.share, None)
                if not channels and self._channels.get(watch.prefix) is channels:
                    del self._channels[watch.prefix]

            channel = channels[watch.share] = _Channel(watch, lambda: self._snapshot.revision, drop_empty)
        channel.flush()
        return Watcher(sink, watch, channel, replayed)

    def replay(self, watch: Watch) -> list[bytes]:
        """The lines between the watch's revision and now. Raises Compacted or FutureRevision."""
        return encoded(watch.encode, self._snapshot.since(watch.prefix, watch.revision))

    def end(self) -> None:
        """Ends every stream in order, and hears no more."""
        self._leave()
        for channels in tuple(self._channels.values()):
            for channel in tuple(channels.values()):
                for watcher in tuple(channel.watchers):
                    watcher.end()

    def _hear(self, events: Sequence[Event]) -> None:
        if not self._channels:
            return
        for event in events:
            for prefix in _prefixes(event.key):
                if channels := self._channels.get(prefix):
                    for channel in channels.values():
                        channel.offer(event)
                        self._touched.add(channel)
        if self._touched and not self._flush_at:
            wait = self._flushed + FLUSH_EVERY - self._loop.time()
            self._flush_at = self._loop.call_later(wait, self._flush) if wait > 0 else self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_at = None
        self._flushed = self._loop.time()
        touched, self._touched = self._touched, set()
        for channel in touched:
            channel.flush()


def encoded(encode: Callable[[Event], bytes | None], events: Iterable[Event]) -> list[bytes]:
    """The lines of the events that the watcher's selectors see."""
    return [line for event in events if (line := encode(event))]


def _frames(lines: Sequence[bytes]) -> Iterator[bytes] | None:
    """Chunks of some 64 KiB, made as they are asked for."""
    if not lines:
        return None

    def frames() -> Iterator[bytes]:
        gathered: list[bytes] = []
        size = 0
        for line in lines:
            gathered.append(line)
            size += len(line)
            if size >= _INITIAL_FRAME:
                yield chunk(b"".join(gathered))
                gathered, size = [], 0
        if gathered:
            yield chunk(b"".join(gathered))

    return frames()


def _prefixes(key: str) -> Iterator[str]:
    """What a watch on this key may have as its prefix: everything up to and with each '/', and the key itself."""
    position = key.find("/")
    while position >= 0:
        yield key[: position + 1]
        position = key.find("/", position + 1)
    yield key
    yield ""
