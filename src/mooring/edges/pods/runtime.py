"""How do pods come to run on this machine? Namespaces, a shim each, a link, volumes: the Runtime port carried out.

What is true stands in the pods' own files (pod_files.py) and in the kernel; this class holds only connections. A killed agent
therefore loses nothing: the next one adopts. Creating goes: files, cgroup, shim (which makes the namespaces), network, ready.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct, structs

from mooring.edges import descriptors
from mooring.edges.pods import cgroups, network, pod_files, run_folder
from mooring.edges.pods.addresses import Addresses
from mooring.edges.pods.host import closed, hidden, visible
from mooring.edges.pods.images.table import PYTHON, ImageTable
from mooring.edges.pods.pod_files import Sandbox
from mooring.edges.pods.run_folder import RunSettings
from mooring.edges.pods.shim_link import ShimGone, ShimLink
from mooring.edges.pods.volumes import backing_folders
from mooring.pods.observed import PodSeen, Run
from mooring.pods.wishes import ContainerWish, ResizeWish, SandboxWish
from mooring.ports.pods import RuntimeFailure

_SHIM = str(Path(__file__).with_name("shim"))
_POLL = 0.01
_START_DEADLINE = 30.0
"""Seconds a shim gets to become ready, on a machine that is very busy."""


class RuntimeOptions(Struct, frozen=True):
    """`cgroup` is the node's own group below a cgroup v2 mount; `hidden` paths of the host that no container sees."""

    state: Path
    cgroup: Path
    node_name: str
    hidden: tuple[str, ...] = ()
    mtu: int = 1500
    log_limit: int = 10 * 1024 * 1024
    log_kept: int = 4


class _Pod:
    """A pod at hand: its files, its socket, what was last seen of it."""

    def __init__(self, directory: Path, sandbox: Sandbox, seen: PodSeen) -> None:
        self.directory, self.sandbox, self.seen = directory, sandbox, seen
        self.link = ShimLink(directory)
        self.unwatch: Callable[[], None] = lambda: None
        self.process: subprocess.Popen[bytes] | None = None


