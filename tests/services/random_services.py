"""Services, their slices and their node at random, for Hypothesis: whole fields, odd ones and broken ones."""

import json
from typing import Any

from hypothesis import strategies as st

from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.node import Node, node
from mooring.model.service import Service, service

Document = dict[str, Any]

GOOD = ("10.96.0.1", "10.96.0.2", "fd00:96::1", "203.0.113.1", "203.0.113.2", "2001:db8::1", "172.30.0.11")
ODD = ("010.096.000.001", "::ffff:203.0.113.1", "fd00:0096:0:0::1", "2001:DB8::1")
BROKEN = ("", "None", "nonsense", "300.1.2.3", "1.2.3", "fe80::1%eth0", "::g", "10.96.0.1/24", " 10.96.0.1", "١.2.3.4")
SPECIAL = ("0.0.0.0", "127.0.0.1", "::1", "::", "224.0.0.1", "169.254.1.1", "fe80::1")
ENDPOINTS4 = ("10.244.1.2", "10.244.1.3", "10.244.2.2", "10.244.2.3", "010.244.001.002", "::ffff:10.244.2.2", "172.30.0.11")
ENDPOINTS6 = ("fd00:244:1::2", "fd00:244:2::2", "fd00:244:1:0::2")
RANGES = (
    "198.51.100.0/24",
    " 198.051.100.000/25 ",
    "172.30.0.11/24",
    "2001:db8::/32",
    "0.0.0.0/0",
    "::/0",
    "nonsense",
    "",
    "1.2.3.4",
)

HINTS = (
    None,
    None,
    None,
    {},
    {"forZones": [{"name": "zone-1"}]},
    {"forZones": [{"name": "zone-2"}, {"name": "zone-1"}]},
    {"forNodes": [{"name": "node-1"}], "forZones": [{"name": "zone-1"}]},
    {"forNodes": [{"name": "node-2"}]},
)

addresses = st.sampled_from(GOOD + ODD + BROKEN + SPECIAL)
CLUSTER_IPS = (["10.96.0.1"], ["10.96.0.1", "fd00:96::1"], ["fd00:96::1", "10.96.0.1"], ["fd00:96::1"], ["010.096.000.001"])
PORTS: tuple[list[Document], ...] = (
    [{"port": 80, "nodePort": 30080}],
    [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 80, "nodePort": 30080, "protocol": "UDP"}],
    [{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 80}],
)

SLICE_PORTS: list[Document] = [
    {"name": "", "port": 8080, "protocol": "TCP"},
    {"name": "a", "port": 8080, "protocol": "TCP"},
    {"name": "b", "port": 8080, "protocol": "UDP"},
]

numbers = st.sampled_from([80, 443, 30080, 0, -1, 70000])
policies = st.sampled_from(["", "Cluster", "Local", "Nonsense"])
maybe_true = st.sampled_from([None, True, False])


