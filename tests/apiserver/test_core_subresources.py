"""Do scale, binding, token, log and exec do their part, and do the two Event APIs serve one set of records?"""

import json

import pytest
from core_server import JSON_PATCH, MERGE, PODS, STRATEGIC, Server, names

from mooring.apiserver.contract import Proxy

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SERVICE_ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.fixture
def server():
    server = Server()
    server.node("n1")
    return server


# Scale


@pytest.fixture
def deployed(server):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    selector = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "t", "operator": "NotIn", "values": ["z", "y"]}]}
    template["metadata"]["labels"]["t"] = "x"
    answer = server.create(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": {"selector": selector, "template": template}})
    assert 201 == answer.status, answer.message
    return server


def test_a_scale_is_read(deployed):
    scale = deployed.get(f"{DEPLOYMENTS}/d/scale").body
    assert ("Scale", "autoscaling/v1", {"replicas": 1}) == (scale["kind"], scale["apiVersion"], scale["spec"])
    assert {"replicas": 0, "selector": "a=b,t notin (y,z)"} == scale["status"]
    assert {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"} == scale["metadata"].keys()


def test_a_scale_is_written(deployed):
    scale = deployed.get(f"{DEPLOYMENTS}/d/scale").body
    scale["spec"]["replicas"] = 3
    answer = deployed.put(f"{DEPLOYMENTS}/d/scale", scale)
    assert (200, "Scale", 3) == (answer.status, answer.body["kind"], answer.body["spec"]["replicas"])
    deployment = deployed.get(f"{DEPLOYMENTS}/d").body
    assert (3, 2) == (deployment["spec"]["replicas"], deployment["metadata"]["generation"])
    assert deployment["metadata"]["resourceVersion"] == answer.body["metadata"]["resourceVersion"]
    assert 409 == deployed.put(f"{DEPLOYMENTS}/d/scale", scale).status


@pytest.mark.parametrize(
    ("content_type", "patch"),
    [
        (MERGE, {"spec": {"replicas": 4}}),
        (STRATEGIC, {"spec": {"replicas": 4}}),
        (JSON_PATCH, [{"op": "replace", "path": "/spec/replicas", "value": 4}]),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "application/yaml"])
def test_a_scale_is_patched(deployed, content_type, patch, accept):
    assert 200 == deployed.patch(f"{DEPLOYMENTS}/d/scale", patch, content_type, accept=accept).status
    assert 4 == deployed.get(f"{DEPLOYMENTS}/d").body["spec"]["replicas"]


def test_a_scale_cannot_be_negative(deployed):
    answer = deployed.patch(f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": -1}})
    expected = 'Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0'
    assert (422, expected) == (answer.status, answer.message)


def test_a_dry_run_scales_nothing(deployed):
    assert 9 == deployed.patch(f"{DEPLOYMENTS}/d/scale?dryRun=All", {"spec": {"replicas": 9}}).body["spec"]["replicas"]
    assert 1 == deployed.get(f"{DEPLOYMENTS}/d").body["spec"]["replicas"]


# Binding


def test_a_pod_is_bound_once(server):
    server.pod("p")
    answer = server.bind("p", "n1")
    assert (201, "Success") == (answer.status, answer.body["status"])
    pod = server.get(f"{PODS}/p").body
    assert "n1" == pod["spec"]["nodeName"]
    assert ("PodScheduled", "True") == tuple(pod["status"]["conditions"][-1][name] for name in ("type", "status"))
    again = server.bind("p", "n2")
    expected = 'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"'
    assert (409, expected) == (again.status, again.message)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"target": {"kind": "Pod", "name": "n1"}}, 422),
        ({"target": {"name": "n1"}, "metadata": {"name": "q"}}, 400),
        ({"target": {"name": "n1"}, "metadata": {"uid": "other"}}, 409),
        ({"target": "n1"}, 400),
    ],
)
def test_a_bad_binding_is_refused(server, body, status):
    server.pod("p")
    assert status == server.create(f"{PODS}/p/binding", body).status


def test_what_is_not_there_is_not_bound(server):
    assert 404 == server.bind("nobody", "n1").status


# Tokens


def token(server, spec, name="default"):
    return server.create(
        f"{SERVICE_ACCOUNTS}/{name}/token", {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
    )


def test_a_token_says_who_and_where_and_how_long(server):
    account = server.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}).body["metadata"]
    server.pod("p", serviceAccountName="default")
    server.bind("p", "n1")
    pod = server.get(f"{PODS}/p").body["metadata"]
    before = server.state.revision
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["uid"]}
    answer = token(server, {"audiences": ["x"], "expirationSeconds": 600, "boundObjectRef": reference})
    assert (201, "2026-01-01T00:10:00Z") == (answer.status, answer.body["status"]["expirationTimestamp"])
    claims = json.loads(answer.body["status"]["token"])
    assert ("system:serviceaccount:default:default", ["x"], 600) == (
        claims["sub"],
        claims["aud"],
        claims["exp"] - claims["iat"],
    )
    node = server.get("/api/v1/nodes/n1").body["metadata"]
    assert {
        "namespace": "default",
        "serviceaccount": {"name": "default", "uid": account["uid"]},
        "pod": {"name": "p", "uid": pod["uid"]},
        "node": {"name": "n1", "uid": node["uid"]},
    } == claims["kubernetes.io"]
    assert before == server.state.revision


