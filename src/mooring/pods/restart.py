"""May a container start again, and when? (docs: "Pod Lifecycle", restart policy; client-go/util/flowcontrol/backoff.go)"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from mooring.model.pod import Container, Pod
from mooring.pods.observed import Run

INITIAL, LONGEST = timedelta(seconds=10), timedelta(seconds=300)
_FORGET = 2 * LONGEST
"""A container that ran for ten minutes starts with a clean record."""


class Backoff(Struct, frozen=True):
    """How long to wait after an end, and when that was last raised."""

    delay: timedelta
    raised: datetime


def ready_at(backoff: Backoff | None, ended: datetime) -> datetime:
    """When a container that ended may start again: at once the first time."""
    if backoff is None or ended - backoff.raised > _FORGET:
        return ended
    return ended + backoff.delay


def raised(backoff: Backoff | None, ended: datetime, now: datetime) -> Backoff:
    """The record after a restart."""
    if backoff is None or ended - backoff.raised > _FORGET:
        return Backoff(INITIAL, now)
    return Backoff(min(backoff.delay * 2, LONGEST), now)


def restarts(pod: Pod, container: Container, run: Run, *, init: bool) -> bool:
    """Whether a run that ended is to be followed by another. A sidecar always restarts; an init container until it succeeds."""
    if container.sidecar:
        return True
    if init:
        return run.exit_code != 0 and pod.spec.restart_policy != "Never"
    return pod.spec.restart_policy == "Always" or (pod.spec.restart_policy == "OnFailure" and run.exit_code != 0)


class Trouble(Struct, frozen=True):
    """Why a container could not be started the last time, and when it is tried again."""

    reason: str
    message: str
    again: datetime


def delay_of(backoffs: Mapping[str, Backoff], container: str) -> int:
    """Whole seconds, as messages show them."""
    return int(backoffs[container].delay.total_seconds()) if container in backoffs else 0


def shown(delay: timedelta) -> str:
    """As Go prints a duration: 10s, 2m40s, 5m0s."""
    minutes, seconds = divmod(int(delay.total_seconds()), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
