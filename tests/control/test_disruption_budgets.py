"""How many Pods may be disturbed: expectations by scale, health, what evictions have let go, the condition, the events."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workloads import become_ready, deployment, document, later, pod, replica_set, said

from mooring.control.reconcilers.disruption_budgets import DisruptionBudgets
from mooring.control.times import stamp
from mooring.model.kinds import JOB, POD, POD_DISRUPTION_BUDGET, STATEFUL_SET
from mooring.testing.world import EPOCH, MemoryWorld, settle

Document = dict[str, Any]
WEB = {"matchLabels": {"app": "web"}}


def budget(name: str = "web", status: Document | None = None, selector: Document | None = WEB, **spec: Any) -> Document:
    body = {**spec, **({} if selector is None else {"selector": selector})}
    return document(POD_DISRUPTION_BUDGET, name, spec=body, **({} if status is None else {"status": status}))


def owned(name: str, kind: str, owner: str, uid: str, ready: bool = True, **rest: Any) -> Document:
    group = {"Job": "batch/v1"}.get(kind, "apps/v1")
    reference = {"apiVersion": group, "kind": kind, "name": owner, "uid": uid, "controller": True}
    metadata = {"labels": {"app": "web"}, "ownerReferences": [reference], **rest.pop("metadata", {})}
    return pod(name, node="a", phase="Running", ready=EPOCH if ready else None, metadata=metadata, **rest)


def with_uid(owner: Document, uid: str, **metadata: Any) -> Document:
    return {**owner, "metadata": {**owner["metadata"], "uid": uid, **metadata}}


def web(replicas: int, ready: int | None = None) -> list[Document]:
    """A ReplicaSet `web` and its Pods, the first `ready` of them ready."""
    count = replicas if ready is None else ready
    pods = [owned(f"web-{n}", "ReplicaSet", "web", "rs", n < count) for n in range(replicas)]
    return [with_uid(replica_set("web", replicas), "rs"), *pods]


def settled(*documents: Document) -> tuple[Document, list[str], MemoryWorld]:
    world = MemoryWorld(documents)
    reports = said(settle(DisruptionBudgets(), world).reports)
    return status_of(world), reports, world


def status_of(world: MemoryWorld) -> Document:
    held = world.get(POD_DISRUPTION_BUDGET, "default", "web")
    assert held is not None
    return held["status"]


def counts(status: Document) -> tuple[int, int, int, int]:
    """(allowed, healthy, desired, expected)"""
    names = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    return tuple(status[name] for name in names)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("bound", "replicas", "ready", "expected"),
    [
        pytest.param({"minAvailable": 2}, 3, 3, (1, 3, 2, 3), id="at least two of three"),
        pytest.param({"minAvailable": 2}, 3, 2, (0, 2, 2, 3), id="at least two, and two are ready"),
        pytest.param({"minAvailable": 2}, 3, 1, (0, 1, 2, 3), id="too few already"),
        pytest.param({"minAvailable": 0}, 3, 3, (3, 3, 0, 3), id="none need be there"),
        pytest.param({"minAvailable": "50%"}, 5, 5, (2, 5, 3, 5), id="half of five is three"),
        pytest.param({"minAvailable": "100%"}, 3, 3, (0, 3, 3, 3), id="all"),
        pytest.param({"maxUnavailable": 1}, 3, 3, (1, 3, 2, 3), id="at most one away"),
        pytest.param({"maxUnavailable": 1}, 3, 2, (0, 2, 2, 3), id="at most one away, and one is"),
        pytest.param({"maxUnavailable": "30%"}, 3, 3, (1, 3, 2, 3), id="a share is rounded up"),
        pytest.param({"maxUnavailable": "0%"}, 3, 3, (0, 3, 3, 3), id="nobody may go"),
        pytest.param({"maxUnavailable": 9}, 3, 3, (3, 3, 0, 3), id="more than there are"),
        pytest.param({}, 3, 3, (0, 3, 0, 0), id="no bound allows nothing"),
    ],
)
def test_what_a_budget_allows(bound, replicas, ready, expected):
    status, _, _ = settled(budget(**bound), *web(replicas, ready))
    assert counts(status) == expected
    (condition,) = status["conditions"]
    word, reason = ("True", "SufficientPods") if expected[0] else ("False", "InsufficientPods")
    assert (condition["type"], condition["status"], condition["reason"]) == ("DisruptionAllowed", word, reason)
    assert status["observedGeneration"] == condition["observedGeneration"] == 1


def test_the_scale_is_the_deployments_where_there_is_one():
    """Two ReplicaSets of a rollout do not add up to more than was asked for."""
    above = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": True}
    sets = [with_uid(replica_set(name, count), name, ownerReferences=[above]) for name, count in (("old", 3), ("new", 2))]
    pods = [owned(f"{name}-{n}", "ReplicaSet", name, name) for name, count in (("old", 3), ("new", 2)) for n in range(count)]
    status, _, _ = settled(budget(maxUnavailable=1), with_uid(deployment("web", 4), "d"), *sets, *pods)
    assert counts(status) == (2, 5, 3, 4)


def test_a_stateful_sets_scale_counts():
    owner = with_uid(document(STATEFUL_SET, "db", spec={"replicas": 3}), "s")
    status, _, _ = settled(budget(minAvailable="67%"), owner, *(owned(f"db-{n}", "StatefulSet", "db", "s") for n in range(3)))
    assert counts(status) == (0, 3, 3, 3)


def test_two_owners_scales_are_added_up():
    other = with_uid(replica_set("more", 2), "more")
    pods = [owned(f"more-{n}", "ReplicaSet", "more", "more") for n in range(2)]
    status, _, _ = settled(budget(maxUnavailable=1), *web(3), other, *pods)
    assert counts(status) == (1, 5, 4, 5)


def test_pods_that_nobody_manages_are_told_of_and_count_for_nothing_in_shares():
    status, reports, _ = settled(budget(maxUnavailable=1), pod("bare", node="a", phase="Running", ready=EPOCH))
    assert counts(status) == (0, 1, 0, 0)
    assert reports[0].startswith("Warning UnmanagedPods Pods selected by this PodDisruptionBudget (selector: ")


def test_a_job_has_no_scale_so_nothing_may_be_disturbed():
    status, reports, _ = settled(
        budget(maxUnavailable=1), with_uid(document(JOB, "j", spec={}), "j"), owned("j-1", "Job", "j", "j")
    )
    assert status["disruptionsAllowed"] == 0
    assert (status["conditions"][0]["reason"], status["conditions"][0]["status"]) == ("SyncFailed", "False")
    why = "jobs.batch does not implement the scale subresource"
    assert reports == [f"Warning CalculateExpectedPodCountFailed Failed to calculate the number of expected pods: {why}"]


@pytest.mark.parametrize(("selector", "expected"), [(None, 0), ({}, 3), (WEB, 3), ({"matchLabels": {"app": "x"}}, 0)])
def test_no_selector_selects_nobody_and_an_empty_one_everybody(selector, expected):
    status, reports, _ = settled(budget(selector=selector, minAvailable=1), *web(3))
    assert status["expectedPods"] == expected
    assert reports == ([] if expected else ["Normal NoPods No matching pods found"])


# After evictions --------------------------------------------------------------------------------------------------------


def disturbed(allowed: int, **pods: str) -> Document:
    names = ("currentHealthy", "desiredHealthy", "expectedPods")
    return {"disruptionsAllowed": allowed, **dict.fromkeys(names, 3), "observedGeneration": 1, "disruptedPods": pods}


def test_a_pod_let_go_by_an_eviction_counts_as_gone_before_it_is():
    status, _, _ = settled(budget(maxUnavailable=1, status=disturbed(0, **{"web-0": stamp(EPOCH)})), *web(3))
    assert counts(status) == (0, 2, 2, 3)
    assert status["disruptedPods"] == {"web-0": stamp(EPOCH)}


def test_when_it_ends_it_is_forgotten_and_still_does_not_count():
    documents = web(3)
    documents[1]["metadata"]["deletionTimestamp"] = stamp(EPOCH)
    status, _, _ = settled(budget(maxUnavailable=1, status=disturbed(0, **{"web-0": stamp(EPOCH)})), *documents)
    assert counts(status) == (0, 2, 2, 3)
    assert "disruptedPods" not in status


def test_after_two_minutes_it_counts_again_and_an_event_says_so():
    _, _, world = settled(budget(maxUnavailable=1, status=disturbed(0, **{"web-0": stamp(EPOCH)})), *web(3))
    plan = DisruptionBudgets().plan(("default", "web"), world)
    assert plan.again_after == 121
    later(world, 121)
    reports = said(settle(DisruptionBudgets(), world).reports)
    assert counts(status_of(world)) == (1, 3, 2, 3)
    assert reports == ["Warning NotDeleted Pod was expected by PDB default/web to be deleted but it wasn't"]


def test_a_namesake_that_came_after_the_eviction_counts():
    """A StatefulSet's Pod comes back under its name."""
    late = "2026-01-01T00:00:05Z"
    documents = web(3)
    documents[1]["metadata"]["creationTimestamp"] = late
    status, _, _ = settled(budget(maxUnavailable=1, status=disturbed(0, **{"web-0": stamp(EPOCH)})), *documents)
    assert counts(status) == (1, 3, 2, 3)


