"""Endpoints shared out over zones by CPU."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.endpoints.topology import OVERLOAD, Disabled, Share, assign, cores, shares, wants_auto, zone_cpu
from mooring.testing.builders import Document, node


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param([node("a", "x", "2"), node("b", "y", "6000m")], {"x": 0.25, "y": 0.75}, id="by allocatable CPU"),
        pytest.param(
            [node("a", "x", "2"), node("b", "y", "2", ready=False)], {"x": 1.0}, id="nodes that are not ready do not count"
        ),
        pytest.param(
            [node("a", "x", "2"), node("b", "", "2", **{"node-role.kubernetes.io/control-plane": ""})],
            {"x": 1.0},
            id="the control plane does not count",
        ),
        pytest.param([node("a", "x", "2"), node("b", "", "2")], Disabled.NODE_INFO, id="a node without zone"),
        pytest.param([node("a", "x", "2"), node("b", "y")], Disabled.NODE_INFO, id="a node without CPU"),
        pytest.param([], Disabled.NODE_INFO, id="no nodes"),
    ],
)
def test_zone_cpu(nodes: list[Document], expected: object) -> None:
    assert zone_cpu(nodes) == expected


@pytest.mark.parametrize(
    ("cpu", "count", "expected"),
    [
        pytest.param({"x": 1.0}, 9, Disabled.ONE_ZONE, id="one zone"),
        pytest.param({"x": 0.5, "y": 0.5}, 1, Disabled.ENDPOINTS, id="fewer endpoints than zones"),
        pytest.param({"x": 0.5, "y": 0.5}, 3, Disabled.OVERLOAD, id="three over two equal zones overload one by a third"),
        pytest.param({"x": 0.5, "y": 0.5}, 4, {"x": Share(2, 2), "y": Share(2, 2)}, id="four over two"),
        pytest.param({"x": 0.5, "y": 0.5}, 12, {"x": Share(5, 7), "y": Share(5, 7)}, id="twelve may be off by a fifth"),
    ],
)
def test_shares(cpu: dict[str, float], count: int, expected: object) -> None:
    assert shares(cpu, count) == expected


@pytest.mark.parametrize(("quantity", "expected"), [("4", 4.0), ("3920m", 3.92), ("1.5", 1.5), (2, 2.0), ("x", 0.0)])
def test_cores(quantity: str | int, expected: float) -> None:
    assert cores(quantity) == expected


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param({"service.kubernetes.io/topology-mode": "Auto"}, True, id="the mode"),
        pytest.param({"service.kubernetes.io/topology-aware-hints": "auto"}, True, id="the older name"),
        pytest.param(
            {"service.kubernetes.io/topology-aware-hints": "Disabled", "service.kubernetes.io/topology-mode": "Auto"},
            False,
            id="the older name wins",
        ),
        pytest.param({}, False, id="none"),
    ],
)
def test_auto(annotations: dict[str, str], expected: bool) -> None:
    assert wants_auto({"metadata": {"annotations": annotations}}) is expected


ZONES = st.sampled_from(["x", "y", "z"])


@given(
    st.lists(ZONES, min_size=1, max_size=60),
    st.dictionaries(ZONES, st.floats(0.1, 1.0), min_size=2),
    st.lists(ZONES, max_size=60),
)
def test_every_zone_gets_its_share_and_a_second_look_moves_nothing(
    own: list[str], weights: dict[str, float], lent: list[str]
) -> None:
    cpu = {zone: weight / sum(weights.values()) for zone, weight in weights.items()}
    split = shares(cpu, len(own))
    if isinstance(split, Disabled):
        return
    keys = {(f"10.0.0.{number}", "default", str(number)): zone for number, zone in enumerate(own)}
    before = dict(zip(keys, lent, strict=False))
    given_ = assign(keys, before, split)
    counts = Counter(given_.values())
    assert given_.keys() == keys.keys()
    assert set(counts) <= set(cpu)
    for zone, ratio in cpu.items():
        # The load of a zone's endpoints is its part of the traffic over its part of the endpoints.
        assert ratio * len(own) / counts[zone] <= (1 + OVERLOAD) * (1 + 1e-9)
    assert assign(keys, given_, split) == given_


def test_endpoints_stay_in_their_own_zone_where_the_shares_allow_it() -> None:
    keys = {(f"10.0.0.{number}", "", ""): "x" if number < 6 else "y" for number in range(12)}
    assert assign(keys, {}, {"x": Share(5, 7), "y": Share(5, 7)}) == keys


def test_only_as_many_are_lent_as_are_needed() -> None:
    keys = {(f"10.0.0.{number:02}", "", ""): "x" for number in range(12)}
    assert Counter(assign(keys, {}, {"x": Share(5, 7), "y": Share(5, 7)}).values()) == {"x": 7, "y": 5}
