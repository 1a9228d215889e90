"""Whatever happens to their Pods, and wherever the controller dies: owners come to rest, and Jobs count every Pod once."""

from hypothesis import given
from hypothesis import strategies as st
from workloads import as_kubelet, change, daemon_set, ended, job, later, node, stateful_set, template

from mooring.control.pod_state import active, terminal
from mooring.control.reconcilers.daemon_sets import DaemonSets
from mooring.control.reconcilers.jobs import Jobs
from mooring.control.reconcilers.scheduler import Scheduler
from mooring.control.reconcilers.stateful_sets import StatefulSets
from mooring.model.kinds import DAEMON_SET, JOB, NODE, POD, STATEFUL_SET
from mooring.ports.api import ApiError
from mooring.testing.world import MemoryWorld, settle

CHOICE = st.integers(0, 99)


def pods(world):
    return sorted(world.list(POD), key=lambda each: each["metadata"]["name"])


def alive(world):
    return [each for each in pods(world) if active(each)]


def pick(found, choice):
    return found[choice % len(found)] if found else None


def shake(world, what, choice):
    """Something happens to a Pod, by a kubelet or by people."""
    held = pick(alive(world), choice)
    if what == "kubelet":
        as_kubelet(world, ready=choice % 4 > 0)
    elif what == "later":
        later(world, choice)
    elif held and what == "fail":
        ended(world, held["metadata"]["name"], "Failed", 1)
    elif held and what == "delete":
        world.remove(POD, "default", held["metadata"]["name"])


def until_quiet(reconcilers, world):
    """Controllers and a kubelet in turn, Pods that cannot become ready being deleted, as people do."""
    for _ in range(80):
        at_rest(reconcilers, world)
        before = world.revision
        as_kubelet(world)
        for each in alive(world):
            if each["status"]["conditions"][0]["status"] == "False":
                world.remove(POD, "default", each["metadata"]["name"])
        later(world, 11)
        if world.revision == before and () == settle(reconcilers, world).writes:
            return
    raise AssertionError("never quiet")


def at_rest(reconcilers, world):
    """Nothing is left to do, and asking again does not change that. A name that is still taken is waited for."""
    settle(reconcilers, world)
    assert () == settle(reconcilers, world).writes


COMMON = ("kubelet", "kubelet", "later", "fail", "delete", "image")
EVENTS = st.lists(st.tuples(st.sampled_from([*COMMON, "scale", "policy"]), CHOICE), max_size=12)


@given(EVENTS, st.booleans(), st.sampled_from([0, 1, 2]), st.sampled_from([1, 2, "50%"]))
def test_a_stateful_set_comes_to_rest_with_the_pods_it_should_have(events, parallel, partition, most):
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition, "maxUnavailable": most}}
    policy = "Parallel" if parallel else "OrderedReady"
    world = MemoryWorld([stateful_set(podManagementPolicy=policy, updateStrategy=rolling)])
    replicas = 3
    for what, choice in events:
        at_rest(StatefulSets(), world)
        shake(world, what, choice)
        if what == "scale":
            replicas = choice % 5
            change(world, STATEFUL_SET, "web", spec={"replicas": replicas})
        elif what == "image":
            change(world, STATEFUL_SET, "web", spec={"template": template(f"echo:{choice % 3}")})
        elif what == "policy":
            change(world, STATEFUL_SET, "web", spec={"minReadySeconds": choice % 3})
    until_quiet(StatefulSets(), world)
    assert [f"web-{number}" for number in range(replicas)] == [each["metadata"]["name"] for each in alive(world)]
    held = world.get(STATEFUL_SET, "default", "web")
    wanted = held["spec"]["template"]["spec"]["containers"][0]["image"]
    assert {wanted} >= {each["spec"]["containers"][0]["image"] for each in alive(world)[partition:]}
    assert (replicas, replicas) == (held["status"]["replicas"], held["status"]["availableReplicas"])


NODE_EVENTS = st.lists(st.tuples(st.sampled_from([*COMMON, "taint", "cordon", "node"]), CHOICE), max_size=12)


