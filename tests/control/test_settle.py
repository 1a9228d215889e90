"""Does `settle` bring a world to rest as the loop would: in order, again when out of date, and in time when asked to?"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from workloads import document

from mooring.control.reconciler import NOTHING, Apply, Change, Plan, Refusal, Report
from mooring.control.settle import Restless, settle
from mooring.model.kinds import CONFIG_MAP, NAMESPACE
from mooring.ports.api import ApiError
from mooring.testing.world import MemoryWorld

KEY = ("default", "a")


class Told:
    """A reconciler of ConfigMaps that plans as it is told."""

    name = "told"
    watches = (CONFIG_MAP,)
    serial = False

    def __init__(self, plan: Callable[[Any], Plan]) -> None:
        self.plans = 0
        self._plan = plan

    def keys(self, change: Change, world: Any) -> list[tuple[str, str]]:
        return [KEY]

    def plan(self, key: tuple[str, str], world: Any) -> Plan:
        self.plans += 1
        return self._plan(world)


class Answering(Told):
    def refused(self, key: Any, refusals: Sequence[Refusal], world: Any) -> Plan:
        return Plan(reports=tuple(Report(each.write.body, "Warning", "Refused", str(each.error)) for each in refusals))


def count(world: MemoryWorld) -> int:
    held = world.get(CONFIG_MAP, *KEY)
    assert held is not None
    return int(held["data"]["count"])


def counting(to: int, **more: Any) -> Callable[[MemoryWorld], Plan]:
    """One step up at each plan, until `to`."""

    def plan(world: MemoryWorld) -> Plan:
        now = count(world)
        patch = Apply("patch", CONFIG_MAP, *KEY, {"data": {"count": str(now + 1)}})
        return Plan((patch,), **more) if now < to else NOTHING

    return plan


def world() -> MemoryWorld:
    return MemoryWorld([document(CONFIG_MAP, "a", data={"count": "0"})])


def test_what_a_write_changes_is_planned_again_until_nothing_is_left() -> None:
    at = world()
    settled = settle([Told(counting(5))], at)
    assert (5, 5, ()) == (count(at), len(settled.writes), settled.refusals)


def test_one_that_never_has_enough_is_given_up() -> None:
    with pytest.raises(Restless, match="told never settles default/a"):
        settle([Told(counting(10_000))], world())


def test_time_stands_still_without_patience() -> None:
    at = world()
    reconciler = Told(lambda _: Plan(again_after=30.0))
    settled = settle([reconciler], at)
    assert (1, {("told", KEY): 30.0}, 0.0) == (reconciler.plans, settled.again, settled.elapsed)


def test_time_jumps_to_whatever_was_asked_for_as_long_as_something_happens() -> None:
    """A step each minute for five minutes, then ten minutes in vain."""
    at = world()
    begun = at.now

    def each_minute(seen: MemoryWorld) -> Plan:
        minutes = (seen.now - begun).total_seconds() / 60
        due = count(seen) < min(minutes, 5)
        return Plan(counting(5)(seen).writes if due else (), again_after=60.0)

    settled = settle([Told(each_minute)], at, patience=600.0)
    assert (5, 14 * 60.0) == (count(at), settled.elapsed)


def test_time_has_an_end() -> None:
    def endless(seen: MemoryWorld) -> Plan:
        due = Apply("patch", CONFIG_MAP, *KEY, {"data": {"moment": str(seen.now)}})
        return Plan((due,), again_after=3600.0)

    assert 9 * 3600.0 == settle([Told(endless)], world(), patience=7200.0, longest=36_000.0).elapsed


def test_what_is_out_of_date_is_planned_again() -> None:
    outdated = Plan((Apply("patch", CONFIG_MAP, "default", "gone", {"data": {}}), *counting(1)(world()).writes))
    reconciler = Told(lambda seen: outdated if reconciler.plans == 1 else counting(1)(seen))
    at = world()
    settled = settle([reconciler], at)
    assert (3, 1, ()) == (reconciler.plans, count(at), settled.refusals)


def test_a_refusal_is_kept_and_answered_and_not_tried_for_ever() -> None:
    taken = Apply("create", CONFIG_MAP, "default", "", document(CONFIG_MAP, "a"))
    reconciler = Answering(lambda _: Plan((taken, *counting(1)(at).writes)))
    at = world()
    settled = settle([reconciler], at)
    assert (1, 0) == (reconciler.plans, count(at))
    assert [("told", KEY)] == [each.task for each in settled.refusals]
    assert ['configmaps "a" already exists'] == [report.message for report in settled.reports]


def test_what_may_be_refused_does_not_stop_the_rest() -> None:
    taken = Apply("create", CONFIG_MAP, "default", "", document(CONFIG_MAP, "a"), ignore=("AlreadyExists",))
    at = world()
    settled = settle([Told(lambda seen: Plan((taken, *counting(1)(seen).writes)))], at)
    assert (1, ()) == (count(at), settled.refusals)


def test_a_namespace_that_is_going_refuses_and_nobody_minds() -> None:
    class Going(MemoryWorld):
        def write(self, write: Apply) -> Any:
            causes = {"causes": [{"reason": "NamespaceTerminating"}]}
            raise ApiError(403, "Forbidden", "being terminated", causes)

    at = Going([document(NAMESPACE, "default"), document(CONFIG_MAP, "a", data={"count": "0"})])
    settled = settle([Told(counting(1))], at)
    assert ((), ()) == (settled.writes, settled.refusals)
