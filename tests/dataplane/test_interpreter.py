"""Do the compiled tables do what the simulator says?"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_objects import cluster_view_of
from random_views import NODE, node_views, packets_of
from tables import applied, with_affinity

from mooring.dataplane.diff import in_steps
from mooring.dataplane.installed import Installed, compile_view
from mooring.dataplane.interpret import Affinity, Fate, Packet, interpret
from mooring.dataplane.ruleset import VERDICT_MAPS, Elements, Ruleset, SetKey
from mooring.dataplane.trace import Outcome, trace
from mooring.dataplane.trace import Packet as TracedPacket
from mooring.services.view import Answering, Endpoint, Entry, Family, NodeView, Pool, Protocol, ServicePort, ServicePortName
from mooring.testing.node_views import FOUR, SIX, Door, Manners, external_port, here, node_view, port_with, service_port, there

LOCAL = frozenset((*NODE, "10.96.0.9", "127.0.0.1"))
"""What the kernel knows as its own: the node's addresses, and a cluster address on lo."""
DNS, UDP = "10.96.0.10", Protocol.UDP
UNTRACKED = Fate("untouched", tracked=False)


def sent(packet: TracedPacket) -> Packet:
    from_node = packet.source in NODE or packet.source == "127.0.0.1"
    return Packet(
        packet.source, packet.destination, packet.port, packet.protocol, from_node, mark=0xBEEF, interface=packet.interface
    )


@given(node_views() | st.randoms(use_true_random=False).map(cluster_view_of), st.randoms(use_true_random=False))
def test_the_tables_agree_with_the_simulator(view: NodeView, rng: Random) -> None:
    """Whether the view is of a random cluster, or odder than any cluster makes it."""
    installed = Installed.of(view)
    assert {} == installed.refused
    ruleset = installed.ruleset()
    for packet in packets_of(rng, view, 12):
        traced = trace(view, packet, tuple(LOCAL))
        many = max(len(traced.choices), 1)
        fates = [interpret(ruleset, sent(packet), lambda n, slot=slot: slot % n, LOCAL) for slot in range(many)]
        assert {0xBEEF} == {fate.mark for fate in fates}, "the packet's own mark is put back"
        answered = Answering(packet.destination, packet.port, packet.protocol) in view.answered_here
        assert {not answered} == {fate.tracked for fate in fates}
        if traced.outcome is not Outcome.FORWARD:
            wanted = "untouched" if traced.outcome is Outcome.PASS else traced.outcome.value
            assert [wanted] * many == [fate.verdict for fate in fates]
            continue
        reached = {(fate.endpoint, fate.masqueraded) for fate in fates if fate.verdict == "forward"}
        assert {((each.endpoint.address, each.endpoint.port), each.masqueraded) for each in traced.choices} == reached


@given(node_views(), st.randoms(use_true_random=False))
def test_a_client_keeps_its_endpoint_at_all_frontends_of_a_port_with_affinity(view: NodeView, rng: Random) -> None:
    """As long as the arm it comes by may go there."""
    ruleset = compile_view(view)
    affinity: Affinity = {}
    had: dict[tuple[str, ServicePortName | None], tuple[str, int] | None] = {}
    for packet in packets_of(rng, view, 30):
        traced = trace(view, packet, tuple(LOCAL))
        fate = interpret(ruleset, sent(packet), lambda n: rng.randrange(n), LOCAL, affinity)
        if traced.outcome is Outcome.FORWARD and traced.affinity:
            client = (packet.source, traced.service)
            known = had.get(client)
            if known in {(each.endpoint.address, each.endpoint.port) for each in traced.choices}:
                assert known == fate.endpoint
            had[client] = fate.endpoint
    assert len(affinity) == len(had)


def met(ruleset: Ruleset, address: str, affinity: Affinity | None, slot: int, client: str = "10.244.1.9") -> tuple[str, int]:
    fate = interpret(ruleset, Packet(client, address, 80, Protocol.TCP), lambda n: slot % n, LOCAL, affinity)
    assert fate.endpoint
    return fate.endpoint


