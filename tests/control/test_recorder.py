"""Events: upstream's fields, counted when repeated, limited when they flood."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from faulty_api import FaultyApi

from mooring.control.reconciler import Document, Report
from mooring.control.recorder import BURST, Recorder
from mooring.model.kinds import CORE_EVENT
from mooring.ports.api import ApiError
from mooring.testing.clock import virtual_time

SERVICE = {
    "kind": "Service",
    "apiVersion": "v1",
    "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "7"},
}


class Clock:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def report(message: str = "because", regarding: Document = SERVICE) -> Report:
    return Report(regarding, "Warning", "Failed", message)


@asynccontextmanager
async def recording(api: FaultyApi, clock: Clock) -> AsyncIterator[Recorder]:
    recorder = Recorder(api, "test-controller", "node-1", clock)
    running = asyncio.create_task(recorder.run())
    yield recorder
    await recorder.flush()
    running.cancel()


def events(api: FaultyApi) -> list[dict[str, Any]]:
    return list(api.world.list(CORE_EVENT))


def test_an_event_has_upstreams_fields() -> None:
    async def scenario() -> None:
        api = FaultyApi()
        async with recording(api, Clock()) as recorder:
            recorder.record(report())
        (event,) = events(api)
        assert event["metadata"]["name"] == f"web.{int(Clock.now.timestamp()) * 10**9:x}"
        assert event["metadata"]["namespace"] == "shop"
        assert event["involvedObject"] == {
            "kind": "Service",
            "apiVersion": "v1",
            "name": "web",
            "namespace": "shop",
            "uid": "u1",
            "resourceVersion": "7",
        }
        assert event["source"] == {"component": "test-controller", "host": "node-1"}
        assert (event["type"], event["reason"], event["message"]) == ("Warning", "Failed", "because")
        assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (
            1,
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z",
        )

    with virtual_time() as run:
        run(scenario())


def test_the_same_report_is_counted_and_another_is_another_event() -> None:
    async def scenario() -> None:
        api, clock = FaultyApi(), Clock()
        async with recording(api, clock) as recorder:
            recorder.record(report())
            clock.now += timedelta(seconds=30)
            recorder.record(report())
            recorder.record(report("something else"))
        first, second = events(api)
        assert (first["count"], first["firstTimestamp"], first["lastTimestamp"]) == (
            2,
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:30Z",
        )
        assert (second["count"], second["message"]) == (1, "something else")

    with virtual_time() as run:
        run(scenario())


def test_an_event_that_has_expired_begins_anew() -> None:
    async def scenario() -> None:
        api, clock = FaultyApi(), Clock()
        async with recording(api, clock) as recorder:
            recorder.record(report())
            await recorder.flush()
            api.remove(CORE_EVENT, "shop", events(api)[0]["metadata"]["name"])
            clock.now += timedelta(hours=1)
            recorder.record(report())
        (event,) = events(api)
        assert event["count"] == 1

    with virtual_time() as run:
        run(scenario())


def test_a_flood_about_one_object_is_cut_without_touching_others() -> None:
    async def scenario() -> None:
        api, clock = FaultyApi(), Clock()
        other = {**SERVICE, "metadata": {"name": "other", "namespace": "shop"}}
        async with recording(api, clock) as recorder:
            for number in range(BURST + 10):
                clock.now += timedelta(microseconds=1)
                recorder.record(report(f"message {number}"))
            recorder.record(report(regarding=other))
            await recorder.flush()
            assert len(events(api)) == BURST + 1
            clock.now += timedelta(minutes=5)
            recorder.record(report("later"))
        assert len(events(api)) == BURST + 2

    with virtual_time() as run:
        run(scenario())


def test_a_refused_event_is_lost_and_the_next_is_written() -> None:
    async def scenario() -> None:
        api = FaultyApi()
        api.refuse = [ApiError(403, "Forbidden", "no events here")]
        async with recording(api, Clock()) as recorder:
            recorder.record(report("lost"))
            recorder.record(report("kept"))
        assert [event["message"] for event in events(api)] == ["kept"]

    with virtual_time() as run:
        run(scenario())


def test_events_of_cluster_scoped_objects_are_in_default() -> None:
    async def scenario() -> None:
        api = FaultyApi()
        node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "a", "uid": "n"}}
        async with recording(api, Clock()) as recorder:
            recorder.record(report(regarding=node))
        (event,) = events(api)
        assert event["metadata"]["namespace"] == "default"
        assert "namespace" not in event["involvedObject"]

    with virtual_time() as run:
        run(scenario())
