"""The API's description of itself: what kubectl asks of it, document by document."""

import json

import pytest

from mooring.apiserver import openapi
from mooring.model.kinds import DEPLOYMENT, KINDS, SERVICE, STORED, Kind


def group_path(kind: Kind) -> str:
    return f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"


@pytest.fixture(scope="module")
def index():
    return json.loads(openapi.openapi_v3_index())["paths"]


@pytest.fixture(scope="module")
def core():
    return json.loads(openapi.openapi_v3("api/v1"))


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):  # a JSONSchemaProps has a property of that name
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


def test_the_index_lists_every_group_version_with_a_hash(index):
    groups = {f"apis/{kind.group}" for kind in KINDS if kind.group}
    assert {"api", "apis", "version", *groups, *map(group_path, KINDS)} == set(index)
    assert all("?hash=" in entry["serverRelativeURL"] for entry in index.values())


def test_an_unknown_group_version_has_no_document():
    assert openapi.openapi_v3("apis/example.com/v1") is None


@pytest.mark.parametrize("group_version", sorted({group_path(kind) for kind in KINDS}))
def test_every_reference_of_a_document_resolves_inside_it(group_version):
    document = json.loads(openapi.openapi_v3(group_version))
    schemas = document["components"]["schemas"]
    assert set() == {ref.removeprefix("#/components/schemas/") for ref in references(document)} - schemas.keys()


def test_every_reference_of_v2_resolves():
    document = json.loads(openapi.openapi_v2())
    assert set() == {ref.removeprefix("#/definitions/") for ref in references(document)} - document["definitions"].keys()


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: f"{kind.kind}.{kind.group}")
def test_writes_take_field_validation_and_name_their_kind(kind):
    paths = json.loads(openapi.openapi_v3(group_path(kind)))["paths"]
    namespace = "{namespace}" if kind.namespaced else ""
    post, patch = paths[kind.path(namespace)]["post"], paths[kind.path(namespace, "{name}")]["patch"]
    for operation in (post, patch):
        assert "fieldValidation" in {parameter["name"] for parameter in operation["parameters"]}
        assert {"group": kind.group, "version": kind.version, "kind": kind.kind} == operation["x-kubernetes-group-version-kind"]


def test_a_schema_carries_types_descriptions_and_merge_keys(core):
    spec = core["components"]["schemas"]["io.k8s.api.core.v1.ServiceSpec"]
    assert spec["properties"]["ports"] | {"description": ""} == {
        "description": "",
        "type": "array",
        "items": {"$ref": "#/components/schemas/io.k8s.api.core.v1.ServicePort"},
        "x-kubernetes-patch-strategy": "merge",
        "x-kubernetes-patch-merge-key": "port",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["port", "protocol"],
    }
    assert spec["description"]
    assert [] == [name for name, schema in spec["properties"].items() if not schema.get("description")]


def test_required_fields_are_named(core):
    assert ["port"] == core["components"]["schemas"]["io.k8s.api.core.v1.ServicePort"]["required"]


@pytest.mark.parametrize("kind", [SERVICE, DEPLOYMENT], ids=lambda kind: kind.kind)
def test_operations_have_one_identity_each(kind):
    paths = json.loads(openapi.openapi_v3(group_path(kind)))["paths"]
    identities = [
        operation["operationId"] for item in paths.values() for method, operation in item.items() if method != "parameters"
    ]
    assert len(set(identities)) == len(identities)


def fields(message: bytes):
    """The (number, content) pairs of a protobuf message whose fields are all length-delimited."""
    place = 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while place < len(message):
        tag = varint()
        assert 2 == tag & 7
        length = varint()
        yield tag >> 3, message[place : place + length]
        place += length


def test_the_protobuf_document_holds_every_definition():
    document = dict(fields(openapi.openapi_v2_protobuf()))
    names = {dict(fields(definition))[1].decode() for _, definition in fields(document[9])}
    assert b"2.0" == document[1]
    assert json.loads(openapi.openapi_v2())["definitions"].keys() == names
