"""Slices that mirror hand-written Endpoints."""

from typing import Any

import pytest

from mooring.control.reconcilers.endpoint_slice_mirror import EndpointSliceMirror
from mooring.model.kinds import ENDPOINT_SLICE, ENDPOINTS, SERVICE
from mooring.testing.builders import Document, service
from mooring.testing.world import MemoryWorld, Settled, settle


def endpoints(*subsets: Document, labels: Document | None = None, annotations: Document | None = None) -> Document:
    metadata = {"name": "web", "namespace": "default", "uid": "ep", "labels": labels or {}, "annotations": annotations or {}}
    return {"kind": "Endpoints", "apiVersion": "v1", "metadata": metadata, "subsets": list(subsets)}


def subset(*addresses: str, waiting: tuple[str, ...] = (), port: int = 80, name: str = "") -> Document:
    ports = [{"port": port, "protocol": "TCP"} | ({"name": name} if name else {})]
    return {
        "addresses": [{"ip": each} for each in addresses],
        "notReadyAddresses": [{"ip": each} for each in waiting],
        "ports": ports,
    }


def unselecting() -> Document:
    return service(selector=None)


def mirrored(*documents: Document) -> tuple[MemoryWorld, Settled]:
    world = MemoryWorld(documents)
    outcome = settle(EndpointSliceMirror(), world)
    assert settle(EndpointSliceMirror(), world).writes == ()
    return world, outcome


def found(world: MemoryWorld) -> list[tuple[str, int, list[tuple[str, bool]]]]:
    return sorted(
        (
            each["addressType"],
            each["ports"][0]["port"],
            [(one["addresses"][0], one["conditions"]["ready"]) for one in each["endpoints"]],
        )
        for each in world.list(ENDPOINT_SLICE)
    )


def test_endpoints_of_a_service_without_selector_are_mirrored() -> None:
    world, _ = mirrored(unselecting(), endpoints(subset("192.0.2.1", waiting=("192.0.2.2",))))
    assert found(world) == [("IPv4", 80, [("192.0.2.1", True), ("192.0.2.2", False)])]
    (slice_,) = world.list(ENDPOINT_SLICE)
    assert slice_["metadata"]["labels"] == {
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert slice_["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"


def test_each_set_of_ports_and_each_family_has_its_slice() -> None:
    world, _ = mirrored(unselecting(), endpoints(subset("192.0.2.1", "2001:db8::1"), subset("192.0.2.1", port=81)))
    assert found(world) == [
        ("IPv4", 80, [("192.0.2.1", True)]),
        ("IPv4", 81, [("192.0.2.1", True)]),
        ("IPv6", 80, [("2001:db8::1", True)]),
    ]


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param([service(), endpoints(subset("192.0.2.1"))], id="the Service has a selector"),
        pytest.param([endpoints(subset("192.0.2.1"))], id="there is no Service"),
        pytest.param(
            [unselecting(), endpoints(subset("192.0.2.1"), labels={"endpointslice.kubernetes.io/skip-mirror": "true"})],
            id="they ask not to be",
        ),
        pytest.param(
            [unselecting(), endpoints(subset("192.0.2.1"), annotations={"control-plane.alpha.kubernetes.io/leader": "{}"})],
            id="they are a leader's lock",
        ),
    ],
)
def test_not_mirrored_when(documents: list[Document]) -> None:
    world, _ = mirrored(*documents)
    assert found(world) == []


@pytest.mark.parametrize("how", ["a selector appears", "the Service goes", "the Endpoints go", "the addresses go"])
def test_mirrored_slices_go_when(how: str) -> None:
    world, _ = mirrored(unselecting(), endpoints(subset("192.0.2.1")))
    match how:
        case "a selector appears":
            world.add(service())
        case "the Service goes":
            world.remove(SERVICE, "default", "web")
        case "the Endpoints go":
            world.remove(ENDPOINTS, "default", "web")
        case _:
            world.add(endpoints())
    settle(EndpointSliceMirror(), world)
    assert found(world) == []


def test_changes_update_the_slice_in_place() -> None:
    world, _ = mirrored(unselecting(), endpoints(subset("192.0.2.1")))
    world.add(endpoints(subset("192.0.2.1", "192.0.2.3")))
    outcome = settle(EndpointSliceMirror(), world)
    assert [write.verb for write in outcome.writes] == ["update"]
    assert found(world) == [("IPv4", 80, [("192.0.2.1", True), ("192.0.2.3", True)])]


def test_labels_and_annotations_are_taken_over_but_for_those_of_tools() -> None:
    annotations = {"note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    world, _ = mirrored(unselecting(), endpoints(subset("192.0.2.1"), labels={"team": "x"}, annotations=annotations))
    (slice_,) = world.list(ENDPOINT_SLICE)
    assert slice_["metadata"]["labels"]["team"] == "x"
    assert slice_["metadata"]["annotations"] == {"note": "x"}
    world.add(endpoints(subset("192.0.2.1"), annotations={"note": "y"}))
    settle(EndpointSliceMirror(), world)
    assert next(iter(world.list(ENDPOINT_SLICE)))["metadata"]["annotations"] == {"note": "y"}


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        pytest.param(
            ["192.0.2.1", "not-an-address"],
            ("InvalidIPAddress", "Skipped 1 invalid IP addresses when mirroring to EndpointSlices"),
            id="an address that is none",
        ),
        pytest.param(
            [f"10.0.{n // 250}.{n % 250}" for n in range(1003)],
            (
                "TooManyAddressesToMirror",
                "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped",
            ),
            id="more than a slice may hold",
        ),
    ],
)
def test_what_cannot_be_mirrored_is_told(addresses: list[str], expected: tuple[str, str]) -> None:
    world, outcome = mirrored(unselecting(), endpoints(subset(*addresses)))
    assert [(each.reason, each.message) for each in outcome.reports] == [expected]
    assert all(len(each["endpoints"]) <= 1000 for each in world.list(ENDPOINT_SLICE))


def test_user_data_of_any_shape_does_not_stop_the_mirror() -> None:
    odd: Any = {"addresses": None, "notReadyAddresses": [{"ip": "192.0.2.9"}], "ports": None}
    world, _ = mirrored(unselecting(), endpoints(odd))
    (slice_,) = world.list(ENDPOINT_SLICE)
    assert (slice_["ports"], slice_["endpoints"][0]["addresses"]) == ([], ["192.0.2.9"])
