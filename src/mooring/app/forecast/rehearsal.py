"""What becomes of the cluster with the manifests, and what without them? A fork brought to rest, changed, and to rest again.

The difference of the two is what the manifests do: what the cluster would do in any case (a rollout that is going on, a pod
that is ending) is in both. Time, the choice of free addresses and the tie-breaks of the scheduler are arguments.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from random import Random

from msgspec import Struct

from mooring.alloc.pool import Pool
from mooring.app.forecast.fork import Client, Fork, Objects
from mooring.app.forecast.kubelet import AssumedKubelet, is_starting
from mooring.app.forecast.provider import AssumedProvider
from mooring.app.forecast.provisioner import AssumedProvisioner
from mooring.app.forecast.read import copied, settings_of
from mooring.control.pod_state import node_of
from mooring.control.reconciler import Document, Reconciler, Report
from mooring.control.reconcilers.daemon_sets import DaemonSets
from mooring.control.reconcilers.deployments import Deployments
from mooring.control.reconcilers.endpoint_slice_mirror import EndpointSliceMirror
from mooring.control.reconcilers.endpoint_slices import EndpointSlices
from mooring.control.reconcilers.endpoints import Endpoints
from mooring.control.reconcilers.garbage_collector import GarbageCollector
from mooring.control.reconcilers.jobs import Jobs
from mooring.control.reconcilers.load_balancers import LoadBalancers
from mooring.control.reconcilers.namespaces import Namespaces
from mooring.control.reconcilers.node_lifecycle import NodeLifecycle
from mooring.control.reconcilers.persistent_volumes import PersistentVolumes
from mooring.control.reconcilers.pod_gc import PodGc
from mooring.control.reconcilers.replica_sets import ReplicaSets
from mooring.control.reconcilers.scheduler import Scheduler
from mooring.control.reconcilers.stateful_sets import StatefulSets
from mooring.control.settle import Refused, Restless, Settled, settle
from mooring.model.kinds import POD

PATIENCE = 600.0
"""Seconds without any write after which nothing more is expected: as long as a rollout may stand still by default."""


class Surroundings(Struct, frozen=True):
    """What the API does not tell. `pool` is the built-in pool of load balancers, None where another provider has them."""

    pool: Pool | None = None
    node_ports: tuple[int, int] = (30000, 32767)


class Outcome(Struct, frozen=True):
    """The cluster as it was read, at rest without the manifests, and at rest with them.

    `unsettled` says, where it was so, which object never came to rest.
    """

    now: Objects
    without: Objects
    with_: Objects
    reports: tuple[Report, ...]
    refusals: tuple[Refused, ...]
    unsettled: str


class Rehearsal:
    """Change the cluster through `client` (or `fork`), then ask for the `outcome`."""

    def __init__(self, documents: Sequence[Document], surroundings: Surroundings, now: datetime, rng: Random) -> None:
        documents = list(copied(documents, now))
        self.fork = Fork(documents, settings_of(documents, surroundings.node_ports), now, rng)
        self.client = Client(self.fork)
        pods = list(self.fork.list(POD))
        standing = frozenset(each["metadata"]["uid"] for each in pods if node_of(each) and not is_starting(each))
        taken = frozenset(address["ip"] for each in pods for address in (each.get("status") or {}).get("podIPs") or ())
        self._reconcilers = _reconcilers(AssumedKubelet(standing, taken), surroundings.pool)
        self._now = self.fork.objects()
        _, self._unsettled = self._rest()
        self._without = self.fork.objects()

    def outcome(self) -> Outcome:
        settled, unsettled = self._rest()
        reports, refusals = (settled.reports, settled.refusals) if settled else ((), ())
        return Outcome(self._now, self._without, self.fork.objects(), reports, refusals, unsettled or self._unsettled)

    def _rest(self) -> tuple[Settled | None, str]:
        try:
            return settle(self._reconcilers, self.fork, patience=PATIENCE), ""
        except Restless as error:
            return None, str(error)


def _reconcilers(kubelet: AssumedKubelet, pool: Pool | None) -> tuple[Reconciler, ...]:
    """All of `mooring controllers` that what is reachable depends on."""
    balancers: Iterable[Reconciler] = (AssumedProvider(),) if pool is None else (LoadBalancers(pool),)
    return (
        Namespaces(),
        GarbageCollector(),
        NodeLifecycle(),
        Deployments(),
        ReplicaSets(),
        StatefulSets(),
        DaemonSets(),
        Jobs(),
        PersistentVolumes(),
        AssumedProvisioner(),
        Scheduler(),
        kubelet,
        PodGc(threshold=0),  # how many ended Pods are kept matters to nobody here, and counting them takes time
        Endpoints(),
        EndpointSlices(),
        EndpointSliceMirror(),
        *balancers,
    )
