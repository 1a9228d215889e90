"""How do a container's hooks run, and how does it stop? preStop and SIGTERM within the grace period, then SIGKILL."""

import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from mooring.control.kubelet_probes import attempt, check_of
from mooring.model.pod import Container, Hook, Pod
from mooring.pods.observed import PodSeen
from mooring.pods.step import Stop
from mooring.pods.wishes import ExecCheck, Outcome
from mooring.ports.pods import Prober, Runtime

_LEAST_AFTER_HOOK = 2.0
"""Seconds that a container gets after SIGTERM though its preStop hook used up the grace period."""
_HOOK_LIMIT = 3600.0
_KILL_AGAIN = 1.0


class Life(Protocol):
    """What is asked of the pod's worker."""

    pod: Pod
    seen: PodSeen | None

    def runs(self, container: str) -> bool: ...

    def must_end(self) -> datetime | None:
        """By when the whole pod must have ended, once it was deleted."""

    def tell(self, kind: Literal["Normal", "Warning"], reason: str, message: str, container: Container) -> None: ...

    def news(self) -> asyncio.Future[None]:
        """Done when anything of the above has changed."""


class Lifecycle:
    """The stops under way of one pod's containers, by name; `stopped()` is called at the end of each."""

    def __init__(self, life: Life, runtime: Runtime, prober: Prober, stopped: Callable[[], None]) -> None:
        self.life, self.runtime, self.prober, self.stopped = life, runtime, prober, stopped
        self.stops: dict[str, asyncio.Task[None]] = {}

    def stop(self, action: Stop) -> None:
        """Begins a stop; it runs beside the worker."""
        self.stops[action.container.name] = asyncio.create_task(self._stop(action), name=f"stop {action.container.name}")

    def cancel(self) -> None:
        """Lets go of the stops: another agent begins them anew."""
        for task in self.stops.values():
            task.cancel()

    async def post_start(self, container: Container, hook: Hook) -> None:
        """Runs the hook; the pod's deletion or the container's end ends the wait. A hook that fails ends the container."""
        task = asyncio.create_task(self._run(container, hook, _HOOK_LIMIT))
        try:
            while not task.done() and self.life.must_end() is None and self.life.runs(container.name):
                await self._wait(task)
            if task.done() and not task.result().success:
                self.life.tell("Warning", "FailedPostStartHook", f"PostStartHook failed: {task.result().output}", container)
                self.stop(Stop(container, "FailedPostStartHook", self.life.pod.grace_period))
        finally:
            task.cancel()

    async def _run(self, container: Container, hook: Hook, limit: float) -> Outcome:
        if hook.sleep is not None:
            await asyncio.sleep(min(hook.sleep.seconds, limit))
            return Outcome(True)
        seen = self.life.seen
        try:
            what = check_of(container, hook, self.life.pod, next(iter(seen.ips), "") if seen else "")
        except ValueError as error:
            return Outcome(False, str(error))
        outcome = await attempt(self.prober, what, limit)
        if isinstance(what, ExecCheck) and not outcome.success:
            return Outcome(False, f"command '{' '.join(what.command)}' failed: {outcome.output}")
        return outcome

    async def _stop(self, action: Stop) -> None:
        container, loop = action.container, asyncio.get_running_loop()
        name, uid = container.name, self.life.pod.uid
        end = _Deadline(loop.time() + action.grace, self.life)
        try:
            self.life.tell("Normal", "Killing", action.message, container)
            hook = container.lifecycle.pre_stop if container.lifecycle else None
            if hook and action.grace > 0:
                await self._pre_stop(container, hook, end)
                end.at = max(end.at, loop.time() + min(_LEAST_AFTER_HOOK, action.grace))
            if action.grace > 0:
                await self.runtime.signal(uid, name, signal.SIGTERM)
                while self.life.runs(name) and (left := end.left) > 0:
                    await self._wait(timeout=left)
            while self.life.runs(name):
                await self.runtime.signal(uid, name, signal.SIGKILL)
                await self._wait(timeout=_KILL_AGAIN)
        finally:
            self.stops.pop(name, None)
            self.stopped()

    async def _pre_stop(self, container: Container, hook: Hook, end: "_Deadline") -> None:
        task = asyncio.create_task(self._run(container, hook, end.left))
        try:
            while not task.done() and self.life.runs(container.name) and (left := end.left) > 0:
                await self._wait(task, timeout=left)
            if task.done() and not task.result().success:
                self.life.tell("Warning", "FailedPreStopHook", f"PreStopHook failed: {task.result().output}", container)
        finally:
            task.cancel()

    async def _wait(self, task: "asyncio.Task[Any] | None" = None, timeout: float | None = None) -> None:
        """Until there is news, the task is done, or the time is over."""
        news = self.life.news()
        await asyncio.wait([news] if task is None else [news, task], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


class _Deadline:
    """When SIGKILL comes, in loop time; a second deletion with less grace makes it earlier."""

    def __init__(self, at: float, life: Life) -> None:
        self.at, self.life, self.known = at, life, life.must_end()

    @property
    def left(self) -> float:
        """Seconds."""
        left = self.at - asyncio.get_running_loop().time()
        now_known = self.life.must_end()
        if now_known and (self.known is None or now_known < self.known):
            left = min(left, (now_known - datetime.now(UTC)).total_seconds())
        return left
