"""What a pod's resolv.conf says, what is cut from it, and in which words that is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pod_builders import a_pod

from mooring.model.pod import Pod
from mooring.pods.resolv_conf import NodeDns, Resolver, node_complaint, resolver

NODE_FILE = (
    "# a comment\nnameserver 192.0.2.1\nsearch old.example\nsearch example.com. . corp.example\noptions edns0 timeout:1\n"
)
NODE = NodeDns(("10.96.0.10",), "cluster.local", NODE_FILE, ("172.30.0.11",))
ALONE = NodeDns((), "cluster.local", NODE_FILE, ("172.30.0.11",))
DUAL = NodeDns(("10.96.0.10", "fd00:96::a"), "cluster.local", "", ("172.30.0.11", "fd00:30::11"))
SPACE = "default.svc.cluster.local svc.cluster.local cluster.local"
CLUSTER = f"search {SPACE} example.com corp.example\nnameserver 10.96.0.10\noptions ndots:5\n"
OWN = "search example.com corp.example\nnameserver 192.0.2.1\noptions edns0 timeout:1\n"
NONE = "search .\nnameserver 127.0.0.1\n"


def config(*nameservers: str, searches: Any = (), options: Any = ()) -> dict[str, Any]:
    return {"dnsConfig": {"nameservers": list(nameservers), "searches": list(searches), "options": list(options)}}


NDOTS = ({"name": "ndots", "value": "2"}, {"name": "edns0"}, {"name": "timeout", "value": ""})
POLICIES = {
    "the cluster first": (a_pod(), NODE, CLUSTER),
    "the cluster first, on the host network": (a_pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"), NODE, CLUSTER),
    "ClusterFirstWithHostNet off the host network": (a_pod(dnsPolicy="ClusterFirstWithHostNet"), NODE, CLUSTER),
    "ClusterFirst on the host network is Default": (a_pod(hostNetwork=True), NODE, OWN),
    "the node's own": (a_pod(dnsPolicy="Default"), NODE, OWN),
    "no cluster DNS": (a_pod(), ALONE, OWN),
    "both families of cluster DNS": (
        a_pod(), DUAL, f"search {SPACE}\nnameserver 10.96.0.10\nnameserver fd00:96::a\noptions ndots:5\n"),
    "another namespace": (
        a_pod(meta={"namespace": "prod"}), DUAL,
        "search prod.svc.cluster.local svc.cluster.local cluster.local\n"
        "nameserver 10.96.0.10\nnameserver fd00:96::a\noptions ndots:5\n"),
    "a cluster without a domain": (
        a_pod(), NodeDns(("10.96.0.10",), "", NODE_FILE),
        "search example.com corp.example\nnameserver 10.96.0.10\noptions ndots:5\n"),
    "a node without DNS, IPv4": (a_pod(dnsPolicy="Default"), NodeDns((), "", "", ("172.30.0.11",)), NONE),
    "a node without DNS, both families": (
        a_pod(dnsPolicy="Default"), DUAL, "search .\nnameserver 127.0.0.1\nnameserver ::1\n"),
    "a node without DNS or addresses": (a_pod(dnsPolicy="Default"), NodeDns((), "", ""), NONE),
    "nothing but what is configured": (
        a_pod(dnsPolicy="None", **config("192.0.2.9", searches=["corp"], options=NDOTS)), NODE,
        "search corp\nnameserver 192.0.2.9\noptions ndots:2 edns0 timeout\n"),
    "a server alone": (a_pod(dnsPolicy="None", **config("192.0.2.9")), NODE, "nameserver 192.0.2.9\n"),
    "configuration is added": (
        a_pod(**config("192.0.2.9", searches=["corp"], options=[{"name": "edns0"}])), NODE,
        f"search {SPACE} example.com corp.example corp\nnameserver 10.96.0.10\nnameserver 192.0.2.9\noptions ndots:5 edns0\n"),
    "what is there already is not added": (
        a_pod(**config("10.96.0.10", searches=["svc.cluster.local", "corp", "corp"])), NODE,
        f"search {SPACE} example.com corp.example corp\nnameserver 10.96.0.10\noptions ndots:5\n"),
    "the configuration's option wins, in its old place": (
        a_pod(dnsPolicy="Default", **config(options=NDOTS)), NODE,
        "search example.com corp.example\nnameserver 192.0.2.1\noptions edns0 timeout ndots:2\n"),
    "an underscore and a single dot": (
        a_pod(**config(searches=[".", "_sip._tcp.abc_d.example.com"])), DUAL,
        f"search {SPACE} . _sip._tcp.abc_d.example.com\n"
        "nameserver 10.96.0.10\nnameserver fd00:96::a\noptions ndots:5\n"),
}  # fmt: skip


@pytest.mark.parametrize(("pod", "dns", "wanted"), POLICIES.values(), ids=POLICIES)
def test_resolv_conf(pod: Pod, dns: NodeDns, wanted: str) -> None:
    assert wanted == resolver(pod, dns).text


def many(count: int, length: int = 0) -> list[str]:
    """Search paths of that length, all different."""
    return [f"s{number}.example.test".rjust(length, "x") for number in range(count)]


SERVERS = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
NAMESERVERS = (
    "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
    "10.96.0.10 192.0.2.1 192.0.2.2"
)
SEARCH_LINE = "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "
LIMITS: dict[str, tuple[Pod, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "just enough": (
        a_pod(**config(*SERVERS[:2], searches=many(29))),
        ("10.96.0.10", *SERVERS[:2]), (*SPACE.split(), *many(29)), ()),
    "a name server too many": (
        a_pod(**config(*SERVERS)), ("10.96.0.10", *SERVERS[:2]), tuple(SPACE.split()), (NAMESERVERS,)),
    "a search path too many": (
        a_pod(**config(searches=many(30))), ("10.96.0.10",), (*SPACE.split(), *many(29)),
        (f"{SEARCH_LINE}{SPACE} {' '.join(many(29))}",)),
    "2,048 letters": (
        a_pod(**config(searches=[*many(28, 70), "x" * 2])), ("10.96.0.10",), (*SPACE.split(), *many(28, 70), "x" * 2), ()),
    "2,049 letters": (
        a_pod(**config(searches=[*many(28, 70), "x" * 3])), ("10.96.0.10",), (*SPACE.split(), *many(28, 70)),
        (f"{SEARCH_LINE}{SPACE} {' '.join(many(28, 70))}",)),
    "a search path longer than C libraries bear": (
        a_pod(**config(searches=["x" * 254, "y" * 253])), ("10.96.0.10",), (*SPACE.split(), "y" * 253),
        (f"{SEARCH_LINE}{SPACE} {'y' * 253}",)),
    "both lists": (
        a_pod(**config(*SERVERS, searches=many(30))), ("10.96.0.10", *SERVERS[:2]), (*SPACE.split(), *many(29)),
        (NAMESERVERS, f"{SEARCH_LINE}{SPACE} {' '.join(many(29))}")),
}  # fmt: skip


@pytest.mark.parametrize(("pod", "servers", "searches", "told"), LIMITS.values(), ids=LIMITS)
def test_what_resolvers_cannot_bear_is_cut_and_told(
    pod: Pod, servers: tuple[str, ...], searches: tuple[str, ...], told: tuple[str, ...]
) -> None:
    found = resolver(pod, NodeDns(("10.96.0.10",), "cluster.local", "", ("172.30.0.11",)))
    assert Resolver(servers, searches, ("ndots:5",)) == Resolver(found.nameservers, found.searches, found.options)
    assert [("DNSConfigForming", each, "") for each in told] == [(c.reason, c.message, c.node) for c in found.complaints]


def test_a_node_without_cluster_dns_says_so_about_the_pod_and_about_itself() -> None:
    words = (
        'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. '
        'Falling back to "Default" policy.'
    )
    for pod in (a_pod(), a_pod(dnsPolicy="ClusterFirstWithHostNet")):
        (complaint,) = resolver(pod, ALONE).complaints
        assert ("MissingClusterDNS", f'pod: "web_default(u1)". {words}', words) == (
            complaint.reason, complaint.message, complaint.node,
        )  # fmt: skip
    assert resolver(a_pod(dnsPolicy="Default"), ALONE).complaints == ()
    assert resolver(a_pod(hostNetwork=True), ALONE).complaints == ()


COMPLAINTS = {
    "29 domains leave room for the cluster's": (many(29), "cluster.local", ""),
    "30 do not": (many(30), "cluster.local", "Resolv.conf file '/r' contains search line consisting of more than 29 domains!"),
    "without a cluster's domain there is room for 32": (many(32), "", ""),
    "but not for more": (many(33), "", "Resolv.conf file '/r' contains search line consisting of more than 32 domains!"),
    "a long one": (
        ["x" * 254], "", 'Resolv.conf file "/r" contains a search path which length is more than allowed 253 chars!'),
    "long together": (
        many(29, 70), "", "Resolv.conf file '/r' contains search line which length is more than allowed 2048 chars!"),
}  # fmt: skip


@pytest.mark.parametrize(("searches", "domain", "wanted"), COMPLAINTS.values(), ids=COMPLAINTS)
def test_a_node_complains_of_its_own_file(searches: list[str], domain: str, wanted: str) -> None:
    assert wanted == node_complaint(f"search {' '.join(searches)}\n", domain, "/r")


WORDS = st.text("ab.:# \t", max_size=8)
FILES = st.lists(
    st.tuples(st.sampled_from(["nameserver", "search", "options", "#", "domain", ""]), st.lists(WORDS, max_size=40))
)


@given(FILES, st.lists(WORDS, max_size=40), st.lists(WORDS, max_size=5), st.sampled_from(["ClusterFirst", "Default", "None"]))
def test_whatever_is_asked_the_file_is_within_the_limits(
    lines: list[tuple[str, list[str]]], searches: list[str], servers: list[str], policy: str
) -> None:
    own = "\n".join(f"{word} {' '.join(rest)}" for word, rest in lines)
    found = resolver(a_pod(dnsPolicy=policy, **config(*servers, searches=searches)), NodeDns(("10.96.0.10",), "a.b", own))
    assert len(found.nameservers) <= 3
    assert len(found.searches) <= 32
    assert len(" ".join(found.searches)) <= 2048
    assert [each.reason for each in found.complaints] == ["DNSConfigForming"] * len(found.complaints)
