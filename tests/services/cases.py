"""A Service's case by hand: the cluster as documents, the slices as the controller writes them."""

from typing import Any

from msgspec import structs

from mooring.control.reconcilers.endpoint_slices import EndpointSlices
from mooring.endpoints.pods import selects
from mooring.model.discovery import endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE, SERVICE_CIDR
from mooring.model.service import service as view
from mooring.services.problems import Case
from mooring.testing.builders import Document, node, pod, service
from mooring.testing.world import MemoryWorld, settle


def case(subject: Document, *documents: Document, **more: Any) -> Case:
    """The Service in a cluster of these objects, with the slices that the controller writes, as `explain` sees it."""
    world = MemoryWorld([subject, *documents])
    settle(EndpointSlices(), world)
    namespace, name = subject["metadata"]["namespace"], subject["metadata"]["name"]
    slices = [endpoint_slice(each) for each in world.list(ENDPOINT_SLICE, namespace)]
    selector = subject["spec"].get("selector")
    pods: tuple[list[Document], list[Document]] = [], []
    for each in world.list(POD):
        chosen = each["metadata"]["namespace"] == namespace and selects(selector, each["metadata"].get("labels"))
        pods[0 if chosen else 1].append(each)
    services = [each for each in world.list(SERVICE) if each["metadata"] != subject["metadata"]]
    found = Case(
        document=subject,
        service=view(subject),
        slices=tuple(each for each in slices if each.service == (namespace, name)),
        strays=tuple(each for each in slices if not each.service[1]),
        pods=tuple(pods[0]),
        others=tuple(pods[1]),
        every_pod=True,
        nodes=tuple(world.list(NODE)),
        service_cidrs=tuple(world.list(SERVICE_CIDR)),
        rivals=tuple(view(each) for each in services if each["metadata"]["name"] != name),
        services=frozenset((each["metadata"]["namespace"], each["metadata"]["name"]) for each in world.list(SERVICE)),
    )
    return structs.replace(found, **more)


# Documents ------------------------------------------------------------------------------------------------------------------


def http(target: int | str = 8080, port: int = 80, **more: Any) -> Document:
    return {"name": "http", "port": port, "protocol": "TCP", "targetPort": target, **more}


def changed(document: Document, namespace: str = "", **metadata: Any) -> Document:
    """With other labels, annotations, or in another namespace."""
    place = {"namespace": namespace} if namespace else {}
    return {**document, "metadata": {**document["metadata"], **place, **metadata}}


def declaring(document: Document, *ports: Document) -> Document:
    containers = [{"name": "main", "ports": list(ports)}]
    return {**document, "spec": {**document["spec"], "containers": containers}}


def unready(name: str = "p", spec: Document | None = None, **status: Any) -> Document:
    """A pod that is not ready, and what its status says."""
    made = pod(name, "10.244.0.9", ready=False)
    return {**made, "spec": {**made["spec"], **(spec or {})}, "status": {**made["status"], **status}}


def container(state: Document, **more: Any) -> list[Document]:
    return [{"name": "main", "ready": False, "started": True, "state": state, **more}]


def place(name: str, address: str = "", zone: str = "", cidr: str = "") -> Document:
    made = node(name, zone, "4")
    made["status"]["addresses"] = [{"type": "InternalIP", "address": address}] if address else []
    return {**made, "spec": {"podCIDRs": [cidr]} if cidr else {}}


def service_cidr(*cidrs: str, **metadata: Any) -> Document:
    kinds = {"kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1"}
    return {**kinds, "metadata": {"name": cidrs[0].replace("/", "-"), **metadata}, "spec": {"cidrs": list(cidrs)}}


def by_hand(
    *addresses: str, ports: Any = ({"name": "http", "port": 8080},), family: str = "IPv4", labels: Any = None, **more: Any
) -> Document:
    """A slice of Service web that somebody wrote."""
    named = {"kubernetes.io/service-name": "web"} if labels is None else labels
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": "web-1", "namespace": "default", "labels": named},
        "addressType": family,
        "endpoints": [{"addresses": [each], **more} for each in addresses],
        "ports": [{"protocol": "TCP", **port} for port in ports],
    }


def balancer(*ingress: Document, conditions: Any = (), **spec: Any) -> Document:
    made = service(**{"type": "LoadBalancer", **spec})
    return {**made, "status": {"loadBalancer": {"ingress": list(ingress)}, "conditions": list(conditions)}}


def alias(name: str, **spec: Any) -> Document:
    made = service("alias")
    return {**made, "spec": {"type": "ExternalName", "externalName": name, "sessionAffinity": "None", **spec}}


def event(about: Document, reason: str, message: str, component: str = "kubelet") -> Document:
    metadata = about["metadata"]
    return {
        "metadata": {"name": f"{metadata['name']}.1"},
        "involvedObject": {"kind": about["kind"], "name": metadata["name"], "namespace": metadata["namespace"]},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "lastTimestamp": "2026-01-01T00:01:00Z",
    }


HERE, THERE = place("a", "172.30.0.11", cidr="10.244.0.0/24"), place("b", "172.30.0.12", cidr="10.244.1.0/24")
NEAR, FAR = pod("p", "10.244.0.2"), pod("q", "10.244.1.2", node="b")
RANGE = service_cidr("10.96.0.0/16")
VIP = {"ip": "192.0.2.1", "ipMode": "VIP"}
ZONED = place("a", zone="z1")
AUTO = {"service.kubernetes.io/topology-mode": "Auto"}
