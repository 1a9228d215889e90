"""Is what is compiled, and what a change makes of it, always the same story?"""

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_views import NAMES, apart_node_views, node_views, service_ports, usual_node_views
from random_views import POD_CIDRS as POD_CIDR_TEXTS
from tables import applied, meaning, shown, with_affinity

from mooring.dataplane.diff import Transaction, diff, in_steps, join
from mooring.dataplane.installed import Installed, compile_view
from mooring.dataplane.localhost import LOOPBACK6_REASON, localhost_sysctls, not_carried
from mooring.dataplane.render import lines, render
from mooring.dataplane.ruleset import (
    ALLOWED,
    CLUSTER_IPS,
    ENDPOINTS,
    FRONTENDS,
    KEPT_SOURCES,
    MASQUERADED,
    OUTSIDE_FRONTENDS,
    POD_CIDRS,
    POD_INTERFACES,
    RESTRICTED,
    SET_SPECS,
    SHAPE_BITS,
    SLOTS,
    TRANSPARENT,
    Field,
    Ruleset,
    mark,
    packed,
    unpack,
)
from mooring.services.view import Entry, Masquerade, NodeView, Pool, ServicePort
from mooring.testing.node_views import FOUR, SIX, Door, external_port, node_view, port_with, service_port, there

SIZES = {Field.ADDRESS: 4, Field.PORT: 4, Field.MARK: 4}


def test_a_frontend_whose_outside_arm_differs_is_rendered_as_last_reviewed() -> None:
    """The scenarios hold the rest; `MOORING_BLESS=1` rewrites this one."""
    view = node_view({"ext": [with_affinity(external_port("ext", "203.0.113.1", FOUR[:1] + FOUR[3:], Pool.LOCAL), 60)]})
    golden = Path(__file__).parent / "goldens" / "arms.nft"
    rendered = render(compile_view(view))
    if os.environ.get("MOORING_BLESS"):
        golden.write_text(rendered)
    assert golden.read_text() == rendered


@given(node_views(), node_views())
def test_a_diff_applied_to_what_is_had_gives_what_is_wanted(have: NodeView, want: NodeView) -> None:
    had, wanted = compile_view(have).elements, compile_view(want).elements
    assert wanted == applied(had, diff(had, wanted))


@given(usual_node_views(), st.data())
def test_changes_one_by_one_give_what_compiling_all_gives(start: NodeView, data: st.DataObject) -> None:
    installed = Installed.of(start)
    kernel = installed.ruleset().elements
    wish: dict[tuple[str, str], tuple[ServicePort, ...]] = dict(start.services)
    for _ in range(data.draw(st.integers(1, 5))):
        name = data.draw(st.sampled_from(NAMES))
        ports = data.draw(service_ports(name))
        kernel = applied(kernel, installed.change(("default", name), ports))
        wish[("default", name)] = ports
        assert installed.ruleset().elements == kernel
    services = {name: ports for name, ports in wish.items() if ports}
    assert meaning(compile_view(msgspec.structs.replace(start, services=services)).elements) == meaning(kernel)


@given(usual_node_views(), st.data())
def test_changes_that_go_together_give_the_same_in_steps(start: NodeView, data: st.DataObject) -> None:
    """Also where a frontend goes from one Service to another in the same batch."""
    installed = Installed.of(start)
    kernel = installed.ruleset().elements
    named = [data.draw(st.sampled_from(NAMES)) for _ in range(data.draw(st.integers(1, 5)))]
    for step in in_steps(join([installed.change(("default", name), data.draw(service_ports(name))) for name in named])):
        kernel = applied(kernel, step)
    assert installed.ruleset().elements == kernel


@given(apart_node_views())
def test_an_agent_that_finds_its_own_tables_changes_nothing(view: NodeView) -> None:
    installed, transaction = Installed.adopt(view, compile_view(view))
    assert Transaction() == transaction
    assert compile_view(view) == installed.ruleset()


@given(node_views(), node_views(), st.data())
def test_an_agent_that_adopts_older_tables_makes_them_its_wish_and_goes_on(
    old: NodeView, new: NodeView, data: st.DataObject
) -> None:
    kernel = compile_view(old)
    installed, transaction = Installed.adopt(new, kernel)
    after = applied(kernel.elements, transaction)
    assert installed.ruleset().elements == after
    assert meaning(compile_view(new).elements) == meaning(after)
    if new.pod_cidrs == POD_CIDR_TEXTS:
        name = data.draw(st.sampled_from(NAMES))
        after = applied(after, installed.change(("default", name), data.draw(service_ports(name))))
        assert installed.ruleset().elements == after


