"""How does the node agent follow a few objects? List, then watch from there, and list again when the server has forgotten."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from mooring.model.kinds import Kind
from mooring.ports.api import Api, ApiError, ApiUnavailable

Document = dict[str, Any]
log = structlog.get_logger("kubelet")
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0


class Follower:
    """The objects of one kind in a namespace, by a field selector, as last seen.

    `changed(uid, document)` is called for each change, with None when the object has gone; `listed` is set once the first
    list has been taken in, `answered` once the server has said anything, be it no.
    """

    def __init__(
        self, api: Api, kind: Kind, changed: Callable[[str, Document | None], None], *, namespace: str = "", fields: str = ""
    ) -> None:
        self.api, self.kind, self.changed, self.namespace, self.fields = api, kind, changed, namespace, fields
        self.objects: dict[str, Document] = {}
        self.listed, self.answered = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        wait = _FIRST_WAIT
        while True:
            try:
                version = await self._list()
                wait = _FIRST_WAIT
                while True:
                    version = await self._watch(version)
            except ApiError as error:
                self.answered.set()
                if error.code != 410:
                    log.warning("watch refused", kind=self.kind.kind, code=error.code, message=error.message)
            except ApiUnavailable as error:
                log.debug("api server unavailable", kind=self.kind.kind, error=str(error))
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _list(self) -> str:
        listing = await self.api.list(self.kind, self.namespace, fields=self.fields)
        found = {item["metadata"]["uid"]: item for item in listing.items}
        for uid in set(self.objects) - set(found):
            del self.objects[uid]
            self.changed(uid, None)
        for uid, item in found.items():
            old = self.objects.get(uid)
            self.objects[uid] = item
            if old is None or old["metadata"].get("resourceVersion") != item["metadata"].get("resourceVersion"):
                self.changed(uid, item)
        self.listed.set()
        self.answered.set()
        return listing.resource_version

    async def _watch(self, version: str) -> str:
        """One watch to its end; the version to go on from."""
        started = asyncio.get_running_loop().time()
        async for event in self.api.watch(self.kind, version, self.namespace, fields=self.fields):
            meta = event.object["metadata"]
            version = meta["resourceVersion"]
            if event.type == "DELETED":
                self.objects.pop(meta["uid"], None)
                self.changed(meta["uid"], None)
            elif event.type != "BOOKMARK":
                self.objects[meta["uid"]] = event.object
                self.changed(meta["uid"], event.object)
        if asyncio.get_running_loop().time() - started < 1:
            await asyncio.sleep(_FIRST_WAIT)  # A server that ends every watch at once must not be asked in a tight loop.
        return version
