"""mooring node: run pods, the dataplane and DNS of one node. Options about Services have kube-proxy's names and meanings."""

import re
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import typer

from mooring.app.resolver import load
from mooring.app.roles import node, node_names
from mooring.app.settings import DEFAULT_DATA_DIR, SettingsError
from mooring.cli.main import CommandError
from mooring.cli.roles import LogFormat, RoleKubeconfig, addresses, host_and_port, log_to_stdout, ranges
from mooring.dns.settings import DnsSettings, DnsSettingsError
from mooring.edges import cgroups
from mooring.edges.netlink.sysctls import ConntrackOptions
from mooring.services.locality import PRIMARY, DetectLocal, ProxyOptions

_MODES = {each.value.lower(): each for each in DetectLocal}
_DURATION = re.compile(r"(?=.)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_FLAGS = {
    ("pod-interface", DetectLocal.BRIDGE_INTERFACE): "--pod-bridge-interface",
    ("pod-interface", DetectLocal.INTERFACE_NAME_PREFIX): "--pod-interface-name-prefix",
}
"""Which flag sets an option, where that depends on the mode."""
_TRACKED = ConntrackOptions()


def _option(flag: str, help_: str, **more: Any) -> Any:
    return typer.Option(flag, help=help_, **more)


DnsWorkers = Annotated[
    int | None, _option("--dns-workers", "Processes that answer names; 0: the agent [default: 2 at most].", min=0, max=32)
]
DnsConfig = Annotated[Path | None, _option("--dns-config", "How names are answered, a YAML file.")]
DnsRanges = Annotated[str, _option("--dns-ranges", "CIDRs of Services and pods: they may ask, and have names by address.")]
DataDir = Annotated[Path, _option("--data-dir", "Holds pki/ and nodes/NAME.")]
Cgroup = Annotated[Path | None, _option("--cgroup", "The node's cgroup [default: mooring-NAME at cgroup v2's root].")]
ResolvConf = Annotated[str, _option("--resolv-conf", "The node's own DNS, which dnsPolicy Default hands on; '': it has none.")]
Healthz = Annotated[str, _option("--healthz-bind-address", "/healthz, /livez, /readyz and /metrics; '': nowhere.")]
Metrics = Annotated[str, _option("--metrics-bind-address", "/metrics, /proxyMode and /healthz; '': nowhere.")]
DnsHealth = Annotated[str, _option("--dns-health-bind-address", "Of the DNS: /health, /ready, /metrics; '': nowhere.")]
NodePorts = Annotated[str, _option("--nodeport-addresses", "Where node ports answer: primary, all, localhost, CIDRs.")]
NodePortRange = Annotated[str, _option("--node-port-range", "The API server's: ephemeral ports are warned of.")]
MasqueradeAll = Annotated[bool, _option("--masquerade-all", "Hide every client of a cluster IP.")]
DetectMode = Annotated[str, _option("--detect-local-mode", f"How pods are known: {', '.join(x.value for x in DetectLocal)}.")]
ClusterCidr = Annotated[str, _option("--cluster-cidr", "The ranges of all pods, for ClusterCIDR.")]
Bridge = Annotated[str, _option("--pod-bridge-interface", "For BridgeInterface.")]
Prefix = Annotated[str, _option("--pod-interface-name-prefix", "For InterfaceNamePrefix.")]
PerCore = Annotated[int, _option("--conntrack-max-per-core", "Tracked connections; 0: leave the limit as it is.", min=0)]
Least = Annotated[int, _option("--conntrack-min", "Tracked connections at least, however few cores.", min=0)]
Established = Annotated[str, _option("--conntrack-tcp-timeout-established", "Of idle connections; 0: leave as it is.")]
CloseWait = Annotated[str, _option("--conntrack-tcp-timeout-close-wait", "Of half-closed ones; 0: leave as it is.")]
Liberal = Annotated[
    bool,
    _option("--conntrack-tcp-be-liberal/--no-conntrack-tcp-be-liberal", "Track segments outside of the TCP window too."),
]


def command(
    context: typer.Context,
    name: Annotated[str, typer.Option("--name", help="The node's name.")],
    address: Annotated[str, typer.Option(help="The node's own addresses, the primary first, joined by commas.")],
    config: RoleKubeconfig = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    cgroup: Cgroup = None,
    cluster_dns: Annotated[str, typer.Option(help="Addresses this node holds on lo, joined by commas.")] = "10.96.0.10",
    cluster_domain: Annotated[str, typer.Option()] = "cluster.local",
    dns_sockets: Annotated[str, typer.Option(help="Bound DNS sockets a supervisor passes on: UDP,...,TCP,...")] = "",
    dns_workers: DnsWorkers = None,
    dns_ranges: DnsRanges = "",
    dns_config: DnsConfig = None,
    resolv_conf: ResolvConf = "/etc/resolv.conf",
    zone: Annotated[str, typer.Option(help="Its topology.kubernetes.io/zone.")] = "",
    kubelet_port: Annotated[int, typer.Option(help="Logs and exec, for the API server.")] = 10250,
    healthz_bind_address: Healthz = ":10256",
    metrics_bind_address: Metrics = "127.0.0.1:10249",
    dns_health_bind_address: DnsHealth = ":9153",
    nodeport_addresses: NodePorts = PRIMARY,
    node_port_range: NodePortRange = "30000-32767",
    masquerade_all: MasqueradeAll = False,
    detect_local_mode: DetectMode = DetectLocal.NODE_CIDR.value,
    cluster_cidr: ClusterCidr = "",
    pod_bridge_interface: Bridge = "",
    pod_interface_name_prefix: Prefix = "",
    conntrack_max_per_core: PerCore = _TRACKED.max_per_core,
    conntrack_min: Least = _TRACKED.min,
    conntrack_tcp_timeout_established: Established = "24h",
    conntrack_tcp_timeout_close_wait: CloseWait = "1h",
    conntrack_tcp_be_liberal: Liberal = True,
    log_format: LogFormat = "text",
) -> None:
    """Run a node in this network namespace, against any Kubernetes API server, until SIGTERM. Pods and rules stay."""
    log_to_stdout(log_format)
    try:
        node.run(_options(context.params))
    except OSError as error:
        raise CommandError(str(error)) from error


