"""The Service `web` of the tests about changes: what its documents say, and how it is set up on a stage and taken away."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from agent_world import NODE_NAME
from transition_stage import (
    BALANCERS,
    EXTERNAL,
    FAR6,
    NEAR,
    NEAR6,
    NEAR_TOO,
    SERVED,
    TCP_NODE_PORT,
    UDP_NODE_PORT,
    Document,
    Stage,
)

from mooring.model.kinds import ENDPOINT_SLICE, SERVICE
from mooring.services.view import NodeView

TCP = {"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": TCP_NODE_PORT}
UDP = {"name": "udp", "port": 80, "protocol": "UDP", "nodePort": UDP_NODE_PORT}
BOTH = [TCP, UDP]
INSIDE = [{key: value for key, value in port.items() if key != "nodePort"} for port in BOTH]
"""Ports for a type without node ports."""
INGRESS = {"loadBalancer": {"ingress": [{"ip": address} for address in BALANCERS]}}
FULL = {"type": "LoadBalancer", "ports": BOTH, "externalIPs": EXTERNAL}
"""Every door there is."""
FOUR = "web-ipv4"


def service(name: str = "web", **spec: Any) -> Document:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": INSIDE, **spec}}


def endpoint(address: str, **more: Any) -> Document:
    conditions = {"ready": True, "serving": True, "terminating": False, **more.pop("conditions", {})}
    owner = NODE_NAME if address in (NEAR, NEAR_TOO, NEAR6) else "node-b"
    return {"addresses": [address], "nodeName": owner, "conditions": conditions, **more}


def draining(address: str) -> Document:
    return endpoint(address, conditions={"ready": False, "terminating": True})


def endpoints(*found: Document | str, port: int = SERVED, names: Sequence[str] = ("tcp", "udp")) -> Document:
    """The part of a slice that changes."""
    return {
        "endpoints": [endpoint(each) if isinstance(each, str) else each for each in found],
        "ports": [{"name": name, "port": port, "protocol": name[:3].upper()} for name in names],
    }


async def serve_by(stage: Stage, *steps: Document) -> None:
    """The endpoints of `web` in IPv4 become these, one set after the other."""
    for each in steps:
        await stage.patch(ENDPOINT_SLICE, FOUR, each)
        await stage.settled()


def slice_of(owner: str, family: str, changing: Document) -> Document:
    labels = {"kubernetes.io/service-name": owner}
    metadata = {"name": f"{owner}-{family.lower()}", "namespace": "default", "labels": labels}
    return {"metadata": metadata, "addressType": family, **changing}


async def serve(stage: Stage, before: Document, four: Document, labels: Document | None = None) -> NodeView:
    """Sets `web` up as it is before the change, with endpoints of both families."""
    made = service(**before)
    made["metadata"]["labels"] = labels or {}
    await stage.create(SERVICE, made)
    await stage.create(ENDPOINT_SLICE, slice_of("web", "IPv4", four))
    await stage.create(ENDPOINT_SLICE, slice_of("web", "IPv6", endpoints(NEAR6, FAR6)))
    if before.get("type") == "LoadBalancer":
        await stage.patch(SERVICE, "web", {"status": INGRESS}, "status")
    return await stage.settled()


@asynccontextmanager
async def served(stage: Stage, before: Document, four: Document, labels: Document | None = None) -> AsyncIterator[NodeView]:
    """The same; gone afterwards, whatever became of it."""
    try:
        yield await serve(stage, before, four, labels)
    finally:
        for kind in (SERVICE, ENDPOINT_SLICE):
            for each in (await stage.api.request("GET", kind.path("default")))["items"]:
                if not each["metadata"]["name"].startswith(("bystander", "marker")):
                    await stage.delete(kind, each["metadata"]["name"])
        await stage.settled()
