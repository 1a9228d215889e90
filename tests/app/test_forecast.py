"""Does the forecast say what manifests would do to addresses, names and flows? On clusters in memory."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from mooring.alloc.pool import parse
from mooring.app.connection import Refused
from mooring.app.forecast.difference import forecast
from mooring.app.forecast.picture import Picture
from mooring.app.forecast.read import READ, read, settings_of
from mooring.app.forecast.rehearsal import Outcome, Rehearsal, Surroundings
from mooring.app.forecast.report import Flow, Forecast, ObjectChange, plain
from mooring.cli.apply import apply
from mooring.dataplane.flows import flows as compared
from mooring.edges.memory.api import MemoryApi
from mooring.model.kinds import (
    BY_KIND,
    DAEMON_SET,
    DEPLOYMENT,
    IP_ADDRESS,
    NAMESPACE,
    NODE,
    POD,
    SECRET,
    SERVICE,
    SERVICE_CIDR,
    STATEFUL_SET,
    STORAGE_CLASS,
    Kind,
)
from mooring.ports.api import ApiError, Listing

Document = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULT = {"namespace": "default"}
STAMP = "2026-01-01T00:00:00Z"
BACKGROUND = {"propagationPolicy": "Background"}
NO_POOL = Surroundings()
POOL = Surroundings(parse("172.30.1.0/24"))


def document(kind: Kind, name: str, **fields: Any) -> Document:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, **fields.pop("metadata", {})},
        **fields,
    }


def stored(kind: Kind, name: str, **fields: Any) -> Document:
    """As a server holds it."""
    metadata = {"uid": name, "creationTimestamp": STAMP, "resourceVersion": "1", **fields.pop("metadata", {})}
    return document(kind, name, metadata=metadata, **fields)


def node(name: str, number: int) -> Document:
    room = {"cpu": "8", "memory": "16Gi", "pods": "110"}
    return stored(
        NODE,
        name,
        metadata={"labels": {"topology.kubernetes.io/zone": f"zone-{name}", "kubernetes.io/hostname": name}},
        spec={"podCIDR": f"10.244.{number}.0/24", "podCIDRs": [f"10.244.{number}.0/24"]},
        status={
            "addresses": [{"type": "InternalIP", "address": f"172.30.0.1{number}"}],
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": STAMP}],
            "allocatable": room,
            "capacity": room,
        },
    )


BARE = [
    node("a", 1),
    node("b", 2),
    *(stored(NAMESPACE, name, spec={"finalizers": ["kubernetes"]}, status={"phase": "Active"}) for name in ("default", "shop")),
    stored(SERVICE_CIDR, "kubernetes", spec={"cidrs": ["10.96.0.0/16"]}),
]


def deployment(replicas: int = 2, name: str = "web", image: str = "echo:1", port: str = "http", **more: Any) -> Document:
    labels = {"app": name, **more.pop("labels", {})}
    container = {"name": "main", "image": image, "ports": [{"containerPort": 8080, "name": port}]}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [container], **more.pop("pod", {})}}
    return document(
        DEPLOYMENT, name, spec={"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": pods, **more}
    )


def service(name: str = "web", app: str = "web", port: Any = "http", **spec: Any) -> Document:
    ports = [{"port": 80, "targetPort": port}]
    return document(SERVICE, name, spec={"selector": {"app": app}, "ports": ports, "clusterIP": "10.96.0.7", **spec})


def applied(to: Rehearsal, manifests: Iterable[Document]) -> list[ObjectChange]:
    changes = []
    for each in manifests:
        kind = BY_KIND[(each["apiVersion"], each["kind"])]
        word = apply(to.client, kind, each, "default")
        changes.append(ObjectChange(f"{kind.singular}/{each['metadata']['name']}", word, "default"))
    return changes


def cluster(*manifests: Document, around: Surroundings = NO_POOL, bare: Iterable[Document] = tuple(BARE)) -> list[Document]:
    """A bare cluster with these applied, at rest."""
    made = Rehearsal(list(bare), around, NOW, Random(1))
    applied(made, manifests)
    return everything(made.outcome())


def everything(outcome: Outcome) -> list[Document]:
    return [each for objects in outcome.with_.values() for each in objects.values()]


def rehearsed(
    held: Iterable[Document], *manifests: Document, delete: Iterable[str] = (), around: Surroundings = NO_POOL
) -> tuple[Outcome, Forecast]:
    rehearsal = Rehearsal(list(held), around, NOW, Random(0))
    changes = applied(rehearsal, manifests)
    for path in delete:
        rehearsal.client.send("DELETE", path, BACKGROUND)
        changes.append(ObjectChange(path, "deleted"))
    placed = [{**each, "metadata": {"namespace": "default", **each["metadata"]}} for each in manifests]
    outcome = rehearsal.outcome()
    return outcome, forecast(outcome, changes, placed)


def planned(held: Iterable[Document], *manifests: Document, **more: Any) -> Forecast:
    return rehearsed(held, *manifests, **more)[1]


def told(flow: Flow) -> str:
    """'lost ClusterIP:80, NodePort:30080 pod,node,outside@a,b'"""
    doors = ", ".join(f"{door.entry}:{door.port}" for door in flow.doors)
    return f"{flow.effect} {doors} {','.join(flow.sources)}@{','.join(flow.nodes)}"


def flows(found: Forecast) -> list[str]:
    return [told(each) for each in found.flows]


def names(found: Forecast) -> list[str]:
    return [f"{each.change} {each.name} {each.type} {list(each.before)} {list(each.after)}" for each in found.names]


EVERYWHERE = "pod,node,outside@a,b"
NODE_PORT = {"type": "NodePort", "ports": [{"port": 80, "targetPort": "http", "nodePort": 30080}]}


# What changes of a Service do ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "expected", "reason"),
    [
        pytest.param(
            service(**NODE_PORT),
            service(app="wep", **NODE_PORT),
            [f"lost ClusterIP:80, NodePort:30080 {EVERYWHERE}"],
            "the Service has no usable endpoint on any node",
            id="a selector that matches nothing loses everything",
        ),
        pytest.param(
            service(),
            service(port="https"),
            [f"lost ClusterIP:80 {EVERYWHERE}"],
            "the Service has no usable endpoint on any node",
            id="a target port that no pod has loses everything",
        ),
        pytest.param(
            service(),
            service(type="ExternalName", externalName="example.com", clusterIP=None),
            [f"lost ClusterIP:80 {EVERYWHERE}"],
            "the Service is an ExternalName now: a name only",
            id="an ExternalName has no address",
        ),
        pytest.param(
            service(**NODE_PORT),
            service(),
            [f"lost NodePort:30080 {EVERYWHERE}"],
            "the Service no longer answers there",
            id="a ClusterIP has no node port",
        ),
        pytest.param(
            service(externalIPs=["203.0.113.1"]),
            service(),
            [f"lost ExternalIP:80 {EVERYWHERE}"],
            "the Service no longer answers there",
            id="an external IP that is taken out is lost",
        ),
        pytest.param(
            service(),
            document(SERVICE, "web", metadata={"labels": {"service.kubernetes.io/headless": ""}}, spec=service()["spec"]),
            [f"lost ClusterIP:80 {EVERYWHERE}"],
            "the Service is left to another proxy, or is headless now",
            id="the headless label takes the packets away",
        ),
    ],
)
def test_what_a_service_loses_is_named_with_its_reason(
    before: Document, after: Document, expected: list[str], reason: str
) -> None:
    found = planned(cluster(deployment(), before), after)
    assert expected == flows(found)
    assert [reason] == [each.after.reason for each in found.flows]
    assert found.lost
    assert found.summary.startswith("lost: default/web")


def test_the_same_manifests_again_change_nothing() -> None:
    manifests = deployment(), service(**NODE_PORT)
    found = planned(cluster(*manifests), *manifests)
    assert Forecast("nothing changes", False, found.objects, (), (), (), ()) == found
    assert {"unchanged"} == {each.change for each in found.objects}


def test_what_traffic_does_not_feel_is_said_to_be_so() -> None:
    labelled = deployment()
    labelled["metadata"]["labels"] = {"team": "shop"}
    found = planned(cluster(deployment(), service()), labelled)
    assert ("nothing changes for traffic", False, ()) == (found.summary, found.lost, found.flows)


def test_external_policy_local_loses_the_outside_where_no_pod_is() -> None:
    held = cluster(deployment(1, pod={"nodeSelector": {"kubernetes.io/hostname": "a"}}), service(**NODE_PORT))
    found = planned(held, service(externalTrafficPolicy="Local", **NODE_PORT))
    assert ["lost NodePort:30080 outside@b", "source NodePort:30080 outside@a", "source NodePort:30080 pod@a,b"] == sorted(
        flows(found)
    )
    assert "lost: default/web in part" == found.summary
    assert {"node": {"client"}, "": {"drop"}} == {
        before: {each.after.sees or each.after.outcome for each in found.flows if each.before.sees == before}
        for before in ("node", "")
    }


def test_a_new_service_is_gained_and_what_the_server_chooses_is_left_open() -> None:
    new = document(
        SERVICE, "new", spec={"selector": {"app": "web"}, "type": "NodePort", "ports": [{"port": 80, "targetPort": 8080}]}
    )
    found = planned(cluster(deployment(), service()), new)
    assert [f"gained ClusterIP:80, NodePort:None {EVERYWHERE}"] == flows(found)
    assert [None, ""] == [door.address for door in found.flows[0].doors]
    assert [("cluster IP", None, ""), ("node port", None, "80/TCP")] == [
        (each.what, each.value, each.port) for each in found.services[0].allocated
    ]
    assert ["gained new.default.svc A [] [None]"] == names(found)
    assert ("gained: default/new", False) == (found.summary, found.lost)


def test_addresses_that_a_manifest_asks_for_are_told() -> None:
    found = planned(cluster(deployment()), service(**NODE_PORT))
    assert [("ClusterIP", "10.96.0.7", 80), ("NodePort", "", 30080)] == [
        (door.entry, door.address, door.port) for door in found.flows[0].doors
    ]
    assert ["10.96.0.7", "30080"] == [each.value for each in found.services[0].allocated]


def test_a_new_service_without_endpoints_leads_nowhere() -> None:
    found = planned(cluster(), service())
    assert [f"closed ClusterIP:80 {EVERYWHERE}"] == flows(found)
    assert ("leads nowhere: default/web", False) == (found.summary, found.lost)


def test_a_change_of_type_tells_what_is_given_back_and_taken() -> None:
    held = cluster(deployment(), service(**NODE_PORT))
    (change,) = planned(held, service(type="ExternalName", externalName="example.com", clusterIP=None)).services
    assert ("NodePort", "ExternalName", ["10.96.0.7", "30080"], ()) == (
        change.type_before, change.type_after, [each.value for each in change.released], change.allocated,
    )  # fmt: skip


def test_an_external_ip_goes_to_the_service_whose_name_comes_first() -> None:
    held = cluster(deployment(), deployment(name="api"), service("m", externalIPs=["203.0.113.1"]))
    first = planned(held, service("a", app="api", clusterIP=None, externalIPs=["203.0.113.1"]))
    assert ["lost ExternalIP:80", "gained ClusterIP:80, ExternalIP:80"] == [each.rpartition(" ")[0] for each in flows(first)]
    assert "default/a has the address and port now" == first.flows[0].after.reason
    assert first.lost
    later = planned(held, service("z", app="api", clusterIP=None, externalIPs=["203.0.113.1"]))
    assert [f"gained ClusterIP:80 {EVERYWHERE}"] == flows(later)
    assert "default/z does not get 203.0.113.1:80/TCP: default/m has it" in later.notes


def test_an_external_ip_may_take_a_node_port_where_it_is_a_nodes_address() -> None:
    held = cluster(deployment(), deployment(name="api"), service("m", **NODE_PORT))
    ports = [{"port": 30080, "targetPort": "http"}]
    found = planned(held, service("a", app="api", clusterIP=None, externalIPs=["172.30.0.11"], ports=ports))
    assert ["lost NodePort:30080 pod,node,outside@a"] == [each for each in flows(found) if each.startswith("lost")]


def test_a_second_workload_behind_a_service_shares_its_connections() -> None:
    both = [deployment(labels={"tier": "web"}), deployment(1, name="api")]
    held = cluster(
        *both, document(SERVICE, "web", spec={"selector": {"tier": "web"}, "ports": [{"port": 80, "targetPort": 8080}]})
    )
    found = planned(held, deployment(1, name="api", labels={"tier": "web"}))
    (flow,) = found.flows
    assert ("moved", [("deployment/web", 1.0)]) == (flow.effect, [(each.workload, each.share) for each in flow.before.backends])
    assert [("deployment/api", 1, 1, 0.3333), ("deployment/web", 2, 0, 0.6667)] == [
        (each.workload, each.pods, each.new, each.share) for each in flow.after.backends
    ]
    assert not found.lost


def test_source_ranges_narrow_a_load_balancer() -> None:
    balanced = service(type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    narrow = service(type="LoadBalancer", allocateLoadBalancerNodePorts=False, loadBalancerSourceRanges=["192.0.2.0/24"])
    found = planned(cluster(deployment(), balanced, around=POOL), narrow, around=POOL)
    assert ["lost LoadBalancer:80 pod,node@a,b", "narrowed LoadBalancer:80 outside@a,b"] == flows(found)
    assert ("no source range lets it in", ("0.0.0.0/0",), ("192.0.2.0/24",)) == (
        found.flows[0].after.reason, found.flows[1].before.allowed, found.flows[1].after.allowed,
    )  # fmt: skip


def test_the_pool_gives_a_load_balancer_its_address_and_takes_it_back() -> None:
    balanced = service(type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    given = planned(cluster(deployment(), service()), balanced, around=POOL)
    assert [f"gained LoadBalancer:80 {EVERYWHERE}"] == flows(given)
    assert ["172.30.1.1"] == [each.value for each in given.services[0].allocated]
    taken = planned(
        cluster(deployment(), balanced, around=POOL), delete=["/api/v1/namespaces/default/services/web"], around=POOL
    )
    assert [f"lost ClusterIP:80, LoadBalancer:80 {EVERYWHERE}"] == flows(taken)
    assert ["lost web.default.svc A ['10.96.0.7'] []"] == names(taken)


def test_what_another_provider_gives_stays_and_is_not_guessed() -> None:
    balanced = service(type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    found = planned(cluster(deployment()), balanced)
    assert ["default/web has no load balancer address: its provider decides which address it gets"] == list(found.notes)
    held = cluster(deployment(), balanced, around=POOL)
    assert () == planned(held, balanced).flows
    deleted = planned(held, delete=["/api/v1/namespaces/default/services/web"])
    assert [f"lost ClusterIP:80, LoadBalancer:80 {EVERYWHERE}"] == flows(deleted)


def dual_stack() -> list[Document]:
    """The bare cluster with both families everywhere."""
    found = []
    for number, each in enumerate(BARE):
        if each["kind"] == "Node":
            ranges = [*each["spec"]["podCIDRs"], f"fd00:244:{number}::/64"]
            addresses = [*each["status"]["addresses"], {"type": "InternalIP", "address": f"fd00:30::1{number}"}]
            each = {**each, "spec": {**each["spec"], "podCIDRs": ranges}, "status": {**each["status"], "addresses": addresses}}
        if each["kind"] == "ServiceCIDR":
            each = {**each, "spec": {"cidrs": ["10.96.0.0/16", "fd00:96::/112"]}}
        found.append(each)
    return found


def test_a_family_that_is_given_up_is_lost() -> None:
    both = service(ipFamilyPolicy="RequireDualStack", clusterIPs=["10.96.0.7", "fd00:96::7"])
    found = planned(cluster(deployment(), both, bare=dual_stack()), service(ipFamilyPolicy="SingleStack"))
    assert [f"lost ClusterIP:80 {EVERYWHERE}"] == flows(found)
    assert ["fd00:96::7"] == [door.address for door in found.flows[0].doors]
    assert ["lost web.default.svc AAAA ['fd00:96::7'] []"] == names(found)
    assert "lost: default/web in part" == found.summary


# What changes of other objects do -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "selected"),
    [
        pytest.param(deployment(), deployment(0), {"app": "web"}, id="no replicas"),
        pytest.param(deployment(), deployment(port="web"), {"app": "web"}, id="the port of the containers has another name"),
        pytest.param(
            deployment(labels={"tier": "web"}),
            deployment(labels={"tier": "api"}),
            {"tier": "web"},
            id="the pods have other labels",
        ),
    ],
)
def test_what_a_deployment_takes_from_its_service(before: Document, after: Document, selected: Document) -> None:
    found = planned(cluster(before, service(selector=selected)), after)
    assert [f"lost ClusterIP:80 {EVERYWHERE}"] == flows(found)
    assert found.lost


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="rolling"),
        pytest.param({"minReadySeconds": 120}, id="rolling, each pod two minutes after the other"),
        pytest.param({"strategy": {"type": "Recreate"}}, id="all at once"),
    ],
)
def test_a_rollout_is_no_loss(more: Document) -> None:
    found = planned(cluster(deployment(3, **more), service()), deployment(3, image="echo:2", **more))
    (flow,) = found.flows
    assert ("rolled", [("deployment/web", 3, 0)], [("deployment/web", 3, 3)]) == (
        flow.effect,
        [(each.workload, each.pods, each.new) for each in flow.before.backends],
        [(each.workload, each.pods, each.new) for each in flow.after.backends],
    )
    assert ("rolled: default/web", False) == (found.summary, found.lost)
    assert ("assumed: 3 new pods of deployment/web in default will become ready",) == found.notes


def test_more_pods_leave_each_a_smaller_share() -> None:
    (flow,) = planned(cluster(deployment(1), service()), deployment(3)).flows
    assert ("balance", 1, 3, 2) == (
        flow.effect, flow.before.backends[0].pods, flow.after.backends[0].pods, flow.after.backends[0].new,
    )  # fmt: skip


def test_pods_that_find_no_node_are_told_and_lost() -> None:
    lost_ones = deployment(2, pod={"nodeSelector": {"disk": "ssd"}}, strategy={"type": "Recreate"})
    found = planned(cluster(deployment(2), service()), lost_ones)
    assert [f"lost ClusterIP:80 {EVERYWHERE}"] == flows(found)
    why = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    assert (f"2 new pods of deployment/web in default will not become ready: {why}",) == found.notes


def test_a_deleted_namespace_takes_its_services_and_names_with_it() -> None:
    held = cluster(
        *({**each, "metadata": {**each["metadata"], "namespace": "shop"}} for each in (deployment(), service())),
        deployment(), service("other", clusterIP="10.96.0.8"),
    )  # fmt: skip
    outcome, found = rehearsed(held, delete=["/api/v1/namespaces/shop"])
    assert [f"lost ClusterIP:80 {EVERYWHERE}"] == flows(found)
    assert ("the Service is gone", "lost: shop/web") == (found.flows[0].after.reason, found.summary)
    assert ["lost web.shop.svc A ['10.96.0.7'] []"] == names(found)
    assert ("", "shop") not in outcome.with_[NAMESPACE]


def test_a_deleted_node_is_lost_and_its_pods_move() -> None:
    found = planned(cluster(deployment(4), service(**NODE_PORT)), delete=["/api/v1/nodes/a"])
    assert [
        "lost ClusterIP:80, NodePort:30080 pod,node,outside@a",
        "rolled ClusterIP:80, NodePort:30080 pod,node,outside@b",
    ] == flows(found)
    assert "the node is gone" == found.flows[0].after.reason


def test_a_cordoned_node_changes_nothing_for_traffic() -> None:
    cordoned = node("a", 1)
    manifest = document(NODE, "a", metadata={"labels": cordoned["metadata"]["labels"]}, spec={"unschedulable": True})
    found = planned(cluster(deployment(4), service(**NODE_PORT)), manifest)
    assert ("nothing changes for traffic", ()) == (found.summary, found.flows)


def test_a_tainted_node_loses_its_pods_to_the_others() -> None:
    taints = [{"key": "broken", "effect": "NoExecute"}]
    found = planned(cluster(deployment(2), service()), document(NODE, "a", spec={"taints": taints}))
    assert [f"rolled ClusterIP:80 {EVERYWHERE}"] == flows(found)


def test_a_node_in_another_zone_reaches_other_pods() -> None:
    held = cluster(deployment(2), service(trafficDistribution="PreferSameZone"))
    moved = document(NODE, "b", metadata={"labels": {"topology.kubernetes.io/zone": "zone-a"}})
    assert [f"balance ClusterIP:80 {EVERYWHERE}"] == flows(planned(held, moved))


def test_slices_written_by_hand_are_taken_as_they_stand() -> None:
    def slice_(*addresses: str, port: int = 5432) -> Document:
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": port}],
            "endpoints": [{"addresses": [each]} for each in addresses],
        }

    database = document(SERVICE, "db", spec={"ports": [{"port": 5432}], "clusterIP": "10.96.0.9"})
    held = cluster(database, slice_("192.0.2.1", "192.0.2.2"))
    (flow,) = planned(held, slice_("192.0.2.1", "192.0.2.3")).flows
    assert ("moved", ["192.0.2.1", "192.0.2.2"], ["192.0.2.1", "192.0.2.3"]) == (
        flow.effect, [each.workload for each in flow.before.backends], [each.workload for each in flow.after.backends],
    )  # fmt: skip
    assert planned(held, slice_()).lost
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/db-1"
    assert [f"lost ClusterIP:5432 {EVERYWHERE}"] == flows(planned(held, delete=[path]))


def test_headless_names_follow_their_pods() -> None:
    headless = document(SERVICE, "db", spec={"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]})
    held = cluster(deployment(1), headless)
    rolled = planned(held, deployment(1, image="echo:2"))
    (change,) = rolled.names
    assert ("rolled", "db.default.svc", 1, (None,), False) == (
        change.change, change.name, len(change.before), change.after, rolled.lost,
    )  # fmt: skip
    gone = planned(held, deployment(0))
    assert (["lost"], True, "lost: the name db.default.svc") == ([each.change for each in gone.names], gone.lost, gone.summary)


def test_pods_of_the_other_owners_are_foreseen_with_their_names() -> None:
    labels = {"app": "db"}
    template = deployment(name="db")["spec"]["template"]
    headless = document(SERVICE, "peers", spec={"clusterIP": "None", "selector": labels, "ports": [{"port": 80}]})

    def stateful(replicas: int) -> Document:
        spec = {"serviceName": "peers", "selector": {"matchLabels": labels}, "template": template}
        return document(STATEFUL_SET, "db", spec={**spec, "replicas": replicas})

    held = cluster(headless, stateful(2))
    assert ["db-0", "db-1"] == sorted(each["metadata"]["name"] for each in pods_of(held))
    (gone,) = [each.name for each in planned(held, stateful(1)).names if each.change == "lost"]
    assert "db-1.peers.default.svc" == gone
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    for mode in ("WaitForFirstConsumer", "Immediate"):
        default = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
        disks = document(STORAGE_CLASS, "disks", metadata=default, provisioner="disks.example.com", volumeBindingMode=mode)
        kept = stateful(1)
        kept["spec"]["volumeClaimTemplates"] = [claim]
        (placed,) = pods_of(cluster(disks, headless, kept))
        assert ("db-0", "Running") == (placed["metadata"]["name"], placed["status"]["phase"])
    daemon = document(DAEMON_SET, "db", spec={"selector": {"matchLabels": labels}, "template": template})
    assert {"a", "b"} == {each["spec"]["nodeName"] for each in pods_of(cluster(daemon))}


def test_a_name_that_turns_into_an_alias_is_changed_and_not_lost() -> None:
    held = cluster(service())
    found = planned(held, service(type="ExternalName", externalName="example.com", clusterIP=None))
    assert ["changed web.default.svc A ['10.96.0.7'] []", "changed web.default.svc CNAME [] ['example.com']"] == names(found)
    assert not found.lost  # nothing was reachable there


# What is foreseen and what is assumed -------------------------------------------------------------------------------------


def pods_of(held: Iterable[Document]) -> list[Document]:
    return [each for each in held if each["kind"] == "Pod"]


def with_status(held: Iterable[Document], change: Callable[[Document], None]) -> list[Document]:
    """The cluster with a change made to a copy of every pod."""
    found = []
    for each in held:
        if each["kind"] == "Pod":
            each = {**each, "metadata": dict(each["metadata"]), "status": {**each["status"]}}
            change(each)
        found.append(each)
    return found


def test_a_pod_that_is_not_ready_is_not_taken_to_become_so() -> None:
    def break_(pod: Document) -> None:
        pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]

    held = with_status(cluster(deployment(2)), break_)
    assert [f"closed ClusterIP:80 {EVERYWHERE}"] == flows(planned(held, service()))


@pytest.mark.parametrize(
    ("waiting", "ready"),
    [
        pytest.param("ContainerCreating", True, id="one that is starting comes up"),
        pytest.param("ImagePullBackOff", False, id="one that cannot start does not"),
    ],
)
def test_a_pod_that_is_pending(waiting: str, ready: bool) -> None:
    def begin(pod: Document) -> None:
        container = {"name": "main", "state": {"waiting": {"reason": waiting}}}
        pod["status"] = {"phase": "Pending", "containerStatuses": [container]}

    found = planned(with_status(cluster(deployment(2)), begin), service())
    assert [f"{'gained' if ready else 'closed'} ClusterIP:80 {EVERYWHERE}"] == flows(found)


def test_what_happens_in_any_case_is_not_the_manifests_doing() -> None:
    held = cluster(deployment(2), service())
    ending = pods_of(held)[0]["metadata"]["name"]

    def end(pod: Document) -> None:
        if pod["metadata"]["name"] == ending:
            pod["metadata"] |= {"deletionTimestamp": STAMP, "deletionGracePeriodSeconds": 30}

    found = planned(with_status(held, end), service())
    assert ("nothing changes", ()) == (found.summary, found.flows)
    assert ("the cluster is not at rest: without the manifests too, something changes for default/web",) == found.notes


def test_a_deletion_that_somebody_holds_up_is_told() -> None:
    held = cluster(
        deployment(2), document(SERVICE, "web", metadata={"finalizers": ["example.com/keep"]}, spec=service()["spec"])
    )
    found = planned(held, delete=["/api/v1/namespaces/default/services/web"])
    assert (False, ("service/web stays until its finalizers are taken off: example.com/keep",)) == (found.lost, found.notes)


def test_the_copy_refuses_what_the_server_would() -> None:
    rehearsal = Rehearsal(cluster(service()), Surroundings(), NOW, Random(0))
    with pytest.raises(Refused, match=r"spec\.ports: Required value"):
        applied(rehearsal, [document(SERVICE, "bad", spec={"selector": {"app": "web"}})])
    with pytest.raises(Refused, match="provided IP is already allocated"):
        applied(rehearsal, [service("other")])


def test_the_same_cluster_and_manifests_give_the_same_plan() -> None:
    held = cluster(deployment(3), service(**NODE_PORT))
    manifests = deployment(5, image="echo:2"), service("new", clusterIP=None), service(app="api", **NODE_PORT)
    assert plain(planned(held, *manifests)) == plain(planned(held, *manifests))


def test_nothing_is_written_to_what_was_read() -> None:
    held = cluster(deployment(3), service())
    before = repr(held)
    planned(held, deployment(0), service(app="api"))
    assert before == repr(held)


@pytest.mark.parametrize(
    "manifests",
    [
        pytest.param([], id="nothing"),
        pytest.param([service("s3", app="api", clusterIP="10.96.0.23")], id="a Service"),
        pytest.param([deployment(0)], id="pods of many Services"),
        pytest.param(
            [service("a", clusterIP=None, externalIPs=["172.30.0.11"], ports=[{"port": 30080}])], id="a taken node port"
        ),
        pytest.param([service("a", app="no", clusterIP=None, externalIPs=["203.0.113.1"])], id="a taken external IP"),
        pytest.param(
            [document(NODE, "b", metadata={"labels": {"topology.kubernetes.io/zone": "zone-a"}})], id="the zone of a node"
        ),
    ],
)
def test_a_service_that_is_not_looked_at_has_not_changed(manifests: list[Document]) -> None:
    more = [service(f"s{number}", clusterIP=f"10.96.0.{number + 20}") for number in range(5)]
    outside = service("m", clusterIP=None, externalIPs=["203.0.113.1"]), service("n", **{"clusterIP": None, **NODE_PORT})
    outcome, found = rehearsed(cluster(deployment(2), *more, *outside), *manifests)
    before, after = (Picture(each, each[SERVICE]) for each in (outcome.without, outcome.with_))
    changes = compared(before.reach, after.reach, before.workload, after.workload)
    assert {"/".join(change.way.service) for change in changes} == {each.service for each in found.flows}


# Reading a cluster --------------------------------------------------------------------------------------------------------


class Recorded(MemoryApi):
    """The kinds that were listed; those in `missing` are unknown to the server."""

    def __init__(self, *missing: Kind) -> None:
        super().__init__(rng=Random(1))
        self.listed: list[Kind] = []
        self._missing = missing

    async def list(self, kind: Kind, *rest: Any, **more: Any) -> Listing:
        self.listed.append(kind)
        if kind in self._missing:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return await super().list(kind, *rest, **more)


async def test_all_that_matters_is_read_and_no_secret() -> None:
    api = Recorded()
    await api.write("create", NAMESPACE, "", "default", document(NAMESPACE, "default"))
    await api.write("create", SERVICE, "default", "web", service())
    documents = await read(api)
    assert sorted(map(str, READ)) == sorted(map(str, api.listed))
    assert SECRET not in api.listed
    assert {"Namespace", "Service", "IPAddress"} == {each["kind"] for each in documents}


async def test_an_older_server_without_address_objects_is_read_too() -> None:
    api = Recorded(SERVICE_CIDR, IP_ADDRESS)
    await api.write("create", NAMESPACE, "", "default", document(NAMESPACE, "default"))
    await api.write("create", SERVICE, "default", "web", service())
    held = await read(api)
    rehearsal = Rehearsal(held, Surroundings(), NOW, Random(0))
    with pytest.raises(Refused, match="provided IP is already allocated"):
        applied(rehearsal, [service("other")])


async def test_a_refusal_of_the_server_is_no_empty_list() -> None:
    with pytest.raises(ApiError, match="could not find"):
        await read(Recorded(POD))


@pytest.mark.parametrize(
    ("documents", "ranges"),
    [
        pytest.param(
            [stored(SERVICE_CIDR, "extra", spec={"cidrs": ["10.1.0.0/24"]}), *BARE],
            ("10.96.0.0/16",),
            id="the default ServiceCIDR",
        ),
        pytest.param(
            [
                stored(
                    SERVICE, "kubernetes", metadata={"namespace": "default"}, spec={"clusterIPs": ["10.43.0.1", "fd00:43::1"]}
                )
            ],
            ("10.32.0.0/12", "fd00:43::/108"),
            id="the address of default/kubernetes",
        ),
        pytest.param([], ("10.96.0.0/16",), id="the default, where nothing tells"),
    ],
)
def test_where_cluster_addresses_come_from(documents: list[Document], ranges: tuple[str, ...]) -> None:
    assert ranges == settings_of(documents).service_cidrs
