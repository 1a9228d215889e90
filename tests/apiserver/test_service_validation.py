"""Every rule of a Service's spec, through the whole API: one broken thing a row, and upstream's sentence."""

import pytest
from direct import DUAL_STACK, Direct, Refused, service

from mooring.model.kinds import SERVICE

IN_RANGE = "must be between 1 and 65535, inclusive"


def port(**fields):
    return {"ports": [{"port": 80, **fields}]}


BROKEN = [
    pytest.param({"ports": None}, "spec.ports", "Required value", id="ports are required"),
    pytest.param(port(port=0, targetPort=80), "spec.ports[0].port", f"Invalid value: 0: {IN_RANGE}", id="port 0"),
    pytest.param(
        port(targetPort=70000), "spec.ports[0].targetPort", f"Invalid value: 70000: {IN_RANGE}", id="target port too high"
    ),
    pytest.param(
        port(targetPort="a--b"),
        "spec.ports[0].targetPort",
        'Invalid value: "a--b": must not contain consecutive hyphens',
        id="target port is an IANA_SVC_NAME",
    ),
    pytest.param(
        port(protocol="ICMP"),
        "spec.ports[0].protocol",
        'Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
        id="unknown protocol",
    ),
    pytest.param(
        {"ports": [{"port": 1, "name": "a"}, {"port": 2}]}, "spec.ports[1].name", "Required value", id="two ports need names"
    ),
    pytest.param(
        {"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]},
        "spec.ports[1].name",
        'Duplicate value: "a"',
        id="port names are unique",
    ),
    pytest.param(
        {"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]},
        "spec.ports[1]",
        'Duplicate value: {"port":1,"protocol":"TCP"}',
        id="port and protocol are unique",
    ),
    pytest.param(
        port(nodePort=30001),
        "spec.ports[0].nodePort",
        "Forbidden: may not be used when `type` is 'ClusterIP'",
        id="node port on ClusterIP",
    ),
    pytest.param(
        {"type": "Magic"},
        "spec.type",
        'Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
        id="unknown type",
    ),
    pytest.param(
        {"type": "LoadBalancer", "ports": [{"port": 10250}]},
        "spec.ports[0]",
        "Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet",
        id="the kubelet's port on a load balancer",
    ),
    pytest.param(
        {"type": "NodePort", "clusterIP": "None"},
        "spec.clusterIPs[0]",
        "Invalid value: \"None\": may not be set to 'None' for NodePort services",
        id="headless NodePort",
    ),
    pytest.param({"type": "ExternalName"}, "spec.externalName", "Required value", id="ExternalName without a name"),
    pytest.param(
        {"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.9"},
        "spec.clusterIPs",
        "Forbidden: may not be set for ExternalName services",
        id="ExternalName with an address",
    ),
    pytest.param(
        {"sessionAffinity": "Cookie"},
        "spec.sessionAffinity",
        'Unsupported value: "Cookie": supported values: "ClientIP", "None"',
        id="unknown affinity",
    ),
    pytest.param(
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        "Invalid value: 86401: must be greater than 0 and less than 86400",
        id="affinity of more than a day",
    ),
    pytest.param(
        {"clusterIP": "x"},
        "spec.clusterIPs[0]",
        'Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        id="cluster IP that is none",
    ),
    pytest.param(
        {"clusterIP": "010.96.0.9"},
        "spec.clusterIPs[0]",
        'Invalid value: "010.96.0.9": must not have leading 0s',
        id="cluster IP with leading zeros",
    ),
    pytest.param(
        {"clusterIPs": ["10.96.0.9"]},
        "spec.clusterIPs",
        'Invalid value: ["10.96.0.9"]: first value must match `clusterIP`',
        id="plural without singular",
    ),
    pytest.param(
        {"clusterIP": "None", "clusterIPs": ["None", "10.96.0.9"]},
        "spec.clusterIPs[0]",
        "Invalid value: \"None\": 'None' must be the first and only value",
        id="None stands alone",
    ),
    pytest.param(
        {"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8", "10.96.0.9"]},
        "spec.clusterIPs",
        'Invalid value: ["10.96.0.8","10.96.0.9"]: may specify no more than one IP for each IP family',
        id="two addresses of one family",
    ),
    pytest.param(
        {"clusterIP": "10.96.0.8", "ipFamilies": ["IPv6"]},
        "spec.clusterIPs[0]",
        'Invalid value: "10.96.0.8": expected an IPv6 value as indicated by `ipFamilies[0]`',
        id="address of the other family",
    ),
    pytest.param(
        {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "SingleStack"},
        "spec.ipFamilyPolicy",
        "Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' "
        "when multiple IP families are specified",
        id="two families on SingleStack",
    ),
    pytest.param(
        {"externalIPs": ["127.0.0.1"]},
        "spec.externalIPs[0]",
        'Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
        id="loopback as external IP",
    ),
    pytest.param(
        {"externalTrafficPolicy": "Local"},
        "spec.externalTrafficPolicy",
        'Invalid value: "Local": may only be set for externally-accessible services',
        id="external policy on ClusterIP",
    ),
    pytest.param(
        {"type": "NodePort", "externalTrafficPolicy": "Far"},
        "spec.externalTrafficPolicy",
        'Unsupported value: "Far": supported values: "Cluster", "Local"',
        id="unknown external policy",
    ),
    pytest.param(
        {"internalTrafficPolicy": "Far"},
        "spec.internalTrafficPolicy",
        'Unsupported value: "Far": supported values: "Cluster", "Local"',
        id="unknown internal policy",
    ),
    pytest.param(
        {"healthCheckNodePort": 30100},
        "spec.healthCheckNodePort",
        "Invalid value: 30100: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        id="health check port without Local",
    ),
    pytest.param(
        {"allocateLoadBalancerNodePorts": True},
        "spec.allocateLoadBalancerNodePorts",
        "Forbidden: may only be used when `type` is 'LoadBalancer'",
        id="allocateLoadBalancerNodePorts elsewhere",
    ),
    pytest.param(
        {"loadBalancerClass": "a.b/c"},
        "spec.loadBalancerClass",
        "Forbidden: may only be used when `type` is 'LoadBalancer'",
        id="loadBalancerClass elsewhere",
    ),
    pytest.param(
        {"loadBalancerSourceRanges": ["10.0.0.0/8"]},
        "spec.loadBalancerSourceRanges",
        "Forbidden: may only be used when `type` is 'LoadBalancer'",
        id="source ranges elsewhere",
    ),
    pytest.param(
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.1/8"]},
        "spec.loadBalancerSourceRanges[0]",
        'Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length',
        id="source range with host bits",
    ),
    pytest.param(
        {"trafficDistribution": "Far"},
        "spec.trafficDistribution",
        'Unsupported value: "Far": supported values: "PreferClose", "PreferSameNode", "PreferSameZone"',
        id="unknown distribution",
    ),
    pytest.param(
        {"clusterIP": "10.97.0.1"},
        "spec.clusterIPs",
        'Invalid value: ["10.97.0.1"]: failed to allocate IP 10.97.0.1: the provided IP (10.97.0.1) is not in the valid range. '
        "The range of valid IPs is 10.96.0.0/16",
        id="address outside the ranges",
    ),
    pytest.param(
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
        "spec.ports[0].nodePort",
        "Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        id="node port outside the range",
    ),
]


@pytest.mark.parametrize(("spec", "field", "message"), BROKEN)
def test_a_broken_service_is_refused_in_upstreams_words(spec, field, message):
    api = Direct(DUAL_STACK)
    with pytest.raises(Refused) as refusal:
        api.create(SERVICE, service(**spec))
    assert {field: message} == refusal.value.causes
    assert 422 == refusal.value.code
    assert ({}, {}) == (api.addresses(), api.node_ports())


@pytest.mark.parametrize(
    ("name", "good"),
    [("1kubernetes", True), ("web", True), ("Web", False), ("a.b", False), ("a" * 64, False), ("-a", False)],
)
def test_a_name_is_a_dns_1123_label(name, good):
    api = Direct()
    if good:
        assert name == api.create(SERVICE, service(name))["metadata"]["name"]
    else:
        with pytest.raises(Refused) as refusal:
            api.create(SERVICE, service(name, selector=None))
        assert {"metadata.name"} == set(refusal.value.causes)


def test_generate_name_makes_a_name():
    made = Direct().create(SERVICE, service() | {"metadata": {"generateName": "web-"}})
    assert made["metadata"]["name"].startswith("web-")


@pytest.mark.parametrize(
    ("spec", "warning"),
    [
        pytest.param({"externalIPs": ["192.0.2.1"]}, "spec.externalIPs is deprecated", id="external IPs"),
        pytest.param({"trafficDistribution": "PreferClose"}, "PreferSameZone", id="PreferClose"),
        pytest.param(
            {"clusterIP": "None", "sessionAffinity": "ClientIP"},
            "spec.SessionAffinity is ignored for headless services",
            id="affinity without proxying",
        ),
    ],
)
def test_what_is_unwise_is_warned_of(spec, warning):
    api = Direct()
    api.create(SERVICE, service(**spec))
    assert any(warning in text for text in api.warnings), api.warnings


class TestStatus:
    def balancer(self):
        api = Direct()
        api.create(SERVICE, service(type="LoadBalancer"))
        return api

    def test_an_address_gets_the_mode_vip(self):
        api = self.balancer()
        made = api.patch(SERVICE, "web", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}, "status")
        assert [{"ip": "192.0.2.7", "ipMode": "VIP"}] == made["status"]["loadBalancer"]["ingress"]

    @pytest.mark.parametrize(
        ("ingress", "field"),
        [
            pytest.param({"hostname": "a.b", "ipMode": "VIP"}, "ipMode", id="a mode without an address"),
            pytest.param({"ip": "x"}, "ip", id="an address that is none"),
            pytest.param({"hostname": "192.0.2.1"}, "hostname", id="an address as a name"),
            pytest.param({"ip": "192.0.2.1", "ipMode": "Far"}, "ipMode", id="an unknown mode"),
        ],
    )
    def test_a_broken_ingress_is_refused(self, ingress, field):
        with pytest.raises(Refused) as refusal:
            self.balancer().patch(SERVICE, "web", {"status": {"loadBalancer": {"ingress": [ingress]}}}, "status")
        assert f"status.loadBalancer.ingress[0].{field}" in refusal.value.causes

    def test_it_is_forbidden_where_there_is_no_load_balancer(self):
        api = Direct()
        api.create(SERVICE, service())
        with pytest.raises(Refused) as refusal:
            api.patch(SERVICE, "web", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}, "status")
        assert ["status.loadBalancer.ingress"] == list(refusal.value.causes)

    def test_a_status_update_leaves_the_spec_and_takes_annotations(self):
        api = self.balancer()
        old = api.get(SERVICE, "web")
        changed = api.get(SERVICE, "web")
        changed["spec"]["sessionAffinity"] = "ClientIP"
        changed["metadata"]["annotations"] = {"a": "b"}
        new = api.update(SERVICE, changed, "status")
        assert (old["spec"], {"a": "b"}) == (new["spec"], new["metadata"]["annotations"])

    def test_a_spec_update_leaves_the_status(self):
        api = self.balancer()
        api.patch(SERVICE, "web", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}, "status")
        made = api.patch(
            SERVICE, "web", {"status": {"loadBalancer": {"ingress": None}}, "spec": {"sessionAffinity": "ClientIP"}}
        )
        assert "192.0.2.7" == made["status"]["loadBalancer"]["ingress"][0]["ip"]
