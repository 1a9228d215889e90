"""Does `mooring trace packet` say of a running cluster what its kernel does?"""

import json
import subprocess
from pathlib import Path

import pytest
from scene import until, until_followed

from local_cluster import Cluster

OBJECTS = """
apiVersion: v1
kind: Pod
metadata: {{name: server, labels: {{app: traced}}}}
spec: {{nodeName: node-2, containers: [{{name: main, image: mooring.dev/echo}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: client}}
spec: {{nodeName: node-1, containers: [{{name: main, image: mooring.dev/toolbox}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: traced}}
spec: {{selector: {{app: traced}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: outer}}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  sessionAffinity: ClientIP
  selector: {{app: traced}}
  ports: [{{name: web, port: 80, targetPort: 8080}}, {{name: echo, port: 81, protocol: UDP, targetPort: 8080}}]
---
apiVersion: v1
kind: Service
metadata: {{name: empty}}
spec: {{selector: {{app: nobody}}, ports: [{{port: 80}}]}}
"""


@pytest.fixture(scope="module")
def traced(cluster: Cluster, module_namespace: str) -> str:
    cluster.mooring("apply", "-n", module_namespace, "-f", "-", stdin=OBJECTS.format())
    cluster.kubectl("wait", "-n", module_namespace, "--for=condition=Ready", "pod/server", "pod/client", "--timeout=50s")
    until(lambda: ready_endpoints(cluster, module_namespace), lambda found: {"traced", "outer"} <= found)
    until_followed(cluster)
    return module_namespace


def ready_endpoints(cluster: Cluster, namespace: str) -> set[str]:
    """The Services that have one."""
    slices = json.loads(cluster.kubectl("get", "endpointslices", "-n", namespace, "-o", "json").stdout)["items"]
    ready = (each for each in slices if any(endpoint["conditions"]["ready"] for endpoint in each["endpoints"] or ()))
    return {each["metadata"]["labels"]["kubernetes.io/service-name"] for each in ready}


def test_a_traced_packet_names_its_endpoint_and_each_reason(cluster: Cluster, traced: str) -> None:
    server = json.loads(cluster.mooring("get", "pod", "server", "-n", traced, "-o", "json").stdout)["status"]["podIP"]
    told = cluster.mooring("trace", "packet", "traced:80", "--from", "client", "-n", traced)
    assert "FORWARD" in told.stdout
    assert f"100.0%  {server}:8080" in told.stdout
    assert f"service/traced in {traced}: spec.clusterIPs" in told.stdout
    seen = cluster.in_pod("client", "curl", "-s", "-m", "30", f"http://traced.{traced}/hostname", namespace=traced)
    assert seen == "server"


def test_a_question_for_a_name_passes_since_the_node_answers_it(cluster: Cluster, traced: str) -> None:
    told = cluster.mooring("trace", "packet", "10.96.0.10:53/udp", "--from", "client", "-n", traced).stdout
    assert "PASS" in told
    assert "this node answers here itself, and conntrack is not asked" in told
    assert "node/node-1: cluster-dns 10.96.0.10" in told


def test_a_refused_packet_says_why_and_exits_1(cluster: Cluster, traced: str) -> None:
    told = cluster.mooring("trace", "packet", "empty:80", "--from", "node/node-1", "-n", traced, check=False)
    assert told.returncode == 1
    assert "REJECT" in told.stdout and "no usable endpoint" in told.stdout


def live(cluster: Cluster, namespace: str, source: str, target: str) -> subprocess.CompletedProcess[str]:
    return cluster.mooring("trace", "packet", target, "--from", source, "-n", namespace, "--live", check=False)


