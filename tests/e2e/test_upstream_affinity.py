"""Session affinity on a running cluster: upstream's service.go 24-29 and the four of loadbalancer.go, at every kind of door."""

import time
from collections.abc import Iterator

import pytest
from scene import DEADLINE, SILENCE, Document, Place, Scene, scene, server, service, until, until_equal
from upstream import NODES, TCP_AND_UDP, Door, answers, balancer, node_ports, sticky, together, until_served

from local_cluster import Cluster

THREE = {"sticks-1", "sticks-2", "sticks-3"}
CONSECUTIVE = 15
"""As many answers of one pod as upstream asks for."""
DOORS: dict[str, Document] = {
    "cluster IP": {},
    "node port": {"type": "NodePort"},
    "load balancer, policy Cluster": {"type": "LoadBalancer"},
    "load balancer, policy Local": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
}


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        # All on one node, so that the policy Local has all of them too.
        made.serve(*(server(name, "sticks", node="node-1") for name in sorted(THREE)))
        yield made


def opened(here: Scene, kind: str, **spec: object) -> tuple[str, list[tuple[Place, Door]]]:
    """A Service of the three, and who asks it at which door."""
    name = kind.replace(", policy", "").replace(" ", "-").lower()
    name = f"{name}-{len(here.items('Service'))}"
    [address] = here.serve(service(name, "sticks", ports=TCP_AND_UDP, **DOORS[kind], **spec))
    if kind == "cluster IP":
        return name, [(place, (address, 80)) for place in (here.one, here.node_two)]
    if kind == "node port":
        return name, [(here.one, (NODES[0], node_ports(here, name)[0])), (here.outside, (NODES[0], node_ports(here, name)[0]))]
    return name, [(here.one, (balancer(here, name), 80)), (here.outside, (balancer(here, name), 80))]


def stay(asked: list[tuple[Place, Door]]) -> list[set[str]]:
    return together(lambda place=place, door=door: answers(place, door, CONSECUTIVE) for place, door in asked)


@pytest.mark.parametrize("kind", DOORS)
def test_a_client_stays_with_one_pod_as_long_as_the_service_says_so(here: Scene, kind: str) -> None:
    name, asked = opened(here, kind, **sticky(600))
    for place, door in asked:
        until(lambda place=place, door=door: place.http(*door, timeout=SILENCE), THREE.__contains__)
    for met in stay(asked):
        assert len(met) == 1 and met <= THREE
    here.patch("Service", name, {"spec": {"sessionAffinity": "None"}})
    until_equal([THREE] * len(asked), lambda: stay(asked))
    here.patch("Service", name, {"spec": sticky(600)})
    until(lambda: stay(asked), lambda found: all(len(met) == 1 for met in found))
    for met in stay(asked):
        assert len(met) == 1 and met <= THREE


def test_udp_clients_stay_too(here: Scene) -> None:
    """Each datagram from a port of its own is a flow of its own."""
    for kind in ("cluster IP", "node port"):
        for place, door in opened(here, kind, **sticky(600))[1]:
            until(lambda place=place, door=door: place.udp(*door, timeout=SILENCE), THREE.__contains__)
            assert len({place.udp(*door) for _ in range(CONSECUTIVE)}) == 1


def test_a_client_is_forgotten_after_the_timeout_and_not_before(here: Scene) -> None:
    """Each new connection begins the time anew. Answers that took so long that the time may be over prove nothing."""
    [by_address, _] = opened(here, "cluster IP", **sticky(1))[1]
    [_, by_port] = opened(here, "node port", **sticky(1))[1]
    for place, door in (by_address, by_port):
        until(lambda place=place, door=door: place.http(*door, timeout=SILENCE), THREE.__contains__)

    def lives(place: Place, door: Door) -> None:
        first, began, last = "", 0.0, 0.0
        end = time.monotonic() + DEADLINE
        while not first or last < began + 1.8:
            assert time.monotonic() < end, "never was it asked often enough"
            asked = time.monotonic()
            answer = place.http(*door)
            if not first or time.monotonic() > last + 0.9:
                first, began = answer, asked
            assert answer == first
            last = asked
            time.sleep(0.2)

        def after_a_pause() -> str:
            time.sleep(1.2)
            return place.http(*door)

        until(after_a_pause, lambda now: now != first)

    together([lambda: lives(*by_address), lambda: lives(*by_port)])


def test_the_cluster_ip_and_the_node_port_remember_a_client_together(here: Scene) -> None:
    [address] = here.serve(service("together", "sticks", type="NodePort", **sticky(600)))
    doors = [(address, 80), (NODES[0], node_ports(here, "together")[0])]
    until(lambda: here.one.http(*doors[0], timeout=SILENCE), THREE.__contains__)
    met = answers(here.one, doors[0])
    assert len(met) == 1
    until_served([here.one], doors, met)


def test_a_client_whose_pod_goes_stays_with_another(here: Scene) -> None:
    """Also where the pod only stops to be ready (kubernetes/kubernetes issue 110302)."""
    [address] = here.serve(
        *(server(name, "leaves", node="node-1") for name in ("leaves-1", "leaves-2")),
        service("leaves", "leaves", **sticky(600)),
    )
    until_equal(2, lambda: len(here.endpoints("leaves")))
    first = until(lambda: here.one.http(address, timeout=SILENCE), lambda found: found.startswith("leaves"))
    [second] = {"leaves-1", "leaves-2"} - {first}
    [pod] = here.get("Pod", first)["status"]["podIPs"]
    until_equal("ready off", lambda: here.one.http(pod["ip"], 8080, "/ready?state=off"))
    until_served([here.one], [(address, 80)], {second})
    until_equal("ready on", lambda: here.one.http(pod["ip"], 8080, "/ready?state=on"))
    until_equal(2, lambda: len(here.endpoints("leaves")))
    assert answers(here.one, (address, 80)) == {second}
    here.delete("Pod", second, grace=0)
    until_served([here.one], [(address, 80)], {first})
