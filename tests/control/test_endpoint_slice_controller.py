"""The EndpointSlices of Services, through the reconciler and a world in memory."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from mooring.control.endpoint_slice_metrics import EndpointSliceMetrics
from mooring.control.reconciler import Apply, Change, Refusal
from mooring.control.reconcilers.endpoint_slices import NODE_RETRY, EndpointSlices
from mooring.model.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE
from mooring.ports.api import ApiError
from mooring.testing.builders import Document, node, pod, service
from mooring.testing.world import MemoryWorld, Settled, settle

AUTO = {"service.kubernetes.io/topology-mode": "Auto"}


def held(world: MemoryWorld, family: str = "IPv4") -> list[Document]:
    return [each for each in world.list(ENDPOINT_SLICE, "default") if each["addressType"] == family]


def addresses(world: MemoryWorld, family: str = "IPv4") -> list[str]:
    return sorted(each["addresses"][0] for slice_ in held(world, family) for each in slice_.get("endpoints") or ())


def endpoint_of(world: MemoryWorld, name: str) -> Document:
    (found,) = [each for slice_ in held(world) for each in slice_["endpoints"] if each["targetRef"]["name"] == name]
    return found


def settled(*documents: Document, limit: int = 100) -> MemoryWorld:
    world = MemoryWorld([node("a", "x", "4"), node("b", "y", "4"), *documents])
    settle(EndpointSlices(limit), world)
    assert settle(EndpointSlices(limit), world).writes == ()
    return world


def changed(world: MemoryWorld, document: Document, limit: int = 100) -> Settled:
    world.add(document)
    outcome = settle(EndpointSlices(limit), world)
    assert settle(EndpointSlices(limit), world).writes == ()
    return outcome


def test_a_slice_as_upstream_writes_it() -> None:
    labelled = service()
    reserved = ("kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by", "service.kubernetes.io/headless")
    labelled["metadata"]["labels"] = {"team": "x", **dict.fromkeys(reserved, "not-copied")}
    world = settled(labelled, pod("p", "10.244.0.2"))
    (slice_,) = held(world)
    assert slice_["metadata"]["name"].startswith("web-")
    assert slice_["metadata"]["labels"] == {
        "team": "x",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert slice_["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "name": "web",
            "uid": "service-web",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert slice_["metadata"]["annotations"] == {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"}
    assert slice_["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
    assert slice_["endpoints"] == [
        {
            "addresses": ["10.244.0.2"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "p", "uid": "pod-p"},
            "nodeName": "a",
            "zone": "x",
        }
    ]


@pytest.mark.parametrize(
    ("change", "publish", "expected"),
    [
        pytest.param({}, False, (True, True, False), id="ready"),
        pytest.param({"ready": False}, False, (False, False, False), id="not ready"),
        pytest.param({"deleting": True}, False, (False, True, True), id="terminating and serving"),
        pytest.param({"deleting": True, "ready": False}, False, (False, False, True), id="terminating"),
        pytest.param({"ready": False}, True, (True, False, False), id="not ready but published"),
        pytest.param({"deleting": True}, True, (True, True, True), id="terminating but published"),
    ],
)
def test_conditions(change: dict[str, bool], publish: bool, expected: tuple[bool, bool, bool]) -> None:
    one = pod("p", "10.244.0.2", ready=change.get("ready", True))
    if change.get("deleting"):
        one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world = settled(service(publishNotReadyAddresses=publish), one)
    conditions = endpoint_of(world, "p")["conditions"]
    assert (conditions["ready"], conditions["serving"], conditions["terminating"]) == expected


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
@pytest.mark.parametrize("publish", [True, False])
def test_a_pod_that_has_ended_is_no_endpoint_even_when_published(phase: str, publish: bool) -> None:
    one = pod("p", "10.244.0.2")
    one["status"]["phase"] = phase
    assert addresses(settled(service(publishNotReadyAddresses=publish), one)) == []


def test_a_service_without_pods_has_one_empty_slice_of_each_family() -> None:
    world = settled(service(ipFamilies=["IPv4", "IPv6"]))
    assert [(len(each["endpoints"]), each["ports"]) for each in held(world) + held(world, "IPv6")] == [(0, []), (0, [])]


def test_the_empty_slice_becomes_the_first_real_one_and_back() -> None:
    world = settled(service())
    (empty,) = held(world)
    outcome = changed(world, pod("p", "10.244.0.2"))
    assert [write.verb for write in outcome.writes] == ["update"]
    world.remove(POD, "default", "p")
    outcome = settle(EndpointSlices(), world)
    assert [write.verb for write in outcome.writes] == ["update"]
    assert [(each["metadata"]["name"], each["endpoints"]) for each in held(world)] == [(empty["metadata"]["name"], [])]


def test_each_family_has_the_pods_address_of_it() -> None:
    world = settled(service(ipFamilies=["IPv4", "IPv6"]), pod("both", "10.244.0.2", "fd00::2"), pod("four", "10.244.0.3"))
    assert addresses(world) == ["10.244.0.2", "10.244.0.3"]
    assert addresses(world, "IPv6") == ["fd00::2"]


def test_slices_of_a_family_that_the_service_no_longer_has_go() -> None:
    world = settled(service(ipFamilies=["IPv4", "IPv6"]), pod("both", "10.244.0.2", "fd00::2"))
    changed(world, service())
    assert held(world, "IPv6") == []
    assert addresses(world) == ["10.244.0.2"]


def test_slices_of_an_older_service_of_the_same_name_go() -> None:
    world = settled(service(), pod("p", "10.244.0.2"))
    (old,) = held(world)
    newer = service()
    newer["metadata"]["uid"] = "service-web-2"
    changed(world, newer)
    (slice_,) = held(world)
    assert slice_["metadata"]["name"] != old["metadata"]["name"]
    assert slice_["metadata"]["ownerReferences"][0]["uid"] == "service-web-2"


def test_a_slice_deleted_by_hand_comes_back() -> None:
    world = settled(service(), pod("p", "10.244.0.2"))
    world.remove(ENDPOINT_SLICE, "default", held(world)[0]["metadata"]["name"])
    settle(EndpointSlices(), world)
    assert addresses(world) == ["10.244.0.2"]


def test_slices_of_others_are_left_alone() -> None:
    foreign = {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": "mine", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"]}],
    }
    world = settled(service(), foreign, pod("p", "10.244.0.2"))
    assert addresses(world) == ["10.244.0.2", "192.0.2.1"]


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"selector": None}, id="its selector goes"),
        pytest.param({"type": "ExternalName", "externalName": "example.org"}, id="it becomes an ExternalName"),
    ],
)
def test_slices_stay_when(spec: dict[str, Any]) -> None:
    world = settled(service(), pod("p", "10.244.0.2"))
    assert changed(world, service(**spec)).writes == ()
    assert addresses(world) == ["10.244.0.2"]


def test_no_slice_is_created_for_a_service_that_is_being_deleted() -> None:
    going = service()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert held(settled(going, pod("p", "10.244.0.2"))) == []


def test_pods_are_grouped_by_what_a_named_port_is_on_them() -> None:
    def serving(name: str, address: str, number: int) -> Document:
        one = pod(name, address)
        one["spec"]["containers"] = [{"name": "c", "ports": [{"name": "http", "protocol": "TCP", "containerPort": number}]}]
        return one

    ports = {"name": "http", "port": 80, "targetPort": "http"}
    world = settled(
        service("web", ports), serving("p", "10.244.0.2", 80), serving("q", "10.244.0.3", 8080), pod("none", "10.244.0.4")
    )
    found = {
        tuple(port["port"] for port in each["ports"]): [e["addresses"][0] for e in each["endpoints"]] for each in held(world)
    }
    assert found == {(80,): ["10.244.0.2"], (8080,): ["10.244.0.3"], (): ["10.244.0.4"]}


def test_a_headless_service_is_labelled_and_may_have_no_ports() -> None:
    headless = service(clusterIP="None")
    headless["spec"]["ports"] = []
    (slice_,) = held(settled(headless, pod("p", "10.244.0.2")))
    assert slice_["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert (len(slice_["endpoints"]), slice_["ports"]) == (1, [])


@pytest.mark.parametrize(("subdomain", "expected"), [("web", "first"), ("other", None), ("", None)])
def test_a_hostname_counts_only_under_its_own_subdomain(subdomain: str, expected: str | None) -> None:
    named = pod("p", "10.244.0.2")
    named["spec"] |= {"hostname": "first", "subdomain": subdomain}
    assert endpoint_of(settled(service(), named), "p").get("hostname") == expected


def test_changed_labels_of_the_service_reach_all_its_slices() -> None:
    world = settled(service(), *(pod(f"p{n}", f"10.244.0.{n}") for n in range(2, 7)), limit=2)
    labelled = service()
    labelled["metadata"]["labels"] = {"team": "y"}
    outcome = changed(world, labelled, limit=2)
    assert len(outcome.writes) == 3
    assert all(each["metadata"]["labels"]["team"] == "y" for each in held(world))


def test_the_trigger_time_is_when_the_first_of_the_changed_pods_changed() -> None:
    world = settled(service(), pod("p", "10.244.0.2"))
    world.add(pod("q", "10.244.0.3", since="2026-01-01T00:05:00Z"))
    changed(world, pod("r", "10.244.0.4", since="2026-01-01T00:07:00Z"))
    (slice_,) = held(world)
    assert slice_["metadata"]["annotations"] == {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:05:00Z"}
    world.remove(POD, "default", "r")
    settle(EndpointSlices(), world)
    assert "annotations" not in held(world)[0]["metadata"]


def test_a_pod_whose_node_is_not_known_waits_for_it() -> None:
    world = settled(service(), pod("p", "10.244.0.2"), pod("lost", "10.244.9.2", node="nowhere"))
    assert addresses(world) == ["10.244.0.2"]
    fresh = MemoryWorld([service(), pod("lost", "10.244.9.2", node="nowhere")])
    outcome = settle(EndpointSlices(), fresh)
    assert outcome.again == {("default", "web"): NODE_RETRY}
    assert [(each.reason, each.message) for each in outcome.reports] == [
        (
            "FailedToUpdateEndpointSlices",
            "Error updating Endpoint Slices for Service default/web: "
            "skipping Pod lost for Service default/web: Node nowhere Not Found",
        )
    ]
    changed(world, node("nowhere", "z"))
    assert addresses(world) == ["10.244.0.2", "10.244.9.2"]


def test_a_pod_whose_node_is_not_known_is_listed_when_published() -> None:
    world = settled(service(publishNotReadyAddresses=True), pod("lost", "10.244.9.2", node="nowhere"))
    assert addresses(world) == ["10.244.9.2"]


def test_a_nodes_new_zone_reaches_its_endpoints() -> None:
    world = settled(service(), pod("p", "10.244.0.2"))
    changed(world, node("a", "z", "4"))
    assert endpoint_of(world, "p")["zone"] == "z"


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        pytest.param("PreferClose", {"forZones": [{"name": "x"}]}, id="PreferClose"),
        pytest.param("PreferSameZone", {"forZones": [{"name": "x"}]}, id="PreferSameZone"),
        pytest.param("PreferSameNode", {"forZones": [{"name": "x"}], "forNodes": [{"name": "a"}]}, id="PreferSameNode"),
        pytest.param(None, None, id="none"),
    ],
)
def test_traffic_distribution_gives_hints_to_ready_endpoints(distribution: str | None, expected: Document | None) -> None:
    world = settled(service(trafficDistribution=distribution), pod("p", "10.244.0.2"), pod("q", "10.244.0.3", ready=False))
    assert endpoint_of(world, "p").get("hints") == expected
    assert endpoint_of(world, "q").get("hints") is None


def test_hints_go_when_the_distribution_is_unset() -> None:
    world = settled(service(trafficDistribution="PreferClose"), pod("p", "10.244.0.2"))
    changed(world, service())
    assert "hints" not in endpoint_of(world, "p")


def auto(**spec: Any) -> Document:
    document = service(**spec)
    document["metadata"]["annotations"] = AUTO
    return document


def test_auto_shares_endpoints_out_and_says_when_it_begins_and_ends() -> None:
    pods = [pod(f"p{n}", f"10.244.0.{n}") for n in range(2, 6)]
    world = MemoryWorld([node("a", "x", "4"), node("b", "y", "4"), auto(trafficDistribution="PreferSameNode"), *pods])
    outcome = settle(EndpointSlices(), world)
    assert [(each.type, each.reason, each.message) for each in outcome.reports] == [
        ("Normal", "TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled, addressType: IPv4")
    ]
    hints = sorted(endpoint_of(world, each["metadata"]["name"])["hints"]["forZones"][0]["name"] for each in pods)
    assert hints == ["x", "x", "y", "y"]
    world.add(node("b", "y", "4", ready=False))
    outcome = settle(EndpointSlices(), world)
    assert [(each.type, each.reason, each.message) for each in outcome.reports] == [
        ("Warning", "TopologyAwareHintsDisabled", "Nodes only ready in one zone, addressType: IPv4")
    ]
    assert "hints" not in endpoint_of(world, "p2")
    assert settle(EndpointSlices(), world).reports == ()


def test_auto_ends_with_its_annotation() -> None:
    world = settled(auto(), *(pod(f"p{n}", f"10.244.0.{n}") for n in range(2, 6)))
    outcome = changed(world, service())
    assert [each.message for each in outcome.reports] == ["Topology Aware Hints has been disabled, addressType: IPv4"]
    assert "hints" not in endpoint_of(world, "p2")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"metadata": {"annotations": {"a": "b"}}}, set(), id="nothing that matters"),
        pytest.param({"status": {"conditions": []}}, {"web", "wide"}, id="readiness"),
        pytest.param({"metadata": {"labels": {"app": "db"}}}, {"web", "wide", "db"}, id="labels: both the old and the new"),
    ],
)
def test_a_pods_change_concerns_the_services_that_choose_it(change: Document, expected: set[str]) -> None:
    wide = service("wide", selector={"app": "web"})
    narrow = service("narrow", selector={"app": "web", "tier": "x"})
    world = MemoryWorld([service(), wide, narrow, service("db")])
    before = pod("p", "10.244.0.2")
    after = {**before, **{field: {**before[field], **values} for field, values in change.items()}}
    keys = EndpointSlices().keys(Change(POD, before, after), world)
    assert {name for _, name in keys} == expected


def test_a_nodes_heartbeat_concerns_nobody() -> None:
    world = settled(auto(), pod("p", "10.244.0.2"))
    before = node("a", "x", "4")
    after = {**before, "status": {**before["status"], "images": []}}
    assert set(EndpointSlices().keys(Change(NODE, before, after), world)) == set()


@pytest.mark.parametrize(
    ("verb", "name", "expected"),
    [
        ("create", "", "failed to create EndpointSlice for Service default/web: no more"),
        ("update", "web-x", "failed to update web-x EndpointSlice for Service default/web: no more"),
        ("delete", "web-x", "failed to delete web-x EndpointSlice for Service default/web: no more"),
    ],
)
def test_a_refused_write_is_told_on_the_service(verb: Any, name: str, expected: str) -> None:
    world = MemoryWorld([service()])
    write = Apply(verb, ENDPOINT_SLICE, "default", name)
    refusal = Refusal(write, ApiError(403, "Forbidden", "no more"))
    (report,) = EndpointSlices().refused(("default", "web"), [refusal], world).reports
    assert (report.type, report.reason) == ("Warning", "FailedToUpdateEndpointSlices")
    assert report.message == f"Error updating Endpoint Slices for Service default/web: {expected}"


def test_metrics_have_upstreams_names() -> None:
    registry = CollectorRegistry()
    metrics = EndpointSliceMetrics(registry)
    world = MemoryWorld(
        [node("a", "x"), service(trafficDistribution="PreferClose"), *(pod(f"p{n}", f"10.0.0.{n}") for n in range(3))]
    )
    plan = EndpointSlices(limit=2).plan(("default", "web"), world)
    metrics.planned(("default", "web"), plan, "success")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"endpoint_slice_controller_{name}", labels)

    assert value("endpoints_desired") == 3
    assert value("num_endpoint_slices") == 2
    assert value("desired_endpoint_slices") == 2
    assert value("changes_total", operation="create") == 2
    assert value("endpoints_added_per_sync_sum") == 3
    assert value("endpoints_removed_per_sync_sum") == 0
    assert value("endpointslices_changed_per_sync_sum", topology="Disabled", traffic_distribution="PreferClose") == 2
    assert value("syncs_total", result="success") == 1
    assert value("services_count_by_traffic_distribution", traffic_distribution="PreferClose") == 1
    world.remove(SERVICE, "default", "web")
    metrics.planned(("default", "web"), EndpointSlices().plan(("default", "web"), world), "success")
    assert value("endpoints_desired") == 0
    assert value("services_count_by_traffic_distribution", traffic_distribution="PreferClose") == 0


STEPS = st.lists(
    st.tuples(st.integers(0, 11), st.sampled_from(["ready", "waiting", "gone", "deleting", "ended"])), min_size=1, max_size=25
)


@given(STEPS)
def test_after_any_changes_of_pods_the_slices_together_hold_exactly_the_wish(steps: list[tuple[int, str]]) -> None:
    limit = 3
    world = MemoryWorld([node("a", "x"), node("b", "y"), service(ipFamilies=["IPv4", "IPv6"])])
    reconciler = EndpointSlices(limit)
    settle(reconciler, world)
    for number, fate in steps:
        name = f"p{number}"
        document = pod(name, f"10.244.0.{number}", f"fd00::{number}", ready=fate != "waiting", node="ab"[number % 2])
        if fate == "deleting":
            document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if fate == "ended":
            document["status"]["phase"] = "Failed"
        if fate != "gone":
            world.add(document)
        elif world.get(POD, "default", name) is not None:
            world.remove(POD, "default", name)
        writes = settle(reconciler, world).writes
        assert len(writes) <= 2, "one pod's change touches at most one slice of each family"
        assert settle(reconciler, world).writes == ()
    for family, which in (("IPv4", 0), ("IPv6", 1)):
        alive = [each for each in world.list(POD) if each["status"]["phase"] == "Running"]
        assert addresses(world, family) == sorted(each["status"]["podIPs"][which]["ip"] for each in alive)
        assert held(world, family)
        assert all(len(each["endpoints"]) <= limit for each in held(world, family))
