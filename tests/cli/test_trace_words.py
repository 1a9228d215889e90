"""Does `mooring trace` understand where a packet starts and goes, whom it meets, and how to tell it?"""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from mooring.app.objects import BadOptions, Objects
from mooring.app.places import Destination, Origin, PlaceError, destination, origin
from mooring.app.tracing import Told, foresee
from mooring.cli import trace as cli
from mooring.dataplane.egress import Egress
from mooring.dataplane.sighting import KEPT, Flow, Line, Met, Seen, Sighting, Tracked, differences
from mooring.dataplane.trace import Outcome
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.node import Node, node
from mooring.model.service import Service, service
from mooring.services.locality import ANNOTATION
from mooring.services.view import Protocol

TCP, UDP = Protocol.TCP, Protocol.UDP
OUTSIDE = "172.30.0.250"


def a_node(name: str, number: int, zone: str = "") -> Node:
    addresses = [{"type": "InternalIP", "address": each} for each in (f"172.30.0.{number}", f"fd00:30::{number}")]
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    return node(
        {
            "metadata": {"name": name, "labels": labels},
            "spec": {"podCIDRs": [f"10.244.{number}.0/24", f"fd00:244:{number}::/64"]},
            "status": {"addresses": addresses},
        }
    )


def a_service(name: str, address: str, namespace: str = "default", **spec: Any) -> Service:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": spec.pop("node_port", 0)}]
    fields = {"clusterIP": address, "clusterIPs": [address], "type": "ClusterIP", "ports": ports, **spec}
    return service({"metadata": {"name": name, "namespace": namespace, "uid": name}, "spec": fields})


def a_slice(service_name: str, *pods: dict[str, Any]) -> EndpointSlice:
    return endpoint_slice(
        {
            "metadata": {
                "name": f"{service_name}-x",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": service_name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [
                {
                    "addresses": [pod["status"]["podIPs"][0]["ip"]],
                    "conditions": {"ready": True},
                    "nodeName": pod["spec"]["nodeName"],
                    "targetRef": {"kind": "Pod", "namespace": "default", "name": pod["metadata"]["name"]},
                }
                for pod in pods
            ],
        }
    )


def a_pod(name: str, place: str, *addresses: str, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"},
        "spec": {"nodeName": place, **spec},
        "status": {"podIPs": [{"ip": each} for each in addresses]},
    }


CLIENT = a_pod("client", "node-1", "10.244.11.2", "fd00:244:11::2")
WEB_1, WEB_2 = a_pod("web-1", "node-1", "10.244.11.3"), a_pod("web-2", "node-2", "10.244.12.3")
OBJECTS = Objects(
    (a_node("node-1", 11, "a"), a_node("node-2", 12, "b")),
    (
        a_service("web", "10.96.0.1", type="NodePort", node_port=30080),
        a_service("lb", "10.96.0.4", type="LoadBalancer", node_port=30081),
        a_service("web", "10.96.0.9", "shop"),
        a_service("six", "fd00:96::1"),
        a_service("managed", "10.96.0.5"),
        a_service("headless", "None"),
        a_service("alias", "", type="ExternalName", externalName="example.com"),
        a_service("kube-dns", "10.96.0.10", "kube-system"),
    ),
    (a_slice("web", WEB_1, WEB_2), a_slice("lb", WEB_1), a_slice("managed", a_pod("managed", "node-2", "203.0.113.5"))),
    ("10.96.0.0/16",),
    (
        CLIENT,
        WEB_1,
        WEB_2,
        a_pod("host", "node-2", "172.30.0.12", hostNetwork=True),
        a_pod("waiting", "node-1"),
        a_pod("other", "node-2", "10.244.12.9", namespace="shop"),
    ),
)


def to(text: str, namespace: str = "default") -> Destination:
    return destination(text, OBJECTS, namespace)


