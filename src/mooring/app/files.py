"""Where does each file of a cluster lie, and who runs the cluster now?

Everything is under the data directory, mode 0700. `lock` is held (flock) by the supervisor for its whole life, so the kernel
itself says whether one is alive, however it died; `supervisor.json` says which process that is and which ports it chose.
"""

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mooring.app.settings import Settings, dump


class Running(Struct, frozen=True, kw_only=True):
    """What a supervisor leaves for the commands that come after it. `boot` tells one boot of the machine from another."""

    pid: int
    started: int
    boot: str
    cluster: str
    api_port: int
    controllers_port: int
    ready: bool = False


class InUse(Exception):
    """Another process holds the data directory."""


class Files:
    """Paths below one data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kubeconfig = root / "kubeconfig"
        self.settings = root / "settings.yaml"
        self.state = root / "state.db"
        self.pki = root / "pki"
        self.logs = root / "logs"
        self.nodes = root / "nodes"
        self.volumes = root / "volumes"
        self._lock = root / "lock"
        self._running = root / "supervisor.json"

    def create(self) -> None:
        """Makes the directories; harmless to repeat. Raises OSError."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (self.logs, self.nodes):
            path.mkdir(mode=0o700, exist_ok=True)

    def own(self) -> tuple[Path, ...]:
        """The supervisor's own small files."""
        return self._lock, self._running

    def log(self, role: str) -> Path:
        return self.logs / f"{role}.log"

    def role_kubeconfig(self, role: str) -> Path:
        return self.pki / f"{role}.kubeconfig"

    def node_volumes(self, name: str) -> Path:
        """Where the directories of a node's PersistentVolumes are, which outlive the cluster's running."""
        return self.volumes / name

    def node(self, name: str) -> Path:
        """Where a node's agent keeps its pods' files."""
        return self.nodes / name

    def lock(self) -> int:
        """Takes the lock and returns its descriptor; the lock lasts as long as that stays open. Raises InUse, OSError."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise InUse(f"{self.root} is in use by {self._holder()}") from error
        return descriptor

    def locked(self) -> bool:
        """Whether a supervisor is alive."""
        if not self._lock.exists():
            return False
        try:
            os.close(self.lock())
        except InUse:
            return True
        return False

    def _holder(self) -> str:
        running = self.running()
        return f"cluster {running.cluster!r}, process {running.pid}" if running else "another process that is just starting"

    def running(self) -> Running | None:
        """The last supervisor of this boot, alive or crashed; None after an orderly `down` or a reboot."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            running = msgspec.json.decode(self._running.read_bytes(), type=Running)
            return running if running.boot == boot_id() else None
        return None

    def write_running(self, running: Running) -> None:
        _replace(self._running, json.dumps(msgspec.to_builtins(running)))

    def forget_running(self) -> None:
        """An orderly end: nothing of this cluster runs."""
        self._running.unlink(missing_ok=True)
        self.kubeconfig.unlink(missing_ok=True)

    def stored_settings(self) -> dict[str, Any]:
        """The settings this directory was made with; empty when it is new. Raises SettingsError when they are unreadable."""
        from mooring.app.settings import read_file

        return read_file(self.settings) if self.settings.exists() else {}

    def write_settings(self, settings: Settings) -> None:
        import yaml

        _replace(self.settings, yaml.safe_dump(dump(settings), sort_keys=False))

    def write_kubeconfig(self, text: str) -> None:
        _replace(self.kubeconfig, text)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot: with the pid it names one process for good (proc(5)).

    0 when it is gone, also when nobody has reaped it yet.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(fields[18])
    except (OSError, IndexError):
        return 0


def _replace(path: Path, text: str) -> None:
    """Writes a file for the owner's eyes only; readers see the old or the new, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
