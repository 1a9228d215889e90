"""What is to be done for a pod now, and what is its status?

`step(pod, seen, knowledge, now)` is the kubelet's heart, called whenever anything changes: the spec, a run, a probe's verdict,
the clock. It decides from the whole state, so a missed change costs nothing. Order (pkg/kubelet/kuberuntime, KEP-753):
sandbox, init containers one after the other (a sidecar only has to have started), containers all at once; at the end containers
first, then sidecars in reverse.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field

from mooring.model.pod import Container, Pod
from mooring.pods import resizing
from mooring.pods.observed import PodSeen, Run
from mooring.pods.probing import Health
from mooring.pods.resizing import Refusal, allotted
from mooring.pods.restart import Backoff, Trouble, ready_at, restarts, shown
from mooring.pods.status import Ending, Waiting, condition, ended_phase, status

Document = dict[str, Any]
_SHORTEST_GRACE = 2.0
"""Seconds that a kill leaves at least when the deadline has passed (pkg/kubelet/kuberuntime, minimumGracePeriodInSeconds)."""


class Knowledge(Struct, frozen=True):
    """What the worker remembers beside the runtime's facts. `stopping`: containers that are being stopped."""

    node_ips: tuple[str, ...] = ()
    health: Mapping[str, Health] = {}
    backoffs: Mapping[str, Backoff] = {}
    troubles: Mapping[str, Trouble] = {}
    sandbox_trouble: Trouble | None = None
    stopping: frozenset[str] = frozenset()
    renewing: frozenset[str] = frozenset()
    """Containers that were stopped to start again with other resources."""
    refusal: Refusal | None = None
    """Why the node does not allot the resources that the pod wishes."""
    before: Document = field(default_factory=dict)
    """The status as last written."""


class MakeSandbox(Struct, frozen=True):
    pass


class Start(Struct, frozen=True):
    container: Container
    attempt: int
    ended: datetime | None
    """When the run before ended, None for the first."""


class Stop(Struct, frozen=True):
    """preStop hook, SIGTERM, and after `grace` seconds SIGKILL. `message` is the Killing event's."""

    container: Container
    message: str
    grace: float
    renews: bool = False
    """Whether it starts again, whatever the restart policy says."""


class Resize(Struct, frozen=True):
    """The container goes on with the resources that it has here."""

    container: Container


class Release(Struct, frozen=True):
    """The pod has ended: its namespaces and address go, its logs stay."""


class Finish(Struct, frozen=True):
    """The pod was deleted and has ended: remove all of it, then delete the object for good."""


Action = MakeSandbox | Start | Stop | Resize | Release | Finish


class Step(Struct, frozen=True):
    """Actions that may be carried out side by side, the status to write, and when to look again without being asked."""

    pod: Pod
    """With the resources that it has been allotted."""
    actions: tuple[Action, ...]
    status: Document
    again: datetime | None = None
    backing_off: tuple[str, ...] = ()
    """Containers that wait to be restarted: each is worth a BackOff event."""


def step(pod: Pod, seen: PodSeen | None, known: Knowledge, now: datetime) -> Step:
    """The decision. Pure: the same arguments, the same step."""
    return _Decision(pod, seen, known, now).made()


