"""Which proxies there are: from the first Ingress of a class to the last, and whose is what of them."""

import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from workloads import change, document, namespace, said

from mooring.control.ingress_class import label_value, proxies_name
from mooring.control.reconciler import Document
from mooring.control.reconcilers.garbage_collector import GarbageCollector
from mooring.control.reconcilers.ingress_classes import IngressClasses
from mooring.control.reconcilers.ingress_proxies import IngressProxies
from mooring.edges.memory.api import MemoryApi
from mooring.model.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    INGRESS,
    INGRESS_CLASS,
    NAMESPACE,
    SERVICE,
    SERVICE_ACCOUNT,
    STORED,
    Kind,
)
from mooring.routing.ingress.parameters import KEYS
from mooring.testing.world import MemoryWorld, settle

SYSTEM = "mooring-system"
PARTS = (SERVICE_ACCOUNT, DEPLOYMENT, SERVICE)


def ingress_class(name: str = "mooring-envoy", controller: str = "mooring.dev/envoy", **spec: Any) -> Document:
    return document(INGRESS_CLASS, name, spec={"controller": controller, **spec})


def ingress(name: str = "web", class_name: str | None = "mooring-envoy", **metadata: Any) -> Document:
    spec: Document = {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}
    if class_name is not None:
        spec["ingressClassName"] = class_name
    return document(INGRESS, name, metadata=metadata, spec=spec)


def parameters(**data: str) -> Document:
    return document(CONFIG_MAP, "front", SYSTEM, data={name.replace("_", "-"): value for name, value in data.items()})


FRONT = {"kind": "ConfigMap", "name": "front", "scope": "Namespace", "namespace": SYSTEM}


def parts(world: MemoryWorld) -> dict[str, list[str]]:
    return {kind.kind: [each["metadata"]["name"] for each in world.list(kind)] for kind in PARTS}


def part(world: MemoryWorld, kind: Kind, class_name: str = "mooring-envoy") -> Document:
    held = world.get(kind, SYSTEM, proxies_name(class_name))
    assert held is not None
    return held


NONE: dict[str, list[str]] = {kind.kind: [] for kind in PARTS}
ALL = {kind.kind: ["ingress-mooring-envoy"] for kind in PARTS}


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        pytest.param([ingress_class()], NONE, id="a class without an Ingress has no proxies"),
        pytest.param([ingress_class(), ingress()], ALL, id="one with an Ingress has"),
        pytest.param([ingress()], NONE, id="an Ingress of a class that is not there"),
        pytest.param([ingress_class(controller="k8s.io/ingress-nginx"), ingress()], NONE, id="another's class"),
        pytest.param([ingress_class(), ingress(class_name=None)], NONE, id="an Ingress of no class"),
        pytest.param(
            [ingress_class(), ingress(class_name=None, annotations={"kubernetes.io/ingress.class": "mooring-envoy"})],
            ALL,
            id="a class by annotation",
        ),
        pytest.param(
            [ingress_class(), ingress(class_name="x", annotations={"kubernetes.io/ingress.class": "mooring-envoy"})],
            NONE,
            id="the field wins over the annotation",
        ),
    ],
)
def test_a_class_has_proxies_while_an_ingress_names_it(documents: list[Document], expected: dict[str, list[str]]) -> None:
    world = MemoryWorld(documents)
    settle(IngressProxies(), world)
    assert expected == parts(world)


def test_the_pods_run_as_nobody_with_nothing_to_write_but_a_folder_in_memory() -> None:
    world = MemoryWorld([ingress_class(), ingress()])
    settle(IngressProxies("registry.example/gateway:1"), world)
    deployment = part(world, DEPLOYMENT)
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert 2 == deployment["spec"]["replicas"]
    assert {"maxSurge": 1, "maxUnavailable": 0} == deployment["spec"]["strategy"]["rollingUpdate"]
    assert "registry.example/gateway:1" == container["image"]
    assert "gateway --class mooring-envoy --proxy envoy --drain-seconds 30" == " ".join(container["args"])
    assert (65532, True, 65532) == tuple(pod["securityContext"][name] for name in ("runAsUser", "runAsNonRoot", "fsGroup"))
    restricted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert restricted == container["securityContext"]
    assert [{"name": "run", "emptyDir": {"medium": "Memory"}}] == pod["volumes"]
    assert 45 == pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(
    ("controller", "ports"),
    [
        ("mooring.dev/envoy", ["http TCP 80", "https TCP 443", "http3 UDP 443"]),
        ("mooring.dev/nginx", ["http TCP 80", "https TCP 443"]),
    ],
)
def test_the_service_keeps_the_clients_address(controller: str, ports: list[str]) -> None:
    world = MemoryWorld([ingress_class(controller=controller), ingress()])
    settle(IngressProxies(), world)
    spec = part(world, SERVICE)["spec"]
    assert ("LoadBalancer", "Local") == (spec["type"], spec["externalTrafficPolicy"])
    assert ports == [f"{each['name']} {each['protocol']} {each['port']}" for each in spec["ports"]]
    [container] = part(world, DEPLOYMENT)["spec"]["template"]["spec"]["containers"]
    named = {each["name"] for each in container["ports"]}
    assert {each["targetPort"] for each in spec["ports"]} == named - {"metrics"}


