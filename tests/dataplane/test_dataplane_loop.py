"""Does the node's loop keep the tables true to the API, whatever happens to either?"""

from typing import Any

import pytest
from agent_world import (
    NODE_ADDRESS,
    NODE_NAME,
    POD_CIDRS,
    World,
    endpoint,
    endpoint_slice,
    health_checked,
    node_port,
    service,
    service_cidr,
    until,
)

from mooring.control import dataplane as loop
from mooring.control.dataplane import Dataplane
from mooring.dataplane.conntrack import Flow
from mooring.dataplane.diff import Transaction
from mooring.dataplane.installed import compile_view
from mooring.dataplane.interpret import Packet, interpret
from mooring.dataplane.ruleset import ENDPOINTS, FRONTENDS, MASQUERADED, RESTRICTED, Ruleset
from mooring.edges.memory.conntrack import MemoryConntrack
from mooring.edges.memory.firewall import MemoryFirewall
from mooring.edges.memory.health import MemoryAnswerServer
from mooring.model.kinds import ENDPOINT_SLICE, NODE, SERVICE, SERVICE_CIDR
from mooring.ports.firewall import FirewallError
from mooring.services.locality import ANNOTATION, ProxyOptions
from mooring.services.view import Protocol


class MemoryWorld(World):
    """A node whose edges only remember."""

    firewall: MemoryFirewall
    conntrack: MemoryConntrack

    def __init__(self) -> None:
        super().__init__(MemoryFirewall(), MemoryConntrack())

    def fate(self, address: str, protocol: Protocol = Protocol.TCP, port: int = 80) -> str:
        """What the tables do to a pod's packet: the endpoint's address, or the verdict."""
        packet = Packet("10.244.1.9", address, port, protocol)
        fate = interpret(Ruleset(self.firewall.elements or {}), packet, lambda n: 0)
        return fate.endpoint[0] if fate.endpoint else fate.verdict


@pytest.fixture
async def world() -> MemoryWorld:
    made = MemoryWorld()
    await made.begin()
    return made


def value(dataplane: Dataplane, name: str, **labels: str) -> float:
    """A metric's sample; of the first labels there are unless told."""
    for metric in dataplane.metrics.registry.collect():
        for sample in metric.samples:
            if sample.name == f"kubeproxy_{name}" and labels.items() <= sample.labels.items():
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


async def test_service_cidrs_come_and_go(world: MemoryWorld) -> None:
    await world.create(SERVICE, service("web", "10.96.0.50"))
    async with world.agent():
        assert world.fate("10.98.0.1") == "untouched"
        await world.create(SERVICE_CIDR, service_cidr("more", "10.98.0.0/24"))
        await until(lambda: world.fate("10.98.0.1") == "drop")
        assert world.fate("10.96.0.50") == "reject"
        await world.delete(SERVICE_CIDR, "more")
        await until(lambda: world.fate("10.98.0.1") == "untouched")
        assert world.firewall.replacements == 1, "all else were changes"


async def test_a_node_that_is_about_to_go_gets_no_more_traffic_from_balancers(world: MemoryWorld) -> None:
    async with world.agent() as dataplane:
        assert dataplane.health().eligible
        taint = {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}
        await world.api.write("patch", NODE, "", NODE_NAME, {"spec": {"taints": [taint]}})
        await until(lambda: not dataplane.health().eligible)
        assert dataplane.health().healthy


async def test_node_ports_follow_the_nodes_addresses(world: MemoryWorld) -> None:
    """Every Service is built again, in bounded batches, and a node that is gone changes nothing."""
    count = loop.LARGEST_BATCH + 3
    for n in range(count):
        await world.create(SERVICE, node_port(f"s{n}", f"10.96.{n // 250 + 1}.{n % 250 + 1}", 30000 + n))
    last = 30000 + count - 1
    async with world.agent():
        assert world.fate(NODE_ADDRESS, port=last) == "reject"
        before = len(world.firewall.transactions)
        await world.move_node("172.30.0.77")
        await until(lambda: world.fate("172.30.0.77", port=last) == "reject")
        assert world.fate(NODE_ADDRESS, port=last) == "untouched"
        assert len(world.firewall.transactions) - before == 2, "the largest batch, and the rest"
        await world.delete(NODE, NODE_NAME)
        await world.create(SERVICE, service("marker", "10.96.0.60"))
        await until(lambda: world.fate("10.96.0.60") == "reject")
        assert world.fate("172.30.0.77", port=last) == "reject"
        assert world.firewall.replacements == 1


