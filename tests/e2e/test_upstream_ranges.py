"""ServiceCIDRs and IPAddresses on a running cluster: upstream's service_cidrs.go."""

import secrets
from collections.abc import Iterator

import pytest
from scene import Document, Scene, scene, server, service, until, until_equal
from upstream import at_nodes, everywhere, inside, until_served

from local_cluster import Cluster
from mooring.app.connection import Refused

EXTRA = "203.0.113.0/24"
PARENT = {"group": "example.com", "resource": "gadgets", "namespace": "nowhere", "name": "gadget"}


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        yield made


def range_(name: str, *cidrs: str) -> Document:
    metadata = {"name": name, "labels": {"made-by": "tests"}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": metadata, "spec": {"cidrs": list(cidrs)}}


def readiness(here: Scene, name: str) -> tuple[str, str]:
    conditions = here.get("ServiceCIDR", name).get("status", {}).get("conditions") or [{}]
    return conditions[0].get("status", ""), conditions[0].get("reason", "")


def test_a_range_added_at_run_time_serves_and_gives_nothing_more_when_it_is_to_go(here: Scene) -> None:
    name, address = f"extra-{secrets.token_hex(3)}", "203.0.113.17"
    here.create(range_(name, EXTRA))
    until_equal(("True", ""), lambda: readiness(here, name))
    # Nobody's addresses in the new range are silent on every node, as in the first one.
    until_served(inside(here), [("203.0.113.99", 80)], {"silence"})
    here.serve(server("extra", "extra"), service("extra", "extra", type="NodePort", clusterIP=address))
    held = here.get("IPAddress", address)["spec"]["parentRef"]
    assert (held["resource"], held["namespace"], held["name"]) == ("services", here.namespace, "extra")
    until_served(inside(here), [(address, 80)], {"extra"})
    until_served(everywhere(here), at_nodes(here, "extra"), {"extra"})
    here.delete("ServiceCIDR", name)
    until_equal(("False", "Terminating"), lambda: readiness(here, name))
    with pytest.raises(Refused, match="is not in the valid range"):
        here.create(service("late", "extra", clusterIP="203.0.113.18"))
    until_served([here.one], [(address, 80)], {"extra"})
    here.delete("Service", "extra")
    until(lambda: here.gone("IPAddress", address))


def test_the_whole_life_of_a_range_and_the_one_that_the_cluster_began_with(here: Scene) -> None:
    default = here.get("ServiceCIDR", "kubernetes")
    assert (default["spec"]["cidrs"], readiness(here, "kubernetes")) == (["10.96.0.0/16"], ("True", ""))
    assert "kubernetes" in [each["metadata"]["name"] for each in here.items("ServiceCIDR")]
    name = f"life-{secrets.token_hex(3)}"
    here.create(range_(name, "198.51.100.0/24", "2001:db8:7::/112"))
    until_equal(("True", ""), lambda: readiness(here, name))
    condition = {
        "type": "tests",
        "status": "True",
        "reason": "Tested",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    conditions = here.get("ServiceCIDR", name)["status"]["conditions"]
    patched = here.patch("ServiceCIDR", f"{name}/status", {"status": {"conditions": [*conditions, condition]}})
    assert [each["type"] for each in patched["status"]["conditions"]] == ["Ready", "tests"]
    assert (
        here.patch("ServiceCIDR", name, {"metadata": {"labels": {"patched": "yes"}}})["metadata"]["labels"]["patched"] == "yes"
    )
    with pytest.raises(Refused, match="field is immutable"):
        here.patch("ServiceCIDR", name, {"spec": {"cidrs": ["198.51.100.0/25"]}})
    assert [each["metadata"]["name"] for each in here.items("ServiceCIDR", patched="yes")] == [name]
    # It goes ten seconds later, lest an address be given out at this very moment (tests/control/test_service_cidrs.py).
    here.delete("ServiceCIDR", name)
    assert "deletionTimestamp" in here.get("ServiceCIDR", name)["metadata"]


def test_the_whole_life_of_addresses_that_are_somebody_elses(here: Scene) -> None:
    label = {"made-by": here.namespace}
    names = ("192.168.1.1", "2001:db8::ffff")
    for name in names:
        metadata = {"name": name, "labels": label}
        here.create(
            {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": metadata, "spec": {"parentRef": PARENT}}
        )
    assert sorted(each["metadata"]["name"] for each in here.items("IPAddress", **label)) == sorted(names)
    patched = here.patch("IPAddress", names[0], {"metadata": {"annotations": {"patched": "true"}}})
    assert patched["metadata"]["annotations"] == {"patched": "true"}
    with pytest.raises(Refused, match="field is immutable"):
        here.patch("IPAddress", names[0], {"spec": {"parentRef": {**PARENT, "name": "other"}}})
    here.delete("IPAddress", names[0])
    assert [each["metadata"]["name"] for each in here.items("IPAddress", **label)] == [names[1]]
    here.delete_all("IPAddress", **label)
    assert here.items("IPAddress", **label) == []
