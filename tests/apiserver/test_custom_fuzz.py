"""Whatever schemas and documents come, the answer is no 500, and never takes long or much."""

import json
from typing import Any

from custom_definitions import API_VERSION, Defined, definition, version
from direct import ADMIN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from mooring.apiserver.contract import Request, Response, Write
from mooring.apiserver.handle import handle
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION

PROFILE = settings(suppress_health_check=list(HealthCheck))
SCALARS = (
    some.none()
    | some.booleans()
    | some.integers(-(1 << 70), 1 << 70)
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(max_size=6)
)
NAMES = some.sampled_from(["a", "b", "spec", "metadata", "kind", "apiVersion", "__proto__", "x y", ""])
VALUES = some.recursive(
    SCALARS, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)
TYPES = some.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null", "", "odd"])
RULES = some.sampled_from(
    [
        "true",
        "self == self",
        "self.a == 'x'",
        "self.all(x, x == x)",
        "oldSelf == self",
        "self.b > 1",
        "(",
        "has(self.a)",
        "size(self) > 1",
    ]
)
FORMATS = some.sampled_from(["date-time", "byte", "ipv4", "int32", "duration", "uuid", "nothing", "cidr", "mac", "email"])


def fields(inner: some.SearchStrategy[Any]) -> some.SearchStrategy[Any]:
    """A JSONSchemaProps, often right, often not."""
    numbers = some.integers(-3, 9) | some.floats(allow_nan=False, allow_infinity=False, width=16)
    return some.fixed_dictionaries(
        {"type": TYPES},
        optional={
            "properties": some.dictionaries(NAMES, inner, max_size=3),
            "items": inner,
            "additionalProperties": inner | some.booleans(),
            "format": FORMATS,
            "pattern": some.sampled_from(["^a", "[", "(a+)+$", "\\d"]),
            "enum": some.lists(VALUES, max_size=3),
            "default": VALUES,
            "nullable": some.booleans(),
            "maximum": numbers,
            "minimum": numbers,
            "multipleOf": numbers,
            "maxLength": some.integers(-2, 9),
            "minItems": some.integers(-2, 3),
            "maxItems": some.integers(-2, 9),
            "required": some.lists(NAMES, max_size=2),
            "anyOf": some.lists(inner, max_size=2),
            "not": inner,
            "oneOf": some.lists(inner, max_size=2),
            "allOf": some.lists(inner, max_size=2),
            "x-kubernetes-preserve-unknown-fields": some.booleans(),
            "x-kubernetes-embedded-resource": some.booleans(),
            "x-kubernetes-int-or-string": some.booleans(),
            "x-kubernetes-list-type": some.sampled_from(["set", "map", "atomic", "x"]),
            "x-kubernetes-list-map-keys": some.lists(NAMES, max_size=2),
            "x-kubernetes-map-type": some.sampled_from(["atomic", "granular"]),
            "x-kubernetes-validations": some.lists(some.builds(lambda rule: {"rule": rule}, RULES), max_size=2),
        },
    )


SCHEMAS = some.recursive(some.builds(lambda of: {"type": of}, TYPES), fields, max_leaves=6)
GOOD = some.recursive(
    some.sampled_from([{"type": of} for of in ("string", "integer", "number", "boolean")])
    | some.just({"x-kubernetes-int-or-string": True})
    | some.builds(lambda of: {"type": "string", "format": of}, FORMATS),
    lambda inner: (
        some.builds(lambda items: {"type": "array", "items": items, "maxItems": 5}, inner)
        | some.builds(
            lambda properties: {"type": "object", "properties": properties},
            some.dictionaries(some.sampled_from("abcd"), inner, max_size=3),
        )
        | some.builds(lambda of: {"type": "object", "maxProperties": 5, "additionalProperties": of}, inner)
    ),
    max_leaves=6,
)


