"""Does what is deleted go when it should: at once, after its grace period, or when nobody holds it any more?"""

from time import process_time

import pytest
from core_server import CONFIG_MAPS, PODS, Server, names


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def running(server):
    """A pod on a node."""
    server.node("n1")
    assert server.pod("p").status == 201
    assert server.bind("p", "n1").status == 201
    return server


def test_a_plain_object_goes_at_once_and_a_status_says_so(server):
    uid = server.config_map("a").body["metadata"]["uid"]
    answer = server.delete(f"{CONFIG_MAPS}/a")
    assert (200, "Success") == (answer.status, answer.body["status"])
    assert {"name": "a", "kind": "configmaps", "uid": uid} == answer.body["details"]
    assert 404 == server.get(f"{CONFIG_MAPS}/a").status
    assert 404 == server.delete(f"{CONFIG_MAPS}/a").status


def test_services_answer_with_the_object(server):
    url = "/api/v1/namespaces/default/services"
    server.create(url, {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}})
    answer = server.delete(f"{url}/a")
    assert ("Service", "a") == (answer.body["kind"], answer.body["metadata"]["name"])
    assert [] == list(server.state.scan("/networking.k8s.io/ipaddresses/"))


# Finalizers


def test_a_finalizer_holds_the_object_until_it_is_removed(server):
    server.config_map("a", finalizers=["example.com/hold"])
    held = server.delete(f"{CONFIG_MAPS}/a")
    assert (200, "2026-01-01T00:00:00Z") == (held.status, held.body["metadata"]["deletionTimestamp"])
    before = server.state.revision
    assert 200 == server.delete(f"{CONFIG_MAPS}/a").status
    assert before == server.state.revision
    assert 200 == server.patch(f"{CONFIG_MAPS}/a", {"data": {"still": "here"}}).status
    assert 200 == server.patch(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": None}}).status
    assert 404 == server.get(f"{CONFIG_MAPS}/a").status


def test_no_finalizer_is_added_to_what_is_going(server):
    server.config_map("a", finalizers=["example.com/hold"])
    server.delete(f"{CONFIG_MAPS}/a")
    answer = server.patch(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}})
    expected = (
        'ConfigMap "a" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being '
        "deleted, "
        'found new finalizers []string{"example.com/more"}'
    )
    assert (422, expected) == (answer.status, answer.message)


