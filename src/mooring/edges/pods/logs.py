"""How is a container's log read? The moved-aside files, then the current one, and with `follow` what is written from now on."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from mooring.pods.cri_log import Line, parse, shown, since
from mooring.ports.pods import LogOptions

_CHUNK = 256 * 1024
_POLL = 0.05
"""Seconds between looks at a followed file; a log is read by people, and inotify would cost a descriptor a reader."""


async def read_log(folder: Path, options: LogOptions, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Chunks of whole lines of one run. `ended` says whether the run has ended: then a follower stops at the end."""
    tail = _Tail(folder, options)
    budget = _Budget(options.limit_bytes)
    for chunk in tail.history():
        if chunk := budget.take(chunk):
            yield chunk
        if budget.spent:
            return
    while options.follow and not budget.spent:
        last_look = ended()
        data = tail.news()
        if data and (chunk := budget.take(data)):
            yield chunk
        elif last_look:
            return
        else:
            await asyncio.sleep(_POLL)


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
    """The reading position in one run's log files."""

    def __init__(self, folder: Path, options: LogOptions) -> None:
        self.options, self.path = options, folder / "log"
        self.aside = sorted(folder.glob("log.*"), key=lambda path: -int(path.suffix[1:]) if path.suffix[1:].isdecimal() else 0)
        self.file = -1
        self.rest, self.begins = b"", True

    def history(self) -> Iterator[bytes]:
        """What is there now; the last `tail_lines` of it when they are asked for."""
        self.file = os.open(self.path, os.O_RDONLY) if self.path.exists() else -1
        try:
            if self.options.tail_lines is None:
                for data in self._old():
                    if out := self._show(self._lines(data)):
                        yield out
            else:
                last: deque[Line] = deque(maxlen=self.options.tail_lines)
                for data in self._old():
                    last.extend(self._lines(data))
                yield self._show(iter(last))
        finally:
            if not self.options.follow:
                self._close()

    def news(self) -> bytes:
        """What was added since; goes over to the new file when the current one has been moved aside."""
        if self.file < 0 and self.path.exists():
            self.file = os.open(self.path, os.O_RDONLY)
        if self.file < 0:
            return b""
        data = os.read(self.file, _CHUNK)
        if not data and (not self.path.exists() or os.stat(self.path).st_ino != os.fstat(self.file).st_ino):
            self._close()
            return self.news() if self.path.exists() else b""
        return self._show(self._lines(data))

    def _close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
        self.file = -1

    def __del__(self) -> None:
        self._close()

    def _old(self) -> Iterator[bytes]:
        for path in self.aside:
            yield path.read_bytes()
        while self.file >= 0 and (data := os.read(self.file, _CHUNK)):
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
