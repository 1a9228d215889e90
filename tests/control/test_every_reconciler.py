"""What is asked of every reconciler there is: planning again after applying gives the empty plan."""

import importlib
import pkgutil
from datetime import timedelta
from typing import Any

import pytest
from workloads import (
    LABELS,
    change,
    daemon_set,
    deployment,
    document,
    job,
    namespace,
    node,
    pod,
    replica_set,
    service,
    stateful_set,
    template,
)

from mooring.alloc.pool import parse
from mooring.control import reconcilers
from mooring.control import settle as settling
from mooring.control.ingress_class import labels
from mooring.control.reconciler import Apply, Change
from mooring.control.reconcilers.cluster_role_aggregation import ClusterRoleAggregation
from mooring.control.reconcilers.custom_resource_definitions import FINALIZER as CLEANUP
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
from mooring.control.reconcilers.load_balancers import LoadBalancers
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
from mooring.model.kinds import (
    CLUSTER_ROLE,
    CONFIG_MAP,
    CUSTOM_RESOURCE_DEFINITION,
    DEPLOYMENT,
    ENDPOINTS,
    INGRESS,
    INGRESS_CLASS,
    IP_ADDRESS,
    LEASE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    POD_DISRUPTION_BUDGET,
    SERVICE,
    SERVICE_CIDR,
    STORAGE_CLASS,
    STORED,
)
from mooring.ports.api import ApiError
from mooring.testing.world import EPOCH, MemoryWorld

EVERY = (
    ClusterRoleAggregation(),
    CustomResourceDefinitions(),
    DaemonSets(),
    Deployments(),
    DisruptionBudgets(),
    EndpointSliceMirror(),
    EndpointSlices(),
    Endpoints(),
    GarbageCollector(),
    IngressClasses(("mooring-envoy", "mooring-nginx")),
    IngressProxies(),
    IngressStatus(grace=0),
    IpAddresses(),
    Jobs(),
    KubernetesService(("10.96.0.0/16",), ("172.30.0.1",)),
    LoadBalancers(parse("172.30.1.0/31")),
    Namespaces(),
    NodeLifecycle(),
    PersistentVolumes(),
    PodCidrs(),
    PodGc(threshold=1),
    ReplicaSets(),
    RootCa("PEM"),
    Scheduler(),
    ServiceAccounts(),
    ServiceCidrs(),
    ServiceProblems(grace=0),
    StatefulSets(),
    StorageClasses("standard"),
)