def _dns(path: Path | None) -> DnsSettings:
    try:
        return load(path)
    except (SettingsError, DnsSettingsError) as error:
        raise CommandError(f"--dns-config: {error}", 2) from error


def _options(given: dict[str, Any]) -> node.Options:
    """What was given, checked. Raises CommandError, which names the option."""
    options = node.Options(
        name=given["name"],
        kubeconfig=given["config"],
        data_dir=given["data_dir"],
        cgroup=given["cgroup"] or cgroups.subtree(given["name"]),
        addresses=addresses(given["address"], "--address"),
        cluster_dns=addresses(given["cluster_dns"], "--cluster-dns"),
        cluster_domain=given["cluster_domain"],
        dns_sockets=tuple(int(number) for number in given["dns_sockets"].split(",") if number),
        dns_workers=node_names.default_workers() if given["dns_workers"] is None else given["dns_workers"],
        dns_ranges=ranges(given["dns_ranges"], "--dns-ranges"),
        dns=_dns(given["dns_config"]),
        resolv_conf=given["resolv_conf"],
        zone=given["zone"],
        kubelet_port=given["kubelet_port"],
        healthz=_bound(given["healthz_bind_address"], "--healthz-bind-address", 10256),
        metrics=_bound(given["metrics_bind_address"], "--metrics-bind-address", 10249),
        dns_health=_bound(given["dns_health_bind_address"], "--dns-health-bind-address", 9153),
        proxy=_proxy(given),
        conntrack=ConntrackOptions(
            given["conntrack_max_per_core"],
            given["conntrack_min"],
            _seconds(given["conntrack_tcp_timeout_established"], "--conntrack-tcp-timeout-established"),
            _seconds(given["conntrack_tcp_timeout_close_wait"], "--conntrack-tcp-timeout-close-wait"),
            given["conntrack_tcp_be_liberal"],
        ),
        node_ports=_ports(given["node_port_range"], "--node-port-range"),
    )
    try:
        _ = options.here
    except ValueError as error:
        about, _, wrong = str(error).partition(":")
        raise CommandError(f"{_FLAGS.get((about, options.proxy.detect_local), f'--{about}')}:{wrong}", 2) from error
    return options


def _proxy(given: dict[str, Any]) -> ProxyOptions:
    mode = _MODES.get(given["detect_local_mode"].lower())
    if mode is None:
        known = ", ".join(each.value for each in DetectLocal)
        raise CommandError(f"--detect-local-mode {given['detect_local_mode']!r}: {known}", 2)
    flag = _FLAGS.get(("pod-interface", mode), "")
    interface = given[flag.strip("-").replace("-", "_")] if flag else ""
    if flag and not interface:
        raise CommandError(f"{flag}: required with --detect-local-mode {mode.value}", 2)
    cluster_cidr = ranges(given["cluster_cidr"], "--cluster-cidr")
    if mode is DetectLocal.CLUSTER_CIDR and not cluster_cidr:
        raise CommandError("--cluster-cidr: required with --detect-local-mode ClusterCIDR", 2)
    chosen = tuple(part.strip() for part in given["nodeport_addresses"].split(",") if part.strip())
    return ProxyOptions(chosen or (PRIMARY,), given["masquerade_all"], mode, cluster_cidr, interface)


def _bound(text: str, option: str, port: int) -> node.Address | None:
    """'127.0.0.1:10249', '127.0.0.1', ':10256' for every address, '' for nowhere."""
    if not text:
        return None
    with suppress(ValueError):
        return str(ip_address(text.strip("[]"))), port
    host, given = host_and_port(f"*{text}" if text.startswith(":") else text, option)
    return "" if host == "*" else addresses(host, option)[0], given


def _seconds(text: str, option: str) -> int:
    """'24h', '1h30m', '90s', '0'."""
    found = _DURATION.fullmatch("0s" if text == "0" else text)
    if not found:
        raise CommandError(f"{option} {text!r}: a duration is expected, such as 24h, 1h30m, 90s", 2)
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return (hours * 60 + minutes) * 60 + seconds


def _ports(text: str, option: str) -> tuple[int, int]:
    """'30000-32767'."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 65536):
        raise CommandError(f"{option} {text!r}: FIRST-LAST is expected, such as 30000-32767", 2)
    return int(first), int(last)
