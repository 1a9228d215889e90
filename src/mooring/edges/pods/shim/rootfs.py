"""What does a container see as its root?

An overlay over the host's root file system whose upper layer is a tmpfs in the container's own mount namespace: everything can
be written, nothing reaches the host, and all of it vanishes with the namespace. What a container must not see is an
opaque directory in the upper layer; what lies on other file systems is simply not there unless bound in, read-only.
Sources are opened before pivot_root, targets are made after it, so that a symbolic link is followed inside the container only.
"""

import os
import stat

import kernel

_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_MASKED = ("acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "sched_debug", "scsi")
"""Paths of /proc, as runc masks them (github.com/opencontainers/runc, libcontainer/specconv)."""
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
_NO_RISK = kernel.MS_NOSUID | kernel.MS_NODEV


def enter(root, base):
    """Makes the root file system in the calling process's own mount namespace and moves into it.

    `root`: hidden (paths of the host), visible (paths bound read-only though hidden or elsewhere), files (path -> text),
    mounts ([source, target, sub_path, read_only]), read_only, shm (a directory). `base`: an empty directory.
    """
    sources = [
        (_open_beneath(source, sub_path), target, kernel.MS_RDONLY * only) for source, target, sub_path, only in root["mounts"]
    ]
    visible = [(os.open(path, os.O_PATH), path, kernel.MS_RDONLY) for path in root["visible"]]
    shared_memory, null = os.open(root["shm"], os.O_PATH), os.open("/dev/null", os.O_PATH)
    kernel.mount("tmpfs", base, "tmpfs", _NO_RISK, "mode=0755")
    os.chdir(base)
    for name in ("upper", "work", "merged"):
        os.mkdir(name, 0o755)
    for path in root["hidden"]:
        _hide(path)
    for path, text in root["files"].items():
        _write(path, text)
    layers = "lowerdir=/,upperdir=upper,workdir=work,volatile,redirect_dir=off,metacopy=off,index=off"
    kernel.mount("overlay", "merged", "overlay", _NO_RISK, layers)
    os.chdir("merged")
    # The host's root stays until what is mounted from there is mounted, under a name that no path of a mount and no link in a
    # volume can know.
    host = ".host-" + os.urandom(16).hex()
    os.mkdir(host, 0o700)
    kernel.pivot_root(".", host)
    os.chdir("/")
    _mount_proc_and_sys(null)
    os.close(null)
    _mount_dev(shared_memory)
    for descriptor, target, flags in visible + sources:
        _bind(descriptor, target, flags)
    kernel.unmount(host)
    os.rmdir(host)
    if root["read_only"]:
        kernel.mount("", "/", "", kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _NO_RISK)


def _open_beneath(source, sub_path):
    """A descriptor of source/sub_path that cannot lead out of source, though a container may have planted links there."""
    root = os.path.realpath(source)
    wanted = os.path.realpath(os.path.join(root, sub_path))
    if _beneath(wanted, root) and not os.path.exists(wanted):
        _make_beneath(root, os.path.relpath(wanted, root))
    descriptor = os.open(wanted, os.O_PATH)
    # What was opened counts, not what the path said: a container may swap a link in between.
    if not _beneath(os.readlink(f"/proc/self/fd/{descriptor}"), root):
        raise PermissionError(f'subPath "{sub_path}" leads out of its volume')
    return descriptor


def _make_beneath(root, path):
    """Directories as open as the volume itself: who may write into it may write there. No link is followed on the way."""
    mode = stat.S_IMODE(os.stat(root).st_mode)
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
    for part in path.split("/"):
        try:
            os.mkdir(part, dir_fd=folder)
            made = True
        except FileExistsError:
            made = False
        below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        if made:
            os.chmod(f"/proc/self/fd/{below}", mode)
        os.close(folder)
        folder = below
    os.close(folder)


def _beneath(path, root):
    return path == root or path.startswith(root.rstrip("/") + "/")


def _upper(path):
    """The path in the upper layer, its parents made as the host's are."""
    parts = path.strip("/").split("/")
    lower, upper = "", "upper"
    for part in parts[:-1]:
        lower, upper = f"{lower}/{part}", f"{upper}/{part}"
        if not os.path.isdir(upper):
            os.mkdir(upper)
            if os.path.isdir(lower):
                seen = os.stat(lower)
                os.chown(upper, seen.st_uid, seen.st_gid)
                os.chmod(upper, stat.S_IMODE(seen.st_mode))
    return f"{upper}/{parts[-1]}"


def _hide(path):
    """A directory becomes empty, and open to whom it was closed: what is bound below it is for every user. A file becomes an
    empty one that only root may read."""
    path = os.path.realpath(path)
    if not os.path.lexists(path):
        return
    seen, target = os.stat(path), _upper(path)
    if not stat.S_ISDIR(seen.st_mode):
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
        return
    os.makedirs(target, exist_ok=True)
    os.chmod(target, stat.S_IMODE(seen.st_mode) | 0o111)
    os.setxattr(target, "trusted.overlay.opaque", b"y")


def _write(path, text):
    target = _upper(path)
    with open(target, "w") as file:
        file.write(text)
    os.chmod(target, 0o644)


def _mount_proc_and_sys(null):
    """`null`: the host's /dev/null, which stands for what is masked."""
    kernel.mount("proc", "/proc", "proc", _NO_RISK | kernel.MS_NOEXEC)
    for name in _READ_ONLY:
        path = "/proc/" + name
        if os.path.exists(path):
            kernel.bind(path, path, kernel.MS_RDONLY | _NO_RISK | kernel.MS_NOEXEC)
    for name in _MASKED:
        path = "/proc/" + name
        if os.path.isdir(path):
            kernel.mount("tmpfs", path, "tmpfs", kernel.MS_RDONLY)
        elif os.path.exists(path):
            kernel.bind(f"/proc/self/fd/{null}", path)
    kernel.mount("sysfs", "/sys", "sysfs", kernel.MS_RDONLY | _NO_RISK | kernel.MS_NOEXEC)
    if os.path.isdir("/sys/firmware"):
        kernel.mount("tmpfs", "/sys/firmware", "tmpfs", kernel.MS_RDONLY)


def _mount_dev(shared_memory):
    kernel.mount("tmpfs", "/dev", "tmpfs", kernel.MS_NOSUID, "mode=0755,size=64k")
    for name, numbers in _DEVICES.items():
        os.mknod("/dev/" + name, 0o666 | stat.S_IFCHR, os.makedev(*numbers))
        os.chmod("/dev/" + name, 0o666)
    for name, target in _LINKS.items():
        os.symlink(target, "/dev/" + name)
    os.mkdir("/dev/pts")
    kernel.mount("devpts", "/dev/pts", "devpts", kernel.MS_NOSUID | kernel.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    os.symlink("pts/ptmx", "/dev/ptmx")
    _bind(shared_memory, "/dev/shm", _NO_RISK)


def _bind(descriptor, target, flags):
    """Binds an opened source on a path of the new root, making directories, or an empty file, to stand under it."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.bind(f"/proc/self/fd/{descriptor}", target, flags)
    os.close(descriptor)
