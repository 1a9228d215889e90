"""Every rule of a Service's spec, through the whole API: one broken thing a row, and upstream's sentence."""

import json
import re

import pytest
from direct import DUAL_STACK, Direct, Refused, service

from mooring.apiserver.kinds.service_validation import _check_families
from mooring.model.kinds import SERVICE
from mooring.store.records import Compare, Put, Txn

IN_RANGE = "must be between 1 and 65535, inclusive"
QUALIFIED = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


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
    pytest.param(
        {"type": "LoadBalancer", "clusterIP": "None"},
        "spec.clusterIPs[0]",
        "Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
        id="headless LoadBalancer",
    ),
    pytest.param({"type": "ExternalName"}, "spec.externalName", "Required value", id="ExternalName without a name"),
    pytest.param(
        {"type": "ExternalName", "externalName": "a_b"},
        "spec.externalName",
        'Invalid value: "a_b": ' + SUBDOMAIN,
        id="ExternalName that is no name",
    ),
    pytest.param(
        {"type": "ExternalName", "externalName": "a.b", "ipFamilies": ["IPv4"]},
        "spec.ipFamilies",
        "Forbidden: may not be set for ExternalName services",
        id="ExternalName with families",
    ),
    pytest.param(
        {"type": "ExternalName", "externalName": "a.b", "ipFamilyPolicy": "SingleStack"},
        "spec.ipFamilyPolicy",
        "Forbidden: may not be set for ExternalName services",
        id="ExternalName with a family policy",
    ),
    pytest.param(port(name="Web"), "spec.ports[0].name", 'Invalid value: "Web": ' + LABEL, id="a port's name is a label"),
    pytest.param(
        port(appProtocol="kubernetes.io/h2c/x"),
        "spec.ports[0].appProtocol",
        f'Invalid value: "kubernetes.io/h2c/x": a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '
        "'/' (e.g. 'example.com/MyName')",
        id="application protocol that is no qualified name",
    ),
    pytest.param(
        {"type": "NodePort", "ports": [{"port": n, "name": f"p{n}", "nodePort": 30100} for n in (1, 2)]},
        "spec.ports[1].nodePort",
        "Duplicate value: 30100",
        id="one node port for two ports of a protocol",
    ),
    pytest.param(
        {"selector": {"a b": "c"}},
        "spec.selector",
        f'Invalid value: "a b": name part {QUALIFIED}',
        id="a selector's keys are labels",
    ),
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
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        "Invalid value: 0: must be greater than 0 and less than 86400",
        id="affinity of no time",
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
        {"clusterIP": "::ffff:10.96.0.9"},
        "spec.clusterIPs[0]",
        'Invalid value: "::ffff:10.96.0.9": must not be an IPv4-mapped IPv6 address',
        id="cluster IP of IPv4 inside IPv6",
    ),
    pytest.param(
        {"clusterIPs": ["10.96.0.9"]},
        "spec.clusterIPs",
        'Invalid value: ["10.96.0.9"]: must be empty when `clusterIP` is not specified',
        id="plural without singular",
    ),
    pytest.param(
        {"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.9"]},
        "spec.clusterIPs",
        'Invalid value: ["10.96.0.9"]: first value must match `clusterIP`',
        id="plural and singular apart",
    ),
    pytest.param(
        {"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8", "fd00:96::8", "fd00:96::9"]},
        "spec.clusterIPs",
        'Invalid value: ["10.96.0.8","fd00:96::8","fd00:96::9"]: may only hold up to 2 values; '
        'Invalid value: ["10.96.0.8","fd00:96::8","fd00:96::9"]: may specify no more than one IP for each IP family',
        id="three addresses",
    ),
    pytest.param(
        {"clusterIP": "None", "clusterIPs": ["None", "10.96.0.9"]},
        "spec.clusterIPs",
        'Invalid value: ["None","10.96.0.9"]: \'None\' must be the first and only value',
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
        {"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8", "fd00:96::8"], "ipFamilyPolicy": "SingleStack"},
        "spec.ipFamilyPolicy",
        "Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' "
        "when multiple cluster IPs are specified",
        id="two addresses on SingleStack",
    ),
    pytest.param(
        {"ipFamilyPolicy": "Both"},
        "spec.ipFamilyPolicy",
        'Unsupported value: "Both": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"',
        id="unknown family policy",
    ),
    pytest.param(
        {"ipFamilies": ["IPv5"]},
        "spec.ipFamilies[0]",
        'Unsupported value: "IPv5": supported values: "IPv4", "IPv6"',
        id="unknown family",
    ),
    pytest.param(
        {"ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": "RequireDualStack"},
        "spec.ipFamilies[1]",
        'Duplicate value: "IPv4"',
        id="a family twice",
    ),
    pytest.param(
        {"externalIPs": ["x"]},
        "spec.externalIPs[0]",
        'Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        id="external IP that is none",
    ),
    pytest.param(
        {"externalIPs": ["192.0.2.1", "0.0.0.0"]},
        "spec.externalIPs[1]",
        'Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)',
        id="unspecified external IP",
    ),
    pytest.param(
        {"externalIPs": ["fe80::1"]},
        "spec.externalIPs[0]",
        'Invalid value: "fe80::1": may not be in the link-local range (169.254.0.0/16, fe80::/10)',
        id="link-local external IP",
    ),
    pytest.param(
        {"externalIPs": ["224.0.0.5"]},
        "spec.externalIPs[0]",
        'Invalid value: "224.0.0.5": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)',
        id="link-local multicast external IP",
    ),
    pytest.param(
        {"externalIPs": ["192.0.2.010"]},
        "spec.externalIPs[0]",
        'Invalid value: "192.0.2.010": must not have leading 0s',
        id="external IP with leading zeros",
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
        {"type": "LoadBalancer", "loadBalancerClass": "a.b/"},
        "spec.loadBalancerClass",
        f'Invalid value: "a.b/": name part must be non-empty; Invalid value: "a.b/": name part {QUALIFIED}',
        id="loadBalancerClass is a qualified name",
    ),
    pytest.param(
        {"loadBalancerSourceRanges": ["10.0.0.0/8"]},
        "spec.LoadBalancerSourceRanges",
        "Forbidden: may only be used when `type` is 'LoadBalancer'",
        id="source ranges elsewhere",
    ),
    pytest.param(
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.1/8"]},
        "spec.LoadBalancerSourceRanges[0]",
        'Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length',
        id="source range with host bits",
    ),
    pytest.param(
        {"type": "LoadBalancer", "loadBalancerSourceRanges": [" 010.0.0.0/8 "]},
        "spec.LoadBalancerSourceRanges[0]",
        'Invalid value: "010.0.0.0/8": must not have leading 0s in IP or prefix length',
        id="source range with leading zeros",
    ),
    pytest.param(
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["::ffff:10.0.0.0/104"]},
        "spec.LoadBalancerSourceRanges[0]",
        'Invalid value: "::ffff:10.0.0.0/104": must not have an IPv4-mapped IPv6 address',
        id="source range of IPv4 inside IPv6",
    ),
    pytest.param(
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0"]},
        "spec.LoadBalancerSourceRanges[0]",
        'Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
        id="source range that is none",
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


def test_families_are_not_compared_each_with_each():
    class Once(list):
        """Is read from its beginning to its end only."""

        __getitem__ = None

    assert 299 == len(_check_families({"ipFamilies": Once(["IPv4"] * 300)}))


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
    "spec",
    [
        pytest.param({"clusterIP": "None", "ports": None}, id="a headless Service without ports"),
        pytest.param(
            {"clusterIP": "None", "ports": [{"port": 80, "targetPort": 8080}]}, id="headless with another target port"
        ),
        pytest.param({"type": "ExternalName", "externalName": "a.b", "ports": None}, id="an ExternalName without ports"),
        pytest.param(
            {"type": "ExternalName", "externalName": "a.b", "internalTrafficPolicy": "Local"}, id="an internal policy of no use"
        ),
        pytest.param(
            {"type": "LoadBalancer", "ports": [{"name": p, "port": 53, "protocol": p.upper()} for p in ("tcp", "udp", "sctp")]},
            id="a LoadBalancer of mixed protocols",
        ),
        pytest.param(
            {"type": "LoadBalancer", "loadBalancerIP": "whatever the provider reads"}, id="loadBalancerIP of any form"
        ),
        pytest.param({"type": "LoadBalancer", "loadBalancerSourceRanges": [" 10.0.0.0/8 "]}, id="padded source ranges"),
        pytest.param({"externalIPs": ["FD01::1", "192.0.2.1"]}, id="IPv6 not in canonical form"),
        pytest.param({"ports": [{"port": 80, "appProtocol": "kubernetes.io/ws"}]}, id="an application protocol"),
        *[pytest.param({"trafficDistribution": each}, id=each) for each in ("PreferClose", "PreferSameZone", "PreferSameNode")],
    ],
)
def test_what_looks_odd_and_is_legal_is_stored_as_it_came(spec):
    made = Direct(DUAL_STACK).create(SERVICE, service(**spec))["spec"]
    for name, value in spec.items():
        kept = made.get(name)
        if name == "ports" and value:
            assert value == [{key: port[key] for key in given} for given, port in zip(value, kept, strict=True)]
        else:
            assert value == kept


