"""How does a loop speak to an API server without a network? To the real server's core, in the same process.

What is checked, defaulted, allocated and refused is decided by apiserver.handle, exactly as behind HTTPS.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from random import Random

from mooring.apiserver.contract import Aside, Env, Request, Response, Settings, User, Watch, Write
from mooring.apiserver.handle import handle
from mooring.edges.http.rest import RestApi, refusal
from mooring.edges.memory.store import MemoryStore
from mooring.ports.api import ApiUnavailable
from mooring.ports.store import Store
from mooring.store.records import Committed, Event

ADMINISTRATOR = User("system:admin", ("system:masters", "system:authenticated"))
BOOKMARK_SECONDS = 60.0
ATTEMPTS = 100
"""Decisions that a write may need under contention; the core itself ends a retry that cannot succeed with a 409."""


class MemoryApi(RestApi):
    """ports.api.Api on a store, by default a MemoryStore of its own."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        user: User = ADMINISTRATOR,
        settings: Settings | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: Random | None = None,
    ) -> None:
        self.store = store or MemoryStore()
        rng = rng or Random()
        chosen = settings or Settings()
        super().__init__(CoreTransport(self.store, user, lambda: Env(now(), rng, chosen)), rng)


class CoreTransport:
    def __init__(self, store: Store, user: User, env: Callable[[], Env]) -> None:
        self._store, self._user, self._env = store, user, env

    async def close(self) -> None:
        """The store belongs to whoever made it."""

    async def exchange(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        request = Request(method, path, tuple(query.items()), dict(headers), body, self._user)
        for _ in range(ATTEMPTS):
            outcome = handle(request, self._store.snapshot, self._env())
            if isinstance(outcome, Aside):
                outcome = outcome.make()
            if isinstance(outcome, Response):
                return outcome.status, bytes(outcome.body)
            if not isinstance(outcome, Write):
                raise ApiUnavailable(f"{method} {path} needs a real server")
            committed = await self._store.commit(outcome.txn)
            if isinstance(committed, Committed):
                response = outcome.respond(committed)
                return response.status, bytes(response.body)
        raise ApiUnavailable(f"{method} {path} met other writes {ATTEMPTS} times")

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        request = Request("GET", path, tuple(query.items()), {"accept": "application/json"}, b"", self._user)
        watch = handle(request, self._store.snapshot, self._env())
        if isinstance(watch, Response):
            if watch.status != 200:
                raise refusal(watch.status, watch.body)
            for line in watch.body.splitlines():  # a stream of one ERROR frame
                yield line
            return
        assert isinstance(watch, Watch)
        batches: asyncio.Queue[Sequence[Event]] = asyncio.Queue()
        # Subscribed before history is read, with no await in between: nothing is missed and nothing told twice.
        unsubscribe = self._store.subscribe(batches.put_nowait)
        batches.put_nowait(self._store.snapshot.since(watch.prefix, watch.revision))
        try:
            for line in watch.initial:
                yield line
            async for line in follow(watch, batches):
                yield line
        finally:
            unsubscribe()


async def follow(watch: Watch, batches: "asyncio.Queue[Sequence[Event]]") -> AsyncIterator[bytes]:
    """The watch's lines until its timeout, with a bookmark whenever nothing has happened for a while."""
    loop = asyncio.get_running_loop()
    end, seen = loop.time() + watch.timeout, watch.revision
    while (left := end - loop.time()) > 0:
        try:
            async with asyncio.timeout(min(left, BOOKMARK_SECONDS)):
                batch = await batches.get()
        except TimeoutError:
            bookmark = watch.bookmark(seen)
            if bookmark is not None:
                yield bookmark
            continue
        for event in batch:
            seen = max(seen, event.revision)
            if event.revision > watch.revision and event.key.startswith(watch.prefix):
                line = watch.encode(event)
                if line is not None:
                    yield line