@given(apart_node_views(), st.data())
def test_whatever_others_did_to_the_elements_is_put_right_and_nothing_else_is_touched(
    view: NodeView, data: st.DataObject
) -> None:
    """An element of any set is taken away, altered, or put in by somebody."""
    whole = compile_view(view).elements
    damaged = {key: dict(items) for key, items in whole.items()}
    touched = set()
    for _ in range(data.draw(st.integers(1, 3))):
        set_key = data.draw(st.sampled_from(sorted(key for key in whole if key[1] not in (FRONTENDS, OUTSIDE_FRONTENDS))))
        spec = SET_SPECS[set_key[1]]
        key = data.draw(st.sampled_from(sorted(whole[set_key])))
        deed = data.draw(st.sampled_from(["take", "alter", "add"]))
        if deed == "alter" and spec.data:
            damaged[set_key][key] = b"discard" if spec.is_verdict_map else bytes(len(whole[set_key][key]))
        elif deed == "add":
            key = bytes(each ^ 0x55 for each in key)
            damaged[set_key][key] = b"refuse" if spec.is_verdict_map else bytes(sum(SIZES[each] for each in spec.data))
        else:
            damaged[set_key].pop(key, None)
        touched.add((set_key, key))
    installed, transaction = Installed.adopt(view, Ruleset(damaged))
    assert whole == installed.ruleset().elements == applied(damaged, transaction)
    assert touched >= {(change.set, key) for change in transaction.changes for key, _ in change.remove + change.add}


def test_a_port_is_known_again_by_the_frontends_that_are_unhurt() -> None:
    doors = [
        Door(Entry.CLUSTER_IP, "10.96.0.1"),
        Door(Entry.LOAD_BALANCER, "203.0.113.1"),
        Door(Entry.EXTERNAL_IP, "192.0.2.1"),
    ]
    view = node_view({"web": [port_with("web", doors, FOUR)], "other": [service_port("other", "10.96.0.2", FOUR)]})
    whole = compile_view(view).elements
    damaged = {key: dict(items) for key, items in whole.items()}
    key = next(key for key in damaged[("ip", FRONTENDS)] if key.startswith(packed("192.0.2.1")))
    damaged[("ip", FRONTENDS)][key] = mark(77 << SHAPE_BITS)
    _, transaction = Installed.adopt(view, Ruleset(damaged))
    assert list(lines(transaction)) == [
        "- ip frontends: 192.0.2.1 . tcp . 80 : 0x0004d000",
        "+ ip frontends: 192.0.2.1 . tcp . 80 : 0x00002006",
    ]


@given(node_views())
def test_no_two_service_ports_share_a_number_and_every_endpoint_belongs_to_one(view: NodeView) -> None:
    installed = Installed.of(view)
    assert {} == installed.refused
    numbers = [each.id for ports in installed.services.values() for each in ports]
    assert len(set(numbers)) == len(numbers)
    for (table, name), items in installed.ruleset().elements.items():
        if name in (ENDPOINTS, SLOTS):
            owners = {int(unpack(table, SET_SPECS[name].key, key)[0]) >> SHAPE_BITS >> 1 for key in items}
            assert owners <= set(numbers)


@pytest.mark.parametrize(("affinity", "elements_changed"), [(0, 2), (60, 4)])
def test_a_replaced_endpoint_is_one_slot_whatever_else_there_is(affinity: int, elements_changed: int) -> None:
    """With affinity, also the endpoint's number."""
    services = {str(n): [with_affinity(service_port(str(n), f"10.96.1.{n}", FOUR), affinity)] for n in range(1, 100)}
    installed = Installed.of(node_view(services))
    changed = with_affinity(service_port("7", "10.96.1.7", [*FOUR[1:], there("10.244.2.9")]), affinity)
    transaction = installed.change(("default", "7"), (changed,))
    assert {change.set[1] for change in transaction.changes} == {ENDPOINTS} | ({SLOTS} if affinity else set())
    assert len(transaction) == elements_changed


