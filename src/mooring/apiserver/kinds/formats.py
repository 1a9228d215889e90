"""Is this text a name, a label, a port, an address? Each rule answers with upstream's sentences, none when it holds.

Words: k8s.io/apimachinery/pkg/util/validation. Names: RFC 1035, RFC 1123; service names: RFC 6335.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = rf"({_QUALIFIED})?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"
_UNDERSCORED = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SEARCH_PATH = rf"{_UNDERSCORED}(\.{_UNDERSCORED})*"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"


def _explain(sentence: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{sentence} (e.g. {shown}regex used for validation is '{pattern}')"


_LABEL_WORDS = _explain(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character", _LABEL, "my-name", "123-abc",
)  # fmt: skip
_LABEL_1035_WORDS = _explain(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end "
    "with an alphanumeric character", _LABEL_1035, "my-name", "abc-123",
)  # fmt: skip
_SUBDOMAIN_WORDS = _explain(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character", _SUBDOMAIN, "example.com",
)  # fmt: skip
_WILDCARD_WORDS = _explain(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case "
    "alphanumeric characters, '-' or '.' and end with an alphanumeric character", _WILDCARD, "*.example.com",
)  # fmt: skip
_SEARCH_PATH_WORDS = _explain(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and "
    "end with an alphanumeric character", _SEARCH_PATH, "example.com",
)  # fmt: skip
_QUALIFIED_TAIL = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_QUALIFIED_WORDS = _explain(_QUALIFIED_TAIL, _QUALIFIED, "MyName", "my.name", "123-abc")
_LABEL_VALUE_WORDS = _explain(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character", _LABEL_VALUE, "MyValue", "my_value", "12345",
)  # fmt: skip
_CONFIG_KEY_WORDS = _explain(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'", _CONFIG_KEY, "key.name", "KEY_NAME",
    "key-name",
)  # fmt: skip
_IP_WORDS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR_WORDS = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"

_label, _label_1035, _subdomain = (re.compile(pattern, re.A).fullmatch for pattern in (_LABEL, _LABEL_1035, _SUBDOMAIN))
_qualified, _label_value = (re.compile(pattern, re.A).fullmatch for pattern in (_QUALIFIED, _LABEL_VALUE))
_config_key, _wildcard = (re.compile(pattern, re.A).fullmatch for pattern in (_CONFIG_KEY, _WILDCARD))
_search_path = re.compile(_SEARCH_PATH, re.A).fullmatch

EMPTY = "must be non-empty"
HOST_BITS = "must not have bits set beyond the prefix length"
PORT_RANGE = "must be between 1 and 65535, inclusive"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _longer(limit: int) -> str:
    return f"must be no more than {limit} characters"


def label(text: str) -> list[str]:
    """RFC 1123 label, at most 63."""
    found = [] if len(text) <= 63 else [_longer(63)]
    if _label(text):
        return found
    return [*found, "must not contain dots" if _subdomain(text) else _LABEL_WORDS]


def label_1035(text: str) -> list[str]:
    """RFC 1035 label, at most 63."""
    found = [] if len(text) <= 63 else [_longer(63)]
    return found if _label_1035(text) else [*found, _LABEL_1035_WORDS]


def subdomain(text: str) -> list[str]:
    """RFC 1123 subdomain, at most 253."""
    found = [] if len(text) <= 253 else [_longer(253)]
    return found if _subdomain(text) else [*found, _SUBDOMAIN_WORDS]


def wildcard_subdomain(text: str) -> list[str]:
    """'*.' and an RFC 1123 subdomain."""
    found = [] if len(text) <= 253 else [_longer(253)]
    return found if _wildcard(text) else [*found, _WILDCARD_WORDS]


def search_path(text: str) -> list[str]:
    """A DNS search path, without its final dot: a subdomain whose labels may have underscores (KEP-4427)."""
    found = [] if len(text) <= 253 else [_longer(253)]
    return found if _search_path(text) else [*found, _SEARCH_PATH_WORDS]


def qualified_name(text: str) -> list[str]:
    """A label key: an optional DNS prefix and '/', then a name of at most 63."""
    prefix, slash, name = text.rpartition("/")
    if text.count("/") > 1:
        return [
            f"a qualified name {_QUALIFIED_WORDS} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    found = []
    if slash:
        found += ["prefix part " + (words) for words in (subdomain(prefix) if prefix else [EMPTY])]
    if not name:
        found.append("name part " + EMPTY)
    elif len(name) > 63:
        found.append("name part " + _longer(63))
    return found if _qualified(name) else [*found, "name part " + _QUALIFIED_WORDS]


def label_value(text: str) -> list[str]:
    """A label's value: at most 63."""
    found = [] if len(text) <= 63 else [_longer(63)]
    return found if _label_value(text) else [*found, _LABEL_VALUE_WORDS]


def config_key(text: str) -> list[str]:
    """A key of a ConfigMap or Secret: a file name, at most 253."""
    found = [] if len(text) <= 253 else [_longer(253)]
    if not _config_key(text):
        found.append(_CONFIG_KEY_WORDS)
    if text == ".":
        found.append("must not be '.'")
    elif text == "..":
        found.append("must not be '..'")
    elif text.startswith(".."):
        found.append("must not start with '..'")
    return found


