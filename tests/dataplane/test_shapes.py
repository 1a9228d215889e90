"""Are the numbers of shapes and endpoints what they must be, so that chains are few and clients keep their endpoints?"""

import pytest
from tables import applied, meaning, shown, view_of, with_affinity

from mooring.dataplane import ids
from mooring.dataplane.diff import Transaction
from mooring.dataplane.ids import endpoint_numbers
from mooring.dataplane.installed import Installed, compile_view
from mooring.dataplane.ruleset import ENDPOINTS, OUTSIDE_SHAPES, SET_SPECS, SHAPES, SLOTS, packed, unpack
from mooring.dataplane.ruleset import port as packed_port
from mooring.dataplane.shapes import (
    EXACT_SLOTS,
    FIRST_STICKY,
    LAST_STICKY,
    OutOfShapes,
    Shape,
    chain_name,
    plain_number,
    shape_named,
    slots_for,
)
from mooring.testing.node_views import FOUR, node_view, service_port, there


@pytest.mark.parametrize("endpoints", [1, 2, 1000, EXACT_SLOTS, EXACT_SLOTS + 1, 1500, 5000, 60_000])
def test_a_shape_says_how_many_slots_it_picks_from(endpoints: int) -> None:
    slots = slots_for(endpoints)
    assert endpoints <= slots < endpoints + 64
    assert 2 <= plain_number(slots) < FIRST_STICKY
    numbers = [plain_number(slots_for(each)) for each in range(1, endpoints + 1)]
    assert len(set(numbers)) == len({slots_for(each) for each in range(1, endpoints + 1)})


@pytest.mark.parametrize("verdict_map", [SHAPES, OUTSIDE_SHAPES])
@pytest.mark.parametrize("shape", [Shape(1), Shape(1088), Shape(3, 60), Shape(1, 86400)])
def test_a_chains_name_says_its_shape(verdict_map: str, shape: Shape) -> None:
    assert shape == shape_named(verdict_map, chain_name(verdict_map, shape))


@pytest.mark.parametrize(
    "name", ["pick-", "pick-0", "pick-03", "pick-3-for-", "pick-3-for-0", "pick-x", "refuse", "outside-pick-3"]
)
def test_a_name_that_no_chain_of_ours_bears_says_nothing(name: str) -> None:
    assert shape_named(SHAPES, name) is None


@pytest.mark.parametrize("affinity", [0, 60])
def test_more_endpoints_than_exact_slots_fill_every_slot(affinity: int) -> None:
    many = [there(f"10.200.{n // 250}.{n % 250}") for n in range(1030)]
    port = with_affinity(service_port("big", "10.96.0.1", many), affinity)
    elements = compile_view(node_view({"big": [port]})).elements
    slots = {unpack("ip", SET_SPECS[ENDPOINTS].key, key)[1] for key in elements[("ip", SLOTS if affinity else ENDPOINTS)]}
    assert set(range(1088)) == slots
    assert len(elements[("ip", ENDPOINTS)]) == (1030 if affinity else 1088)


def test_affinity_is_switched_on_and_off_and_its_timeout_changed_in_one_transaction() -> None:
    plain = service_port("web", "10.96.0.1", FOUR)
    installed = Installed.of(node_view({"web": [plain]}))
    kernel = installed.ruleset().elements
    for seconds in (60, 10800, 0, 60):
        kernel = applied(kernel, installed.change(("default", "web"), (with_affinity(plain, seconds),)))
        assert installed.ruleset().elements == kernel
        assert meaning(compile_view(node_view({"web": [with_affinity(plain, seconds)]})).elements) == meaning(kernel)
    assert {0, 1, plain_number(5), FIRST_STICKY, FIRST_STICKY + 1} == {
        unpack("ip", SET_SPECS[SHAPES].key, key)[0] for key in kernel[("ip", SHAPES)]
    }


def test_an_endpoints_number_does_not_change_with_the_others_nor_from_agent_to_agent() -> None:
    before = compile_view(node_view({"web": [with_affinity(service_port("web", "10.96.0.1", FOUR), 60)]})).elements
    after = compile_view(node_view({"web": [with_affinity(service_port("web", "10.96.0.1", FOUR[2:]), 60)]})).elements
    assert after[("ip", ENDPOINTS)].items() < before[("ip", ENDPOINTS)].items()


def test_endpoints_with_the_same_checksum_get_different_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "crc32", lambda _: 0xFFFFFFFF)
    endpoints = [packed("10.0.0.1") + packed_port(number) for number in (80, 81, 82)]
    assert endpoint_numbers(endpoints) == dict(zip(endpoints, [0xFFFFFFFF, 0, 1], strict=True))


def test_shapes_with_affinity_that_nobody_uses_give_their_numbers_to_others_until_all_are_in_use() -> None:
    numbers = LAST_STICKY - FIRST_STICKY + 1
    web = service_port("web", "10.96.0.1", FOUR)
    installed = Installed.of(node_view({"web": [web]}))
    kernel = installed.ruleset().elements
    for seconds in range(1, numbers + 11):
        kernel = applied(kernel, installed.change(("default", "web"), (with_affinity(web, seconds),)))
    assert installed.ruleset().elements == kernel
    assert len(kernel[("ip", SHAPES)]) == 2 + 1 + numbers

    names = [(f"s{n}", f"10.96.{n // 200 + 1}.{n % 200 + 1}") for n in range(numbers)]
    services = {
        name: [with_affinity(service_port(name, address, FOUR), seconds)]
        for seconds, (name, address) in enumerate(names, start=1)
    }
    full = Installed.of(node_view(services))
    assert {} == full.refused
    before = full.ruleset()
    with pytest.raises(OutOfShapes, match=r"session affinity: 2048 pairs .* so \(5 endpoints, 9999 s\)"):
        full.change(("default", "web"), (with_affinity(web, 9999),))
    assert before == full.ruleset()
    full.change(("default", "s0"), ())
    kernel = applied(before.elements, full.change(("default", "s1"), (with_affinity(services["s1"][0], 9999),)))
    assert shown(kernel, "ip", SHAPES) >= {f"0x00000{FIRST_STICKY:x} : goto pick-5-for-9999"}
    adopted, transaction = Installed.adopt(view_of(full), full.ruleset())
    assert Transaction() == transaction
    assert adopted.ruleset() == full.ruleset()
