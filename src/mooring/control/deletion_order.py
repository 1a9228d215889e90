"""Which Pods of a set go first when there are too many?

Upstream: ActivePodsWithRanks in pkg/controller/controller_utils.go, criterion by criterion; the first difference decides.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from math import log2
from typing import Any

from mooring.control.conditions import condition
from mooring.control.pod_state import active, node_of, phase, ready
from mooring.control.reconciler import Document
from mooring.control.times import seconds_since

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def deletion_order(pods: Iterable[Document], related: Iterable[Document], now: datetime) -> list[Document]:
    """The pods, the first to delete first. `related` are those whose neighbourhood is to be thinned out (same controller)."""
    crowd = Counter(node_of(pod) for pod in related if active(pod))

    def rank(pod: Document) -> tuple[Any, ...]:
        node = node_of(pod)
        is_ready = ready(pod)
        metadata = pod["metadata"]
        return (
            bool(node),  # not yet placed before placed
            _PHASES.get(phase(pod), 0),
            is_ready,  # not ready before ready
            _cost(metadata),  # cheap before dear
            -crowd[node] if node else 0,  # where many of its kind are before where few are
            _age((condition(pod, "Ready") or {}).get("lastTransitionTime"), now) if is_ready else 0,  # newly ready first
            -_restarts(pod),  # often restarted first
            _age(metadata.get("creationTimestamp"), now),  # young before old
            metadata.get("uid", ""),  # by chance, but always the same
        )

    return sorted(pods, key=rank)


def _cost(metadata: Document) -> int:
    try:
        return int((metadata.get("annotations") or {}).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _restarts(pod: Document) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((each.get("restartCount", 0) for each in statuses), default=0)


def _age(since: str | None, now: datetime) -> int:
    """On a logarithmic scale (KEP-2185), so that among Pods of about the same age chance decides, not the second."""
    if not since:
        return -1
    nanoseconds = seconds_since(since, now) * 1e9
    return int(log2(nanoseconds)) if nanoseconds >= 1 else -1
