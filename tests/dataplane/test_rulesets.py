"""Is what is compiled, and what a change makes of it, always the same story?"""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_views import NAMES, apart_node_views, node_views, service_ports

from mooring.dataplane.diff import Transaction, diff
from mooring.dataplane.installed import Installed, compile_view
from mooring.dataplane.render import render
from mooring.dataplane.ruleset import (
    ENDPOINTS,
    EXACT_SLOTS,
    FRONTENDS,
    OUTSIDE_FRONTENDS,
    SET_SPECS,
    SHAPE_BITS,
    VERDICT_MAPS,
    Elements,
    shape_for,
    slots_for,
    slots_of,
    unpack,
)
from mooring.services.view import NodeView, Pool, ServicePort
from mooring.testing.node_views import FOUR, external_port, node_view, service_port, there

EXAMPLES = settings(max_examples=150, deadline=None)


def applied(elements: Elements, transaction: Transaction) -> dict[tuple[str, str], dict[bytes, bytes]]:
    """What a table holds after a transaction, as strict as the kernel."""
    after = {key: dict(items) for key, items in elements.items()}
    for change in transaction.changes:
        items = after.setdefault(change.set, {})
        for key in change.remove:
            del items[key]
        for key, data in change.add:
            assert key not in items, f"{change.set} already has {key!r}"
            items[key] = data
    return after


def settled(elements: Elements) -> Elements:
    """Without empty sets, and without shapes, which only ever grow."""
    return {key: dict(items) for key, items in elements.items() if items and key[1] not in VERDICT_MAPS}


def meaning(elements: Elements) -> Mapping[str, object]:
    """What the elements say, whatever the numbers: each frontend's shape and the endpoints behind it."""
    said: dict[str, object] = {}
    for (table, name), items in elements.items():
        if name in (FRONTENDS, OUTSIDE_FRONTENDS):
            endpoints = elements.get((table, ENDPOINTS), {})
            for key, data in items.items():
                value = int(unpack(table, SET_SPECS[name].data, data)[0])
                gid = value >> SHAPE_BITS << SHAPE_BITS
                behind = sorted(
                    found for slot, found in endpoints.items() if unpack(table, SET_SPECS[ENDPOINTS].key, slot)[0] == gid
                )
                shape = value & ((1 << SHAPE_BITS) - 1)
                said[f"{table} {name} {key.hex()}"] = (shape, behind if shape > 1 else [])
        elif name != ENDPOINTS and name not in VERDICT_MAPS and items:
            said[f"{table} {name}"] = dict(items)
    return said


def test_a_frontend_whose_outside_arm_differs_is_rendered_as_last_reviewed() -> None:
    """The scenarios hold the rest; `MOORING_BLESS=1` rewrites this one."""
    view = node_view({"ext": [external_port("ext", "203.0.113.1", FOUR[:1] + FOUR[3:], Pool.LOCAL)]})
    golden = Path(__file__).parent / "goldens" / "arms.nft"
    rendered = render(compile_view(view))
    if os.environ.get("MOORING_BLESS"):
        golden.write_text(rendered)
    assert golden.read_text() == rendered


@EXAMPLES
@given(node_views(), node_views())
def test_a_diff_applied_to_what_is_had_gives_what_is_wanted(have: NodeView, want: NodeView) -> None:
    had, wanted = compile_view(have).elements, compile_view(want).elements
    assert settled(wanted) == settled(applied(had, diff(had, wanted)))


@EXAMPLES
@given(node_views(), st.data())
def test_changes_one_by_one_give_what_compiling_all_gives(start: NodeView, data: st.DataObject) -> None:
    installed = Installed.of(start)
    kernel = installed.ruleset().elements
    wish: dict[tuple[str, str], tuple[ServicePort, ...]] = dict(start.services)
    for _ in range(data.draw(st.integers(1, 5))):
        name = data.draw(st.sampled_from(NAMES))
        ports = data.draw(service_ports(name))
        kernel = applied(kernel, installed.change(("default", name), ports))
        wish[("default", name)] = ports
        assert settled(installed.ruleset().elements) == settled(kernel)
    fresh = compile_view(node_view({name[1]: ports for name, ports in wish.items() if ports}))
    assert meaning(settled(fresh.elements)) == meaning(settled(kernel))


