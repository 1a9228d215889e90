"""DaemonSets in a world in memory: which nodes get a Pod, how versions roll, what the status says."""

import pytest
from workloads import LABELS, as_kubelet, change, daemon_set, later, node, pod, said, template

from mooring.control.reconciler import Apply, Change, Refusal
from mooring.control.reconcilers.daemon_sets import DaemonSets
from mooring.control.reconcilers.scheduler import Scheduler
from mooring.model.kinds import CONTROLLER_REVISION, DAEMON_SET, NODE, POD
from mooring.ports.api import ApiError
from mooring.testing.world import MemoryWorld, settle

KEY = ("default", "web")
CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def of(*nodes, **spec):
    return MemoryWorld([daemon_set(**spec), *nodes])


def rolling(unavailable, surge):
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}


def both(world):
    return settle([DaemonSets(), Scheduler()], world)


def placed(world):
    """{node: image} of the Pods that are not going."""
    alive = [each for each in world.list(POD) if not each["metadata"].get("deletionTimestamp")]
    return {each["spec"].get("nodeName", ""): each["spec"]["containers"][0]["image"] for each in alive}


def status(world):
    held = world.get(DAEMON_SET, *KEY)["status"]
    return {name: held.get(name, 0) for name in (
        "desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberMisscheduled",
    )}  # fmt: skip


def until_quiet(world):
    """Controller, scheduler and kubelet in turn until none has anything to do; the nodes that have a Pod after each turn."""
    seen = []
    for _ in range(40):
        made = both(world)
        seen.append(sorted(placed(world)))
        before = world.revision
        as_kubelet(world)
        if not made.writes and world.revision == before:
            return seen
    raise AssertionError(f"never quiet: {seen[-3:]}")


def test_every_node_gets_one_pod_bound_by_its_name_and_labelled_with_its_version():
    world = of(node("a"), node("b"))
    made = settle(DaemonSets(), world)
    assert {"SuccessfulCreate"} == {report.reason for report in made.reports}
    first, _ = world.list(POD)
    (term,) = first["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [{"key": "metadata.name", "operator": "In", "values": ["a"]}] == term["matchFields"]
    until_quiet(world)
    assert {"a", "b"} == set(placed(world))
    (revision,) = world.list(CONTROLLER_REVISION)
    hash = revision["metadata"]["labels"]["controller-revision-hash"]
    assert {hash} == {each["metadata"]["labels"]["controller-revision-hash"] for each in world.list(POD)}
    assert dict.fromkeys(status(world), 2) | {"numberMisscheduled": 0} == status(world)


def test_daemons_bear_what_others_do_not():
    world = of(node("a"))
    settle(DaemonSets(), world)
    (made,) = world.list(POD)
    borne = {(each["key"].rpartition("/")[2], each["effect"]) for each in made["spec"]["tolerations"]}
    assert {
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    } == borne


def test_a_cordoned_node_gets_one_and_a_tainted_one_does_not():
    cordoned = node("a", spec={"unschedulable": True, "taints": [CORDONED]})
    world = of(cordoned, node("b", spec={"taints": [{"key": "gpu", "effect": "NoSchedule"}]}))
    until_quiet(world)
    assert {"a"} == set(placed(world))
    assert 1 == status(world)["desiredNumberScheduled"]


def test_a_taint_that_comes_later_leaves_the_pod_unless_it_says_no_execute():
    world = of(node("a"), node("b"))
    until_quiet(world)
    change(world, NODE, "a", spec={"taints": [{"key": "gpu", "effect": "NoSchedule"}]})
    until_quiet(world)
    assert ({"a", "b"}, 1, 1) == (
        set(placed(world)),
        status(world)["desiredNumberScheduled"],
        status(world)["numberMisscheduled"],
    )
    change(world, NODE, "a", spec={"taints": [{"key": "gpu", "effect": "NoExecute"}]})
    until_quiet(world)
    assert {"b"} == set(placed(world))


def test_nodes_come_change_their_labels_and_go():
    selecting = template()
    selecting["spec"]["nodeSelector"] = {"disk": "ssd"}
    world = of(node("a", metadata={"labels": {"disk": "ssd"}}), node("b"), template=selecting)
    until_quiet(world)
    assert {"a"} == set(placed(world))
    change(world, NODE, "b", metadata={"labels": {"disk": "ssd"}})
    world.add(node("c", metadata={"labels": {"disk": "ssd"}}))
    until_quiet(world)
    assert {"a", "b", "c"} == set(placed(world))
    change(world, NODE, "a", metadata={"labels": {"disk": "hdd"}})
    until_quiet(world)
    assert {"b", "c"} == set(placed(world))


def test_a_pod_made_for_a_node_that_is_gone_before_it_was_placed_goes():
    world = of(node("a"))
    settle(DaemonSets(), world)
    world.remove(NODE, "", "a")
    settle(DaemonSets(), world)
    assert [] == list(world.list(POD))


def test_heartbeats_of_nodes_concern_nobody():
    world = of(node("a"))
    before = world.get(NODE, "", "a")
    beaten = {**before, "status": {**before["status"], "conditions": []}}
    assert [] == list(DaemonSets().keys(Change(NODE, before, beaten), world))
    assert [KEY] == list(DaemonSets().keys(Change(NODE, before, {**before, "spec": {"taints": [CORDONED]}}), world))
    assert [KEY] == list(DaemonSets().keys(Change(NODE, before, None), world))


def test_a_rolling_update_goes_node_by_node():
    world = of(*map(node, "abc"))
    until_quiet(world)
    change(world, DAEMON_SET, "web", spec={"template": template("echo:2")})
    seen = until_quiet(world)
    assert 2 == min(map(len, seen))
    assert {"a": "echo:2", "b": "echo:2", "c": "echo:2"} == placed(world)
    assert 3 == status(world)["updatedNumberScheduled"]


def test_a_pod_that_does_not_work_is_replaced_by_the_new_version_whatever_the_limit():
    world = of(*map(node, "abc"))
    until_quiet(world)
    broken = next(each for each in world.list(POD) if each["spec"]["nodeName"] == "b")
    world.add({**broken, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}})
    change(world, DAEMON_SET, "web", spec={"template": template("echo:2")})
    both(world)
    assert {"a", "c"} == set(placed(world))


