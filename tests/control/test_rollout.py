import pytest

from mooring.control.rollout import Budget, Family, Member, budget, must_scale, recreated, rolled, scaled


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        pytest.param(10, "25%", "25%", Budget(10, 3, 2), id="surge rounds up, unavailable down"),
        pytest.param(1, "25%", "25%", Budget(1, 1, 0), id="one replica never becomes unavailable"),
        pytest.param(4, 2, 1, Budget(4, 2, 1), id="numbers are taken as they are"),
        pytest.param(3, 0, "25%", Budget(3, 0, 1), id="both resolve to nothing, so one may be missing"),
        pytest.param(2, 0, 5, Budget(2, 0, 2), id="no more can be unavailable than there are"),
        pytest.param(0, "25%", "25%", Budget(0, 0, 0), id="nothing of nothing"),
    ],
)
def test_budget(replicas, surge, unavailable, expected):
    assert expected == budget(replicas, surge, unavailable)


def test_a_string_that_is_no_percentage_is_refused():
    with pytest.raises(ValueError, match="neither an integer nor a percentage"):
        budget(3, "a lot", 0)


def sizes(family):
    return {member.name: member.replicas for member in family.all}


def old(name="old", replicas=0, available=None, actual=None, **rest):
    return Member(name, replicas, replicas if actual is None else actual, replicas if available is None else available, **rest)


@pytest.mark.parametrize(
    ("new", "olds", "limits", "expected"),
    [
        pytest.param(Member("new", 0), (), Budget(3, 1, 0), {"new": 3}, id="a first version comes up whole"),
        pytest.param(
            Member("new", 0), (old(replicas=10),), Budget(10, 3, 2), {"new": 3, "old": 8}, id="both use their room at once"
        ),
        pytest.param(
            Member("new", 3, 3, 2), (old(replicas=8, actual=8),), Budget(10, 3, 2), {"new": 5, "old": 6}, id="room moves on"
        ),
        pytest.param(
            Member("new", 1, 1, 0), (old(replicas=3),), Budget(3, 1, 0), {"new": 1, "old": 3}, id="waits for the new one"
        ),
        pytest.param(
            Member("new", 1, 1, 1),
            (old(replicas=3),),
            Budget(3, 1, 0),
            {"new": 1, "old": 2},
            id="no growth before room is free",
        ),
        pytest.param(
            Member("new", 1, 1, 1),
            (old(replicas=2, actual=3),),
            Budget(3, 1, 0),
            {"new": 1, "old": 2},
            id="Pods still to be deleted take room",
        ),
        pytest.param(
            Member("new", 5, 5, 0),
            (old(replicas=8, available=4),),
            Budget(10, 3, 2),
            {"new": 5, "old": 8},
            id="unhealthy new Pods protect even the unhealthy old ones, as their allowance is used up",
        ),
        pytest.param(
            Member("new", 0),
            (old("eldest", 5, 0, created="1"), old("elder", 8, 8, created="2")),
            Budget(10, 3, 2),
            {"new": 0, "eldest": 0, "elder": 8},
            id="a roll-over takes the unhealthy away, and waits until they are gone",
        ),
        pytest.param(Member("new", 5, 5, 5), (), Budget(3, 1, 1), {"new": 3}, id="too large a new one shrinks at once"),
        pytest.param(
            Member("new", 3, 3, 3), (old(replicas=1),), Budget(3, 1, 0), {"new": 3, "old": 0}, id="the last old one goes"
        ),
    ],
)
def test_rolled(new, olds, limits, expected):
    assert expected == sizes(rolled(Family(new, olds), limits))


@pytest.mark.parametrize(
    ("olds", "exist", "expected"),
    [
        pytest.param((old(replicas=3),), True, {"new": 0, "old": 0}, id="old ones down first"),
        pytest.param((old(replicas=0),), True, {"new": 0, "old": 0}, id="waits while an old Pod is left"),
        pytest.param((old(replicas=0),), False, {"new": 3, "old": 0}, id="then comes up whole"),
    ],
)
def test_recreated(olds, exist, expected):
    assert expected == sizes(recreated(Family(Member("new", 0), olds), Budget(3, 0, 0), exist))


@pytest.mark.parametrize(
    ("family", "limits", "expected"),
    [
        pytest.param(Family(Member("new", 3), ()), Budget(5, 1, 1), {"new": 5}, id="the only active one takes all"),
        pytest.param(Family(Member("new", 0), (old("o", 0),)), Budget(5, 1, 1), {"new": 5, "o": 0}, id="none active: the new"),
        pytest.param(
            Family(None, (old("a", 0, created="1"), old("b", 0, created="2"))),
            Budget(2, 1, 1),
            {"a": 0, "b": 2},
            id="none active and none new: the latest",
        ),
        pytest.param(
            Family(Member("new", 5, 5, 5, desired=5), (old("o", 2),)),
            Budget(5, 1, 1),
            {"new": 5, "o": 0},
            id="a saturated new one ends the old ones",
        ),
        pytest.param(
            Family(Member("new", 5, desired=10, most=13), (old("o", 8, desired=10, most=13),)),
            Budget(15, 3, 2),
            {"new": 7, "o": 11},
            id="the documentation's example, 10 to 15 with maxSurge 3 and a stuck new version: three more old, two more new",
        ),
        pytest.param(
            Family(Member("new", 5, desired=10, most=13), (old("o", 8, desired=10, most=13),)),
            Budget(5, 3, 2),
            {"new": 3, "o": 5},
            id="shrinks in proportion",
        ),
        pytest.param(
            Family(Member("new", 2, desired=4, most=4), (old("o", 2, desired=4, most=4),)),
            Budget(0, 0, 0),
            {"new": 0, "o": 0},
            id="to nothing",
        ),
    ],
)
def test_scaled(family, limits, expected):
    assert expected == sizes(scaled(family, limits, rolling=True, observed=0))


def test_scaling_is_noticed_by_the_active_members_only():
    assert must_scale(Family(Member("new", 3, desired=3), ()), Budget(5, 1, 1))
    assert not must_scale(Family(Member("new", 0, desired=3), ()), Budget(5, 1, 1))
    assert not must_scale(Family(Member("new", 3, desired=None), ()), Budget(5, 1, 1))
