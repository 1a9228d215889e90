"""What `kubectl get pod -o yaml` shows."""

from typing import Any

import pytest
from pod_builders import a_pod, at, container, debugged, deleted, ended, given, running, seen, sized

from mooring.model.pod import Pod
from mooring.pods.observed import PodSeen
from mooring.pods.probing import Health
from mooring.pods.qos import qos_class
from mooring.pods.resizing import Refusal
from mooring.pods.step import Knowledge, step

UP, DOWN = Health(started=True, ready=True), Health(started=True, ready=False)


def status(pod: Pod, now_seen: PodSeen | None, now: float = 10, **known: Any) -> dict[str, Any]:
    return step(pod, now_seen, Knowledge(node_ips=("172.30.0.11", "fd00::b"), **known), at(now)).status


def conditions(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one.get("reason", "")) for one in document["conditions"]}


NOT_READY = ("False", "ContainersNotReady")
GATED = a_pod(readinessGates=[{"conditionType": "example.com/gate"}])
OPEN = a_pod(
    readinessGates=[{"conditionType": "example.com/gate"}],
    status={"conditions": [{"type": "example.com/gate", "status": "True"}]},
)
CONDITIONS = {
    "before anything": (a_pod(), None, {}, ("False", "True", NOT_READY, NOT_READY)),
    "running and ready": (a_pod(), seen(running()), {"main": UP}, ("True", "True", ("True", ""), ("True", ""))),
    "running and not ready": (a_pod(), seen(running()), {"main": DOWN}, ("True", "True", NOT_READY, NOT_READY)),
    "initializing": (a_pod(initContainers=[container("i")]), seen(running("i")), {}, ("True", "False", NOT_READY, NOT_READY)),
    "a gate that nobody has set": (
        GATED, seen(running()), {"main": UP}, ("True", "True", ("False", "ReadinessGatesNotReady"), ("True", ""))),
    "a gate that is open": (OPEN, seen(running()), {"main": UP}, ("True", "True", ("True", ""), ("True", ""))),
    "a terminating pod stays ready while its probes say so": (
        a_pod(meta=deleted(10)), seen(running()), {"main": UP}, ("True", "True", ("True", ""), ("True", ""))),
    "completed": (
        a_pod(restartPolicy="Never"), seen(ended()), {},
        ("True", "True", ("False", "PodCompleted"), ("False", "PodCompleted"))),
    "failed": (
        a_pod(restartPolicy="Never"), seen(ended(code=1)), {},
        ("True", "True", ("False", "PodFailed"), ("False", "PodFailed"))),
}  # fmt: skip


@pytest.mark.parametrize(("pod", "now_seen", "health", "wanted"), CONDITIONS.values(), ids=CONDITIONS)
def test_conditions(pod: Pod, now_seen: PodSeen | None, health: dict[str, Health], wanted: tuple[Any, ...]) -> None:
    found = conditions(status(pod, now_seen, health=health))
    shown = (found["PodReadyToStartContainers"][0], found["Initialized"][0], found["Ready"], found["ContainersReady"])
    assert (wanted, "True") == (shown, found["PodScheduled"][0])


def test_a_transition_time_changes_only_with_its_status() -> None:
    first = status(a_pod(), seen(running()), 10, health={"main": UP})
    second = status(a_pod(), seen(running()), 20, health={"main": UP}, before=first)
    third = status(a_pod(), seen(running()), 30, health={"main": DOWN}, before=second)
    times = [{one["type"]: one["lastTransitionTime"] for one in each["conditions"]} for each in (first, second, third)]
    assert times[0] == times[1]
    assert ("2026-01-01T12:00:30Z", times[0]["Initialized"]) == (times[2]["Ready"], times[2]["Initialized"])


def test_addresses_times_and_class() -> None:
    document = status(a_pod(meta={"generation": 3}), seen(running()))
    wanted = {
        "hostIP": "172.30.0.11",
        "hostIPs": [{"ip": "172.30.0.11"}, {"ip": "fd00::b"}],
        "podIP": "10.244.0.5",
        "podIPs": [{"ip": "10.244.0.5"}],
        "qosClass": "BestEffort",
        "startTime": "2026-01-01T12:00:10Z",
        "observedGeneration": 3,
    }
    assert wanted == {key: document[key] for key in wanted}


