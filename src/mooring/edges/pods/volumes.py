"""What backs a pod's volumes, and how are their files changed under running containers?

'files' volumes (ConfigMap, Secret, downward API, projected, tokens) follow upstream's atomic writer: a folder named by the
time, a link `..data` to it swapped by rename, and a link per top-level entry to `..data/<entry>`. They lie on a tmpfs in the
pod's own mount namespace: a Secret never touches the disk and is gone with the pod.
"""

import os
import shutil
import stat
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from msgspec import Struct

from mooring.pods.wishes import File, Volume
from mooring.ports.pods import RuntimeFailure


class Backing(Struct, frozen=True):
    """`memory`: mount points and tmpfs options for the shim; `volumes`: the folder or file behind each volume."""

    memory: dict[str, str]
    volumes: dict[str, str]


def backing_folders(directory: Path, volumes: tuple[Volume, ...]) -> Backing:
    """Makes the pod's folders. Raises RuntimeFailure for a hostPath that is not as its type says."""
    files = directory / "volumes"
    memory = {str(files): "mode=0755", str(directory / "shm"): "mode=1777,size=64m"}
    for folder in (directory / "rootfs", files, directory / "shm"):
        folder.mkdir(parents=True, exist_ok=True)
    os.chmod(directory, 0o700)
    behind: dict[str, str] = {}
    for volume in volumes:
        group = "" if volume.group is None else f",gid={volume.group}"
        if volume.backing == "files":
            behind[volume.name] = str(files / volume.name)
        elif volume.backing == "host":
            behind[volume.name] = host_path(volume)
            if volume.group is not None:
                give_to_group(volume.path, volume.group)
        else:
            folder = directory / volume.backing / volume.name
            folder.mkdir(parents=True, exist_ok=True)
            behind[volume.name] = str(folder)
            if volume.backing == "memory":
                size = f",size={volume.size}" if volume.size else ""
                memory[str(folder)] = ("mode=2777" if group else "mode=0777") + size + group
            else:
                if volume.group is not None:
                    os.chown(folder, -1, volume.group)
                os.chmod(folder, 0o2777 if group else 0o777)
    return Backing(memory, behind)


_TYPES = {"Directory": os.path.isdir, "File": os.path.isfile, "": os.path.exists}


def host_path(volume: Volume) -> str:
    """The path, made where its type allows that (hostPath.type: DirectoryOrCreate, FileOrCreate)."""
    path, kind = volume.path, volume.host_type
    if kind == "local":
        if not os.path.exists(path):
            text = f'MountVolume.NewMounter initialization failed for volume "{volume.name}" : path "{path}" does not exist'
            raise RuntimeFailure("FailedMount", text)
        return path
    if kind == "DirectoryOrCreate" or (kind == "" and not os.path.lexists(path)):
        os.makedirs(path, 0o755, exist_ok=True)
    elif kind == "FileOrCreate" and not os.path.lexists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    check = _TYPES.get(kind.removesuffix("OrCreate"), os.path.exists)
    if not check(path):
        text = (
            f'MountVolume.SetUp failed for volume "{volume.name}" : hostPath type check failed: {path} is not a {kind.lower()}'
        )
        raise RuntimeFailure("FailedMount", text)
    return path


def give_to_group(path: str, group: int) -> None:
    """Everything in it becomes the fsGroup's, readable and writable, and what is made in its directories too.

    A volume whose top is so already is left as it is (fsGroupChangePolicy OnRootMismatch), since it may be large.
    """
    top = os.stat(path)
    if top.st_gid == group and top.st_mode & 0o2070 == 0o2070:
        return
    for _, names, files, descriptor in os.fwalk(path, topdown=False):
        for name in (*names, *files):
            os.chown(name, -1, group, dir_fd=descriptor, follow_symlinks=False)
        for name in files:
            _open_to_group(name, descriptor)
        os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | 0o2070)


def _open_to_group(name: str, folder: int) -> None:
    file = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    try:
        held = os.fstat(file)
        if stat.S_ISREG(held.st_mode):
            os.chmod(f"/proc/self/fd/{file}", stat.S_IMODE(held.st_mode) | 0o060)
    finally:
        os.close(file)


def write_files(folder: Path, files: Mapping[str, File], group: int | None = None) -> None:
    """Makes the folder hold exactly these files, by one rename; the same content again changes nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "..data"
    old = _version(data)
    if old and _content(old) == {path: (file.data, file.mode) for path, file in files.items()}:
        return
    stamp = datetime.now(UTC).strftime("..%Y_%m_%d_%H_%M_%S.%f")
    fresh = folder / stamp
    fresh.mkdir(0o755)
    try:
        _fill(fresh, files, group)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # It is tried again for as long as the pod is there.
        raise
    (folder / "..data_tmp").unlink(missing_ok=True)  # of a writer that was killed
    (folder / "..data_tmp").symlink_to(stamp)
    (folder / "..data_tmp").rename(data)
    wanted = {PurePosixPath(path).parts[0] for path in files}
    for name in wanted:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    for entry in folder.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
    if old:
        shutil.rmtree(old, ignore_errors=True)


def _fill(fresh: Path, files: Mapping[str, File], group: int | None) -> None:
    for path, file in files.items():
        target = fresh / _safe(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        os.chmod(target, file.mode)
        if group is not None:
            os.chown(target, -1, group)


def _version(data: Path) -> Path | None:
    """The folder beside it that the link names, as `write_files` makes them; a link to anywhere else counts as none."""
    name = os.readlink(data) if data.is_symlink() else ""
    return data.with_name(name) if name.startswith("..") and name not in ("..", data.name) and "/" not in name else None


def _content(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(folder))] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found


def _safe(path: str) -> PurePosixPath:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise RuntimeFailure("FailedMount", f"invalid path {path!r} in a volume")
    return pure


class PodVolumes:
    """The Volumes port: writes into the shim's mount namespace, where the pod's tmpfs is."""

    def __init__(self, folder: Callable[[str, str], Path]) -> None:
        """`folder(uid, volume)`: where a volume's files are; raises RuntimeFailure without a living sandbox."""
        self.folder = folder

    async def write(self, uid: str, volume: str, files: Mapping[str, File], group: int | None = None) -> None:
        try:
            write_files(self.folder(uid, volume), files, group)
        except OSError as error:
            raise RuntimeFailure("FailedMount", f'MountVolume.SetUp failed for volume "{volume}" : {error}') from error
