"""What does a cluster come to when nobody interferes? Reconcilers at work in a world in memory, until none has anything to do.

What loop.py does with tasks, queues and informers, done by one function, one plan after another, in a world that has every
write at once. Time stands still while there is work; when there is none, it jumps to the next moment somebody asked for.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct

from mooring.control.loop import REPLAN, namespace_terminating, rests_on
from mooring.control.reconciler import Apply, Change, Document, Key, Plan, Reconciler, Refusal, Report, World
from mooring.ports.api import ApiError

MOST_PLANS = 200
"""Plans of one key without time going on: a key that needs more never settles."""
Task = tuple[str, Key]
"""A reconciler's name and one of its keys."""


class WritableWorld(World, Protocol):
    """A World that its user moves: by writes, and by setting the clock."""

    now: datetime
    changes: list[Change]
    """What happened since somebody last took it."""

    def write(self, write: Apply) -> Document:
        """Carries one write out, at once. Raises ApiError."""


class Restless(Exception):
    """A key was planned again and again, and there was always more to write."""


class Refused(Struct, frozen=True):
    """What the world refused, other than because it was out of date."""

    task: Task
    refusal: Refusal


class Settled(Struct, frozen=True):
    """All that was written, reported and refused until nothing was left to do.

    `again` says, in seconds from the beginning, when each key wants to be looked at again.
    """

    writes: tuple[Apply, ...]
    reports: tuple[Report, ...]
    refusals: tuple[Refused, ...]
    again: dict[Task, float]
    elapsed: float
    """Seconds that passed in the world."""


def settle(
    reconcilers: Sequence[Reconciler], world: WritableWorld, *, patience: float = 0.0, longest: float = 86_400.0
) -> Settled:
    """Plans what `world.changes` concern, carries the plans out, and so on, until nothing is left.

    Then keys that want to be looked at later are, for as long as less than `patience` seconds pass between two writes, and
    less than `longest` in all. Raises Restless.
    """
    run = _Run(reconcilers, world)
    run.begin()
    run.work()
    while run.wait(patience, longest):
        run.work()
    return Settled(tuple(run.writes), tuple(run.reports), tuple(run.refusals), run.again, run.elapsed)


class _Run:
    def __init__(self, reconcilers: Sequence[Reconciler], world: WritableWorld) -> None:
        self.world, self.start = world, world.now
        self.reconcilers = {each.name: each for each in reconcilers}
        self.queue: OrderedDict[Task, None] = OrderedDict()
        self.planned: Counter[Task] = Counter()
        self.writes: list[Apply] = []
        self.reports: list[Report] = []
        self.refusals: list[Refused] = []
        self.again: dict[Task, float] = {}
        self.elapsed = self.last_write = 0.0

    def begin(self) -> None:
        self._hear()
        for name, each in self.reconcilers.items():
            self._add(name, getattr(each, "initial", ()))

    def work(self) -> None:
        while self.queue:
            task, _ = self.queue.popitem(last=False)
            self.planned[task] += 1
            if self.planned[task] > MOST_PLANS:
                raise Restless(f"{task[0]} never settles {'/'.join(task[1])}")
            self._plan(task)
            self._hear()

    def wait(self, patience: float, longest: float) -> bool:
        """Moves the clock to the next moment that a key asked for; False when it is too far away."""
        moment = min(self.again.values(), default=None)
        if moment is None or moment >= longest or moment - self.last_write >= patience:
            return False
        self.elapsed = max(moment, self.elapsed)
        self.world.now = self.start + timedelta(seconds=self.elapsed)
        self.planned.clear()
        for task in [task for task, when in self.again.items() if when <= self.elapsed]:
            del self.again[task]
            self.queue[task] = None
        return True

    def _plan(self, task: Task) -> None:
        name, key = task
        reconciler = self.reconcilers[name]
        plan = reconciler.plan(key, self.world)
        self.reports += plan.reports
        self.again.pop(task, None)
        if plan.again_after is not None:
            self.again[task] = self.elapsed + plan.again_after
        refusals = self._carry_out(plan, task)
        answer = getattr(reconciler, "refused", None)
        if refusals and answer is not None:
            said: Plan = answer(key, refusals, self.world)
            self.reports += said.reports
            self._carry_out(said, task)

    def _carry_out(self, plan: Plan, task: Task) -> list[Refusal]:
        """The writes in order, up to the first that is out of date (its key is planned again), but what rests on a refused."""
        refusals: list[Refusal] = []
        stopped: set[str] = set()
        for write in plan.writes:
            if rests_on(write, stopped):
                continue
            try:
                self.world.write(write)
            except ApiError as error:
                if error.reason in write.ignore:
                    continue
                if namespace_terminating(error):
                    break
                if error.reason in REPLAN:
                    self.queue[task] = None
                    break
                refusals.append(Refusal(write, error))
                stopped.add(write.part)
                if not write.part:
                    break
                continue
            self.writes.append(write)
            self.last_write = self.elapsed
        self.refusals += [Refused(task, refusal) for refusal in refusals]
        return refusals

    def _hear(self) -> None:
        changes, self.world.changes = self.world.changes, []
        for change in changes:
            for name, each in self.reconcilers.items():
                if change.kind in each.watches or (change.kind in self.world.customs and getattr(each, "customs", False)):
                    self._add(name, each.keys(change, self.world))

    def _add(self, name: str, keys: Iterable[Key]) -> None:
        self.queue.update(dict.fromkeys((name, key) for key in keys))