def test_a_restarted_container_remembers_its_last_end() -> None:
    document = status(a_pod(), seen(ended(code=3), running(attempt=1, start=6)), health={"main": UP})["containerStatuses"][0]
    assert (document["restartCount"], document["lastState"]["terminated"]["exitCode"], document["ready"]) == (1, 3, True)
    assert document["state"] == {"running": {"startedAt": "2026-01-01T12:00:06Z"}}


def test_ephemeral_containers_are_told_of_and_nothing_else_changes() -> None:
    pod, runs = debugged("", "", "gone"), (running(), running("debug-0", start=6), ended("debug-1", 3))
    document, without = status(pod, seen(*runs), health={"main": UP}), status(a_pod(), seen(*runs), health={"main": UP})
    told = {one["name"]: one for one in document.pop("ephemeralContainerStatuses")}
    assert without == document
    assert {"running": {"startedAt": "2026-01-01T12:00:06Z"}} == told["debug-0"]["state"]
    assert (3, 0) == (told["debug-1"]["state"]["terminated"]["exitCode"], told["debug-1"]["restartCount"])
    waiting = {"reason": "CreateContainerConfigError", "message": "unable to find target container gone"}
    assert {"waiting": waiting} == told["debug-2"]["state"]
    assert {(False, False)} == {(one["ready"], "started" in one) for one in told.values()}


def test_what_is_wished_what_is_allotted_and_what_runs() -> None:
    """Limits are told of where the kernel holds them."""
    runs, full = seen(running(**given("1"))), Refusal("Infeasible", "Node didn't have enough capacity: cpu, ...")

    def told(document: dict[str, Any]) -> tuple[Any, ...]:
        one, marks = document["containerStatuses"][0], {"PodResizePending", "PodResizeInProgress"}
        resizing = {kind: reason for kind, (_, reason) in conditions(document).items() if kind in marks}
        return one["allocatedResources"]["cpu"], one["resources"]["requests"]["cpu"], one["resources"]["limits"], resizing

    memory, before = {"memory": "1Gi"}, status(a_pod(sized("1")), runs)
    assert ("1", "1", memory, {}) == told(before)
    assert ("1", "1", memory, {"PodResizePending": "Infeasible"}) == told(status(a_pod(sized("2")), runs, refusal=full))
    assert ("2", "1", memory, {"PodResizeInProgress": ""}) == told(status(a_pod(sized("2")), runs, before=before))
    assert ("2", "2", memory, {}) == told(status(a_pod(sized("2")), seen(running(**given("2")))))


@pytest.mark.parametrize(
    ("pod", "reason"),
    [(a_pod(), "ContainerCreating"), (a_pod(initContainers=[container("i")]), "PodInitializing")],
    ids=["a container to come is being created", "one behind an init container is waiting for it"],
)
def test_what_is_waited_for(pod: Pod, reason: str) -> None:
    assert {"waiting": {"reason": reason}} == status(pod, None)["containerStatuses"][0]["state"]


def test_a_pod_that_ended_elsewhere_in_time_keeps_its_status() -> None:
    before = {"phase": "Succeeded", "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 0}}}]}
    assert before == status(a_pod(), None, before=before)


BOTH = {"cpu": "1", "memory": "1Gi"}
CLASSES = {
    "nothing is asked for": ({}, "BestEffort"),
    "limits alone are requests too": ({"limits": BOTH}, "Guaranteed"),
    "requests equal limits in another notation": (
        {"limits": BOTH, "requests": {"cpu": "1000m", "memory": "1024Mi"}},
        "Guaranteed",
    ),
    "less is requested": ({"limits": BOTH, "requests": {"cpu": "500m", "memory": "1Gi"}}, "Burstable"),
    "only cpu": ({"requests": {"cpu": "100m"}}, "Burstable"),
}


@pytest.mark.parametrize(("resources", "wanted"), CLASSES.values(), ids=CLASSES)
def test_quality_of_service(resources: dict[str, Any], wanted: str) -> None:
    assert wanted == qos_class(a_pod(container(resources=resources)))
