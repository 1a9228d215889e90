"""Legal and useless Services: is each named for what it is, and is a sound one left in peace?"""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.services.cases import (
    AUTO,
    FAR,
    HERE,
    NEAR,
    RANGE,
    THERE,
    VIP,
    ZONED,
    alias,
    balancer,
    by_hand,
    case,
    changed,
    container,
    declaring,
    event,
    http,
    place,
    service_cidr,
    unready,
)

from mooring.control.reconcilers.load_balancers import CONDITION
from mooring.services import problems as package
from mooring.services.problems import Case, Problem, Severity, problems
from mooring.services.problems.balancer import PORTS_ERROR, SYNCED
from mooring.testing.builders import Document, node, pod, service

BROKEN, WARNING, NOTE = Severity.BROKEN, Severity.WARNING, Severity.NOTE


def one(found: Case, reason: str) -> Problem:
    """The problem of that reason, which is there once."""
    [problem] = [each for each in problems(found) if each.reason == reason] or [None]
    assert problem, f"found only {problems(found)}"
    return problem


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(case(service(), NEAR, HERE, THERE, RANGE), id="a ClusterIP with a ready pod"),
        pytest.param(case(service(), declaring(NEAR, {"containerPort": 8080}), HERE), id="the target port is declared"),
        pytest.param(
            case(service("web", http("web")), declaring(NEAR, {"name": "web", "containerPort": 8080}), HERE),
            id="the target port is named",
        ),
        pytest.param(case(service("web", http(nodePort=30080), type="NodePort"), NEAR, HERE, THERE), id="a NodePort"),
        pytest.param(case(balancer(VIP), NEAR, HERE, THERE), id="a load balancer with an address"),
        pytest.param(case(service("web", http(80), clusterIP="None"), NEAR, HERE), id="headless, on the pods' own port"),
        pytest.param(
            case(
                service("web", http("web", port=8080), clusterIP="None"),
                declaring(NEAR, {"name": "web", "containerPort": 8080}),
                HERE,
            ),
            id="headless, and the name is the same port",
        ),
        pytest.param(case(alias("db.example.com")), id="an alias to somewhere else"),
        pytest.param(case(alias("web.default.svc.cluster.local"), service()), id="an alias to a Service that is there"),
        pytest.param(case(service(selector=None), by_hand("192.0.2.7"), HERE, RANGE), id="a slice by hand, out of the cluster"),
        pytest.param(case(service(trafficDistribution="PreferSameZone"), NEAR, ZONED), id="a preference for the zone"),
        pytest.param(
            case(service(type="NodePort", externalTrafficPolicy="Local"), NEAR, FAR, HERE, THERE),
            id="policy Local with a pod on every node",
        ),
        pytest.param(case(service(internalTrafficPolicy="Local"), NEAR, HERE), id="internal policy Local where the pods are"),
        pytest.param(case(service(sessionAffinity="ClientIP"), NEAR, HERE), id="session affinity"),
        pytest.param(
            case(service(), NEAR, unready("done", phase="Succeeded"), HERE), id="a pod that has done its work, beside others"
        ),
        pytest.param(
            case(service(), NEAR, changed(unready("old"), deletionTimestamp="2026-01-01T00:00:00Z"), HERE),
            id="a pod that is being replaced",
        ),
    ],
)
def test_a_sound_service_has_no_problem(sound: Case) -> None:
    assert problems(sound) == ()


def crashing(code: int = 1, message: str = "") -> list[Document]:
    ended = {"exitCode": code, "reason": "Error", "message": message}
    return container({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}, lastState={"terminated": ended})


