"""Which endpoints are used, which are kept for the flows they have, and does it matter how slices tell of them?"""

from itertools import permutations

import pytest

from mooring.endpoints.select import Basis, Candidate, Endpoint, Pools, candidates, pools
from mooring.model.discovery import EndpointSlice, Hint, Hints, endpoint_slice

HERE, THERE = Endpoint("10.244.1.2", 80, "node-1", True), Endpoint("10.244.2.2", 80, "node-2")
NEAR, FAR = Hints((Hint("zone-1"),)), Hints((Hint("zone-2"),))


def ready(endpoint: Endpoint, hints: Hints | None = None) -> Candidate:
    return Candidate(endpoint, True, True, False, hints)


def draining(endpoint: Endpoint) -> Candidate:
    return Candidate(endpoint, False, True, True)


def dead(endpoint: Endpoint) -> Candidate:
    return Candidate(endpoint, False, False, True)


def unready(endpoint: Endpoint) -> Candidate:
    return Candidate(endpoint, False, True, False)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param([], Pools(), id="nothing of nothing"),
        pytest.param([ready(HERE), ready(THERE)], Pools((HERE, THERE), (HERE,)), id="ready ones, and of them the local"),
        pytest.param(
            [draining(HERE), ready(THERE)],
            Pools((THERE,), (HERE,), local_basis=Basis.DRAINING),
            id="the local pool drains by itself",
        ),
        pytest.param(
            [ready(HERE), draining(THERE)], Pools((HERE,), (HERE,), retained=(THERE,)), id="who drains keeps what it has"
        ),
        pytest.param(
            [draining(HERE), draining(THERE)],
            Pools((HERE, THERE), (HERE,), Basis.DRAINING, Basis.DRAINING),
            id="where none is ready, those that drain",
        ),
        pytest.param([dead(HERE), dead(THERE)], Pools(), id="who does not serve is nowhere"),
        pytest.param(
            [unready(HERE), ready(THERE)], Pools((THERE,), retained=(HERE,)), id="who serves unready gets nothing new"
        ),
        pytest.param([unready(HERE)], Pools(retained=(HERE,)), id="not even where nobody else is"),
        pytest.param(
            [ready(HERE, NEAR), ready(THERE, FAR)],
            Pools((HERE,), (HERE,), Basis.SAME_ZONE, retained=(THERE,)),
            id="who is left to another zone keeps what it has",
        ),
        pytest.param(
            [ready(HERE, FAR), ready(THERE, NEAR)],
            Pools((THERE,), (HERE,), Basis.SAME_ZONE),
            id="hints do not empty the local pool",
        ),
    ],
)
def test_pools_are(found: list[Candidate], expected: Pools) -> None:
    for order in permutations(found):
        assert expected == pools(order, "node-1", "zone-1")


def hints(zones: str = "", nodes: str = "") -> Hints:
    return Hints(tuple(map(Hint, zones.split())) or None, tuple(map(Hint, nodes.split())) or None)


@pytest.mark.parametrize(
    ("mine", "others", "node", "zone", "basis"),
    [
        pytest.param(hints("zone-1"), hints("zone-2"), "node-1", "zone-1", Basis.SAME_ZONE, id="my zone"),
        pytest.param(hints("zone-2 zone-1"), hints("zone-2"), "node-1", "zone-1", Basis.SAME_ZONE, id="one of several zones"),
        pytest.param(hints("zone-1"), hints("zone-2"), "node-1", "", Basis.READY, id="a node without a zone"),
        pytest.param(hints("zone-1"), hints("zone-2"), "node-1", "zone-3", Basis.READY, id="a zone that nothing is for"),
        pytest.param(hints("zone-1"), None, "node-1", "zone-1", Basis.READY, id="one without hints"),
        pytest.param(hints("zone-1"), hints(), "node-1", "zone-1", Basis.READY, id="one with empty hints"),
        pytest.param(hints("zone-1", "node-1"), hints("zone-1", "node-2"), "node-1", "zone-1", Basis.SAME_NODE, id="my node"),
        pytest.param(hints(nodes="node-1"), hints(nodes="node-2"), "node-1", "", Basis.SAME_NODE, id="my node needs no zone"),
        pytest.param(
            hints("zone-1", "node-1"), hints("zone-2"), "node-1", "zone-1", Basis.SAME_ZONE, id="one without node hint"
        ),
        pytest.param(
            hints("zone-1", "node-3"), hints("zone-2", "node-2"), "node-1", "zone-1", Basis.SAME_ZONE, id="no node hint for me"
        ),
    ],
)
def test_hints_choose(mine: Hints, others: Hints | None, node: str, zone: str, basis: Basis) -> None:
    found = pools([ready(HERE, mine), ready(THERE, others)], node, zone)
    assert basis is found.cluster_basis
    assert ((HERE, THERE) if basis is Basis.READY else (HERE,)) == found.cluster


