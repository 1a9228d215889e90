"""Is every difference between what was foreseen and what a kernel did noticed, and nothing else?"""

import pytest

from mooring.dataplane.egress import Egress
from mooring.dataplane.sighting import KEPT, Flow, Line, Met, Seen, Sighting, Tracked, differences, hidden_from_outside
from mooring.dataplane.trace import Packet, Trace, trace
from mooring.services.view import Protocol
from mooring.testing.node_views import FOUR, NODE_ADDRESSES, here, node_view, service_port, there

POD, NODE, OTHER = "10.244.1.9", NODE_ADDRESSES[0], "10.244.2.9"
STRANGE_NODE = "172.30.0.12"
VIEW = node_view(
    {
        "web": [service_port("web", "10.96.0.1", FOUR)],
        "self": [service_port("self", "10.96.0.5", [here(POD), there("10.244.2.2")])],
        "none": [service_port("none", "10.96.0.3", [])],
        "away": [service_port("away", "10.96.0.7", [there("203.0.113.5"), there(STRANGE_NODE), there("10.244.2.2")])],
    }
)
AWAY, SERVER = "10.96.0.7", "203.0.113.5"
STEP = Line("ip mooring", "services", "drop")


def foreseen(source: str, destination: str = "10.96.0.1") -> Trace:
    return trace(VIEW, Packet(source, destination, Protocol.TCP, 80))


def tracked(server: str, client: str, masqueraded: bool = False, port: int = 8080, redirected: bool = True) -> Tracked:
    return Tracked((server, port), (client, 40000), redirected, masqueraded)


def compare(
    hop: Trace,
    tracked: Tracked | None,
    met: Met = Met.ANSWERED,
    dropped: bool = False,
    steps: bool = True,
    egress: Egress = KEPT,
) -> str:
    sighting = Sighting("a", NODE_ADDRESSES, (STEP,) if steps else (), tracked, dropped)
    flow = Flow((hop.packet.source, 40000), (hop.packet.destination, 80), Protocol.TCP)
    return "; ".join(differences([hop], Seen(flow, met, (sighting,)), egress))


@pytest.mark.parametrize(
    ("hop", "seen", "met", "dropped"),
    [
        pytest.param(foreseen(POD), tracked("10.244.1.2", POD), Met.ANSWERED, False, id="a pod's, as itself"),
        pytest.param(foreseen(POD), tracked("10.244.2.3", POD), Met.REFUSED, False, id="the endpoint refuses"),
        pytest.param(foreseen(POD), tracked("10.244.2.3", POD), Met.SILENCE, False, id="the endpoint is silent"),
        pytest.param(foreseen(NODE), tracked("10.244.2.3", NODE, True), Met.ANSWERED, False, id="the node's, as the node"),
        pytest.param(foreseen(NODE), tracked("10.244.2.3", NODE), Met.ANSWERED, False, id="the node's, with the very port"),
        pytest.param(foreseen(OTHER), tracked("10.244.2.3", NODE, True), Met.ANSWERED, False, id="an outsider's, as the node"),
        pytest.param(foreseen(POD, "10.96.0.5"), tracked(POD, NODE, True), Met.ANSWERED, False, id="a hairpin, as the node"),
        pytest.param(
            foreseen(POD, "10.96.0.5"), tracked("10.244.2.2", POD), Met.ANSWERED, False, id="beside a hairpin, as itself"
        ),
        pytest.param(foreseen(POD, "10.96.0.3"), None, Met.REFUSED, True, id="refused"),
        pytest.param(foreseen(POD, "10.96.0.9"), None, Met.SILENCE, True, id="dropped"),
        pytest.param(
            foreseen(POD, "192.0.2.1"), tracked("192.0.2.1", POD, redirected=False), Met.SILENCE, False, id="let pass"
        ),
    ],
)
def test_what_was_foreseen_is_no_difference(hop: Trace, seen: Tracked | None, met: Met, dropped: bool) -> None:
    assert compare(hop, seen, met, dropped) == ""


