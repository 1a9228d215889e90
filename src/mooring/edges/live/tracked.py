"""What does connection tracking say of one flow? Numbers from linux/netfilter/nfnetlink_conntrack.h.

It is listened to as well as asked, since an entry may be gone at once: a reset as the first answer deletes it.
"""

import errno
import socket
import struct
from ipaddress import ip_address
from typing import Self

from mooring.dataplane.ruleset import PROTOCOL_NUMBERS
from mooring.dataplane.sighting import Flow, Place, Tracked
from mooring.edges.nft.listener import Listener
from mooring.edges.nft.netlink import NetlinkError, NetlinkSocket, attribute, attributes, nested
from mooring.ports.conntrack import ConntrackError

_NEW, _GET = 1 << 8, 1 << 8 | 1
_ORIGINAL, _REPLY, _STATUS = 1, 2, 3
_ADDRESSES, _PROTOCOL = 1, 2
_SOURCE_REWRITTEN, _DESTINATION_REWRITTEN = 1 << 4, 1 << 5  # IPS_SRC_NAT, IPS_DST_NAT
_GROUP_NEW = 1  # NFNLGRP_CONNTRACK_NEW

Attributes = dict[int, bytes]


class FlowWatch:
    """One flow in a network namespace's connection tracking, while the context lasts."""

    def __init__(self, namespace: str, flow: Flow) -> None:
        self._namespace, self._flow = namespace, flow
        self._found: Tracked | None = None

    def __enter__(self) -> Self:
        """Raises OSError."""
        self._listener = Listener(self._namespace, _GROUP_NEW)
        try:
            self._socket = NetlinkSocket(self._namespace)
        except BaseException:
            self._listener.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._socket.close()

    def look(self) -> Tracked | None:
        """None while the flow is not known: it is noted once its first packet has passed. Raises ConntrackError."""
        for kind, payload in self._listener.messages():
            if kind == _NEW and self._found is None:
                self._found = self._mine(dict(attributes(payload, 4)))
        if self._found is None:
            self._found = self._ask()
        return self._found

    def _ask(self) -> Tracked | None:
        ipv6 = ":" in self._flow.destination[0]
        family, first = (socket.AF_INET6, 3) if ipv6 else (socket.AF_INET, 1)
        (source, source_port), (destination, port) = self._flow.source, self._flow.destination
        wanted = nested(
            _ORIGINAL,
            nested(
                _ADDRESSES,
                attribute(first, ip_address(source).packed),
                attribute(first + 1, ip_address(destination).packed),
            ),
            nested(
                _PROTOCOL,
                attribute(1, bytes([PROTOCOL_NUMBERS[self._flow.protocol]])),
                attribute(2, source_port.to_bytes(2, "big")),
                attribute(3, port.to_bytes(2, "big")),
            ),
        )
        try:
            answer = self._socket.ask(_GET, struct.pack("!BBH", family, 0, 0) + wanted)
        except NetlinkError as error:
            if error.code == errno.ENOENT:
                return None
            raise ConntrackError(f"asking for a flow: {error}") from error
        return self._mine(dict(attributes(answer, 4)))

    def _mine(self, found: Attributes) -> Tracked | None:
        """What an entry says, if it is this flow's."""
        original, reply = ends(found.get(_ORIGINAL, b"")), ends(found.get(_REPLY, b""))
        wanted = (PROTOCOL_NUMBERS[self._flow.protocol], self._flow.source, self._flow.destination)
        if original != wanted or reply is None:
            return None
        status = int.from_bytes(found.get(_STATUS, b""), "big")
        return Tracked(reply[1], reply[2], bool(status & _DESTINATION_REWRITTEN), bool(status & _SOURCE_REWRITTEN))


def ends(data: bytes) -> tuple[int, Place, Place] | None:
    """Protocol, source and destination of one direction; None for a protocol without ports."""
    parts = dict(attributes(data))
    addresses = [str(ip_address(value)) for _, value in sorted(attributes(parts.get(_ADDRESSES, b"")))]
    ports = dict(attributes(parts.get(_PROTOCOL, b"")))
    if len(addresses) != 2 or not {1, 2, 3} <= ports.keys():
        return None
    source, destination = (int.from_bytes(ports[kind], "big") for kind in (2, 3))
    return ports[1][0], (addresses[0], source), (addresses[1], destination)