def test_an_eviction_in_between_is_never_undone():
    """The plan was made from an older version of the budget: the server refuses it."""
    world = MemoryWorld([budget(maxUnavailable=1), *web(3)])
    plan = DisruptionBudgets().plan(("default", "web"), world)
    held = world.get(POD_DISRUPTION_BUDGET, "default", "web")
    world.add({**held, "status": disturbed(0, **{"web-0": stamp(EPOCH)})})
    with pytest.raises(Exception, match="Operation cannot be fulfilled"):
        for write in plan.writes:
            world.write(write)
    assert status_of(world)["disruptedPods"] == {"web-0": stamp(EPOCH)}


def test_it_follows_its_pods_and_the_scale():
    _, _, world = settled(budget(minAvailable=2), *web(3, ready=2))
    become_ready(world, world.get(POD, "default", "web-2"))
    settle(DisruptionBudgets(), world)
    assert counts(status_of(world)) == (1, 3, 2, 3)
    scheduled = DisruptionBudgets()
    world.changes.clear()
    world.add(with_uid(replica_set("web", 5), "rs"))
    (change,) = world.changes
    assert list(scheduled.keys(change, world)) == [("default", "web")]


@given(
    st.integers(0, 6),
    st.integers(0, 6),
    st.one_of(st.integers(0, 7), st.integers(0, 100).map(lambda n: f"{n}%")),
    st.booleans(),
)
def test_what_is_allowed_never_leaves_fewer_than_desired(replicas, ready, bound, least):
    status, _, _ = settled(
        budget(**{"minAvailable" if least else "maxUnavailable": bound}), *web(replicas, min(ready, replicas))
    )
    allowed, healthy, desired, _ = counts(status)
    assert allowed >= 0
    assert allowed == 0 or healthy - allowed >= desired
