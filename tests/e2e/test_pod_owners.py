"""StatefulSets, DaemonSets and Jobs on a running cluster, driven by the stock kubectl."""

from collections.abc import Iterator

import pytest
from scene import Document, Scene, scene, until_equal

from local_cluster import Cluster

WEB, EACH = {"app": "web"}, {"app": "each"}
AT_ONCE = [{"name": "ECHO_DRAIN", "value": "0"}]
ECHO = {"containers": [{"name": "echo", "image": "mooring.dev/echo:1", "env": AT_ONCE}]}


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        yield made


def owner(version: str, kind: str, name: str, **spec: object) -> Document:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def kubectl(here: Scene, *words: str) -> str:
    return here.cluster.kubectl("-n", here.namespace, *words).stdout


def rolled_out(here: Scene, name: str) -> None:
    kubectl(here, "rollout", "status", name, "--timeout=60s")


def history(here: Scene, name: str) -> list[str]:
    return [line.split()[0] for line in kubectl(here, "rollout", "history", name).splitlines() if line[:1].isdigit()]


def deleted(here: Scene) -> list[str]:
    """What the StatefulSet's Events say of deletions, in their order."""
    about = [each for each in here.items("Event") if each["involvedObject"]["kind"] == "StatefulSet"]
    about.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))
    return [each["message"].partition(" in ")[0] for each in about if each["reason"] == "SuccessfulDelete"]


def test_a_stateful_sets_names_outlive_its_pods_and_updates_keep_the_order(here: Scene) -> None:
    pods = {"selector": {"matchLabels": WEB}, "template": {"metadata": {"labels": WEB}, "spec": ECHO}}
    headless = owner("v1", "Service", "peers", clusterIP="None", selector=WEB, ports=[{"port": 8080}])
    here.create(headless, owner("apps/v1", "StatefulSet", "web", serviceName="peers", replicas=2, **pods))
    rolled_out(here, "sts/web")
    for number in (0, 1):
        name = f"web-{number}.peers.{here.namespace}.svc.cluster.local"
        until_equal(f"web-{number}", lambda name=name: here.one.http(name, 8080))
    kubectl(here, "set", "image", "sts/web", "echo=mooring.dev/echo:2")
    rolled_out(here, "sts/web")
    until_equal(["delete Pod web-1", "delete Pod web-0"], lambda: deleted(here))
    for number in (0, 1):
        until_equal(f"web-{number}", lambda number=number: here.one.http(f"web-{number}.peers", 8080))
    assert ["1", "2"] == history(here, "sts/web")
    assert "skipped rollback" in kubectl(here, "rollout", "undo", "sts/web", "--to-revision=2")
    kubectl(here, "scale", "sts/web", "--replicas=1")
    until_equal(["web-0"], lambda: [each["metadata"]["name"] for each in here.items("Pod", **WEB)])
    until_equal((1, 1), lambda: tuple(here.get("StatefulSet", "web")["status"][name] for name in ("replicas", "readyReplicas")))


def test_a_daemon_set_is_on_every_node_and_rolls(here: Scene) -> None:
    pods = {"selector": {"matchLabels": EACH}, "template": {"metadata": {"labels": EACH}, "spec": ECHO}}
    at_once = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}}
    here.create(owner("apps/v1", "DaemonSet", "each", updateStrategy=at_once, **pods))
    rolled_out(here, "ds/each")
    nodes = {each["metadata"]["name"] for each in here.items("Node")}
    assert nodes == {each["spec"]["nodeName"] for each in here.items("Pod", **EACH)}
    kubectl(here, "rollout", "restart", "ds/each")
    rolled_out(here, "ds/each")
    kubectl(here, "rollout", "undo", "ds/each")
    rolled_out(here, "ds/each")
    until_equal({None}, lambda: {each["metadata"].get("annotations") for each in here.items("Pod", **EACH)})
    assert ["2", "3"] == history(here, "ds/each")


def test_jobs_run_to_their_end(here: Scene) -> None:
    command = ["sh", "-c", 'test "$JOB_COMPLETION_INDEX" != 1']
    pods = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox", "command": command}]}}
    indexed = {"completionMode": "Indexed", "completions": 3, "parallelism": 3, "backoffLimitPerIndex": 0}
    here.create(owner("batch/v1", "Job", "each", template=pods, **indexed))
    kubectl(here, "create", "job", "one", "--image=busybox", "--", "sh", "-c", "echo done")
    kubectl(here, "wait", "--for=condition=complete", "job/one", "--timeout=60s")
    assert "done" == kubectl(here, "logs", "job/one").strip()
    kubectl(here, "wait", "--for=condition=failed", "job/each", "--timeout=60s")
    status = here.get("Job", "each")["status"]
    assert ("0,2", "1", 2, 1) == tuple(status[name] for name in ("completedIndexes", "failedIndexes", "succeeded", "failed"))
    shown = [line.split()[:3] for line in kubectl(here, "get", "jobs", "--no-headers").splitlines()]
    assert [["each", "Failed", "2/3"], ["one", "Complete", "1/1"]] == shown
    kubectl(here, "delete", "jobs", "--all", "--timeout=60s")
    until_equal([], lambda: here.items("Pod", **{"batch.kubernetes.io/job-name": "each"}))
