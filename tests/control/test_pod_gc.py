import pytest
from workloads import change, node, pod

from mooring.control.reconcilers.pod_gc import TERMINATED, PodGc
from mooring.model.kinds import NODE, POD
from mooring.ports.api import ApiError
from mooring.testing.world import MemoryWorld, settle


def left(world: MemoryWorld) -> set[str]:
    return {each["metadata"]["name"] for each in world.list(POD)}


def test_pods_of_a_node_that_is_no_more_are_failed_and_removed():
    world = MemoryWorld([node("a"), pod("x", node="a", phase="Running"), pod("y", node="b"), pod("waiting")])
    settled = settle(PodGc(), world)
    assert {"x", "waiting"} == left(world)
    (failed,) = (write.body for write in settled.writes if write.subresource == "status")
    assert "Failed" == failed["status"]["phase"]
    assert ("DisruptionTarget", "DeletionByPodGC", "PodGC: node no longer exists") == tuple(
        failed["status"]["conditions"][0][field] for field in ("type", "reason", "message")
    )
    world.remove(NODE, "", "a")
    settle(PodGc(), world)
    assert {"waiting"} == left(world)


def test_a_node_that_only_our_watch_has_not_seen_keeps_its_pods():
    server, stale = MemoryWorld([node("a"), pod("x", node="a")]), MemoryWorld([pod("x", node="a")])
    first, *_ = PodGc().plan(("", "node/a"), stale).writes
    with pytest.raises(ApiError, match="cannot be fulfilled"):
        server.write(first)


def test_a_pod_deleted_before_it_had_a_node_is_removed():
    going = pod("x", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30})
    world = MemoryWorld([going])
    settle(PodGc(), world)
    assert set() == left(world)


def test_a_going_pod_of_a_node_out_of_service_is_removed_others_stay():
    going = pod("going", node="a", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    world = MemoryWorld([node("a"), going, pod("staying", node="a")])
    settle(PodGc(), world)
    assert {"going", "staying"} == left(world)
    change(world, NODE, "a", spec={"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]})
    settle(PodGc(), world)
    assert {"staying"} == left(world)


def test_too_many_ended_pods_the_evicted_go_first_then_the_eldest():
    def ended(name, day, **status):
        made = {"creationTimestamp": f"2025-01-{day:02}T00:00:00Z"}
        return pod(name, phase=status.pop("phase", "Succeeded"), metadata=made, status=status)

    pods = [ended("old", 1), ended("young", 9), ended("evicted", 20, phase="Failed", reason="Evicted"), ended("mid", 5)]
    world = MemoryWorld([*pods, pod("alive", phase="Running")])
    settled = settle(PodGc(threshold=2), world)
    assert {"young", "mid", "alive"} == left(world)
    assert {TERMINATED: 20.0} == settled.again


def test_no_threshold_keeps_all():
    world = MemoryWorld([pod("x", phase="Failed")])
    settle(PodGc(threshold=0), world)
    assert {"x"} == left(world)


def test_no_change_of_a_pod_on_a_healthy_node_asks_for_anything():
    world = MemoryWorld([node("a")])
    world.changes.clear()
    world.add(pod("x", node="a", phase="Succeeded"))
    assert [] == list(PodGc().keys(world.changes[0], world))
