"""Addresses and ranges: ip, cidr and what they tell (apiserver/pkg/cel/library/{ip,cidr}.go)."""

import ipaddress
import re
from typing import Any

from mooring.apiserver.cel.libraries.function import Function, opaque

IP, CIDR = "net.IP", "net.CIDR"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Opaque = dict[str, Any]
_V4 = re.compile(r"(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}")


def _address(text: str) -> Address:
    """As strict as upstream: no zones, no IPv4 in IPv6's clothes. Raises ValueError."""
    try:
        if "%" in text:
            raise ValueError("IP address with zone value is not allowed")
        found = ipaddress.ip_address(text) if ":" in text or _V4.fullmatch(text) else None
        if found is None:
            raise ValueError("unable to parse IP")
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
            raise ValueError("IPv4-mapped IPv6 address is not allowed")
    except ValueError as error:
        raise ValueError(f'IP Address "{text}" parse error during conversion from string: {error}') from None
    return found


def _network(text: str) -> tuple[Address, int]:
    try:
        host, slash, length = text.partition("/")
        if not slash or not re.fullmatch(r"0|[1-9]\d*", length):
            raise ValueError("no '/'" if not slash else "bad bits after slash")
        address = _address(host)
        if int(length) > address.max_prefixlen:
            raise ValueError("prefix length out of range")
    except ValueError as error:
        raise ValueError(f"network address parse error during conversion from string: {error}") from None
    return address, int(length)


def _ip(text: str) -> Opaque:
    return opaque(IP, str(_address(text)))


def _cidr(text: str) -> Opaque:
    address, length = _network(text)
    return opaque(CIDR, f"{address}/{length}")


def _holds(text: str, check: Any) -> bool:
    try:
        check(text)
    except ValueError:
        return False
    return True


def _range(cidr: Opaque) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(cidr["value"], strict=False)


def _contains(cidr: Opaque, address: Address) -> bool:
    inside = _range(cidr)
    return inside.version == address.version and address in inside


def _contains_range(cidr: Opaque, other: Opaque) -> bool:
    outer, inner = _range(cidr), _range(other)
    return outer.version == inner.version and inner.network_address in outer and inner.prefixlen >= outer.prefixlen


def _of(ip: Opaque) -> Address:
    return ipaddress.ip_address(ip["value"])


def _link_local_multicast(ip: Opaque) -> bool:
    address = _of(ip)
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.IPv4Network("224.0.0.0/24")
    return address.is_multicast and address.packed[1] & 0x0F == 2


def _global_unicast(ip: Opaque) -> bool:
    address = _of(ip)
    broadcast = address == ipaddress.IPv4Address("255.255.255.255")
    return not (broadcast or address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local)


def _masked(cidr: Opaque) -> Opaque:
    return opaque(CIDR, str(_range(cidr)))


FUNCTIONS = (
    Function("ip", ("string",), IP, _ip, member=False),
    Function("isIP", ("string",), "bool", lambda text: _holds(text, _address), member=False),
    Function("ip.isCanonical", ("string",), "bool", lambda text: str(_address(text)) == text, member=False),
    Function("string", (IP,), "string", lambda ip: ip["value"], member=False),
    Function("family", (IP,), "int", lambda ip: _of(ip).version),
    Function("isUnspecified", (IP,), "bool", lambda ip: _of(ip).is_unspecified),
    Function("isLoopback", (IP,), "bool", lambda ip: _of(ip).is_loopback),
    Function("isLinkLocalMulticast", (IP,), "bool", _link_local_multicast),
    Function("isLinkLocalUnicast", (IP,), "bool", lambda ip: _of(ip).is_link_local),
    Function("isGlobalUnicast", (IP,), "bool", _global_unicast),
    Function("cidr", ("string",), CIDR, _cidr, member=False),
    Function("isCIDR", ("string",), "bool", lambda text: _holds(text, _network), member=False),
    Function("string", (CIDR,), "string", lambda cidr: cidr["value"], member=False),
    Function("containsIP", (CIDR, "string"), "bool", lambda cidr, text: _contains(cidr, _address(text))),
    Function("containsIP", (CIDR, IP), "bool", lambda cidr, ip: _contains(cidr, _of(ip))),
    Function("containsCIDR", (CIDR, "string"), "bool", lambda cidr, text: _contains_range(cidr, _cidr(text))),
    Function("containsCIDR", (CIDR, CIDR), "bool", _contains_range),
    Function("ip", (CIDR,), IP, lambda cidr: opaque(IP, cidr["value"].partition("/")[0])),
    Function("masked", (CIDR,), CIDR, _masked),
    Function("prefixLength", (CIDR,), "int", lambda cidr: int(cidr["value"].partition("/")[2])),
)
