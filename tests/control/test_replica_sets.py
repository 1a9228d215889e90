from datetime import timedelta

import pytest
from workloads import (
    LABELS,
    applied,
    become_ready,
    change,
    deployment,
    document,
    later,
    namespace,
    pod,
    replica_set,
    said,
)

from mooring.control.deletion_order import DELETION_COST, deletion_order
from mooring.control.naming import next_names
from mooring.control.reconciler import Apply, Refusal
from mooring.control.reconcilers.replica_sets import ReplicaSets
from mooring.model.kinds import DEPLOYMENT, NAMESPACE, POD, REPLICA_SET
from mooring.ports.api import ApiError
from mooring.testing.world import EPOCH, MemoryWorld, settle

KEY = ("default", "web")


def owned(world: MemoryWorld) -> list:
    uid = world.get(REPLICA_SET, *KEY)["metadata"]["uid"]
    return list(world.indexed(POD, "owner", uid))


def status(world: MemoryWorld) -> dict:
    return world.get(REPLICA_SET, *KEY)["status"]


def test_makes_the_missing_pods_from_its_template():
    world = MemoryWorld([replica_set(replicas=2)])
    settled = settle(ReplicaSets(), world)
    made = owned(world)[0]
    assert 2 == len(owned(world))
    assert {"app": "web"} == made["metadata"]["labels"]
    assert "web-" == made["metadata"]["generateName"]
    assert made["metadata"]["name"].startswith("web-") and len("web-12345") == len(made["metadata"]["name"])
    owner = world.get(REPLICA_SET, *KEY)
    assert [
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": "web",
            "uid": owner["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ] == made["metadata"]["ownerReferences"]
    assert {"replicas": 2, "fullyLabeledReplicas": 2, "observedGeneration": 1} == owner["status"]
    names = sorted(each["metadata"]["name"] for each in owned(world))
    assert [f"Normal SuccessfulCreate Created pod: {name}" for name in names] == sorted(said(settled.reports))


@pytest.mark.parametrize("ending", ["Failed", "Succeeded"])
def test_replaces_a_pod_that_has_ended(ending):
    world = MemoryWorld([replica_set(replicas=2)])
    settle(ReplicaSets(), world)
    change(world, POD, owned(world)[0]["metadata"]["name"], status={"phase": ending})
    settle(ReplicaSets(), world)
    assert 3 == len(owned(world))
    assert 2 == status(world)["replicas"]


def test_does_not_count_a_terminating_pod():
    world = MemoryWorld([replica_set(replicas=2)])
    settle(ReplicaSets(), world)
    victim = owned(world)[0]
    change(world, POD, victim["metadata"]["name"], spec={"nodeName": "a"})
    world.write(Apply("delete", POD, "default", victim["metadata"]["name"]))
    settle(ReplicaSets(), world)
    assert 3 == len(owned(world))
    assert 2 == status(world)["replicas"]


def test_scales_down_by_deleting_the_surplus_and_says_so():
    world = MemoryWorld([replica_set(replicas=3)])
    settle(ReplicaSets(), world)
    first, second, third = owned(world)
    become_ready(world, first)
    become_ready(world, third)
    change(world, REPLICA_SET, "web", spec={"replicas": 2})
    settled = settle(ReplicaSets(), world)
    assert {first["metadata"]["name"], third["metadata"]["name"]} == {each["metadata"]["name"] for each in owned(world)}
    assert [f"Normal SuccessfulDelete Deleted pod: {second['metadata']['name']}"] == said(settled.reports)
    assert 2 == status(world)["readyReplicas"] == status(world)["availableReplicas"]


def test_a_repeated_plan_from_a_stale_view_asks_for_the_same_names():
    world = MemoryWorld([replica_set(replicas=3)])
    first, again = (ReplicaSets().plan(KEY, world) for _ in range(2))
    assert [write.name for write in first.writes] == [write.name for write in again.writes]


def test_a_create_whose_answer_was_lost_is_asked_for_again_by_the_same_name():
    world = MemoryWorld([replica_set(replicas=3)])
    creates = [write for write in ReplicaSets().plan(KEY, world).writes if write.verb == "create"]
    world.write(creates[0])  # seen; the second reached the server too, but neither answer nor watch told of it
    again = [write for write in ReplicaSets().plan(KEY, world).writes if write.verb == "create"]
    assert [write.name for write in creates[1:]] == [write.name for write in again]


def test_names_are_new_once_the_view_has_moved_on():
    first = next_names("web-", ("uid", "7"), [], 1)
    assert not set(first) & set(next_names("web-", ("uid", "8"), [], 1))
    assert not set(first) & set(next_names("web-", ("uid", "7"), ["web-other"], 1))


def test_a_long_name_is_cut_so_that_the_pod_may_be_a_host_name():
    name = next_names("w" * 70 + "-", ("uid",), [], 1)[0]
    assert 63 == len(name)


def test_adopts_matching_orphans_before_making_pods():
    world = MemoryWorld([replica_set(replicas=2), pod("stray"), pod("other", metadata={"labels": {"app": "db"}})])
    settle(ReplicaSets(), world)
    assert 2 == len(owned(world))
    assert "stray" in {each["metadata"]["name"] for each in owned(world)}
    assert not world.get(POD, "default", "other")["metadata"].get("ownerReferences")


def test_leaves_pods_of_another_controller_alone():
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "x", "controller": True}
    world = MemoryWorld([replica_set(replicas=1), pod("theirs", metadata={"ownerReferences": [reference]})])
    settle(ReplicaSets(), world)
    assert [reference] == world.get(POD, "default", "theirs")["metadata"]["ownerReferences"]
    assert 1 == len(owned(world))


def test_releases_a_pod_whose_labels_no_longer_match_and_replaces_it():
    world = MemoryWorld([replica_set(replicas=1)])
    settle(ReplicaSets(), world)
    name = owned(world)[0]["metadata"]["name"]
    change(world, POD, name, metadata={"labels": {"app": "debugged"}})
    settle(ReplicaSets(), world)
    assert not world.get(POD, "default", name)["metadata"].get("ownerReferences")
    assert 1 == len(owned(world))


def test_available_means_ready_for_min_ready_seconds_and_is_looked_at_again_in_time():
    world = MemoryWorld([replica_set(replicas=1, minReadySeconds=30)])
    settle(ReplicaSets(), world)
    become_ready(world, owned(world)[0])
    later(world, 10)
    settled = settle(ReplicaSets(), world)
    assert 1 == status(world)["readyReplicas"]
    assert "availableReplicas" not in status(world)
    assert {KEY: 20.0} == settled.again
    later(world, 20)
    assert {} == settle(ReplicaSets(), world).again
    assert 1 == status(world)["availableReplicas"]


def test_makes_no_pods_in_a_namespace_that_is_going_away():
    world = MemoryWorld([namespace(), replica_set(replicas=2)])
    world.write(Apply("delete", NAMESPACE, "", "default"))
    settle(ReplicaSets(), world)
    assert [] == owned(world)


def test_makes_no_pods_while_it_is_being_deleted_itself():
    dying = replica_set(replicas=2)
    dying["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"]}
    world = MemoryWorld([dying])
    settle(ReplicaSets(), world)
    assert [] == owned(world)