def test_many_finalizers_are_looked_at_once(server):
    server.config_map("a", finalizers=[f"example.com/{n}" for n in range(20_000)])
    server.delete(f"{CONFIG_MAPS}/a")
    begun = process_time()
    answer = server.patch(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": [f"example.com/x{n}" for n in range(20_000)]}})
    assert (422, True) == (answer.status, process_time() - begun < 2), "all with all would be 400 million comparisons"


def test_a_deletion_is_never_taken_back(server):
    server.config_map("a", finalizers=["example.com/hold"])
    server.delete(f"{CONFIG_MAPS}/a")
    body = {"metadata": {"name": "a", "finalizers": ["example.com/hold"]}, "data": {"x": "1"}}
    assert "deletionTimestamp" in server.put(f"{CONFIG_MAPS}/a", body).body["metadata"]


@pytest.mark.parametrize(
    ("options", "finalizers", "status"),
    [
        ({"propagationPolicy": "Foreground"}, ["foregroundDeletion"], 200),
        ({"propagationPolicy": "Orphan"}, ["orphan"], 200),
        ({"orphanDependents": True}, ["orphan"], 200),
        ({"propagationPolicy": "Background"}, None, 200),
        ({"orphanDependents": False}, None, 200),
        ({}, None, 200),
    ],
)
def test_the_policy_says_what_the_garbage_collector_shall_do(server, options, finalizers, status):
    server.config_map("a")
    answer = server.delete(f"{CONFIG_MAPS}/a", {"kind": "DeleteOptions", "apiVersion": "v1", **options})
    assert (status, finalizers) == (answer.status, answer.body.get("metadata", {}).get("finalizers"))
    assert (200 if finalizers else 404) == server.get(f"{CONFIG_MAPS}/a").status


def test_the_policy_replaces_what_stood_there(server):
    server.config_map("a", finalizers=["orphan", "example.com/hold"])
    answer = server.delete(f"{CONFIG_MAPS}/a?propagationPolicy=Foreground")
    assert ["example.com/hold", "foregroundDeletion"] == answer.body["metadata"]["finalizers"]
    answer = server.delete(f"{CONFIG_MAPS}/a", {"orphanDependents": False})
    assert (202, ["example.com/hold"]) == (answer.status, answer.body["metadata"]["finalizers"])


def test_what_is_going_may_still_be_given_another_policy(server):
    server.config_map("a")
    first = server.delete(f"{CONFIG_MAPS}/a?propagationPolicy=Foreground").body["metadata"]
    server.pass_time(10)
    second = server.delete(f"{CONFIG_MAPS}/a?propagationPolicy=Orphan").body["metadata"]
    assert (["orphan"], first["deletionTimestamp"]) == (second["finalizers"], second["deletionTimestamp"])
    assert "Success" == server.delete(f"{CONFIG_MAPS}/a?propagationPolicy=Background").body["status"]


@pytest.mark.parametrize("group", ["/api/v1", "/apis/events.k8s.io/v1"])
def test_no_policy_holds_an_event_which_nobody_would_collect(server, group):
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    event = {"metadata": {"name": "e"}, "involvedObject": about, "reason": "R", "type": "Normal", "action": "A"}
    assert 201 == server.create("/api/v1/namespaces/default/events", event).status
    assert "Success" == server.delete(f"{group}/namespaces/default/events/e?propagationPolicy=Foreground").body["status"]


def test_of_body_and_query_the_body_counts(server):
    server.config_map("a")
    assert "Success" == server.delete(f"{CONFIG_MAPS}/a?propagationPolicy=Orphan", {"kind": "DeleteOptions"}).body["status"]


# Preconditions and options


def test_preconditions(server):
    meta = server.config_map("a").body["metadata"]
    answer = server.delete(f"{CONFIG_MAPS}/a", {"preconditions": {"uid": "other"}})
    expected = (
        f'Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition (other) does not match the UID in record '
        f"({meta['uid']}). The object might have been deleted and then recreated"
    )
    assert (409, expected) == (answer.status, answer.message)
    assert 409 == server.delete(f"{CONFIG_MAPS}/a", {"preconditions": {"resourceVersion": "1"}}).status
    wanted = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
    assert 200 == server.delete(f"{CONFIG_MAPS}/a", {"preconditions": wanted}).status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"propagationPolicy": "Sideways"}, 422),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, 422),
        ({"dryRun": ["Some"]}, 422),
        ({"gracePeriodSeconds": "0"}, 400),
        ({"preconditions": None}, 200),
        ({"preconditions": []}, 400),
        ({"propagationPolicy": False}, 400),
        ({"dryRun": {}}, 400),
        ({"preconditions": ["x"]}, 400),
        ({"kind": "Pod"}, 400),
        ([], 400),
    ],
)
def test_options_are_checked(server, body, status):
    server.config_map("a")
    assert status == server.delete(f"{CONFIG_MAPS}/a", body).status


# Grace


