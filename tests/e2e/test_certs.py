"""Are all certificates of a running cluster exchanged, and does nobody notice?"""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from local_cluster import Cluster

POD = """
{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: main, image: mooring.dev/echo}]}}
"""
CA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
DEADLINE = 60.0


def processes(cluster: Cluster) -> dict[str, int]:
    parts = json.loads(cluster.mooring("status", "-o", "json").stdout)["parts"]
    return {part["name"]: part["pid"] for part in parts}


@contextmanager
def asked_all_the_time(cluster: Cluster) -> Iterator[list[str]]:
    """By kubectl, one process after the other, each with the kubeconfig as it finds it, through to the node's kubelet."""
    stop, failures, done = threading.Event(), [], [0]

    def ask() -> None:
        while not stop.wait(0.1):
            for words in (("get", "pods"), ("exec", "web", "--", "true")):
                answer = cluster.kubectl(*words, check=False)
                done[0] += 1
                if answer.returncode:
                    failures.append(answer.stderr)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield failures
    finally:
        stop.set()
        asking.join()
    assert done[0] > 5


def test_an_authority_is_exchanged_under_a_running_cluster(fresh: Cluster) -> None:
    fresh.up("--nodes", "1")
    fresh.mooring("apply", "-f", "-", stdin=POD)
    fresh.kubectl("wait", "--for=condition=Ready", "pod/web", f"--timeout={DEADLINE:.0f}s")
    before, running = (fresh.data_dir / "pki" / "ca.crt").read_text(), processes(fresh)
    watching = subprocess.Popen(
        ["kubectl", "--kubeconfig", str(fresh.kubeconfig), "get", "configmaps", "--watch-only", "-o", "name"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        with asked_all_the_time(fresh) as failures:
            said = fresh.mooring("certs", "rotate-authority", "--pause", "3").stdout
            fresh.mooring("certs", "rotate-service-account-key")
        assert failures == []
        after = (fresh.data_dir / "pki" / "ca.crt").read_text()
        assert [line[:3] for line in said.splitlines()] == ["1/3", "2/3", "3/3"]
        assert before.strip() not in after
        # pods are told; a watch that began before is still served, and hears of it
        deadline = time.monotonic() + DEADLINE
        while fresh.in_pod("web", "cat", CA) != after:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert watching.poll() is None
        assert watching.stdout.readline() == "configmap/kube-root-ca.crt\n"
    finally:
        watching.kill()
        watching.wait()
    assert processes(fresh) == running
    listed = json.loads(fresh.mooring("certs", "check", "-o", "json").stdout)
    assert {each["authority"] for each in listed} == {"current"}
    fresh.mooring("status")
