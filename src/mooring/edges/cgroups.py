"""Where do a cluster's processes live in cgroup v2, and how are they all ended at once?

One subtree of our own, `mooring-<cluster>`, at the root of the version 2 hierarchy, wherever the machine mounts that:
/sys/fs/cgroup, or /sys/fs/cgroup/unified on hybrid machines. https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

import contextlib
import os
import signal
import time
from pathlib import Path

MISSING = "no cgroup version 2 hierarchy is mounted"


class CgroupError(Exception):
    """The hierarchy is missing, or processes would not die."""


def mount_point() -> Path:
    """Where cgroup v2 is mounted. Raises CgroupError when nowhere."""
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, where, kind, *_ = line.split(" ")
            if kind == "cgroup2":
                return Path(where.encode().decode("unicode_escape"))
    raise CgroupError(MISSING)


def subtree(cluster: str) -> Path:
    """The cluster's own subtree; it may not exist yet. Raises CgroupError."""
    return mount_point() / f"mooring-{cluster}"


def create(group: Path) -> Path:
    """Makes a group and those above it; harmless to repeat."""
    group.mkdir(parents=True, exist_ok=True)
    return group


def delegate(group: Path) -> None:
    """Makes a group and lets those below it be limited, as far as this machine's version 2 hierarchy has controllers.

    A hybrid machine keeps them in version 1: then nothing is limited there, and all else works.
    """
    create(group)
    for controller in ("cpu", "memory", "pids"):
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def current() -> Path:
    """The group this process is in. Raises CgroupError."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return mount_point() / line.removeprefix("0::").lstrip("/")
    raise CgroupError(MISSING)


def join(group: Path) -> None:
    """Moves this process into a group, which is made if need be. Raises OSError."""
    (create(group) / "cgroup.procs").write_text("0")


def processes(group: Path) -> list[int]:
    """The process ids in a group and all groups below it; empty when it does not exist."""
    found: list[int] = []
    for procs in group.rglob("cgroup.procs") if group.is_dir() else ():
        with contextlib.suppress(OSError):
            found += map(int, procs.read_text().split())
    return found


def kill(group: Path, deadline: float = 10.0) -> None:
    """SIGKILL to every process in the group and below, and waits until they are gone, at most `deadline` seconds.

    cgroup.kill (Linux 5.14) reaches forks in flight too; on 5.13 the list is killed until it stays empty.
    Raises CgroupError when some remain.
    """
    end = time.monotonic() + deadline
    pause = 0.001
    while True:
        remaining = processes(group)
        if not remaining:
            return
        if time.monotonic() > end:
            raise CgroupError(f"processes {remaining} in {group} do not die")
        _kill_once(group, remaining)
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _kill_once(group: Path, remaining: list[int]) -> None:
    try:
        (group / "cgroup.kill").write_text("1")
    except FileNotFoundError:
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def remove(group: Path, deadline: float = 10.0) -> None:
    """Ends every process of the group, then removes it and all below, deepest first. Harmless to repeat. Raises CgroupError."""
    kill(group, deadline)
    if not group.is_dir():
        return
    below = [path for path in group.rglob("*") if path.is_dir()]
    end = time.monotonic() + deadline
    for path in [*sorted(below, key=lambda path: len(path.parts), reverse=True), group]:
        _rmdir(path, end)


def _rmdir(path: Path, end: float) -> None:
    """A group stays busy for a moment after its last process was reaped."""
    while True:
        try:
            path.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > end:
                raise CgroupError(f"cannot remove {path}: {error.strerror}") from error
            time.sleep(0.005)
