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

    def test_node_ports_stay_though_the_type_becomes_another_that_has_them(self):
        api = Direct()
        made = api.create(SERVICE, service(type="NodePort"))["spec"]["ports"]
        assert made == api.update(SERVICE, service(type="LoadBalancer"))["spec"]["ports"]

    def test_a_balancer_without_node_ports_keeps_none_that_the_put_leaves_out(self):
        api = Direct()
        api.create(SERVICE, service(type="LoadBalancer"))
        made = api.update(SERVICE, service(type="LoadBalancer", allocateLoadBalancerNodePorts=False))["spec"]["ports"]
        assert (False, {}) == ("nodePort" in made[0], api.node_ports())

    def test_families_and_their_policy_stay(self):
        api = Direct(DUAL_STACK)
        made = api.create(SERVICE, service(ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv6", "IPv4"]))
        assert made["spec"] == api.update(SERVICE, service())["spec"]
        assert set(made["spec"]["clusterIPs"]) == set(api.addresses())

    def test_what_was_left_to_the_server_before_is_as_it_was(self):
        api = Direct()
        wish = service(type="LoadBalancer", sessionAffinity="ClientIP")
        assert api.create(SERVICE, wish)["spec"] == api.update(SERVICE, wish)["spec"]

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

    @pytest.mark.parametrize("address", ["fd00:96::77", ""])
    def test_an_upgrade_may_ask_for_its_address(self, address):
        api = Direct(DUAL_STACK)
        made = api.create(SERVICE, service())
        first = made["spec"]["clusterIP"]
        made["spec"]["ipFamilyPolicy"] = "RequireDualStack"
        made["spec"]["ipFamilies"].append("IPv6")
        made["spec"]["clusterIPs"] += [address] if address else []
        new = api.update(SERVICE, made)["spec"]["clusterIPs"]
        assert (first, address or new[1]) == tuple(new)
        assert set(new) == set(api.addresses())

    def test_a_singular_alone_fills_the_list(self):
        made = Direct().create(SERVICE, service(clusterIP="10.96.0.77"))["spec"]
        assert ["10.96.0.77"] == made["clusterIPs"]

    def test_cleared_addresses_are_put_back(self):
        api = Direct(DUAL_STACK)
        made = api.create(SERVICE, service(ipFamilyPolicy="RequireDualStack"))["spec"]
        assert made == api.patch(SERVICE, "web", {"spec": {"clusterIPs": None, "clusterIP": None}})["spec"]

    @pytest.mark.parametrize(
        ("policy", "second", "families", "message"),
        [
            pytest.param("RequireDualStack", "fd00:96::77", None, "may not change once set", id="the second address"),
            pytest.param("RequireDualStack", None, ["IPv6", "IPv4"], "may not change once set", id="the order of families"),
            pytest.param(
                "SingleStack",
                "fd00:96::77",
                None,
                "may not change once set",
                id="a downgrade does not change the second address too",
            ),
            pytest.param(
                "SingleStack",
                None,
                ["IPv6", "IPv4"],
                "may not change once set",
                id="a downgrade does not change the families too",
            ),
        ],
    )
    def test_what_is_set_does_not_change(self, policy, second, families, message):
        api = Direct(DUAL_STACK)
        made = api.create(SERVICE, service(ipFamilyPolicy="RequireDualStack", clusterIP="10.96.0.77"))
        held = api.addresses()
        made["spec"]["ipFamilyPolicy"] = policy
        made["spec"]["clusterIPs"][1] = second or made["spec"]["clusterIPs"][1]
        made["spec"]["ipFamilies"] = families or made["spec"]["ipFamilies"]
        with pytest.raises(Refused, match=message):
            api.update(SERVICE, made)
        assert held == api.addresses()

    def test_a_headless_service_may_change_its_families(self):
        api = Direct(DUAL_STACK)
        api.create(SERVICE, service(clusterIP="None"))
        made = api.patch(SERVICE, "web", {"spec": {"ipFamilies": ["IPv6"]}})["spec"]
        assert (["IPv6"], {}) == (made["ipFamilies"], api.addresses())

    def test_two_families_and_single_stack_contradict_without_a_selector_too(self):
        spec = {"clusterIP": "None", "selector": None, "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "SingleStack"}
        with pytest.raises(Refused) as refusal:
            Direct(DUAL_STACK).create(SERVICE, service(**spec))
        assert ["spec.ipFamilyPolicy"] == list(refusal.value.causes)

    def test_nothing_is_downgraded_because_the_cluster_was(self):
        api = Direct(DUAL_STACK)
        old = api.create(SERVICE, service(ipFamilyPolicy="PreferDualStack"))["spec"]
        narrower = Direct()
        narrower.state = api.state
        assert old == narrower.patch(SERVICE, "web", {"metadata": {"labels": {"a": "b"}}})["spec"]

    def test_nothing_is_upgraded_because_the_cluster_was(self):
        api = Direct()
        api.create(SERVICE, service(ipFamilyPolicy="PreferDualStack"))
        wider = Direct(DUAL_STACK)
        wider.state = api.state
        made = wider.patch(SERVICE, "web", {"metadata": {"labels": {"a": "b"}}})["spec"]
        assert (["IPv4"], 1) == (made["ipFamilies"], len(made["clusterIPs"]))
