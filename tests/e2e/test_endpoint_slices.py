"""EndpointSlices and Endpoints on a running cluster: the scenarios of Kubernetes' own end-to-end tests
(test/e2e/network/endpointslice.go, endpointslicemirroring.go, and the Endpoints' lifecycle of service.go).
"""

from collections.abc import Iterator

import pytest
from scene import SILENCE, Document, Scene, addresses, scene, server, service, until, until_equal

from local_cluster import Cluster
from mooring.app.connection import Refused

SERVICE_NAME, MANAGED_BY = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
CONTROLLER, MIRRORING = "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"
PORTS = ({"name": "http", "port": 80, "targetPort": 8080}, {"name": "lines", "port": 81, "targetPort": 8081})


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        made.serve(server("server-1", "servers", node="node-1"), server("server-2", "servers", node="node-2"))
        yield made


def own(here: Scene, pod: str) -> str:
    return addresses(here.get("Pod", pod))[0]


def by_hand(name: str, owner: str, targets: list[str], ports: dict[str, int], **more: object) -> Document:
    """An EndpointSlice that nobody's controller made."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {SERVICE_NAME: owner, MANAGED_BY: "tests.mooring.dev", "by": "hand"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": targets, "conditions": {"ready": True}, **more}],
        "ports": [{"name": each, "port": number, "protocol": "TCP"} for each, number in ports.items()],
    }


def test_a_selector_without_pods_makes_one_empty_slice_that_goes_with_its_service(here: Scene) -> None:
    here.create(service("alone", "nobody"))
    [made] = until(lambda: here.slices("alone"))
    assert (made["endpoints"] or [], made["metadata"]["labels"][MANAGED_BY]) == ([], CONTROLLER)
    assert made["metadata"]["ownerReferences"][0]["name"] == "alone"
    until(lambda: not here.gone("Endpoints", "alone"))
    here.delete("Service", "alone")
    until_equal([], lambda: here.slices("alone"))
    until(lambda: here.gone("Endpoints", "alone"))


def test_a_named_port_of_different_numbers_makes_a_slice_for_each_and_deleted_slices_come_back(here: Scene) -> None:
    high = {"HTTP": "9090", "TCP": "0", "UDP": "0"}
    low_pod, high_pod = server("low", "mixed", port_name="web"), server("high", "mixed", port_name="web", env=high)
    high_pod["spec"]["containers"][0]["ports"][0]["containerPort"] = 9090
    [address] = here.serve(low_pod, high_pod, service("mixed", "mixed", ports=({"port": 80, "targetPort": "web"},)))
    expected = sorted([(own(here, "low"), 8080), (own(here, "high"), 9090)])
    for _ in ("made", "made again"):
        until_equal(expected, lambda: here.endpoints("mixed"))
        for each in until(lambda: here.slices("mixed"), lambda found: len(found) == 2):
            [endpoint] = each["endpoints"]
            pod = here.get("Pod", endpoint["targetRef"]["name"])
            assert endpoint["targetRef"]["uid"] == pod["metadata"]["uid"]
            assert (endpoint["nodeName"], endpoint["addresses"]) == (pod["spec"]["nodeName"], addresses(pod))
        here.delete_all("EndpointSlice", **{SERVICE_NAME: "mixed"})
    until_equal({"low", "high"}, lambda: {here.one.http(address, timeout=SILENCE) for _ in range(12)})


def test_slices_of_many_hands_add_up_by_port_and_by_address(here: Scene) -> None:
    [address] = here.serve(service("hands", "", ports=PORTS))
    first, second = own(here, "server-1"), own(here, "server-2")
    here.create(
        by_hand("hands-http", "hands", [first], {"http": 8080}),
        by_hand("hands-lines", "hands", [first], {"lines": 8080}),
        by_hand("hands-more", "hands", [second], {"http": 8080}),
    )

    def seen(port: int) -> set[str]:
        return {here.two.http(address, port, timeout=SILENCE) for _ in range(12)}

    until_equal({"server-1", "server-2"}, lambda: seen(80))
    until_equal({"server-1"}, lambda: seen(81))
    here.delete_all("EndpointSlice", by="hand")
    until_equal({"refused"}, lambda: seen(80) | seen(81))


def test_the_whole_life_of_a_slice(here: Scene) -> None:
    wanted = by_hand("life", "nobody-owns-this", ["10.1.2.3", "10.1.2.4"], {"http": 80})
    [made] = here.create(wanted)
    generated = by_hand("", "nobody-owns-this", ["10.1.2.3"], {"http": 80})
    generated["metadata"] = {**generated["metadata"], "generateName": "life-"}
    del generated["metadata"]["name"]
    [other] = here.create(generated)
    assert other["metadata"]["name"].startswith("life-")
    assert made["endpoints"][0]["addresses"] == ["10.1.2.3", "10.1.2.4"]
    patched = here.patch("EndpointSlice", "life", {"metadata": {"annotations": {"patched": "true"}}})
    assert patched["metadata"]["annotations"] == {"patched": "true"}
    assert int(patched["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    with pytest.raises(Refused, match="already exists"):
        here.create(wanted)
    here.delete("EndpointSlice", "life")
    assert [each["metadata"]["name"] for each in here.items("EndpointSlice", by="hand")] == [other["metadata"]["name"]]
    here.delete_all("EndpointSlice", by="hand")
    assert here.items("EndpointSlice", by="hand") == []


def test_endpoints_by_hand_are_mirrored_served_and_cleared(here: Scene) -> None:
    [address] = here.serve(service("mirrored", "", ports=PORTS))
    first, second = own(here, "server-1"), own(here, "server-2")
    # Two subsets with the same address, as kubernetes/kubernetes issue 119382 has them.
    subsets = [{"addresses": [{"ip": first}], "ports": [{"name": name, "port": 8080}]} for name in ("http", "lines")]
    here.create({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "mirrored"}, "subsets": subsets})

    def seen() -> tuple[str, str]:
        return here.one.http(address, 80, timeout=SILENCE), here.one.http(address, 81, timeout=SILENCE)

    until_equal(("server-1", "server-1"), seen)
    assert {each["metadata"]["labels"][MANAGED_BY] for each in here.slices("mirrored")} == {MIRRORING}
    moved = [{"addresses": [{"ip": second}], "ports": [{"name": "http", "port": 8080}]}]
    here.patch("Endpoints", "mirrored", {"subsets": moved})
    until_equal(("server-2", "refused"), seen)
    here.delete("Endpoints", "mirrored")
    until_equal([], lambda: here.slices("mirrored"))
    until_equal(("refused", "refused"), seen)
