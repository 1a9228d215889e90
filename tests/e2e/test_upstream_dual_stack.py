"""The second family at every door: upstream's dual_stack.go, granular checks of the secondary IP family, on a running cluster.
Addresses of nodes, pods and Services in both families are in test_dual_stack.py.
"""

from collections.abc import Iterator

import pytest
from scene import SILENCE, Scene, in_pod, scene, server, service, until, until_equal
from upstream import TCP_AND_UDP, Door, answers, everywhere, inside, node_ports, sticky, until_each, until_served

from local_cluster import Cluster

BOTH = {"web-1", "web-2"}
NODES = ("fd00:172:30::11", "fd00:172:30::12")
"""The second addresses of node-1 and node-2."""
TWO_FAMILIES = {"ipFamilyPolicy": "RequireDualStack", "type": "NodePort", "ports": TCP_AND_UDP}


@pytest.fixture(scope="module")
def here(dual: Cluster) -> Iterator[Scene]:
    with scene(dual) as made:
        made.serve(
            server("web-1", "web", node="node-1"),
            server("web-2", "web", node="node-2"),
            service("web", "web", **TWO_FAMILIES),
        )
        yield made


def cluster_ip(here: Scene, name: str) -> Door:
    second: str = here.get("Service", name)["spec"]["clusterIPs"][1]
    assert ":" in second
    return second, 80


def at_nodes(here: Scene, name: str) -> list[Door]:
    return [(node, node_ports(here, name)[0]) for node in NODES]


def test_pods_nodes_and_the_outside_reach_the_second_family_at_every_door(here: Scene) -> None:
    doors, address = at_nodes(here, "web"), cluster_ip(here, "web")
    until_served(everywhere(here), doors, BOTH)
    until_served(inside(here), [address], BOTH)
    until_each(everywhere(here), BOTH, lambda place: {place.udp(*door, timeout=SILENCE) for door in doors for _ in "12345"})
    until_each(inside(here), BOTH, lambda place: {place.udp(*address, timeout=SILENCE) for _ in range(10)})


def test_an_endpoint_reaches_its_own_service_by_the_second_family(here: Scene) -> None:
    doors = [*at_nodes(here, "web"), cluster_ip(here, "web")]
    with in_pod(here, "web-1") as itself:
        until_served([itself], doors, BOTH)
        until_equal([BOTH] * 3, lambda: [{itself.udp(*door, timeout=SILENCE) for _ in range(8)} for door in doors])


def test_endpoints_of_the_second_family_come_and_go(here: Scene) -> None:
    here.serve(
        server("brief", "brief", node="node-1"),
        server("stays", "brief", node="node-2"),
        service("brief", "brief", **TWO_FAMILIES),
    )
    doors = [*at_nodes(here, "brief"), cluster_ip(here, "brief")]
    until_served([here.one], doors, {"brief", "stays"})
    here.delete("Pod", "brief", grace=0)
    until_served([here.one], doors, {"stays"})
    until_equal({"stays"}, lambda: {here.one.udp(*door, timeout=SILENCE) for door in doors for _ in range(4)})


def test_a_client_stays_with_one_pod_in_the_second_family(here: Scene) -> None:
    here.serve(service("sticks", "web", **TWO_FAMILIES, **sticky(600)))
    for door in (*at_nodes(here, "sticks"), cluster_ip(here, "sticks")):
        for place in (here.one, here.node_two):
            until(lambda place=place, door=door: place.http(*door, timeout=SILENCE), BOTH.__contains__)
            assert len(answers(place, door, 15)) == 1
            assert len({place.udp(*door) for _ in range(15)}) == 1


def test_large_requests_pass_whole_in_the_second_family(here: Scene) -> None:
    text = "42" * 1000
    for door in (*at_nodes(here, "web"), cluster_ip(here, "web")):
        for place in (here.one, here.node_two):
            assert place.post(*door, text * 40) == text * 40
            assert place.datagram(*door, text).endswith(text)


def test_endpoints_on_the_host_network_are_reached_by_the_second_family(here: Scene) -> None:
    env = {"HTTP": "18081", "TCP": "0", "UDP": "18081"}
    ports = tuple({**port, "targetPort": 18081} for port in TCP_AND_UDP)
    hosts = {"host-node-1", "host-node-2"}
    here.serve(
        *(server(name, "host", node=name.removeprefix("host-"), hostNetwork=True, env=env) for name in sorted(hosts)),
        service("host", "host", **{**TWO_FAMILIES, "ports": ports}),
    )
    until_served(everywhere(here), at_nodes(here, "host"), hosts)
    until_served(inside(here), [cluster_ip(here, "host")], hosts)
