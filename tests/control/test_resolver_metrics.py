"""Do dashboards made for CoreDNS find the figures of cache and forwarding?"""

from random import Random

from prometheus_client import CollectorRegistry, generate_latest

from mooring.control.resolver_metrics import ResolverMetrics
from mooring.dns.chain import Exchange, Heard, Upstream
from mooring.dns.handlers.cache import Cache, Entry
from mooring.dns.handlers.forward import Forward
from mooring.dns.names import from_text
from mooring.dns.records import Query, Question, Rcode, Reply

SERVER = Upstream("192.0.2.53")
LABELS = 'server="dns://:53",view="",zones="."'


def test_all_figures_have_their_names() -> None:
    registry, cache, forward = CollectorRegistry(), Cache(), Forward((), Random(1))
    metrics = ResolverMetrics(
        registry, cache, forward, lambda: {("hits", str(SERVER), "tcp"): 4, ("misses", str(SERVER), "tcp"): 2}
    )
    cache.counts.update(hits_success=5, hits_denial=6, misses=7, prefetch=8, served_stale=9)
    cache.denial.put("a", Entry(Reply(Rcode.NXDOMAIN), 0.0, 5, 100))
    forward.counts.update(
        {("requests", str(SERVER)): 3, ("all_down", "."): 1, ("rejects", "."): 2, ("probe_failures", str(SERVER)): 4}
    )
    exchange = Exchange(SERVER, Query(1, Question(from_text("a.example"), 1)), 2.0)
    metrics.observe(exchange, Heard(Reply(Rcode.NXDOMAIN), 0.003))
    metrics.observe(exchange, Heard(None, 2.0, "nothing"))
    shown = set(generate_latest(registry).decode().splitlines())
    expected = {
        f"coredns_cache_entries{{{LABELS.replace(',view', ',type=|denial|,view')}}} 1.0".replace("|", '"'),
        f"coredns_cache_hits_total{{{LABELS.replace(',view', ',type=|success|,view')}}} 5.0".replace("|", '"'),
        f"coredns_cache_hits_total{{{LABELS.replace(',view', ',type=|denial|,view')}}} 6.0".replace("|", '"'),
        f"coredns_cache_misses_total{{{LABELS}}} 7.0",
        f"coredns_cache_requests_total{{{LABELS}}} 27.0",
        f"coredns_cache_prefetch_total{{{LABELS}}} 8.0",
        f"coredns_cache_served_stale_total{{{LABELS}}} 9.0",
        'coredns_forward_requests_total{to="192.0.2.53:53"} 3.0',
        "coredns_forward_healthcheck_broken_total 1.0",
        "coredns_forward_max_concurrent_rejects_total 2.0",
        'coredns_proxy_healthcheck_failures_total{proxy_name="forward",to="192.0.2.53:53"} 4.0',
        'coredns_proxy_conn_cache_hits_total{proto="tcp",proxy_name="forward",to="192.0.2.53:53"} 4.0',
        'coredns_proxy_conn_cache_misses_total{proto="tcp",proxy_name="forward",to="192.0.2.53:53"} 2.0',
        'coredns_proxy_request_duration_seconds_count{proxy_name="forward",rcode="NXDOMAIN",to="192.0.2.53:53"} 1.0',
        'coredns_proxy_request_duration_seconds_count{proxy_name="forward",rcode="SERVFAIL",to="192.0.2.53:53"} 1.0',
    }
    assert set() == expected - shown
