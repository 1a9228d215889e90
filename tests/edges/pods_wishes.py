"""Sandboxes and containers to wish for, in few words."""

from typing import Any

from pods_lab import POD_CIDR, POD_CIDR6

from mooring.pods.security import CAPABILITIES, DEFAULT, Identity
from mooring.pods.wishes import ContainerWish, Mount, SandboxWish, Volume

ROOT = Identity(0, 0, (), tuple(sorted(CAPABILITIES[name] for name in DEFAULT)), False)


def sandbox(uid: str, **fields: Any) -> SandboxWish:
    base: dict[str, Any] = {
        "uid": uid,
        "namespace": "default",
        "name": f"pod-{uid}",
        "hostname": f"pod-{uid}",
        "host_network": False,
        "share_processes": False,
        "resolv_conf": "nameserver 10.96.0.10\n",
        "hosts": lambda ips: "127.0.0.1\tlocalhost\n" + "".join(f"{ip}\tpod-{uid}\n" for ip in ips),
        "pod_cidrs": (POD_CIDR, POD_CIDR6),
        "host_ips": ("172.30.0.11",),
        "volumes": (Volume("go", "disk"),),
    }
    return SandboxWish(**(base | fields))


def container(name: str, script: str = "", *, mounts: tuple[str, ...] = (), **fields: Any) -> ContainerWish:
    """A shell script in a busybox; `mounts` are volumes at a path of their own name."""
    base: dict[str, Any] = {
        "name": name,
        "attempt": 0,
        "image": "busybox",
        "command": ("/bin/sh", "-c", script) if script else (),
        "args": (),
        "env": {},
        "working_dir": "",
        "identity": ROOT,
        "mounts": fields.pop("mounts_", tuple(Mount(volume, f"/{volume}") for volume in mounts)),
        "termination_message_path": "/dev/termination-log",
        "fall_back_to_logs": False,
    }
    return ContainerWish(**(base | fields))
