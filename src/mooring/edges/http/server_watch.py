"""How do a thousand watchers hear of an event, each once and in order, without the writer waiting for any?

Watchers whose lines are identical share a channel: an event is encoded once, a round's events framed once. A round follows the
first event after a quiet time at once, the next a few milliseconds later. It is told in slices of time, between which the loop
turns and requests are answered: with a thousand watchers a round takes tens of milliseconds, and what happens meanwhile goes
into the next, so that the more there is to tell, the more goes into one frame. A watcher whose peer does not read keeps
references to the shared frames, and is cut off when they grow beyond a limit. What a stream begins with is encoded as the peer
reads it.

Nothing is lost, doubled or reordered at the start: attaching replays the events between the watcher's revision and the
snapshot's, and it joins its channel in the same turn of the loop, after the channel has flushed what the replay has covered.

Some events cannot be encoded before a webhook has been asked (a stored version is converted). Their channel waits, and what
follows waits behind them, in order; who comes meanwhile gets a channel of his own. A channel that waits for too much ends.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Protocol

import structlog

from mooring.apiserver.contract import Question, Unanswered, Watch
from mooring.edges.http.server_channels import Channels
from mooring.edges.http.server_connection import LAST_CHUNK, chunk
from mooring.edges.http.webhooks import Inquire, answers_to
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION
from mooring.ports.store import Store
from mooring.store.records import Event

log = structlog.get_logger(__name__)

FLUSH_EVERY = 0.005
"""Seconds from one round's beginning to the next one's, at least."""
MAX_REST = 0.01
"""Between two rounds: as long as the last one took, up to so many seconds. A frame costs a TLS record and a system call,
whatever is in it: with less rest there is more of that, with more of it watchers wait for longer than larger frames save."""
SLICE = 0.002
"""Seconds at a time that watchers are told of events, or one of them what was there before."""
BOOKMARK_EVERY = 60.0
MAX_WAITING = 10_000
"""Events behind one that waits for a webhook."""
MAX_BEHIND = 16 * 1024 * 1024
"""Bytes a watcher may have waiting. Upstream cuts off at 100 events a watcher (cacher); ours are shared, so cost little."""
ALL_BEHIND = 128 * 1024 * 1024
"""The same for the watchers of all channels: each channel of which one is behind has its share."""
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
        self._first: Iterator[bytes] | None = _frames(chain(watch.initial, replay))
        self.told = channel.made
        """How many of the channel's frames it has been given, those before its time counted in."""
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
        if not self._behind:
            self._channel.falls_behind()
        self._behind.append(frame)
        self._behind_size += len(frame)
        if self._behind_size > self._channel.most_behind:
            log.warning("watcher cut off: it does not read", prefix=self._watch.prefix, bytes_behind=self._behind_size)
            self.cut_off()

    def end(self, bookmark: bool = True) -> None:
        """Ends the stream in order: what is waiting, a bookmark, the last chunk. No bookmark where not all is to be told."""
        if self._ended:
            return
        if bookmark:
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
        if self._first is not None:
            self._begin()
        sink = self._sink
        if self._first is not None:
            return
        while self._behind and not sink.paused:
            frame = self._behind.popleft()
            self._behind_size -= len(frame)
            if not self._behind:
                self._channel.catches_up()
            sink.write(frame)
        if self._ended and not self._behind:
            self._detach()

    def _begin(self) -> None:
        """Writes of the first frames what the peer reads, but not all at one go."""
        sink, until = self._sink, time.perf_counter() + SLICE
        try:
            while self._first is not None and not sink.paused:
                if time.perf_counter() > until:
                    asyncio.get_running_loop().call_soon(self._resume)
                    return
                frame = next(self._first, None)
                if frame is None:
                    self._first = None
                else:
                    sink.write(frame)
        except Exception:
            log.exception("watch encoding failed", prefix=self._watch.prefix)
            self._first = None
            self.cut_off()

    def _bookmark_again(self) -> None:
        self._bookmark()
        self._timers[1] = asyncio.get_running_loop().call_later(BOOKMARK_EVERY, self._bookmark_again)

    def _bookmark(self) -> None:
        """Says how far the watcher has been told everything: tells it all first, so that this is the store's revision."""
        self._channel.encode()
        self._channel.tell(self)
        if not self._ended and not self._channel.waits and (line := self._watch.bookmark(self._channel.revision())):
            self.send(chunk(line))

    def _detach(self) -> None:
        self._ended, self._first = True, None
        if self._behind:
            self._behind.clear()
            self._channel.catches_up()
        self._channel.drop(self)
        for timer in self._timers:
            timer.cancel()
        self._sink.on_writable = self._sink.on_lost = None
        if not self.done.done():
            self.done.set_result(None)


