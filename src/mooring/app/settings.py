"""What can be set on a cluster, and what was?

One record; flags, MOORING_* variables and the YAML file carry the same names (`service-cidr`, MOORING_SERVICE_CIDR,
`service-cidr:`), the first of them that speaks wins. Below them stand the settings an existing data directory was made with,
then the defaults. An unknown name is an error that names the nearest known one.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct

from mooring.alloc.pool import Pool, parse
from mooring.model.ingress import CONTROLLERS
from mooring.services.locality import ALL, LOCALHOST, PRIMARY

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ENVIRONMENT_PREFIX = "MOORING_"
DEFAULT_DATA_DIR = Path("/var/lib/mooring")
DNS_OFFSET = 10
"""The cluster DNS address is the tenth of the service range: 10.96.0.10."""
_DEFAULTS = {
    "service-cidr": ("10.96.0.0/16", "fd00:96::/112"),
    "pod-cidr": ("10.244.0.0/16", "fd00:244::/56"),
    "node-network": ("172.30.0.0/24", "fd00:172:30::/64"),
    "load-balancer-pool": ("172.30.1.0/24", "fd00:172:30:1::/64"),
}
NONE = "none"
_POD_PREFIX = {4: 24, 6: 64}
_NAME = r"[a-z][a-z0-9]{0,19}"
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_LABEL_VALUE = r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?"


class SettingsError(Exception):
    """What is wrong, where it was set, and what would be right."""


class Settings(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Everything `mooring up` can be told. Ranges hold one CIDR per family, IPv4 first, joined by a comma; '' means the
    default.
    """

    name: str = "mooring"
    """Names the namespaces and the cgroup: lower-case letters and digits, at most 20."""
    data_dir: Path = DEFAULT_DATA_DIR
    nodes: int = 2
    zones: str = ""
    """How many, or their names joined by commas: the nodes get them in turn. '': no zones."""
    api_port: int = 6443
    """On 127.0.0.1; 0 picks a free one."""
    controllers_port: int = 10257
    """Health and metrics of the controllers on 127.0.0.1; 0 picks a free one."""
    dual_stack: bool = False
    ipv6: bool = False
    service_cidr: str = ""
    pod_cidr: str = ""
    node_network: str = ""
    node_port_range: str = "30000-32767"
    nodeport_addresses: str = ""
    """Where node ports answer: primary, all, localhost, CIDRs; joined by commas. '': as the nodes' own default."""
    masquerade_all: bool = False
    load_balancer_pool: str = ""
    """CIDRs or FIRST-LAST, joined by commas, in no order; 'none' for no pool."""
    ingress_classes: str = "mooring-envoy,mooring-nginx"
    """IngressClasses that the cluster has from the start, joined by commas, the first is the default one; 'none' for none."""
    cluster_domain: str = "cluster.local"
    resolv_conf: Path | None = None
    """An absolute path of a file like resolv.conf: whom the nodes ask for other names. None: nobody."""
    dns_config: Path | None = None
    """An absolute path: how the nodes answer names (docs/reference/dns.md). None: the defaults."""
    log_format: str = "text"
    ready_timeout: float = 120.0
    """Seconds `up` waits for everything to be ready."""

    @property
    def families(self) -> tuple[int, ...]:
        return (4, 6) if self.dual_stack else (6,) if self.ipv6 else (4,)

    @property
    def service_cidrs(self) -> tuple[str, ...]:
        return self._ranges("service-cidr", self.service_cidr)

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        return self._ranges("pod-cidr", self.pod_cidr)

    @property
    def node_networks(self) -> tuple[str, ...]:
        return self._ranges("node-network", self.node_network)

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(f"node-{number}" for number in range(1, self.nodes + 1))

    @property
    def node_zones(self) -> tuple[str, ...]:
        """The zone of each node, '' without zones."""
        names = [f"zone-{number}" for number in range(1, int(self.zones) + 1)] if self.zones.isdecimal() else _parts(self.zones)
        return tuple(names[place % len(names)] if names else "" for place in range(self.nodes))

    @property
    def pool_ranges(self) -> str:
        """The load balancers' pool as the controllers take it; '' for none."""
        if self.load_balancer_pool == NONE:
            return ""
        return ",".join(self._ranges("load-balancer-pool", self.load_balancer_pool))

    @property
    def ingress_class_names(self) -> tuple[str, ...]:
        return () if self.ingress_classes == NONE else _parts(self.ingress_classes)

    @property
    def node_ports(self) -> tuple[int, int]:
        """First and last."""
        first, _, last = self.node_port_range.partition("-")
        return int(first), int(last)

    @property
    def cluster_dns(self) -> tuple[str, ...]:
        """One address per family."""
        return tuple(str(ipaddress.ip_network(text)[DNS_OFFSET]) for text in self.service_cidrs)

    @property
    def service_addresses(self) -> tuple[str, ...]:
        """The cluster addresses of Service default/kubernetes: the first of each service range."""
        return tuple(str(ipaddress.ip_network(text)[1]) for text in self.service_cidrs)

    @property
    def switch_addresses(self) -> tuple[str, ...]:
        """Where the API server is on the node network: the first address of each."""
        return tuple(str(ipaddress.ip_network(text)[1]) for text in self.node_networks)

    def _ranges(self, key: str, given: str) -> tuple[str, ...]:
        if given:
            return _parts(given)
        return tuple(_DEFAULTS[key][0 if family == 4 else 1] for family in self.families)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