@pytest.mark.parametrize(("family", "address"), [(Family.IPV4, "10.96.0.1"), (Family.IPV6, "fd00:96::1")])
def test_a_client_whose_endpoint_is_gone_gets_another_and_nobody_else_is_moved(family: Family, address: str) -> None:
    endpoints = FOUR if family is Family.IPV4 else SIX
    client, other = ("10.244.1.9", "10.244.1.8") if family is Family.IPV4 else ("fd00:244:1::9", "fd00:244:1::8")
    affinity: Affinity = {}

    def at(among: slice, slot: int, who: str) -> tuple[str, int]:
        port = port_with("web", [Door(Entry.CLUSTER_IP, address)], endpoints[among], affinity=60)
        return met(compile_view(node_view({"web": [port]})), address, affinity, slot, who)

    everyone, last_gone = slice(None), slice(None, -1)
    first, second = at(everyone, 0, client), at(everyone, len(endpoints) - 1, other)
    assert first == at(everyone, 1, client)
    assert second == at(everyone, 0, other)
    moved = at(last_gone, 1, other)
    assert moved != second
    assert first == at(last_gone, 1, client)
    assert moved == at(everyone, 0, other), "the new one is kept, though the old one is back"


def test_clients_beyond_the_largest_number_are_served_but_not_remembered() -> None:
    port = port_with("web", [Door(Entry.CLUSTER_IP, "10.96.0.1")], FOUR, affinity=60)
    ruleset = compile_view(node_view({"web": [port]}))
    assert len({met(ruleset, "10.96.0.1", None, slot) for slot in range(5)}) == 5


def test_a_client_known_from_a_cluster_ip_is_sent_to_a_local_endpoint_where_only_those_serve() -> None:
    doors = [Door(Entry.CLUSTER_IP, "10.96.0.1"), Door(Entry.LOAD_BALANCER, "203.0.113.1", policy=Pool.LOCAL)]
    port = port_with("web", doors, [there("10.244.2.2"), here("10.244.1.2")], affinity=60)
    ruleset = compile_view(node_view({"web": [port]}))
    affinity: Affinity = {}
    outside = "192.0.2.9"
    assert met(ruleset, "10.96.0.1", affinity, 1, outside) == ("10.244.2.2", 8080)
    assert met(ruleset, "203.0.113.1", affinity, 0, outside) == ("10.244.1.2", 8080)
    assert met(ruleset, "10.96.0.1", affinity, 1, outside) == ("10.244.1.2", 8080), "it has moved there"


@pytest.mark.parametrize("known", [True, False], ids=["pods are known", "pods are not known"])
def test_an_external_frontend_at_a_cluster_ip_hides_whom_external_frontends_hide(known: bool) -> None:
    """The address is a Service's, the port another's: the owner of the port decides, and only it."""
    manners = Manners(detects_pods=known)
    thief = port_with("a", [Door(Entry.EXTERNAL_IP, "10.96.0.1", 80, Pool.LOCAL)], FOUR[:2], manners=manners)
    owner = port_with("b", [Door(Entry.CLUSTER_IP, "10.96.0.1", 443)], FOUR[:2], manners=manners)
    view = node_view({"a": [thief], "b": [owner]})
    ruleset = compile_view(view if known else msgspec.structs.replace(view, pod_cidrs=()))

    def masqueraded(source: str, port: int) -> bool:
        packet = Packet(source, "10.96.0.1", port, Protocol.TCP, from_node=source in NODE)
        return interpret(ruleset, packet, lambda n: 0, LOCAL).masqueraded

    assert (False, True) == (masqueraded("192.0.2.9", 80), masqueraded(NODE[0], 80))
    assert (known, known) == (masqueraded("192.0.2.9", 443), masqueraded(NODE[0], 443))


