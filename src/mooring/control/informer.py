"""How do we stay up to date about one kind? List once, then follow the watch for ever, whatever happens to the connection.

A watch that ends is taken up again from the last revision seen (bookmarks move it on while nothing happens). A revision that
the server has forgotten (410) means a new list, whose difference to what is held is told like events, so that deletions during
the gap are seen. Handlers run in the loop's thread and must not block.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from random import Random
from typing import Any, Generic, TypeVar, cast

import msgspec
import structlog

from mooring.control.cache import Cache, revision_of
from mooring.control.reconciler import Document, Key
from mooring.model.kinds import Kind
from mooring.ports.api import Api, ApiError, ApiUnavailable, WatchEvent

T = TypeVar("T")
Handler = Callable[[T | None, T | None], None]
"""(before, after)"""

FIRST_PAUSE, LAST_PAUSE = 0.05, 5.0
"""Seconds between attempts, doubled each time, with up to as much again at random."""
LIVELY = 5.0
"""A watch that told something or lasted this many seconds was a good one, however it ended."""

log = structlog.get_logger(__name__)


class Informer(Generic[T]):
    """One kind, kept as `view(document)` makes it (the document itself by default)."""

    def __init__(
        self,
        api: Api,
        kind: Kind,
        view: Callable[[Document], T] | None = None,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        rng: Random | None = None,
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        """Set after the first list, when its objects have been told to the handlers."""
        as_is = cast(Callable[[Document], T], lambda document: document)
        self.cache: Cache[T] = Cache(kind, view or as_is, self._reject)
        self._api, self._rng = api, rng or Random()
        self._where: dict[str, Any] = {"namespace": namespace, "labels": labels, "fields": fields}
        self._handlers: list[Handler[T]] = []
        self._waiters: dict[Key, list[tuple[Callable[[], bool], asyncio.Future[None]]]] = {}
        self._revision = ""
        self._log = log.bind(resource=kind.group_resource)

    def subscribe(self, handler: Handler[T]) -> Callable[[], None]:
        """Calls `handler(before, after)` for every change, at once for all that is held now. Returns the undo."""
        for held in self.cache.list():
            self._tell(handler, None, held)
        self._handlers.append(handler)
        return lambda: self._handlers.remove(handler)

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                if not self._revision:
                    await self._relist()
                lively = await self._follow()
            except ApiError as error:
                outdated = unknown_revision(error)
                lively = outdated and bool(self._revision)
                if outdated:
                    self._revision = ""
                self._log.info("watch refused", code=error.code, reason=error.reason, error=error.message)
            except (ApiUnavailable, msgspec.DecodeError) as error:
                lively = False
                tell = self._log.info if pause == FIRST_PAUSE else self._log.debug
                tell("watch interrupted", error=str(error))
            pause = FIRST_PAUSE if lively else min(pause * 2, LAST_PAUSE)
            await asyncio.sleep(pause * (1 + self._rng.random()))

    async def wait_seen(self, key: Key, revision: int) -> None:
        """Returns once everything that happened to the object up to `revision` is in the cache."""
        await self._wait(key, lambda: self.cache.revision(key) >= revision)

    async def wait_gone(self, key: Key, uid: str) -> None:
        """Returns once the object of this uid is no longer in the cache."""
        await self._wait(key, lambda: not self.cache.holds(key, uid))

    async def wait_true(self, key: Key, holds: Callable[[T | None], bool]) -> None:
        """Returns once this is true of the object in the cache, or of None when there is none."""
        await self._wait(key, lambda: holds(self.cache.get(*key)))

    async def _wait(self, key: Key, happened: Callable[[], bool]) -> None:
        if happened():
            return
        waiter = happened, asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, []).append(waiter)
        try:
            await waiter[1]
        finally:
            waiters = self._waiters.get(key, [])
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiters[key]

    async def _relist(self) -> None:
        with collector_off():
            listing = await self._api.list(self.kind, **self._where)
            for before, after in self.cache.replace(listing.items, int(listing.resource_version)):
                self._publish(before, after)
        self._revision = listing.resource_version
        self._answer_all()
        if not self.synced.is_set():
            self._log.debug("synced", objects=len(self.cache))
        self.synced.set()

    async def _follow(self) -> bool:
        """One watch from its beginning to its end; True when it was a good one."""
        told, begun = False, asyncio.get_running_loop().time()
        async with aclosing(self._api.watch(self.kind, self._revision, **self._where)) as events:  # type: ignore[type-var]
            async for event in events:
                told = True
                self._apply(event)
        return told or asyncio.get_running_loop().time() - begun > LIVELY

    def _apply(self, event: WatchEvent) -> None:
        document = event.object
        revision = revision_of(document)
        if event.type == "BOOKMARK":
            self.cache.bookmark(revision)
            self._answer_all()
        else:
            step = self.cache.remove(document) if event.type == "DELETED" else self.cache.put(document)
            if step is not None:
                self._publish(*step)
            metadata = document["metadata"]
            self._answer((metadata.get("namespace", ""), metadata["name"]))
        # Several objects may change under one revision, and a watch may break between two of them: so events are resumed one
        # revision early, and the cache drops what it has already seen.
        reached = revision if event.type == "BOOKMARK" else revision - 1
        if reached > int(self._revision):
            self._revision = str(reached)

    def _publish(self, before: T | None, after: T | None) -> None:
        for handler in self._handlers:
            self._tell(handler, before, after)

    def _tell(self, handler: Handler[T], before: T | None, after: T | None) -> None:
        try:
            handler(before, after)
        except Exception:
            self._log.exception("a handler failed; the others go on")

    def _answer(self, key: Key) -> None:
        for happened, waiter in self._waiters.get(key, ()):
            if not waiter.done() and happened():
                waiter.set_result(None)

    def _answer_all(self) -> None:
        for key in list(self._waiters):
            self._answer(key)

    def _reject(self, document: Document, error: Exception) -> None:
        metadata = document.get("metadata") or {}
        name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
        self._log.warning("cannot be understood and counts as absent", object=name, error=str(error))


def unknown_revision(error: ApiError) -> bool:
    """The server has forgotten the revision, or has not come so far: its store was put back. Either way only a list helps."""
    causes = error.details.get("causes") or ()
    return error.code == 410 or any(cause.get("reason") == "ResourceVersionTooLarge" for cause in causes)


_listing = 0


@contextmanager
def collector_off() -> Iterator[None]:
    """The cyclic collector rests while many objects are made, then leaves all that is alive out of later collections.

    Measured on 10,000 Services and 10,000 slices: the collector costs two to four times the decoding itself, and without the
    freeze every later full collection walks the whole store.
    """
    global _listing
    _listing += 1
    gc.disable()
    try:
        yield
    finally:
        _listing -= 1
        if not _listing:
            gc.enable()
    if not _listing:  # only after a list that came: attempts that fail leave garbage, which must not be kept for ever
        gc.freeze()
