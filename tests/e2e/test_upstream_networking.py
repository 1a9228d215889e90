"""Every client to every door, large requests, changes of endpoints and of the node port: upstream's networking.go, granular
checks of Services, and its two checks of the proxy itself, on a running cluster. SCTP needs sockets that few kernels have: it
is shown by the simulator and the compiled rules (tests/scenarios).
"""

import json
from collections.abc import Iterator

import pytest
from scene import SILENCE, Scene, in_pod, scene, server, service, until_equal
from upstream import NODES, TCP_AND_UDP, Door, at_nodes, everywhere, inside, node_ports, until_each, until_served

from local_cluster import Cluster

BOTH = {"web-1", "web-2"}


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        made.serve(
            server("web-1", "web", node="node-1"),
            server("web-2", "web", node="node-2"),
            service("web", "web", type="NodePort", ports=TCP_AND_UDP),
            service("also", "web", type="NodePort", ports=TCP_AND_UDP),
        )
        yield made


def cluster_ip(here: Scene, name: str) -> Door:
    return here.get("Service", name)["spec"]["clusterIP"], 80


def test_pods_nodes_and_the_outside_reach_two_services_of_the_same_pods(here: Scene) -> None:
    for name in ("web", "also"):
        until_served(everywhere(here), at_nodes(here, name), BOTH)
        until_served(inside(here), [cluster_ip(here, name)], BOTH)
        doors = [*at_nodes(here, name), cluster_ip(here, name)]
        until_each(
            inside(here), BOTH, lambda place, doors=doors: {place.udp(*d, timeout=SILENCE) for d in doors for _ in "1234"}
        )


def test_an_endpoint_reaches_its_own_service_at_every_door(here: Scene) -> None:
    with in_pod(here, "web-1") as itself:
        doors = [*at_nodes(here, "web"), cluster_ip(here, "web")]
        until_served([itself], doors, BOTH)
        until_equal([BOTH] * 3, lambda: [{itself.udp(*door, timeout=SILENCE) for _ in range(8)} for door in doors])


def test_large_requests_pass_whole_over_tcp_and_in_fragments_over_udp(here: Scene) -> None:
    text = "42" * 1000
    for door in [*at_nodes(here, "web"), cluster_ip(here, "web")]:
        for place in (here.one, here.node_two, here.outside):
            if place is not here.outside or door[0] in NODES:
                assert place.post(*door, text * 40) == text * 40
                assert place.datagram(*door, text).endswith(text)


def test_endpoints_on_the_host_network_are_reached_at_every_door(here: Scene) -> None:
    env = {"HTTP": "18081", "TCP": "0", "UDP": "18081"}
    ports = tuple({**port, "targetPort": 18081} for port in TCP_AND_UDP)
    here.serve(
        *(server(f"host-{node}", "host", node=node, hostNetwork=True, env=env) for node in ("node-1", "node-2")),
        service("host", "host", type="NodePort", ports=ports),
    )
    hosts = {"host-node-1", "host-node-2"}
    until_served(everywhere(here), at_nodes(here, "host"), hosts)
    until_served(inside(here), [cluster_ip(here, "host")], hosts)
    doors = at_nodes(here, "host")
    until_each(everywhere(here), hosts, lambda place: {place.udp(*door, timeout=SILENCE) for door in doors for _ in "1234"})


def test_endpoints_that_go_are_no_longer_met_and_a_node_port_that_goes_is_closed(here: Scene) -> None:
    here.serve(
        server("brief", "brief", node="node-1"),
        server("stays", "brief", node="node-2"),
        service("brief", "brief", type="NodePort", ports=TCP_AND_UDP),
    )
    doors, datagrams = at_nodes(here, "brief"), (NODES[0], node_ports(here, "brief")[1])
    until_served([here.one, here.outside], doors, {"brief", "stays"})
    here.delete("Pod", "brief", grace=0)
    until_served([here.one, here.outside], doors, {"stays"})
    until_each([here.one, here.outside], "stays", lambda place: place.udp(*datagrams, timeout=SILENCE))
    here.patch("Service", "brief", {"spec": {"type": "ClusterIP"}})
    until_served([here.one, here.outside], doors, {"refused"})
    until_each([here.one, here.outside], "refused", lambda place: place.udp(*datagrams, timeout=SILENCE))
    until_served(inside(here), [cluster_ip(here, "brief")], {"stays"})


def test_the_proxys_own_addresses_answer_as_kube_proxys(here: Scene) -> None:
    assert here.node_one.code("127.0.0.1", 10256, "/healthz") == "200"
    told = json.loads(here.node_one.http("127.0.0.1", 10256, "/healthz"))
    assert {"lastUpdated", "currentTime", "healthy", "nodeEligible"} <= told.keys()
    assert here.node_one.http("127.0.0.1", 10249, "/proxyMode") == "nftables"


HALF_CLOSED = """
import socket, subprocess, time
made = socket.create_connection(("{host}", 80))
made.sendall(b"GET /hostname HTTP/1.0\\r\\n\\r\\n")
while made.recv(4096):
    pass
own, end, listed = f"sport={{made.getsockname()[1]}} ", time.monotonic() + 60, ""
while "CLOSE_WAIT" not in listed and time.monotonic() < end:  # until the last answer of the server was acknowledged
    lines = subprocess.run("conntrack -L -p tcp -d {host}".split(), capture_output=True, text=True, check=True).stdout
    [listed] = [line for line in lines.splitlines() if own in line]
print(listed)
"""
"""The server has closed its side of a connection, the client has not."""


def test_a_half_closed_connection_is_remembered_for_an_hour(here: Scene) -> None:
    host, _ = cluster_ip(here, "web")
    until_served([here.node_one], [(host, 80)], BOTH)
    listed = here.cluster.on_node("node-1", "python3", "-c", HALF_CLOSED.format(host=host))
    protocol, _, seconds, state, *_ = listed.split()
    assert (protocol, state) == ("tcp", "CLOSE_WAIT")
    assert 3500 <= int(seconds) <= 3600


def ours(listing: str) -> list[str]:
    """The families of our tables."""
    return [words[1] for words in map(str.split, listing.splitlines()) if words[2] == "mooring"]


def test_rules_that_somebody_deletes_come_back(here: Scene) -> None:
    doors = [*at_nodes(here, "web"), cluster_ip(here, "web")]
    until_served([here.one, here.node_one], doors, BOTH)
    for family in ("ip", "ip6"):
        here.cluster.on_node("node-1", "nft", "delete", "table", family, "mooring")
    until_served([here.one, here.node_one], doors, BOTH)
    until_equal(["ip", "ip6"], lambda: ours(here.cluster.on_node("node-1", "nft", "list", "tables")))
