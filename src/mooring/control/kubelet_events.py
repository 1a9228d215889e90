"""How does the node tell people what happens to a pod? Events, written in order by one task; repeats are counted."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from mooring.model.kinds import CORE_EVENT
from mooring.pods.status import moment
from mooring.ports.api import Api, ApiError, ApiUnavailable

Document = dict[str, Any]
log = structlog.get_logger("kubelet")
_REMEMBERED = 2048
_QUEUE = 4096


class Events:
    """Core/v1 Events of one node's kubelet. `record` never blocks and never fails; while the server is away each waits some
    seconds, then it is dropped."""

    def __init__(self, api: Api, node_name: str) -> None:
        self.api, self.node_name = api, node_name
        self._queue: asyncio.Queue[Document] = asyncio.Queue(_QUEUE)
        self._known: dict[tuple[str, ...], Document] = {}

    def record(self, regarding: Document, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """`regarding`: an object reference (apiVersion, kind, namespace, name, uid, fieldPath)."""
        now = datetime.now(UTC)
        namespace = regarding.get("namespace") or "default"
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{regarding['name']}.{int(now.timestamp() * 1e9):x}", "namespace": namespace},
            "involvedObject": regarding,
            "reason": reason,
            "message": message[:1024],
            "type": kind,
            "source": {"component": "kubelet", "host": self.node_name},
            "reportingComponent": "kubelet",
            "reportingInstance": self.node_name,
            "firstTimestamp": moment(now),
            "lastTimestamp": moment(now),
            "count": 1,
        }
        if self._queue.full():
            log.warning("event dropped", reason=reason, message=message)
        else:
            self._queue.put_nowait(event)

    def about_node(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """The same, about the node itself: upstream names its uid by its name."""
        reference = {"apiVersion": "v1", "kind": "Node", "name": self.node_name, "uid": self.node_name}
        self.record(reference, kind, reason, message)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            event = await self._queue.get()
            for wait in (0.1, 1.0, 5.0):
                try:
                    await self._write(event)
                    break
                except ApiUnavailable:
                    await asyncio.sleep(wait)
                except ApiError as error:
                    if not error.passing:
                        log.debug("event refused", reason=event["reason"], message=error.message)
                        break
                    await asyncio.sleep(wait)
                except Exception:
                    log.exception("event cannot be told", reason=event["reason"])
                    break
            else:
                log.warning("event dropped", reason=event["reason"], message=event["message"])

    async def _write(self, event: Document) -> None:
        about = event["involvedObject"]
        same = (about.get("uid", ""), about.get("fieldPath", ""), event["type"], event["reason"], event["message"])
        known = self._known.pop(same, None)
        namespace = event["metadata"]["namespace"]
        if known:
            known = {**known, "count": known["count"] + 1, "lastTimestamp": event["lastTimestamp"]}
            patch = {"count": known["count"], "lastTimestamp": known["lastTimestamp"]}
            try:
                await self.api.write("patch", CORE_EVENT, namespace, known["metadata"]["name"], patch)
                self._known[same] = known
                return
            except ApiError as error:
                if error.code != 404:
                    raise
        await self.api.write("create", CORE_EVENT, namespace, event["metadata"]["name"], event)
        self._known[same] = event
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
