"""What is asked of a runtime? Sandboxes, runs, mounts, files and checks, decided here and carried out at the edge."""

from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct

from mooring.model.pod import Resources
from mooring.pods.security import Identity


class SandboxWish(Struct, frozen=True):
    """A pod's namespaces and files, before any container. Texts are whole files."""

    uid: str
    namespace: str
    name: str
    hostname: str
    host_network: bool
    share_processes: bool
    resolv_conf: str
    hosts: Callable[[tuple[str, ...]], str]
    """The pod's addresses to its /etc/hosts."""
    pod_cidrs: tuple[str, ...] = ()
    """The node's ranges: the pod gets an address of each."""
    host_ips: tuple[str, ...] = ()
    """The node's addresses: those of a pod in the node's network."""
    volumes: tuple["Volume", ...] = ()
    limits: Mapping[str, int] = {}
    """'cpu' in millicores, 'memory' in bytes: written to the cgroup where the machine's cgroup v2 has the controller."""


class Volume(Struct, frozen=True):
    """How a volume is backed: 'files' (by Volumes.write), 'disk', 'memory' (`size` in bytes, 0 unlimited), 'host' (`path`)."""

    name: str
    backing: Literal["files", "disk", "memory", "host"]
    path: str = ""
    host_type: str = ""
    size: int = 0
    group: int | None = None
    """fsGroup: the volume's owning group, setgid and writable."""


class Mount(Struct, frozen=True):
    volume: str
    target: str
    sub_path: str = ""
    read_only: bool = False


class ContainerWish(Struct, frozen=True):
    """One run to start. `argv` empty parts fall back to the image's command."""

    name: str
    attempt: int
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    working_dir: str
    identity: Identity
    mounts: tuple[Mount, ...]
    termination_message_path: str
    fall_back_to_logs: bool
    limits: Mapping[str, int] = {}
    resources: Resources = Resources()
    """Where `limits` come from; kept with the run."""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    target: str = ""
    """The container whose processes it is among, '' for none."""


class ResizeWish(Struct, frozen=True):
    """What a container that runs is to have from now on, and the limits of its pod."""

    container: str
    resources: Resources
    limits: Mapping[str, int]
    of_pod: Mapping[str, int]


class File(Struct, frozen=True):
    data: bytes
    mode: int = 0o644


class Outcome(Struct, frozen=True):
    """What a probe or hook met. `output` is upstream's wording, without the 'Readiness probe failed: ' in front."""

    success: bool
    output: str = ""


class HttpCheck(Struct, frozen=True):
    host: str
    port: int
    path: str
    scheme: str
    headers: tuple[tuple[str, str], ...] = ()


class TcpCheck(Struct, frozen=True):
    host: str
    port: int


class ExecCheck(Struct, frozen=True):
    uid: str
    container: str
    command: tuple[str, ...]
