"""Do the compiled tables do what the simulator says?"""

from hypothesis import given, settings
from hypothesis import strategies as st
from random_views import apart_node_views

from mooring.dataplane.installed import compile_view
from mooring.dataplane.interpret import Packet, interpret
from mooring.dataplane.trace import Outcome, trace
from mooring.dataplane.trace import Packet as TracedPacket
from mooring.services.view import NodeView, Protocol
from mooring.testing.node_views import FOUR, NODE_ADDRESSES, SIX, here, node_view, service_port

LOCAL = frozenset((*NODE_ADDRESSES, "10.96.0.9", "127.0.0.1"))
"""What the kernel knows as its own: the node's addresses, and a cluster address on lo."""

SOURCES4 = ("10.244.1.2", "10.244.1.77", "10.244.2.2", "172.30.0.250", NODE_ADDRESSES[0])
SOURCES6 = ("fd00:244:1::2", "fd00:244:1::77", "fd00:30::250", NODE_ADDRESSES[1])
TARGETS4 = (
    "10.96.0.1",
    "10.96.0.2",
    "10.96.0.3",
    "10.96.0.4",
    "10.96.0.9",
    "10.96.200.1",
    "203.0.113.1",
    "203.0.113.2",
    "192.0.2.1",
)
TARGETS6 = ("fd00:96::1", "fd00:96::2", "fd00:96::3", "fd00:96::99", "2001:db8::1")


@st.composite
def packets(draw: st.DrawFn) -> TracedPacket:
    six = draw(st.booleans())
    source = draw(st.sampled_from(SOURCES6 if six else SOURCES4))
    destination = draw(st.sampled_from(TARGETS6 if six else TARGETS4))
    return TracedPacket(source, destination, draw(st.sampled_from(list(Protocol))), draw(st.sampled_from([80, 443, 8080])))


@settings(max_examples=300, deadline=None)
@given(apart_node_views(), st.lists(packets(), min_size=1, max_size=8))
def test_the_tables_agree_with_the_simulator(view: NodeView, sent: list[TracedPacket]) -> None:
    ruleset = compile_view(view)
    for packet in sent:
        traced = trace(view, packet, tuple(LOCAL))
        from_node = packet.source in NODE_ADDRESSES
        given_ = Packet(packet.source, packet.destination, packet.port, packet.protocol, from_node, mark=0xBEEF)
        many = max(len(traced.choices), 1)
        fates = [interpret(ruleset, given_, lambda n, slot=slot: slot % n, LOCAL) for slot in range(many)]
        assert {0xBEEF} == {fate.mark for fate in fates}, "the packet's own mark is put back"
        if traced.outcome is not Outcome.FORWARD:
            wanted = "untouched" if traced.outcome is Outcome.PASS else traced.outcome.value
            assert [wanted] == [fate.verdict for fate in fates]
            continue
        reached = {(fate.endpoint, fate.masqueraded) for fate in fates if fate.verdict == "forward"}
        assert {((each.endpoint.address, each.endpoint.port), each.masqueraded) for each in traced.choices} == reached


def test_a_datagram_to_a_tcp_port_of_a_service_is_refused() -> None:
    ruleset = compile_view(node_view({"web": [service_port("web", "10.96.0.1", FOUR)]}))
    assert interpret(ruleset, Packet("10.244.1.9", "10.96.0.1", 80, Protocol.UDP), lambda n: 0).verdict == "reject"


def test_a_cluster_address_on_the_nodes_own_lo_is_let_through() -> None:
    ruleset = compile_view(node_view({}))
    packet = Packet("10.244.1.9", "10.96.0.10", 53, Protocol.UDP)
    assert interpret(ruleset, packet, lambda n: 0).verdict == "drop"
    assert interpret(ruleset, packet, lambda n: 0, frozenset({"10.96.0.10"})).verdict == "untouched"


def test_ipv6_is_decided_by_its_own_table() -> None:
    ruleset = compile_view(node_view({"web": [service_port("web", "fd00:96::1", [here("fd00:244:1::2"), *SIX])]}))
    fate = interpret(ruleset, Packet("fd00:244:1::2", "fd00:96::1", 80, Protocol.TCP), lambda n: 0)
    assert (fate.endpoint, fate.masqueraded) == (("fd00:244:1::2", 8080), True)
