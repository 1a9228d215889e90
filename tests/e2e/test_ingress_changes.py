"""Is every request answered while Ingresses change 20 times a second and all that controls is killed?"""

from bench._cluster import Cluster as BenchCluster
from bench.ingress_changes import Place

from local_cluster import Cluster
from mooring.edges.http import kubeconfig
from mooring.edges.http.client import ApiClient

CHANGES, RATE = 120, 20.0


async def test_changes_and_kill_9_lose_no_request(cluster: Cluster, ingress_proxies: None, namespace: str) -> None:
    async with ApiClient(kubeconfig.load(cluster.kubeconfig)) as api:
        place = Place(BenchCluster(cluster.name, cluster.data_dir), api, namespace)
        await place.prepare()
        with place.load() as load:
            await place.change(CHANGES, RATE)
            changing = load.taken()
            await place.kill()
            killed = load.taken()
    for tallies in (changing, killed):
        assert {name: {} for name in tallies} == {name: each["failures"] for name, each in tallies.items()}
        assert all(each["requests"] > 0 for each in tallies.values())
    assert all(each["certificates"] > 1 for name, each in changing.items() if name.endswith("https"))