def test_by_default_a_token_is_for_this_server_for_an_hour(server):
    server.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}})
    claims = json.loads(token(server, {}).body["status"]["token"])
    assert ([server.settings.issuer], 3600) == (claims["aud"], claims["exp"] - claims["iat"])


@pytest.mark.parametrize(
    ("spec", "status", "message"),
    [
        ({"expirationSeconds": 1}, 422, "may not specify a duration less than 10 minutes"),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "nobody"}}, 404, 'pods "nobody" not found'),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "other"}},
            409,
            "does not match the UID in record",
        ),
        (
            {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}},
            400,
            "pod running with different serviceaccount name",
        ),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Spam", "name": "p"}}, 400, "to object of type v1, Kind=Spam"),
    ],
)
def test_a_token_is_refused(server, spec, status, message):
    server.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}})
    server.create(SERVICE_ACCOUNTS, {"metadata": {"name": "other"}})
    server.pod("p", serviceAccountName="other")
    answer = token(server, spec)
    assert (status, True) == (answer.status, message in answer.message)


def test_no_token_for_an_account_that_is_not_there(server):
    assert 404 == token(server, {}, "nobody").status


# Logs and exec


def test_logs_are_at_the_kubelet_of_the_pods_node(server):
    server.pod("p")
    server.bind("p", "n1")
    outcome = server.decide("GET", f"{PODS}/p/log?follow=true&tailLines=5&timestamps=false&sinceSeconds=3&pretty=true")
    expected = Proxy(
        "n1",
        "172.30.0.11",
        10250,
        "/containerLogs/default/p/main",
        (("follow", "true"), ("sinceSeconds", "3"), ("tailLines", "5")),
    )
    assert expected == outcome


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("ImagePullBackOff", "trying and failing to pull image"),
        ("CreateContainerConfigError", "CreateContainerConfigError"),
    ],
)
def test_a_container_that_never_ran_has_no_log_but_a_reason(server, reason, told):
    server.pod("p")
    server.bind("p", "n1")
    waiting = {"status": {"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": reason}}}]}}
    assert 200 == server.send("PATCH", f"{PODS}/p/status", waiting, content_type="application/merge-patch+json").status
    answer = server.get(f"{PODS}/p/log")
    assert (400, f'container "main" in pod "p" is waiting to start: {told}') == (answer.status, answer.message)
    assert isinstance(server.decide("GET", f"{PODS}/p/log?previous=true"), Proxy)


