"""What the kubelet decides, one situation a row."""

from datetime import timedelta
from typing import Any

import pytest
from pod_builders import T0, a_pod, at, container, debugged, deleted, ended, given, running, seen, sized

from mooring.model.pod import Pod
from mooring.pods.observed import PodSeen
from mooring.pods.probing import Health
from mooring.pods.resizing import Refusal
from mooring.pods.restart import Backoff, Trouble
from mooring.pods.step import Finish, Knowledge, MakeSandbox, Release, Resize, Start, Step, Stop, step

UP = Health(started=True, ready=True)
INIT, SIDECAR = container("init"), container("side", restartPolicy="Always")
NOW = 10.0


def told(taken: Step) -> list[str]:
    """Actions as words."""
    words = []
    for action in taken.actions:
        match action:
            case Start():
                words.append(f"start {action.container.name} #{action.attempt}")
            case Stop():
                words.append(f"stop {action.container.name} in {action.grace:g}")
            case Resize():
                words.append(f"resize {action.container.name} to {action.container.resources.requests['cpu']}")
            case MakeSandbox() | Release() | Finish():
                words.append(type(action).__name__)
    return words


def decide(pod: Pod, now_seen: PodSeen | None, **known: Any) -> Step:
    return step(pod, now_seen, Knowledge(node_ips=("172.30.0.11",), **known), at(NOW))


