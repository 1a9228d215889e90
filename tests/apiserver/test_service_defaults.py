"""What a Service means where its author said nothing, and what a PUT that omits server-chosen fields keeps."""

import pytest
from direct import DUAL_STACK, Direct, Refused, service

from mooring.model.kinds import SERVICE


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(
            {},
            {
                "type": "ClusterIP",
                "sessionAffinity": "None",
                "internalTrafficPolicy": "Cluster",
                "ipFamilyPolicy": "SingleStack",
                "ipFamilies": ["IPv4"],
            },
            id="a bare Service",
        ),
        pytest.param({"type": "NodePort"}, {"externalTrafficPolicy": "Cluster"}, id="a NodePort lets everyone in"),
        pytest.param({"externalIPs": ["192.0.2.1"]}, {"externalTrafficPolicy": "Cluster"}, id="external IPs make it reachable"),
        pytest.param({"type": "LoadBalancer"}, {"allocateLoadBalancerNodePorts": True}, id="a LoadBalancer has node ports"),
        pytest.param(
            {"sessionAffinity": "ClientIP"},
            {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}},
            id="affinity lasts three hours",
        ),
        pytest.param(
            {"ports": [{"port": 53, "targetPort": "dns"}]},
            {"ports": [{"port": 53, "protocol": "TCP", "targetPort": "dns"}]},
            id="a named target port stays",
        ),
        pytest.param(
            {"ports": [{"port": 53}]}, {"ports": [{"port": 53, "protocol": "TCP", "targetPort": 53}]}, id="target port is port"
        ),
        pytest.param({"clusterIP": "None"}, {"clusterIPs": ["None"], "ipFamilies": ["IPv4"]}, id="headless"),
        pytest.param(
            {"clusterIP": "None", "selector": None},
            {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"},
            id="headless without selector is of both families even on a single-stack cluster",
        ),
        pytest.param(
            {"ipFamilyPolicy": "PreferDualStack"},
            {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "PreferDualStack"},
            id="PreferDualStack is content with one family",
        ),
    ],
)
def test_defaults_on_a_single_stack_cluster(spec, expected):
    made = Direct().create(SERVICE, service(**spec))["spec"]
    assert expected == {name: made[name] for name in expected}


def test_external_name_gets_no_address_and_no_families():
    made = Direct().create(SERVICE, service(type="ExternalName", externalName="a.example.com.", ports=None))["spec"]
    assert {
        "type": "ExternalName",
        "externalName": "a.example.com.",
        "sessionAffinity": "None",
        "selector": {"app": "web"},
    } == made


