"""How is a domain name written, and which shape has one in the cluster's zone?

Everywhere below the command line a name is its wire form, labels with their lengths and the root's empty label at the end
(RFC 1035 section 3.1): b"\\3web\\7default\\3svc\\7cluster\\5local\\0". Lengths are below 64 and letters are not, so
`bytes.lower` makes equal what RFC 4343 calls equal. Text is for people: without the final dot, "." for the root, what is not
printable escaped as in RFC 1035 section 5.1.

    <domain>                                     the apex
    svc.<domain>                                 the root of all Services
    <namespace>.svc.<domain>                     a namespace
    <service>.<namespace>.svc.<domain>           a Service
    <host>.<service>.<namespace>.svc.<domain>    an endpoint of a Service
    _<port>._<protocol>.<service>.<namespace>.svc.<domain>   a named port of a Service
    _<protocol>.<service>.<namespace>.svc.<domain>           nothing of its own, but named ports below it
    pod.<domain>, <namespace>.pod.<domain>, <dashed address>.<namespace>.pod.<domain>
    dns-version.<domain>                         the version of the specification
    ns.dns.<domain>                              this server (CoreDNS's name for itself)

Source: https://github.com/kubernetes/dns/blob/master/docs/specification.md (1.1.0); pod names are CoreDNS's.
"""

from collections.abc import Sequence
from enum import Enum, auto
from functools import lru_cache

from msgspec import Struct

Name = bytes
"""A whole domain name in wire form, uncompressed."""
ROOT: Name = b"\0"
LABEL_LIMIT, NAME_LIMIT = 63, 255
"""Octets (RFC 1035 section 2.3.4)."""


class BadName(ValueError):
    """A text that is no domain name: what is wrong with it."""


def from_labels(labels: Sequence[bytes]) -> Name:
    """Raises BadName for an empty or long label, or a long name."""
    for label in labels:
        if not 0 < len(label) <= LABEL_LIMIT:
            raise BadName(f"a label has 1 to {LABEL_LIMIT} octets, not {len(label)}")
    name = b"".join([bytes((len(label),)) + label for label in labels]) + ROOT
    if len(name) > NAME_LIMIT:
        raise BadName(f"a name has at most {NAME_LIMIT} octets, not {len(name)}")
    return name


@lru_cache(maxsize=65536)
def from_text(text: str) -> Name:
    """With or without the final dot, case kept. Raises BadName."""
    if text in ("", "."):
        return ROOT
    if "\\" not in text:
        return from_labels([label.encode("utf-8", "surrogateescape") for label in text.removesuffix(".").split(".")])
    found = _unescaped(text)
    return from_labels(found if found[-1] else found[:-1])


def _unescaped(text: str) -> list[bytes]:
    labels, at = [bytearray()], 0
    data = text.encode("utf-8", "surrogateescape")
    while at < len(data):
        if data[at] == ord("."):
            labels.append(bytearray())
        elif data[at] != ord("\\"):
            labels[-1].append(data[at])
        elif data[at + 1 : at + 4].isdigit() and len(data[at + 1 : at + 4]) == 3 and int(data[at + 1 : at + 4]) < 256:
            labels[-1].append(int(data[at + 1 : at + 4]))
            at += 3
        elif at + 1 < len(data):
            labels[-1].append(data[at + 1])
            at += 1
        else:
            raise BadName("a backslash at the end escapes nothing")
        at += 1
    return [bytes(label) for label in labels]


def labels(name: Name) -> list[bytes]:
    """Without the root's empty one."""
    found, at = [], 0
    while length := name[at]:
        found.append(name[at + 1 : at + 1 + length])
        at += 1 + length
    return found


def to_text(name: Name) -> str:
    """For people."""
    return ".".join(map(_label_text, labels(name))) or "."


def _label_text(label: bytes) -> str:
    if label.isalnum():
        return label.decode()
    return "".join(
        chr(octet)
        if 0x21 <= octet <= 0x7E and chr(octet) not in '."();@$\\'
        else f"\\{chr(octet)}" if 0x21 <= octet <= 0x7E else f"\\{octet:03}"
        for octet in label
    )  # fmt: skip


def below(name: Name, zone: Name) -> bool:
    """Whether `name` is `zone` or lies below it; both in lower case."""
    if len(name) < len(zone) or not name.endswith(zone):
        return False
    at, start = 0, len(name) - len(zone)
    while at < start:
        at += 1 + name[at]
    return at == start


class Shape(Enum):
    OUTSIDE = auto()
    """Not in the zone at all."""
    APEX = auto()
    DNS_VERSION = auto()
    NAMESERVER_PARENT = auto()
    """dns.<domain>: nothing of its own."""
    NAMESERVER = auto()
    """ns.dns.<domain>."""
    SERVICES = auto()
    NAMESPACE = auto()
    SERVICE = auto()
    ENDPOINT = auto()
    PROTOCOL = auto()
    """_tcp.<service>...: nothing of its own."""
    PORT = auto()
    PODS = auto()
    POD_NAMESPACE = auto()
    POD = auto()
    UNKNOWN = auto()
    """In the zone, but no shape of the specification."""


class ClusterName(Struct, frozen=True):
    """A name taken apart, in lower case; parts that the shape has not are ''. `host` is also a pod's dashed address.

    `port` and `protocol` are without their underscores.
    """

    shape: Shape
    namespace: str = ""
    service: str = ""
    host: str = ""
    port: str = ""
    protocol: str = ""


def parse(name: Name, domain: Name) -> ClusterName:
    """Which shape `name` has under `domain`, whatever the case of either."""
    name, domain = name.lower(), domain.lower()
    if not below(name, domain):
        return ClusterName(Shape.OUTSIDE)
    own = [label.decode("utf-8", "surrogateescape") for label in labels(name[: len(name) - len(domain)] + ROOT)]
    match own:
        case []:
            return ClusterName(Shape.APEX)
        case ["dns-version"]:
            return ClusterName(Shape.DNS_VERSION)
        case ["dns"]:
            return ClusterName(Shape.NAMESERVER_PARENT)
        case ["ns", "dns"]:
            return ClusterName(Shape.NAMESERVER)
        case ["svc"]:
            return ClusterName(Shape.SERVICES)
        case [namespace, "svc"]:
            return ClusterName(Shape.NAMESPACE, namespace)
        case [service, namespace, "svc"]:
            return ClusterName(Shape.SERVICE, namespace, service)
        case [host, service, namespace, "svc"] if host.startswith("_"):
            return ClusterName(Shape.PROTOCOL, namespace, service, protocol=host[1:])
        case [host, service, namespace, "svc"]:
            return ClusterName(Shape.ENDPOINT, namespace, service, host)
        case [port, protocol, service, namespace, "svc"] if port.startswith("_") and protocol.startswith("_"):
            return ClusterName(Shape.PORT, namespace, service, port=port[1:], protocol=protocol[1:])
        case ["pod"]:
            return ClusterName(Shape.PODS)
        case [namespace, "pod"]:
            return ClusterName(Shape.POD_NAMESPACE, namespace)
        case [host, namespace, "pod"]:
            return ClusterName(Shape.POD, namespace, host=host)
    return ClusterName(Shape.UNKNOWN)
