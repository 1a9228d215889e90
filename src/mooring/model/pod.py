"""core/v1 Pod, as the kubelet's logic sees it.

Field meanings: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/. Optional lists may be null
on the wire, so readers write `pod.spec.volumes or ()`. Volume sources stay plain documents: each is read by one function only.
"""

from typing import Any

import msgspec
from msgspec import Struct, field

from mooring.model.meta import Document, IntOrString, Meta

MAX_NAMESERVERS, MAX_SEARCHES, MAX_SEARCH_LETTERS = 3, 32, 2048
"""What a pod's resolv.conf may hold (KEP-2595); spaces count as letters."""


class KeySelector(Struct, frozen=True, gc=False):
    """configMapKeyRef or secretKeyRef."""

    key: str
    name: str = ""
    optional: bool = False


class FieldRef(Struct, frozen=True, gc=False):
    field_path: str = field(name="fieldPath")


class ResourceFieldRef(Struct, frozen=True, gc=False):
    resource: str
    container_name: str = field(name="containerName", default="")
    divisor: str | int | None = None


class EnvSource(Struct, frozen=True, gc=False):
    field_ref: FieldRef | None = field(name="fieldRef", default=None)
    resource_field_ref: ResourceFieldRef | None = field(name="resourceFieldRef", default=None)
    config_map_key_ref: KeySelector | None = field(name="configMapKeyRef", default=None)
    secret_key_ref: KeySelector | None = field(name="secretKeyRef", default=None)


class EnvVar(Struct, frozen=True, gc=False):
    name: str
    value: str = ""
    value_from: EnvSource | None = field(name="valueFrom", default=None)


class SourceRef(Struct, frozen=True, gc=False):
    """configMapRef or secretRef of envFrom."""

    name: str = ""
    optional: bool = False


class EnvFrom(Struct, frozen=True, gc=False):
    prefix: str = ""
    config_map_ref: SourceRef | None = field(name="configMapRef", default=None)
    secret_ref: SourceRef | None = field(name="secretRef", default=None)


class ContainerPort(Struct, frozen=True, gc=False):
    container_port: int = field(name="containerPort")
    name: str = ""
    protocol: str = "TCP"
    host_port: int = field(name="hostPort", default=0)


class HttpHeader(Struct, frozen=True, gc=False):
    name: str
    value: str = ""


class HttpGet(Struct, frozen=True, gc=False):
    port: IntOrString
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HttpHeader, ...] | None = field(name="httpHeaders", default=None)


class TcpSocket(Struct, frozen=True, gc=False):
    port: IntOrString
    host: str = ""


class Exec(Struct, frozen=True, gc=False):
    command: tuple[str, ...] | None = None


class Sleep(Struct, frozen=True, gc=False):
    seconds: int


class Hook(Struct, frozen=True, gc=False):
    """A lifecycle handler: exactly one of its fields is set."""

    exec: Exec | None = None
    http_get: HttpGet | None = field(name="httpGet", default=None)
    tcp_socket: TcpSocket | None = field(name="tcpSocket", default=None)
    sleep: Sleep | None = None


class Lifecycle(Struct, frozen=True, gc=False):
    post_start: Hook | None = field(name="postStart", default=None)
    pre_stop: Hook | None = field(name="preStop", default=None)


class Probe(Struct, frozen=True, gc=False):
    """Times in seconds; the API server has set upstream's defaults (timeout 1, period 10, success 1, failure 3)."""

    exec: Exec | None = None
    http_get: HttpGet | None = field(name="httpGet", default=None)
    tcp_socket: TcpSocket | None = field(name="tcpSocket", default=None)
    grpc: dict[str, Any] | None = None
    initial_delay_seconds: int = field(name="initialDelaySeconds", default=0)
    timeout_seconds: int = field(name="timeoutSeconds", default=1)
    period_seconds: int = field(name="periodSeconds", default=10)
    success_threshold: int = field(name="successThreshold", default=1)
    failure_threshold: int = field(name="failureThreshold", default=3)
    termination_grace_period_seconds: int | None = field(name="terminationGracePeriodSeconds", default=None)


