"""Objects of the API from their first write to their last, what a watcher sees of it, and names: upstream's service.go 1 and
43, dns.go 14 and HostNetwork 3 on a running cluster.
"""

import json
from collections.abc import Iterator

import pytest
from scene import Scene, client, scene, server, service, until_equal

from local_cluster import Cluster


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        yield made


def test_the_api_server_has_a_service_of_its_own(here: Scene) -> None:
    found = json.loads(here.cluster.kubectl("get", "service", "kubernetes", "-n", "default", "-o", "json").stdout)
    assert (found["spec"]["clusterIP"], found["spec"]["ports"][0]["port"]) == ("10.96.0.1", 443)
    told = here.cluster.in_pod("two", "curl", "-sSk", "https://kubernetes.default/version", namespace=here.namespace)
    assert json.loads(told)["gitVersion"].startswith("v1.")


def test_a_service_whose_name_starts_with_a_digit_is_reached_by_it(here: Scene) -> None:
    [address] = here.serve(server("digit", "digit"), service("1kubernetes", "digit"))
    until_equal([address], lambda: here.one.resolve("1kubernetes", 4))
    until_equal("digit", lambda: here.two.http("1kubernetes"))


def test_a_pod_on_the_host_network_has_the_nodes_host_name_whatever_it_asks_for(here: Scene) -> None:
    here.serve(client("host", "node-1", hostNetwork=True, hostname="ignored"))
    assert here.file("host", "/proc/sys/kernel/hostname") == "node-1\n"


def test_endpoints_from_their_creation_to_their_collections_end(here: Scene) -> None:
    labels = {"life": "endpoints"}
    subset = {"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    metadata = {"name": "life", "labels": labels}
    [made] = here.create({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": [subset]})
    assert [each["metadata"]["name"] for each in here.items("Endpoints", **labels)] == ["life"]
    moved = [{"addresses": [{"ip": "10.0.0.25"}], "ports": [{"name": "http-test", "port": 8080, "protocol": "TCP"}]}]
    replaced = {**here.get("Endpoints", "life"), "subsets": moved}
    here.cluster.kubectl("replace", "-n", here.namespace, "-f", "-", stdin=json.dumps(replaced))
    assert here.get("Endpoints", "life")["subsets"] == moved
    patch = json.dumps({"metadata": {"labels": {"patched": "yes"}}, "subsets": [subset]})
    here.cluster.kubectl("patch", "-n", here.namespace, "endpoints", "life", "--type=strategic", "-p", patch)
    found = here.get("Endpoints", "life")
    assert (found["metadata"]["labels"], found["subsets"]) == ({**labels, "patched": "yes"}, [subset])
    here.delete_all("Endpoints", **labels)
    assert here.items("Endpoints", **labels) == []
    since = made["metadata"]["resourceVersion"]
    query = f"watch=1&resourceVersion={since}&labelSelector=life=endpoints&timeoutSeconds=1"
    events = here.cluster.kubectl("get", "--raw", f"/api/v1/namespaces/{here.namespace}/endpoints?{query}").stdout
    assert [json.loads(line)["type"] for line in events.splitlines()] == ["MODIFIED", "MODIFIED", "DELETED"]