def test_a_refused_create_is_an_event_and_a_condition_until_it_succeeds():
    world = MemoryWorld([{**replica_set(replicas=1), "status": {"replicas": 9, "readyReplicas": 9}}])
    write = ReplicaSets().plan(KEY, world).writes[0]
    plan = ReplicaSets().refused(KEY, [Refusal(write, ApiError(403, "Forbidden", "quota is used up"))], world)
    for each in plan.writes:
        world.write(each)
    assert ["Warning FailedCreate Error creating: quota is used up"] == said(plan.reports)
    assert {"replicas": 0} == {name: count for name, count in status(world).items() if name.endswith("eplicas")}
    (failure,) = status(world)["conditions"]
    assert ("ReplicaFailure", "True", "FailedCreate", "quota is used up") == tuple(
        failure[field] for field in ("type", "status", "reason", "message")
    )
    settle(ReplicaSets(), world)
    assert "conditions" not in status(world)


def test_a_status_that_somebody_writes_while_it_is_counted_is_put_right_as_a_whole():
    """The server refuses more ready Pods than there are: the counts go together."""
    world = MemoryWorld([replica_set(replicas=2)])
    settle(ReplicaSets(), world)
    become_ready(world, owned(world)[0])
    plan = ReplicaSets().plan(KEY, world)
    change(world, REPLICA_SET, "web", status={"replicas": 9, "readyReplicas": 9, "availableReplicas": 9})
    (patch,) = plan.writes
    world.write(patch)
    wanted = {"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 1, "availableReplicas": 1}
    assert {**wanted, "observedGeneration": 1} == status(world) == patch.body["status"]


def test_bursts_are_limited_and_go_on():
    world = MemoryWorld([replica_set(replicas=501)])
    plan = applied(ReplicaSets(), world, KEY)
    assert 500 == sum(write.verb == "create" for write in plan.writes)
    settle(ReplicaSets(), world)
    assert 501 == len(owned(world))


RUNNING = {"phase": "Running", "node": "a"}
LONG_AGO, LATELY = EPOCH - timedelta(days=7), EPOCH - timedelta(seconds=30)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(pod("b"), pod("a", node="n"), id="unassigned before assigned"),
        pytest.param(pod("b", node="n"), pod("a", node="n", phase="Running"), id="pending before running"),
        pytest.param(pod("b", node="n", phase="Unknown"), pod("a", **RUNNING), id="unknown before running"),
        pytest.param(pod("b", **RUNNING), pod("a", **RUNNING, ready=LATELY), id="not ready before ready"),
        pytest.param(
            pod("b", **RUNNING, ready=LONG_AGO, metadata={"annotations": {DELETION_COST: "-5"}}),
            pod("a", **RUNNING, ready=LATELY),
            id="cheap before dear, whatever comes after",
        ),
        pytest.param(
            pod("b", **RUNNING, ready=LONG_AGO),
            pod("a", phase="Running", node="lonely", ready=LATELY),
            id="where many of its kind are before where few are",
        ),
        pytest.param(pod("b", **RUNNING, ready=LATELY), pod("a", **RUNNING, ready=LONG_AGO), id="newly ready first"),
        pytest.param(
            pod("b", **RUNNING, status={"containerStatuses": [{"restartCount": 4}]}), pod("a", **RUNNING), id="restarts"
        ),
        pytest.param(
            pod("b", **RUNNING, metadata={"creationTimestamp": "2025-12-31T23:59:00Z"}),
            pod("a", **RUNNING, metadata={"creationTimestamp": "2025-01-01T00:00:00Z"}),
            id="young before old",
        ),
    ],
)
def test_deletion_order(first, then):
    crowd = [pod("c", **RUNNING), pod("d", **RUNNING)]
    assert [first, then] == deletion_order([then, first], [first, then, *crowd], EPOCH)