ANEW = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
FAILED_ONCE = Backoff(timedelta(seconds=10), at(0))
SITUATIONS = {
    "nothing is there yet": (a_pod(), None, {}, ["MakeSandbox"], "Pending"),
    "the sandbox failed and is not yet tried again": (
        a_pod(), None, {"sandbox_trouble": Trouble("x", "y", at(11))}, [], "Pending"),
    "the sandbox failed and is tried again": (
        a_pod(), None, {"sandbox_trouble": Trouble("x", "y", at(9))}, ["MakeSandbox"], "Pending"),
    "containers start side by side": (
        a_pod(container("a"), container("b")), seen(), {}, ["start a #0", "start b #0"], "Pending"),
    "all run": (a_pod(), seen(running()), {"health": {"main": UP}}, [], "Running"),
    "one of two runs": (
        a_pod(container("a"), container("b")), seen(running("a")), {}, ["start b #0"], "Pending"),
    "init containers come first": (a_pod(initContainers=[INIT]), seen(), {}, ["start init #0"], "Pending"),
    "an init container runs": (a_pod(initContainers=[INIT]), seen(running("init")), {}, [], "Pending"),
    "init is done": (a_pod(initContainers=[INIT]), seen(ended("init")), {}, ["start main #0"], "Pending"),
    "the second init follows the first": (
        a_pod(initContainers=[INIT, container("second")]), seen(ended("init")), {}, ["start second #0"], "Pending"),
    "a failed init starts again": (
        a_pod(initContainers=[INIT]), seen(ended("init", 1)), {}, ["start init #1"], "Pending"),
    "a failed init ends a pod that never restarts": (
        a_pod(initContainers=[INIT], restartPolicy="Never"), seen(ended("init", 1)), {}, ["Release"], "Failed"),
    "a sidecar must have started before what follows": (
        a_pod(initContainers=[SIDECAR]), seen(running("side")), {}, [], "Pending"),
    "a sidecar has started": (
        a_pod(initContainers=[SIDECAR]), seen(running("side")), {"health": {"side": UP}}, ["start main #0"], "Pending"),
    "a sidecar that died comes back while containers run": (
        a_pod(initContainers=[SIDECAR]),
        seen(ended("side", 1), running()), {"health": {"main": UP}}, ["start side #1"], "Running"),
    "an init container is not repeated once containers run": (
        a_pod(initContainers=[INIT]), seen(ended("init"), ended(code=1)), {}, ["start main #1"], "Running"),
    "a sidecar ends with the containers": (
        a_pod(initContainers=[SIDECAR], restartPolicy="Never"),
        seen(running("side"), ended()), {}, ["stop side in 30"], "Running"),
    "the first crash restarts at once": (a_pod(), seen(ended(code=1)), {}, ["start main #1"], "Running"),
    "a crash waits for its back-off": (
        a_pod(), seen(ended(code=1)), {"backoffs": {"main": FAILED_ONCE}}, [], "Running"),
    "the back-off is over": (
        a_pod(), seen(ended(code=1, end=-1)), {"backoffs": {"main": FAILED_ONCE}}, ["start main #1"], "Running"),
    "success restarts with Always": (a_pod(), seen(ended()), {}, ["start main #1"], "Running"),
    "success is the end with OnFailure": (a_pod(restartPolicy="OnFailure"), seen(ended()), {}, ["Release"], "Succeeded"),
    "failure restarts with OnFailure": (a_pod(restartPolicy="OnFailure"),
        seen(ended(code=1)), {}, ["start main #1"], "Running"),
    "failure is the end with Never": (a_pod(restartPolicy="Never"), seen(ended(code=1)), {}, ["Release"], "Failed"),
    "one success and one failure are a failure": (
        a_pod(container("a"), container("b"), restartPolicy="Never"),
        seen(ended("a"), ended("b", 2)), {}, ["Release"], "Failed"),
    "one of two has ended for good": (
        a_pod(container("a"), container("b"), restartPolicy="Never"), seen(ended("a"), running("b")), {}, [], "Running"),
    "liveness failed": (
        a_pod(container(livenessProbe={"periodSeconds": 1})), seen(running()),
        {"health": {"main": Health(True, True, "liveness")}}, ["stop main in 30"], "Running"),
    "liveness failed with a grace period of its own": (
        a_pod(container(livenessProbe={"terminationGracePeriodSeconds": 3})), seen(running()),
        {"health": {"main": Health(True, True, "liveness")}}, ["stop main in 3"], "Running"),
    "a container that is being stopped is not stopped twice": (
        a_pod(),
        seen(running()), {"health": {"main": Health(True, True, "liveness")}, "stopping": frozenset({"main"})}, [], "Running"),
    "the sandbox died": (a_pod(), seen(ended(code=137), alive=False), {}, ["MakeSandbox"], "Running"),
    "init runs again in a new sandbox": (
        a_pod(initContainers=[INIT]), seen(ended("init"), ended(code=137), created=6), {}, ["start init #1"], "Running"),
    "an unknown image waits": (
        a_pod(), seen(), {"troubles": {"main": Trouble("ErrImagePull", "no such image", at(20))}}, [], "Pending"),
    "an ephemeral container starts whatever holds up the others": (
        debugged("", initContainers=[INIT]), seen(running("init")), {}, ["start debug-0 #0"], "Pending"),
    "ephemeral containers are run once, and nobody waits for one": (
        debugged("", "", restartPolicy="Always"), seen(running(), ended("debug-0", 1), running("debug-1")), {}, [], "Running"),
    "an ephemeral container goes where its target runs": (
        debugged("main", "", "gone"), seen(running()), {}, ["start debug-0 #0", "start debug-1 #0"], "Running"),
    "an ephemeral container ends with the pod": (
        debugged("", restartPolicy="Never"), seen(ended(), running("debug-0")), {}, ["stop debug-0 in 30"], "Succeeded"),
    "a deleted pod's ephemeral containers stop with the others": (
        debugged("", "", meta=deleted(NOW)), seen(running(), running("debug-0")), {},
        ["stop main in 30", "stop debug-0 in 30"], "Running"),
    "what runs gets more": (a_pod(sized("2")), seen(running(**given("1"))), {}, ["resize main to 2"], "Running"),
    "what runs has what it is to have, in other words": (
        a_pod(sized("2000m", "1024Mi")), seen(running(**given("2"))), {}, [], "Running"),
    "what an older agent started is let be": (a_pod(sized("2")), seen(running()), {}, [], "Running"),
    "there is no room for more": (
        a_pod(sized("2")), seen(running(**given("1"))), {"refusal": Refusal("Deferred", "full")}, [], "Running"),
    "more of one resource needs a new run": (
        a_pod(sized("2", resizePolicy=ANEW)), seen(running(**given("1"))), {}, ["stop main in 30"], "Running"),
    "more of another does not": (
        a_pod(sized("1", "2Gi", resizePolicy=ANEW)), seen(running(**given("1"))), {}, ["resize main to 1"], "Running"),
    "the new run comes whatever the restart policy says": (
        a_pod(sized("2", resizePolicy=ANEW), restartPolicy="OnFailure"), seen(ended(**given("1"))),
        {"renewing": frozenset({"main"})}, ["start main #1"], "Running"),
    "a deleted pod gets no more": (
        a_pod(sized("2"), meta=deleted(NOW)), seen(running(**given("1"))), {}, ["stop main in 30"], "Running"),
    "a deleted pod stops": (a_pod(meta=deleted(NOW)), seen(running()), {}, ["stop main in 30"], "Running"),
    "part of the grace period is over": (a_pod(meta=deleted(NOW - 20)), seen(running()), {}, ["stop main in 10"], "Running"),
    "the grace period is over": (a_pod(meta=deleted(NOW - 99)), seen(running()), {}, ["stop main in 2"], "Running"),
    "a deletion without grace": (a_pod(meta=deleted(NOW, 0)), seen(running()), {}, ["stop main in 0"], "Running"),
    "sidecars stop after containers": (
        a_pod(initContainers=[SIDECAR], meta=deleted(NOW)),
        seen(running("side"), running()), {}, ["stop main in 30"], "Running"),
    "sidecars stop in reverse": (
        a_pod(initContainers=[SIDECAR, container("late", restartPolicy="Always")], meta=deleted(NOW)),
        seen(running("side"), running("late"), ended()), {}, ["stop late in 30"], "Running"),
    "a deleted pod has ended well": (a_pod(meta=deleted(NOW)), seen(ended()), {}, ["Finish"], "Succeeded"),
    "a deleted pod was killed": (a_pod(meta=deleted(NOW)), seen(ended(code=137)), {}, ["Finish"], "Failed"),
    "a deleted pod that never ran": (a_pod(meta=deleted(NOW)), None, {}, ["Finish"], "Failed"),
    "a deleted pod is still being stopped": (
        a_pod(meta=deleted(NOW)), seen(ended()), {"stopping": frozenset({"main"})}, [], "Succeeded"),
    "the active deadline passed": (
        a_pod(activeDeadlineSeconds=5), seen(running()), {"before": {"startTime": "2026-01-01T12:00:00Z"}}, ["stop main in 30"],
        "Failed"),
    "a failed pod stays failed": (a_pod(), seen(ended()), {"before": {"phase": "Failed"}}, ["Release"], "Failed"),
    "a failed pod that was released": (a_pod(), seen(ended(), alive=False), {"before": {"phase": "Failed"}}, [], "Failed"),
}  # fmt: skip