def test_a_running_pod_is_given_time(running):
    meta = running.delete(f"{PODS}/p").body["metadata"]
    assert ("2026-01-01T00:00:30Z", 30) == (meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"])
    assert 200 == running.get(f"{PODS}/p").status


def test_the_grace_period_may_be_asked_for_in_body_or_query(running):
    assert 5 == running.delete(f"{PODS}/p?gracePeriodSeconds=5").body["metadata"]["deletionGracePeriodSeconds"]
    running.pod("q")
    running.bind("q", "n1")
    assert 7 == running.delete(f"{PODS}/q", {"gracePeriodSeconds": 7}).body["metadata"]["deletionGracePeriodSeconds"]


@pytest.mark.parametrize("seconds", [10**13, (1 << 63) - 1])
def test_a_pod_may_be_given_time_without_end(running, seconds):
    assert 400 == running.delete(f"{PODS}/p", {"gracePeriodSeconds": 1 << 63}).status
    meta = running.delete(f"{PODS}/p", {"gracePeriodSeconds": seconds}).body["metadata"]
    assert ("2318-04-12T23:47:16Z", 9223372036) == (meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"])
    assert "2026-01-01T00:00:05Z" == running.delete(f"{PODS}/p?gracePeriodSeconds=5").body["metadata"]["deletionTimestamp"]


def test_a_grace_period_may_only_be_shortened(running):
    running.delete(f"{PODS}/p")
    running.pass_time(10)
    longer = running.delete(f"{PODS}/p", {"gracePeriodSeconds": 60}).body["metadata"]
    assert ("2026-01-01T00:00:30Z", 30) == (longer["deletionTimestamp"], longer["deletionGracePeriodSeconds"])
    shorter = running.delete(f"{PODS}/p", {"gracePeriodSeconds": 5}).body["metadata"]
    assert ("2026-01-01T00:00:05Z", 5) == (shorter["deletionTimestamp"], shorter["deletionGracePeriodSeconds"])


def test_without_grace_a_pod_goes_at_once_even_when_it_is_going(running):
    running.delete(f"{PODS}/p")
    answer = running.delete(f"{PODS}/p", {"gracePeriodSeconds": 0})
    assert ("Pod", 200) == (answer.body["kind"], answer.status)
    assert 404 == running.get(f"{PODS}/p").status


def test_a_pod_without_a_node_or_a_life_goes_at_once(running):
    running.pod("unscheduled")
    running.delete(f"{PODS}/unscheduled")
    running.patch(f"{PODS}/p/status", {"status": {"phase": "Succeeded"}})
    running.delete(f"{PODS}/p")
    assert [] == names(running.get(PODS))


def test_a_finalizer_outlives_the_grace_period(running):
    running.patch(f"{PODS}/p", {"metadata": {"finalizers": ["example.com/hold"]}})
    running.delete(f"{PODS}/p", {"gracePeriodSeconds": 0})
    assert 0 == running.get(f"{PODS}/p").body["metadata"]["deletionGracePeriodSeconds"]
    running.patch(f"{PODS}/p", {"metadata": {"finalizers": []}})
    assert 404 == running.get(f"{PODS}/p").status


def test_removing_a_finalizer_does_not_cut_the_grace_period_short(running):
    running.patch(f"{PODS}/p", {"metadata": {"finalizers": ["example.com/hold"]}})
    running.delete(f"{PODS}/p")
    running.patch(f"{PODS}/p", {"metadata": {"finalizers": []}})
    assert 200 == running.get(f"{PODS}/p").status


# Collections


def test_a_collection_is_deleted_as_selected_in_one_transaction(server):
    for name, label in (("a", "x"), ("b", "y"), ("c", "x")):
        server.config_map(name, labels={"l": label})
    server.config_map("held", labels={"l": "x"}, finalizers=["example.com/hold"])
    before = server.state.revision
    answer = server.delete(f"{CONFIG_MAPS}?labelSelector=l%3Dx")
    assert (200, ["a", "c", "held"]) == (answer.status, names(answer))
    assert before + 1 == server.state.revision
    assert ["b", "held"] == names(server.get(CONFIG_MAPS))
    assert "deletionTimestamp" in server.get(f"{CONFIG_MAPS}/held").body["metadata"]
    assert ["b"] == names(server.delete(f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Db"))


def test_deleting_services_together_releases_their_addresses(server):
    url = "/api/v1/namespaces/default/services"
    for index in range(5):
        server.create(url, {"metadata": {"name": f"s{index}"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    assert 200 == server.delete(url).status
    assert [] == [*server.state.scan("/networking.k8s.io/ipaddresses/"), *server.state.scan("/allocations/")]


def test_namespaces_are_not_deleted_by_the_dozen(server):
    assert 405 == server.delete("/api/v1/namespaces").status


# Namespaces


def test_a_namespace_goes_when_it_has_been_emptied(server):
    url = "/api/v1/namespaces/team"
    server.create("/api/v1/namespaces", {"metadata": {"name": "team"}})
    server.config_map("a", namespace="team")
    going = server.delete(url)
    assert (200, "Terminating") == (going.status, going.body["status"]["phase"])
    refused = server.config_map("b", namespace="team")
    expected = 'configmaps "b" is forbidden: unable to create new content in namespace team because it is being terminated'
    assert (403, expected) == (refused.status, refused.message)
    cause = {"reason": "NamespaceTerminating", "message": "namespace team is being terminated", "field": "metadata.namespace"}
    assert [cause] == refused.body["details"]["causes"]
    assert 200 == server.delete(url).status
    document = server.get(url).body
    document["spec"]["finalizers"] = []
    finalized = server.put(f"{url}/finalize", document)
    assert (200, []) == (finalized.status, finalized.body["spec"].get("finalizers") or [])
    assert 404 == server.get(url).status


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_some_namespaces_stay(server, name):
    if name != "default":
        server.create("/api/v1/namespaces", {"metadata": {"name": name}})
    answer = server.delete(f"/api/v1/namespaces/{name}")
    assert (403, f'namespaces "{name}" is forbidden: this namespace may not be deleted') == (answer.status, answer.message)


def test_nothing_slips_into_a_namespace_that_was_found_empty(server):
    """A create decided before the namespace began to go meets a Conflict at its commit."""
    server.create("/api/v1/namespaces", {"metadata": {"name": "team"}})
    late = server.decide("POST", "/api/v1/namespaces/team/configmaps", {"metadata": {"name": "late"}})
    server.delete("/api/v1/namespaces/team")
    assert "Conflict" == type(server.state.apply(late.txn)).__name__
    assert 403 == server.config_map("late", namespace="team").status
