"""People's commands on a running cluster."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest
from scene import until, until_followed

from local_cluster import Cluster

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "mooring.dev/echo:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: main, image: mooring.dev/toolbox}]}
"""


@pytest.fixture(scope="module")
def home(cluster: Cluster) -> Iterator[str]:
    """A namespace with a Deployment of two, its Service and a client pod, all ready."""
    name = f"commands-{os.getpid()}"
    cluster.mooring("apply", "-f", "-", stdin=f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}")
    applied = cluster.mooring("apply", "-n", name, "-f", "-", stdin=MANIFEST).stdout
    assert applied == "deployment.apps/web created\nservice/web created\npod/client created\n"
    cluster.kubectl("-n", name, "rollout", "status", "deployment/web", "--timeout=50s")
    cluster.kubectl("-n", name, "wait", "--for=condition=Ready", "pod/client", "--timeout=50s")
    until_followed(cluster)
    yield name
    cluster.mooring("delete", "namespace", name, "--no-wait")


def test_applying_the_same_again_changes_nothing(cluster: Cluster, home: str) -> None:
    again = cluster.mooring("apply", "-n", home, "-f", "-", stdin=MANIFEST).stdout
    assert again == "deployment.apps/web unchanged\nservice/web unchanged\npod/client unchanged\n"


def test_what_kubectl_applied_is_taken_over_and_back(cluster: Cluster, home: str) -> None:
    manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: shared}, data: {a: '1', b: '2'}}"
    cluster.kubectl("-n", home, "apply", "-f", "-", stdin=manifest)
    changed = cluster.mooring("apply", "-n", home, "-f", "-", stdin=manifest.replace("b: '2'", "c: '3'"))
    assert changed.stdout == "configmap/shared configured\n"
    found = cluster.mooring("get", "-n", home, "cm", "shared", "-o", "jsonpath={.data}").stdout.strip()
    assert json.loads(found) == {"a": "1", "c": "3"}
    back = cluster.kubectl("-n", home, "apply", "-f", "-", stdin=manifest).stdout
    assert back == "configmap/shared configured\n"


def test_a_pod_reaches_the_service_by_name(cluster: Cluster, home: str) -> None:
    assert "web-" in cluster.in_pod("client", "curl", "--silent", "--max-time", "30", "http://web/", namespace=home)


