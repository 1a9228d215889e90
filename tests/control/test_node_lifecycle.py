from datetime import timedelta

import pytest
from workloads import all_ready, change, document, later, node, pod, said

from mooring.control.conditions import condition
from mooring.control.reconcilers.node_lifecycle import CONFIRMATION, NodeLifecycle
from mooring.model.kinds import LEASE, NODE, POD
from mooring.ports.api import ApiError
from mooring.testing.world import EPOCH, MemoryWorld, settle

KEY = ("", "a")
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


def lease(seconds: float = 0) -> dict:
    """Renewed this many seconds after the beginning."""
    renewed = (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return document(LEASE, "a", "kube-node-lease", spec={"holderIdentity": "a", "renewTime": renewed})


def taints(world: MemoryWorld) -> list[tuple[str, str]]:
    return [(each["key"], each["effect"]) for each in world.get(NODE, *KEY)["spec"].get("taints") or ()]


def bearing(seconds: int | None = None, key: str = UNREACHABLE) -> dict:
    toleration = {"key": key, "operator": "Exists", "effect": "NoExecute"}
    return {"tolerations": [toleration if seconds is None else {**toleration, "tolerationSeconds": seconds}]}


def test_a_node_that_renews_its_lease_is_left_alone_and_looked_at_when_the_lease_would_run_out():
    world = MemoryWorld([node("a"), lease(30)])
    later(world, 60)
    settled = settle(NodeLifecycle(), world)
    assert ((), {KEY: 10.0}) == (settled.writes, settled.again)


def test_a_node_that_stops_becomes_unknown_and_tainted():
    world = MemoryWorld([node("a"), lease()])
    later(world, 41)
    settled = settle(NodeLifecycle(), world)
    ready = condition(world.get(NODE, *KEY), "Ready")
    assert ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.", "2026-01-01T00:00:41Z") == tuple(
        ready[field] for field in ("status", "reason", "message", "lastTransitionTime")
    )
    assert "NodeStatusNeverUpdated" == condition(world.get(NODE, *KEY), "MemoryPressure")["reason"]
    assert [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")] == taints(world)
    assert "2026-01-01T00:00:41Z" == world.get(NODE, *KEY)["spec"]["taints"][1]["timeAdded"]
    assert ["Normal NodeNotReady Node a status is now: NodeNotReady"] == said(settled.reports)
    assert () == settle(NodeLifecycle(), world).reports


def test_a_node_without_a_lease_is_judged_by_its_status_then_by_its_age():
    world = MemoryWorld([node("a"), document(NODE, "b")])
    later(world, 39)
    settle(NodeLifecycle(), world)
    assert [] == taints(world)
    later(world, 2)
    settle(NodeLifecycle(), world)
    assert "Unknown" == condition(world.get(NODE, *KEY), "Ready")["status"]
    never = condition(world.get(NODE, "", "b"), "Ready")
    assert ("Unknown", "Kubelet never posted node status.") == (never["status"], never["message"])


@pytest.mark.parametrize(
    ("ready", "conditions", "spec", "expected"),
    [
        pytest.param("True", [], {}, [], id="ready"),
        pytest.param("False", [], {}, [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")], id="not ready"),
        pytest.param("True", ["MemoryPressure"], {}, [("node.kubernetes.io/memory-pressure", "NoSchedule")], id="a pressure"),
        pytest.param("True", [], {"unschedulable": True}, [("node.kubernetes.io/unschedulable", "NoSchedule")], id="cordoned"),
        pytest.param(
            "True", [], {"taints": [{"key": NOT_READY, "effect": "NoExecute"}]}, [], id="ready again: ours are taken off"
        ),
        pytest.param(
            "True", [], {"taints": [{"key": "mine", "effect": "NoExecute"}]}, [("mine", "NoExecute")], id="others' stay"
        ),
        pytest.param(
            "False",
            [],
            {"taints": [{"key": UNREACHABLE, "effect": "NoExecute"}]},
            [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
            id="unreachable becomes not ready",
        ),
    ],
)
def test_taints_follow_conditions(ready, conditions, spec, expected):
    given = node("a", ready, spec=spec)
    given["status"]["conditions"] += [{"type": type, "status": "True"} for type in conditions]
    world = MemoryWorld([given, lease()])
    settle(NodeLifecycle(), world)
    assert expected == taints(world)


def test_a_node_that_is_heard_of_again_after_an_outage_has_lost_no_pod():
    """Nobody could renew a lease while the API server was away, and the controllers are the first to be back."""
    there, strict = pod("there", node="a", ready=EPOCH, spec=bearing()), pod("strict", node="a", ready=EPOCH)
    world = MemoryWorld([node("a"), lease(), there, strict])
    later(world, 100)
    assert {KEY: CONFIRMATION} == settle(NodeLifecycle(), world).again
    assert "Unknown" == condition(world.get(NODE, *KEY), "Ready")["status"]
    later(world, 1)
    world.add(lease(101))
    later(world, 10)
    assert {KEY: 30.0} == settle(NodeLifecycle(), world).again  # Its status is yet to come.
    change(world, NODE, "a", status={"conditions": [{"type": "Ready", "status": "True"}]})
    settle(NodeLifecycle(), world)
    later(world, 10)
    settle(NodeLifecycle(), world)
    assert [] == taints(world)
    assert ["True", "True"] == [condition(world.get(POD, "default", each), "Ready")["status"] for each in ("there", "strict")]


def test_a_lease_that_was_renewed_unseen_counts():
    """A process that was stopped for a while finds its timers first, and then what the watch has to tell."""
    documents = node("a"), lease(), pod("there", node="a", ready=EPOCH)
    seen, server = MemoryWorld(documents), MemoryWorld(documents)
    change(server, LEASE, "a", "kube-node-lease", spec=lease(35)["spec"])
    later(seen, 41)
    with pytest.raises(ApiError, match="cannot be fulfilled"):
        for write in NodeLifecycle().plan(KEY, seen).writes:
            server.write(write)
    assert [] == taints(server)


def test_pods_of_a_node_that_is_down_are_not_ready():
    there, ended, elsewhere = (
        pod("there", node="a", ready=EPOCH, spec=bearing()),
        pod("ended", node="a", phase="Failed"),
        pod("elsewhere", node="b", ready=EPOCH),
    )
    world = MemoryWorld([node("a"), lease(), node("b"), there, ended, elsewhere])
    change(
        world,
        NODE,
        "b",
        status={"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:41Z"}]},
    )
    later(world, 41)
    settle(NodeLifecycle(), world)
    later(world, CONFIRMATION)
    settle(NodeLifecycle(), world)
    ready = condition(world.get(POD, "default", "there"), "Ready")
    assert ("False", "2026-01-01T00:00:46Z") == (ready["status"], ready["lastTransitionTime"])
    assert "True" == condition(world.get(POD, "default", "elsewhere"), "Ready")["status"]


def test_eviction_is_at_once_later_or_never_as_the_pod_tolerates():
    pods = [
        pod("never", node="a", spec=bearing()),
        pod("later", node="a", spec=bearing(300)),
        pod("now", node="a"),
    ]
    world = MemoryWorld([node("a"), lease(), *pods])
    later(world, 41)
    settle(NodeLifecycle(), world)
    later(world, CONFIRMATION)
    settled = settle(NodeLifecycle(), world)
    assert ["now"] == [write.name for write in settled.writes if write.verb == "delete"]
    assert "Normal TaintManagerEviction Marking for deletion Pod default/now" in said(settled.reports)
    gone = world.get(POD, "default", "now")
    assert "DeletionByTaintManager" == condition(gone, "DisruptionTarget")["reason"]
    assert {KEY: 300.0 - CONFIRMATION} == settled.again
    later(world, 300)
    settled = settle(NodeLifecycle(), world)
    assert ["later"] == [write.name for write in settled.writes if write.verb == "delete"]


def test_a_taint_that_people_set_evicts_from_a_healthy_node_too():
    world = MemoryWorld([node("a", spec={"taints": [{"key": "mine", "effect": "NoExecute"}]}), lease(), pod("x", node="a")])
    all_ready(world)
    settle(NodeLifecycle(), world)
    assert world.get(POD, "default", "x")["metadata"]["deletionTimestamp"]
    assert "True" == condition(world.get(POD, "default", "x"), "Ready")["status"]


def test_a_pod_wakes_its_node_only_when_that_is_in_trouble():
    world = MemoryWorld([node("a"), node("b", "False")])
    world.changes.clear()
    for name in ("a", "b"):
        world.add(pod(f"on-{name}", node=name))
    assert [[], [("", "b")]] == [list(NodeLifecycle().keys(each, world)) for each in world.changes]
