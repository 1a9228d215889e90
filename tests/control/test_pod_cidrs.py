import pytest
from hypothesis import given
from hypothesis import strategies as st
from workloads import node, said

from mooring.control.reconcilers.pod_cidrs import PodCidrs
from mooring.model.kinds import NODE
from mooring.testing.world import MemoryWorld, settle


def assigned(world: MemoryWorld) -> dict[str, list[str]]:
    return {each["metadata"]["name"]: each["spec"].get("podCIDRs") for each in world.list(NODE)}


def test_each_node_gets_the_next_range():
    world = MemoryWorld([node("a"), node("b")])
    settle(PodCidrs(), world)
    assert {"a": ["10.244.0.0/24"], "b": ["10.244.1.0/24"]} == assigned(world)
    assert "10.244.0.0/24" == world.get(NODE, "", "a")["spec"]["podCIDR"]


def test_two_families():
    world = MemoryWorld([node("a"), node("b")])
    settle(PodCidrs(("10.244.0.0/16", "fd00:244::/56")), world)
    assert {"a": ["10.244.0.0/24", "fd00:244::/64"], "b": ["10.244.1.0/24", "fd00:244:0:1::/64"]} == assigned(world)


def test_ranges_given_by_hand_are_respected_whatever_their_size():
    world = MemoryWorld([node("a", spec={"podCIDR": "10.244.0.0/23", "podCIDRs": ["10.244.0.0/23"]}), node("b")])
    settle(PodCidrs(), world)
    assert ["10.244.2.0/24"] == assigned(world)["b"]


@pytest.mark.parametrize(("held", "left"), [
    (["0.0.0.0/0"], None), (["::/0"], None), (["10.244.0.7/24"], "10.244.1.0/24"), (["nonsense"], "10.244.0.0/24"),
])  # fmt: skip
def test_whatever_range_a_node_has_the_others_are_seen_to(held, left):
    world = MemoryWorld([node("a", spec={"podCIDR": held[0], "podCIDRs": held}), node("b")])
    settle(PodCidrs(("10.244.0.0/16", "fd00:244::/48")), world)
    assert left == (assigned(world)["b"] or [None])[0]


def test_a_full_range_is_an_event_and_the_next_free_one_is_taken_when_a_node_goes():
    world = MemoryWorld([node("a"), node("b"), node("c")])
    allocator = PodCidrs(("10.244.0.0/23",))
    settled = settle(allocator, world)
    assert ["Normal CIDRNotAvailable Node c status is now: CIDRNotAvailable"] == said(settled.reports)
    world.changes.clear()
    world.remove(NODE, "", "a")
    assert [("", "c")] == list(allocator.keys(world.changes[0], world))
    settle(allocator, world)
    assert ["10.244.0.0/24"] == assigned(world)["c"]


@pytest.mark.parametrize("cidrs", [("10.244.0.0/16",), ("fd00:244::/56",)])
def test_it_is_serial_since_choices_must_be_unique(cidrs):
    assert PodCidrs(cidrs).serial


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=40))
def test_no_range_has_two_owners_whatever_comes_and_goes(happenings):
    world, allocator = MemoryWorld(), PodCidrs(("10.0.0.0/22",))
    for comes, number in happenings:
        name = f"n{number}"
        held = world.get(NODE, "", name)
        if comes and held is None:
            world.add(node(name))
        elif not comes and held is not None:
            world.remove(NODE, "", name)
        settle(allocator, world)
        given = [each[0] for each in assigned(world).values() if each]
        assert len(given) == len(set(given)) == min(4, len(assigned(world)))