def test_each_class_has_its_own() -> None:
    classes = (ingress_class(), ingress_class("mooring-nginx", "mooring.dev/nginx"), ingress_class("idle"))
    world = MemoryWorld([*classes, ingress(), ingress("other", "mooring-nginx")])
    settle(IngressProxies(), world)
    assert ["ingress-mooring-envoy", "ingress-mooring-nginx"] == sorted(parts(world)["Deployment"])
    args = part(world, DEPLOYMENT, "mooring-nginx")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "gateway --class mooring-nginx --proxy nginx --drain-seconds 30" == " ".join(args)


def test_they_go_with_the_last_ingress() -> None:
    world = MemoryWorld([ingress_class(), ingress("a"), ingress("b")])
    reconciler = IngressProxies()
    settle(reconciler, world)
    world.remove(INGRESS, "default", "a")
    settle(reconciler, world)
    assert ALL == parts(world)
    world.remove(INGRESS, "default", "b")
    settle(reconciler, world)
    assert NONE == parts(world)


def test_they_go_with_the_class_by_the_garbage_collector_alone() -> None:
    world = MemoryWorld([ingress_class(), ingress()])
    settle(IngressProxies(), world)
    world.remove(INGRESS_CLASS, "", "mooring-envoy")
    settle(GarbageCollector(), world)
    assert NONE == parts(world)


def test_a_class_made_anew_takes_them_over() -> None:
    world = MemoryWorld([ingress_class(), ingress()])
    settle(IngressProxies(), world)
    world.remove(INGRESS_CLASS, "", "mooring-envoy")
    made = world.add(ingress_class())
    settle(IngressProxies(), world)
    assert {made["metadata"]["uid"]} == {
        each["uid"] for kind in PARTS for each in part(world, kind)["metadata"]["ownerReferences"]
    }


def test_what_is_deleted_comes_back_and_so_does_the_namespace() -> None:
    world = MemoryWorld([ingress_class(), ingress(), namespace(SYSTEM)])
    settle(IngressProxies(), world)
    world.remove(DEPLOYMENT, SYSTEM, "ingress-mooring-envoy")
    world.add(namespace(SYSTEM, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    settle(IngressProxies(), world)
    assert [] == parts(world)["Deployment"], "nothing can be made in a namespace on its way out"
    world.remove(NAMESPACE, "", SYSTEM)
    settle(IngressProxies(), world)
    assert ALL == parts(world)
    assert world.get(NAMESPACE, "", SYSTEM)


def test_what_people_change_is_kept_and_what_is_ours_is_put_back() -> None:
    world = MemoryWorld([ingress_class(), ingress()])
    settle(IngressProxies(), world)
    deployment, service = part(world, DEPLOYMENT), part(world, SERVICE)
    pod = deployment["spec"]["template"]["spec"]
    resources = {"limits": {"memory": "1Gi"}}
    sidecar = {"name": "sidecar", "image": "x"}
    edited = {**pod["containers"][0], "resources": resources, "args": ["gateway", "--wrong"]}
    template = {**deployment["spec"]["template"], "spec": {**pod, "nodeSelector": {"a": "b"}, "containers": [sidecar, edited]}}
    change(world, DEPLOYMENT, "ingress-mooring-envoy", SYSTEM, spec={"replicas": 7, "template": template})
    ports = [
        {**service["spec"]["ports"][0], "targetPort": 1, "nodePort": 30080},
        {"name": "mine", "port": 9, "protocol": "TCP"},
    ]
    change(world, SERVICE, "ingress-mooring-envoy", SYSTEM, spec={"type": "NodePort", "ports": ports})
    settle(IngressProxies(), world)
    deployment, service = part(world, DEPLOYMENT), part(world, SERVICE)
    pod = deployment["spec"]["template"]["spec"]
    assert (7, {"a": "b"}) == (deployment["spec"]["replicas"], pod["nodeSelector"])
    assert ["sidecar", "gateway"] == [each["name"] for each in pod["containers"]]
    assert (resources, "--class") == (pod["containers"][1]["resources"], pod["containers"][1]["args"][1])
    assert "NodePort" == service["spec"]["type"]
    shown = [(each["name"], each.get("targetPort"), each.get("nodePort")) for each in service["spec"]["ports"]]
    assert [("http", "http", 30080), ("mine", None, None), ("https", "https", None), ("http3", "http3", None)] == shown


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param({}, (2, 45), id="defaults"),
        pytest.param({"replicas": "5", "drain_seconds": "300"}, (5, 315), id="as they say"),
        pytest.param({"replicas": "many", "drain_seconds": "-1"}, (2, 45), id="what cannot be read counts as not said"),
    ],
)
def test_the_classs_parameters(data: dict[str, str], expected: tuple[int, int]) -> None:
    world = MemoryWorld([ingress_class(parameters=FRONT), ingress(), parameters(**data)])
    settle(IngressProxies(), world)
    spec = part(world, DEPLOYMENT)["spec"]
    assert expected == (spec["replicas"], spec["template"]["spec"]["terminationGracePeriodSeconds"])


