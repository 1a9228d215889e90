"""The core/v1 Endpoints object of a Service."""

from typing import Any

import pytest

from mooring.control.reconcilers.endpoints import Endpoints
from mooring.model.kinds import ENDPOINTS, POD, SERVICE
from mooring.testing.builders import Document, pod, service
from mooring.testing.world import MemoryWorld, settle

OVER = "endpoints.kubernetes.io/over-capacity"


def settled(*documents: Document) -> MemoryWorld:
    world = MemoryWorld(documents)
    settle(Endpoints(), world)
    assert settle(Endpoints(), world).writes == ()
    return world


def found(world: MemoryWorld) -> Document:
    document = world.get(ENDPOINTS, "default", "web")
    assert document is not None
    return document


def ips(subsets: list[Document], field: str = "addresses") -> list[str]:
    return [address["ip"] for subset in subsets for address in subset.get(field, [])]


def test_the_object_as_upstream_writes_it() -> None:
    labelled = service()
    labelled["metadata"]["labels"] = {"team": "x"}
    object_ = found(settled(labelled, pod("q", "10.244.0.3", ready=False), pod("p", "10.244.0.2")))
    assert object_["metadata"]["labels"] == {"team": "x", "endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    assert object_["subsets"] == [
        {
            "addresses": [
                {
                    "ip": "10.244.0.2",
                    "nodeName": "a",
                    "targetRef": {"kind": "Pod", "namespace": "default", "name": "p", "uid": "pod-p"},
                }
            ],
            "notReadyAddresses": [
                {
                    "ip": "10.244.0.3",
                    "nodeName": "a",
                    "targetRef": {"kind": "Pod", "namespace": "default", "name": "q", "uid": "pod-q"},
                }
            ],
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        }
    ]


@pytest.mark.parametrize(
    ("spec", "ready", "waiting"),
    [
        pytest.param({}, ["10.244.0.2"], ["10.244.0.3"], id="terminating pods are not listed"),
        pytest.param(
            {"publishNotReadyAddresses": True}, ["10.244.0.2", "10.244.0.3", "10.244.0.4"], [], id="unless all are published"
        ),
        pytest.param({"ipFamilies": ["IPv6", "IPv4"]}, ["fd00::2"], [], id="only the first family is listed"),
    ],
)
def test_which_pods_are_listed(spec: dict[str, Any], ready: list[str], waiting: list[str]) -> None:
    going = pod("r", "10.244.0.4")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world = settled(service(**spec), pod("p", "10.244.0.2", "fd00::2"), pod("q", "10.244.0.3", ready=False), going)
    subsets = found(world)["subsets"]
    assert (ips(subsets), ips(subsets, "notReadyAddresses")) == (ready, waiting)


def test_pods_with_other_numbers_for_a_named_port_are_in_another_subset() -> None:
    def serving(name: str, address: str, number: int) -> Document:
        one = pod(name, address)
        one["spec"]["containers"] = [{"name": "c", "ports": [{"name": "http", "protocol": "TCP", "containerPort": number}]}]
        return one

    port = {"name": "http", "port": 80, "targetPort": "http"}
    world = settled(
        service("web", port), serving("p", "10.244.0.2", 8080), serving("q", "10.244.0.3", 80), pod("n", "10.244.0.4")
    )
    subsets = [(subset["ports"][0]["port"], ips([subset])) for subset in found(world)["subsets"]]
    assert sorted(subsets) == [(80, ["10.244.0.3"]), (8080, ["10.244.0.2"])]


@pytest.mark.parametrize(
    ("ready", "waiting", "expected"),
    [
        pytest.param(1000, 0, (1000, 0, False), id="1000 fit"),
        pytest.param(1001, 50, (1000, 0, True), id="ready ones first"),
        pytest.param(900, 200, (900, 100, True), id="as many others as there is room for"),
    ],
)
def test_at_most_1000_addresses(ready: int, waiting: int, expected: tuple[int, int, bool]) -> None:
    pods = [pod(f"p{n}", f"10.{n // 250}.1.{n % 250}", ready=n < ready) for n in range(ready + waiting)]
    world = settled(service(), *pods)
    subsets = found(world)["subsets"]
    annotated = found(world)["metadata"].get("annotations", {}).get(OVER) == "truncated"
    assert (len(ips(subsets)), len(ips(subsets, "notReadyAddresses")), annotated) == expected


def test_the_annotation_goes_when_all_fit_again() -> None:
    world = settled(service(), *(pod(f"p{n}", f"10.{n // 250}.1.{n % 250}") for n in range(1001)))
    world.remove(POD, "default", "p7")
    settle(Endpoints(), world)
    assert OVER not in found(world)["metadata"].get("annotations", {})
    assert len(ips(found(world)["subsets"])) == 1000


def test_a_service_without_pods_has_an_empty_object() -> None:
    assert found(settled(service()))["subsets"] == []


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"selector": None}, id="no selector"),
        pytest.param({"type": "ExternalName", "externalName": "example.org"}, id="an ExternalName"),
    ],
)
def test_no_object_is_written_for(spec: dict[str, Any]) -> None:
    assert settled(service(**spec), pod("p", "10.244.0.2")).get(ENDPOINTS, "default", "web") is None


def test_the_object_goes_with_its_service() -> None:
    world = settled(service(), pod("p", "10.244.0.2"))
    reconciler = Endpoints()
    world.remove(SERVICE, "default", "web")
    settle(reconciler, world)
    assert world.get(ENDPOINTS, "default", "web") is None


def test_endpoints_of_others_without_a_service_are_left_alone() -> None:
    mine = {"kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "default"}, "subsets": []}
    assert found(settled(mine))["subsets"] == []
