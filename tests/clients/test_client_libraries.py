"""The Python clients that people use beside the official one: kubernetes_asyncio, kr8s, lightkube, kopf."""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kr8s
import kubernetes_asyncio
import lightkube
import pytest
from kr8s.asyncio.objects import ConfigMap, Deployment, new_class
from kubectl_command import eventually
from kubernetes import client, config
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec, ServicePort, ServiceSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources import apps_v1, core_v1
from lightkube.types import PatchType
from widgets import DEFINITION, GROUP, widget

from local_cluster import Cluster

OPERATOR = Path(__file__).with_name("widget_operator.py")


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    made = config.new_client_from_config(str(cluster.kubeconfig))
    yield made
    made.close()


@pytest.fixture(scope="module")
def place(api: client.ApiClient) -> Iterator[str]:
    """A namespace for all tests of this module."""
    core = client.CoreV1Api(api)
    name = f"libraries-{secrets.token_hex(4)}"
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)


@pytest.fixture(scope="module")
def widgets(api: client.ApiClient) -> Iterator[client.CustomObjectsApi]:
    definitions = client.ApiextensionsV1Api(api)
    definitions.create_custom_resource_definition(DEFINITION)
    objects = client.CustomObjectsApi(api)

    def served() -> bool:
        try:
            objects.list_cluster_custom_object(GROUP, "v1", "widgets")
        except client.ApiException:
            return False
        return True

    eventually(served, bool)
    yield objects
    definitions.delete_custom_resource_definition(DEFINITION["metadata"]["name"])


def test_kubernetes_asyncio(cluster: Cluster, place: str) -> None:
    """Creates, watches, patches and lists, in one loop."""

    async def use() -> list[str]:
        settings = kubernetes_asyncio.client.Configuration()
        await kubernetes_asyncio.config.load_kube_config(str(cluster.kubeconfig), client_configuration=settings)
        seen: list[str] = []
        async with kubernetes_asyncio.client.ApiClient(settings) as made:
            core = kubernetes_asyncio.client.CoreV1Api(made)
            watch = kubernetes_asyncio.watch.Watch()

            async def follow() -> None:
                async for event in watch.stream(
                    core.list_namespaced_config_map, place, field_selector="metadata.name=one", timeout_seconds=60
                ):
                    seen.append(f"{event['type']} {event['object'].data}")
                    if event["type"] == "DELETED":
                        return

            following = asyncio.create_task(follow())
            await core.create_namespaced_config_map(place, {"metadata": {"name": "one"}, "data": {"a": "1"}})
            while not seen:
                await asyncio.sleep(0.01)
            await core.patch_namespaced_config_map("one", place, {"data": {"a": "2"}})
            await core.delete_namespaced_config_map("one", place)
            async with asyncio.timeout(60):
                await following
        return seen

    told = asyncio.run(use())
    assert ["ADDED {'a': '1'}", "MODIFIED {'a': '2'}", "DELETED {'a': '2'}"] == told


def test_kr8s(cluster: Cluster, place: str, widgets: client.CustomObjectsApi) -> None:
    """Objects with methods: create, scale, wait, label, a custom class."""

    async def use() -> tuple[Any, ...]:
        made = await kr8s.asyncio.api(kubeconfig=str(cluster.kubeconfig), namespace=place)
        web = await Deployment(deployment("kr8s"), api=made, namespace=place)
        await web.create()
        await web.scale(2)
        async with asyncio.timeout(60):
            while not await web.ready():
                await asyncio.sleep(0.05)
        pods = await web.pods()
        held = await ConfigMap({"metadata": {"name": "kr8s"}, "data": {"a": "1"}}, api=made, namespace=place)
        await held.create()
        await held.label({"found": "yes"})
        found = [each.name async for each in made.get("configmaps", label_selector="found=yes", namespace=place)]
        Widget = new_class("Widget", version="example.com/v1", namespaced=True)
        one = await Widget(widget("kr8s", 3), api=made, namespace=place)
        await one.create()
        await one.patch({"status": {"phase": "Done"}}, subresource="status")
        await one.refresh()
        state = one.spec["size"], one.status["phase"]
        await web.delete()
        return len(pods), found, *state

    assert (2, ["kr8s"], 3, "Done") == asyncio.run(use())


