"""Do a node's names outlive its DNS workers and its agent?"""

import os
import signal
import time
from collections.abc import Callable

from local_cluster import Cluster
from mooring.edges import cgroups

ASK = """
import socket
name = b"".join(bytes((len(label),)) + label for label in {name!r}.encode().split(b".")) + bytes(1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(5)
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


def rcodes(cluster: Cluster, name: str, count: int = 1, tries: int = 1) -> list[int]:
    """Without an answer within 5 s, after so many tries, the command fails."""
    script = ASK.format(name=name, count=count, tries=tries)
    return [int(word) for word in cluster.on_node("node-1", "python3", "-c", script).split()]


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_names_are_answered_while_workers_and_agent_die_and_come_back(cluster: Cluster) -> None:
    group = cgroups.subtree(cluster.name) / "node-1"
    first = set(cgroups.processes(group / "dns"))
    assert first
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    assert [NOERROR] * 50 == rcodes(cluster, KNOWN, 50)
    until(lambda: len(cgroups.processes(group / "dns")) == len(first))
    second = set(cgroups.processes(group / "dns"))
    assert not first & second
    [agent] = (pid for pid in cgroups.processes(group / "agent"))
    os.kill(agent, signal.SIGKILL)
    assert [NOERROR] * 50 == rcodes(cluster, KNOWN, 50)
    until(lambda: agent not in cgroups.processes(group / "agent") and len(cgroups.processes(group / "agent")) == 1)
    # What only the agent can answer is dropped until it is there: clients ask again.
    assert [REFUSED] == rcodes(cluster, ELSEWHERE, tries=6)
    assert second == set(cgroups.processes(group / "dns"))
