"""Does a rolling update of ten pods cost a request? Behind every type and both traffic policies, from inside and outside.

Options: `--rate N`, requests/s to each Service from each place (default 200), and `--updates N` in a row (default 2).

One Deployment of 10 on two nodes stands behind seven Services at once. Every Service gets its rate from a pod and, but for
cluster IPs, from the external client, which takes each node's address in turn where a node port is asked. Every request opens a
connection of its own.
"""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench._cluster import MOORING, Cluster, cluster
from mooring.app.connection import Connection
from mooring.edges.http import kubeconfig

Document = dict[str, Any]

SOURCE = Path(__file__).with_name("_requests.py").read_text()
PATIENCE = 90.0
PODS = 10
SERVICES = {
    "cluster-ip": {"type": "ClusterIP"},
    "cluster-ip-local": {"type": "ClusterIP", "internalTrafficPolicy": "Local"},
    "node-port": {"type": "NodePort"},
    "node-port-local": {"type": "NodePort", "externalTrafficPolicy": "Local"},
    "balancer": {"type": "LoadBalancer"},
    "balancer-local": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
    "affinity": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"},
}
"""name -> what its spec says beside selector and port."""


class Report(Struct):
    """What one place's requests met, by Service, as _requests.py tells it."""

    inside: Document
    outside: Document
    seconds: float
    """How long one update took, on the average."""


def run(options: list[str]) -> dict[str, float | str]:
    """Requests and failures by Service and place. Raises RuntimeError when the update does not end."""

    def option(name: str, default: float) -> float:
        return float(options[options.index(name) + 1]) if name in options else default

    with cluster("rollout") as made:
        report = rollout(made, option("--rate", 200), int(option("--updates", 2)))
    figures: dict[str, float | str] = {"seconds of one update of 10 pods": report.seconds}
    for place, told in (("inside", report.inside), ("outside", report.outside)):
        for name, tally in told.items():
            figures[f"{name}, from {place}: requests"] = tally["requests"]
            figures[f"{name}, from {place}: failed"] = tally["failed"]
            if tally["failures"]:
                figures[f"{name}, from {place}: why"] = json.dumps(tally["failures"])
    return figures


def rollout(made: Cluster, rate: float, updates: int, namespace: str = "default") -> Report:
    """Updates the Deployment so often while requests go on."""
    api = Connection(kubeconfig.load(made.kubeconfig))
    here = f"/api/v1/namespaces/{namespace}"
    _apply(made, namespace, [_deployment(0), *_services(), _client()])
    _until(lambda: _rolled_out(api, namespace), "the pods are not ready")
    _until(lambda: api.get(f"{here}/pods/client")["status"]["phase"] == "Running", "the client does not run")

    def services() -> dict[str, Document]:
        return {name: api.get(f"{here}/services/{name}") for name in SERVICES}

    _until(lambda: all(_ingress(each) for each in services().values() if _is_balancer(each)), "no balancer address")
    found = services()
    nodes = [each["status"]["addresses"][0]["address"] for each in api.get("/api/v1/nodes")["items"]]
    _until(lambda: _followed(made), "the nodes do not follow")
    inside = _requests(made, ["client", "-i", "-n", namespace], rate, {name: _inside(each) for name, each in found.items()})
    outside = _requests(
        made, ["--outside"], rate, {name: where for name, each in found.items() if (where := _outside(each, nodes))}
    )
    begun = time.monotonic()
    for update in range(1, updates + 1):
        _apply(made, namespace, [_deployment(update)])
        _until(lambda: _rolled_out(api, namespace), "the update does not end")
    took = (time.monotonic() - begun) / updates
    return Report(_stop(inside), _stop(outside), took)


def _requests(made: Cluster, where: list[str], rate: float, targets: dict[str, str]) -> "subprocess.Popen[str]":
    words = ["python3", "-u", "-c", SOURCE, str(rate), *(f"{name}={place}" for name, place in targets.items())]
    started = subprocess.Popen(
        [MOORING, "exec", *where, "--", *words],
        env=made.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout
    if not started.stdout.readline():
        raise RuntimeError(f"no requests are sent: {' '.join(where)}")
    return started


def _stop(started: "subprocess.Popen[str]") -> Document:
    """The last tally."""
    said, _ = started.communicate("\n", timeout=PATIENCE)
    told: Document = json.loads(said.splitlines()[-1])
    return told


def _inside(service: Document) -> str:
    return f"{service['spec']['clusterIP']}:80"


def _outside(service: Document, nodes: list[str]) -> str:
    if ip := _ingress(service):
        return f"{ip}:80"
    port = service["spec"]["ports"][0].get("nodePort")
    return ",".join(f"{node}:{port}" for node in nodes) if port else ""


def _ingress(service: Document) -> str:
    return next((each.get("ip", "") for each in service["status"].get("loadBalancer", {}).get("ingress") or ()), "")


def _is_balancer(service: Document) -> bool:
    return bool(service["spec"]["type"] == "LoadBalancer")


def _rolled_out(api: Connection, namespace: str) -> bool:
    found = api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/web")
    status = found.get("status", {})
    return bool(
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("updatedReplicas") == status.get("availableReplicas") == status.get("replicas") == PODS
    )


def _followed(made: Cluster) -> bool:
    """Whether every node's kernel is as the API wishes."""
    return subprocess.run([MOORING, "verify"], env=made.environment, capture_output=True, check=False).returncode == 0


def _until(done: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise RuntimeError(otherwise)
        time.sleep(0.1)


def _apply(made: Cluster, namespace: str, documents: list[Document]) -> None:
    subprocess.run(
        [MOORING, "apply", "-n", namespace, "-f", "-"],
        env=made.environment,
        input="\n---\n".join(map(json.dumps, documents)),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _deployment(version: int) -> Document:
    container = {
        "name": "echo",
        "image": "mooring.dev/echo",
        "env": [{"name": "ECHO_VERSION", "value": str(version)}, {"name": "ECHO_DRAIN", "value": "8"}],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 20, "containers": [container]},
            },
        },
    }


def _services() -> list[Document]:
    common = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {**common, **spec}}
        for name, spec in SERVICES.items()
    ]


def _client() -> Document:
    spec = {"containers": [{"name": "main", "image": "mooring.dev/toolbox"}], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": spec}
