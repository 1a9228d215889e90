"""Does `reach` name every way of a view, with the end that the simulator foresees for a packet on it?"""

import pytest
from hypothesis import given
from msgspec.structs import replace
from tests.dataplane.random_views import node_views, sources

from mooring.dataplane.reach import Reach, Way, claimed, reach, shadowed
from mooring.dataplane.trace import Choice, Outcome, Packet, Source, trace
from mooring.endpoints.addresses import contains
from mooring.services.view import Entry, NodeView, Pool, Protocol, Reason, ServicePort
from mooring.testing.node_views import external_port, here, node_view, service_port, there

NEAR, FAR = here("10.244.1.2"), there("10.244.2.2")


def ends(view: NodeView, service: str) -> dict[Source, Reach]:
    return {way.source: end for way, end in reach(view).items() if way.service == ("default", service)}


def forward(*choices: Choice, affinity: int = 0) -> Reach:
    return Reach(Outcome.FORWARD, Reason.ENDPOINTS, choices, None, affinity)


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        pytest.param(
            service_port("web", "10.96.0.1", [NEAR, FAR]),
            {
                Source.POD: forward(Choice(NEAR, 0.5, False), Choice(FAR, 0.5, False)),
                Source.NODE: forward(Choice(NEAR, 0.5, True), Choice(FAR, 0.5, True)),
                Source.OUTSIDE: forward(Choice(NEAR, 0.5, True), Choice(FAR, 0.5, True)),
            },
            id="a cluster IP keeps a pod's address and hides the node's and the outside's",
        ),
        pytest.param(
            service_port("web", "10.96.0.1", []),
            dict.fromkeys(Source, Reach(Outcome.REJECT, Reason.NO_ENDPOINTS)),
            id="without endpoints everyone is refused",
        ),
        pytest.param(
            external_port("web", "203.0.113.1", [FAR], Pool.LOCAL),
            {
                Source.POD: forward(Choice(FAR, 1.0, False)),
                Source.NODE: forward(Choice(FAR, 1.0, True)),
                Source.OUTSIDE: Reach(Outcome.DROP, Reason.NO_LOCAL_ENDPOINTS),
            },
            id="policy Local without a local endpoint drops what comes from outside only",
        ),
        pytest.param(
            service_port("web", "10.96.0.1", [here("172.30.0.11")]),
            {
                Source.POD: forward(Choice(here("172.30.0.11"), 1.0, False)),
                Source.NODE: forward(Choice(here("172.30.0.11"), 1.0, True)),
                Source.OUTSIDE: forward(Choice(here("172.30.0.11"), 1.0, False)),
            },
            id="an endpoint in the node's own network sees who comes, since nothing leaves the node",
        ),
    ],
)
def test_each_source_has_its_end(port: ServicePort, expected: dict[Source, Reach]) -> None:
    assert expected == ends(node_view({"web": [port]}), "web")


def test_a_way_is_named_by_node_source_service_and_frontend() -> None:
    view = node_view({"web": [service_port("web", "10.96.0.1", [NEAR])]})
    assert {Way("a", source, ("default", "web"), Entry.CLUSTER_IP, "10.96.0.1", 80, Protocol.TCP) for source in Source} == set(
        reach(view)
    )


def test_the_first_service_by_name_has_a_frontend_that_two_claim() -> None:
    claims = {
        "later": [external_port("later", "203.0.113.1", [FAR], Pool.CLUSTER)],
        "earlier": [external_port("earlier", "203.0.113.1", [NEAR], Pool.CLUSTER)],
    }
    assert [("default", "earlier")] == [service for service, _, _ in claimed(node_view(claims))]
    assert {(("default", "later"), "203.0.113.1", 80, Protocol.TCP): ("default", "earlier")} == shadowed(node_view(claims))


def with_ranges(*ranges: str) -> dict[Source, Reach]:
    port = service_port("web", "10.96.0.1", [NEAR])
    guarded = tuple(replace(frontend, allowed=ranges) for frontend in port.frontends)
    return ends(node_view({"web": [replace(port, frontends=guarded, affinity=600)]}), "web")


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        pytest.param(("192.0.2.0/24",), {Source.OUTSIDE: ("192.0.2.0/24",)}, id="a far range leaves pods and the node out"),
        pytest.param(
            ("10.0.0.0/8", "172.30.0.11/32"),
            {Source.POD: None, Source.NODE: None, Source.OUTSIDE: ("10.0.0.0/8",)},
            id="a range around the node's pods lets all of them in",
        ),
        pytest.param(("10.244.1.64/26",), {Source.POD: ("10.244.1.64/26",)}, id="a part of the pods' range lets that part in"),
        pytest.param(
            ("127.0.0.0/8", "172.30.0.11/32"), {Source.NODE: None}, id="the loopback and the node's own are no outside"
        ),
        pytest.param(("2001:db8::/32",), {}, id="a range of the other family lets nobody in"),
        pytest.param((), {}, id="no range at all lets nobody in"),
    ],
)
def test_source_ranges_are_told_as_far_as_they_concern_the_source(
    ranges: tuple[str, ...], expected: dict[Source, tuple[str, ...] | None]
) -> None:
    found = with_ranges(*ranges)
    assert {source: expected.get(source, ()) for source in Source} == {source: end.allowed for source, end in found.items()}
    assert {source for source in Source if source in expected} == {
        source for source, end in found.items() if end.outcome is Outcome.FORWARD
    }


def test_session_affinity_is_part_of_the_end() -> None:
    assert 600 == with_ranges("0.0.0.0/0")[Source.POD].affinity


def test_a_pod_that_the_node_cannot_tell_from_the_outside_is_outside() -> None:
    view = node_view({"web": [external_port("web", "203.0.113.1", [FAR], Pool.LOCAL)]})
    blind = NodeView(view.node, view.services, view.service_cidrs, (), view.node_addresses)
    assert Outcome.FORWARD is ends(view, "web")[Source.POD].outcome
    assert Outcome.DROP is ends(blind, "web")[Source.POD].outcome


@given(node_views())
def test_every_way_ends_where_the_simulator_says(view: NodeView) -> None:
    """For each kind of client that the way is for; what reaches itself is masqueraded besides."""
    ends = reach(view)
    for service, port, frontend in claimed(view):
        family = port.name.family
        endpoints = {each.address for each in port.cluster + port.local}
        for client, interface in sources(family).items():
            packet = Packet(client, frontend.address, port.name.protocol, frontend.port, interface)
            found = trace(view, packet)
            way = Way(view.node, found.source, service, frontend.entry, packet.destination, packet.port, packet.protocol)
            end = ends[way]
            if end.allowed is not None and not any(contains(cidr, client) for cidr in end.allowed):
                assert (Outcome.DROP, ()) == (found.outcome, found.choices)
            elif client not in endpoints:
                assert (found.outcome, found.choices, found.affinity) == (end.outcome, end.choices, end.affinity)
