"""Dedup, one worker at a time per key, and backing off, on a clock that jumps."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from prometheus_client import CollectorRegistry

from mooring.control.queue import RETRY_BURST, Bucket, Queue, QueueMetrics
from mooring.testing.clock import virtual_time


def run(scenario: Coroutine[Any, Any, None]) -> None:
    with virtual_time() as runner:
        runner(scenario)


def queue() -> Queue[str]:
    return Queue("test", QueueMetrics(CollectorRegistry()))


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_key_added_many_times_is_given_once() -> None:
    async def scenario() -> None:
        keys = queue()
        for _ in range(3):
            keys.add("a")
        keys.add("b")
        assert [await keys.get(), await keys.get()] == ["a", "b"]
        assert len(keys) == 0

    run(scenario())


def test_a_key_added_while_in_work_is_given_again_only_after_it_is_done() -> None:
    async def scenario() -> None:
        keys = queue()
        keys.add("a")
        await keys.get()
        keys.add("a")
        keys.add("a")
        assert len(keys) == 0
        keys.done("a")
        assert await keys.get() == "a"
        keys.done("a")
        assert keys.idle

    run(scenario())


def test_retries_come_later_each_time_up_to_a_limit_and_begin_anew_when_forgotten() -> None:
    async def scenario() -> None:
        keys = queue()
        delays = [keys.retry("a") for _ in range(20)]
        assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
        assert delays[-1] == 1000.0
        keys.forget("a")
        assert keys.retry("a") == 0.005
        keys.close()

    run(scenario())


def test_many_failing_keys_share_a_rate() -> None:
    async def scenario() -> None:
        keys = queue()
        delays = [keys.retry(str(number)) for number in range(RETRY_BURST + 20)]
        assert {0.005} == set(delays[:RETRY_BURST])
        assert round(delays[-1], 6) == 2.0
        keys.close()

    run(scenario())


def test_of_several_delays_the_earliest_counts() -> None:
    async def scenario() -> None:
        keys = queue()
        keys.add_after("a", 60)
        keys.add_after("a", 5)
        keys.add_after("a", 30)
        assert await keys.get() == "a"
        assert now() == 5

    run(scenario())


def test_a_cancelled_getter_passes_its_turn_on() -> None:
    async def scenario() -> None:
        keys = queue()
        first, second = asyncio.create_task(keys.get()), asyncio.create_task(keys.get())
        await asyncio.sleep(0)
        keys.add("a")
        first.cancel()
        assert await second == "a"

    run(scenario())


def test_a_bucket_refills_over_time() -> None:
    bucket = Bucket(rate=2, burst=1)
    assert [bucket.take(0.0) for _ in range(3)] == [0.0, 0.5, 1.0]
    assert [bucket.try_take(10.0), bucket.try_take(10.0)] == [True, False]


def test_metrics_have_upstreams_names() -> None:
    async def scenario() -> None:
        registry = CollectorRegistry()
        keys: Queue[str] = Queue("endpointslice", QueueMetrics(registry))
        keys.add("a")
        keys.retry("b")
        label = {"name": "endpointslice"}
        assert registry.get_sample_value("workqueue_depth", label) == 1
        assert registry.get_sample_value("workqueue_adds_total", label) == 1
        assert registry.get_sample_value("workqueue_retries_total", label) == 1
        await keys.get()
        assert registry.get_sample_value("workqueue_queue_duration_seconds_count", label) == 1
        await asyncio.sleep(3)
        assert registry.get_sample_value("workqueue_longest_running_processor_seconds", label) == 3
        keys.done("a")
        assert registry.get_sample_value("workqueue_work_duration_seconds_count", label) == 1
        keys.close()

    run(scenario())