def test_the_neighbourhood_that_counts_is_that_of_the_whole_deployment():
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "d", "controller": True}
    mine, sibling = replica_set("web", 1), replica_set("sibling", 2, selector={"matchLabels": {"app": "sibling"}})
    for each in (mine, sibling):
        each["metadata"] |= {"ownerReferences": [owner], "uid": each["metadata"]["name"]}

    def member(name, of, node):
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": of, "uid": of, "controller": True}
        return pod(name, node=node, phase="Running", metadata={"ownerReferences": [reference], "labels": {"app": of}})

    world = MemoryWorld([document(DEPLOYMENT, "d", spec=deployment()["spec"]), mine, sibling])
    for each in (member("a", "web", "crowded"), member("b", "web", "empty"), member("s", "sibling", "crowded")):
        world.add(each)
    world.add({**mine, "spec": {**mine["spec"], "selector": {"matchLabels": {"app": "web"}}}})
    plan = ReplicaSets().plan(KEY, world)
    assert ["a"] == [write.name for write in plan.writes if write.verb == "delete"]


def test_which_replica_sets_a_pod_concerns():
    world = MemoryWorld([replica_set("web"), replica_set("db", selector={"matchLabels": {"app": "db"}})])
    world.changes.clear()
    world.add(pod("stray"))
    (orphan,) = world.changes
    assert {KEY} == set(ReplicaSets().keys(orphan, world))
    assert LABELS == orphan.after["metadata"]["labels"]
