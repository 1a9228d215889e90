"""How is a probe sent, and what does it meet? One TCP connection, one datagram, or one SCTP INIT, from inside a namespace.

The socket is bound first, so that the flow is known before its first packet leaves. An SCTP INIT goes through a raw socket: few
kernels have SCTP sockets, and a server keeps no state for an INIT.
"""

import errno
import secrets
import select
import socket
import struct
from time import monotonic
from typing import Self

from mooring.dataplane.ruleset import PROTOCOL_NUMBERS
from mooring.dataplane.sighting import Flow, Met, Place
from mooring.edges.netlink import namespaces
from mooring.services.view import Protocol

_REFUSED = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EACCES, errno.ENOPROTOOPT, errno.EPROTO)
"""The last two: a host that does not speak SCTP."""
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL)
_INIT_CHUNK = struct.Struct("!BBHIIHHI")


class ProbeError(Exception):
    """The probe could not be sent at all."""


class Probe:
    """A socket bound to `source` in the network namespace that the file `place` holds; nothing is sent yet."""

    def __init__(self, place: str, source: str, destination: Place, protocol: Protocol) -> None:
        """Raises ProbeError."""
        self._protocol, self._destination = protocol, destination
        try:
            self._socket, port = namespaces.within(place, lambda: _bound(source, protocol))
        except OSError as error:
            raise ProbeError(f"no {protocol.value} socket at {source}: {error.strerror or error}") from error
        self.flow = Flow((source, port), destination, protocol)
        self._met: Met | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self) -> None:
        """The first packet leaves now. Raises ProbeError."""
        try:
            if self._protocol is Protocol.SCTP:
                # A raw socket takes no port; connecting lets the kernel tell it of ICMP errors.
                self._socket.connect((self._destination[0], 0))
            else:
                self._socket.connect(self._destination)
            if self._protocol is not Protocol.TCP:
                self._socket.send(_payload(self.flow))
        except BlockingIOError:
            return
        except OSError as error:
            self._note(error)

    def met(self, patience: float) -> Met | None:
        """What the probe met, waiting at most `patience` seconds for it; None when that is still open. Raises ProbeError."""
        end = monotonic() + patience
        while self._met is None:
            events = select.POLLOUT if self._protocol is Protocol.TCP else select.POLLIN
            poll = select.poll()
            poll.register(self._socket, events)
            if not poll.poll(max(end - monotonic(), 0) * 1000):
                return None
            self._look()
        return self._met

    def _look(self) -> None:
        try:
            failed = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                raise OSError(failed, "")
            if self._protocol is not Protocol.TCP:
                self._socket.recv(1 << 16)
            self._met = Met.ANSWERED
        except BlockingIOError:
            return
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        """A local refusal (EPERM) is how a node's own packet learns of a drop; the ICMP error of a refusal comes after it."""
        if error.errno in _REFUSED:
            self._met = Met.REFUSED
        elif error.errno in _NO_ROUTE:
            self._met = Met.NO_ROUTE
        elif error.errno == errno.ETIMEDOUT:
            self._met = Met.SILENCE
        elif error.errno != errno.EPERM:
            raise ProbeError(f"sending the probe: {error.strerror or errno.errorcode.get(error.errno or 0, error)}") from error


def _bound(source: str, protocol: Protocol) -> tuple[socket.socket, int]:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    if protocol is Protocol.SCTP:
        raw = socket.socket(family, socket.SOCK_RAW, PROTOCOL_NUMBERS[protocol])
        raw.setblocking(False)
        raw.bind((source, 0))
        return raw, 49152 + secrets.randbelow(16384)
    opened = socket.socket(family, socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.bind((source, 0))
    return opened, opened.getsockname()[1]


def _payload(flow: Flow) -> bytes:
    """Nothing for UDP; an SCTP INIT (RFC 9260, section 3.3.2)."""
    if flow.protocol is Protocol.UDP:
        return b""
    tag, sequence = (secrets.randbits(32) | 1 for _ in range(2))
    chunk = _INIT_CHUNK.pack(1, 0, _INIT_CHUNK.size, tag, 65536, 1, 1, sequence)
    header = struct.pack("!HHI", flow.source[1], flow.destination[1], 0)
    return header + struct.pack("<I", _crc32c(header + bytes(4) + chunk)) + chunk


def _crc32c(data: bytes) -> int:
    """Castagnoli's polynomial, reflected; SCTP's checksum (RFC 9260, appendix A)."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF
