"""Evictions over the real core and state: budgets, races, dry runs, what is said."""

import json
from typing import Any

import pytest
from core_server import ADMIN, PODS, Server
from hypothesis import given
from hypothesis import strategies as st

from mooring.apiserver.contract import Write
from mooring.store.records import Committed

BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
READY = [{"type": "Ready", "status": "True"}]
VIOLATION = "Cannot evict pod as it would violate the pod's disruption budget."


def running(server: Server, name: str, ready: bool = True, phase: str = "Running", labels: Any = None) -> None:
    document = {
        "metadata": {"name": name, "labels": labels or {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "e"}]},
    }
    assert server.create(PODS, document).status == 201
    assert server.bind(name, "a").status == 201
    status = {"phase": phase, "conditions": READY if ready else []}
    assert server.patch(f"{PODS}/{name}/status", {"status": status}).status == 200


def budget(server: Server, name: str = "web", allowed: int = 1, **status: Any) -> None:
    """As its controller has filled it in."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}, **status.pop("spec", {})}
    assert server.create(BUDGETS, {"metadata": {"name": name}, "spec": spec}).status == 201
    counts = {"disruptionsAllowed": allowed, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3}
    patch = {"status": {**counts, "observedGeneration": 1, **status}}
    assert server.patch(f"{BUDGETS}/{name}/status", patch).status == 200


def eviction(name: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, **rest}


def evict(server: Server, name: str, query: str = "", **rest: Any) -> Any:
    return server.create(f"{PODS}/{name}/eviction{query}", eviction(name, **rest))


@pytest.fixture
def server() -> Server:
    made = Server()
    made.node("a")
    return made


def going(server: Server, name: str) -> bool:
    found = server.get(f"{PODS}/{name}")
    return found.status == 404 or "deletionTimestamp" in found.body["metadata"]


def test_without_a_budget_a_pod_is_deleted_gracefully_and_told_why(server):
    running(server, "p")
    answer = evict(server, "p")
    assert (answer.status, answer.body["status"], answer.body["code"]) == (201, "Success", 201)
    held = server.get(f"{PODS}/p").body
    assert held["metadata"]["deletionGracePeriodSeconds"] == 30
    (told,) = [each for each in held["status"]["conditions"] if each["type"] == "DisruptionTarget"]
    assert (told["status"], told["reason"], told["message"]) == ("True", "EvictionByEvictionAPI", "Eviction API: evicting")


def test_an_eviction_takes_one_from_the_budget_in_the_same_revision(server):
    running(server, "p")
    budget(server, allowed=2)
    before = server.state.revision
    assert evict(server, "p").status == 201
    assert server.state.revision == before + 1
    status = server.get(f"{BUDGETS}/web").body["status"]
    assert status["disruptionsAllowed"] == 1
    assert status["disruptedPods"] == {"p": "2026-01-01T00:00:00Z"}
    assert going(server, "p")


def test_the_last_one_turns_the_condition(server):
    running(server, "p")
    budget(server, allowed=1)
    evict(server, "p")
    (condition,) = server.get(f"{BUDGETS}/web").body["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("DisruptionAllowed", "False", "InsufficientPods")


def test_a_budget_that_is_used_up_refuses_with_429_and_its_cause(server):
    running(server, "p")
    budget(server, allowed=0)
    answer = evict(server, "p")
    assert (answer.status, answer.body["reason"], answer.message) == (429, "TooManyRequests", VIOLATION)
    why = "The disruption budget web needs 2 healthy pods and has 3 currently"
    assert answer.body["details"]["causes"] == [{"reason": "DisruptionBudget", "message": why}]
    assert not going(server, "p")


def test_a_budget_that_its_controller_has_not_seen_yet_refuses_and_says_when_to_ask_again(server):
    running(server, "p")
    budget(server, allowed=3, observedGeneration=0)
    answer = evict(server, "p")
    assert answer.status == 429
    assert answer.body["details"]["causes"][0]["message"] == "The disruption budget web is still being processed by the server."
    assert ("Retry-After", "10") in answer.headers


def test_a_budget_that_could_not_be_calculated_says_so(server):
    running(server, "p")
    failed = {"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no scale",
              "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    budget(server, allowed=0, conditions=[failed])
    why = "The disruption budget web does not allow evicting pods currently because it failed sync: no scale"
    assert evict(server, "p").body["details"]["causes"][0]["message"] == why


def test_two_budgets_for_one_pod_are_an_error_of_the_cluster(server):
    running(server, "p")
    budget(server, "one")
    budget(server, "two")
    answer = evict(server, "p")
    words = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    assert (answer.status, answer.message) == (500, words)
    assert not going(server, "p")


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
def test_what_does_not_run_needs_no_budget(server, phase):
    running(server, "p", phase=phase)
    budget(server, allowed=0)
    assert evict(server, "p").status == 201
    assert going(server, "p")
    assert "disruptedPods" not in server.get(f"{BUDGETS}/web").body["status"]


def test_what_is_ending_already_costs_nothing(server):
    running(server, "p")
    budget(server, allowed=1)
    server.delete(f"{PODS}/p")
    assert evict(server, "p").status == 201
    assert server.get(f"{BUDGETS}/web").body["status"]["disruptionsAllowed"] == 1


@pytest.mark.parametrize(
    ("policy", "healthy", "status"),
    [
        pytest.param(None, 2, 201, id="unhealthy, and enough others are healthy"),
        pytest.param(None, 1, 429, id="unhealthy, and every one is needed"),
        pytest.param("IfHealthyBudget", 1, 429, id="the same, said"),
        pytest.param("AlwaysAllow", 1, 201, id="unhealthy ones may always go"),
    ],
)
def test_unhealthy_pods(server, policy, healthy, status):
    running(server, "sick", ready=False)
    spec = {"unhealthyPodEvictionPolicy": policy} if policy else {}
    budget(server, allowed=0, currentHealthy=healthy, spec=spec)
    assert evict(server, "sick").status == status
    assert going(server, "sick") == (status == 201)


@pytest.mark.parametrize("how", [{"query": "?dryRun=All"}, {"deleteOptions": {"dryRun": ["All"]}}])
def test_a_dry_run_decides_the_same_and_changes_nothing(server, how):
    running(server, "p")
    budget(server, allowed=1)
    before = server.state.revision
    assert evict(server, "p", **how).status == 201
    assert server.state.revision == before
    server.patch(f"{BUDGETS}/web/status", {"status": {"disruptionsAllowed": 0}})
    assert evict(server, "p", **how).status == 429


def test_delete_options_are_kept(server):
    running(server, "p")
    assert evict(server, "p", deleteOptions={"gracePeriodSeconds": 5}).status == 201
    assert server.get(f"{PODS}/p").body["metadata"]["deletionGracePeriodSeconds"] == 5
    running(server, "q")
    refused = evict(server, "q", deleteOptions={"preconditions": {"uid": "another"}})
    assert (refused.status, refused.body["reason"]) == (409, "Conflict")
    assert evict(server, "q", deleteOptions={"gracePeriodSeconds": 0}).status == 201
    assert server.get(f"{PODS}/q").status == 404


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({**eviction("other")}, 400, "name in URL does not match name in Eviction object"),
        ({**eviction("p"), "deleteOptions": {"gracePeriodSeconds": "x"}}, 400, "gracePeriodSeconds"),
        ({**eviction("p"), "deleteOptions": {"propagationPolicy": "Sometimes"}}, 422, "propagationPolicy"),
        ({**eviction("p"), "apiVersion": "policy/v2"}, 400, "does not match the expected API version"),
        ({**eviction("p"), "kind": "Binding"}, 400, "Binding"),
        ([], 400, ""),
        (b"\x00nonsense", 400, "unrecognized"),
    ],
)
def test_a_bad_body_is_refused_with_its_fault(server, body, status, message):
    running(server, "p")
    answer = server.create(f"{PODS}/p/eviction", body)
    assert answer.status == status
    assert message in answer.message
    assert not going(server, "p")


def test_the_older_version_is_taken_too(server):
    running(server, "p")
    assert server.create(f"{PODS}/p/eviction", {**eviction("p"), "apiVersion": "policy/v1beta1"}).status == 201


def test_a_pod_that_is_not_there(server):
    assert evict(server, "nobody").status == 404


def test_discovery_says_how_to_evict(server):
    listed = server.get("/api/v1").body["resources"]
    (found,) = [each for each in listed if each["name"] == "pods/eviction"]
    assert (found["kind"], found["group"], found["version"], found["verbs"]) == ("Eviction", "policy", "v1", ["create"])
    assert server.get("/apis/policy/v1").body["resources"][0]["name"] == "poddisruptionbudgets"


def test_two_evictions_decided_from_one_snapshot_cannot_both_pass(server):
    running(server, "p")
    running(server, "q")
    budget(server, allowed=1)
    first, second = (server.decide("POST", f"{PODS}/{name}/eviction", eviction(name)) for name in "pq")
    assert isinstance(first, Write)
    assert isinstance(second, Write)
    assert isinstance(server.state.apply(first.txn), Committed)
    assert not isinstance(server.state.apply(second.txn), Committed)
    assert evict(server, "q").status == 429
    assert [going(server, name) for name in "pq"] == [True, False]


@given(st.integers(0, 3), st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12), st.randoms(use_true_random=False))
def test_evictions_in_any_order_never_take_more_than_the_budget_allows(allowed, attempts, dice):
    """Decided from snapshots of any age, committed in any order, asked again after a conflict or not."""
    server = Server()
    server.node("a")
    for number in range(4):
        running(server, f"p{number}")
    budget(server, allowed=allowed)
    decided = [(f"p{n}", again, server.decide("POST", f"{PODS}/p{n}/eviction", eviction(f"p{n}"))) for n, again in attempts]
    dice.shuffle(decided)
    for name, again, outcome in decided:
        if isinstance(outcome, Write) and not isinstance(server.state.apply(outcome.txn), Committed) and again:
            assert evict(server, name).status in (201, 429)
    gone = [n for n in range(4) if going(server, f"p{n}")]
    status = server.get(f"{BUDGETS}/web").body["status"]
    assert len(gone) <= allowed
    assert status["disruptionsAllowed"] == allowed - len(gone)
    assert set(status.get("disruptedPods", {})) == {f"p{n}" for n in gone}


def test_it_may_not_be_asked_without_a_name():
    assert Server().create("/api/v1/namespaces/default/pods/x/eviction/y", eviction("x"), user=ADMIN).status == 404


def test_a_protobuf_eviction_is_read(server):
    """As kubectl's typed client sends it: TypeMeta, then metadata { name: "p" }."""
    running(server, "p")

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    raw = field(1, field(1, b"p"))
    unknown = field(1, field(1, b"policy/v1") + field(2, b"Eviction")) + field(2, raw)
    answer = server.create(f"{PODS}/p/eviction", b"k8s\x00" + unknown, content_type="application/vnd.kubernetes.protobuf")
    assert answer.status == 201, json.dumps(answer.body)
    assert going(server, "p")
