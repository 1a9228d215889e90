"""What the kubelet loop needs of a container runtime, in words of pods: sandboxes, runs, volumes, probes, streams.

Wishes go in, `PodSeen` values come out. Five methods at most each; edges/pods implements them with namespaces and processes.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

from mooring.pods.observed import PodSeen
from mooring.pods.wishes import ContainerWish, ExecCheck, File, HttpCheck, Outcome, ResizeWish, SandboxWish, TcpCheck


class RuntimeFailure(Exception):
    """The runtime could not carry out a wish. `reason` is the waiting reason (CreateContainerError...), the text says why."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class ImageRef(Struct, frozen=True):
    """An image of the local table: its id and what `kubectl` shows."""

    name: str
    id: str
    description: str = ""


class Runtime(Protocol):
    async def adopt(self, changed: Callable[[PodSeen], None]) -> list[PodSeen]:
        """Finds the pods that an earlier agent left running. From now on `changed` is called at every exit and death."""

    async def sandbox(self, wish: SandboxWish) -> PodSeen:
        """Makes the pod's namespaces, network, files and volumes; an existing living sandbox stays. Raises RuntimeFailure."""

    async def start(self, uid: str, wish: ContainerWish) -> PodSeen:
        """Starts a run. Returns when the command has been executed. Raises RuntimeFailure."""

    async def signal(self, uid: str, container: str, signal: int) -> None:
        """Sends a signal to the container's first process; nothing happens when it has exited."""

    async def remove(self, uid: str, *, keep_files: bool = False) -> None:
        """Kills all that runs and removes every trace: processes, cgroup, link, addresses, files. Idempotent.

        With `keep_files`, for a pod that has ended, its logs and records stay until it is removed without.
        """


class Resizer(Protocol):
    async def resize(self, uid: str, wish: ResizeWish) -> PodSeen:
        """Sets the limits of a container that runs, where the machine has them. Raises RuntimeFailure."""


class Images(Protocol):
    def find(self, image: str) -> ImageRef | None: ...

    def all(self) -> list[ImageRef]: ...


class Volumes(Protocol):
    async def write(self, uid: str, volume: str, files: Mapping[str, File], group: int | None = None) -> None:
        """Makes the volume hold exactly these files (relative paths), all at once: readers see the old or the new set.

        `group` is the fsGroup that owns the files. Raises RuntimeFailure.
        """


class Directories(Protocol):
    """The directories behind the volumes that a node has provisioned."""

    async def make(self, name: str) -> str:
        """A new one, or that of the name; its path. Raises RuntimeFailure."""

    async def remove(self, name: str, path: str) -> None:
        """With all that is in it; a path other than `make` told is refused. Raises RuntimeFailure."""


class Prober(Protocol):
    async def check(self, what: HttpCheck | TcpCheck | ExecCheck, timeout: float) -> Outcome:
        """One attempt, at most `timeout` seconds. Never raises for what the pod does wrong."""


class Process(Protocol):
    """A command running in a container, or a container attached to. stdin, stdout and stderr are raw file descriptors.

    They are pipes' or a `terminal`'s, which is None where there is none. Who closes a descriptor sets its attribute to None;
    `close` closes the others.
    """

    terminal: int | None
    stdin: int | None
    stdout: int | None
    stderr: int | None

    async def wait(self) -> int:
        """The exit code; 128 + n when signal n ended it. May be called more than once."""

    def resize(self, columns: int, rows: int) -> None: ...

    async def end_input(self) -> None:
        """Nothing more comes on stdin. A terminal is told by its end-of-file character."""

    async def kill(self) -> None:
        """SIGKILL; `wait` then returns 137. What is attached to is left alone: it is only detached from."""

    def close(self) -> None:
        """Gives back the descriptors that are still open."""


class Connection(Protocol):
    """One TCP connection into a pod."""

    async def read(self) -> bytes:
        """What comes next; b"" at the end. Raises OSError."""

    async def write(self, data: bytes) -> None:
        """Waits while the pod reads slowly. Raises OSError."""

    def write_eof(self) -> None:
        """Ends our direction."""

    def close(self) -> None: ...


class LogOptions(Struct, frozen=True):
    """As the query of GET .../pods/<name>/log."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since: datetime | None = None
    limit_bytes: int | None = None
    stream: Literal["All", "Stdout", "Stderr"] = "All"


class Streams(Protocol):
    def running(self, uid: str, container: str) -> bool:
        """Whether the container runs now."""

    async def exec(
        self, uid: str, container: str, argv: tuple[str, ...], *, stdin: bool = False, tty: bool = False, stderr: bool = True
    ) -> Process:
        """Runs a command in a running container. Raises RuntimeFailure('ContainerNotRunning' or 'ExecError', why)."""

    async def attach(
        self, uid: str, container: str, *, stdin: bool = False, stdout: bool = True, stderr: bool = True
    ) -> Process:
        """What the container's first process says from now on, and its stdin. Raises RuntimeFailure('ContainerNotRunning')."""

    async def connect(self, uid: str, port: int) -> Connection:
        """A TCP connection to the pod's own localhost, 127.0.0.1 or else [::1]. Raises RuntimeFailure('DialError', why)."""

    def logs(self, uid: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Chunks of whole lines, the first at once; ends at the end, with `follow` when the container has exited.

        Raises RuntimeFailure.
        """
