"""What a pod says about names, hosts and DNS: what is refused, in upstream's words; what is only warned of."""

import pytest
from direct import Direct, Refused

from mooring.model.kinds import DEPLOYMENT, POD

SEARCHES = [f"{number}.example.com" for number in range(33)]
LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    f"with an alphanumeric character (e.g. 'example.com', regex used for validation is '{LABEL}(\\.{LABEL})*')"
)
NAME = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    f"alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL}')"
)
UNDERSCORED = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
SEARCH = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{UNDERSCORED}(\\.{UNDERSCORED})*')"
)
ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def spec(**more):
    return {"containers": [{"name": "c", "image": "echo:1"}]} | more


def pod(pod_name="p", **more):
    return {"metadata": {"name": pod_name}, "spec": spec(**more)}


def dns(**config):
    return pod(dnsConfig=config)


def many(count):
    return [f"192.0.2.{number}" for number in range(count)]


def quoted(texts):
    return "[" + ",".join(f'"{each}"' for each in texts) + "]"


REFUSED = {
    "an unknown policy": (
        pod(dnsPolicy="Sometimes"),
        "dnsPolicy", 'Unsupported value: "Sometimes": supported values: '
        '"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"'),
    "no DNS at all": (
        pod(dnsPolicy="None"),
        "dnsConfig", "Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
    "no name server at all": (
        pod(dnsPolicy="None", dnsConfig={"searches": ["example.com"] * 33}),
        "dnsConfig.nameservers", "Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"),
    "an empty configuration is not none": (
        pod(dnsPolicy="None", dnsConfig={}),
        "dnsConfig.nameservers", "Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"),
    "four name servers": (
        dns(nameservers=many(4)),
        "dnsConfig.nameservers", f"Invalid value: {quoted(many(4))}: must not have more than 3 nameservers"),
    "a name server by name": (
        dns(nameservers=["dns.example.com"]),
        "dnsConfig.nameservers[0]", f'Invalid value: "dns.example.com": {ADDRESS}'),
    "33 search paths": (
        dns(searches=SEARCHES),
        "dnsConfig.searches", f"Invalid value: {quoted(SEARCHES)}: must not have more than 32 search paths"),
    "2,049 letters": (
        dns(searches=["x" * 63 + "." + "y" * 63] * 16 + ["z"]),
        "dnsConfig.searches", f'Invalid value: {quoted(["x" * 63 + "." + "y" * 63] * 16 + ["z"])}: '
        "must not have more than 2048 characters (including spaces) in the search list"),
    "a search path in capitals": (
        dns(searches=["ok.example.com", "Example.COM."]),
        "dnsConfig.searches[1]", f'Invalid value: "Example.COM": {SEARCH}'),
    "an empty search path": (dns(searches=[""]), "dnsConfig.searches[0]", f'Invalid value: "": {SEARCH}'),
    "two dots": (dns(searches=[".."]), "dnsConfig.searches[0]", f'Invalid value: ".": {SEARCH}'),
    "an underscore at the end": (dns(searches=["a_.b"]), "dnsConfig.searches[0]", f'Invalid value: "a_.b": {SEARCH}'),
    "a long search path": (
        dns(searches=["x" * 254]),
        "dnsConfig.searches[0]", f'Invalid value: "{"x" * 254}": must be no more than 253 characters'),
    "an option without a name": (
        dns(options=[{"name": "ndots", "value": "2"}, {"value": "3"}]),
        "dnsConfig.options[1]", "Required value: must not be empty"),
    "an alias of no address": (
        pod(hostAliases=[{"ip": "192.0.2.300", "hostnames": ["a"]}]),
        "hostAliases[0].ip", f'Invalid value: "192.0.2.300": {ADDRESS}'),
    "an alias that is no name": (
        pod(hostAliases=[{"ip": "192.0.2.3", "hostnames": ["a", "b_c"]}]),
        "hostAliases[0].hostnames[1]", f'Invalid value: "b_c": {SUBDOMAIN}'),
    "a hostname with a dot": (pod(hostname="a.b"), "hostname", 'Invalid value: "a.b": must not contain dots'),
    "a hostname in capitals": (pod(hostname="A"), "hostname", f'Invalid value: "A": {NAME}'),
    "a long hostname": (
        pod(hostname="x" * 64), "hostname", f'Invalid value: "{"x" * 64}": must be no more than 63 characters'),
    "a subdomain with a dot": (pod(subdomain="a.b"), "subdomain", 'Invalid value: "a.b": must not contain dots'),
    "a chosen name in capitals": (pod(hostnameOverride="A.b"), "hostnameOverride", f'Invalid value: "A.b": {SUBDOMAIN}'),
    "a long chosen name": (
        pod(hostnameOverride="x" * 65), "hostnameOverride", "Too long: may not be more than 64 bytes"),
    "a chosen name on the host network": (
        pod(hostnameOverride="a.b", hostNetwork=True),
        "hostnameOverride", "Forbidden: may not be set when `hostNetwork` is true"),
    "a chosen name and a whole one": (
        pod(hostnameOverride="a.b", setHostnameAsFQDN=True),
        "hostnameOverride", "Forbidden: may not be set when `setHostnameAsFQDN` is true"),
}  # fmt: skip


@pytest.mark.parametrize(("document", "field", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(document, field, message):
    with pytest.raises(Refused) as refusal:
        Direct().create(POD, document)
    assert {f"spec.{field}": message} == refusal.value.causes


@pytest.mark.parametrize(("document", "field", "message"), REFUSED.values(), ids=REFUSED)
def test_a_template_is_refused_as_a_pod_is(document, field, message):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": document["spec"]}
    with pytest.raises(Refused) as refusal:
        deployment = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        Direct().create(DEPLOYMENT, {"metadata": {"name": "d"}, "spec": deployment})
    assert {f"spec.template.spec.{field}": message} == refusal.value.causes


ALLOWED = {
    "a search path with its final dot": dns(searches=["example.com."]),
    "a single dot": dns(searches=["."]),
    "underscores": dns(searches=["_sip._tcp.abc_d.example.com"]),
    "32 search paths": dns(searches=SEARCHES[:32]),
    "2,048 letters": dns(searches=["x" * 63 + "." + "y" * 63] * 16),
    "three name servers of both families": pod(
        dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.1", "2001:db8::1", "::1"]}
    ),
    "an option without a value": dns(options=[{"name": "edns0"}]),
    "the same name server twice": dns(nameservers=["192.0.2.1"] * 2),
    "one address with several names, and none": pod(
        hostAliases=[{"ip": "::1", "hostnames": ["a", "b.c"]}, {"ip": "192.0.2.1"}]
    ),
    "a chosen name, hostname and subdomain": pod(hostname="a", subdomain="b", hostnameOverride="c.d", setHostnameAsFQDN=False),
    "the longest chosen name": pod(hostnameOverride="x" * 64),
}


@pytest.mark.parametrize("document", ALLOWED.values(), ids=ALLOWED)
def test_what_is_allowed_stands_as_written(document):
    made = Direct().create(POD, document)["spec"]
    assert {name: made[name] for name in document["spec"] if name != "containers"} == {
        name: value for name, value in document["spec"].items() if name != "containers"
    }
    assert made["dnsPolicy"] == document["spec"].get("dnsPolicy", "ClusterFirst")


WARNINGS = {
    "a name with dots": (
        pod("a.b"), ["metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; "
                     "a DNS label is recommended: [must not contain dots]"]),
    "an alias that comes twice": (
        pod(hostAliases=[{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}, {"ip": "192.0.2.1"}]),
        ['spec.hostAliases[2].ip: duplicate ip "192.0.2.1"']),
    "nothing": (pod(hostAliases=[{"ip": "192.0.2.1"}]), []),
}  # fmt: skip


@pytest.mark.parametrize(("document", "wanted"), WARNINGS.values(), ids=WARNINGS)
def test_what_is_warned_of(document, wanted):
    api = Direct()
    made = api.create(POD, document)
    assert wanted == [each.split('"', 1)[1][:-1].replace('\\"', '"') for each in api.warnings]
    api.update(POD, made)
    assert api.warnings == []
