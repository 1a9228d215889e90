"""Changes of type: what is kept, released, allocated and wiped, and what the user must clear himself."""

import pytest
from direct import Direct, Refused, service

from mooring.model.kinds import SERVICE

FULL = {
    "ClusterIP": {},
    "NodePort": {"type": "NodePort"},
    "LoadBalancer": {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "loadBalancerClass": "example.com/lb",
        "sessionAffinity": "ClientIP",
    },
    "ExternalName": {"type": "ExternalName", "externalName": "a.example.com"},
}
NEEDS_IP = ("ClusterIP", "NodePort", "LoadBalancer")
NEEDS_PORT = ("NodePort", "LoadBalancer")
WIPED = (
    "clusterIP",
    "clusterIPs",
    "ipFamilies",
    "ipFamilyPolicy",
    "healthCheckNodePort",
    "allocateLoadBalancerNodePorts",
    "loadBalancerClass",
    "externalTrafficPolicy",
)


def change_of_type(before, after):
    """The Service before and after, its API, when the user reads it, changes the type alone and writes it back."""
    api = Direct()
    old = api.create(SERVICE, service(**FULL[before]))
    if before == "LoadBalancer":
        old = api.patch(SERVICE, "web", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}, "status")
    wish = api.get(SERVICE, "web")
    wish["spec"]["type"] = after
    if after == "ExternalName":
        wish["spec"]["externalName"] = "a.example.com"
    return old, api.update(SERVICE, wish), api


PAIRS = [(before, after) for before in FULL for after in FULL if before != after]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_what_is_claimed_after_a_change_is_what_the_new_spec_says(before, after):
    old, new, api = change_of_type(before, after)
    assert set(new["spec"].get("clusterIPs", ())) == set(api.addresses())
    ports = {port["nodePort"] for port in new["spec"]["ports"] if "nodePort" in port}
    assert ports | {number for number in [new["spec"].get("healthCheckNodePort")] if number} == set(api.node_ports())
    assert (after in NEEDS_IP) == bool(api.addresses())
    assert (after in NEEDS_PORT) == bool(ports)
    assert old["spec"]["selector"] == new["spec"]["selector"]


@pytest.mark.parametrize(("before", "after"), [pair for pair in PAIRS if "ExternalName" not in pair])
def test_the_cluster_ip_survives_and_so_do_node_ports_between_types_that_have_them(before, after):
    old, new, _ = change_of_type(before, after)
    assert old["spec"]["clusterIPs"] == new["spec"]["clusterIPs"]
    if before in NEEDS_PORT and after in NEEDS_PORT:
        assert [port["nodePort"] for port in old["spec"]["ports"]] == [port["nodePort"] for port in new["spec"]["ports"]]


@pytest.mark.parametrize(
    ("before", "after", "wiped"),
    [
        pytest.param("ClusterIP", "ExternalName", WIPED, id="nothing of an address stays on ExternalName"),
        pytest.param("LoadBalancer", "ExternalName", WIPED, id="nothing of a balancer stays on ExternalName"),
        pytest.param(
            "LoadBalancer",
            "NodePort",
            ("healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass"),
            id="a NodePort keeps the traffic policy and nothing else of the balancer",
        ),
        pytest.param(
            "LoadBalancer",
            "ClusterIP",
            ("healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass", "externalTrafficPolicy"),
            id="a ClusterIP keeps nothing of the balancer",
        ),
        pytest.param("NodePort", "ClusterIP", ("externalTrafficPolicy",), id="a ClusterIP has no external policy"),
    ],
)
def test_what_the_new_type_has_no_use_for_is_wiped(before, after, wiped):
    _, new, _ = change_of_type(before, after)
    assert [] == [name for name in wiped if name in new["spec"]]


def test_an_external_name_never_holds_a_node_port():
    api = Direct()
    api.create(SERVICE, service("owner", type="NodePort", ports=[{"port": 80, "nodePort": 30001}]))
    spec = {"type": "ExternalName", "externalName": "a.example.com", "ports": [{"port": 80, "nodePort": 30001}]}
    made = api.create(SERVICE, service(**spec))
    assert ("nodePort" in made["spec"]["ports"][0], {30001: "owner"}) == (False, api.node_ports())