def test_the_outside_has_no_way_to_cluster_addresses(cluster: Cluster, home: str) -> None:
    address = cluster.mooring("get", "-n", home, "svc", "web", "-o", "jsonpath={.spec.clusterIP}").stdout.strip()
    done = cluster.mooring("exec", "--outside", "--", "curl", "--silent", "--max-time", "30", f"http://{address}/", check=False)
    assert done.returncode == 7, "curl: failed to connect, at once"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("get", "deploy,svc"), "deployment.apps/web"),
        (("get", "pods", "-l", "app=web", "-o", "wide"), "node-"),
        (("get", "svc/web", "deploy/web"), "service/web"),
        (("get", "pods", "--field-selector", "metadata.name=client", "-o", "name"), "pod/client"),
        (("get", "svc", "web", "-o", "yaml"), "kind: Service"),
        (("get", "svc", "web", "-o", "json"), '"kind": "Service"'),
        (("get", "deploy", "web", "--no-headers"), "web"),
        (("describe", "svc", "web"), "http   80/TCP   8080"),
        (("describe", "pod", "client"), "Started container main"),
        (("describe", "deploy", "web"), "Scaled up replica set"),
        (("describe", "configmap", "kube-root-ca.crt"), "BEGIN CERTIFICATE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_looking(cluster: Cluster, home: str, arguments: tuple[str, ...], expected: str) -> None:
    until(lambda: cluster.mooring(arguments[0], "-n", home, *arguments[1:]).stdout, lambda told: expected in told)


def test_describing_a_node_names_its_pods(cluster: Cluster, home: str) -> None:
    node = cluster.mooring("get", "-n", home, "pod", "client", "-o", "jsonpath={.spec.nodeName}").stdout.strip()
    described = cluster.mooring("describe", "node", node).stdout
    assert "Ready" in described
    assert home in described


def test_what_is_not_there_is_one_line(cluster: Cluster, home: str) -> None:
    done = cluster.mooring("get", "-n", home, "pods", "nobody", check=False)
    assert (done.returncode, done.stderr) == (1, 'mooring: error from server (NotFound): pods "nobody" not found\n')
    done = cluster.mooring("get", "servises", check=False)
    assert done.returncode == 1
    assert "the nearest known is 'services'" in done.stderr
    assert cluster.mooring("get", "-n", home, "ingresses").stderr == f"No resources found in {home} namespace.\n"


def test_watching_shows_what_is_and_then_what_changes(cluster: Cluster, home: str) -> None:
    words = [sys.executable, "-m", "mooring.cli.main", "get", "--data-dir", str(cluster.data_dir), "-n", home]
    watching = subprocess.Popen([*words, "cm", "--watch", "-o", "name"], stdout=subprocess.PIPE, text=True)
    try:
        assert watching.stdout
        assert watching.stdout.readline() == "configmap/kube-root-ca.crt\n"
        cluster.mooring("apply", "-n", home, "-f", "-", stdin="{apiVersion: v1, kind: ConfigMap, metadata: {name: z-new}}")
        while watching.stdout.readline() != "configmap/z-new\n":
            assert watching.poll() is None
    finally:
        watching.kill()
        watching.communicate()


def test_logs_and_their_tail(cluster: Cluster, home: str) -> None:
    pod = cluster.mooring("get", "-n", home, "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}").stdout.strip()

    def logs(*more: str) -> str:
        return cluster.mooring("logs", "-n", home, pod, *more).stdout

    # The last lines of a log that has not grown meanwhile.
    whole, tail, _ = until(lambda: (logs(), logs("--tail", "1"), logs()), lambda told: "8080" in told[0] == told[2])
    assert tail == whole.splitlines(keepends=True)[-1]


def test_exec_passes_streams_and_the_exit_code(cluster: Cluster, home: str) -> None:
    script = "cat; echo to stderr >&2; exit 3"
    done = cluster.mooring("exec", "-i", "-n", home, "client", "--", "sh", "-c", script, stdin="to stdin", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "to stdin", "to stderr\n")


def test_exec_with_a_terminal(cluster: Cluster, home: str) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "mooring.cli.main", "exec", "--data-dir", str(cluster.data_dir), "-n", home]
    process = subprocess.Popen([*words, "-it", "client", "--", "sh"], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, b"test -t 0 && echo $((6 * 7)) answers; exit 5\n")
    seen = b""
    while b"42 answers" not in seen:
        seen += os.read(ours, 1024)
    assert process.wait(timeout=30) == 5
    os.close(ours)


def test_exec_without_such_a_container_says_why(cluster: Cluster, home: str) -> None:
    done = cluster.mooring("exec", "-n", home, "client", "-c", "other", "--", "true", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("mooring: error from server (BadRequest): container other is not valid for pod client")


def test_exec_on_a_node_is_in_its_network(cluster: Cluster) -> None:
    assert "172.30.0.11/24" in cluster.on_node("node-1", "ip", "-brief", "address")
    assert "172.30.0.250/24" in cluster.outside("ip", "-brief", "address")
    done = cluster.mooring("exec", "--node", "node-9", "--", "true", check=False)
    assert (done.returncode, done.stderr) == (1, "mooring: no node 'node-9'; there are node-1, node-2\n")


def test_deleting_waits_and_tells_what_was_missing(cluster: Cluster, namespace: str) -> None:
    manifests = (
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}"
    )
    cluster.mooring("apply", "-n", namespace, "-f", "-", stdin=manifests)
    cluster.mooring("delete", "-n", namespace, "cm/b")
    done = cluster.mooring("delete", "-n", namespace, "-f", "-", stdin=manifests, check=False)
    assert (done.returncode, done.stdout) == (1, "configmap/a deleted\n")
    assert 'configmaps "b" not found' in done.stderr
    assert cluster.mooring("delete", "-n", namespace, "-f", "-", "--ignore-not-found", stdin=manifests).stdout == ""


def test_images_can_be_named(cluster: Cluster) -> None:
    assert "mooring.dev/echo" in cluster.mooring("images", "-o", "name").stdout.split()


def test_status_tells_every_part(cluster: Cluster) -> None:
    found = json.loads(cluster.mooring("status", "-o", "json").stdout)
    assert [part["name"] for part in found["parts"]] == ["supervisor", "apiserver", "controllers", "node-1", "node-2"]
    assert found["healthy"]
