"""An API server's core, a node's edges and a dataplane between them, in one process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from prometheus_client import CollectorRegistry

from mooring.control.dataplane import Dataplane, DataplaneOptions
from mooring.control.reconciler import Report
from mooring.edges.memory.api import MemoryApi
from mooring.edges.memory.health import MemoryAnswerServer
from mooring.model.kinds import NAMESPACE, NODE, SERVICE_CIDR, Kind
from mooring.ports.conntrack import Conntrack
from mooring.ports.firewall import Firewall
from mooring.ports.health import AnswerServer
from mooring.services.locality import ProxyOptions

NODE_NAME = "node-a"
NODE_ADDRESS = "172.30.0.11"
POD_CIDRS = {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}


def service(name: str, address: str, protocol: str = "TCP", **labels: str) -> dict[str, Any]:
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"clusterIP": address, "ports": [{"port": 80, "protocol": protocol}]},
    }


def node_port(name: str, address: str, number: int, protocol: str = "TCP", **spec: Any) -> dict[str, Any]:
    made = service(name, address, protocol)
    made["spec"] |= {"type": "NodePort", "ports": [{"port": 80, "protocol": protocol, "nodePort": number}], **spec}
    return made


def health_checked(name: str, address: str, port: int) -> dict[str, Any]:
    """A load balancer that must know which nodes to use."""
    made = service(name, address)
    # Without node ports: one that is drawn might be a port that another's health check asks for.
    made["spec"] |= {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port}
    made["spec"] |= {"allocateLoadBalancerNodePorts": False}
    return made


def endpoint(address: str, node: str = "", ready: bool = True, **conditions: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"addresses": [address], "conditions": {"ready": ready, **conditions}}
    return {**made, "nodeName": node} if node else made


def endpoint_slice(owner: str, *endpoints: str | dict[str, Any], protocol: str = "TCP", port: int = 8080) -> dict[str, Any]:
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": f"{owner}-x",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": owner},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port, "protocol": protocol}],
        "endpoints": [each if isinstance(each, dict) else endpoint(each) for each in endpoints],
    }


def service_cidr(name: str, *cidrs: str) -> dict[str, Any]:
    metadata = {"name": name}
    return {"kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1", "metadata": metadata, "spec": {"cidrs": list(cidrs)}}


class World:
    """An API, a node's edges, and a dataplane between them."""

    def __init__(self, firewall: Firewall, conntrack: Conntrack, answers: AnswerServer | None = None) -> None:
        self.api = MemoryApi()
        self.firewall, self.conntrack = firewall, conntrack
        self.answers = answers or MemoryAnswerServer()
        self.reports: list[Report] = []

    async def begin(self) -> None:
        await self.create(NAMESPACE, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}})
        node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": NODE_NAME}, "spec": POD_CIDRS}
        await self.create(NODE, node)
        await self.move_node(NODE_ADDRESS)
        await self.create(SERVICE_CIDR, service_cidr("kubernetes", "10.96.0.0/16"))

    async def move_node(self, *addresses: str) -> None:
        """The node's addresses are now these."""
        status = {"status": {"addresses": [{"type": "InternalIP", "address": each} for each in addresses]}}
        await self.api.write("patch", NODE, "", NODE_NAME, status, subresource="status")

    async def create(self, kind: Kind, document: dict[str, Any]) -> None:
        metadata = document["metadata"]
        await self.api.write("create", kind, metadata.get("namespace", ""), metadata["name"], document)

    async def update(self, kind: Kind, document: dict[str, Any]) -> None:
        metadata = document["metadata"]
        await self.api.write("patch", kind, metadata.get("namespace", ""), metadata["name"], document)

    async def delete(self, kind: Kind, name: str) -> None:
        await self.api.write("delete", kind, "default" if kind.namespaced else "", name)

    @asynccontextmanager
    async def agent(
        self,
        check_period: float = 60.0,
        proxy: ProxyOptions = ProxyOptions(),  # noqa: B008
    ) -> AsyncIterator[Dataplane]:
        """A running dataplane that has done its first sync."""
        options = DataplaneOptions(NODE_NAME, check_period, proxy)
        edges = (self.api, self.firewall, self.conntrack, options, CollectorRegistry(), self.answers)
        dataplane = Dataplane(*edges, self.reports.append)
        running = asyncio.create_task(dataplane.run())
        try:
            async with asyncio.timeout(60):
                await dataplane.synced.wait()
            yield dataplane
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def until(happened: Callable[[], bool]) -> None:
    """Waits until something holds, within a deadline."""
    async with asyncio.timeout(60):
        while not happened():
            await asyncio.sleep(0.002)