async def test_a_change_of_the_zone_chooses_endpoints_anew(world: MemoryWorld) -> None:
    near, far = endpoint("10.244.2.2"), endpoint("10.244.2.3")
    near["hints"], far["hints"] = {"forZones": [{"name": "east"}]}, {"forZones": [{"name": "west"}]}
    await world.create(SERVICE, service("web", "10.96.0.50"))
    await world.create(ENDPOINT_SLICE, endpoint_slice("web", near, far))
    async with world.agent() as dataplane:
        for zone, expected in (("east", {"10.244.2.2"}), ("west", {"10.244.2.3"}), ("north", {"10.244.2.2", "10.244.2.3"})):
            labels = {"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}
            await world.api.write("patch", NODE, "", NODE_NAME, labels)
            await until(lambda expected=expected: reached(dataplane) == expected)  # type: ignore[misc]


def reached(dataplane: Dataplane) -> set[str]:
    """The endpoints of every Service's cluster pool."""
    return {each.address for ports in dataplane.view.services.values() for port in ports for each in port.cluster}


async def test_a_node_whose_pods_range_comes_late_tells_them_from_the_outside_then(world: MemoryWorld) -> None:
    await world.delete(NODE, NODE_NAME)
    await world.create(NODE, {"kind": "Node", "apiVersion": "v1", "metadata": {"name": NODE_NAME}})
    await world.create(SERVICE, node_port("web", "10.96.0.50", 30080, externalTrafficPolicy="Local"))
    await world.create(ENDPOINT_SLICE, endpoint_slice("web", "10.244.2.2"))
    async with world.agent():
        await world.move_node(NODE_ADDRESS)
        await until(lambda: world.fate(NODE_ADDRESS, port=30080) == "drop")
        await world.api.write("patch", NODE, "", NODE_NAME, {"spec": POD_CIDRS})
        await until(lambda: world.fate(NODE_ADDRESS, port=30080) == "10.244.2.2")
        assert world.firewall.replacements == 1


async def test_the_agents_own_options_count_and_not_what_the_node_says_of_them(world: MemoryWorld) -> None:
    await world.create(SERVICE, node_port("web", "10.96.0.50", 30080))
    async with world.agent(proxy=ProxyOptions(("127.0.0.0/8",))):
        assert world.fate(NODE_ADDRESS, port=30080) == "untouched"
    await world.api.write(
        "patch", NODE, "", NODE_NAME, {"metadata": {"annotations": {ANNOTATION: '{"nodeport-addresses": []}'}}}
    )
    async with world.agent():
        assert world.fate(NODE_ADDRESS, port=30080) == "reject"


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


async def test_what_the_kernel_refuses_can_be_taken_back_while_loading_is_tried(world: MemoryWorld) -> None:
    """Such as more endpoints than it has memory for: the next attempt is of what is wished by then."""

    class Narrow(MemoryFirewall):
        async def apply(self, transaction: Transaction) -> None:
            raise FirewallError("no memory")

        async def replace(self, ruleset: Ruleset) -> None:
            if sum(name == ENDPOINTS and len(items) for (_, name), items in ruleset.elements.items()) > 2:
                raise FirewallError("no memory")
            await super().replace(ruleset)

    world.firewall = Narrow()
    world.conntrack.flows.add(Flow(("10.244.1.9", 40000), ("10.96.0.51", 80), ("10.244.2.8", 53)))
    async with world.agent() as dataplane:
        await world.create(ENDPOINT_SLICE, endpoint_slice("web", *(f"10.244.2.{n}" for n in range(2, 9))))
        await world.create(SERVICE, service("web", "10.96.0.50"))
        await until(lambda: value(dataplane, "sync_proxy_rules_nftables_sync_failures_total") >= 2)
        await world.create(ENDPOINT_SLICE, endpoint_slice("dns", "10.244.2.9", protocol="UDP"))
        await world.create(SERVICE, service("dns", "10.96.0.51", "UDP"))
        await world.delete(SERVICE, "web")
        await until(lambda: world.fate("10.96.0.51", Protocol.UDP) == "10.244.2.9")
        await until(lambda: dataplane.health().waiting_since == 0)
        await until(lambda: not world.conntrack.flows)


async def test_a_frontend_that_not_everyone_may_enter_is_opened_after_what_bars_them(world: MemoryWorld) -> None:
    balancer = service("web", "10.96.0.50")
    balancer["spec"] |= {"type": "LoadBalancer", "loadBalancerSourceRanges": ["198.51.100.0/24"]}
    await world.create(ENDPOINT_SLICE, endpoint_slice("web", "10.244.2.2"))
    await world.create(SERVICE, balancer)
    async with world.agent():
        status = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
        await world.api.write("patch", SERVICE, "default", "web", status, subresource="status")
        await until(lambda: len(world.firewall.transactions) == 2)
        named = [{change.set[1] for change in each.changes} for each in world.firewall.transactions]
        assert RESTRICTED in named[0] and {FRONTENDS, MASQUERADED} == named[1]


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


async def test_balancers_are_told_how_many_endpoints_are_here(world: MemoryWorld) -> None:
    """Ready ones count; what terminates does not, though it may get traffic yet."""
    served = MemoryAnswerServer()
    world.answers = served
    mine, ending = endpoint("10.244.1.2", NODE_NAME), endpoint("10.244.1.3", NODE_NAME, False, serving=True, terminating=True)
    await world.create(SERVICE, health_checked("web", "10.96.0.50", 32123))
    await world.create(ENDPOINT_SLICE, endpoint_slice("web", mine, endpoint("10.244.2.2", "node-b")))

    def said(address: str = NODE_ADDRESS) -> tuple[int, str] | None:
        found = served.served.get((address, 32123))
        return (found().status, found().headers["X-Load-Balancing-Endpoint-Weight"]) if found else None

    async with world.agent() as dataplane:
        await until(lambda: said() == (200, "1"))
        await world.update(ENDPOINT_SLICE, endpoint_slice("web", mine, endpoint("10.244.1.4", NODE_NAME), ending))
        await until(lambda: said() == (200, "2"))
        await world.update(ENDPOINT_SLICE, endpoint_slice("web", ending))
        await until(lambda: said() == (503, "0"))
        await world.move_node("172.30.0.77")
        await until(lambda: said("172.30.0.77") == (503, "0") and said() is None)
        await world.update(ENDPOINT_SLICE, endpoint_slice("web", mine))
        await until(lambda: said("172.30.0.77") == (200, "1"))
        dataplane._busy_since = 1.0
        assert said("172.30.0.77") == (503, "1"), "the tables have not followed for too long"
        dataplane._busy_since = 0.0
        await world.api.write("patch", SERVICE, "default", "web", {"spec": {"externalTrafficPolicy": "Cluster"}})
        await until(lambda: served.served == {})


async def test_a_health_check_port_that_is_taken_stops_neither_its_service_nor_another(world: MemoryWorld) -> None:
    served = MemoryAnswerServer()
    world.answers = served
    served.taken.add(32123)
    async with world.agent():
        await world.create(SERVICE, health_checked("web", "10.96.0.50", 32123))
        await world.create(SERVICE, health_checked("api", "10.96.0.51", 32124))
        await until(lambda: [each.reason for each in world.reports] == ["FailedToStartServiceHealthcheck"])
        await until(lambda: (NODE_ADDRESS, 32124) in served.served)
        assert world.reports[0].regarding["metadata"]["uid"]
        assert world.fate("10.96.0.50") == "reject"
        await world.api.write(
            "patch", SERVICE, "default", "web", {"spec": {"type": "ClusterIP", "externalTrafficPolicy": None}}
        )
        await world.create(ENDPOINT_SLICE, endpoint_slice("web", "10.244.2.2"))
        await until(lambda: world.fate("10.96.0.50") == "10.244.2.2")
        assert len(world.reports) == 1


async def test_a_change_that_waits_too_long_makes_a_node_unhealthy_and_steady_changes_do_not(world: MemoryWorld) -> None:
    async with world.agent() as dataplane:
        for n in range(1, 50):
            await world.create(SERVICE, service(f"s{n}", f"10.96.1.{n}"))
            since = dataplane.health().waiting_since
            assert not since or dataplane.health().healthy
        await until(lambda: len(dataplane.view.services) == 49)
        assert dataplane.health().waiting_since == 0.0
        dataplane.followed._dirty[("default", "stuck")] = 1.0
        assert not dataplane.health().healthy
        assert dataplane.health().waiting_since == 1.0
        assert dataplane.health().eligible, "that is the Node's own matter"


async def test_figures_are_told_under_their_upstream_names(world: MemoryWorld) -> None:
    await world.create(SERVICE, service("web", "10.96.0.50"))
    async with world.agent() as dataplane:
        await world.create(ENDPOINT_SLICE, endpoint_slice("web", "10.244.2.2"))
        await until(lambda: value(dataplane, "network_programming_duration_seconds_count", ip_family="IPv4") == 1)
        assert value(dataplane, "network_programming_duration_seconds_count", ip_family="IPv6") == 0
        assert value(dataplane, "sync_proxy_rules_endpoint_changes_total") == 1
        for family in ("IPv4", "IPv6"):
            assert value(dataplane, "sync_full_proxy_rules_duration_seconds_count", ip_family=family) >= 1
            assert value(dataplane, "sync_partial_proxy_rules_duration_seconds_count", ip_family=family) >= 1
            assert value(dataplane, "sync_proxy_rules_last_timestamp_seconds", ip_family=family) > 0
            assert value(dataplane, "sync_proxy_rules_last_queued_timestamp_seconds", ip_family=family) > 0
        health = dataplane.health()
        assert (health.synced, health.healthy, health.eligible, health.waiting_since) == (True, True, True, 0.0)


async def test_ports_without_local_endpoints_are_counted_by_family_and_policy(world: MemoryWorld) -> None:
    await world.create(SERVICE, node_port("web", "10.96.0.50", 30080, externalTrafficPolicy="Local"))
    await world.create(ENDPOINT_SLICE, endpoint_slice("web", "10.244.2.2"))
    async with world.agent() as dataplane:

        def counted(family: str = "IPv4", policy: str = "external") -> float:
            labels = {"ip_family": family, "traffic_policy": policy}
            return value(dataplane, "sync_proxy_rules_no_local_endpoints_total", **labels)

        assert (counted(), counted(policy="internal"), counted("IPv6")) == (1, 0, 0)
        await world.update(ENDPOINT_SLICE, endpoint_slice("web", endpoint("10.244.1.2", NODE_NAME)))
        await until(lambda: counted() == 0)