def start(text: str, target: Destination, via: str = "") -> Origin:
    return origin(text, OBJECTS, "default", target, lambda address: (OUTSIDE, via))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.96.0.1:80", Destination("10.96.0.1", 80, TCP)),
        ("010.096.000.001:80", Destination("10.96.0.1", 80, TCP)),
        ("web:80", Destination("10.96.0.1", 80, TCP, "", "service/web in default")),
        ("svc/web:80/tcp", Destination("10.96.0.1", 80, TCP, "", "service/web in default")),
        ("web.shop:53/udp", Destination("10.96.0.9", 53, UDP, "", "service/web in shop")),
        ("web.shop.svc.cluster.local:80", Destination("10.96.0.9", 80, TCP, "", "service/web in shop")),
        ("[fd00:96:0::1]:80", Destination("fd00:96::1", 80, TCP)),
        ("pod/web-2:8080", Destination("10.244.12.3", 8080, TCP, "node-2", "pod/web-2 in default")),
        ("web-2:8080", Destination("10.244.12.3", 8080, TCP, "node-2", "pod/web-2 in default")),
        ("node/node-2:30080", Destination("172.30.0.12", 30080, TCP, "node-2", "node/node-2")),
        ("node-2:30080", Destination("172.30.0.12", 30080, TCP, "node-2", "node/node-2")),
        ("172.30.0.12:30080/sctp", Destination("172.30.0.12", 30080, Protocol.SCTP, "node-2", "node/node-2")),
        ("10.244.12.3:8080", Destination("10.244.12.3", 8080, TCP, "node-2", "pod/web-2 in default")),
        ("localhost:30080", Destination("127.0.0.1", 30080, TCP)),
        ("127.0.0.1:30080", Destination("127.0.0.1", 30080, TCP)),
    ],
)
def test_a_destination_is_understood(text: str, expected: Destination) -> None:
    assert expected == to(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("web", "'web' is no destination: say HOST:PORT"),
        ("web:http", "is no destination"),
        ("web:0", "is no destination"),
        ("web:65536", "is no destination"),
        (":80", "is no destination"),
        ("web:80/icmp", "'icmp' is no protocol: tcp, udp or sctp"),
        ("ghost:80", "'ghost' is neither an address nor a Service or pod in namespace 'default', nor a node"),
        ("svc/ghost:80", "there is no service 'ghost' in namespace 'default'"),
        ("pod/ghost:80", "there is no pod 'ghost' in namespace 'default'"),
        ("node/ghost:80", "there is no node 'ghost'"),
        ("deploy/web:80", "'deploy' is nothing that packets go to"),
        ("headless:80", "service/headless in default has no cluster IP: its names lead straight to the pods"),
        ("alias:80", "service/alias in default is a name for example.com"),
        ("pod/waiting:80", "pod/waiting has no address yet"),
    ],
)
def test_a_destination_that_means_nothing_is_told(text: str, says: str) -> None:
    with pytest.raises(PlaceError) as error:
        to(text)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("client", "web:80", Origin("pod", "10.244.11.2", "node-1", "pod/client", "uid-client")),
        ("pod/client", "six:80", Origin("pod", "fd00:244:11::2", "node-1", "pod/client", "uid-client")),
        ("10.244.11.2", "web:80", Origin("pod", "10.244.11.2", "node-1", "pod/client", "uid-client")),
        ("node/node-2", "web:80", Origin("node", "172.30.0.12", "node-2", "node/node-2")),
        ("172.30.0.12", "web:80", Origin("node", "172.30.0.12", "node-2", "node/node-2")),
        ("node/node-2", "localhost:30080", Origin("node", "127.0.0.1", "node-2", "node/node-2")),
        ("node/node-1", "node-2:30080", Origin("node", "172.30.0.11", "node-1", "node/node-1")),
        ("host", "web:80", Origin("node", "172.30.0.12", "node-2", "pod/host, in the network of node/node-2,")),
        ("outside", "web:80", Origin("outside", OUTSIDE, "node-1", "outside")),
        ("outside", "node-2:30080", Origin("outside", OUTSIDE, "node-2", "outside")),
        ("outside/node-2", "web:80", Origin("outside", OUTSIDE, "node-2", "outside")),
        ("203.0.113.9", "web:80", Origin("outside", "203.0.113.9", "node-1", "outside")),
        ("203.0.113.9/node-2", "web:80", Origin("outside", "203.0.113.9", "node-2", "outside")),
    ],
)
def test_an_origin_is_understood(text: str, target: str, expected: Origin) -> None:
    assert expected == start(text, to(target))


