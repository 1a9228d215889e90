"""Pods that end while they serve, at every door: upstream's service.go 22, 23, 37, 40 and 41 on a running cluster. Cluster IPs
(21, 38, 39) are in test_services.py.
"""

import json
from collections.abc import Iterator

import pytest
from scene import Scene, scene, server, service, until, until_equal
from upstream import NODES, at_nodes, deleting, everywhere, inside, lingers, until_each, until_served

from local_cluster import Cluster


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        yield made


def test_a_terminating_and_unready_pod_is_reached_only_if_it_is_published(here: Scene) -> None:
    here.create(server("unready", "unready", node="node-1", **lingers(ready=False)))
    until(lambda: here.get("Pod", "unready"), lambda pod: pod["status"].get("podIP"))
    published, withheld = here.serve(
        service("published", "unready", type="NodePort", publishNotReadyAddresses=True),
        service("withheld", "unready", type="NodePort"),
    )
    until_equal(1, lambda: len(here.endpoints("published")))
    deleting(here, "unready")
    until(
        lambda: [each["conditions"] for slice_ in here.slices("published") for each in slice_["endpoints"]],
        lambda found: found == [{"ready": True, "serving": False, "terminating": True}],
    )
    for name, address, answer in (("published", published, "unready"), ("withheld", withheld, "refused")):
        until_served(inside(here), [(address, 80)], {answer})
        until_served(everywhere(here), at_nodes(here, name), {answer})
    here.delete("Pod", "unready", grace=0)
    until_served(everywhere(here), at_nodes(here, "published"), {"refused"})


def test_terminating_pods_serve_at_node_ports_while_the_health_check_sends_balancers_away(here: Scene) -> None:
    here.serve(
        server("last", "last", node="node-1", **lingers()),
        service("cluster", "last", type="NodePort"),
        service("local", "last", type="LoadBalancer", externalTrafficPolicy="Local"),
    )
    check = here.get("Service", "local")["spec"]["healthCheckNodePort"]
    anyone, (near, far) = at_nodes(here, "cluster"), at_nodes(here, "local")

    def serve_alike() -> None:
        until_served(everywhere(here), anyone, {"last"})
        # Local: whoever comes in at the pod's node is served; the other node has nobody, and its own pods it serves.
        until_served(everywhere(here), [near], {"last"})
        until_served([here.outside, here.one, here.node_one], [far], {"silence"})
        until_served([here.two, here.node_two], [far], {"last"})

    serve_alike()
    until_each([here.outside], ["200", "503"], lambda place: [place.code(node, check, "/healthz") for node in NODES])
    deleting(here, "last")
    until_each([here.outside], ["503", "503"], lambda place: [place.code(node, check, "/healthz") for node in NODES])
    told = json.loads(here.outside.http(NODES[0], check, "/healthz"))
    assert told == {
        "service": {"namespace": here.namespace, "name": "local"},
        "localEndpoints": 0,
        "serviceProxyHealthy": True,
    }
    serve_alike()
    # A ready pod takes over, wherever it is.
    here.serve(server("next", "last", node="node-2"))
    until_served(everywhere(here), anyone, {"next"})
    until_served([here.outside], [far], {"next"})
    until_each([here.outside], ["503", "200"], lambda place: [place.code(node, check, "/healthz") for node in NODES])
    here.delete("Pod", "last", grace=0)
    here.delete("Service", "local")
    until_each([here.outside], ["refused"] * 2, lambda place: [place.code(node, check, "/healthz") for node in NODES])
