"""`mooring controllers`: every reconciler and the scheduler, on one set of informers, against any Kubernetes API server."""

import asyncio
import gc
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import structlog
import uvloop
from msgspec import Struct
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from mooring.alloc.pool import Pool
from mooring.app.roles.stopping import stop_signal
from mooring.control.custom_kinds import CustomKinds
from mooring.control.endpoint_slice_metrics import EndpointSliceMetrics
from mooring.control.informer import Informer
from mooring.control.ingress_pods import IMAGE
from mooring.control.loop import Loop
from mooring.control.queue import QueueMetrics
from mooring.control.reconciler import Document, Reconciler
from mooring.control.reconcilers.cluster_role_aggregation import ClusterRoleAggregation
from mooring.control.reconcilers.custom_resource_definitions import CustomResourceDefinitions
from mooring.control.reconcilers.daemon_sets import DaemonSets
from mooring.control.reconcilers.deployments import Deployments
from mooring.control.reconcilers.disruption_budgets import DisruptionBudgets
from mooring.control.reconcilers.endpoint_slice_mirror import EndpointSliceMirror
from mooring.control.reconcilers.endpoint_slices import EndpointSlices
from mooring.control.reconcilers.endpoints import Endpoints
from mooring.control.reconcilers.garbage_collector import GarbageCollector
from mooring.control.reconcilers.ingress_classes import IngressClasses
from mooring.control.reconcilers.ingress_proxies import IngressProxies
from mooring.control.reconcilers.ingress_status import IngressStatus
from mooring.control.reconcilers.ip_addresses import IpAddresses
from mooring.control.reconcilers.jobs import Jobs
from mooring.control.reconcilers.kubernetes_service import KubernetesService
from mooring.control.reconcilers.load_balancers import NO_POOL, LoadBalancers
from mooring.control.reconcilers.namespaces import Namespaces
from mooring.control.reconcilers.node_lifecycle import NodeLifecycle
from mooring.control.reconcilers.persistent_volumes import PersistentVolumes
from mooring.control.reconcilers.pod_cidrs import PodCidrs
from mooring.control.reconcilers.pod_gc import PodGc
from mooring.control.reconcilers.replica_sets import ReplicaSets
from mooring.control.reconcilers.root_ca import RootCa
from mooring.control.reconcilers.scheduler import Scheduler
from mooring.control.reconcilers.service_accounts import ServiceAccounts
from mooring.control.reconcilers.service_cidrs import ServiceCidrs
from mooring.control.reconcilers.service_problems import ServiceProblems
from mooring.control.reconcilers.stateful_sets import StatefulSets
from mooring.control.reconcilers.storage_classes import StorageClasses
from mooring.control.recorder import Recorder
from mooring.control.world import InformerWorld
from mooring.edges.http import health, kubeconfig
from mooring.edges.http.client import ApiClient
from mooring.edges.http.kubeconfig import Access, KubeconfigError
from mooring.edges.http.renewal import LOOK_AGAIN
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION, STORED, Kind
from mooring.ports.api import Api

log = structlog.get_logger(__name__)


ALL = "*"
COMPONENTS = {
    "endpointslice": "endpoint-slice-controller",
    "endpointslicemirroring": "endpoint-slice-mirroring-controller",
    "ingress-proxies": "mooring-ingress-controller",
    "ingress-status": "mooring-ingress-controller",
    "ip-address-repair": "ipallocator-repair-controller",
    "load-balancers": "service-controller",
    "disruption": "controllermanager",
    "node-lifecycle": "node-controller",
    "persistentvolume-binder": "persistentvolume-controller",
    "scheduler": "default-scheduler",
}
"""Who an Event says it is from, where upstream's name is not '<name>-controller'."""


class Options(Struct, frozen=True):
    """Without a kubeconfig, the service account of the pod this runs in. `port` 0 picks a free one.

    `advertised` are the addresses at which the API server stands behind the Service default/kubernetes; without them that
    Service is left to the server itself. Without `pod_cidrs`, nodes bring their own. Without a `load_balancer_pool`, load
    balancers are left to others. `ingress_classes` are made where they are not there, the first as the default one,
    and so is the `storage_class`, for claims that name none; `gateway_image` is that of the proxies. `controllers` chooses as
    upstream's flag does: '*' is all, 'name' one of them, '-name' all but it; where others run some already, leave those out.
    """

    kubeconfig: Path | None = None
    host: str = "127.0.0.1"
    port: int = 10257
    service_cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    pod_cidrs: tuple[str, ...] = ()
    cluster_dns: tuple[str, ...] = ()
    advertised: tuple[str, ...] = ()
    advertised_port: int = 6443
    load_balancer_pool: Pool = NO_POOL
    ingress_classes: tuple[str, ...] = ()
    storage_class: str = ""
    gateway_image: str = IMAGE
    controllers: tuple[str, ...] = (ALL,)


def run(options: Options) -> None:
    """`serve` in a loop of its own, until SIGTERM or SIGINT."""
    uvloop.run(serve(options))