class _Decision:
    """One call of `step`, taking notes as it goes down the list of containers."""

    def __init__(self, pod: Pod, seen: PodSeen | None, known: Knowledge, now: datetime) -> None:
        self.pod = allotted(pod, seen, known.before) if known.refusal else pod
        self.seen, self.known, self.now = seen, known, now
        self.alive = seen is not None and seen.alive
        self.actions: list[Action] = []
        self.waiting: dict[str, Waiting] = {}
        self.times: list[datetime] = []
        self.backing_off: list[str] = []
        self.resizing = False

    def made(self) -> Step:
        ending = self._ending()
        if ending:
            self._stop_all(ending)
        else:
            self._run_all()
        document = status(self.pod, self.seen, self.known.health, self.waiting, self._marks(), ending, self.now)
        document["conditions"] = [*document.get("conditions", ()), *self._resize_conditions()]
        self._close(document["phase"])
        return Step(self.pod, tuple(self.actions), document, min(self.times, default=None), tuple(self.backing_off))

    def _marks(self) -> tuple[tuple[str, ...], Document]:
        return self.known.node_ips, self.known.before

    def _resize_conditions(self) -> list[Document]:
        """Of a pod that goes on."""
        if self.known.before.get("phase") in ("Succeeded", "Failed"):
            return []
        refusal, context = self.known.refusal, (self.pod, self.known.before, self.now)
        pending = [condition("PodResizePending", True, refusal.reason, refusal.message, *context)] if refusal else []
        return pending + ([condition("PodResizeInProgress", True, "", "", *context)] if self.resizing else [])

    def _latest(self, container: Container) -> Run | None:
        return self.seen.latest(container.name) if self.seen else None

    def _running(self, container: Container) -> bool:
        run = self._latest(container)
        return run is not None and run.running

    # The end

    def _ending(self) -> Ending | None:
        """Why the pod is to stop as a whole, if it is."""
        if self.pod.terminating:
            return Ending("", "", self.pod.grace_period)
        if self.known.before.get("phase") in ("Succeeded", "Failed"):
            return Ending(self.known.before.get("reason", ""), self.known.before.get("message", ""), self.pod.grace_period)
        deadline, started = self.pod.spec.active_deadline_seconds, self.known.before.get("startTime")
        if deadline is not None and started:
            over = datetime.fromisoformat(started) + timedelta(seconds=deadline)
            if self.now >= over:
                text = "Pod was active on the node longer than the specified deadline"
                return Ending("DeadlineExceeded", text, self.pod.grace_period, failed=True)
            self.times.append(over)
        return None

    def _stop_all(self, ending: Ending) -> None:
        """Containers at once; then sidecars, the last started first."""
        every = (*self.pod.containers, *self.pod.ephemeral_containers)
        plain = [container for container in every if not container.sidecar and self._running(container)]
        sidecars = [
            container for container in self.pod.spec.init_containers or () if container.sidecar and self._running(container)
        ]
        for container in plain or sidecars[-1:]:
            self._stop(container, f"Stopping container {container.name}", self._grace_left(ending.grace))

    def _grace_left(self, grace: float) -> float:
        """deletionTimestamp is the moment by which the grace is over (reference: ObjectMeta)."""
        deadline = self.pod.metadata.deletion_timestamp
        if deadline is None:
            return grace
        return min(grace, max((deadline - self.now).total_seconds(), min(_SHORTEST_GRACE, grace)))

    def _stop(self, container: Container, message: str, grace: float, *, renews: bool = False) -> None:
        if container.name not in self.known.stopping:
            self.actions.append(Stop(container, message, grace, renews))

    def _close(self, phase: str) -> None:
        """What is left to do once nothing runs."""
        busy = (self.seen is not None and any(self.seen.running)) or self.known.stopping or self.actions
        if busy:
            return
        if self.pod.terminating:
            self.actions.append(Finish())
        elif phase in ("Succeeded", "Failed") and self.alive:
            self.actions.append(Release())

    # The life

    def _run_all(self) -> None:
        if not self._wanted():
            self._stop_leftovers()
            return
        if not self.alive:
            self._make_sandbox()
            return
        self._look_in()
        failed = self._init()
        if failed is None:
            for container in self.pod.spec.containers:
                self._keep(container, init=False)

    def _look_in(self) -> None:
        """Ephemeral containers run once, even while init containers hold up all others; with their target, if they have one."""
        for container in self.pod.ephemeral_containers:
            if self._latest(container) is not None or self._troubled(container.name):
                continue
            if container.target and not (self.seen and container.target in self.seen.running):
                text = f"unable to find target container {container.target}"
                self.waiting[container.name] = Waiting("CreateContainerConfigError", text)
            else:
                self.actions.append(Start(container, 0, None))

    def _wanted(self) -> bool:
        """Whether anything is still to run: not when all containers, or one init container, have ended for good."""
        if self.seen is not None and self._init_failed():
            return False
        return any(self._unfinished(container) for container in self.pod.spec.containers)

    def _unfinished(self, container: Container) -> bool:
        run = self._latest(container)
        renewed = container.name in self.known.renewing
        return run is None or run.running or renewed or restarts(self.pod, container, run, init=False)

    def _init_failed(self) -> bool:
        runs = [(container, self._latest(container)) for container in self.pod.spec.init_containers or ()]
        return any(
            run is not None and not run.running and run.exit_code != 0 and not restarts(self.pod, container, run, init=True)
            for container, run in runs
        )

    def _stop_leftovers(self) -> None:
        """Sidecars end with the containers they served."""
        self._stop_all(Ending("", "", self.pod.grace_period))

    def _make_sandbox(self) -> None:
        trouble = self.known.sandbox_trouble
        if trouble and self.now < trouble.again:
            self.times.append(trouble.again)
        else:
            self.actions.append(MakeSandbox())

    def _init(self) -> str | None:
        """Starts the next init container. None when all have done their part, else the one that is waited for."""
        waited: str | None = None
        for container in self.pod.spec.init_containers or ():
            run = self._latest(container)
            if waited and not (container.sidecar and run is not None):
                continue
            if container.sidecar:
                self._keep(container, init=True)
                if not (run and run.running and self.known.health.get(container.name, Health()).started):
                    waited = waited or container.name
            elif (
                not (run is not None and self._of_this_sandbox(run) and not run.running and run.exit_code == 0)
                and not self._past_init()
            ):
                self._keep(container, init=True)
                waited = container.name
        return None if waited is None or self._past_init() else waited

    def _of_this_sandbox(self, run: Run) -> bool:
        return self.seen is not None and run.started_at >= self.seen.created_at

    def _past_init(self) -> bool:
        """A container has run in this sandbox: initialization is over, whatever a sidecar does later."""
        runs = [self._latest(container) for container in self.pod.spec.containers]
        return any(run is not None and self._of_this_sandbox(run) for run in runs)

    def _keep(self, container: Container, *, init: bool) -> None:
        """A container that should be running: started, restarted when its time has come, stopped when a probe says so."""
        run, name = self._latest(container), container.name
        if run is not None and run.running:
            self._check(container, run)
            return
        if self._troubled(name):
            return
        if run is None:
            self.actions.append(Start(container, 0, None))
            return
        ended = run.finished_at or self.now
        rerun = restarts(self.pod, container, run, init=init) or (init and not self._of_this_sandbox(run))
        if name in self.known.renewing:
            rerun, self.waiting[name] = True, Waiting("ContainerCreating")
        if not rerun or name in self.known.stopping:
            return
        at = ready_at(self.known.backoffs.get(name), ended)
        if self.now >= at:
            self.actions.append(Start(container, run.attempt + 1, ended))
            return
        self.times.append(at)
        self.backing_off.append(name)
        delay = shown(self.known.backoffs[name].delay)
        meta = self.pod.metadata
        text = f"back-off {delay} restarting failed container={name} pod={meta.name}_{meta.namespace}({meta.uid})"
        self.waiting[name] = Waiting("CrashLoopBackOff", text)

    def _troubled(self, name: str) -> bool:
        """Whether it is too early to try a container again that could not be started."""
        trouble = self.known.troubles.get(name)
        if trouble is None:
            return False
        # Shown while it is tried again, too: a reason that comes and goes is no reason to a reader.
        self.waiting[name] = Waiting(trouble.reason, trouble.message)
        early = self.now < trouble.again
        if early:
            self.times.append(trouble.again)
        return early

    def _check(self, container: Container, run: Run) -> None:
        failed = self.known.health.get(container.name, Health()).failed
        if not failed:
            self._fit(container, run)
            return
        probe = container.liveness_probe if failed == "liveness" else container.startup_probe
        own = probe.termination_grace_period_seconds if probe else None
        grace = self.pod.grace_period if own is None else float(own)
        self._stop(container, f"Container {container.name} failed {failed} probe, will be restarted", grace)

    def _fit(self, container: Container, run: Run) -> None:
        """What runs gets the resources that it is to have, by a new run if it asks for that."""
        if not resizing.differs(container, run):
            return
        self.resizing = True
        if resizing.restarts(container, run):
            text = f"Container {container.name} resize requires restart"
            self._stop(container, text, self.pod.grace_period, renews=True)
        elif container.name not in self.known.stopping:
            self.actions.append(Resize(container))


__all__ = [
    "Action", "Finish", "Knowledge", "MakeSandbox", "Release", "Resize", "Start", "Step", "Stop", "ended_phase", "step",
]  # fmt: skip
