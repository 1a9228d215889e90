"""How is an address written in the DNS? As record data, as a name of a reverse zone, as a pod's label.

Addresses are canonical texts. All of this is done for each endpoint at each change, so no ipaddress objects are made for IPv4.
"""

from ipaddress import IPv6Address, ip_network

from mooring.dns.names import Name, labels
from mooring.endpoints.addresses import canonical

_IPV4, _IPV6 = b"\7in-addr\4arpa\0", b"\3ip6\4arpa\0"
_OCTETS = {str(value): bytes((len(str(value)),)) + str(value).encode() for value in range(256)}
_WHOLE = {_IPV4: 4, _IPV6: 32}
"""Labels of a whole address."""


def packed(address: str) -> bytes:
    """The data of an A or AAAA record."""
    if ":" in address:
        return IPv6Address(address).packed
    return bytes(map(int, address.split(".")))


def reverse_name(address: str) -> Name:
    """RFC 1035 section 3.5, RFC 3596 section 2.5."""
    if ":" in address:
        name = bytearray(b"\1") * 64
        name[1::2] = IPv6Address(address).packed.hex().encode()[::-1]
        return bytes(name) + _IPV6
    first, second, third, fourth = address.split(".")
    return _OCTETS[fourth] + _OCTETS[third] + _OCTETS[second] + _OCTETS[first] + _IPV4


def address_of(name: Name) -> str | None:
    """The address that a reverse name in lower case stands for; None when it is not a whole one, or written in another way."""
    zone = next((each for each in _WHOLE if name.endswith(each)), None)
    if zone is None:
        return None
    parts, size = labels(name[: -len(zone)] + b"\0")[::-1], _WHOLE[zone]
    if len(parts) != size:
        return None
    texts = [part.decode("ascii", "replace") for part in parts]
    joined = ".".join(texts) if size == 4 else ":".join("".join(texts[at : at + 4]) for at in range(0, 32, 4))
    try:
        address = canonical(joined) if size == 4 else str(IPv6Address(joined))
    except ValueError:
        return None
    return address if reverse_name(address) == name else None


def reverse_zones(cidr: str) -> list[Name]:
    """The apexes of the zones that together are exactly this range: cut at whole labels, so up to 128 for IPv4 and 8 for IPv6.

    As CoreDNS does it: none reaches beyond the range, so this server never speaks for addresses that are others'.
    """
    network = ip_network(cidr)
    step = 4 if network.version == 6 else 8
    kept = -(-network.prefixlen // step)
    found = []
    for each in network.subnets(new_prefix=kept * step):
        name = reverse_name(str(each.network_address))
        for _ in range(_WHOLE[_IPV6 if network.version == 6 else _IPV4] - kept):
            name = name[1 + name[0] :]
        found.append(name)
    return found


def pod_address(label: str) -> str | None:
    """The address that a pod's label says, as CoreDNS reads it; None when it says none."""
    ipv4 = label.count("-") == 3 and "--" not in label
    text = label.replace("-", "." if ipv4 else ":")
    try:
        address = canonical(text)
    except ValueError:
        return None
    return None if ipv4 and address != text else address