def answer(server: Defined, method: str, path: str, body: Any, content_type: str = "application/json") -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    outcome = handle(Request(method, path, (), {"content-type": content_type}, data, ADMIN), server.state, server.env)
    if isinstance(outcome, Write):
        (decided,) = server.state.decide((outcome.txn,))
        server.state.publish((decided,))
        outcome = outcome.respond(decided)
    assert isinstance(outcome, Response)
    status = json.loads(outcome.body)
    assert outcome.status < 500, status
    assert len(outcome.body) < 1 << 20
    return outcome


@PROFILE
@given(SCHEMAS, VALUES)
def test_any_schema_and_any_document(schema, document):
    server = Defined()
    made = answer(
        server,
        "POST",
        CUSTOM_RESOURCE_DEFINITION.path(),
        definition(version(spec=schema)) | {"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1"},
    )
    if made.status == 201:
        exchange(server, document)


@PROFILE
@given(GOOD, VALUES, VALUES)
def test_schemas_that_are_right(schema, before, after):
    server = Defined(definition(version(spec={"type": "object", "properties": {"a": schema}})))
    exchange(server, {"a": before})
    exchange(server, {"a": after})


def exchange(server: Defined, spec: Any) -> None:
    body = {"apiVersion": API_VERSION, "kind": "CronTab", "metadata": {"name": "one"}, "spec": spec}
    answer(server, "POST", server.path(), body)
    answer(server, "PATCH", server.path("one"), {"spec": spec}, "application/merge-patch+json")
    answer(server, "PATCH", server.path("one"), [{"op": "add", "path": "/spec", "value": spec}], "application/json-patch+json")
    answer(server, "GET", server.path(), b"")


@PROFILE
@given(
    some.dictionaries(some.sampled_from(["group", "scope", "names", "versions", "conversion", "preserveUnknownFields"]), VALUES)
)
def test_any_definition(spec):
    answer(Defined(), "POST", CUSTOM_RESOURCE_DEFINITION.path(), {"metadata": {"name": "a.b.c"}, "spec": spec})


WHOLE = definition(
    version(
        "v1",
        additionalPrinterColumns=[{"name": "A", "type": "string", "jsonPath": ".spec.a"}],
        selectableFields=[{"jsonPath": ".spec"}],
        subresources={"status": {}, "scale": {"specReplicasPath": ".spec.r", "statusReplicasPath": ".status.r"}},
    ),
    version("v2", storage=False),
    names={"shortNames": ["ct"], "singular": "crontab", "listKind": "CronTabList", "categories": ["all"]},
    conversion={
        "strategy": "Webhook",
        "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1"}},
    },
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in pairs for place in places(item, (*path, key)))]


@PROFILE
@given(some.lists(some.tuples(some.sampled_from(places(WHOLE)[1:]), VALUES | some.just("gone")), min_size=1, max_size=3))
def test_a_definition_with_something_else_anywhere(changes):
    document = json.loads(json.dumps(WHOLE))
    for path, value in changes:
        inner = document
        for step in path[:-1]:
            inner = inner[step] if isinstance(inner, dict) and step in inner else inner
        if isinstance(inner, dict) and value == "gone":
            inner.pop(path[-1], None)
        elif isinstance(inner, dict):
            inner[path[-1]] = value
    answer(Defined(), "POST", CUSTOM_RESOURCE_DEFINITION.path(), document)


def test_a_schema_as_deep_as_a_body_may_be():
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(115):
        schema = {"type": "object", "properties": {"a": schema}}
    server = Defined()
    assert 201 == answer(server, "POST", CUSTOM_RESOURCE_DEFINITION.path(), definition(version(spec=schema))).status
    document: Any = "x"
    for _ in range(115):
        document = {"a": document}
    body = {"metadata": {"name": "one"}, "spec": document}
    assert 201 == answer(server, "POST", server.path(), body).status
    for _ in range(200):
        schema = {"type": "object", "properties": {"a": schema}}
    assert 400 == answer(Defined(), "POST", CUSTOM_RESOURCE_DEFINITION.path(), definition(version(spec=schema))).status


def test_a_pattern_that_others_choke_on_takes_no_time():
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    server = Defined(definition(version(spec=schema)))
    assert {"spec.a"} == set(server.refused({"a": "a" * 100_000 + "!"}))
