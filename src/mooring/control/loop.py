"""How does a plan become true? The loop, written once for all reconcilers.

Changes become keys, keys become plans, plans become writes. A worker keeps its key until the informers have seen what it wrote,
so no key is ever planned from a world older than its own last write (upstream's guards against stale caches and its
"expectations" in one rule). A serial reconciler plans one key at a time, so that all of its keys see all of its writes: it has
one worker, or, when it assumes where Pods will be, as many as bindings may be under way.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Literal, Protocol

import structlog

from mooring.control.assumed import AssumedPods
from mooring.control.queue import Queue, QueueMetrics
from mooring.control.reconciler import Apply, Change, Document, Key, Plan, Reconciler, Refusal, Report, World
from mooring.control.recorder import Recorder
from mooring.control.world import InformerWorld
from mooring.model.kinds import POD, Kind
from mooring.ports.api import Api, ApiError, ApiUnavailable

WORKERS = 16
BINDINGS = 64
"""Under way at once, of a reconciler that assumes."""
PATIENCE = 30.0
"""Seconds to wait for the informers to see a write; longer means that the watch is broken, and planning may as well go on."""
ASK_AGAIN = 1.0
"""Seconds until a server that has not answered is asked again."""
REPLAN = frozenset({"Conflict", "NotFound"})
MOST_REFUSED = 16
"""Refused creates in one plan, unless as many were granted. A quota that is used up need not be asked for each of 500 Pods;
upstream's slow start serves the same end."""

Outcome = Literal["success", "stale", "error"]
Written = list[tuple[Apply, Document]]
"""What was written, and the server's answers."""

log = structlog.get_logger(__name__)


class Observer(Protocol):
    """What a reconciler may offer as `observer`: told of every plan carried out, for its own metrics."""

    def planned(self, key: Key, plan: Plan, outcome: Outcome) -> None: ...