def test_a_former_load_balancer_loses_its_status():
    _, new, _ = change_of_type("LoadBalancer", "ClusterIP")
    assert {"loadBalancer": {}} == new["status"]


def test_affinity_none_drops_its_config():
    api = Direct()
    api.create(SERVICE, service(sessionAffinity="ClientIP"))
    assert "sessionAffinityConfig" not in api.patch(SERVICE, "web", {"spec": {"sessionAffinity": "None"}})["spec"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"loadBalancerClass": "example.com/other"}, "spec.loadBalancerClass", id="load balancer class"),
        pytest.param({"externalTrafficPolicy": "Cluster"}, "spec.externalTrafficPolicy", id="external traffic policy"),
        pytest.param({"healthCheckNodePort": 30999}, "spec.healthCheckNodePort", id="health check port"),
        pytest.param({"ports": [{"port": 80, "nodePort": 30998}]}, "spec.ports[0].nodePort", id="node port"),
        pytest.param(
            {"allocateLoadBalancerNodePorts": False}, "spec.allocateLoadBalancerNodePorts", id="whether node ports are made"
        ),
    ],
)
def test_a_field_changed_in_the_same_request_is_refused_rather_than_wiped(changes, field):
    api = Direct()
    api.create(SERVICE, service(**FULL["LoadBalancer"]))
    held = api.addresses(), api.node_ports()
    with pytest.raises(Refused) as refusal:
        api.patch(SERVICE, "web", {"spec": {"type": "ClusterIP", **changes}})
    assert [field] == list(refusal.value.causes)
    assert held == (api.addresses(), api.node_ports())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"clusterIP": "10.96.0.99"}, "spec.clusterIPs", id="the address"),
        pytest.param({"clusterIPs": ["10.96.0.99"]}, "spec.clusterIPs", id="the addresses"),
        pytest.param({"ipFamilies": ["IPv6"]}, "spec.ipFamilies", id="the families"),
        pytest.param({"ipFamilyPolicy": "PreferDualStack"}, "spec.ipFamilyPolicy", id="the family policy"),
    ],
)
def test_an_external_name_is_refused_what_else_would_be_wiped(changes, field):
    api = Direct()
    api.create(SERVICE, service())
    with pytest.raises(Refused) as refusal:
        api.patch(SERVICE, "web", {"spec": {**FULL["ExternalName"], **changes}})
    assert {field: "Forbidden: may not be set for ExternalName services"} == refusal.value.causes
    assert 1 == len(api.addresses())


def test_who_clears_the_address_himself_clears_the_list_too():
    api = Direct()
    api.create(SERVICE, service())
    made = api.patch(SERVICE, "web", {"spec": {**FULL["ExternalName"], "clusterIP": None}})
    assert ({}, False) == (api.addresses(), "clusterIPs" in made["spec"])


def test_an_external_name_is_kept_and_said_to_be_ignored_by_other_types():
    api = Direct()
    api.create(SERVICE, service(**FULL["ExternalName"]))
    made = api.patch(SERVICE, "web", {"spec": {"type": "ClusterIP"}})
    assert ("a.example.com", 1) == (made["spec"]["externalName"], len(api.addresses()))
    assert ['299 - "spec.externalName is ignored when spec.type is not \\"ExternalName\\""'] == api.warnings


