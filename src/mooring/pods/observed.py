"""What has the runtime seen of a pod?

Values without effects: the runtime makes them, `step` reads them. A run is one start of one container; its attempt is the
restart count at that start.
"""

from datetime import datetime

from msgspec import Struct

from mooring.model.pod import Resources


class Run(Struct, frozen=True):
    """One run of a container. Running while `finished_at` is None."""

    container: str
    attempt: int
    id: str
    image: str
    image_id: str
    started_at: datetime
    finished_at: datetime | None = None
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    """'Completed', 'Error', 'StartError', or 'ContainerStatusUnknown' when its end was never seen."""
    message: str = ""
    """The termination message, at most 4096 bytes."""
    resources: Resources | None = None
    """What it was given last; None of a run that an older agent started."""
    held: tuple[str, ...] = ()
    """Of which resources the kernel holds the limits: 'cpu', 'memory'."""

    @property
    def running(self) -> bool:
        return self.finished_at is None


class PodSeen(Struct, frozen=True):
    """A pod on this node. `alive` is False once its sandbox (namespaces and shim) has gone; its runs stay readable."""

    uid: str
    namespace: str
    name: str
    alive: bool
    ips: tuple[str, ...]
    created_at: datetime
    runs: dict[str, tuple[Run, ...]]
    """By container name, oldest first: the previous run, when there is one, and the latest."""

    def latest(self, container: str) -> Run | None:
        runs = self.runs.get(container)
        return runs[-1] if runs else None

    def previous(self, container: str) -> Run | None:
        runs = self.runs.get(container, ())
        return runs[-2] if len(runs) > 1 else None

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(name for name, runs in self.runs.items() if runs and runs[-1].running)
