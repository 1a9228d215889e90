"""How does a cluster begin and end? `up` checks, prepares, hands over to the supervisor and clears away; `down` ends it from
outside.
"""

import asyncio
import contextlib
import faulthandler
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from mooring.app import cluster, identities, stacks, teardown
from mooring.app.files import Files, InUse, Running, boot_id, start_time
from mooring.app.progress import Step, Tell
from mooring.app.settings import Settings
from mooring.app.supervisor import NeverReady, Supervisor
from mooring.edges import cgroups, preflight
from mooring.edges.netlink import namespaces, topology
from mooring.edges.pki import DamagedKey
from mooring.edges.preflight import Check

DOWN_PATIENCE = 60.0
"""Seconds a supervisor gets to end its cluster before `down` does it over its head."""

HANG_PATIENCE = 30.0
"""Seconds beyond ready-timeout, in which roles may be ended, after which a start that neither succeeded nor failed has hung."""


class Refused(Exception):
    """The cluster cannot be started, or not stopped: what is wrong, on one line, then what to do."""


def up(settings: Settings, tell: Tell, *, settled: Callable[[Files], None] = lambda files: None) -> None:
    """Runs a cluster until SIGINT or SIGTERM and leaves nothing behind but its state. `settled` is called once the directory
    is ours.

    Tells 'ready' when it is. Raises Refused before anything is made, NeverReady, DamagedKey, NetworkError.
    """
    refuse(preflight.machine())
    stacks.on_signal()
    files = Files(settings.data_dir)
    fresh = not files.root.exists()
    lock = _take(files)
    try:
        _clear_the_way(settings, files)
        refuse(_place(settings))
    except BaseException:
        if fresh:
            teardown.purge(files)
        os.close(lock)
        raise
    try:
        settled(files)
        _run(settings, files, tell)
    finally:
        os.close(lock)


def _run(settings: Settings, files: Files, tell: Tell) -> None:
    running = Running(
        pid=os.getpid(),
        started=start_time(os.getpid()),
        boot=boot_id(),
        cluster=settings.name,
        api_port=settings.api_port or _free_port(),
        controllers_port=settings.controllers_port or _free_port(),
    )
    home = cgroups.current()
    signal.signal(signal.SIGTERM, _interrupt)
    settled = threading.Event()
    threading.Thread(target=_end_if_hung, args=(settings, files, home, tell, settled), daemon=True).start()

    def ready() -> None:
        settled.set()
        files.write_running(msgspec.structs.replace(running, ready=True))
        tell(Step("ready", f"cluster {settings.name!r} is ready; KUBECONFIG={files.kubeconfig}"))

    try:
        _prepare(settings, files, running)
        asyncio.run(Supervisor(settings, files, running, tell).run(ready))
        tell(Step("note", "stopping"))
    finally:
        settled.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        cgroups.join(home)
        teardown.sweep(settings.name, files)


def _prepare(settings: Settings, files: Files, running: Running) -> None:
    # The supervisor lives in the cluster's subtree, so that anyone can see whose it is.
    group = cgroups.subtree(settings.name)
    for shared in (group, *(group / name for name in settings.node_names)):
        cgroups.delegate(shared)
    cgroups.join(group / cluster.SUPERVISOR)
    files.write_settings(settings)
    files.write_running(running)
    identities.ensure(settings, files, running)
    topology.ensure(cluster.network(settings))


def _end_if_hung(settings: Settings, files: Files, home: Path, tell: Tell, settled: threading.Event) -> None:
    """A thread beside the supervisor's loop, for when that hangs and looks at no deadline: tells where, and ends everything.

    `settled` is set when the cluster is ready, or when the supervisor has given up by itself.
    """
    if settled.wait(settings.ready_timeout + HANG_PATIENCE):
        return
    failure = f"the supervisor hangs; where is in its log: {files.log(cluster.SUPERVISOR)}"
    try:
        faulthandler.dump_traceback(stacks.LOG, all_threads=True)
        print(f"mooring: {failure}", file=sys.stderr, flush=True)
        cgroups.join(home)
        teardown.sweep(settings.name, files)
        tell(Step("failed", failure))
    finally:
        os._exit(1)


