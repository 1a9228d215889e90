"""The built-in address pool and the way from outside, on a dual-stack cluster whose pool is soon full: who gets which
address, what is said when there is none, and what open connections live through.
"""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from scene import Document, Scene, scene, server, service, until, until_equal
from upstream import answers, node_ports, seen_from, until_served

from local_cluster import Cluster
from mooring.edges.netlink import namespaces

FIRST, LAST, SIX = "172.30.1.9", "172.30.1.10", "fd00:172:30:1::1"
POOL = f"172.30.1.8/30,{SIX}-{SIX}"
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
BOTH = {"web-1", "web-2"}
OUTSIDE = {4: "172.30.0.250", 6: "[fd00:172:30::250]"}
NODES = {4: {"172.30.0.11", "172.30.0.12"}, 6: {"[fd00:172:30::11]", "[fd00:172:30::12]"}}
LINES = 8081
"""The echo's port for lines: one comes back for each, until somebody ends the connection."""
PATIENCE = 30.0


@pytest.fixture(scope="module")
def shared(dual: Cluster) -> Iterator[Scene]:
    with scene(dual) as made:
        made.serve(server("web-1", "web", node="node-1"), server("web-2", "web", node="node-2"))
        yield made


@pytest.fixture
def here(shared: Scene) -> Iterator[Scene]:
    """The scene, whose pool is all free again afterwards."""
    yield shared
    for each in shared.items("Service"):
        shared.delete("Service", each["metadata"]["name"])
    until_equal([], lambda: shared.items("Service"))


def balanced(name: str, app: str = "web", **spec: object) -> Document:
    return service(name, app, **{"type": "LoadBalancer", **spec})


def addresses(here: Scene, name: str) -> list[str]:
    return [each["ip"] for each in here.get("Service", name)["status"]["loadBalancer"].get("ingress", ())]


def conditions(here: Scene, name: str) -> list[tuple[str, str]]:
    return [(each["status"], each["message"]) for each in here.get("Service", name)["status"].get("conditions", ())]


def external(here: Scene) -> dict[str, str]:
    """EXTERNAL-IP of `mooring get`, by name."""
    rows = here.cluster.mooring("get", "svc", "-n", here.namespace).stdout.splitlines()[1:]
    return {row.split()[0]: row.split()[3] for row in rows}


def events(here: Scene, name: str) -> list[tuple[str, str]]:
    """(reason, message) of what the service controller says of a Service."""
    fields = f"involvedObject.kind=Service,involvedObject.name={name}"
    words = ("get", "events", "-n", here.namespace, "--field-selector", fields, "-o", "json")
    found = json.loads(here.cluster.kubectl(*words).stdout)["items"]
    return [(each["reason"], each["message"]) for each in found if each["source"]["component"] == "service-controller"]


def test_addresses_are_given_lowest_first_shown_and_given_again_once_they_are_free(here: Scene) -> None:
    here.create(balanced("a"))
    until_equal([FIRST], lambda: addresses(here, "a"))
    here.create(
        balanced("b", ipFamilyPolicy="RequireDualStack"),
        balanced("theirs", loadBalancerClass="example.com/other"),
        service("inside", "web"),
    )
    until_equal([LAST, SIX], lambda: addresses(here, "b"))
    shown = {"a": FIRST, "b": f"{LAST},{SIX}", "theirs": "<pending>", "inside": "<none>"}
    until_equal(shown, lambda: external(here))
    until_equal({"EnsuringLoadBalancer", "EnsuredLoadBalancer"}, lambda: {reason for reason, _ in events(here, "b")})
    here.delete("Service", "a")
    until(lambda: here.gone("Service", "a"))
    here.create(balanced("c"))
    until_equal([FIRST], lambda: addresses(here, "c"))
    assert addresses(here, "b") == [LAST, SIX]