TOPOLOGY_MODE, TOPOLOGY_HINTS = "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"


def annotated(annotations, **spec):
    document = service(**spec)
    document["metadata"]["annotations"] = annotations
    return document


@pytest.mark.parametrize(
    ("document", "field", "message"),
    [
        pytest.param(
            annotated({TOPOLOGY_MODE: "Auto", TOPOLOGY_HINTS: "Disabled"}),
            f"metadata.annotations[{TOPOLOGY_MODE}]",
            f'Invalid value: "Auto": must match annotations[{TOPOLOGY_HINTS}] when both are specified',
            id="two topology annotations apart",
        ),
        pytest.param(
            annotated({SOURCE_RANGES: "10.0.0.0/8"}),
            f"metadata.annotations[{SOURCE_RANGES}]",
            "Forbidden: may only be used when `type` is 'LoadBalancer'",
            id="source ranges elsewhere",
        ),
        pytest.param(
            annotated({SOURCE_RANGES: "10.0.0.0/8, x"}, type="LoadBalancer"),
            f"metadata.annotations[{SOURCE_RANGES}]",
            'Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
            id="a source range that is none",
        ),
    ],
)
def test_annotations_that_steer_a_service_are_read_as_its_fields(document, field, message):
    with pytest.raises(Refused) as refusal:
        Direct().create(SERVICE, document)
    assert {field: message} == refusal.value.causes


