"""Addresses and ports: bands, conflicts, sharing, ranges, and that none ever has two owners or is lost."""

from ipaddress import ip_address

import pytest
from direct import DUAL_STACK, Direct, Refused, service
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mooring.model.kinds import IP_ADDRESS, SERVICE, SERVICE_CIDR


def test_an_address_is_held_by_an_ip_address_object():
    api = Direct()
    address = api.create(SERVICE, service())["spec"]["clusterIP"]
    held = api.send("GET", IP_ADDRESS.path("", address))
    assert {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}} == held["spec"]
    assert {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    } == held["metadata"]["labels"]


def test_chosen_addresses_and_ports_leave_the_static_bands_alone():
    api = Direct()
    for number in range(60):
        api.create(SERVICE, service(f"web{number}", type="NodePort"))
    assert min(ip_address(address) for address in api.addresses()) >= ip_address("10.96.1.1")
    assert min(api.node_ports()) >= 30086


def test_the_kubernetes_service_gets_the_first_address():
    assert "10.96.0.1" == Direct().create(SERVICE, service("kubernetes"))["spec"]["clusterIP"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"clusterIP": "10.96.0.50"}, "failed to allocate IP 10.96.0.50: provided IP is already allocated"),
        ({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30050}]}, "provided port is already allocated"),
        (
            {"type": "NodePort", "ports": [{"port": 1, "protocol": "UDP", "nodePort": 30050}]},
            "provided port is already allocated",
        ),
        (
            {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30050},
            "provided port is already allocated",
        ),
    ],
)
def test_what_another_service_holds_is_refused(spec, message):
    api = Direct()
    api.create(SERVICE, service("first", type="NodePort", clusterIP="10.96.0.50", ports=[{"port": 1, "nodePort": 30050}]))
    before = (api.addresses(), api.node_ports())
    with pytest.raises(Refused, match=message):
        api.create(SERVICE, service("second", **spec))
    assert before == (api.addresses(), api.node_ports())


def test_what_a_deleted_service_held_is_free_again():
    api = Direct()
    spec = {"type": "NodePort", "clusterIP": "10.96.0.50", "ports": [{"port": 1, "nodePort": 30050}]}
    api.create(SERVICE, service(**spec))
    api.delete(SERVICE, "web")
    assert ({}, {}) == (api.addresses(), api.node_ports())
    api.create(SERVICE, service("next", **spec))


