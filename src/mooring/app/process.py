"""How is a role started in its place, kept running, and its log kept small?

A role is a subprocess in its own cgroup and, for nodes, in the node's network namespace; both are entered before the role is
executed, so not one instruction of it runs elsewhere: the thread that forks is in the namespace, and a shell of one line enters
the cgroup. Python of our own between fork and exec would be shorter, and could wait for ever for a lock that another thread had
when it forked. The role writes its log itself: the supervisor may die and come back without the role noticing.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from msgspec import Struct

from mooring.app.aside import aside
from mooring.edges import cgroups
from mooring.edges.netlink import namespaces

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 20.0
"""Seconds before a restart: at once the first time, doubling while the role keeps dying young."""
GROWN_UP = 10.0
"""A role that lived this many seconds has earned a quick restart again."""
STOP_PATIENCE = 10.0
ENTER = 'echo 0 > "$0" && exec "$@"'
"""For a shell: joins the cgroup whose cgroup.procs is the first word, and becomes the command that the others are."""
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
    stopped = asyncio.create_task(stop.wait())
    try:
        await _keep_running(role, stopped, report)
    finally:
        stopped.cancel()


async def _keep_running(role: Role, stopped: asyncio.Task[Literal[True]], report: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE
    while not stopped.done():
        began = loop.time()
        starting = asyncio.create_task(start(role))
        await asyncio.wait({stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
        # What comes to run after all has to be ended like any other; what hangs holds nobody up.
        if not (starting.done() or (await asyncio.wait({starting}, timeout=STOP_PATIENCE))[0]):
            starting.cancel()
            return
        process = await starting
        died = asyncio.create_task(aside(process.wait))
        await asyncio.wait({stopped, died}, return_when=asyncio.FIRST_COMPLETED)
        if not died.done():
            await _end(process, died)
            return
        await asyncio.to_thread(cgroups.kill, role.cgroup)
        pause = FIRST_PAUSE if loop.time() - began > GROWN_UP else pause
        report(f"{role.name} {_how_it_ended(process.returncode)}; starting it again in {pause:g} s; its log: {role.log}")
        await asyncio.wait({stopped}, timeout=pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def start(role: Role) -> subprocess.Popen[bytes]:
    """Starts the role in its cgroup and namespace. Raises OSError."""
    spawn = partial(_spawn, role)
    return await aside(partial(namespaces.within, role.namespace, spawn) if role.namespace else spawn)


def _spawn(role: Role) -> subprocess.Popen[bytes]:
    """In the network namespace of the calling thread."""
    procs = cgroups.create(role.cgroup) / "cgroup.procs"
    log = os.open(role.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            ("/bin/sh", "-c", ENTER, str(procs), *role.argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[each.fileno() for each in role.sockets],
            start_new_session=True,
        )
    finally:
        os.close(log)


async def _end(process: subprocess.Popen[bytes], died: asyncio.Task[int]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.send_signal(number)
        if (await asyncio.wait({died}, timeout=STOP_PATIENCE))[0]:
            return


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"


async def rotate(logs: Path, stop: asyncio.Event) -> None:
    """Keeps every log under `logs` small until `stop` is set."""
    while not stop.is_set():
        await asyncio.to_thread(_rotate_large, logs)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOG_CHECK):
                await stop.wait()


def _rotate_large(logs: Path) -> None:
    """Copies, then truncates: the writer keeps its descriptor and appends (O_APPEND), so it needs no word from us."""
    for log in logs.glob("*.log"):
        if log.stat().st_size > LOG_SIZE:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