@pytest.mark.parametrize(("most", "left"), [(2, 2), ("50%", 2), ("100%", 0)])
def test_max_unavailable_says_how_many_nodes_may_be_without(most, left):
    world = of(*map(node, "abcd"), updateStrategy=rolling(most, 0))
    until_quiet(world)
    change(world, DAEMON_SET, "web", spec={"template": template("echo:2")})
    both(world)
    assert left == len(placed(world))


def test_with_surge_the_new_pod_comes_before_the_old_one_goes():
    world = of(*map(node, "ab"), updateStrategy=rolling(0, 1))
    until_quiet(world)
    change(world, DAEMON_SET, "web", spec={"template": template("echo:2")})
    both(world)
    assert 3 == len(list(world.list(POD)))
    assert [] == [each for each in world.list(POD) if each["metadata"].get("deletionTimestamp")]
    seen = until_quiet(world)
    assert all(nodes == ["a", "b"] for nodes in seen)
    assert {"a": "echo:2", "b": "echo:2"} == placed(world)
    assert 2 == len(list(world.list(POD)))


def test_on_delete_leaves_the_update_to_whoever_deletes():
    world = of(*map(node, "ab"), updateStrategy={"type": "OnDelete"})
    until_quiet(world)
    change(world, DAEMON_SET, "web", spec={"template": template("echo:2")})
    until_quiet(world)
    assert {"echo:1"} == set(placed(world).values())
    victim = next(each for each in world.list(POD) if each["spec"]["nodeName"] == "a")
    world.remove(POD, "default", victim["metadata"]["name"])
    until_quiet(world)
    assert {"a": "echo:2", "b": "echo:1"} == placed(world)
    assert 1 == status(world)["updatedNumberScheduled"]


def test_versions_are_kept_up_to_the_limit():
    world = of(node("a"), revisionHistoryLimit=1)
    until_quiet(world)
    for number in range(2, 5):
        change(world, DAEMON_SET, "web", spec={"template": template(f"echo:{number}")})
        until_quiet(world)
    assert [3, 4] == sorted(each["revision"] for each in world.list(CONTROLLER_REVISION))


def test_a_failed_pod_is_replaced_but_not_in_a_hurry():
    world = of(node("a"))
    until_quiet(world)
    (first,) = world.list(POD)
    world.add({**first, "status": {"phase": "Failed"}})
    waiting = settle(DaemonSets(), world)
    assert ([], 10.0) == ([write for write in waiting.writes if write.verb == "delete"], waiting.again[KEY])
    later(world, 11)
    name = first["metadata"]["name"]
    report = f"Warning FailedDaemonPod Found failed daemon pod default/{name} on node a, will try to kill it"
    assert report in said(settle(DaemonSets(), world).reports)
    until_quiet(world)
    assert first["metadata"]["uid"] not in [each["metadata"]["uid"] for each in world.list(POD)]
    assert {"a"} == set(placed(world))


def test_a_pod_that_ended_well_is_replaced_at_once():
    world = of(node("a"))
    until_quiet(world)
    (first,) = world.list(POD)
    world.add({**first, "status": {"phase": "Succeeded"}})
    reports = said(settle(DaemonSets(), world).reports)
    name = first["metadata"]["name"]
    assert f"Normal SucceededDaemonPod Found succeeded daemon pod default/{name} on node a, will try to delete it" in reports


def test_of_two_pods_on_a_node_the_younger_goes():
    world = of(node("a"))
    until_quiet(world)
    later(world, 5)
    world.add(pod("second", node="a", phase="Running"))
    deleted = [write.name for write in settle(DaemonSets(), world).writes if write.verb == "delete"]
    assert ["second"] == deleted


def test_minimum_ready_seconds():
    world = of(node("a"), minReadySeconds=30)
    both(world)
    as_kubelet(world)
    waiting = settle(DaemonSets(), world)
    assert 30.0 == waiting.again[KEY]
    assert 1 == world.get(DAEMON_SET, *KEY)["status"]["numberUnavailable"]
    later(world, 31)
    settle(DaemonSets(), world)
    assert 1 == world.get(DAEMON_SET, *KEY)["status"]["numberAvailable"]


@pytest.mark.parametrize(
    ("verb", "reason", "doing"), [("create", "FailedCreate", "creating"), ("delete", "FailedDelete", "deleting")]
)
def test_a_refusal_is_an_event(verb, reason, doing):
    refusal = Refusal(Apply(verb, POD, "default", "web-x"), ApiError(403, "Forbidden", "no"))
    plan = DaemonSets().refused(KEY, [refusal], of(node("a")))
    assert [f"Warning {reason} Error {doing}: no"] == said(plan.reports)


def test_orphans_are_adopted_and_which_sets_they_concern():
    world = of(node("a"))
    stray = pod("stray", node="a", phase="Running")
    assert {KEY} == set(DaemonSets().keys(Change(POD, None, stray), world))
    world.add(stray)
    settle(DaemonSets(), world)
    assert "web" == world.get(POD, "default", "stray")["metadata"]["ownerReferences"][0]["name"]
    assert LABELS == world.get(POD, "default", "stray")["metadata"]["labels"]
