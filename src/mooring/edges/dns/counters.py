"""What have the workers and the agent counted? Their counters, summed, with CoreDNS's names.

Workers count in shared memory, what they answer themselves; the agent counts the rest in the same way, for each transport.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from struct import Struct as Layout
from time import monotonic

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mooring.dns.records import Transport
from mooring.dns.wire import HEADER
from mooring.dns.wording import rcode_text
from mooring.edges.dns import plainpath as place
from mooring.edges.dns.streams import Replies, Responder
from mooring.edges.dns.worker import COUNTERS_SIZE

WORDS = Layout("<128Q")
TYPES = ("other", "A", "NS", "CNAME", "SOA", "PTR", "MX", "TXT", "AAAA", "SRV", "SVCB", "HTTPS")
SERVER = "dns://:53"
COMMON = (SERVER, ".", "")
"""Server, zone and view, as CoreDNS labels a server that serves everything."""
DURATIONS = [*(f"{0.00025 * 2**power:g}" for power in range(16)), "+Inf"]
SIZES = [*map(str, place.SIZES), "+Inf"]


Counters = Sequence[int]
"""128 numbers of one process, or of several together, at the places that `plainpath` names."""


def read(folder: Path) -> Counters:
    """Of all workers that ever were in a folder."""
    found = []
    for path in folder.glob("worker-*.counters"):
        with contextlib.suppress(OSError):
            octets = path.read_bytes()
            if len(octets) == COUNTERS_SIZE:
                found.append(WORDS.unpack(octets))
    return _sum(found)


def _sum(counted: Iterable[Counters]) -> Counters:
    return [sum(column) for column in zip((0,) * 128, *counted, strict=True)]


class Counting:
    """A Responder that counts what another one answers."""

    def __init__(self, following: Responder) -> None:
        self._following = following
        self.counters = {transport: memoryview(bytearray(COUNTERS_SIZE)).cast("Q") for transport in Transport}

    async def respond(self, message: bytes, client: str, transport: Transport) -> Replies:
        started = monotonic()
        replies = await self._following(message, client, transport)
        if isinstance(replies, bytes) and len(replies) >= HEADER:
            place.count(self.counters[transport], ":" in client, _kind(message), len(message), replies, monotonic() - started)
        return replies


def _kind(message: bytes) -> int:
    """The type asked for, 0 where there is none to be read."""
    at = HEADER
    while at < len(message) and message[at]:
        at += 1 + message[at]
    return int.from_bytes(message[at + 1 : at + 3], "big")


class WorkerMetrics(Collector):
    """Registers itself. `agent` counts what workers hand over, and TCP."""

    def __init__(self, folder: Path, agent: Counting, registry: CollectorRegistry) -> None:
        self._folder, self._agent = folder, agent
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        workers, agent = read(self._folder), self._agent.counters
        by_transport = {"udp": _sum((workers, agent[Transport.UDP])), "tcp": agent[Transport.TCP]}
        yield _requests(by_transport)
        yield _responses({"table": workers, "": _sum(agent.values())})
        yield _durations(_sum(by_transport.values()))
        yield from _sizes(by_transport)
        for name, help_, number in (
            ("handed_over", "Questions that workers left to the agent", place.HANDED),
            ("lost", "Questions for the agent while it was away or too busy", place.LOST),
            ("dropped", "Datagrams that were no questions", place.DROPPED),
            ("rate_limited", "Questions of clients that asked too much", place.LIMITED),
            ("unsent", "Replies that found no way", place.UNSENT),
            ("truncated", "Replies that did not fit", place.TRUNCATED),
        ):
            metric = CounterMetricFamily(f"mooring_dns_worker_{name}", help_)
            metric.add_metric([], workers[number])
            yield metric


def _requests(by_transport: Mapping[str, Counters]) -> Metric:
    labels = ["server", "zone", "view", "proto", "family", "type"]
    metric = CounterMetricFamily("coredns_dns_requests", "Questions answered, by what they asked", labels=labels)
    for transport, counted in by_transport.items():
        for family, first in (("1", place.REQUESTS), ("2", place.REQUESTS + len(TYPES))):
            for number, kind in enumerate(TYPES):
                if counted[first + number]:
                    metric.add_metric([*COMMON, transport, family, kind], counted[first + number])
    return metric


def _responses(by_plugin: Mapping[str, Counters]) -> Metric:
    labels = ["server", "zone", "view", "rcode", "plugin"]
    metric = CounterMetricFamily("coredns_dns_responses", "Answers, by rcode", labels=labels)
    for plugin, counted in by_plugin.items():
        for number in range(16):
            if counted[place.RESPONSES + number]:
                metric.add_metric([*COMMON, rcode_text(number), plugin], counted[place.RESPONSES + number])
    return metric


def _durations(counted: Counters) -> Metric:
    metric = HistogramMetricFamily("coredns_dns_request_duration_seconds", "How long answers took", labels=["server", "zone"])
    metric.add_metric([SERVER, "."], _buckets(counted, place.DURATION, DURATIONS), counted[place.DURATION_SUM] / 1e9)
    return metric


def _sizes(by_transport: Mapping[str, Counters]) -> Iterator[Metric]:
    for name, help_, first, total in (
        ("request", "Octets of questions", place.REQUEST_SIZE, place.REQUEST_SIZE_SUM),
        ("response", "Octets of answers", place.RESPONSE_SIZE, place.RESPONSE_SIZE_SUM),
    ):
        labels = ["server", "zone", "view", "proto"]
        metric = HistogramMetricFamily(f"coredns_dns_{name}_size_bytes", help_, labels=labels)
        for transport, counted in by_transport.items():
            metric.add_metric([*COMMON, transport], _buckets(counted, first, SIZES), counted[total])
        yield metric


def _buckets(counted: Counters, first: int, bounds: Sequence[str]) -> list[tuple[str, float]]:
    """Prometheus counts what is at most a bound, we what lies between two."""
    return list(zip(bounds, accumulate(counted[first : first + len(bounds)]), strict=True))
