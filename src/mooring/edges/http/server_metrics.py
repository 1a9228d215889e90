"""What does the API server count? Upstream's names, so that existing dashboards work (k8s.io/apiserver endpoints/metrics)."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import accumulate

from msgspec import Struct, field
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from mooring.apiserver.contract import Response
from mooring.apiserver.paths import Target
from mooring.model.kinds import Kind

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_DURATIONS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_VERBS = {"POST": "POST", "PUT": "PUT", "PATCH": "PATCH", "DELETE": "DELETE"}
MAX_SERIES = 4096
"""Kinds come and go with their definitions: beyond so many sets of labels, new ones are counted by verb alone."""
_LABELS = ("verb", "group", "version", "resource", "subresource", "scope", "component")


class Labels(Struct, frozen=True, cache_hash=True):
    """What a request is about, as upstream labels it."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    scope: str = ""
    component: str = "apiserver"

    def values(self) -> tuple[str, ...]:
        return (self.verb, self.group, self.version, self.resource, self.subresource, self.scope, self.component)


def labels(method: str, target: Target | None) -> Labels:
    """Of requests to kinds that are served. Others have only a verb: what clients make up is no label."""
    if target is None:
        return Labels(_VERBS.get(method, "GET"))
    return _labels(method, target.kind, target.subresource, bool(target.name), bool(target.namespace))


@lru_cache(4096)
def _labels(method: str, kind: Kind, subresource: str, named: bool, namespaced: bool) -> Labels:
    scope = "resource" if named or method == "POST" else "namespace" if namespaced else "cluster"
    verb = _VERBS.get(method) or ("GET" if named else "LIST")
    if verb == "DELETE" and not named:
        verb = "DELETECOLLECTION"
    return Labels(verb, kind.group, kind.version, kind.plural, subresource, scope)


class Metrics:
    def __init__(self, watchers: Callable[[], int], revision: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._answered = _Answered()
        self._registry.register(self._answered)
        self._longrunning = Gauge(
            "apiserver_longrunning_requests",
            "Watches, log streams, exec and attach in progress.",
            _LABELS,
            registry=self._registry,
        )
        self.inflight = {"readOnly": 0, "mutating": 0}
        """Short requests being answered now, by kind. Plain numbers: they change twice a request."""
        inflight = Gauge(
            "apiserver_current_inflight_requests",
            "Short requests being answered now.",
            ("request_kind",),
            registry=self._registry,
        )
        for kind in self.inflight:
            inflight.labels(kind).set_function(partial(self.inflight.__getitem__, kind))
        self.rejected_tokens = Counter(
            "apiserver_authentication_failures_total", "Bearer tokens that were not good.", registry=self._registry
        )
        Gauge("apiserver_storage_revision", "The newest committed revision.", registry=self._registry).set_function(revision)
        Gauge("apiserver_registered_watchers", "Watches being served.", registry=self._registry).set_function(watchers)

    def answered(self, about: Labels, code: int, seconds: float) -> None:
        """Counts a short request."""
        self._answered.add(about, code, seconds)

    def longrunning(self, about: Labels, verb: str) -> Gauge:
        """The gauge to raise while a request of this verb ('WATCH', 'CONNECT') is in progress."""
        gauge: Gauge = self._longrunning.labels(verb, *about.values()[1:])
        return gauge

    def response(self) -> Response:
        return Response(200, generate_latest(self._registry), CONTENT_TYPE)


class _Took(Struct):
    """How long requests with the same labels took."""

    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(_DURATIONS) + 1))


class _Count(Struct):
    """How many of them were answered with one code."""

    took: _Took
    number: int = 0


class _Answered(Collector):
    """How many requests were answered, with which codes, and how long they took. Plain numbers, in one thread: every request
    is counted, and who reads them comes every few seconds."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Labels, int], _Count] = {}
        self._took: dict[Labels, _Took] = {}

    def add(self, about: Labels, code: int, seconds: float) -> None:
        count = self._counts.get((about, code))
        if count is None:
            count = self._begun(about, code)
        took = count.took
        count.number += 1
        took.seconds += seconds
        took.buckets[bisect_left(_DURATIONS, seconds)] += 1

    def _begun(self, about: Labels, code: int) -> _Count:
        if len(self._counts) >= MAX_SERIES:
            about = Labels(about.verb)
        took = self._took.setdefault(about, _Took())
        return self._counts.setdefault((about, code), _Count(took))

    def collect(self) -> Iterator[Metric]:
        told = "Requests answered, by what they asked and their HTTP code."
        requests = CounterMetricFamily("apiserver_request", told, labels=(*_LABELS, "code"))
        for (about, code), count in self._counts.items():
            requests.add_metric((*about.values(), str(code)), count.number)
        yield requests
        told = "From a whole request received to its response written; long-running requests are not in it."
        durations = HistogramMetricFamily("apiserver_request_duration_seconds", told, labels=_LABELS)
        bounds = [*map(floatToGoString, _DURATIONS), "+Inf"]
        for about, took in self._took.items():
            so_far = zip(bounds, map(float, accumulate(took.buckets)), strict=True)
            durations.add_metric(about.values(), list(so_far), took.seconds)
        yield durations
