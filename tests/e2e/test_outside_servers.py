"""Pods use a server outside of the cluster, which sees their node; whoever is inside goes on seeing the pod itself.

By the name of an ExternalName Service: test_names_outside.py, over both families: test_dual_stack.py.
"""

from collections.abc import Iterator

import pytest
from outsiders import led_to, outside_server
from scene import Place, Scene, addresses, scene, server, service, until_equal, until_followed
from upstream import NODES, OUTSIDE, TCP_AND_UDP, Door, node_ports, seen_from

from local_cluster import Cluster

PORT = 5432


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made, outside_server(cluster, OUTSIDE, PORT):
        yield made


def askers(here: Scene) -> tuple[tuple[Place, str], ...]:
    """Each with the address of its node."""
    return (here.one, NODES[0]), (here.two, NODES[1]), (here.node_one, NODES[0])


def asked(place: Place, door: Door) -> list[str]:
    """Who answers there, and who it takes the client for: by TCP, and by UDP."""
    return [place.http(*door), seen_from(place, door), *place.datagram(*door, "who am I?").split(" ")]


def led_outside(here: Scene, name: str, **spec: object) -> str:
    """The cluster IP of a Service without selector, whose endpoint is the server."""
    [made] = here.create(service(name, "", ports=TCP_AND_UDP, **spec))
    here.create(led_to(name, OUTSIDE, PORT, nodeName="node-2"))
    address: str = made["spec"]["clusterIP"]
    return address


def test_a_server_outside_answers_pods_and_sees_their_node(here: Scene) -> None:
    for place, node in askers(here):
        assert ["outside", node, "outside", node] == asked(place, (OUTSIDE, PORT))


def test_who_is_not_there_or_does_not_listen_is_told_to_pods_at_once(here: Scene) -> None:
    for place, _ in askers(here):
        assert ["refused", "unreachable"] == [place.http(OUTSIDE, PORT + 1), place.http("198.51.100.1", PORT)]
        assert "refused" == place.udp(OUTSIDE, PORT + 1)


def test_a_service_without_selector_leads_pods_to_a_server_outside(here: Scene) -> None:
    address = led_outside(here, "db")
    for place, node in askers(here):
        until_equal(["outside", node, "outside", node], lambda place=place: asked(place, (address, 80)))
    for place in (here.one, here.two):
        until_equal("outside", lambda place=place: place.http("db"))


@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_a_node_port_leads_pods_of_another_node_to_a_server_outside(here: Scene, policy: str) -> None:
    """With Local the node's rules keep the pod's address; then it is the node's egress that hides the pod."""
    name = f"db-{policy}".lower()
    led_outside(here, name, type="NodePort", externalTrafficPolicy=policy)
    until_equal(["outside", NODES[1]] * 2, lambda: asked(here.one, (NODES[1], node_ports(here, name)[0])))


def test_pods_nodes_and_services_see_a_pod_as_it_is(here: Scene) -> None:
    env = {"HTTP": "18082", "TCP": "0", "UDP": "0"}
    hosts = [server(f"host-{number}", "host", node=f"node-{number}", hostNetwork=True, env=env) for number in (1, 2)]
    [web] = here.serve(server("web", "web", node="node-2"), *hosts, service("web", "web"))
    doors = [(addresses(here.get("Pod", "web"))[0], 8080), (web, 80), *((each, 18082) for each in NODES)]
    for place, pod in ((here.one, "one"), (here.two, "two")):
        [own] = addresses(here.get("Pod", pod))
        until_equal([own] * len(doors), lambda place=place: [seen_from(place, door) for door in doors])


def test_a_traced_packet_that_leaves_the_cluster_says_who_hides_the_pod(here: Scene) -> None:
    address = led_outside(here, "traced")
    until_equal("outside", lambda: here.one.http(address))
    note = f"{OUTSIDE}:{PORT} is outside of the cluster, from where node-1 hides its pods: it sees {NODES[0]}"
    for target, outcome in (("traced:80", "FORWARD"), ("traced:80/udp", "FORWARD"), (f"{OUTSIDE}:{PORT}", "PASS")):
        words = ("trace", "packet", target, "--from", "one", "-n", here.namespace, "--live")
        told = here.cluster.mooring(*words).stdout
        assert outcome in told.splitlines()
        assert note in told and told.endswith("The kernel did what was foreseen.\n"), told
    told = here.cluster.mooring("trace", "packet", "traced:80", "--from", "node/node-1", "-n", here.namespace, "--live").stdout
    assert "hides its pods" not in told and told.endswith("The kernel did what was foreseen.\n"), told


def test_the_tables_are_as_they_should_be_beside_it(here: Scene) -> None:
    for node in ("node-1", "node-2"):
        assert "table inet egress\n" in here.cluster.on_node(node, "nft", "list", "tables")
    until_followed(here.cluster)
