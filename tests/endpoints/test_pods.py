"""What a pod says about serving."""

from typing import Any

import pytest

from mooring.endpoints.pods import address_of, pod_facts, resolved_ports, selects, target_number
from mooring.testing.builders import Document, pod


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        pytest.param({"a": "1"}, {"a": "1", "b": "2"}, True, id="more labels than asked for"),
        pytest.param({"a": "1", "b": "2"}, {"a": "1"}, False, id="a label is missing"),
        pytest.param({"a": "1"}, {"a": "2"}, False, id="another value"),
        pytest.param({}, {"a": "1"}, False, id="an empty selector chooses nothing"),
        pytest.param(None, {"a": "1"}, False, id="no selector chooses nothing"),
        pytest.param({"a": "1"}, None, False, id="no labels"),
    ],
)
def test_a_selector_chooses(selector: Any, labels: Any, expected: bool) -> None:
    assert selects(selector, labels) is expected


@pytest.mark.parametrize(
    ("status", "family", "expected"),
    [
        pytest.param({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}, "IPv6", "fd00::1", id="the second family"),
        pytest.param({"podIPs": [{"ip": "10.0.0.1"}]}, "IPv6", "", id="no address of the family"),
        pytest.param({"podIP": "10.0.0.1"}, "IPv4", "10.0.0.1", id="only the old singular field"),
        pytest.param({}, "IPv4", "", id="no address yet"),
    ],
)
def test_a_pods_address_of_a_family(status: Document, family: str, expected: str) -> None:
    assert address_of(pod_facts({"metadata": {"name": "p"}, "status": status}), family) == expected


def container(name: str, *ports: tuple[str, str, int], **more: Any) -> Document:
    return {"name": name, "ports": [{"name": n, "protocol": p, "containerPort": c} for n, p, c in ports], **more}


SPEC = {
    "containers": [container("main", ("http", "TCP", 8080), ("dns", "UDP", 53)), container("other", ("http", "TCP", 9999))],
    "initContainers": [
        container("sidecar", ("metrics", "TCP", 9090), restartPolicy="Always"),
        container("once", ("setup", "TCP", 1)),
    ],
}


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        pytest.param({"port": 80, "targetPort": 8080}, 8080, id="a number is itself"),
        pytest.param({"port": 80}, 80, id="no target is the port itself"),
        pytest.param({"port": 80, "targetPort": "http"}, 8080, id="a name is the first container's that has it"),
        pytest.param({"port": 53, "targetPort": "dns", "protocol": "UDP"}, 53, id="a name of the same protocol"),
        pytest.param({"port": 53, "targetPort": "dns"}, 0, id="a name of another protocol is none"),
        pytest.param({"port": 90, "targetPort": "metrics"}, 9090, id="a sidecar's port"),
        pytest.param({"port": 1, "targetPort": "setup"}, 0, id="a plain init container's port is none"),
    ],
)
def test_a_target_port_on_a_pod(port: Document, expected: int) -> None:
    assert target_number(port, {"spec": SPEC}) == expected


def test_ports_that_a_pod_does_not_have_are_left_out() -> None:
    ports = [
        {"name": "web", "port": 80, "targetPort": "http", "appProtocol": "kubernetes.io/h2c"},
        {"name": "x", "port": 81, "targetPort": "y"},
    ]
    resolved = resolved_ports({"spec": {"ports": ports}}, {"spec": SPEC})
    assert resolved == ({"name": "web", "protocol": "TCP", "port": 8080, "appProtocol": "kubernetes.io/h2c"},)


@pytest.mark.parametrize(
    ("change", "equal"),
    [
        pytest.param({"status": {"hostIP": "10.9.9.9"}}, True, id="a host address"),
        pytest.param({"metadata": {"annotations": {"a": "b"}}}, True, id="an annotation"),
        pytest.param({"metadata": {"deletionTimestamp": "2026-01-01T00:00:01Z"}}, False, id="a deletion"),
        pytest.param({"status": {"phase": "Succeeded"}}, False, id="its end"),
        pytest.param({"status": {"podIPs": [{"ip": "10.0.0.2"}]}}, False, id="its address"),
        pytest.param({"spec": {"subdomain": "web"}}, False, id="its subdomain"),
    ],
)
def test_facts_tell_which_changes_matter(change: Document, equal: bool) -> None:
    before = pod("p", "10.0.0.1")
    after = {field: {**before[field], **change.get(field, {})} for field in ("metadata", "spec", "status")}
    assert (pod_facts(before) == pod_facts(after)) is equal