class PodRuntime:
    """The Runtime port. One per node; not shared between event loops."""

    def __init__(self, options: RuntimeOptions, images: ImageTable) -> None:
        self.options, self.images = options, images
        self.addresses = Addresses(options.state / "addresses")
        self._pods: dict[str, _Pod] = {}
        self._changed: Callable[[PodSeen], None] = lambda seen: None
        away = hidden((*options.hidden, str(options.state), *closed()))
        self._settings = RunSettings(options.node_name, away, visible(away), options.log_limit, options.log_kept)
        self._dead: list[subprocess.Popen[bytes]] = []

    # The port

    async def adopt(self, changed: Callable[[PodSeen], None]) -> list[PodSeen]:
        self._changed = changed
        folder = self.options.state / "pods"
        folder.mkdir(parents=True, exist_ok=True)
        os.chmod(self.options.state, 0o700)
        for directory in sorted(folder.iterdir()):
            sandbox = pod_files.load_sandbox(directory)
            if sandbox is None:
                with contextlib.suppress(OSError):  # What cannot die yet, the next agent finds again.
                    await self.remove(directory.name)
                continue
            pod = _Pod(directory, sandbox, pod_files.pod_seen(directory, sandbox, sandbox.ready))
            self._pods[sandbox.uid] = pod
            try:
                if not sandbox.ready:
                    raise ShimGone("its making was interrupted")
                self._watch(pod)
                # An exit between reading the files and watching is seen by reading them again.
                pod.seen = pod_files.pod_seen(directory, sandbox, True)
            except ShimGone:
                pod.seen = pod_files.pod_seen(directory, sandbox, False)
        return [pod.seen for pod in self._pods.values()]

    async def sandbox(self, wish: SandboxWish) -> PodSeen:
        held = self._pods.get(wish.uid)
        if held and held.seen.alive:
            return held.seen
        try:
            pod = await self._make(wish, held)
        except (OSError, ShimGone, TimeoutError, LookupError) as error:
            await self._abandon(wish.uid)
            raise RuntimeFailure("FailedCreatePodSandBox", str(error) or type(error).__name__) from error
        except RuntimeFailure:
            await self._abandon(wish.uid)
            raise
        return pod.seen

    async def start(self, uid: str, wish: ContainerWish) -> PodSeen:
        pod = self._living(uid)
        try:
            if await self._begun(pod, wish):
                self._look(pod, wish.name)
                return pod.seen
            folder = self._prepare(pod, wish)
            answer = await pod.link.ask({"op": "start", "directory": str(folder)})
        except ShimGone as error:
            raise RuntimeFailure("RunContainerError", str(error)) from error
        self._look(pod, wish.name)
        if "failed" in answer:
            self._changed(pod.seen)  # The failed start is a run that ended.
            raise RuntimeFailure("RunContainerError", answer["failed"])
        return pod.seen

    async def resize(self, uid: str, wish: ResizeWish) -> PodSeen:
        pod = self._living(uid)
        folders = pod_files.attempts(pod.directory, wish.container)
        group = Path(pod.sandbox.cgroup)
        try:
            cgroups.limit(group, wish.of_pod)
            held = cgroups.limit(group / wish.container, wish.limits)
            run_folder.resize(folders[-1], wish.resources, held)
        except (OSError, IndexError) as error:
            raise RuntimeFailure("ResizeError", str(error)) from error
        self._look(pod, wish.container)
        return pod.seen

    async def signal(self, uid: str, container: str, signal: int) -> None:
        pod = self._pods.get(uid)
        if pod and pod.seen.alive:
            try:
                await pod.link.ask({"op": "signal", "container": container, "signal": int(signal)})
            except ShimGone:
                return

    async def remove(self, uid: str, *, keep_files: bool = False) -> None:
        pod = self._pods.get(uid)
        if pod:
            pod.unwatch()
            pod.seen = structs.replace(pod.seen, alive=False)
        await self._kill(uid)
        if pod and keep_files:
            pod.seen = pod_files.pod_seen(pod.directory, pod.sandbox, False)
            pod.sandbox.ips, pod.sandbox.ready = (), False
            pod_files.store(pod.directory / "sandbox.json", pod.sandbox)
        else:
            self._pods.pop(uid, None)
            await asyncio.to_thread(shutil.rmtree, self.options.state / "pods" / uid, True)
        self._reap(pod)

    # What the other edges ask

    def directory(self, uid: str) -> Path | None:
        """The folder of a pod of this node."""
        pod = self._pods.get(uid)
        return pod.directory if pod else None

    def link(self, uid: str) -> ShimLink | None:
        pod = self._pods.get(uid)
        return pod.link if pod and pod.seen.alive else None

    def seen(self, uid: str) -> PodSeen | None:
        pod = self._pods.get(uid)
        return pod.seen if pod else None

    def volume_folder(self, uid: str, volume: str) -> Path:
        """Where a 'files' volume is written: a folder of the shim's mount namespace. Raises RuntimeFailure."""
        pod = self._living(uid)
        return Path(f"/proc/{pod.sandbox.shim}/root{pod.sandbox.volumes[volume]}")

    def close(self) -> None:
        """Lets go of all pods, which go on running."""
        for pod in self._pods.values():
            pod.unwatch()

    # Sandboxes

    async def _make(self, wish: SandboxWish, held: _Pod | None) -> _Pod:
        """A new sandbox, in place of one that died: its runs' records stay."""
        directory = self.options.state / "pods" / wish.uid
        cgroup = self.options.cgroup / wish.uid
        if held:
            held.unwatch()
            await cgroups.destroy(cgroup)
        ips = self._addresses(wish, held)
        folders = backing_folders(directory, wish.volumes)
        sandbox = Sandbox(
            uid=wish.uid,
            namespace=wish.namespace,
            name=wish.name,
            hostname=wish.hostname,
            host_network=wish.host_network,
            share_processes=wish.share_processes,
            cgroup=str(cgroup),
            ips=ips,
            created=time.time_ns(),
            files={"/etc/resolv.conf": wish.resolv_conf, "/etc/hosts": wish.hosts(ips), "/etc/hostname": wish.hostname + "\n"},
            memory=folders.memory,
            volumes=folders.volumes,
        )
        pod_files.store(directory / "sandbox.json", sandbox)
        pod = _Pod(directory, sandbox, pod_files.pod_seen(directory, sandbox, False))
        self._pods[wish.uid] = pod
        cgroups.create(cgroup, self.options.cgroup, wish.limits)
        cgroups.create(cgroup / "shim", self.options.cgroup, {})
        sandbox.shim = await self._spawn(pod)
        if not wish.host_network:
            await network.attach(pod.link, wish.uid, ips, sandbox.shim, self.options.mtu)
        self._watch(pod)
        sandbox.ready = True
        pod_files.store(directory / "sandbox.json", sandbox)
        pod.seen = structs.replace(pod.seen, alive=True)
        return pod

    def _addresses(self, wish: SandboxWish, held: _Pod | None) -> tuple[str, ...]:
        """The node's, those it had before, or new ones. Raises LookupError when a range is full."""
        if wish.host_network:
            return wish.host_ips
        if held and held.sandbox.ips:
            return held.sandbox.ips
        return self.addresses.allocate(wish.pod_cidrs, {ip for pod in self._pods.values() for ip in pod.sandbox.ips})

    async def _spawn(self, pod: _Pod) -> int:
        """Starts the shim and waits until it serves. Popen, not asyncio's: the shim must survive this loop's end."""
        with open(pod.directory / "shim.log", "ab") as complaints:  # noqa: ASYNC230
            process = subprocess.Popen(  # noqa: ASYNC220
                [PYTHON, "-I", "-S", _SHIM, str(pod.directory)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                start_new_session=True,
                cwd="/",
            )
        descriptors.give_back(process.pid)
        pod.process = process
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(process.stdout.fileno(), ready.set)
        try:
            async with asyncio.timeout(_START_DEADLINE):
                await ready.wait()
        finally:
            loop.remove_reader(process.stdout.fileno())
        said = process.stdout.read()
        process.stdout.close()
        if said != b"ready\n":
            raise ShimGone(
                (pod.directory / "shim.log").read_text(errors="replace").strip().rpartition("\n")[2] or "the shim died"
            )
        return process.pid

    def _watch(self, pod: _Pod) -> None:
        uid = pod.sandbox.uid

        def exited(container: str) -> None:
            self._look(pod, container)
            self._changed(pod.seen)

        def gone() -> None:
            if self._pods.get(uid) is pod:
                pod.seen = pod_files.pod_seen(pod.directory, pod.sandbox, False)
                self._reap(pod)
                self._changed(pod.seen)

        pod.unwatch = pod.link.watch(exited, gone)

    async def _abandon(self, uid: str) -> None:
        """Undoes a making that failed; the files of earlier runs stay for their logs."""
        await cgroups.destroy(self.options.cgroup / uid)
        pod = self._pods.get(uid)
        if pod:
            pod.unwatch()
            pod.seen = structs.replace(pod.seen, alive=False)
            self._reap(pod)

    async def _kill(self, uid: str) -> None:
        await cgroups.destroy(self.options.cgroup / uid)
        sandbox = pod_files.load_sandbox(self.options.state / "pods" / uid)
        if sandbox is not None and sandbox.ips and not sandbox.host_network:
            await network.detach(uid)

    def _reap(self, pod: _Pod | None = None) -> None:
        """Shims are this process's children until it dies: dead ones must not stay zombies."""
        if pod and pod.process:
            self._dead.append(pod.process)
        self._dead = [process for process in self._dead if process.poll() is None]

    def _living(self, uid: str) -> _Pod:
        pod = self._pods.get(uid)
        if pod is None or not pod.seen.alive:
            raise RuntimeFailure("CreateContainerError", "the pod's sandbox has gone")
        return pod

    # Containers

    async def _begun(self, pod: _Pod, wish: ContainerWish) -> bool:
        """Whether this very run has begun: an agent that died had asked for it, and it was not on record yet when we adopted.

        To begin it again would take its folder away from it. One that is still being made is waited for.
        """
        folder = run_folder.path(pod.directory, wish)
        while not (folder / "state.json").exists():
            if not (folder / "spec.json").exists():
                return False
            if not (await pod.link.ask({"op": "holds", "container": wish.name})).get("held"):
                return (folder / "state.json").exists()
            await asyncio.sleep(_POLL)
        return True

    def _prepare(self, pod: _Pod, wish: ContainerWish) -> Path:
        """The run's folder and cgroup."""
        image = self.images.image(wish.image)
        if image is None:
            raise RuntimeFailure("ErrImagePull", f'image "{wish.image}" is not in the table')
        try:
            held = cgroups.create(Path(pod.sandbox.cgroup) / wish.name, self.options.cgroup, wish.limits)
            return run_folder.make(pod.directory, pod.sandbox, wish, image, self._settings, held)
        except OSError as error:
            raise RuntimeFailure("CreateContainerError", str(error)) from error

    def _look(self, pod: _Pod, container: str) -> None:
        """Reads one container's runs again."""
        runs: list[Run] = []
        for folder in pod_files.attempts(pod.directory, container)[-2:]:
            run = pod_files.run_of(folder, True)
            if run:
                runs.append(run)
        pod.seen = structs.replace(pod.seen, runs={**pod.seen.runs, container: tuple(runs)})
