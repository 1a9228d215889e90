"""Does `flows` tell what a change does to the ways of a view, and nothing of what it leaves alone?"""

from collections.abc import Sequence

import pytest
from hypothesis import given
from msgspec.structs import replace
from tests.dataplane.random_views import node_views

from mooring.dataplane.flows import Effect, FlowChange, flows
from mooring.dataplane.reach import reach
from mooring.dataplane.trace import Source
from mooring.services.view import Endpoint, NodeView, Pool, ServiceName, ServicePort
from mooring.testing.node_views import external_port, here, node_view, service_port, there

A1, A2, B1, B2 = here("10.244.1.2"), here("10.244.1.3"), there("10.244.2.2"), there("10.244.2.3")
PODS = {"10.244.1.2": "web", "10.244.1.3": "web", "10.244.2.2": "web", "10.244.2.3": "api"}
ALL = frozenset(Source)


def served(service: ServiceName, endpoint: Endpoint) -> str:
    return PODS.get(endpoint.address, endpoint.address)


def cluster(*endpoints: Endpoint, address: str = "10.96.0.1", **more: object) -> list[ServicePort]:
    return [replace(service_port("web", address, endpoints), **more)]


def external(policy: Pool, *endpoints: Endpoint) -> list[ServicePort]:
    return [external_port("web", "203.0.113.1", endpoints, policy)]


def guarded(*ranges: str) -> list[ServicePort]:
    (port,) = cluster(A1)
    return [replace(port, frontends=tuple(replace(each, allowed=ranges) for each in port.frontends))]


def compared(before: Sequence[ServicePort], after: Sequence[ServicePort]) -> tuple[FlowChange, ...]:
    views = [node_view({"web": ports} if ports else {}) for ports in (before, after)]
    return flows(reach(views[0]), reach(views[1]), served, served)


def effects(before: Sequence[ServicePort], after: Sequence[ServicePort]) -> dict[frozenset[Source], set[Effect]]:
    """By effects, the sources that have them."""
    by_source = {change.way.source: frozenset(change.effects) for change in compared(before, after)}
    found: dict[frozenset[Effect], set[Source]] = {}
    for source, each in by_source.items():
        found.setdefault(each, set()).add(source)
    return {frozenset(sources): set(each) for each, sources in found.items()}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param([], cluster(A1), {ALL: {Effect.GAINED}}, id="a new Service is gained by everyone"),
        pytest.param(cluster(A1), [], {ALL: {Effect.LOST}}, id="a Service that goes is lost to everyone"),
        pytest.param(cluster(A1), cluster(), {ALL: {Effect.LOST}}, id="the last endpoint takes the way with it"),
        pytest.param([], cluster(), {ALL: {Effect.CLOSED}}, id="a new Service without endpoints leads nowhere"),
        pytest.param(cluster(), [], {}, id="what led nowhere before is not lost when it goes"),
        pytest.param(cluster(), cluster(), {}, id="what leads nowhere still is no change"),
        pytest.param(cluster(A1, B2), cluster(A1, B2), {}, id="the same endpoints are no change"),
        pytest.param(cluster(A1), cluster(B1), {ALL: {Effect.ROLLED}}, id="another pod of the workload is a roll, not a loss"),
        pytest.param(cluster(A1), cluster(B2), {ALL: {Effect.MOVED}}, id="another workload is a move"),
        pytest.param(cluster(A1), cluster(A1, B2), {ALL: {Effect.MOVED}}, id="one more workload is a move"),
        pytest.param(
            cluster(A1), cluster(here("10.244.1.2", 9090)), {ALL: {Effect.MOVED}}, id="another port of the workload is a move"
        ),
        pytest.param(cluster(A1), cluster(A1, A2, B1), {ALL: {Effect.BALANCE}}, id="more pods take from a pod's share"),
        pytest.param(
            cluster(A1, A2), cluster(A1, B1), {ALL: {Effect.ROLLED}}, id="one pod replaced leaves the other's share alone"
        ),
        pytest.param(
            cluster(A1), cluster(A1, affinity=600), {ALL: {Effect.AFFINITY}}, id="session affinity alone is told alone"
        ),
        pytest.param(
            external(Pool.CLUSTER, B1),
            external(Pool.LOCAL, B1),
            {frozenset({Source.POD}): {Effect.SOURCE}, frozenset({Source.OUTSIDE}): {Effect.LOST}},
            id="policy Local loses the outside where no pod is, and shows pods' addresses",
        ),
        pytest.param(
            external(Pool.CLUSTER, A1, B1),
            external(Pool.LOCAL, A1, B1),
            {frozenset({Source.POD}): {Effect.SOURCE}, frozenset({Source.OUTSIDE}): {Effect.SOURCE, Effect.BALANCE}},
            id="policy Local keeps the outside to the pods that are here",
        ),
        pytest.param(
            external(Pool.LOCAL, B1),
            external(Pool.LOCAL, A1, B1),
            {frozenset({Source.POD, Source.NODE}): {Effect.BALANCE}, frozenset({Source.OUTSIDE}): {Effect.GAINED}},
            id="a first local pod opens the way from outside",
        ),
        pytest.param(
            external(Pool.LOCAL, B1),
            external(Pool.LOCAL),
            {frozenset({Source.POD, Source.NODE}): {Effect.LOST}, frozenset({Source.OUTSIDE}): {Effect.CLOSED}},
            id="from dropped to refused is closed, from reached to refused is lost",
        ),
        pytest.param(
            cluster(A1),
            guarded("192.0.2.0/24"),
            {frozenset({Source.POD, Source.NODE}): {Effect.LOST}, frozenset({Source.OUTSIDE}): {Effect.NARROWED}},
            id="source ranges shut some sources out, and of others a part",
        ),
        pytest.param(
            guarded("192.0.2.0/25", "192.0.2.128/25"),
            guarded("192.0.2.0/24"),
            {},
            id="the same ranges written otherwise are no change",
        ),
        pytest.param(
            guarded("192.0.2.0/25"),
            guarded("192.0.2.0/24"),
            {frozenset({Source.OUTSIDE}): {Effect.WIDENED}},
            id="a wider range is no loss",
        ),
        pytest.param(
            guarded("192.0.2.0/25"),
            guarded("192.0.2.128/25"),
            {frozenset({Source.OUTSIDE}): {Effect.NARROWED, Effect.WIDENED}},
            id="other ranges lose and gain at once",
        ),
    ],
)
def test_what_a_change_does(
    before: list[ServicePort], after: list[ServicePort], expected: dict[frozenset[Source], set[Effect]]
) -> None:
    assert expected == effects(before, after)


