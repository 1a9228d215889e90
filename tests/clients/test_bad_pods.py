"""A pod that cannot run says why: in its status, its conditions and its events, where `kubectl describe pod` shows it."""

import pytest
from kubectl_command import Kubectl, eventually
from msgspec import json

PODS = {
    "image": {"containers": [{"name": "c", "image": "example.com/nosuch:1"}]},
    "crash": {"containers": [{"name": "c", "image": "busybox", "command": ["sh", "-c", "echo going down; exit 3"]}]},
    "command": {"containers": [{"name": "c", "image": "busybox", "command": ["no-such-command"]}]},
    "unready": {
        "containers": [
            {
                "name": "c",
                "image": "mooring.dev/pause",
                "readinessProbe": {"httpGet": {"port": 9999, "path": "/up"}, "periodSeconds": 1},
            }
        ]
    },
    "unhealthy": {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "c",
                "image": "mooring.dev/pause",
                "livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1},
            }
        ],
    },
    "environment": {
        "containers": [{"name": "c", "image": "mooring.dev/pause", "envFrom": [{"configMapRef": {"name": "absent"}}]}]
    },
    "key": {
        "containers": [
            {
                "name": "c",
                "image": "mooring.dev/pause",
                "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "absent"}}}],
            }
        ]
    },
    "volume": {
        "containers": [{"name": "c", "image": "mooring.dev/pause", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "secret": {"secretName": "absent"}}],
    },
    "nowhere": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "c", "image": "mooring.dev/pause"}]},
    "greedy": {
        "containers": [{"name": "c", "image": "mooring.dev/pause", "resources": {"requests": {"cpu": "10k"}}}],
    },
    "failed": {
        "restartPolicy": "Never",
        "containers": [{"name": "c", "image": "busybox", "command": ["sh", "-c", "echo last words; exit 4"]}],
    },
}
UNREADY = ("Ready", "False", "ContainersNotReady", "containers with unready status: [c]")


@pytest.fixture(scope="module")
def pods(stock: Kubectl) -> Kubectl:
    """All of them at once: none waits for another."""
    items = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec} for name, spec in PODS.items()]
    stock("create", "-f", "-", stdin=json.encode({"apiVersion": "v1", "kind": "List", "items": items}).decode())
    return stock


@pytest.mark.parametrize(
    ("pod", "status", "event", "condition"),
    [
        ("image", "ImagePullBackOff", 'Failed to pull image "example.com/nosuch:1": not in the local image table', UNREADY),
        ("image", "ImagePullBackOff", "known images: mooring.dev/echo, mooring.dev/echo-grpc, mooring.dev/gateway", UNREADY),
        ("image", "ImagePullBackOff", 'Back-off pulling image "example.com/nosuch:1"', UNREADY),
        ("crash", "CrashLoopBackOff", "Back-off restarting failed container c in pod crash_", UNREADY),
        ("command", "CrashLoopBackOff", 'Error: exec: "no-such-command": executable file not found in $PATH', UNREADY),
        ("unready", "Running", 'Readiness probe failed: Get "http://', UNREADY),
        ("unhealthy", "", "Liveness probe failed", ()),
        ("unhealthy", "", "Container c failed liveness probe, will be restarted", ()),
        ("environment", "CreateContainerConfigError", 'Error: configmap "absent" not found', UNREADY),
        ("key", "CreateContainerConfigError", "Error: couldn't find key absent in ConfigMap", UNREADY),
        ("volume", "ContainerCreating", 'MountVolume.SetUp failed for volume "v" : secret "absent" not found', UNREADY),
        (
            "nowhere",
            "Pending",
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
            ("PodScheduled", "False", "Unschedulable", "0/2 nodes are available"),
        ),
        ("greedy", "Pending", "Insufficient cpu", ("PodScheduled", "False", "Unschedulable", "Insufficient cpu")),
        ("failed", "Error", "Started container c", ("Ready", "False", "PodFailed", "")),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_pod_says_why_it_does_not_run(
    pods: Kubectl, pod: str, status: str, event: str, condition: tuple[str, str, str, str] | tuple[()]
) -> None:
    eventually(lambda: pods("describe", "pod", pod).partition("\nEvents:")[2], lambda events: event in events)
    eventually(lambda: pods("get", "pod", pod, "--no-headers"), lambda row: status in row)
    if condition:
        kind, value, reason, message = condition
        found = eventually(
            lambda: {each["type"]: each for each in pods.json("get", "pod", pod)["status"]["conditions"]}.get(kind, {}),
            lambda found: (value, reason) == (found.get("status"), found.get("reason")),
        )
        assert message in found.get("message", "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("image",), 'container "c" in pod "image" is waiting to start: trying and failing to pull image'),
        (("environment",), 'container "c" in pod "environment" is waiting to start: CreateContainerConfigError'),
        (("volume",), 'container "c" in pod "volume" is waiting to start: ContainerCreating'),
        (("unready", "--previous"), 'previous terminated container "c" in pod "unready" not found'),
        (("crash", "-c", "other"), "container other is not valid for pod crash"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_logs_that_are_not_there_say_why(pods: Kubectl, arguments: tuple[str, ...], expected: str) -> None:
    eventually(lambda: pods.refused("logs", *arguments), lambda text: expected in text)


def test_logs_of_what_has_ended_stay(pods: Kubectl) -> None:
    assert "last words\n" == eventually(lambda: pods("logs", "failed"), bool)
    assert "going down\n" == eventually(lambda: pods.run("logs", "crash", "--previous", check=False).stdout, bool)


def test_a_pod_recovers_as_soon_as_what_it_lacks_is_there(pods: Kubectl) -> None:
    pods("create", "configmap", "absent", "--from-literal=A=b")
    pods("create", "secret", "generic", "absent", "--from-literal=A=b")
    pods("wait", "--for=condition=Ready", "pod/environment", "pod/volume", "--timeout=30s")
