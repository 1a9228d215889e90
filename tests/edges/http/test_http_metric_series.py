"""Can clients make the metrics grow without bound?"""

from mooring.apiserver.paths import resource_target
from mooring.apiserver.registry import BUILT_IN
from mooring.edges.http.server_metrics import MAX_SERIES, Labels, Metrics, labels


def about(path: str) -> Labels:
    return labels("GET", resource_target(path, BUILT_IN))


def test_what_requests_are_about_is_bounded() -> None:
    metrics = Metrics(lambda: 0, lambda: 0)
    metrics.answered(about("/api/v1/pods"), 200, 0.1)
    for number in range(MAX_SERIES + 100):
        metrics.answered(Labels("GET", resource=f"kind-{number}"), 404, 0.1)
    metrics.answered(about("/api/v1/pods"), 200, 0.1)
    lines = metrics.response().body.decode().splitlines()
    series = [line for line in lines if line.startswith("apiserver_request_total{")]
    assert len(series) <= MAX_SERIES + 10
    (pods,) = [line for line in series if 'resource="pods"' in line]
    (others,) = [line for line in series if ',resource="",' in line]
    assert ("2.0", "101.0") == (pods.split()[-1], others.split()[-1])


def test_what_clients_make_up_is_no_label() -> None:
    """Nor kept: a path may have 64 KiB, and each set of labels is told of in some thirty lines."""
    assert {Labels("GET")} == {about(f"/api/v1/{'x' * 60_000}{number}") for number in range(5)}
    found = {about(f"/api/v1/namespaces/a/pods/p/proxy/{number}/x") for number in range(5)}
    assert {Labels("GET", "", "v1", "pods", "proxy", "resource")} == found
