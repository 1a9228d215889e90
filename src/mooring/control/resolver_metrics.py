"""How do cache and forwarding do? CoreDNS's metrics under their names: dashboards keep working.

What the handlers count is read when somebody asks; only durations are told one by one.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mooring.dns.chain import Exchange, Heard
from mooring.dns.handlers.cache import Cache, Shelf
from mooring.dns.handlers.forward import Forward
from mooring.dns.wording import rcode_text

SERVER = "dns://:53"
_SECONDS = tuple(0.00025 * 2**step for step in range(16))
_CACHE = {"server": SERVER, "zones": ".", "view": ""}


class ResolverMetrics(Collector):
    """`connections`: counts by ('hits' or 'misses', server, protocol)."""

    def __init__(
        self,
        registry: CollectorRegistry,
        cache: Cache | None,
        forward: Forward,
        connections: Callable[[], Mapping[tuple[str, str, str], int]] = dict,
    ) -> None:
        self._cache, self._forward, self._connections = cache, forward, connections
        self._duration = Histogram(
            "coredns_proxy_request_duration_seconds",
            "How long each question to another server took",
            ["proxy_name", "to", "rcode"],
            buckets=_SECONDS,
            registry=registry,
        )
        registry.register(self)

    def observe(self, exchange: Exchange, heard: Heard) -> None:
        """One question to another server; without a reply its rcode is that the client gets."""
        rcode = rcode_text(heard.reply.rcode) if heard.reply is not None else "SERVFAIL"
        self._duration.labels("forward", str(exchange.upstream), rcode).observe(heard.seconds)

    def collect(self) -> Iterator[Metric]:
        """All that is counted elsewhere, at once."""
        if self._cache is not None:
            yield from _of_cache(self._cache)
        yield from _of_forward(self._forward)
        for kind in ("hits", "misses"):
            family = CounterMetricFamily(
                f"coredns_proxy_conn_cache_{kind}", f"Connections to servers: {kind}", labels=["proxy_name", "to", "proto"]
            )
            for (what, to, protocol), count in list(self._connections().items()):
                if what == kind:
                    family.add_metric(["forward", to, protocol], count)
            yield family


def _of_cache(cache: Cache) -> Iterator[Metric]:
    shelves: dict[str, Shelf] = {"success": cache.success, "denial": cache.denial}
    counts, common = cache.counts, list(_CACHE.values())
    entries = GaugeMetricFamily("coredns_cache_entries", "Answers that are kept", labels=[*_CACHE, "type"])
    hits = CounterMetricFamily("coredns_cache_hits", "Questions answered from the cache", labels=[*_CACHE, "type"])
    evictions = CounterMetricFamily("coredns_cache_evictions", "Answers that had to make room", labels=[*_CACHE, "type"])
    for kind, shelf in shelves.items():
        entries.add_metric([*common, kind], len(shelf))
        hits.add_metric([*common, kind], counts[f"hits_{kind}"])
        evictions.add_metric([*common, kind], shelf.evicted)
    yield from (entries, hits, evictions)
    requests = sum(counts[key] for key in ("hits_success", "hits_denial", "misses", "served_stale"))
    for name, says, value in (
        ("misses", "Questions that others had to be asked about", counts["misses"]),
        ("requests", "Questions that met the cache", requests),
        ("prefetch", "Answers asked for anew before their end", counts["prefetch"]),
        ("served_stale", "Answers given after their end", counts["served_stale"]),
    ):
        family = CounterMetricFamily(f"coredns_cache_{name}", says, labels=list(_CACHE))
        family.add_metric(common, value)
        yield family


def _of_forward(forward: Forward) -> Iterator[Metric]:
    counts = dict(forward.counts)
    by_server = {
        "requests": ("coredns_forward_requests", ["to"], "Questions to a server"),
        "probe_failures": ("coredns_proxy_healthcheck_failures", ["proxy_name", "to"], "Probes without an answer"),
    }
    for what, (name, labels, says) in by_server.items():
        family = CounterMetricFamily(name, says, labels=labels)
        for (kind, to), count in counts.items():
            if kind == what:
                family.add_metric(["forward", to][-len(labels) :], count)
        yield family
    for name, says, what in (
        ("coredns_forward_healthcheck_broken", "Times when all servers of a zone were down", "all_down"),
        ("coredns_forward_max_concurrent_rejects", "Questions refused since too many waited", "rejects"),
    ):
        plain = CounterMetricFamily(name, says)
        plain.add_metric([], sum(count for (kind, _), count in counts.items() if kind == what))
        yield plain
