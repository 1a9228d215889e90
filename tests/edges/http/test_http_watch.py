"""Does every watcher hear every event once, in order, whatever it and the others do?"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable

import pytest
from http_lab import Client, Place, Start, until, watch

from mooring.edges.http import server_watch
from mooring.edges.http.server_connection import Patience
from mooring.edges.memory.store import MemoryStore
from mooring.store.records import Delete, Put, Txn


async def put(place: Place, key: str, value: bytes = b"x") -> None:
    await place.store.commit(Txn((), (Put(key, value),)))


async def begin(client: Client, target: str) -> None:
    client.send("GET", target)
    assert (await client.head())[0] == 200


async def rest(client: Client) -> AsyncIterator[bytes]:
    """Chunks up to the last."""
    while data := await client.chunk():
        yield data


async def test_a_watch_begins_with_the_initial_lines_then_replays_then_follows(place: Place) -> None:
    for number in range(3):
        await put(place, f"/keys/{number}")
    async with place.connect() as client:
        await begin(client, "/keys/?watch=1&from=1&initial=2")
        assert await client.lines(4) == ["initial", "initial", "2 /keys/1", "3 /keys/2"]
        await put(place, "/keys/3")
        assert await client.lines(1) == ["4 /keys/3"]


async def test_events_of_other_prefixes_and_unseen_ones_are_not_sent(place: Place) -> None:
    async with place.connect() as client:
        await begin(client, "/keys/a/?watch=1")
        for key, value in (("/keys/b/1", b"x"), ("/keys/a/1", b"hidden"), ("/keys/a/2", b"x")):
            await put(place, key, value)
        await place.store.commit(Txn((), (Delete("/keys/a/2"),)))
        assert await client.lines(2) == ["3 /keys/a/2", "4 /keys/a/2"]


async def test_watchers_that_come_in_the_middle_of_many_writes_miss_and_double_nothing(place: Place) -> None:
    last = 400

    async def write() -> None:
        for number in range(last):
            await put(place, f"/keys/{number}")

    async def watch(after: int) -> list[int]:
        await until(lambda: place.store.snapshot.revision >= after)
        async with place.connect() as client:
            await begin(client, f"/keys/?watch=1&from={after // 2}")
            seen: list[int] = []
            while not seen or seen[-1] < last:
                seen += [int(line.split()[0]) for line in await client.lines(1)]
            return seen

    starts = range(0, last, 20)
    results = await asyncio.gather(write(), *(watch(after) for after in starts))
    assert list(results[1:]) == [list(range(after // 2 + 1, last + 1)) for after in starts]


async def test_an_event_is_encoded_once_for_all_who_share(start: Start) -> None:
    from http_lab import small_core

    encoded: list[int] = []

    def counting(request, snapshot, env):  # type: ignore[no-untyped-def]
        outcome = small_core(request, snapshot, env)
        if not isinstance(outcome, server_watch.Watch):
            return outcome
        inner = outcome.encode
        fields = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
        return server_watch.Watch(**(fields | {"encode": lambda event: encoded.append(event.revision) or inner(event)}))

    place = await start(handle=counting)
    async with place.connect() as a, place.connect() as b, place.connect() as other:
        for client, target in ((a, "/keys/?watch=1"), (b, "/keys/?watch=1"), (other, "/keys/?watch=1&share=other")):
            await begin(client, target)
        await put(place, "/keys/1")
        assert [await client.lines(1) for client in (a, b, other)] == [["1 /keys/1"]] * 3
    assert encoded == [1, 1]


async def test_a_watch_from_a_compacted_revision_is_expired(place: Place) -> None:
    for number in range(5):
        await put(place, f"/keys/{number}")
    await place.store.compact(4)
    async with place.connect() as client:
        status, body = await client.ask("GET", "/keys/?watch=1&from=2")
        assert (status, b'"reason":"Expired"' in body, b"too old resource version: 2 (4)" in body) == (410, True, True)


async def test_a_watch_from_the_future_is_told_to_come_again(place: Place) -> None:
    async with place.connect() as client:
        status, body = await client.ask("GET", "/keys/?watch=1&from=9")
        assert (status, b"Too large resource version: 9, current: 0" in body) == (504, True)


async def test_at_its_timeout_a_watch_ends_with_a_bookmark_and_the_connection_lives_on(place: Place) -> None:
    await put(place, "/keys/1")
    async with place.connect() as client:
        await begin(client, "/keys/?watch=1&timeout=0.05")
        assert [data async for data in rest(client)] == [b"bookmark 1\n"]
        assert (await client.ask("GET", "/echo"))[0] == 200


async def test_bookmarks_come_regularly_and_only_after_the_events_they_cover(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_watch, "BOOKMARK_EVERY", 0.02)
    monkeypatch.setattr(server_watch, "FLUSH_EVERY", 0.5)
    async with place.connect() as client:
        await begin(client, "/keys/?watch=1")
        await put(place, "/keys/1")
        await put(place, "/keys/2")
        text = ""
        while text.count("bookmark 2") < 2:
            text += (await client.chunk()).decode()
    lines = text.splitlines()
    assert [line for line in lines if "keys" in line] == ["1 /keys/1", "2 /keys/2"]
    assert lines.index("2 /keys/2") < lines.index("bookmark 2")


async def test_a_watcher_that_stops_reading_is_cut_off_and_hinders_nobody(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_watch, "MAX_BEHIND", 1_000_000)
    async with place.connect() as stuck, place.connect() as reader:
        for client in (stuck, reader):
            await begin(client, "/keys/?watch=1")
        stuck.writer.transport.pause_reading()
        name = "n" * 100_000
        for number in range(1_000):
            await put(place, f"/keys/{name}{number}")
            await reader.lines(1)
            if place.server._hub.watchers == 1:
                break
        assert place.server._hub.watchers == 1


async def test_many_that_stop_reading_share_what_may_wait(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of a channel of its own, which holds lines that no other does."""
    monkeypatch.setattr(server_watch, "ALL_BEHIND", 4_000_000)
    hub, name = place.server._hub, "n" * 100_000
    async with place.connect() as one, place.connect() as two, place.connect() as three, place.connect() as four:
        stuck = (one, two, three, four)
        for number, client in enumerate(stuck):
            await begin(client, f"/keys/{number}/?watch=1")
            client.writer.transport.pause_reading()
        for round in range(400):
            for number in range(len(stuck)):
                await put(place, f"/keys/{number}/{name}{round}")
            await until(lambda: not hub._touched and not hub._telling)
            behind = [watcher._behind_size for channel in hub._channels for watcher in channel.watchers]
            assert sum(behind) <= 4_000_000
            if len(behind) < len(stuck):
                break
        assert len(behind) < len(stuck) and max(behind) > 800_000
    await until(lambda: not hub.watchers)
    assert not hub._behind