def environment_name(text: str) -> list[str]:
    """An environment variable's name, relaxed as since 1.34."""
    if not text:
        return ["environment variable name " + EMPTY]
    if all(" " <= letter <= "~" and letter != "=" for letter in text):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_number(number: int) -> list[str]:
    return [] if 1 <= number <= 65535 else [PORT_RANGE]


def port_name(text: str) -> list[str]:
    """IANA_SVC_NAME (RFC 6335)."""
    found = [] if len(text) <= 15 else [_longer(15)]
    if not re.fullmatch(r"[-a-z0-9]+", text):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", text):
        found.append("must contain at least one letter (a-z)")
    if "--" in text:
        found.append("must not contain consecutive hyphens")
    if text and (text[0] == "-" or text[-1] == "-"):
        found.append("must not begin or end with a hyphen")
    return found


def port_number_or_name(value: int | str) -> list[str]:
    return port_number(value) if isinstance(value, int) else port_name(value)


# Addresses --------------------------------------------------------------------------------------------------------------


_dotted = re.compile(r"\d+(\.\d+){3}", re.A).fullmatch


def _loose_ip(text: str) -> Address | None:
    """As Go's older net.ParseIP read them: leading zeros are decimal, IPv4-mapped IPv6 is IPv4."""
    try:
        if ":" not in text and _dotted(text):
            first, second, third, fourth = map(int, text.split("."))
            if max(first, second, third, fourth) > 255:
                return None
            return IPv4Address(first << 24 | second << 16 | third << 8 | fourth)
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return None
        return address.ipv4_mapped or address
    return address


@lru_cache(65536)
def parse_ip(text: str) -> Address | None:
    """The address in any form old data may have; None when it is none."""
    return _loose_ip(text)


def _has_leading_zeros(text: str) -> bool:
    return ":" not in text and any(len(octet) > 1 and octet[0] == "0" for octet in text.split("."))


def ip(text: str) -> list[str]:
    """A valid address, strictly (KEP-4858): no leading zeros, no IPv4 inside IPv6."""
    address = parse_ip(text)
    if address is None:
        return [_IP_WORDS]
    if _has_leading_zeros(text):
        return ["must not have leading 0s"]
    if ":" in text and address.version == 4:
        return ["must not be an IPv4-mapped IPv6 address"]
    return []


def canonical_ip(text: str) -> list[str]:
    """A strictly valid address in its one canonical form (RFC 5952)."""
    if found := ip(text):
        return found
    canonical = str(parse_ip(text))
    return [] if text == canonical else [f'must be in canonical form ("{canonical}")']


def loose_ip(text: str) -> list[str]:
    """For values that stood before strict parsing came."""
    return [] if parse_ip(text) else [_IP_WORDS]


@lru_cache(65536)
def parse_cidr(text: str) -> Network | None:
    """The network, host bits cut off; None when it is none."""
    address_text, slash, length = text.partition("/")
    address = _loose_ip(address_text)
    if address is None or not slash or not re.fullmatch(r"\d{1,3}", length, re.A):
        return None
    if ":" in address_text and address.version == 4:
        length = str(int(length) - 96)
    try:
        return ip_network(f"{address}/{length}", strict=False)
    except ValueError:
        return None


def loose_cidr(text: str) -> list[str]:
    return [] if parse_cidr(text) else [_CIDR_WORDS]


def cidr(text: str) -> list[str]:
    """A strictly valid network (KEP-4858): no leading zeros, no IPv4 inside IPv6, no bits beyond the prefix."""
    network = parse_cidr(text)
    if network is None:
        return [_CIDR_WORDS]
    address_text, _, length = text.partition("/")
    if _has_leading_zeros(address_text) or (len(length) > 1 and length[0] == "0"):
        return ["must not have leading 0s in IP or prefix length"]
    if ":" in address_text and network.version == 4:
        return ["must not have an IPv4-mapped IPv6 address"]
    if _loose_ip(address_text) != network.network_address:
        return [HOST_BITS]
    return []


def canonical_cidr(text: str) -> list[str]:
    """A strictly valid network in its one canonical form."""
    if found := cidr(text):
        return found
    canonical = str(parse_cidr(text))
    return [] if text == canonical else [f'must be in canonical form ("{canonical}")']


def special_ip(text: str) -> list[str]:
    """Addresses nobody may serve on: unspecified, loopback, link-local."""
    address = parse_ip(text)
    if address is None:
        return [_IP_WORDS]
    found = []
    if address.is_unspecified:
        found.append(f"may not be unspecified ({address})")
    if address.is_loopback:
        found.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        found.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if address in _LINK_LOCAL_MULTICAST[address.version]:
        found.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return found


_LINK_LOCAL_MULTICAST: dict[int, Network] = {4: IPv4Network("224.0.0.0/24"), 6: IPv6Network("ff02::/16")}
