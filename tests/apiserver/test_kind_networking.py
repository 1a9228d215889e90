"""Ingress, IngressClass, ServiceCIDR, IPAddress and Event: rules and rows."""

from datetime import timedelta

import pytest
from direct import NOW, Direct, Refused

from mooring.apiserver.contract import Env, Settings
from mooring.apiserver.kinds import STRATEGIES
from mooring.apiserver.kinds.printing import human_duration
from mooring.model.kinds import CORE_EVENT, EVENT, INGRESS, INGRESS_CLASS, IP_ADDRESS, SERVICE_CIDR

BACKEND = {"service": {"name": "web", "port": {"number": 80}}}


def ingress(backend=BACKEND, host="a.example.com", **path):
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend} | path]}}
    return {"metadata": {"name": "a"}, "spec": {"rules": [rule]}}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        pytest.param({"metadata": {"name": "a"}, "spec": {}}, "spec", id="neither rules nor a default"),
        pytest.param(ingress(host="192.0.2.1"), "spec.rules[0].host", id="an address as host"),
        pytest.param(ingress(host="*.*.com"), "spec.rules[0].host", id="two stars"),
        pytest.param(ingress(pathType=None), "spec.rules[0].http.paths[0].pathType", id="no path type"),
        pytest.param(ingress(pathType="Regex"), "spec.rules[0].http.paths[0].pathType", id="an unknown path type"),
        pytest.param(ingress(path="a"), "spec.rules[0].http.paths[0].path", id="a relative path"),
        pytest.param(ingress(path="/a//b"), "spec.rules[0].http.paths[0].path", id="a doubled slash"),
        pytest.param(ingress({"service": {"name": "web"}}), "spec.rules[0].http.paths[0].backend", id="a service without port"),
        pytest.param(
            ingress({"service": {"name": "web", "port": {"number": 70000}}}),
            "spec.rules[0].http.paths[0].backend.service.port.number",
            id="a port too high",
        ),
        pytest.param(
            ingress(BACKEND | {"resource": {"kind": "K", "name": "n"}}),
            "spec.rules[0].http.paths[0].backend",
            id="service and resource",
        ),
        pytest.param(ingress({}), "spec.rules[0].http.paths[0].backend", id="a backend of nothing"),
        pytest.param(
            ingress({"resource": {"kind": "K/L", "name": "n"}}),
            "spec.rules[0].http.paths[0].backend.resource.kind",
            id="a resource whose kind is no path segment",
        ),
        pytest.param(
            ingress() | {"metadata": {"name": "a", "annotations": {"kubernetes.io/ingress.class": "x"}}, "class": "y"},
            "annotations.kubernetes.io/ingress.class",
            id="two classes",
        ),
    ],
)
def test_a_broken_ingress_is_refused(document, field):
    if named := document.pop("class", ""):
        document["spec"]["ingressClassName"] = named
    with pytest.raises(Refused) as refusal:
        Direct().create(INGRESS, document)
    assert [field] == list(refusal.value.causes)


def marked(api, name, value="true"):
    metadata = {"name": name, "annotations": {"ingressclass.kubernetes.io/is-default-class": value}}
    api.create(INGRESS_CLASS, {"metadata": metadata, "spec": {"controller": "a.io/b"}})


