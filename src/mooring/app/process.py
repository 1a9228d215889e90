"""How is a role started in its place, kept running, and its log kept small?

A role is a subprocess in its own cgroup and, for nodes, in the node's network namespace; both are entered between fork and
exec, so not one instruction of it runs elsewhere. It writes its log itself: the supervisor may die and come back without the
role noticing.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from mooring.edges import cgroups
from mooring.edges.netlink import namespaces

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 20.0
"""Seconds before a restart: at once the first time, doubling while the role keeps dying young."""
GROWN_UP = 10.0
"""A role that lived this many seconds has earned a quick restart again."""
STOP_PATIENCE = 10.0
LOG_SIZE, LOG_CHECK = 16 << 20, 5.0
"""Bytes after which a log is moved to `.1`, and how often its size is looked at, in seconds."""


class Role(Struct, frozen=True):
    """What to run and where. `namespace` is '' for the machine's own.

    `sockets` are inherited by every start of the role under their own numbers, and stay open in between.
    """

    name: str
    argv: tuple[str, ...]
    cgroup: Path
    log: Path
    namespace: str = ""
    sockets: tuple[socket.socket, ...] = ()


async def keep_running(role: Role, stop: asyncio.Event, report: Callable[[str], None]) -> None:
    """Runs the role until `stop` is set, restarting it when it dies; then ends it gently, after STOP_PATIENCE not gently."""
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE
    while not stop.is_set():
        started = loop.time()
        process = await start(role)
        stopped = asyncio.create_task(stop.wait())
        died = asyncio.create_task(process.wait())
        await asyncio.wait({stopped, died}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not died.done():
            await _end(process, died)
            return
        await asyncio.to_thread(cgroups.kill, role.cgroup)
        pause = FIRST_PAUSE if loop.time() - started > GROWN_UP else pause
        report(f"{role.name} {_how_it_ended(process.returncode)}; starting it again in {pause:g} s; its log: {role.log}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def start(role: Role) -> asyncio.subprocess.Process:
    """Starts the role in its cgroup and namespace. Raises OSError."""
    procs = os.open(cgroups.create(role.cgroup) / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    place = os.open(namespaces.path(role.namespace), os.O_RDONLY | os.O_CLOEXEC) if role.namespace else -1
    log = os.open(role.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def settle() -> None:
        os.write(procs, b"0")
        if place >= 0:
            namespaces.setns(place)

    try:
        return await asyncio.create_subprocess_exec(
            *role.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=settle,
            pass_fds=[each.fileno() for each in role.sockets],
            start_new_session=True,
        )
    finally:
        for descriptor in (procs, place, log):
            if descriptor >= 0:
                os.close(descriptor)


async def _end(process: asyncio.subprocess.Process, died: asyncio.Task[int]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(died), STOP_PATIENCE)
        return
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await died


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"


async def rotate(logs: Path, stop: asyncio.Event) -> None:
    """Keeps every log under `logs` small until `stop` is set."""
    while not stop.is_set():
        await asyncio.to_thread(_rotate_large, logs)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOG_CHECK)


def _rotate_large(logs: Path) -> None:
    """Copies, then truncates: the writer keeps its descriptor and appends (O_APPEND), so it needs no word from us."""
    for log in logs.glob("*.log"):
        if log.stat().st_size > LOG_SIZE:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
