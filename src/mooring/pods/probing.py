"""What do a probe's outcomes amount to? Thresholds, and when to ask again (pkg/kubelet/prober/worker.go).

A container that has never been ready is asked more often than its period says, quietly: an early failure counts for nothing and
makes no event, an early success counts. So a pod becomes ready when it is, not when the next period begins.
"""

from typing import Literal

from msgspec import Struct

from mooring.model.pod import Container, Probe

Role = Literal["startup", "readiness", "liveness"]
_EAGER_FIRST, _EAGER_GROWTH = 0.025, 1.6
"""Seconds to the first early attempt, and how each wait grows, up to the period."""


class Tracker(Struct, frozen=True):
    """`verdict` is what holds now: None for startup until it is known. `run` counts equal outcomes in a row."""

    role: Role
    verdict: bool | None
    last: bool | None = None
    run: int = 0
    early: int = 0

    @property
    def over(self) -> bool:
        """Nothing more to ask until the container is started again."""
        return (self.role == "startup" and self.verdict is not None) or (self.role == "liveness" and self.verdict is False)


def begin(role: Role) -> Tracker:
    """Before any outcome: not ready, alive, not known to have started."""
    return Tracker(role, {"startup": None, "readiness": False, "liveness": True}[role])


def probe_of(container: Container, role: Role) -> Probe | None:
    return {"startup": container.startup_probe, "readiness": container.readiness_probe, "liveness": container.liveness_probe}[
        role
    ]


def observe(tracker: Tracker, probe: Probe, success: bool) -> Tracker:
    """The tracker after one regular outcome."""
    run = tracker.run + 1 if tracker.last is success else 1
    enough = run >= (probe.success_threshold if success else probe.failure_threshold)
    return Tracker(tracker.role, success if enough else tracker.verdict, success, run, tracker.early)


def next_delay(tracker: Tracker, probe: Probe, until_regular: float) -> tuple[float, bool]:
    """Seconds until the next attempt, and whether it is a regular one. `until_regular`: seconds to the period's next beat."""
    waits = tracker.role != "liveness" and tracker.verdict is not True and tracker.last is not True
    early = _EAGER_FIRST * _EAGER_GROWTH**tracker.early
    if waits and probe.success_threshold == 1 and early < until_regular:
        return early, False
    return until_regular, True


class Health(Struct, frozen=True):
    """What the probes say of a running container. `failed` is the probe for which it must be restarted."""

    started: bool = False
    ready: bool = False
    failed: Literal["", "liveness", "startup"] = ""


def health(container: Container, trackers: dict[Role, Tracker]) -> Health:
    """A probe that is not defined holds; readiness and liveness count once the container has started."""
    startup, readiness, liveness = (trackers.get(role) for role in ("startup", "readiness", "liveness"))
    started = startup.verdict is True if startup else container.startup_probe is None
    ready = started and (readiness.verdict is True if readiness else container.readiness_probe is None)
    failed: Literal["", "liveness", "startup"] = ""
    if startup and startup.verdict is False:
        failed = "startup"
    elif liveness and liveness.verdict is False:
        failed = "liveness"
    return Health(started, ready, failed)
