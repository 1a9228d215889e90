"""Can this machine run a cluster, and if not, what is missing and what is to be done?

Each check asks the machine by trying, in a scratch namespace that ends with the thread that made it, rather than by reading
version numbers: distributions patch kernels. Nothing a check does outlives it.
"""

import contextlib
import ctypes
import ctypes.util
import errno
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from mooring.edges import cgroups
from mooring.edges.netlink import namespaces, sysctls
from mooring.edges.nft.netlink import inside

OLDEST_KERNEL = (5, 13)
"""Concatenated keys with integer parts, as the dataplane's maps use, behave from here on."""

_NEWNS, _NEWUTS, _NEWIPC, _NEWPID, _NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x20000000, 0x40000000

PROGRAMS = {"ip": "iproute2", "nft": "nftables", "mount": "mount", "umount": "mount"}
"""Program -> the Debian package that brings it."""

FEATURES = (
    ("maps with concatenated keys", "ip", "map m { typeof ip daddr . meta l4proto . th dport : meta mark; }"),
    ("IPv6 tables", "ip6", "map m { typeof ip6 daddr . meta l4proto . th dport : meta mark; }"),
    ("interval sets of concatenated keys", "ip", "set i { typeof ip daddr . meta l4proto . ip saddr; flags interval; }"),
    ("verdict maps", "ip", "chain a { }\n map v { typeof meta mark : verdict; elements = { 1 : goto a } ; }"),
    ("dynamic sets", "ip", "set d { typeof ip saddr . meta mark; flags dynamic,timeout; timeout 1m; size 16; }"),
    (
        "destination NAT by random number (numgen)",
        "ip",
        "map e { typeof numgen random mod 65536 : ip daddr . th dport; }\n"
        "chain p { type nat hook prerouting priority dstnat; meta l4proto tcp dnat to numgen random mod 2 map @e\n }",
    ),
    ("masquerading", "ip", "chain q { type nat hook postrouting priority srcnat; ct status dnat masquerade fully-random; }"),
    ("rejecting", "ip", "chain r { type filter hook input priority filter; meta l4proto tcp reject with tcp reset; }"),
    ("route lookups (fib)", "ip", "chain f { type filter hook input priority filter; fib daddr type local accept; }"),
)
"""What the dataplane builds on, each as a family and the smallest table body that needs it."""


class Check(Struct, frozen=True):
    """One question to the machine. `found` says what is; `remedy` what to do, '' when all is well.

    `needed`: without it a cluster cannot run; otherwise the remedy is advice.
    """

    name: str
    found: str
    remedy: str = ""
    needed: bool = True

    @property
    def passed(self) -> bool:
        return not self.remedy


def machine() -> list[Check]:
    """What a cluster needs of any machine. Without root the checks that need it are left out: the first says so."""
    checks = [check_root(), check_kernel(), *map(check_program, PROGRAMS), check_library(), check_overlay(), check_cgroups()]
    if checks[0].passed:
        checks += [check_namespaces(), *check_nftables()]
    return checks


def check_root() -> Check:
    user = os.geteuid()
    return Check("root", f"running as user {user}", "" if user == 0 else "run it as root, for instance with sudo")


def check_kernel() -> Check:
    release = os.uname().release
    version = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    oldest = ".".join(map(str, OLDEST_KERNEL))
    return Check("kernel", f"Linux {release}", "" if version >= OLDEST_KERNEL else f"Linux {oldest} or newer is needed")


def check_program(program: str) -> Check:
    where = shutil.which(program)
    return Check(program, where or "not found on the PATH", "" if where else f"install it: apt-get install {PROGRAMS[program]}")


def check_library() -> Check:
    try:
        _libnftables()
    except OSError:
        return Check("libnftables", "the library is not installed", "install it: apt-get install libnftables1")
    return Check("libnftables", "libnftables.so.1")


def check_overlay() -> Check:
    known = "overlay" in Path("/proc/filesystems").read_text().split()
    return Check(
        "overlayfs", "known to the kernel" if known else "unknown to the kernel", "" if known else "load it: modprobe overlay"
    )


