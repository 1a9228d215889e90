"""Do a node's names outlive its DNS workers and its agent?"""

import os
import signal

from scene import until, until_equal

from local_cluster import Cluster
from mooring.edges import cgroups

ASK = """
import socket
name = b"".join(bytes((len(label),)) + label for label in {name!r}.encode().split(b".")) + bytes(1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout({patience})
    client.connect(("10.96.0.10", 53))
    for _ in range({count}):
        for left in reversed(range({tries})):
            client.send(bytes((7, 7, 1, 0, 0, 1)) + bytes(6) + name + bytes((0, 1, 0, 1)))
            try:
                print(client.recv(512)[3] & 15, end=" ")
                break
            except TimeoutError:
                if not left:
                    raise
"""
KNOWN, ELSEWHERE = "kubernetes.default.svc.cluster.local", "example.test"
NOERROR, REFUSED = 0, 5
PATIENCE = 60.0


def rcodes(cluster: Cluster, name: str, count: int = 1, tries: int = 1, patience: float = PATIENCE) -> list[int]:
    """Without an answer within `patience`, after so many tries, the command fails."""
    script = ASK.format(name=name, count=count, tries=tries, patience=patience)
    return [int(word) for word in cluster.on_node("node-1", "python3", "-c", script).split()]


def test_names_are_answered_while_workers_and_agent_die_and_come_back(cluster: Cluster) -> None:
    group = cgroups.subtree(cluster.name) / "node-1"
    first = set(cgroups.processes(group / "dns"))
    assert first
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    assert [NOERROR] * 50 == rcodes(cluster, KNOWN, 50)
    second = until(lambda: {*cgroups.processes(group / "dns")}, lambda found: len(found) == len(first) and not found & first)
    # A worker that the agent starts is in the agent's group for a moment.
    [agent] = until(lambda: [*cgroups.processes(group / "agent")], lambda found: len(found) == 1)
    os.kill(agent, signal.SIGKILL)
    assert [NOERROR] * 50 == rcodes(cluster, KNOWN, 50)
    until(lambda: [*cgroups.processes(group / "agent")], lambda found: len(found) == 1 and agent not in found)
    # What only the agent can answer is dropped until it is there: clients ask again.
    assert [REFUSED] == rcodes(cluster, ELSEWHERE, tries=12, patience=5.0)
    until_equal(second, lambda: {*cgroups.processes(group / "dns")})
