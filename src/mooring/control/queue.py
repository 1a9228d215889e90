"""Which key is planned next? A queue that holds each key once, never has it planned twice at a time, and backs off.

A key added while it is being planned is planned once more afterwards, however often it was added. Times are the running event
loop's, so that a test may run on a loop whose clock it controls (testing/clock.py).
"""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

K = TypeVar("K")

FIRST_RETRY, LAST_RETRY = 0.005, 1000.0
"""Seconds: upstream's ItemExponentialFailureRateLimiter."""
RETRIES_PER_SECOND, RETRY_BURST = 10.0, 100
"""Upstream's bucket over all keys of a queue: a broken world is retried at this rate, however many keys there are."""


class QueueMetrics:
    """The workqueue_* metrics under their upstream names, one label: the queue's name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        label, seconds = ("name",), tuple(10.0**exponent for exponent in range(-8, 2))
        self.depth = Gauge("workqueue_depth", "Current depth of workqueue", label, registry=registry)
        self.adds = Counter("workqueue_adds", "Total number of adds handled by workqueue", label, registry=registry)
        self.retries = Counter("workqueue_retries", "Total number of retries handled by workqueue", label, registry=registry)
        self.waited = Histogram(
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested.",
            label,
            buckets=seconds,
            registry=registry,
        )
        self.worked = Histogram(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes.",
            label,
            buckets=seconds,
            registry=registry,
        )
        self.unfinished = Gauge(
            "workqueue_unfinished_work_seconds",
            "How many seconds of work has done that is in progress and hasn't been observed by work_duration.",
            label,
            registry=registry,
        )
        self.longest = Gauge(
            "workqueue_longest_running_processor_seconds",
            "How many seconds has the longest running processor for workqueue been running.",
            label,
            registry=registry,
        )


class Bucket:
    """A token bucket over loop time: how long must the next taker wait?"""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = float(burst), 0.0

    def take(self, now: float) -> float:
        """Takes a token, perhaps a future one; seconds until it is there."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def try_take(self, now: float) -> bool:
        """Takes a token only if one is there."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Queue(Generic[K]):
    def __init__(self, name: str, metrics: QueueMetrics) -> None:
        self.name = name
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()
        """Keys in `_ready`, and those to be put there when their worker is done."""
        self._working: dict[K, float] = {}
        self._added: dict[K, float] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._bucket = Bucket(RETRIES_PER_SECOND, RETRY_BURST)
        self._getters: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._adds, self._retries = metrics.adds.labels(name), metrics.retries.labels(name)
        self._waited, self._worked = metrics.waited.labels(name), metrics.worked.labels(name)
        metrics.depth.labels(name).set_function(lambda: len(self._ready))
        metrics.unfinished.labels(name).set_function(lambda: sum(self._ages()))
        metrics.longest.labels(name).set_function(lambda: max(self._ages(), default=0.0))

    def __len__(self) -> int:
        """Keys that could be planned now."""
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing is ready or in work; timers may still be set."""
        return not self._waiting and not self._working

    def add(self, key: K) -> None:
        if key in self._waiting:
            return
        self._adds.inc()
        self._waiting.add(key)
        self._added[key] = self._loop.time()
        if key not in self._working:
            self._offer(key)

    def add_after(self, key: K, delay: float) -> None:
        """Adds the key `delay` seconds from now; of several such wishes the earliest is kept."""
        if delay <= 0:
            self.add(key)
            return
        timer, due = self._timers.get(key), self._loop.time() + delay
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = self._loop.call_at(due, self._due, key)

    def retry(self, key: K) -> float:
        """Adds a key that failed, later each time; returns in how many seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._retries.inc()
        own = min(FIRST_RETRY * 2.0 ** min(failures, 60), LAST_RETRY)
        delay = max(own, self._bucket.take(self._loop.time()))
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure counts as the first."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key, now in work until `done`."""
        while not self._ready:
            getter = self._loop.create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()
                raise
        key = self._ready.popleft()
        self._waiting.discard(key)
        now = self._loop.time()
        self._waited.observe(now - self._added.pop(key, now))
        self._working[key] = now
        return key

    def done(self, key: K) -> None:
        self._worked.observe(self._loop.time() - self._working.pop(key))
        if key in self._waiting:
            self._offer(key)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _offer(self, key: K) -> None:
        self._ready.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _ages(self) -> list[float]:
        now = self._loop.time()
        return [now - since for since in self._working.values()]