async def test_a_slow_watcher_gets_everything_in_order_when_it_reads_again(place: Place) -> None:
    async with place.connect() as slow:
        await begin(slow, "/keys/?watch=1&initial=400000")
        name = "n" * 1000
        slow.writer.transport.pause_reading()
        for number in range(1000):
            await put(place, f"/keys/{name}{number}")
        slow.writer.transport.resume_reading()
        lines = await slow.lines(401_000)
    assert lines == ["initial"] * 400_000 + [f"{number + 1} /keys/{name}{number}" for number in range(1000)]


async def test_a_watcher_whose_client_left_is_forgotten(place: Place) -> None:
    async with place.connect() as client:
        await begin(client, "/keys/?watch=1")
        assert place.server._hub.watchers == 1
    await until(lambda: place.server._hub.watchers == 0)
    await put(place, "/keys/1")
    assert not place.server._hub._channels


async def test_a_watch_that_cannot_be_encoded_ends_and_the_server_goes_on(start: Start) -> None:
    from http_lab import small_core

    def failing(request, snapshot, env):  # type: ignore[no-untyped-def]
        outcome = small_core(request, snapshot, env)
        if not isinstance(outcome, server_watch.Watch):
            return outcome
        fields = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
        return server_watch.Watch(**(fields | {"encode": lambda event: 1 // 0}))

    place = await start(handle=failing)
    async with place.connect() as client, place.connect() as other:
        await begin(client, "/keys/?watch=1")
        assert (await other.ask("PUT", "/keys/1", b"x"))[0] == 200
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
            await client.chunk()
        assert (await other.ask("GET", "/keys/1"))[0] == 200


async def test_stopping_ends_watches_in_order(start: Start) -> None:
    place = await start(Patience())
    async with place.connect() as client:
        await begin(client, "/keys/?watch=1")
        await put(place, "/keys/1")
        stopping = asyncio.create_task(place.server.stop())
        assert b"".join([data async for data in rest(client)]) == b"1 /keys/1\nbookmark 1\n"
        await stopping


async def test_http_1_0_clients_cannot_watch(place: Place) -> None:
    async with place.connect() as client:
        client.writer.write(b"GET /keys/?watch=1 HTTP/1.0\r\n\r\n")
        assert (await client.answer())[0] == 400


class Clock:
    """The hub's time and loop: time passes while a frame is written, or nothing is to be done."""

    def __init__(self) -> None:
        self.now = self.busy = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def perf_counter(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> object:
        heapq.heappush(self._due, (self.now + delay, len(self._due), call))
        return call

    def call_soon(self, call: Callable[[], None]) -> object:
        return self.call_later(0, call)

    def run(self, until: float) -> None:
        while self.now < until and self._due and self._due[0][0] <= until:
            when, _, call = heapq.heappop(self._due)
            self.now = max(self.now, when)
            call()
        self.now = max(self.now, until)


class TimedSink:
    """A peer to whom each frame takes as long as a TLS record and a system call do."""

    WRITE = 28e-6
    paused = False
    on_writable = on_lost = None

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.heard: list[int] = []
        self.delays: list[float] = []

    def write(self, data: bytes) -> None:
        self.clock.now += self.WRITE
        self.clock.busy += self.WRITE
        numbers = [int(line.rpartition(b"/")[2]) for line in data.split(b"\n") if b"/" in line]
        self.heard += numbers
        self.delays += [self.clock.now - number * EVERY for number in numbers[:1]]

    def abort(self) -> None:
        raise AssertionError("it reads")


EVERY, EVENTS = 0.002, 250


async def test_a_thousand_watchers_leave_room_for_requests_and_hear_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round begins at once after a quiet time, its slices let the writer in between, and the more there is to tell, the more
    goes into a frame."""
    clock, store = Clock(), MemoryStore()
    monkeypatch.setattr(server_watch, "time", clock)
    hub = server_watch.Hub(store)
    hub._loop = clock  # type: ignore[assignment]
    groups = {"/keys/": [TimedSink(clock) for _ in range(100)]}
    groups |= {f"/keys/{namespace}/": [TimedSink(clock) for _ in range(90)] for namespace in range(10)}
    for prefix, sinks in groups.items():
        for sink in sinks:
            hub.attach(watch(prefix, store.snapshot, {}), sink, [])
    waited = []
    for number in range(EVENTS):
        clock.run(number * EVERY)
        waited.append(clock.now - number * EVERY)
        await store.commit(Txn((), (Put(f"/keys/{number % 10}/{number}", b"x"),)))
    assert min(sink.delays[0] for sink in groups["/keys/"] + groups["/keys/0/"]) == pytest.approx(TimedSink.WRITE)
    assert max(waited) < server_watch.SLICE + EVERY
    assert clock.busy / clock.now < 0.8
    clock.run(clock.now + 1)
    assert all(sink.heard == list(range(EVENTS)) for sink in groups.pop("/keys/"))
    for prefix, sinks in groups.items():
        assert all(sink.heard == list(range(int(prefix[6]), EVENTS, 10)) for sink in sinks)
    # Nobody waits for two rounds: for the others once, for those who share, and for a writer in between.
    longest = (1000 + 100) * TimedSink.WRITE + server_watch.MAX_REST + EVERY
    assert max(delay for sinks in groups.values() for sink in sinks for delay in sink.delays) < longest
    hub.end()