UPGRADE = {"connection": "keep-alive, Upgrade", "upgrade": "SPDY/3.1"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_commands_run_there_too(server, method):
    server.pod("p")
    server.bind("p", "n1")
    url = f"{PODS}/p/exec?command=sh&command=-c&command=echo%20hi&container=main&stdin=true&stdout=true&tty=true&stderr=false"
    outcome = server.decide(method, url, headers=UPGRADE)
    query = (("input", "1"), ("output", "1"), ("tty", "1"), ("command", "sh"), ("command", "-c"), ("command", "echo hi"))
    assert Proxy("n1", "172.30.0.11", 10250, "/exec/default/p/main", query) == outcome


def two_containers(server):
    containers = [{"name": "main", "image": "i"}, {"name": "side", "image": "i"}]
    server.pod("p", containers=containers, initContainers=[{"name": "first", "image": "i"}])
    server.bind("p", "n1")


@pytest.mark.parametrize("what", ["log?x=y", "exec?command=ls&stdout=1", "attach?stdin=1"])
def test_one_of_several_containers_must_be_named(server, what):
    two_containers(server)
    answer = server.get(f"{PODS}/p/{what}")
    assert (400, "a container name must be specified for pod p, choose one of: [first main side]") == (
        answer.status,
        answer.message,
    )
    wrong = server.get(f"{PODS}/p/{what}&container=spam")
    assert (400, "container spam is not valid for pod p") == (wrong.status, wrong.message)
    outcome = server.decide("GET", f"{PODS}/p/{what}&container=first", headers=UPGRADE)
    assert outcome.path.endswith("/default/p/first")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_attaching_and_forwarding_are_done_there_too(server, method):
    server.pod("p")
    server.bind("p", "n1")
    outcome = server.decide(method, f"{PODS}/p/attach?stdin=true&tty=1&stdout=yes&container=main", headers=UPGRADE)
    query = (("input", "1"), ("output", "1"), ("tty", "1"))
    assert Proxy("n1", "172.30.0.11", 10250, "/attach/default/p/main", query) == outcome
    outcome = server.decide(method, f"{PODS}/p/portforward?ports=80&ports=81", headers=UPGRADE)
    assert Proxy("n1", "172.30.0.11", 10250, "/portForward/default/p", (("port", "80,81"),)) == outcome
    assert () == server.decide(method, f"{PODS}/p/portforward", headers=UPGRADE).query


@pytest.mark.parametrize("what", ["exec?command=ls&stdout=1", "attach?stdin=1", "portforward"])
def test_streams_need_an_upgrade_and_a_pod_with_a_node(server, what):
    server.pod("p")
    answer = server.get(f"{PODS}/p/{what}", headers=UPGRADE)
    assert (400, "pod p does not have a host assigned") == (answer.status, answer.message)
    server.bind("p", "n1")
    answer = server.get(f"{PODS}/p/{what}")
    assert (400, "Upgrade request required") == (answer.status, answer.message)
    assert 404 == server.get(f"{PODS}/gone/{what}", headers=UPGRADE).status
    assert 405 == server.put(f"{PODS}/p/{what}", {}).status


def test_a_pod_without_a_node(server):
    server.pod("p")
    assert b"" == server.get(f"{PODS}/p/log").response.body
    answer = server.get(f"{PODS}/p/exec?command=ls&stdout=1")
    assert (400, "pod p does not have a host assigned") == (answer.status, answer.message)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("tailLines=-1", 422),
        ("limitBytes=0", 422),
        ("sinceSeconds=0", 422),
        ("tailLines=x", 400),
        ("sinceTime=spam", 400),
        ("sinceTime=2026-01-01T00:00:00", 400),
        ("sinceTime=0001-01-01T00:00:00%2B23:59", 400),
        ("stream=Both", 422),
        ("stream=Stderr&tailLines=3", 422),
        ("sinceTime=2026-01-01T00:00:00Z&sinceSeconds=5", 422),
    ],
)
def test_log_options_are_checked(server, query, status):
    server.pod("p")
    server.bind("p", "n1")
    assert status == server.get(f"{PODS}/p/log?{query}").status


@pytest.mark.parametrize("query", ["stdout=1", "command=ls", "command=ls&stdout=false"])
def test_exec_options_are_checked(server, query):
    server.pod("p")
    server.bind("p", "n1")
    assert 400 == server.get(f"{PODS}/p/exec?{query}").status


# Events

CORE = "/api/v1/namespaces/default/events"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"


def test_an_event_is_one_record_in_both_apis(server):
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    core = {
        "metadata": {"name": "e1"},
        "involvedObject": about,
        "reason": "Started",
        "message": "hello",
        "type": "Normal",
        "count": 3,
        "source": {"component": "kubelet", "host": "n1"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
    }
    assert 201 == server.create(CORE, core).status
    new = server.get(f"{EVENTS}/e1").body
    assert ("events.k8s.io/v1", about, "hello", 3) == (new["apiVersion"], new["regarding"], new["note"], new["deprecatedCount"])
    assert {"component": "kubelet", "host": "n1"} == new["deprecatedSource"]
    assert "involvedObject" not in new and "message" not in new
    patched = server.patch(f"{EVENTS}/e1", {"note": "changed"})
    assert (200, "changed") == (patched.status, patched.body["note"])
    assert "changed" == server.get(f"{CORE}/e1").body["message"]


def test_an_event_written_to_the_new_api_is_read_from_the_old(server):
    new = {
        "metadata": {"name": "e2"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "note": "hi",
        "reason": "R",
        "action": "A",
        "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "c",
        "reportingInstance": "i",
    }
    answer = server.create(EVENTS, new)
    assert 201 == answer.status, answer.message
    core = server.get(f"{CORE}/e2").body
    assert ("v1", "hi", "c") == (core["apiVersion"], core["message"], core["reportingComponent"])
    assert ["e2"] == names(server.get(EVENTS)) == names(server.get(CORE))
    assert ["e2"] == names(server.get(f"{CORE}?fieldSelector=involvedObject.name%3Dp"))
    assert ["e2"] == names(server.get(f"{EVENTS}?fieldSelector=regarding.name%3Dp"))
    assert "events.k8s.io/v1" == server.get(EVENTS).body["items"][0]["apiVersion"]


def test_watchers_of_both_apis_see_it(server):
    old, new = server.watch(f"{CORE}?watch=1"), server.watch(f"{EVENTS}?watch=1")
    server.create(
        CORE,
        {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "message": "m"},
    )
    assert ["m"] == [frame["object"]["message"] for frame in old.frames()]
    assert ["m"] == [frame["object"]["note"] for frame in new.frames()]
