"""Does each step of a trace name the object and the field that caused it?"""

from typing import Any

import pytest

from mooring.dataplane.trace import Outcome, Packet, Source, Trace, classify, trace
from mooring.model.discovery import endpoint_slice
from mooring.model.node import node
from mooring.model.service import service
from mooring.services.build import build_view
from mooring.services.locality import DetectLocal, ProxyOptions
from mooring.services.view import NodeView, Protocol

POD, NODE, OUTSIDE = "10.244.1.9", "172.30.0.11", "172.30.0.250"
RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
ZONE = "topology.kubernetes.io/zone"
Document = dict[str, Any]


def endpoint(address: str, on: str, **more: Any) -> Document:
    return {"addresses": [address], "nodeName": on, **more}


READY = (endpoint("10.244.1.2", "node-1"), endpoint("10.244.2.2", "node-2"))
FAR = READY[1:]


def a_view(
    *endpoints: Document,
    annotations: dict[str, str] | None = None,
    options: ProxyOptions | None = None,
    status: Document | None = None,
    **spec: Any,
) -> NodeView:
    base = {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.1",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
        "externalIPs": ["203.0.113.2"],
    }
    metadata = {"name": "web", "namespace": "shop"}
    web = service(
        {
            "metadata": metadata | {"annotations": annotations},
            "spec": base | spec,
            "status": {"loadBalancer": status or {"ingress": [{"ip": "203.0.113.1"}]}},
        }
    )
    slices = endpoint_slice(
        {
            "metadata": {"name": "web-a", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": list(endpoints),
        }
    )
    here = node(
        {
            "metadata": {"name": "node-1", "labels": {ZONE: "zone-1"}},
            "spec": {"podCIDRs": ["10.244.1.0/24"]},
            "status": {
                "addresses": [{"type": "InternalIP", "address": NODE}, {"type": "InternalIP", "address": "172.30.0.51"}]
            },
        }
    )
    return build_view(here, [web], [slices], ["10.96.0.0/16"], options or ProxyOptions())


def follow(view: NodeView, source: str, destination: str, port: int = 80, interface: str = "") -> Trace:
    return trace(view, Packet(source, destination, Protocol.TCP, port, interface))


def told(found: Trace) -> list[str]:
    return [f"{step.decision} <- {step.because}" for step in found.steps]


SLICES = "the EndpointSlices labelled kubernetes.io/service-name=web"
IS_POD = "10.244.1.9 is a pod on this node <- node/node-1: spec.podCIDRs 10.244.1.0/24"
IS_NODE = "172.30.0.11 is the node itself <- node/node-1: status.addresses"
IS_OUTSIDE = "172.30.0.250 is outside the node <- neither in node/node-1 spec.podCIDRs nor in status.addresses"
OURS = "service/web in shop:"
CLUSTER_IP = f"10.96.0.1:80/TCP is the ClusterIP of shop/web port http <- {OURS} spec.clusterIPs, spec.ports 80/TCP"
NODE_PORT = (
    f"172.30.0.11:30080/TCP is the NodePort of shop/web port http <- {OURS} spec.ports[..].nodePort 30080/TCP; "
    "node/node-1 answers node ports at 172.30.0.11"
)
BALANCER = (
    "203.0.113.1:80/TCP is the LoadBalancer of shop/web port http <- "
    f"{OURS} status.loadBalancer.ingress[..].ip 203.0.113.1, spec.ports 80/TCP"
)
EXTERNAL = (
    f"203.0.113.2:80/TCP is the ExternalIP of shop/web port http <- {OURS} spec.externalIPs 203.0.113.2, spec.ports 80/TCP"
)
HIDDEN = "the endpoint sees this node's address <- "
COMES_BACK = HIDDEN + "the source is {}, so answers must come back here"
CLUSTER_POLICY = HIDDEN + f"{OURS} spec.externalTrafficPolicy Cluster, so answers must come back here, whatever node they leave"


@pytest.mark.parametrize(
    ("view", "source", "destination", "steps"),
    [
        pytest.param(
            a_view(*READY),
            POD,
            "10.96.0.1:80",
            [
                IS_POD,
                CLUSTER_IP,
                f"forward: endpoints are ready <- spec.internalTrafficPolicy Cluster; 2 usable endpoints in {SLICES}",
            ],
            id="a cluster IP",
        ),
        pytest.param(
            a_view(*READY),
            NODE,
            "10.96.0.1:80",
            [
                IS_NODE,
                CLUSTER_IP,
                f"forward: endpoints are ready <- spec.internalTrafficPolicy Cluster; 2 usable endpoints in {SLICES}",
                COMES_BACK.format("the node itself"),
            ],
            id="the node hides behind itself",
        ),
        pytest.param(
            a_view(*FAR, internalTrafficPolicy="Local"),
            POD,
            "10.96.0.1:80",
            [
                IS_POD,
                CLUSTER_IP,
                "drop: the traffic policy is Local and this node has no usable endpoint, though others have <- "
                f"spec.internalTrafficPolicy Local; 0 usable local endpoints in {SLICES}",
            ],
            id="internalTrafficPolicy drops",
        ),
        pytest.param(
            a_view(*READY),
            OUTSIDE,
            "172.30.0.11:30080",
            [
                IS_OUTSIDE,
                NODE_PORT,
                f"forward: endpoints are ready <- spec.externalTrafficPolicy Cluster; 2 usable endpoints in {SLICES}",
                CLUSTER_POLICY,
            ],
            id="a node port",
        ),
        pytest.param(
            a_view(*READY, externalTrafficPolicy="Local"),
            OUTSIDE,
            "203.0.113.1:80",
            [
                IS_OUTSIDE,
                BALANCER,
                f"forward: endpoints are ready <- spec.externalTrafficPolicy Local; 1 usable local endpoint in {SLICES}",
            ],
            id="a balancer's address",
        ),
        pytest.param(
            a_view(*READY, externalTrafficPolicy="Local"),
            NODE,
            "203.0.113.2:80",
            [
                IS_NODE,
                EXTERNAL,
                "forward: endpoints are ready <- spec.externalTrafficPolicy Local binds only who comes from outside; "
                f"2 usable endpoints in {SLICES}",
                COMES_BACK.format("the node itself"),
            ],
            id="an external IP, by the short way",
        ),
        pytest.param(
            a_view(),
            POD,
            "203.0.113.1:80",
            [
                IS_POD,
                BALANCER,
                "reject: the Service has no usable endpoint on any node <- "
                f"no policy finds any; 0 usable endpoints in {SLICES}",
            ],
            id="no endpoints",
        ),
        pytest.param(
            a_view(*READY, loadBalancerSourceRanges=["198.51.100.0/24", "192.0.2.0/24"]),
            OUTSIDE,
            "203.0.113.1:80",
            [
                IS_OUTSIDE,
                BALANCER,
                "drop: 172.30.0.250 may not come in here <- "
                f"{OURS} spec.loadBalancerSourceRanges allows 198.51.100.0/24, 192.0.2.0/24",
            ],
            id="source ranges keep out",
        ),
        pytest.param(
            a_view(*READY, loadBalancerSourceRanges=["2001:db8::/32"]),
            OUTSIDE,
            "203.0.113.1:80",
            [
                IS_OUTSIDE,
                BALANCER,
                f"drop: 172.30.0.250 may not come in here <- {OURS} spec.loadBalancerSourceRanges allows none of this family",
            ],
            id="source ranges of the other family keep out",
        ),
        pytest.param(
            a_view(*READY, annotations={RANGES: "172.30.0.128/25"}),
            OUTSIDE,
            "203.0.113.1:80",
            [
                IS_OUTSIDE,
                BALANCER,
                "172.30.0.250 may come in: 172.30.0.128/25 contains it <- "
                f"{OURS} metadata.annotations[{RANGES}] allows 172.30.0.128/25",
                f"forward: endpoints are ready <- spec.externalTrafficPolicy Cluster; 2 usable endpoints in {SLICES}",
                CLUSTER_POLICY,
            ],
            id="source ranges of the annotation let in",
        ),
        pytest.param(
            a_view(*READY, options=ProxyOptions(nodeport_addresses=("localhost",))),
            POD,
            "127.0.0.1:30080",
            [
                IS_POD,
                "127.0.0.1:30080/TCP is the NodePort of shop/web port http <- "
                f"{OURS} spec.ports[..].nodePort 30080/TCP; node/node-1 answers node ports at 127.0.0.1",
                "drop: 10.244.1.9 may not come in here <- "
                "127.0.0.1 is a loopback address of node/node-1: only the node itself reaches it",
            ],
            id="the loopback is the node's own",
        ),
        pytest.param(
            a_view(*READY, sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 90}}),
            POD,
            "10.96.0.1:80",
            [
                IS_POD,
                CLUSTER_IP,
                f"forward: endpoints are ready <- spec.internalTrafficPolicy Cluster; 2 usable endpoints in {SLICES}",
                "a client that has been here in the last 90 seconds goes to the same endpoint again, if it is still one <- "
                f"{OURS} spec.sessionAffinity ClientIP, spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            ],
            id="session affinity",
        ),
        pytest.param(
            a_view(
                endpoint("10.244.1.2", "node-1", hints={"forZones": [{"name": "zone-1"}]}),
                endpoint("10.244.2.2", "node-2", hints={"forZones": [{"name": "zone-2"}]}),
            ),
            POD,
            "10.96.0.1:80",
            [
                IS_POD,
                CLUSTER_IP,
                "forward: endpoints are ready, and of them those hinted for this node's zone are used <- "
                f"spec.internalTrafficPolicy Cluster; 1 usable endpoint in {SLICES}",
                "only endpoints meant for zone zone-1 are used from here <- "
                f"hints.forZones of every ready endpoint in {SLICES}; node/node-1: label {ZONE}",
            ],
            id="zone hints",
        ),
        pytest.param(
            a_view(
                endpoint("10.244.1.2", "node-1", hints={"forNodes": [{"name": "node-1"}]}),
                endpoint("10.244.2.2", "node-2", hints={"forNodes": [{"name": "node-2"}]}),
            ),
            POD,
            "10.96.0.1:80",
            [
                IS_POD,
                CLUSTER_IP,
                "forward: endpoints are ready, and of them those hinted for this node are used <- "
                f"spec.internalTrafficPolicy Cluster; 1 usable endpoint in {SLICES}",
                "only endpoints meant for node/node-1 are used from here <- "
                f"hints.forNodes of every ready endpoint in {SLICES}",
            ],
            id="node hints",
        ),
        pytest.param(
            a_view(*READY, options=ProxyOptions(masquerade_all=True)),
            POD,
            "10.96.0.1:80",
            [
                IS_POD,
                CLUSTER_IP,
                f"forward: endpoints are ready <- spec.internalTrafficPolicy Cluster; 2 usable endpoints in {SLICES}",
                f"{HIDDEN}node/node-1: masquerade-all",
            ],
            id="masquerade-all",
        ),
        pytest.param(
            a_view(endpoint("10.244.1.9", "node-1")),
            POD,
            "10.96.0.1:80",
            [
                IS_POD,
                CLUSTER_IP,
                f"forward: endpoints are ready <- spec.internalTrafficPolicy Cluster; 1 usable endpoint in {SLICES}",
                "the pod sees this node's address when it reaches itself <- a hairpin is always masqueraded",
            ],
            id="a hairpin",
        ),
        pytest.param(
            a_view(*READY),
            POD,
            "10.96.0.1:443",
            [
                IS_POD,
                f"reject: 10.96.0.1 belongs to shop/web, which has no such port <- {OURS} spec.ports has no 443/TCP",
            ],
            id="a cluster IP's wrong port",
        ),
        pytest.param(
            a_view(*READY),
            POD,
            "10.96.0.9:80",
            [IS_POD, "drop: no Service owns 10.96.0.9 <- the service range 10.96.0.0/16 contains it"],
            id="nobody's cluster IP",
        ),
        pytest.param(
            a_view(*READY),
            OUTSIDE,
            "203.0.113.1:443",
            [
                IS_OUTSIDE,
                "pass: 203.0.113.1 belongs to shop/web, but this port is left alone <- "
                f"{OURS} status.loadBalancer.ingress has 203.0.113.1, spec.ports has no 443/TCP",
            ],
            id="a balancer's wrong port",
        ),
        pytest.param(
            a_view(*READY),
            OUTSIDE,
            "203.0.113.2:443",
            [
                IS_OUTSIDE,
                "pass: 203.0.113.2 belongs to shop/web, but this port is left alone <- "
                f"{OURS} spec.externalIPs has 203.0.113.2, spec.ports has no 443/TCP",
            ],
            id="an external IP's wrong port",
        ),
        pytest.param(
            a_view(*READY),
            OUTSIDE,
            "172.30.0.11:30081",
            [IS_OUTSIDE, "pass: the address is this node's own <- node/node-1: no Service has node port 30081/TCP"],
            id="no node port",
        ),
        pytest.param(
            a_view(*READY),
            OUTSIDE,
            "172.30.0.51:30080",
            [
                IS_OUTSIDE,
                "pass: node port 30080/TCP of shop/web port http does not answer at 172.30.0.51 <- "
                "node/node-1: nodeport-addresses has 172.30.0.11, not 172.30.0.51",
            ],
            id="a node port at another address of the node",
        ),
        pytest.param(
            a_view(*READY),
            POD,
            "192.0.2.1:80",
            [IS_POD, "pass: not a Service's address <- no frontend and no service range contains it"],
            id="nothing of ours",
        ),
    ],
)
def test_a_packet_is_explained(view: NodeView, source: str, destination: str, steps: list[str]) -> None:
    address, _, port = destination.rpartition(":")
    assert steps == told(follow(view, source, address, int(port)))


