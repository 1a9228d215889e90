"""Jobs in a world in memory: completions, failures, deadlines, indexes, and that every Pod is counted once."""

from datetime import timedelta

import pytest
from workloads import as_kubelet, change, document, ended, job, later, pod, said

from mooring.control.conditions import condition
from mooring.control.reconciler import Apply, Change, Refusal
from mooring.control.reconcilers.jobs import Jobs
from mooring.control.times import stamp
from mooring.model.kinds import JOB, NAMESPACE, POD
from mooring.ports.api import ApiError
from mooring.testing.world import EPOCH, MemoryWorld, settle

KEY = ("default", "sum")
INDEX = "batch.kubernetes.io/job-completion-index"
TRACKING = "batch.kubernetes.io/job-tracking"


def status(world):
    return world.get(JOB, *KEY)["status"]


def pods(world):
    return sorted(world.list(POD), key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"]))


def running(world):
    return [each["metadata"]["name"] for each in pods(world) if each["status"]["phase"] == "Running"]


def started(**spec):
    """A world where the Job's first Pods run."""
    world = MemoryWorld([job(**spec)])
    settle(Jobs(), world)
    as_kubelet(world)
    settle(Jobs(), world)
    return world


def conditions(world):
    return {each["type"]: each["reason"] for each in status(world).get("conditions", ()) if each["status"] == "True"}


def end(world, *names, phase="Succeeded", code=0):
    for name in names:
        ended(world, name, phase, code)
    return settle(Jobs(), world)


def fail(world, *names, code=1):
    return end(world, *names, phase="Failed", code=code)


def again(world, seconds):
    later(world, seconds)
    settle(Jobs(), world)
    as_kubelet(world)
    return settle(Jobs(), world)


# Success ----------------------------------------------------------------------------------------------------------------


def test_a_job_makes_a_pod_that_holds_the_finalizer_and_is_complete_when_it_has_succeeded():
    world = MemoryWorld([job()])
    made = settle(Jobs(), world)
    (first,) = pods(world)
    assert ([TRACKING], "sum") == (first["metadata"]["finalizers"], first["metadata"]["ownerReferences"][0]["name"])
    assert [f"Normal SuccessfulCreate Created pod: {first['metadata']['name']}"] == said(made.reports)
    assert {"active": 1, "ready": 0, "terminating": 0, "startTime": stamp(EPOCH)}.items() <= status(world).items()
    as_kubelet(world)
    settle(Jobs(), world)
    assert (1, 1) == (status(world)["active"], status(world)["ready"])
    later(world, 3)
    done = end(world, first["metadata"]["name"])
    assert {"Complete": "CompletionsReached", "SuccessCriteriaMet": "CompletionsReached"} == conditions(world)
    assert stamp(EPOCH + timedelta(seconds=3)) == status(world)["completionTime"]
    assert (1, {}) == (status(world)["succeeded"], status(world)["uncountedTerminatedPods"])
    assert "active" not in status(world)
    assert ["Normal Completed Job completed"] == said(done.reports)
    assert not pods(world)[0]["metadata"].get("finalizers")


def test_a_pod_is_on_record_before_its_finalizer_goes_and_a_number_after():
    world = started()
    (name,) = running(world)
    writes = end(world, name).writes
    told = [
        (each.subresource, isinstance(each.body, dict) and "uncountedTerminatedPods" in each.body["status"]) for each in writes
    ]
    assert [("status", True), ("", False), ("status", True)] == told
    uid = pods(world)[0]["metadata"]["uid"]
    assert {"succeeded": [uid]} == writes[0].body["status"]["uncountedTerminatedPods"]
    assert "Complete" not in [each["type"] for each in writes[0].body["status"]["conditions"]]


def test_what_a_dead_controller_left_half_counted_is_counted_once():
    """It had put the uid on record and taken the finalizer off, and no more."""
    world = started(completions=2)
    (name,) = running(world)
    held = ended(world, name, "Succeeded")
    world.add({**held, "metadata": {**held["metadata"], "finalizers": []}})
    before = world.get(JOB, *KEY)
    world.add({**before, "status": {**before["status"], "uncountedTerminatedPods": {"succeeded": [held["metadata"]["uid"]]}}})
    settle(Jobs(), world)
    assert (1, {}) == (status(world)["succeeded"], status(world)["uncountedTerminatedPods"])
    assert 1 == len(world.get(JOB, *KEY)["status"].get("conditions", [])) + 1


def test_parallelism_and_completions():
    world = started(parallelism=3, completions=5)
    assert 3 == len(running(world))
    end(world, *running(world)[:2])
    as_kubelet(world)
    settle(Jobs(), world)
    assert (3, 3, 2) == (len(running(world)), status(world)["active"], status(world)["succeeded"])
    end(world, *running(world)[:2])
    assert (1, 4) == (status(world)["active"], status(world)["succeeded"])
    end(world, *running(world))
    assert "Complete" in conditions(world)


def test_a_work_queue_without_completions_ends_when_one_has_succeeded_and_all_have_ended():
    world = started(parallelism=2, completions=None)
    first, second = running(world)
    end(world, first)
    assert (1, {}) == (status(world)["active"], conditions(world))
    fail(world, second)
    assert "Complete" in conditions(world)


def test_less_parallelism_deletes_pods_without_counting_them():
    world = started(parallelism=3, completions=5)
    change(world, JOB, "sum", spec={"parallelism": 1})
    made = settle(Jobs(), world)
    assert 2 == len([write for write in made.writes if write.verb == "delete"])
    as_kubelet(world)
    settle(Jobs(), world)
    assert (1, 0, 0) == (status(world)["active"], status(world).get("failed", 0), status(world)["terminating"])


# Failure ----------------------------------------------------------------------------------------------------------------


def test_failed_pods_are_replaced_after_ten_seconds_then_twenty_then_forty():
    world = started()
    for wait in (10, 20, 40):
        (name,) = running(world)
        waiting = fail(world, name)
        assert (0, wait) == (status(world).get("active", 0), waiting.again[KEY])
        again(world, wait - 1)
        assert [] == running(world)
        again(world, 1)
        assert 1 == len(running(world))
    assert 3 == status(world)["failed"]


def test_a_success_ends_the_series_of_failures():
    world = started(parallelism=2, completions=4)
    first, second = running(world)
    fail(world, first)
    later(world, 1)
    end(world, second)
    as_kubelet(world)
    settle(Jobs(), world)
    assert 2 == status(world)["active"]


def test_the_back_off_never_exceeds_ten_minutes():
    world = started(backoffLimit=30)
    for _ in range(8):
        fail(world, *running(world))
        again(world, 600)
    waiting = fail(world, *running(world))
    assert 600 == waiting.again[KEY]


def test_too_many_failures_fail_the_job_and_take_the_others_along():
    world = started(parallelism=2, completions=4, backoffLimit=0)
    first, second = running(world)
    fail(world, first)
    assert {"FailureTarget": "BackoffLimitExceeded"} == conditions(world)
    assert (1, 2) == (status(world)["terminating"], status(world)["failed"])
    assert "deletionTimestamp" in world.get(POD, "default", second)["metadata"]
    as_kubelet(world)
    done = settle(Jobs(), world)
    assert {"FailureTarget": "BackoffLimitExceeded", "Failed": "BackoffLimitExceeded"} == conditions(world)
    assert ["Warning BackoffLimitExceeded Job has reached the specified backoff limit"] == said(done.reports)
    assert "completionTime" not in status(world)


def test_restarts_in_place_count_against_the_limit():
    spec = job()["spec"]["template"]
    spec["spec"]["restartPolicy"] = "OnFailure"
    world = started(template=spec, backoffLimit=2)
    (name,) = running(world)
    held = world.get(POD, "default", name)
    for count, wanted in ((1, {}), (2, {"FailureTarget": "BackoffLimitExceeded"})):
        held = world.add({**held, "status": {**held["status"], "containerStatuses": [{"name": "main", "restartCount": count}]}})
        settle(Jobs(), world)
        assert wanted == conditions(world)


def test_a_deadline_ends_the_job():
    world = started(activeDeadlineSeconds=60)
    assert 60 == settle(Jobs(), world).again[KEY]
    later(world, 60)
    settle(Jobs(), world)
    assert {"FailureTarget": "DeadlineExceeded"} == conditions(world)
    as_kubelet(world)
    assert ["Warning DeadlineExceeded Job was active longer than specified deadline"] == said(settle(Jobs(), world).reports)


def test_a_deleted_pod_counts_as_failed_and_is_replaced():
    world = started()
    (name,) = running(world)
    world.write(Apply("delete", POD, "default", name, {}))
    settle(Jobs(), world)
    assert (1, 1) == (status(world)["failed"], status(world)["terminating"])
    again(world, 10)
    assert 1 == len(running(world))


def test_with_the_policy_failed_a_terminating_pod_is_waited_for():
    world = started(podReplacementPolicy="Failed")
    (name,) = running(world)
    world.write(Apply("delete", POD, "default", name, {}))
    again(world, 60)
    assert (0, 1, 0) == (status(world).get("failed", 0), status(world)["terminating"], status(world).get("active", 0))
    fail(world, name)
    again(world, 10)
    assert (1, 1) == (status(world)["failed"], status(world)["active"])


# Policies ---------------------------------------------------------------------------------------------------------------


def rules(*given):
    return {"podFailurePolicy": {"rules": list(given)}, "podReplacementPolicy": "Failed"}


def test_an_exit_code_may_fail_the_job_at_once():
    world = started(**rules({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}))
    (name,) = running(world)
    fail(world, name, code=42)
    assert {"FailureTarget": "PodFailurePolicy", "Failed": "PodFailurePolicy"} == conditions(world)
    message = f"Container main for pod default/{name} failed with exit code 42 matching FailJob rule at index 0"
    assert message == condition(world.get(JOB, *KEY), "Failed")["message"]


def test_a_disruption_may_be_ignored():
    world = started(backoffLimit=0, **rules({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}))
    (name,) = running(world)
    held = world.get(POD, "default", name)
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    world.add({**held, "status": {"phase": "Failed", "conditions": disrupted}})
    settle(Jobs(), world)
    again(world, 10)
    assert ({}, 0, 1) == (conditions(world), status(world).get("failed", 0), status(world)["active"])


@pytest.mark.parametrize(("code", "counted"), [(3, 0), (4, 1)])
def test_codes_that_are_not_meant_count(code, counted):
    world = started(**rules({"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [4]}}))
    fail(world, *running(world), code=code)
    assert counted == status(world).get("failed", 0)


# Indexes ----------------------------------------------------------------------------------------------------------------


INDEXED = {"completionMode": "Indexed"}


def by_index(world):
    alive = [each for each in pods(world) if each["status"]["phase"] == "Running"]
    return {int(each["metadata"]["annotations"][INDEX]): each["metadata"]["name"] for each in alive}


def test_each_index_gets_a_pod_that_knows_it():
    world = started(parallelism=2, completions=3, **INDEXED)
    assert [0, 1] == sorted(by_index(world))
    first = world.get(POD, "default", by_index(world)[1])
    assert ("sum-1", "1") == (
        first["spec"]["hostname"],
        first["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"],
    )
    assert first["metadata"]["name"].startswith("sum-1-")
    (variable,) = first["spec"]["containers"][0]["env"]
    path = f"metadata.labels['{INDEX}']"
    assert ("JOB_COMPLETION_INDEX", path) == (variable["name"], variable["valueFrom"]["fieldRef"]["fieldPath"])


def test_done_indexes_are_written_as_intervals_and_failed_ones_tried_again():
    world = started(parallelism=5, completions=5, **INDEXED)
    index = by_index(world)
    fail(world, index[1])
    end(world, index[0], index[2], index[3], index[4])
    assert ("0,2-4", 4, 1) == (status(world)["completedIndexes"], status(world)["succeeded"], status(world)["failed"])
    again(world, 10)
    assert [1] == list(by_index(world))
    end(world, by_index(world)[1])
    assert "0-4" == status(world)["completedIndexes"]
    assert "Complete" in conditions(world)


def test_a_limit_of_each_index_lets_the_others_finish():
    world = started(parallelism=2, completions=2, backoffLimitPerIndex=1, backoffLimit=2**31 - 1, **INDEXED)
    fail(world, by_index(world)[0])
    (first,) = [each for each in pods(world) if each["status"]["phase"] == "Failed"]
    assert [TRACKING] == first["metadata"]["finalizers"]  # until its count is carried on
    again(world, 10)
    second = world.get(POD, "default", by_index(world)[0])
    assert "1" == second["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"]
    assert 1 == status(world)["failed"]
    fail(world, by_index(world)[0])
    assert ("0", 2, {}) == (status(world)["failedIndexes"], status(world)["failed"], conditions(world))
    end(world, by_index(world)[1])
    assert {"FailureTarget": "FailedIndexes", "Failed": "FailedIndexes"} == conditions(world)


def test_too_many_failed_indexes_end_the_job():
    world = started(parallelism=3, completions=3, backoffLimitPerIndex=0, maxFailedIndexes=0, **INDEXED)
    fail(world, by_index(world)[2])
    assert {"FailureTarget": "MaxFailedIndexesExceeded"} == conditions(world)


def test_a_rule_may_fail_an_index_at_once():
    rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [7]}}
    world = started(parallelism=2, completions=2, backoffLimitPerIndex=5, **INDEXED, **rules(rule))
    fail(world, by_index(world)[1], code=7)
    assert "1" == status(world)["failedIndexes"]


def test_a_success_policy_ends_the_job_early():
    policy = {"rules": [{"succeededIndexes": "0", "succeededCount": 1}]}
    world = started(parallelism=3, completions=3, successPolicy=policy, **INDEXED)
    end(world, by_index(world)[0])
    assert {"SuccessCriteriaMet": "SuccessPolicy"} == conditions(world)
    assert "Matched rules at index 0" == condition(world.get(JOB, *KEY), "SuccessCriteriaMet")["message"]
    as_kubelet(world)
    settle(Jobs(), world)
    assert {"SuccessCriteriaMet", "Complete"} == set(conditions(world))
    assert (1, 0) == (status(world)["succeeded"], status(world).get("failed", 0))


def test_an_index_that_runs_twice_loses_one_and_one_out_of_range_goes():
    world = started(parallelism=2, completions=2, **INDEXED)
    for name, index in (("twin", "0"), ("far", "9")):
        twin = world.get(POD, "default", by_index(world)[0])
        annotations = {INDEX: index}
        world.add({**twin, "metadata": {**twin["metadata"], "name": name, "uid": name, "annotations": annotations}})
    settle(Jobs(), world)
    as_kubelet(world)
    settle(Jobs(), world)
    assert [0, 1] == sorted(by_index(world))
    assert 2 == len(running(world))


# Suspension, end, tracking ----------------------------------------------------------------------------------------------


def test_a_suspended_job_has_no_pods_and_its_deadline_begins_when_it_is_resumed():
    world = MemoryWorld([job(suspend=True, activeDeadlineSeconds=60)])
    made = settle(Jobs(), world)
    assert ([], {"Suspended": "JobSuspended"}) == (pods(world), conditions(world))
    assert ["Normal Suspended Job suspended"] == said(made.reports)
    assert "startTime" not in status(world)
    later(world, 100)
    change(world, JOB, "sum", spec={"suspend": False})
    settle(Jobs(), world)
    assert (1, stamp(world.now)) == (status(world)["active"], status(world)["startTime"])
    assert "JobResumed" == condition(world.get(JOB, *KEY), "Suspended")["reason"]
    as_kubelet(world)
    change(world, JOB, "sum", spec={"suspend": True})
    settle(Jobs(), world)
    assert (1, 0, 0) == (status(world)["terminating"], status(world).get("active", 0), status(world).get("failed", 0))


def test_a_job_that_wants_nothing_is_complete_at_once_even_when_suspended():
    for spec in ({"completions": 0}, {"completions": 0, "suspend": True}, {"completions": 0, "completionMode": "Indexed"}):
        world = MemoryWorld([job(**spec)])
        settle(Jobs(), world)
        assert ("CompletionsReached", stamp(EPOCH)) == (conditions(world)["Complete"], status(world)["startTime"])


def test_a_finished_job_goes_when_its_time_to_live_is_over():
    world = started(ttlSecondsAfterFinished=30)
    assert 30 == end(world, *running(world)).again[KEY]
    later(world, 30)
    settle(Jobs(), world)
    assert "deletionTimestamp" in world.get(JOB, *KEY)["metadata"]


def test_pods_of_a_job_that_is_gone_or_finished_lose_the_finalizer():
    world = started()
    world.remove(JOB, *KEY)
    settle(Jobs(), world)
    assert [None] == [each["metadata"].get("finalizers") for each in pods(world)]


def test_a_pod_of_another_controller_keeps_a_finalizer_of_that_name():
    other = {"apiVersion": "example.com/v1", "kind": "Train", "name": "x", "uid": "x", "controller": True}
    world = MemoryWorld([pod("p", metadata={"finalizers": [TRACKING], "ownerReferences": [other]})])
    settle(Jobs(), world)
    assert [TRACKING] == pods(world)[0]["metadata"]["finalizers"]


def test_an_orphan_that_fits_is_adopted_with_the_finalizer():
    world = MemoryWorld([job(labels={"job": "sum"}, parallelism=1)])
    world.add(pod("stray", node="n", phase="Running", metadata={"labels": {"job": "sum"}}))
    settle(Jobs(), world)
    (only,) = pods(world)
    assert ("stray", [TRACKING], "Job") == (
        only["metadata"]["name"], only["metadata"]["finalizers"], only["metadata"]["ownerReferences"][0]["kind"],
    )  # fmt: skip


def test_another_finalizer_of_the_pod_stays():
    given = job()
    given["spec"]["template"]["metadata"]["finalizers"] = ["example.com/hold"]
    world = MemoryWorld([given])
    settle(Jobs(), world)
    as_kubelet(world)
    end(world, *running(world))
    assert ["example.com/hold"] == pods(world)[0]["metadata"]["finalizers"]
    assert 1 == status(world)["succeeded"]


def test_a_job_managed_by_another_is_left_alone():
    world = MemoryWorld([job(managedBy="example.com/queue")])
    assert () == settle(Jobs(), world).writes


def test_a_job_that_is_being_deleted_makes_nothing_and_lets_its_pods_go():
    world = started()
    world.write(Apply("delete", JOB, *KEY, {"propagationPolicy": "Foreground"}))
    settle(Jobs(), world)
    assert [None] == [each["metadata"].get("finalizers") for each in pods(world)]


def test_a_terminating_namespace_gets_no_new_pods():
    going = document(NAMESPACE, "default", metadata={"deletionTimestamp": stamp(EPOCH)}, spec={"finalizers": ["kubernetes"]})
    world = MemoryWorld([going, job()])
    settle(Jobs(), world)
    assert [] == pods(world)


def test_a_refused_pod_is_an_event_and_the_rest_is_said_all_the_same():
    world = MemoryWorld([job()])
    refusal = Refusal(Apply("create", POD, "default", "sum-x"), ApiError(403, "Forbidden", "exceeded quota"))
    plan = Jobs().refused(KEY, [refusal], world)
    assert ["Warning FailedCreate Error creating: exceeded quota"] == said(plan.reports)
    (write,) = plan.writes
    assert stamp(EPOCH) == write.body["status"]["startTime"]
    assert "active" not in write.body["status"]


def test_which_jobs_a_pod_concerns():
    world = MemoryWorld([job(labels={"job": "sum"})])
    assert {KEY} == set(Jobs().keys(Change(POD, None, pod("stray", metadata={"labels": {"job": "sum"}})), world))
    assert set() == set(Jobs().keys(Change(POD, None, pod("other")), world))


def test_hundreds_of_pods_are_counted_in_portions_and_each_once():
    world = started(parallelism=700, completions=700)
    again(world, 1)
    names = running(world)
    assert 700 == len(names)
    for name in names:
        ended(world, name, "Succeeded")
    settle(Jobs(), world)
    assert 700 == status(world)["succeeded"]
    assert "Complete" in conditions(world)
