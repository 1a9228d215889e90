"""Does `mooring trace packet` say of a running cluster what its kernel does?"""

import json

import pytest

from local_cluster import Cluster

OBJECTS = """
apiVersion: v1
kind: Pod
metadata: {{name: server, labels: {{app: traced}}}}
spec: {{containers: [{{name: main, image: mooring.dev/echo}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: client}}
spec: {{containers: [{{name: main, image: mooring.dev/toolbox}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: traced}}
spec: {{selector: {{app: traced}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: empty}}
spec: {{selector: {{app: nobody}}, ports: [{{port: 80}}]}}
"""


@pytest.fixture
def traced(cluster: Cluster, namespace: str) -> str:
    cluster.mooring("apply", "-n", namespace, "-f", "-", stdin=OBJECTS.format())
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/server", "pod/client", "--timeout=50s")
    return namespace


def test_a_traced_packet_names_its_endpoint_and_each_reason(cluster: Cluster, traced: str) -> None:
    server = json.loads(cluster.mooring("get", "pod", "server", "-n", traced, "-o", "json").stdout)["status"]["podIP"]
    told = cluster.mooring("trace", "packet", "traced:80", "--from", "client", "-n", traced)
    assert "FORWARD" in told.stdout
    assert f"100.0%  {server}:8080" in told.stdout
    assert f"service/traced in {traced}: spec.clusterIPs" in told.stdout
    seen = cluster.in_pod("client", "curl", "-s", "-m", "5", f"http://traced.{traced}/hostname", namespace=traced)
    assert seen == "server"


def test_a_refused_packet_says_why_and_exits_1(cluster: Cluster, traced: str) -> None:
    told = cluster.mooring("trace", "packet", "empty:80", "--from", "node/node-1", "-n", traced, check=False)
    assert told.returncode == 1
    assert "REJECT" in told.stdout and "no usable endpoint" in told.stdout


def test_what_cannot_be_traced_is_told_in_one_line(cluster: Cluster) -> None:
    for words, message in (
        (("traced", "--from", "client"), "no destination"),
        (("nothing:80", "--from", "node/node-1"), "neither an address nor a Service"),
        (("10.96.0.1:443", "--from", "node/none"), "no node 'none'"),
        (("10.96.0.1:443", "--from", "ghost"), "no pod 'ghost'"),
    ):
        told = cluster.mooring("trace", "packet", *words, check=False)
        assert told.returncode in (1, 2)
        assert message in told.stderr and told.stderr.count("\n") <= 2
