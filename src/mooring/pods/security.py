"""As whom does a container run?

The default capabilities are containerd's (oci/spec_opts.go, defaultUnixCaps) without MKNOD, which without a device cgroup would
open the host's disks, and without AUDIT_WRITE. `add` is honoured for capabilities whose power ends at the pod's own namespaces.
"""

from msgspec import Struct

from mooring.model.pod import Container, Pod

CAPABILITIES = {
    name: number
    for number, name in enumerate(
        [
            "CHOWN",
            "DAC_OVERRIDE",
            "DAC_READ_SEARCH",
            "FOWNER",
            "FSETID",
            "KILL",
            "SETGID",
            "SETUID",
            "SETPCAP",
            "LINUX_IMMUTABLE",
            "NET_BIND_SERVICE",
            "NET_BROADCAST",
            "NET_ADMIN",
            "NET_RAW",
            "IPC_LOCK",
            "IPC_OWNER",
            "SYS_MODULE",
            "SYS_RAWIO",
            "SYS_CHROOT",
            "SYS_PTRACE",
            "SYS_PACCT",
            "SYS_ADMIN",
            "SYS_BOOT",
            "SYS_NICE",
            "SYS_RESOURCE",
            "SYS_TIME",
            "SYS_TTY_CONFIG",
            "MKNOD",
            "LEASE",
            "AUDIT_WRITE",
            "AUDIT_CONTROL",
            "SETFCAP",
            "MAC_OVERRIDE",
            "MAC_ADMIN",
            "SYSLOG",
            "WAKE_ALARM",
            "BLOCK_SUSPEND",
            "AUDIT_READ",
            "PERFMON",
            "BPF",
            "CHECKPOINT_RESTORE",
        ]
    )
}
DEFAULT = frozenset(
    [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SYS_CHROOT",
        "SETFCAP",
    ]
)
CONFINED = DEFAULT | frozenset(["NET_ADMIN", "NET_BROADCAST", "IPC_LOCK", "IPC_OWNER", "SYS_PTRACE", "LEASE"])
"""What `capabilities.add` may ask for: in a pod's own network, IPC and PID namespaces these reach nothing of the host."""


class Identity(Struct, frozen=True):
    """`capabilities` are kernel numbers (linux/capability.h)."""

    user: int
    group: int
    groups: tuple[int, ...]
    capabilities: tuple[int, ...]
    read_only_root: bool


class Refused(ValueError):
    """The security context asks for what a container here never gets, or contradicts itself."""


def _capability(name: str) -> str:
    plain = name.upper().removeprefix("CAP_")
    if plain != "ALL" and plain not in CAPABILITIES:
        raise Refused(f'unknown capability "{name}"')
    return plain


def identity(pod: Pod, container: Container) -> Identity:
    """The container's securityContext over the pod's. Raises Refused, with a message for people."""
    of_pod, own = pod.spec.security_context, container.security_context
    settings = [context for context in (own, of_pod) if context is not None]
    user = next((context.run_as_user for context in settings if context.run_as_user is not None), 0)
    group = next((context.run_as_group for context in settings if context.run_as_group is not None), 0)
    non_root = next((context.run_as_non_root for context in settings if context.run_as_non_root is not None), False)
    if non_root and user == 0:
        raise Refused("container has runAsNonRoot and image will run as root")
    groups = list((of_pod and of_pod.supplemental_groups) or ())
    if of_pod and of_pod.fs_group is not None:
        groups.append(of_pod.fs_group)
    if own and own.privileged:
        raise Refused("privileged containers are not supported: pods share the host's kernel and devices")
    held = DEFAULT
    if own and own.capabilities:
        added = {_capability(name) for name in own.capabilities.add or ()}
        dropped = {_capability(name) for name in own.capabilities.drop or ()}
        beyond = sorted(added - CONFINED - {"ALL"}) + (["ALL"] if "ALL" in added else [])
        if beyond or (pod.spec.host_network and added - DEFAULT):
            refused = ", ".join(beyond or sorted(added - DEFAULT))
            raise Refused(f"capabilities.add: {refused} would reach beyond the pod's own namespaces")
        held = (frozenset() if "ALL" in dropped else DEFAULT - dropped) | added
    numbers = tuple(sorted(CAPABILITIES[name] for name in held))
    return Identity(user, group, tuple(groups), numbers, bool(own and own.read_only_root_filesystem))
