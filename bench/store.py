"""What does the past cost? Watches that resume, and pages of an older revision, with 100,000 events of history in memory.

No file and no server: this is the state that they read. The peer is a walk over the whole history, as a plain list has it.

Options: --events N (100000) --pods N (20000) --namespaces N (50) --watchers N (1000).
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

from mooring.store.records import Event, Put, Txn
from mooring.store.state import State

TRIES = 9


def run(options: list[str]) -> dict[str, float | str]:
    """Milliseconds of processor time, but for the ratio, the count and the size."""
    parser = argparse.ArgumentParser("bench store")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--pods", type=int, default=20_000)
    parser.add_argument("--namespaces", type=int, default=50)
    parser.add_argument("--watchers", type=int, default=1000)
    chosen = parser.parse_args(options)
    state = State()
    started = time.process_time()
    for number in range(chosen.events):
        pod = number % chosen.pods
        state.apply(Txn((), (Put(f"/core/pods/ns-{pod % chosen.namespaces}/pod-{pod}", b"v" * 100),)))
    each = (time.process_time() - started) / chosen.events
    whole = state.since("", 0)
    namespace, half = "/core/pods/ns-3/", chosen.events // 2
    walk = median(lambda: walked(whole, namespace))
    resumed = median(lambda: state.since(namespace, 0))
    started = time.process_time()
    for watcher in range(chosen.watchers):
        state.since(f"/core/pods/ns-{watcher % chosen.namespaces}/", 0)
    all_resumed = (time.process_time() - started) * 1e3
    return {
        "walk_vs_resume_of_a_namespace": walk / resumed,
        "resume_of_a_namespace_ms": resumed,
        "events_of_the_namespace": float(len(state.since(namespace, 0))),
        "walk_ms": walk,
        "resume_of_another_kind_ms": median(lambda: state.since("/core/services/", 0)),
        "resume_10_events_ago_ms": median(lambda: state.since("/core/pods/", chosen.events - 10)),
        f"resume_of_{chosen.watchers}_watchers_ms": all_resumed,
        "page_of_500_then_ms": median(lambda: state.scan("/core/pods/", "", 500, half)),
        "page_of_500_then_in_a_namespace_ms": median(lambda: state.scan(namespace, "", 500, half)),
        "page_of_500_now_ms": median(lambda: state.scan("/core/pods/", "", 500)),
        "decide_and_publish_ms": each * 1e3,
        "history_mb": state.history_size / 1e6,
    }


def walked(history: Sequence[Event], prefix: str) -> list[Event]:
    return [event for event in history if event.key.startswith(prefix)]


def median(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(TRIES):
        started = time.process_time()
        ask()
        times.append((time.process_time() - started) * 1e3)
    return statistics.median(times)