class _Channel:
    """Watchers who are told the same. `revision` is the store's, `touch` asks for a round, `behind` counts for all channels."""

    def __init__(
        self,
        watch: Watch,
        revision: Callable[[], int],
        touch: Callable[["_Channel"], None],
        behind: Counter["_Channel"],
        drop_empty: Callable[["_Channel"], None],
        inquire: Inquire | None,
    ) -> None:
        self.watch, self.revision, self._touch, self._drop_empty, self._inquire = watch, revision, touch, drop_empty, inquire
        self._behind = behind
        self.watchers: set[Watcher] = set()
        self._pending: list[Event] = []
        self._frames: list[bytes] = []
        """Those that not every watcher has been given yet."""
        self._forgotten = 0
        self._asking: asyncio.Task[None] | None = None

    @property
    def waits(self) -> bool:
        """For a webhook: what was offered has not been told yet."""
        return self._asking is not None

    @property
    def made(self) -> int:
        """How many frames there have been."""
        return self._forgotten + len(self._frames)

    @property
    def most_behind(self) -> int:
        """Bytes that a watcher of this channel may have waiting. Those of one channel wait for the same frames."""
        return min(MAX_BEHIND, ALL_BEHIND // len(self._behind))

    def falls_behind(self) -> None:
        """One watcher more than before."""
        self._behind[self] += 1

    def catches_up(self) -> None:
        self._behind[self] -= 1
        if not self._behind[self]:
            del self._behind[self]

    def offer(self, event: Event) -> None:
        self._pending.append(event)
        if self.waits and len(self._pending) > MAX_WAITING:
            log.warning("watchers cut off: a conversion webhook is too slow", prefix=self.watch.prefix)
            self._cut_off()

    def encode(self) -> None:
        """Makes a frame of what was offered, as far as it can be encoded now."""
        if self.waits or not self._pending:
            return
        lines: list[bytes] = []
        done = 0
        try:
            for event in self._pending:
                if line := self.watch.encode(event):
                    lines.append(line)
                done += 1
        except Unanswered as unknown:
            self._asking = asyncio.get_running_loop().create_task(self._ask(unknown.questions))
        except Exception:
            log.exception("watch encoding failed", revision=self._pending[done].revision, key=self._pending[done].key)
            self._cut_off()
            return
        del self._pending[:done]
        if lines:
            self._frames.append(chunk(b"".join(lines)))
        if not self.waits:
            self.watch.answers.clear()

    def tell(self, watcher: Watcher) -> None:
        """Gives a watcher the frames that it has not been given."""
        for frame in self._frames[watcher.told - self._forgotten :]:
            watcher.send(frame)
        watcher.told = self.made

    def round(self) -> Iterator[None]:
        """Encodes and tells everybody, a step at a time."""
        self.encode()
        made = self.made
        if self._frames:
            for watcher in tuple(self.watchers):
                if watcher.told < made and watcher in self.watchers:
                    self.tell(watcher)
                    yield
            del self._frames[: made - self._forgotten]
            self._forgotten = made
        yield

    async def _ask(self, questions: tuple[Question, ...]) -> None:
        found = await answers_to(questions, self._inquire)
        self.watch.answers.update(found)
        self._asking = None
        self._touch(self)

    def _cut_off(self) -> None:
        self._pending.clear()
        for watcher in tuple(self.watchers):
            watcher.cut_off()

    def drop(self, watcher: Watcher) -> None:
        self.watchers.discard(watcher)
        if not self.watchers:
            if self._asking:
                self._asking.cancel()
            self._drop_empty(self)


class Hub:
    """Takes the store's events to the watchers."""

    def __init__(self, store: Store, inquire: Inquire | None = None) -> None:
        self._inquire = inquire
        self._loop = asyncio.get_running_loop()
        self._snapshot = store.snapshot
        self._channels: Channels[_Channel] = Channels()
        self._touched: dict[_Channel, None] = {}
        self._behind: Counter[_Channel] = Counter()
        """How many watchers of a channel are behind, where any is."""
        self._telling: Iterator[None] | None = None
        self._flush_at: asyncio.Handle | None = None
        self._began, self._next_round, self._spent, self._over = 0.0, 0.0, 0.0, False
        self._leave = store.subscribe(self._hear)

    @property
    def watchers(self) -> int:
        return sum(len(channel.watchers) for channel in self._channels)

    def attach(self, watch: Watch, sink: Sink, replayed: list[bytes]) -> Watcher:
        """Starts a stream on `sink`, whose response head has been written, in the same turn of the loop as `replay`.

        One that comes when the others have been ended, since the server stops, ends at once.
        """
        share = watch.share
        channel = self._channels.get(watch.prefix, share)
        if channel is not None:
            channel.encode()
            if channel.waits:
                channel, share = None, (*watch.share, object())
        if channel is None:
            revision = lambda: self._snapshot.revision  # noqa: E731
            channel = _Channel(watch, revision, self._touch, self._behind, partial(self._channels.drop, share), self._inquire)
            self._channels.add(share, channel)
        watcher = Watcher(sink, watch, channel, replayed)
        if self._over:
            watcher.end()
        return watcher

    def replay(self, watch: Watch) -> list[bytes]:
        """The lines between the watch's revision and now. Raises Compacted or FutureRevision, and Unanswered."""
        lines = [line for event in self._snapshot.since(watch.prefix, watch.revision) if (line := watch.encode(event))]
        watch.answers.clear()
        return lines

    def end(self) -> None:
        """Ends every stream in order, and hears no more."""
        self._over = True
        self._leave()
        for channel in self._channels:
            for watcher in tuple(channel.watchers):
                watcher.end()

    def _hear(self, events: Sequence[Event]) -> None:
        if not self._channels:
            return
        for event in events:
            if event.key.startswith(CUSTOM_RESOURCE_DEFINITION.prefix):
                self._end_outdated(event)
            for channel in self._channels.hearing(event):
                channel.offer(event)
                self._touched[channel] = None
        self._schedule()

    def _touch(self, channel: _Channel) -> None:
        self._touched[channel] = None
        self._schedule()

    def _schedule(self) -> None:
        if self._touched and not self._flush_at:
            wait = self._next_round - time.perf_counter()
            self._flush_at = self._loop.call_later(wait, self._flush) if wait > 0 else self._loop.call_soon(self._flush)

    def _end_outdated(self, event: Event) -> None:
        """Streams of a kind that is defined otherwise now. Their clients watch anew, and hear so of the rest of this batch."""
        for channel in self._channels:
            if channel.watch.rests_on == event.key and channel.watch.outdated(event):
                channel.encode()
                for watcher in tuple(channel.watchers):
                    channel.tell(watcher)
                    watcher.end(bookmark=False)

    def _round(self, channel: _Channel) -> Iterator[None]:
        """In the next one it comes where its first event stands that is not told by this one: nobody waits for two rounds."""
        self._touched.pop(channel, None)
        return channel.round()

    def _flush(self) -> None:
        """A slice of the round that goes on, or of the next one."""
        began = time.perf_counter()
        until = began + SLICE
        if self._telling is None:
            self._began, self._spent = began, 0.0
            touched, self._touched = self._touched, {}
            self._telling = chain.from_iterable(map(self._round, touched))
        for _ in self._telling:
            if (now := time.perf_counter()) > until:
                self._spent += now - began
                self._flush_at = self._loop.call_soon(self._flush)
                return
        self._spent += (now := time.perf_counter()) - began
        self._next_round = max(self._began + FLUSH_EVERY, now + min(self._spent, MAX_REST))
        self._telling = self._flush_at = None
        self._schedule()


def _frames(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks of some 64 KiB, made as they are asked for."""
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
