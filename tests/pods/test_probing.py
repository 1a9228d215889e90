"""What a row of outcomes amounts to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pod_builders import a_pod, at, container

from mooring.model.pod import Probe
from mooring.pods.probing import Health, Role, Tracker, begin, health, next_delay, observe
from mooring.pods.restart import Backoff, raised, ready_at, shown

ROWS = {
    "readiness holds back until the first success": ("readiness", Probe(), "-", False),
    "one success makes ready": ("readiness", Probe(), "+", True),
    "two failures of three change nothing": ("readiness", Probe(), "+--", True),
    "three failures make unready": ("readiness", Probe(), "+---", False),
    "a success in between starts the count anew": ("readiness", Probe(), "+--+--", True),
    "two successes are asked for": ("readiness", Probe(success_threshold=2), "+-+", False),
    "two successes in a row": ("readiness", Probe(success_threshold=2), "-++", True),
    "alive until the threshold": ("liveness", Probe(), "--", True),
    "dead at the threshold": ("liveness", Probe(), "---", False),
    "startup is open": ("startup", Probe(failure_threshold=3), "--", None),
    "startup succeeded": ("startup", Probe(failure_threshold=3), "--+", True),
    "startup failed": ("startup", Probe(failure_threshold=3), "---", False),
}


@pytest.mark.parametrize(("role", "probe", "outcomes", "verdict"), ROWS.values(), ids=ROWS)
def test_verdict(role: Role, probe: Probe, outcomes: str, verdict: bool | None) -> None:
    tracker = begin(role)
    for outcome in outcomes:
        tracker = observe(tracker, probe, outcome == "+")
    assert verdict == tracker.verdict


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 5))
def test_readiness_is_lost_only_by_a_full_row_of_failures(outcomes: list[bool], threshold: int) -> None:
    tracker, probe = begin("readiness"), Probe(failure_threshold=threshold)
    for count, outcome in enumerate(outcomes, 1):
        before, tracker = tracker.verdict, observe(tracker, probe, outcome)
        if before and not tracker.verdict:
            assert not any(outcomes[count - threshold : count])


PROBED = a_pod(container(startupProbe={}, readinessProbe={}, livenessProbe={})).spec.containers[0]
HEALTHS = {
    "nothing is known": ((None, False, True), Health()),
    "started, not ready": ((True, False, True), Health(True, False)),
    "started and ready": ((True, True, True), Health(True, True)),
    "ready counts only once started": ((None, True, True), Health()),
    "startup failed": ((False, False, True), Health(failed="startup")),
    "liveness failed": ((True, True, False), Health(True, True, "liveness")),
}


@pytest.mark.parametrize(("verdicts", "wanted"), HEALTHS.values(), ids=HEALTHS)
def test_health(verdicts: tuple[bool | None, bool, bool], wanted: Health) -> None:
    roles: tuple[Role, ...] = ("startup", "readiness", "liveness")
    assert wanted == health(PROBED, {role: Tracker(role, verdict) for role, verdict in zip(roles, verdicts, strict=True)})


def test_without_probes_a_running_container_is_ready() -> None:
    assert Health(True, True) == health(a_pod().spec.containers[0], {})


DELAYS = {
    "a container that was never ready is asked early": (begin("readiness"), Probe(), 10.0, (0.025, False)),
    "early attempts grow rarer": (Tracker("readiness", False, early=2), Probe(), 10.0, (0.064, False)),
    "the regular attempt comes when it is nearer": (Tracker("readiness", False, early=30), Probe(), 1.0, (1.0, True)),
    "a ready one is asked by the period": (Tracker("readiness", True, True, 1), Probe(), 7.0, (7.0, True)),
    "liveness is never asked early": (begin("liveness"), Probe(), 7.0, (7.0, True)),
    "several successes are counted by the period": (begin("readiness"), Probe(success_threshold=2), 7.0, (7.0, True)),
}


@pytest.mark.parametrize(("tracker", "probe", "until", "wanted"), DELAYS.values(), ids=DELAYS)
def test_next_attempt(tracker: Tracker, probe: Probe, until: float, wanted: tuple[float, bool]) -> None:
    delay, regular = next_delay(tracker, probe, until)
    assert (pytest.approx(wanted[0]), wanted[1]) == (delay, regular)


def test_back_off_doubles_to_five_minutes_and_is_forgotten_after_ten() -> None:
    backoff: Backoff | None = None
    delays, now = [], 0.0
    for _ in range(7):
        backoff = raised(backoff, at(now), at(now))
        delays.append(shown(backoff.delay))
        now += backoff.delay.total_seconds()
    assert delays == ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]
    assert at(now) == ready_at(None, at(now))
    assert backoff is not None
    assert backoff.raised + backoff.delay * 2 == ready_at(backoff, backoff.raised + backoff.delay)
    later = at(now + 10_000)
    assert later == ready_at(backoff, later)
    assert shown(raised(backoff, later, later).delay) == "10s"