class Capabilities(Struct, frozen=True, gc=False):
    add: tuple[str, ...] | None = None
    drop: tuple[str, ...] | None = None


class SecurityContext(Struct, frozen=True, gc=False):
    run_as_user: int | None = field(name="runAsUser", default=None)
    run_as_group: int | None = field(name="runAsGroup", default=None)
    run_as_non_root: bool | None = field(name="runAsNonRoot", default=None)
    read_only_root_filesystem: bool | None = field(name="readOnlyRootFilesystem", default=None)
    privileged: bool | None = None
    capabilities: Capabilities | None = None


class PodSecurityContext(Struct, frozen=True, gc=False):
    run_as_user: int | None = field(name="runAsUser", default=None)
    run_as_group: int | None = field(name="runAsGroup", default=None)
    run_as_non_root: bool | None = field(name="runAsNonRoot", default=None)
    fs_group: int | None = field(name="fsGroup", default=None)
    supplemental_groups: tuple[int, ...] | None = field(name="supplementalGroups", default=None)


Quantities = dict[str, str | int | float]


class Resources(Struct, frozen=True, gc=False):
    requests: Quantities | None = None
    limits: Quantities | None = None


class ResizePolicy(Struct, frozen=True, gc=False):
    """What becomes of the container when it gets more or less of a resource: NotRequired or RestartContainer."""

    resource: str = field(name="resourceName")
    restart: str = field(name="restartPolicy")


class VolumeMount(Struct, frozen=True, gc=False):
    name: str
    mount_path: str = field(name="mountPath")
    read_only: bool = field(name="readOnly", default=False)
    sub_path: str = field(name="subPath", default="")
    sub_path_expr: str = field(name="subPathExpr", default="")


class Container(Struct, frozen=True, gc=False):
    name: str
    image: str = ""
    image_pull_policy: str = field(name="imagePullPolicy", default="IfNotPresent")
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    working_dir: str = field(name="workingDir", default="")
    ports: tuple[ContainerPort, ...] | None = None
    env: tuple[EnvVar, ...] | None = None
    env_from: tuple[EnvFrom, ...] | None = field(name="envFrom", default=None)
    resources: Resources = Resources()
    resize_policy: tuple[ResizePolicy, ...] | None = field(name="resizePolicy", default=None)
    volume_mounts: tuple[VolumeMount, ...] | None = field(name="volumeMounts", default=None)
    liveness_probe: Probe | None = field(name="livenessProbe", default=None)
    readiness_probe: Probe | None = field(name="readinessProbe", default=None)
    startup_probe: Probe | None = field(name="startupProbe", default=None)
    lifecycle: Lifecycle | None = None
    restart_policy: str | None = field(name="restartPolicy", default=None)
    termination_message_path: str = field(name="terminationMessagePath", default="/dev/termination-log")
    termination_message_policy: str = field(name="terminationMessagePolicy", default="File")
    security_context: SecurityContext | None = field(name="securityContext", default=None)
    stdin: bool = False
    stdin_once: bool = field(name="stdinOnce", default=False)
    tty: bool = False

    @property
    def sidecar(self) -> bool:
        """An init container that keeps running: KEP-753."""
        return self.restart_policy == "Always"

    def port(self, wanted: IntOrString) -> int:
        """A probe's or hook's port by number or name. Raises ValueError when no port has the name."""
        if isinstance(wanted, int):
            return wanted
        for port in self.ports or ():
            if port.name == wanted:
                return port.container_port
        if wanted.isdecimal():
            return int(wanted)
        raise ValueError(f"couldn't find port: {wanted} in container {self.name}")


