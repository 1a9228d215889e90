"""How quickly do packets follow the API? The kubeproxy_* metrics under their upstream names: dashboards keep working.

Where upstream has a label `ip_family`, so have we, though both families' tables change in one transaction: what is true of the
transaction is told of both.
"""

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mooring.services.view import Entry, Family, Reason, ServicePort

PREFIX = "kubeproxy_"
_SYNC_SECONDS = tuple(0.0001 * 2**step for step in range(18))
_PROGRAMMING_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
_FAMILY = "ip_family"


class DataplaneMetrics:
    """One node's figures, registered in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

        def histogram(name: str, says: str, buckets: Sequence[float] = _SYNC_SECONDS) -> Histogram:
            return Histogram(PREFIX + name, says, [_FAMILY], buckets=buckets, registry=registry)

        def counter(name: str, says: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(PREFIX + name, says, labels, registry=registry)

        def gauge(name: str, says: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(PREFIX + name, says, labels, registry=registry)

        self.sync = histogram("sync_proxy_rules_duration_seconds", "From taking up changes to their being in force")
        self.full_sync = histogram("sync_full_proxy_rules_duration_seconds", "The same for whole tables")
        self.partial_sync = histogram("sync_partial_proxy_rules_duration_seconds", "The same for changes")
        self.programming = histogram(
            "network_programming_duration_seconds",
            "From a pod's or Service's change, by the annotation last-change-trigger-time, to packets following it",
            _PROGRAMMING_SECONDS,
        )
        self.last_sync = gauge("sync_proxy_rules_last_timestamp_seconds", "When changes were last in force", [_FAMILY])
        self.last_queued = gauge("sync_proxy_rules_last_queued_timestamp_seconds", "When a change last arrived", [_FAMILY])
        self.service_changes = counter("sync_proxy_rules_service_changes", "Changes of Services")
        self.endpoint_changes = counter("sync_proxy_rules_endpoint_changes", "Changes of EndpointSlices")
        self.service_pending = gauge("sync_proxy_rules_service_changes_pending", "Services waiting for a sync")
        self.endpoint_pending = gauge("sync_proxy_rules_endpoint_changes_pending", "Services whose slices wait for a sync")
        self.no_local = gauge(
            "sync_proxy_rules_no_local_endpoints_total",
            "Service ports whose traffic policy is Local and which have no endpoint here, though elsewhere",
            [_FAMILY, "traffic_policy"],
        )
        self.failures = counter("sync_proxy_rules_nftables_sync_failures", "Transactions the kernel refused", [_FAMILY])
        self.repairs = counter("sync_proxy_rules_nftables_repairs", "Times the tables were put back after others changed them")
        self.drifted = counter("sync_proxy_rules_nftables_drifted_elements", "What others had changed in them", ["what"])
        self.conntrack = histogram("conntrack_reconciler_sync_duration_seconds", "Searching and forgetting stale UDP flows")
        self.forgotten = counter("conntrack_reconciler_deleted_entries", "UDP flows forgotten", [_FAMILY])
        self.healthz = counter("proxy_healthz", "Answers of /healthz by HTTP status", ["code"])
        self.livez = counter("proxy_livez", "Answers of /livez by HTTP status", ["code"])
        self._show_zeroes()

    def _show_zeroes(self) -> None:
        """Series that nothing has happened to yet are told as well."""
        durations = (self.sync, self.full_sync, self.partial_sync, self.programming, self.conntrack)
        for family in Family:
            for policy in ("internal", "external"):
                self.no_local.labels(family.value, policy)
            for each in (*durations, self.failures, self.forgotten):
                each.labels(family.value)

    def observe(self, duration: Histogram, seconds: float) -> None:
        """What took so long took both families so long."""
        for family in Family:
            duration.labels(family.value).observe(seconds)

    def set(self, moment: Gauge, seconds: float) -> None:
        for family in Family:
            moment.labels(family.value).set(seconds)

    def count_failure(self) -> None:
        for family in Family:
            self.failures.labels(family.value).inc()

    def count_no_local(self, before: Sequence[ServicePort], after: Sequence[ServicePort]) -> None:
        """Follows a Service's change in the gauge of ports without local endpoints."""
        change = _no_local(after)
        change.subtract(_no_local(before))
        for (family, policy), by in change.items():
            if by:
                self.no_local.labels(family.value, policy).inc(by)


def _no_local(ports: Sequence[ServicePort]) -> Tally[tuple[Family, str]]:
    """How many ports have an arm that drops for want of a local endpoint, by family and policy."""
    found: Tally[tuple[Family, str]] = Tally()
    for port in ports:
        policies = {
            "internal" if each.entry is Entry.CLUSTER_IP else "external"
            for each in port.frontends
            if Reason.NO_LOCAL_ENDPOINTS in (each.pod.reason, each.outside.reason)
        }
        found.update((port.name.family, policy) for policy in policies)
    return found