def test_the_guide_names_every_parameter() -> None:
    guide = Path(__file__).parents[2] / "docs/guides/ingress.md"
    assert set(KEYS) - set(re.findall(r"`([a-z0-9-]+)`", guide.read_text())) == set()


def test_replicas_are_peoples_unless_the_parameters_say_them() -> None:
    world = MemoryWorld([ingress_class(parameters=FRONT), ingress(), parameters()])
    reconciler = IngressProxies()
    settle(reconciler, world)
    change(world, DEPLOYMENT, "ingress-mooring-envoy", SYSTEM, spec={"replicas": 0})
    settle(reconciler, world)
    assert 0 == part(world, DEPLOYMENT)["spec"]["replicas"]
    world.add(parameters(replicas="3"))
    settle(reconciler, world)
    assert 3 == part(world, DEPLOYMENT)["spec"]["replicas"]


def test_an_object_of_somebody_else_is_left_alone_and_told() -> None:
    theirs = document(SERVICE, "ingress-mooring-envoy", SYSTEM, spec={"selector": {"app": "theirs"}})
    world = MemoryWorld([ingress_class(), ingress(), theirs])
    settled = settle(IngressProxies(), world)
    assert {"app": "theirs"} == part(world, SERVICE)["spec"]["selector"]
    assert said(settled.reports)[0].startswith(f"Warning NameTaken Service {SYSTEM}/ingress-mooring-envoy is somebody else's")
    world.remove(INGRESS, "default", "web")
    settle(IngressProxies(), world)
    assert ["ingress-mooring-envoy"] == parts(world)["Service"]


@pytest.mark.parametrize("name", ["a" * 200, "a.b", "-".join("a" * 30 for _ in range(3)), "a" * 34 + ".b"])
def test_any_name_of_a_class_makes_good_names(name: str) -> None:
    made = label_value(name)
    assert len(f"ingress-{made}-1234567890-12345") <= 63
    assert made != label_value(name.replace(".", "-") + "x")
    assert made.replace("-", "").isalnum() and made[-1] != "-"


def test_a_local_clusters_classes_are_made_once() -> None:
    world, reconciler = MemoryWorld(), IngressClasses(("mooring-envoy", "mooring-nginx"))
    settle(reconciler, world)
    marks = {each["metadata"]["name"]: each["metadata"].get("annotations") for each in world.list(INGRESS_CLASS)}
    assert {"mooring-envoy": {"ingressclass.kubernetes.io/is-default-class": "true"}, "mooring-nginx": None} == marks
    world.remove(INGRESS_CLASS, "", "mooring-nginx")
    world.add({**ingress_class(), "metadata": {"name": "mooring-envoy"}})
    settled = settle(reconciler, world)
    assert [("create", "mooring-nginx")] == [(each.verb, each.body["metadata"]["name"]) for each in settled.writes]
    with pytest.raises(ValueError, match="there are mooring-envoy, mooring-nginx"):
        IngressClasses(("nginx",))


async def test_with_the_servers_own_defaults_there_is_nothing_to_correct() -> None:
    api = MemoryApi(rng=Random(1))
    wishes = [ingress_class(parameters=FRONT), namespace(), ingress(), namespace(SYSTEM), parameters(replicas="3")]
    for each in wishes:
        kind = next(kind for kind in STORED if kind.kind == each["kind"])
        each.pop("status", None)
        await api.write("create", kind, each["metadata"].get("namespace", ""), "", each)
    for expected in (3, 0):
        held = [
            each | {"kind": kind.kind, "apiVersion": kind.api_version}
            for kind in STORED
            for each in (await api.list(kind)).items
        ]
        plan = IngressProxies().plan(("", "mooring-envoy"), MemoryWorld(held))
        assert expected == len(plan.writes), plan.writes
        for write in plan.writes:
            await api.write(write.verb, write.kind, write.namespace, write.name, write.body)
