"""Is a file still the one that was read? Apart from renewal.py: a command that reads a kubeconfig loads no more than this."""

from pathlib import Path

from msgspec import Struct


class Stamp(Struct, frozen=True):
    """By what a file is known to be the same: whoever exchanges keys puts a new file in the place of the old one."""

    path: Path
    inode: int = 0
    size: int = -1
    modified: int = 0


def stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return Stamp(path)
    return Stamp(path, found.st_ino, found.st_size, found.st_mtime_ns)