def up_detached(settings: Settings, tell: Tell) -> None:
    """Runs `up` in a session of its own and returns when it is ready. Raises Refused with the reason when it ended before
    that.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_detached(settings, writer)
    os.close(writer)
    final: Step | None = None
    with os.fdopen(reader, "rb") as steps:
        while final is None:
            try:
                line = steps.readline()
            except KeyboardInterrupt:
                os.kill(child, signal.SIGTERM)
                continue
            if not line:
                break
            step = msgspec.json.decode(line, type=Step)
            tell(step)
            final = step if step.kind in ("ready", "failed") else None
    if final is None:
        raise Refused(
            f"the supervisor ended before the cluster was ready; its log: {Files(settings.data_dir).log('supervisor')}"
        )
    if final.kind == "failed":
        os.waitpid(child, 0)
        raise Refused(final.text)


def _be_detached(settings: Settings, writer: int) -> None:
    """The forked child: its own session, no terminal, a log; never returns."""
    code = 1
    try:
        os.setsid()
        _redirect(Path(os.devnull))
        pipe: int | None = writer

        def tell(step: Step) -> None:
            nonlocal pipe
            print(step.kind, step.text, flush=True)
            if pipe is not None:
                os.write(pipe, msgspec.json.encode(step) + b"\n")
                if step.kind == "ready":
                    os.close(pipe)
                    pipe = None

        try:
            up(settings, tell, settled=lambda files: _redirect(files.log(cluster.SUPERVISOR)))
            code = 0
        except KeyboardInterrupt:
            tell(Step("failed", "interrupted"))
        except Exception as error:
            tell(Step("failed", str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"))
            if not isinstance(error, EXPECTED):
                raise
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code)


EXPECTED = (Refused, NeverReady, DamagedKey, topology.NetworkError, cgroups.CgroupError)
"""What `up` raises for reasons its user can understand; anything else is a defect and shows its traceback."""


def down(files: Files, name: str, tell: Tell) -> bool:
    """Ends the cluster in a data directory, whether its supervisor lives, has crashed or was killed; False when there was none.

    Raises Refused when a live cluster of that name belongs to another directory, CgroupError, NetworkError.
    """
    found = _end_supervisor(files, tell)
    group = cgroups.subtree(name)
    if foreign := cgroups.processes(group / cluster.SUPERVISOR):
        raise Refused(
            f"cluster {name!r} is run by process {foreign[0]} from another data directory\n"
            f"  what to do: give that directory, `mooring down --data-dir DIR`"
        )
    found = found or files.running() is not None or group.exists() or bool(_namespaces(name))
    if found:
        tell(Step("waiting", "removing processes, mounts and namespaces"))
        teardown.sweep(name, files)
        tell(Step("done", "removing processes, mounts and namespaces"))
    return found


def _end_supervisor(files: Files, tell: Tell) -> bool:
    """SIGTERM to the live supervisor and a patient wait for its lock; SIGKILL when it does not come."""
    if not files.locked():
        return False
    began = time.monotonic()
    signalled = ""
    tell(Step("waiting", "the supervisor to end"))
    while files.locked():
        running = files.running()
        late = time.monotonic() - began > DOWN_PATIENCE
        wanted = "SIGKILL" if late else "SIGTERM"
        if running and signalled != wanted and start_time(running.pid) == running.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, signal.Signals[wanted])
            signalled = wanted
        if late and time.monotonic() - began > 2 * DOWN_PATIENCE:
            raise Refused(f"{files.root} stays locked by a process that does not end")
        time.sleep(0.02)
    tell(Step("done", "the supervisor to end", time.monotonic() - began))
    return True


def refuse(checks: list[Check]) -> None:
    """Raises Refused for failed checks, the first on the first line, each with its remedy."""
    failed = preflight.failures(checks)
    if failed:
        raise Refused("\n".join(f"{check.name}: {check.found}\n  what to do: {check.remedy}" for check in failed))


def local_checks(settings: Settings) -> list[Check]:
    """What `up` would ask of this machine for this cluster beyond preflight.machine(): its ports and its name."""
    files = Files(settings.data_dir)
    if files.root.exists() and files.locked():
        return [Check("cluster", f"{settings.name!r} is running from {files.root}")]
    checks = [_name_free(settings)] if os.geteuid() == 0 and not files.running() else []
    return checks + _place(settings)


def _take(files: Files) -> int:
    """Makes the directory and takes its lock."""
    try:
        files.create()
        return files.lock()
    except InUse as error:
        raise Refused(f"{error}\n  what to do: `mooring down` ends it; another --data-dir and --name run beside it") from error
    except OSError as error:
        raise Refused(f"{files.root} cannot be used: {error.strerror}\n  what to do: choose another --data-dir") from error


def _clear_the_way(settings: Settings, files: Files) -> None:
    """After a crash of an earlier supervisor its roles are ended and all else is taken over as it stands, unless the nodes
    differ.

    Whatever else bears the cluster's name is somebody else's: refused.
    """
    earlier = files.running()
    if earlier is None:
        refuse([_name_free(settings)])
        return
    teardown.stop_roles(earlier.cluster)
    present = set(_namespaces(earlier.cluster))
    wanted = {step.namespace for step in topology.steps(cluster.network(settings))}
    if earlier.cluster != settings.name or present != wanted:
        teardown.sweep(earlier.cluster, files)


def _name_free(settings: Settings) -> Check:
    name = f"name {settings.name!r}"
    remedy = f"choose another --name, or end it: mooring down --name {settings.name}"
    with contextlib.suppress(cgroups.CgroupError):
        if pids := cgroups.processes(cgroups.subtree(settings.name)):
            return Check(name, f"taken: processes {' '.join(map(str, pids[:5]))} run in a cluster of that name", remedy)
    if taken := _namespaces(settings.name):
        return Check(name, f"taken: network namespace {taken[0]} exists", remedy)
    return Check(name, "free")


def _namespaces(name: str) -> list[str]:
    return namespaces.named(topology.namespace_name(name, ""))


def _place(settings: Settings) -> list[Check]:
    return [
        preflight.check_port(settings.api_port, "the API", "api-port"),
        preflight.check_port(settings.controllers_port, "the controllers", "controllers-port"),
        *([preflight.check_ipv6()] if 6 in settings.families else []),
    ]


def _free_port() -> int:
    """One that no connection takes before it is listened on: from below those that the kernel gives to clients."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = range(10_000, low)
    for wanted in random.sample(candidates, min(64, len(candidates))):
        with contextlib.suppress(OSError):
            return _bound(wanted)
    return _bound(0)


def _bound(port: int) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
        bound: int = probe.getsockname()[1]
        return bound


def _redirect(path: Path) -> None:
    """Standard input from nowhere, output and errors appended to `path`."""
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.close(null)
    os.close(log)


def _interrupt(number: int, frame: object) -> None:
    """Until the event loop takes the signals over, SIGTERM ends `up` as Ctrl-C does: by way of every `finally`."""
    raise KeyboardInterrupt
