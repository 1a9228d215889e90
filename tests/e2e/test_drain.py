"""A node is drained with kubectl while clients never stop asking, and a claim's data outlives its pod, on a running cluster."""

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
from scene import DEADLINE, Scene, is_ready, scene, service, until, until_equal

from local_cluster import Cluster, kubectl

Document = dict[str, Any]
WEB = {"app": "web"}
NODE = "node-2"


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        yield made


def template(labels: dict[str, str], **spec: Any) -> Document:
    container = {
        "name": "main",
        "image": "mooring.dev/echo",
        "env": [{"name": "ECHO_DRAIN", "value": "5"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    return {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "volumes": [{"name": "scratch", "emptyDir": {}}], **spec},
    }


def manifest(kind: str, version: str, name: str, spec: Document) -> Document:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def apply(here: Scene, *documents: Document) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    here.cluster.kubectl("apply", "-n", here.namespace, "-f", "-", stdin=text)


def read(here: Scene, *words: str) -> Any:
    return json.loads(here.cluster.kubectl("get", "-n", here.namespace, *words, "-o", "json").stdout)


def pods_on(here: Scene, node: str, **labels: str) -> list[str]:
    return [pod["metadata"]["name"] for pod in here.items("Pod", **labels) if pod["spec"].get("nodeName") == node]


class Asking:
    """Requests to a door by new connections, ten a second, from a pod on the other node."""

    def __init__(self, here: Scene, host: str) -> None:
        words = [kubectl(), "--kubeconfig", str(here.cluster.kubeconfig), "exec", "-i", "-n", here.namespace, "one", "--"]
        source = Path(__file__).with_name("steady.py").read_text()
        self._process = Popen([*words, "python3", "-u", "-c", source], stdin=PIPE, stdout=PIPE, text=True)
        self._door = [host, 80]
        self._asked, self._failed = 0, list[str]()
        self.told()

    def told(self) -> tuple[int, list[str]]:
        """How many requests so far, and what failed."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"keep": [], "open": [self._door]}) + "\n")
        self._process.stdin.flush()
        answer: Document = json.loads(self._process.stdout.readline())
        self._asked += answer["asked"]
        self._failed += answer["failed"]
        return self._asked, self._failed

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def asking(here: Scene) -> Iterator[Asking]:
    """The workload: four servers spread over both nodes, of which three must always be there, and a DaemonSet beside them."""
    selector = {"matchLabels": WEB}
    even = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }
    apply(
        here,
        manifest("Deployment", "apps/v1", "web", {
            "replicas": 4, "selector": selector, "template": template(WEB, topologySpreadConstraints=[even])}),
        manifest("DaemonSet", "apps/v1", "agent", {
            "selector": {"matchLabels": {"app": "agent"}}, "template": template({"app": "agent", "drained": "no"})}),
        manifest("PodDisruptionBudget", "policy/v1", "web", {"minAvailable": 3, "selector": selector}),
    )  # fmt: skip
    (address,) = here.create(service("web", "web"))
    until(lambda: [is_ready(pod) for pod in here.items("Pod", **WEB)], lambda ready: ready.count(True) == 4)
    until_equal(1, lambda: read(here, "pdb", "web")["status"].get("disruptionsAllowed"))
    until(lambda: here.one.http(address["spec"]["clusterIP"]), lambda answer: answer.startswith("web-"))
    asked = Asking(here, address["spec"]["clusterIP"])
    try:
        yield asked
    finally:
        asked.close()
        here.cluster.kubectl("uncordon", NODE)


def test_a_drained_node_costs_no_request_and_never_breaks_the_budget(here: Scene, asking: Asking) -> None:
    before = pods_on(here, NODE, **WEB)
    assert len(before) == 2, "spread over both nodes"
    until_equal(1, lambda: len(pods_on(here, NODE, app="agent")))
    refused = here.cluster.kubectl("drain", NODE, "--pod-selector=app in (web, agent)", check=False)
    assert refused.returncode == 1
    assert "cannot delete DaemonSet-managed Pods" in refused.stderr
    assert "cannot delete Pods with local storage" in refused.stderr

    flags = (
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--grace-period=30",
        "--timeout=90s",
        "--pod-selector=app in (web, agent)",
    )
    done = here.cluster.kubectl("drain", NODE, *flags)
    assert all(f"pod/{name} evicted" in done.stdout for name in before), done.stdout
    assert f"node/{NODE} drained" in done.stdout
    assert "Cannot evict pod as it would violate the pod's disruption budget" in done.stderr, "the second had to wait"

    assert pods_on(here, NODE, **WEB) == []
    assert len(pods_on(here, NODE, app="agent")) == 1, "a DaemonSet's pod stays"
    until(lambda: [is_ready(pod) for pod in here.items("Pod", **WEB)], lambda ready: ready.count(True) == 4)
    _, failed = until(asking.told, lambda told: told[0] > 10)
    assert failed == []
    shown = here.cluster.kubectl("get", "node", NODE, "--no-headers").stdout
    assert "Ready,SchedulingDisabled" in shown
    here.cluster.kubectl("uncordon", NODE)
    assert "SchedulingDisabled" not in here.cluster.kubectl("get", "node", NODE, "--no-headers").stdout


def user(name: str, *script: str, sub_path: str = "") -> Document:
    """A pod of an ordinary user that works in its claim."""
    mount = {"name": "data", "mountPath": "/data", **({"subPath": sub_path} if sub_path else {})}
    container = {"name": "main", "image": "mooring.dev/toolbox", "volumeMounts": [mount]}
    if script:
        container["command"] = ["sh", "-c", *script]
    spec = {
        "containers": [container],
        "securityContext": {"runAsUser": 1234, "runAsGroup": 1234},
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "terminationGracePeriodSeconds": 0,
        "restartPolicy": "Never",
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def ended(here: Scene, name: str) -> Document:
    return until(lambda: here.get("Pod", name), lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"))


def test_a_claims_data_outlives_its_pod_and_goes_with_the_claim(here: Scene) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    apply(here, manifest("PersistentVolumeClaim", "v1", "data", spec))
    assert read(here, "pvc", "data")["spec"]["storageClassName"] == "standard"

    apply(here, user("writer", "echo kept > /data/file && mkdir /data/own && id -u"))
    assert ended(here, "writer")["status"]["phase"] == "Succeeded"
    claim = read(here, "pvc", "data")
    volume = read(here, "pv", claim["spec"]["volumeName"])
    path, home = Path(volume["spec"]["local"]["path"]), here.get("Pod", "writer")["spec"]["nodeName"]
    assert path == here.cluster.data_dir / "volumes" / home / volume["metadata"]["name"]
    assert (path / "file").read_text() == "kept\n"
    here.cluster.kubectl("delete", "-n", here.namespace, "pod", "writer")

    apply(here, user("reader", "cat /data/file && ls /data"), user("below", "pwd > /data/note", sub_path="sub/deep"))
    for name in ("reader", "below"):
        pod = ended(here, name)
        assert (pod["status"]["phase"], pod["spec"]["nodeName"]) == ("Succeeded", home)
    assert here.cluster.kubectl("logs", "-n", here.namespace, "reader").stdout.startswith("kept\n")
    assert (path / "sub" / "deep" / "note").exists(), "an ordinary user may write below a subPath"
    assert [(path / below).stat().st_mode & 0o777 for below in ("sub", "sub/deep")] == [0o777, 0o777]

    here.cluster.kubectl("delete", "-n", here.namespace, "pvc", "data", "--wait=false")
    assert "Terminating" in here.cluster.kubectl("get", "-n", here.namespace, "pvc", "data", "--no-headers").stdout
    here.cluster.kubectl("delete", "-n", here.namespace, "pod", "reader", "below")
    names = ("pvc", "data"), ("pv", volume["metadata"]["name"])
    for kind, name in names:
        here.cluster.kubectl("wait", "-n", here.namespace, "--for=delete", f"{kind}/{name}", f"--timeout={DEADLINE:.0f}s")
    assert not path.exists()


def test_a_pod_whose_claim_is_missing_says_so_until_it_comes(here: Scene) -> None:
    apply(here, user("early"))
    words = '0/2 nodes are available: persistentvolumeclaim "data" not found.'

    def told() -> list[str]:
        found = [each for each in here.items("Event") if each["involvedObject"]["name"] == "early"]
        return [each["message"] for each in found if each["reason"] == "FailedScheduling"]

    until_equal([words], told)
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    apply(here, manifest("PersistentVolumeClaim", "v1", "data", spec))
    here.ready("early")
    here.cluster.kubectl("delete", "-n", here.namespace, "pod/early", "pvc/data")
