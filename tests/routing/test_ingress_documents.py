"""Which documents bear on Ingresses, and which endpoints have their sets?"""

import base64
from typing import Any

import pytest

from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.routing.ingress.documents import objects, secret
from mooring.routing.ingress.members import members
from mooring.routing.ingress.objects import SetOf
from mooring.routing.table import Member


def document(kind: str, name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": "d", "uid": name}, **fields}


def test_each_kind_finds_its_place_and_the_broken_are_left_out() -> None:
    found = objects(
        [
            document("Ingress"),
            document("Ingress", "broken", spec={"rules": "none"}),
            document("IngressClass") | {"metadata": {"name": "c"}},
            document("Service", spec={"ports": []}),
            document("Secret", data={"k": base64.b64encode(b"v").decode()}, type="t"),
            document("Secret", "broken", data={"k": "*"}),
            document("ConfigMap", data={"k": "v"}),
            document("Pod"),
            {"kind": "Ingress"},
        ]
    )
    assert (set(found.ingresses), set(found.classes), set(found.services)) == ({("d", "a")}, {"c"}, {("d", "a")})
    assert {name: (each.type, dict(each.data)) for name, each in found.secrets.items()} == {("d", "a"): ("t", {"k": b"v"})}
    assert found.config_maps == {("d", "a"): {"k": "v"}}


def test_what_is_written_as_text_wins_in_a_secret() -> None:
    both = document("Secret", data={"a": "Yg==", "c": "ZA=="}, stringData={"a": "x"})
    assert (secret(both).type, dict(secret(both).data)) == ("Opaque", {"a": b"x", "c": b"d"})


def a_slice(service: str, *endpoints: tuple[str, dict[str, bool]], family: str = "IPv4") -> EndpointSlice:
    listed = [
        {"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": f"pod-{number}"}}
        for number, (address, conditions) in enumerate(endpoints)
    ]
    labels = {"kubernetes.io/service-name": service}
    meta = {"name": f"{service}-{family}", "namespace": "d", "labels": labels}
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    return endpoint_slice({"metadata": meta, "addressType": family, "ports": ports, "endpoints": listed})


READY, NOT, DRAINING = {"ready": True}, {"ready": False}, {"ready": False, "serving": True, "terminating": True}
WEB = SetOf("d", "web", "http")


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        pytest.param(
            [a_slice("web", ("10.0.0.2", READY), ("10.0.0.1", READY), ("10.0.0.3", NOT))],
            ["10.0.0.1", "10.0.0.2"],
            id="the ready ones, sorted",
        ),
        pytest.param(
            [a_slice("web", ("10.0.0.1", DRAINING), ("10.0.0.2", NOT))], ["10.0.0.1"], id="else those that end and still serve"
        ),
        pytest.param([a_slice("web", ("10.0.0.1", DRAINING), ("10.0.0.2", READY))], ["10.0.0.2"], id="not beside ready ones"),
        pytest.param([a_slice("web", ("fd00::1", READY), family="IPv6")], ["fd00::1"], id="IPv6 alone"),
        pytest.param(
            [a_slice("web", ("fd00::1", READY), family="IPv6"), a_slice("web", ("10.0.0.1", READY))],
            ["10.0.0.1"],
            id="a pod of both families once",
        ),
        pytest.param(
            [a_slice("web", ("10.0.0.1", NOT)), a_slice("spare", ("10.0.0.9", READY))], ["10.0.0.9"], id="the fallback's"
        ),
        pytest.param([a_slice("other", ("10.0.0.1", READY))], [], id="nobody's"),
    ],
)
def test_a_set_has_the_usable_endpoints(slices: list[EndpointSlice], expected: list[str]) -> None:
    wanted = {"s": SetOf("d", "web", "http", SetOf("d", "spare", "http"))}
    assert [each.address for each in members(wanted, slices)["s"]] == expected


def test_a_member_names_its_pod() -> None:
    assert members({"s": WEB}, [a_slice("web", ("10.0.0.1", READY))])["s"] == (Member("10.0.0.1", 8080, "pod-0"),)