def test_the_first_service_by_name_keeps_a_frontend_claimed_twice_and_its_heir_gets_it() -> None:
    mine = service_port("a", "10.96.0.1", [there("10.244.2.2")])
    other = service_port("b", "10.96.0.1", [there("10.244.2.3")])
    installed = Installed.of(node_view({"b": [other]}))
    kernel = applied(installed.ruleset().elements, installed.change(("default", "a"), (mine,)))
    assert meaning(compile_view(node_view({"a": [mine], "b": [other]})).elements) == meaning(kernel)
    kernel = applied(kernel, installed.change(("default", "a"), ()))
    assert meaning(compile_view(node_view({"b": [other]})).elements) == meaning(kernel)


def test_who_wins_a_frontend_says_all_of_it_and_a_cluster_ip_stays_its_owners() -> None:
    """Arms, masquerade and source ranges never come from two Services."""
    thief = port_with("a", [Door(Entry.EXTERNAL_IP, "10.96.0.1", policy=Pool.LOCAL, allowed=("192.0.2.0/24",))], FOUR)
    owner = service_port("b", "10.96.0.1", FOUR)
    hidden = port_with("c", [Door(Entry.LOAD_BALANCER, "10.96.0.1")], FOUR)
    for others in ([], [hidden]):
        ports = {port.name.service: [port] for port in [thief, owner, *others]}
        elements = compile_view(node_view(ports)).elements
        assert {"10.96.0.1 . tcp . 80"} == shown(elements, "ip", TRANSPARENT) == shown(elements, "ip", RESTRICTED)
        assert {"10.96.0.1 . tcp . 80 . 192.0.2.0-192.0.2.255"} == shown(elements, "ip", ALLOWED)
        assert set() == shown(elements, "ip", MASQUERADED)
        assert {"10.96.0.1"} == shown(elements, "ip", CLUSTER_IPS)
        assert len(elements[("ip", OUTSIDE_FRONTENDS)]) == 1


def test_of_a_services_own_claims_to_one_frontend_the_first_holds() -> None:
    address = "203.0.113.1"
    doors = [Door(Entry.LOAD_BALANCER, address, allowed=("192.0.2.0/24",)), Door(Entry.EXTERNAL_IP, address)]
    elements = compile_view(node_view({"web": [port_with("web", doors, FOUR)]})).elements
    assert {f"{address} . tcp . 80"} == shown(elements, "ip", RESTRICTED)


@pytest.mark.parametrize(
    ("allowed", "held"),
    [
        (None, None),
        ((), set()),
        (("fd00::/8",), set()),
        (("192.0.2.7/32",), {"192.0.2.7"}),
        (("10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"), {"10.0.0.0-11.255.255.255"}),
        (("10.0.0.1/8",), {"10.0.0.0-10.255.255.255"}),
        (("0.0.0.0/0",), {"0.0.0.0-255.255.255.255"}),
    ],
    ids=["everyone", "nobody", "ranges of the other family", "one address", "overlapping ones", "host bits", "all addresses"],
)
def test_source_ranges_are_joined_for_each_frontend(allowed: tuple[str, ...] | None, held: set[str] | None) -> None:
    port = port_with("lb", [Door(Entry.LOAD_BALANCER, "203.0.113.1", allowed=allowed)], FOUR)
    elements = compile_view(node_view({"lb": [port]})).elements
    where = "203.0.113.1 . tcp . 80"
    assert (set() if held is None else {where}) == shown(elements, "ip", RESTRICTED)
    assert {f"{where} . {each}" for each in held or ()} == shown(elements, "ip", ALLOWED)


@pytest.mark.parametrize(
    ("pod_cidrs", "pod_interfaces", "pods", "inside", "kept"),
    [
        (("10.244.1.0/24",), (), {"10.244.1.0-10.244.1.255"}, set(), {"10.244.1.0-10.244.1.255"}),
        (("fd00:244:1::/64",), (), set(), set(), {"0.0.0.0-255.255.255.255"}),
        ((), ("veth*", "veth7", "cni0"), set(), {"veth*", "cni0"}, set()),
        ((), (), set(), set(), {"0.0.0.0-255.255.255.255"}),
    ],
    ids=["by address", "by address, but of the other family", "by interface", "not at all"],
)
def test_how_pods_are_known_is_two_sets_of_sources_and_one_of_interfaces(
    pod_cidrs: tuple[str, ...], pod_interfaces: tuple[str, ...], pods: set[str], inside: set[str], kept: set[str]
) -> None:
    view = msgspec.structs.replace(node_view({}), pod_cidrs=pod_cidrs, pod_interfaces=pod_interfaces)
    installed = Installed.of(node_view({}))
    elements = applied(installed.ruleset().elements, installed.set_ranges(view))
    assert elements == compile_view(view).elements
    assert (pods, inside, kept) == tuple(shown(elements, "ip", name) for name in (POD_CIDRS, POD_INTERFACES, KEPT_SOURCES))


