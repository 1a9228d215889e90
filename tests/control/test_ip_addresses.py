import pytest
from workloads import document, later, said, service

from mooring.control.reconcilers.ip_addresses import IpAddresses
from mooring.model.kinds import IP_ADDRESS, SERVICE, SERVICE_CIDR
from mooring.testing.world import MemoryWorld, settle

CIDR = document(SERVICE_CIDR, "kubernetes", spec={"cidrs": ["10.96.0.0/16", "fd00:96::/112"]})
LABELS = {"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}


def address(name: str, owner: str = "web", labels: dict = LABELS) -> dict:
    parent = {"group": "", "resource": "services", "namespace": "default", "name": owner}
    return document(IP_ADDRESS, name, metadata={"labels": dict(labels)}, spec={"parentRef": parent})


def aged(*documents: dict, seconds: float = 61) -> MemoryWorld:
    world = MemoryWorld([CIDR, *documents])
    later(world, seconds)
    return world


def addresses(world: MemoryWorld) -> dict[str, str]:
    return {each["metadata"]["name"]: each["spec"]["parentRef"]["name"] for each in world.list(IP_ADDRESS)}


def test_what_agrees_is_left_alone():
    settled = settle(IpAddresses(), aged(service("web", ["10.96.0.7"]), address("10.96.0.7")))
    assert ((), ()) == (settled.writes, settled.reports)


def test_a_missing_one_is_made_for_each_family():
    world = aged(service("web", ["10.96.0.7", "fd00:96::7"]))
    settled = settle(IpAddresses(), world)
    assert {"10.96.0.7": "web", "fd00:96::7": "web"} == addresses(world)
    made = world.get(IP_ADDRESS, "", "fd00:96::7")
    assert {"group": "", "resource": "services", "namespace": "default", "name": "web"} == made["spec"]["parentRef"]
    assert LABELS | {"ipaddress.kubernetes.io/ip-family": "IPv6"} == made["metadata"]["labels"]
    assert [
        "Warning ClusterIPNotAllocated Cluster IP [IPv4]: 10.96.0.7 is not allocated; repairing",
        "Warning ClusterIPNotAllocated Cluster IP [IPv6]: fd00:96::7 is not allocated; repairing",
    ] == said(settled.reports)


def test_a_new_service_is_given_time_since_its_address_may_only_be_seen_later():
    world = aged(service("web", ["10.96.0.7"]), seconds=1)
    settled = settle(IpAddresses(), world)
    assert ((), {("default", "web"): 5.0}) == (settled.writes, settled.again)


def test_a_service_that_was_just_deleted_gets_no_address_back():
    """The IPAddress is seen to be gone before its Service is: the server knows better, and the first write asks it."""
    world = aged(service("web", ["10.96.0.7"]))
    first, second = IpAddresses().plan(("default", "web"), world).writes
    assert (SERVICE, "patch", IP_ADDRESS, "create") == (first.kind, first.verb, second.kind, second.verb)
    assert {"uid", "resourceVersion"} == set(first.body["metadata"])
    assert () == first.ignore


@pytest.mark.parametrize(
    ("addresses_", "reason"),
    [
        pytest.param(["10.9.0.7"], "ClusterIPOutOfRange", id="in no range"),
        pytest.param(["ten"], "ClusterIPNotValid", id="no address"),
    ],
)
def test_what_cannot_be_repaired_is_reported(addresses_, reason):
    world = aged(service("web", addresses_))
    settled = settle(IpAddresses(), world)
    assert ((), [reason]) == (settled.writes, [report.reason for report in settled.reports])
    assert settled.reports[0].message.endswith("please recreate service")


@pytest.mark.parametrize(
    "given", [{"clusterIP": "None", "clusterIPs": ["None"]}, {"type": "ExternalName", "externalName": "x"}, {}]
)
def test_services_without_addresses_need_none(given):
    world = aged(service("web", **given))
    assert () == settle(IpAddresses(), world).writes


def test_an_address_that_points_to_nobody_is_made_anew_for_its_service():
    world = aged(service("web", ["10.96.0.7"]), address("10.96.0.7", owner="gone"))
    settled = settle(IpAddresses(), world)
    assert {"10.96.0.7": "web"} == addresses(world)
    assert "Warning ClusterIPNotAllocated Cluster IP [IPv4]: 10.96.0.7 has a wrong reference; repairing" in said(
        settled.reports
    )


def test_an_address_of_two_services_stays_with_the_one_it_names():
    world = aged(service("web", ["10.96.0.7"]), service("other", ["10.96.0.7"]), address("10.96.0.7", owner="other"))
    settled = settle(IpAddresses(), world)
    assert {"10.96.0.7": "other"} == addresses(world)
    message = "Cluster IP [IPv4]: 10.96.0.7 was assigned to multiple services; please recreate service"
    assert [f"Warning ClusterIPAlreadyAllocated {message}"] == said(settled.reports)


def test_lost_labels_are_put_back():
    world = aged(service("web", ["10.96.0.7"]), address("10.96.0.7", labels={}))
    settle(IpAddresses(), world)
    assert LABELS == world.get(IP_ADDRESS, "", "10.96.0.7")["metadata"]["labels"]


def test_an_orphan_is_released_after_its_grace():
    world = aged(address("10.96.0.7"), seconds=59)
    assert {("", "10.96.0.7"): 1.0} == settle(IpAddresses(), world).again
    later(world, 1)
    settled = settle(IpAddresses(), world)
    assert {} == addresses(world)
    message = "IPAddress: 10.96.0.7 for Service default/web appears to have leaked: cleaning up"
    assert [f"Warning IPAddressNotAllocated {message}"] == said(settled.reports)


def test_an_address_its_service_no_longer_has_is_an_orphan_too():
    world = aged(service("web", ["10.96.0.8"]), address("10.96.0.7"), address("10.96.0.8"))
    settle(IpAddresses(), world)
    assert {"10.96.0.8": "web"} == addresses(world)


def test_an_address_that_is_not_ours_is_left_alone():
    world = aged(address("10.96.0.7", labels={}))
    settle(IpAddresses(), world)
    assert {"10.96.0.7": "web"} == addresses(world)