@pytest.mark.parametrize("bridged", [False, True], ids=["routed", "carried on by the bridge"])
@pytest.mark.parametrize(("interface", "hidden"), [("cni0", False), ("br1", True)], ids=["from a pod", "from others"])
def test_a_pod_known_by_its_bridge_keeps_its_address_however_it_gets_to_another(
    bridged: bool, interface: str, hidden: bool
) -> None:
    view = node_view({"web": [service_port("web", "10.96.0.1", FOUR[:1])]})
    ruleset = compile_view(msgspec.structs.replace(view, pod_cidrs=(), pod_interfaces=("cni0",)))
    packet = Packet("10.244.1.9", "10.96.0.1", 80, Protocol.TCP, interface=interface, bridged=bridged)
    assert interpret(ruleset, packet, lambda n: 0, LOCAL).masqueraded is hidden
    itself = Packet("10.244.1.2", "10.96.0.1", 80, Protocol.TCP, interface=interface, bridged=bridged)
    assert interpret(ruleset, itself, lambda n: 0, LOCAL).masqueraded


@pytest.mark.parametrize(
    ("source", "destination", "interface", "verdict"),
    [
        ("172.30.0.250", "127.0.0.1", "eth0", "drop"),
        ("127.0.0.2", "172.30.0.11", "eth0", "drop"),
        ("127.0.0.2", "10.96.0.1", "eth0", "drop"),
        ("10.244.1.9", "127.0.0.1", "v0", "drop"),
        ("127.0.0.1", "127.0.0.1", "lo", "untouched"),
    ],
    ids=["to 127.0.0.1 from outside", "forged to the node", "forged to a Service", "to 127.0.0.1 from a pod", "on lo"],
)
def test_loopback_addresses_are_the_nodes_alone(source: str, destination: str, interface: str, verdict: str) -> None:
    ruleset = compile_view(node_view({"web": [service_port("web", "10.96.0.1", FOUR)]}))
    packet = Packet(source, destination, 80, Protocol.TCP, interface=interface)
    assert interpret(ruleset, packet, lambda n: 0, LOCAL) == Fate(verdict)  # type: ignore[arg-type]


def test_a_datagram_to_a_tcp_port_of_a_service_is_refused() -> None:
    ruleset = compile_view(node_view({"web": [service_port("web", "10.96.0.1", FOUR)]}))
    assert interpret(ruleset, Packet("10.244.1.9", "10.96.0.1", 80, Protocol.UDP), lambda n: 0).verdict == "reject"


def test_a_cluster_address_on_the_nodes_own_lo_is_let_through() -> None:
    ruleset = compile_view(node_view({}))
    packet = Packet("10.244.1.9", "10.96.0.10", 53, Protocol.UDP)
    assert interpret(ruleset, packet, lambda n: 0).verdict == "drop"
    assert interpret(ruleset, packet, lambda n: 0, frozenset({"10.96.0.10"})).verdict == "untouched"


@pytest.mark.parametrize(
    ("packet", "fate"),
    [
        pytest.param(Packet("10.244.1.9", DNS, 53, UDP), UNTRACKED, id="a pod's question"),
        pytest.param(Packet("10.244.1.9", DNS, 53, Protocol.TCP), Fate("reject"), id="by a protocol that is not answered"),
        pytest.param(Packet("10.244.1.9", DNS, 54, UDP), Fate("reject"), id="at another port"),
        pytest.param(Packet(DNS, DNS, 53, UDP, from_node=True), UNTRACKED, id="the node's question"),
        pytest.param(Packet(DNS, "10.244.1.9", 40000, UDP, from_node=True, source_port=53), UNTRACKED, id="an answer"),
        pytest.param(
            Packet(DNS, "10.96.0.1", 80, UDP, interface="v0", source_port=53), Fate("reject"), id="a pod's forged answer"
        ),
        pytest.param(Packet("127.0.0.2", DNS, 53, UDP, interface="v0"), Fate("drop", tracked=False), id="forged from lo"),
    ],
)
def test_what_the_node_answers_itself_is_not_tracked(packet: Packet, fate: Fate) -> None:
    """Whoever claims the address; and the guard of the loopback addresses does not need connections."""
    doors = [Door(Entry.CLUSTER_IP, DNS, 53)]
    view = node_view({"dns": [port_with("dns", doors, FOUR, UDP), service_port("dns", "10.96.0.1", FOUR)]})
    ruleset = compile_view(msgspec.structs.replace(view, answered_here=(Answering(DNS, 53, UDP),)))
    assert fate == interpret(ruleset, packet, lambda n: 0, LOCAL | {DNS})


