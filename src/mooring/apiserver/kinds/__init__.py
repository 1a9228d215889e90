"""Every kind's own answers, one file per kind or family; all else about the API is written once, above."""

from mooring.apiserver.kinds import admission, rbac
from mooring.apiserver.kinds.config import ConfigMap, Secret
from mooring.apiserver.kinds.controller_revision import ControllerRevision
from mooring.apiserver.kinds.custom_resource_definition import CustomResourceDefinition
from mooring.apiserver.kinds.daemon_set import DaemonSet
from mooring.apiserver.kinds.disruption_budget import PodDisruptionBudget
from mooring.apiserver.kinds.endpoint_slice import EndpointSlice
from mooring.apiserver.kinds.endpoints import Endpoints
from mooring.apiserver.kinds.event import CoreEvent, Event
from mooring.apiserver.kinds.ingress import Ingress, IngressClass
from mooring.apiserver.kinds.job import Job
from mooring.apiserver.kinds.lease import Lease
from mooring.apiserver.kinds.namespace import Namespace
from mooring.apiserver.kinds.node import Node
from mooring.apiserver.kinds.plain import Ordinary
from mooring.apiserver.kinds.pod import Pod
from mooring.apiserver.kinds.service import Service
from mooring.apiserver.kinds.service_account import ServiceAccount
from mooring.apiserver.kinds.service_cidr import IPAddress, ServiceCIDR
from mooring.apiserver.kinds.stateful_set import StatefulSet
from mooring.apiserver.kinds.storage import PersistentVolume, PersistentVolumeClaim, StorageClass
from mooring.apiserver.kinds.workloads import Deployment, ReplicaSet
from mooring.apiserver.strategy import Strategy
from mooring.model.kinds import KINDS, Kind

_ALL: tuple[Strategy, ...] = (
    Namespace(), Node(), Pod(), Service(), Endpoints(), ConfigMap(), Secret(), ServiceAccount(), CoreEvent(), Event(),
    EndpointSlice(), Deployment(), ReplicaSet(), Lease(), ServiceCIDR(), IPAddress(), Ingress(), IngressClass(),
    CustomResourceDefinition(),
    PersistentVolume(), PersistentVolumeClaim(), StorageClass(), PodDisruptionBudget(),
    StatefulSet(), DaemonSet(), ControllerRevision(), Job(),
    *rbac.STRATEGIES, *admission.STRATEGIES,
)  # fmt: skip

STRATEGIES: dict[Kind, Strategy] = {kind: Ordinary(kind) for kind in KINDS} | {strategy.kind: strategy for strategy in _ALL}
