"""What does the kernel tell of its own accord? The messages of one netfilter group, from the moment one listens."""

import errno
import socket
import struct
from collections.abc import Iterator

from mooring.edges.nft.netlink import NETLINK_NETFILTER, inside

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
_ROOM = 4 << 20
_HEADER = struct.Struct("=IHHII")


class Listener:
    """A socket in a network namespace ('' for this process's own) that is told what a group (NFNLGRP_*) is told."""

    def __init__(self, namespace: str, group: int) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with inside(namespace):
            self._socket = socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def close(self) -> None:
        self._socket.close()

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(type, payload) of what was told since the last time. When there was too much at once, some is missing."""
        while True:
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue
            yield from _messages(data)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += length + 3 & ~3