@given(NODE_EVENTS, st.sampled_from([(1, 0), (2, 0), (0, 1), (0, 2), ("50%", 0)]))
def test_a_daemon_set_comes_to_rest_with_one_pod_a_node(events, limits):
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": limits[0], "maxSurge": limits[1]}}
    world = MemoryWorld([daemon_set(updateStrategy=rolling), *map(node, "abc")])
    together = [DaemonSets(), Scheduler()]
    for what, choice in events:
        at_rest(together, world)
        shake(world, what, choice)
        name = "abcdef"[choice % 6]
        if what == "image":
            change(world, DAEMON_SET, "web", spec={"template": template(f"echo:{choice % 3}")})
        elif what == "node" and world.get(NODE, "", name) is None:
            world.add(node(name))
        elif what in ("taint", "cordon") and world.get(NODE, "", name):
            key = "gpu" if what == "taint" else "node.kubernetes.io/unschedulable"
            change(world, NODE, name, spec={"taints": [{"key": key, "effect": "NoSchedule"}] if choice % 2 else []})
    until_quiet(together, world)
    held = world.get(DAEMON_SET, "default", "web")
    places = [each["spec"]["nodeName"] for each in alive(world)]
    open_nodes = {each["metadata"]["name"] for each in world.list(NODE) if "gpu" not in str(each["spec"])}
    assert len(places) == len(set(places))
    assert open_nodes <= set(places)
    assert {held["spec"]["template"]["spec"]["containers"][0]["image"]} == {
        each["spec"]["containers"][0]["image"] for each in alive(world) if each["spec"]["nodeName"] in open_nodes
    }
    assert len(open_nodes) == held["status"]["desiredNumberScheduled"] == held["status"]["numberAvailable"]


JOB_EVENTS = st.lists(
    st.tuples(st.sampled_from(["kubelet", "succeed", "fail", "delete", "later", "die", "die"]), CHOICE), max_size=25
)


@given(JOB_EVENTS, st.booleans())
def test_a_job_counts_every_pod_once_wherever_its_controller_dies(events, indexed):
    mode = "Indexed" if indexed else "NonIndexed"
    world = MemoryWorld([job(parallelism=3, completions=6, backoffLimit=1000, completionMode=mode)])
    succeeded, lost = {}, set()
    for what, choice in events:
        if what == "die":
            plan = Jobs().plan(("default", "sum"), world)
            for write in plan.writes[: choice % (len(plan.writes) + 1)]:
                try:
                    world.write(write)
                except ApiError as error:
                    assert error.reason in write.ignore
            continue
        at_rest(Jobs(), world) if choice % 2 else None
        held = pick(alive(world), choice)
        if held and what == "succeed":
            index = (held["metadata"].get("annotations") or {}).get("batch.kubernetes.io/job-completion-index")
            succeeded[held["metadata"]["uid"]] = index
            ended(world, held["metadata"]["name"], "Succeeded")
        elif held and what == "fail":
            lost.add(held["metadata"]["uid"])
            ended(world, held["metadata"]["name"], "Failed", 1)
        elif held and what == "delete":
            lost.add(held["metadata"]["uid"])
            going = {**held["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
            world.add({**held, "metadata": going})
        elif what in ("kubelet", "later"):
            shake(world, what, choice)
    at_rest(Jobs(), world)
    as_kubelet(world)  # the end waits for Pods that are still terminating
    at_rest(Jobs(), world)
    status = world.get(JOB, "default", "sum")["status"]
    assert (len(set(succeeded.values())) if indexed else len(succeeded)) == status.get("succeeded", 0)
    assert len(lost) == status.get("failed", 0)
    assert {} == status["uncountedTerminatedPods"]
    assert all(not each["metadata"].get("finalizers") for each in pods(world) if terminal(each))
    done = len(set(succeeded.values())) if indexed else len(succeeded)
    assert (done >= 6) == any(each["type"] == "Complete" for each in status.get("conditions", ()))
