"""Which parts of the host does a container see?"""

import os
import stat
import sys
from pathlib import Path

from mooring.edges.pods.images.table import PACKAGES, PYTHON, SOURCE
from mooring.pods.node import HostFacts

HIDDEN = (
    "/root", "/home", "/boot", "/mnt", "/media", "/lost+found",  # people's and the machine's own
    "/run", "/tmp", "/var/tmp",  # sockets and other processes' files: fresh ones instead
    "/var/lib/docker", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/mooring", "/var/lib/private",
    "/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/ssl/private",  # secrets
    "/etc/kubernetes", "/etc/mooring", "/etc/ssh",
)  # fmt: skip
"""What a container never sees of the host, whatever its user."""

NEEDED = tuple(
    os.path.realpath(path) for path in (os.path.dirname(os.path.dirname(PYTHON)), sys.prefix, PACKAGES, f"{SOURCE}/mooring")
)
"""What Mooring's images run from: the interpreter, its packages, Mooring."""
_DISKS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "overlay", "nfs", "nfs4", "bcachefs", "erofs"}
_OWN = ("/proc", "/sys", "/dev", "/run", "/tmp")


def _under(path: str, above: tuple[str, ...]) -> bool:
    return any(path == one or path.startswith(one.rstrip("/") + "/") for one in above)


def hidden(more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Real paths to hide, each once, none below another."""
    paths = sorted({os.path.realpath(path) for path in (*HIDDEN, *more) if os.path.exists(path)})
    return tuple(path for path in paths if not _under(path, tuple(other for other in paths if other != path)))


def visible(hidden_paths: tuple[str, ...], mountinfo: str | None = None) -> tuple[str, ...]:
    """What must be bound read-only into a container: file systems mounted below the root's, Python's and Mooring's files.

    Python's folders count only where they would be hidden or lie on another file system: the overlay shows the rest.
    """
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    disks = set()
    for line in text.splitlines():
        fields = line.split()
        point, kind = fields[4].encode().decode("unicode_escape"), fields[fields.index("-") + 1]
        if point != "/" and kind in _DISKS and not _under(point, (*_OWN, *hidden_paths)) and os.path.isdir(point):
            disks.add(point)
    disks.update(path for path in NEEDED if _under(path, hidden_paths))
    return tuple(sorted(disks))


def closed(paths: tuple[str, ...] = NEEDED) -> tuple[str, ...]:
    """Folders above these paths that only their owner may enter: hidden, they stand open, and hold the paths alone."""
    above = {parent for path in paths for parent in Path(path).parents[:-1]}
    return tuple(sorted(str(each) for each in above if each.is_dir() and not each.stat().st_mode & stat.S_IXOTH))


def facts(state: Path) -> HostFacts:
    """The machine as a Node shows it. `state`: a path on the disk whose size counts as ephemeral storage."""
    system = os.uname()
    release = dict(
        line.rstrip().split("=", 1)
        for line in _text("/etc/os-release").splitlines()
        if "=" in line and not line.startswith("#")
    )
    memory = next(
        (int(line.split()[1]) * 1024 for line in _text("/proc/meminfo").splitlines() if line.startswith("MemTotal")), 0
    )
    disk = os.statvfs(state)
    architecture = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(system.machine, system.machine)
    return HostFacts(
        cpus=os.cpu_count() or 1,
        memory=memory,
        storage=disk.f_blocks * disk.f_frsize,
        architecture=architecture,
        kernel_version=system.release,
        os_image=release.get("PRETTY_NAME", "Linux").strip('"'),
        machine_id=_text("/etc/machine-id").strip(),
        boot_id=_text("/proc/sys/kernel/random/boot_id").strip(),
    )


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
