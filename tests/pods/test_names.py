"""What a pod's hosts and hostname say; who it runs as; which address it gets; what its log lines mean."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pod_builders import a_pod, container

from mooring.model.pod import Pod
from mooring.pods.addresses import next_address
from mooring.pods.cri_log import parse, shown
from mooring.pods.names import TooLong, hostname, hosts
from mooring.pods.security import CAPABILITIES, DEFAULT, Refused, identity

OWN = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""
NODE_HOSTS = "127.0.0.1 localhost\n192.0.2.3 node-a\n"
ALIASES = [{"ip": "192.0.2.7", "hostnames": ["foo", "bar"]}, {"ip": "192.0.2.7", "hostnames": ["baz"]}, {"ip": "2001:db8::7"}]
ADDED = "\n# Entries added by HostAliases.\n192.0.2.7\tfoo\tbar\n192.0.2.7\tbaz\n2001:db8::7\n"
HOSTS = {
    "a pod's own addresses": (a_pod(), OWN + "10.244.0.5\tweb\nfd00::5\tweb\n"),
    "a subdomain makes a whole name": (
        a_pod(subdomain="db"),
        f"{OWN}10.244.0.5\tweb.db.default.svc.cluster.local\tweb\nfd00::5\tweb.db.default.svc.cluster.local\tweb\n"),
    "the short name stays, whatever the kernel is told": (
        a_pod(hostname="db-0", subdomain="db", setHostnameAsFQDN=True),
        OWN + "".join(f"{ip}\tdb-0.db.default.svc.cluster.local\tdb-0\n" for ip in ("10.244.0.5", "fd00::5"))),
    "a name of its own choice is the only one": (
        a_pod(hostname="db-0", subdomain="db", hostnameOverride="db.example.com"),
        OWN + "10.244.0.5\tdb.example.com\nfd00::5\tdb.example.com\n"),
    "aliases in order, one line each": (
        a_pod(hostAliases=ALIASES), f"{OWN}10.244.0.5\tweb\nfd00::5\tweb\n{ADDED}"),
    "the node's file on the host network": (
        a_pod(hostNetwork=True, hostAliases=ALIASES),
        f"# Kubernetes-managed hosts file (host network).\n{NODE_HOSTS}{ADDED}"),
}  # fmt: skip


@pytest.mark.parametrize(("pod", "wanted"), HOSTS.values(), ids=HOSTS)
def test_hosts(pod: Pod, wanted: str) -> None:
    assert wanted == hosts(pod, ("10.244.0.5", "fd00::5"), "cluster.local", NODE_HOSTS)


HOSTNAMES = {
    "the pod's name": (a_pod(), "web"),
    "its own hostname": (a_pod(hostname="db-0"), "db-0"),
    "a subdomain alone changes nothing": (a_pod(hostname="db-0", subdomain="db"), "db-0"),
    "fully qualified": (a_pod(hostname="db-0", subdomain="db", setHostnameAsFQDN=True), "db-0.db.default.svc.cluster.local"),
    "fully qualified needs a subdomain": (a_pod(hostname="db-0", setHostnameAsFQDN=True), "db-0"),
    "of its own choice": (a_pod(hostname="db-0", subdomain="db", hostnameOverride="db.example.com"), "db.example.com"),
    "the node's": (a_pod(hostNetwork=True), "node-a"),
    "the node's, whatever is asked": (a_pod(hostNetwork=True, hostname="db-0"), "node-a"),
    "a long name is cut": (a_pod(meta={"name": "x" * 62 + "-yyy"}), "x" * 62),
    "a name that just fits is not": (a_pod(meta={"name": "x" * 63}), "x" * 63),
    "the longest whole name": (
        a_pod(hostname="h" * 35, subdomain="db", setHostnameAsFQDN=True), "h" * 35 + ".db.default.svc.cluster.local"),
}  # fmt: skip


@pytest.mark.parametrize(("pod", "wanted"), HOSTNAMES.values(), ids=HOSTNAMES)
def test_hostname(pod: Pod, wanted: str) -> None:
    assert wanted == hostname(pod, "cluster.local", "node-a")


def test_a_whole_name_longer_than_the_kernel_takes_is_refused() -> None:
    pod = a_pod(hostname="h" * 36, subdomain="db", setHostnameAsFQDN=True)
    with pytest.raises(TooLong) as refusal:
        hostname(pod, "cluster.local", "node-a")
    whole = "h" * 36 + ".db.default.svc.cluster.local"
    assert str(refusal.value) == (
        f"Failed to construct FQDN from pod hostname and cluster domain, FQDN {whole} is too long "
        "(64 characters is the max, 65 characters requested)"
    )


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
