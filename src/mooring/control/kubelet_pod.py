"""How is one pod kept as its spec says? One worker: decide, report, act, wait for whatever changes next.

All decisions are `pods.step`'s. What takes long (stopping a container with its grace period) runs beside the worker; what must
be in order (sandbox, then container after container with its postStart hook) runs in it.
"""

import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import structlog
from msgspec import Struct, structs

from mooring.control.kubelet_events import Events
from mooring.control.kubelet_objects import HeldToken, Objects, request_token
from mooring.control.kubelet_probes import ContainerProbes, check_of
from mooring.control.kubelet_status import StatusWriter
from mooring.control.kubelet_wishes import NodeView, container_wish, sandbox_wish
from mooring.model.kinds import POD
from mooring.model.pod import Container, Hook, Pod
from mooring.pods import volumes
from mooring.pods.observed import PodSeen
from mooring.pods.probing import Health, Role
from mooring.pods.restart import INITIAL, LONGEST, Backoff, Trouble, raised
from mooring.pods.security import Refused
from mooring.pods.sources import Facts, Missing, references
from mooring.pods.step import Finish, Knowledge, MakeSandbox, Release, Start, Stop, step
from mooring.pods.volumes import Token
from mooring.pods.wishes import ExecCheck, Outcome
from mooring.ports.api import Api, ApiError, ApiUnavailable
from mooring.ports.pods import Images, Prober, Runtime, RuntimeFailure, Volumes

Document = dict[str, Any]
log = structlog.get_logger("kubelet")
_FORCED_GRACE = 1.0
_LEAST_AFTER_HOOK = 2.0
_SANDBOX_RETRY = timedelta(seconds=1)
_RETRY = 1.0


class Machine(Struct, frozen=True):
    """The ports of one node, together."""

    runtime: Runtime
    images: Images
    volumes: Volumes
    prober: Prober


