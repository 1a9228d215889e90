"""What may a client keep of discovery and the OpenAPI documents, and in which forms does it get them?"""

import json

import pytest
from core_server import CONFIG_MAPS, Server
from custom_definitions import definition

PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def server():
    return Server()


def location(server, group_version):
    return server.get("/openapi/v3").body["paths"][group_version]["serverRelativeURL"]


@pytest.mark.parametrize("path", ["/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1"])
def test_who_knows_a_document_is_spared_it(server, path):
    first = server.get(path)
    tag = dict(first.headers)["ETag"]
    again = server.get(path, headers={"if-none-match": f'"other", W/{tag}'})
    assert (200, 304, b"") == (first.status, again.status, again.response.body)
    assert 200 == server.get(path, headers={"if-none-match": '"other"'}).status


def test_a_document_asked_for_by_its_hash_is_kept_for_ever(server):
    answer = server.get(location(server, "apis/apps/v1"))
    assert (200, "public, immutable") == (answer.status, dict(answer.headers)["Cache-Control"])
    assert "Cache-Control" not in dict(server.get("/openapi/v3/apis/apps/v1").headers)


def test_a_document_asked_for_by_another_hash_has_moved(server):
    answer = server.get("/openapi/v3/apis/apps/v1?hash=OLD")
    assert (301, location(server, "apis/apps/v1")) == (answer.status, dict(answer.headers)["Location"])


def test_every_document_of_the_index_is_there(server):
    for place in server.get("/openapi/v3").body["paths"].values():
        document = server.get(place["serverRelativeURL"])
        assert (200, "3.0.0") == (document.status, document.body["openapi"])
        operations = [one for item in document.body["paths"].values() for one in item.values() if "responses" in one]
        assert operations and all("default" in one["responses"] for one in operations)


def test_a_definition_changes_its_own_documents_and_no_others(server):
    apps, whole = location(server, "apis/apps/v1"), dict(server.get("/openapi/v2").headers)["ETag"]
    assert 201 == server.create(CRDS, definition()).status
    assert "CronTab" in json.dumps(server.get(location(server, "apis/stable.example.com/v1")).body)
    assert "/apis/stable.example.com/" in server.get("/openapi/v2").body["paths"]
    assert apps == location(server, "apis/apps/v1")
    assert whole != dict(server.get("/openapi/v2").headers)["ETag"]


def test_documents_come_as_json_and_the_second_version_as_protobuf_too(server):
    for path in ("/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1"):
        assert "application/json" == server.get(path, accept="text/html, */*;q=0.1").response.content_type
        refused = server.get(path, accept="application/cbor")
        assert (406, "NotAcceptable") == (refused.status, refused.body["reason"])
    assert server.get("/openapi/v2", accept=PROTOBUF).response.body.startswith(b"\x0a\x032.0")
    assert 406 == server.get("/openapi/v3", accept=PROTOBUF).status


def test_there_is_nothing_else_below(server):
    for path in ("/openapi", "/openapi/v4", "/openapi/v3/apis/nowhere/v1", "/openapi/v3/api", "/openapi/v2/x"):
        assert (200 if path.endswith("/api") else 404) == server.get(path).status


@pytest.mark.parametrize("media", ["application/cbor", "application/cbor-seq", "application/apply-patch+cbor"])
def test_cbor_is_not_spoken(server, media):
    assert 415 == server.create(CONFIG_MAPS, b"\xa0", content_type=media).status
    assert 415 == server.patch(f"{CONFIG_MAPS}/a", b"\xa0", media).status
    assert 406 == server.get(CONFIG_MAPS, accept=media).status


@pytest.mark.parametrize(("agent", "query", "lines"), [
    ("curl/8.5.0", "", True), ("Mozilla/5.0 (X11)", "", True), ("Wget/1.21", "?pretty=false", False),
    ("kubectl/v1.33", "", False),
    ("kubectl/v1.33", "?pretty=1", True), ("kubectl/v1.33", "?pretty=no", False),
])  # fmt: skip
def test_people_who_ask_by_hand_get_lines(server, agent, query, lines):
    assert lines is (b"\n  " in server.get(f"{CONFIG_MAPS}{query}", headers={"user-agent": agent}).response.body)
