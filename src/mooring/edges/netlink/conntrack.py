"""How are UDP flows listed and forgotten? Through ctnetlink; numbers from linux/netfilter/nfnetlink_conntrack.h."""

import asyncio
import errno
import socket
import struct
import threading
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from itertools import islice

from mooring.dataplane.conntrack import Flow, Place
from mooring.edges.nft.netlink import (
    ACK,
    REQUEST,
    NetlinkError,
    NetlinkSocket,
    attribute,
    attributes,
    message,
    nested,
)
from mooring.ports.conntrack import ConntrackError

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_ORIGINAL, _REPLY, _ZONE, _FILTER = 1, 2, 18, 25
_ADDRESSES, _PROTOCOL = 1, 2
_FILTER_BY_PROTOCOL = 1 << 3  # CTA_FILTER_F_CTA_PROTO_NUM, Linux 5.8; older kernels ignore the filter
_AT_ONCE = 500

_UDP_ONLY = nested(_FILTER, attribute(1, struct.pack("=I", _FILTER_BY_PROTOCOL))) + nested(
    _ORIGINAL, nested(_PROTOCOL, attribute(1, bytes([socket.IPPROTO_UDP])))
)


def _generic(family: int) -> bytes:
    return struct.pack("!BBH", family, 0, 0)


class KernelConntrack:
    """Connection tracking of a network namespace ('' for this process's own). Needs CAP_NET_ADMIN."""

    def __init__(self, namespace: str = "") -> None:
        self._socket = NetlinkSocket(namespace)
        self._turn = threading.Lock()
        """Held by a thread from its question to the answer: one whose caller was cancelled goes on."""

    def close(self) -> None:
        self._socket.close()

    async def udp_flows(self) -> Sequence[Flow]:
        return await asyncio.to_thread(self._flows)

    async def delete(self, flows: Iterable[Flow]) -> int:
        return await asyncio.to_thread(self._delete, flows)

    def _flows(self) -> list[Flow]:
        found: list[Flow] = []

        def note(payload: bytes) -> None:
            flow = _flow(payload)
            if flow:
                found.append(flow)

        with self._turn:
            try:
                for family in (socket.AF_INET, socket.AF_INET6):
                    self._socket.dump(_GET, _generic(family) + _UDP_ONLY, note)
            except (NetlinkError, OSError) as error:
                raise ConntrackError(f"listing UDP flows: {error}") from error
        return found

    def _delete(self, flows: Iterable[Flow]) -> int:
        deleted = 0
        waiting = iter(flows)
        while chunk := list(islice(waiting, _AT_ONCE)):
            with self._turn:
                sequences = [self._socket.next_sequence() for _ in chunk]
                requests = zip(chunk, sequences, strict=True)
                data = b"".join(message(_DELETE, REQUEST | ACK, sequence, _tuple(flow)) for flow, sequence in requests)
                try:
                    self._socket.send(data)
                    codes = self._socket.codes(set(sequences))
                except (NetlinkError, OSError) as error:
                    raise ConntrackError(f"deleting UDP flows: {error}") from error
            bad = next((code for code in codes if code not in (0, errno.ENOENT)), 0)
            if bad:
                raise ConntrackError(f"deleting UDP flows: {errno.errorcode.get(bad, bad)}")
            deleted += codes.count(0)
        return deleted


def _tuple(flow: Flow) -> bytes:
    """The original direction of a flow, which names it."""
    source, destination = ip_address(flow.source[0]), ip_address(flow.destination[0])
    first = 1 if source.version == 4 else 3
    ports = attribute(2, flow.source[1].to_bytes(2, "big")) + attribute(3, flow.destination[1].to_bytes(2, "big"))
    original = nested(
        _ORIGINAL,
        nested(_ADDRESSES, attribute(first, source.packed), attribute(first + 1, destination.packed)),
        nested(_PROTOCOL, attribute(1, bytes([socket.IPPROTO_UDP])), ports),
    )
    zone = attribute(_ZONE, flow.zone.to_bytes(2, "big")) if flow.zone else b""
    return _generic(socket.AF_INET if source.version == 4 else socket.AF_INET6) + original + zone


def _flow(payload: bytes) -> Flow | None:
    """A dumped entry; None when it is not UDP."""
    ends: dict[int, tuple[Place, Place]] = {}
    zone = 0
    for kind, value in attributes(payload, 4):
        if kind in (_ORIGINAL, _REPLY):
            places = _places(value)
            if places is None:
                return None
            ends[kind] = places
        elif kind == _ZONE:
            zone = int.from_bytes(value, "big")
    if len(ends) < 2:
        return None
    source, destination = ends[_ORIGINAL]
    return Flow(source, destination, ends[_REPLY][0], zone)


def _places(data: bytes) -> tuple[Place, Place] | None:
    """Source and destination of one direction; None when it is not UDP."""
    addresses = ["", ""]
    ports = [0, 0]
    for kind, part in attributes(data):
        for inner, value in attributes(part):
            if kind == _ADDRESSES and 1 <= inner <= 4:
                addresses[(inner - 1) % 2] = str(ip_address(value))
            elif kind == _PROTOCOL and inner == 1 and value[0] != socket.IPPROTO_UDP:
                return None
            elif kind == _PROTOCOL and inner in (2, 3):
                ports[inner - 2] = int.from_bytes(value, "big")
    return (addresses[0], ports[0]), (addresses[1], ports[1])
