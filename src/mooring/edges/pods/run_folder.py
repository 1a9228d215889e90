"""What does the shim need to start a container? A folder for the run, with a spec.json that leaves nothing to look up."""

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from msgspec import Struct, structs, to_builtins

from mooring.edges.pods import pod_files
from mooring.edges.pods.images.table import Image
from mooring.edges.pods.pod_files import Sandbox
from mooring.model.pod import Resources
from mooring.pods.wishes import ContainerWish
from mooring.ports.pods import RuntimeFailure


class RunSettings(Struct, frozen=True):
    """What all runs of a node share. `hidden` and `visible`: paths of the host; `log_limit` in bytes."""

    node_name: str
    hidden: tuple[str, ...]
    visible: tuple[str, ...]
    log_limit: int
    log_kept: int


def path(directory: Path, wish: ContainerWish) -> Path:
    """A run's folder, below the pod's directory."""
    return directory / "containers" / wish.name / str(wish.attempt)


def make(
    directory: Path,
    sandbox: Sandbox,
    wish: ContainerWish,
    image: tuple[Image, str],
    settings: RunSettings,
    held: tuple[str, ...],
) -> Path:
    """The folder of a new run, below the pod's directory; folders older than the previous run go. Raises RuntimeFailure.

    `held`: the limits that the kernel holds. Long because it lists all that the shim must know.
    """
    command, args, env = _command(sandbox, wish, image, settings)
    folder = path(directory, wish)
    shutil.rmtree(folder, ignore_errors=True)
    for old in pod_files.attempts(directory, wish.name)[:-1]:
        shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    spec = {
        "name": wish.name,
        "id": "mooring://" + secrets.token_hex(32),
        "image": wish.image,
        "image_id": image[0].id,
        "argv": [*command, *args],
        "env": env,
        "cwd": wish.working_dir or image[0].working_dir,
        "cgroup": f"{sandbox.cgroup}/{wish.name}",
        "resources": to_builtins(wish.resources),
        "held": held,
        "identity": structs.asdict(wish.identity),
        "fall_back_to_logs": wish.fall_back_to_logs,
        "stdin": wish.stdin,
        "stdin_once": wish.stdin_once,
        "tty": wish.tty,
        "target": wish.target,
        "log_limit": settings.log_limit,
        "log_kept": settings.log_kept,
        "root": {
            "hidden": settings.hidden,
            "visible": settings.visible,
            "files": sandbox.files,
            "mounts": _mounts(folder, sandbox, wish),
            "read_only": wish.identity.read_only_root,
            "shm": str(directory / "shm"),
        },
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


def resize(folder: Path, resources: Resources, held: tuple[str, ...]) -> None:
    """Keeps with a run what it has from now on."""
    spec = json.loads((folder / "spec.json").read_bytes())
    pod_files.store(folder / "spec.json", {**spec, "resources": to_builtins(resources), "held": held})


def _command(
    sandbox: Sandbox, wish: ContainerWish, image: tuple[Image, str], settings: RunSettings
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]:
    """Command, arguments and environment: the image's where the pod says nothing; a pod's command drops the image's args."""
    entry, tag = image
    command, args = wish.command or entry.command, wish.args or (() if wish.command else entry.args)
    if not (command or args):
        raise RuntimeFailure("CreateContainerError", "no command specified")
    facts = {
        "pod": sandbox.name,
        "namespace": sandbox.namespace,
        "ip": next(iter(sandbox.ips), ""),
        "node": settings.node_name,
        "tag": "v1" if tag in ("", "latest") else tag,
    }
    home = {"HOME": "/root" if wish.identity.user == 0 else "/", "HOSTNAME": sandbox.hostname}
    return command, args, {**home, **{name: _fill(value, facts) for name, value in entry.env.items()}, **wish.env}


def _mounts(folder: Path, sandbox: Sandbox, wish: ContainerWish) -> list[list[Any]]:
    """[source, target, sub_path, read_only] each; the last is the termination message's file."""
    mounts: list[list[Any]] = [[sandbox.volumes[m.volume], m.target, m.sub_path, m.read_only] for m in wish.mounts]
    if wish.termination_message_path:
        message = folder / "termination"
        message.touch()
        os.chmod(message, 0o666)
        mounts.append([str(message), wish.termination_message_path, "", False])
    return mounts


def _fill(text: str, facts: dict[str, str]) -> str:
    for name, value in facts.items():
        text = text.replace("{" + name + "}", value)
    return text