def test_another_address_is_lost_and_gained() -> None:
    changes = compared(cluster(A1), cluster(A1, address="10.96.0.2"))
    assert {("10.96.0.1", Effect.LOST), ("10.96.0.2", Effect.GAINED)} == {
        (change.way.address, effect) for change in changes for effect in change.effects
    }


def test_a_frontend_taken_over_says_by_whom() -> None:
    before = {"web": external(Pool.CLUSTER, A1)}
    after = {**before, "earlier": [external_port("earlier", "203.0.113.1", [B2], Pool.CLUSTER)]}
    changes = flows(reach(node_view(before)), reach(node_view(after)), served, served)
    assert {(("default", "earlier"), Effect.GAINED, None), (("default", "web"), Effect.LOST, ("default", "earlier"))} == {
        (change.way.service, *change.effects, change.now_of) for change in changes
    }


def test_an_address_that_went_to_another_workload_is_a_move() -> None:
    ways = reach(node_view({"web": cluster(A1)}))
    changes = flows(ways, ways, served, lambda service, endpoint: "thief")
    assert {(Effect.MOVED,)} == {change.effects for change in changes}


@given(node_views())
def test_nothing_changes_between_a_state_and_itself(view: NodeView) -> None:
    assert () == flows(reach(view), reach(view), served, served)


@given(node_views(), node_views())
def test_every_change_has_its_opposite_the_other_way_round(one: NodeView, other: NodeView) -> None:
    pairs = ((Effect.GAINED, Effect.LOST), (Effect.NARROWED, Effect.WIDENED))
    opposite = dict(pairs) | {right: left for left, right in pairs}
    there_ = {
        change.way: {opposite.get(effect, effect) for effect in change.effects}
        for change in flows(reach(one), reach(other), served, served)
    }
    back = {change.way: set(change.effects) for change in flows(reach(other), reach(one), served, served)}
    reachable = {way for way, each in {**there_, **back}.items() if Effect.CLOSED not in each}
    assert {way: there_[way] for way in there_ if way in reachable} == {way: back[way] for way in back if way in reachable}


@given(node_views(), node_views())
def test_what_is_reached_in_both_states_is_never_lost(one: NodeView, other: NodeView) -> None:
    before, after = reach(one), reach(other)
    lost = {change.way for change in flows(before, after, served, served) if Effect.LOST in change.effects}
    assert lost == {way for way, end in before.items() if end.choices and not (way in after and after[way].choices)}