def mostly(whole: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What is broken throughout says little."""
    return st.integers(0, 5).flatmap(lambda choice: whole if choice else other)


@st.composite
def services(draw: st.DrawFn) -> Service:
    ips = draw(mostly(st.sampled_from(CLUSTER_IPS), st.lists(addresses, max_size=2, unique=True)))
    ports = draw(mostly(st.sampled_from(PORTS), st.lists(_ports(), max_size=3)))
    spec: Document = {
        "type": draw(mostly(st.just("LoadBalancer"), st.sampled_from(["NodePort", "ClusterIP", "ExternalName", "Nonsense"]))),
        "clusterIP": ips[0] if ips else draw(st.sampled_from(["", "None", "10.96.0.1"])),
        "clusterIPs": ips or None,
        "ports": ports,
        "externalIPs": draw(st.none() | st.lists(addresses, max_size=3)),
        "externalTrafficPolicy": draw(policies),
        "internalTrafficPolicy": draw(st.none() | policies),
        "sessionAffinity": draw(st.sampled_from(["None", "ClientIP", "Nonsense"])),
        "sessionAffinityConfig": draw(
            st.sampled_from(
                [None, {}, {"clientIP": {}}, {"clientIP": {"timeoutSeconds": 7}}, {"clientIP": {"timeoutSeconds": -7}}]
            )
        ),
        "healthCheckNodePort": draw(numbers),
        "loadBalancerSourceRanges": draw(st.none() | st.lists(st.sampled_from(RANGES), max_size=3)),
    }
    ingress = [
        {
            "ip": draw(addresses),
            "hostname": "lb.example",
            "ipMode": draw(st.sampled_from([None, "VIP", "VIP", "Proxy", "Nonsense"])),
        }
        for _ in range(draw(st.integers(0, 2)))
    ]
    labels = draw(mostly(st.sampled_from([None, {}, {"app": "web"}]), st.just({"service.kubernetes.io/headless": ""})))
    metadata = {"name": "web", "namespace": "default", "labels": labels}
    return service({"metadata": metadata, "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}})


@st.composite
def _ports(draw: st.DrawFn) -> Document:
    return {
        "name": draw(st.sampled_from(["", "a", "b"])),
        "port": draw(numbers),
        "protocol": draw(st.sampled_from(["TCP", "UDP", "SCTP", "ICMP"])),
        "nodePort": draw(numbers),
    }


@st.composite
def endpoints(draw: st.DrawFn, ipv6: bool) -> Document:
    hints = draw(st.sampled_from(HINTS))
    return {
        "addresses": [draw(mostly(st.sampled_from(ENDPOINTS6 if ipv6 else ENDPOINTS4), addresses))],
        "nodeName": draw(st.sampled_from([None, "", "node-1", "node-1", "node-2", "node-2"])),
        "conditions": draw(
            st.none() | st.fixed_dictionaries({"ready": maybe_true, "serving": maybe_true, "terminating": maybe_true})
        ),
        "hints": hints,
    }


@st.composite
def slices(draw: st.DrawFn) -> list[EndpointSlice]:
    return [_slice(number, *draw(_contents())) for number in range(draw(st.sampled_from([1, 2, 3, 0])))]


@st.composite
def _contents(draw: st.DrawFn) -> tuple[bool, list[Document], list[Document]]:
    ipv6 = draw(st.integers(0, 2)) == 2
    ports = draw(mostly(st.just(SLICE_PORTS), st.lists(_slice_ports(), max_size=3)))
    return ipv6, ports, draw(st.lists(endpoints(ipv6), min_size=1, max_size=5))


@st.composite
def _slice_ports(draw: st.DrawFn) -> Document:
    return {
        "name": draw(st.sampled_from([None, "", "a", "b"])),
        "port": draw(st.sampled_from([8080, 9090, None, 0, 70000])),
        "protocol": draw(st.sampled_from([None, "TCP", "UDP"])),
    }


def _slice(number: int, ipv6: bool, ports: list[Document], found: list[Document]) -> EndpointSlice:
    metadata = {"name": f"web-{number}", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}}
    family = "IPv6" if ipv6 else "IPv4"
    return endpoint_slice({"metadata": metadata, "addressType": family, "ports": ports, "endpoints": found})


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    options: Document = {
        "nodeport-addresses": draw(
            st.lists(st.sampled_from(["primary", "all", "localhost", "172.30.0.0/16", "::/0"]), max_size=2, unique=True)
        ),
        "masquerade-all": draw(st.booleans()),
        "detect-local": draw(st.sampled_from(["NodeCIDR", "NodeCIDR", "None"])),
    }
    labels = draw(st.sampled_from([None, {"topology.kubernetes.io/zone": "zone-1"}, {"topology.kubernetes.io/zone": "zone-2"}]))
    known = [
        ("InternalIP", "172.30.0.11"),
        ("InternalIP", "fd00:30::11"),
        ("ExternalIP", "198.51.100.11"),
        ("Hostname", "node-1"),
    ]
    written = draw(st.lists(st.sampled_from([*known, ("InternalIP", "nonsense")]), unique=True))
    return node(
        {
            "metadata": {"name": "node-1", "labels": labels, "annotations": {"mooring.dev/proxy-options": json.dumps(options)}},
            "spec": {
                "podCIDRs": draw(st.sampled_from([["10.244.1.0/24", "fd00:244:1::/64"], ["10.244.1.0/24"], ["nonsense"]]))
            },
            "status": {"addresses": [{"type": kind, "address": address} for kind, address in written]},
        }
    )
