"""StatefulSets in a world in memory: order, names, claims, versions and status, step by step."""

import json
from itertools import groupby

import pytest
from workloads import LABELS, as_kubelet, change, document, later, pod, said, stateful_set, template

from mooring.control.reconciler import Apply, Change, Refusal
from mooring.control.reconcilers.garbage_collector import GarbageCollector
from mooring.control.reconcilers.stateful_sets import StatefulSets
from mooring.model.kinds import CONTROLLER_REVISION, PERSISTENT_VOLUME_CLAIM, POD, STATEFUL_SET
from mooring.ports.api import ApiError
from mooring.testing.world import MemoryWorld, settle

KEY = ("default", "web")
CLAIM = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def names(world, kind=POD):
    return sorted(each["metadata"]["name"] for each in world.list(kind))


def status(world):
    return world.get(STATEFUL_SET, *KEY)["status"]


def until_quiet(world, ready=True):
    """Controller and kubelet in turn until neither has anything to do; the names of the Pods after each turn."""
    seen = []
    for _ in range(40):
        made = settle(StatefulSets(), world)
        seen.append([name for name in names(world) if not world.get(POD, "default", name)["metadata"].get("deletionTimestamp")])
        before = world.revision
        as_kubelet(world, ready)
        if not made.writes and world.revision == before:
            return seen
    raise AssertionError(f"never quiet: {seen[-3:]}")


def images(world):
    return {each["metadata"]["name"]: each["spec"]["containers"][0]["image"] for each in world.list(POD)}


def update(world, image, **spec):
    change(world, STATEFUL_SET, "web", spec={"template": template(image), **spec})


def test_pods_come_one_after_the_other_each_when_those_before_it_are_ready():
    world = MemoryWorld([stateful_set()])
    first = settle(StatefulSets(), world)
    assert ["web-0"] == names(world)
    assert "Normal SuccessfulCreate create Pod web-0 in StatefulSet web successful" in said(first.reports)
    as_kubelet(world, ready=False)
    assert not [write for write in settle(StatefulSets(), world).writes if write.kind == POD]
    assert [["web-0"], ["web-0", "web-1"], ["web-0", "web-1", "web-2"]] == until_quiet(world)[:3]
    assert {"replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "currentReplicas": 3, "updatedReplicas": 3}.items() <= (
        status(world).items()
    )
    assert status(world)["currentRevision"] == status(world)["updateRevision"] == names(world, CONTROLLER_REVISION)[0]


def test_a_pod_has_its_stable_name_labels_and_host_name():
    world = MemoryWorld([stateful_set(serviceName="peers", ordinals={"start": 5}, replicas=1)])
    settle(StatefulSets(), world)
    (made,) = world.list(POD)
    labels = made["metadata"]["labels"]
    assert ("web-5", "web-5", "peers") == (made["metadata"]["name"], made["spec"]["hostname"], made["spec"]["subdomain"])
    assert "web-5" == labels["statefulset.kubernetes.io/pod-name"]
    assert "5" == labels["apps.kubernetes.io/pod-index"]
    assert status(world)["updateRevision"] == labels["controller-revision-hash"]
    assert LABELS.items() <= labels.items()
    assert ("StatefulSet", True) == tuple(made["metadata"]["ownerReferences"][0][name] for name in ("kind", "controller"))


def test_parallel_makes_and_deletes_all_at_once():
    world = MemoryWorld([stateful_set(podManagementPolicy="Parallel")])
    settle(StatefulSets(), world)
    assert ["web-0", "web-1", "web-2"] == names(world)
    as_kubelet(world)
    change(world, STATEFUL_SET, "web", spec={"replicas": 0})
    writes = settle(StatefulSets(), world).writes
    assert {"web-0", "web-1", "web-2"} == {write.name for write in writes if write.verb == "delete"}


@pytest.mark.parametrize(("policy", "made"), [("OrderedReady", 1), ("Parallel", 500)])
def test_a_set_of_two_thousand_million_holds_nobody_up(policy, made):
    world = MemoryWorld([stateful_set(podManagementPolicy=policy, replicas=2**31 - 1)])
    writes = StatefulSets().plan(("default", "web"), world).writes
    assert made == sum(write.kind == POD for write in writes)


def test_scaling_down_takes_the_highest_number_first_and_waits_for_its_end():
    world = MemoryWorld([stateful_set()])
    until_quiet(world)
    change(world, STATEFUL_SET, "web", spec={"replicas": 1})
    assert [["web-0", "web-1"], ["web-0"]] == until_quiet(world)[:2]
    assert 1 == status(world)["replicas"]


