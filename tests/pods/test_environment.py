"""Which variables and files a container gets."""

import base64
from typing import Any

import pytest
from pod_builders import a_pod, container

from mooring.pods.environment import environment, expand, service_variables, words
from mooring.pods.quantity import parse
from mooring.pods.sources import Facts, Missing, references
from mooring.pods.volumes import Token, backing, files, tokens

SECRET = {"data": {"password": base64.b64encode(b"pa\xc3\x9f").decode()}}
FACTS = Facts(
    node_name="a",
    host_ips=("172.30.0.11", "fd00::b"),
    pod_ips=("10.244.0.5", "fd00::5"),
    objects={("ConfigMap", "conf"): {"data": {"a": "1", "b": "2"}}, ("Secret", "pass"): SECRET, ("ConfigMap", "gone"): None},
    allocatable={"cpu": "2", "memory": "4Gi"},
)
EXPANSIONS = {
    "a known name": ("$(A)", "1"),
    "an unknown name stays": ("$(X)", "$(X)"),
    "two dollars are one": ("$$(A)", "$(A)"),
    "a lone dollar stays": ("a$ $b $", "a$ $b $"),
    "an open bracket stays": ("$(A", "$(A"),
    "in the middle": ("x$(A)y$(A)", "x1y1"),
    "a value is not expanded again": ("$(B)", "$(A)"),
}


@pytest.mark.parametrize(("text", "wanted"), EXPANSIONS.values(), ids=EXPANSIONS)
def test_expansion(text: str, wanted: str) -> None:
    assert wanted == expand(text, {"A": "1", "B": "$(A)"})


def test_variables_that_double_each_other_end_where_the_kernel_does() -> None:
    doubling = [{"name": "V0", "value": "x" * 1000}] + [{"name": f"V{n + 1}", "value": f"$(V{n})" * 2} for n in range(40)]
    many = [{"name": "V", "value": "x" * 50_000}] + [{"name": f"V{n}", "value": "$(V)"} for n in range(200)]
    for env in (doubling, many):
        pod = a_pod(container(env=env))
        with pytest.raises(Missing, match="argument list too long"):
            environment(pod, pod.containers[0], FACTS)
    with pytest.raises(Missing, match="argument list too long"):
        words(["$(A)"] * 10, {"A": "x" * 10**6})


def reference(**value_from: Any) -> list[dict[str, Any]]:
    return [{"name": "V", "valueFrom": value_from}]


VALUES = {
    "a field": (reference(fieldRef={"fieldPath": "metadata.name"}), "web"),
    "a label": (reference(fieldRef={"fieldPath": "metadata.labels['app.kubernetes.io/name']"}), "shop"),
    "the address": (reference(fieldRef={"fieldPath": "status.podIP"}), "10.244.0.5"),
    "all addresses": (reference(fieldRef={"fieldPath": "status.podIPs"}), "10.244.0.5,fd00::5"),
    "the node": (reference(fieldRef={"fieldPath": "spec.nodeName"}), "a"),
    "a limit in millicores": (reference(resourceFieldRef={"resource": "limits.cpu", "divisor": "1m"}), "250"),
    "a limit rounded up": (reference(resourceFieldRef={"resource": "limits.cpu"}), "1"),
    "a limit that is not set is the node's": (reference(resourceFieldRef={"resource": "limits.memory", "divisor": "1Gi"}), "4"),
    "a key of a ConfigMap": (reference(configMapKeyRef={"name": "conf", "key": "b"}), "2"),
    "a key of a Secret": (reference(secretKeyRef={"name": "pass", "key": "password"}), "paß"),
    "an optional key that is not there": (reference(configMapKeyRef={"name": "conf", "key": "x", "optional": True}), None),
    "an earlier variable": ([{"name": "A", "value": "1"}, {"name": "V", "value": "$(A)2"}], "12"),
    "a service's variable": ([{"name": "V", "value": "$(KUBERNETES_SERVICE_HOST)"}], "10.96.0.1"),
}
MASTER = {
    "metadata": {"name": "kubernetes", "namespace": "default"},
    "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 443}]},
}


@pytest.mark.parametrize(("env", "wanted"), VALUES.values(), ids=VALUES)
def test_values(env: list[dict[str, Any]], wanted: str | None) -> None:
    pod = a_pod(container(env=env, resources={"limits": {"cpu": "250m"}}), meta={"labels": {"app.kubernetes.io/name": "shop"}})
    facts = Facts("a", FACTS.host_ips, FACTS.pod_ips, FACTS.objects, (MASTER,), FACTS.allocatable)
    assert wanted == environment(pod, pod.spec.containers[0], facts).get("V")


MISSING = {
    "a ConfigMap": ({"env": reference(configMapKeyRef={"name": "gone", "key": "x"})}, 'configmap "gone" not found'),
    "a Secret": ({"envFrom": [{"secretRef": {"name": "none"}}]}, 'secret "none" not found'),
    "a key": ({"env": reference(secretKeyRef={"name": "pass", "key": "x"})}, "couldn't find key x in Secret default/pass"),
    "a container": (
        {"env": reference(resourceFieldRef={"containerName": "other", "resource": "limits.cpu"})}, "container other not found"),
    "a field": ({"env": reference(fieldRef={"fieldPath": "spec.color"})}, "field label not supported: spec.color"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "text"), MISSING.values(), ids=MISSING)
