"""What exactly is asked of the runtime for a pod? The spec, the node's view and the facts, turned into wishes."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from mooring.model.meta import Document
from mooring.model.pod import Container, EphemeralContainer, Pod
from mooring.pods import names, volumes
from mooring.pods.environment import environment, expand, words
from mooring.pods.quantity import parse, whole
from mooring.pods.resolv_conf import NodeDns, Resolver
from mooring.pods.security import identity
from mooring.pods.sources import Facts, Missing
from mooring.pods.wishes import ContainerWish, Mount, ResizeWish, SandboxWish
from mooring.ports.pods import RuntimeFailure


def no_dns() -> str:
    return ""


def no_hosts() -> str:
    """A node that knows no names but its own."""
    return "127.0.0.1\tlocalhost\n::1\tlocalhost\n"


class NodeView(Struct, frozen=True):
    """What pods need to know of their node. `resolv_conf()` and `hosts()` read the node's own files, for dnsPolicy Default and
    the host network; '' for `resolv_conf` says that the node has no DNS.
    """

    name: str
    addresses: tuple[str, ...]
    pod_cidrs: tuple[str, ...] = ()
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    resolv_conf: Callable[[], str] = no_dns
    hosts: Callable[[], str] = no_hosts
    allocatable: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}

    @property
    def dns(self) -> NodeDns:
        return NodeDns(self.cluster_dns, self.cluster_domain, self.resolv_conf(), self.addresses)


def sandbox_wish(pod: Pod, node: NodeView, resolver: Resolver, claimed: Mapping[str, Document] = {}) -> SandboxWish:
    """`claimed`: the PersistentVolumes behind the pod's volumes, by the volumes' names.

    Raises Missing for a volume of a kind that is not served, RuntimeFailure for a hostname that is too long.
    """
    try:
        hostname = names.hostname(pod, node.cluster_domain, node.name)
    except names.TooLong as error:
        raise RuntimeFailure("FailedCreatePodSandBox", str(error)) from error
    return SandboxWish(
        uid=pod.uid,
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        hostname=hostname,
        host_network=pod.spec.host_network,
        share_processes=bool(pod.spec.share_process_namespace),
        resolv_conf=resolver.text,
        hosts=lambda ips: names.hosts(pod, ips, node.cluster_domain, node.hosts()),
        pod_cidrs=node.pod_cidrs,
        host_ips=node.addresses,
        volumes=tuple(volumes.backing(pod, volume, claimed) for volume in pod.spec.volumes or ()),
        limits=_limits_together(pod),
    )


def container_wish(pod: Pod, container: Container, attempt: int, facts: Facts) -> ContainerWish:
    """Raises Missing (an object, a key), Refused (a security context)."""
    env = environment(pod, container, facts)
    known = {volume["name"]: volume for volume in pod.spec.volumes or ()}
    mounts = []
    for mount in container.volume_mounts or ():
        if mount.name not in known:
            raise Missing(f'volumeMounts: volume "{mount.name}" not found')
        sub_path = expand(mount.sub_path_expr, env) if mount.sub_path_expr else mount.sub_path
        if sub_path.startswith("/") or ".." in sub_path.split("/"):
            raise Missing(f'volumeMounts: subPath "{sub_path}" must be relative and must not contain ".."')
        mounts.append(Mount(mount.name, mount.mount_path, sub_path, mount.read_only or _read_only(known[mount.name])))
    return ContainerWish(
        name=container.name,
        attempt=attempt,
        image=container.image,
        command=words(container.command or (), env),
        args=words(container.args or (), env),
        env=env,
        working_dir=container.working_dir,
        identity=identity(pod, container),
        mounts=tuple(mounts),
        termination_message_path=container.termination_message_path,
        fall_back_to_logs=container.termination_message_policy == "FallbackToLogsOnError",
        limits=_limits(container),
        resources=container.resources,
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
        target=container.target if isinstance(container, EphemeralContainer) else "",
    )


def resize_wish(pod: Pod, container: Container) -> ResizeWish:
    return ResizeWish(container.name, container.resources, _limits(container), _limits_together(pod))


def _read_only(volume: Document) -> bool:
    """What the node writes is nobody else's to write: a link planted there would lead the node elsewhere."""
    written = any(volume.get(kind) is not None for kind in volumes.FILES)
    return written or bool((volume.get("persistentVolumeClaim") or {}).get("readOnly"))


def _limits(container: Container) -> dict[str, int]:
    given = container.resources.limits or {}
    found = {"memory": int(parse(given["memory"]))} if "memory" in given else {}
    return found | ({"cpu": whole(parse(given["cpu"]) * 1000)} if "cpu" in given else {})


def _limits_together(pod: Pod) -> dict[str, int]:
    """The pod's own limit exists only where every container has one: what those that run at any one time may use, at most."""
    starting, running = pod.spec.init_containers or (), pod.spec.containers
    every = [_limits(container) for container in (*starting, *running)]
    found = {}
    for name in ("cpu", "memory"):
        if all(name in one for one in every):
            sidecars = peak = 0
            for container in starting:
                step = sidecars + _limits(container)[name]
                peak = max(peak, step)
                sidecars = step if container.sidecar else sidecars
            found[name] = max(peak, sidecars + sum(_limits(container)[name] for container in running))
    return found
