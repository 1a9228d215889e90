"""How are Envoy's messages written down? Deterministic bytes, and messages put together from bytes that are already there.

A protobuf message is the concatenation of its fields, so a resource with thousands of parts is joined from the bytes of its
parts (protobuf encoding guide, "Message structure"): what did not change is neither built nor serialised again.
"""

from collections.abc import Iterable, Mapping

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

Resources = Mapping[str, Mapping[str, bytes]]
"""By type URL, then by name: serialised resource messages."""

_PREFIX = "type.googleapis.com/"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTES = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"


def encoded(message: Message) -> bytes:
    """The same bytes for equal messages, in this build of protobuf."""
    return bytes(message.SerializeToString(deterministic=True))


def packed(message: Message) -> Any:
    return Any(type_url=_PREFIX + message.DESCRIPTOR.full_name, value=encoded(message))


def seconds(duration: float) -> Duration:
    whole, rest = divmod(round(duration * 1e9), 10**9)
    return Duration(seconds=whole, nanos=rest)


def split(cidr: str) -> tuple[str, int]:
    """Address and prefix length, that of one address if none is given."""
    address, _, length = cidr.partition("/")
    return address, int(length) if length else (128 if ":" in address else 32)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_VARINTS = tuple(varint(number) for number in range(1 << 14))
"""Most parts are short, and there are many."""


def field(number: int, value: bytes) -> bytes:
    """One field that is a message or a string, already serialised."""
    size = len(value)
    return _VARINTS[number << 3 | 2] + (_VARINTS[size] if size < len(_VARINTS) else varint(size)) + value


def repeated(number: int, values: Iterable[bytes]) -> bytes:
    """The same for a repeated field."""
    return b"".join([field(number, value) for value in values])