class Loop:
    """One reconciler's loop. Make it before the informers run, so that it hears of everything."""

    def __init__(
        self,
        reconciler: Reconciler,
        world: InformerWorld,
        api: Api,
        recorder: Recorder,
        metrics: QueueMetrics,
        *,
        workers: int = WORKERS,
    ) -> None:
        self.queue: Queue[Key] = Queue(reconciler.name, metrics)
        self._reconciler, self._world, self._api, self._recorder = reconciler, world, api, recorder
        self._assumed = AssumedPods(world) if getattr(reconciler, "assumes", False) else None
        self._view: World = self._assumed or world
        """What is planned from."""
        self._turn: AbstractAsyncContextManager[None] = asyncio.Lock() if self._assumed else nullcontext()
        self._workers = BINDINGS if self._assumed else 1 if reconciler.serial else workers
        self.customs: bool = getattr(reconciler, "customs", False)
        """Whether it follows kinds that definitions add."""
        self._observer: Observer | None = getattr(reconciler, "observer", None)
        self._log = log.bind(controller=reconciler.name)
        for kind in reconciler.watches:
            self.follow(kind)

    def follow(self, kind: Kind) -> None:
        """Hears of a kind's changes from now on, and of all objects that there are."""
        self._world.informers[kind].subscribe(partial(self._changed, kind))

    def look_again(self) -> None:
        """At every object: something that the reconciler goes by, and that is no object, has changed."""
        for kind in (*self._reconciler.watches, *(self._world.customs if self.customs else ())):
            for document in tuple(self._world.list(kind)):
                try:
                    self._changed(kind, None, document)
                except Exception:  # as an informer's: one object keeps none of the others from being looked at
                    self._log.exception("cannot look again", resource=kind.group_resource, name=document["metadata"]["name"])

    async def run(self) -> None:
        """Works until cancelled, beginning when every informer has its first list."""
        await self._world.wait_synced()
        for key in getattr(self._reconciler, "initial", ()):
            self.queue.add(key)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._workers):
                    tasks.create_task(self._work())
        finally:
            self.queue.close()

    def _changed(self, kind: Kind, before: Document | None, after: Document | None) -> None:
        for key in self._reconciler.keys(Change(kind, before, after), self._view):
            self.queue.add(key)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._reconcile(key)
            except Exception:
                # A mistake of ours about one object; it must not keep the others from being looked after.
                self._log.exception("cannot plan", object="/".join(key), again_after=self.queue.retry(key))
                self._observe(key, Plan(), "error")
            finally:
                self.queue.done(key)

    async def _reconcile(self, key: Key) -> None:
        async with self._turn:
            plan = self._reconciler.plan(key, self._view)
            pod = self._view.get(POD, *key) if plan.assumed_node else None
            if self._assumed is None or pod is None:
                await self._finish(key, plan)
                return
            self._assumed.assume(pod, plan.assumed_node)
            placed = self._view.get(POD, *key)
        outcome: Outcome = "error"
        try:
            outcome = await self._finish(key, plan)
            if outcome == "stale":
                # A Conflict may say that it is bound already.
                await self._catch_up(key, Apply("patch", POD, *key, {"metadata": {"uid": pod["metadata"]["uid"]}}))
        finally:
            # For others a Pod that did not get its node is as good as gone from there.
            freed = self._reconciler.keys(Change(POD, placed, None), self._view) if outcome != "success" else ()
            self._assumed.forget(key)
            for each in freed:
                self.queue.add(each)

    async def _finish(self, key: Key, plan: Plan) -> Outcome:
        written: Written = []
        outcome, refusals = await self._carry_out(key, plan, written)
        await self._see(key, written)
        for report in plan.reports if outcome == "success" else made_all_the_same(plan, written):
            self._recorder.record(report)
        if refusals:
            await self._answer(key, refusals)
        self._observe(key, plan, outcome)
        if outcome != "success":
            self.queue.retry(key)
            return outcome
        self.queue.forget(key)
        if plan.again_after is not None:
            self.queue.add_after(key, plan.again_after)
        return outcome

    async def _carry_out(self, key: Key, plan: Plan, written: Written) -> tuple[Outcome, list[Refusal]]:
        """The writes in order but those that rest on a refused one; what was made, and its answer, goes to `written`."""
        refusals: list[Refusal] = []
        stopped: set[str] = set()
        for write in plan.writes:
            if rests_on(write, stopped) or (write.verb == "create" and hopeless(refusals, written)):
                continue
            try:
                written.append((write, await self._answered(key, write, again=bool(plan.assumed_node))))
            except ApiError as error:
                if error.reason in write.ignore:
                    continue
                if namespace_terminating(error):
                    break  # whatever was to be created here is no longer wanted
                if error.reason in REPLAN:
                    self._log.debug("outdated", **described(key, write), error=str(error))
                    return "stale", refusals
                self._log.warning("write refused", **described(key, write), error=str(error))
                refusals.append(Refusal(write, error))
                stopped.add(write.part)
                if not write.part:
                    break
            except ApiUnavailable as error:
                self._log.warning("write not answered", **described(key, write), error=str(error))
                if self._reconciler.serial and write.name:
                    # What it chose may be taken, and the keys after this one must not choose the same.
                    same = {"metadata": {"name": write.name}}
                    await self._catch_up(key, Apply("patch", write.kind, write.namespace, write.name, same))
                return "error", refusals
        return "error" if refusals else "success", refusals

    async def _answer(self, key: Key, refusals: Sequence[Refusal]) -> None:
        """What the reconciler has to say about refusals, said as far as the server lets it."""
        say = getattr(self._reconciler, "refused", None)
        if say is None:
            return
        plan: Plan = say(key, refusals, self._view)
        for report in plan.reports:
            self._recorder.record(report)
        written: Written = []
        for answer in plan.writes:
            try:
                written.append((answer, await self._write(answer)))
            except (ApiError, ApiUnavailable) as again:
                self._log.debug("refused as well", **described(key, answer), error=str(again))
        await self._see(key, written)

    async def _catch_up(self, key: Key, asked: Apply) -> None:
        """Until the informers have seen an object as the server holds it. Controllers may not get: it is `asked` for by a patch
        that changes nothing, until there is an answer."""
        try:
            answer = await self._answered(key, asked, again=True)
        except ApiError:
            return  # there is no such object, or nothing of it can be known
        await self._see(key, [(asked, answer)])

    async def _answered(self, key: Key, write: Apply, *, again: bool) -> Document:
        """The server's answer. A write that was not answered may have been made: asked for `again` until there is an answer, it
        leaves no doubt, and what is assumed because of it is assumed as long."""
        while True:
            try:
                return await self._write(write)
            except ApiUnavailable as error:
                if not again:
                    raise
                self._log.warning("write not answered, asked for again", **described(key, write), error=str(error))
            await asyncio.sleep(ASK_AGAIN)

    async def _write(self, write: Apply) -> Document:
        return await self._api.write(
            write.verb, write.kind, write.namespace, write.name, write.body,
            subresource=write.subresource, patch_type=write.patch_type,
        )  # fmt: skip

    async def _see(self, key: Key, written: Written) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                for write, answer in written:
                    await self._world.wait_for(write, answer)
        except TimeoutError:
            self._log.warning("own write not seen by the watch, going on without", object="/".join(key), seconds=PATIENCE)

    def _observe(self, key: Key, plan: Plan, outcome: Outcome) -> None:
        if self._observer is not None:
            self._observer.planned(key, plan, outcome)


def rests_on(write: Apply, stopped: set[str]) -> bool:
    """Whether a write is not to be made once something of these parts was refused."""
    return bool(stopped) and (not write.part or write.part in stopped)


def made_all_the_same(plan: Plan, written: Written) -> list[Report]:
    """What is to be told of the parts that are through, though the plan is not."""
    wanted, made = Counter(write.part for write in plan.writes), Counter(write.part for write, _ in written)
    return [report for report in plan.reports if report.part and made[report.part] == wanted[report.part]]


def hopeless(refusals: Sequence[Refusal], written: Written) -> bool:
    refused = sum(refusal.write.verb == "create" for refusal in refusals)
    return refused >= MOST_REFUSED and refused > sum(write.verb == "create" for write, _ in written)


def described(key: Key, write: Apply) -> dict[str, str]:
    """A write, for a line of the log."""
    target = {"verb": write.verb, "resource": write.kind.group_resource, "name": f"{write.namespace}/{write.name}"}
    return {"object": "/".join(key), **target}


def namespace_terminating(error: ApiError) -> bool:
    """A create in a namespace that is going away: 403 with this cause; it will be refused until the namespace is gone."""
    causes = error.details.get("causes") or ()
    return error.code == 403 and any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
