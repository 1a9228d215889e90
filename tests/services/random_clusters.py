"""Whole clusters at random: Services of every type and policy, their slices with zones and conditions, nodes with options."""

import json
from random import Random
from typing import Any

from msgspec import Struct

from mooring.dataplane.trace import Packet
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.node import Node, node
from mooring.model.service import Service, service
from mooring.services.build import build_view
from mooring.services.view import NodeView

Document = dict[str, Any]
NODES, ZONES = (1, 2, 3), ("zone-a", "zone-b", "")
CIDRS = ("10.96.0.0/16", "fd00:96::/112")
OUTSIDE = {4: ("172.30.0.250", "198.51.100.7", "10.244.2.9"), 6: ("fd00:30::fa", "2001:db8:1::7", "fd00:244:2::9")}
PODS = {4: ("10.244.1.9", "10.244.1.2"), 6: ("fd00:244:1::9", "fd00:244:1::2")}
HERE = {4: "172.30.0.11", 6: "fd00:30::11"}
RANGES = ("198.51.100.0/24", "10.244.0.0/16", "172.30.0.0/24", "2001:db8:1::/48", "fd00:244::/48")
CONDITIONS = (
    *[{"ready": True, "serving": True, "terminating": False}] * 5,
    *[{"ready": False, "serving": True, "terminating": True}] * 2,
    {"ready": False, "serving": False, "terminating": True},
    {"ready": False, "serving": False, "terminating": False},
    {},
)


class Cluster(Struct, frozen=True):
    nodes: tuple[Node, ...]
    services: tuple[Service, ...]
    slices: tuple[EndpointSlice, ...]

    def view(self) -> NodeView:
        """Of the first node."""
        return build_view(self.nodes[0], self.services, self.slices, CIDRS)


def cluster_of(rng: Random) -> Cluster:
    names = [f"service-{number}" for number in range(1, rng.randint(2, 5))]
    services, slices = [], []
    for number, name in enumerate(names, 1):
        families = rng.choice([[4], [4], [4, 6], [6, 4], [6]])
        ports = rng.choice([["TCP"], ["TCP"], ["UDP"], ["TCP", "UDP"]])
        hints = rng.choice(["", "", "zone", "node"])
        services.append(_service(rng, name, number, families, ports))
        slices += [_slice(rng, name, family, ports, hints) for family in families for _ in range(rng.randint(0, 2))]
    return Cluster(tuple(_node(rng, number) for number in NODES), tuple(services), tuple(slices))


def packets_of(rng: Random, view: NodeView, count: int) -> list[Packet]:
    """Mostly to frontends; some near them."""
    frontends = [(each, port.name.protocol) for ports in view.services.values() for port in ports for each in port.frontends]
    found: dict[Packet, None] = {}
    for _ in range(count if frontends else 0):
        frontend, protocol = rng.choice(frontends)
        family = 6 if ":" in frontend.address else 4
        source = rng.choice([*PODS[family], *PODS[family], *OUTSIDE[family], HERE[family]])
        interface = "veth1" if source in PODS[family] else "" if source == HERE[family] else "eth0"
        if frontend.address == "127.0.0.1":
            source, interface = frontend.address, ""
        port = frontend.port if rng.random() < 0.9 else 81
        found[Packet(source, frontend.address, protocol, port, interface)] = None
    return list(found)


def _address(kind: str, family: int, number: int) -> str:
    made = {
        "cluster": ("10.96.0.{}", "fd00:96::{}"),
        "outer": ("203.0.113.{}", "2001:db8::{}"),
    }
    return made[kind][family == 6].format(number)


def _service(rng: Random, name: str, number: int, families: list[int], protocols: list[str]) -> Service:
    kind = rng.choice(["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer"])
    spec: Document = {
        "type": kind,
        "clusterIPs": [_address("cluster", family, number) for family in families],
        "ports": [
            {"name": each.lower(), "port": 80, "protocol": each, "nodePort": 0 if kind == "ClusterIP" else 30000 + number}
            for each in protocols
        ],
        "internalTrafficPolicy": rng.choice(["Cluster", "Cluster", "Local"]),
        "externalTrafficPolicy": rng.choice(["Cluster", "Local"]),
        # Now and then two Services claim one address.
        "externalIPs": [_address("outer", family, rng.randint(1, 4)) for family in families if rng.random() < 0.4],
        "sessionAffinity": rng.choice(["None", "None", "ClientIP"]),
        "loadBalancerSourceRanges": rng.sample(RANGES, rng.randint(1, 3)) if rng.random() < 0.3 else None,
    }
    spec["clusterIP"] = spec["clusterIPs"][0]
    balancers = [_address("outer", family, 10 + rng.randint(1, 4)) for family in families if kind == "LoadBalancer"]
    ingress = [{"ip": each, "ipMode": rng.choice(["VIP", "VIP", "VIP", "Proxy"])} for each in balancers]
    metadata = {"name": name, "namespace": "default"}
    return service({"metadata": metadata, "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}})


def _slice(rng: Random, name: str, family: int, protocols: list[str], hints: str) -> EndpointSlice:
    endpoints = []
    for _ in range(rng.randint(0, 4)):
        on = rng.choice(NODES)
        address = f"10.244.{on}.{rng.randint(2, 4)}" if family == 4 else f"fd00:244:{on}::{rng.randint(2, 4)}"
        endpoint: Document = {"addresses": [address], "nodeName": f"node-{on}", "conditions": rng.choice(CONDITIONS)}
        if hints and rng.random() < 0.95:
            endpoint["hints"] = {"forZones": [{"name": ZONES[on - 1] or "zone-a"}]}
        if hints == "node":
            endpoint.setdefault("hints", {})["forNodes"] = [{"name": f"node-{on}"}]
        endpoints.append(endpoint)
    return endpoint_slice(
        {
            "metadata": {
                "name": f"{name}-{rng.randrange(1000)}",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": f"IPv{family}",
            "ports": [{"name": each.lower(), "port": 8080, "protocol": each} for each in protocols],
            "endpoints": endpoints,
        }
    )


def _node(rng: Random, number: int) -> Node:
    options: Document = {
        "nodeport-addresses": rng.choice([["primary"], ["all"], ["primary", "localhost"], ["172.30.0.48/28"]]),
        "masquerade-all": rng.random() < 0.2,
        "detect-local": rng.choice(["NodeCIDR", "NodeCIDR", "InterfaceNamePrefix", "None"]),
        "pod-interface": "veth",
    }
    zone = ZONES[number - 1]
    addresses = (f"172.30.0.1{number}", f"fd00:30::1{number}", f"172.30.0.5{number}")
    return node(
        {
            "metadata": {
                "name": f"node-{number}",
                "labels": {"topology.kubernetes.io/zone": zone} if zone else None,
                "annotations": {"mooring.dev/proxy-options": json.dumps(options)},
            },
            "spec": {"podCIDRs": [f"10.244.{number}.0/24", f"fd00:244:{number}::/64"]},
            "status": {"addresses": [{"type": "InternalIP", "address": each} for each in addresses]},
        }
    )
