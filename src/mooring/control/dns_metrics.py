"""How quickly do names follow the API? CoreDNS's coredns_kubernetes_* metrics under their own names."""

from collections.abc import Callable
from datetime import datetime
from time import time

from prometheus_client import CollectorRegistry, Histogram

from mooring.control.dataplane_following import TRIGGER_TIME
from mooring.control.informer import Informer
from mooring.model.discovery import EndpointSlice

HEADLESS = "service.kubernetes.io/headless"
_SECONDS = tuple(0.001 * 2**step for step in range(20))
"""CoreDNS's buckets."""


class ProgrammingMetric:
    """`follow` after whoever turns slices into names: handlers are called in turn, so theirs are answered by then.

    As in CoreDNS only slices of headless Services with a selector count: other names do not follow endpoints.
    """

    def __init__(self, registry: CollectorRegistry, now: Callable[[], float] = time) -> None:
        self._now = now
        self._seconds = Histogram(
            "coredns_kubernetes_dns_programming_duration_seconds",
            "From a pod's change, by the annotation last-change-trigger-time, to names following it",
            ["service_kind"],
            buckets=_SECONDS,
            registry=registry,
        )

    def follow(self, slices: Informer[EndpointSlice]) -> None:
        """What is held already tells nothing: it changed before this agent was there."""
        known = True

        def changed(before: EndpointSlice | None, after: EndpointSlice | None) -> None:
            if not known and after is not None and HEADLESS in (after.metadata.labels or {}):
                self._observe((after.metadata.annotations or {}).get(TRIGGER_TIME, ""))

        slices.subscribe(changed)
        known = False

    def _observe(self, trigger: str) -> None:
        try:
            moment = datetime.fromisoformat(trigger).timestamp()
        except ValueError:
            return
        self._seconds.labels("headless_with_selector").observe(max(self._now() - moment, 0.0))