def test_a_full_pool_is_told_and_whoever_waits_gets_the_next_free_address(here: Scene) -> None:
    full = "no free address in 172.30.1.8/30; 2 in use"
    for name in ("a", "b"):
        here.create(balanced(name))
        until(lambda name=name: addresses(here, name))
    here.create(balanced("late"), balanced("choosy", loadBalancerIP=LAST), balanced("lost", loadBalancerIP="192.0.2.1"))
    said = {
        "late": full,
        "choosy": f"spec.loadBalancerIP: {LAST} is taken by service {here.namespace}/b",
        "lost": "spec.loadBalancerIP: 192.0.2.1 is not in the pool (172.30.1.8/30)",
    }
    for name, words in said.items():
        failed = ("SyncLoadBalancerFailed", f"Error syncing load balancer: failed to ensure load balancer: {words}")
        until(lambda name=name: events(here, name), lambda found, failed=failed: failed in found)
        until_equal([("False", words)], lambda name=name: conditions(here, name))
    assert dict.fromkeys(said, "<pending>") == {name: address for name, address in external(here).items() if name in said}
    here.patch("Service", "b", {"spec": {"type": "ClusterIP"}})
    until_equal(([], [LAST]), lambda: (addresses(here, "late"), addresses(here, "choosy")))
    here.delete("Service", "a")
    until_equal([FIRST], lambda: addresses(here, "late"))


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_the_outside_reaches_the_pods_and_keeps_its_address_with_local(here: Scene, policy: str, version: int) -> None:
    here.create(balanced("web", ipFamilies=[f"IPv{version}"], externalTrafficPolicy=policy))
    [address] = until(lambda: addresses(here, "web"))
    until_served([here.outside, here.one, here.node_two], [(address, 80)], BOTH)
    seen = {seen_from(here.outside, (address, 80)) for _ in range(12)}
    assert seen == {OUTSIDE[version]} if policy == "Local" else seen <= NODES[version]


def test_node_ports_and_external_ips_from_outside(here: Scene) -> None:
    external_ips = ["203.0.113.7", "fd00:203::7"]
    here.create(service("web", "web", type="NodePort", ipFamilyPolicy="RequireDualStack", externalIPs=external_ips))
    [port] = node_ports(here, "web")
    at_nodes = [(node.strip("[]"), port) for family in NODES.values() for node in sorted(family)]
    until_served([here.outside, here.one], [*at_nodes, *((address, 80) for address in external_ips)], BOTH)
    here.patch("Service", "web", {"spec": {"externalIPs": external_ips[1:]}})
    until_equal("unreachable", lambda: here.outside.http(external_ips[0]))
    assert answers(here.outside, (external_ips[1], 80)) <= BOTH


def test_a_change_of_type_leaves_no_trace_and_no_way_from_outside(here: Scene) -> None:
    here.create(balanced("web"))
    until_served([here.outside], [(FIRST, 80)], BOTH)
    made = here.get("Service", "web")
    assert (made["metadata"]["finalizers"], made["metadata"]["annotations"]["mooring.dev/load-balancer"]) == (
        [FINALIZER],
        "pool",
    )
    here.patch("Service", "web", {"spec": {"type": "ClusterIP"}})

    def left() -> tuple[Document, object, object]:
        found = here.get("Service", "web")
        return found["status"], found["metadata"].get("finalizers"), found["metadata"].get("annotations")

    until_equal(({"loadBalancer": {}}, None, None), left)
    until_equal("unreachable", lambda: here.outside.http(FIRST))
    until(lambda: "DeletedLoadBalancer" in {reason for reason, _ in events(here, "web")})


