"""Pods with claims: which node, which volume, in which order; and what is said while nothing can be done."""

import pytest
from volume_documents import LOCAL, STANDARD, claim, node_of, storage_class, using, volume
from workloads import namespace, node, pod, said

from mooring.control.reconcilers.persistent_volumes import PersistentVolumes
from mooring.control.reconcilers.scheduler import Scheduler
from mooring.control.volume_matching import BOUND_BY_CONTROLLER, SELECTED_NODE
from mooring.model.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD
from mooring.testing.world import MemoryWorld, settle

HOST = "kubernetes.io/hostname"


def a_world(*documents: dict, nodes: tuple[str, ...] = ("a", "b")) -> MemoryWorld:
    return MemoryWorld([namespace("default"), *(node(n, metadata={"labels": {HOST: n}}) for n in nodes), *documents])


@pytest.mark.parametrize(
    ("documents", "reason"),
    [
        pytest.param([], 'persistentvolumeclaim "data" not found', id="no such claim"),
        pytest.param(
            [claim("data", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]})],
            'persistentvolumeclaim "data" is being deleted',
            id="the claim goes",
        ),
        pytest.param(
            [claim("data", storage="")], "pod has unbound immediate PersistentVolumeClaims", id="nothing to wait for, unbound"
        ),
        pytest.param(
            [claim("data", bound="v", phase="Lost")],
            'persistentvolumeclaim "data" bound to non-existent persistentvolume "v"',
            id="its volume is lost",
        ),
        pytest.param(
            [claim("data", bound="v")],
            "2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
            id="its volume is not there",
        ),
        pytest.param(
            [claim("data", bound="v"), volume("v", node="elsewhere", claim="data")],
            "2 node(s) had volume node affinity conflict",
            id="its volume is somewhere else",
        ),
        pytest.param(
            [LOCAL, claim("data", storage="local")],
            "2 node(s) didn't find available persistent volumes to bind",
            id="no volume is left, and none can be made",
        ),
        pytest.param(
            [claim("data", bound="v", modes=["ReadWriteOncePod"]), volume("v", claim="data"),
             pod("other", node="a", phase="Running", spec=using("data"))],
            "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            id="one Pod alone may use it",
        ),
    ],
)  # fmt: skip
def test_a_pod_whose_volumes_are_not_to_be_had_waits_and_says_why(documents, reason):
    world = a_world(*documents, pod("waiting", spec=using("data")))
    settled = settle(Scheduler(), world)
    assert node_of(world, "waiting") == ""
    assert said(settled.reports) == [f"Warning FailedScheduling 0/2 nodes are available: {reason}."]


def test_a_bound_volume_draws_its_pod_to_its_node():
    world = a_world(claim("data", bound="v"), volume("v", node="b", claim="data"), pod("waiting", spec=using("data")))
    settle(Scheduler(), world)
    assert node_of(world, "waiting") == "b"


def test_the_first_consumer_decides_where_a_claim_is_provisioned_and_waits_for_it():
    world = a_world(STANDARD, claim("data"), pod("waiting", spec=using("data") | {"nodeSelector": {HOST: "b"}}))
    settle(Scheduler(), world)
    waiting = world.get(POD, "default", "waiting")
    assert "nodeName" not in waiting["spec"]
    assert waiting["status"]["nominatedNodeName"] == "b"
    held = world.get(PERSISTENT_VOLUME_CLAIM, "default", "data")
    assert held["metadata"]["annotations"] == {SELECTED_NODE: "b"}


def test_a_static_volume_is_claimed_on_the_chosen_node_before_anything_is_made():
    world = a_world(LOCAL, claim("data", storage="local"), pod("waiting", spec=using("data")))
    world.add(volume("small", node="a", storage="local", size="500Mi"))
    world.add(volume("big", node="b", storage="local", size="9Gi"))
    world.add(volume("right", node="b", storage="local", size="2Gi"))
    settle((Scheduler(), PersistentVolumes()), world)
    assert node_of(world, "waiting") == "b"
    right = world.get(PERSISTENT_VOLUME, "", "right")
    assert right["spec"]["claimRef"]["name"] == "data"
    assert right["metadata"]["annotations"][BOUND_BY_CONTROLLER] == "yes"
    assert "claimRef" not in world.get(PERSISTENT_VOLUME, "", "big")["spec"]
    assert world.get(PERSISTENT_VOLUME_CLAIM, "default", "data")["spec"]["volumeName"] == "right"


def test_two_claims_of_a_pod_get_two_volumes_of_one_node():
    world = a_world(LOCAL, *(claim(n, storage="local") for n in ("one", "two")), pod("waiting", spec=using("one", "two")))
    for name, at in (("a1", "a"), ("b1", "b"), ("b2", "b")):
        world.add(volume(name, node=at, storage="local"))
    settle((Scheduler(), PersistentVolumes()), world)
    assert node_of(world, "waiting") == "b"
    taken = {world.get(PERSISTENT_VOLUME_CLAIM, "default", name)["spec"]["volumeName"] for name in ("one", "two")}
    assert taken == {"b1", "b2"}


def test_a_pod_that_waits_for_its_volume_holds_its_place_against_others():
    """Two Pods that keep apart, each with a claim to be provisioned: they must not choose the same node."""
    apart = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": HOST}
    wish = {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}}
    pods = [pod(f"p{n}", spec=using(f"data-{n}") | wish) for n in (0, 1)]
    world = a_world(STANDARD, claim("data-0"), claim("data-1"), *pods)
    settle(Scheduler(), world)
    nominated = [world.get(POD, "default", f"p{n}")["status"]["nominatedNodeName"] for n in (0, 1)]
    assert sorted(nominated) == ["a", "b"]


def test_a_nomination_that_cannot_be_kept_is_taken_back():
    world = a_world(STANDARD, claim("data"), pod("waiting", spec=using("data")), nodes=("a",))
    settle(Scheduler(), world)
    held = world.get(POD, "default", "waiting")
    assert held["status"]["nominatedNodeName"] == "a"
    data = world.get(PERSISTENT_VOLUME_CLAIM, "default", "data")
    world.add({**data, "metadata": {**data["metadata"], "annotations": {SELECTED_NODE: "gone"}}})
    settle(Scheduler(), world)
    assert "nominatedNodeName" not in world.get(POD, "default", "waiting")["status"]


def test_allowed_topologies_limit_where_a_volume_is_made():
    rule = {"matchLabelExpressions": [{"key": HOST, "values": ["b"]}]}
    limited = storage_class("limited", allowedTopologies=[rule])
    world = a_world(limited, claim("data", storage="limited"), pod("waiting", spec=using("data")))
    settle(Scheduler(), world)
    assert world.get(POD, "default", "waiting")["status"]["nominatedNodeName"] == "b"