async def serve(options: Options, ready: Callable[[int], None] = lambda port: None) -> None:
    """Reconciles until SIGTERM or SIGINT. `ready` is called with the health port once all informers are synced.

    Raises KubeconfigError, and OSError when the port is taken. A server that does not answer is waited for.
    """
    access = kubeconfig.load(options.kubeconfig) if options.kubeconfig else kubeconfig.in_cluster()
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    async with ApiClient(access, agent="mooring-controllers") as api:
        chosen_ones = reconcilers(options, access, registry)
        controllers = Controllers(api, chosen_ones, registry)
        place = health.Health(options.host, options.port, registry, {"informer-sync": controllers.missing})
        async with health.serve(place) as port, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(controllers.run())
            announcing = tasks.create_task(controllers.announce(lambda: ready(port)))
            publishers = [each for each in chosen_ones if isinstance(each, RootCa)]
            following = [tasks.create_task(follow_authority(access, each, controllers.look_again)) for each in publishers]
            await stop_signal()
            log.info("stopping")
            for task in (running, announcing, *following):
                task.cancel()


async def follow_authority(access: Access, publisher: RootCa, look_again: Callable[[str], None]) -> None:
    """Whom pods are told to trust is whom we are told to trust, also when that changes. Until cancelled."""
    while True:
        await asyncio.sleep(LOOK_AGAIN)
        with suppress(KubeconfigError):
            access = access.renewed()
        if access.authority and (bundle := access.authority.decode()) != publisher.ca:
            publisher.ca = bundle
            look_again(publisher.name)


def reconcilers(options: Options, access: Access, registry: CollectorRegistry) -> tuple[Reconciler, ...]:
    """Those that were chosen, of all there are. Their order means nothing: each has a queue and workers of its own.

    Raises ValueError for a name that none of them has.
    """
    known: list[Reconciler] = [
        EndpointSlices(observer=EndpointSliceMetrics(registry)),
        EndpointSliceMirror(),
        Endpoints(),
        Deployments(),
        ReplicaSets(),
        StatefulSets(),
        DaemonSets(),
        Jobs(),
        Scheduler(),
        DisruptionBudgets(),
        PersistentVolumes(),
        NodeLifecycle(),
        PodGc(),
        Namespaces(),
        GarbageCollector(),
        CustomResourceDefinitions(),
        ServiceCidrs(options.service_cidrs),
        IpAddresses(),
        LoadBalancers(options.load_balancer_pool),
        ServiceAccounts(),
        ServiceProblems(),
        ClusterRoleAggregation(),
        IngressProxies(options.gateway_image),
        IngressStatus(),
    ]
    if access.authority:
        known.append(RootCa(access.authority.decode()))
    if options.pod_cidrs:
        known.append(PodCidrs(options.pod_cidrs))
    known += _makers_of_classes(options)
    if options.advertised:
        known.append(KubernetesService(options.service_cidrs, options.advertised, options.advertised_port, options.cluster_dns))
    return tuple(each for each in known if chosen(each.name, options.controllers, [each.name for each in known]))


def _makers_of_classes(options: Options) -> Iterable[Reconciler]:
    if options.ingress_classes:
        yield IngressClasses(options.ingress_classes)
    if options.storage_class:
        yield StorageClasses(options.storage_class)


def chosen(name: str, wishes: Sequence[str], known: Sequence[str]) -> bool:
    """Upstream's --controllers: an exact wish decides, else '*' does."""
    for wish in wishes:
        if wish != ALL and wish.removeprefix("-") not in known:
            raise ValueError(f"there is no controller {wish.removeprefix('-')!r}; there are {', '.join(sorted(known))}")
    return name in wishes or (ALL in wishes and f"-{name}" not in wishes)


class Controllers:
    """Informers for all that anybody watches, and a loop for each reconciler."""

    def __init__(self, api: Api, running: Sequence[Reconciler], registry: CollectorRegistry) -> None:
        rng = Random()
        kinds = [kind for kind in STORED if any(kind in each.watches for each in running)]
        self._informers: dict[Kind, Informer[Document]] = {kind: Informer(api, kind, rng=rng) for kind in kinds}
        world = InformerWorld(self._informers, rng)
        metrics = QueueMetrics(registry)
        self._recorders = {each.name: Recorder(api, component(each.name)) for each in running}
        self._loops = [Loop(each, world, api, self._recorders[each.name], metrics) for each in running]
        self._world = world
        defined = CUSTOM_RESOURCE_DEFINITION in kinds
        self._customs = CustomKinds(api, world, self._follow, self._look_again, rng) if defined else None

    async def run(self) -> None:
        """Runs everything until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self._informers.values():
                tasks.create_task(informer.run())
            for recorder in self._recorders.values():
                tasks.create_task(recorder.run())
            for loop in self._loops:
                tasks.create_task(loop.run())
            if self._customs:
                tasks.create_task(self._customs.run())

    def _follow(self, kind: Kind) -> None:
        for loop in self._loops:
            if loop.customs:
                loop.follow(kind)

    def _look_again(self) -> None:
        for loop in self._loops:
            if loop.customs:
                loop.look_again()

    def look_again(self, name: str) -> None:
        """Has a reconciler look at every object."""
        for loop in self._loops:
            if loop.queue.name == name:
                loop.look_again()

    def missing(self) -> str:
        """Which kinds have not been listed yet; '' when all have."""
        return ", ".join(kind.group_resource for kind, informer in self._informers.items() if not informer.synced.is_set())

    async def announce(self, ready: Callable[[], None]) -> None:
        """Says so once every informer has its first list."""
        await self._world.wait_synced()
        # Documents hold no cycles of our making, so the collector need not look often at what comes.
        gc.set_threshold(50_000, 20, 50)
        log.info("reconciling", kinds=len(self._informers), controllers=[loop.queue.name for loop in self._loops])
        ready()


def component(name: str) -> str:
    return COMPONENTS.get(name, f"{name}-controller")