@pytest.mark.parametrize(
    ("source", "target", "outcome"),
    [
        pytest.param("client", "traced:80", "forward", id="a pod to a cluster IP"),
        pytest.param("node/node-1", "traced:80", "forward", id="a node to a cluster IP"),
        pytest.param("client", "node-1:{web}", "forward", id="a pod to its own node's port"),
        pytest.param("client", "node-2:{web}", "forward", id="a pod to another node's port"),
        pytest.param("node/node-1", "node-2:{echo}/udp", "forward", id="a node's datagram to another node's port"),
        pytest.param("outside", "node-2:{web}", "forward", id="the outside to a node with an endpoint"),
        pytest.param("outside", "node-1:{web}", "drop", id="the outside to a node without one"),
        pytest.param("client", "empty:80", "reject", id="a Service without endpoints"),
        pytest.param("node/node-2", "traced:80/udp", "reject", id="another protocol, from a node"),
        pytest.param("client", "10.96.255.254:80", "drop", id="nobody's cluster IP"),
        pytest.param("client", "pod/server:8080", "pass", id="straight to a pod"),
        pytest.param("client", "10.96.0.10:53", "pass", id="to the node's own name server"),
        pytest.param("client", "10.96.0.10:53/udp", "pass", id="a datagram to the node's own name server"),
        pytest.param("node/node-1", "10.96.0.10:53/udp", "pass", id="the node's datagram to its own name server"),
    ],
)
def test_the_kernel_does_what_is_foreseen(cluster: Cluster, traced: str, source: str, target: str, outcome: str) -> None:
    outer = json.loads(cluster.mooring("get", "svc", "outer", "-n", traced, "-o", "json").stdout)
    told = live(cluster, traced, source, target.format(**{each["name"]: each["nodePort"] for each in outer["spec"]["ports"]}))
    assert told.stdout.endswith("The kernel did what was foreseen.\n"), told.stdout + told.stderr
    assert outcome.upper() in told.stdout.splitlines()
    assert told.returncode == (0 if outcome in ("forward", "pass") else 1)
    for node in ("node-1", "node-2"):
        assert "mrg-trace" not in cluster.on_node(node, "nft", "list", "tables")


def test_a_probe_that_affinity_remembers_says_so(cluster: Cluster, traced: str) -> None:
    outer = json.loads(cluster.mooring("get", "svc", "outer", "-n", traced, "-o", "json").stdout)
    told = live(cluster, traced, "client", f"{outer['spec']['clusterIP']}:80")
    assert "for 10800 s from now that client goes to" in told.stdout


def test_a_kernel_that_does_otherwise_is_told_loudly(cluster: Cluster, traced: str) -> None:
    """A table of somebody else's drops the packet, which no agent may put right."""
    address = cluster.mooring("get", "svc", "traced", "-n", traced, "-o", "jsonpath={.spec.clusterIP}").stdout.strip()
    cluster.on_node(
        "node-1", "nft", "add table ip theirs; add chain ip theirs pre { type filter hook prerouting priority -200; }"
    )
    try:
        cluster.on_node("node-1", "nft", f"add rule ip theirs pre ip daddr {address} drop")
        told = live(cluster, traced, "client", "traced:80")
        assert told.returncode == 1
        assert "  pre (ip theirs): rule" in told.stdout
        assert "DIFFERENT!  node-1: foreseen forward, but the kernel did drop" in told.stdout
    finally:
        cluster.on_node("node-1", "nft", "delete table ip theirs")


def test_a_probe_without_a_way_says_which_is_missing(cluster: Cluster, traced: str) -> None:
    told = live(cluster, traced, "outside", "traced:80")
    assert told.returncode == 1
    assert "outside has no route to" in told.stderr
    assert "ip route replace" in told.stderr


def test_only_a_local_cluster_can_be_probed(cluster: Cluster, traced: str, tmp_path: Path) -> None:
    alone = tmp_path / "kubeconfig"
    alone.write_bytes(cluster.kubeconfig.read_bytes())
    words = ("trace", "packet", "traced:80", "--from", "client", "-n", traced, "--kubeconfig", str(alone))
    assert "FORWARD" in cluster.cold(*words).stdout
    probed = cluster.cold(*words, "--live", check=False)
    assert probed.returncode == 1
    assert "no local cluster" in probed.stderr


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
