"""What the kernel remembers of UDP clients must not outlive what it was told: upstream's conntrack.go at node ports and load
balancers, with clients that keep their source port. Cluster IPs are in test_services.py.
"""

from collections.abc import Iterator

import pytest
from scene import SILENCE, Scene, client, scene, server, service, until, until_equal
from upstream import NODES, UDP, Door, at_nodes, balancer, node_ports, until_each

from local_cluster import Cluster

SOURCE = 24000
TAKEN_AWAY = 30_002
"""A node port of the part of the range from which the server does not choose by itself."""


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        yield made


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
@pytest.mark.parametrize("next_node", ["node-1", "node-2"])
def test_a_udp_client_with_a_fixed_port_finds_the_next_server_wherever_it_is(here: Scene, kind: str, next_node: str) -> None:
    app = f"cycles-{kind.lower()}-{next_node}"
    here.serve(server(f"{app}-1", app, node="node-1"), service(app, app, type=kind, ports=UDP))
    doors: list[Door] = at_nodes(here, app) if kind == "NodePort" else [(balancer(here, app), 80)]
    places = [here.one, here.two, here.outside]

    def seen(expected: str) -> None:
        until_each(
            places,
            [expected] * len(doors),
            lambda place: [place.udp(*door, source=SOURCE, timeout=SILENCE) for door in doors],
        )

    seen(f"{app}-1")
    here.serve(server(f"{app}-2", app, node=next_node))
    here.delete("Pod", f"{app}-1", grace=0)
    seen(f"{app}-2")
    here.delete("Pod", f"{app}-2", grace=0)
    seen("refused")


def test_a_udp_client_that_asks_a_node_port_too_early_finds_the_server_once_it_is_ready(here: Scene) -> None:
    here.serve(service("early", "early", type="NodePort", ports=UDP))
    here.create(server("early", "early", node="node-2", env={"READY": "off"}))
    pod = until(lambda: here.get("Pod", "early"), lambda found: found["status"].get("podIP"))["status"]["podIP"]
    [port] = node_ports(here, "early")
    places = [here.two, here.outside]
    until_each(places, "refused", lambda place: place.udp(NODES[0], port, source=SOURCE + 1, timeout=SILENCE))
    until_equal("ready on", lambda: here.one.http(pod, 8080, "/ready?state=on"))
    until_each(places, "early", lambda place: place.udp(NODES[0], port, source=SOURCE + 1, timeout=SILENCE))


OUT_OF_WINDOW = """
import socket, struct, time
listener = socket.create_server(("", 8090))
seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
print("listening", flush=True)
made, (peer, port) = listener.accept()
assert made.recv(10) == b"one"
while True:
    packet = seen.recv(65536)
    head = (packet[0] & 15) * 4
    source, target, number, answered, offset = struct.unpack("!HHIIB", packet[head : head + 13])
    if packet[9] == 6 and (source, target) == (port, 8090) and packet[head + (offset >> 4) * 4 :] == b"one":
        break
stray = struct.pack("!HHIIBBHHH", 8090, port, (answered + 0x40000000) % 2**32, number + 3, 0x50, 0x10, 512, 0, 0)
own = made.getsockname()[0].rpartition(":")[2]
pseudo = socket.inet_aton(own) + socket.inet_aton(peer) + struct.pack("!HH", 6, len(stray))
total = sum(struct.unpack(f"!{(len(pseudo) + len(stray)) // 2}H", pseudo + stray))
total = (total & 0xFFFF) + (total >> 16)
checked = stray[:16] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + stray[18:]
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).sendto(checked, (peer, 0))
time.sleep(0.3)  # for the reset that must not come
made.sendall(b"two")
assert made.recv(10) == b"three"
made.sendall(b"four")
"""
"""A server that sends a segment far out of the client's window, as a long transfer may (kubernetes/kubernetes issue 74839)."""
TALKS = """
import socket, time
end = time.monotonic() + 60
while True:  # until the node knows the endpoint
    try:
        made = socket.create_connection(("{host}", 80), timeout=60)
        break
    except ConnectionRefusedError:
        assert time.monotonic() < end
        time.sleep(0.03)
made.sendall(b"one")
assert made.recv(10) == b"two"
made.sendall(b"three")
print(made.recv(10).decode())
"""


def test_a_segment_out_of_window_does_not_reset_a_connection_through_a_service(here: Scene) -> None:
    """Left untranslated it would reach the client from an address it does not know, and its answer would be a reset."""
    boom = client("boom", "node-2")
    boom["metadata"]["labels"] = {"app": "boom"}
    boom["spec"]["containers"][0]["command"] = ["python3", "-u", "-c", OUT_OF_WINDOW]
    [host] = here.serve(boom, service("boom", "boom", ports=({"port": 80, "targetPort": 8090},)))
    until_equal("listening", lambda: here.cluster.kubectl("logs", "-n", here.namespace, "boom").stdout.strip())
    until_equal(1, lambda: len(here.endpoints("boom")))
    assert here.cluster.in_pod("one", "python3", "-c", TALKS.format(host=host), namespace=here.namespace) == "four\n"


def test_a_node_port_that_is_taken_away_is_forgotten_by_flows_too(here: Scene) -> None:
    """The next Service with the port gets the clients, though they never changed theirs."""
    ports = ({**UDP[0], "nodePort": TAKEN_AWAY},)
    here.serve(server("old", "old"), server("new", "new"), service("old", "old", type="NodePort", ports=ports))
    places = [here.one, here.outside]

    def seen(expected: str) -> None:
        until_each(places, expected, lambda place: place.udp(NODES[1], TAKEN_AWAY, source=SOURCE + 2, timeout=SILENCE))

    seen("old")
    here.delete("Service", "old")
    seen("refused")
    here.serve(service("new", "new", type="NodePort", ports=ports))
    seen("new")
