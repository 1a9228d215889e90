"""Types, node ports and labels of Services on a running cluster: upstream's service.go 9, 11-20, 30, 31, asked with real
connections from pods, from nodes and from outside.
"""

import os
import signal
from collections.abc import Iterator

import pytest
from scene import SILENCE, Scene, addresses, scene, server, service, until, until_equal
from upstream import (
    NODES,
    TCP_AND_UDP,
    answers,
    at_nodes,
    everywhere,
    inside,
    node_ports,
    seen_from,
    until_each,
    until_served,
)

from local_cluster import Cluster
from mooring.app.connection import Refused

BOTH = {"web-1", "web-2"}
NAMED = {"type": "ExternalName", "externalName": "example.com"}
OTHERS = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        made.serve(server("web-1", "web", node="node-1"), server("web-2", "web", node="node-2"))
        yield made


def test_a_node_port_is_reached_at_every_node_and_its_service_by_name_and_address(here: Scene) -> None:
    [address] = here.serve(service("node-port", "web", type="NodePort", ports=TCP_AND_UDP))
    doors = at_nodes(here, "node-port")
    until_served(everywhere(here), doors, BOTH)
    until_served(inside(here), [(address, 80)], BOTH)
    until_served([here.one, here.two], [("node-port", 80)], BOTH)
    until_each(everywhere(here), BOTH, lambda place: {place.udp(*door, timeout=SILENCE) for door in doors for _ in range(5)})


def test_a_node_port_hides_the_client_and_a_cluster_ip_does_not(here: Scene) -> None:
    [address] = here.serve(service("source", "web", type="NodePort"))
    until_served(everywhere(here), at_nodes(here, "source"), BOTH)
    for node, port in at_nodes(here, "source"):
        assert {seen_from(here.outside, (node, port)) for _ in range(8)} == {node}
    assert {seen_from(here.one, (address, 80)) for _ in range(8)} == {addresses(here.get("Pod", "one"))[0]}


def test_a_service_is_reached_by_an_external_ip_that_no_node_has(here: Scene) -> None:
    here.serve(service("external", "web", externalIPs=["203.0.113.250"]))
    until_served(inside(here), [("203.0.113.250", 80)], BOTH)


def test_two_protocols_on_one_port_number_get_node_ports_each_as_the_type_changes(here: Scene) -> None:
    here.serve(service("protocols", "web"))
    here.patch("Service", "protocols", {"spec": {"type": "NodePort"}})
    until_served([here.one, here.outside], at_nodes(here, "protocols"), BOTH)
    here.patch("Service", "protocols", {"spec": {"ports": [{**port, "nodePort": None} for port in TCP_AND_UDP]}})
    tcp, udp = node_ports(here, "protocols")
    assert tcp != udp
    for node in NODES:
        until_each(
            [here.one, here.outside],
            (True, True, "refused", "refused"),
            lambda place, node=node: (
                place.http(node, tcp, timeout=SILENCE) in BOTH,
                place.udp(node, udp, timeout=SILENCE) in BOTH,
                place.http(node, udp, timeout=SILENCE),
                place.udp(node, tcp, timeout=SILENCE),
            ),
        )


@pytest.mark.parametrize("becomes", ["ClusterIP", "NodePort"])
def test_an_external_name_becomes_a_service_that_is_reached(here: Scene, becomes: str) -> None:
    name = f"was-name-{becomes.lower()}"
    here.create(service(name, "web", **NAMED))
    made = here.patch("Service", name, {"spec": {"type": becomes, "externalName": None}})["spec"]
    until_served(inside(here), [(made["clusterIP"], 80)], BOTH)
    if becomes == "NodePort":
        until_served(everywhere(here), at_nodes(here, name), BOTH)


@pytest.mark.parametrize("was", ["ClusterIP", "NodePort"])
def test_a_service_that_becomes_an_external_name_gives_up_its_addresses(here: Scene, was: str) -> None:
    name = f"becomes-name-{was.lower()}"
    [address] = here.serve(service(name, "web", type=was))
    doors = at_nodes(here, name) if was == "NodePort" else []
    until_served(inside(here), [(address, 80), *doors], BOTH)
    spec = here.patch("Service", name, {"spec": NAMED})["spec"]
    assert not {"clusterIP", "clusterIPs"} & spec.keys() and "nodePort" not in spec["ports"][0]
    until_each(inside(here), "silence", lambda place: place.http(address, timeout=SILENCE))
    until_served(everywhere(here), doors, {"refused"})


def test_a_node_port_belongs_to_one_service_until_that_is_deleted(here: Scene) -> None:
    here.serve(service("holder", "web", type="NodePort"))
    [port] = node_ports(here, "holder")
    wanted = service("heir", "web", type="NodePort", ports=({"port": 80, "targetPort": 8080, "nodePort": port},))
    with pytest.raises(Refused, match="port is already allocated"):
        here.create(wanted)
    doors = at_nodes(here, "holder")
    until_served([here.one, here.outside], doors, BOTH)
    here.delete("Service", "holder")
    until_served(everywhere(here), doors, {"refused"})
    here.create(wanted)
    until_served([here.one, here.outside], doors, BOTH)


def test_a_node_port_out_of_range_is_refused_on_update_and_on_create(here: Scene) -> None:
    outside = ({"port": 80, "targetPort": 8080, "nodePort": 80},)
    here.serve(service("in-range", "web", type="NodePort"))
    with pytest.raises(Refused, match="port is not in the valid range"):
        here.patch("Service", "in-range", {"spec": {"ports": outside}})
    with pytest.raises(Refused, match="port is not in the valid range"):
        here.create(service("out-of-range", "web", type="NodePort", ports=outside))


@pytest.mark.parametrize("label", OTHERS)
def test_a_label_takes_a_service_from_the_dataplane_and_gives_it_back(here: Scene, label: str) -> None:
    name = f"label-{OTHERS.index(label)}"
    labelled = service(name, "web", type="NodePort")
    labelled["metadata"]["labels"] = {label: "somebody-else"}
    [address] = here.serve(labelled)
    until_equal(2, lambda: len(here.endpoints(name)))
    doors = at_nodes(here, name)

    def left_alone() -> None:
        until_each(inside(here), "silence", lambda place: place.http(address, timeout=SILENCE))
        until_served([here.one, here.outside], doors, {"refused"})

    left_alone()
    here.patch("Service", name, {"metadata": {"labels": {label: None}}})
    until_served(inside(here), [(address, 80), *doors], BOTH)
    here.patch("Service", name, {"metadata": {"labels": {label: ""}}})
    left_alone()


def test_node_ports_outlive_the_nodes_agent(here: Scene) -> None:
    """Meanwhile every new connection works; what is made afterwards works too."""
    here.serve(service("lasts", "web", type="NodePort"))
    doors = at_nodes(here, "lasts")
    until_served([here.outside], doors, BOTH)
    killed = until(lambda: here.cluster.pid("node-1"))
    os.kill(killed, signal.SIGKILL)

    def back() -> bool:
        assert all(answers(here.outside, door, 3) <= BOTH for door in doors)
        return here.cluster.pid("node-1") not in (0, killed) and here.cluster.mooring("status", check=False).returncode == 0

    until(back)
    here.serve(service("after", "web", type="NodePort"))
    until_served(everywhere(here), [*doors, *at_nodes(here, "after")], BOTH)
