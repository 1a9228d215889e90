"""A node to run real pods on: a network namespace of its own, a cgroup, a state folder; the calling thread moves into it."""

import asyncio
import contextlib
import ctypes
import os
import secrets
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

from mooring.edges.pods.assembly import Pods, pods
from mooring.edges.pods.runtime import RuntimeOptions

NODE_IP, NODE_IP6 = "172.30.0.11", "fd00:30::11"
POD_CIDR, POD_CIDR6 = "10.244.9.0/24", "fd00:244:0:9::/64"
_CLONE_NEWNET = 0x40000000
_SET_UP = f"""
ip link set lo up
ip route add unreachable 10.0.0.0/8
ip addr add {NODE_IP}/32 dev lo
ip addr add {NODE_IP6}/128 dev lo
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
"""


def cgroup2() -> Path:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    raise RuntimeError("no cgroup v2 is mounted")


class NodeLab:
    """`name` is the namespace's and the cgroup's."""

    def __init__(self, state: Path) -> None:
        self.name = f"mrgp{os.getpid()}-{secrets.token_hex(3)}"
        self.state = state
        self.cgroup = cgroup2() / self.name

    def pods(self, **options: object) -> Pods:
        """As an agent opens them; a second call is a second agent."""
        return pods(RuntimeOptions(self.state, self.cgroup / "node", "node-a", **options), self.state / "images.yaml")  # type: ignore[arg-type]

    def links(self) -> list[str]:
        """Names of links in the namespace, without lo."""
        lines = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
        return [name for line in lines if (name := line.split(": ")[1].split("@")[0]) != "lo"]

    def processes(self) -> list[int]:
        found: list[int] = []
        for file in self.cgroup.rglob("cgroup.procs"):
            found += [int(line) for line in file.read_text().split()]
        return found


@contextlib.contextmanager
def node_lab() -> Iterator[NodeLab]:
    """Everything goes again, whatever happened in between."""
    with tempfile.TemporaryDirectory(prefix="mrgpods", ignore_cleanup_errors=True) as folder:
        lab = NodeLab(Path(folder))
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        subprocess.run(["ip", "netns", "add", lab.name], check=True)
        try:
            there = os.open(f"/run/netns/{lab.name}", os.O_RDONLY)
            assert libc.setns(there, _CLONE_NEWNET) == 0
            os.close(there)
            assert os.stat("/proc/thread-self/ns/net").st_ino != os.fstat(home).st_ino
            subprocess.run(["sh", "-ec", _SET_UP], check=True)
            yield lab
        finally:
            assert libc.setns(home, _CLONE_NEWNET) == 0
            os.close(home)
            _clear(lab.cgroup)
            subprocess.run(["ip", "netns", "del", lab.name], check=True)


def _clear(cgroup: Path) -> None:
    """A shim that an agent had just begun enters its group by itself, and what dies may keep a group for a moment."""
    end = monotonic() + 60
    while cgroup.exists():
        with contextlib.suppress(OSError):
            (cgroup / "cgroup.kill").write_text("1")
            for group in sorted((path for path in cgroup.rglob("*") if path.is_dir()), reverse=True):
                group.rmdir()
            cgroup.rmdir()
        assert monotonic() < end, "what was killed does not end"
        sleep(0.001)


async def until(met: Callable[[], object], deadline: float = 60.0, what: str = "") -> None:
    """Waits for a condition; fails loudly at the deadline."""
    try:
        async with asyncio.timeout(deadline):
            while not met():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not met in {deadline} s: {what or met}") from None


async def collected(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])
