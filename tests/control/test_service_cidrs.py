from workloads import document, later

from mooring.control.conditions import condition
from mooring.control.reconciler import Apply
from mooring.control.reconcilers.service_cidrs import FINALIZER, ServiceCidrs
from mooring.model.kinds import IP_ADDRESS, SERVICE_CIDR
from mooring.testing.world import MemoryWorld, settle


def cidr(name: str, *cidrs: str) -> dict:
    return document(SERVICE_CIDR, name, spec={"cidrs": list(cidrs)})


def ready(world: MemoryWorld, name: str) -> tuple[str, str, str]:
    held = condition(world.get(SERVICE_CIDR, "", name), "Ready")
    return held["status"], held["reason"], held["message"]


def going(*others: dict) -> MemoryWorld:
    """'extra' is ready and has been deleted."""
    world = MemoryWorld([cidr("extra", "10.97.0.0/16"), *others])
    settle(ServiceCidrs(), world)
    world.write(Apply("delete", SERVICE_CIDR, "", "extra"))
    return world


def test_the_default_is_made_and_made_ready():
    world = MemoryWorld()
    settle(ServiceCidrs(("10.96.0.0/16", "fd00:96::/112")), world)
    held = world.get(SERVICE_CIDR, "", "kubernetes")
    assert ["10.96.0.0/16", "fd00:96::/112"] == held["spec"]["cidrs"]
    assert [FINALIZER] == held["metadata"]["finalizers"]
    assert ("True", "", "Kubernetes Service CIDR is ready") == ready(world, "kubernetes")


def test_it_comes_back_when_it_is_removed():
    world = MemoryWorld()
    settle(ServiceCidrs(), world)
    world.remove(SERVICE_CIDR, "", "kubernetes")
    settle(ServiceCidrs(), world)
    assert world.get(SERVICE_CIDR, "", "kubernetes")


def test_an_unused_one_goes_after_its_grace():
    world = going()
    assert {("", "extra"): 10.0} == settle(ServiceCidrs(), world).again
    later(world, 10)
    settle(ServiceCidrs(), world)
    assert world.get(SERVICE_CIDR, "", "extra") is None


def test_one_that_addresses_are_in_stays_and_says_so_until_they_are_gone():
    world = going(document(IP_ADDRESS, "10.97.0.7"))
    later(world, 60)
    settle(ServiceCidrs(), world)
    message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
    assert ("False", "Terminating", message) == ready(world, "extra")
    world.changes.clear()
    world.remove(IP_ADDRESS, "", "10.97.0.7")
    assert {("", "extra")} == ServiceCidrs().keys(world.changes[0], world)
    settle(ServiceCidrs(), world)
    assert world.get(SERVICE_CIDR, "", "extra") is None


def test_addresses_that_another_live_one_has_too_do_not_hold_it():
    world = going(document(IP_ADDRESS, "10.97.0.7"), cidr("larger", "10.96.0.0/15"))
    later(world, 10)
    settle(ServiceCidrs(), world)
    assert world.get(SERVICE_CIDR, "", "extra") is None


def test_a_new_one_frees_those_that_wait():
    world = going(document(IP_ADDRESS, "10.97.0.7"))
    later(world, 60)
    settle(ServiceCidrs(), world)
    world.changes.clear()
    world.add(cidr("larger", "10.96.0.0/15"))
    assert {("", "larger"), ("", "extra")} == ServiceCidrs().keys(world.changes[0], world)


def test_finalizers_of_others_stay():
    held = cidr("extra", "10.97.0.0/16")
    held["metadata"]["finalizers"] = ["example.com/mine"]
    world = MemoryWorld([held])
    settle(ServiceCidrs(), world)
    world.write(Apply("delete", SERVICE_CIDR, "", "extra"))
    later(world, 10)
    settle(ServiceCidrs(), world)
    assert ["example.com/mine"] == world.get(SERVICE_CIDR, "", "extra")["metadata"]["finalizers"]
