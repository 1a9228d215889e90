"""Are kube-proxy's options understood as kube-proxy understands them, and is nonsense refused by the name of its option?"""

from typing import Any

import pytest

from mooring.app.roles import node
from mooring.cli.main import run
from mooring.edges.netlink.sysctls import ConntrackOptions
from mooring.services.locality import DetectLocal, ProxyOptions


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[node.Options]:
    """The options of every node that would have been run."""
    found: list[node.Options] = []
    monkeypatch.setattr(node, "run", found.append)
    return found


def arguments(*more: str) -> list[str]:
    return ["node", "--name", "a", "--address", "172.30.0.11,fd00:30::11", *more]


def test_without_options_a_node_is_as_kube_proxys_defaults_make_it(started: list[node.Options]) -> None:
    assert run(arguments()) == 0
    (options,) = started
    assert options.proxy == ProxyOptions()
    assert options.proxying == ProxyOptions(cluster_dns=("10.96.0.10",)), "what the tables follow, and the node tells"
    assert options.conntrack == ConntrackOptions()
    assert (options.healthz, options.metrics) == (("", 10256), ("127.0.0.1", 10249))
    assert options.node_ports == (30000, 32767)
    assert options.resolv_conf == "/etc/resolv.conf"
    assert options.here.node_port_addresses == ("172.30.0.11", "fd00:30::11")


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        (["--nodeport-addresses", "localhost, 172.30.0.0/24"], "nodeport_addresses", ("localhost", "172.30.0.0/24")),
        (["--nodeport-addresses", ""], "nodeport_addresses", ("primary",)),
        (["--masquerade-all"], "masquerade_all", True),
        (
            ["--detect-local-mode", "ClusterCIDR", "--cluster-cidr", "10.0.0.0/8,fd00::/8"],
            "cluster_cidr",
            ("10.0.0.0/8", "fd00::/8"),
        ),
        (["--detect-local-mode", "none"], "detect_local", DetectLocal.NONE),
        (["--detect-local-mode", "BridgeInterface", "--pod-bridge-interface", "cbr0"], "pod_interface", "cbr0"),
        (["--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "veth"], "pod_interface", "veth"),
        (["--pod-bridge-interface", "cbr0"], "pod_interface", ""),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_is_said_of_services(started: list[node.Options], given: list[str], field: str, value: Any) -> None:
    assert run(arguments(*given)) == 0
    assert getattr(started[0].proxy, field) == value


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        (["--healthz-bind-address", "0.0.0.0:10300"], "healthz", ("0.0.0.0", 10300)),
        (["--healthz-bind-address", "127.0.0.1"], "healthz", ("127.0.0.1", 10256)),
        (["--healthz-bind-address", ":0"], "healthz", ("", 0)),
        (["--healthz-bind-address", ""], "healthz", None),
        (["--metrics-bind-address", "[::1]:9000"], "metrics", ("::1", 9000)),
        (["--metrics-bind-address", "::1"], "metrics", ("::1", 10249)),
        (["--metrics-bind-address", "[::]"], "metrics", ("::", 10249)),
        (["--node-port-range", "20000-21000"], "node_ports", (20000, 21000)),
        (["--resolv-conf", "/run/node.conf"], "resolv_conf", "/run/node.conf"),
        (["--resolv-conf", ""], "resolv_conf", ""),
        (["--cluster-dns", ""], "cluster_dns", ()),
        (
            ["--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "1h30m"],
            "conntrack",
            ConntrackOptions(max_per_core=0, tcp_timeout_established=5400),
        ),
        (
            ["--conntrack-tcp-timeout-close-wait", "0", "--no-conntrack-tcp-be-liberal"],
            "conntrack",
            ConntrackOptions(tcp_timeout_close_wait=0, tcp_be_liberal=False),
        ),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_is_said_of_the_node(started: list[node.Options], given: list[str], field: str, value: Any) -> None:
    assert run(arguments(*given)) == 0
    assert getattr(started[0], field) == value


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            ["--nodeport-addresses", "primry"],
            "--nodeport-addresses: 'primry' is none of primary, all, localhost, and no range of addresses",
        ),
        (
            ["--detect-local-mode", "PodCIDR"],
            "--detect-local-mode 'PodCIDR': NodeCIDR, ClusterCIDR, BridgeInterface, InterfaceNamePrefix, None",
        ),
        (["--detect-local-mode", "ClusterCIDR"], "--cluster-cidr: required with --detect-local-mode ClusterCIDR"),
        (["--cluster-cidr", "10.0.0.1/8"], "--cluster-cidr '10.0.0.1/8': 10.0.0.1/8 has host bits set"),
        (
            ["--detect-local-mode", "BridgeInterface"],
            "--pod-bridge-interface: required with --detect-local-mode BridgeInterface",
        ),
        (
            ["--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "a/b"],
            "--pod-interface-name-prefix: 'a/b' is no name of a network interface",
        ),
        (
            ["--conntrack-tcp-timeout-established", "day"],
            "--conntrack-tcp-timeout-established 'day': a duration is expected, such as 24h, 1h30m, 90s",
        ),
        (
            ["--conntrack-tcp-timeout-close-wait", ""],
            "--conntrack-tcp-timeout-close-wait '': a duration is expected, such as 24h, 1h30m, 90s",
        ),
        (["--node-port-range", "32767-30000"], "--node-port-range '32767-30000': FIRST-LAST is expected, such as 30000-32767"),
        (
            ["--healthz-bind-address", "here:10256"],
            "--healthz-bind-address 'here': 'here' does not appear to be an IPv4 or IPv6 address",
        ),
        (["--metrics-bind-address", "127.0.0.1:port"], "--metrics-bind-address '127.0.0.1:port': HOST:PORT is expected"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_nonsense_is_refused_by_the_name_of_its_option(
    started: list[node.Options], capsys: pytest.CaptureFixture[str], given: list[str], says: str
) -> None:
    assert run(arguments(*given)) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"mooring: {says}"
    assert started == []
