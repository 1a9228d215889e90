"""Does `mooring verify` name what somebody did to a running cluster's tables, and put it right?"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from msgspec import Struct
from scene import until, until_followed

from local_cluster import Cluster

OBJECTS = """
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: verified}}
spec: {containers: [{name: main, image: mooring.dev/echo}]}
---
apiVersion: v1
kind: Service
metadata: {name: verified}
spec: {selector: {app: verified}, ports: [{port: 80, targetPort: 8080}]}
"""


class Verified(Struct):
    """A Service with one endpoint, which every node's kernel knows."""

    namespace: str
    address: str

    def fill(self, text: str) -> str:
        return text.replace("NAMESPACE", self.namespace).replace("ADDRESS", self.address)


def nothing_goes(cluster: Cluster) -> bool:
    """Nor may what is in the namespace of another test go meanwhile; its pods may have been made to linger for minutes."""
    found = json.loads(cluster.kubectl("get", "namespaces", "-o", "json").stdout)["items"]
    left: list[str] = []
    for name in [each["metadata"]["name"] for each in found if each["status"]["phase"] == "Terminating"]:
        cluster.kubectl("delete", "pods", "--all", "-n", name, "--grace-period=0", "--force", "--wait=false", check=False)
        left += cluster.kubectl("get", "pods,services", "-n", name, "-o", "name", check=False).stdout.split()
    return not left


@pytest.fixture(scope="module")
def verified(cluster: Cluster, module_namespace: str) -> Verified:
    cluster.mooring("apply", "-n", module_namespace, "-f", "-", stdin=OBJECTS)
    cluster.kubectl("wait", "-n", module_namespace, "--for=condition=Ready", "pod/server", "--timeout=50s")
    # Another test's range goes ten seconds after it was deleted: not while an agent is paused.
    until(lambda: cluster.kubectl("get", "servicecidrs", "-o", "name").stdout.split(), lambda found: len(found) == 1)
    until(partial(nothing_goes, cluster))
    until_followed(cluster)
    words = ("get", "svc", "verified", "-n", module_namespace, "-o", "jsonpath={.spec.clusterIP}")
    address = cluster.mooring(*words).stdout.strip()
    return Verified(module_namespace, address)


def verify(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return cluster.mooring("verify", *arguments, check=False)


@contextmanager
def paused_agent(cluster: Cluster, node: str) -> Iterator[None]:
    """The node's agent does nothing meanwhile: it would repair the damage itself."""
    parts = json.loads(cluster.mooring("status", "-o", "json").stdout)["parts"]
    [pid] = [part["pid"] for part in parts if part["name"] == node]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def nft(cluster: Cluster, *commands: str) -> None:
    for command in commands:
        cluster.on_node("node-1", "nft", command)


ELEMENTS = {
    "delete element ip mooring cluster-ips { ADDRESS }": (
        "missing: cluster IP ADDRESS (service/verified in NAMESPACE, port of TCP)"
    ),
    "add element ip mooring frontends { ADDRESS . udp . 80 : 0x00000001 }": (
        "foreign: frontend ADDRESS:80/UDP, which is drop of number 0, which no Service has "
        "(the address is service/verified's in NAMESPACE)"
    ),
    "delete element ip mooring frontends { ADDRESS . tcp . 80 }": "",
    "add element ip mooring frontends { ADDRESS . tcp . 80 : 0x00000001 }": (
        "altered: frontend ADDRESS:80/TCP is drop of number 0, which no Service has, and shall be to the cluster "
    ),
    "delete element ip mooring untracked { 10.96.0.10 . udp . 53 }": "missing: untracked address 10.96.0.10:53/UDP",
}
RULES = {
    "flush chain ip mooring refuse": "missing: rule of chain refuse (ip mooring), which shall be",
    "flush chain ip mooring raw-output": ('missing: rule "what it answered" of chain raw-output (ip mooring), which shall be'),
    "delete table ip6 mooring": "missing: table ip6 mooring",
}
"""What is done to a kernel, one after the other, and what is said of it."""


@pytest.mark.parametrize("damage", [pytest.param(ELEMENTS, id="elements"), pytest.param(RULES, id="rules and a table")])
def test_damage_is_named_and_repaired(cluster: Cluster, verified: Verified, damage: dict[str, str]) -> None:
    words = [verified.fill(each) for each in damage.values()]
    with paused_agent(cluster, "node-1"):
        nft(cluster, *map(verified.fill, damage))
        told = verify(cluster)
        assert told.returncode == 1
        assert [] == [each for each in words if each not in told.stdout], told.stdout
        assert "node-2: as wished" in told.stdout
        repaired = verify(cluster, "--repair")
        assert repaired.returncode == 0
        assert [] == [each for each in words if each and f"  repaired: {each}" not in repaired.stdout], repaired.stdout
        again = verify(cluster)
        assert again.returncode == 0 and "node-1: as wished" in again.stdout
    until_followed(cluster)
    assert "server" in cluster.on_node("node-1", "curl", "-s", "-m", "30", f"http://{verified.address}/hostname")


def test_the_report_as_json(cluster: Cluster, verified: Verified) -> None:
    with paused_agent(cluster, "node-1"):
        nft(cluster, f"delete element ip mooring cluster-ips {{ {verified.address} }}")
        [report] = json.loads(verify(cluster, "--node", "node-1", "-o", "json").stdout)["nodes"]
        # What other tests changed meanwhile is told too: the agent is paused.
        ours = [each for each in report["drift"] if verified.address in each["what"]]
        assert [("missing", "ip mooring cluster-ips", f"cluster IP {verified.address}")] == [
            (each["kind"], each["place"], each["what"]) for each in ours
        ]
        verify(cluster, "--repair")


def test_the_agent_repairs_by_itself(cluster: Cluster, verified: Verified) -> None:
    nft(cluster, f"delete element ip mooring cluster-ips {{ {verified.address} }}", "flush chain ip mooring refuse")
    until(lambda: verify(cluster, "--node", "node-1").returncode == 0)


def test_a_node_verifies_itself(cluster: Cluster, verified: Verified) -> None:
    """As on a real node: in its own network, with its own keys."""
    keys = str(Path(cluster.data_dir) / "pki" / "node-1.kubeconfig")
    words = (sys.executable, "-m", "mooring.cli.main", "verify", "--here", "--node", "node-1", "--kubeconfig", keys)
    assert "node-1: as wished" in cluster.on_node("node-1", *words)


def test_what_cannot_be_verified_is_told_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    alone = tmp_path / "kubeconfig"
    alone.write_bytes(cluster.kubeconfig.read_bytes())
    for words, code, message in (
        (("--node", "node-9"), 1, "no node 'node-9'; there are node-1, node-2"),
        (("--here", "--node", "node-9"), 1, "no node 'node-9'; there are node-1, node-2: say --node NODE"),
        (("--frobnicate",), 2, "No such option"),
    ):
        told = verify(cluster, *words)
        assert told.returncode == code
        assert message in told.stderr
    told = subprocess.run(
        (sys.executable, "-m", "mooring.cli.main", "verify", "--kubeconfig", str(alone)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stderr) == (
        2,
        "mooring: only a local cluster's nodes can be reached from here; on a node itself say --here\n",
    )