@pytest.mark.parametrize(
    ("classes", "given", "expected"),
    [
        pytest.param([], {}, None, id="there is no default"),
        pytest.param([("plain", "false", 0)], {}, None, id="a class that is marked false"),
        pytest.param([("plain", "false", 0), ("best", "true", 0)], {}, "best", id="one default"),
        pytest.param([("b", "true", 0), ("a", "true", 5)], {}, "a", id="of two defaults the newest"),
        pytest.param([("b", "true", 5), ("a", "true", 0)], {}, "b", id="of two defaults the newest, whatever its name"),
        pytest.param([("b", "true", 0), ("a", "true", 0)], {}, "a", id="of two as old as each other the first by name"),
        pytest.param([("best", "true", 0)], {"name": "mine"}, "mine", id="a class of its own"),
        pytest.param([("best", "true", 0)], {"annotation": "old"}, None, id="a class by annotation"),
    ],
)
def test_an_ingress_without_class_gets_the_default(classes, given, expected):
    api = Direct()
    for name, value, age in classes:
        api.env = Env(NOW + timedelta(seconds=age), api.env.rng, api.settings)
        marked(api, name, value)
    document = ingress()
    if "name" in given:
        document["spec"]["ingressClassName"] = given["name"]
    if "annotation" in given:
        document["metadata"]["annotations"] = {"kubernetes.io/ingress.class": given["annotation"]}
    assert expected == api.create(INGRESS, document, dryRun="All")["spec"].get("ingressClassName")
    assert expected == api.create(INGRESS, document)["spec"].get("ingressClassName")
    assert expected == api.get(INGRESS, "a")["spec"].get("ingressClassName")


def test_the_default_class_is_given_on_create_alone():
    api = Direct()
    api.create(INGRESS, ingress())
    marked(api, "late")
    assert "ingressClassName" not in api.patch(INGRESS, "a", {"metadata": {"labels": {"a": "b"}}})["spec"]


def test_the_status_of_an_ingress():
    api, ports = Direct(), [{"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP", "error": "NoCertificate"}]
    api.create(INGRESS, ingress())
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.7", "ports": ports}, {"hostname": "lb.example.com"}]}}
    assert status == api.patch(INGRESS, "a", {"status": status}, "status")["status"]
    assert status == api.patch(INGRESS, "a", {"status": {"loadBalancer": {}}, "metadata": {"labels": {"a": "b"}}})["status"]
    for broken in (
        {"ip": "192.0.2.007"},
        {"hostname": "192.0.2.7"},
        {"hostname": "_"},
    ):
        with pytest.raises(Refused) as refusal:
            api.patch(INGRESS, "a", {"status": {"loadBalancer": {"ingress": [broken]}}}, "status")
        assert [f"status.loadBalancer.ingress[0].{next(iter(broken))}"] == list(refusal.value.causes)


@pytest.mark.parametrize("host", ["a.example.com", "*.example.com", ""])
def test_good_hosts(host):
    assert Direct().create(INGRESS, ingress(host=host))


def test_the_row_of_an_ingress():
    document = ingress() | {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}
    document["spec"] |= {"tls": [{}], "ingressClassName": "mooring"}
    assert ["a", "mooring", "a.example.com", "192.0.2.7", "80, 443", "<unknown>"] == STRATEGIES[INGRESS].cells(
        document, Env(NOW, None, Settings())
    )


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.controller"),
        ({"controller": "none"}, "spec.controller"),
        ({"controller": "a.io/b", "parameters": {"name": "n"}}, "spec.parameters.kind"),
        ({"controller": "a.io/b", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}}, "spec.parameters.namespace"),
        ({"controller": "a.io/b", "parameters": {"kind": "K", "name": "n", "namespace": "x"}}, "spec.parameters.namespace"),
    ],
)
def test_a_broken_ingress_class_is_refused(spec, field):
    with pytest.raises(Refused) as refusal:
        Direct().create(INGRESS_CLASS, {"metadata": {"name": "a"}, "spec": spec})
    assert [field] == list(refusal.value.causes)


@pytest.mark.parametrize(
    ("cidrs", "field"),
    [
        pytest.param([], "spec.cidrs", id="none"),
        pytest.param(["10.0.0.0/24", "10.0.1.0/24"], "spec.cidrs", id="two of one family"),
        pytest.param(["10.0.0.0/24", "fd00::/112", "10.1.0.0/24"], "spec.cidrs", id="three"),
        pytest.param(["10.0.0.1/24"], "spec.cidrs[0]", id="host bits"),
        pytest.param(["fd00::/63"], "spec.cidrs[0]", id="IPv6 larger than a /64"),
        pytest.param(["fd00:0::/64"], "spec.cidrs[0]", id="not canonical"),
    ],
)
def test_a_broken_service_cidr_is_refused(cidrs, field):
    with pytest.raises(Refused) as refusal:
        Direct().create(SERVICE_CIDR, {"metadata": {"name": "a"}, "spec": {"cidrs": cidrs}})
    assert [field] == list(refusal.value.causes)