def test_lightkube(cluster: Cluster, place: str, widgets: client.CustomObjectsApi) -> None:
    """Typed dataclasses, server-side apply, watches, a generic resource."""
    made = lightkube.Client(
        config=lightkube.KubeConfig.from_file(str(cluster.kubeconfig)), namespace=place, field_manager="lightkube-tests"
    )
    labels = {"app": "lightkube"}
    pod = PodSpec(containers=[Container(name="web", image="mooring.dev/echo:1")], terminationGracePeriodSeconds=0)
    template = PodTemplateSpec(metadata=ObjectMeta(labels=labels), spec=pod)
    meta = ObjectMeta(name="lightkube", namespace=place)
    web = apps_v1.Deployment(metadata=meta, spec=DeploymentSpec(LabelSelector(matchLabels=labels), template, replicas=1))
    made.apply(web)
    made.wait(apps_v1.Deployment, "lightkube", for_conditions=["Available"])
    service = core_v1.Service(metadata=meta, spec=ServiceSpec(selector=labels, ports=[ServicePort(port=80)]))
    applied = made.apply(service)
    assert applied.spec and applied.spec.clusterIP and applied.metadata and applied.metadata.managedFields
    assert ["lightkube-tests"] == [each.manager for each in applied.metadata.managedFields if each.operation == "Apply"]
    Widget = create_namespaced_resource(GROUP, "v1", "Widget", "widgets")
    made.create(Widget(widget("lightkube", 2)))
    assert 2 == made.get(Widget, "lightkube").spec["size"]
    with pytest.raises(lightkube.ApiError) as refused:
        made.patch(Widget, "lightkube", {"spec": {"size": 0}}, patch_type=PatchType.MERGE)
    assert (422, True) == (refused.value.status.code, "spec.size" in (refused.value.status.message or ""))
    for kind, name in ((apps_v1.Deployment, "lightkube"), (core_v1.Service, "lightkube"), (Widget, "lightkube")):
        made.delete(kind, name)


def test_kopf_runs_an_operator(
    cluster: Cluster, api: client.ApiClient, place: str, widgets: client.CustomObjectsApi, tmp_path: Path
) -> None:
    """Handlers of creation, change and deletion, a timer, a finalizer: a whole operator in a process of its own."""
    core = client.CoreV1Api(api)
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(tmp_path)}
    words = (sys.executable, "-m", "kopf", "run", "--namespace", place, "--standalone", str(OPERATOR))
    with (tmp_path / "log").open("w") as log:
        operator = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        widgets.create_namespaced_custom_object(GROUP, "v1", place, "widgets", widget("kopf", 1))

        def read() -> Any:
            return widgets.get_namespaced_custom_object(GROUP, "v1", place, "widgets", "kopf")

        # The timer does not wait for the handler of the creation.
        made = eventually(read, lambda found: found.get("status", {}).get("ticks", 0) >= 2 and "create" in found["status"])
        assert ({"made": "kopf"}, ["example.com/widget-operator"]) == (made["status"]["create"], made["metadata"]["finalizers"])
        widgets.patch_namespaced_custom_object(GROUP, "v1", place, "widgets", "kopf", {"spec": {"size": 5}})
        eventually(lambda: core.read_namespaced_config_map("kopf", place).data["size"] == "5", bool)
        widgets.delete_namespaced_custom_object(GROUP, "v1", place, "widgets", "kopf")
        eventually(lambda: [each.metadata.name for each in core.list_namespaced_config_map(place).items],
                   lambda names: "kopf-was-here" in names and "kopf" not in names)  # fmt: skip
        left = widgets.list_namespaced_custom_object(GROUP, "v1", place, "widgets")["items"]
        assert "kopf" not in [each["metadata"]["name"] for each in left]
    finally:
        operator.terminate()
        operator.wait(60)


def deployment(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [{"name": "web", "image": "mooring.dev/echo:1"}],
                    "terminationGracePeriodSeconds": 0,
                },
            },
        },
    }
