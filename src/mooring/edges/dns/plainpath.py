"""How does a worker answer where the C loop could not be built? The same loop and the same counters, in Python.

Token buckets are kept for the clients seen last; an error of the kernel costs one reply.
"""

import mmap
import os
import select
import socket
import time
from collections import OrderedDict

from mooring.dns.table import Field
from mooring.dns.table_answer import ASK, DROP, TableReader

STOPPED, TIMEOUT, NO_TABLE, FOREIGN, HANDOVER_LOST, INTERRUPTED, BROKEN = range(7)
BATCH, LARGEST = 64, 4096
CLIENTS = 8192
REQUESTS, RESPONSES, HITS, MISSES, HANDED, DROPPED, LIMITED, LOST, UNSENT, TRUNCATED = 16, 40, *range(56, 64)
DURATION, DURATION_SUM, REQUEST_SIZE, REQUEST_SIZE_SUM, RESPONSE_SIZE, RESPONSE_SIZE_SUM = 72, 89, 96, 111, 112, 127
TYPES = {1: 1, 2: 2, 5: 3, 6: 4, 12: 5, 15: 6, 16: 7, 28: 8, 33: 9, 64: 10, 65: 11}
SIZES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000)
FIRST_DURATION, DURATIONS = 0.00025, 16


def serve(
    path: str, sockets: tuple[int, ...], stop: int, handover: int, worker: int, counters: mmap.mmap, milliseconds: int
) -> int:
    """As hotpath.serve."""
    table = _mapped(path)
    if not isinstance(table, TableReader):
        return table
    loop = _Loop(path, table, handover, worker, memoryview(counters).cast("Q"))
    opened = [socket.socket(fileno=os.dup(each)) for each in sockets]
    waiting = select.poll()
    for each in (*opened, *((stop,) if stop >= 0 else ())):
        waiting.register(each, select.POLLIN)
    if handover >= 0:
        waiting.register(handover, 0)
    try:
        return loop.run(opened, waiting, stop, milliseconds)
    finally:
        for each in opened:
            each.close()


def _mapped(path: str) -> TableReader | int:
    """The table that has the name now, or why there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return NO_TABLE
    try:
        return TableReader(memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)))
    except (ValueError, OSError):
        return FOREIGN
    finally:
        os.close(descriptor)


class _Loop:
    def __init__(self, path: str, table: TableReader, handover: int, worker: int, counters: memoryview) -> None:
        self._path, self._table, self._worker, self._counters = path, table, worker, counters
        self._agent = socket.socket(fileno=os.dup(handover)) if handover >= 0 else None
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._rotation = time.monotonic_ns() & 0xFFFF
        self._lost = False

    def run(self, sockets: list[socket.socket], waiting: "select.poll", stop: int, milliseconds: int) -> int:
        by_descriptor = {each.fileno(): (number, each) for number, each in enumerate(sockets)}
        end = time.monotonic() + milliseconds / 1000
        try:
            while True:
                for descriptor, event in waiting.poll(milliseconds if milliseconds >= 0 else None):
                    if descriptor == stop:
                        return STOPPED
                    if descriptor not in by_descriptor:
                        return HANDOVER_LOST
                    if event & (select.POLLHUP | select.POLLNVAL):
                        return BROKEN
                    if not self._drain(*by_descriptor[descriptor]):
                        return FOREIGN
                if self._lost:
                    return HANDOVER_LOST
                if milliseconds >= 0 and time.monotonic() > end:
                    return TIMEOUT
        finally:
            if self._agent:
                self._agent.close()

    def _drain(self, number: int, udp: socket.socket) -> bool:
        for _ in range(BATCH):
            try:
                message, _, flags, client = udp.recvmsg(LARGEST, 0, socket.MSG_DONTWAIT)
            except OSError:
                return True
            if self._table.superseded:
                table = _mapped(self._path)
                if table == FOREIGN:
                    return False
                if isinstance(table, TableReader):
                    self._table = table
            if flags & socket.MSG_TRUNC:
                self._counters[DROPPED] += 1
            else:
                self._answer(number, udp, message, client)
        return True

    def _answer(self, number: int, udp: socket.socket, message: bytes, client: tuple[str, int]) -> None:
        started = time.monotonic()
        family = socket.AF_INET if udp.family == socket.AF_INET else socket.AF_INET6
        packed = socket.inet_pton(family, client[0].partition("%")[0])
        if not self._within_rate(packed, started):
            self._counters[LIMITED] += 1
            return
        self._rotation = (self._rotation * 1103515245 + 12345) & 0x7FFFFFFF
        outcome = self._table.answer(message, packed, self._rotation >> 8)
        if outcome.reply == DROP:
            self._counters[DROPPED] += 1
        elif outcome.reply == ASK:
            self._hand_over(number, packed, client, message)
        elif isinstance(outcome.reply, bytes):
            try:
                udp.sendto(outcome.reply, socket.MSG_DONTWAIT, client)
            except OSError:
                self._counters[UNSENT] += 1
            self._counters[HITS if outcome.hit else MISSES] += 1
            took = time.monotonic() - started
            count(self._counters, family == socket.AF_INET6, outcome.type, len(message), outcome.reply, took)

    def _hand_over(self, number: int, packed: bytes, client: tuple[str, int], message: bytes) -> None:
        scope = client[3] if len(client) > 3 else 0
        head = bytes((self._worker, number, 4 if len(packed) == 4 else 6, 0)) + client[1].to_bytes(2, "big") + bytes(2)
        try:
            if self._agent is None:
                raise BlockingIOError
            self._agent.send(head + scope.to_bytes(4, "little") + packed.ljust(16, b"\0") + message, socket.MSG_DONTWAIT)
            self._counters[HANDED] += 1
        except OSError as error:
            self._counters[LOST] += 1
            self._lost = self._lost or not isinstance(error, BlockingIOError)

    def _within_rate(self, client: bytes, now: float) -> bool:
        rate, burst = self._table.number(Field.RATE), self._table.number(Field.BURST)
        if not rate:
            return True
        tokens, last = self._buckets.pop(client, (float(burst), now))
        tokens = min(float(burst), tokens + rate * (now - last))
        granted = tokens >= 1
        self._buckets[client] = (tokens - granted, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return granted


def count(counters: memoryview, v6: bool, kind: int, asked: int, reply: bytes, took: float) -> None:
    """One question answered: its type, the octets of it and of its reply, and how long that took in seconds."""
    counters[REQUESTS + (12 if v6 else 0) + TYPES.get(kind, 0)] += 1
    counters[RESPONSES + (reply[3] & 15)] += 1
    counters[TRUNCATED] += reply[2] >> 1 & 1
    for first, total, size in ((REQUEST_SIZE, REQUEST_SIZE_SUM, asked), (RESPONSE_SIZE, RESPONSE_SIZE_SUM, len(reply))):
        counters[first + sum(size > bound for bound in SIZES)] += 1
        counters[total] += size
    counters[DURATION + sum(took > FIRST_DURATION * 2**power for power in range(DURATIONS))] += 1
    counters[DURATION_SUM] += int(took * 1e9)
