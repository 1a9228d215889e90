"""Traffic that stays in its zone or on its node: upstream's traffic_distribution.go, on five nodes in three zones."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from scene import SILENCE, Place, Scene, at, client, in_pod, server, service, until, until_equal
from upstream import answers, together

from local_cluster import Cluster

ZONES = {"node-1": "a", "node-2": "b", "node-3": "c", "node-4": "a", "node-5": "b"}
CONSECUTIVE = 10
"""As many answers as upstream asks for."""


@pytest.fixture(scope="module")
def zoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(f"t{secrets.token_hex(4)}", tmp_path_factory.mktemp("zoned") / "data")
    try:
        made.up("--nodes", "5", "--zones", "a,b,c")
        yield made
    finally:
        made.down("--purge")


@pytest.fixture(scope="module")
def here(zoned: Cluster) -> Scene:
    made = Scene(zoned, "default")
    zones = {each["metadata"]["name"]: each["metadata"]["labels"]["topology.kubernetes.io/zone"] for each in made.items("Node")}
    assert zones == ZONES
    return made


@pytest.fixture(scope="module")
def places(here: Scene) -> Iterator[dict[str, Place]]:
    """A client on every node: a pod in zone a's, the node itself in the others."""
    with ExitStack() as left:
        pods = [node for node, zone in ZONES.items() if zone == "a"]
        here.create(*(client(f"client-{node}", node) for node in pods))
        here.ready(*(f"client-{node}" for node in pods))
        yield {
            node: left.enter_context(in_pod(here, f"client-{node}") if node in pods else at(here.cluster, node))
            for node in ZONES
        }


def serving(here: Scene, app: str, distribution: str, *nodes: str) -> str:
    """The cluster IP of a Service with a pod on each of the nodes, named after them."""
    pods = [server(f"{app}-{node}", app, node=node) for node in nodes]
    [address] = here.serve(*pods, service(app, app, trafficDistribution=distribution))
    return address


def until_met(places: dict[str, Place], address: str, expected: dict[str, set[str]]) -> None:
    """Each client meets exactly these pods, all of them, in as many answers as upstream wants, and in as many once more."""

    def met() -> dict[str, set[str]]:
        found = together(
            lambda place=place: answers(place, (address, 80), 2 * CONSECUTIVE, SILENCE) for place in places.values()
        )
        return dict(zip(places, found, strict=True))

    until_equal(expected, met)


@pytest.mark.parametrize("distribution", ["PreferClose", "PreferSameZone"])
def test_each_zone_is_served_by_its_own_pods_and_one_without_by_all(
    here: Scene, places: dict[str, Place], distribution: str
) -> None:
    app = distribution.lower()
    address = serving(here, app, distribution, "node-1", "node-4", "node-5")
    own = {"a": {f"{app}-node-1", f"{app}-node-4"}, "b": {f"{app}-node-5"}}
    everybody = own["a"] | own["b"]
    until_met(places, address, {node: own.get(zone, everybody) for node, zone in ZONES.items()})
    # A pod in the zone that had none: it is served by its own from now on.
    here.serve(server(f"{app}-node-3", app, node="node-3"))
    own["c"] = {f"{app}-node-3"}
    until_met(places, address, {node: own[zone] for node, zone in ZONES.items()})
    here.patch("Service", app, {"spec": {"trafficDistribution": None}})
    until_met(places, address, dict.fromkeys(ZONES, everybody | own["c"]))


def test_each_node_is_served_by_its_own_pod_else_by_its_zone_else_by_all(here: Scene, places: dict[str, Place]) -> None:
    app = "same-node"
    address = serving(here, app, "PreferSameNode", "node-1", "node-4", "node-2")
    everybody = {f"{app}-node-1", f"{app}-node-4", f"{app}-node-2"}
    expected = {node: {f"{app}-{node}"} for node in ("node-1", "node-4", "node-2")}
    expected |= {"node-5": {f"{app}-node-2"}, "node-3": everybody}
    until_met(places, address, expected)


def test_a_node_whose_pod_is_gone_falls_back_and_returns_to_the_next_one(here: Scene, places: dict[str, Place]) -> None:
    app = "returns"
    address = serving(here, app, "PreferSameNode", "node-1", "node-2")
    everybody = {f"{app}-node-1", f"{app}-node-2"}
    first = {"node-1": places["node-1"]}
    until_met(first, address, {"node-1": {f"{app}-node-1"}})
    here.delete("Pod", f"{app}-node-1", grace=0)
    until_met(first, address, {"node-1": everybody - {f"{app}-node-1"}})
    until(lambda: here.gone("Pod", f"{app}-node-1"))
    here.serve(server(f"{app}-node-1", app, node="node-1"))
    until_met(first, address, {"node-1": {f"{app}-node-1"}})
