"""How is a container's log read? The moved-aside files, then the current one, and with `follow` what is written from now on."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from mooring.pods.cri_log import Line, parse, shown, since
from mooring.ports.pods import LogOptions

_CHUNK = 256 * 1024
_POLL = 0.05
"""Seconds between looks at a followed file; a log is read by people, and inotify would cost a descriptor a reader."""


async def read_log(folder: Path, options: LogOptions, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Chunks of whole lines of one run, the first of them empty: the log is there.

    `ended` says whether the run has ended: then a follower stops at the end.
    """
    yield b""
    tail = _Tail(folder, options)
    budget = _Budget(options.limit_bytes)
    try:
        for chunk in tail.history():
            if chunk := budget.take(chunk):
                yield chunk
            if budget.spent:
                return
            await asyncio.sleep(0)
        while options.follow and not budget.spent:
            last_look = ended()
            data = tail.news()
            if data and (chunk := budget.take(data)):
                yield chunk
            elif last_look:
                return
            else:
                await asyncio.sleep(_POLL)
    finally:
        tail.close()


class _Budget:
    """limitBytes: what is sent at most."""

    def __init__(self, limit: int | None) -> None:
        self.left = limit

    @property
    def spent(self) -> bool:
        return self.left is not None and self.left <= 0

    def take(self, data: bytes) -> bytes:
        if self.left is None:
            return data
        part = data[: max(self.left, 0)]
        self.left -= len(part)
        return part


class _Tail:
    """The reading position in one run's log files. They are held open: a rotation renames them, and takes nothing away."""

    def __init__(self, folder: Path, options: LogOptions) -> None:
        self.options, self.path = options, folder / "log"
        self.files = self._open_all()
        self.rest, self.begins = b"", True

    def history(self) -> Iterator[bytes]:
        """What is there now, piece by piece, some of them empty; the last `tail_lines` of it when they are asked for.

        They are counted first, not held: as upstream, lines of the file, before those are left out that nobody wants.
        """
        skip = 0
        if self.options.tail_lines is not None:
            skip = -self.options.tail_lines
            for data in self._old():
                skip += data.count(b"\n")
                yield b""
            for file in self.files:
                os.lseek(file, 0, os.SEEK_SET)
        for data in self._old():
            if skip > 0:
                count = min(data.count(b"\n"), skip)
                skip -= count
                data = data.split(b"\n", count)[-1] if not skip else b""
            yield self._show(self._lines(data)) if skip <= 0 else b""
        while len(self.files) > 1:
            os.close(self.files.pop(0))

    def news(self) -> bytes:
        """What was added since; goes over to the next file when the current one has been moved aside."""
        if not self.files:
            self.files = self._open_all()
        if not self.files:
            return b""
        data = os.read(self.files[0], _CHUNK)
        if not data and self._moved():
            # Once more: something may have been added between the reading and the moving.
            data = os.read(self.files[0], _CHUNK)
            if not data:
                self._go_on()
                data = os.read(self.files[0], _CHUNK)
        return self._show(self._lines(data))

    def close(self) -> None:
        while self.files:
            os.close(self.files.pop())

    def _moved(self) -> bool:
        return self.path.exists() and os.stat(self.path).st_ino != os.fstat(self.files[0]).st_ino

    def _go_on(self) -> None:
        """To the file that was begun after the current one; to the oldest that is left when that is gone already."""
        mine, files = os.fstat(self.files[0]).st_ino, self._open_all()
        numbers = [os.fstat(file).st_ino for file in files]
        following = numbers.index(mine) + 1 if mine in numbers else 0
        if following < len(files):
            self.files.append(files.pop(following))
            os.close(self.files.pop(0))
        for file in files:
            os.close(file)

    def _open_all(self) -> list[int]:
        """Oldest first. Opened newest first, so that a rotation meanwhile shows one twice and hides none."""
        aside = sorted((path for path in self.path.parent.glob("log.*") if path.suffix[1:].isdecimal()), key=_number)
        found: dict[int, int] = {}
        for path in (self.path, *aside):
            with contextlib.suppress(FileNotFoundError):
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                if found.setdefault(os.fstat(file).st_ino, file) != file:
                    os.close(file)
        return list(reversed(found.values()))

    def _old(self) -> Iterator[bytes]:
        for file in self.files:
            while data := os.read(file, _CHUNK):
                yield data

    def _lines(self, data: bytes) -> Iterator[Line]:
        parts = (self.rest + data).split(b"\n")
        self.rest = parts.pop()
        for part in parts:
            line = parse(part)
            if line and since(line, self.options.since) and self.options.stream in ("All", line.stream.capitalize()):
                yield line

    def _show(self, lines: Iterator[Line]) -> bytes:
        out = []
        for line in lines:
            out.append(shown(line, timestamps=self.options.timestamps, begins=self.begins))
            self.begins = line.whole
        return b"".join(out)


def _number(path: Path) -> int:
    return int(path.suffix[1:])