def check_cgroups() -> Check:
    try:
        where = cgroups.mount_point()
    except cgroups.CgroupError as error:
        return Check("cgroup v2", str(error), "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
    if os.geteuid() == 0 and not os.access(where, os.W_OK):
        return Check("cgroup v2", f"{where} is read-only", f"remount it: mount -o remount,rw {where}")
    return Check("cgroup v2", str(where))


def check_namespaces() -> Check:
    """Network, mount, process, host-name and IPC namespaces can be made."""
    try:
        _in_scratch_namespace(lambda: None, _NEWNS | _NEWUTS | _NEWIPC | _NEWPID)
    except OSError as error:
        return Check("namespaces", os.strerror(error.errno or 0), _NAMESPACE_REMEDY.get(error.errno or 0, "allow unshare(2)"))
    return Check("namespaces", "network, mount, process, UTS and IPC namespaces can be made")


_NAMESPACE_REMEDY = {
    errno.EPERM: "allow unshare(2): inside a container, run it privileged",
    errno.ENOSPC: "raise the limits in /proc/sys/user/max_*_namespaces",
    errno.EINVAL: "use a kernel with CONFIG_NAMESPACES and CONFIG_NET_NS",
}


def check_nftables() -> list[Check]:
    """One check when all features work, else one per missing feature."""
    try:
        refused = _in_scratch_namespace(_refused_features)
    except OSError as error:
        return [Check("nftables", str(error), "make libnftables and network namespaces work first")]
    if not refused:
        return [Check("nftables", f"all of {len(FEATURES)} features work")]
    remedy = (
        "load or build the kernel's nf_tables modules (nf_tables, nft_chain_nat, nft_numgen, nft_fib, nft_reject, nft_masq)"
    )
    return [Check(f"nftables: {feature}", complaint, remedy) for feature, complaint in refused]


def check_ipv6() -> Check:
    if Path("/proc/sys/net/ipv6").is_dir():
        return Check("IPv6", "known to the kernel")
    return Check("IPv6", "switched off in the kernel", "boot without ipv6.disable=1, or leave --ipv6 and --dual-stack out")


def check_port(port: int, purpose: str, setting: str, host: str = "127.0.0.1") -> Check:
    """The port can be listened on now; 0, any free port, always can."""
    name = f"port {port} for {purpose}"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier server that linger in TIME-WAIT are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            holder = listener(port)
            by = f" by {holder}" if holder else ""
            found = (
                f"taken on {host}{by}"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used: {os.strerror(error.errno or 0)}"
            )
            return Check(name, found, f"end that program, or choose another port with --{setting} (0: any free one)")
    return Check(name, f"free on {host}")


def check_node_ports(node_ports: sysctls.Ports, namespace: str = "") -> Check:
    """None of them is an ephemeral port of a node too. `namespace` is the node's; '' for a node on this machine itself."""
    first, last = node_ports
    name = f"node ports {first}-{last} " + (f"in {namespace}" if namespace else "of a node on this machine")
    try:
        with inside(namespace):
            found = sysctls.overlap(node_ports)
    except (OSError, ValueError) as error:
        return Check(name, f"cannot be compared with the ephemeral ports: {error}", "look at /proc/sys/net/ipv4", needed=False)
    if found is None:
        return Check(name, "apart from the ephemeral ports, or reserved")
    command = f"ip netns exec {namespace} {found.command}" if namespace else found.command
    return Check(name, str(found), f"reserve them, or the node's own connections may take them: {command}", needed=False)


def listener(port: int) -> str:
    """Who listens on a TCP port of this network namespace, as 'process 42 (name)'; '' when that cannot be seen."""
    inodes = set()
    for table in ("/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            inodes |= {row[9] for row in rows if row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port}
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*") if wanted else ():
        with contextlib.suppress(OSError):
            if os.readlink(descriptor) in wanted:
                process = descriptor.parent.parent
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return ""


def failures(checks: Iterable[Check]) -> list[Check]:
    """What a cluster cannot run without."""
    return [check for check in checks if check.needed and not check.passed]


def _refused_features() -> list[tuple[str, str]]:
    library = _libnftables()
    context = library.nft_ctx_new(0)
    library.nft_ctx_buffer_error(context)
    try:
        refused = []
        for number, (feature, family, body) in enumerate(FEATURES):
            if library.nft_run_cmd_from_buffer(context, f"table {family} check{number} {{\n {body}\n}}\n".encode()) != 0:
                complaint = library.nft_ctx_get_error_buffer(context).decode(errors="replace")
                refused.append((feature, complaint.splitlines()[0] if complaint else "refused"))
        return refused
    finally:
        library.nft_ctx_free(context)


def _libnftables() -> ctypes.CDLL:
    library = ctypes.CDLL("libnftables.so.1")
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    for function in (library.nft_ctx_buffer_error, library.nft_ctx_get_error_buffer, library.nft_ctx_free):
        function.argtypes = [ctypes.c_void_p]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def _in_scratch_namespace(work: Callable[[], namespaces.Result], more: int = 0) -> namespaces.Result:
    """Runs `work` in a thread with a network namespace (and those of the flags `more`) of its own. Raises OSError."""
    outcome: list[namespaces.Result] = []
    failure: list[BaseException] = []
    libc = ctypes.CDLL(None, use_errno=True)

    def run() -> None:
        try:
            if libc.unshare(_NEWNET | more) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="preflight")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
