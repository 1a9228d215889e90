"""How is one pod kept as its spec says? One worker: decide, report, act, wait for whatever changes next.

All decisions are `pods.step`'s. What takes long (stopping a container with its grace period) runs beside the worker; what must
be in order (sandbox, then container after container with its postStart hook) runs in it.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import structlog
from msgspec import Struct, structs

from mooring.control.kubelet_events import Events
from mooring.control.kubelet_files import PodFiles
from mooring.control.kubelet_lifecycle import Lifecycle
from mooring.control.kubelet_objects import Objects
from mooring.control.kubelet_probes import ContainerProbes
from mooring.control.kubelet_pulls import Pulls
from mooring.control.kubelet_status import StatusWriter, gone
from mooring.control.kubelet_volumes import Host, volumes_of
from mooring.control.kubelet_wishes import NodeView, container_wish, resize_wish, sandbox_wish
from mooring.model.kinds import POD
from mooring.model.pod import Container, Pod
from mooring.pods.observed import PodSeen
from mooring.pods.probing import Health, Role
from mooring.pods.resizing import Refusal, allotted
from mooring.pods.resolv_conf import resolver
from mooring.pods.restart import INITIAL, Backoff, Trouble, raised
from mooring.pods.security import Refused
from mooring.pods.sources import Missing
from mooring.pods.step import Action, Finish, Knowledge, MakeSandbox, Release, Resize, Start, Stop, step
from mooring.ports.api import Api, ApiError, ApiUnavailable
from mooring.ports.pods import Images, Prober, Resizer, Runtime, RuntimeFailure, Volumes

Document = dict[str, Any]
log = structlog.get_logger("kubelet")
_FORCED_GRACE = 1
"""Seconds of grace for a pod whose object is already gone."""
_SANDBOX_RETRY, _MOUNT_RETRY = timedelta(seconds=1), timedelta(seconds=5)
_RETRY = 1.0


class Machine(Struct, frozen=True):
    """The ports of one node, together."""

    runtime: Runtime
    images: Images
    volumes: Volumes
    prober: Prober
    resizer: Resizer


class PodWorker:
    """`node()` gives the node's current view; `room(uid)` says whether the pod may have what its spec wishes."""

    def __init__(
        self,
        api: Api,
        machine: Machine,
        objects: Objects,
        events: Events,
        node: Callable[[], NodeView],
        pod: Pod,
        seen: PodSeen | None,
        room: Callable[[str], Refusal | None],
    ) -> None:
        self.api, self.machine, self.events, self.node, self.room = api, machine, events, node, room
        self.pod, self.seen, self.allotted = pod, seen, pod
        self.refusal: Refusal | None = None
        self.status = StatusWriter(api, pod, self.forget, self._notify)
        self._wake = asyncio.Event()
        self._news: set[asyncio.Future[None]] = set()
        self._gone: datetime | None = None
        self._finished = False
        self._probes: dict[str, ContainerProbes] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._troubles: dict[str, Trouble] = {}
        self._pulls = Pulls(machine.images)
        self._renewing: set[str] = set()
        self._sandbox_trouble: Trouble | None = None
        self.lifecycle = Lifecycle(self, machine.runtime, machine.prober, self._notify)
        self.files = PodFiles(api, objects, machine.volumes, self._objects_changed)
        self._told_back_off: dict[str, datetime] = {}

    # What others tell

    def update(self, pod: Pod) -> None:
        """A newer version of the object."""
        shown = [(meta.labels, meta.annotations) for meta in (self.pod.metadata, pod.metadata)]
        self.files.stale = self.files.stale or shown[0] != shown[1]
        self.pod = pod
        self.status.told(pod)
        self._notify()

    def observe(self, seen: PodSeen) -> None:
        """A run ended, or the sandbox died."""
        self.seen = seen
        self._notify()

    def forget(self) -> None:
        """The object is gone from the API: stop quickly, remove everything, report nothing."""
        self._gone = self._gone or datetime.now(UTC)
        self._notify()

    def room_changed(self) -> None:
        """Another pod has less, or has gone."""
        if self.refusal:
            self._notify()

    def _notify(self) -> None:
        self._wake.set()
        for future in self._news:
            if not future.done():
                future.set_result(None)
        self._news.clear()

    def _objects_changed(self) -> None:
        """What was missing may be there now: nobody waits for the clock."""
        waits = ("ContainerCreating", "CreateContainerConfigError")
        self._troubles = {name: trouble for name, trouble in self._troubles.items() if trouble.reason not in waits}
        self._notify()

    # The loop

    async def run(self) -> None:
        """Until the pod has gone, or cancelled: then its processes go on and another agent adopts them."""
        writer = asyncio.create_task(self.status.run(), name=f"status of {self.pod.key}")
        try:
            while not self._finished:
                try:
                    again = await self._round()
                except (ApiUnavailable, ApiError, OSError, RuntimeFailure) as error:
                    log.warning("pod worker tries again", pod=self.pod.key, error=str(error))
                    again = datetime.now(UTC) + timedelta(seconds=_RETRY)
                await self._sleep(again)
        finally:
            writer.cancel()
            self.lifecycle.cancel()
            while self._probes:
                self._probes.popitem()[1].stop()
            await self.files.release(self.pod.uid)

    async def _round(self) -> datetime | None:
        """One decision carried out; when to look again."""
        self._wake.clear()
        self._follow_runs()
        pod = self._wished()
        taken = step(pod, self.seen, self._knowledge(self.status.latest), datetime.now(UTC))
        self.allotted = taken.pod
        if not self._gone:
            self.status.wish(taken.status)
        for container in taken.backing_off:
            self._tell_back_off(container)
        for action in taken.actions:
            await self._act(action)
            if self._wake.is_set() and not isinstance(action, Stop):
                break  # Something changed meanwhile: decide again before going on.
        renewal = await self._refresh_files()
        return min((time for time in (taken.again, renewal) if time), default=None)

    def _wished(self) -> Pod:
        """The pod; one whose object has gone is one that was deleted at short notice."""
        if self._gone is None:
            return self.pod
        given = self.pod.metadata.deletion_grace_period_seconds
        grace = min(_FORCED_GRACE if given is None else given, _FORCED_GRACE)
        end = self._gone + timedelta(seconds=grace)
        meta = structs.replace(self.pod.metadata, deletion_timestamp=end, deletion_grace_period_seconds=grace)
        return structs.replace(self.pod, metadata=meta)

    def _knowledge(self, before: Document) -> Knowledge:
        self.refusal = None if allotted(self.pod, self.seen, before) is self.pod else self.room(self.pod.uid)
        return Knowledge(
            node_ips=self.node().addresses,
            health={name: probes.health for name, probes in self._probes.items()},
            backoffs=self._backoffs,
            troubles=self._troubles,
            sandbox_trouble=self._sandbox_trouble,
            stopping=frozenset(self.lifecycle.stops),
            renewing=frozenset(self._renewing),
            refusal=self.refusal,
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

    async def _act(self, action: Action) -> None:
        match action:
            case MakeSandbox():
                await self._make_sandbox()
            case Start():
                await self._start(action)
            case Stop():
                self._renewing |= {action.container.name} if action.renews else set()
                self.lifecycle.stop(action)
            case Resize():
                self.seen = await self.machine.resizer.resize(self.pod.uid, resize_wish(self.allotted, action.container))
                self._notify()
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
            if held and (self.pod.terminating or container.name in self.lifecycle.stops):
                held.stop(keep=("readiness",))
            if run is not None and run.running and held is None:
                self._probe(container, run.id)

    def _probe(self, container: Container, run_id: str) -> None:
        run = self.seen.latest(container.name) if self.seen else None
        assert self.seen is not None and run is not None
        known, written = None, self.status.written
        for given in (*(written.get("containerStatuses") or ()), *(written.get("initContainerStatuses") or ())):
            if given.get("containerID") == run_id:
                known = Health(bool(given.get("started")), bool(given.get("ready")))

        def failed(role: Role, output: str) -> None:
            self.tell("Warning", "Unhealthy", f"{role.capitalize()} probe failed: {output}", container)

        ip = next(iter(self.seen.ips), "")
        probes = ContainerProbes(self.pod, container, run, ip, self.machine.prober, self._notify, failed, known)
        self._probes[container.name] = probes

    # Starting

    async def _make_sandbox(self) -> None:
        node = self.node()
        if not self.pod.spec.host_network and not node.pod_cidrs:
            self._sandbox_trouble = Trouble("", "", datetime.now(UTC) + _SANDBOX_RETRY)
            self.tell("Warning", "NetworkNotReady", "network is not ready: the node has no pod range yet (Node.spec.podCIDRs)")
            self._notify()
            return
        asked = resolver(self.pod, node.dns)
        for each in asked.complaints:
            self.tell("Warning", each.reason, each.message)
            if each.node:
                self.events.about_node("Warning", each.reason, each.node)
        try:
            claimed = await volumes_of(self.api, self.pod, Host(node.name, node.labels))
            self.seen = await self.machine.runtime.sandbox(sandbox_wish(self.allotted, node, asked, claimed))
            self._sandbox_trouble = None
            self.files.stale = True
        except (RuntimeFailure, Missing) as error:
            reason = error.reason if isinstance(error, RuntimeFailure) else "FailedMount"
            text = f"Failed to create pod sandbox: {error}" if reason == "FailedCreatePodSandBox" else str(error)
            self.tell("Warning", reason, text)
            self._sandbox_trouble = Trouble(reason, text, datetime.now(UTC) + _SANDBOX_RETRY)
        self._notify()

    async def _start(self, action: Start) -> None:
        container, now = action.container, datetime.now(UTC)
        if not await self._files_ready(container):
            return
        if lack := self._pulls.lack(container):
            for kind, reason, message in lack.events:
                self.tell(kind, reason, message, container)
            self._trouble(container, lack.reason, lack.message, lack.delay)
            return
        self.tell("Normal", "Pulled", f'Container image "{container.image}" already present on machine', container)
        try:
            facts = await self.files.facts(self.pod, self.seen, self.node(), services=True)
            wish = container_wish(self.allotted, container, action.attempt, facts)
        except (Missing, Refused) as error:
            self.tell("Warning", "Failed", f"Error: {error}", container)
            self._trouble(container, "CreateContainerConfigError", str(error), INITIAL)
            return
        self._troubles.pop(container.name, None)
        self._renewing.discard(container.name)
        if action.ended is not None:
            self._backoffs[container.name] = raised(self._backoffs.get(container.name), action.ended, now)
        self.tell("Normal", "Created", f"Created container: {container.name}", container)
        try:
            self.seen = await self.machine.runtime.start(self.pod.uid, wish)
        except RuntimeFailure as error:
            self.tell("Warning", "Failed", f"Error: {error}", container)
            if not self._ended(container, action.attempt):
                self._trouble(container, error.reason, str(error), INITIAL)
            return
        self.tell("Normal", "Started", f"Started container {container.name}", container)
        self._follow_runs()
        if container.lifecycle and container.lifecycle.post_start:
            await self.lifecycle.post_start(container, container.lifecycle.post_start)
        self._notify()

    def _ended(self, container: Container, attempt: int) -> bool:
        """A start that failed in the shim is a run that ended: the restart policy and its back-off take over."""
        run = self.seen.latest(container.name) if self.seen else None
        return run is not None and run.attempt == attempt and not run.running

    def _trouble(self, container: Container, reason: str, message: str, delay: timedelta) -> None:
        self._troubles[container.name] = Trouble(reason, message, datetime.now(UTC) + delay)
        self._notify()

    async def _files_ready(self, container: Container) -> bool:
        """Whether the files of its volumes are written; otherwise the pod waits, and an event has said for what."""
        assert self.seen is not None
        try:
            await self.files.write(self.pod, self.seen, self.node(), first=True)
        except (Missing, RuntimeFailure) as error:
            self.tell("Warning", "FailedMount", str(error))
            self._trouble(container, "ContainerCreating", "", _MOUNT_RETRY)
            return False
        return True

    async def _refresh_files(self) -> datetime | None:
        """Keeps the files true while the pod lives; when to look at its tokens again."""
        if self.seen is None or not self.seen.alive or not self.seen.running or self.pod.terminating or self._gone:
            return None
        try:
            await self.files.write(self.pod, self.seen, self.node(), first=False)
        except RuntimeFailure as error:
            log.info("volumes not refreshed", pod=self.pod.key, error=str(error))
        return self.files.renewal

    # What hooks and stops ask (kubelet_lifecycle.Life)

    def runs(self, container: str) -> bool:
        run = self.seen.latest(container) if self.seen else None
        return run is not None and run.running and self.seen is not None and self.seen.alive

    def must_end(self) -> datetime | None:
        return self._wished().metadata.deletion_timestamp

    def news(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news.add(future)
        return future

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
                if not gone(error):
                    raise
        self._finished = True

    async def _flush(self) -> None:
        flushed = asyncio.create_task(self.status.flushed())
        try:
            while not flushed.done() and not self._gone:
                await asyncio.wait([flushed, self.news()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            flushed.cancel()

    # Telling

    def tell(self, kind: Literal["Normal", "Warning"], reason: str, message: str, container: Container | None = None) -> None:
        meta = self.pod.metadata
        about = {"apiVersion": "v1", "kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid}
        about["resourceVersion"] = meta.resource_version
        if container is not None:
            about["fieldPath"] = f"spec.{self.pod.group(container)}{{{container.name}}}"
        self.events.record(about, kind, reason, message)

    def _tell_back_off(self, name: str) -> None:
        """Once per wait."""
        run = self.seen.latest(name) if self.seen else None
        if run is None or run.finished_at is None or self._told_back_off.get(name) == run.finished_at:
            return
        self._told_back_off[name] = run.finished_at
        meta = self.pod.metadata
        text = f"Back-off restarting failed container {name} in pod {meta.name}_{meta.namespace}({meta.uid})"
        self.tell("Warning", "BackOff", text, next(one for one in self.pod.containers if one.name == name))
