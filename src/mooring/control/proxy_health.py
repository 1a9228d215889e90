"""What does a node say of its packets? The answers of kube-proxy's /healthz and /livez, for balancers and for supervisors.

/livez: do the tables follow the API? /healthz: that, and may balancers send this node traffic? Not when it is gone, is being
deleted, or is about to be removed by the autoscaler. Both say when the tables were last true, which is now while all is well.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from prometheus_client import Counter

from mooring.ports.health import Answer
from mooring.services.view import Family

_HEADERS = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}


class Health(Struct, frozen=True):
    """`eligible`: balancers may send this node traffic. Times are Unix seconds, 0 for never."""

    synced: bool
    healthy: bool
    eligible: bool
    last_sync: float
    waiting_since: float


def healthz(health: Health, now: float) -> Answer:
    return _answer(health, now, health.healthy and health.eligible, {"nodeEligible": health.eligible})


def livez(health: Health, now: float) -> Answer:
    return _answer(health, now, health.healthy, {})


def counted(answer: Callable[[], Answer], by_code: Counter) -> Callable[[], Answer]:
    """The same answers, counted by their status."""

    def tell() -> Answer:
        found = answer()
        by_code.labels(str(found.status)).inc()
        return found

    return tell


def _answer(health: Health, now: float, well: bool, node: dict[str, bool]) -> Answer:
    """Both families' tables change together, so their state is the same. Before the first sync there is none to tell."""
    one = {"lastUpdated": _moment(health.last_sync), "healthy": health.healthy}
    document = {
        "lastUpdated": _moment(now if well else health.last_sync),
        "currentTime": _moment(now),
        **node,
        "healthy": health.healthy,
        **({"status": {family.value: one for family in Family}} if health.last_sync else {}),
    }
    return Answer(200 if well else 503, msgspec.json.encode(document).decode(), _HEADERS)


def _moment(seconds: float) -> str:
    """As Go writes a time.Time; its zero is the year 1."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z") if seconds else "0001-01-01T00:00:00Z"