def test_ipv6_is_decided_by_its_own_table() -> None:
    ruleset = compile_view(node_view({"web": [service_port("web", "fd00:96::1", [here("fd00:244:1::2"), *SIX])]}))
    fate = interpret(ruleset, Packet("fd00:244:1::2", "fd00:96::1", 80, Protocol.TCP), lambda n: 0)
    assert (fate.endpoint, fate.masqueraded) == (("fd00:244:1::2", 8080), True)


class Overtaken(dict[SetKey, Mapping[bytes, bytes]]):
    """The elements as a packet finds them that asks `asks` times before a commit and then goes on.

    A chain that nobody goes to any more stays, so what verdict maps had is there to the end.
    """

    def __init__(self, before: Elements, after: Elements, asks: int) -> None:
        chains = {key: {**before.get(key, {}), **after.get(key, {})} for key in before.keys() | after.keys()}
        super().__init__({key: items for key, items in chains.items() if key[1] in VERDICT_MAPS})
        self.before, self.after, self.asks = before, after, asks

    def get(self, key: SetKey, default: object = None) -> Mapping[bytes, bytes]:  # type: ignore[override]
        if key in self:
            return self[key]
        self.asks -= 1
        return (self.before if self.asks >= 0 else self.after).get(key, {})


TWO = [here("10.244.1.4"), there("10.244.2.4")]
FIVE_OTHERS = [here("10.244.1.5"), here("10.244.1.6"), there("10.244.2.5"), there("10.244.2.6"), there("10.244.2.7")]


@pytest.mark.parametrize("seconds", [0, 60])
@pytest.mark.parametrize(("had", "has"), [(FOUR, TWO), (TWO, FOUR), (FOUR, FIVE_OTHERS)], ids=["fewer", "more", "others"])
@pytest.mark.parametrize(
    ("client", "address"), [("10.244.1.9", "10.96.0.1"), ("172.30.0.250", "203.0.113.1"), ("172.30.0.250", "203.0.113.2")]
)
def test_a_packet_that_a_commit_overtakes_reaches_an_endpoint_of_before_or_after(
    client: str, address: str, had: Sequence[Endpoint], has: Sequence[Endpoint], seconds: int
) -> None:
    """Whenever that happens; and one from outside only what the outside may reach, under a policy Local too."""

    def view(endpoints: Sequence[Endpoint]) -> NodeView:
        ports = [
            service_port("web", "10.96.0.1", endpoints),
            external_port("near", "203.0.113.1", endpoints, Pool.LOCAL),
            external_port("any", "203.0.113.2", endpoints, Pool.CLUSTER),
        ]
        return node_view({port.name.service: [with_affinity(port, seconds) if seconds else port] for port in ports})

    before, after = view(had), view(has)
    installed = Installed.of(before)
    old = installed.ruleset().elements
    for name, ports in after.services.items():
        installed.change(name, ports)
    new = installed.ruleset().elements
    may = {
        (choice.endpoint.address, choice.endpoint.port)
        for each in (before, after)
        for choice in trace(each, TracedPacket(client, address, Protocol.TCP, 80), tuple(LOCAL)).choices
    }
    for asks in range(40):
        for slot in range(12):
            elements = Overtaken(old, new, asks)
            fate = interpret(Ruleset(elements), Packet(client, address, 80, Protocol.TCP), lambda n, s=slot: s % n, LOCAL, {})
            assert (fate.verdict, fate.endpoint in may) == ("forward", True), (asks, slot, fate)


def both(name: str, address: str, endpoints: Sequence[Endpoint]) -> list[ServicePort]:
    """A Service with a cluster IP of its own, and with the address that Services here hand on."""
    return [port_with(name, [Door(Entry.CLUSTER_IP, address), Door(Entry.EXTERNAL_IP, "203.0.113.1")], endpoints)]