class PodWorker:
    """`node()` gives the node's current view; `done(uid)` is called when the pod has gone for good."""

    def __init__(
        self,
        api: Api,
        machine: Machine,
        objects: Objects,
        events: Events,
        node: Callable[[], NodeView],
        pod: Pod,
        seen: PodSeen | None,
    ) -> None:
        self.api, self.machine, self.objects, self.events, self.node = api, machine, objects, events, node
        self.pod, self.seen = pod, seen
        self.status = StatusWriter(api, pod, self.forget)
        self._wake = asyncio.Event()
        self._news: set[asyncio.Future[None]] = set()
        self._gone = False
        self._finished = False
        self._probes: dict[str, ContainerProbes] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._troubles: dict[str, Trouble] = {}
        self._pull_delays: dict[str, timedelta] = {}
        self._sandbox_trouble: Trouble | None = None
        self._stops: dict[str, asyncio.Task[None]] = {}
        self._tokens: dict[Token, HeldToken] = {}
        self._stale_files = True
        self._told_back_off: dict[str, datetime] = {}

    # What others tell

    def update(self, pod: Pod) -> None:
        """A newer version of the object."""
        self._stale_files = self._stale_files or pod.metadata != self.pod.metadata
        self.pod = pod
        self._notify()

    def observe(self, seen: PodSeen) -> None:
        """A run ended, or the sandbox died."""
        self.seen = seen
        self._notify()

    def forget(self) -> None:
        """The object is gone from the API: stop quickly, remove everything, report nothing."""
        self._gone = True
        self._notify()

    def _notify(self) -> None:
        self._wake.set()
        for future in self._news:
            if not future.done():
                future.set_result(None)
        self._news.clear()

    def _objects_changed(self) -> None:
        self._stale_files = True
        self._notify()

    # The loop

    async def run(self) -> None:
        """Until the pod has gone, or cancelled: then its processes go on and another agent adopts them."""
        writer = asyncio.create_task(self.status.run(), name=f"status of {self.pod.key}")
        try:
            while not self._finished:
                try:
                    again = await self._round()
                except (ApiUnavailable, ApiError, OSError) as error:
                    log.warning("pod worker tries again", pod=self.pod.key, error=str(error))
                    again = datetime.now(UTC) + timedelta(seconds=_RETRY)
                await self._sleep(again)
        finally:
            for task in (writer, *self._stops.values()):
                task.cancel()
            for probes in self._probes.values():
                probes.stop()
            await self.objects.release(self.pod.uid)

    async def _round(self) -> datetime | None:
        """One decision carried out; when to look again."""
        self._wake.clear()
        self._follow_runs()
        pod = self._wished()
        before = self.status.latest
        taken = step(pod, self.seen, self._knowledge(before), datetime.now(UTC))
        if not self._gone:
            self.status.wish(taken.status)
        for container in taken.backing_off:
            self._tell_back_off(container)
        for action in taken.actions:
            await self._act(action)
            if self._wake.is_set() and not isinstance(action, Stop):
                break  # Something changed meanwhile: decide again before going on.
        renewal = await self._refresh_files()
        times = [time for time in (taken.again, renewal) if time]
        return min(times, default=None)

    def _wished(self) -> Pod:
        """The pod; one whose object has gone is one being deleted at short notice."""
        if not self._gone:
            return self.pod
        given = self.pod.metadata.deletion_grace_period_seconds
        grace = 0 if self.pod.grace_period == 0 else int(min(given if given is not None else _FORCED_GRACE, _FORCED_GRACE))
        meta = structs.replace(
            self.pod.metadata,
            deletion_timestamp=datetime.now(UTC) + timedelta(seconds=grace),
            deletion_grace_period_seconds=grace,
        )
        return structs.replace(self.pod, metadata=meta)

    def _knowledge(self, before: Document) -> Knowledge:
        return Knowledge(
            node_ips=self.node().addresses,
            health={name: probes.health for name, probes in self._probes.items()},
            backoffs=self._backoffs,
            troubles=self._troubles,
            sandbox_trouble=self._sandbox_trouble,
            stopping=frozenset(self._stops),
            before=before,
        )

    async def _sleep(self, until: datetime | None) -> None:
        if self._finished or self._wake.is_set():
            return
        delay = None if until is None else max((until - datetime.now(UTC)).total_seconds(), 0.001)
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _act(self, action: MakeSandbox | Start | Stop | Release | Finish) -> None:
        match action:
            case MakeSandbox():
                await self._make_sandbox()
            case Start():
                await self._start(action)
            case Stop():
                self._stops[action.container.name] = asyncio.create_task(self._stop(action), name=f"stop {self.pod.key}")
            case Release():
                await self.machine.runtime.remove(self.pod.uid, keep_files=True)
                if self.seen:
                    self.seen = structs.replace(self.seen, alive=False)
            case Finish():
                await self._finish()

    # Probes

    def _follow_runs(self) -> None:
        """Probes for what runs, none for what does not."""
        for container in self.pod.containers:
            run = self.seen.latest(container.name) if self.seen else None
            held = self._probes.get(container.name)
            if held and (run is None or not run.running or run.id != held.run.id):
                held.stop()
                del self._probes[container.name]
                held = None
            if held and (self.pod.terminating or container.name in self._stops):
                held.stop(keep=("readiness",))
            if run is not None and run.running and held is None:
                self._probe(container, run.id)

    def _probe(self, container: Container, run_id: str) -> None:
        run = self.seen.latest(container.name) if self.seen else None
        assert self.seen is not None and run is not None
        known = None
        for given in (
            *(self.status.written.get("containerStatuses") or ()),
            *(self.status.written.get("initContainerStatuses") or ()),
        ):
            if given.get("containerID") == run_id:
                known = Health(bool(given.get("started")), bool(given.get("ready")))

        def failed(role: Role, output: str) -> None:
            self._event("Warning", "Unhealthy", f"{role.capitalize()} probe failed: {output}", container)

        ip = next(iter(self.seen.ips), "")
        probes = ContainerProbes(self.pod, container, run, ip, self.machine.prober, self._notify, failed, known)
        self._probes[container.name] = probes

    # Starting

    async def _make_sandbox(self) -> None:
        node = self.node()
        if not self.pod.spec.host_network and not node.pod_cidrs:
            self._sandbox_trouble = Trouble("", "", datetime.now(UTC) + _SANDBOX_RETRY)
            self._event(
                "Warning", "NetworkNotReady", "network is not ready: the node has no pod range yet (Node.spec.podCIDRs)"
            )
            self._notify()
            return
        try:
            self.seen = await self.machine.runtime.sandbox(sandbox_wish(self.pod, node))
            self._sandbox_trouble = None
            self._stale_files = True
            await self._refresh_files(first=True)
        except (RuntimeFailure, Missing) as error:
            reason = error.reason if isinstance(error, RuntimeFailure) else "FailedMount"
            text = f"Failed to create pod sandbox: {error}" if reason == "FailedCreatePodSandBox" else str(error)
            self._event("Warning", reason, text)
            self._sandbox_trouble = Trouble(reason, text, datetime.now(UTC) + _SANDBOX_RETRY)
        self._notify()

    async def _start(self, action: Start) -> None:
        container, now = action.container, datetime.now(UTC)
        if not await self._files_ready(container):
            return
        image = self.machine.images.find(container.image)
        if image is None:
            self._no_image(container)
            return
        text = f'Container image "{container.image}" already present on machine'
        self._event("Normal", "Pulled", text, container)
        self._pull_delays.pop(container.name, None)
        try:
            facts = await self._facts(services=True)
            wish = container_wish(self.pod, container, action.attempt, facts)
        except (Missing, Refused) as error:
            self._event("Warning", "Failed", f"Error: {error}", container)
            self._trouble(container, "CreateContainerConfigError", str(error), INITIAL)
            return
        self._troubles.pop(container.name, None)
        if action.ended is not None:
            self._backoffs[container.name] = raised(self._backoffs.get(container.name), action.ended, now)
        self._event("Normal", "Created", f"Created container: {container.name}", container)
        try:
            self.seen = await self.machine.runtime.start(self.pod.uid, wish)
        except RuntimeFailure as error:
            self._event("Warning", "Failed", f"Error: {error}", container)
            if not self._take_failed_run(container, action.attempt):
                self._trouble(container, error.reason, str(error), INITIAL)
            return
        self._event("Normal", "Started", f"Started container {container.name}", container)
        self._follow_runs()
        if container.lifecycle and container.lifecycle.post_start:
            await self._post_start(container, container.lifecycle.post_start)
        self._notify()

    def _take_failed_run(self, container: Container, attempt: int) -> bool:
        """A start that failed in the shim is a run that ended: the restart policy and its back-off take over."""
        run = self.seen.latest(container.name) if self.seen else None
        self._notify()
        return run is not None and run.attempt == attempt and not run.running

    def _no_image(self, container: Container) -> None:
        known = ", ".join(image.name for image in self.machine.images.all())
        delay = self._pull_delays.get(container.name)
        if delay is None:
            text = f'Failed to pull image "{container.image}": not in the local image table; known images: {known}'
            self._event("Warning", "Failed", text, container)
            self._event("Warning", "Failed", "Error: ErrImagePull", container)
            self._pull_delays[container.name] = INITIAL
            self._trouble(container, "ErrImagePull", text, timedelta(seconds=1))
            return
        text = f'Back-off pulling image "{container.image}": not in the local image table; known images: {known}'
        self._event("Normal", "BackOff", text, container)
        self._event("Warning", "Failed", "Error: ImagePullBackOff", container)
        self._pull_delays[container.name] = min(delay * 2, LONGEST)
        self._trouble(container, "ImagePullBackOff", text, delay)

    def _trouble(self, container: Container, reason: str, message: str, delay: timedelta) -> None:
        self._troubles[container.name] = Trouble(reason, message, datetime.now(UTC) + delay)
        self._notify()

    async def _facts(self, *, services: bool = False) -> Facts:
        node = self.node()
        held = await self._hold()
        return Facts(
            node_name=node.name,
            host_ips=node.addresses,
            pod_ips=self.seen.ips if self.seen else (),
            objects=self.objects.documents(held),
            services=await self.objects.services(self.pod) if services else (),
            allocatable=node.allocatable,
        )

    async def _hold(self) -> set[tuple[str, str, str]]:
        held = {(kind, self.pod.metadata.namespace, name) for kind, name in references(self.pod)}
        await self.objects.hold(self.pod.uid, held, self._objects_changed)
        return held

    # Volumes

    async def _files_ready(self, container: Container) -> bool:
        """Whether the files of its volumes are written; otherwise the pod waits, and an event has said for what."""
        if not self._stale_files:
            return True
        try:
            await self._refresh_files(first=True)
        except (Missing, RuntimeFailure) as error:
            self._event("Warning", "FailedMount", str(error))
            self._trouble(container, "ContainerCreating", "", _SANDBOX_RETRY)
        return not self._stale_files

    async def _refresh_files(self, *, first: bool = False) -> datetime | None:
        """Writes all 'files' volumes anew where something changed. When to renew the next token.

        Raises Missing only at `first`: a ConfigMap deleted under a running pod leaves its last content, as upstream's does.
        """
        if self.seen is None or not self.seen.alive or self.pod.terminating or self._gone:
            return None
        now = datetime.now(UTC)
        due = [token for token, held in self._tokens.items() if held.renew_at <= now]
        if self._stale_files or due:
            facts = await self._facts()
            group = self.pod.spec.security_context.fs_group if self.pod.spec.security_context else None
            for volume in self.pod.spec.volumes or ():
                if not any(volume.get(kind) is not None for kind in volumes.FILES):
                    continue
                try:
                    await self._fetch_tokens(volume["name"], due)
                    files = volumes.files(self.pod, volume, facts, {token: held.text for token, held in self._tokens.items()})
                    await self.machine.volumes.write(self.pod.uid, volume["name"], files, group)
                except Missing as error:
                    text = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                    if first:
                        raise Missing(text) from error
                    log.info("volume not refreshed", pod=self.pod.key, error=text)
            self._stale_files = False
        return min((held.renew_at for held in self._tokens.values()), default=None)

    async def _fetch_tokens(self, volume: str, due: list[Token]) -> None:
        for token in volumes.tokens(self.pod):
            if token.volume != volume or (token in self._tokens and token not in due):
                continue
            try:
                self._tokens[token] = await request_token(self.api, self.pod, token)
            except (Missing, ApiUnavailable):
                if token not in self._tokens:
                    raise
                self._tokens[token] = structs.replace(self._tokens[token], renew_at=datetime.now(UTC) + INITIAL)

    # Hooks and stopping

    async def _hook(self, container: Container, hook: Hook, limit: float) -> Outcome:
        if hook.sleep is not None:
            await asyncio.sleep(min(hook.sleep.seconds, limit))
            return Outcome(True)
        try:
            what = check_of(container, hook, self.pod, next(iter(self.seen.ips), "") if self.seen else "")
        except ValueError as error:
            return Outcome(False, str(error))
        outcome = await self.machine.prober.check(what, limit)
        if isinstance(what, ExecCheck) and not outcome.success:
            return Outcome(False, f"command '{' '.join(what.command)}' failed: {outcome.output}")
        return outcome

    async def _post_start(self, container: Container, hook: Hook) -> None:
        """Runs the hook; its end, the pod's deletion or the container's end ends the wait."""
        task = asyncio.create_task(self._hook(container, hook, 3600.0))
        try:
            while not task.done() and not self.pod.terminating and not self._gone and self._runs(container.name):
                await self._either(task)
            if task.done() and not task.result().success:
                self._event("Warning", "FailedPostStartHook", f"PostStartHook failed: {task.result().output}", container)
                stop = Stop(container, "FailedPostStartHook", self.pod.grace_period)
                self._stops[container.name] = asyncio.create_task(self._stop(stop))
        finally:
            task.cancel()

    async def _either(self, task: "asyncio.Task[Any]") -> None:
        """Until the task is done or something is notified."""
        await asyncio.wait([task, self._newsflash()], return_when=asyncio.FIRST_COMPLETED)

    def _newsflash(self) -> asyncio.Future[None]:
        """Done at the next notification."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news.add(future)
        return future

    def _runs(self, container: str) -> bool:
        run = self.seen.latest(container) if self.seen else None
        return run is not None and run.running and self.seen is not None and self.seen.alive

    async def _stop(self, action: Stop) -> None:
        """preStop hook and SIGTERM within the grace period, then SIGKILL. A shorter deadline that arrives meanwhile holds."""
        container, loop = action.container, asyncio.get_running_loop()
        started = loop.time()
        try:
            self._event("Normal", "Killing", action.message, container)
            hook = container.lifecycle.pre_stop if container.lifecycle else None
            if hook and action.grace > 0:
                outcome = await self._hook(container, hook, action.grace)
                if not outcome.success:
                    self._event("Warning", "FailedPreStopHook", f"PreStopHook failed: {outcome.output}", container)
            least = min(_LEAST_AFTER_HOOK, action.grace) if hook else 0.0
            left = max(action.grace - (loop.time() - started), least)
            if left > 0:
                await self.machine.runtime.signal(self.pod.uid, container.name, signal.SIGTERM)
                await self._wait_for_end(container.name, loop.time() + left)
            while self._runs(container.name):
                await self.machine.runtime.signal(self.pod.uid, container.name, signal.SIGKILL)
                await self._wait_for_end(container.name, loop.time() + 1.0, fixed=True)
        finally:
            self._stops.pop(container.name, None)
            self._notify()

    async def _wait_for_end(self, container: str, deadline: float, *, fixed: bool = False) -> None:
        loop = asyncio.get_running_loop()
        while self._runs(container) and loop.time() < deadline:
            if not fixed and (self._gone or self.pod.terminating):
                meta = self._wished().metadata
                if meta.deletion_timestamp:
                    by_object = (meta.deletion_timestamp - datetime.now(UTC)).total_seconds()
                    deadline = (
                        min(deadline, loop.time() + max(by_object, 0.01)) if not self._gone else min(deadline, loop.time() + 1)
                    )
            await asyncio.wait({self._newsflash()}, timeout=max(deadline - loop.time(), 0))

    # The end

    async def _finish(self) -> None:
        """Everything of the pod goes, its last status is written, then the object: grace 0, and only this very pod."""
        for probes in self._probes.values():
            probes.stop()
        await self.machine.runtime.remove(self.pod.uid)
        if not self._gone:
            await self._flush()
        if not self._gone:
            options = {
                "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": self.pod.uid},
            }  # fmt: skip
            try:
                await self.api.write("delete", POD, self.pod.metadata.namespace, self.pod.metadata.name, options)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
        self._finished = True

    async def _flush(self) -> None:
        flushed = asyncio.create_task(self.status.flushed())
        try:
            while not flushed.done() and not self._gone:
                await self._either(flushed)
        finally:
            flushed.cancel()

    # Telling

    def _event(self, kind: Literal["Normal", "Warning"], reason: str, message: str, container: Container | None = None) -> None:
        meta = self.pod.metadata
        about = {"apiVersion": "v1", "kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid}
        about["resourceVersion"] = meta.resource_version
        if container is not None:
            where = "initContainers" if container in (self.pod.spec.init_containers or ()) else "containers"
            about["fieldPath"] = f"spec.{where}{{{container.name}}}"
        self.events.record(about, kind, reason, message)

    def _tell_back_off(self, name: str) -> None:
        """Once per wait."""
        run = self.seen.latest(name) if self.seen else None
        if run is None or run.finished_at is None or self._told_back_off.get(name) == run.finished_at:
            return
        self._told_back_off[name] = run.finished_at
        meta = self.pod.metadata
        text = f"Back-off restarting failed container {name} in pod {meta.name}_{meta.namespace}({meta.uid})"
        self._event("Warning", "BackOff", text, next(one for one in self.pod.containers if one.name == name))