class TestOnePortNumberForTwoProtocols:
    PORTS = [{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]

    def test_on_create_they_share_a_node_port(self):
        made = Direct().create(SERVICE, service(type="NodePort", ports=self.PORTS))["spec"]["ports"]
        assert made[0]["nodePort"] == made[1]["nodePort"]

    def test_one_given_is_shared_too(self):
        ports = [self.PORTS[0], self.PORTS[1] | {"nodePort": 30053}]
        made = Direct().create(SERVICE, service(type="NodePort", ports=ports))["spec"]["ports"]
        assert [30053, 30053] == [port["nodePort"] for port in made]

    def test_one_that_another_service_holds_is_refused_for_all(self):
        api = Direct()
        api.create(SERVICE, service("first", type="NodePort", ports=[{"port": 1, "nodePort": 30053}]))
        ports = [self.PORTS[0], self.PORTS[1] | {"nodePort": 30053}]
        with pytest.raises(Refused) as refusal:
            api.create(SERVICE, service(type="NodePort", ports=ports))
        assert {"spec.ports[1].nodePort": "Invalid value: 30053: provided port is already allocated"} == refusal.value.causes

    def test_two_asked_for_are_both_given(self):
        ports = [self.PORTS[0] | {"nodePort": 30054}, self.PORTS[1] | {"nodePort": 30053}]
        made = Direct().create(SERVICE, service(type="NodePort", ports=ports))["spec"]["ports"]
        assert [30054, 30053] == [port["nodePort"] for port in made]

    def test_one_asked_for_on_update_is_not_shared(self):
        api = Direct()
        api.create(SERVICE, service(ports=self.PORTS))
        ports = [self.PORTS[0], self.PORTS[1] | {"nodePort": 30053}]
        made = api.patch(SERVICE, "web", {"spec": {"type": "NodePort", "ports": ports}})["spec"]["ports"]
        assert 30053 == made[1]["nodePort"] != made[0]["nodePort"]

    def test_on_update_each_gets_its_own(self):
        api = Direct()
        api.create(SERVICE, service(ports=self.PORTS))
        made = api.patch(SERVICE, "web", {"spec": {"type": "NodePort"}})["spec"]["ports"]
        assert made[0]["nodePort"] != made[1]["nodePort"]


class TestFullRanges:
    def test_no_address_left(self):
        api = Direct(("10.96.0.0/30",))
        api.create(SERVICE, service("a"))
        api.create(SERVICE, service("b"))
        with pytest.raises(Refused, match="failed to allocate a serviceIP: range is full") as refusal:
            api.create(SERVICE, service("c"))
        assert 500 == refusal.value.code

    def test_no_port_left(self):
        api = Direct(node_ports=(30000, 30001))
        api.create(SERVICE, service("a", type="NodePort", ports=[{"port": n, "name": f"p{n}"} for n in (1, 2)]))
        with pytest.raises(Refused, match="failed to allocate a nodePort: range is full"):
            api.create(SERVICE, service("b", type="NodePort"))
        assert 1 == len(api.addresses())

    def test_a_crowded_range_is_used_to_the_last_address(self):
        api = Direct(("10.96.0.0/24",))
        for number in range(254):
            api.create(SERVICE, service(f"web{number}"))
        assert 254 == len(api.addresses())


class TestServiceCidrs:
    def cidr(self, api, name, *cidrs):
        api.create(SERVICE_CIDR, {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}})

    def test_an_added_range_serves_static_and_dynamic_choices(self):
        api = Direct(("10.96.0.0/30",))
        self.cidr(api, "kubernetes", "10.96.0.0/30")
        self.cidr(api, "more", "203.0.113.0/24")
        assert "203.0.113.7" == api.create(SERVICE, service("static", clusterIP="203.0.113.7"))["spec"]["clusterIP"]
        for number in range(5):
            api.create(SERVICE, service(f"web{number}"))
        assert 6 == len(api.addresses())

    @pytest.mark.parametrize("ready", ["False", "Unknown"])
    def test_a_range_that_is_not_ready_gives_nothing_new(self, ready):
        api = Direct()
        self.cidr(api, "kubernetes", "10.96.0.0/16")
        condition = {
            "type": "Ready",
            "status": ready,
            "reason": "Terminating",
            "message": "",
            "lastTransitionTime": "2026-11-22T12:00:00Z",
        }
        api.patch(SERVICE_CIDR, "kubernetes", {"status": {"conditions": [condition]}}, "status")
        with pytest.raises(Refused, match="no ready ServiceCIDR of family IPv4"):
            api.create(SERVICE, service())
        with pytest.raises(Refused, match="is not in the valid range"):
            api.create(SERVICE, service(clusterIP="10.96.0.9"))


def test_a_dry_run_shows_an_allocation_and_makes_none():
    api = Direct()
    made = api.create(SERVICE, service(type="NodePort"), dryRun="All")
    assert made["spec"]["clusterIP"].startswith("10.96.")
    assert 30000 <= made["spec"]["ports"][0]["nodePort"] <= 32767
    assert ({}, {}, []) == (api.addresses(), api.node_ports(), api.services())


def test_a_dry_run_of_a_change_or_a_deletion_leaves_what_is_held():
    api = Direct()
    api.create(SERVICE, service(type="NodePort"))
    held = api.addresses(), api.node_ports(), api.services()
    shown = api.update(SERVICE, service(type="LoadBalancer", externalTrafficPolicy="Local"), dryRun="All")
    assert 30000 <= shown["spec"]["healthCheckNodePort"] <= 32767
    api.send("DELETE", SERVICE.path("default", "web"), dryRun="All")
    assert held == (api.addresses(), api.node_ports(), api.services())


NAMES = st.sampled_from(["a", "b", "c", "d"])
TYPES = st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "Headless"])
NODE_PORT = st.sampled_from([None, None, 30000, 30001, 30004])
ADDRESS = st.sampled_from([None, None, "10.96.0.1", "10.96.0.5", "fd00:96::5"])