class Line:
    """A connection from outside that stays open."""

    def __init__(self, cluster: Cluster, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = namespaces.open_socket(f"mrg-{cluster.name}-outside", family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((address, port))

    def ask(self) -> str:
        """The pod at the other end."""
        self.socket.sendall(b"still there?\n")
        answer = b""
        while not answer.endswith(b"\n"):
            received = self.socket.recv(1024)
            assert received, "the connection was ended"
            answer += received
        return answer.decode().split(" ")[0]


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_open_connections_live_on_while_nodes_and_addresses_come_and_go(here: Scene, version: int) -> None:
    ports = ({"name": "http", "port": 80, "targetPort": 8080}, {"name": "lines", "port": 81, "targetPort": LINES})
    app = f"long-{version}"
    here.serve(server(f"{app}-1", app, node="node-1"))
    here.create(balanced(app, app, ports=ports, ipFamilies=[f"IPv{version}"], externalTrafficPolicy="Local"))
    [address] = until(lambda: addresses(here, app))
    until_served([here.outside], [(address, 80)], {f"{app}-1"})
    with ExitStack() as left:
        lines: dict[str, list[Line]] = {f"{app}-1": [], f"{app}-2": []}

        def open_some(count: int) -> None:
            for _ in range(count):
                line = Line(here.cluster, address, 81)
                left.callback(line.socket.close)
                lines[line.ask()].append(line)

        def live_on(*pods: str) -> None:
            assert {pod: [pod] * len(lines[pod]) for pod in pods} == {pod: [line.ask() for line in lines[pod]] for pod in pods}

        def changed(spec: Document, doors: set[str]) -> None:
            here.patch("Service", app, {"spec": spec})
            until_equal(doors, lambda: {here.outside.http(address) for _ in range(6)})
            live_on(f"{app}-1", f"{app}-2")

        both = {f"{app}-1", f"{app}-2"}
        open_some(10)
        here.serve(server(f"{app}-2", app, node="node-2"))
        until_served([here.outside], [(address, 80)], both)
        live_on(f"{app}-1")
        until(lambda: open_some(5) or len(lines[f"{app}-2"]), lambda count: count > 5)
        changed({"externalTrafficPolicy": "Cluster"}, both)
        until(lambda: open_some(5) or len(lines[f"{app}-2"]), lambda count: count > 10)
        changed({"externalTrafficPolicy": "Local"}, both)
        changed({"type": "ClusterIP"}, {"unreachable"})
        changed({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}, both)
        here.delete("Pod", f"{app}-2", grace=0)
        until_served([here.outside], [(address, 80)], {f"{app}-1"})
        live_on(f"{app}-1")


def test_controllers_that_die_twice_in_the_middle_of_it_give_no_address_twice(here: Scene) -> None:
    def kill() -> Callable[[], object]:
        killed = until(lambda: here.cluster.pid("controllers"))
        os.kill(killed, signal.SIGKILL)
        return lambda: here.cluster.pid("controllers") not in (0, killed)

    here.create(*(balanced(f"s-{number}") for number in range(2)))
    back = kill()
    here.create(*(balanced(f"s-{number}") for number in range(2, 5)))
    until(back)
    back = kill()
    here.delete("Service", "s-0")
    here.patch("Service", "s-1", {"spec": {"type": "ClusterIP"}})
    until(back)

    def settled() -> tuple[bool, list[str], list[str]]:
        """Whether the deleted one is gone, the addresses given, and what is left at the one that changed."""
        found = here.items("Service")
        given = [each["ip"] for one in found for each in one["status"]["loadBalancer"].get("ingress", ())]
        return here.gone("Service", "s-0"), sorted(given), here.get("Service", "s-1")["metadata"].get("finalizers") or []

    until_equal((True, sorted([FIRST, LAST]), []), settled)


def test_nodes_have_the_zones_in_turn(dual: Cluster) -> None:
    nodes = json.loads(dual.kubectl("get", "nodes", "-o", "json").stdout)["items"]
    zones = {each["metadata"]["name"]: each["metadata"]["labels"]["topology.kubernetes.io/zone"] for each in nodes}
    assert zones == {"node-1": "zone-1", "node-2": "zone-2"}
