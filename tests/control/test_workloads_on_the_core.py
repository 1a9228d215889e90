"""All of it together: the real loops and informers, on the real API server's core, with the smallest possible kubelet."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry
from workloads import LABELS, deployment, document

from mooring.control.informer import Informer
from mooring.control.loop import Loop
from mooring.control.queue import QueueMetrics
from mooring.control.reconciler import Document
from mooring.control.reconcilers.daemon_sets import DaemonSets
from mooring.control.reconcilers.deployments import Deployments
from mooring.control.reconcilers.garbage_collector import GarbageCollector
from mooring.control.reconcilers.ip_addresses import IpAddresses
from mooring.control.reconcilers.jobs import Jobs
from mooring.control.reconcilers.kubernetes_service import KubernetesService
from mooring.control.reconcilers.namespaces import Namespaces
from mooring.control.reconcilers.node_lifecycle import NodeLifecycle
from mooring.control.reconcilers.pod_cidrs import PodCidrs
from mooring.control.reconcilers.pod_gc import PodGc
from mooring.control.reconcilers.replica_sets import ReplicaSets
from mooring.control.reconcilers.root_ca import RootCa
from mooring.control.reconcilers.scheduler import Scheduler
from mooring.control.reconcilers.service_accounts import ServiceAccounts
from mooring.control.reconcilers.service_cidrs import ServiceCidrs
from mooring.control.reconcilers.stateful_sets import StatefulSets
from mooring.control.recorder import Recorder
from mooring.control.times import stamp
from mooring.control.world import InformerWorld
from mooring.edges.memory.api import MemoryApi
from mooring.model.kinds import (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    CORE_EVENT,
    DAEMON_SET,
    DEPLOYMENT,
    IP_ADDRESS,
    JOB,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    SERVICE,
    SERVICE_ACCOUNT,
    SERVICE_CIDR,
    STATEFUL_SET,
    STORED,
    Kind,
)
from mooring.ports.api import ApiError

PATIENCE = 60.0


class QuotaApi(MemoryApi):
    """The server, with a quota that is used up while `full`."""

    full = False

    async def write(self, verb: Any, kind: Kind, *rest: Any, **options: Any) -> Document:
        if self.full and (verb, kind) == ("create", POD):
            raise ApiError(403, "Forbidden", "exceeded quota")
        return await super().write(verb, kind, *rest, **options)


class Cluster:
    """The API, every reconciler of this package, and a kubelet for all nodes that makes Pods ready at once."""

    def __init__(self) -> None:
        self.api = QuotaApi(rng=Random(7))
        self._informers = {kind: Informer(self.api, kind, rng=Random(7)) for kind in STORED}
        self.world = InformerWorld(self._informers, Random(7))
        metrics = QueueMetrics(CollectorRegistry())
        everything = (
            Deployments(), ReplicaSets(), Namespaces(), GarbageCollector(), NodeLifecycle(), PodCidrs(), PodGc(), Scheduler(),
            StatefulSets(), DaemonSets(), Jobs(),
            ServiceCidrs(), IpAddresses(), KubernetesService(("10.96.0.0/16",), ("172.30.0.1",)), ServiceAccounts(),
            RootCa("PEM"),
        )  # fmt: skip
        self._recorders = {each.name: Recorder(self.api, each.name) for each in everything}
        self._loops = [Loop(each, self.world, self.api, self._recorders[each.name], metrics) for each in everything]
        self._informers[POD].subscribe(self._seen)
        self._work: asyncio.Queue[Document] = asyncio.Queue()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for each in (*self._informers.values(), *self._recorders.values(), *self._loops):
                tasks.create_task(each.run())
            tasks.create_task(self._kubelet())

    def _seen(self, before: Document | None, after: Document | None) -> None:
        if after is not None and after["spec"].get("nodeName"):
            self._work.put_nowait(after)

    async def _kubelet(self) -> None:
        while True:
            pod = await self._work.get()
            metadata = pod["metadata"]
            where = POD, metadata["namespace"], metadata["name"]
            with suppress(ApiError):
                if metadata.get("deletionTimestamp"):
                    await self.api.write("delete", *where, {"gracePeriodSeconds": 0})
                elif pod["status"].get("phase") == "Pending":
                    ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(datetime.now(UTC))}
                    status = {
                        "phase": "Running",
                        "conditions": [ready],
                        "podIP": "10.244.0.9",
                        "podIPs": [{"ip": "10.244.0.9"}],
                    }
                    await self.api.write("patch", *where, {"status": status}, subresource="status")

    def of(self, kind: Any, namespace: str = "") -> list[Document]:
        return list(self.world.list(kind, namespace))

    async def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Waits until this is true, with a deadline."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := holds()):
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"never: {what}") from None
        return found

    def get(self, kind: Any, name: str, namespace: str = "default") -> Document | None:
        return self.world.get(kind, namespace if kind.namespaced else "", name)

    def done(self, image: str, replicas: int) -> bool:
        """What `kubectl rollout status` waits for."""
        held = self.get(DEPLOYMENT, "web") or {"status": {}}
        status = held.get("status") or {}
        counts = {status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")}
        pods = [each for each in self.of(POD, "default") if not each["metadata"].get("deletionTimestamp")]
        images = {each["spec"]["containers"][0]["image"] for each in pods}
        seen = status.get("observedGeneration", 0) >= held.get("metadata", {}).get("generation", 1)
        return seen and counts == {replicas} and images == ({image} if replicas else set()) and len(pods) == replicas


@asynccontextmanager
async def running() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    task = asyncio.create_task(cluster.run())
    try:
        for name in ("a", "b"):
            given = document(NODE, name)
            await cluster.api.write("create", NODE, "", name, given)
            conditions = [{"type": "Ready", "status": "True", "lastHeartbeatTime": stamp(datetime.now(UTC))}]
            await cluster.api.write("patch", NODE, "", name, {"status": {"conditions": conditions}}, subresource="status")
        await cluster.until(lambda: cluster.get(SERVICE_ACCOUNT, "default"), "the default service account")
        yield cluster
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_bare_store_becomes_a_cluster():
    async with running() as cluster:
        await cluster.until(lambda: len(cluster.of(NAMESPACE)) == 4, "four namespaces")
        await cluster.until(lambda: cluster.get(SERVICE, "kubernetes"), "the API server's Service")
        await cluster.until(lambda: cluster.get(SERVICE, "kube-dns", "kube-system"), "the DNS Service")
        await cluster.until(lambda: len(cluster.of(CONFIG_MAP)) == 4, "the root certificate everywhere")
        await cluster.until(lambda: {"10.96.0.1", "10.96.0.10"} == names(cluster.of(IP_ADDRESS)), "both addresses")
        await cluster.until(lambda: ready(cluster.get(SERVICE_CIDR, "kubernetes")), "the service range is ready")
        await cluster.until(lambda: all(node["spec"].get("podCIDR") for node in cluster.of(NODE)), "a range for each node")
        assert "10.96.0.1" == cluster.get(SERVICE, "kubernetes")["spec"]["clusterIP"]


async def test_a_deployment_from_its_creation_over_rollout_undo_and_scaling_to_its_end():
    async with running() as cluster:
        api = cluster.api
        await api.write("create", DEPLOYMENT, "default", "web", deployment(replicas=4))
        await cluster.until(lambda: cluster.done("echo:1", 4), "the first rollout")
        placed = [pod["spec"]["nodeName"] for pod in cluster.of(POD, "default")]
        assert {"a": 2, "b": 2} == {name: placed.count(name) for name in placed}

        await api.write("patch", DEPLOYMENT, "default", "web", {"spec": {"template": image("echo:2")}})
        await cluster.until(lambda: cluster.done("echo:2", 4), "the second rollout")
        await cluster.until(lambda: "2" == revision(cluster), "its revision")

        await api.write("patch", DEPLOYMENT, "default", "web", {"spec": {"template": image("echo:1")}})
        await cluster.until(lambda: cluster.done("echo:1", 4), "the rollback")
        assert 2 == len(cluster.of(REPLICA_SET, "default"))

        await api.write("update", DEPLOYMENT, "default", "web", scale(cluster, 1), subresource="scale")
        await cluster.until(lambda: cluster.done("echo:1", 1), "scaled down")

        victim = cluster.of(POD, "default")[0]["metadata"]["name"]
        await api.write("delete", POD, "default", victim)
        await cluster.until(
            lambda: cluster.done("echo:1", 1) and victim not in names(cluster.of(POD)), "a new Pod for the killed"
        )

        reasons = {"ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete", "Scheduled"}
        await cluster.until(lambda: reasons <= {event["reason"] for event in cluster.of(CORE_EVENT, "default")}, f"{reasons}")
        await api.write("delete", DEPLOYMENT, "default", "web", {"propagationPolicy": "Background"})
        await cluster.until(lambda: not cluster.of(REPLICA_SET) and not cluster.of(POD), "all of it collected")


async def test_foreground_and_orphan_deletion():
    async with running() as cluster:
        await cluster.api.write("create", DEPLOYMENT, "default", "web", deployment(replicas=2))
        await cluster.until(lambda: cluster.done("echo:1", 2), "the rollout")
        await cluster.api.write("delete", DEPLOYMENT, "default", "web", {"propagationPolicy": "Orphan"})
        await cluster.until(lambda: not cluster.of(DEPLOYMENT), "the Deployment is gone")
        (orphan,) = await cluster.until(lambda: cluster.of(REPLICA_SET), "its ReplicaSet stays")
        await cluster.until(lambda: not cluster.of(REPLICA_SET)[0]["metadata"].get("ownerReferences"), "without its owner")
        assert 2 == len(cluster.of(POD, "default"))
        name = orphan["metadata"]["name"]
        await cluster.api.write("delete", REPLICA_SET, "default", name, {"propagationPolicy": "Foreground"})
        await cluster.until(lambda: not cluster.of(REPLICA_SET) and not cluster.of(POD), "all gone, Pods first")


async def test_a_namespace_takes_everything_with_it():
    async with running() as cluster:
        api = cluster.api
        await api.write("create", NAMESPACE, "", "shop", document(NAMESPACE, "shop"))
        await cluster.until(lambda: cluster.get(SERVICE_ACCOUNT, "default", "shop"), "a service account")
        given = deployment(replicas=3)
        given["metadata"]["namespace"] = "shop"
        await api.write("create", DEPLOYMENT, "shop", "web", given)
        svc = document(SERVICE, "web", "shop", spec={"selector": LABELS, "ports": [{"port": 80}]})
        address = (await api.write("create", SERVICE, "shop", "web", svc))["spec"]["clusterIP"]
        await cluster.until(lambda: len(cluster.of(POD, "shop")) == 3, "three Pods")
        await api.write("delete", NAMESPACE, "", "shop")
        await cluster.until(lambda: not cluster.get(NAMESPACE, "shop"), "the namespace is gone")
        left = [
            f"{kind.plural}/{each['metadata']['name']}"
            for kind in STORED
            if kind.namespaced
            for each in cluster.of(kind, "shop")
        ]
        await cluster.until(
            lambda: not any(cluster.of(kind, "shop") for kind in STORED if kind.namespaced), f"empty, not {left}"
        )
        await cluster.until(lambda: address not in names(cluster.of(IP_ADDRESS)), "its address is free again")


async def test_a_refused_pod_is_an_event_and_a_condition_and_comes_when_the_reason_is_gone():
    async with running() as cluster:
        cluster.api.full = True
        await cluster.api.write("create", DEPLOYMENT, "default", "web", deployment(replicas=1))
        await cluster.until(lambda: conditions(cluster).get("ReplicaFailure") == "FailedCreate", "the Deployment says so")
        events = await cluster.until(
            lambda: [event for event in cluster.of(CORE_EVENT, "default") if event["reason"] == "FailedCreate"], "an Event"
        )
        assert {"Error creating: exceeded quota"} == {event["message"] for event in events}
        cluster.api.full = False
        await cluster.until(lambda: cluster.done("echo:1", 1), "the rollout")
        await cluster.until(lambda: "ReplicaFailure" not in conditions(cluster), "the failure is forgotten")


async def test_the_other_owners_of_pods_from_their_creation_to_their_end():
    async with running() as cluster:
        plain, each = deployment()["spec"]["template"], {"app": "each"}
        shared = {"selector": {"matchLabels": LABELS}, "template": plain}
        apart = {"selector": {"matchLabels": each}, "template": {**plain, "metadata": {"labels": each}}}
        twice = {"template": {"spec": {**plain["spec"], "restartPolicy": "Never"}}, "completions": 2, "parallelism": 2}
        owners = ((STATEFUL_SET, "db", {**shared, "replicas": 2}), (DAEMON_SET, "each", apart), (JOB, "sum", twice))
        for kind, name, spec in owners:
            await cluster.api.write("create", kind, "default", name, document(kind, name, spec=spec))

        def status(kind, name, **wanted):
            held = (cluster.get(kind, name) or {}).get("status") or {}
            return wanted.items() <= held.items() and held

        await cluster.until(lambda: status(STATEFUL_SET, "db", availableReplicas=2, updatedReplicas=2), "the numbered Pods")
        await cluster.until(lambda: status(DAEMON_SET, "each", numberAvailable=2), "a Pod on each node")
        await cluster.until(lambda: status(JOB, "sum", active=2, ready=2), "the Job's Pods")
        for name in [name for name in names(cluster.of(POD, "default")) if name.startswith("sum-")]:
            await cluster.api.write("patch", POD, "default", name, {"status": {"phase": "Succeeded"}}, subresource="status")

        def ended():
            done = status(JOB, "sum", succeeded=2)
            return done and {"SuccessCriteriaMet", "Complete"} == {condition["type"] for condition in done["conditions"]}

        await cluster.until(ended, "the Job's end")
        for kind, name, _ in owners:
            await cluster.api.write("delete", kind, "default", name, {"propagationPolicy": "Foreground"})
        kinds = (STATEFUL_SET, DAEMON_SET, JOB, CONTROLLER_REVISION, POD)
        await cluster.until(lambda: not any(cluster.of(kind, "default") for kind in kinds), "all of it collected")


async def test_a_hundred_pods_and_more_come_once_each():
    async with running() as cluster:
        await cluster.api.write("create", DEPLOYMENT, "default", "web", deployment(replicas=120))
        await cluster.until(lambda: cluster.done("echo:1", 120), "the rollout")
        await cluster.api.write("patch", DEPLOYMENT, "default", "web", {"spec": {"replicas": 3}})
        await cluster.until(lambda: cluster.done("echo:1", 3), "scaled down")


def revision(cluster: Cluster) -> str | None:
    return cluster.get(DEPLOYMENT, "web")["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision")


def conditions(cluster: Cluster) -> dict[str, str]:
    held = cluster.get(DEPLOYMENT, "web") or {}
    return {each["type"]: each["reason"] for each in (held.get("status") or {}).get("conditions") or ()}


def names(documents: list[Document]) -> set[str]:
    return {each["metadata"]["name"] for each in documents}


def ready(held: Document | None) -> bool:
    return bool(held) and any(each["status"] == "True" for each in (held.get("status") or {}).get("conditions") or ())


def image(name: str) -> Document:
    return {"spec": {"containers": [{"name": "main", "image": name}]}}


def scale(cluster: Cluster, replicas: int) -> Document:
    metadata = {"name": "web", "namespace": "default"}
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {"replicas": replicas}}
