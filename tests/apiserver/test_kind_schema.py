"""Types and fields: the committed table against the official client, and the decoder's words."""

import client_types
import pytest

from mooring.apiserver import schema
from mooring.apiserver.schema import PatchMeta, check_structure, drop_unknown, patch_meta
from mooring.apiserver.schema_at_once import fits
from mooring.apiserver.schema_descriptions import describe
from mooring.model.kinds import CONFIG_MAP, DEPLOYMENT, KINDS, NODE, POD, SECRET, SERVICE, SERVICE_ACCOUNT


@pytest.mark.parametrize("name", sorted(schema.types()))
def test_a_type_has_the_fields_that_the_official_client_knows(name: str):
    known = client_types.fields_of(name) or {}  # it has no class for an object without fields
    assert known == {field: about.required for field, about in schema.types()[name].items()}


def test_every_kind_and_every_referenced_type_is_in_the_table():
    known = schema.types()
    assert [] == [kind.kind for kind in KINDS if schema.type_of(kind) not in known]
    bases = {field.base for fields in known.values() for field in fields.values()}
    assert set() == bases - known.keys() - schema.SCALARS


def test_every_type_with_fields_is_described_by_the_installed_client():
    assert [] == [name for name, fields in schema.types().items() if fields and not describe(name).type]


def test_a_field_is_described():
    assert describe("core.v1.ServicePort").fields["port"].startswith("The port that will be exposed")


@pytest.mark.parametrize(
    ("kind", "document", "error"),
    [
        pytest.param(
            SERVICE,
            {"spec": {"ports": [{"port": "x"}]}},
            "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32",
            id="a string for a number",
        ),
        pytest.param(
            SERVICE,
            {"spec": {"ports": [{"port": 1 << 31}]}},
            "json: cannot unmarshal number 2147483648 into Go struct field ServicePort.spec.ports.port of type int32",
            id="a number too big",
        ),
        pytest.param(
            SERVICE,
            {"spec": {"ports": {}}},
            "json: cannot unmarshal object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort",
            id="an object for a list",
        ),
        pytest.param(
            SERVICE,
            {"metadata": "x"},
            "json: cannot unmarshal string into Go struct field Service.metadata of type v1.ObjectMeta",
            id="a string for an object",
        ),
        pytest.param(
            SERVICE,
            {"spec": {"selector": {"a": 3}}},
            "json: cannot unmarshal number into Go struct field ServiceSpec.spec.selector of type string",
            id="a number in a map of strings",
        ),
        pytest.param(
            SERVICE,
            {"spec": {"ports": [{"targetPort": True}]}},
            "json: cannot unmarshal bool into Go value of type int32",
            id="neither number nor string",
        ),
        pytest.param(
            POD,
            {"spec": {"hostNetwork": "yes"}},
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
            id="a string for a bool",
        ),
        pytest.param(SECRET, {"data": {"a": "*"}}, "illegal base64 data at input byte 0", id="data that is not base64"),
        pytest.param(
            SERVICE,
            {"metadata": {"creationTimestamp": "now"}},
            'parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006"',
            id="a time that is none",
        ),
        pytest.param(
            POD,
            {"spec": {"containers": [{"resources": {"limits": {"cpu": "much"}}}]}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            id="a quantity that is none",
        ),
    ],
)
def test_a_type_error_reads_as_gos(kind, document, error):
    assert not fits(kind, document)
    assert (error,) == check_structure(kind, document).type_errors


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_an_empty_document_is_well_typed(kind):
    assert ((), ()) == (check_structure(kind, {}).type_errors, check_structure(kind, {}).unknown_fields)


def test_unknown_fields_are_named_by_path_and_dropped():
    document = {"spec": {"ports": [{"port": 80, "porte": 1}], "selectr": {}}, "extra": 1}
    assert not fits(SERVICE, document)
    assert ("spec.ports[0].porte", "spec.selectr", "extra") == check_structure(SERVICE, document).unknown_fields
    drop_unknown(SERVICE, document)
    assert {"spec": {"ports": [{"port": 80}]}} == document


def test_null_is_absent_in_objects_and_zero_in_lists_and_maps():
    document = {"metadata": {"name": None, "labels": {"a": None}}, "spec": {"ports": [None], "clusterIPs": [None]}}
    assert not fits(SERVICE, document)
    check_structure(SERVICE, document)
    assert fits(SERVICE, document)
    assert {"metadata": {"labels": {"a": ""}}, "spec": {"ports": [{}], "clusterIPs": [""]}} == document


@pytest.mark.parametrize("quantity", ["1e999999999", "1e-999999999", "9" * 5000, 10**400, "\u0663"])
def test_quantities_that_nobody_can_reckon_with(quantity):
    """A scheduler that tries would be busy for hours."""
    found = check_structure(POD, {"spec": {"containers": [{"resources": {"limits": {"cpu": quantity}}}]}})
    assert any("quantities must match" in each for each in found.type_errors)


@pytest.mark.parametrize("quantity", [1, 0.5, "100m", "1Gi", "1e3", ".5", "-1"])
def test_good_quantities(quantity):
    document = {"spec": {"containers": [{"resources": {"limits": {"cpu": quantity}}}]}}
    assert () == check_structure(POD, document).type_errors
    assert fits(POD, document)


@pytest.mark.parametrize("value", [True, 1.0, None, "1", 1 << 31, [], {}], ids=repr)
@pytest.mark.parametrize("field", ["priority", "activeDeadlineSeconds", "nodeName", "hostNetwork", "nodeSelector", "volumes"])
def test_what_fits_at_once_is_well_typed_and_has_nothing_null(field, value):
    document = {"spec": {field: value}}
    found = check_structure(POD, {"spec": {field: value}})
    assert fits(POD, document) == (value is not None and not found.type_errors)


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        (SERVICE, ("spec", "ports"), PatchMeta(("merge",), "port")),
        (SERVICE, ("status", "conditions"), PatchMeta(("merge",), "type")),
        (POD, ("spec", "containers"), PatchMeta(("merge",), "name")),
        (POD, ("spec", "containers", "ports"), PatchMeta(("merge",), "containerPort")),
        (POD, ("spec", "volumes"), PatchMeta(("merge", "retainKeys"), "name")),
        (POD, ("spec", "tolerations"), PatchMeta()),
        (DEPLOYMENT, ("spec", "strategy"), PatchMeta(("retainKeys",))),
        (DEPLOYMENT, ("spec", "template", "spec", "containers", "env"), PatchMeta(("merge",), "name")),
        (NODE, ("status", "addresses"), PatchMeta(("merge",), "type")),
        (SERVICE_ACCOUNT, ("secrets",), PatchMeta(("merge",), "name")),
        (CONFIG_MAP, ("metadata", "finalizers"), PatchMeta(("merge",))),
        (CONFIG_MAP, ("metadata", "ownerReferences"), PatchMeta(("merge",), "uid")),
        (CONFIG_MAP, ("metadata", "labels", "a"), PatchMeta()),
        (CONFIG_MAP, ("nothing", "here"), PatchMeta()),
    ],
)
def test_patch_facts(kind, path, expected):
    assert expected == patch_meta(kind, path)