@pytest.mark.parametrize(
    ("spec", "families"),
    [
        pytest.param({}, ["IPv4"], id="single stack by default"),
        pytest.param({"ipFamilies": ["IPv6"]}, ["IPv6"], id="the other family alone"),
        pytest.param({"ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"], id="both when preferred"),
        pytest.param(
            {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, ["IPv6", "IPv4"], id="the order given is kept"
        ),
        pytest.param(
            {"ipFamilyPolicy": "RequireDualStack", "clusterIP": "fd00:96::77"},
            ["IPv6", "IPv4"],
            id="the family follows the address",
        ),
    ],
)
def test_families_on_a_dual_stack_cluster(spec, families):
    made = Direct(DUAL_STACK).create(SERVICE, service(**spec))["spec"]
    versions = ["IPv6" if ":" in address else "IPv4" for address in made["clusterIPs"]]
    assert (families, families, made["clusterIPs"][0]) == (made["ipFamilies"], versions, made["clusterIP"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ipFamilyPolicy": "RequireDualStack"}, "this cluster is not configured for dual-stack services"),
        ({"ipFamilies": ["IPv6"]}, 'Invalid value: "IPv6": not configured on this cluster'),
        ({"clusterIP": "fd00:96::1"}, "IPv6 is not configured on this cluster"),
    ],
)
def test_a_family_the_cluster_does_not_have_is_refused(spec, message):
    with pytest.raises(Refused, match=message):
        Direct().create(SERVICE, service(**spec))


class TestReplaceWithoutReading:
    """A PUT that omits what the server chose keeps it: tools do so."""

    def test_the_cluster_ip_stays(self):
        api = Direct()
        made = api.create(SERVICE, service())
        again = api.update(SERVICE, service())
        assert made["spec"] == again["spec"]

    def test_node_ports_stay_by_port_name(self):
        api = Direct()
        ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
        made = api.create(SERVICE, service(type="NodePort", ports=ports))["spec"]["ports"]
        again = api.update(SERVICE, service(type="NodePort", ports=ports[::-1]))["spec"]["ports"]
        assert {port["name"]: port["nodePort"] for port in made} == {port["name"]: port["nodePort"] for port in again}

    def test_a_node_port_given_to_another_port_is_not_patched_in_twice(self):
        api = Direct()
        ports = [{"name": "a", "port": 80, "nodePort": 30100}, {"name": "b", "port": 81, "nodePort": 30101}]
        api.create(SERVICE, service(type="NodePort", ports=ports))
        moved = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30100}]
        again = api.update(SERVICE, service(type="NodePort", ports=moved))["spec"]["ports"]
        assert 30100 == again[1]["nodePort"] != again[0]["nodePort"]
        assert {30100, again[0]["nodePort"]} == set(api.node_ports())

    def test_the_health_check_port_stays_and_may_not_change(self):
        api = Direct()
        local = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
        made = api.create(SERVICE, service(**local))
        assert made["spec"]["healthCheckNodePort"] == api.update(SERVICE, service(**local))["spec"]["healthCheckNodePort"]
        with pytest.raises(Refused, match="field is immutable"):
            api.update(SERVICE, service(**local, healthCheckNodePort=31999))

    def test_the_primary_address_may_not_change(self):
        api = Direct()
        api.create(SERVICE, service(clusterIP="10.96.0.77"))
        with pytest.raises(Refused, match="may not change once set"):
            api.patch(SERVICE, "web", {"spec": {"clusterIP": "10.96.0.78"}})
        with pytest.raises(Refused, match="primary clusterIP can not be unset"):
            api.update(SERVICE, service(clusterIP="10.96.0.78"))

    @pytest.mark.parametrize(
        ("before", "after"), [({}, {"clusterIP": "None"}), ({"clusterIP": "None"}, {"clusterIP": "10.96.0.9"})]
    )
    def test_headless_is_for_life(self, before, after):
        api = Direct()
        api.create(SERVICE, service(**before))
        with pytest.raises(Refused, match="may not change once set"):
            api.patch(SERVICE, "web", {"spec": after})


class TestDualStackChanges:
    def test_an_upgrade_adds_a_secondary_address(self):
        api = Direct(DUAL_STACK)
        first = api.create(SERVICE, service())["spec"]["clusterIP"]
        made = api.patch(SERVICE, "web", {"spec": {"ipFamilyPolicy": "PreferDualStack"}})["spec"]
        assert (first, ["IPv4", "IPv6"]) == (made["clusterIPs"][0], made["ipFamilies"])
        assert set(made["clusterIPs"]) == set(api.addresses())

    def test_a_downgrade_releases_the_secondary_address(self):
        api = Direct(DUAL_STACK)
        first = api.create(SERVICE, service(ipFamilyPolicy="RequireDualStack"))["spec"]["clusterIP"]
        made = api.patch(SERVICE, "web", {"spec": {"ipFamilyPolicy": "SingleStack"}})["spec"]
        assert ([first], ["IPv4"], {first: "web"}) == (made["clusterIPs"], made["ipFamilies"], api.addresses())

    def test_an_address_is_not_dropped_without_saying_single_stack(self):
        api = Direct(DUAL_STACK)
        made = api.create(SERVICE, service(ipFamilyPolicy="RequireDualStack"))
        made["spec"]["clusterIPs"] = made["spec"]["clusterIPs"][:1]
        with pytest.raises(Refused, match="must be 'SingleStack' to release the secondary cluster IP"):
            api.update(SERVICE, made)

    def test_nothing_is_upgraded_because_the_cluster_was(self):
        api = Direct()
        api.create(SERVICE, service(ipFamilyPolicy="PreferDualStack"))
        wider = Direct(DUAL_STACK)
        wider.state = api.state
        made = wider.patch(SERVICE, "web", {"metadata": {"labels": {"a": "b"}}})["spec"]
        assert (["IPv4"], 1) == (made["ipFamilies"], len(made["clusterIPs"]))
