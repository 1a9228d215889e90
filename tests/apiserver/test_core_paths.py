"""Which paths are there, who may ask, and what do they say of the server?"""

import json

import pytest
from core_server import CONFIG_MAPS, PODS, Server

from mooring.apiserver.contract import ANONYMOUS
from mooring.model.kinds import KINDS, STORED

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"


@pytest.fixture
def server():
    return Server()


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_health_is_for_everybody(server, path):
    response = server.get(path, user=ANONYMOUS).response
    assert (200, b"ok") == (response.status, response.body)


def test_health_may_say_more(server):
    assert b"[+]ping ok\n[+]store ok\nreadyz check passed\n" == server.get("/readyz?verbose").response.body


def test_the_version_is_for_everybody(server):
    server.add_default_roles()
    version = server.get("/version", user=ANONYMOUS).body
    assert ("1", "33", True) == (version["major"], version["minor"], version["gitVersion"].endswith("+mooring"))


FORBIDDEN = [
    (
        "GET",
        PODS,
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "default"',
    ),
    (
        "GET",
        "/apis/apps/v1/deployments?watch=1",
        'deployments.apps is forbidden: User "system:anonymous" cannot watch resource "deployments" in API group "apps"'
        " at the cluster scope",
    ),
    (
        "POST",
        f"{PODS}/p/binding",
        'pods "p" is forbidden: User "system:anonymous" cannot create resource "pods/binding" in API group ""'
        ' in the namespace "default"',
    ),
    ("GET", "/api", 'forbidden: User "system:anonymous" cannot get path "/api"'),
    ("GET", "/openapi/v2", 'forbidden: User "system:anonymous" cannot get path "/openapi/v2"'),
    ("GET", "/spam", 'forbidden: User "system:anonymous" cannot get path "/spam"'),
    ("POST", "/healthz", 'forbidden: User "system:anonymous" cannot post path "/healthz"'),
]


@pytest.mark.parametrize(("method", "url", "message"), FORBIDDEN)
def test_anonymous_users_see_nothing_else(server, method, url, message):
    answer = server.send(method, url, user=ANONYMOUS)
    assert (403, "Forbidden", message) == (answer.status, answer.body["reason"], answer.message)


@pytest.mark.parametrize(
    "path",
    [
        "/spam",
        "/apis/spam",
        "/apis/apps/v9",
        "/apis/apps/v9/deployments",
        "/api/v2",
        "/api/v1/spam",
        "/healthz/spam",
        "/api/v1/namespaces/default/nodes",
        f"{PODS}/p/spam",
        f"{PODS}/p/log/more",
        f"{CONFIG_MAPS}/a/status",
        "/api/v1/pods/p",
        "/openapi/v3/apis/spam/v1",
        "/api/v1/namespaces/default/pods//log",
        "/apis/apps"[:5] + "x",
    ],
)
def test_what_is_not_there(server, path):
    answer = server.get(path)
    assert (404, "NotFound", "the server could not find the requested resource") == (
        answer.status,
        answer.body["reason"],
        answer.message,
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", CONFIG_MAPS),
        ("PATCH", CONFIG_MAPS),
        ("POST", f"{CONFIG_MAPS}/a"),
        ("POST", "/version"),
        ("DELETE", f"{PODS}/p/status"),
        ("PUT", f"{PODS}/p/log"),
        ("GET", f"{PODS}/p/binding"),
        ("GET", "/api/v1/namespaces/default/finalize"),
        ("OPTIONS", CONFIG_MAPS),
    ],
)
def test_methods_that_are_not_served(server, method, path):
    answer = server.send(method, path)
    assert (405, "MethodNotAllowed") == (answer.status, answer.body["reason"])


# Discovery


def test_legacy_discovery_names_every_kind(server):
    assert ["v1"] == server.get("/api").body["versions"]
    found = {"": server.get("/api/v1").body}
    for group in server.get("/apis").body["groups"]:
        assert group | {"kind": "APIGroup", "apiVersion": "v1"} == server.get(f"/apis/{group['name']}").body
        found[group["name"]] = server.get(f"/apis/{group['preferredVersion']['groupVersion']}").body
    for kind in KINDS:
        resources = {resource["name"]: resource for resource in found[kind.group]["resources"]}
        entry = resources[kind.plural]
        assert (kind.kind, kind.namespaced, kind.singular) == (entry["kind"], entry["namespaced"], entry["singularName"])
        assert list(kind.short_names) == entry.get("shortNames", [])
        assert all(f"{kind.plural}/{name}" in resources for name in kind.subresources)
        if kind.stored:  # whatever is named answers
            assert 200 == server.get(kind.path()).status
    scale = next(one for one in found["apps"]["resources"] if one["name"] == "deployments/scale")
    assert ("autoscaling", "v1", "Scale") == (scale["group"], scale["version"], scale["kind"])


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_aggregated_discovery_says_the_same(server, version):
    media = AGGREGATED.format(version)
    named = set()
    for path in ("/api", "/apis"):
        answer = server.get(path, accept=f"{media},application/json")
        assert media == answer.response.content_type
        assert ("APIGroupDiscoveryList", f"apidiscovery.k8s.io/{version}") == (answer.body["kind"], answer.body["apiVersion"])
        for group in answer.body["items"]:
            for entry in group["versions"]:
                named |= {(group["metadata"].get("name", ""), entry["version"], one["resource"]) for one in entry["resources"]}
    assert {(kind.group, kind.version, kind.plural) for kind in KINDS} == named


def test_who_knows_the_discovery_document_is_spared_it(server):
    media = AGGREGATED.format("v2")
    tag = dict(server.get("/apis", accept=media).headers)["ETag"]
    response = server.get("/apis", accept=media, headers={"if-none-match": tag}).response
    assert (304, b"") == (response.status, response.body)


def test_openapi(server):
    assert "2.0" == server.get("/openapi/v2").body["swagger"]
    binary = server.get("/openapi/v2", accept="application/com.github.proto-openapi.spec.v2@v1.0+protobuf").response
    assert "protobuf" in binary.content_type
    for entry in server.get("/openapi/v3").body["paths"].values():
        assert "3.0.0" == server.get(entry["serverRelativeURL"]).body["openapi"]


def test_the_root_names_the_paths(server):
    assert {"/api", "/apis/apps/v1", "/healthz"} <= set(server.get("/").body["paths"])


def test_every_kind_answers_in_every_form(server):
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    for kind in STORED:
        body = server.get(kind.path(), accept=table).body
        assert "Table" == body["kind"] and body["columnDefinitions"][0]["name"]
        assert kind.list_kind == json.loads(server.get(kind.path()).response.body)["kind"]
