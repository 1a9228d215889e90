"""Can clients make the metrics grow without bound?"""

from mooring.edges.http.server_metrics import MAX_SERIES, Labels, Metrics, labels


def test_what_requests_are_about_is_bounded() -> None:
    metrics = Metrics(lambda: 0, lambda: 0)
    metrics.answered(labels("GET", "/api/v1/pods"), 200, 0.1)
    for number in range(MAX_SERIES + 100):
        metrics.answered(labels("GET", f"/api/v1/spam-{number}"), 404, 0.1)
    metrics.answered(labels("GET", "/api/v1/pods"), 200, 0.1)
    lines = metrics.response().body.decode().splitlines()
    series = [line for line in lines if line.startswith("apiserver_request_total{")]
    assert len(series) <= MAX_SERIES + 10
    (pods,) = [line for line in series if 'resource="pods"' in line]
    (others,) = [line for line in series if ',resource="",' in line]
    assert ("2.0", "101.0") == (pods.split()[-1], others.split()[-1])


def test_what_follows_a_proxy_subresource_is_no_label() -> None:
    found = {labels("GET", f"/api/v1/namespaces/a/pods/p/proxy/{number}/x") for number in range(5)}
    assert {Labels("GET", "", "v1", "pods", "proxy", "resource")} == found