@pytest.mark.parametrize(
    ("hop", "seen", "met", "dropped", "said"),
    [
        pytest.param(
            foreseen(POD),
            tracked("10.244.9.9", POD),
            Met.ANSWERED,
            False,
            "the kernel chose 10.244.9.9:8080, which is not foreseen: 10.244.1.2:8080,",
            id="nobody's endpoint",
        ),
        pytest.param(
            foreseen(POD), tracked("10.244.1.2", POD, port=80), Met.ANSWERED, False, "chose 10.244.1.2:80, which", id="its port"
        ),
        pytest.param(
            foreseen(POD),
            tracked("10.244.1.2", NODE, True),
            Met.ANSWERED,
            False,
            f"sees {POD}, but it sees {NODE}",
            id="hidden",
        ),
        pytest.param(
            foreseen(OTHER),
            tracked("10.244.1.2", OTHER),
            Met.ANSWERED,
            False,
            f"sees an address of a, but it sees {OTHER}",
            id="not hidden",
        ),
        pytest.param(
            foreseen(OTHER),
            tracked("10.244.1.2", "192.0.2.9", True),
            Met.ANSWERED,
            False,
            "sees an address of a, but it sees 192.0.2.9",
            id="hidden behind a stranger",
        ),
        pytest.param(
            foreseen(POD, "10.96.0.5"),
            tracked(POD, POD),
            Met.SILENCE,
            False,
            f"sees an address of a, but it sees {POD}",
            id="a hairpin that is not hidden",
        ),
        pytest.param(foreseen(POD), None, Met.REFUSED, True, "foreseen forward, but the kernel did reject", id="refused"),
        pytest.param(foreseen(POD), None, Met.SILENCE, True, "foreseen forward, but the kernel did drop", id="dropped"),
        pytest.param(
            foreseen(POD),
            tracked("10.96.0.1", POD, port=80, redirected=False),
            Met.REFUSED,
            False,
            "foreseen forward, but the kernel did pass",
            id="let pass",
        ),
        pytest.param(
            foreseen(POD, "10.96.0.3"),
            None,
            Met.SILENCE,
            True,
            "foreseen reject, but the kernel did drop",
            id="dropped, not refused",
        ),
        pytest.param(
            foreseen(POD, "10.96.0.9"),
            None,
            Met.REFUSED,
            True,
            "foreseen drop, but the kernel did reject",
            id="refused, not dropped",
        ),
        pytest.param(
            foreseen(POD),
            None,
            Met.NO_ROUTE,
            False,
            "foreseen forward, but the packet went through the tables and was lost after them",
            id="lost",
        ),
    ],
)
def test_a_difference_is_named(hop: Trace, seen: Tracked | None, met: Met, dropped: bool, said: str) -> None:
    assert said in compare(hop, seen, met, dropped)


EGRESS = Egress(("10.244.0.0/16",), ("10.96.0.0/16", "10.244.0.0/16", *NODE_ADDRESSES, STRANGE_NODE))


@pytest.mark.parametrize(
    ("hop", "seen", "egress", "hidden", "said"),
    [
        pytest.param(foreseen(POD, AWAY), tracked(SERVER, NODE, True), EGRESS, True, "", id="a pod, from a server outside"),
        pytest.param(foreseen(POD, AWAY), tracked(SERVER, POD), EGRESS, False, "", id="a pod that nobody hides"),
        pytest.param(
            foreseen(POD, AWAY),
            tracked(SERVER, NODE, True),
            KEPT,
            False,
            f"sees {POD}, but it sees {NODE}",
            id="a pod, by a node that should hide none",
        ),
        pytest.param(
            foreseen(POD, AWAY),
            tracked(SERVER, "192.0.2.9", True),
            EGRESS,
            False,
            f"sees {POD}, but it sees 192.0.2.9",
            id="a pod, behind a stranger",
        ),
        pytest.param(
            foreseen(POD, AWAY),
            tracked(STRANGE_NODE, NODE, True),
            EGRESS,
            False,
            f"sees {POD}, but it sees {NODE}",
            id="a pod, from another node",
        ),
        pytest.param(
            foreseen(POD, AWAY),
            tracked("10.244.2.2", NODE, True),
            EGRESS,
            False,
            f"sees {POD}, but it sees {NODE}",
            id="a pod, from a pod",
        ),
        pytest.param(
            foreseen(POD, AWAY),
            tracked("203.0.113.6", NODE, True),
            EGRESS,
            True,
            "the kernel chose 203.0.113.6:8080, which is not foreseen",
            id="a pod, from a server outside that is no endpoint",
        ),
        pytest.param(foreseen(OTHER, AWAY), tracked(SERVER, NODE, True), EGRESS, False, "", id="a pod, by a Service's rules"),
        pytest.param(foreseen(NODE, AWAY), tracked(SERVER, NODE, True), EGRESS, False, "", id="the node itself"),
        pytest.param(
            foreseen(POD, SERVER), tracked(SERVER, NODE, True, redirected=False), EGRESS, True, "", id="a pod, let pass"
        ),
    ],
)
def test_a_pod_is_hidden_from_the_outside_alone(hop: Trace, seen: Tracked, egress: Egress, hidden: bool, said: str) -> None:
    told = compare(hop, seen, egress=egress)
    assert said in told and bool(said) is bool(told)
    assert hidden == hidden_from_outside(hop, Sighting("a", NODE_ADDRESSES, (STEP,), seen), egress)


def test_a_packet_that_never_came_is_a_difference() -> None:
    assert compare(foreseen(POD), None, Met.SILENCE, steps=False) == "a: foreseen forward, but the packet was never seen here"


def test_each_hop_is_compared_with_its_own_node() -> None:
    first, second = foreseen(POD, "192.0.2.1"), foreseen(OTHER)
    flow = Flow((POD, 40000), ("192.0.2.1", 80), Protocol.TCP)
    passed = Sighting("a", NODE_ADDRESSES, (STEP,), tracked("192.0.2.1", POD, port=80, redirected=False))
    refused = Sighting("b", ("172.30.0.12",), (STEP,), None, True)
    assert ("b: foreseen forward, but the kernel did reject",) == differences(
        [first, second], Seen(flow, Met.REFUSED, (passed, refused))
    )
