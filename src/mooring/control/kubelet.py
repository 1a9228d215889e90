"""How does a node run its pods? The agent: the Node kept known, a worker for each pod assigned to it, orphans removed.

Stopping the agent, or killing it, leaves the pods running; the next one adopts them.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from msgspec import Struct, ValidationError

from mooring.control.kubelet_events import Events
from mooring.control.kubelet_node import NodeReporter
from mooring.control.kubelet_objects import Objects
from mooring.control.kubelet_pod import Machine, PodWorker
from mooring.control.kubelet_room import refusal
from mooring.control.kubelet_watch import Follower
from mooring.control.kubelet_wishes import NodeView, no_dns, no_hosts
from mooring.model.kinds import POD
from mooring.model.pod import pod as pod_view
from mooring.pods.node import HostFacts, NodeIdentity, room
from mooring.pods.observed import PodSeen
from mooring.pods.resizing import Refusal
from mooring.pods.resolv_conf import node_complaint
from mooring.ports.api import Api
from mooring.ports.pods import RuntimeFailure

Document = dict[str, Any]
log = structlog.get_logger("kubelet")
_RESTART = 1.0


class NodeOptions(Struct, frozen=True):
    """`services(namespace)`: Services from an informer, for the environment variables; None asks the API at each start.

    `resolv_conf()` and `hosts()` read the node's own files; '' for `resolv_conf` says that the node has no DNS.
    """

    identity: NodeIdentity
    facts: HostFacts
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    resolv_conf: Callable[[], str] = no_dns
    resolv_conf_path: str = ""
    hosts: Callable[[], str] = no_hosts
    services: Callable[[str], list[Document]] | None = None


class Kubelet:
    """The pods of one node. `workers` by uid."""

    def __init__(self, api: Api, machine: Machine, options: NodeOptions, tasks: asyncio.TaskGroup) -> None:
        self.api, self.machine, self.options, self.tasks = api, machine, options, tasks
        self.reporter = NodeReporter(api, options.identity, options.facts, machine.images)
        self.events = Events(api, options.identity.name)
        self.objects = Objects(api, tasks, options.services)
        self.workers: dict[str, PodWorker] = {}
        self.adopted: dict[str, PodSeen] = {}
        self.pods = Follower(api, POD, self._changed, fields=f"spec.nodeName={options.identity.name}")

    def node(self) -> NodeView:
        options = self.options
        return NodeView(
            name=options.identity.name,
            addresses=options.identity.addresses,
            pod_cidrs=self.reporter.pod_cidrs,
            cluster_dns=options.cluster_dns,
            cluster_domain=options.cluster_domain,
            resolv_conf=options.resolv_conf,
            hosts=options.hosts,
            allocatable=self.reporter.allocatable,
            labels=self.reporter.labels,
        )

    async def run(self) -> None:
        """Until cancelled."""
        for seen in await self.machine.runtime.adopt(self._seen):
            self.adopted[seen.uid] = seen
        self.tasks.create_task(self.events.run(), name="events")
        self.tasks.create_task(self.reporter.run(self._registered), name="node")
        self.tasks.create_task(self.pods.run(), name="pods")
        await self.pods.listed.wait()
        await self._remove_orphans()

    def _registered(self) -> None:
        self.events.about_node("Normal", "Starting", "Starting kubelet.")
        options = self.options
        if complaint := node_complaint(options.resolv_conf(), options.cluster_domain, options.resolv_conf_path):
            self.events.about_node("Warning", "CheckLimitsForResolvConf", complaint)

    async def _remove_orphans(self) -> None:
        """Pods on this machine that the API server no longer has."""
        for uid in set(self.adopted) - set(self.pods.objects):
            seen = self.adopted.pop(uid)
            self.tasks.create_task(self._remove_orphan(uid, f"{seen.namespace}/{seen.name}"), name=f"remove {uid}")

    async def _remove_orphan(self, uid: str, name: str) -> None:
        """However long it takes: a process that cannot die yet must not keep the other pods waiting."""
        log.info("removing an orphaned pod", pod=name)
        while True:
            try:
                return await self.machine.runtime.remove(uid)
            except (OSError, RuntimeFailure) as error:
                log.warning("orphaned pod not removed", pod=name, error=str(error))
                await asyncio.sleep(_RESTART)

    def _room(self, uid: str) -> Refusal | None:
        """Whether a pod may have what it wishes, beside the others as they will be told of."""
        known = self.pods.objects
        others = [
            {**known[other], "status": worker.status.latest}
            for other, worker in self.workers.items()
            if other != uid and other in known
        ]
        allocatable = self.reporter.allocatable or room(self.options.identity, self.options.facts)
        return refusal(known[uid], others, allocatable) if uid in known else None

    def _changed(self, uid: str, document: Document | None) -> None:
        for other in self.workers.values():
            other.room_changed()
        worker = self.workers.get(uid)
        if document is None:
            if worker:
                worker.forget()
            return
        try:
            pod = pod_view(document)
        except ValidationError as error:
            log.error("pod not understood", pod=document["metadata"].get("name"), error=str(error))
            return
        if worker:
            worker.update(pod)
            return
        seen = self.adopted.pop(uid, None)
        worker = PodWorker(self.api, self.machine, self.objects, self.events, self.node, pod, seen, self._room)
        self.workers[uid] = worker
        self.tasks.create_task(self._work(worker), name=f"pod {pod.key}")

    async def _work(self, worker: PodWorker) -> None:
        """Runs a worker to its end. A defect in one pod's worker must not take the node down: it is told and begun again."""
        while True:
            try:
                await worker.run()
                break
            except Exception:
                log.exception("pod worker failed", pod=worker.pod.key)
                await asyncio.sleep(_RESTART)
        self.workers.pop(worker.pod.uid, None)
        for other in self.workers.values():
            other.room_changed()

    def _seen(self, seen: PodSeen) -> None:
        worker = self.workers.get(seen.uid)
        if worker:
            worker.observe(seen)
        elif seen.uid in self.adopted:
            self.adopted[seen.uid] = seen


async def run_kubelet(api: Api, machine: Machine, options: NodeOptions, stop: asyncio.Event) -> None:
    """The node agent's pods, until `stop` is set. Pods go on running after it."""

    async def live() -> None:
        async with asyncio.TaskGroup() as tasks:
            await Kubelet(api, machine, options, tasks).run()

    living, stopping = asyncio.create_task(live(), name="kubelet"), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({living, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if living.done():
            living.result()
    finally:
        for task in (living, stopping):
            task.cancel()
        await asyncio.gather(living, stopping, return_exceptions=True)
    log.info("kubelet stopped", node=options.identity.name)
