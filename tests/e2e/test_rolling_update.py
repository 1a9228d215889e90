"""Does a rolling update of ten pods cost a request, behind any type and either traffic policy, from inside or outside?"""

from bench._cluster import Cluster as BenchCluster
from bench.rollout import SERVICES, rollout

from local_cluster import Cluster

RATE = 30.0
"""Requests/s to each Service from each place; `python -m bench rollout` asks for 200."""


def test_a_rolling_update_of_ten_pods_costs_no_request_behind_any_service(cluster: Cluster, namespace: str) -> None:
    report = rollout(BenchCluster(cluster.name, cluster.data_dir), RATE, updates=1, namespace=namespace)
    assert report.inside.keys() == SERVICES.keys()
    assert report.outside.keys() == {name for name, spec in SERVICES.items() if spec["type"] != "ClusterIP"}
    for place in (report.inside, report.outside):
        assert {name: {} for name in place} == {name: tally["failures"] for name, tally in place.items()}
        assert all(tally["requests"] > RATE for tally in place.values())
    spread = [len(report.inside[name]["pods"]) for name in SERVICES if name not in ("affinity", "cluster-ip-local")]
    assert min(spread) > 10, "requests reach pods of both versions"