def test_hints_of_endpoints_that_are_not_ready_are_not_asked() -> None:
    found = pools([ready(HERE, NEAR), draining(THERE), dead(Endpoint("10.244.2.3", 80))], "node-1", "zone-1")
    assert Basis.SAME_ZONE is found.cluster_basis


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param(ready(HERE), draining(HERE), Pools((HERE,), (HERE,)), id="ready wins"),
        pytest.param(
            ready(HERE), ready(Endpoint(HERE.address, 80)), Pools((HERE,), (HERE,)), id="local wins over one of no node"
        ),
        pytest.param(
            ready(Endpoint("192.0.2.1", 80, "b")),
            ready(Endpoint("192.0.2.1", 80, "a")),
            Pools((Endpoint("192.0.2.1", 80, "b"),)),
            id="of two other nodes it is one, whichever comes first",
        ),
        pytest.param(
            ready(HERE, NEAR), ready(HERE, FAR), Pools((HERE,), (HERE,), Basis.SAME_ZONE), id="it is for whom either says"
        ),
        pytest.param(ready(HERE, NEAR), ready(HERE), Pools((HERE,), (HERE,), Basis.SAME_ZONE), id="a hint wins over none"),
    ],
)
def test_the_same_endpoint_told_twice_counts_once(one: Candidate, other: Candidate, expected: Pools) -> None:
    assert expected == pools([one, other], "node-1", "zone-1") == pools([other, one], "node-1", "zone-1")


def a_slice(**changes: object) -> EndpointSlice:
    base: dict[str, object] = {
        "metadata": {"name": "web-a"},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.244.1.2", "10.244.1.3"], "nodeName": "node-1"}],
    }
    return endpoint_slice({**base, **changes})


def from_slice(found: EndpointSlice) -> list[Candidate]:
    return list(candidates([found], "IPv4", "http", "TCP", "node-1"))


@pytest.mark.parametrize(
    "ignored",
    [
        pytest.param(a_slice(addressType="IPv6"), id="a slice of the other family"),
        pytest.param(a_slice(addressType="FQDN"), id="a slice of names"),
        pytest.param(a_slice(ports=[{"name": "https", "port": 8080}]), id="a port of another name"),
        pytest.param(a_slice(ports=[{"name": "http", "port": 8080, "protocol": "UDP"}]), id="a port of another protocol"),
        pytest.param(a_slice(ports=[{"name": "http"}]), id="a port without a number"),
        pytest.param(a_slice(ports=[{"name": "http", "port": 65536}]), id="a number that is no port"),
        pytest.param(a_slice(ports=None), id="a slice without ports"),
        pytest.param(a_slice(endpoints=None), id="a slice without endpoints"),
        pytest.param(a_slice(endpoints=[{"addresses": []}]), id="an endpoint without an address"),
        pytest.param(a_slice(endpoints=[{"addresses": ["10.244.1"]}]), id="an address that cannot be read"),
        pytest.param(a_slice(endpoints=[{"addresses": ["fd00::2"]}]), id="an address of the other family"),
    ],
)
def test_no_endpoint_comes_of(ignored: EndpointSlice) -> None:
    assert [] == from_slice(ignored)


def test_one_broken_entry_does_not_stop_the_others() -> None:
    found = from_slice(
        a_slice(endpoints=[{"addresses": ["nonsense"]}, {"addresses": ["010.244.001.002"], "nodeName": "node-1"}])
    )
    assert [ready(Endpoint("10.244.1.2", 8080, "node-1", True))] == found


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        pytest.param(None, (True, True, False), id="no conditions: ready"),
        pytest.param({}, (True, True, False), id="nil conditions: ready"),
        pytest.param({"ready": False}, (False, True, False), id="nil serving reads as true"),
        pytest.param({"ready": False, "terminating": True}, (False, True, True), id="so one that terminates may still serve"),
        pytest.param({"ready": False, "serving": False}, (False, False, False), id="false is false"),
    ],
)
def test_conditions_read_as(conditions: dict[str, bool] | None, expected: tuple[bool, bool, bool]) -> None:
    (found,) = from_slice(a_slice(endpoints=[{"addresses": ["10.244.1.2"], "conditions": conditions}]))
    assert expected == (found.ready, found.serving, found.terminating)


def test_an_endpoint_of_no_node_is_local_to_nobody() -> None:
    (found,) = candidates([a_slice(endpoints=[{"addresses": ["10.244.1.2"]}])], "IPv4", "http", "TCP", "")
    assert not found.endpoint.local