FIXED = ("name", "dual-stack", "ipv6", "service-cidr", "pod-cidr", "node-network", "cluster-domain")
"""What the stored state depends on: these stay as they were when the data directory was made."""

_TYPES = get_type_hints(Settings)
_FIELDS = {field.encode_name: _TYPES[field.name] for field in msgspec.structs.fields(Settings)}


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None, stored: Mapping[str, Any] | None = None
) -> Settings:
    """The settings in force. `flags` are kebab-named, None meaning not given; `stored` are those the data directory was made
    with.

    Raises SettingsError.
    """
    from_environment = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("_", "-"): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }
    layers = (
        ("the data directory", dict(stored or {})),
        (str(file), read_file(file) if file else {}),
        ("the environment (MOORING_*)", from_environment),
        ("the flags", {key: value for key, value in flags.items() if value is not None}),
    )
    merged: dict[str, Any] = {}
    for source, layer in layers:
        merged.update(_checked(layer, source))
    settings = Settings(**{key.replace("-", "_"): value for key, value in merged.items()})
    _check(settings)
    _check_fixed(settings, stored)
    return settings


def read_file(path: Path) -> dict[str, Any]:
    """A YAML file's mapping. Raises SettingsError."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not YAML: {error}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: a mapping of settings is expected, not {type(content).__name__}")
    return content


def dump(settings: Settings) -> dict[str, Any]:
    """What goes into the data directory: plain values under their kebab names, without the directory itself."""
    plain = msgspec.to_builtins(settings, enc_hook=str)
    assert isinstance(plain, dict)
    del plain["data-dir"]
    return plain


def data_dir(flag: Path | None, environment: Mapping[str, str], file: Path | None = None) -> Path:
    """Where the cluster lives, decided before the settings stored there can be read."""
    chosen = flag or environment.get("MOORING_DATA_DIR") or (read_file(file).get("data-dir") if file else None)
    return Path(os.path.abspath(chosen or DEFAULT_DATA_DIR))


def _checked(layer: Mapping[str, Any], source: str) -> dict[str, Any]:
    typed = {}
    for key, value in layer.items():
        if key not in _FIELDS:
            raise SettingsError(f"unknown setting {key!r} in {source}; the nearest known is {_nearest(key)!r}")
        if isinstance(value, list) and _FIELDS[key] is str:
            value = ",".join(map(str, value))
        elif isinstance(value, int) and _FIELDS[key] is str:
            value = str(value)
        try:
            typed[key] = msgspec.convert(value, _FIELDS[key], strict=False, dec_hook=lambda kind, text: kind(text))
        except msgspec.ValidationError as error:
            raise SettingsError(f"{key} in {source}: {error}") from error
    return typed


def _nearest(key: str) -> str:
    return max(_FIELDS, key=lambda known: difflib.SequenceMatcher(None, str(key), known).ratio())


def _check(settings: Settings) -> None:
    """Raises SettingsError for the first setting that makes no sense."""
    rules = (
        (re.fullmatch(_NAME, settings.name), f"name {settings.name!r}: lower-case letters and digits, at most 20"),
        (1 <= settings.nodes <= 200, f"nodes {settings.nodes}: from 1 to 200"),
        *(
            (0 <= port < 65536, f"{key} {port}: from 0 (any free port) to 65535")
            for key, port in (("api-port", settings.api_port), ("controllers-port", settings.controllers_port))
        ),
        (not (settings.dual_stack and settings.ipv6), "dual-stack and ipv6: choose one"),
        (settings.log_format in ("text", "json"), f"log-format {settings.log_format!r}: text or json"),
        (settings.ready_timeout > 0, f"ready-timeout {settings.ready_timeout}: more than 0 seconds"),
        (
            re.fullmatch(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*", settings.cluster_domain),
            f"cluster-domain {settings.cluster_domain!r}: DNS labels joined by dots",
        ),
        *(
            (path is None or path.is_absolute(), f"{key} '{path}': an absolute path")
            for key, path in (("resolv-conf", settings.resolv_conf), ("dns-config", settings.dns_config))
        ),
        (_is_port_range(settings.node_port_range), f"node-port-range {settings.node_port_range!r}: FIRST-LAST within 1-65535"),
        (
            _are_zones(settings.zones),
            f"zones {settings.zones!r}: how many, from 1, or names that are label values, joined by commas",
        ),
        (
            all(part in (PRIMARY, ALL, LOCALHOST) or _is_network(part) for part in _parts(settings.nodeport_addresses)),
            f"nodeport-addresses {settings.nodeport_addresses!r}: {PRIMARY}, {ALL}, {LOCALHOST} or CIDRs, joined by commas",
        ),
        (
            set(settings.ingress_class_names) <= set(CONTROLLERS),
            f"ingress-classes {settings.ingress_classes!r}: {' and '.join(CONTROLLERS)}, joined by commas, or {NONE}",
        ),
    )
    for holds, complaint in rules:
        if not holds:
            raise SettingsError(complaint)
    _check_ranges(settings)


def _check_ranges(settings: Settings) -> None:
    seen: list[tuple[str, Network]] = []
    for key, texts in (
        ("service-cidr", settings.service_cidrs),
        ("pod-cidr", settings.pod_cidrs),
        ("node-network", settings.node_networks),
    ):
        networks = [_network(key, text) for text in texts]
        if [network.version for network in networks] != list(settings.families):
            wanted = " then ".join(f"IPv{family}" for family in settings.families)
            raise SettingsError(f"{key} {','.join(texts)!r}: one range per family is needed, {wanted}")
        seen += [(key, network) for network in networks]
    for index, (key, network) in enumerate(seen):
        for other_key, other in seen[:index]:
            if network.version == other.version and network.overlaps(other):
                raise SettingsError(f"{key} {network} overlaps {other_key} {other}")
    _check_room(settings)
    _check_pool(settings, seen)


def _check_pool(settings: Settings, ranges: Sequence[tuple[str, Network]]) -> None:
    try:
        pool: Pool = parse(settings.pool_ranges)
    except ValueError as error:
        raise SettingsError(f"load-balancer-pool: {error}") from error
    for each in pool.ranges:
        if each.version not in settings.families:
            raise SettingsError(f"load-balancer-pool {each.text}: this cluster has no IPv{each.version}")
        for key, network in ranges:
            if each.without(network) != (each,):
                hint = "" if settings.load_balancer_pool else "; give another, or 'none'"
                raise SettingsError(f"load-balancer-pool {each.text} overlaps {key} {network}{hint}")


def _check_room(settings: Settings) -> None:
    for text in settings.service_cidrs:
        if ipaddress.ip_network(text).num_addresses < 2 * DNS_OFFSET:
            raise SettingsError(f"service-cidr {text}: too small; a /27 (IPv6: /123) is the least")
    for text in settings.pod_cidrs:
        network = ipaddress.ip_network(text)
        share = _POD_PREFIX[network.version]
        room = int(2 ** (share - network.prefixlen))
        if room < settings.nodes:
            raise SettingsError(f"pod-cidr {text}: room for {room} nodes of a /{share} each, not {settings.nodes}")
    for text in settings.node_networks:
        network = ipaddress.ip_network(text)
        longest = {4: 24, 6: 116}[network.version]
        if network.prefixlen > longest:
            raise SettingsError(f"node-network {text}: too small; a /{longest} is the least")


def _network(key: str, text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingsError(f"{key} {text!r}: {error}") from error


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _are_zones(text: str) -> bool:
    return int(text) > 0 if text.isdecimal() else all(re.fullmatch(_LABEL_VALUE, part) for part in _parts(text))


def _is_port_range(text: str) -> bool:
    found = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
    return found is not None and 1 <= int(found[1]) <= int(found[2]) <= 65535


def _check_fixed(settings: Settings, stored: Mapping[str, Any] | None) -> None:
    if not stored:
        return
    now = dump(settings)
    for key in FIXED:
        if key in stored and stored[key] != now[key]:
            raise SettingsError(
                f"{key} is {stored[key] or 'the default'!r} in {settings.data_dir}, made by an earlier `mooring up`, "
                f"and cannot become {now[key]!r}; `mooring down --purge` forgets that cluster"
            )
