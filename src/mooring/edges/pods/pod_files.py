"""How is a pod kept on disk, so that another agent finds it again?

pods/<uid>/sandbox.json                         the sandbox: what was wished, its addresses, whether it became ready
           shim.sock, shim.log                  the shim's socket and complaints
           rootfs/, volumes/<name>/, disk/<name>/, memory/<name>/, shm/   mount points and folders
           containers/<name>/<attempt>/         spec.json, state.json (written by the shim), log, log.1..., termination
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mooring.model.pod import Resources
from mooring.pods.observed import PodSeen, Run

_MESSAGE_LIMIT, _FALLBACK_LIMIT, _FALLBACK_LINES = 4096, 2048, 80
"""Bytes of a termination message; bytes and lines of the log that stand in for one (docs: terminationMessagePolicy)."""


class Sandbox(Struct):
    """sandbox.json. `memory` maps mount points to tmpfs options; `volumes` maps names to the folders that back them."""

    uid: str
    namespace: str
    name: str
    hostname: str
    host_network: bool
    share_processes: bool
    cgroup: str
    ips: tuple[str, ...]
    created: int
    files: dict[str, str]
    memory: dict[str, str]
    volumes: dict[str, str]
    ready: bool = False
    shim: int = 0


def load_sandbox(directory: Path) -> Sandbox | None:
    """None when it is missing or half-written."""
    try:
        return msgspec.json.decode((directory / "sandbox.json").read_bytes(), type=Sandbox)
    except (OSError, msgspec.MsgspecError):
        return None


def store(path: Path, value: Any) -> None:
    """JSON, replaced whole."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(msgspec.json.encode(value))
    os.chmod(new, 0o600)
    new.rename(path)


def attempts(directory: Path, container: str) -> list[Path]:
    """A container's run folders, oldest first."""
    folder = directory / "containers" / container
    if "/" in container or not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))


def run_of(folder: Path, alive: bool) -> Run | None:
    """The run a folder tells of, or None when it never began. With its shim dead, a run that did not end is ended now."""
    try:
        spec = json.loads((folder / "spec.json").read_bytes())
        state = json.loads((folder / "state.json").read_bytes())
    except (OSError, ValueError):
        return None
    reason, message = "", ""
    if "finished" not in state and not alive:
        state |= {"finished": _last_write(folder), "code": 137, "signal": 9, "lost": True}
        store(folder / "state.json", state)
    if "finished" in state:
        code = state["code"]
        reason = "Completed" if code == 0 else "Error"
        if state.get("failed"):
            reason, message = "StartError", state["failed"]
        elif state.get("lost"):
            reason, message = "ContainerStatusUnknown", "The container could not be located when the pod was terminated"
        else:
            message = termination_message(folder, bool(spec["fall_back_to_logs"]) and code != 0)
    return Run(
        container=spec["name"],
        attempt=int(folder.name),
        id=spec["id"],
        image=spec["image"],
        image_id=spec["image_id"],
        started_at=_moment(state["started"]),
        finished_at=_moment(state["finished"]) if "finished" in state else None,
        exit_code=state.get("code", 0),
        signal=state.get("signal", 0),
        reason=reason,
        message=message,
        resources=msgspec.convert(spec["resources"], Resources) if "resources" in spec else None,
        held=tuple(spec.get("held", ())),
    )


def termination_message(folder: Path, fall_back: bool) -> str:
    """The end of what the container left there, as upstream: its file may be as large as it likes."""
    text = _last(folder / "termination", _MESSAGE_LIMIT)
    if text or not fall_back:
        return text
    lines = _last(folder / "log", _FALLBACK_LIMIT * 4).splitlines()[-_FALLBACK_LINES:]
    texts = [line.split(" ", 3)[3] for line in lines if line.count(" ") >= 3]
    return "\n".join(texts)[-_FALLBACK_LIMIT:]


def _last(path: Path, size: int) -> str:
    """The last bytes of a file; '' when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(-min(size, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return file.read(size).decode(errors="replace")
    except FileNotFoundError:
        return ""


def pod_seen(directory: Path, sandbox: Sandbox, alive: bool) -> PodSeen:
    runs: dict[str, tuple[Run, ...]] = {}
    containers = directory / "containers"
    for folder in sorted(containers.iterdir()) if containers.is_dir() else ():
        found = [run for path in attempts(directory, folder.name)[-2:] if (run := run_of(path, alive))]
        if found:
            runs[folder.name] = tuple(found)
    return PodSeen(sandbox.uid, sandbox.namespace, sandbox.name, alive, sandbox.ips, _moment(sandbox.created), runs)


def _last_write(folder: Path) -> int:
    return max(path.stat().st_mtime_ns for path in folder.iterdir())


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds // 1000 / 1_000_000, UTC)
