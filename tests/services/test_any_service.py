"""What holds for every Service, whole or broken, on every node?"""

from ipaddress import ip_address, ip_network
from itertools import chain

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.services.random_services import nodes, services, slices

from mooring.dataplane.trace import Outcome, Packet, trace
from mooring.model.discovery import EndpointSlice
from mooring.model.node import Node
from mooring.model.service import Service
from mooring.services.build import build_service, build_view
from mooring.services.locality import locality, options_of
from mooring.services.view import Entry, Family, Frontend, Pool, ServicePort, Verdict

Slices = list[EndpointSlice]


def built(service: Service, found: Slices, node: Node) -> tuple[ServicePort, ...]:
    return build_service(service, found, locality(node, options_of(node)))


def frontends(ports: tuple[ServicePort, ...]) -> list[tuple[ServicePort, Frontend]]:
    return [(port, each) for port in ports for each in port.frontends]


def with_spec(service: Service, **changes: object) -> Service:
    return msgspec.structs.replace(service, spec=msgspec.structs.replace(service.spec, **changes))


@given(services(), slices(), nodes())
def test_whatever_a_service_says_its_frontends_can_be_read_and_are_its_own(service: Service, found: Slices, node: Node) -> None:
    ports = built(service, found, node)
    seen = [(each.address, each.port, port.name.protocol) for port, each in frontends(ports)]
    assert len(set(seen)) == len(seen), "no frontend twice"
    for port, each in frontends(ports):
        assert str(ip_address(each.address)) == each.address
        assert (ip_address(each.address).version == 6) == (port.name.family is Family.IPV6)
        assert 0 < each.port < 65536
        for cidr in each.allowed or ():
            assert str(ip_network(cidr)) == cidr
            assert (ip_network(cidr).version == 6) == (port.name.family is Family.IPV6)
    for endpoint in chain.from_iterable(port.cluster + port.local + port.retained for port in ports):
        assert str(ip_address(endpoint.address)) == endpoint.address
        assert endpoint.local == (endpoint.node == "node-1")


@given(services(), slices(), nodes())
def test_no_arm_forwards_to_an_empty_pool_and_none_refuses_while_some_endpoint_is_usable(
    service: Service, found: Slices, node: Node
) -> None:
    for port, each in frontends(built(service, found, node)):
        for arm in (each.pod, each.node, each.outside):
            pool = port.cluster if arm.pool is Pool.CLUSTER else port.local
            assert (arm.verdict is Verdict.FORWARD) == bool(pool)
            assert (arm.verdict is Verdict.REJECT) == (not port.cluster and not port.local)


@given(services(), slices(), nodes())
def test_a_pool_is_sorted_has_nothing_twice_and_shares_nothing_with_what_is_retained(
    service: Service, found: Slices, node: Node
) -> None:
    for port in built(service, found, node):
        places = [[(each.address, each.port) for each in pool] for pool in (port.cluster, port.local, port.retained)]
        for pool in places:
            assert pool == sorted(set(pool))
        assert not set(places[2]) & (set(places[0]) | set(places[1]))
        assert all(each.local for each in port.local)


@given(services(), slices(), nodes(), st.sampled_from(["", "Cluster", "Local"]), st.sampled_from([None, "Cluster", "Local"]))
def test_each_policy_rules_its_own_doors_only(
    service: Service, found: Slices, node: Node, external: str, internal: str | None
) -> None:
    before = frontends(built(service, found, node))
    after = frontends(built(with_spec(service, external_traffic_policy=external), found, node))
    inner, outer = [
        [each for _, each in those if (each.entry is Entry.CLUSTER_IP) == is_inner]
        for those, is_inner in ((after, True), (before, False))
    ]
    assert [each for _, each in before if each.entry is Entry.CLUSTER_IP] == inner
    changed = frontends(built(with_spec(service, internal_traffic_policy=internal), found, node))
    assert outer == [each for _, each in changed if each.entry is not Entry.CLUSTER_IP]


@given(services(), slices(), nodes())
def test_outer_addresses_are_such_as_a_network_can_lead_here(service: Service, found: Slices, node: Node) -> None:
    for _, each in frontends(built(service, found, node)):
        if each.entry in (Entry.EXTERNAL_IP, Entry.LOAD_BALANCER):
            parsed = ip_address(each.address)
            assert not (parsed.is_loopback or parsed.is_unspecified or parsed.is_link_local or parsed.is_multicast)


@given(services(), slices(), nodes())
def test_pods_that_cannot_be_told_from_the_outside_fare_as_the_outside(service: Service, found: Slices, node: Node) -> None:
    here = locality(node, options_of(node))
    for port, each in frontends(build_service(service, found, here)):
        if not here.detects_pods(port.name.family):
            assert each.pod == each.outside


@given(services(), slices(), nodes())
def test_source_ranges_guard_the_balancers_addresses_only(service: Service, found: Slices, node: Node) -> None:
    ranged = with_spec(service, load_balancer_source_ranges=("192.0.2.0/24",))
    for _, each in frontends(built(ranged, found, node)):
        if each.entry is Entry.LOAD_BALANCER:
            assert each.allowed is not None
        elif not ip_address(each.address).is_loopback:
            assert each.allowed is None


@given(services(), slices(), nodes(), st.data())
def test_it_does_not_matter_in_which_order_slices_come_nor_which_endpoint_is_in_which(
    service: Service, found: Slices, node: Node, data: st.DataObject
) -> None:
    scattered = []
    for each in found:
        mixed = data.draw(st.permutations(each.endpoints or ()))
        scattered += [msgspec.structs.replace(each, endpoints=tuple(mixed[part::2])) for part in (0, 1)]
    assert built(service, found, node) == built(service, data.draw(st.permutations(scattered)), node)


@given(services(), slices(), nodes(), st.sampled_from(["10.244.1.9", "172.30.0.11", "192.0.2.7", "127.0.0.1"]))
def test_the_simulator_follows_every_frontend_to_an_end_and_gives_its_reasons(
    service: Service, found: Slices, node: Node, source: str
) -> None:
    view = build_view(node, [service], found, ["10.96.0.0/16"])
    for port, each in frontends(view.services.get(("default", "web"), ())):
        if port.name.family is Family.IPV4:
            traced = trace(view, Packet(source, each.address, port.name.protocol, each.port))
            assert traced.service == port.name
            assert traced.outcome is not Outcome.PASS
            assert (traced.outcome is Outcome.FORWARD) == bool(traced.choices)
            assert all(step.decision and step.because for step in traced.steps)
            assert not traced.choices or abs(sum(choice.probability for choice in traced.choices) - 1) < 1e-9
