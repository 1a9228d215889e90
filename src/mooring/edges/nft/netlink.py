"""How are netlink messages sent to and read from the kernel? A socket in a network namespace, and attributes as bytes."""

import asyncio
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

NETLINK_NETFILTER = 12
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
CREATE, EXCLUSIVE, APPEND = 0x400, 0x200, 0x800
NESTED = 0x8000

_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_TIMEVAL = struct.Struct("@ll")
_ERROR, _DONE = 2, 3
_DUMP_INTERRUPTED = 0x10
_ACK_TLVS, _CAPPED = 0x200, 0x100
_CLONE_NEWNET = 0x40000000

_LIBC = ctypes.CDLL(None, use_errno=True)
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_CODE = struct.Struct("=i")
_LARGEST_DUMP_MESSAGE = 1 << 20
ANSWER_SECONDS = 10
"""The kernel answers within the call. One that has not by then never will, and who asked must not wait for ever."""


Result = TypeVar("Result")


class NetlinkError(Exception):
    """The kernel refused message `sequence`: its errno, and its own words where it has some."""

    def __init__(self, code: int, sequence: int, words: str = "") -> None:
        super().__init__(words or os.strerror(code))
        self.code, self.sequence = code, sequence


async def in_thread(talk: Callable[[], Result]) -> Result:
    """A talk with the kernel that may take long, away from the event loop. Who is cancelled waits for its end: the next talk on
    the same socket would mix answers with it.
    """
    talking = asyncio.ensure_future(asyncio.to_thread(talk))
    try:
        return await asyncio.shield(talking)
    except asyncio.CancelledError:
        await asyncio.wait((talking,))
        raise


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to 4 bytes."""
    length = len(value) + 4
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(inner))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """A 32-bit attribute in network order, as nf_tables wants its numbers."""
    return attribute(kind, value.to_bytes(4, "big", signed=value < 0))


def attributes(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data`, from an offset: (kind without flags, value)."""
    while start + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            return
        yield kind & 0x3FFF, data[start + 4 : start + length]
        start += length + 3 & ~3


def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    return _HEADER.pack(16 + len(payload), kind, flags, sequence, 0) + payload


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """The calling thread is in a named network namespace ('' for its own). Sockets made here stay there; do not await here."""
    if not namespace:
        yield
        return
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(target)
        finally:
            os.close(target)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class NetlinkSocket:
    """A netfilter netlink socket in a network namespace. Synchronous: the kernel answers within the call.

    Who waits for an answer that does not come gets NetlinkError with ETIMEDOUT after ANSWER_SECONDS.
    """

    def __init__(self, namespace: str = "") -> None:
        with inside(namespace):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(ANSWER_SECONDS, 0))
        self._room = 0
        self._sequence = 0

    def next_sequence(self) -> int:
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        return self._sequence

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Sends one datagram, however large, after forgetting answers nobody waited for."""
        self._drain()
        if len(data) > self._room:
            self._room = len(data) + (1 << 16)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, self._room)
        self._socket.sendto(data, (0, 0))

    def collect(self, last: int) -> None:
        """Reads answers until that to message `last`. Raises NetlinkError for the first refusal.

        A refused batch answers for what it refused and not for its end, so silence after a refusal ends the wait.
        """
        refused: NetlinkError | None = None
        while True:
            try:
                data = self._socket.recv(_LARGEST_DUMP_MESSAGE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                raise refused or NetlinkError(errno.EPROTO, last, "the kernel did not acknowledge the transaction") from None
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                refused = refused or NetlinkError(errno.ENOBUFS, last)
                continue
            for kind, flags, sequence, payload in _messages(data):
                if kind != _ERROR:
                    continue
                code = -_CODE.unpack_from(payload)[0]
                if code and refused is None:
                    refused = NetlinkError(code, sequence, _words(payload, flags, code))
                if sequence == last and not code:
                    if refused:
                        raise refused
                    return

    def codes(self, wanted: set[int]) -> list[int]:
        """Waits for the answer to each of these messages: its errno, 0 when it was done."""
        waiting, found = set(wanted), []
        while waiting:
            for kind, _, sequence, payload in _messages(self._answer(max(waiting))):
                if kind == _ERROR and sequence in waiting:
                    waiting.discard(sequence)
                    found.append(-_CODE.unpack_from(payload)[0])
        return found

    def dump(self, kind: int, payload: bytes, each: Callable[[bytes], None]) -> None:
        """Asks for a list and gives each message's payload to `each`.

        Raises NetlinkError, with EINTR when something changed meanwhile, so that the list may be of no one moment.
        """
        interrupted = False
        sequence = self.next_sequence()
        self.send(message(kind, REQUEST | DUMP, sequence, payload))
        while True:
            for got, flags, number_, body in _messages(self._answer(sequence)):
                if number_ != sequence:
                    continue
                interrupted |= bool(flags & _DUMP_INTERRUPTED)
                if got in (_ERROR, _DONE):
                    code = -_CODE.unpack_from(body)[0] if len(body) >= 4 else 0
                    code = code or (errno.EINTR if interrupted else 0)
                    if code:
                        raise NetlinkError(code, sequence, _words(body, flags, code))
                    return
                each(body)

    def ask(self, kind: int, payload: bytes) -> bytes:
        """One question, one answer: its payload. Raises NetlinkError."""
        sequence = self.next_sequence()
        self.send(message(kind, REQUEST, sequence, payload))
        while True:
            for got, flags, number_, body in _messages(self._answer(sequence)):
                if number_ != sequence:
                    continue
                if got == _ERROR:
                    code = -_CODE.unpack_from(body)[0]
                    raise NetlinkError(code, sequence, _words(body, flags, code))
                return body

    def _answer(self, sequence: int) -> bytes:
        try:
            return self._socket.recv(_LARGEST_DUMP_MESSAGE)
        except BlockingIOError:
            raise NetlinkError(errno.ETIMEDOUT, sequence, f"the kernel has not answered for {ANSWER_SECONDS} s") from None

    def _drain(self) -> None:
        while True:
            try:
                self._socket.recv(_LARGEST_DUMP_MESSAGE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < 16:
            return
        yield kind, flags, sequence, data[offset + 16 : offset + length]
        offset += length + 3 & ~3


def _words(payload: bytes, flags: int, code: int) -> str:
    """The kernel's own words for an error (NLMSGERR_ATTR_MSG), after the meaning of its number."""
    meaning = os.strerror(code)
    if not flags & _ACK_TLVS:
        return meaning
    start = 4 + 16
    if not flags & _CAPPED:
        start = 4 + _HEADER.unpack_from(payload, 4)[0]
    for kind, value in attributes(payload, start):
        if kind == 1:
            said = value.rstrip(b"\0").decode()
            return f"{meaning}: {said}"
    return meaning