def test_a_service_cidr_never_changes():
    api = Direct()
    api.create(SERVICE_CIDR, {"metadata": {"name": "a"}, "spec": {"cidrs": ["10.0.0.0/24"]}})
    with pytest.raises(Refused, match="field is immutable"):
        api.patch(SERVICE_CIDR, "a", {"spec": {"cidrs": ["10.0.1.0/24"]}})


PARENT = {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}


@pytest.mark.parametrize(
    ("name", "spec", "field"),
    [
        ("010.0.0.1", PARENT, "metadata.name"),
        ("FD00::1", PARENT, "metadata.name"),
        ("web", PARENT, "metadata.name"),
        ("10.0.0.1", {}, "spec.parentRef"),
        ("10.0.0.1", {"parentRef": {"resource": "services"}}, "spec.parentRef.name"),
        ("10.0.0.1", {"parentRef": {"name": "web"}}, "spec.parentRef.resource"),
    ],
)
def test_a_broken_ip_address_is_refused(name, spec, field):
    with pytest.raises(Refused) as refusal:
        Direct().create(IP_ADDRESS, {"metadata": {"name": name}, "spec": spec})
    assert [field] == list(refusal.value.causes)


def test_the_parent_of_an_address_never_changes():
    api = Direct()
    api.create(IP_ADDRESS, {"metadata": {"name": "fd00::1"}, "spec": PARENT})
    with pytest.raises(Refused, match="field is immutable"):
        api.patch(IP_ADDRESS, "fd00::1", {"spec": {"parentRef": {"name": "other"}}})


ABOUT = {"kind": "Pod", "namespace": "default", "name": "p"}


def test_an_event_is_one_record_with_two_spellings():
    api = Direct()
    api.create(CORE_EVENT, {"metadata": {"name": "e"}, "involvedObject": ABOUT, "message": "m", "reason": "r", "count": 2})
    seen = api.get(EVENT, "e")
    assert (ABOUT, "m", 2) == (seen["regarding"], seen["note"], seen["deprecatedCount"])


def test_an_event_of_another_namespace_is_refused():
    with pytest.raises(Refused, match=r"does not match event\.namespace"):
        Direct().create(CORE_EVENT, {"metadata": {"name": "e"}, "involvedObject": ABOUT | {"namespace": "other"}})


def test_the_new_api_asks_for_more():
    with pytest.raises(Refused) as refusal:
        Direct().create(EVENT, {"metadata": {"name": "e"}, "regarding": ABOUT, "type": "Normal"})
    assert {"eventTime", "reportingController", "reportingInstance", "action", "reason"} == set(refusal.value.causes)


def test_the_row_of_an_event():
    document = {
        "metadata": {"name": "e"},
        "involvedObject": ABOUT | {"fieldPath": "spec.containers{c}"},
        "type": "Normal",
        "reason": "Started",
        "message": "Started it\n",
        "source": {"component": "kubelet", "host": "a"},
        "count": 3,
        "firstTimestamp": "2026-11-22T11:00:00Z",
        "lastTimestamp": "2026-11-22T11:59:00Z",
    }
    expected = ["60s", "Normal", "Started", "pod/p", "spec.containers{c}", "kubelet, a", "Started it", "60m", 3, "e"]
    assert expected == STRATEGIES[CORE_EVENT].cells(document, Env(NOW, None, Settings()))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (192 * 3600, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (731 * 86400, "2y1d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_ages_read_as_kubectls(seconds, text):
    assert text == human_duration(seconds)
