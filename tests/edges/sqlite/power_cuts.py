"""What may be on the disk after a power cut?

Of each file: what it was at its last fsync, and of the writes and truncations since then any part, in any mixture: each
sector as it was, as it should be or, when it was just being written, as nothing in particular. Of the directory: what it was at
its last fsync, and any of the creations and removals since.

An fsync that fails leaves what it should have written in the kernel's memory as if it were on the disk: readers find it there,
no later fsync writes it, unless its page is written to again.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from itertools import chain
from pathlib import Path
from random import Random

from msgspec import Struct

_PAGE = 4096
_HEADER = struct.Struct("=IiQQ")


class Kind(IntEnum):
    """As in power_cuts.c."""

    OPEN = 1
    CREATE = 2
    WRITE = 3
    TRUNCATE = 4
    SYNC_BEGIN = 5
    SYNC_END = 6
    UNLINK = 7
    SYNC_FAILED = 8


class Operation(Struct, frozen=True):
    kind: Kind
    descriptor: int
    offset: int
    data: bytes


def operations(trace: Path) -> Iterator[Operation]:
    content = memoryview(trace.read_bytes())
    at = 0
    while at < len(content):
        kind, descriptor, offset, length = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        yield Operation(Kind(kind), descriptor, offset, bytes(content[at : at + length]))
        at += length


class _File:
    def __init__(self, content: bytes = b"") -> None:
        self.durable = bytearray(content)
        self.pending: list[Operation] = []
        self.unwritten: dict[int, list[Operation]] = {}  # by page
        self.syncing = 0

    def change(self, operation: Operation) -> None:
        if operation.kind is Kind.TRUNCATE:
            self.unwritten = {page: parts for page, parts in self.unwritten.items() if page * _PAGE < operation.offset}
        for part in _parts(operation, _PAGE):
            self.pending += self.unwritten.pop(part.offset // _PAGE, [])
        self.pending.append(operation)

    def synced(self) -> None:
        for operation in self.pending[: self.syncing]:
            _apply(self.durable, operation)
        del self.pending[: self.syncing]
        self.syncing = 0

    def failed(self) -> None:
        failed, self.pending = self.pending[: self.syncing], self.pending[self.syncing :]
        self.syncing = 0
        for operation in failed:
            for part in _parts(operation, _PAGE) if operation.kind is Kind.WRITE else ():
                self.unwritten.setdefault(part.offset // _PAGE, []).append(part)
        self.pending = [operation for operation in failed if operation.kind is Kind.TRUNCATE] + self.pending


class _Way(Struct, frozen=True):
    """How much of what was not synced is there: of `kept` each sector with this chance, of the rest some as garbage."""

    sector: int
    kept: float
    garbage: float


class Disk:
    """The directory as the process sees it, and as the disk has it. File `apart` is no part of it: `written` is its content."""

    def __init__(self, directory: Path, content: dict[str, bytes], apart: str) -> None:
        """Starts with `content`, all of it durable."""
        self._place, self._apart = str(directory), apart
        self.written = b""
        self._names = {name: _File(octets) for name, octets in content.items()}
        self._durable_names = dict(self._names)
        self._pending_names: list[tuple[str, _File | None]] = []
        self._naming = 0
        self._open: dict[int, str | _File] = {}
        self._fresh = True

    def what(self, operation: Operation) -> str:
        """Which sort of moment this is, for choosing among rare and frequent ones."""
        known = self._open.get(operation.descriptor, "")
        name = next((name for name, file in self._names.items() if file is known), known or "the directory")
        return f"{operation.kind.name} of {name}, {'nothing synced yet' if self._fresh else 'after a sync'}"

    def unsynced(self, name: str) -> int:
        """How many operations on the file may still be lost."""
        file = self._names[name]
        return len(file.pending) + len(file.unwritten)

    def do(self, operation: Operation) -> None:
        kind, descriptor = operation.kind, operation.descriptor
        if kind in (Kind.OPEN, Kind.CREATE, Kind.UNLINK):
            self._do_to_name(operation, operation.data.decode().removeprefix(self._place).strip("/"))
            return
        file = self._open[descriptor]
        if file == "":
            if kind is Kind.SYNC_BEGIN:
                self._naming = len(self._pending_names)
            elif kind is Kind.SYNC_END:
                self._durable_names = _renamed(self._durable_names, self._pending_names[: self._naming])
                del self._pending_names[: self._naming]
        elif isinstance(file, str):
            self.written += operation.data
        elif kind is Kind.SYNC_BEGIN:
            file.syncing = len(file.pending)
        elif kind is Kind.SYNC_END:
            file.synced()
            self._fresh = False
        elif kind is Kind.SYNC_FAILED:
            file.failed()
        else:
            file.change(operation)

    def _do_to_name(self, operation: Operation, name: str) -> None:
        if name in ("", self._apart):
            self._fresh = self._fresh or name == self._apart  # a new process: it begins with this
            self._open[operation.descriptor] = name
            return
        if operation.kind is Kind.UNLINK:
            del self._names[name]
            self._pending_names.append((name, None))
            return
        if operation.kind is Kind.CREATE:
            self._names[name] = _File()
            self._pending_names.append((name, self._names[name]))
        self._open[operation.descriptor] = self._names[name]

    def after_power_cut(self, rng: Random) -> dict[str, bytes]:
        """One of the states in which the directory may be found: the files' names and contents."""
        chance = rng.choice((0.0, 0.5, 1.0))
        names = _renamed(self._durable_names, [change for change in self._pending_names if rng.random() < chance])
        way = _Way(rng.choice((512, 4096)), rng.choice((0.0, 0.1, 0.5, 0.9, 1.0)), rng.choice((0.0, 0.0, 0.3)))
        return {name: _survived(file, way, rng) for name, file in names.items()}


def _renamed(names: dict[str, _File], changes: list[tuple[str, _File | None]]) -> dict[str, _File]:
    named = names.copy()
    for name, file in changes:
        if file:
            named[name] = file
        else:
            named.pop(name, None)
    return named


def _survived(file: _File, way: _Way, rng: Random) -> bytes:
    content = bytearray(file.durable)
    for operation in [*chain.from_iterable(file.unwritten.values()), *file.pending]:
        for part in _parts(operation, way.sector):
            if rng.random() < way.kept:
                _apply(content, part)
            elif part.kind is Kind.WRITE and rng.random() < way.garbage:
                _apply(content, Operation(part.kind, part.descriptor, part.offset, rng.randbytes(len(part.data))))
    return bytes(content)


def _parts(operation: Operation, sector: int) -> Iterator[Operation]:
    """A write, cut where sectors end."""
    if operation.kind is not Kind.WRITE:
        yield operation
        return
    at, end = operation.offset, operation.offset + len(operation.data)
    while at < end:
        until = min(end, (at // sector + 1) * sector)
        yield Operation(
            operation.kind, operation.descriptor, at, operation.data[at - operation.offset : until - operation.offset]
        )
        at = until


def _apply(content: bytearray, operation: Operation) -> None:
    offset, data = operation.offset, operation.data
    if operation.kind is Kind.TRUNCATE:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
    else:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data