@pytest.mark.parametrize("name", ["", "*", "a-name-of-sixteen"])
def test_what_cannot_be_an_interface_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="interface"):
        compile_view(msgspec.structs.replace(node_view({}), pod_interfaces=(name,)))


def test_arms_that_no_table_can_hold_are_refused_and_those_that_differ_for_unknown_pods_are_not() -> None:
    good = external_port("ext", "203.0.113.1", FOUR, Pool.LOCAL)
    [frontend] = good.frontends
    shy = msgspec.structs.replace(frontend, outside=msgspec.structs.replace(frontend.outside, masquerade=Masquerade.ALWAYS))
    odd = msgspec.structs.replace(frontend, pod=frontend.outside)
    for bad in (shy, odd):
        installed = Installed.of(node_view({"ext": [msgspec.structs.replace(good, frontends=(bad,))]}))
        assert "no table can hold" in str(installed.refused[("default", "ext")])
    blind = msgspec.structs.replace(node_view({"ext": [msgspec.structs.replace(good, frontends=(odd,))]}), pod_cidrs=())
    assert {} == Installed.of(blind).refused


def test_node_ports_answer_at_127_0_0_1_with_a_sysctl_and_at_no_ipv6_loopback_address() -> None:
    four = port_with("web", [Door(Entry.NODE_PORT, "127.0.0.1", 30080, allowed=("127.0.0.0/8",))], FOUR)
    six = port_with("web", [Door(Entry.NODE_PORT, "::1", 30080)], SIX)
    elements = compile_view(node_view({"web": [four, six]})).elements
    assert {"127.0.0.1 . tcp . 30080 : 0x00002006"} == shown(elements, "ip", FRONTENDS)
    assert set() == shown(elements, "ip6", FRONTENDS)
    assert (LOOPBACK6_REASON, "") == (not_carried("::1"), not_carried("127.0.0.1"))
    assert {"net/ipv4/conf/all/route_localnet": "1"} == localhost_sysctls(node_view({"web": [four]}))
    assert {} == localhost_sysctls(node_view({"web": [six]}))


def test_a_node_port_is_a_frontend_at_each_of_the_nodes_addresses() -> None:
    doors = [
        Door(Entry.CLUSTER_IP, "10.96.0.1"),
        *(Door(Entry.NODE_PORT, each, 30080) for each in ("172.30.0.11", "172.30.0.12")),
    ]
    elements = compile_view(node_view({"web": [port_with("web", doors, FOUR)]})).elements
    assert {"172.30.0.11 . tcp . 30080", "172.30.0.12 . tcp . 30080"} == shown(elements, "ip", MASQUERADED)
    assert len(set(elements[("ip", FRONTENDS)].values())) == 1, "all lead to the same endpoints"
    assert len(elements[("ip", ENDPOINTS)]) == len(FOUR)


def test_overlapping_ranges_are_joined() -> None:
    view = node_view({}, ("10.96.0.0/16", "10.96.1.0/24", "10.97.0.0/16", "fd00:96::/112"))
    rendered = render(compile_view(view))
    assert "10.96.0.0-10.97.255.255" in rendered
    assert "10.96.1.0" not in rendered


def test_a_service_no_table_can_hold_is_refused_alone() -> None:
    good, bad = service_port("good", "10.96.0.1", FOUR), service_port("bad", "not an address", FOUR)
    installed = Installed.of(node_view({"good": [good], "bad": [bad]}))
    assert list(installed.refused) == [("default", "bad")]
    before = installed.ruleset()
    with pytest.raises(ValueError):
        installed.change(("default", "good"), (bad,))
    assert before == installed.ruleset()
    assert Installed.adopt(node_view({"good": [good], "bad": [bad]}), before)[1] == Transaction()