class EphemeralContainer(Container, frozen=True, gc=False):
    """One that was added to a pod that is there, to look into it. It is run once, and nothing depends on it: KEP-277."""

    target: str = field(name="targetContainerName", default="")
    """The container whose processes it is among; '' for none."""


class HostAlias(Struct, frozen=True, gc=False):
    ip: str
    hostnames: tuple[str, ...] | None = None


class DnsOption(Struct, frozen=True, gc=False):
    name: str = ""
    value: str | None = None


class DnsConfig(Struct, frozen=True, gc=False):
    nameservers: tuple[str, ...] | None = None
    searches: tuple[str, ...] | None = None
    options: tuple[DnsOption, ...] | None = None


class ReadinessGate(Struct, frozen=True, gc=False):
    condition_type: str = field(name="conditionType")


class PodSpec(Struct, frozen=True, gc=False):
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] | None = field(name="initContainers", default=None)
    ephemeral_containers: tuple[EphemeralContainer, ...] | None = field(name="ephemeralContainers", default=None)
    volumes: tuple[Document, ...] | None = None
    restart_policy: str = field(name="restartPolicy", default="Always")
    termination_grace_period_seconds: int | None = field(name="terminationGracePeriodSeconds", default=None)
    active_deadline_seconds: int | None = field(name="activeDeadlineSeconds", default=None)
    dns_policy: str = field(name="dnsPolicy", default="ClusterFirst")
    dns_config: DnsConfig | None = field(name="dnsConfig", default=None)
    service_account_name: str = field(name="serviceAccountName", default="")
    node_name: str = field(name="nodeName", default="")
    host_network: bool = field(name="hostNetwork", default=False)
    host_aliases: tuple[HostAlias, ...] | None = field(name="hostAliases", default=None)
    hostname: str = ""
    hostname_override: str | None = field(name="hostnameOverride", default=None)
    subdomain: str = ""
    set_hostname_as_fqdn: bool | None = field(name="setHostnameAsFQDN", default=None)
    enable_service_links: bool | None = field(name="enableServiceLinks", default=None)
    share_process_namespace: bool | None = field(name="shareProcessNamespace", default=None)
    readiness_gates: tuple[ReadinessGate, ...] | None = field(name="readinessGates", default=None)
    security_context: PodSecurityContext | None = field(name="securityContext", default=None)


class PodMeta(Meta, frozen=True, gc=False):
    generation: int = 0
    deletion_grace_period_seconds: int | None = field(name="deletionGracePeriodSeconds", default=None)


class Pod(Struct, frozen=True, gc=False):
    """`status` stays a document: the kubelet writes it whole and reads only conditions that others own."""

    metadata: PodMeta
    spec: PodSpec
    status: Document = {}

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def key(self) -> str:
        """'namespace/name', for people."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def containers(self) -> tuple[Container, ...]:
        """Init containers, then containers: in the order they start. What the pod is made of, so without ephemeral ones."""
        return (*(self.spec.init_containers or ()), *self.spec.containers)

    @property
    def ephemeral_containers(self) -> tuple[EphemeralContainer, ...]:
        return self.spec.ephemeral_containers or ()

    def group(self, container: Container) -> str:
        """The field of the spec in which a container of the pod stands."""
        if isinstance(container, EphemeralContainer):
            return "ephemeralContainers"
        return "initContainers" if container in (self.spec.init_containers or ()) else "containers"

    @property
    def terminating(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def grace_period(self) -> float:
        """Seconds between SIGTERM and SIGKILL, as the delete asked or the spec says."""
        if self.terminating and self.metadata.deletion_grace_period_seconds is not None:
            return self.metadata.deletion_grace_period_seconds
        given = self.spec.termination_grace_period_seconds
        return 30 if given is None else given


def pod(document: Document) -> Pod:
    """The view of a document. Raises msgspec.ValidationError, which names the field."""
    return msgspec.convert(document, Pod)