def test_what_is_missing_is_named(fields: dict[str, Any], text: str) -> None:
    pod = a_pod(container(**fields))
    with pytest.raises(Missing) as missing:
        environment(pod, pod.spec.containers[0], FACTS)
    assert text == str(missing.value)


def test_whole_objects_with_a_prefix_and_env_above_them() -> None:
    pod = a_pod(container(envFrom=[{"prefix": "C_", "configMapRef": {"name": "conf"}}], env=[{"name": "C_a", "value": "mine"}]))
    assert environment(pod, pod.spec.containers[0], FACTS) == {"C_a": "mine", "C_b": "2"}


def test_service_variables_as_docker_links_had_them() -> None:
    service = {
        "metadata": {"name": "my-db", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]},
    }
    headless = {"metadata": {"name": "h", "namespace": "default"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}
    wanted = {
        "MY_DB_SERVICE_HOST": "10.96.0.9",
        "MY_DB_SERVICE_PORT": "5432",
        "MY_DB_SERVICE_PORT_SQL": "5432",
        "MY_DB_PORT": "tcp://10.96.0.9:5432",
        "MY_DB_PORT_5432_TCP": "tcp://10.96.0.9:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_ADDR": "10.96.0.9",
    }
    assert wanted == service_variables([service, headless], "default", True)
    assert service_variables([service], "default", False) == {}
    assert service_variables([service], "other", True) == {}
    assert service_variables([MASTER], "other", False)["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"


FILES = {
    "a ConfigMap, all keys": ({"configMap": {"name": "conf"}}, {"a": (b"1", 0o644), "b": (b"2", 0o644)}),
    "chosen keys with modes": (
        {"configMap": {"name": "conf", "defaultMode": 0o400, "items": [
            {"key": "a", "path": "x/y"}, {"key": "b", "path": "b", "mode": 0o755}]}},
        {"x/y": (b"1", 0o400), "b": (b"2", 0o755)}),
    "a Secret": ({"secret": {"secretName": "pass"}}, {"password": ("paß".encode(), 0o644)}),
    "an optional object that is not there": ({"configMap": {"name": "gone", "optional": True}}, {}),
    "the downward API": (
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"labels": (b'a="1"\nb="x\\"y"', 0o644)}),
    "several sources and a token": (
        {"projected": {"defaultMode": 0o440, "sources": [
            {"configMap": {"name": "conf", "items": [{"key": "a", "path": "a"}]}},
            {"serviceAccountToken": {"path": "token"}}]}},
        {"a": (b"1", 0o440), "token": (b"t0ken", 0o440)}),
}  # fmt: skip


@pytest.mark.parametrize(("volume", "wanted"), FILES.values(), ids=FILES)
def test_files(volume: dict[str, Any], wanted: dict[str, tuple[bytes, int]]) -> None:
    named = {"name": "v", **volume}
    pod = a_pod(volumes=[named], meta={"labels": {"b": 'x"y', "a": "1"}})
    found = files(pod, named, FACTS, {Token("v", "token", "", 3600): "t0ken"})
    assert wanted == {path: (file.data, file.mode) for path, file in found.items()}


def test_a_missing_key_of_a_volume_is_named() -> None:
    volume = {"name": "v", "configMap": {"name": "conf", "items": [{"key": "x", "path": "x"}]}}
    with pytest.raises(Missing, match="configmap references non-existent config key: x"):
        files(a_pod(volumes=[volume]), volume, FACTS, {})


BACKINGS = {
    "an empty folder": ({"emptyDir": {}}, ("disk", 0)),
    "memory with a size": ({"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}, ("memory", 1 << 20)),
    "no source at all is an empty folder": ({}, ("disk", 0)),
    "files": ({"projected": {"sources": []}}, ("files", 0)),
    "the host's": ({"hostPath": {"path": "/srv"}}, ("host", 0)),
}


@pytest.mark.parametrize(("volume", "wanted"), BACKINGS.values(), ids=BACKINGS)
def test_backing(volume: dict[str, Any], wanted: tuple[str, int]) -> None:
    found = backing(a_pod(), {"name": "v", **volume})
    assert wanted == (found.backing, found.size)


def test_a_volume_of_an_unknown_kind_says_which_are_known() -> None:
    with pytest.raises(Missing, match='no volume plugin matched "nfs"; served are emptyDir'):
        backing(a_pod(), {"name": "v", "nfs": {"server": "x"}})


def test_references_and_tokens() -> None:
    projected = {"sources": [{"secret": {"name": "s2"}}, {"serviceAccountToken": {"path": "t", "audience": "vault"}}]}
    pod = a_pod(
        container(envFrom=[{"configMapRef": {"name": "c1"}}], env=reference(secretKeyRef={"name": "s1", "key": "k"})),
        volumes=[{"name": "v", "configMap": {"name": "c2"}}, {"name": "p", "projected": projected}],
    )
    assert {("ConfigMap", "c1"), ("ConfigMap", "c2"), ("Secret", "s1"), ("Secret", "s2")} == references(pod)
    assert (Token("p", "t", "vault", 3600),) == tokens(pod)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("100m", "0.1"), ("1.5Gi", str(1.5 * 2**30)), ("2k", "2000"), ("12e6", "12000000"), ("3E", "3e18"), (4, "4"), ("0", "0")],
)
def test_quantities(text: str | int, wanted: str) -> None:
    assert parse(wanted) == parse(text)


def test_a_bad_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="Quantity"):
        parse("1.5 apples")