def test_scaling_down_waits_while_a_pod_before_it_is_not_ready():
    world = MemoryWorld([stateful_set()])
    until_quiet(world)
    held = world.get(POD, "default", "web-0")
    world.add({**held, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}})
    change(world, STATEFUL_SET, "web", spec={"replicas": 1})
    assert not [write for write in settle(StatefulSets(), world).writes if write.verb == "delete"]


def test_a_rolling_update_replaces_the_highest_number_first_one_at_a_time():
    world = MemoryWorld([stateful_set()])
    until_quiet(world)
    old = status(world)["currentRevision"]
    update(world, "echo:2")
    settle(StatefulSets(), world)
    assert (old, 2) == (status(world)["currentRevision"], status(world)["currentReplicas"])
    assert old != status(world)["updateRevision"]
    three, two = ["web-0", "web-1", "web-2"], ["web-0", "web-1"]
    order = [two, three, ["web-0", "web-2"], three, ["web-1", "web-2"], three]
    turns = [two, *until_quiet(world)]
    assert order == [pods for pods, _ in groupby(turns)]
    assert {"echo:2"} == set(images(world).values())
    assert status(world)["currentRevision"] == status(world)["updateRevision"] != old
    assert 3 == status(world)["currentReplicas"]


def test_a_partition_holds_the_lower_numbers_back_even_when_they_are_made_anew():
    world = MemoryWorld([stateful_set()])
    until_quiet(world)
    update(world, "echo:2", updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
    until_quiet(world)
    assert {"web-0": "echo:1", "web-1": "echo:1", "web-2": "echo:2"} == images(world)
    world.remove(POD, "default", "web-0")
    until_quiet(world)
    assert "echo:1" == images(world)["web-0"]
    assert status(world)["currentRevision"] != status(world)["updateRevision"]
    change(world, STATEFUL_SET, "web", spec={"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}})
    until_quiet(world)
    assert {"echo:2"} == set(images(world).values())


def test_on_delete_leaves_the_update_to_whoever_deletes():
    world = MemoryWorld([stateful_set(updateStrategy={"type": "OnDelete"})])
    until_quiet(world)
    update(world, "echo:2")
    until_quiet(world)
    assert {"echo:1"} == set(images(world).values())
    world.remove(POD, "default", "web-1")
    until_quiet(world)
    assert {"web-0": "echo:1", "web-1": "echo:2", "web-2": "echo:1"} == images(world)


@pytest.mark.parametrize(("most", "down"), [(2, ["web-2", "web-3"]), ("50%", ["web-2", "web-3"]), ("10%", ["web-3"])])
def test_max_unavailable_lets_several_go_at_once(most, down):
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": most}}
    world = MemoryWorld([stateful_set(replicas=4, podManagementPolicy="Parallel", updateStrategy=rolling)])
    until_quiet(world)
    update(world, "echo:2")
    writes = settle(StatefulSets(), world).writes
    assert down == sorted(write.name for write in writes if write.verb == "delete")
    until_quiet(world)
    assert {"echo:2"} == set(images(world).values())


def test_a_pod_stuck_in_a_broken_version_holds_its_own_repair_up_until_it_is_deleted():
    world = MemoryWorld([stateful_set(replicas=2)])
    until_quiet(world)
    update(world, "broken")
    settle(StatefulSets(), world)
    world.remove(POD, "default", "web-1")
    settle(StatefulSets(), world)
    as_kubelet(world, ready=False)
    update(world, "echo:1")
    assert not [write for write in settle(StatefulSets(), world).writes if write.kind == POD]
    world.remove(POD, "default", "web-1")
    until_quiet(world)
    assert {"echo:1"} == set(images(world).values())


def test_minimum_ready_seconds_count_for_availability_and_for_the_next_pod():
    world = MemoryWorld([stateful_set(replicas=2, minReadySeconds=30)])
    settle(StatefulSets(), world)
    as_kubelet(world)
    waiting = settle(StatefulSets(), world)
    assert (["web-0"], 30.0) == (names(world), waiting.again[KEY])
    assert (1, 0) == (status(world)["readyReplicas"], status(world)["availableReplicas"])
    later(world, 31)
    settle(StatefulSets(), world)
    assert ["web-0", "web-1"] == names(world)
    assert 1 == status(world)["availableReplicas"]


def test_a_pod_that_has_ended_is_replaced():
    world = MemoryWorld([stateful_set(replicas=1)])
    until_quiet(world)
    before = world.get(POD, "default", "web-0")
    world.add({**before, "status": {"phase": "Failed", "reason": "Evicted"}})
    until_quiet(world)
    assert before["metadata"]["uid"] != world.get(POD, "default", "web-0")["metadata"]["uid"]


# Claims -----------------------------------------------------------------------------------------------------------------


def test_claims_are_made_before_the_pod_and_mounted_by_it():
    given = {**CLAIM, "metadata": {"name": "data", "labels": {"tier": "disk"}}}
    world = MemoryWorld([stateful_set(replicas=1, volumeClaimTemplates=[given])])
    found = settle(StatefulSets(), world)
    kinds = [write.kind for write in found.writes if write.kind in (POD, PERSISTENT_VOLUME_CLAIM)]
    assert [PERSISTENT_VOLUME_CLAIM, POD] == kinds
    held = world.get(PERSISTENT_VOLUME_CLAIM, "default", "data-web-0")
    assert {"tier": "disk", **LABELS} == held["metadata"]["labels"]
    assert "ownerReferences" not in held["metadata"]
    (made,) = world.list(POD)
    assert [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}}] == made["spec"]["volumes"]
    assert "Normal SuccessfulCreate create Claim data-web-0 Pod web-0 in StatefulSet web success" in said(found.reports)


def test_claims_outlive_pods_and_set_unless_the_policy_says_otherwise():
    world = MemoryWorld([stateful_set(replicas=2, volumeClaimTemplates=[CLAIM])])
    until_quiet(world)
    change(world, STATEFUL_SET, "web", spec={"replicas": 1})
    until_quiet(world)
    assert ["data-web-0", "data-web-1"] == names(world, PERSISTENT_VOLUME_CLAIM)


def test_claims_of_a_scaled_down_pod_go_with_it_and_those_of_the_set_with_the_set():
    policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
    world = MemoryWorld([stateful_set(replicas=2, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy)])
    until_quiet(world)
    change(world, STATEFUL_SET, "web", spec={"replicas": 1})
    settle(StatefulSets(), world)
    owner = world.get(PERSISTENT_VOLUME_CLAIM, "default", "data-web-1")["metadata"]["ownerReferences"]
    assert [("Pod", "web-1")] == [(each["kind"], each["name"]) for each in owner]
    as_kubelet(world)
    settle([StatefulSets(), GarbageCollector()], world)
    assert ["data-web-0"] == names(world, PERSISTENT_VOLUME_CLAIM)
    world.remove(STATEFUL_SET, *KEY)
    settle([StatefulSets(), GarbageCollector()], world)
    as_kubelet(world)
    settle(GarbageCollector(), world)
    assert [[], [], []] == [names(world, kind) for kind in (POD, PERSISTENT_VOLUME_CLAIM, CONTROLLER_REVISION)]


def test_a_policy_that_changes_is_applied_to_claims_that_are_there():
    world = MemoryWorld([stateful_set(replicas=1, volumeClaimTemplates=[CLAIM])])
    until_quiet(world)
    change(world, STATEFUL_SET, "web", spec={"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}})
    until_quiet(world)
    (owner,) = world.get(PERSISTENT_VOLUME_CLAIM, "default", "data-web-0")["metadata"]["ownerReferences"]
    assert "StatefulSet" == owner["kind"]


def test_a_claim_that_goes_with_an_earlier_pod_is_waited_for():
    stale = {"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "an-earlier-one", "controller": True}
    held = document(PERSISTENT_VOLUME_CLAIM, "data-web-0", metadata={"ownerReferences": [stale]}, spec={})
    world = MemoryWorld([stateful_set(replicas=1, volumeClaimTemplates=[CLAIM]), held])
    settle(StatefulSets(), world)
    assert [] == names(world)
    world.changes.clear()
    world.remove(PERSISTENT_VOLUME_CLAIM, "default", "data-web-0")
    assert {KEY} == set(StatefulSets().keys(world.changes[-1], world))
    settle(StatefulSets(), world)
    assert ["web-0"] == names(world)


# Versions ---------------------------------------------------------------------------------------------------------------


def revisions(world):
    held = {each["revision"]: each["data"]["spec"]["template"]["spec"] for each in world.list(CONTROLLER_REVISION)}
    return {number: spec["containers"][0]["image"] for number, spec in held.items()}


def test_versions_are_numbered_and_one_that_comes_back_gets_the_next_number():
    world = MemoryWorld([stateful_set(replicas=1)])
    until_quiet(world)
    for image in ("echo:2", "echo:1"):
        update(world, image)
        until_quiet(world)
    assert {2: "echo:2", 3: "echo:1"} == revisions(world)
    (first, _) = sorted(world.list(CONTROLLER_REVISION), key=lambda each: each["revision"])
    patch = first["data"]["spec"]["template"]
    assert ("replace", None) == (patch["$patch"], patch["metadata"]["creationTimestamp"])
    assert json.dumps(patch) == json.dumps(patch, sort_keys=True)


def test_history_beyond_the_limit_is_forgotten_but_never_what_pods_run():
    world = MemoryWorld([stateful_set(replicas=1, revisionHistoryLimit=1)])
    until_quiet(world)
    for number in range(2, 6):
        update(world, f"echo:{number}")
        until_quiet(world)
    assert {4: "echo:4", 5: "echo:5"} == revisions(world)


def test_a_revision_whose_name_is_taken_gets_another():
    world = MemoryWorld([stateful_set(replicas=1)])
    settle(StatefulSets(), world)
    (made,) = world.list(CONTROLLER_REVISION)
    stranger = document(CONTROLLER_REVISION, made["metadata"]["name"], data={"other": True}, revision=1)
    again = MemoryWorld([stateful_set(replicas=1), stranger])
    settle(StatefulSets(), again)
    assert 1 == status(again)["collisionCount"]
    assert made["metadata"]["name"] != status(again)["updateRevision"]


# Ownership and refusals -------------------------------------------------------------------------------------------------


def test_orphans_that_fit_by_name_and_labels_are_adopted_and_labelled_and_strangers_let_go():
    patient = stateful_set(replicas=1, updateStrategy={"type": "OnDelete"})
    world = MemoryWorld([patient, pod("web-0", node="n"), pod("other-0"), pod("web-x")])
    settle(StatefulSets(), world)
    as_kubelet(world)
    found = settle(StatefulSets(), world)
    adopted = world.get(POD, "default", "web-0")
    assert "0" == adopted["metadata"]["labels"]["apps.kubernetes.io/pod-index"]
    assert "web" == adopted["metadata"]["ownerReferences"][0]["name"]
    assert "Normal SuccessfulUpdate update Pod web-0 in StatefulSet web successful" in said(found.reports)
    assert "ownerReferences" not in world.get(POD, "default", "other-0")["metadata"]
    relabelled = world.get(POD, "default", "web-0")
    world.add({**relabelled, "metadata": {**relabelled["metadata"], "labels": {"app": "else"}}})
    with pytest.raises(ApiError, match="already exists"):  # its name is taken until it is gone
        settle(StatefulSets(), world)
    assert not world.get(POD, "default", "web-0")["metadata"].get("ownerReferences")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            Apply("create", POD, "default", "web-0"),
            "Warning FailedCreate create Pod web-0 in StatefulSet web failed error: exceeded quota",
        ),
        (
            Apply("delete", POD, "default", "web-0"),
            "Warning FailedDelete delete Pod web-0 in StatefulSet web failed error: exceeded quota",
        ),
        (
            Apply("create", PERSISTENT_VOLUME_CLAIM, "default", "data-web-0"),
            "Warning FailedCreate create Claim data-web-0 for Pod web-0 in StatefulSet web failed error: exceeded quota",
        ),
    ],
)
def test_a_refusal_is_an_event(write, message):
    world = MemoryWorld([stateful_set()])
    plan = StatefulSets().refused(KEY, [Refusal(write, ApiError(403, "Forbidden", "exceeded quota"))], world)
    assert [message] == said(plan.reports)
    assert {"status"} == {each.subresource for each in plan.writes}


def test_a_set_that_is_being_deleted_makes_nothing():
    going = stateful_set()
    going["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"]}
    world = MemoryWorld([going])
    assert {"status"} == {write.subresource for write in settle(StatefulSets(), world).writes}


def test_which_sets_a_pod_concerns():
    world = MemoryWorld([stateful_set(), stateful_set("db", selector={"matchLabels": {"app": "db"}})])
    assert {KEY} == set(StatefulSets().keys(Change(POD, None, pod("web-7")), world))
    assert set() == set(StatefulSets().keys(Change(POD, None, pod("stray")), world))
