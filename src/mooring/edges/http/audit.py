"""Where do audit events go? Lines of a file that is rotated by size, written by a thread: no request waits for the disk.

What the thread has not written yet is bounded: beyond that, events are counted as lost rather than held.
"""

import threading
from collections import deque
from pathlib import Path
from typing import BinaryIO

import structlog

log = structlog.get_logger(__name__)

MAX_WAITING = 64 * 1024 * 1024
"""Bytes of events not written yet."""
_MEGABYTE = 1024 * 1024


class AuditLog:
    """`write` events from the loop, `close` at the end. `lost`: how many were not written."""

    def __init__(self, path: Path, max_size: int = 100, backups: int = 10) -> None:
        """`max_size` in megabytes, 0 for no rotation; `backups` rotated files are kept. Raises OSError."""
        self._path, self._limit, self._backups = path, max_size * _MEGABYTE, backups
        self.lost = self._too_many = 0
        self._file: BinaryIO = path.open("ab")
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._ready = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def write(self, event: bytes) -> None:
        with self._ready:
            if self._size + len(event) > MAX_WAITING:
                self._too_many += 1
                return
            self._waiting.append(event)
            self._size += len(event) + 1
            self._ready.notify()

    def close(self) -> None:
        """Writes what is waiting, then ends."""
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join()
        self._file.close()

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._waiting and not self._closed:
                    self._ready.wait()
                lines, self._waiting = self._waiting, deque()
                too_many, self._too_many = self._too_many, 0
                self._size = 0
                over = self._closed
            if too_many:
                self._lose(too_many, "they come faster than they are written")
            if lines:
                self._append(b"\n".join(lines) + b"\n", len(lines))
            elif over:
                return

    def _append(self, data: bytes, events: int) -> None:
        try:
            if self._file.closed:
                self._file = self._path.open("ab")
            if self._limit and self._file.tell() + len(data) > self._limit and self._file.tell():
                self._rotate()
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            self._lose(events, str(error))

    def _lose(self, events: int, why: str) -> None:
        self.lost += events
        log.error("audit events were lost", events=events, why=why)

    def _rotate(self) -> None:
        """audit.log becomes audit.log.1, that .2, and so on; the last goes. Where that fails the file grows: none is lost."""
        self._file.close()
        try:
            for number in range(self._backups, 0, -1):
                older = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
                if older.exists():
                    older.replace(self._path.with_name(f"{self._path.name}.{number}"))
            if not self._backups:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            log.error("the audit log was not rotated", why=str(error))
        self._file = self._path.open("ab")