@pytest.mark.parametrize(
    ("left", "wished"),
    [
        pytest.param(
            [service_port("old", "10.96.0.2", TWO)],
            {"new": [service_port("new", "10.96.0.3", FIVE_OTHERS)]},
            id="one went and another came",
        ),
        pytest.param(
            both("old", "10.96.0.2", TWO), {"new": both("new", "10.96.0.3", FIVE_OTHERS)}, id="and took an address over"
        ),
        pytest.param(
            both("old", "10.96.0.2", TWO),
            {"new": both("new", "10.96.0.3", FIVE_OTHERS), "old": [service_port("old", "10.96.0.2", TWO)]},
            id="one took an address from another that stays",
        ),
    ],
)
def test_a_packet_that_an_adoption_overtakes_meets_no_other_services_endpoints(
    left: Sequence[ServicePort], wished: Mapping[str, Sequence[ServicePort]]
) -> None:
    """While no agent was there Services went and came, so one commit takes numbers away and gives numbers."""
    stays = service_port("a", "10.96.0.1", FOUR)
    had = compile_view(node_view({"a": [stays], "old": left}))
    _, transaction = Installed.adopt(node_view({"a": [stays], **wished}), had)
    has = applied(had.elements, transaction)
    own = {None, *((each.address, each.port) for each in TWO)}
    for asks in range(40):
        elements = Overtaken(had.elements, has, asks)
        fate = interpret(Ruleset(elements), Packet("10.244.1.9", "10.96.0.2", 80, Protocol.TCP), lambda n: 0, LOCAL, {})
        assert fate.endpoint in own, (asks, fate)


BALANCER = "203.0.113.1"
MINE = Door(Entry.LOAD_BALANCER, BALANCER, allowed=("198.51.100.0/24",))
NEAR = Door(Entry.LOAD_BALANCER, BALANCER, policy=Pool.LOCAL)


@pytest.mark.parametrize(
    ("had", "has", "door", "may"),
    [
        pytest.param(None, FOUR, MINE, (), id="a Service with ranges comes, and none holds the source"),
        pytest.param(None, FOUR, NEAR, FOUR[:3], id="a Service with policy Local comes"),
        pytest.param([], FOUR, NEAR, FOUR[:3], id="the first endpoints of one with policy Local"),
        pytest.param([], [there("10.244.2.2")], NEAR, (), id="the same without any here"),
    ],
)
def test_a_packet_that_a_frontends_coming_overtakes_enters_as_it_may(
    had: Sequence[Endpoint] | None, has: Sequence[Endpoint], door: Door, may: Sequence[Endpoint]
) -> None:
    """What bars or turns a source is asked before the frontend is, so it must be there before."""
    installed = Installed.of(node_view({} if had is None else {"web": [port_with("web", [door], had)]}))
    generations = [installed.ruleset().elements]
    for step in in_steps(installed.change(("default", "web"), [port_with("web", [door], has)])):
        generations.append(applied(generations[-1], step))
    assert installed.ruleset().elements == generations[-1]
    allowed = {None, *((each.address, each.port) for each in may)}
    for before, after in pairwise(generations):
        for asks in range(40):
            elements = Overtaken(before, after, asks)
            fate = interpret(Ruleset(elements), Packet("172.30.0.250", BALANCER, 80, Protocol.TCP), lambda n: n - 1, LOCAL, {})
            assert fate.endpoint in allowed, (asks, fate)


def test_a_packet_that_a_change_to_policy_local_overtakes_goes_elsewhere_only_with_the_nodes_source() -> None:
    """Another node would answer the client past this one, which alone can undo the rewriting."""
    installed = Installed.of(node_view({"web": [port_with("web", [Door(Entry.LOAD_BALANCER, BALANCER)], FOUR)]}))
    generations = [installed.ruleset().elements]
    for step in in_steps(installed.change(("default", "web"), [port_with("web", [NEAR], FOUR)])):
        generations.append(applied(generations[-1], step))
    assert installed.ruleset().elements == generations[-1]
    for before, after in pairwise(generations):
        for asks in range(40):
            elements = Overtaken(before, after, asks)
            fate = interpret(Ruleset(elements), Packet("172.30.0.250", BALANCER, 80, Protocol.TCP), lambda n: n - 1, LOCAL, {})
            assert fate.masqueraded or fate.endpoint in [(each.address, each.port) for each in FOUR[:3]], (asks, fate)