class Ownership(RuleBasedStateMachine):
    """Random creates, replaces, patches and deletes in tiny ranges: refusals are fine, two owners and leaks are not."""

    def __init__(self):
        super().__init__()
        self.api = Direct(("10.96.0.0/29", "fd00:96::/125"), node_ports=(30000, 30005))

    def attempt(self, call, *arguments):
        try:
            call(*arguments)
        except Refused as refusal:
            assert refusal.code in (404, 409, 422, 500), refusal

    def wish(self, name, kind, policy, local, ports, address, families):
        spec = {"type": kind, "ipFamilyPolicy": policy, "clusterIP": address, "ipFamilies": families}
        spec["ports"] = [
            {"name": f"p{place}", "port": 80 + place // 2, "protocol": ("TCP", "UDP")[place % 2]}
            | ({"nodePort": port} if port else {})
            for place, port in enumerate(ports)
        ]
        if local:
            spec["externalTrafficPolicy"] = "Local"
        if kind == "Headless":
            spec |= {"type": "ClusterIP", "clusterIP": "None"}
        if kind == "ExternalName":
            spec |= {"externalName": "a.b", "clusterIP": None}
        return service(name, **spec)

    WISH = (
        NAMES,
        TYPES,
        st.sampled_from([None, "SingleStack", "PreferDualStack", "RequireDualStack"]),
        st.booleans(),
        st.lists(NODE_PORT, min_size=1, max_size=3),
        ADDRESS,
        st.sampled_from([None, ["IPv4"], ["IPv6"], ["IPv6", "IPv4"]]),
    )

    @rule(wish=st.tuples(*WISH))
    def create(self, wish):
        self.attempt(self.api.create, SERVICE, self.wish(*wish))

    @rule(wish=st.tuples(*WISH))
    def replace(self, wish):
        self.attempt(self.api.update, SERVICE, self.wish(*wish))

    @rule(name=NAMES, kind=st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]))
    def change_type(self, name, kind):
        self.attempt(self.api.patch, SERVICE, name, {"spec": {"type": kind}})

    @rule(name=NAMES, policy=st.sampled_from(["SingleStack", "PreferDualStack"]))
    def change_families(self, name, policy):
        self.attempt(self.api.patch, SERVICE, name, {"spec": {"ipFamilyPolicy": policy}})

    @rule(name=NAMES)
    def delete(self, name):
        self.attempt(self.api.delete, SERVICE, name)

    @invariant()
    def what_is_claimed_is_what_the_services_say(self):
        addresses, ports = {}, {}
        for document in self.api.services():
            name, spec = document["metadata"]["name"], document["spec"]
            for address in spec.get("clusterIPs", ()):
                if address != "None":
                    assert address not in addresses, f"{address} has two owners"
                    addresses[address] = name
            mine = {port["nodePort"] for port in spec.get("ports", ()) if "nodePort" in port}
            if "healthCheckNodePort" in spec:
                assert spec["healthCheckNodePort"] not in mine
                mine.add(spec["healthCheckNodePort"])
            for port in mine:
                assert port not in ports, f"{port} has two owners"
                ports[port] = name
        assert (addresses, ports) == (self.api.addresses(), self.api.node_ports())

    @invariant()
    def families_fit_addresses(self):
        for document in self.api.services():
            spec = document["spec"]
            if spec["type"] != "ExternalName" and spec["clusterIPs"] != ["None"]:
                versions = [f"IPv{ip_address(address).version}" for address in spec["clusterIPs"]]
                assert (spec["ipFamilies"], spec["clusterIPs"][0]) == (versions, spec["clusterIP"])


Ownership.TestCase.settings = settings(stateful_step_count=25)
TestOwnership = Ownership.TestCase


def test_ten_thousand_services_do_not_slow_the_next_one_down():
    """By the number of reads, not by the clock: one allocation looks at a few keys, whatever the cluster holds."""
    api = Direct(DUAL_STACK)
    for number in range(2000):
        api.create(SERVICE, service(f"web{number}"))
    reads = []
    get, scan = api.state.get, api.state.scan
    api.state.get = lambda key, revision=0: reads.append(key) or get(key, revision)
    api.state.scan = lambda prefix, *rest, **more: reads.append(prefix) or scan(prefix, *rest, **more)
    api.create(SERVICE, service("last"))
    assert len(reads) < 10
    assert IP_ADDRESS.prefix not in reads