PROBED = {"containers": [{"name": "main", "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}}}]}
RUNNING: Document = {"running": {}}

PODS = [
    pytest.param(
        case(service(), HERE),
        ("NoMatchingPods", BROKEN, "no pod in namespace default has the labels app=web", "start pods"),
        id="the selector matches nothing",
    ),
    pytest.param(
        case(service(selector={"app": "web", "tier": "front"}), changed(NEAR, labels={"app": "web", "tier": "back"})),
        ("NoMatchingPods", BROKEN, "pod/p has all of them but tier=front: with tier=back", "correct tier"),
        id="a pod with all labels but one",
    ),
    pytest.param(
        case(service(), changed(NEAR, "other")),
        ("NoMatchingPods", BROKEN, "other/p has them, in another namespace", "make the Service in other"),
        id="a pod with these labels in another namespace",
    ),
    pytest.param(
        case(service(), changed(NEAR, labels={"app": "wbe"})),
        ("NoMatchingPods", BROKEN, "pods here have app=wbe", "correct app"),
        id="another value of the label",
    ),
    pytest.param(
        case(
            service(),
            workloads=(
                {"metadata": {"name": "web"}, "spec": {"replicas": 0, "template": {"metadata": {"labels": {"app": "web"}}}}},
            ),
        ),
        ("NoMatchingPods", BROKEN, "deployment/web makes such pods, but wants 0", "kubectl scale deployment/web"),
        id="a Deployment that wants none",
    ),
    pytest.param(
        case(service(), unready(containerStatuses=crashing()), HERE),
        (
            "NoReadyPods",
            BROKEN,
            "container main keeps ending: CrashLoopBackOff, the last time with exit code 1",
            "mooring logs p",
        ),
        id="a container that keeps ending",
    ),
    pytest.param(
        case(service(), unready("p", containerStatuses=crashing()), unready("q", containerStatuses=crashing()), HERE),
        ("NoReadyPods", BROKEN, "none of the 2 matching pods is ready: pod/p and pod/q container", "see why it ends"),
        id="pods with one cause are told together",
    ),
    pytest.param(
        case(
            service(),
            unready(containerStatuses=container({"waiting": {"reason": "ImagePullBackOff", "message": 'no such image "x"'}})),
            HERE,
        ),
        ("NoReadyPods", BROKEN, 'container main waits: ImagePullBackOff: no such image "x"', "name an image"),
        id="an image that cannot be pulled",
    ),
    pytest.param(
        case(service(), unready(containerStatuses=container({"waiting": {"reason": "CreateContainerConfigError"}})), HERE),
        ("NoReadyPods", BROKEN, "waits: CreateContainerConfigError", "ConfigMap"),
        id="a ConfigMap that is missing",
    ),
    pytest.param(
        case(service(), unready(containerStatuses=container({"terminated": {"exitCode": 3, "reason": "Error"}})), HERE),
        ("NoReadyPods", BROKEN, "container main has ended with exit code 3 (Error)", "mooring logs p"),
        id="a container that has ended",
    ),
    pytest.param(
        case(
            service(),
            unready(spec=PROBED, containerStatuses=container(RUNNING)),
            HERE,
            events=(event(unready(), "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"),),
        ),
        (
            "NoReadyPods",
            BROKEN,
            "its readiness probe (GET :8080/ready): HTTP probe failed with statuscode: 503",
            "readinessProbe",
        ),
        id="a readiness probe that fails, with its message",
    ),
    pytest.param(
        case(
            service(),
            unready(
                spec={"containers": [{"name": "main", "startupProbe": {"tcpSocket": {"port": 5432}}}]},
                containerStatuses=container(RUNNING, started=False),
            ),
            HERE,
        ),
        ("NoReadyPods", BROKEN, "does not pass its startup probe (TCP :5432)", "startupProbe"),
        id="a startup probe that has not passed",
    ),
    pytest.param(
        case(
            service(),
            unready(
                containerStatuses=[{"name": "main", "ready": True, "state": RUNNING}],
                conditions=[
                    {
                        "type": "Ready",
                        "status": "False",
                        "reason": "ReadinessGatesNotReady",
                        "message": 'corresponding condition of pod readiness gate "x/y" does not exist.',
                    }
                ],
            ),
            HERE,
        ),
        ("NoReadyPods", BROKEN, 'readiness gate: corresponding condition of pod readiness gate "x/y"', "spec.readinessGates"),
        id="a readiness gate that nobody opens",
    ),
    pytest.param(
        case(
            service(),
            unready(
                spec={"nodeName": ""},
                phase="Pending",
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/2 nodes are available: 2 Insufficient cpu.",
                    }
                ],
            ),
        ),
        ("NoReadyPods", BROKEN, "has no node (Unschedulable: 0/2 nodes are available: 2 Insufficient cpu.)", "make room"),
        id="a pod that no node takes",
    ),
    pytest.param(
        case(service(), unready(phase="Failed", reason="Evicted", message="The node was low on memory"), HERE),
        ("NoReadyPods", BROKEN, "has ended (Failed: Evicted: The node was low on memory)", "Deployment"),
        id="a pod that was evicted",
    ),
    pytest.param(
        case(service(), changed(unready(), deletionTimestamp="2026-01-01T00:00:00Z"), HERE),
        ("NoReadyPods", BROKEN, "pod/p is being deleted", "start another"),
        id="a pod that is being deleted and serves no more",
    ),
    pytest.param(
        case(service(), changed(NEAR, deletionTimestamp="2026-01-01T00:00:00Z"), HERE),
        ("OnlyTerminatingPods", WARNING, "every pod that still serves is being deleted: pod/p", "start pods"),
        id="only pods that are being deleted still serve",
    ),
    pytest.param(
        case(
            service(),
            unready(
                spec={"initContainers": [{"name": "setup"}]},
                initContainerStatuses=[{"name": "setup", "ready": False, "state": RUNNING}],
                containerStatuses=container({"waiting": {"reason": "PodInitializing"}}),
            ),
            HERE,
        ),
        ("NoReadyPods", BROKEN, "still runs its init container setup", "-c setup"),
        id="an init container that does not end",
    ),
    pytest.param(
        case(
            service(),
            unready(),
            node("a", ready=False)
            | {"status": {"conditions": [{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped"}]}},
        ),
        ("NoReadyPods", BROKEN, "is on a, which is not ready (Kubelet stopped)", "bring a back"),
        id="a node that is down",
    ),
    pytest.param(
        case(service(), NEAR, THERE),
        ("NoReadyPods", BROKEN, "is on a, of which there is no Node object", "join the cluster"),
        id="a node that is not there",
    ),
    pytest.param(
        case(service(), NEAR, unready("q", containerStatuses=crashing()), HERE),
        ("PodsNotReady", WARNING, "1 of 2 matching pods does not serve: pod/q", "mooring logs q"),
        id="some pods serve and one does not",
    ),
    pytest.param(
        case(service(publishNotReadyAddresses=True), unready(containerStatuses=crashing()), HERE),
        ("NotReadyPodsPublished", WARNING, "pod/p is not ready and is published all the same", "publishNotReadyAddresses"),
        id="a pod that is published though it is not ready",
    ),
    pytest.param(
        case(service(ipFamilies=["IPv4", "IPv6"], clusterIPs=["10.96.0.1", "fd00::1"]), NEAR, HERE),
        ("PodsLackFamily", BROKEN, "no ready pod has an IPv6 address", "pod range"),
        id="no pod has an address of a family",
    ),
    pytest.param(
        case(service(ipFamilies=["IPv6"], clusterIP="fd00::1"), NEAR, pod("q", "fd00:244::2"), HERE),
        ("PodsLackFamily", WARNING, "pod/p has no IPv6 address", "pod range"),
        id="one pod lacks a family",
    ),
    pytest.param(
        case(service(), NEAR, HERE, slices=()),
        ("EndpointSlicesOutdated", BROKEN, "pod/p is ready and in no EndpointSlice", "controller"),
        id="a ready pod that no slice lists",
    ),
]

PORTS = [
    pytest.param(
        case(service("web", http("web")), declaring(NEAR, {"name": "http", "containerPort": 8080}), HERE),
        ("TargetPortNotFound", BROKEN, "the pods have no TCP port named web: theirs are http (8080/TCP)", "name one of them"),
        id="a port name that no pod has",
    ),
    pytest.param(
        case(service("web", http("web")), declaring(NEAR, {"name": "web", "containerPort": 53, "protocol": "UDP"}), HERE),
        ("TargetPortNotFound", BROKEN, "they have web for UDP, while the Service's port is TCP", "protocol to UDP"),
        id="a port name of the other protocol",
    ),
    pytest.param(
        case(service("web", http("web")), declaring(NEAR, {"name": "web", "containerPort": 80}), FAR, HERE, THERE),
        ("TargetPortNotFound", WARNING, "pod/q has no TCP port named web", "name"),
        id="a port name that one pod lacks",
    ),
    pytest.param(
        case(service(), declaring(NEAR, {"containerPort": 9090}), HERE),
        ("TargetPortNotDeclared", WARNING, "declares 8080/TCP; they declare 9090/TCP", "spec.ports[0].targetPort"),
        id="a number that no container declares",
    ),
    pytest.param(
        case(service("web", http(), http(protocol="UDP") | {"name": "dns"}), NEAR, HERE),
        ("SharedPortNumber", NOTE, "port 80 is there for TCP and UDP", "kubectl replace"),
        id="one number for two protocols",
    ),
    pytest.param(
        case(service("web", http(nodePort=40000), type="NodePort"), NEAR, HERE),
        (
            "NodePortInEphemeralRange",
            WARNING,
            "40000 is one of the ports that Linux gives to clients",
            "ip_local_reserved_ports",
        ),
        id="a node port that a client may have",
    ),
]

MANUAL = service(selector=None)
OWNED = {"name": "p", "namespace": "default", "kind": "Pod"}
CONTROLLED = {"kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}

SLICES = [
    pytest.param(
        case(MANUAL, HERE),
        ("NoEndpointSlices", BROKEN, "none with the label kubernetes.io/service-name=web", "write an EndpointSlice"),
        id="no selector and no slice",
    ),
    pytest.param(
        case(service("web", http(80), clusterIP="None", selector=None), HERE),
        ("NoEndpointSlices", BROKEN, "it has no selector", "write an EndpointSlice"),
        id="headless, no selector and no slice",
    ),
    pytest.param(
        case(MANUAL, by_hand("192.0.2.7", labels={}), HERE),
        ("NoEndpointSlices", BROKEN, "endpointslice/web-1 has it not", "kubectl label endpointslice web-1"),
        id="a slice without the label",
    ),
    pytest.param(
        case(MANUAL, by_hand("192.0.2.7", ports=[{"name": "https", "port": 443}]), HERE),
        (
            "EndpointSlicePortMismatch",
            BROKEN,
            "TCP port named http and with a number; they have https (443/TCP)",
            "ports[].name to http",
        ),
        id="a slice whose port has another name",
    ),
    pytest.param(
        case(service("web", {"port": 80}, selector=None), by_hand("192.0.2.7"), HERE),
        ("EndpointSlicePortMismatch", BROKEN, "TCP port without a name", "ports[].name to ''"),
        id="an unnamed port and a slice that names it",
    ),
    pytest.param(
        case(MANUAL, by_hand("192.0.2.7", ports=[{"name": "http"}]), HERE),
        ("EndpointSlicePortMismatch", BROKEN, "http (any number/TCP)", "ports[].name to http"),
        id="a slice whose port means all ports",
    ),
    pytest.param(
        case(MANUAL, by_hand("fd00::7", family="IPv6"), HERE),
        ("EndpointSliceFamilyMismatch", BROKEN, "has addressType IPv6, and the Service is of IPv4", "spec.ipFamilies"),
        id="a slice of the other family",
    ),
    pytest.param(
        case(MANUAL, by_hand("192.0.2.7", conditions={"ready": False, "serving": False}), HERE),
        ("NoReadyEndpoints", BROKEN, "none of 192.0.2.7 is marked ready", "conditions.ready"),
        id="a slice with nobody ready",
    ),
    pytest.param(
        case(MANUAL, by_hand(), HERE),
        ("NoReadyEndpoints", BROKEN, "endpointslice/web-1 lists no endpoint", "addresses"),
        id="a slice with nobody in it",
    ),
    pytest.param(
        case(MANUAL, by_hand("10.244.0.9", labels=CONTROLLED, targetRef=OWNED), HERE),
        (
            "StaleEndpointSlices",
            BROKEN,
            "10.244.0.9 is no living pod's address",
            "kubectl delete endpointslice -n default web-1",
        ),
        id="slices of a selector that was removed, and the pod is gone",
    ),
    pytest.param(
        case(MANUAL, by_hand("10.244.0.2", labels=CONTROLLED, targetRef=OWNED), NEAR, HERE),
        ("StaleEndpointSlices", WARNING, "nobody keeps it up to date", "kubectl delete"),
        id="slices of a selector that was removed, and the pod lives",
    ),
    pytest.param(
        case(MANUAL, by_hand("10.244.0.77"), HERE),
        ("EndpointWithoutPod", BROKEN, "10.244.0.77 is in a node's pod range, and no pod has it", "selector"),
        id="an address of a pod that does not exist",
    ),
    pytest.param(
        case(MANUAL, by_hand("10.96.0.5"), HERE, RANGE),
        ("EndpointIsClusterIP", BROKEN, "translated once only", "addresses of the pods"),
        id="another Service's address as endpoint",
    ),
    pytest.param(
        case(service(), by_hand("192.0.2.7"), NEAR, HERE),
        ("ForeignEndpointSlices", NOTE, "endpointslice/web-1 adds endpoints", "delete"),
        id="a slice beside the selector's",
    ),
    pytest.param(
        case(
            service(),
            by_hand("192.0.2.7", labels={"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}),
            NEAR,
            HERE,
        ),
        ("EndpointSlicesIgnored", WARNING, "endpointslice/web-1 carries a label", "remove the label"),
        id="a slice that proxies do not read",
    ),
    pytest.param(
        case(
            service(),
            NEAR,
            HERE,
            endpoints={"metadata": {"annotations": {"endpoints.kubernetes.io/over-capacity": "truncated"}}},
        ),
        ("EndpointsTruncated", NOTE, "1,000 addresses", "EndpointSlices"),
        id="an Endpoints object that leaves some out",
    ),
]

EXTERNAL = service("web", http(), externalIPs=["192.0.2.9"])
FIRST = service("a-first", http(), externalIPs=["192.0.2.9"], clusterIP="10.96.0.2")
LAST = service("z-last", http(), externalIPs=["192.0.2.9"], clusterIP="10.96.0.3")

ADDRESSES = [
    pytest.param(
        case(EXTERNAL, FIRST, NEAR, HERE),
        (
            "AddressConflict",
            BROKEN,
            "192.0.2.9:80/TCP belongs to service/a-first in default too, which gets all of it",
            "another",
        ),
        id="an address that an earlier Service has",
    ),
    pytest.param(
        case(EXTERNAL, LAST, NEAR, HERE),
        ("AddressShared", WARNING, "is claimed by service/z-last in default too, which gets nothing", "another"),
        id="an address that a later Service wants",
    ),
    pytest.param(
        case(
            service("web", http(port=30080), externalIPs=["172.30.0.11"]),
            NEAR,
            HERE,
            service("a", http(nodePort=30080), type="NodePort"),
        ),
        ("AddressConflict", BROKEN, "172.30.0.11:30080/TCP belongs to service/a", "another"),
        id="an external IP at a node's address, and another's node port",
    ),
    pytest.param(
        case(EXTERNAL, NEAR, HERE),
        ("ExternalIPsDeprecated", NOTE, "deprecated in v1.36+", "LoadBalancer"),
        id="external IPs at all",
    ),
    pytest.param(
        case(service(externalIPs=["10.96.7.7"]), NEAR, HERE, RANGE),
        ("ExternalIPInServiceRange", WARNING, "10.96.7.7 is in the cluster's service range", "outside all ServiceCIDRs"),
        id="an external IP in the service range",
    ),
    pytest.param(
        case(service(externalIPs=["172.30.0.11"]), NEAR, HERE),
        (
            "ExternalIPIsNodeAddress",
            WARNING,
            "172.30.0.11 (node/a) is a node's own: what listens there on 80/TCP",
            "no node has",
        ),
        id="an external IP that is a node's",
    ),
    pytest.param(
        case(service(externalIPs=["2001:db8::1"]), NEAR, HERE),
        ("ExternalIPNotServed", WARNING, "2001:db8::1 is not answered", "spec.ipFamilies"),
        id="an external IP of the other family",
    ),
    pytest.param(
        case(service(clusterIP="10.1.0.1"), NEAR, HERE, RANGE),
        (
            "ClusterIPOutOfRange",
            WARNING,
            "Cluster IP [IPv4]: 10.1.0.1 is not within any configured Service CIDR",
            "make it again",
        ),
        id="a cluster IP of no range",
    ),
    pytest.param(
        case(service(), NEAR, HERE, service_cidr("10.96.0.0/16", deletionTimestamp="2026-01-01T00:00:00Z")),
        ("ServiceCIDRTerminating", WARNING, "10.96.0.1 is only in a ServiceCIDR that is being deleted", "recreate"),
        id="a cluster IP of a range that goes",
    ),
    pytest.param(
        case(service(ipFamilyPolicy="PreferDualStack"), NEAR, HERE, RANGE),
        ("SingleFamily", NOTE, "it got IPv4 only: the cluster has no IPv6 service range", "ServiceCIDR of IPv6"),
        id="two families preferred, one given",
    ),
    pytest.param(
        case(service(ipFamilyPolicy="PreferDualStack"), NEAR, HERE, service_cidr("10.96.0.0/16", "fd00:96::/112")),
        ("SingleFamily", NOTE, "the cluster's IPv6 range came later", "[IPv4, IPv6]"),
        id="two families preferred, the other came later",
    ),
]

SAYS_NO = {"type": SYNCED, "status": "False", "reason": "NoFreeAddress", "message": "no free address in 192.0.2.0/31; 2 in use"}
SOURCES = {"loadBalancerSourceRanges": ["198.51.100.0/24"]}

BALANCERS = [
    pytest.param(
        case(balancer(), NEAR, HERE),
        ("LoadBalancerPending", BROKEN, "is there a provider of load balancers?", "--load-balancer-pool"),
        id="no address and nobody says why",
    ),
    pytest.param(
        case(balancer(loadBalancerClass="example.com/lb"), NEAR, HERE),
        ("LoadBalancerPending", BROKEN, "is there a provider of class example.com/lb?", "cannot be changed"),
        id="no address, of a class that nobody serves",
    ),
    pytest.param(
        case(balancer(conditions=[SAYS_NO]), NEAR, HERE),
        ("SyncLoadBalancerFailed", BROKEN, "NoFreeAddress: no free address in 192.0.2.0/31; 2 in use", "larger pool"),
        id="no address, and the provider's condition says why",
    ),
    pytest.param(
        case(balancer(VIP, conditions=[SAYS_NO]), NEAR, HERE),
        ("SyncLoadBalancerFailed", WARNING, "not every load balancer address has been assigned", "other families"),
        id="an address of one family only",
    ),
    pytest.param(
        case(balancer(), NEAR, HERE, events=(event(balancer(), "AllocationFailed", "no available IPs", "metallb-controller"),)),
        ("SyncLoadBalancerFailed", BROKEN, "AllocationFailed: no available IPs", "message"),
        id="no address, and the provider's Event says why",
    ),
    pytest.param(
        case(balancer({"hostname": "lb.example.com"}), NEAR, HERE),
        ("LoadBalancerHostnameOnly", NOTE, "known by name only (lb.example.com)", "nothing"),
        id="a balancer with a name only",
    ),
    pytest.param(
        case(balancer({"ip": "192.0.2.1", "ipMode": "Proxy"}), NEAR, HERE),
        ("LoadBalancerIsProxy", NOTE, "192.0.2.1 has ipMode Proxy", "nothing"),
        id="a balancer that is a proxy",
    ),
    pytest.param(
        case(balancer({"ip": "2001:db8::1"}), NEAR, HERE),
        ("LoadBalancerFamilyMismatch", WARNING, "2001:db8::1 is not of the Service's families (IPv4)", "spec.ipFamilies"),
        id="a balancer's address of the other family",
    ),
    pytest.param(
        case(balancer(VIP | {"ports": [{"port": 53, "protocol": "UDP", "error": "MixedProtocolNotSupported"}]}), NEAR, HERE),
        ("LoadBalancerPortsError", BROKEN, "53/UDP: MixedProtocolNotSupported", "split the Service"),
        id="a port that the provider does not serve",
    ),
    pytest.param(
        case(balancer(VIP, loadBalancerSourceRanges=["2001:db8::/32"]), NEAR, HERE),
        ("SourceRangesExcludeEveryone", BROKEN, "no range is of IPv4, so nobody reaches 192.0.2.1", "range of IPv4"),
        id="source ranges of the other family",
    ),
    pytest.param(
        case(balancer(VIP, **SOURCES), NEAR, HERE),
        ("SourceRangesExcludePods", NOTE, "the cluster's own pods (10.244.0.0/24) are not in the ranges", "pod ranges"),
        id="source ranges without the pods",
    ),
    pytest.param(
        case(balancer(VIP, **SOURCES, ports=[http(nodePort=30080)]), NEAR, HERE),
        ("SourceRangesBypassed", NOTE, "node port 30080 is open to everybody", "allocateLoadBalancerNodePorts"),
        id="node ports past the source ranges",
    ),
    pytest.param(
        case(balancer(VIP, loadBalancerSourceRanges=["nonsense", "0.0.0.0/0"]), NEAR, HERE),
        ("SourceRangeUnreadable", WARNING, "nonsense is no range", "ADDRESS/BITS"),
        id="a range that cannot be read",
    ),
    pytest.param(
        case(
            changed(
                balancer(VIP, **SOURCES), annotations={"service.beta.kubernetes.io/load-balancer-source-ranges": "0.0.0.0/0"}
            ),
            NEAR,
        ),
        ("SourceRangesTwice", NOTE, "has no effect beside spec.loadBalancerSourceRanges", "remove the annotation"),
        id="source ranges in both places",
    ),
    pytest.param(
        case(balancer(VIP, allocateLoadBalancerNodePorts=False, ports=[http(nodePort=30080)]), NEAR, HERE),
        ("NodePortsKept", NOTE, "node port 30080 is there all the same", "remove nodePort"),
        id="node ports that were not given back",
    ),
    pytest.param(
        case(
            balancer(VIP, externalTrafficPolicy="Local", healthCheckNodePort=31000),
            NEAR,
            HERE,
            events=(event(balancer(), "FailedToStartServiceHealthcheck", "address in use"),),
        ),
        ("FailedToStartServiceHealthcheck", WARNING, "health check: address in use", "free the port"),
        id="a health check that cannot be answered",
    ),
]

LOCAL = {"externalTrafficPolicy": "Local"}
ZONES = place("a", zone="z1"), place("b", zone="z2")

POLICIES = [
    pytest.param(
        case(service(internalTrafficPolicy="Local"), NEAR, HERE, THERE),
        ("NoLocalEndpoints", WARNING, "on node/b pods and the node itself are dropped", "internalTrafficPolicy to Cluster"),
        id="internal policy Local and a node without pod",
    ),
    pytest.param(
        case(service(type="NodePort", **LOCAL), NEAR, HERE, THERE),
        ("NoLocalEndpoints", WARNING, "on node/b what comes from outside is dropped", "DaemonSet"),
        id="external policy Local and a node without pod",
    ),
    pytest.param(
        case(balancer(VIP, **LOCAL, healthCheckNodePort=31000), NEAR, HERE, THERE),
        ("NoLocalEndpoints", NOTE, "the health check on 31000 tells the balancer so", "DaemonSet"),
        id="the same behind a balancer that asks",
    ),
    pytest.param(
        case(service(externalIPs=["172.30.0.12"], **LOCAL), NEAR, HERE, THERE),
        ("NoLocalEndpoints", BROKEN, "172.30.0.12 leads to node/b", "DaemonSet"),
        id="the node that is the way in has none",
    ),
    pytest.param(
        case(service(type="NodePort", selector=None, **LOCAL), by_hand("192.0.2.7"), HERE),
        ("NoLocalEndpoints", BROKEN, "on every node what comes from outside is dropped", "endpoints[].nodeName"),
        id="endpoints that name no node",
    ),
    pytest.param(
        case(changed(service(trafficDistribution="PreferSameZone"), annotations=AUTO), NEAR, FAR, *ZONES),
        ("TopologyAnnotationOverrides", WARNING, "takes precedence over spec.trafficDistribution", "remove the annotation"),
        id="annotation and field",
    ),
    pytest.param(
        case(changed(service(), annotations=AUTO), NEAR, ZONED),
        ("TopologyAwareHintsDisabled", WARNING, "Nodes only ready in one zone", "spec.trafficDistribution"),
        id="hints that the annotation does not get",
    ),
    pytest.param(
        case(service(trafficDistribution="PreferSameZone"), NEAR, HERE),
        ("TopologyHintsMissing", WARNING, "node/a has no label topology.kubernetes.io/zone", "label the nodes"),
        id="a preference for zones where there are none",
    ),
    pytest.param(
        case(service(trafficDistribution="PreferSameZone", selector=None), by_hand("192.0.2.7"), ZONED),
        ("TopologyHintsMissing", WARNING, "written by hand, and hints with them", "endpoints[].hints"),
        id="a preference for zones and slices without hints",
    ),
    pytest.param(
        case(service(trafficDistribution="PreferSameZone"), NEAR, *ZONES),
        ("ZonesWithoutEndpoints", NOTE, "zone z2 has no endpoint", "topologySpreadConstraints"),
        id="a zone without endpoint",
    ),
    pytest.param(
        case(service(trafficDistribution="PreferSameZone"), NEAR, ZONED, THERE),
        ("NodesWithoutZone", NOTE, "node/b has no zone", "label the nodes"),
        id="a node without zone",
    ),
    pytest.param(
        case(service(trafficDistribution="PreferClose"), NEAR, ZONED),
        ("PreferCloseDeprecated", NOTE, '"PreferClose" is deprecated', "PreferSameZone"),
        id="the old name of a preference",
    ),
    pytest.param(
        case(service(trafficDistribution="PreferSameZone", internalTrafficPolicy="Local"), NEAR, ZONED),
        ("TrafficDistributionUnused", NOTE, "where spec.internalTrafficPolicy is Local", "one of the two"),
        id="a preference beside policy Local",
    ),
]

NAMES = [
    pytest.param(
        case(alias("10.0.0.7")),
        ("ExternalNameIsAddress", BROKEN, "10.0.0.7 looks like an address", "without selector"),
        id="an alias to an address",
    ),
    pytest.param(
        case(alias("db.prod.svc.cluster.local")),
        ("ExternalNameTargetMissing", BROKEN, "there is no Service db in namespace prod", "make that Service"),
        id="an alias to a Service that does not exist",
    ),
    pytest.param(
        case(alias("alias.default.svc.cluster.local.")),
        ("ExternalNameLoop", BROKEN, "names itself", "what is meant"),
        id="an alias to itself",
    ),
    pytest.param(
        case(alias("db.prod.svc")),
        ("ExternalNameNotQualified", BROKEN, "db.prod.svc is taken as it is", "NAME.NAMESPACE.svc.cluster.local"),
        id="an alias that is not written in full",
    ),
    pytest.param(
        case(alias("db.example.com", selector={"app": "db"}, ports=[http()])),
        ("FieldsIgnored", NOTE, "spec.selector and spec.ports are ignored", "remove them"),
        id="an alias with a selector and ports",
    ),
    pytest.param(
        case(service(clusterIP="None"), NEAR, HERE),
        ("HeadlessPortNotTranslated", WARNING, "reaches port 80 of the pod, not 8080", "let clients use 8080"),
        id="headless, with another target port",
    ),
    pytest.param(
        case(service("web", http("web"), clusterIP="None"), declaring(NEAR, {"name": "web", "containerPort": 8080}), HERE),
        ("HeadlessPortNotTranslated", WARNING, "reaches port 80 of the pod, not 8080", "let clients use 8080"),
        id="headless, with another target port by name",
    ),
    pytest.param(
        case(
            service("web", http(80, nodePort=30080), clusterIP="None", externalIPs=["192.0.2.9"], sessionAffinity="ClientIP"),
            NEAR,
        ),
        ("FieldsIgnored", NOTE, "spec.externalIPs, spec.sessionAffinity and spec.ports[].nodePort are", "remove"),
        id="headless, with fields that only addresses need",
    ),
    pytest.param(
        case(changed(service(), labels={"service.kubernetes.io/service-proxy-name": "mesh"}), NEAR, HERE),
        ("ProxiedByOthers", NOTE, "makes the Service's packets another proxy's", "remove the label"),
        id="a label that hands it to another proxy",
    ),
    pytest.param(
        case(changed(service(), labels={"service.kubernetes.io/headless": ""}), NEAR, HERE),
        ("ProxiedByOthers", WARNING, "makes the Service's packets nobody's", "remove the label"),
        id="a label that makes it headless",
    ),
    pytest.param(
        case(changed(service(), deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["example.com/hold"]), NEAR, HERE),
        ("BeingDeleted", WARNING, "until its finalizers are gone: example.com/hold", "finalizer"),
        id="being deleted",
    ),
]

TABLE = [*PODS, *PORTS, *SLICES, *ADDRESSES, *BALANCERS, *POLICIES, *NAMES]


@pytest.mark.parametrize(("found", "expected"), TABLE)
def test_a_problem_is_named_with_its_cause_and_its_fix(found: Case, expected: tuple[str, Severity, str, str]) -> None:
    reason, severity, cause, fix = expected
    problem = one(found, reason)
    assert problem.severity is severity
    assert cause in problem.sentence
    assert fix in problem.fix


def test_every_reason_there_is_has_a_row_in_these_tables() -> None:
    assert sorted({entry.values[1][0] for entry in TABLE}) == sorted(reasons())


def test_every_reason_there_is_has_a_row_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/problems.md").read_text()
    assert sorted(set(re.findall(r"^\| `(\w+)` \|", page, re.M))) == sorted(reasons())


def reasons() -> set[str]:
    """The literal reasons in the package's sources."""
    found = set()
    for path in Path(package.__file__).parent.glob("*.py"):
        for each in ast.walk(ast.parse(path.read_text())):
            called = isinstance(each, ast.Call) and getattr(each.func, "attr", getattr(each.func, "id", ""))
            if called in ("Problem", "problem", "_pods_problem"):
                found |= {
                    arg.value
                    for arg in each.args
                    if isinstance(arg, ast.Constant) and re.fullmatch(r"[A-Z]\w+", str(arg.value))
                }
    return found | {PORTS_ERROR}


def test_the_worst_comes_first() -> None:
    found = case(service("web", http("web"), externalIPs=["10.96.7.7"]), NEAR, unready("q"), HERE, RANGE)
    order = [each.severity for each in problems(found)]
    assert order == sorted(order, key=list(Severity).index)
    assert set(order) == set(Severity)


@pytest.mark.parametrize(
    "rival",
    [
        pytest.param(service("other", http(port=81), externalIPs=["192.0.2.9"], clusterIP="10.96.0.2"), id="at another port"),
        pytest.param(
            service("other", http(protocol="UDP"), externalIPs=["192.0.2.9"], clusterIP="10.96.0.2"), id="of another protocol"
        ),
        pytest.param(
            changed(
                service("other", http(), externalIPs=["192.0.2.9"], clusterIP="10.96.0.2"),
                labels={"service.kubernetes.io/service-proxy-name": "mesh"},
            ),
            id="that is another proxy's",
        ),
        pytest.param(
            service("other", http(), externalIPs=["192.0.2.9"], clusterIP="fd00::2", ipFamilies=["IPv6"]),
            id="of another family",
        ),
    ],
)
def test_an_address_is_shared_in_peace_with_a_service(rival: Document) -> None:
    found = {each.reason for each in problems(case(EXTERNAL, rival, NEAR, HERE))}
    assert found == {"ExternalIPsDeprecated"}


def test_causes_are_told_with_the_commonest_first_and_the_rest_counted() -> None:
    pods = [unready(f"p{n}", containerStatuses=crashing(code=min(n, 4))) for n in range(1, 9)]
    found = one(case(service(), *pods, HERE), "NoReadyPods")
    assert "pod/p4, pod/p5, pod/p6 and 2 more container main keeps ending" in found.sentence.split(";")[0]
    assert found.sentence.endswith("1 more pod, each for a reason of its own")


def test_a_long_message_of_somebody_else_is_cut() -> None:
    long = unready(containerStatuses=container({"waiting": {"reason": "ErrImagePull", "message": "no\n such " * 200}}))
    assert len(one(case(service(), long, HERE), "NoReadyPods").sentence) < 400


def test_the_condition_of_the_builtin_provider_is_the_one_that_is_read() -> None:
    assert SYNCED == CONDITION


def test_nobody_asked_for_pods_means_nothing_said_about_addresses_without_pod() -> None:
    found = case(MANUAL, by_hand("10.244.0.77"), HERE, every_pod=False)
    assert problems(found) == ()


def thinned(document: Any, drop: Any) -> Any:
    """The document with what is optional in the API left out or null, as `drop` decides."""
    if isinstance(document, list):
        return [thinned(each, drop) for each in document]
    if not isinstance(document, dict):
        return document
    kept = {}
    for key, value in document.items():
        optional = key in OPTIONAL and (key != "status" or isinstance(value, dict))  # a condition always has its status
        fate = drop() if optional else "keep"
        if fate != "drop":
            kept[key] = None if fate == "null" else thinned(value, drop)
    return kept


OPTIONAL = {
    *(
        "status",
        "conditions",
        "containerStatuses",
        "initContainerStatuses",
        "state",
        "lastState",
        "ready",
        "started",
        "message",
    ),
    *(
        "reason",
        "podIPs",
        "phase",
        "labels",
        "nodeName",
        "readinessProbe",
        "startupProbe",
        "httpGet",
        "ports",
        "podCIDRs",
        "spec",
    ),
    *("addresses", "allocatable", "cidrs", "replicas", "template", "source", "lastTimestamp"),
}


@settings(max_examples=10 * settings.default.max_examples)  # they cost next to nothing
@given(st.sampled_from(TABLE), st.data())
def test_nothing_that_is_missing_stops_the_diagnosis(entry: Any, data: st.DataObject) -> None:
    found: Case = entry.values[0]
    fates = st.sampled_from(["keep", "keep", "keep", "drop", "null"])

    def poorer(documents: tuple[Document, ...] | None) -> tuple[Document, ...]:
        return tuple(thinned(each, lambda: data.draw(fates)) for each in documents or ())

    poor = structs.replace(
        found,
        pods=poorer(found.pods),
        others=poorer(found.others),
        nodes=poorer(found.nodes),
        events=poorer(found.events),
        workloads=poorer(found.workloads),
        service_cidrs=poorer(found.service_cidrs),
    )
    for each in problems(poor):
        assert each.sentence and each.fix and each.field and each.object
