"""By which nodes the external client reaches a Service's addresses."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

import pytest

from mooring.app.outside_routes import OutsideRoutes, outside_routes
from mooring.edges.memory.api import MemoryApi
from mooring.edges.netlink.routes import Route, apply, present
from mooring.edges.netlink.topology import ensure, remove, topology
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NAMESPACE, NODE, SERVICE, Kind
from mooring.model.node import Node, node
from mooring.model.service import Service, service

ONE, TWO, THREE = "172.30.0.11", "172.30.0.12", "172.30.0.13"
ADDRESS = "172.30.1.1"
OWN = [ip_network(each) for each in ("172.30.0.0/24", "10.96.0.0/16", "fd00:172:30::/64")]
HEALTHY, DRAINING, UNREADY = {"ready": True}, {"ready": False, "serving": True, "terminating": True}, {"ready": False}


def member(number: int, ready: str = "True", **labels: str) -> Node:
    addresses = [{"type": "InternalIP", "address": each} for each in (f"172.30.0.1{number}", f"fd00:172:30::1{number}")]
    conditions = [{"type": "Ready", "status": ready}]
    metadata = {"name": f"node-{number}", "labels": labels}
    return node({"metadata": metadata, "status": {"addresses": addresses, "conditions": conditions}})


NODES = [member(3), member(1), member(2)]


def balancer(
    name: str = "web", ingress: Any = ({"ip": ADDRESS},), labels: dict[str, str] | None = None, **spec: Any
) -> Service:
    return service(
        {
            "metadata": {"name": name, "namespace": "default", "labels": labels or {}},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.7", "ports": [{"port": 80}], **spec},
            "status": {"loadBalancer": {"ingress": list(ingress)}},
        }
    )


def slices(*endpoints: tuple[str, dict[str, bool]], family: str = "IPv4") -> list[EndpointSlice]:
    """An endpoint for each (node, conditions)."""
    address = "10.244.0.{}" if family == "IPv4" else "fd00:244::{}"
    found = [
        {"addresses": [address.format(place)], "nodeName": owner, "conditions": conditions}
        for place, (owner, conditions) in enumerate(endpoints, 2)
    ]
    metadata = {"namespace": "default", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}
    return [endpoint_slice({"metadata": metadata, "addressType": family, "endpoints": found, "ports": [{"port": 8080}]})]


def routes(*services: Service, endpoints: list[EndpointSlice] = [], nodes: list[Node] = NODES) -> dict[str, tuple[str, ...]]:  # noqa: B006
    return {each.range: each.via for each in outside_routes(services, lambda _: endpoints, nodes, OWN)}


@pytest.mark.parametrize(
    ("policy", "endpoints", "expected"),
    [
        ("Cluster", [], (ONE, TWO, THREE)),
        ("Cluster", [("node-2", HEALTHY)], (ONE, TWO, THREE)),
        ("Local", [("node-2", HEALTHY), ("node-2", UNREADY), ("node-1", UNREADY)], (TWO,)),
        ("Local", [("node-2", HEALTHY), ("node-3", DRAINING)], (TWO,)),
        ("Local", [("node-2", DRAINING), ("node-3", DRAINING), ("node-1", UNREADY)], (TWO, THREE)),
        ("Local", [("node-1", UNREADY)], None),
        ("Local", [("gone", HEALTHY)], None),
    ],
    ids=[
        "Cluster: every node, though nobody serves: nodes refuse",
        "Cluster: every node, wherever they serve",
        "Local: where one is ready",
        "Local: none that only terminate while others are ready",
        "Local: those that terminate and serve when none is ready",
        "Local: no way when nobody serves",
        "Local: no way by a node that is not there",
    ],
)
def test_the_policy_chooses_the_nodes(policy: str, endpoints: list[Any], expected: tuple[str, ...] | None) -> None:
    made = routes(balancer(externalTrafficPolicy=policy), endpoints=slices(*endpoints))
    assert ({f"{ADDRESS}/32": expected} if expected else {}) == made


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([member(1), member(2, "False"), member(3, "Unknown")], (ONE,)),
        ([member(1, "Unknown"), member(2, "False")], (ONE, TWO)),
        ([member(1), member(2, **{"node.kubernetes.io/exclude-from-external-load-balancers": ""})], (ONE,)),
    ],
    ids=["those that are ready", "all when none is: nobody knows better", "none that is excluded"],
)
def test_which_nodes_are_eligible(nodes: list[Node], expected: tuple[str, ...]) -> None:
    assert {f"{ADDRESS}/32": expected} == routes(balancer(), nodes=nodes)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (balancer(ingress=[{"ip": ADDRESS, "ipMode": "VIP"}, {"ip": "fd00:1::1"}]), {f"{ADDRESS}/32", "fd00:1::1/128"}),
        (balancer(ingress=[{"ip": ADDRESS, "ipMode": "Proxy"}, {"hostname": "lb.example"}]), set()),
        (balancer(ingress=[], externalIPs=["203.0.113.5"]), {"203.0.113.5/32"}),
        (balancer(type="ClusterIP", externalIPs=["203.0.113.5"]), {"203.0.113.5/32"}),
        (balancer(type="NodePort"), set()),
        (balancer(externalIPs=[ONE, "10.96.0.9", "fd00:172:30::11"]), {f"{ADDRESS}/32"}),
        (balancer(ingress=[{"ip": "127.0.0.1"}, {"ip": "224.0.0.1"}, {"ip": "fe80::1"}]), set()),
        (balancer(labels={"service.kubernetes.io/service-proxy-name": "x"}), set()),
        (balancer(clusterIP="None"), set()),
    ],
    ids=[
        "addresses of both families, VIP by default",
        "neither of a proxy nor a hostname",
        "external IPs",
        "external IPs of a ClusterIP",
        "no load balancer any more",
        "none that has its place in the cluster",
        "none that no network leads anywhere",
        "none of another proxy's Service",
        "none of a headless Service",
    ],
)
def test_which_addresses_are_led_to_nodes(made: Service, expected: set[str]) -> None:
    assert expected == set(routes(made))


def test_each_family_goes_by_the_nodes_addresses_and_endpoints_of_that_family() -> None:
    both = balancer(ingress=[{"ip": ADDRESS}, {"ip": "fd00:1::1"}], externalTrafficPolicy="Local")
    endpoints = slices(("node-1", HEALTHY)) + slices(("node-2", HEALTHY), family="IPv6")
    assert {f"{ADDRESS}/32": (ONE,), "fd00:1::1/128": ("fd00:172:30::12",)} == routes(both, endpoints=endpoints)


def test_affinity_keeps_to_one_node() -> None:
    assert {f"{ADDRESS}/32": (ONE,)} == routes(balancer(sessionAffinity="ClientIP"))
    local = balancer(sessionAffinity="ClientIP", externalTrafficPolicy="Local")
    assert {f"{ADDRESS}/32": (TWO,)} == routes(local, endpoints=slices(("node-3", HEALTHY), ("node-2", HEALTHY)))


@pytest.mark.parametrize(
    ("serving", "expected"),
    [(("node-2",), (TWO,)), ((), (ONE, TWO, THREE))],
    ids=["the nodes that do for both", "those that do for one when none does for both"],
)
def test_an_address_that_two_services_show(serving: tuple[str, ...], expected: tuple[str, ...]) -> None:
    external = balancer("other", ingress=[], externalIPs=[ADDRESS])
    local = balancer(externalTrafficPolicy="Local")
    endpoints = slices(*((each, HEALTHY) for each in serving))
    assert {f"{ADDRESS}/32": expected} == routes(external, local, endpoints=endpoints)


def test_the_wish_does_not_depend_on_the_order_of_nodes() -> None:
    wish = outside_routes([balancer()], lambda _: [], NODES)
    assert wish == outside_routes([balancer()], lambda _: [], NODES[::-1]) == {Route(f"{ADDRESS}/32", (ONE, TWO, THREE))}


@pytest.fixture
def outside() -> Iterator[str]:
    made = topology(f"t{secrets.token_hex(4)}", ["node-1", "node-2"], ["172.30.0.0/24"], ranges=[], dns=())
    try:
        ensure(made)
        yield made.namespace("outside")
    finally:
        remove(made.cluster)


async def seen(outside: str, expected: dict[str, tuple[str, ...]]) -> None:
    """Returns once the kernel has these routes of ours."""
    async with asyncio.timeout(30):
        while {each.range: each.via for each in await present(outside)} != expected:
            await asyncio.sleep(0.01)


@pytest.mark.root
async def test_the_kernel_follows_services_endpoints_and_nodes(outside: str) -> None:
    api = MemoryApi()

    async def write(verb: Any, kind: Kind, name: str, body: Any, subresource: str = "") -> None:
        if verb == "create":
            body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, **body}
        await api.write(verb, kind, "default" if kind.namespaced else "", name, body, subresource=subresource)

    await write("create", NAMESPACE, "default", {})
    for number in (1, 2):
        await write("create", NODE, f"node-{number}", {})
        status = {"addresses": [{"type": "InternalIP", "address": f"172.30.0.1{number}"}]}
        await write("patch", NODE, f"node-{number}", {"status": status | READY}, "status")
    following = asyncio.create_task(OutsideRoutes(api, outside, ["172.30.0.0/24"], check=0.1).run())
    try:
        spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Cluster", "ports": [{"port": 80}]}
        await write("create", SERVICE, "web", {"spec": spec})
        await write("patch", SERVICE, "web", {"status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}}, "status")
        await seen(outside, {f"{ADDRESS}/32": (ONE, TWO)})
        await apply([], outside)  # somebody else's hand
        await seen(outside, {f"{ADDRESS}/32": (ONE, TWO)})
        await write("patch", NODE, "node-1", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, "status")
        await seen(outside, {f"{ADDRESS}/32": (TWO,)})
        await write("patch", SERVICE, "web", {"spec": {"externalTrafficPolicy": "Local"}})
        await seen(outside, {})
        endpoints = {"endpoints": [{"addresses": ["10.244.0.2"], "nodeName": "node-1", "conditions": HEALTHY}]}
        labelled = {"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4"}
        await write("create", ENDPOINT_SLICE, "web-1", {**labelled, **endpoints, "ports": [{"port": 8080}]})
        await seen(outside, {f"{ADDRESS}/32": (ONE,)})
        await write("patch", SERVICE, "web", {"spec": {"externalIPs": ["203.0.113.5"]}})
        await seen(outside, {f"{ADDRESS}/32": (ONE,), "203.0.113.5/32": (ONE,)})
        await write("patch", SERVICE, "web", {"spec": {"type": "ClusterIP", "externalTrafficPolicy": "Cluster"}})
        await seen(outside, {"203.0.113.5/32": (TWO,)})
        await write("delete", SERVICE, "web", None)
        await seen(outside, {})
        assert not following.done()
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


READY = {"conditions": [{"type": "Ready", "status": "True"}]}