def eventful_world() -> MemoryWorld:
    """Something to do for everybody: a late node, a namespace going, owners gone, strays, orphans, lost addresses."""
    gone = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gone", "uid": "gone"}
    keeper = replica_set("here", 2, selector={"matchLabels": {"app": "here"}}, template=template(labels={"app": "here"}))
    keeper["metadata"]["uid"] = "here"
    here = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "here", "uid": "here", "controller": True}
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    address = {"loadBalancer": {"ingress": [{"ip": "192.0.2.80"}]}}
    parent = {"group": "", "resource": "services", "namespace": "default", "name": "nobody"}
    ipam = {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
    renewed = (EPOCH + timedelta(seconds=95)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    world = MemoryWorld(
        [
            namespace("default"),
            namespace("old", metadata=going),
            node("fresh"),
            node("late"),
            document(LEASE, "fresh", "kube-node-lease", spec={"renewTime": renewed}),
            deployment("web", 3),
            stateful_set("kept", 2, selector={"matchLabels": {"app": "kept"}}, template=template(labels={"app": "kept"})),
            daemon_set("each", selector={"matchLabels": {"app": "each"}}, template=template(labels={"app": "each"})),
            job(),
            keeper,
            pod("stray"),
            pod(
                "placed",
                node="fresh",
                phase="Running",
                ready=EPOCH,
                status={"podIP": "10.244.0.5", "podIPs": [{"ip": "10.244.0.5"}]},
            ),
            pod("suffering", node="late", phase="Running", ready=EPOCH),
            pod("homeless", node="gone", phase="Running"),
            pod("done", node="fresh", phase="Succeeded", metadata={"labels": {"app": "job"}}),
            pod("done-too", node="fresh", phase="Succeeded", metadata={"labels": {"app": "job"}}),
            document(CONFIG_MAP, "orphan", metadata={"ownerReferences": [gone]}),
            document(CONFIG_MAP, "kept", metadata={"ownerReferences": [gone, here]}),
            document(CONFIG_MAP, "content", "old", metadata={"finalizers": ["example.com/hold"]}),
            service("web", ["10.96.0.7"], ipFamilies=["IPv4"], type="ClusterIP", selector=dict(LABELS)),
            *(service(f"balanced-{n}", [f"10.96.1.{n}"], ipFamilies=["IPv4"], type="LoadBalancer") for n in (1, 2, 3)),
            service("manual", ["10.96.0.8"], ipFamilies=["IPv4"], type="ClusterIP", selector=None),
            document(ENDPOINTS, "manual", subsets=[{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]),
            document(SERVICE_CIDR, "kubernetes", spec={"cidrs": ["10.96.0.0/16"]}),
            document(INGRESS_CLASS, "mooring-envoy", spec={"controller": "mooring.dev/envoy"}),
            document(
                DEPLOYMENT,
                "ingress-mooring-envoy",
                "mooring-system",
                metadata={"labels": labels("mooring-envoy")},
                spec=deployment(replicas=0)["spec"],
                status={"readyReplicas": 1},
            ),
            document(INGRESS, "front", spec={"ingressClassName": "mooring-envoy", "defaultBackend": backend}),
            document(
                SERVICE,
                "ingress-mooring-envoy",
                "mooring-system",
                metadata={"labels": labels("mooring-envoy")},
                spec={},
                status=address,
            ),
            document(CLUSTER_ROLE, "sum", aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]}),
            document(
                CLUSTER_ROLE, "part", metadata={"labels": {"to": "sum"}}, rules=[{"verbs": ["get"], "resources": ["pods"]}]
            ),
            document(POD_DISRUPTION_BUDGET, "web", spec={"maxUnavailable": 1, "selector": {"matchLabels": {"app": "here"}}}),
            document(STORAGE_CLASS, "late", provisioner="mooring.dev/host-path", volumeBindingMode="WaitForFirstConsumer"),
            document(STORAGE_CLASS, "now", provisioner="mooring.dev/host-path", volumeBindingMode="Immediate"),
            *(claim(name, name) for name in ("late", "now")),
            *(claim(f"static-{n}", "") for n in (1, 2)),
            claim("left", "", metadata={**going, "finalizers": ["kubernetes.io/pvc-protection"]}),
            *(volume(f"v{n}", status={"phase": "Available"}) for n in (1, 2)),
            volume("freed", claimRef={"namespace": "default", "name": "nobody", "uid": "gone"}),
            document(
                CUSTOM_RESOURCE_DEFINITION,
                "widgets.example.com",
                metadata={**going, "finalizers": [CLEANUP]},
                spec={"group": "example.com", "names": {"plural": "widgets", "kind": "Widget"}, "versions": []},
            ),
            document(IP_ADDRESS, "10.96.0.9", metadata={"labels": ipam}, spec={"parentRef": parent}),
        ]
    )
    world.now += timedelta(seconds=100)
    return world


def claim(name: str, of_class: str, **rest: Any) -> dict[str, Any]:
    size = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": size, "storageClassName": of_class}
    return document(PERSISTENT_VOLUME_CLAIM, name, spec=spec, **rest)


def volume(name: str, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    body = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": f"/srv/{name}"}, **spec}
    return document(PERSISTENT_VOLUME, name, spec=body, status=status or {"phase": "Bound"})


def every_key(reconciler: Any, world: MemoryWorld) -> list[tuple[str, str]]:
    changes = [Change(kind, None, each) for kind in reconciler.watches for each in world.list(kind)]
    keys = {key: None for change in changes for key in reconciler.keys(change, world)}
    return [*keys, *(key for key in getattr(reconciler, "initial", ()) if key not in keys)]


@pytest.mark.parametrize("reconciler", EVERY, ids=lambda reconciler: reconciler.name)
def test_planning_again_after_applying_gives_the_empty_plan(reconciler):
    world = eventful_world()
    planned = 0
    for key in every_key(reconciler, world):
        plan = reconciler.plan(key, world)
        writes = plan.writes
        planned += len(writes) + len(plan.reports)
        for write in writes:
            try:
                world.write(write)
            except Exception as error:
                if getattr(error, "reason", "") not in write.ignore:
                    raise
        assert () == reconciler.plan(key, world).writes, key
    assert planned, "this world asks nothing of it"


@pytest.mark.parametrize("reconciler", EVERY, ids=lambda reconciler: reconciler.name)
def test_a_plan_is_a_function_of_the_world_and_leaves_it_as_it_is(reconciler):
    world = eventful_world()
    for key in every_key(reconciler, world):
        before = [dict(each) for kind in STORED for each in world.list(kind)]
        world.rng.seed(1)
        first = reconciler.plan(key, world)
        world.rng.seed(1)
        assert first == reconciler.plan(key, world)
        assert before == [dict(each) for kind in STORED for each in world.list(kind)]


@pytest.mark.parametrize("reconciler", EVERY, ids=lambda reconciler: reconciler.name)
def test_a_key_of_something_that_is_not_there_is_no_error(reconciler):
    empty = MemoryWorld()
    for key in every_key(reconciler, eventful_world()):
        for write in reconciler.plan(key, empty).writes:
            assert write.verb == "create", f"{key} writes about nothing"


def test_every_reconciler_is_here():
    modules = [
        importlib.import_module(f"{reconcilers.__name__}.{each.name}") for each in pkgutil.iter_modules(reconcilers.__path__)
    ]
    classes = {
        thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type)
        and thing.__module__ == module.__name__
        and hasattr(thing, "plan")
        and hasattr(thing, "watches")
    }
    assert classes == {type(each) for each in EVERY}


def test_names_are_unique():
    names = [each.name for each in EVERY]
    assert sorted(set(names)) == sorted(names)


NOWHERE = {"template": template() | {"spec": {"containers": [], "nodeSelector": {"no": "such"}}}}


class Refusing(MemoryWorld):
    """A webhook refuses this to be done to Pods, but for the second and third before the owner's status is told."""

    refused, asked = "", 0

    def write(self, write: Apply) -> Any:
        if write.subresource == "status":
            self.asked = 0
        elif (write.verb, write.kind) == (self.refused, POD):
            self.asked += 1
            if self.asked not in (2, 3):
                raise ApiError(403, "Forbidden", "a webhook says no")
        return super().write(write)


@pytest.mark.parametrize(
    ("reconciler", "owner", "counted", "none"),
    [
        (ReplicaSets(), replica_set(replicas=3), "replicas", {"replicas": 0}),
        (DaemonSets(), daemon_set(), "currentNumberScheduled", NOWHERE),
        (Jobs(), job("web", parallelism=3, completions=3), "active", {"parallelism": 0}),
        (StatefulSets(), stateful_set(podManagementPolicy="Parallel"), "replicas", {"replicas": 0}),
    ],
    ids=["replica set", "daemon set", "job", "stateful set"],
)
def test_a_refused_pod_keeps_no_other_from_being_made_or_deleted_and_is_told(reconciler, owner, counted, none):
    world = Refusing([node("a"), node("b"), node("c"), owner])
    kind = reconciler.watches[0]

    def alive() -> int:
        return sum(not each["metadata"].get("deletionTimestamp") for each in world.list(POD))

    def failures(settled: settling.Settled) -> set[str]:
        return {each.reason for each in settled.reports if each.type == "Warning"}

    world.refused = "create"
    settled = settling.settle([reconciler], world)
    assert (2, 2) == (alive(), world.get(kind, "default", "web")["status"][counted])
    assert {"FailedCreate"} == failures(settled)
    world.refused = ""
    change(world, kind, "web", metadata={"labels": {"try": "again"}})
    settling.settle([reconciler], world)
    assert 3 == alive()
    world.refused, world.asked = "delete", 0
    change(world, kind, "web", spec=none)
    settled = settling.settle([reconciler], world)
    assert 1 == alive()
    assert {"FailedDelete"} == failures(settled)
