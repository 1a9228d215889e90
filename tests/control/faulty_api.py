"""An API server in memory whose watches can be delayed, cut, doubled and made to forget: what informers must live with."""

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any, Literal

from mooring.control.reconciler import Apply, Document
from mooring.model.kinds import Kind
from mooring.ports.api import ApiError, ApiUnavailable, Listing, WatchEvent
from mooring.testing.world import MemoryWorld


class FaultyApi:
    """ports.api.Api over a MemoryWorld."""

    def __init__(self, *documents: Document) -> None:
        self.world = MemoryWorld(documents)
        self.history: list[tuple[int, Kind, WatchEvent]] = []
        self.forgotten = 0
        """Watches from an earlier revision are refused with 410."""
        self.held: tuple[Kind, ...] = ()
        """Watches of these kinds deliver nothing for now."""
        self.doubled = False
        """While true, every event is delivered twice."""
        self.refuse: list[Exception] = []
        """Raised by the next writes, one each."""
        self.down = False
        self.lists = self.watches = 0
        self.written: list[Apply] = []
        self._moved = asyncio.Event()
        self._cuts = 0
        self.world.changes.clear()

    # What a test does.

    def add(self, document: Document) -> Document:
        stored = self.world.add(document)
        self._publish()
        return stored

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        self.world.remove(kind, namespace, name)
        self._publish()

    def cut(self) -> None:
        """Ends every open watch, as a server does when its time is over."""
        self._cuts += 1
        self._wake()

    def forget(self) -> None:
        """Compacts all history."""
        self.forgotten = self.world.revision
        self.history.clear()

    def hold(self, *kinds: Kind) -> None:
        self.held = kinds
        self._wake()

    def bookmark(self, kind: Kind) -> None:
        document = {"metadata": {"resourceVersion": str(self.world.revision)}}
        self.history.append((self.world.revision, kind, WatchEvent("BOOKMARK", document)))
        self._wake()

    # The port.

    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing:
        await self._answer()
        self.lists += 1
        return Listing(copy.deepcopy(list(self.world.list(kind, namespace))), str(self.world.revision))

    async def watch(
        self, kind: Kind, resource_version: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        await self._answer()
        self.watches += 1
        if int(resource_version) < self.forgotten:
            raise ApiError(410, "Expired", f"too old resource version: {resource_version} ({self.forgotten})")
        cuts, told = self._cuts, 0
        while True:
            if cuts != self._cuts:
                return
            while kind not in self.held and told < len(self.history):
                revision, changed, event = self.history[told]
                told += 1
                if changed == kind and revision > int(resource_version):
                    for _ in range(1 + self.doubled):
                        yield event
            if self.down:
                raise ApiUnavailable("connection reset")
            await self._moved.wait()
            told = min(told, len(self.history))

    async def get(self, kind: Kind, namespace: str, name: str) -> Document:
        await self._answer()
        document = self.world.get(kind, namespace, name)
        if document is None:
            raise ApiError(404, "NotFound", f"{name} not found")
        return document

    async def write(
        self,
        verb: Literal["create", "update", "patch", "delete"],
        kind: Kind,
        namespace: str,
        name: str,
        body: Any = None,
        *,
        subresource: str = "",
        patch_type: str = "application/merge-patch+json",
    ) -> Document:
        await self._answer()
        if self.refuse:
            raise self.refuse.pop(0)
        apply = Apply(verb, kind, namespace, name, body, subresource, patch_type)
        document = self.world.write(apply)
        self.written.append(apply)
        self._publish()
        if verb == "delete" and self.world.get(kind, namespace, name) is None:
            return {"kind": "Status", "status": "Success", "details": {"uid": document["metadata"]["uid"]}}
        return document

    async def close(self) -> None: ...

    async def _answer(self) -> None:
        await asyncio.sleep(0.001)
        if self.down:
            raise ApiUnavailable("connection refused")

    def _publish(self) -> None:
        for change in self.world.changes:
            document = change.after
            if document is None:
                assert change.before is not None
                metadata = {**change.before["metadata"], "resourceVersion": str(self.world.revision)}
                event = WatchEvent("DELETED", {**change.before, "metadata": metadata})
            else:
                event = WatchEvent("ADDED" if change.before is None else "MODIFIED", copy.deepcopy(document))
            self.history.append((int(event.object["metadata"]["resourceVersion"]), change.kind, event))
        self.world.changes.clear()
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
