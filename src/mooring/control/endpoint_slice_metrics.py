"""How much do EndpointSlices change? The endpoint_slice_controller_* metrics under their upstream names."""

from collections import Counter as Tally
from collections.abc import Sequence
from functools import partial

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mooring.control.reconciler import Document, Key, Plan
from mooring.endpoints.slices import SliceWrites

PREFIX = "endpoint_slice_controller_"


class SyncFigures(Struct, frozen=True):
    """What one plan for one Service amounts to, both families together."""

    added: int
    removed: int
    endpoints: int
    slices: int
    desired_slices: int
    created: int
    updated: int
    deleted: int
    auto: bool
    distribution: str

    @classmethod
    def of(cls, service: Document, writes: Sequence[SliceWrites], stale: int, auto: bool) -> "SyncFigures":
        return cls(
            added=sum(each.added for each in writes),
            removed=sum(each.removed for each in writes),
            endpoints=sum(each.endpoints for each in writes),
            slices=sum(each.slices for each in writes),
            desired_slices=sum(each.desired_slices for each in writes),
            created=sum(len(each.create) for each in writes),
            updated=sum(len(each.update) for each in writes),
            deleted=sum(len(each.delete) for each in writes) + stale,
            auto=auto,
            distribution=service["spec"].get("trafficDistribution") or "",
        )


class EndpointSliceMetrics:
    """The observer of the EndpointSlices reconciler; keeps the last figures of each Service for the totals."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._held: dict[Key, SyncFigures] = {}
        self._totals: Tally[str] = Tally()
        self._distributions: Tally[str] = Tally()

        powers = [0.0, *(2.0**exponent for exponent in range(1, 15))]
        self._added = Histogram(
            PREFIX + "endpoints_added_per_sync",
            "Number of endpoints added on each Service sync",
            buckets=powers,
            registry=registry,
        )
        self._removed = Histogram(
            PREFIX + "endpoints_removed_per_sync",
            "Number of endpoints removed on each Service sync",
            buckets=powers,
            registry=registry,
        )
        self._changed = Histogram(
            PREFIX + "endpointslices_changed_per_sync",
            "Number of EndpointSlices changed on each Service sync",
            ("topology", "traffic_distribution"),
            registry=registry,
        )
        self._changes = Counter(PREFIX + "changes", "Number of EndpointSlice changes", ("operation",), registry=registry)
        self._syncs = Counter(PREFIX + "syncs", "Number of EndpointSlice syncs", ("result",), registry=registry)
        self._by_distribution = Gauge(
            PREFIX + "services_count_by_traffic_distribution",
            "Number of Services using some specific trafficDistribution",
            ("traffic_distribution",),
            registry=registry,
        )
        for name, field, text in (
            ("endpoints_desired", "endpoints", "Number of endpoints desired"),
            ("num_endpoint_slices", "slices", "Number of EndpointSlices"),
            ("desired_endpoint_slices", "desired_slices", "Number of EndpointSlices that would exist with perfect allocation"),
        ):
            Gauge(PREFIX + name, text, registry=registry).set_function(partial(self._totals.__getitem__, field))

    def planned(self, key: Key, plan: Plan, outcome: str) -> None:
        self._syncs.labels(outcome).inc()
        figures = plan.facts
        if outcome == "success":
            self._hold(key, figures if isinstance(figures, SyncFigures) else None)
        if not isinstance(figures, SyncFigures):
            return
        self._added.observe(figures.added)
        self._removed.observe(figures.removed)
        distribution = figures.distribution or ""
        topology = "Auto" if figures.auto else "Disabled"
        self._changed.labels(topology, distribution).observe(figures.created + figures.updated + figures.deleted)
        for operation, count in (("create", figures.created), ("update", figures.updated), ("delete", figures.deleted)):
            self._changes.labels(operation).inc(count)

    def _hold(self, key: Key, figures: SyncFigures | None) -> None:
        """Replaces what the Service counted for in the totals."""
        for sign, each in ((-1, self._held.pop(key, None)), (1, figures)):
            if each is None:
                continue
            for field in ("endpoints", "slices", "desired_slices"):
                self._totals[field] += sign * getattr(each, field)
            if each.distribution:
                self._distributions[each.distribution] += sign
                self._by_distribution.labels(each.distribution).set(self._distributions[each.distribution])
        if figures is not None:
            self._held[key] = figures