@pytest.mark.parametrize(
    ("options", "source", "interface", "kind", "because"),
    [
        pytest.param(
            ProxyOptions(detect_local=DetectLocal.CLUSTER_CIDR, cluster_cidr=("10.244.0.0/16",)),
            "10.244.2.9",
            "",
            Source.POD,
            "node/node-1: cluster-cidr 10.244.0.0/16",
            id="by the range of all pods",
        ),
        pytest.param(
            ProxyOptions(detect_local=DetectLocal.INTERFACE_NAME_PREFIX, pod_interface="veth"),
            POD,
            "veth7",
            Source.POD,
            "node/node-1: pod-interface veth*; it comes in at veth7",
            id="by where it comes in",
        ),
        pytest.param(
            ProxyOptions(detect_local=DetectLocal.INTERFACE_NAME_PREFIX, pod_interface="veth"),
            POD,
            "eth0",
            Source.OUTSIDE,
            "neither in node/node-1 pod-interface nor in status.addresses",
            id="not by its address then",
        ),
        pytest.param(
            ProxyOptions(detect_local=DetectLocal.BRIDGE_INTERFACE, pod_interface="cni0"),
            POD,
            "cni01",
            Source.OUTSIDE,
            "neither in node/node-1 pod-interface nor in status.addresses",
            id="a bridge is named whole",
        ),
        pytest.param(
            ProxyOptions(detect_local=DetectLocal.NONE),
            POD,
            "",
            Source.OUTSIDE,
            "node/node-1: not in status.addresses, and detect-local is None: pods count as outside",
            id="not at all",
        ),
        pytest.param(
            ProxyOptions(detect_local=DetectLocal.INTERFACE_NAME_PREFIX, pod_interface="veth"),
            NODE,
            "",
            Source.NODE,
            "node/node-1: status.addresses",
            id="the node by its addresses",
        ),
        pytest.param(
            ProxyOptions(),
            "127.0.0.1",
            "",
            Source.NODE,
            "a loopback address never leaves its machine",
            id="and by its loopback",
        ),
    ],
)
def test_a_source_is_known(options: ProxyOptions, source: str, interface: str, kind: Source, because: str) -> None:
    view = a_view(*READY, options=options)
    assert kind is classify(view, source, interface)
    assert because == follow(view, source, "10.96.0.1", interface=interface).steps[0].because


@pytest.mark.parametrize("source", [POD, NODE, OUTSIDE])
def test_what_the_node_answers_itself_passes_whoever_asks_and_whatever_service_claims_it(source: str) -> None:
    view = a_view(*READY, options=ProxyOptions(cluster_dns=("10.96.0.1",)), ports=[{"port": 53, "targetPort": "http"}])
    found = follow(view, source, "10.96.0.1", 53)
    assert found.outcome is Outcome.PASS
    assert found.service is None
    assert ["pass: this node answers here itself, and conntrack is not asked <- node/node-1: cluster-dns 10.96.0.1"] == told(
        found
    )[1:]
    assert Outcome.REJECT is follow(view, source, "10.96.0.1", 54).outcome


def test_addresses_that_the_node_holds_beside_its_own_are_its_business() -> None:
    packet = Packet(POD, "10.96.0.10", Protocol.TCP, 53)
    assert Outcome.DROP is trace(a_view(), packet).outcome
    assert Outcome.PASS is trace(a_view(), packet, ("10.96.0.10",)).outcome
