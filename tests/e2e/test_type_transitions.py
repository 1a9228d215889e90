"""Does a change of type, or a pod's end, cost anyone a request on a running cluster? Clients never stop asking meanwhile: on
connections they keep from every door, and by new ones at the doors there are.
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from scene import Scene, addresses, scene, server, service, until, until_equal
from upstream import Door, at_nodes, balancer, lingers, together, until_served

from local_cluster import Cluster, kubectl

BOTH = {"web-1", "web-2"}
ROUNDS = 3
"""How often everything is asked at least, in each state."""


class Steady:
    """A client in a place, as steady.py says. `inside`: it can reach cluster IPs."""

    def __init__(self, words: Sequence[str], inside: bool) -> None:
        source = Path(__file__).with_name("steady.py").read_text()
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([*words, "python3", "-u", "-c", source], **pipes)
        self.inside = inside
        self.kept = 0

    def told(self, **order: object) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def goes_on(self, keep: Sequence[Door], doors: Sequence[Door]) -> list[str]:
        """Keeps more connections, opens new ones at `doors` alone from now on; what failed since it was told last."""
        self.kept += len(keep)
        failed: list[str] = self.told(keep=keep, open=doors)["failed"]
        return failed

    def asks_enough(self, doors: Sequence[Door]) -> list[str]:
        """What fails until everything has been asked a few times."""
        failed: list[str] = []
        asked = 0

        def told() -> int:
            nonlocal asked
            answer = self.told(keep=[], open=doors)
            asked += answer["asked"]
            failed.extend(answer["failed"])
            return asked

        until(told, lambda asked: failed or asked >= ROUNDS * (self.kept + len(doors)))
        return failed


@contextmanager
def steady(here: Scene) -> Iterator[dict[str, Steady]]:
    """One client in a pod, one on a node, one outside."""
    cluster = here.cluster
    in_pod = [kubectl(), "--kubeconfig", str(cluster.kubeconfig), "exec", "-i", "-n", here.namespace, "one", "--"]
    with ExitStack() as left:
        made = {
            "a pod": Steady(in_pod, True),
            "a node": Steady(cluster.within("node-2"), True),
            "the outside": Steady(cluster.within("outside"), False),
        }
        for each in made.values():
            left.callback(each.process.communicate)
            left.callback(each.process.kill)
        yield made


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        yield made


class Moving:
    """The Service, its doors as they come and go, and the clients that go through them."""

    def __init__(self, here: Scene, clients: dict[str, Steady]) -> None:
        self.here, self.clients = here, clients
        self.doors: dict[str, list[Door]] = {"ClusterIP": [], "NodePort": [], "LoadBalancer": []}

    def becomes(self, change: dict[str, object], closes: Sequence[str] = (), opens: Sequence[str] = ()) -> None:
        """Patches it. New connections end at doors that are to close before, and begin at those that open once they serve."""
        for each in closes:
            self.doors[each] = []
        self.everyone(lambda client: client.goes_on((), self.seen_by(client)))
        patch = ("patch", "service", "moving", "-n", self.here.namespace, "--type=merge", "-p", json.dumps({"spec": change}))
        self.here.cluster.kubectl(*patch)
        for each in opens:
            self.doors[each] = self.found(each)
            outside = [] if each == "ClusterIP" else [self.here.outside]
            until_served([self.here.two, self.here.node_one, *outside], self.doors[each], BOTH)
        new = [door for each in opens for door in self.doors[each] * 2]
        self.everyone(
            lambda client: client.goes_on([each for each in new if each in self.seen_by(client)], self.seen_by(client))
        )
        self.everyone(lambda client: client.asks_enough(self.seen_by(client)))

    def everyone(self, does: Callable[[Steady], list[str]]) -> None:
        """All clients at once, none of which had a request that failed."""
        failed = together(lambda client=client: does(client) for client in self.clients.values())
        assert {name: [] for name in self.clients} == dict(zip(self.clients, failed, strict=True))

    def seen_by(self, client: Steady) -> list[Door]:
        return [door for kind, doors in self.doors.items() for door in doors if client.inside or kind != "ClusterIP"]

    def found(self, kind: str) -> list[Door]:
        match kind:
            case "ClusterIP":
                return [(self.here.get("Service", "moving")["spec"]["clusterIP"], 80)]
            case "NodePort":
                return at_nodes(self.here, "moving")
        return [(balancer(self.here, "moving"), 80)]


def test_no_request_fails_while_a_service_goes_through_all_types(here: Scene) -> None:
    here.serve(server("web-1", "web", node="node-1"), server("web-2", "web", node="node-2"), service("moving", "web"))
    with steady(here) as clients:
        moving = Moving(here, clients)
        moving.becomes({"type": "ClusterIP"}, opens=["ClusterIP"])
        moving.becomes({"type": "NodePort"}, opens=["NodePort"])
        moving.becomes({"type": "LoadBalancer"}, opens=["LoadBalancer"])
        moving.becomes({"type": "NodePort"}, closes=["LoadBalancer"])
        moving.becomes({"type": "ClusterIP"}, closes=["NodePort"])
        moving.becomes({"type": "ExternalName", "externalName": "www.example.com"}, closes=["ClusterIP"])
        moving.becomes({"type": "ClusterIP", "externalName": None}, opens=["ClusterIP"])
        # Each client still has every connection it ever opened: two for each door.
        assert {"a pod": 10, "a node": 10, "the outside": 6} == {name: client.kept for name, client in clients.items()}


def test_a_long_request_ends_well_though_its_pod_is_deleted_meanwhile(here: Scene) -> None:
    """The request is long because its client takes until then to send the last octet."""
    here.serve(server("old", "slow", node="node-1", **lingers()), service("slow", "slow", type="NodePort"))
    here.create(server("new", "slow", node="node-2", env={"READY": "off"}))
    new = addresses(until(lambda: here.get("Pod", "new"), lambda pod: pod["status"].get("podIPs")))[0]
    doors = [(here.get("Service", "slow")["spec"]["clusterIP"], 80), *at_nodes(here, "slow")]
    inside = [here.two, here.node_one]

    def served_by(pod: str) -> None:
        until_served(inside, doors, {pod})
        until_served([here.outside], doors[1:], {pod})

    served_by("old")
    with steady(here) as clients:
        for client in clients.values():
            assert client.goes_on(doors if client.inside else doors[1:], ()) == []
            assert client.told(begin="/")["begun"] == client.kept
        until_equal("ready on", lambda: here.one.http(new, 8080, "/ready?state=on"))
        here.delete("Pod", "old")
        served_by("new")
        for name, client in clients.items():
            assert client.told(waiting=True)["waiting"] == client.kept, f"{name}: the old pod was still at it"
        for name, client in clients.items():
            found = client.told(finish=True)["answers"]
            assert [("old", "old")] * client.kept == [(pod, answer.split(" ")[0]) for pod, answer in found], name
    here.delete("Pod", "old", grace=0)
