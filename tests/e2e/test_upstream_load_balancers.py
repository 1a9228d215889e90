"""Load balancers on a running cluster, with addresses of the built-in pool: upstream's loadbalancer.go, and 44 and 47 of
service.go. Clients are pods, nodes and the outside, which has a route to the pool by way of the nodes.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scene import SILENCE, Document, Place, Scene, addresses, is_ready, scene, server, service, until, until_equal
from upstream import (
    NODES,
    OUTSIDE,
    TCP_AND_UDP,
    at_nodes,
    balancer,
    everywhere,
    inside,
    lingers,
    node_ports,
    seen_from,
    until_each,
    until_served,
)

from local_cluster import Cluster

BOTH = {"web-1", "web-2"}
WHILE = 50
"""Requests in a row, after which whoever was not met is not met any more."""
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
LOCAL = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
LATER_PORT = 30_001
"""Of the part of the range from which the server does not choose by itself."""


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        made.serve(server("web-1", "web", node="node-1"), server("web-2", "web", node="node-2"))
        yield made


def test_type_and_ports_change_step_by_step_and_everything_else_stays(here: Scene) -> None:
    [cluster_ip] = here.serve(service("steps", "web"))
    spec = here.patch("Service", "steps", {"spec": {"type": "NodePort"}})["spec"]
    first = spec["ports"][0]["nodePort"]
    until_served([here.one, here.outside], [(node, first) for node in NODES], BOTH)

    spec = here.patch("Service", "steps", {"spec": {"type": "LoadBalancer"}})["spec"]
    assert (spec["clusterIP"], spec["ports"][0]["nodePort"]) == (cluster_ip, first)
    address = balancer(here, "steps")
    until_served(everywhere(here), [(address, 80)], BOTH)
    until_served([here.outside], at_nodes(here, "steps"), BOTH)

    here.patch("Service", "steps", {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}})
    assert node_ports(here, "steps") == [first], "a port left out of a list is as it was"
    other = LATER_PORT
    here.patch("Service", "steps", {"spec": {"ports": [{"port": 80, "targetPort": 8080, "nodePort": other}]}})
    until_served([here.one, here.outside], [(node, other) for node in NODES], BOTH)
    until_served([here.one, here.outside], [(node, first) for node in NODES], {"refused"})
    until_served([here.outside], [(address, 80)], BOTH)

    here.patch("Service", "steps", {"spec": {"ports": [{"port": 81, "targetPort": 8080, "nodePort": other}]}})
    assert balancer(here, "steps") == address
    until_served(everywhere(here), [(address, 81)], BOTH)
    until_served([here.outside], [(node, other) for node in NODES], BOTH)

    # Nobody serves: whoever asks is refused; then somebody does again.
    here.patch("Service", "steps", {"spec": {"selector": {"app": "nobody"}}})
    until_served(everywhere(here), [(address, 81), *at_nodes(here, "steps")], {"refused"})
    here.patch("Service", "steps", {"spec": {"selector": {"app": "web"}}})
    until_served(everywhere(here), [(address, 81), *at_nodes(here, "steps")], BOTH)

    made = here.patch("Service", "steps", {"spec": {"type": "ClusterIP", "ports": [{"port": 81, "targetPort": 8080}]}})
    assert (made["spec"]["clusterIP"], made["status"]["loadBalancer"]) == (cluster_ip, {})
    until_served(inside(here), [(cluster_ip, 81)], BOTH)
    until_served([here.one, here.outside], [(node, other) for node in NODES], {"refused"})
    until_each([here.outside], True, lambda place: place.http(address, 81, timeout=SILENCE) not in BOTH)


def test_the_cleanup_finalizer_comes_and_goes_with_the_type(here: Scene) -> None:
    def finalizers() -> list[str]:
        found: list[str] = here.get("Service", "guarded")["metadata"].get("finalizers") or []
        return found

    here.serve(service("guarded", "web", type="LoadBalancer"))
    until_equal([FINALIZER], finalizers)
    here.patch("Service", "guarded", {"spec": {"type": "ClusterIP"}})
    until_equal([], finalizers)
    here.patch("Service", "guarded", {"spec": {"type": "LoadBalancer"}})
    until_equal([FINALIZER], finalizers)
    here.delete("Service", "guarded")
    until(lambda: here.gone("Service", "guarded"))


def test_without_node_ports_the_address_serves_and_node_ports_may_come_later(here: Scene) -> None:
    here.serve(service("portless", "web", type="LoadBalancer", allocateLoadBalancerNodePorts=False))
    assert node_ports(here, "portless") == []
    until_served(everywhere(here), [(balancer(here, "portless"), 80)], BOTH)
    here.patch("Service", "portless", {"spec": {"allocateLoadBalancerNodePorts": True}})
    until_served(everywhere(here), [*at_nodes(here, "portless"), (balancer(here, "portless"), 80)], BOTH)


def test_only_the_source_ranges_come_in_by_the_address_and_everybody_by_other_doors(here: Scene) -> None:
    [cluster_ip] = here.serve(service("ranges", "web", type="LoadBalancer"))
    door = (balancer(here, "ranges"), 80)
    [one] = addresses(here.get("Pod", "one"))

    def allow(ranges: list[str] | None, let_in: set[Place]) -> None:
        here.patch("Service", "ranges", {"spec": {"loadBalancerSourceRanges": ranges}})
        until_served([place for place in everywhere(here) if place in let_in], [door], BOTH)
        until_served([place for place in everywhere(here) if place not in let_in], [door], {"silence"})

    nodes = {here.node_one, here.node_two}
    allow([f"{one}/32", f"{OUTSIDE}/32"], {here.one, here.outside})
    until_served(inside(here), [(cluster_ip, 80)], BOTH)
    until_served(everywhere(here), at_nodes(here, "ranges"), BOTH)
    allow([f"{node}/32" for node in NODES], nodes)
    allow(["192.0.2.0/24"], set())
    allow(["0.0.0.0/0"], set(everywhere(here)))
    allow(None, set(everywhere(here)))


def test_the_policy_local_keeps_the_clients_address_and_to_nodes_that_serve(here: Scene) -> None:
    here.serve(server("alone", "alone", node="node-1"), service("alone", "alone", **LOCAL))
    spec, door = here.get("Service", "alone")["spec"], (balancer(here, "alone"), 80)
    check = spec["healthCheckNodePort"]
    until_each([here.outside], ["200", "503"], lambda place: [place.code(node, check, "/") for node in NODES])
    until_served(everywhere(here), [door], {"alone"})
    assert seen_from(here.outside, door) == OUTSIDE
    # From inside all endpoints are reached, by a short way, on whichever node; pods keep their address.
    assert [seen_from(getattr(here, pod), door) for pod in ("one", "two")] == [
        addresses(here.get("Pod", pod))[0] for pod in ("one", "two")
    ]
    # The endpoint moves to the other node, then is on both.
    here.serve(server("mover", "alone", node="node-2"))
    until_each([here.outside], ["200", "200"], lambda place: [place.code(node, check, "/") for node in NODES])
    until_served(everywhere(here), [door], {"alone", "mover"})
    assert {seen_from(here.outside, door) for _ in range(8)} == {OUTSIDE}
    here.delete("Pod", "alone", grace=0)
    until_each([here.outside], ["503", "200"], lambda place: [place.code(node, check, "/") for node in NODES])
    until_served(everywhere(here), [door], {"mover"})
    here.patch("Service", "alone", {"spec": {"externalTrafficPolicy": "Cluster"}})
    until_each([here.outside], ["refused"] * 2, lambda place: [place.code(node, check, "/") for node in NODES])
    until_served(everywhere(here), [door], {"mover"})
    until(lambda: seen_from(here.outside, door), NODES.__contains__)


def test_a_pending_load_balancer_serves_at_its_cluster_ip(here: Scene) -> None:
    pending = service("pending", "web", type="LoadBalancer", loadBalancerClass="example.com/nobody", ports=TCP_AND_UDP)
    [address] = here.serve(pending)
    until_served(inside(here), [(address, 80)], BOTH)
    until_each(inside(here), BOTH, lambda place: {place.udp(address, timeout=SILENCE) for _ in range(10)})
    assert here.get("Service", "pending")["status"] == {"loadBalancer": {}}


@contextmanager
def asking(place: Place, host: str) -> Iterator[list[str]]:
    """Requests one after the other while the block lasts; what they got."""
    got: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            got.append(place.http(host))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield got
    finally:
        done.set()
        thread.join()


def test_a_rolling_update_loses_no_request_with_either_policy(here: Scene) -> None:
    """Pods go on serving after they are told to end, until nobody has met one for a while."""
    pod = server("", "rolls", **lingers())
    template = {"metadata": {"labels": {"app": "rolls"}}, "spec": pod["spec"]}
    strategy = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 2}}
    spec = {"replicas": 4, "selector": {"matchLabels": {"app": "rolls"}}, "strategy": strategy, "template": template}
    here.create(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "rolls"}, "spec": spec},
        service("rolls-cluster", "rolls", type="LoadBalancer"),
        service("rolls-local", "rolls", **LOCAL),
    )
    until_equal(4, lambda: len(here.endpoints("rolls-cluster")))
    cluster, local = (balancer(here, f"rolls-{policy}") for policy in ("cluster", "local"))
    before = until(lambda: pods(here), lambda found: len(found) == 4)
    until_served([here.outside], [(local, 80)], before)
    until_served([here.one], [(cluster, 80)], before)
    with asking(here.outside, local) as got, asking(here.one, cluster) as got_inside:
        change = {"metadata": {"annotations": {"rolled": "yes"}}}
        here.patch("Deployment", "rolls", {"spec": {"template": change}})
        now = until(lambda: pods(here), lambda found: len(found) == 4 and not found & before)
        until(lambda: min(len(got), len(got_inside)), lambda asked: asked > WHILE)
        until(lambda: {*got[-WHILE:], *got_inside[-WHILE:]}, now.issuperset)
        for each in before:
            here.delete("Pod", each, grace=0)
        asked = len(got), len(got_inside)
        until(lambda: (len(got) - asked[0], len(got_inside) - asked[1]), lambda more: min(more) > WHILE)
    assert [answer for answer in got + got_inside if not answer.startswith("rolls-")] == []


def pods(here: Scene) -> set[str]:
    """Those that are ready and to stay."""
    found = (each for each in here.items("Pod", app="rolls") if "deletionTimestamp" not in each["metadata"])
    return {each["metadata"]["name"] for each in found if is_ready(each)}


def test_the_status_of_a_load_balancer_from_the_first_address_to_its_deletion(here: Scene) -> None:
    """By somebody else's controller: a class that is not ours. Its watcher sees every step."""
    name = "status"
    made = service(name, "", type="LoadBalancer", loadBalancerClass="example.com/other")
    made["metadata"]["labels"] = {"step": "created"}
    [before] = here.create(made)
    assert before["status"] == {"loadBalancer": {}}
    ingress = [{"ip": "203.0.113.1"}]
    patched = here.patch(
        "Service",
        f"{name}/status",
        {"metadata": {"annotations": {"step": "1"}}, "status": {"loadBalancer": {"ingress": ingress}}},
    )
    assert patched["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
    assert patched["metadata"]["annotations"] == {"step": "1"}
    condition = {
        "type": "StatusUpdate",
        "status": "True",
        "reason": "E2E",
        "message": "Set from a test",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    replaced = here.get("Service", name)
    replaced["status"]["conditions"] = [condition]
    replaced["spec"]["ports"][0]["port"] = 99
    put(here, f"{name}/status", replaced)
    after = here.get("Service", f"{name}/status")
    assert (after["status"]["conditions"], after["spec"]["ports"][0]["port"]) == ([condition], 80)
    here.patch("Service", name, {"metadata": {"labels": {"step": "patched"}}})
    here.delete("Service", name)
    assert here.gone("Service", name)
    seen = watched(here, name, before["metadata"]["resourceVersion"])
    assert [(each["type"], each["object"]["metadata"]["labels"]["step"]) for each in seen] == [
        ("MODIFIED", "created"),
        ("MODIFIED", "created"),
        ("MODIFIED", "patched"),
        ("DELETED", "patched"),
    ]


def put(here: Scene, path: str, document: Document) -> None:
    name, _, subresource = path.partition("/")
    words = ("replace", "-n", here.namespace, f"--subresource={subresource}", "-f", "-")
    assert document["metadata"]["name"] == name
    here.cluster.kubectl(*words, stdin=json.dumps(document))


def watched(here: Scene, name: str, since: str) -> list[Document]:
    """Every change of a Service after a revision, from the history, up to its deletion."""
    query = f"watch=1&resourceVersion={since}&fieldSelector=metadata.name={name}&timeoutSeconds=1"
    path = f"/api/v1/namespaces/{here.namespace}/services?{query}"
    return [json.loads(line) for line in here.cluster.kubectl("get", "--raw", path).stdout.splitlines()]
