"""Clusters at random: Nodes, Services and EndpointSlices as documents, and a node's view of them.

Addresses are those of random_views.py, so that one lab serves both.
"""

import json
from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

from random_views import BALANCERS, CLUSTER_IPS, ENDPOINTS, NAMES, NODE, NODE_PORT_NUMBERS, POD_CIDRS, PORTS, RANGES

from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.node import Node, node
from mooring.model.service import Service, service
from mooring.services.build import build_view
from mooring.services.locality import ANNOTATION
from mooring.services.view import Family, NodeView
from mooring.testing.node_views import SERVICE_CIDRS

Document = dict[str, Any]
_T = TypeVar("_T")

ZONES = ("", "x", "y")
DETECTION: tuple[Document, ...] = (
    {},
    {"detect-local": "ClusterCIDR", "cluster-cidr": ["10.244.0.0/16", "fd00:244::/32"]},
    {"detect-local": "InterfaceNamePrefix", "pod-interface": "v"},
    {"detect-local": "None"},
)
NODE_PORTS_AT = (["primary"], ["all"], ["all", "localhost"], ["localhost"], ["172.30.0.12/32", "fd00::/8"])


def cluster_view_of(rng: Random) -> NodeView:
    """What node `a` of such a cluster shall do."""
    names = rng.sample(NAMES, rng.randint(1, len(NAMES)))
    services = [_service(rng, name) for name in names]
    slices = [each for name in names for each in _slices(rng, name)]
    return build_view(_node(rng), services, slices, SERVICE_CIDRS)


def _node(rng: Random) -> Node:
    options = {**rng.choice(DETECTION), "masquerade-all": rng.random() < 0.2, "nodeport-addresses": rng.choice(NODE_PORTS_AT)}
    zone = rng.choice(ZONES)
    metadata = {
        "name": "a",
        "annotations": {ANNOTATION: json.dumps(options)},
        "labels": {"topology.kubernetes.io/zone": zone} if zone else {},
    }
    addresses = [{"type": "InternalIP", "address": each} for each in NODE]
    return node({"metadata": metadata, "spec": {"podCIDRs": list(POD_CIDRS)}, "status": {"addresses": addresses}})


def _service(rng: Random, name: str) -> Service:
    kind = rng.choice(("ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer"))
    families = rng.choice(((Family.IPV4,), (Family.IPV6,), (Family.IPV4, Family.IPV6)))
    ips = [CLUSTER_IPS[family].format(rng.randint(1, 5)) for family in families]
    numbers = iter(rng.sample(NODE_PORT_NUMBERS, 2))
    ports: list[Document] = []
    for number in rng.sample(PORTS, rng.randint(1, 2)):
        node_port = next(numbers)
        for protocol in rng.choice((["TCP"], ["UDP"], ["TCP", "UDP"])):
            port = {"name": f"{protocol.lower()}{number}", "port": number, "protocol": protocol}
            ports.append(port | ({"nodePort": node_port} if kind != "ClusterIP" and rng.random() < 0.8 else {}))
    either = [*BALANCERS.values()]
    spec: Document = {
        "type": kind,
        "clusterIP": ips[0],
        "clusterIPs": ips,
        "ports": ports,
        "internalTrafficPolicy": rng.choice(("Cluster", "Cluster", "Local")),
        "externalTrafficPolicy": rng.choice(("Cluster", "Local")),
        "externalIPs": [rng.choice(either).format(rng.randint(1, 4))] if rng.random() < 0.3 else [],
        "sessionAffinity": "ClientIP" if rng.random() < 0.3 else "None",
    }
    status: Document = {}
    if kind == "LoadBalancer":
        if rng.random() < 0.4:
            spec["loadBalancerSourceRanges"] = [
                rng.choice(RANGES[family]) for family in Family for _ in range(rng.randint(0, 2))
            ]
        ingress = [
            {"ip": BALANCERS[family].format(rng.randint(1, 4)), "ipMode": rng.choice(("VIP", "VIP", "Proxy"))}
            for family in families
        ]
        status = {"loadBalancer": {"ingress": _some(rng, ingress)}}
    labels = {"service.kubernetes.io/service-proxy-name": "another"} if rng.random() < 0.05 else {}
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return service({"metadata": metadata, "spec": spec, "status": status})


def _slices(rng: Random, name: str) -> list[EndpointSlice]:
    """Those of a Service: of both families, overlapping, in every state."""
    found = []
    for number in range(rng.randint(0, 3)):
        family = rng.choice(list(Family))
        by_port: dict[int, list[Document]] = {}
        hinted = rng.random() < 0.4
        for endpoint in _some(rng, ENDPOINTS[family]):
            where = "a" if endpoint.local else rng.choice(("b", "c"))
            by_port.setdefault(endpoint.port, []).append(
                {
                    "addresses": [endpoint.address],
                    "nodeName": where,
                    "conditions": _conditions(rng),
                    "hints": _hints(rng) if hinted else None,
                }
            )
        for port, endpoints in by_port.items():
            ports = [
                {"name": f"{protocol.lower()}{each}", "port": port, "protocol": protocol}
                for each in PORTS
                for protocol in ("TCP", "UDP")
            ]
            labels = {"kubernetes.io/service-name": name}
            metadata = {"name": f"{name}-{number}-{port}", "namespace": "default", "labels": labels}
            document = {"metadata": metadata, "addressType": family.value, "ports": ports, "endpoints": endpoints}
            found.append(endpoint_slice(document))
    return found


def _conditions(rng: Random) -> Document:
    return rng.choice(
        (
            {},
            {"ready": True, "serving": True, "terminating": False},
            {"ready": True, "serving": True, "terminating": False},
            {"ready": False, "serving": False, "terminating": False},
            {"ready": False, "serving": True, "terminating": True},
            {"ready": False, "serving": False, "terminating": True},
        )
    )


def _hints(rng: Random) -> Document:
    return {
        "forZones": [{"name": rng.choice(ZONES[1:])}],
        "forNodes": [{"name": rng.choice(("a", "b"))}] if rng.random() < 0.3 else None,
    }


def _some(rng: Random, among: Sequence[_T]) -> list[_T]:
    return rng.sample(among, rng.randint(0, len(among)))
