"""Who keeps the workers running? The agent starts them, or takes over those of an earlier agent, and starts each again when it
dies.

Workers are not tied to the agent: they live in a cgroup of their own and go on when it ends. One that is found is kept when its
lock file says that it reads our format from our sockets; another one is ended, for it would take questions away.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
from msgspec import Struct

from mooring.dns.table import MAGIC
from mooring.edges import cgroups
from mooring.edges.dns.worker import lock_file

log = structlog.get_logger("dns")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds before a restart of a worker that died young, doubling while it goes on; one that lived is started at once."""
GROWN_UP = 2.0
OTHERS = 64
"""Numbers of workers that an earlier agent may have used."""

Sockets = Mapping[int, Sequence[socket.socket]]
"""By the number of the worker: its UDP sockets, in their order."""


class Worker(Struct):
    """A living one. `started` is ours to reap, None when an earlier agent started it; `pidfd` tells when it has died."""

    pid: int
    pidfd: int
    started: "subprocess.Popen[bytes] | None" = None


class WorkerPool:
    """`run` keeps one worker for each number. `restarts` counts those that had to be started again."""

    def __init__(self, folder: Path, sockets: Sockets, cgroup: Path | None) -> None:
        self._folder, self._sockets, self._cgroup = folder, sockets, cgroup
        self.workers: dict[int, Worker] = {}
        self.restarts = 0

    async def run(self) -> None:
        """Until cancelled; the workers go on."""
        if self._cgroup is not None:
            cgroups.create(self._cgroup)
            self._end_strays(self._cgroup)
        for number in range(OTHERS):
            if number not in self._sockets:
                end_found(self._folder, number)
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in self._sockets:
                    tasks.create_task(self._keep(number), name=f"DNS worker {number}")
        finally:
            for worker in self.workers.values():
                os.close(worker.pidfd)
            self.workers.clear()

    def _end_strays(self, group: Path) -> None:
        """Workers whose lock files somebody removed: they have our sockets, and nobody would find them by name."""
        told = [_told(self._folder / lock_file(number)) for number in range(OTHERS)]
        for pid in set(cgroups.processes(group)) - {each[0] for each in told if each is not None}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _keep(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            begun = loop.time()
            self.workers[number] = self._adopt(number) or self._start(number)
            await _dead(self.workers[number])
            how = _reap(self.workers.pop(number))
            self.restarts += 1
            log.warning("a DNS worker died and is started again", number=number, how=how)
            if loop.time() - begun > GROWN_UP:
                pause = FIRST_PAUSE
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _adopt(self, number: int) -> Worker | None:
        """An earlier agent's, which may have come up only now."""
        worker = adopted(self._folder, number, self._sockets[number])
        if worker is None:
            end_found(self._folder, number)
        else:
            log.info("a DNS worker is taken over", number=number, pid=worker.pid)
        return worker

    def _start(self, number: int) -> Worker:
        descriptors = [each.fileno() for each in self._sockets[number]]
        argv = [sys.executable, "-m", "mooring.edges.dns.worker", str(self._folder), str(number), str(self._cgroup or "")]
        started = subprocess.Popen(
            [*argv, *map(str, descriptors)], stdin=subprocess.DEVNULL, pass_fds=descriptors, start_new_session=True
        )
        return Worker(started.pid, os.pidfd_open(started.pid), started)


def adopted(folder: Path, number: int, sockets: Sequence[socket.socket]) -> Worker | None:
    """The worker with this number that an earlier agent started, if it does what one of ours would."""
    told = _told(folder / lock_file(number))
    if told is None:
        return None
    pid, version, inodes = told
    if version != str(MAGIC) or inodes != ",".join(str(os.fstat(each.fileno()).st_ino) for each in sockets):
        return None
    try:
        return Worker(pid, os.pidfd_open(pid))
    except ProcessLookupError:
        return None


def end_found(folder: Path, number: int) -> None:
    """Kills whoever holds the lock of this number."""
    told = _told(folder / lock_file(number))
    if told is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(told[0], signal.SIGKILL)


def _told(lock: Path) -> tuple[int, str, str] | None:
    """(process, version of the format, inodes of its sockets) of the worker that holds a lock file; None when nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        # It may have the lock, but not yet written who it is.
        pid, _, rest = os.read(descriptor, 4096).decode(errors="replace").strip().partition(" ")
        version, _, inodes = rest.partition(" ")
        return (int(pid), version, inodes) if pid.isdecimal() else None
    finally:
        os.close(descriptor)


async def _dead(worker: Worker) -> None:
    loop, died = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(worker.pidfd, died.set)
    try:
        await died.wait()
    finally:
        loop.remove_reader(worker.pidfd)


def _reap(worker: Worker) -> str:
    os.close(worker.pidfd)
    if worker.started is None:
        return "was another agent's"
    code = worker.started.wait()
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
