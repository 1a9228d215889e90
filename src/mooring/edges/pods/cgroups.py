"""How is a pod's group of processes made, limited and killed? (cgroup v2: kernel docs, admin-guide/cgroup-v2)"""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

_PERIOD = 100_000
"""cpu.max's period in microseconds."""


def create(path: Path, root: Path, limits: Mapping[str, int]) -> tuple[str, ...]:
    """Makes the group and the ones above it up to `root`, with the controllers that the machine's cgroup v2 has; which limits
    it holds.

    A hybrid machine gives its controllers to version 1: then limits are not enforced, as is the case for any process there.
    """
    path.mkdir(parents=True, exist_ok=True)
    for parent in reversed([above for above in path.parents if above.is_relative_to(root)]):
        for controller in ("cpu", "memory", "pids"):
            with contextlib.suppress(OSError):
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")
    return limit(path, limits)


def limit(path: Path, limits: Mapping[str, int]) -> tuple[str, ...]:
    """Sets limits of a group: 'cpu' in millicores, 'memory' in bytes. Which of them it holds."""
    held = tuple(name for name in limits if (path / f"{name}.max").exists())
    for name in held:
        value = limits[name]
        text = f"{max(value * _PERIOD // 1000, 1000)} {_PERIOD}" if name == "cpu" else str(value)
        (path / f"{name}.max").write_text(text)
    return held


async def destroy(path: Path, deadline: float = 10.0) -> None:
    """Kills every process below and removes the group. Raises TimeoutError when one cannot die (uninterruptible sleep)."""
    async with asyncio.timeout(deadline):
        while not _gone(path):
            await asyncio.sleep(0.002)


def _gone(path: Path) -> bool:
    """One attempt: kill, then remove from the leaves up. rmdir may find a dying process for a moment after `populated 0`."""
    try:
        (path / "cgroup.kill").write_text("1")
        if "populated 0" not in (path / "cgroup.events").read_text():
            return False
        for group in sorted((child for child in path.rglob("*") if child.is_dir()), reverse=True):
            group.rmdir()
        path.rmdir()
    except FileNotFoundError:
        return not path.exists()
    except OSError:
        return False
    return True
