"""What a pod's resolv.conf, hosts and hostname say; who it runs as; which address it gets; what its log lines mean."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pod_builders import a_pod, container

from mooring.model.pod import Pod
from mooring.pods.addresses import next_address
from mooring.pods.cri_log import parse, shown
from mooring.pods.names import hostname, hosts, resolv_conf
from mooring.pods.security import CAPABILITIES, DEFAULT, Refused, identity

NODE_FILE = "nameserver 192.0.2.1\nsearch example.com\noptions edns0\n"
CLUSTER = (
    "search default.svc.cluster.local svc.cluster.local cluster.local example.com\nnameserver 10.96.0.10\noptions ndots:5\n"
)
CONFIG = {"nameservers": ["192.0.2.9"], "searches": ["corp"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}
POLICIES = {
    "the cluster first": (a_pod(), CLUSTER),
    "the node's own": (a_pod(dnsPolicy="Default"), "search example.com\nnameserver 192.0.2.1\noptions edns0\n"),
    "host network falls back to the node's": (
        a_pod(hostNetwork=True), "search example.com\nnameserver 192.0.2.1\noptions edns0\n"),
    "host network with the cluster first": (a_pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"), CLUSTER),
    "nothing but what is configured": (
        a_pod(dnsPolicy="None", dnsConfig=CONFIG), "search corp\nnameserver 192.0.2.9\noptions ndots:2 edns0\n"),
    "configuration is added and wins": (
        a_pod(dnsConfig=CONFIG),
        "search default.svc.cluster.local svc.cluster.local cluster.local example.com corp\n"
        "nameserver 10.96.0.10\nnameserver 192.0.2.9\noptions ndots:2 edns0\n"),
}  # fmt: skip


@pytest.mark.parametrize(("pod", "wanted"), POLICIES.values(), ids=POLICIES)
def test_resolv_conf(pod: Pod, wanted: str) -> None:
    assert wanted == resolv_conf(pod, ("10.96.0.10",), "cluster.local", NODE_FILE)


def test_hosts_name_the_pod_and_its_aliases() -> None:
    pod = a_pod(subdomain="db", hostAliases=[{"ip": "192.0.2.7", "hostnames": ["foo", "bar"]}])
    text = hosts(pod, ("10.244.0.5", "fd00::5"), "cluster.local", "")
    assert "10.244.0.5\tweb.db.default.svc.cluster.local\tweb\nfd00::5\tweb.db.default.svc.cluster.local\tweb\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n192.0.2.7\tfoo\tbar\n")


HOSTNAMES = {
    "the pod's name": (a_pod(), "web"),
    "its own hostname": (a_pod(hostname="db-0"), "db-0"),
    "fully qualified": (a_pod(hostname="db-0", subdomain="db", setHostnameAsFQDN=True), "db-0.db.default.svc.cluster.local"),
    "the node's": (a_pod(hostNetwork=True), "node-a"),
    "a long name is cut": (a_pod(meta={"name": "x" * 62 + "-yyy"}), "x" * 62),
}


@pytest.mark.parametrize(("pod", "wanted"), HOSTNAMES.values(), ids=HOSTNAMES)
def test_hostname(pod: Pod, wanted: str) -> None:
    assert wanted == hostname(pod, "cluster.local", "node-a")


def who(
    pod_context: dict[str, Any], own: dict[str, Any], **spec: Any
) -> tuple[int, int, tuple[int, ...], frozenset[str], bool]:
    pod = a_pod(container(securityContext=own), securityContext=pod_context, **spec)
    found = identity(pod, pod.spec.containers[0])
    names = {number: name for name, number in CAPABILITIES.items()}
    return found.user, found.group, found.groups, frozenset(names[one] for one in found.capabilities), found.read_only_root


IDENTITIES = {
    "root with the default capabilities": ({}, {}, (0, 0, (), DEFAULT, False)),
    "the container's over the pod's": (
        {"runAsUser": 1, "runAsGroup": 2}, {"runAsUser": 3, "readOnlyRootFilesystem": True}, (3, 2, (), DEFAULT, True)),
    "groups": ({"fsGroup": 7, "supplementalGroups": [8]}, {}, (0, 0, (8, 7), DEFAULT, False)),
    "drop all, add one": (
        {}, {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
        (0, 0, (), frozenset({"NET_BIND_SERVICE"}), False)),
    "one that ends at the pod's network": (
        {}, {"capabilities": {"add": ["CAP_NET_ADMIN"]}}, (0, 0, (), DEFAULT | {"NET_ADMIN"}, False)),
}  # fmt: skip


@pytest.mark.parametrize(("pod_context", "own", "wanted"), IDENTITIES.values(), ids=IDENTITIES)
def test_identity(pod_context: dict[str, Any], own: dict[str, Any], wanted: tuple[Any, ...]) -> None:
    assert wanted == who(pod_context, own)


REFUSALS = {
    "a privileged container": ({}, {"privileged": True}, {}, "privileged containers are not supported"),
    "a capability over the host": ({}, {"capabilities": {"add": ["SYS_ADMIN"]}}, {}, "capabilities.add: SYS_ADMIN"),
    "network administration of the host": (
        {}, {"capabilities": {"add": ["NET_ADMIN"]}}, {"hostNetwork": True}, "capabilities.add: NET_ADMIN"),
    "an unknown one": ({}, {"capabilities": {"drop": ["FLY"]}}, {}, 'unknown capability "FLY"'),
    "root where root is forbidden": ({"runAsNonRoot": True}, {}, {}, "container has runAsNonRoot and image will run as root"),
}  # fmt: skip


@pytest.mark.parametrize(("pod_context", "own", "spec", "text"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_refused(pod_context: dict[str, Any], own: dict[str, Any], spec: dict[str, Any], text: str) -> None:
    with pytest.raises(Refused, match=text):
        who(pod_context, own, **spec)


@given(st.sampled_from(["10.244.1.0/28", "fd00::/124", "10.0.0.0/29"]), st.integers(1, 4))
def test_addresses_are_handed_out_once_and_a_freed_one_rests_longest(network: str, freed: int) -> None:
    used: list[str] = []
    last = ""
    with pytest.raises(LookupError, match="no free address in"):
        while True:
            last = next_address(network, used, last)
            assert last not in used
            used.append(last)
    assert 5 <= len(used) <= 14
    newest, oldest = used[-1], used[:freed]
    assert oldest == [used.pop(0) for _ in oldest]
    assert oldest[0] == next_address(network, used, newest)


LINES = {
    "a whole line": (b"2026-01-02T03:04:05.000000006Z stdout F hello world", "stdout", True, b"hello world"),
    "a part of a line": (b"2026-01-02T03:04:05.000000006Z stderr P part", "stderr", False, b"part"),
    "an empty line": (b"2026-01-02T03:04:05.000000006Z stdout F ", "stdout", True, b""),
}


@pytest.mark.parametrize(("data", "stream", "whole", "text"), LINES.values(), ids=LINES)
def test_log_lines(data: bytes, stream: str, whole: bool, text: bytes) -> None:
    line = parse(data)
    assert line is not None
    assert (stream, whole, text) == (line.stream, line.whole, line.text)
    assert text + (b"\n" if whole else b"") == shown(line, timestamps=False)
    assert shown(line, timestamps=True).startswith(b"2026-01-02T03:04:05.000000006Z ")


@given(st.binary(max_size=80))
def test_any_bytes_are_a_line_or_none(data: bytes) -> None:
    parse(data)
