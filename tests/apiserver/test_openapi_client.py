"""Is our API the one that the official client was generated from: every path, verb, parameter and answer, for what we serve?"""

import json
import re

import pytest
from client_operations import Operation, operations
from core_server import Server

from mooring.apiserver import openapi
from mooring.apiserver.contract import Proxy, Watch, Write
from mooring.apiserver.schema_descriptions import snake
from mooring.model.kinds import BY_RESOURCE

NOT_TAKEN = {"shardSelector", "ignoreStoreReadErrorWithClusterBreakingPotential"}
"""Of the parameters of operations that are: alpha, and for a store that we do not have."""
PLACE = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v\w+)/(?:namespaces/\{namespace\}/)?"
    r"(?P<plural>[a-z]+)(?:/\{name\}(?:/(?P<subresource>\w+).*)?)?"
)
VALUES = {
    "fieldValidation": "Strict", "dryRun": "All", "propagationPolicy": "Background", "command": "ls", "stream": "All",
    "fieldManager": "tester", "fieldSelector": "metadata.name=a", "labelSelector": "a=b",
}  # fmt: skip
CONTRARY = {"watch", "sendInitialEvents", "resourceVersionMatch", "continue", "orphanDependents", "force", "stream"}
"""Not to be given together with others."""


def served(operation: Operation) -> bool:
    place = PLACE.fullmatch(operation.path)
    if place is None:
        return False
    return (place["group"] or "", place["version"], place["plural"]) in BY_RESOURCE


OURS = [operation for operation in operations() if served(operation)]


@pytest.fixture(scope="module")
def paths():
    return json.loads(openapi.openapi_v2())["paths"]


@pytest.fixture(scope="module")
def server():
    made = Server()
    made.node("a")
    made.pod("a")
    return made


def test_the_client_has_something_of_every_kind():
    asked = {(place["group"] or "", place["plural"]) for each in OURS if (place := PLACE.fullmatch(each.path))}
    assert asked == {(group, plural) for group, _, plural in BY_RESOURCE}
    assert len(OURS) > 340


def test_every_operation_of_the_client_is_in_the_document_by_the_same_name(paths):
    missing = [each for each in OURS if each.method not in paths.get(each.path, {})]
    assert missing == []
    misnamed = {each.name: known for each in OURS if (known := client_name(paths[each.path][each.method])) != each.name}
    assert misnamed == {}


def client_name(operation):
    group, _, version = operation["tags"][0].rpartition("_")
    return snake(operation["operationId"].replace(group[:1].upper() + group[1:] + version.capitalize(), "", 1))


def test_every_operation_takes_the_parameters_that_the_client_sends(paths):
    lacking = {}
    for each in OURS:
        item = paths[each.path]
        taken = {one["name"] for one in item[each.method]["parameters"] + item["parameters"] if one["in"] == "query"}
        if wanted := each.query - taken - NOT_TAKEN:
            lacking[each.name] = wanted
    assert lacking == {}


def test_every_answer_is_of_the_type_that_the_client_expects(paths):
    """Of the client, `object` is a Status, and `str` any text."""
    other = {}
    for each in OURS:
        schema = paths[each.path][each.method]["responses"]["200"]["schema"]
        name = schema.get("$ref", schema.get("type", "")).rpartition(".")[2]
        expected = {"str": "string", "object": "Status", "V1Status": "Status"}.get(each.answer, each.answer)
        if not expected.endswith(name):
            other[each.name] = (each.answer, name)
    assert other == {}


def test_discovery_is_in_the_document_as_the_client_asks_for_it(paths):
    asked = {each.path for each in operations() if each.path.endswith("/") and each.method == "get" and "{" not in each.path}
    roots = {path for path in paths if path.endswith("/")}
    assert roots <= asked
    assert {"/api/", "/apis/", "/api/v1/", "/apis/apps/", "/apis/apps/v1/", "/version/"} <= roots


@pytest.mark.parametrize("operation", OURS, ids=lambda each: f"{each.name}-{each.path.split('/')[2]}")
def test_every_operation_of_the_client_is_answered(server, operation):
    """Whether with an object or with what is wrong: never as something that is not there."""
    url = operation.path.format(namespace="default", name="a", path="x")
    query = "&".join(f"{name}={VALUES.get(name, '1')}" for name in sorted(operation.query - CONTRARY - NOT_TAKEN))
    body = {} if operation.method in ("post", "put", "patch") else None
    media = {"content_type": "application/merge-patch+json"} if operation.method == "patch" else {}
    outcome = server.decide(operation.method.upper(), f"{url}?{query}", body, **media)
    if isinstance(outcome, (Write, Proxy, Watch)):
        return
    if "endpoints" not in outcome.body.decode():  # a Service without any is 503 to its proxy
        assert outcome.status not in (405, 415) and outcome.status < 500, outcome
    assert b"the server could not find the requested resource" not in outcome.body
