"""What does a node answer to a balancer that asks whether a Service is here?"""

from typing import Any

import pytest

from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.service import Service, service
from mooring.services.health_check import HealthCheck, health_check
from mooring.services.locality import Locality

HERE = Locality("node-1")
READY = {"ready": True, "serving": True, "terminating": False}
TERMINATING = {"ready": False, "serving": True, "terminating": True}
Entry = tuple[str, str, dict[str, bool]]


def a_service(labels: dict[str, str] | None = None, **spec: Any) -> Service:
    base = {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.1",
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 31000,
        "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}],
    }
    return service({"metadata": {"name": "web", "namespace": "default", "labels": labels}, "spec": {**base, **spec}})


def a_slice(*endpoints: Entry, family: str = "IPv4", ports: tuple[str, ...] = ("a", "b")) -> EndpointSlice:
    return endpoint_slice(
        {
            "metadata": {"name": "web-a", "namespace": "default"},
            "addressType": family,
            "ports": [{"name": name, "port": 8080, "protocol": "TCP"} for name in ports],
            "endpoints": [{"addresses": [a], "nodeName": n, "conditions": c} for a, n, c in endpoints],
        }
    )


@pytest.mark.parametrize(
    ("slices", "count"),
    [
        pytest.param([a_slice(("10.244.1.2", "node-1", READY), ("10.244.1.3", "node-1", READY))], 2, id="every ready one here"),
        pytest.param([a_slice(("10.244.1.2", "node-1", READY), ("10.244.2.2", "node-2", READY))], 1, id="not those elsewhere"),
        pytest.param([a_slice(("10.244.1.2", "node-1", TERMINATING))], 0, id="not one that terminates, though it gets traffic"),
        pytest.param([a_slice(("192.0.2.1", "", READY))], 0, id="not one of no node"),
        pytest.param([], 0, id="none without slices"),
        pytest.param(
            [a_slice(("10.244.1.2", "node-1", READY), ports=("a",)), a_slice(("10.244.1.2", "node-1", READY), ports=("b",))],
            1,
            id="one for a pod whose ports are in two slices",
        ),
        pytest.param(
            [a_slice(("10.244.1.2", "node-1", READY)), a_slice(("fd00:244::2", "node-1", READY), family="IPv6")],
            1,
            id="one for a pod with an address of each family",
        ),
        pytest.param(
            [a_slice(("10.244.1.2", "node-1", READY), ports=("other",))], 0, id="not one that serves none of its ports"
        ),
    ],
)
def test_the_endpoints_that_count_are(slices: list[EndpointSlice], count: int) -> None:
    assert HealthCheck("default", "web", 31000, count) == health_check(a_service(), slices, HERE)


@pytest.mark.parametrize(
    "asking_nothing",
    [
        pytest.param(a_service(externalTrafficPolicy="Cluster"), id="policy Cluster"),
        pytest.param(a_service(type="NodePort"), id="no load balancer"),
        pytest.param(a_service(healthCheckNodePort=0), id="no port yet"),
        pytest.param(a_service({"service.kubernetes.io/service-proxy-name": "other"}), id="left to another proxy"),
    ],
)
def test_nobody_is_answered_about(asking_nothing: Service) -> None:
    assert health_check(asking_nothing, [a_slice(("10.244.1.2", "node-1", READY))], HERE) is None
