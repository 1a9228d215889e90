"""How shall names be answered here? The DNS settings: one mapping, as it stands in the file of --dns-config, into values.

Keys are named after CoreDNS's directives. An unknown key is an error that names the nearest known one.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import Struct, field

from mooring.dns.chain import Upstream
from mooring.dns.handlers import hosts
from mooring.dns.handlers.cache import CacheOptions
from mooring.dns.handlers.forward import Policy, Route
from mooring.dns.handlers.rewrite import Match, Rule, check_regex
from mooring.dns.names import BadName, Name, from_text
from mooring.dns.wording import kind_number, rcode_number
from mooring.dns.zone import TTL, PodNames

UPSTREAMS_LIMIT = 15
"""Of one entry of forward (CoreDNS's)."""
TLS_PORT = 853
LOOPBACK = ("127.0.0.0/8", "::1/128")

Network = IPv4Network | IPv6Network


class DnsSettingsError(ValueError):
    """What is wrong, where, and what would be right."""


class LogClass(Enum):
    """Which replies the query log tells of (CoreDNS's classes)."""

    ALL = "all"
    SUCCESS = "success"
    DENIAL = "denial"
    ERROR = "error"


class ForwardSetting(Struct, frozen=True, rename="kebab"):
    """Names below `zone`, not below `except`, go to `to`: 'ADDRESS', 'ADDRESS:PORT', 'tls://ADDRESS:PORT'."""

    to: tuple[str, ...]
    zone: str = "."
    except_: tuple[str, ...] = field(default=(), name="except")
    policy: Policy = Policy.RANDOM
    max_fails: int = 2
    max_concurrent: int = 1000
    force_tcp: bool = False
    prefer_udp: bool = False
    failover: tuple[str, ...] = ()
    tls_servername: str = ""
    tls_authority: str = ""
    """A file of CA certificates, '' for the system's."""


class RewriteSetting(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """`match`: exact, prefix, suffix, substring, regex of the name, or type."""

    match: Match
    from_: str = field(name="from")
    to: str = ""


class RateLimitSetting(Struct, frozen=True, rename="kebab"):
    """Questions of one client: in the long run a second, and at once."""

    per_second: float
    burst: float = 0
    """0: five seconds' worth, but one at least."""

    @property
    def at_once(self) -> float:
        return self.burst or max(1.0, 5 * self.per_second)


class TransferSetting(Struct, frozen=True, rename="kebab"):
    """`to`: ranges that may have the zones. `notify`: 'ADDRESS' or 'ADDRESS:PORT' of secondaries that are told of changes."""

    to: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()


class HostsSetting(Struct, frozen=True, rename="kebab"):
    """Lines like those of /etc/hosts."""

    entries: tuple[str, ...] = ()
    ttl: int = hosts.TTL


class DnsSettings(Struct, frozen=True, rename="kebab"):
    """`access` () stands for the cluster's own ranges and loopback; `forward` None for the nameservers of the node."""

    ttl: int = TTL
    pods: PodNames = PodNames.INSECURE
    endpoint_pod_names: bool = False
    external_zone: str = ""
    reverse: tuple[str, ...] = ()
    """Ranges that have PTR records here, beside those of Services and pods."""
    access: tuple[str, ...] = ()
    rate_limit: RateLimitSetting | None = None
    any: bool = True
    """Whether questions for every type get one HINFO record (RFC 8482)."""
    rewrite: tuple[RewriteSetting, ...] = ()
    autopath: bool = False
    hosts: HostsSetting = HostsSetting()
    loop: bool = True
    cache: CacheOptions | None = CacheOptions()
    forward: tuple[ForwardSetting, ...] | None = None
    transfer: TransferSetting = TransferSetting()
    log: tuple[LogClass, ...] = ()

    @property
    def follows_pods(self) -> bool:
        """Whether all Pods must be known: to verify their names, or to know the namespace of whoever asks."""
        return self.autopath or self.pods is PodNames.VERIFIED


def decode(document: Mapping[str, Any], source: str) -> DnsSettings:
    """The settings that a YAML file's mapping stands for. Raises DnsSettingsError, which names `source`."""
    plain = dict(document)
    for key, words in (("log", {True: ["all"], False: []}), ("cache", {True: {}, False: None})):
        if isinstance(plain.get(key), bool):
            plain[key] = words[plain[key]]
    _check_keys(plain, DnsSettings, source, "")
    try:
        settings = msgspec.convert(plain, DnsSettings)
    except msgspec.ValidationError as error:
        raise DnsSettingsError(f"{source}: {error}") from error
    for check in (_check_numbers, networks, rules, host_entries, lambda each: routes(each, (), ())):
        try:
            check(settings)
        except DnsSettingsError as error:
            raise DnsSettingsError(f"{source}: {error}") from error
    return settings


def networks(settings: DnsSettings) -> tuple[Network, ...]:
    """Who may ask, as far as it is set. Raises DnsSettingsError."""
    _ = [_network("transfer.to", text) for text in settings.transfer.to]
    _ = [_network("reverse", text) for text in settings.reverse]
    _ = [server("transfer.notify", text) for text in settings.transfer.notify]
    return tuple(_network("access", text) for text in settings.access)


def rules(settings: DnsSettings) -> tuple[Rule, ...]:
    """Raises DnsSettingsError."""
    return tuple(_rule(each) for each in settings.rewrite)


def host_entries(settings: DnsSettings) -> tuple[tuple[str, tuple[Name, ...]], ...]:
    """Raises DnsSettingsError."""
    try:
        return tuple(hosts.read(line) for line in settings.hosts.entries if line.partition("#")[0].strip())
    except ValueError as error:
        raise DnsSettingsError(f"hosts.entries: {error}") from error


def routes(settings: DnsSettings, nameservers: Sequence[str], own: Sequence[str]) -> tuple[Route, ...]:
    """`nameservers`: those of the node, where `forward` says nothing. `own`: addresses at which we answer.

    Raises DnsSettingsError: an upstream that is ourselves would ask itself for ever.
    """
    if settings.forward is None:
        upstreams = tuple(Upstream(each) for each in nameservers if each not in own)[:UPSTREAMS_LIMIT]
        return (Route(from_text("."), upstreams),) if upstreams else ()
    found: dict[Name, Route] = {}
    for each in settings.forward:
        route = _route(each, own)
        if route.zone in found:
            raise DnsSettingsError(f"forward: zone {each.zone!r} is there twice")
        found[route.zone] = route
    return tuple(found.values())


def server(about: str, text: str, port: int = 53) -> tuple[str, int]:
    """'10.0.0.1', '10.0.0.1:5353', '[::1]:53', '::1'. Raises DnsSettingsError."""
    bracketed = re.fullmatch(r"\[([^]]+)\](?::(\d{1,5}))?", text)
    plain = re.fullmatch(r"([^:]+):(\d{1,5})", text)
    given = bracketed or plain
    host, number = (given[1], given[2]) if given else (text, None)
    try:
        address = str(ip_address(host))
    except ValueError as error:
        raise DnsSettingsError(f"{about}: {text!r} is no address, with or without a port") from error
    chosen = int(number) if number else port
    if not 0 < chosen < 65536:
        raise DnsSettingsError(f"{about}: {text!r}: a port is from 1 to 65535")
    return address, chosen


def _route(setting: ForwardSetting, own: Sequence[str]) -> Route:
    if not 0 < len(setting.to) <= UPSTREAMS_LIMIT:
        raise DnsSettingsError(f"forward.to for {setting.zone!r}: from 1 to {UPSTREAMS_LIMIT} servers")
    upstreams = []
    for text in setting.to:
        tls = text.startswith("tls://")
        address, port = server("forward.to", text.removeprefix("tls://").removeprefix("dns://"), TLS_PORT if tls else 53)
        if address in own and port == 53:
            raise DnsSettingsError(f"forward.to: {text!r} is this server itself")
        name = (setting.tls_servername.removesuffix(".") or address) if tls else ""
        _name("forward.tls-servername", name)
        upstreams.append(Upstream(address, port, name, setting.tls_authority if tls else ""))
    try:
        failover = tuple(rcode_number(word) for word in setting.failover)
    except ValueError as error:
        raise DnsSettingsError(f"forward.failover: {error}") from error
    return Route(
        _name("forward.zone", setting.zone),
        tuple(upstreams),
        tuple(_name("forward.except", each) for each in setting.except_),
        setting.policy,
        setting.max_fails,
        setting.max_concurrent,
        setting.force_tcp,
        setting.prefer_udp,
        failover,
    )


def _rule(setting: RewriteSetting) -> Rule:
    wanted, to = setting.from_, setting.to
    try:
        if setting.match is Match.TYPE:
            return Rule(setting.match, str(kind_number(wanted)), str(kind_number(to)))
        if setting.match is Match.REGEX:
            check_regex(wanted, to)
            return Rule(setting.match, wanted, to)
    except ValueError as error:
        raise DnsSettingsError(f"rewrite: {error}") from error
    if not wanted:
        raise DnsSettingsError("rewrite: from says nothing")
    if setting.match in (Match.EXACT, Match.SUFFIX):
        wanted, to = wanted.removesuffix("."), to.removesuffix(".")
    return Rule(setting.match, wanted.lower(), to.lower())


def _check_numbers(settings: DnsSettings) -> None:
    cache = settings.cache or CacheOptions()
    limits = (
        ("ttl", settings.ttl, 0, 3600),
        ("hosts.ttl", settings.hosts.ttl, 0, 86400),
        ("cache.success", cache.success, 1, 86400),
        ("cache.denial", cache.denial, 1, 86400),
        ("cache.least", cache.least, 0, 300),
        ("cache.failure", cache.failure, 0, 300),
        ("cache.serve-stale", cache.serve_stale, 0, 7 * 86400),
        ("cache.prefetch", cache.prefetch, 0, 1_000_000),
        ("cache.capacity", cache.capacity, 1, 1_000_000),
        ("cache.octets", cache.octets, 1, 1 << 32),
        ("rate-limit.per-second", settings.rate_limit.per_second if settings.rate_limit else 1, 0.001, 1e9),
        ("rate-limit.burst", (settings.rate_limit and settings.rate_limit.burst) or 1, 1, 1e9),
        *(("forward.max-fails", each.max_fails, 0, 1000) for each in settings.forward or ()),
        *(("forward.max-concurrent", each.max_concurrent, 0, 1_000_000) for each in settings.forward or ()),
    )
    for key, value, least, most in limits:
        if not least <= value <= most:
            raise DnsSettingsError(f"{key} {value}: from {least} to {most}")
    if settings.external_zone:
        _name("external-zone", settings.external_zone)


def _network(about: str, text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise DnsSettingsError(f"{about}: {text!r}: {error}") from error


def _name(about: str, text: str) -> Name:
    try:
        return from_text(text).lower()
    except BadName as error:
        raise DnsSettingsError(f"{about}: {text!r}: {error}") from error


def _check_keys(plain: Any, kind: Any, source: str, path: str) -> None:
    """Looks for unknown keys where a Struct is expected, also within lists of them."""
    struct = next((each for each in (kind, *get_args(kind)) if isinstance(each, type) and issubclass(each, Struct)), None)
    if struct is None:
        for inner in get_args(kind):
            if isinstance(plain, list) or not isinstance(inner, type):
                _check_keys(plain, inner, source, path)
        return
    for each in plain if isinstance(plain, list) else [plain]:
        if not isinstance(each, dict):
            continue
        types = get_type_hints(struct)
        known = {one.encode_name: types[one.name] for one in msgspec.structs.fields(struct)}
        for key, value in each.items():
            if key not in known:
                nearest = max(known, key=lambda word: difflib.SequenceMatcher(None, str(key), word).ratio())
                raise DnsSettingsError(f"{source}: unknown setting {path}{key}; the nearest known is {path}{nearest}")
            _check_keys(value, known[key], source, f"{path}{key}.")