def test_the_outside_enters_where_it_routes_the_packet_to() -> None:
    assert start("outside", to("203.0.113.80:80"), via="172.30.0.12").node == "node-2"
    assert start("outside/node-1", to("203.0.113.80:80"), via="172.30.0.12").node == "node-1"
    assert start("outside", to("203.0.113.80:80"), via="192.0.2.1").node == "node-1"


@pytest.mark.parametrize(
    ("text", "target", "says"),
    [
        ("ghost", "web:80", "no pod 'ghost' in namespace 'default'"),
        ("node/ghost", "web:80", "no node 'ghost'; there are node-1, node-2"),
        ("outside/ghost", "web:80", "no node 'ghost'; there are node-1, node-2"),
        ("waiting", "web:80", "pod/waiting has no address yet"),
        ("web-1", "six:80", "pod/web-1 has no IPv6 address, which the destination needs"),
        ("203.0.113.9", "six:80", "they are of two families"),
    ],
)
def test_an_origin_that_means_nothing_is_told(text: str, target: str, says: str) -> None:
    with pytest.raises(PlaceError) as error:
        start(text, to(target))
    assert says in str(error.value)


def test_an_outside_without_the_family_is_told() -> None:
    with pytest.raises(PlaceError, match="the outside has no IPv6 address"):
        origin("outside", OBJECTS, "default", to("six:80"), lambda address: ("", ""))


def test_options_that_mean_nothing_name_their_node() -> None:
    odd = msgspec.structs.replace(
        OBJECTS.nodes[0],
        metadata=msgspec.structs.replace(OBJECTS.nodes[0].metadata, annotations={ANNOTATION: '{"nodeport-addresses": ["x"]}'}),
    )
    with pytest.raises(BadOptions, match=f"node/node-1: annotation {ANNOTATION}: nodeport-addresses: 'x' is none of"):
        msgspec.structs.replace(OBJECTS, nodes=(odd,)).view("node-1")


def told(text: str, target: str) -> Told:
    found = to(target)
    return foresee(OBJECTS, start(text, found), found)


@pytest.mark.parametrize(
    ("text", "target", "hops", "outcome"),
    [
        ("client", "web:80", ["node-1"], Outcome.FORWARD),
        ("client", "node-1:30080", ["node-1"], Outcome.FORWARD),
        ("client", "node-2:30080", ["node-1", "node-2"], Outcome.FORWARD),
        ("node/node-1", "node-2:30080", ["node-1", "node-2"], Outcome.FORWARD),
        ("client", "pod/web-2:8080", ["node-1", "node-2"], Outcome.PASS),
        ("client", "pod/web-1:8080", ["node-1"], Outcome.PASS),
        ("outside", "node-2:30080", ["node-2"], Outcome.FORWARD),
        ("client", "10.96.0.10:53/udp", ["node-1"], Outcome.REJECT),
        ("client", "10.96.0.77:80", ["node-1"], Outcome.DROP),
        ("client", "198.51.100.1:80", ["node-1"], Outcome.PASS),
    ],
)
def test_a_packet_meets_the_tables_of_these_nodes(text: str, target: str, hops: list[str], outcome: Outcome) -> None:
    found = told(text, target)
    assert (hops, outcome) == ([hop.node for hop in found.hops], found.outcome)


def test_endpoints_are_named_as_people_know_them() -> None:
    found = told("client", "node-2:30080")
    assert [("10.244.11.3", "default/web-1", "node-1", "a"), ("10.244.12.3", "default/web-2", "node-2", "b")] == [
        (each.address, each.pod, each.node, each.zone) for each in found.endpoints
    ]
    assert [(0.5, "172.30.0.12", True)] * 2 == [(each.probability, each.sees, each.masqueraded) for each in found.endpoints]


