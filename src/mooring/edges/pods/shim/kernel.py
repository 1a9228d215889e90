"""Which Linux calls does a pod need that Python 3.11 does not have? (man 2 unshare, setns, mount, pivot_root, prctl, capset)"""

import ctypes
import os

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_SLAVE = 16384, 1 << 19
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "armv7l": 218, "ppc64le": 203, "s390x": 217}
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, *about):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), " ".join(str(part) for part in about))


def unshare(flags):
    _check(_libc.unshare(flags), "unshare", hex(flags))


def setns(descriptor, flags):
    _check(_libc.setns(descriptor, flags), "setns", hex(flags))


def mount(source, target, kind="", flags=0, data=""):
    texts = [text.encode() or None for text in (source, target, kind)]
    _check(_libc.mount(*texts, ctypes.c_ulong(flags), data.encode() or None), "mount", source, "on", target)


def bind(source, target, flags=0):
    """A bind mount; flags such as MS_RDONLY need the second call (man 2 mount, "Remounting")."""
    mount(source, target, "", MS_BIND | MS_REC)
    if flags:
        mount("", target, "", MS_BIND | MS_REMOUNT | flags)


def unmount(target):
    _check(_libc.umount2(target.encode(), MNT_DETACH), "umount", target)


def pivot_root(new, old):
    _check(_libc.syscall(_PIVOT_ROOT[os.uname().machine], new.encode(), old.encode()), "pivot_root", new)


def prctl(option, value=0):
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), "prctl", option)


def limit_capabilities(held):
    """Drops all capabilities but `held` from the bounding set, for this process and whatever it executes."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for number in range(last + 1):
        if number not in held:
            prctl(PR_CAPBSET_DROP, number)


def set_capabilities(held):
    """Sets permitted and effective to `held`, inheritable to none."""
    mask = sum(1 << number for number in held)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _check(_libc.capset(header, data), "capset")