@pytest.mark.parametrize(("pod", "now_seen", "known", "actions", "phase"), SITUATIONS.values(), ids=SITUATIONS)
def test_what_is_done(pod: Pod, now_seen: PodSeen | None, known: dict[str, Any], actions: list[str], phase: str) -> None:
    taken = decide(pod, now_seen, **known)
    assert (actions, phase) == (told(taken), taken.status["phase"])


@pytest.mark.parametrize(("pod", "now_seen", "known", "actions", "phase"), SITUATIONS.values(), ids=SITUATIONS)
def test_deciding_again_from_the_written_status_says_the_same(
    pod: Pod, now_seen: PodSeen | None, known: dict[str, Any], actions: list[str], phase: str
) -> None:
    first = decide(pod, now_seen, **known)
    again = decide(pod, now_seen, **{**known, "before": first.status})
    assert first.status == again.status


def test_a_back_off_is_shown_and_the_clock_is_set() -> None:
    taken = decide(a_pod(), seen(ended(code=1)), backoffs={"main": FAILED_ONCE})
    status = taken.status["containerStatuses"][0]
    text = "back-off 10s restarting failed container=main pod=web_default(u1)"
    assert {"waiting": {"reason": "CrashLoopBackOff", "message": text}} == status["state"]
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert (at(15), ("main",)) == (taken.again, taken.backing_off)


def test_an_active_deadline_sets_the_clock() -> None:
    taken = decide(a_pod(activeDeadlineSeconds=60), seen(running()), before={"startTime": "2026-01-01T12:00:00Z"})
    assert T0 + timedelta(seconds=60) == taken.again


@pytest.mark.parametrize(("again", "actions"), [(11, []), (9, ["start main #0"])], ids=["it waits", "it is tried again"])
def test_why_a_container_does_not_start_is_shown_until_it_has(again: float, actions: list[str]) -> None:
    trouble = Trouble("CreateContainerConfigError", 'configmap "absent" not found', at(again))
    taken = decide(a_pod(), seen(), troubles={"main": trouble})
    waiting = {"reason": trouble.reason, "message": trouble.message}
    assert (actions, {"waiting": waiting}) == (told(taken), taken.status["containerStatuses"][0]["state"])
