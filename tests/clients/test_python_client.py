"""The official `kubernetes` Python client: typed objects, patches, pages, watches, streams."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from kubectl_command import eventually
from kubernetes import client, config, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from msgspec import json

from local_cluster import Cluster

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "mooring.dev/echo:1"}], "terminationGracePeriodSeconds": 0},
        },
    },
}


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    made = config.new_client_from_config(str(cluster.kubeconfig))
    yield made
    made.close()


@pytest.fixture(scope="module")
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture(scope="module")
def place(core: client.CoreV1Api) -> Iterator[str]:
    """A namespace for all tests of this module, with what the controllers put into every new one."""
    name = f"python-{secrets.token_hex(4)}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    eventually(lambda: core.list_namespaced_config_map(name).items, bool)
    yield name
    core.delete_namespace(name)


def config_map(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"made": "here"}), data=data)


def refused(call: Any, *arguments: Any, **named: Any) -> tuple[int, dict[str, Any]]:
    """The status code of a refusal, and the Status object in its body."""
    with pytest.raises(ApiException) as caught:
        call(*arguments, **named)
    return caught.value.status, json.decode(caught.value.body)


def test_an_object_from_creation_to_deletion(core: client.CoreV1Api, place: str) -> None:
    made = core.create_namespaced_config_map(place, config_map("one", a="1"))
    assert ("one", {"a": "1"}) == (made.metadata.name, made.data)
    assert made.metadata.creation_timestamp.tzinfo is not None
    made.data = {"a": "2"}
    replaced = core.replace_namespaced_config_map("one", place, made)
    assert {"a": "2"} == core.read_namespaced_config_map("one", place).data
    code, status = refused(core.replace_namespaced_config_map, "one", place, made)
    assert (409, "Conflict") == (code, status["reason"])
    assert replaced.metadata.resource_version != made.metadata.resource_version
    core.delete_namespaced_config_map("one", place)
    code, status = refused(core.read_namespaced_config_map, "one", place)
    assert (404, 'configmaps "one" not found') == (code, status["message"])


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        ({"data": {"b": "2"}}, "application/strategic-merge-patch+json", {"a": "1", "b": "2"}),
        ({"data": {"a": None, "b": "2"}}, "application/merge-patch+json", {"b": "2"}),
        ([{"op": "replace", "path": "/data/a", "value": "3"}], "application/json-patch+json", {"a": "3"}),
    ],
    ids=["strategic merge", "merge", "json"],
)
def test_patches(core: client.CoreV1Api, place: str, body: Any, content_type: str, expected: dict[str, str]) -> None:
    name = f"patched-{secrets.token_hex(4)}"
    core.create_namespaced_config_map(place, config_map(name, a="1"))
    assert expected == core.patch_namespaced_config_map(name, place, body, _content_type=content_type).data


def test_a_service_of_each_type_and_its_refusals(core: client.CoreV1Api, place: str) -> None:
    def service(name: str, **spec: Any) -> client.V1Service:
        ports = [client.V1ServicePort(port=80, target_port="http")]
        return client.V1Service(metadata=client.V1ObjectMeta(name=name), spec=client.V1ServiceSpec(ports=ports, **spec))

    plain = core.create_namespaced_service(place, service("plain"))
    assert plain.spec.cluster_ip.startswith("10.96.")
    assert "http" == plain.spec.ports[0].target_port
    assert 30000 <= core.create_namespaced_service(place, service("port", type="NodePort")).spec.ports[0].node_port <= 32767
    assert "None" == core.create_namespaced_service(place, service("headless", cluster_ip="None")).spec.cluster_ip
    code, status = refused(core.create_namespaced_service, place, service("taken", cluster_ip=plain.spec.cluster_ip))
    assert (422, "spec.clusterIPs") == (code, status["details"]["causes"][0]["field"])
    dry = core.create_namespaced_service(place, service("dry"), dry_run="All")
    assert dry.spec.cluster_ip
    assert 404 == refused(core.read_namespaced_service, "dry", place)[0]


def test_lists_in_pages_are_one_snapshot(core: client.CoreV1Api, place: str) -> None:
    for number in range(5):
        core.create_namespaced_secret(place, client.V1Secret(metadata=client.V1ObjectMeta(name=f"page-{number}")))
    first = core.list_namespaced_secret(place, limit=2)
    assert 3 == first.metadata.remaining_item_count
    core.delete_namespaced_secret("page-4", place)
    names, page = [item.metadata.name for item in first.items], first
    while page.metadata._continue:
        page = core.list_namespaced_secret(place, limit=2, _continue=page.metadata._continue)
        names += [item.metadata.name for item in page.items]
    assert [f"page-{number}" for number in range(5)] == names
    assert first.metadata.resource_version == page.metadata.resource_version
    assert 4 == len(core.list_namespaced_secret(place, field_selector="metadata.name!=other").items)


def test_a_watch_goes_on_from_a_revision_to_its_end(core: client.CoreV1Api, place: str) -> None:
    since = core.list_namespaced_config_map(place).metadata.resource_version
    made = core.create_namespaced_config_map(place, config_map("seen", a="1"))
    core.patch_namespaced_config_map("seen", place, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("seen", place)
    found = []
    watcher = watch.Watch()
    for event in watcher.stream(
        core.list_namespaced_config_map, place, resource_version=since, allow_watch_bookmarks=True, timeout_seconds=20
    ):
        found.append((event["type"], event["object"].metadata.name, event["object"].data))
        if event["type"] == "DELETED":
            watcher.stop()
    expected = [("ADDED", "seen", {"a": "1"}), ("MODIFIED", "seen", {"a": "2"}), ("DELETED", "seen", {"a": "2"})]
    assert expected == found
    assert int(watcher.resource_version) > int(made.metadata.resource_version)


def test_a_watch_ends_with_its_timeout_and_a_bookmark(core: client.CoreV1Api, place: str) -> None:
    found = [
        event["type"]
        for event in watch.Watch().stream(
            core.list_namespaced_service,
            place,
            label_selector="nobody=here",
            resource_version=core.list_namespaced_service(place).metadata.resource_version,
            allow_watch_bookmarks=True,
            timeout_seconds=1,
        )
    ]
    assert set(found) <= {"BOOKMARK"}


def test_a_watch_from_a_revision_of_the_future_is_refused(core: client.CoreV1Api, place: str) -> None:
    with pytest.raises(ApiException) as caught:
        list(watch.Watch().stream(core.list_namespaced_config_map, place, resource_version="999999999", timeout_seconds=1))
    assert caught.value.status in (410, 504)


def test_an_exact_list_of_a_revision_that_was_never_is_refused(core: client.CoreV1Api, place: str) -> None:
    code, _ = refused(core.list_namespaced_config_map, place, resource_version="999999999", resource_version_match="Exact")
    assert code in (410, 504)


@pytest.fixture(scope="module")
def pod(api: client.ApiClient, core: client.CoreV1Api, place: str) -> str:
    """A ready pod of a Deployment made from its manifest."""
    utils.create_from_dict(api, DEPLOYMENT, namespace=place)
    apps = client.AppsV1Api(api)
    eventually(lambda: apps.read_namespaced_deployment_status("web", place).status.ready_replicas, lambda ready: ready == 1)
    return core.list_namespaced_pod(place, label_selector="app=web").items[0].metadata.name


def test_what_is_made_from_yaml(api: client.ApiClient, core: client.CoreV1Api, place: str, tmp_path: Any) -> None:
    manifest = tmp_path / "both.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-yaml}\n---\n"
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: from-yaml}\n"
        "spec: {ingressClassName: nobodys, defaultBackend: {service: {name: web, port: {number: 80}}}}\n"
    )
    utils.create_from_yaml(api, str(manifest), namespace=place)
    assert core.read_namespaced_config_map("from-yaml", place)
    ingress = client.NetworkingV1Api(api).read_namespaced_ingress("from-yaml", place)
    assert 80 == ingress.spec.default_backend.service.port.number


def test_exec(core: client.CoreV1Api, place: str, pod: str) -> None:
    command = ["sh", "-c", "read line; echo got $line; echo wrong >&2; exit 7"]
    session = stream(
        core.connect_get_namespaced_pod_exec,
        pod,
        place,
        command=command,
        stdin=True,
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    session.write_stdin("this\n")
    session.run_forever(timeout=30)
    assert ("got this\n", "wrong\n", 7) == (session.read_stdout(), session.read_stderr(), session.returncode)


def test_logs_and_logs_that_follow(core: client.CoreV1Api, place: str, pod: str) -> None:
    eventually(lambda: core.read_namespaced_pod_log(pod, place), lambda text: "listening on 8080" in text)
    pieces = core.read_namespaced_pod_log(pod, place, follow=True, _preload_content=False).stream()
    first = next(pieces)
    core.delete_namespaced_pod(pod, place, grace_period_seconds=0)
    assert b"listening on 8080" in b"".join([first, *pieces]), "the stream ends with its container"


def test_scale_and_slices_and_events(api: client.ApiClient, core: client.CoreV1Api, place: str, pod: str) -> None:
    apps, slices, events = client.AppsV1Api(api), client.DiscoveryV1Api(api), client.EventsV1Api(api)
    selector = client.V1ServiceSpec(selector={"app": "web"}, ports=[client.V1ServicePort(port=80, target_port=8080)])
    core.create_namespaced_service(place, client.V1Service(metadata=client.V1ObjectMeta(name="web"), spec=selector))
    apps.patch_namespaced_deployment_scale("web", place, {"spec": {"replicas": 2}})
    assert 2 == apps.read_namespaced_deployment_scale("web", place).spec.replicas

    def ready() -> int:
        found = slices.list_namespaced_endpoint_slice(place, label_selector="kubernetes.io/service-name=web").items
        return sum(bool(each.conditions.ready) for one in found for each in one.endpoints or ())

    eventually(ready, lambda count: count == 2)
    # As upstream's, events of the older form have no eventTime, which the client's own types insist on.
    which = {"field_selector": "reason=ScalingReplicaSet", "_preload_content": False}
    told = eventually(lambda: json.decode(events.list_namespaced_event(place, **which).data)["items"], bool)
    assert {"web"} == {event["regarding"]["name"] for event in told}
    assert any("Scaled up replica set" in event["note"] for event in told)


def test_nodes_and_versions(api: client.ApiClient, core: client.CoreV1Api) -> None:
    nodes = core.list_node().items
    assert ["node-1", "node-2"] == [node.metadata.name for node in nodes]
    assert all(any(each.type == "Ready" and each.status == "True" for each in node.status.conditions) for node in nodes)
    assert "33" == client.VersionApi(api).get_code().minor
    assert {"apps", "discovery.k8s.io", "networking.k8s.io"} <= {
        group.name for group in client.ApisApi(api).get_api_versions().groups
    }


def test_a_lease_keeps_its_microseconds(api: client.ApiClient, place: str) -> None:
    leases = client.CoordinationV1Api(api)
    made = leases.create_namespaced_lease(
        place,
        {"metadata": {"name": "held"}, "spec": {"holderIdentity": "a", "renewTime": "2026-01-02T03:04:05.678901Z"}},
    )
    assert 678901 == made.spec.renew_time.microsecond
