"""How do reports become Events? Created once, counted when repeated, limited when they flood, never in anybody's way.

core/v1 Events as upstream's client writes them: name `object.hex`, count, firstTimestamp, lastTimestamp, source.component.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from msgspec import Struct

from mooring.control.queue import Bucket
from mooring.control.reconciler import Document, Report
from mooring.model.kinds import CORE_EVENT
from mooring.ports.api import Api, ApiError, ApiUnavailable

BURST, PER_SECOND = 25, 1 / 300
"""Upstream's spam filter: 25 events of one object from one component, then one in five minutes."""
REMEMBERED = 4096
"""Series and objects whose past is remembered."""
BACKLOG = 1000
"""Reports that may wait for the server; more are dropped."""
NAME_LIMIT = 253 - 17

log = structlog.get_logger(__name__)


class Series(Struct):
    name: str
    count: int


class Recorder:
    def __init__(
        self, api: Api, component: str, host: str = "", now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._api, self._component, self._host, self._now = api, component, host, now
        self._series: OrderedDict[tuple[str, ...], Series] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, ...], Bucket] = OrderedDict()
        self._dropped = 0
        self._backlog: asyncio.Queue[tuple[Report, datetime]] = asyncio.Queue(BACKLOG)

    def record(self, report: Report) -> None:
        """Takes a report without waiting; drops it when its object floods or the backlog is full."""
        moment = self._now()
        if not self._bucket(object_key(report.regarding)).try_take(moment.timestamp()):
            return
        try:
            self._backlog.put_nowait((report, moment))
        except asyncio.QueueFull:
            if not self._dropped:
                log.warning("events are dropped, too many are waiting", reason=report.reason)
            self._dropped += 1
            return
        if self._dropped:
            log.warning("events are taken again", dropped=self._dropped)
            self._dropped = 0

    async def run(self) -> None:
        """Writes the reports until cancelled. An Event that the server refuses is logged and lost, as upstream's are."""
        while True:
            report, moment = await self._backlog.get()
            try:
                await self._write(report, moment)
            except (ApiError, ApiUnavailable) as error:
                log.info("event not recorded", reason=report.reason, message=report.message, error=str(error))
            except Exception:
                # A mistake of ours about one object; the others' Events are told all the same.
                log.exception("event cannot be recorded", reason=report.reason)
            finally:
                self._backlog.task_done()

    async def flush(self) -> None:
        """Returns once every report taken so far has been written or lost."""
        await self._backlog.join()

    async def _write(self, report: Report, moment: datetime) -> None:
        key = (*object_key(report.regarding), report.type, report.reason, report.message)
        namespace = report.regarding["metadata"].get("namespace") or "default"
        series = self._series.get(key)
        if series is not None:
            patch = {"count": series.count + 1, "lastTimestamp": stamp(moment)}
            try:
                await self._api.write("patch", CORE_EVENT, namespace, series.name, patch)
                series.count += 1
                self._series.move_to_end(key)
                return
            except ApiError as error:
                if error.reason != "NotFound":  # the Event has expired; begin a new one
                    raise
        event = self._event(report, moment, namespace)
        await self._api.write("create", CORE_EVENT, namespace, event["metadata"]["name"], event)
        self._series[key] = Series(event["metadata"]["name"], 1)
        self._series.move_to_end(key)
        while len(self._series) > REMEMBERED:
            self._series.popitem(last=False)

    def _event(self, report: Report, moment: datetime, namespace: str) -> dict[str, Any]:
        regarding = report.regarding
        metadata = regarding["metadata"]
        nanoseconds = int(moment.timestamp() * 1_000_000) * 1000
        involved = {
            "kind": regarding["kind"],
            "apiVersion": regarding["apiVersion"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace"),
            "uid": metadata.get("uid"),
            "resourceVersion": metadata.get("resourceVersion"),
        }
        source = {"component": self._component, "host": self._host}
        return {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": f"{metadata['name'][:NAME_LIMIT]}.{nanoseconds:x}", "namespace": namespace},
            "involvedObject": {name: value for name, value in involved.items() if value},
            "reason": report.reason,
            "message": report.message[:1024],
            "source": {name: value for name, value in source.items() if value},
            "firstTimestamp": stamp(moment),
            "lastTimestamp": stamp(moment),
            "count": 1,
            "type": report.type,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }

    def _bucket(self, key: tuple[str, ...]) -> Bucket:
        bucket = self._buckets.pop(key, None) or Bucket(PER_SECOND, BURST)
        self._buckets[key] = bucket
        while len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return bucket


def object_key(document: Document) -> tuple[str, ...]:
    metadata = document["metadata"]
    return document["kind"], metadata.get("namespace", ""), metadata["name"], metadata.get("uid", "")


def stamp(moment: datetime) -> str:
    """As metav1.Time is written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