@EXAMPLES
@given(apart_node_views())
def test_an_agent_that_finds_its_own_tables_changes_nothing(view: NodeView) -> None:
    installed, transaction = Installed.adopt(view, compile_view(view))
    assert Transaction() == transaction
    assert compile_view(view) == installed.ruleset()


@EXAMPLES
@given(node_views(), node_views(), st.data())
def test_an_agent_that_adopts_older_tables_makes_them_its_wish_and_goes_on(
    old: NodeView, new: NodeView, data: st.DataObject
) -> None:
    kernel = compile_view(old)
    installed, transaction = Installed.adopt(new, kernel)
    after = applied(kernel.elements, transaction)
    assert settled(installed.ruleset().elements) == settled(after)
    assert meaning(settled(compile_view(new).elements)) == meaning(settled(after))
    name = data.draw(st.sampled_from(NAMES))
    after = applied(after, installed.change(("default", name), data.draw(service_ports(name))))
    assert settled(installed.ruleset().elements) == settled(after)


@EXAMPLES
@given(node_views())
def test_no_two_service_ports_share_a_number_and_every_endpoint_belongs_to_one(view: NodeView) -> None:
    installed = Installed.of(view)
    numbers = [each.id for ports in installed.services.values() for each in ports]
    assert len(set(numbers)) == len(numbers)
    for (table, name), items in installed.ruleset().elements.items():
        if name == ENDPOINTS:
            owners = {int(unpack(table, SET_SPECS[ENDPOINTS].key, key)[0]) >> SHAPE_BITS >> 1 for key in items}
            assert owners <= set(numbers)


def test_a_replaced_endpoint_is_one_element_whatever_else_there_is() -> None:
    services = {str(n): [service_port(str(n), f"10.96.1.{n}", FOUR)] for n in range(1, 100)}
    installed = Installed.of(node_view(services))
    changed = service_port("7", "10.96.1.7", [*FOUR[1:], there("10.244.2.9")])
    transaction = installed.change(("default", "7"), (changed,))
    assert [change.set for change in transaction.changes] == [("ip", ENDPOINTS)]
    assert len(transaction) == 2


def test_the_first_service_by_name_keeps_a_frontend_claimed_twice_and_its_heir_gets_it() -> None:
    mine = service_port("a", "10.96.0.1", [there("10.244.2.2")])
    other = service_port("b", "10.96.0.1", [there("10.244.2.3")])
    installed = Installed.of(node_view({"b": [other]}))
    kernel = applied(installed.ruleset().elements, installed.change(("default", "a"), (mine,)))
    assert meaning(settled(compile_view(node_view({"a": [mine], "b": [other]})).elements)) == meaning(settled(kernel))
    kernel = applied(kernel, installed.change(("default", "a"), ()))
    assert meaning(settled(compile_view(node_view({"b": [other]})).elements)) == meaning(settled(kernel))


@pytest.mark.parametrize("endpoints", [1, 2, 1000, EXACT_SLOTS, EXACT_SLOTS + 1, 1500, 5000, 60_000])
def test_a_shape_says_how_many_slots_it_picks_from(endpoints: int) -> None:
    slots = slots_for(endpoints)
    assert endpoints <= slots < endpoints + 64
    assert slots == slots_of(shape_for(slots))
    assert 2 <= shape_for(slots) < 2048


def test_more_endpoints_than_exact_slots_fill_every_slot() -> None:
    many = [there(f"10.200.{n // 250}.{n % 250}") for n in range(1030)]
    elements = compile_view(node_view({"big": [service_port("big", "10.96.0.1", many)]})).elements
    slots = {unpack("ip", SET_SPECS[ENDPOINTS].key, key)[1] for key in elements[("ip", ENDPOINTS)]}
    assert set(range(1088)) == slots


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
