"""kubernetes_service, service_accounts, root_ca: what every cluster and every namespace has."""

import pytest
from workloads import change, namespace

from mooring.control.reconciler import Apply
from mooring.control.reconcilers.kubernetes_service import KubernetesService
from mooring.control.reconcilers.root_ca import RootCa
from mooring.control.reconcilers.service_accounts import ServiceAccounts
from mooring.model.kinds import CONFIG_MAP, ENDPOINT_SLICE, ENDPOINTS, NAMESPACE, SERVICE, SERVICE_ACCOUNT
from mooring.testing.world import MemoryWorld, settle

API, DNS = ("default", "kubernetes"), ("kube-system", "kube-dns")


def bootstrap(**options) -> tuple[KubernetesService, MemoryWorld]:
    given = {"service_cidrs": ("10.96.0.0/16",), "advertised": ("172.30.0.1",), **options}
    reconciler, world = KubernetesService(**given), MemoryWorld()
    settle(reconciler, world)
    return reconciler, world


def test_an_empty_cluster_gets_its_four_namespaces():
    _, world = bootstrap()
    assert {"default", "kube-system", "kube-public", "kube-node-lease"} == {
        each["metadata"]["name"] for each in world.list(NAMESPACE)
    }


def test_the_service_of_the_api_server():
    _, world = bootstrap(port=7443)
    held = world.get(SERVICE, *API)
    assert {"component": "apiserver", "provider": "kubernetes"} == held["metadata"]["labels"]
    assert ("10.96.0.1", ["10.96.0.1"], ["IPv4"]) == tuple(held["spec"][f] for f in ("clusterIP", "clusterIPs", "ipFamilies"))
    assert [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 7443}] == held["spec"]["ports"]


def test_its_endpoints_are_the_advertised_addresses():
    _, world = bootstrap(advertised=("172.30.0.2", "172.30.0.1"))
    (subset,) = world.get(ENDPOINTS, *API)["subsets"]
    assert [{"ip": "172.30.0.1"}, {"ip": "172.30.0.2"}] == subset["addresses"]
    assert [{"name": "https", "port": 6443, "protocol": "TCP"}] == subset["ports"]
    held = world.get(ENDPOINT_SLICE, *API)
    assert "kubernetes" == held["metadata"]["labels"]["kubernetes.io/service-name"]
    assert ("IPv4", ["172.30.0.1"]) == (held["addressType"], held["endpoints"][0]["addresses"])
    assert {"ready": True} == held["endpoints"][0]["conditions"]
    assert "true" == world.get(ENDPOINTS, *API)["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"]


def test_ipv6():
    _, world = bootstrap(service_cidrs=("fd00:96::/112",), advertised=("fd00:172::1",))
    assert ("fd00:96::1", ["IPv6"]) == tuple(world.get(SERVICE, *API)["spec"][f] for f in ("clusterIP", "ipFamilies"))
    assert "IPv6" == world.get(ENDPOINT_SLICE, *API)["addressType"]
    assert "fd00:96::a" == world.get(SERVICE, *DNS)["spec"]["clusterIP"]


def test_the_service_of_the_cluster_dns():
    _, world = bootstrap()
    held = world.get(SERVICE, *DNS)
    assert {
        "k8s-app": "kube-dns",
        "kubernetes.io/cluster-service": "true",
        "kubernetes.io/name": "CoreDNS",
        "service.kubernetes.io/service-proxy-name": "mooring-dns",
    } == held["metadata"]["labels"]
    assert "10.96.0.10" == held["spec"]["clusterIP"]
    assert [("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("metrics", "TCP", 9153)] == [
        (port["name"], port["protocol"], port["port"]) for port in held["spec"]["ports"]
    ]
    assert "selector" not in held["spec"]


def test_dual_stack_gives_the_dns_two_addresses():
    _, world = bootstrap(service_cidrs=("10.96.0.0/16", "fd00:96::/112"))
    held = world.get(SERVICE, *DNS)["spec"]
    assert (["10.96.0.10", "fd00:96::a"], "RequireDualStack") == (held["clusterIPs"], held["ipFamilyPolicy"])


@pytest.mark.parametrize(("kind", "key"), [(SERVICE, API), (ENDPOINTS, API), (ENDPOINT_SLICE, API), (SERVICE, DNS)])
def test_what_is_deleted_comes_back(kind, key):
    reconciler, world = bootstrap()
    world.remove(kind, *key)
    settle(reconciler, world)
    assert world.get(kind, *key)


def test_what_is_bent_is_put_right_and_what_others_add_stays():
    reconciler, world = bootstrap()
    change(world, SERVICE, "kubernetes", spec={"ports": [{"port": 1}]}, metadata={"annotations": {"note": "mine"}})
    settle(reconciler, world)
    held = world.get(SERVICE, *API)
    assert 443 == held["spec"]["ports"][0]["port"]
    assert {"note": "mine"} == held["metadata"]["annotations"]


def test_every_namespace_has_a_service_account_and_the_root_certificate():
    world = MemoryWorld([namespace("default"), namespace("shop")])
    settle([ServiceAccounts(), RootCa("PEM")], world)
    for name in ("default", "shop"):
        assert world.get(SERVICE_ACCOUNT, name, "default")
        held = world.get(CONFIG_MAP, name, "kube-root-ca.crt")
        assert {"ca.crt": "PEM"} == held["data"]
        assert held["metadata"]["annotations"]["kubernetes.io/description"].startswith("Contains a CA bundle")


def test_they_come_back_and_the_certificate_is_put_right():
    world = MemoryWorld([namespace("default")])
    both = [ServiceAccounts(), RootCa("PEM")]
    settle(both, world)
    world.remove(SERVICE_ACCOUNT, "default", "default")
    change(world, CONFIG_MAP, "kube-root-ca.crt", data={"ca.crt": "forged", "more": "x"})
    settle(both, world)
    assert world.get(SERVICE_ACCOUNT, "default", "default")
    assert {"ca.crt": "PEM"} == world.get(CONFIG_MAP, "default", "kube-root-ca.crt")["data"]


def test_nothing_is_put_into_a_namespace_that_is_going():
    world = MemoryWorld([namespace("default")])
    world.write(Apply("delete", NAMESPACE, "", "default"))
    settle([ServiceAccounts(), RootCa("PEM"), KubernetesService(("10.96.0.0/16",), ("172.30.0.1",))], world)
    assert world.get(SERVICE_ACCOUNT, "default", "default") is None
    assert world.get(SERVICE, *API) is None
