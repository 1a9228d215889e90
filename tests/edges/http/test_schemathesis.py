"""What does the server make of anything that its own OpenAPI documents allow? Always a declared answer, never a failure.

Bodies, paths and parameters come from schemathesis. Half of them are made to fit: a name that is there, the right kind.
MOORING_API_CASES=n asks every operation n times, MOORING_SEED says with what; otherwise a few of each sort are asked.
"""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from msgspec import structs
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from mooring.apiserver import openapi
from mooring.apiserver.contract import Env, Outcome, Request, Settings, User
from mooring.apiserver.delete import RETURNED
from mooring.apiserver.handle import handle
from mooring.edges.http.server import ApiServer
from mooring.edges.http.sockets import listener
from mooring.edges.memory.store import MemoryStore
from mooring.model.kinds import KINDS
from mooring.store.snapshot import Snapshot

CASES = int(os.environ.get("MOORING_API_CASES", "0"))
SEED = int(os.environ.get("MOORING_SEED", "7"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ADMIN = User("tester", ("system:masters", "system:authenticated"))
GROUP_VERSIONS = sorted({f"apis/{each.group}/{each.version}" if each.group else "api/v1" for each in KINDS})
CORE = "/api/v1/namespaces/{namespace}"
SAMPLE = {
    "api/v1": [
        ("get", f"{CORE}/services"), ("post", f"{CORE}/services"), ("put", f"{CORE}/services/{{name}}"),
        ("patch", f"{CORE}/services/{{name}}"), ("delete", f"{CORE}/services/{{name}}"), ("delete", f"{CORE}/configmaps"),
        ("post", f"{CORE}/pods/{{name}}/binding"), ("post", f"{CORE}/pods/{{name}}/eviction"),
        ("get", f"{CORE}/pods/{{name}}/log"), ("get", f"{CORE}/pods/{{name}}/exec"),
        ("put", "/api/v1/namespaces/{name}/finalize"),
        ("post", f"{CORE}/serviceaccounts/{{name}}/token"), ("get", "/api/v1/nodes/{name}"),
    ],
    "apis/apps/v1": [("patch", "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale")],
    "apis/authorization.k8s.io/v1": [("post", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")],
    "apis/apiextensions.k8s.io/v1": [("post", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")],
}  # fmt: skip
"""Of each sort of operation one or a few, and none with a whole PodSpec, which takes long to make up."""
BOUND = ("/binding", "/bindings")
"""Upstream's document says that they answer with a Binding; there as here it is a Status."""
NOBODY_THERE = ("no endpoints available", "no preferred addresses found")
"""What a proxy says of a Service without endpoints (503) and of a node without addresses (500, as upstream)."""
NOT_ASKED = frozenset({"watch", "follow"})
"""Streams do not end; what they say is tested where watches and logs are."""
SEEDS: dict[str, dict[str, Any]] = {
    f"{CORE}/configmaps": {"data": {"a": "b"}},
    f"{CORE}/services": {"spec": {"ports": [{"port": 80}]}},
    f"{CORE}/serviceaccounts": {},
    f"{CORE}/pods": {"spec": {"containers": [{"name": "a", "image": "a"}]}},
    "/api/v1/nodes": {},
    "/apis/networking.k8s.io/v1/ingressclasses": {"spec": {"controller": "example.com/a"}},
    **{
        f"/apis/apps/v1/namespaces/{{namespace}}/{plural}": {
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}},
            }
        }
        for plural in ("deployments", "replicasets", "statefulsets", "daemonsets")
    },
}


def as_admin(request: Request, snapshot: Snapshot, env: Env) -> Outcome:
    return handle(structs.replace(request, user=ADMIN), snapshot, env)


def no_token(token: str, *_: object) -> tuple[User, tuple[str, ...]]:
    raise ValueError("is none")


@pytest.fixture
def url() -> Iterator[str]:
    """One for each group, whose webhooks may hinder the others; in a loop and thread of its own, for requests block."""
    loop = asyncio.new_event_loop()
    listening = listener("127.0.0.1", 0)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> ApiServer:
        settings = Settings(token_signer=lambda claims: "signed", token_verifier=no_token)
        server = ApiServer(as_admin, MemoryStore(), settings, tls=None)
        await server.start([listening])
        return server

    try:
        server = asyncio.run_coroutine_threadsafe(begin(), loop).result(60)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        asyncio.run_coroutine_threadsafe(server.stop(grace=0), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def session(url: str) -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        yield made


def plant(session: requests.Session, url: str) -> None:
    """An object called `a` of each of a few kinds, as far as it is not there."""
    for path, body in {"/api/v1/namespaces": {}, **SEEDS}.items():
        name = "default" if path.endswith("/namespaces") else "a"
        answer = session.post(url + path.format(namespace="default"), json={"metadata": {"name": name}, **body}, timeout=100)
        assert answer.status_code in (201, 409), answer.text


@cache
def schema(group_version: str) -> Any:
    document = openapi.openapi_v3(group_version)
    assert document is not None
    return schemathesis.openapi.from_dict(json.loads(document))


def chosen() -> list[Any]:
    if not CASES:
        return [pytest.param(each, found, id=each) for each, found in SAMPLE.items()]
    found = []
    for each in GROUP_VERSIONS:
        known = [(one.ok().method, one.ok().path) for one in schema(each).get_all_operations()]
        found.append(pytest.param(each, [(method, path) for method, path in known if "/watch/" not in path], id=each))
    return found


def fitted(case: Any, operation: Any) -> None:
    """As a client would ask that knows what is there."""
    definition = operation.definition.raw
    of = definition.get("x-kubernetes-group-version-kind", {})
    if case.path_parameters and "name" in case.path_parameters:
        case.path_parameters["name"] = "a"
    if isinstance(case.body, dict) and operation.method in ("post", "put"):
        group = f"{of['group']}/" if of["group"] else ""
        metadata = case.body.get("metadata") or {}
        kept = {name: value for name, value in metadata.items() if name in ("annotations", "labels", "finalizers")}
        case.body |= {"apiVersion": group + of["version"], "kind": of["kind"], "metadata": {**kept, "name": "a"}}


def patched(case: Any, body: Any, place: int) -> None:
    """A patch's own schema says nothing: what would be PUT is merged in, or put at a place."""
    if case.media_type != "application/json-patch+json":
        case.body = body
        return
    name = sorted(body)[place % len(body)] if body else "spec"
    operations = ("add", "replace", "remove", "test")
    case.body = [{"op": operations[place % 4], "path": f"/{name}", "value": body.get(name)}]


def without_nulls(answer: Any) -> bytes:
    """A role without `rules`, a review without `creationTimestamp`: null as upstream, whose document forbids it."""

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: kept(each) for name, each in value.items() if each is not None}
        return [kept(each) for each in value] if isinstance(value, list) else value

    found: bytes = answer.content
    is_json = answer.headers.get("content-type", [""])[0].startswith("application/json")
    return json.dumps(kept(json.loads(found))).encode() if is_json and found else found


def is_going(answer: dict[str, Any]) -> bool:
    """What does not go at once is answered with; upstream's document says Status there too (generic/registry/store.go)."""
    return "deletionTimestamp" in answer["metadata"] and answer["kind"] not in {kind.kind for kind in RETURNED}


def status_is_right(answer: Any, path: str) -> None:
    if answer.status_code < 400 or "/proxy" in path:
        return
    if answer.headers["content-type"][0].startswith("application/json"):
        status = answer.json()
        assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", answer.status_code)
        assert status["message"]


@pytest.mark.parametrize(("group_version", "operations"), chosen())
def test_no_request_of_the_schema_breaks_the_server(
    url: str, session: requests.Session, group_version: str, operations: list[tuple[str, str]]
) -> None:
    described = schema(group_version)
    for method, path in operations:
        plant(session, url)
        ask(described, url, session, method, path)


def ask(described: Any, url: str, session: requests.Session, method: str, path: str) -> None:
    operation = described[path][method]
    body = described[path]["put"].as_strategy().map(lambda case: case.body) if method == "patch" else st.none()

    @seed(SEED)
    @settings(max_examples=CASES or 3, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(), fit=st.booleans(), body=body, place=st.integers(0, 30))
    def once(case: Any, fit: bool, body: Any, place: int) -> None:
        case.query = {name: value for name, value in (case.query or {}).items() if name not in NOT_ASKED}
        if case.path_parameters and "namespace" in case.path_parameters:
            case.path_parameters["namespace"] = "default"
        if method == "patch" and isinstance(body, dict):
            patched(case, body, place)
        if fit:
            fitted(case, operation)
        case.headers = {}  # nothing but credentials, which are tested elsewhere
        answer = case.call(base_url=url, session=session, timeout=100)
        # An answer to HEAD has no body: the same GET says why it is a refusal.
        said = session.get(answer.request.url, timeout=100).text if method == "head" else answer.text
        excused = {
            response_schema_conformance: (path.endswith(BOUND) and answer.status_code == 201)
            or (method == "delete" and answer.status_code < 300 and is_going(answer.json())),
            not_a_server_error: "/proxy" in path and any(each in said for each in NOBODY_THERE),
        }
        answer.content = without_nulls(answer)
        case.validate_response(answer, checks=[each for each in CHECKS if not excused.get(each)])
        status_is_right(answer, path)

    once()
