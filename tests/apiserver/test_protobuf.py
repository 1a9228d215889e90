"""Are Kubernetes protobuf bodies read as the JSON they stand for? The bytes are what kubectl 1.33 sent."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.apiserver.errors import StatusError
from mooring.apiserver.protobuf import MAGIC, MAX_FIELDS, WireError, document

DEPLOYMENT = (
    "azhzAAoVCgdhcHBzL3YxEgpEZXBsb3ltZW50EsMBCh8KA3dlYhIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEpEBCAASDAoKCgNhcHASA3dlYhp3ChwKABIAGg"
    "AiACoAMgA4AEIAWgoKA2FwcBIDd2ViElcSOQoEZWNobxIQbW9vcmluZy5kZXYvZWNobyoAMgsKABAAGJA/IgAqAEIAagByAIABAIgBAJABAKIBABoAMgBCAEoA"
    "UgBYAGAAaACCAQCKAQCaAQDCAQAiAgoAKAA4ABoMCAAQABgAIAAoADgAGgAiAA=="
)
SERVICE = (
    "azhzAAoNCgJ2MRIHU2VydmljZRJpCh8KA3dlYhIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEkIKGwoHODAtODA4MBIDVENQGFAiBwgAEJA/GgAoABIKCgNhcH"
    "ASA3dlYhoAIglDbHVzdGVySVA6AEIAUgBaAGAAaAAaAgoAGgAiAA=="
)
SECRET = "azhzAAoMCgJ2MRIGU2VjcmV0Eh0KEQoBcxIAGgAiACoAMgA4AEIAEgYKAXgSAXkaABoAIgA="


def test_a_deployment_keeps_its_zero_replicas_and_loses_the_zeros_that_say_nothing() -> None:
    assert document(base64.b64decode(DEPLOYMENT)) == {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {"name": "echo", "image": "mooring.dev/echo", "ports": [{"containerPort": 8080}], "resources": {}}
                    ]
                },
            },
            "strategy": {},
        },
        "status": {"replicas": 0},
    }


def test_a_service_has_its_target_port_as_a_number() -> None:
    assert document(base64.b64decode(SERVICE))["spec"] == {
        "ports": [{"name": "80-8080", "protocol": "TCP", "port": 80, "targetPort": 8080}],
        "selector": {"app": "web"},
        "type": "ClusterIP",
    }


def test_bytes_become_base64() -> None:
    assert document(base64.b64decode(SECRET))["data"] == {"x": "eQ=="}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"{}", "does not begin with", id="no prefix"),
        pytest.param(MAGIC, "names no kind", id="nothing after the prefix"),
        pytest.param(MAGIC + b"\x0a\x07\x0a\x02v1\x12\x01X", "no kind 'X' is registered", id="unknown kind"),
        pytest.param(base64.b64decode(SECRET)[:-10], "cut off", id="truncated"),
        pytest.param(MAGIC + b"\x0b", "wire type 3", id="a group"),
        pytest.param(MAGIC + b"\xff" * 20, "longer than 64 bits", id="an endless number"),
        pytest.param(
            MAGIC + b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0f\x0a\x0d\x42\x0b\x08" + b"\x80" * 9 + b"\x7f",
            "a time out of range",
            id="a time that no calendar has",
        ),
    ],
)
def test_a_broken_body_is_refused_with_its_fault(body: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        document(body)


def test_a_body_of_more_fields_than_any_object_has_is_too_large_wherever_they_are() -> None:
    named = MAGIC + b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap"
    assert document(named + b"\x18\x00" * (MAX_FIELDS - 3)) == {"kind": "ConfigMap", "apiVersion": "v1"}
    entries = b"\x12\x00" * MAX_FIELDS
    for more in (b"\x18\x00" * (MAX_FIELDS - 2), b"\x12\xc0\x9a\x0c" + entries):
        with pytest.raises(StatusError, match="limit of protobuf is 100000 fields") as refused:
            document(named + more)
        assert 413 == refused.value.code


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_decode_or_be_refused(tail: bytes) -> None:
    head = base64.b64decode(SERVICE)[:21]
    for body in (MAGIC + tail, head + b"\x12" + bytes([min(len(tail), 127)]) + tail):
        with contextlib.suppress(WireError):
            assert document(body)["kind"]
