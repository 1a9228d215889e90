"""Does the node's loop keep the tables true to the API, whatever happens to either?"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from agent_world import NODE_NAME, World, endpoint_slice, service

from mooring.control.dataplane import Dataplane, DataplaneOptions, run_dataplane
from mooring.dataplane.conntrack import Flow
from mooring.dataplane.diff import Transaction
from mooring.dataplane.installed import compile_view
from mooring.dataplane.interpret import Packet, interpret
from mooring.dataplane.ruleset import Ruleset
from mooring.edges.memory.conntrack import MemoryConntrack
from mooring.edges.memory.firewall import MemoryFirewall
from mooring.model.kinds import ENDPOINT_SLICE, NODE, SERVICE, SERVICE_CIDR
from mooring.ports.firewall import FirewallError
from mooring.services.view import Protocol


class MemoryWorld(World):
    """A node whose edges only remember."""

    firewall: MemoryFirewall
    conntrack: MemoryConntrack

    def __init__(self) -> None:
        super().__init__(MemoryFirewall(), MemoryConntrack())

    def fate(self, address: str, protocol: Protocol = Protocol.TCP) -> str:
        """What the tables do to a pod's packet: the endpoint's address, or the verdict."""
        packet = Packet("10.244.1.9", address, 80, protocol)
        fate = interpret(Ruleset(self.firewall.elements or {}), packet, lambda n: 0)
        return fate.endpoint[0] if fate.endpoint else fate.verdict


@pytest.fixture
async def world() -> MemoryWorld:
    made = MemoryWorld()
    await made.begin()
    return made


async def until(happened: Callable[[], bool]) -> None:
    """Waits until something holds, within a deadline."""
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.002)


def value(dataplane: Dataplane, name: str) -> float:
    for metric in dataplane.metrics.registry.collect():
        for sample in metric.samples:
            if sample.name == f"kubeproxy_{name}":
                return sample.value
    raise KeyError(name)


async def test_a_service_is_followed_from_its_birth_to_its_end(world: MemoryWorld) -> None:
    async with world.agent() as dataplane:
        assert world.fate("10.96.0.50") == "drop"
        await world.create(SERVICE, service("web", "10.96.0.50"))
        await until(lambda: world.fate("10.96.0.50") == "reject")
        await world.create(ENDPOINT_SLICE, endpoint_slice("web", "10.244.2.2"))
        await until(lambda: world.fate("10.96.0.50") == "10.244.2.2")
        await world.update(ENDPOINT_SLICE, endpoint_slice("web", "10.244.2.3"))
        await until(lambda: world.fate("10.96.0.50") == "10.244.2.3")
        await world.update(ENDPOINT_SLICE, endpoint_slice("web"))
        await until(lambda: world.fate("10.96.0.50") == "reject")
        await world.delete(SERVICE, "web")
        await until(lambda: world.fate("10.96.0.50") == "drop")
        assert world.firewall.replacements == 1, "all else were changes"
        assert compile_view(dataplane.view).elements.keys() <= (world.firewall.elements or {}).keys()


async def test_nothing_is_put_in_place_before_everything_was_listed(world: MemoryWorld) -> None:
    await world.create(SERVICE, service("web", "10.96.0.50"))
    await world.create(ENDPOINT_SLICE, endpoint_slice("web", "10.244.2.2"))
    async with world.agent():
        assert world.fate("10.96.0.50") == "10.244.2.2"
        assert world.firewall.replacements == 1
        assert world.firewall.transactions == []


async def test_a_restarted_agent_changes_only_what_changed_while_it_was_away(world: MemoryWorld) -> None:
    for n in range(1, 6):
        await world.create(SERVICE, service(f"s{n}", f"10.96.0.{n + 50}"))
        await world.create(ENDPOINT_SLICE, endpoint_slice(f"s{n}", "10.244.2.2", "10.244.2.3"))
    async with world.agent():
        pass
    await world.update(ENDPOINT_SLICE, endpoint_slice("s3", "10.244.2.9", "10.244.2.3"))
    async with world.agent():
        assert world.firewall.replacements == 1
        assert [len(each) for each in world.firewall.transactions] == [2], "one element out, one in"
    async with world.agent():
        assert [len(each) for each in world.firewall.transactions] == [2], "nothing at all"


@pytest.mark.parametrize("label", ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"])
async def test_a_service_handed_to_another_proxy_is_let_go_and_taken_back(world: MemoryWorld, label: str) -> None:
    await world.create(SERVICE, service("web", "10.96.0.50"))
    await world.create(ENDPOINT_SLICE, endpoint_slice("web", "10.244.2.2"))
    async with world.agent():
        await world.update(SERVICE, service("web", "10.96.0.50", **{label: ""}))
        await until(lambda: world.fate("10.96.0.50") == "drop")
        handed_back = service("web", "10.96.0.50")
        handed_back["metadata"]["labels"] = {label: None}
        await world.update(SERVICE, handed_back)
        await until(lambda: world.fate("10.96.0.50") == "10.244.2.2")


async def test_ranges_follow_service_cidrs_and_the_node(world: MemoryWorld) -> None:
    async with world.agent() as dataplane:
        assert world.fate("10.98.0.1") == "untouched"
        cidr = {"kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "more"}}
        await world.create(SERVICE_CIDR, {**cidr, "spec": {"cidrs": ["10.98.0.0/24"]}})
        await until(lambda: world.fate("10.98.0.1") == "drop")
        assert dataplane.health().eligible
        taint = {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}
        await world.api.write("patch", NODE, "", NODE_NAME, {"spec": {"taints": [taint]}})
        await until(lambda: not dataplane.health().eligible)


async def test_a_refused_transaction_is_followed_by_the_whole_wish(world: MemoryWorld) -> None:
    async with world.agent() as dataplane:
        assert world.firewall.elements is not None
        world.firewall.elements.clear()
        world.firewall.elements = None
        await world.create(SERVICE, service("web", "10.96.0.50"))
        await until(lambda: world.firewall.elements is not None and world.fate("10.96.0.50") == "reject")
        assert world.firewall.replacements == 2
        assert value(dataplane, "sync_proxy_rules_nftables_sync_failures_total") == 1


async def test_loading_is_tried_until_it_succeeds_and_health_tells(world: MemoryWorld) -> None:
    class Broken(MemoryFirewall):
        working = False

        async def apply(self, transaction: Transaction) -> None:
            if not self.working:
                raise FirewallError("no")
            await super().apply(transaction)

        async def replace(self, ruleset: Ruleset) -> None:
            if not self.working:
                raise FirewallError("no")
            await super().replace(ruleset)

    world.firewall = broken = Broken()
    broken.working = True
    async with world.agent() as dataplane:
        broken.working = False
        await world.create(SERVICE, service("web", "10.96.0.50"))
        await until(lambda: value(dataplane, "sync_proxy_rules_nftables_sync_failures_total") >= 2)
        assert dataplane.health().waiting_since > 0
        broken.working = True
        await until(lambda: world.fate("10.96.0.50") == "reject")
        await until(lambda: dataplane.health().waiting_since == 0)


async def test_damage_by_others_is_repaired(world: MemoryWorld) -> None:
    await world.create(SERVICE, service("web", "10.96.0.50"))
    await world.create(ENDPOINT_SLICE, endpoint_slice("web", "10.244.2.2"))
    async with world.agent(check_period=0.01) as dataplane:
        assert world.firewall.elements is not None
        world.firewall.elements = {key: {} for key in world.firewall.elements}
        await until(lambda: world.fate("10.96.0.50") == "10.244.2.2")
        await until(lambda: value(dataplane, "sync_proxy_rules_nftables_repairs_total") == 1)


async def test_stale_udp_flows_are_forgotten_after_the_tables_changed(world: MemoryWorld) -> None:
    await world.create(SERVICE, service("dns", "10.96.0.53", "UDP"))
    await world.create(ENDPOINT_SLICE, endpoint_slice("dns", "10.244.2.2", "10.244.2.3", protocol="UDP"))
    vip = ("10.96.0.53", 80)
    lost, kept, other = (
        Flow(("10.244.1.9", 1), vip, ("10.244.2.2", 8080)),
        Flow(("10.244.1.9", 2), vip, ("10.244.2.3", 8080)),
        Flow(("10.244.1.9", 3), ("192.0.2.1", 53), ("192.0.2.1", 53)),
    )
    from_before = Flow(("10.244.1.9", 4), vip, ("10.244.7.7", 8080))
    world.conntrack.flows = {lost, kept, other, from_before}
    async with world.agent():
        await until(lambda: from_before not in world.conntrack.flows)
        assert lost in world.conntrack.flows
        await world.update(ENDPOINT_SLICE, endpoint_slice("dns", "10.244.2.3", protocol="UDP"))
        await until(lambda: lost not in world.conntrack.flows)
        assert world.conntrack.flows == {kept, other}


async def test_a_burst_of_changes_goes_in_few_transactions(world: MemoryWorld) -> None:
    async with world.agent() as dataplane:
        for n in range(1, 200):
            await world.create(SERVICE, service(f"s{n}", f"10.96.1.{n}"))
        await until(lambda: all(world.fate(f"10.96.1.{n}") == "reject" for n in range(1, 200)))
        assert world.firewall.replacements == 1
        assert len(dataplane.view.services) == 199


async def test_a_service_that_cannot_be_carried_out_stops_no_other(world: MemoryWorld) -> None:
    async with world.agent() as dataplane:
        refused = dataplane._installed
        assert refused is not None
        change = refused.change

        def picky(name: Any, ports: Any) -> Transaction:
            if name[1] == "bad":
                raise ValueError("not this one")
            return change(name, ports)

        refused.change = picky  # type: ignore[method-assign]
        await world.create(SERVICE, service("bad", "10.96.0.60"))
        await world.create(SERVICE, service("good", "10.96.0.61"))
        await until(lambda: world.fate("10.96.0.61") == "reject")
        assert world.fate("10.96.0.60") == "drop"


async def test_figures_are_told_under_their_upstream_names(world: MemoryWorld) -> None:
    await world.create(SERVICE, service("web", "10.96.0.50"))
    async with world.agent() as dataplane:
        await world.create(ENDPOINT_SLICE, endpoint_slice("web", "10.244.2.2"))
        await until(lambda: value(dataplane, "network_programming_duration_seconds_count") == 1)
        assert value(dataplane, "sync_proxy_rules_endpoint_changes_total") == 1
        assert value(dataplane, "sync_full_proxy_rules_duration_seconds_count") >= 1
        assert value(dataplane, "sync_partial_proxy_rules_duration_seconds_count") >= 1
        assert value(dataplane, "sync_proxy_rules_last_timestamp_seconds") > 0
        health = dataplane.health()
        assert (health.synced, health.healthy, health.eligible, health.waiting_since) == (True, True, True, 0.0)


async def test_it_runs_until_it_is_told_to_stop_and_leaves_the_tables(world: MemoryWorld) -> None:
    stop = asyncio.Event()
    options = DataplaneOptions(NODE_NAME)
    running = asyncio.create_task(run_dataplane(world.api, world.firewall, world.conntrack, options, stop))
    await until(lambda: world.firewall.elements is not None)
    stop.set()
    async with asyncio.timeout(5):
        await running
    assert world.fate("10.96.0.77") == "drop"
