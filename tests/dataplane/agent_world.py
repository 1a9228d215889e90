"""An API server's core, a node's edges and a dataplane between them, in one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from prometheus_client import CollectorRegistry

from mooring.control.dataplane import Dataplane, DataplaneOptions
from mooring.edges.memory.api import MemoryApi
from mooring.model.kinds import NAMESPACE, NODE, SERVICE_CIDR, Kind
from mooring.ports.conntrack import Conntrack
from mooring.ports.firewall import Firewall

NODE_NAME = "node-a"
POD_CIDRS = {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}


def service(name: str, address: str, protocol: str = "TCP", **labels: str) -> dict[str, Any]:
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"clusterIP": address, "ports": [{"port": 80, "protocol": protocol}]},
    }


def endpoint_slice(owner: str, *addresses: str, protocol: str = "TCP") -> dict[str, Any]:
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
        "ports": [{"name": "", "port": 8080, "protocol": protocol}],
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
    }


class World:
    """An API, a node's edges, and a dataplane between them."""

    def __init__(self, firewall: Firewall, conntrack: Conntrack) -> None:
        self.api = MemoryApi()
        self.firewall, self.conntrack = firewall, conntrack

    async def begin(self) -> None:
        await self.create(NAMESPACE, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}})
        node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": NODE_NAME}, "spec": POD_CIDRS}
        await self.create(NODE, node)
        cidr = {"kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "kubernetes"}}
        await self.create(SERVICE_CIDR, {**cidr, "spec": {"cidrs": ["10.96.0.0/16"]}})

    async def create(self, kind: Kind, document: dict[str, Any]) -> None:
        metadata = document["metadata"]
        await self.api.write("create", kind, metadata.get("namespace", ""), metadata["name"], document)

    async def update(self, kind: Kind, document: dict[str, Any]) -> None:
        metadata = document["metadata"]
        await self.api.write("patch", kind, metadata.get("namespace", ""), metadata["name"], document)

    async def delete(self, kind: Kind, name: str) -> None:
        await self.api.write("delete", kind, "default", name)

    @asynccontextmanager
    async def agent(self, check_period: float = 60.0) -> AsyncIterator[Dataplane]:
        """A running dataplane that has done its first sync."""
        options = DataplaneOptions(NODE_NAME, check_period)
        dataplane = Dataplane(self.api, self.firewall, self.conntrack, options, CollectorRegistry())
        running = asyncio.create_task(dataplane.run())
        try:
            async with asyncio.timeout(10):
                await dataplane.synced.wait()
            yield dataplane
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