class TestHealthCheckPort:
    LOCAL = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}

    def test_one_may_be_asked_for(self):
        api = Direct()
        api.create(SERVICE, service(**self.LOCAL, healthCheckNodePort=32001))
        assert "web" == api.node_ports()[32001]

    def test_it_comes_with_the_policy_and_goes_with_it(self):
        api = Direct()
        api.create(SERVICE, service(type="LoadBalancer"))
        (port,) = api.node_ports()
        made = api.patch(SERVICE, "web", {"spec": {"externalTrafficPolicy": "Local"}})["spec"]
        assert {port: "web", made["healthCheckNodePort"]: "web"} == api.node_ports()
        made = api.patch(SERVICE, "web", {"spec": {"externalTrafficPolicy": "Cluster"}})["spec"]
        assert ({port: "web"}, False) == (api.node_ports(), "healthCheckNodePort" in made)

    def test_it_goes_only_as_it_was(self):
        api = Direct()
        api.create(SERVICE, service(**self.LOCAL))
        with pytest.raises(Refused) as refusal:
            api.patch(SERVICE, "web", {"spec": {"externalTrafficPolicy": "Cluster", "healthCheckNodePort": 32001}})
        assert ["spec.healthCheckNodePort"] == list(refusal.value.causes)

    def test_it_is_none_of_the_ports_own(self):
        ports = [{"port": 80, "nodePort": 32001}]
        with pytest.raises(Refused) as refusal:
            Direct().create(SERVICE, service(**self.LOCAL, healthCheckNodePort=32001, ports=ports))
        assert ["spec.healthCheckNodePort"] == list(refusal.value.causes)


def test_source_ranges_must_be_cleared_by_the_user():
    api = Direct()
    api.create(SERVICE, service(type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"]))
    with pytest.raises(Refused) as refusal:
        api.patch(SERVICE, "web", {"spec": {"type": "ClusterIP"}})
    assert ["spec.LoadBalancerSourceRanges"] == list(refusal.value.causes)
    assert (
        "ClusterIP"
        == api.patch(SERVICE, "web", {"spec": {"type": "ClusterIP", "loadBalancerSourceRanges": None}})["spec"]["type"]
    )


def test_external_ips_are_never_wiped():
    api = Direct()
    api.create(SERVICE, service(type="NodePort", externalIPs=["192.0.2.1"]))
    made = api.patch(SERVICE, "web", {"spec": {"type": "ClusterIP"}})["spec"]
    assert (["192.0.2.1"], "Cluster") == (made["externalIPs"], made["externalTrafficPolicy"])
    made = api.patch(SERVICE, "web", {"spec": {"externalIPs": None}})["spec"]
    assert "externalTrafficPolicy" not in made


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("example.com/a", "example.com/b", id="changed"),
        pytest.param("example.com/a", None, id="unset"),
        pytest.param(None, "example.com/a", id="set"),
    ],
)
def test_the_class_stands_while_the_type_does(before, after):
    api = Direct()
    api.create(SERVICE, service(type="LoadBalancer", loadBalancerClass=before))
    with pytest.raises(Refused, match="may not change once set"):
        api.patch(SERVICE, "web", {"spec": {"loadBalancerClass": after}})


def test_a_class_may_be_chosen_with_the_type():
    api = Direct()
    api.create(SERVICE, service())
    made = api.patch(SERVICE, "web", {"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/a"}})
    assert "example.com/a" == made["spec"]["loadBalancerClass"]


class TestBalancerWithoutNodePorts:
    def test_none_are_allocated(self):
        api = Direct()
        made = api.create(SERVICE, service(type="LoadBalancer", allocateLoadBalancerNodePorts=False))
        assert ("nodePort" not in made["spec"]["ports"][0], {}) == (True, api.node_ports())

    def test_one_asked_for_is_honoured(self):
        api = Direct()
        ports = [{"port": 80, "nodePort": 30500}]
        api.create(SERVICE, service(type="LoadBalancer", allocateLoadBalancerNodePorts=False, ports=ports))
        assert {30500: "web"} == api.node_ports()

    def test_asking_later_allocates_them(self):
        api = Direct()
        api.create(SERVICE, service(type="LoadBalancer", allocateLoadBalancerNodePorts=False))
        made = api.patch(SERVICE, "web", {"spec": {"allocateLoadBalancerNodePorts": True}})
        assert {made["spec"]["ports"][0]["nodePort"]: "web"} == api.node_ports()

    def test_refusing_later_frees_none_until_the_user_clears_each(self):
        api = Direct()
        api.create(SERVICE, service(type="LoadBalancer"))
        made = api.patch(SERVICE, "web", {"spec": {"allocateLoadBalancerNodePorts": False}})
        assert {made["spec"]["ports"][0]["nodePort"]: "web"} == api.node_ports()
        del made["spec"]["ports"][0]["nodePort"]
        api.update(SERVICE, made)
        assert {} == api.node_ports()