@pytest.mark.parametrize("annotations", [{SOURCE_RANGES: " "}, {SOURCE_RANGES: "10.0.0.0/8, 192.0.2.0/24 "}])
def test_annotated_source_ranges_may_be_padded_or_empty(annotations):
    assert Direct().create(SERVICE, annotated(annotations, type="LoadBalancer"))


class TestLooseOldValues:
    """Addresses and networks written before strict parsing came (KEP-4858): they may stay as they are, no new one comes in."""

    SPEC = {"externalIPs": ["192.0.2.01"], "loadBalancerSourceRanges": ["010.0.0.0/8", "10.1.2.3/16"]}

    def old_service(self):
        """Stored by an API server of those days: put beside the path that every request takes."""
        api = Direct()
        api.create(SERVICE, service(type="LoadBalancer"))
        (record,) = api.state.scan(SERVICE.prefix)
        document = json.loads(record.value)
        document["spec"] |= self.SPEC
        document["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.09", "ipMode": "VIP"}]}}
        change = Txn((Compare(record.key, record.mod_revision),), (Put(record.key, json.dumps(document).encode()),))
        api.state.publish(api.state.decide((change,)))
        return api

    def test_a_change_elsewhere_is_taken_and_warned_of(self):
        api = self.old_service()
        made = api.patch(SERVICE, "web", {"spec": {"sessionAffinity": "ClientIP"}})
        assert self.SPEC == {name: made["spec"][name] for name in self.SPEC}
        later = "will be considered invalid in a future Kubernetes release: use"
        range_ = "spec.loadBalancerSourceRanges"
        assert [
            f'spec.externalIPs[0]: non-standard IP address "192.0.2.01" {later} "192.0.2.1"',
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
            f'{range_}[0]: non-standard CIDR value "010.0.0.0/8" {later} "10.0.0.0/8"',
            f'{range_}[1]: CIDR value "10.1.2.3/16" is ambiguous in this context (should be "10.1.0.0/16" or "10.1.2.3/32"?)',
        ] == warned(api)

    def test_an_old_value_may_move_and_a_new_one_is_strict(self):
        api = self.old_service()
        moved = {"externalIPs": ["192.0.2.7", "192.0.2.01"], "loadBalancerSourceRanges": ["10.1.2.3/16", "010.0.0.0/8"]}
        api.patch(SERVICE, "web", {"spec": moved})
        with pytest.raises(Refused) as refusal:
            api.patch(SERVICE, "web", {"spec": {"externalIPs": ["192.0.2.01", "192.0.2.02"]}})
        assert {"spec.externalIPs[1]": 'Invalid value: "192.0.2.02": must not have leading 0s'} == refusal.value.causes

    def test_a_status_is_taken_likewise(self):
        api = self.old_service()
        ingress = [{"ip": "192.0.2.09"}, {"ip": "192.0.2.10"}]
        api.patch(SERVICE, "web", {"status": {"loadBalancer": {"ingress": ingress}}}, "status")
        assert [
            'status.loadBalancer.ingress[0]: non-standard IP address "192.0.2.09" will be considered invalid in a future '
            'Kubernetes release: use "192.0.2.9"'
        ] == warned(api)
        with pytest.raises(Refused, match="must not have leading 0s"):
            api.patch(SERVICE, "web", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.08"}]}}}, "status")


def warned(api):
    """The texts of the last answer's Warning headers."""
    return [re.fullmatch(r'299 - "(.*)"', text)[1].replace('\\"', '"') for text in api.warnings]


EXTERNAL_IPS = "spec.externalIPs is deprecated and may no longer be implemented in some clusters"


@pytest.mark.parametrize(
    ("document", "warnings"),
    [
        pytest.param(service(), [], id="nothing to say"),
        pytest.param(service(externalIPs=["192.0.2.1"]), [EXTERNAL_IPS], id="external IPs are deprecated"),
        pytest.param(
            service(externalIPs=["FD01::1"]),
            ['spec.externalIPs[0]: IPv6 address "FD01::1" should be in RFC 5952 canonical format ("fd01::1")', EXTERNAL_IPS],
            id="IPv6 not in canonical form",
        ),
        pytest.param(
            service(type="LoadBalancer", loadBalancerSourceRanges=["FD01::/64"]),
            [
                'spec.loadBalancerSourceRanges[0]: IPv6 CIDR value "FD01::/64" should be in RFC 5952 canonical format '
                '("fd01::/64")'
            ],
            id="an IPv6 network not in canonical form",
        ),
        pytest.param(
            service(type="LoadBalancer", loadBalancerIP="192.0.2.01"),
            [
                'spec.loadBalancerIP: non-standard IP address "192.0.2.01" will be considered invalid in a future Kubernetes '
                'release: use "192.0.2.1"'
            ],
            id="loadBalancerIP with leading zeros",
        ),
        pytest.param(
            service(trafficDistribution="PreferClose"),
            ['spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'],
            id="PreferClose",
        ),
        pytest.param(
            service(clusterIP="None", sessionAffinity="ClientIP", externalIPs=["192.0.2.1"], loadBalancerIP="192.0.2.2"),
            [
                "spec.loadBalancerIP is ignored for headless services",
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
            id="what a headless Service ignores",
        ),
        pytest.param(
            service(type="ExternalName", externalName="a.b", externalIPs=["192.0.2.1"]),
            ['spec.externalIPs is ignored when spec.type is "ExternalName"'],
            id="what an ExternalName ignores",
        ),
        pytest.param(
            service(externalName="a.b"),
            ['spec.externalName is ignored when spec.type is not "ExternalName"'],
            id="a name without ExternalName",
        ),
        pytest.param(
            annotated({TOPOLOGY_HINTS: "Auto"}),
            [f"annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"],
            id="the older topology annotation",
        ),
        pytest.param(
            annotated({TOPOLOGY_MODE: "Auto"}, trafficDistribution="PreferSameZone"),
            [f"annotation {TOPOLOGY_MODE} takes precedence over spec.trafficDistribution; remove one of them"],
            id="two ways to say where traffic goes",
        ),
    ],
)
def test_what_is_unwise_is_warned_of(document, warnings):
    api = Direct()
    api.create(SERVICE, document)
    assert warnings == warned(api)
    api.patch(SERVICE, "web", {"metadata": {"labels": {"a": "b"}}})
    assert warnings == warned(api)


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
            pytest.param({"ip": "192.0.2.01"}, "ip", id="an address with leading zeros"),
            pytest.param({"hostname": "a_b"}, "hostname", id="a hostname that is none"),
            pytest.param({"ip": "192.0.2.1", "ports": [{"port": 0, "protocol": "TCP"}]}, "ports[0].port", id="port 0"),
            pytest.param(
                {"ip": "192.0.2.1", "ports": [{"port": 1, "protocol": "ICMP"}]}, "ports[0].protocol", id="a strange protocol"
            ),
            pytest.param(
                {"ip": "192.0.2.1", "ports": [{"port": 1, "protocol": "TCP", "error": "a b"}]},
                "ports[0].error",
                id="an error that is no word",
            ),
        ],
    )
    def test_a_broken_ingress_is_refused(self, ingress, field):
        with pytest.raises(Refused) as refusal:
            self.balancer().patch(SERVICE, "web", {"status": {"loadBalancer": {"ingress": [ingress]}}}, "status")
        assert [f"status.loadBalancer.ingress[0].{field}"] == list(refusal.value.causes)

    def test_errors_of_ports_and_conditions_are_kept(self):
        ports = [{"port": 53, "protocol": "UDP", "error": "LoadBalancerMixedProtocolNotSupported"}]
        condition = {
            "type": "LoadBalancerPortsError",
            "status": "True",
            "reason": "LoadBalancerMixedProtocolNotSupported",
            "message": "",
            "lastTransitionTime": "2026-11-22T12:00:00Z",
        }
        ingress = [{"ip": "192.0.2.7", "ipMode": "Proxy", "ports": ports}, {"hostname": "lb.example.com"}]
        status = {"loadBalancer": {"ingress": ingress}, "conditions": [condition]}
        assert status == self.balancer().patch(SERVICE, "web", {"status": status}, "status")["status"]

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