def test_a_packet_that_never_leaves_its_place_is_no_nodes_business() -> None:
    with pytest.raises(PlaceError, match=r"127\.0\.0\.1 is pod/client's own"):
        told("client", "localhost:30080")


def test_the_answer_in_words() -> None:
    lines = list(cli._lines(told("client", "web:80")))
    assert lines[0] == "pod/client (10.244.11.2) -> service/web in default (10.96.0.1:80/TCP)"
    assert "node-1:" in lines
    assert "     because service/web in default: spec.clusterIPs, spec.ports 80/TCP" in lines
    assert [
        "FORWARD",
        "   50.0%  10.244.11.3:8080, pod default/web-1 on node-1 in zone a, sees the client's address, 10.244.11.2",
        "   50.0%  10.244.12.3:8080, pod default/web-2 on node-2 in zone b, sees the client's address, 10.244.11.2",
    ] == lines[-3:]


FLOW = Flow(("10.244.11.2", 40000), ("10.96.0.1", 80), TCP)
STEP = Line("ip mooring", "services", "goto pick-2", '"a frontend"')


def live(found: Told, met: Met, *sightings: Sighting, egress: Egress = KEPT) -> Sequence[str]:
    seen = Seen(FLOW, met, sightings)
    differ = differences([hop.trace for hop in found.hops], seen, egress)
    whole = msgspec.structs.replace(found, live=seen, differences=differ, notes=tuple(cli._notes(found, seen, egress)))
    return list(cli._lines(whole))


def test_what_the_kernel_did_stands_beside_what_was_foreseen() -> None:
    tracked = Tracked(("10.244.12.3", 8080), ("10.244.11.2", 40000), True, False)
    lines = live(told("client", "web:80"), Met.ANSWERED, Sighting("node-1", ("172.30.0.11",), (STEP,), tracked))
    assert "THE KERNEL, with a packet from 10.244.11.2:40000; the probe was answered" in lines
    assert '  services (ip mooring): "a frontend" -> goto pick-2' in lines
    [table] = [line for line in lines if "FORESEEN" in line]
    assert ["node-1", "forward", "forward"] == table.splitlines()[1].split()
    assert "one of 2      10.244.12.3:8080 default/web-2" in table
    assert lines[-1] == "The kernel did what was foreseen."


def test_a_difference_cannot_be_overlooked() -> None:
    lines = live(told("client", "web:80"), Met.REFUSED, Sighting("node-1", ("172.30.0.11",), (STEP,), None, True))
    assert "DIFFERENT!  node-1: foreseen forward, but the kernel did reject" in lines
    assert "The kernel did what was foreseen." not in lines


def test_an_endpoint_that_refuses_is_no_difference_but_told() -> None:
    tracked = Tracked(("10.244.12.3", 8080), ("10.244.11.2", 40000), True, False)
    lines = live(told("client", "web:80"), Met.REFUSED, Sighting("node-1", ("172.30.0.11",), (STEP,), tracked))
    assert "10.244.12.3:8080 itself refused the probe: the packet reached it, but nothing listens there." in lines
    assert lines[-1] == "The kernel did what was foreseen."


def test_a_node_that_hides_a_pod_from_the_outside_is_told_and_is_no_difference() -> None:
    tracked = Tracked(("203.0.113.5", 8080), ("172.30.0.11", 61000), True, True)
    sighting = Sighting("node-1", ("172.30.0.11",), (STEP,), tracked)
    egress = Egress(("10.244.0.0/16",), ("10.244.0.0/16", "10.96.0.0/16", "172.30.0.11", "172.30.0.12"))
    lines = live(told("client", "managed:80"), Met.ANSWERED, sighting, egress=egress)
    assert (
        "203.0.113.5:8080 is outside of the cluster, from where node-1 hides its pods: it sees 172.30.0.11 "
        "(table inet egress, no Service's rule)."
    ) in lines
    assert lines[-1] == "The kernel did what was foreseen."
    assert any(line.startswith("DIFFERENT!") for line in live(told("client", "managed:80"), Met.ANSWERED, sighting))
